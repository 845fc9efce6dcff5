"""Turn the lines of a page into paragraphs: line breaks, hyphens at line ends, stray spaces, odd characters.

Words are changed in two cases only: shapes of letters (ligatures, Arabic presentation forms) become the letters, and
Arabic that is stored in visual order is converted to logical order.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from filtering.language import script_of
from readers.corpus_format import PRIVATE_USE
from text_layers.symbol_fonts import RADICALS

SHORT_LINE = 0.7  # of the page's usual width; a shorter line may end a paragraph
SENTENCE_ENDS = tuple('.!?:;。！？：；؟…»”"')
# A list's item, or a numbered heading, in any of the scripts; "1." before Chinese or Japanese needs no space.
LIST_ITEM = re.compile(
    r"^\s*(?:"
    r"[•●▪◦‣■□○◆◇▶►➢✓✗☐☑※][^•●▪◦‣■□○◆◇]|[–—*·-]\s"
    r"|[0-9０-９]{1,2}[．、]|[(（]?[0-9０-９\u0660-\u0669]{1,3}[.)）](?=\s|[^\x00-\u2fff])|[(（](?:[0-9０-９]{1,2}|[a-zA-Zа-я]|[ivx]{1,4})[)）](?=\s|[^\x00-\u2fff])"
    r"|[a-zA-Zа-яА-Я\u0621-\u064a][.)]\s|[ア-ンア-ンa-eA-E][．、]|[①-⑳㉑-㉟⑴-⒇]"
    r"|[(（][一二三四五六七八九十ア-ン]{1,3}[)）]|[一二三四五六七八九十]{1,3}[、．]|第[0-9０-９一二三四五六七八九十百]{1,4}[章節节編编条]"
    r"|\[[0-9]{1,3}\]\s+[^\W\d_a-zа-яё]"
    r"|[0-9]{1,2}(?:\.[0-9]{1,2}){1,3}\.?\s+[^\W\d_a-zа-яё])"
)
CELL = "\t"  # between the cells of a table's row, which is a line of its own
RADICAL = re.compile("[\u2e80-\u2fd5]")
PRIVATE_ALONE = re.compile(r"(?<!\S)[\ue000-\uf8ff\U000f0000-\U0010fffd]+(?:\s+|$)")
CONTENTS_LINE = re.compile(r"(?:[.·…_]\s?){4,}\s*\d+$")
HEADING = re.compile(
    r"[0-9]{1,2}(?:\.[0-9]{1,2}){0,3}\.?\s+[^\W\d_a-zа-яё][^.;]*$|[A-ZÀ-ÞА-ЯЁ][A-ZÀ-ÞА-ЯЁ0-9 ,()/&:-]{3,}$"
)  # numbered, or capitals
# Ligatures, Arabic presentation forms, letters of formulas.
LETTER_SHAPES = re.compile("[\ufb00-\ufb06\ufb1d-\ufdff\ufe70-\ufefc\U0001d400-\U0001d7ff]+")
# Control characters, soft hyphens, zero-width and direction marks, unpaired surrogates.
UNWANTED = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe"
    r"\ud800-\udfff]"
)
DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LINE_END_HYPHEN = re.compile("(?<=\\w)[\x02\ufffe]\n?")  # pdfium's mark for a hyphen at a line's end
ONE_LETTER_WORDS = frozenset("AIÀYOEВИКОСУЯА")
AFTER_INITIAL = frozenset(("n", "t", "f", "s", "ll", "nd"))  # the rest of In, It, If, As, All, And after a drop cap
# Scripts without capitals: a page's last line that is longer than this (characters) continues on the next page.
MIN_OPEN_PARAGRAPH = {"Han": 20, "Kana": 20, "Hangul": 20, "Arabic": 60}

CJK = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60"
QUOTES = "\u2014\u2018\u2019\u201c\u201d\u2026\u00b7"  # also Chinese punctuation, next to Chinese
ANY_CJK = re.compile(f"[{CJK}]")
SPACE_IN_CJK = re.compile(f"(?<=[{CJK}])[ \u3000]+(?=[{CJK}{QUOTES}])|(?<=[{QUOTES}])[ \u3000]+(?=[{CJK}])")
ENDS_IN_CJK = re.compile(f"[{CJK}][{QUOTES}]*$")
BEGINS_WITH_CJK = re.compile(f"[{QUOTES}]*[{CJK}]")
SPACED_LATIN = re.compile(f"[{CJK}] [A-Za-z0-9]|[A-Za-z0-9%] [{CJK}]")
CLOSE_LATIN = re.compile(f"[{CJK}][A-Za-z0-9]|[A-Za-z0-9%][{CJK}]")

HYPHENS = ("-", "\u2010", "\u00ad", "\u00ac", "\u2e17", "=")  # "=" and U+2E17 in old prints; U+00AD: soft hyphen
TAIL = re.compile(r"[^\W_]+")
# "Kinder- und Jugendmedizin", "pre- and postnatal": the hyphen stays, followed by a space.
SUSPENDED = ("und", "oder", "bzw", "sowie", "and", "or", "et", "ou", "y", "и", "или")
# First and second parts of compounds that are written with a hyphen. Few and certain ones; the rest is joined.
HEADS = re.compile(
    "non|self|well|low|high|half|ex|demi|sous|кое|сердечно|желудочно|лечебно|научно|клинико|социально|медико|костно|"
    "нервно|инфекционно|опорно|черепно"
)
TAILS = re.compile(
    "based|related|year|term|like|free|specific|induced|associated|positive|negative|resistant|mêmes?|là|dessus|"
    "dessous|delà|то|либо|нибудь|таки"
)
PAIRS = frozenset({("peut", "être"), ("bien", "être"), ("rendez", "vous"), ("c'est", "à"), ("из", "за"), ("из", "под")})
NO_HEADS = ("in", "un", "re", "de", "inter", "over")  # "un-related" is not a compound
NO_TAILS = re.compile(r"(?:est|ness|ing|cri\w*|tra\w*)$")  # high-est, well-ness, sous-crire
RUSSIAN_MANNER = re.compile(r"(?!этому|тому|чему)\w+(?:ому|ему|ски|цки)$")  # по-прежнему, по-русски

ARABIC = "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc"
ARABIC_LETTER = re.compile(f"[{ARABIC}]")
ARABIC_WORD = re.compile(f"[{ARABIC}]{{3,}}")
VOWEL_MARKS = "\u064b-\u0652\u0670"
WITH_ARTICLE = re.compile("[\u0648\u0628\u0641\u0643]?\u0627\u0644")  # al-, wal-, bil-, fal-, kal-
ENDINGS = ("\u0629", "\u0649")  # teh marbuta and alef maksura occur at the end of words only
MIN_BACKWARD_SIGNS = 3
# Pairs of adjacent letter shapes in logical and in visual order; "": before or after the word.
FORWARD = {("initial", "medial"), ("medial", "final"), ("", "initial"), ("final", "")}
BACKWARD = {("medial", "initial"), ("final", "medial"), ("", "final"), ("initial", "")}
# Runs that keep their order when a line is reversed: words in other scripts with what is between them, and figures.
DIGIT = "[0-9\u0660-\u0669\u06f0-\u06f9]"
LETTER = "A-Za-z\u00c0-\u058f"
LEFT_TO_RIGHT_RUN = re.compile(f"[{LETTER}](?:[^{ARABIC}\n]*[{LETTER}0-9])?|{DIGIT}+(?:[.,/:\u066b\u066c-]{DIGIT}+)*")
MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")
MARK_AFTER_SPACE = re.compile(f" ([{VOWEL_MARKS}]+)([\u0621-\u064a])")
LATIN_BEFORE_ARABIC = re.compile("(?<=[A-Za-z])(?=[\u0621-\u064a])")


def repair_page(text: str) -> str:
    """The page's text as paragraphs, one per line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x02" in text or "\ufffe" in text:  # the pattern is slow, and most pages have neither
        text = LINE_END_HYPHEN.sub("-\n", text)
    if not text.isascii():
        text = in_logical_order(DIRECTION_MARKS.sub("", text))
        if RADICAL.search(text):
            text = text.translate(RADICALS)
        text = LETTER_SHAPES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        text = unicodedata.normalize("NFC", text)
    raw_lines = text.split("\n")
    has_cjk = ANY_CJK.search(text) is not None
    lines = [_clean_line(line, has_cjk) for line in raw_lines]
    widths = sorted(len(line) for line in lines if line)
    usual = widths[int(0.8 * (len(widths) - 1))] if widths else 0
    paragraphs: list[str] = []
    is_open = False  # whether the next line continues the last paragraph
    for i, line in enumerate(lines):
        if not line:
            is_open = False
            continue
        if raw_lines[i].startswith("\u3000"):  # paragraphs in Chinese and Japanese begin with a wide space
            is_open = False
        if is_open and _is_drop_cap(paragraphs[-1], line):
            paragraphs[-1] += line
        elif is_open and not LIST_ITEM.match(line) and CELL not in line:
            paragraphs[-1] = join_lines(paragraphs[-1], line, text)
        else:
            paragraphs.append(line)
        following = next((after for after in lines[i + 1 :] if after), "")
        is_open = CELL not in line and (_is_drop_cap(line, following) or not _ends_paragraph(line, following, usual))
    joined = (without_private(UNWANTED.sub("", p)) for p in paragraphs)
    return "\n".join(p for p in joined if p.strip())


