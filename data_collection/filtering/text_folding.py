"""Fold texts and keywords before matching, one character at a time; documents are written unfolded.

`fold` (rule `bounded`): compatibility decomposition (NFKD), full case folding, no combining marks and no invisible
format characters (soft hyphens, joiners, direction marks). So É equals e, composed or not; full-width letters equal
narrow ones, half-width kana wide ones, Arabic presentation forms and voweled letters the bare letters. The voicing
marks of kana stay, because they distinguish letters. In Arabic, alef maqsura becomes ya, ta marbuta becomes ha, and the
tatweel is removed. Every character that is not a letter, digit or underscore becomes one space.

`lower` (rule `published`): lower case, one character at a time.

Both are functions of the single character, so composed and decomposed texts become equal, and the compiled matcher can
use a table of them: `folding_table`.
"""

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy

CODE_POINTS = 0x110000
DROPPED = ("Mn", "Me", "Cf")  # Unicode categories: combining marks, invisible format characters
VOICING = "\u3099\u309a"  # ka + voicing mark = ga
ARABIC = {"\u0640": "", "\u0649": "\u064a", "\u0629": "\u0647"}
HANGUL = range(0xAC00, 0xD7A4)  # syllables: decomposed by rule, not by table
# Letters that do not change, and the other blocks with letters or marks: the rest is unassigned or for private use.
# A test checks all code points.
IDEOGRAPHS = (range(0x3400, 0xA000), range(0x20000, 0x2F800), range(0x30000, 0x33480))
OTHERS = (
    range(0x3400),
    range(0xA000, 0xAC00),
    range(0xD7A4, 0xD800),
    range(0xF900, 0x20000),
    range(0x2F800, 0x2FA20),
    range(0xE0000, 0xE1000),
)


class FoldingTable(NamedTuple):
    """The folding of each code point. Arrays: int32."""

    single: "numpy.ndarray"  # [CODE_POINTS]: the code point it becomes; -1: nothing; -2 - i: the i-th sequence
    starts: "numpy.ndarray"  # [sequences + 1]: where each sequence begins in `parts`
    parts: "numpy.ndarray"  # code points of all sequences


class _Folds(dict):
    """{code point: its folding}, computed at first use."""

    def __missing__(self, code_point: int) -> str:
        folded = self[code_point] = _fold_character(chr(code_point))
        return folded


def _fold_character(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _without_marks(unicodedata.normalize("NFKD", character)).casefold())
    folded = "".join(ARABIC.get(c, c) for c in _without_marks(decomposed))
    return folded if all(c.isalnum() or c == "_" or c in VOICING for c in folded) else " "


def _without_marks(text: str) -> str:
    return "".join(c for c in text if c in VOICING or unicodedata.category(c) not in DROPPED)


_folds = _Folds()


def fold(text: str) -> str:
    """The text for rule `bounded`: letters, digits, underscores, and one space for each other character."""
    return text.translate(_folds)


def lower(text: str) -> str:
    """The text for rule `published`; unlike str.lower it lowers a capital sigma independently of what follows."""
    return text.replace("Σ", "σ").lower()


@cache
def folding_table(rule: str) -> FoldingTable:
    """`fold` ("bounded") or `lower` ("published") of all code points; 0.1 s."""
    import numpy

    changed = _changed_by_fold() if rule == "bounded" else _changed_by_lower()
    single = numpy.full(CODE_POINTS, ord(" "), numpy.int32)
    if rule == "bounded":
        letters = [c for codes in (*IDEOGRAPHS, *OTHERS) for c in codes if chr(c).isalnum()]
        single[letters] = letters
    else:
        single[:] = numpy.arange(CODE_POINTS)
    starts, parts = [0], []
    for code, folded in changed.items():
        if len(folded) > 1:
            single[code] = -1 - len(starts)
            parts.extend(map(ord, folded))
            starts.append(len(parts))
        else:
            single[code] = ord(folded) if folded else -1
    return FoldingTable(single, numpy.array(starts, numpy.int32), numpy.array(parts, numpy.int32))


def _changed_by_fold() -> dict[int, str]:
    """{code point: its folding} unless that is the code point itself or a space."""
    changed = {code: unicodedata.normalize("NFKD", chr(code)) for code in HANGUL}
    for codes in OTHERS:
        for code in codes:
            c = chr(code)
            if unicodedata.category(c) in DROPPED or unicodedata.decomposition(c) or c.casefold() != c:
                changed[code] = _folds[code]
    return changed | {code: _folds[code] for code in map(ord, ("_", *ARABIC))}


def _changed_by_lower() -> dict[int, str]:
    pairs = ((code, lower(chr(code))) for code in range(0x20000))
    return {code: lowered for code, lowered in pairs if lowered != chr(code)}
