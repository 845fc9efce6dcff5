"""Keyword lists, and the definitions that the plain matcher and the compiled one share.

Reads `keywords/<iso>.txt`: one keyword per line, `#` starts a comment. `keyword_match.py` explains the marks.
"""

import re
from pathlib import Path
from typing import NamedTuple

from filtering.text_folding import fold, lower
from run_record import InputError

RULES = ("bounded", "published")
KEYWORD_FOLDER = Path(__file__).parents[1] / "keywords"
UNSPACED = ("zh", "ja")  # written without spaces between words
MARKS = {"=": "whole", "-": "ending", "*": "inside"}

# Arabic writes conjunctions, prepositions and the article as part of the word: w-b-al-marad "and with the illness".
PROCLITICS = tuple(
    sorted({a + b for a in ("", "و", "ف") for b in ("", "ب", "ك", "ل", "ال", "بال", "كال", "لل")}, key=len)
)
# zh and ja: "ct" must not match in "doctor", nor "x線" in "max線".
LATIN_START, LATIN_END = re.compile("[a-z0-9]"), re.compile(".*[a-z0-9]$")


class Keyword(NamedTuple):
    text: str  # folded, for the rule `bounded`
    place: str  # start, whole, ending or inside
    bare: str  # lower case, without its mark, for the rule `published`, which distinguishes accents


class Score(NamedTuple):
    distinct: int  # different keywords found; -1: not valid Unicode (unpaired surrogate or invalid UTF-8)
    density: float  # share of the text's characters inside keywords (or, spaced languages, inside their words)


NOT_TEXT = Score(-1, 0.0)


def load_keywords(language: str, folder: Path = KEYWORD_FOLDER) -> list[Keyword]:
    """The keywords of `folder/<language>.txt`. Errors: InputError with path:line for a blank or repeated keyword."""
    path = Path(folder) / f"{language}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"no keyword list {path}; create it or choose another language or folder") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None
    seen: dict[str, int] = {}
    keywords = []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        written = line.split("#", 1)[0].strip()
        bare = written[1:].strip() if written[:1] in MARKS else written
        text = " ".join(fold(bare).split())
        if not text:
            raise InputError(f"{path}:{number}: a blank keyword would match everywhere; remove the line")
        spelling = " ".join(lower(bare).split())
        if spelling in seen:
            raise InputError(f"{path}:{number}: {bare!r} repeats line {seen[spelling]}; remove one of them")
        place = MARKS.get(written[0], "start")
        if " " in text and place in ("ending", "inside"):
            raise InputError(f"{path}:{number}: {written!r}: a keyword of several words takes no mark but =")
        seen[spelling] = number
        keywords.append(Keyword(text, place, spelling))
    if not keywords:
        raise InputError(f"{path}: no keywords in this file")
    return keywords


def is_long(keyword: str, language: str) -> bool:
    """Whether the published rule matches a keyword (lower case) as a substring, not as a token."""
    return language in UNSPACED or len(keyword) > 10 or (len(keyword) > 5 and " " in keyword)