def without_private(text: str) -> str:
    """The text without private-use characters: one by itself is a picture or bullet, one in a word becomes U+FFFD."""
    if text.isascii() or not PRIVATE_USE.search(text):
        return text
    return PRIVATE_USE.sub("\ufffd", PRIVATE_ALONE.sub("", text)).strip()


def join_pages(pages: list[str]) -> str:
    """The document's text; a paragraph that continues on the next page is joined."""
    text = ""
    for page in filter(None, pages):
        if text and _continues(text, page):
            text = join_lines(text, page, page)
        else:
            text = f"{text}\n{page}" if text else page
    return text


def _continues(text: str, page: str) -> bool:
    """Whether the page begins in the middle of the paragraph that ends the text."""
    if text.endswith(SENTENCE_ENDS):
        return False
    if page[0].islower():
        return True
    # In scripts without capitals a long paragraph without a sentence's end continues; a short one is a heading.
    limit = MIN_OPEN_PARAGRAPH.get(script_of(page[0]))
    return limit is not None and len(text) - text.rfind("\n") > limit and not LIST_ITEM.match(page)


def _clean_line(line: str, has_cjk: bool) -> str:
    if CELL in line:
        return CELL.join(filter(None, (_clean_line(cell, has_cjk) for cell in line.split(CELL))))
    line = " ".join(line.split())
    if has_cjk:
        line = SPACE_IN_CJK.sub("", line)
    return line if line.isascii() else repair_arabic_spaces(line)


