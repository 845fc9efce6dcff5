"""Remove running heads, running feet and page numbers from the pages of a document.

Furniture is an outermost line at the top or bottom of several pages that is the same on all of them, except for numbers
that count with the pages (`16 / H-20`, `3-12`, `Page 3 of 20`). Up to three such lines are removed at either end; the
first other line ends this, so text inside a page is never changed. If pages agree in more than these lines, they keep
them. From a page without other text only the number is removed.

Numbers of questions, cases and tables may count with the pages for a while. They stay: lines whose numbers count on too
few of the pages that have such a line, `Question 7` and its like, and `7.` or `(7)` at the top of a page.
"""

import re
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from itertools import combinations, takewhile
from typing import NamedTuple

MIN_PAGES = 3
MAX_LINES = 3  # at either end of a page
MIN_SHARE = 0.3  # of the pages from the line's first to its last: running heads are on every page or every second
MAX_CHARACTERS = 150  # a longer line is a paragraph
MIN_SIMILARITY = 0.85  # difflib ratio of running heads that recognition read differently
MIN_SIMILAR_LENGTH = 8  # characters; shorter lines are similar by chance
MAX_NUMBERS = 4  # in a line, of which any may count with the pages; of more numbers only one
# Of the pages that have lines alike but for numbers, these must count: printed page numbers do on all but misread pages
# (.9 and more), questions 1, 2, 3, 5, 6, 8, 10 on seven pages on .43.
MIN_COUNTING = 0.6
NUMBER = re.compile(r"\d+")
ROMAN_NUMBER = re.compile(r"\b[ivxlc]+\b")
LIST_NUMBER = re.compile(r"[(（\[]#[)）\]]|#\s*[.)、．）:：]")
# Words that with a number are a heading; page numbers have other words.
ITEMS = (
    " question q quiz exercise problem task case item patient table figure fig chapter lesson unit step example answer "
    "exercice cas casclinique tableau chapitre leçon exemple réponse pregunta ejercicio caso casoclínico tabla figura "
    "capítulo tema lección paciente ejemplo respuesta frage aufgabe übung fall tabelle tab abbildung abb kapitel "
    "lektion beispiel antwort вопрос задача задание случай таблица рисунок рис глава пример билет ответ урок пациент "
    "题 題 问 問 第题 第題 第問 问题 問題 設問 习题 例 例题 例題 病例 症例 案例 图 図 表 第章 第节 第節 第课 第課 "
    "سؤال السؤال حالة الحالة تمرين جدول الجدول شكل الشكل فصل الفصل مثال المريض "
)
NUMBER_SIGN = re.compile(r"\bn(?:[°ºo]|r\b)")
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


Key = tuple[str, tuple[int, ...]]  # of lines that are the same; see _keys


class Cleaned(NamedTuple):
    pages: list[str]  # the pages' texts without furniture
    removed: dict[str, int]  # {"heads", "feet", "page_numbers": lines removed}


def remove_furniture(pages: list[str]) -> Cleaned:
    """pages: the document's pages in order, with lines as read (best before they are joined to paragraphs)."""
    split = [page.split("\n") for page in pages]
    sides = {step: [_outer_lines(lines, step) for lines in split] for step in (1, -1)}
    # A page number may be at the top of some pages and at the bottom of others.
    counting = {key for key in _repeated([top + bottom for top, bottom in zip(*sides.values(), strict=True)]) if key[1]}
    found = [_furniture_at(sides[step], counting, name, step) for name, step in (("heads", 1), ("feet", -1))]
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


def _furniture_at(sides: list[list[tuple[int, str]]], counting: set[Key], name: str, step: int) -> list[dict[int, str]]:
    """For each page {index of a line: name or "page_numbers"}, from the top (step 1) or bottom (step -1)."""
    repeated = counting | {key for key in _repeated(sides) if not key[1]}
    kinds = sorted({kind for kind, _ in repeated if len(kind) >= MIN_SIMILAR_LENGTH})
    pages = []
    for number, side in enumerate(sides):
        taken = {}
        for place, line in side:
            kind = next((key[0] for key in _keys(line, number) if key in repeated), "") or _similar(line, kinds)
            if not kind or (step > 0 and LIST_NUMBER.fullmatch(kind)):
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


def _repeated(sides: list[list[tuple[int, str]]]) -> set[Key]:
    """Keys of lines at the ends of enough pages. sides: of each page its outermost lines, (index, line)."""
    pages_of: defaultdict[Key, list[int]] = defaultdict(list)
    pages_like: defaultdict[str, set[int]] = defaultdict(set)
    for number, side in enumerate(sides):
        for key in {key for _, line in side for key in _keys(line, number)}:
            pages_of[key].append(number)
        for _, line in side:
            if len(line) <= MAX_CHARACTERS:
                pages_like[_template(line)].add(number)
    repeated = {
        key
        for key, pages in pages_of.items()
        if len(pages) >= MIN_PAGES and len(pages) >= MIN_SHARE * (pages[-1] - pages[0] + 1)
    }
    counting: defaultdict[str, set[int]] = defaultdict(set)
    for kind, counters in repeated:
        if counters:
            counting[_template(kind)].update(pages_of[kind, counters])
    return {
        (kind, counters)
        for kind, counters in repeated
        if not counters or len(counting[like := _template(kind)]) >= MIN_COUNTING * len(pages_like[like])
    }


def _keys(line: str, number: int) -> list[Key]:
    """Lines with a common key are the same: the line itself, or the line without its counting numbers.

    A key is (text, numbers minus the page's index). A line without letters has no key without such numbers.
    """
    text = _folded(line)
    if not 0 < len(text) <= MAX_CHARACTERS:
        return []
    keys: list[Key] = [(text, ())] if _has_letters(text) else []
    if f" {''.join(filter(str.isalpha, NUMBER_SIGN.sub('', text)))} " in ITEMS:
        return keys
    found = [*NUMBER.finditer(text)] or [*ROMAN_NUMBER.finditer(text)]
    for size in range(1, len(found) + 1 if len(found) <= MAX_NUMBERS else 2):
        for some in combinations(found, size):
            kind, end = "", 0
            for one in some:
                kind, end = f"{kind}{text[end : one.start()]}#", one.end()
            values = (int(one[0]) if one[0].isdecimal() else _roman(one[0]) for one in some)
            keys.append((kind + text[end:], tuple(value - number for value in values)))
    return keys


def _folded(line: str) -> str:
    return " ".join(line.casefold().split())


def _template(line: str) -> str:
    """The line with # for every number."""
    text = _folded(line)
    return NUMBER.sub("#", text) if "#" in text or NUMBER.search(text) else ROMAN_NUMBER.sub("#", text)


def _similar(line: str, kinds: list[str]) -> str:
    """The running head that equals a line except for a misrecognised letter or two; "" for none."""
    text = _template(line)
    for kind in kinds:
        if abs(len(kind) - len(text)) <= (1 - MIN_SIMILARITY) * len(kind) + 2:
            compared = SequenceMatcher(None, _template(kind), text, autojunk=False)
            if compared.quick_ratio() >= MIN_SIMILARITY and compared.ratio() >= MIN_SIMILARITY:
                return kind
    return ""


def _has_letters(text: str) -> bool:
    return any(c.isalpha() for c in text)


def _roman(numeral: str) -> int:
    values = [ROMAN[letter] for letter in numeral]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))
