"""Take running heads, running feet and page numbers off the pages of a document.

A line is such furniture when it stands outermost at the top or bottom of several pages and is the same there but for a
number that counts with the pages. One such line after another is taken off, up to three at either end; the first line
that is none ends it, so text inside a page is never touched. Pages that are alike beyond these lines keep them, and of
a page that holds nothing else only the number is taken. Example:

    python -c "import page_furniture as f; print(f.remove_furniture(['Title 1\\nA', 'Title 2\\nB', 'Title 3\\nC']))"
"""

import re
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from itertools import takewhile
from typing import NamedTuple

LEAST_PAGES = 3
MOST_LINES = 3  # at either end of a page
LEAST_SHARE = 0.3  # of the pages from its first to its last: running heads stand on every page or every second
MOST_CHARACTERS = 150  # a longer line is a paragraph
RESEMBLANCE = 0.85  # of difflib, between running heads that recognition read differently
LEAST_RESEMBLED = 8  # characters; shorter ones are alike by chance
NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


class Cleaned(NamedTuple):
    pages: list[str]  # the pages' texts without furniture
    removed: dict[str, int]  # {"heads", "feet", "page_numbers": lines taken off}
    lines: list[tuple[str, int]]  # the kinds of lines taken off ("#" for the page's number) and how often, most first


def remove_furniture(pages: list[str]) -> Cleaned:
    """pages: the document's pages in order, text lines as read (best before lines are joined to paragraphs)."""
    split = [page.split("\n") for page in pages]
    found = [_furniture_at(split, name, step) for name, step in (("heads", 1), ("feet", -1))]
    removed: Counter = Counter(heads=0, feet=0, page_numbers=0)
    kinds: Counter = Counter()
    for lines, heads, feet in zip(split, *found, strict=True):
        together = heads | feet
        bare = all(not line.strip() or place in together for place, line in enumerate(lines))
        for place, (name, kind) in together.items():
            if bare and name != "page_numbers":
                continue
            lines[place] = ""
            removed[name] += 1
            kinds[kind] += 1
    texts = [
        page if page.split("\n") == lines else "\n".join(lines).strip("\n")
        for page, lines in zip(pages, split, strict=True)
    ]
    return Cleaned(texts, dict(removed), kinds.most_common())


def _furniture_at(split: list[list[str]], name: str, step: int) -> list[dict[int, tuple[str, str]]]:
    """For each page {place of a line: (name or "page_numbers", what it is alike)}, from the top (step 1) or bottom."""
    sides = [_outer_lines(lines, step) for lines in split]
    repeated = _repeated(sides)
    kinds = sorted({kind for kind, _ in repeated if len(kind) >= LEAST_RESEMBLED})
    pages = []
    for number, side in enumerate(sides):
        taken = {}
        for place, line in side:
            kind = next((key[0] for key in _keys(line, number) if key in repeated), "") or _resembled(line, kinds)
            if not kind:
                break
            taken[place] = (name if _has_letters(kind) else "page_numbers", kind)
        if len(taken) > MOST_LINES:
            taken = dict(takewhile(lambda item: item[1][0] == "page_numbers", taken.items()))
        pages.append(taken)
    return pages


def _outer_lines(lines: list[str], step: int) -> list[tuple[int, str]]:
    """(place, line) of the first (step 1) or last (step -1) lines that hold something, from the edge inwards."""
    places = range(len(lines)) if step > 0 else range(len(lines) - 1, -1, -1)
    shown = []
    for place in places:
        if lines[place].strip():
            shown.append((place, lines[place]))
            if len(shown) > MOST_LINES:  # one more, to see whether the likeness goes on
                break
    return shown


def _repeated(sides: list[list[tuple[int, str]]]) -> set[tuple[str, int | None]]:
    """Keys of lines that stand at one end of enough pages."""
    pages_of: defaultdict[tuple[str, int | None], list[int]] = defaultdict(list)
    for number, side in enumerate(sides):
        for key in {key for _, line in side for key in _keys(line, number)}:
            pages_of[key].append(number)
    return {
        key
        for key, pages in pages_of.items()
        if len(pages) >= LEAST_PAGES and len(pages) >= LEAST_SHARE * (pages[-1] - pages[0] + 1)
    }


def _keys(line: str, number: int) -> list[tuple[str, int | None]]:
    """What makes lines alike: the line itself, or the line without one number and how far that is from the page's.

    A line of figures alone is alike only as a number that counts with the pages.
    """
    text = " ".join(line.casefold().split())
    if not 0 < len(text) <= MOST_CHARACTERS:
        return []
    keys: list[tuple[str, int | None]] = [(text, None)] if _has_letters(text) else []
    for found in NUMBER.finditer(text):
        value = int(found[0]) if found[0].isdecimal() else _roman(found[0])
        keys.append((f"{text[: found.start()]}#{text[found.end() :]}", value - number))
    return keys


def _resembled(line: str, kinds: list[str]) -> str:
    """The kind of running head that a line is too, but for a letter or two that recognition got wrong; "" for none."""
    text = NUMBER.sub("#", " ".join(line.casefold().split()))
    for kind in kinds:
        if abs(len(kind) - len(text)) <= (1 - RESEMBLANCE) * len(kind) + 2:
            compared = SequenceMatcher(None, NUMBER.sub("#", kind), text, autojunk=False)
            if compared.quick_ratio() >= RESEMBLANCE and compared.ratio() >= RESEMBLANCE:
                return kind
    return ""


def _has_letters(text: str) -> bool:
    return any(c.isalpha() for c in text)


def _roman(numeral: str) -> int:
    values = [ROMAN[letter] for letter in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))
