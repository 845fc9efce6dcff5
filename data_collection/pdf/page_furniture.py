"""Remove running heads, running feet and page numbers from the pages of a document.

Furniture is an outermost line at the top or bottom of several pages that is the same on all of them, except for a
number that counts with the pages. Up to three such lines are removed at either end; the first other line ends this, so
text inside a page is never changed. If pages agree in more than these lines, they keep them. From a page without other
text only the number is removed.
"""

import re
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from itertools import takewhile
from typing import NamedTuple

MIN_PAGES = 3
MAX_LINES = 3  # at either end of a page
MIN_SHARE = 0.3  # of the pages from the line's first to its last: running heads are on every page or every second
MAX_CHARACTERS = 150  # a longer line is a paragraph
MIN_SIMILARITY = 0.85  # difflib ratio of running heads that recognition read differently
MIN_SIMILAR_LENGTH = 8  # characters; shorter lines are similar by chance
NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


class Cleaned(NamedTuple):
    pages: list[str]  # the pages' texts without furniture
    removed: dict[str, int]  # {"heads", "feet", "page_numbers": lines removed}


def remove_furniture(pages: list[str]) -> Cleaned:
    """pages: the document's pages in order, with lines as read (best before they are joined to paragraphs)."""
    split = [page.split("\n") for page in pages]
    found = [_furniture_at(split, name, step) for name, step in (("heads", 1), ("feet", -1))]
    removed: Counter = Counter(heads=0, feet=0, page_numbers=0)
    for lines, heads, feet in zip(split, *found, strict=True):
        furniture = heads | feet
        is_bare = all(not line.strip() or place in furniture for place, line in enumerate(lines))
        for place, name in furniture.items():
            if name == "page_numbers" or not is_bare:
                lines[place] = ""
                removed[name] += 1
    texts = [
        page if page.split("\n") == lines else "\n".join(lines).strip("\n")
        for page, lines in zip(pages, split, strict=True)
    ]
    return Cleaned(texts, dict(removed))


def _furniture_at(split: list[list[str]], name: str, step: int) -> list[dict[int, str]]:
    """For each page {index of a line: name or "page_numbers"}, from the top (step 1) or bottom (step -1)."""
    sides = [_outer_lines(lines, step) for lines in split]
    repeated = _repeated(sides)
    kinds = sorted({kind for kind, _ in repeated if len(kind) >= MIN_SIMILAR_LENGTH})
    pages = []
    for number, side in enumerate(sides):
        taken = {}
        for place, line in side:
            kind = next((key[0] for key in _keys(line, number) if key in repeated), "") or _similar(line, kinds)
            if not kind:
                break
            taken[place] = name if _has_letters(kind) else "page_numbers"
        if len(taken) > MAX_LINES:
            taken = dict(takewhile(lambda item: item[1] == "page_numbers", taken.items()))
        pages.append(taken)
    return pages


def _outer_lines(lines: list[str], step: int) -> list[tuple[int, str]]:
    """(index, line) of the first (step 1) or last (step -1) lines that are not blank, from the edge inwards."""
    places = range(len(lines)) if step > 0 else range(len(lines) - 1, -1, -1)
    shown = []
    for place in places:
        if lines[place].strip():
            shown.append((place, lines[place]))
            if len(shown) > MAX_LINES:  # one more, to see whether the pages agree further
                break
    return shown


def _repeated(sides: list[list[tuple[int, str]]]) -> set[tuple[str, int | None]]:
    """Keys of lines at one end of enough pages."""
    pages_of: defaultdict[tuple[str, int | None], list[int]] = defaultdict(list)
    for number, side in enumerate(sides):
        for key in {key for _, line in side for key in _keys(line, number)}:
            pages_of[key].append(number)
    return {
        key
        for key, pages in pages_of.items()
        if len(pages) >= MIN_PAGES and len(pages) >= MIN_SHARE * (pages[-1] - pages[0] + 1)
    }


def _keys(line: str, number: int) -> list[tuple[str, int | None]]:
    """Lines with a common key are the same: the line itself, or (line without one number, number - page index).

    A line without letters has only keys of the second kind.
    """
    text = " ".join(line.casefold().split())
    if not 0 < len(text) <= MAX_CHARACTERS:
        return []
    keys: list[tuple[str, int | None]] = [(text, None)] if _has_letters(text) else []
    for found in NUMBER.finditer(text):
        value = int(found[0]) if found[0].isdecimal() else _roman(found[0])
        keys.append((f"{text[: found.start()]}#{text[found.end() :]}", value - number))
    return keys


def _similar(line: str, kinds: list[str]) -> str:
    """The running head that equals a line except for a misrecognised letter or two; "" for none."""
    text = NUMBER.sub("#", " ".join(line.casefold().split()))
    for kind in kinds:
        if abs(len(kind) - len(text)) <= (1 - MIN_SIMILARITY) * len(kind) + 2:
            compared = SequenceMatcher(None, NUMBER.sub("#", kind), text, autojunk=False)
            if compared.quick_ratio() >= MIN_SIMILARITY and compared.ratio() >= MIN_SIMILARITY:
                return kind
    return ""


def _has_letters(text: str) -> bool:
    return any(c.isalpha() for c in text)


def _roman(numeral: str) -> int:
    values = [ROMAN[letter] for letter in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))
