"""The lines of a PDF page's text layer in reading order: columns one after the other, top to bottom.

pdfium gives the text in the order in which the file draws it, and joins everything at one height to one line, across
columns. Geometry restores the reading order. The file's order is kept where geometry gives no clear answer: tables,
forms, drawings with labels, vertical writing.
"""

import re
from bisect import bisect
from itertools import accumulate, pairwise
from statistics import median
from typing import NamedTuple

from filtering.language import script_of
from pdf.text_repair import SENTENCE_ENDS

MAX_POINTS = 20_000  # a larger character or page is a broken file's
INVISIBLE = 3  # text render mode, PDF 32000-1:2008, table 106
# What pdfium writes for a hyphen at a line's end; the next line then follows without a line break.
LINE_END_HYPHENS = "\x02\ufffe"
PRINTED_LINE = re.compile(f"[^\n{LINE_END_HYPHENS}]+[{LINE_END_HYPHENS}]?")
# pdfium reverses right-to-left text letter by letter, and so also the two letters of one lam-alef shape.
REVERSED_LAM_ALEF = re.compile("[\u0622\u0623\u0625\u0627]\u0644")

MIN_GAP = 6.0  # points between columns; words of 12 point print are about 3 to 5 apart
WIDE = 0.55  # of the text's width: such lines may span two columns; a line of one column of two is narrower
SAMPLED_LINES = 4  # wide lines searched for gaps
VALLEY = 0.75  # of the usual number of lines across an x: fewer may be a gutter below a title and a summary
MIN_COLUMN_LINES = 4  # per column; two or three lines side by side are a table, a letterhead, a caption
MIN_LETTERS = 12  # in a column's median line (Chinese characters count double): table cells have fewer
MIN_FILL = 0.5  # width of a column's median line / width of the column
OVERHANG = 0.1  # share of a line that may reach into the next column, as addresses and formulas do
PARAGRAPH_GAP = 1.45  # times the median distance of lines
NOTE_SIZE = 0.92  # of the column's print: smaller lines at its end are footnotes if the first has a note's mark
NOTE = re.compile(r"[\d*†‡§\[(]")


class Box(NamedTuple):
    """Edges in points (1/72 inch); x grows to the right and y upwards, as the page is seen."""

    left: float
    bottom: float
    right: float
    top: float


NO_BOX = Box(0.0, 0.0, 0.0, 0.0)


def union(boxes: list[Box]) -> Box:
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return Box(min(lefts), min(bottoms), max(rights), max(tops))


class Line(NamedTuple):
    text: str
    box: Box
    start: int  # index of the text's first character in the page's text

    @property
    def height(self) -> float:
        return self.box.top - self.box.bottom

    @property
    def width(self) -> float:
        return self.box.right - self.box.left


