"""Join two lines of a paragraph: with a space, with none in Chinese and Japanese, without the hyphen or with it.

A hyphen at a line's end may part a word ("pneu-monia") or belong to it ("anti-inflammatory", "Kinder- und", "5-10").
The page itself is asked first: a word that stands on it whole is joined the same way. Then rules of each language.
Used by `text_repair.py`.
"""

import re

from filtering.language import script_of

# "=" and U+2E17 in old prints; U+00AD is a soft hyphen.
HYPHENS = ("-", "\u2010", "\u00ad", "\u00ac", "\u2e17", "=")
CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60"
QUOTES = "\u2014\u2018\u2019\u201c\u201d\u2026\u00b7"  # also Chinese punctuation, beside Chinese
ENDS_IN_CJK = re.compile(f"[{CJK}][{QUOTES}]*$")
BEGINS_WITH_CJK = re.compile(f"[{QUOTES}]*[{CJK}]")
SPACED_LATIN = re.compile(f"[{CJK}] [A-Za-z0-9]|[A-Za-z0-9%] [{CJK}]")
CLOSE_LATIN = re.compile(f"[{CJK}][A-Za-z0-9]|[A-Za-z0-9%][{CJK}]")
TAIL = re.compile(r"[^\W_]+")
# "Kinder- und Jugendmedizin", "pre- and postnatal": the first word's end is left for the second to say.
SUSPENDED = frozenset(("und", "oder", "bzw", "sowie", "and", "or", "et", "ou", "y", "и", "или"))
# First and second parts that make compounds written with a hyphen. Few and sure ones: the rest is joined.
HEADS = frozenset(
    (
        "non",
        "self",
        "well",
        "low",
        "high",
        "half",
        "ex",
        "demi",
        "sous",
        "кое",
        "сердечно",
        "желудочно",
        "лечебно",
        "научно",
        "клинико",
        "социально",
        "медико",
        "костно",
        "нервно",
        "инфекционно",
        "опорно",
        "черепно",
    )
)
TAILS = frozenset(
    (
        "based",
        "related",
        "year",
        "term",
        "like",
        "free",
        "specific",
        "induced",
        "associated",
        "positive",
        "negative",
        "resistant",
        "même",
        "mêmes",
        "là",
        "dessus",
        "dessous",
        "delà",
        "то",
        "либо",
        "нибудь",
        "таки",
    )
)
PAIRS = frozenset({("peut", "être"), ("bien", "être"), ("rendez", "vous"), ("c'est", "à"), ("из", "за"), ("из", "под")})
NO_HEADS = frozenset(("in", "un", "re", "de", "inter", "over"))  # "un-related" is no compound
NO_TAILS = re.compile(r"(?:est|ness|ing|cri\w*|tra\w*)$")  # high-est, well-ness, sous-crire
RUSSIAN_MANNER = re.compile(r"(?!этому|тому|чему)\w+(?:ому|ему|ски|цки)$")  # по-прежнему, по-русски


def join_lines(before: str, line: str, page: str = "") -> str:
    """`before` and the `line` that follows it in the same paragraph. page: the text they stand in."""
    if before.endswith(HYPHENS) and before[-2:-1].isalnum():
        return _join_at_hyphen(before, line, page)
    before = before.rstrip("\u00ad")
    if not before:
        return line
    if before[-1] in "\u2013-" and before[-2:-1].isdigit() and line[:1].isdigit():
        return before + line  # 5–10
    return before + ("" if _is_close(before, line, page) else " ") + line


def _is_close(before: str, line: str, page: str) -> bool:
    """Whether nothing stands between the lines: Chinese or Japanese, or Latin in it on a page that puts no spaces."""
    if before[-1].isascii() and line[0].isascii():
        return False
    ends, begins = ENDS_IN_CJK.search(before[-4:]), BEGINS_WITH_CJK.match(line)
    if ends and begins:
        return True
    if (ends and line[0].isascii() and line[0].isalnum()) or (begins and before[-1].isascii() and before[-1].isalnum()):
        return len(CLOSE_LATIN.findall(page)) > len(SPACED_LATIN.findall(page))
    return False


def _join_at_hyphen(before: str, line: str, page: str) -> str:
    hyphen = before[-1]
    found = TAIL.match(line)
    if hyphen == "\u00ad" or not found:
        return before.rstrip("\u00ad") + ("" if hyphen == "\u00ad" else " ") + line
    tail = found[0]
    if tail in SUSPENDED:
        return f"{before} {line}"
    last = before[-2]
    if last.isdigit() or tail[0].isdigit():
        return before + line  # 5-10, 2-fold, Covid-19
    if script_of(last) not in ("Latin", "Cyrillic"):
        return f"{before} {line}"
    if not tail[0].islower():
        return before + (" " if hyphen in "=\u00ac" else "") + line  # a compound: "Anti-" and "Tumor"
    head = re.split(r"[\s(\[\u2018\u201c\"«/-]", before[:-1])[-1]
    return (before if _is_compound(head, tail, page) else before[:-1]) + line


def _is_compound(head: str, tail: str, page: str) -> bool:
    """Whether head-tail is written with a hyphen in the middle of a line too."""
    if f"{head}-{tail}" in page:
        return True
    if head + tail in page:
        return False
    head, tail = head.lower().replace("\u2019", "'"), tail.lower()
    if (head, tail) in PAIRS or (head == "по" and RUSSIAN_MANNER.match(tail)):
        return True
    if head == "anti" and tail[0] == "i":  # so in English and French; Spanish and German write it as one word
        return not tail.startswith("inflama") and not tail.endswith(("isch", "ische", "ischen", "ischer", "isches"))
    return (head in HEADS and not NO_TAILS.match(tail)) or (tail in TAILS and head not in NO_HEADS)
