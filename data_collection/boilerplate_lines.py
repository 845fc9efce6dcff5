"""Drop the lines of a web page that are no part of its text: cookies, log-in, menus, sharing; and lines said before.

Reads `boilerplate/<iso>.txt` (how an entry is written: see en.txt), for every language also en.txt. Example:

    python -c "import boilerplate_lines as b; print(b.drop_boilerplate('Flu is an infection.\\nShare this', 'en'))"
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from corpus_record import InputError

BOILERPLATE_FOLDER = Path(__file__).parent / "boilerplate"
LONGEST_WHOLE, LONGEST_BEGINNING, LONGEST_HOLDING = 60, 200, 300  # characters of a line that an entry may take away
# A line said again is dropped when it is this long: answers and findings such as "No fever." may well come twice.
REPEATED_LINE_CHARACTERS = 60  # Chinese, kana and Hangul count double
WORD = re.compile(r"\w+")


class Phrases(NamedTuple):
    whole: frozenset[str]  # folded lines
    begin: tuple[str, ...]
    first_words: tuple[str, ...]  # of `begin`: looked at before a line is folded
    hold: tuple[str, ...]
    signals: tuple[str, ...]  # the longest word of each of `hold`: without one of them no line need be looked at


def fold(line: str) -> str:
    """The words of a line, lower case, one space between: what is compared."""
    return " ".join(WORD.findall(line.casefold()))


@cache
def load_phrases(language: str, folder: Path = BOILERPLATE_FOLDER) -> Phrases:
    """The entries of <language>.txt and en.txt. Errors: InputError with path:line for a blank entry, or no such file."""
    whole, begin, hold = set(), set(), set()
    for iso in dict.fromkeys((language, "en")):
        path = folder / f"{iso}.txt"
        if not path.exists():
            raise InputError(f"no list of boilerplate {path}; add one")
        for number, written in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if not written.strip() or written.startswith("#"):
                continue
            phrase = fold(written)
            if not phrase:
                raise InputError(f"{path}:{number}: an entry without words would match everywhere: remove the line")
            kind = hold if written.startswith("*") else begin if written.endswith("*") else whole
            kind.add(phrase)
    return Phrases(frozenset(whole), tuple(sorted(begin)), tuple(sorted({p.split()[0] for p in begin})),
                   tuple(sorted(hold)), tuple(sorted({max(p.split(), key=len) for p in hold})))


def drop_boilerplate(text: str, language: str) -> tuple[str, int]:
    """(the text without the lines that are boilerplate, how many lines)."""
    phrases = load_phrases(language)
    folded = text.casefold()
    signalled = any(signal in folded for signal in phrases.signals)
    lines = folded.split("\n")  # case folding makes and loses no line end
    gone = {i for i, line in enumerate(lines) if line and _is_boilerplate(line, phrases, signalled)}
    if not gone:
        return text, 0
    return "\n".join(line for i, line in enumerate(text.split("\n")) if i not in gone), len(gone)


def _is_boilerplate(line: str, phrases: Phrases, signalled: bool) -> bool:
    line = line.strip()
    if len(line) <= LONGEST_WHOLE and fold(line) in phrases.whole:
        return True
    if len(line) <= LONGEST_BEGINNING and line.startswith(phrases.first_words):
        if fold(line).startswith(phrases.begin):
            return True
    return signalled and len(line) <= LONGEST_HOLDING and any(phrase in fold(line) for phrase in phrases.hold)


def drop_repeated_lines(text: str) -> tuple[str, int]:
    """(the text without later copies of long lines, how many lines)."""
    lines = text.split("\n")
    kept: list[str] = []
    seen: set[str] = set()
    for line in lines:
        if len(line) >= REPEATED_LINE_CHARACTERS // 2:
            bare = line.strip()
            if bare in seen and _is_long(bare):
                continue
            seen.add(bare)
        kept.append(line)
    return ("\n".join(kept), len(lines) - len(kept)) if len(kept) < len(lines) else (text, 0)


def _is_long(line: str) -> bool:
    return len(line) + sum("\u3040" <= c <= "\ud7a3" for c in line) >= REPEATED_LINE_CHARACTERS