class PageText:
    """The text of one open pdfium text page. rotation: degrees (0, 90, 180, 270) by which viewers rotate the page."""

    def __init__(self, text_page, rotation: int = 0):
        import pypdfium2.raw as raw

        self.text = text_page.get_text_range(errors="replace")
        self.rotation = rotation
        self.raw_page, self.raw = text_page.raw, raw
        self.rectangle = raw.FS_RECTF()
        # pdfium counts UTF-16 units, including characters without a code, which the text omits.
        self.units: list[int] = []
        if text_page.count_chars() != len(self.text):
            self.units = [0, *accumulate(1 + (c > "\uffff") for c in self.text)]
        self.text = REVERSED_LAM_ALEF.sub(self._lam_alef, self.text)

    def _lam_alef(self, pair: re.Match) -> str:
        """The two letters in logical order if they are one shape, that is, have the same box."""
        first, second = self.character_box(pair.start()), self.character_box(pair.start() + 1)
        return pair[0][::-1] if first == second and first.right > first.left else pair[0]

    def lines(self) -> list[Line]:
        """Lines that are not blank, in the file's order."""
        lines = []
        for part in PRINTED_LINE.finditer(self.text):
            shown = part[0].strip()
            if shown:
                first = part.start() + part[0].index(shown[0])
                lines.append(Line(shown, self.box(first, first + len(shown) - 1), first))
        return lines

    def box(self, first: int, last: int) -> Box:
        """The box around two characters, given by their indices in the text.

        Two calls per line: the boxes of all characters would cost ten times the text itself.
        """
        if last > first and self.text[last] in LINE_END_HYPHENS:
            last -= 1  # the mark has no box
        boxes = [self.character_box(first), self.character_box(last)]
        return union([box for box in boxes if box != NO_BOX] or boxes)

    def character_box(self, index: int) -> Box:
        """The box of one character, as high as its font; NO_BOX if pdfium has none."""
        if not self.raw.FPDFText_GetLooseCharBox(self.raw_page, self._pdfium_index(index), self.rectangle):
            return NO_BOX
        box = self.rectangle
        if not (box.right - box.left < MAX_POINTS and box.top - box.bottom < MAX_POINTS):  # also rejects NaN
            return NO_BOX
        return self.rotated(box.left, box.bottom, box.right, box.top)

    def rotated(self, left: float, bottom: float, right: float, top: float) -> Box:
        """A box in file coordinates as the page is displayed (up to a shift: only differences matter)."""
        if self.rotation == 90:
            return Box(bottom, -right, top, -left)
        if self.rotation == 180:
            return Box(-right, -top, -left, -bottom)
        if self.rotation == 270:
            return Box(-top, left, -bottom, right)
        return Box(left, bottom, right, top)

    def is_invisible(self, line: Line) -> bool:
        """Whether the line's first character is drawn with text render mode 3."""
        drawn = self.raw.FPDFText_GetTextObject(self.raw_page, self._pdfium_index(line.start))
        return bool(drawn) and self.raw.FPDFTextObj_GetTextRenderMode(drawn) == INVISIBLE

    def _pdfium_index(self, index: int) -> int:
        if not self.units:
            return index
        return self.raw.FPDFText_GetCharIndexFromTextIndex(self.raw_page, self.units[index])

    def gaps(self, line: Line) -> list[tuple[float, float, int, int]]:
        """Gaps of at least MIN_GAP points in a line: (left, right, end of the text before, start of the text after)."""
        found = []
        for space in re.finditer(r"\s+", line.text):
            a = self.character_box(line.start + space.start() - 1)
            b = self.character_box(line.start + space.end())
            left, right = min(a.right, b.right), max(a.left, b.left)  # in Arabic the later word is on the left
            if right - left >= MIN_GAP:
                found.append((left, right, space.start(), space.end()))
        return found

    def split(self, line: Line, cuts: list[tuple[int, int]]) -> list[Line]:
        """The parts of a line between cuts: (end of the text before, start of the text after)."""
        parts = []
        begin = 0
        for end, after in [*cuts, (len(line.text), len(line.text))]:
            start = line.start + begin
            parts.append(Line(line.text[begin:end], self.box(start, line.start + end - 1), start))
            begin = after
        return parts


def page_text(page: PageText, lines: list[Line]) -> str:
    """The lines of a page as text in reading order, with an empty line where the layout shows a new paragraph."""
    upright = [line for line in lines if len(line.text) >= 4 and line.height > line.width]
    if len(lines) < 2 or len(upright) > 0.5 * sum(len(line.text) >= 4 for line in lines):
        return "\n".join(line.text for line in lines)  # vertical writing, or text rotated by 90 degrees
    if upright:  # a stamp along the page's edge
        lines = [line for line in lines if line not in upright]
    gutters = _gutters(page, lines)
    blocks = _columns(page, lines, gutters) if gutters else [[_from_top(lines)]]
    blocks += [[[line] for line in upright]] if upright else []
    return "\n\n".join("\n".join(text for column in block for text in _with_paragraphs(column)) for block in blocks)


