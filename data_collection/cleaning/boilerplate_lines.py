"""Drop the lines of a web page that are no part of its text: cookies, log-in, menus, sharing; and lines said before.

Reads `boilerplate/<iso>.txt` (how an entry is written: see en.txt), for every language also en.txt. Example:

    python -c "import boilerplate_lines as b; print(b.drop_boilerplate('Flu is an infection.\\nShare this', 'en'))"
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from run_record import InputError

BOILERPLATE_FOLDER = Path(__file__).parents[1] / "boilerplate"
# Characters of a line that an entry may take away.
LONGEST_WHOLE, LONGEST_BEGINNING, LONGEST_HOLDING, LONGEST_CLAIM = 60, 200, 300, 120
# A line said again is dropped when it is this long: answers and findings such as "No fever." may well come twice.
REPEATED_LINE_CHARACTERS = 60  # Chinese, kana and Hangul count double
WORD = re.compile(r"\w+")
HEAD = 3  # letters of a first word by which most lines are passed over
BULLETS = " \t\u00a0\u3000|•·»›>«‹<-–—*[(¡¿【「\"'“▶►→+"  # before the words of a menu; not the # of headings


class Phrases(NamedTuple):
    whole: frozenset[str]  # folded lines
    heads: frozenset[str]  # the first letters of each of `whole`: looked at before a line is folded
    begin: tuple[str, ...]
    first_words: tuple[str, ...]  # of `begin`, for the same reason
    hold: tuple[tuple[str, str, int], ...]  # (the phrase's longest word, phrase, characters of the line at most)


def fold(line: str) -> str:
    """The words of a line, lower case, one space between: what is compared."""
    return " ".join(WORD.findall(line.casefold()))


@cache
def load_phrases(language: str, folder: Path = BOILERPLATE_FOLDER) -> Phrases:
    """The entries of <language>.txt and en.txt. Errors: InputError for a blank one (path:line) or no file."""
    whole, begin, hold, claim = set(), set(), set(), set()
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
            ends_open = written.rstrip().endswith("*")
            kind = (hold if ends_open else claim) if written.startswith("*") else begin if ends_open else whole
            kind.add(phrase)
    return Phrases(
        whole=frozenset(whole),
        heads=frozenset(phrase.split()[0][:HEAD] for phrase in whole),
        begin=tuple(sorted(begin)),
        first_words=tuple(sorted({phrase.split()[0] for phrase in begin})),
        hold=tuple(
            sorted(
                (max(phrase.split(), key=len), phrase, longest)
                for kind, longest in ((hold, LONGEST_HOLDING), (claim, LONGEST_CLAIM))
                for phrase in kind
            )
        ),
    )


def drop_boilerplate(text: str, language: str) -> tuple[str, int]:
    """(the text without the lines that are boilerplate, how many lines)."""
    phrases = load_phrases(language)
    lines = text.split("\n")
    short = [i for i, line in enumerate(lines) if 0 < len(line) <= LONGEST_HOLDING]  # prose is mostly in longer ones
    if not short:
        return text, 0
    folded = "\n".join([lines[i] for i in short]).casefold()  # case folding makes and loses no line end
    hold = [entry for entry in phrases.hold if entry[0] in folded]
    gone = {i for i, line in zip(short, folded.split("\n"), strict=True) if _is_boilerplate(line, phrases, hold)}
    if not gone:
        return text, 0
    return "\n".join(line for i, line in enumerate(lines) if i not in gone), len(gone)


def _is_boilerplate(line: str, phrases: Phrases, hold: list[tuple[str, str, int]]) -> bool:
    line = line.lstrip(BULLETS)
    heads = phrases.heads
    known_head = line[:HEAD] in heads or line[:2] in heads or line[:1] in heads
    if known_head and len(line) <= LONGEST_WHOLE and fold(line) in phrases.whole:
        return True
    known_word = len(line) <= LONGEST_BEGINNING and line.startswith(phrases.first_words)
    if known_word and fold(line).startswith(phrases.begin):
        return True
    return any(word in line and len(line) <= longest and phrase in fold(line) for word, phrase, longest in hold)


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
