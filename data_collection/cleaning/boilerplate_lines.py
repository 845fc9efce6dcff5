"""Drop lines of web pages that are not part of the text (cookies, log-in, menus, sharing), and repeated lines.

Reads `boilerplate/<iso>.txt` (en.txt explains the entries); en.txt is used for every language.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from run_record import InputError

BOILERPLATE_FOLDER = Path(__file__).parents[1] / "boilerplate"
# Longest line, in characters, that each kind of entry may drop.
MAX_WHOLE, MAX_BEGINNING, MAX_CONTAINING, MAX_CLAIM = 60, 200, 300, 120
# Shorter repeated lines stay: answers and findings such as "No fever." may occur twice.
MIN_REPEATED_LINE = 60  # characters; Chinese, kana and Hangul count double
# Rae et al. 2021 (https://arxiv.org/abs/2112.11446), table A1, with twice the published limits: see repetition.py.
MAX_DUPLICATE_LINES = 0.60  # share of the lines that repeat an earlier one
MAX_DUPLICATE_LINE_CHARACTERS = 0.40
WORD = re.compile(r"\w+")
HEAD = 3  # letters of the first word, by which most lines are skipped
BULLETS = " \t\u00a0\u3000|•·»›>«‹<-–—*[(¡¿【「\"'“▶►→+"  # before the words of a menu; not the # of headings


class Phrases(NamedTuple):
    whole: frozenset[str]  # folded lines
    heads: frozenset[str]  # the first letters of each of `whole`, checked before a line is folded
    begin: tuple[str, ...]
    first_words: tuple[str, ...]  # of `begin`, checked before a line is folded
    contain: tuple[tuple[str, str, int], ...]  # (the phrase's longest word, phrase, maximal length of the line)


def fold(line: str) -> str:
    """The words of a line in lower case, separated by one space, for comparison."""
    return " ".join(WORD.findall(line.casefold()))


@cache
def load_phrases(language: str, folder: Path = BOILERPLATE_FOLDER) -> Phrases:
    """The entries of <language>.txt and en.txt. Errors: InputError for an entry without words or a missing file."""
    whole, begin, contain, claim = set(), set(), set(), set()
    for iso in dict.fromkeys((language, "en")):
        path = folder / f"{iso}.txt"
        if not path.exists():
            raise InputError(f"no list of boilerplate lines {path}; create it")
        for number, written in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if not written.strip() or written.startswith("#"):
                continue
            phrase = fold(written)
            if not phrase:
                raise InputError(f"{path}:{number}: an entry without words would match everywhere; remove the line")
            ends_open = written.rstrip().endswith("*")
            kind = (contain if ends_open else claim) if written.startswith("*") else begin if ends_open else whole
            kind.add(phrase)
    return Phrases(
        whole=frozenset(whole),
        heads=frozenset(phrase.split()[0][:HEAD] for phrase in whole),
        begin=tuple(sorted(begin)),
        first_words=tuple(sorted({phrase.split()[0] for phrase in begin})),
        contain=tuple(
            sorted(
                (max(phrase.split(), key=len), phrase, longest)
                for kind, longest in ((contain, MAX_CONTAINING), (claim, MAX_CLAIM))
                for phrase in kind
            )
        ),
    )


def drop_boilerplate(text: str, language: str) -> tuple[str, int]:
    """(text without boilerplate lines, number of lines dropped)."""
    phrases = load_phrases(language)
    lines = text.split("\n")
    short = [i for i, line in enumerate(lines) if 0 < len(line) <= MAX_CONTAINING]  # prose is mostly longer
    if not short:
        return text, 0
    folded = "\n".join([lines[i] for i in short]).casefold()  # case folding keeps line ends
    contain = [entry for entry in phrases.contain if entry[0] in folded]
    dropped = {i for i, line in zip(short, folded.split("\n"), strict=True) if _is_boilerplate(line, phrases, contain)}
    if not dropped:
        return text, 0
    return "\n".join(line for i, line in enumerate(lines) if i not in dropped), len(dropped)


def _is_boilerplate(line: str, phrases: Phrases, contain: list[tuple[str, str, int]]) -> bool:
    line = line.lstrip(BULLETS)
    heads = phrases.heads
    known_head = line[:HEAD] in heads or line[:2] in heads or line[:1] in heads
    if known_head and len(line) <= MAX_WHOLE and fold(line) in phrases.whole:
        return True
    known_word = len(line) <= MAX_BEGINNING and line.startswith(phrases.first_words)
    if known_word and fold(line).startswith(phrases.begin):
        return True
    return any(word in line and len(line) <= longest and phrase in fold(line) for word, phrase, longest in contain)


def drop_repeated_lines(text: str) -> tuple[str, int]:
    """(text without later copies of long lines, number of lines dropped)."""
    lines = text.split("\n")
    kept: list[str] = []
    seen: set[str] = set()
    for line in lines:
        if len(line) >= MIN_REPEATED_LINE // 2:
            bare = line.strip()
            if bare in seen:
                width = len(bare) + sum("\u3040" <= c <= "\ud7a3" for c in bare)
                if width >= MIN_REPEATED_LINE:
                    continue
            seen.add(bare)
        kept.append(line)
    return ("\n".join(kept), len(lines) - len(kept)) if len(kept) < len(lines) else (text, 0)


def has_repeated_lines(lines: list[str]) -> bool:
    """Whether too many lines, or too much of the text, repeat earlier lines. Blank lines are ignored."""
    lines = [stripped for line in lines if (stripped := line.strip())]
    distinct = set(lines)
    if len(distinct) == len(lines):
        return False
    if len(lines) - len(distinct) > MAX_DUPLICATE_LINES * len(lines):
        return True
    characters = sum(map(len, lines))
    return characters - sum(map(len, distinct)) > MAX_DUPLICATE_LINE_CHARACTERS * characters