def _from_top(lines: list[Line]) -> list[Line]:
    """Lines from top to bottom if no two are side by side; else in the given order."""
    order = sorted(lines, key=lambda line: -line.box.top)
    for above, below in pairwise(order):
        if min(above.box.top, below.box.top) - max(above.box.bottom, below.box.bottom) > 0.5 * below.height:
            return lines
    return order


def _gutters(page: PageText, lines: list[Line]) -> list[float]:
    """x of the gutters between columns of running text, from the left; empty for one column or a table."""
    left, right = min(line.box.left for line in lines), max(line.box.right for line in lines)
    if right - left > MAX_POINTS:
        return []
    wide = [line for line in lines if line.width > WIDE * (right - left) and " " in line.text]
    sampled = wide[:: 1 + len(wide) // SAMPLED_LINES]
    pieces = lines
    if len(wide) >= MIN_COLUMN_LINES and sum(bool(page.gaps(x)) for x in sampled) > 0.3 * len(sampled):
        chosen = set(wide)
        pieces = []
        for line in lines:
            cuts = [(end, after) for _, _, end, after in page.gaps(line)] if line in chosen else []
            pieces += page.split(line, cuts) if cuts else [line]
    elif len(wide) > 0.8 * len(lines):
        return []
    candidates = _valleys(pieces, left, right)
    if _are_columns(pieces, candidates):
        return candidates
    alone = [[x] for x in candidates if len(candidates) > 1 and _are_columns(pieces, [x])]
    return min(alone, key=lambda gutter: abs(gutter[0] - (left + right) / 2), default=[])


def _valleys(pieces: list[Line], left: float, right: float) -> list[float]:
    """Middles of the intervals of x, at least MIN_GAP wide, that far fewer lines cross than usual."""
    first, count = int(left), int(right) - int(left) + 2
    changes = [0] * (count + 1)
    for piece in pieces:
        changes[max(0, int(piece.box.left) - first)] += 1
        changes[min(count, int(piece.box.right) - first + 1)] -= 1
    cover = list(accumulate(changes[:count]))  # lines that cross each x
    low = VALLEY * median(cover)
    valleys, begin = [], None
    for x, lines_here in enumerate([*cover, len(pieces)]):
        if lines_here < low and begin is None:
            begin = x
        elif lines_here >= low and begin is not None:
            # The least crossed part of the interval: ragged lines make its edges slope.
            lowest = min(cover[begin:x])
            flat = [i for i in range(begin, x) if cover[i] == lowest]
            if begin > 0 and len(flat) >= MIN_GAP - 2:
                valleys.append(first + (flat[0] + flat[-1] + 1) / 2)
            begin = None
    return valleys


def _column_of(box: Box, gutters: list[float]) -> int | None:
    """The column, counted from the left, that contains the box up to OVERHANG; None if it spans several."""
    first, last = bisect(gutters, box.left), bisect(gutters, box.right)
    if first == last:
        return first
    column = bisect(gutters, (box.left + box.right) / 2)
    outside = max(0.0, gutters[column - 1] - box.left) if column else 0.0
    outside += max(0.0, box.right - gutters[column]) if column < len(gutters) else 0.0
    return column if outside < OVERHANG * (box.right - box.left) else None


def _are_columns(pieces: list[Line], gutters: list[float]) -> bool:
    """Whether the gutters separate running text: columns side by side, each with enough lines that fill it."""
    columns: list[list[Line]] = [[] for _ in range(len(gutters) + 1)]
    for piece in pieces:
        column = _column_of(piece.box, gutters)
        if column is not None:
            columns[column].append(piece)
    inside = sum(map(len, columns))
    if not gutters or inside < 0.4 * len(pieces):
        return False
    for column in columns:
        if len(column) < MIN_COLUMN_LINES:
            return False
        width = max(line.box.right for line in column) - min(line.box.left for line in column)
        if median(line.width for line in column) < MIN_FILL * width:
            return False
        if median(_letters(line.text) for line in column[:: 1 + len(column) // 12]) < MIN_LETTERS:
            return False
    extents = [(min(line.box.bottom for line in c), max(line.box.top for line in c)) for c in columns]
    shared = min(top for _, top in extents) - max(bottom for bottom, _ in extents)
    return shared >= 0.3 * min(top - bottom for bottom, top in extents)


def _letters(text: str) -> int:
    return sum(2 if script_of(c) in ("Han", "Kana", "Hangul") else 1 for c in text if c.isalpha())


def _columns(page: PageText, lines: list[Line], gutters: list[float]) -> list[list[list[Line]]]:
    """Blocks from the top of the page, each either lines that span several columns or the columns between those."""
    pieces = []
    for line in lines:
        gaps = page.gaps(line) if _column_of(line.box, gutters) is None else []
        cuts = [(end, after) for left, right, end, after in gaps if bisect(gutters, left) < bisect(gutters, right)]
        pieces += page.split(line, cuts) if cuts else [line]
    pieces.sort(key=lambda piece: -(piece.box.top + piece.box.bottom))
    right_to_left = sum("\u0600" <= line.text[0] <= "\u06ff" for line in lines) > 0.5 * len(lines)
    blocks: list[list[list[Line]]] = []
    was_wide = None
    for piece in pieces:
        column = _column_of(piece.box, gutters)
        is_wide = column is None
        if is_wide != was_wide:
            blocks.append([[]] if is_wide else [[] for _ in range(len(gutters) + 1)])
        blocks[-1][0 if column is None else len(gutters) - column if right_to_left else column].append(piece)
        was_wide = is_wide
    blocks = [[_joined_level(column) for column in block if column] for block in blocks]
    return [part for block in blocks for part in _footnotes_apart(block)]


def _footnotes_apart(columns: list[list[Line]]) -> list[list[list[Line]]]:
    """The columns without their footnotes, followed by the footnotes as a block."""
    bodies, notes = [], []
    for column in columns:
        size = NOTE_SIZE * median(line.height for line in column[: max(3, len(column) // 3)])
        start = max((i + 1 for i, line in enumerate(column) if line.height >= size), default=0)
        if not 0 < start < len(column) or not NOTE.match(column[start].text):
            start = len(column)
        bodies.append(column[:start])
        notes.append(column[start:])
    return [bodies, [note for note in notes if note]] if any(notes) else [columns]


def _joined_level(lines: list[Line]) -> list[Line]:
    """Lines of a column from the top; pieces at the same height are joined from left to right."""
    rows: list[list[Line]] = []
    for line in lines:
        middle = (line.box.top + line.box.bottom) / 2
        if rows and rows[-1][0].box.bottom < middle < rows[-1][0].box.top:
            rows[-1].append(line)
        else:
            rows.append([line])
    joined = []
    for row in rows:
        row.sort(key=lambda line: line.box.left)
        joined.append(Line(" ".join(r.text for r in row), union([r.box for r in row]), row[0].start))
    return joined


def _with_paragraphs(lines: list[Line]) -> list[str]:
    """The lines' texts, with "" before a line that is further below or indented after a sentence's end."""
    steps = [a.box.top - b.box.top for a, b in pairwise(lines)]
    usual = median([step for step in steps if step > 0] or [0])
    texts = [lines[0].text] if lines else []
    for i, step in enumerate(steps):
        before, line = lines[i], lines[i + 1]
        after = lines[i + 2] if i + 2 < len(lines) else line
        far = step > PARAGRAPH_GAP * usual or step < 0
        indented = (
            0.8 * line.height < line.box.left - before.box.left < 4 * line.height
            and abs(after.box.left - before.box.left) < 2
        )
        ended = before.text.endswith(SENTENCE_ENDS)
        if (far and (ended or not line.text[0].islower()) and not before.text.endswith(("-", "\x02", "\ufffe"))) or (
            indented and ended
        ):
            texts.append("")
        texts.append(line.text)
    return texts
