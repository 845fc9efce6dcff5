"""Remove running heads, running feet and page numbers from the pages of a document; find front and back matter.

Furniture is an outermost line at the top or bottom of several pages that is the same on all of them, except for numbers
that count with the pages (`16 / H-20`, `3-12`, `Page 3 of 20`). Up to three such lines are removed at either end; the
first other line ends this, so text inside a page is never changed. If pages agree in more than these lines, they keep
them. From a page without other text only the number is removed.

Numbers of questions, cases and tables may count with the pages for a while. They stay: lines whose numbers count on too
few of the pages that have such a line, `Question 7` and its like, and `7.` or `(7)` at the top of a page.

Front and back matter is found by what is on a page: lines that end in page numbers, marks of an imprint, few words. A
page with running text is none, wherever it is.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations, pairwise, takewhile
from typing import NamedTuple

MIN_PAGES = 3
MAX_LINES = 3  # at either end of a page
MIN_SHARE = 0.3  # of the pages from the line's first to its last: running heads are on every page or every second
MAX_CHARACTERS = 150  # a longer line is a paragraph
MIN_SIMILARITY = 0.85  # difflib ratio of running heads that recognition read differently
MIN_SIMILAR_LENGTH = 8  # characters; shorter lines are similar by chance
MAX_NUMBERS = 4  # in a line, of which any may count with the pages; of more numbers only one
# Of the pages with lines alike but for numbers, among and around those that count, so many must count: printed page
# numbers do on all but misread pages (.9 and more), questions 1, 2, 3, 5, 6, 8 on three of six.
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


# Front and back matter

LEADERS = re.compile(r"(?:[.·・．_…‥⋯]\s?){4,}|[…‥⋯]{2,}")
PAGE = r"[(（]?(\d{1,4})(?:\s?[-–]\s?\d+)?[)）]?"
# "Heart ..... 12", "Heart, 12, 15-17", "Heart 12", "12"; the number of a right-to-left line may come first
REFERENCE = re.compile(
    rf"(?:^|[\s,，、:\u0600-\u06ff\u3040-\u9fff]){PAGE}(?:[,，、;]\s?\d+(?:[-–]\d+)?)*[a-z]?[.,]?$", re.IGNORECASE
)
LEADING_REFERENCE = re.compile(rf"^{PAGE}(?:\s*(?:[.·…_]\s?){{4,}}|\s?،)")
INDEX_REFERENCE = re.compile(
    r"^\d+(?:[,-–]\s?\d+)*,?$|[,，、،]\s?\d{1,4}(?:\s?[-–]\s?\d+)?[a-z]{0,2}[.,]?$|^\d{1,4}\s?[،,]"
)
CONTENTS = re.compile(
    r"(?:table of )?contents|inhalt(?:sverzeichnis|sübersicht)?|sommaire|table des matières|índice(?: general)?|"
    r"contenido|sumario|tabla de contenidos?|содержание|оглавление|目\s?[录錄次]|もくじ|"
    r"(?:جدول |قائمة )?(?:ال)?محتويات|(?:ال)?فهرس"
)
FIGURES = re.compile(
    r"list of (?:figures|tables|illustrations|plates)|(?:abbildungs|tabellen)verzeichnis|"
    r"(?:table|liste) des (?:figures|illustrations|tableaux)|"
    r"(?:índice|lista) de (?:figuras|tablas|cuadros|ilustraciones)|список (?:иллюстраций|рисунков|таблиц)|"
    r"[插图表圖図]+[目一][录錄次覧]|قائمة (?:الأشكال|الجداول|الصور)"
)
INDEX = re.compile(
    r"(?:.{0,40} )?index(?: (?:of )?\w+)?|(?:sach|personen|namen)?register|(?:sach|stichwort)verzeichnis|"
    r"índice (?:alfabético|analítico|temático|de \w+)|(?:\w+ )?указатель(?: \w+)?|\w*索引|さくいん|"
    r"كشاف.*|مسرد.*|فهرس أبجدي"
)
LISTS = {"contents": CONTENTS, "figures": FIGURES, "index": INDEX}
# Each group counts once, with its weight.
IMPRINT = (
    (2, r"\bIS[BS]N\b"),
    (1, r"©|\(c\)\s*\d{4}|copyright|版权|版權|著作権|حقوق (?:الطبع|النشر)"),
    (
        2,
        r"rights reserved|permission|rechte vorbehalten|droits (?:de .{0,60})?réservés|derechos.{0,20}reservados"
        r"|права (?:защищены|сохранены)|воспроизведени|翻印必究|侵权|無断|複写|الحقوق محفوظة",
    ),
    (
        1,
        r"\d\. ?auflage|\b(?:first|second|third|\d+(?:st|nd|rd|th)) (?:edition|printing)|\d ?[eè][rm]?e? édition"
        r"|\d.{0,3} edición|-е изд|издание|第.{1,3}版|الطبعة",
    ),
    (
        1,
        r"print(?:ed|ing) (?:in|by|and)|publish(?:ed|er|ing)|verlag|druck(?:erei)?\b|imprim|éditeur|éditions|impreso"
        r"|editorial|издательств|типографи|印刷|印次|出版|発行|发行|دار النشر|الناشر|مطبعة|مطابع",
    ),
    (
        1,
        r"library of congress|catalog(?:u?ing|o)|\bCIP\b|nationalbibliothe[kc]|dépôt légal|depósito legal|УДК|ББК|тираж"
        r"|字数|开本|定\s?价|定価|رقم الإيداع",
    ),
    (1, r"\blicen[cs]ed?\b|licence|licencia|lizenz|лицензи|creative commons|许可|ライセンス|ترخيص"),
    (1, r"(?:[€$£¥￥]\s?\d|\d\s?(?:€|元|円|руб))"),
)
IMPRINT_GROUPS = tuple((weight, re.compile(pattern, re.IGNORECASE)) for weight, pattern in IMPRINT)
MIN_IMPRINT = 3
MIN_COPYRIGHTS = 3  # as many lines of copyright count as another group
MAX_IMPRINT_LETTERS = 1200  # twice as many with an ISBN; Chinese characters and kana count as two letters
MAX_TITLE_LETTERS, MAX_TITLE_LINES, MAX_TITLE_DIGITS = 400, 20, 0.3  # digits for each letter: more are a table
MAX_COVER_LETTERS = 60  # more only with an address or a mark of an imprint
ADDRESS = re.compile(r"www\.|https?://|\S@\S|\btel\b|☎", re.IGNORECASE)
LIST_ITEM = re.compile(r"(?:[•·▪◦○●■□–*-]|\(?\d{1,2}[.)、．]|[a-z]\))\s")
MAX_BEYOND = 50  # a page number may be higher than the number of pages by this
MIN_REFERENCES = 3  # on a page with a heading or leaders, or behind such a page; on others the next
MIN_BARE_REFERENCES = 8
MIN_NAMED_SHARE = 0.8  # of MIN_REFERENCE_SHARE, for an index with a heading: some entries have only sub-entries
MIN_REFERENCE_SHARE, MIN_SORTED = 0.5, 0.85  # of lines; of neighbouring page numbers of contents
MIN_ALPHABETICAL = 0.62  # of neighbouring lines of an index by their first letters; of running text .53
MAX_INDEX_LINE = 45  # letters in the middle one of an index's lines by length
LONG_LINE, LONG_LINES = 55, 3  # running text: as many neighbouring lines of as many letters
MIN_SENTENCE = 5  # words of a line that ends as a sentence does
MIN_SENTENCES = 2  # beside a list: the page also has text
SENTENCE_END = re.compile(r"[^\W\d_]{2}[)»”\"’']?[.!?؟][)»”\"’']?$|[。！？][」』”）]?$")
WEAK = ("blank", "title", "cover")  # what a short document may have without being a book


Key = tuple[str, tuple[int, ...]]  # of lines that are the same; see _keys


class OuterLine(NamedTuple):
    """One of the first or last lines of a page."""

    place: int  # its index
    text: str
    template: str  # with # for every number
    keys: list[Key]


class Cleaned(NamedTuple):
    pages: list[str]  # the pages' texts without furniture
    removed: dict[str, int]  # {"heads", "feet", "page_numbers": lines removed}


def remove_furniture(pages: list[str]) -> Cleaned:
    """pages: the document's pages in order, with lines as read (best before they are joined to paragraphs)."""
    split = [page.split("\n") for page in pages]
    sides = {step: [_outer_lines(lines, step, number) for number, lines in enumerate(split)] for step in (1, -1)}
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