def _is_drop_cap(letter: str, line: str) -> bool:
    """Whether a line of one capital letter is the enlarged first letter of the line below it."""
    if len(letter) != 1 or not letter.isupper() or len(line) < 20 or not line[0].islower():
        return False
    return letter not in ONE_LETTER_WORDS or line.split()[0] in AFTER_INITIAL


def _ends_paragraph(line: str, following: str, usual: int) -> bool:
    """Whether a line ends its paragraph: it is short, and ends a sentence or looks like a heading."""
    if line[-1:].isdigit() and CONTENTS_LINE.search(line):
        return True
    if line.endswith(HYPHENS) or len(line) >= SHORT_LINE * usual:
        return False
    if HEADING.match(line) and not following[:1].islower():
        return True
    if line.endswith(SENTENCE_ENDS):
        return True
    starts_anew = following[:1].isupper() or script_of(following[:1]) not in ("Latin", "Cyrillic")
    return starts_anew and len(line) < 0.5 * usual


def join_lines(before: str, line: str, page: str = "") -> str:
    """Join two lines of a paragraph. page: the text that contains them, searched for the words at a hyphen.

    Lines are joined with a space; without one in Chinese and Japanese. A hyphen at a line's end may split a word
    ("pneu-monia") or belong to it ("anti-inflammatory", "Kinder- und", "5-10"): if the page contains the word inside a
    line, it is written the same way; otherwise rules per language decide.
    """
    if before.endswith(HYPHENS) and before[-2:-1].isalnum():
        return _join_at_hyphen(before, line, page)
    before = before.rstrip("\u00ad")
    if not before:
        return line
    if before[-1] in "\u2013-" and before[-2:-1].isdigit() and line[:1].isdigit():
        return before + line  # 5–10
    return before + ("" if _joins_without_space(before, line, page) else " ") + line