def _furniture_at(sides: list[list[OuterLine]], counting: set[Key], name: str, step: int) -> list[dict[int, str]]:
    """For each page {index of a line: name or "page_numbers"}, from the top (step 1) or bottom (step -1)."""
    repeated = counting | {key for key in _repeated(sides) if not key[1]}
    kinds = sorted({kind for kind, _ in repeated if len(kind) >= MIN_SIMILAR_LENGTH})
    pages = []
    for side in sides:
        taken = {}
        for line in side:
            kind = next((key[0] for key in line.keys if key in repeated), "") or _similar(line.template, kinds)
            if not kind or (step > 0 and LIST_NUMBER.fullmatch(kind)):
                break
            taken[line.place] = name if _has_letters(kind) else "page_numbers"
        if len(taken) > MAX_LINES:
            taken = dict(takewhile(lambda item: item[1] == "page_numbers", taken.items()))
        pages.append(taken)
    return pages


def _outer_lines(lines: list[str], step: int, number: int) -> list[OuterLine]:
    """The first (step 1) or last (step -1) lines of page `number` that are not blank, from the edge inwards."""
    places = range(len(lines)) if step > 0 else range(len(lines) - 1, -1, -1)
    shown = []
    for place in places:
        if lines[place].strip():
            text = " ".join(lines[place].casefold().split())
            shown.append(OuterLine(place, text, _template(text), _keys(text, number)))
            if len(shown) > MAX_LINES:  # one more, to see whether the pages agree further
                break
    return shown


def _repeated(sides: list[list[OuterLine]]) -> set[Key]:
    """Keys of lines at the ends of enough pages. sides: of each page its outermost lines."""
    pages_of: defaultdict[Key, list[int]] = defaultdict(list)
    pages_like: defaultdict[str, list[int]] = defaultdict(list)
    for number, side in enumerate(sides):
        for key in {key for line in side for key in line.keys}:
            pages_of[key].append(number)
        for template in {line.template for line in side}:
            pages_like[template].append(number)
    repeated = {
        key
        for key, pages in pages_of.items()
        if len(pages) >= MIN_PAGES and len(pages) >= MIN_SHARE * (pages[-1] - pages[0] + 1)
    }
    counting: defaultdict[str, set[int]] = defaultdict(set)
    for kind, counters in repeated:
        if counters:
            counting[_template(kind)].update(pages_of[kind, counters])
    counted = {template: sorted(pages) for template, pages in counting.items()}

    def is_kept_up(kind: str, pages: list[int]) -> bool:
        margin, template = max(MIN_PAGES, len(pages) // 2), _template(kind)
        around = pages[0] - margin, pages[-1] + margin
        return _within(counted[template], *around) >= MIN_COUNTING * _within(pages_like[template], *around)

    return {
        (kind, counters) for kind, counters in repeated if not counters or is_kept_up(kind, pages_of[kind, counters])
    }


def _within(values: list[int], first: int, last: int) -> int:
    """How many of sorted values are from first to last."""
    return bisect_right(values, last) - bisect_left(values, first)


def _keys(text: str, number: int) -> list[Key]:
    """Lines with a common key are the same: the line itself, or the line without its counting numbers.

    A key is (text, numbers minus the page's index). A line without letters has no key without such numbers.
    """
    if not 0 < len(text) <= MAX_CHARACTERS:
        return []
    keys: list[Key] = [(text, ())] if _has_letters(text) else []
    found = [*NUMBER.finditer(text)] or [*ROMAN_NUMBER.finditer(text)]
    if not found or f" {''.join(filter(str.isalpha, NUMBER_SIGN.sub('', text)))} " in ITEMS:
        return keys
    for size in range(1, len(found) + 1 if len(found) <= MAX_NUMBERS else 2):
        for some in combinations(found, size):
            kind, end = "", 0
            for one in some:
                kind, end = f"{kind}{text[end : one.start()]}#", one.end()
            values = (int(one[0]) if one[0].isdecimal() else _roman(one[0]) for one in some)
            keys.append((kind + text[end:], tuple(value - number for value in values)))
    return keys


def _template(text: str) -> str:
    return NUMBER.sub("#", text) if "#" in text or NUMBER.search(text) else ROMAN_NUMBER.sub("#", text)


def _similar(text: str, kinds: list[str]) -> str:
    """The running head that equals a line's template except for a misrecognised letter or two; "" for none."""
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


def find_matter(pages: dict[int, str], front: int, back: int) -> dict[int, str]:
    """{page: kind} of the pages of front and back matter: title, imprint, contents, figures, index, cover, blank.

    pages: {number: lines}, those up to number `front` and from number `back` on are looked at. Titles, covers and blank
    pages count only in a document that has one of the other kinds. Titles and an imprint are before all running text
    and contents, covers and a further imprint behind all running text.
    """
    found: dict[int, str] = {}
    for numbers, weak in (
        (sorted(n for n in pages if n <= front), "title"),
        (sorted(n for n in pages if n >= back), "cover"),
    ):
        cleaned = remove_furniture([pages[number] for number in numbers]).pages
        split = [[line.strip() for line in page.split("\n") if line.strip()] for page in cleaned]
        kinds: list[str] = []
        before: list[str] = []
        for lines in split:
            kind = _kind_of(lines, weak, max(pages), kinds[-1] if kinds else "", before)
            kinds.append("contents" if (kind, weak) == ("index", "title") else kind)  # an index is at the end
            before = lines
        outer = list(zip(numbers, kinds, strict=True))
        found |= {number: kind for number, kind in outer if kind in LISTS}
        for number, kind in outer if weak == "title" else reversed(outer):
            if kind not in (*WEAK, "imprint"):
                break
            found[number] = kind
    return found if {*found.values()} - {*WEAK} else {}


def _kind_of(lines: list[str], weak: str, last: int, kind_before: str = "", before: Sequence[str] = ()) -> str:
    """The kind of one page, "" for text. weak: what a page of few words is; before: the lines of the page before."""
    letters, digits = sum(map(_width, lines)), sum(c.isdigit() for line in lines for c in line)
    if letters + digits < MIN_SENTENCE:
        return "blank"
    if kind := _list_kind(lines, last, kind_before, before):
        return kind
    text = " ".join(lines)
    copyrights = sum(IMPRINT_GROUPS[1][1].search(line) is not None for line in lines) >= MIN_COPYRIGHTS
    marks = copyrights + sum(weight for weight, pattern in IMPRINT_GROUPS if pattern.search(text))
    if marks >= MIN_IMPRINT and letters <= MAX_IMPRINT_LETTERS * (2 if IMPRINT_GROUPS[0][1].search(text) else 1):
        return "imprint"
    if letters > MAX_TITLE_LETTERS or digits > MAX_TITLE_DIGITS * letters or len(lines) > MAX_TITLE_LINES:
        return ""
    if weak == "cover" and letters > MAX_COVER_LETTERS and not marks and not ADDRESS.search(text):
        return ""
    return "" if _has_running_text(lines) or any(map(LIST_ITEM.match, lines)) else weak


def _list_kind(lines: list[str], last: int, kind_before: str, before: Sequence[str]) -> str:
    """contents, figures or index for a page of lines that end in page numbers, else "". last: page of the document."""
    heads = [" ".join(NUMBER.sub("", line).casefold().split()).strip(" .:|-–—") for line in lines[:4]]
    named = next((name for name, words in LISTS.items() if any(map(words.fullmatch, heads))), "")
    leaders = sum(LEADERS.search(line) is not None for line in lines)
    is_named = bool(named) or leaders >= MIN_REFERENCE_SHARE * len(lines)
    references = [page for line in lines if (page := _reference(line)) and page <= last + MAX_BEYOND]
    share = len(references) / len(lines)
    others = [line for line in lines if not _reference(line) and not LEADERS.search(line)]
    if len(references) < MIN_REFERENCES or sum(map(_is_sentence, others)) >= MIN_SENTENCES:
        return ""
    ends = [page for line in before[-MIN_REFERENCES:] if (page := _reference(line))]
    goes_on = kind_before in ("contents", "figures") and bool(ends) and ends[-1] <= references[0]
    is_sorted = _share(references) >= MIN_SORTED and len({*references}) > 1
    if (is_named or goes_on) and "index" not in (named, kind_before) and is_sorted and share >= MIN_REFERENCE_SHARE:
        return named or ("figures" if kind_before == "figures" else "contents")
    if sum(LIST_ITEM.match(line) is not None for line in lines) >= MIN_REFERENCE_SHARE * len(lines):
        return ""  # numbered questions or steps
    entries = [LEADERS.sub(" ", line).strip() for line in lines]
    widths = sorted(map(_width, entries))
    with_commas = sum(INDEX_REFERENCE.search(entry) is not None for entry in entries) / len(lines)
    initials = [initial for entry in entries if (initial := next(filter(str.isalpha, entry.casefold()), ""))]
    has_order = sum(initial < "\u0600" for initial in initials) > len(initials) / 2  # of its letters' codes
    is_index = (kind_before == "index" and with_commas >= MIN_REFERENCE_SHARE) or (named == "index" and not has_order)
    if not is_index and _share(initials) < MIN_ALPHABETICAL:
        return ""
    is_named = is_named or kind_before == "index"
    if len(references) < MIN_BARE_REFERENCES and not is_named:
        return ""
    enough = (share if is_named else with_commas) >= MIN_REFERENCE_SHARE * (MIN_NAMED_SHARE if is_named else 1)
    return "index" if enough and widths[len(widths) // 2] <= MAX_INDEX_LINE else ""


def _reference(line: str) -> int:
    """The page number that a line of contents or of an index ends in; 0 if there is none."""
    found = LEADING_REFERENCE.match(line) or REFERENCE.search(LEADERS.sub(" ", line).strip())
    if not found:
        return 0
    return int(found[1]) if found[1].isdecimal() else 0


def _share(values: list) -> float:
    """The share of neighbouring values that are in order."""
    return sum(a <= b for a, b in pairwise(values)) / max(1, len(values) - 1)


def _width(line: str) -> int:
    """Letters of a line; Chinese and kana count as two."""
    return sum(1 + ("\u3040" <= c <= "\u9fff") for c in line if c.isalpha())


def _has_running_text(lines: list[str]) -> bool:
    if any(map(_is_sentence, lines)):
        return True
    row = 0
    for line in lines:
        row = row + 1 if _width(line) >= LONG_LINE else 0
        if row == LONG_LINES:
            return True
    return False


def _is_sentence(line: str) -> bool:
    """Whether a line ends a sentence of some words."""
    return SENTENCE_END.search(line) is not None and (len(line.split()) >= MIN_SENTENCE or line[-1] in "。！？」』”）")