def _joins_without_space(before: str, line: str, page: str) -> bool:
    """True between Chinese or Japanese, and next to Latin if the page mostly writes no space between the two."""
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
    if HEADS.fullmatch(head) and not NO_TAILS.match(tail):
        return True
    return TAILS.fullmatch(tail) is not None and head not in NO_HEADS


def in_logical_order(text: str) -> str:
    """The text; if its Arabic is in visual order (left to right), with the Arabic lines reversed."""
    if not ARABIC_LETTER.search(text) or not is_backward(text):
        return text
    return "\n".join(_reversed(line) if ARABIC_LETTER.search(line) else line for line in text.split("\n"))


def is_backward(text: str) -> bool:
    """Whether the Arabic words of the text are stored in visual order, so that each reads backwards.

    Presentation forms are certain evidence: a word begins with an initial shape and ends with a final one. Otherwise
    the article, which most sentences contain, and letters that only end words decide.
    """
    forward = backward = 0
    for word in ARABIC_WORD.findall(text):
        shapes = [_shape(c) for c in word]
        if any(shapes):
            pairs = list(pairwise(["", *shapes, ""]))
            forward += sum(pair in FORWARD for pair in pairs)
            backward += sum(pair in BACKWARD for pair in pairs)
        else:
            forward += WITH_ARTICLE.match(word) is not None
            forward += word.endswith(ENDINGS)
            backward += WITH_ARTICLE.match(word[::-1]) is not None
            backward += word.startswith(ENDINGS)
    return backward >= MIN_BACKWARD_SIGNS and backward > 2 * forward


def repair_arabic_spaces(line: str) -> str:
    """Put vowel marks back on their letters and a space between a Latin and an Arabic word.

    pdfium writes the mark before its letter, after a space of its own, and loses the space behind a Latin word.
    """
    if not ARABIC_LETTER.search(line):
        return line
    return LATIN_BEFORE_ARABIC.sub(" ", MARK_AFTER_SPACE.sub(r"\2\1", line))


@lru_cache(maxsize=2048)
def _shape(character: str) -> str:
    """ "initial", "medial", "final" or "isolated" for an Arabic presentation form, else ""."""
    tag = unicodedata.decomposition(character).partition(" ")[0]
    return tag.strip("<>") if tag in ("<initial>", "<medial>", "<final>", "<isolated>") else ""


def _reversed(line: str) -> str:
    """The line from right to left; left-to-right runs keep their order."""
    pieces, last = [], 0
    for run in LEFT_TO_RIGHT_RUN.finditer(line):
        pieces += [line[last : run.start()][::-1].translate(MIRRORED), run[0]]
        last = run.end()
    pieces.append(line[last:][::-1].translate(MIRRORED))
    return "".join(pieces[::-1])
