"""The pieces of a PDF page's text layer in reading order: columns one after the other, tables row by row.

Columns are found by region: an empty rectangle between pieces of lines, tall and wide enough, with running text on both
sides, separates two columns as far up and down as it reaches. Everything else keeps the file's order, which nearly all
programs write as people read, unless that order jumps up the page.
"""

import re
from itertools import pairwise
from statistics import median

import numpy

from filtering.language import script_of
from pdf.page_characters import Piece, compiled
from pdf.text_repair import CELL, SENTENCE_ENDS, join_lines

# Between columns. Lengths in heights of a usual line, which is about 1.1 times the font size.
MIN_GUTTER = 0.6  # width; words of justified lines are rarely further apart
MIN_COLUMN_LINES = 4  # per column; two or three lines side by side are a table, a letterhead, a caption
MIN_LETTERS = 12  # in a column's median line (Chinese characters count double): table cells have fewer
MIN_FILL = 0.5  # width of a column's median line / width of the column
MIN_CJK_FILL = 0.7  # the same in Chinese and Japanese, whose lines are full
MIN_CONTINUED = 0.12  # share of lines that begin with a small letter: fewer are cells or list items
MAX_ALIGNED_STARTS = 0.7  # share of the rows of a region that begin at one height in both columns: more is a table
ROW_SPACE = 0.35  # white above a table's row, beyond the usual distance of lines
MAX_WHITE = 0.8  # white row in a column that is not between two parts of the page
MAX_INDENT = 3.0  # of all lines of a part of a column
MIN_TABLE_ROWS = 3
MAX_CROSSED = 0.2  # share of a table's rows that cross the white strip between two columns: headings
MAX_UNLEVEL = 0.15  # of the heights of a row's cells
EDGE_TOLERANCE = 0.45  # between edges of cells in one column
MAX_CELL = 60  # characters in a table's median cell that is not wrapped
PARAGRAPH_GAP = 1.45  # times the median distance of lines
NOTE_SIZE = 0.92  # of the column's print: smaller lines at its end are footnotes if the first has a note's mark
NOTE_MARK = re.compile(r"[\d*†‡§∗\[(¹²³⁴-⁹]")
LIST_MARK = re.compile(r"[•●▪◦‣–—*·■□○◆▶➢✓-]|\(?[0-9０-９a-zA-Zivx①-⑳ア-ンア-ン]{1,4}[.)．）、]?")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

MAX_TABLES = 1000  # ruled tables of a page

MAX_RULE = 3.0  # points: a drawn rectangle that is lower or narrower is a line
MIN_RULE = 20.0  # points: length of a line that may separate rows
MAX_BAND_LINES = 25  # printed lines between two lines of a table: more is text in a frame

BLOCK, FOLLOWS, NOTE = range(3)  # kinds of blocks
Lines = list[Piece]
NO_RULES = numpy.zeros((0, 4))


def page_text(pieces: list[Piece], rules: numpy.ndarray = NO_RULES) -> str:
    """The text of a page in reading order, a line per printed line or table row, a tab between cells.

    An empty line is written where the layout shows a new paragraph. rules: (n, 4) boxes of drawn lines and rectangles.
    """
    placed = [piece for piece in pieces if piece.right > piece.left]
    upright = [p for p in placed if len(p.text) >= 4 and p.height > p.width]
    if len(upright) > 0.5 * sum(len(piece.text) >= 4 for piece in placed) or len(placed) < 2:
        return file_order(pieces)  # vertical writing, or text rotated by 90 degrees
    if upright:  # a stamp along the page's edge
        stamps = set(map(id, upright))
        pieces = [piece for piece in pieces if id(piece) not in stamps]
    tables = ruled_tables(pieces, rules) if len(rules) else []
    text = ""
    for block, kind in [*ordered(_with_placeholders(pieces, tables)), *(([piece], BLOCK) for piece in upright)]:
        lines = [x for line in block for x in (tables[-1 - line.row][1] if line.row < 0 else (line,))]
        if lines:
            text += ("" if not text else "\n" if kind == FOLLOWS else "\n\n") + "\n".join(_with_paragraphs(lines))
    return text


def _with_placeholders(pieces: list[Piece], tables: list[tuple[list[Piece], Lines]]) -> list[Piece]:
    """The pieces with each table's as one piece, whose row is -1 - the table's number."""
    if not tables:
        return pieces
    number_of = {id(piece): number for number, (members, _) in enumerate(tables) for piece in members}
    kept, seen = [], set()
    for piece in pieces:
        number = number_of.get(id(piece))
        if number is None:
            kept.append(piece)
        elif number not in seen:
            seen.add(number)
            kept.append(_around(tables[number][0], "-" * MIN_LETTERS)._replace(row=-1 - number))
    return kept


def file_order(pieces: list[Piece]) -> str:
    return "\n".join(line.text for line in _file_lines(pieces))


def ordered(pieces: list[Piece]) -> list[tuple[Lines, int]]:
    """[(lines, kind: BLOCK, FOLLOWS or NOTE)] in reading order.

    A block is a column, or the lines above, below or without columns; one that FOLLOWS may continue the sentence of the
    block before; a NOTE is the footnotes of a column, which follow all columns.
    """
    if len(pieces) < 2 * MIN_COLUMN_LINES:
        return [(_base_order(pieces), BLOCK)]
    boxes = numpy.array([piece[1:5] for piece in pieces])
    height = float(numpy.median(boxes[:, 3] - boxes[:, 1])) or 1.0
    for left, bottom, right, top in _gutters(boxes, height):
        middle = (left + right) / 2
        beside = (boxes[:, 1] + boxes[:, 3]) / 2
        beside = (beside > bottom) & (beside < top)
        first = [piece for piece, is_in in zip(pieces, beside, strict=True) if is_in and piece.right <= middle]
        second = [piece for piece, is_in in zip(pieces, beside, strict=True) if is_in and piece.left >= middle]
        first, second, bottom, top = _trimmed(first, second, bottom, top, right, height)
        if not are_columns(first, second, height):
            continue
        chosen = set(map(id, first + second))
        rest = [piece for piece in pieces if id(piece) not in chosen]
        above = [piece for piece in rest if piece.top + piece.bottom >= top + bottom]
        below = [piece for piece in rest if piece.top + piece.bottom < top + bottom]
        if sum(RIGHT_TO_LEFT.match(p.text) is not None for p in first + second) > 0.5 * len(first + second):
            first, second = second, first
        columns = ordered_column(first)
        columns += [(lines, FOLLOWS if i == 0 else kind) for i, (lines, kind) in enumerate(ordered_column(second))]
        text = [block for block in columns if block[1] != NOTE]
        notes = [block for block in columns if block[1] == NOTE]
        return [*(ordered(above) if above else []), *text, *notes, *(ordered(below) if below else [])]
    return [(_base_order(pieces), BLOCK)]


def ordered_column(pieces: list[Piece]) -> list[tuple[Lines, int]]:
    """The blocks of one column, its footnotes last."""
    text, notes = _without_footnotes(pieces)
    return [*ordered(text), *((lines, NOTE) for lines, _ in (ordered(notes) if notes else []))]


def _trimmed(
    first: list[Piece], second: list[Piece], bottom: float, top: float, gutter: float, height: float
) -> tuple[list[Piece], list[Piece], float, float]:
    """(first, second, bottom, top) without the parts at either end that belong to other columns.

    There the text right of the gutter begins far from it, below or above a white row.
    """
    for piece_top in (True, False):
        while first and second:
            bands = _bands(first + second, height, MAX_WHITE * height)
            band = bands[0 if piece_top else -1]
            members = set(map(id, band))
            beyond = [piece for piece in second if id(piece) in members]
            if len(bands) == 1 or not beyond or min(x.left for x in beyond) < gutter + MAX_INDENT * height:
                break
            if piece_top:
                top = min(piece.bottom for piece in band)
            else:
                bottom = max(piece.top for piece in band)
            first = [piece for piece in first if id(piece) not in members]
            second = [piece for piece in second if id(piece) not in members]
    return first, second, bottom, top


def _gutters(boxes: numpy.ndarray, height: float) -> list[tuple[float, float, float, float]]:
    """Empty rectangles (left, bottom, right, top) between pieces, the tallest first."""
    found = _empty_rectangles(boxes[numpy.argsort(-boxes[:, 3], kind="stable")], MIN_GUTTER * height)
    found = found[found[:, 3] - found[:, 1] >= (MIN_COLUMN_LINES - 1) * height]
    order = numpy.lexsort((found[:, 0] - found[:, 2], numpy.round((found[:, 1] - found[:, 3]) / height)))
    return [tuple(rectangle) for rectangle in found[order][:24].tolist()]


@compiled
def _empty_rectangles(boxes, width):
    """Rectangles (n, 4) without a box in them, at least `width` wide, each as tall as possible.

    boxes: (n, 4) left, bottom, right, top, by falling top. Rectangles that reach the text's left or right edge are
    omitted.
    """
    left, right = boxes[:, 0].min(), boxes[:, 2].max()
    top, bottom = boxes[:, 3].max(), boxes[:, 1].min()
    live = numpy.empty((400, 3))  # left, right, top of the open rectangles
    live[0] = left, right, top
    count, closed, found = 1, 0, numpy.empty((2000, 4))
    for b in range(len(boxes)):
        box = boxes[b]
        kept = 0
        added = numpy.empty((800, 3))
        more = 0
        for i in range(count):
            if box[0] >= live[i, 1] or box[2] <= live[i, 0]:
                live[kept] = live[i]
                kept += 1
                continue
            if live[i, 0] > left and live[i, 1] < right and closed < len(found) and live[i, 2] > box[3]:
                found[closed] = live[i, 0], box[3], live[i, 1], live[i, 2]
                closed += 1
            if box[0] - live[i, 0] >= width and more < len(added):
                added[more] = live[i, 0], box[0], live[i, 2]
                more += 1
            if live[i, 1] - box[2] >= width and more < len(added):
                added[more] = box[2], live[i, 1], live[i, 2]
                more += 1
        count = kept
        for a in range(more):
            # One inside another that is at least as tall adds nothing.
            inside = False
            for i in range(count):
                if live[i, 0] <= added[a, 0] and live[i, 1] >= added[a, 1] and live[i, 2] >= added[a, 2]:
                    inside = True
                    break
            if not inside and count < len(live):
                live[count] = added[a]
                count += 1
        # A new rectangle below the box, as wide as the text, for what begins there.
        inside = False
        for i in range(count):
            if live[i, 0] <= left and live[i, 1] >= right:
                inside = True
        if not inside and count < len(live):
            live[count] = left, right, box[1]
            count += 1
    for i in range(count):
        if live[i, 0] > left and live[i, 1] < right and closed < len(found) and live[i, 2] > bottom:
            found[closed] = live[i, 0], bottom, live[i, 1], live[i, 2]
            closed += 1
    return found[:closed]


def are_columns(first: list[Piece], second: list[Piece], height: float) -> bool:
    """Whether pieces left and right of a gutter are two columns of running text, not the cells of a table."""
    if len(first) < MIN_COLUMN_LINES or len(second) < MIN_COLUMN_LINES:
        return False
    sides = [_visual_lines(side) for side in (first, second)]
    continued = letters = 0
    for lines in sides:
        if len(lines) < MIN_COLUMN_LINES:
            return False
        width = max(line.right for line in lines) - min(line.left for line in lines)
        sizes = [_letters(line.text) for line in lines]
        if median(sizes) < MIN_LETTERS:
            return False
        is_cjk = median(sizes) > 1.5 * median(len(line.text) for line in lines)
        if median(line.width for line in lines) < (MIN_CJK_FILL if is_cjk else MIN_FILL) * width:
            return False
        starts = [line.text[0] for line in lines if script_of(line.text[0]) in ("Latin", "Cyrillic")]
        continued += sum(map(str.islower, starts))
        letters += len(starts)
    if letters >= 2 * MIN_COLUMN_LINES and continued < MIN_CONTINUED * letters:
        return False
    shared = min(side[0].top for side in sides) - max(side[-1].bottom for side in sides)
    if shared < 0.3 * min(side[0].top - side[-1].bottom for side in sides):
        return False
    return not _have_common_rows(sides, height)


def _have_common_rows(sides: list[Lines], height: float) -> bool:
    """Whether white rows cross both sides and a cell begins on either side below each: a table with wrapped cells."""
    bands = _bands(sides[0] + sides[1], height)
    if len(bands) < MIN_TABLE_ROWS:
        return False
    left = {id(line) for line in sides[0]}
    aligned = uneven = 0
    for band in bands:
        first = [
            max((x for x in band if (id(x) in left) == is_left), key=lambda x: x.top, default=None)
            for is_left in (True, False)
        ]
        if None in first or any(line.text[0].islower() for line in first):
            continue
        if abs(first[0].top - first[1].top) < 0.3 * height:
            aligned += 1
            uneven += sum(id(line) in left for line in band) * 2 != len(band)
    return aligned > MAX_ALIGNED_STARTS * len(bands) and uneven > 0.3 * aligned


def _bands(lines: Lines, height: float, white: float | None = None) -> list[Lines]:
    """Lines between the white rows that cross all of them, from the top. white: their least height (points)."""
    lines = sorted(lines, key=lambda line: -line.top)
    floors, gaps, floor = [], [], lines[0].bottom
    for line in lines[1:]:
        gaps.append(floor - line.top)
        floors.append(floor)
        floor = min(floor, line.bottom)
    new_rows = [gap for gap in gaps if gap > -0.5 * height]
    usual = median(new_rows) if new_rows else 0.0
    usual = min(usual, 0.3 * height)
    bands = [[lines[0]]]
    for line, gap in zip(lines[1:], gaps, strict=True):
        if gap > (usual + ROW_SPACE * height if white is None else white):
            bands.append([line])
        else:
            bands[-1].append(line)
    return bands


def _letters(text: str) -> int:
    return sum(2 if script_of(c) in ("Han", "Kana", "Hangul") else 1 for c in text if c.isalpha())


def _visual_rows(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces at one height together, from the top; each row from left to right."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: -(p.top + p.bottom)):
        middle = (piece.top + piece.bottom) / 2
        if rows and rows[-1][0].bottom < middle < rows[-1][0].top:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    for row in rows:
        row.sort(key=lambda piece: piece.left)
    return rows


def _visual_lines(pieces: list[Piece]) -> Lines:
    return [joined(row) for row in _visual_rows(pieces)]


def joined(row: list[Piece], separator: str = " ") -> Piece:
    """Pieces side by side as one line, from left to right; from right to left if most are in Arabic."""
    if len(row) == 1:
        return row[0]
    if sum(RIGHT_TO_LEFT.search(piece.text) is not None for piece in row) > 0.5 * len(row):
        row = row[::-1]
    return _around(row, separator.join(piece.text for piece in row))


def _around(pieces: list[Piece], text: str) -> Piece:
    boxed = [piece for piece in pieces if piece.right > piece.left] or pieces
    return Piece(
        text,
        min(piece.left for piece in boxed),
        min(piece.bottom for piece in boxed),
        max(piece.right for piece in boxed),
        max(piece.top for piece in boxed),
        pieces[0].row,
        pieces[0].invisible,
        pieces[0].font if len({piece.font for piece in pieces}) == 1 else 0,
    )


def _file_lines(pieces: list[Piece]) -> Lines:
    """Pieces of the same printed line joined, in the file's order."""
    lines: list[list[Piece]] = []
    for piece in pieces:
        if lines and lines[-1][-1].row == piece.row:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [_around(line, " ".join(piece.text for piece in line)) if len(line) > 1 else line[0] for line in lines]


def _base_order(pieces: list[Piece]) -> Lines:
    """Lines of a region without columns: tables by rows, the rest as in the file unless that jumps up the page."""
    if len(pieces) < 2:
        return list(pieces)
    tables = find_tables(pieces)
    if not tables:
        return _without_jumps(_file_lines(pieces))
    kept = _with_placeholders(pieces, [([], [])] * MAX_TABLES + tables)  # smaller numbers are ruled tables
    lines = _without_jumps(_file_lines(kept))
    return [x for line in lines for x in (tables[-1 - line.row - MAX_TABLES][1] if line.row < -MAX_TABLES else (line,))]


def _without_jumps(lines: Lines) -> Lines:
    """The lines in the file's order, or from the top if that order jumps up and nothing is side by side.

    Where parts of the file's order follow each other downwards, these parts are sorted if they do not overlap.
    """
    runs = [[lines[0]]] if lines else []
    for above, line in pairwise(lines):
        if line.top > above.top + 0.5 * above.height and line.right > line.left:
            runs.append([line])
        else:
            runs[-1].append(line)
    if len(runs) < 2:
        return lines
    placed = [line for line in lines if line.right > line.left]
    order = sorted(placed, key=lambda line: -line.top)
    if all(
        min(above.top, below.top) - max(above.bottom, below.bottom) <= 0.5 * below.height
        for above, below in pairwise(order)
    ):
        return order + [line for line in lines if not line.right > line.left]
    spans = [(max(line.top for line in run), min(line.bottom for line in run), run) for run in runs]
    spans.sort(key=lambda span: -span[0])
    slack = 0.5 * median(line.height for line in lines)
    if all(above[1] >= below[0] - slack for above, below in pairwise(spans)):
        return [line for _, _, run in spans for line in run]
    return lines


def ruled_tables(pieces: list[Piece], rules: numpy.ndarray) -> list[tuple[list[Piece], Lines]]:
    """Tables whose rows drawn lines separate, as `find_tables` gives them: each row is one line, also if it wraps."""
    tables = []
    for levels, left, right in _grids(rules)[:MAX_TABLES]:
        inside = [
            piece
            for piece in pieces
            if piece.row >= 0
            and left - 2 < (piece.left + piece.right) / 2 < right + 2
            and levels[-1] < (piece.top + piece.bottom) / 2 < levels[0]
        ]
        uprights = _uprights(rules, levels, left, right)
        fixed = list(pairwise([left, *uprights, right])) if uprights else []
        bands = [
            [piece for piece in inside if low < (piece.top + piece.bottom) / 2 < high] for high, low in pairwise(levels)
        ]
        height = median(piece.height for piece in inside) if inside else 1.0
        columns = max(fixed, _column_edges(list(filter(None, bands)), height) if inside else [], key=len)
        if len(columns) < 2:
            continue
        for run in _runs_of_rows(bands, columns):
            members = [piece for band in run for piece in band]
            columns = max(fixed, _column_edges(run, height), key=len)
            if len(columns) < 2:
                continue
            several = [band for band in run if len({_column_of(piece, columns) for piece in band}) > 1]
            if len(several) < (2 if uprights else MIN_TABLE_ROWS):
                continue
            if median(len(_visual_rows(band)) for band in several) > MAX_BAND_LINES:
                continue
            tables.append((members, [line for band in run for line in _ruled_row(band, columns)]))
            taken = set(map(id, members))
            pieces = [piece for piece in pieces if id(piece) not in taken]
    return tables


def _runs_of_rows(bands: list[list[Piece]], columns: list[tuple[float, float]]) -> list[list[list[Piece]]]:
    """Consecutive bands that are rows of a table: text across several columns has one line, such as a heading's."""
    runs: list[list[list[Piece]]] = [[]]
    for band in filter(None, bands):
        across = [
            piece
            for piece in band
            if sum(min(piece.right, right) - max(piece.left, left) > piece.height for left, right in columns) > 1
        ]
        if len(_visual_rows(across)) > 1:
            runs.append([])
        else:
            runs[-1].append(band)
    return [run for run in runs if run]


def _ruled_row(band: list[Piece], columns: list[tuple[float, float]]) -> Lines:
    """The line of one row; several if each of its lines fills most columns: rows that no drawn line separates."""
    rows = _visual_rows(band)
    used = [{_column_of(piece, columns) for piece in row} for row in rows]
    if len(rows) > 2 and sum(len(x) > 1 and 0 in x for x in used) > 0.7 * len(rows):
        return [joined(row, CELL) for row in rows]
    return [_as_row(rows, columns)]


def _as_row(rows: list[list[Piece]], columns: list[tuple[float, float]]) -> Piece:
    """The cells of one table row, the lines of each joined, with tabs between them."""
    cells: dict[int, list[Piece]] = {}
    for row in rows:
        for piece in row:
            cells.setdefault(_column_of(piece, columns), []).append(piece)
    texts = []
    for column in sorted(cells):
        lines = _visual_lines(cells[column])
        text = lines[0].text
        for line in lines[1:]:
            text = join_lines(text, line.text)
        texts.append(_around(cells[column], text))
    return joined(texts, CELL)


def _grids(rules: numpy.ndarray) -> list[tuple[list[float], float, float]]:
    """[(heights of the horizontal lines from the top, left, right)] of groups of lines that are equally wide."""
    wide = rules[(rules[:, 2] - rules[:, 0] > MIN_RULE) & (rules[:, 3] - rules[:, 1] < 0.9 * _extent(rules))]
    flat = wide[:, 3] - wide[:, 1] < MAX_RULE
    middle = (wide[flat, 1] + wide[flat, 3]) / 2
    parts = [(middle, wide[flat]), (wide[~flat, 1], wide[~flat]), (wide[~flat, 3], wide[~flat])]
    edges = sorted(
        (
            (float(y), float(box[0]), float(box[2]))
            for heights, boxes in parts
            for y, box in zip(heights, boxes, strict=True)
        ),
        reverse=True,
    )
    levels: list[list[float]] = []  # height, left, right
    for y, left, right in edges[:2000]:
        if (
            levels
            and levels[-1][0] - y < MAX_RULE
            and right > levels[-1][1] - MAX_RULE
            and left < levels[-1][2] + MAX_RULE
        ):
            levels[-1][1:] = min(left, levels[-1][1]), max(right, levels[-1][2])
        else:
            levels.append([y, left, right])
    grids: list[tuple[list[float], float, float]] = []
    for y, left, right in levels:
        for heights, first, last in grids:
            if abs(first - left) < 2 * MAX_RULE and abs(last - right) < 2 * MAX_RULE:
                heights.append(y)
                break
        else:
            grids.append(([y], left, right))
    return [grid for grid in grids if len(grid[0]) > MIN_TABLE_ROWS - 1]


def _extent(rules: numpy.ndarray) -> float:
    return float(rules[:, 3].max() - rules[:, 1].min())


def _uprights(rules: numpy.ndarray, levels: list[float], left: float, right: float) -> list[float]:
    """x of the vertical lines and cell edges that cross at least half of a grid's height, from the left."""
    heights = rules[:, 3] - rules[:, 1]
    inside = rules[(heights > MAX_RULE) & (rules[:, 3] <= levels[0] + 3) & (rules[:, 1] >= levels[-1] - 3)]
    edges = []  # x and height
    for box in inside.tolist():
        is_line = box[2] - box[0] <= MAX_RULE
        edges += [(x, box[3] - box[1]) for x in (((box[0] + box[2]) / 2,) if is_line else (box[0], box[2]))]
    found: list[list[float]] = []
    for x, height in sorted(edge for edge in edges if left + 2 * MAX_RULE < edge[0] < right - 2 * MAX_RULE):
        if found and x - found[-1][0] < 2 * MAX_RULE:
            found[-1][1] += height
        else:
            found.append([x, height])
    return [x for x, height in found if height > 0.5 * (levels[0] - levels[-1])]


def find_tables(pieces: list[Piece]) -> list[tuple[list[Piece], Lines]]:
    """[(pieces of a table, its rows as lines with tabs between the cells)].

    A table is a run of rows whose cells share edges, with a white strip between them from the first row to the last.
    """
    placed = [piece for piece in pieces if piece.right > piece.left]
    rows = _visual_rows(placed)
    if sum(len(row) > 1 for row in rows) < MIN_TABLE_ROWS:
        return []
    height = median(piece.height for piece in placed)
    tables = []
    run: list[list[Piece]] = []
    singles: list[list[Piece]] = []  # rows of one piece since the last row with cells
    strips: list[tuple[float, float]] = []
    for row in rows:
        cells = _cells(row) if _is_level(row, height) else row[:1]
        left = _common(strips, _gaps(row), MIN_GUTTER * height) if run else _gaps(row)[1:-1]
        left = [strip for strip in left if _is_between(strip, [*run, row])]
        if len(cells) >= 2 and left and (not run or any(_aligned(cells, _cells(x), height) for x in run[-3:])):
            run += [*singles, row]
            singles, strips = [], left
        elif (
            run
            and len(row) == 1
            and len(singles) < 3
            and left
            and _in_a_column(row[0], run, height)
            and _near(run, singles, row, height)
        ):
            singles.append(row)
            strips = left
        else:
            tables += _as_table(run, height)
            run, singles, strips = [], [], []
            if len(cells) >= 2:
                run, strips = [row], _gaps(row)[1:-1]
    return tables + _as_table(run, height)


def _is_level(row: list[Piece], height: float) -> bool:
    """Whether the pieces of a row are at the same height, as printed together, not by chance beside each other."""
    middles = [piece.top + piece.bottom for piece in row]
    return max(middles) - min(middles) < 2 * MAX_UNLEVEL * height


def _gaps(row: list[Piece]) -> list[tuple[float, float]]:
    """Intervals of x without a piece, from the left; the first and last are open."""
    gaps, right = [], -1e9
    for piece in row:
        if piece.left > right:
            gaps.append((right, piece.left))
        right = max(right, piece.right)
    return [*gaps, (right, 1e9)]


def _common(
    strips: list[tuple[float, float]], gaps: list[tuple[float, float]], width: float
) -> list[tuple[float, float]]:
    both = [(max(a[0], b[0]), min(a[1], b[1])) for a in strips for b in gaps]
    return [strip for strip in both if strip[1] - strip[0] >= width]


def _is_between(strip: tuple[float, float], rows: list[list[Piece]]) -> bool:
    return min(row[0].left for row in rows) < strip[0] and max(row[-1].right for row in rows) > strip[1]


def _cells(row: list[Piece]) -> list[Piece]:
    """The row's pieces; a list's mark is not a cell."""
    return row[1:] if len(row) > 1 and LIST_MARK.fullmatch(row[0].text) and len(row) == 2 else row


def _aligned(row: list[Piece], other: list[Piece], height: float) -> bool:
    """Whether at least two cells of one row share an edge or middle with different cells of the other."""
    tolerance, shared = EDGE_TOLERANCE * height, 0
    for cell in row:
        for above in other:
            if (
                abs(cell.left - above.left) < tolerance
                or abs(cell.right - above.right) < tolerance
                or abs(cell.left + cell.right - above.left - above.right) < 2 * tolerance
            ):
                shared += 1
                break
    return shared >= 2


def _in_a_column(piece: Piece, run: list[list[Piece]], height: float) -> bool:
    """Whether a piece lies within one column of the rows above."""
    across = [cell for row in run[-3:] for cell in row if cell.right > piece.left and cell.left < piece.right]
    aligned = any(abs(cell.left - piece.left) < EDGE_TOLERANCE * height for cell in across)
    beside = [
        row for row in run[-3:] if len(row) > 1 and not all(c.right > piece.left and c.left < piece.right for c in row)
    ]
    return aligned and bool(beside)


def _near(run: list[list[Piece]], singles: list[list[Piece]], row: list[Piece], height: float) -> bool:
    above = (singles or run)[-1]
    return min(piece.bottom for piece in above) - row[0].top < 1.0 * height


def _as_table(run: list[list[Piece]], height: float) -> list[tuple[list[Piece], Lines]]:
    """[(pieces, lines)] of rows that form a table; [] if they do not."""
    full = [row for row in run if len(_cells(row)) >= 2]
    if len(full) < MIN_TABLE_ROWS:
        return []
    if median(len(piece.text) for row in full for piece in row) > MAX_CELL:
        return []
    members = [piece for row in run for piece in row]
    return [(members, _table_lines(run, height))]


def _table_lines(run: list[list[Piece]], height: float) -> Lines:
    """A line per row of the table; the lines of a wrapped cell are joined."""
    bands = _bands([piece for row in run for piece in row], height)
    columns = _column_edges(run, height)
    lines: Lines = []
    for band in bands:
        rows = _visual_rows(band)
        if len(rows) > 1 and len(bands) >= MIN_TABLE_ROWS and _is_one_row(rows, columns):
            lines.append(_as_row(rows, columns))
        else:
            lines += [joined(row, CELL) for row in rows]
    return lines


def _column_edges(rows: list[list[Piece]], height: float) -> list[tuple[float, float]]:
    """Extents of a table's columns: between strips that few rows cross, from the left. rows: pieces of each row."""
    left = int(min(piece.left for row in rows for piece in row))
    right = int(max(piece.right for row in rows for piece in row)) + 1
    crossed = numpy.zeros((len(rows), right - left + 1), numpy.bool_)
    for i, row in enumerate(rows):
        for piece in row:
            crossed[i, int(piece.left) - left : int(piece.right) - left + 1] = True
    white = numpy.concatenate(([False], crossed.sum(0) <= MAX_CROSSED * len(rows), [False]))
    edges = numpy.flatnonzero(numpy.diff(white.astype(numpy.int8))).reshape(-1, 2)
    strips = [(left + a, left + b) for a, b in edges.tolist() if b - a >= MIN_GUTTER * height]
    starts = [left, *(b for _, b in strips)]
    ends = [*(a for a, _ in strips), right]
    return [(float(a), float(b)) for a, b in zip(starts, ends, strict=True) if b > a]


def _column_of(piece: Piece, columns: list[tuple[float, float]]) -> int:
    shares = [min(right, piece.right) - max(left, piece.left) for left, right in columns]
    return max(range(len(columns)), key=shares.__getitem__)


def _is_one_row(rows: list[list[Piece]], columns: list[tuple[float, float]]) -> bool:
    """Whether the lines of a band are one row with wrapped cells: only the first line uses all of its columns."""
    used = [{_column_of(piece, columns) for piece in row} for row in rows]
    return any(later < used[0] for later in used[1:]) and all(later <= used[0] for later in used[1:])


def _without_footnotes(pieces: list[Piece]) -> tuple[list[Piece], list[Piece]]:
    """(a column without the footnotes at its end, these)."""
    lines = _visual_lines(pieces)
    size = NOTE_SIZE * median(line.height for line in lines[: max(3, len(lines) // 3)])
    start = max((i + 1 for i, line in enumerate(lines) if line.height >= size), default=0)
    if not 0 < start < len(lines) or not NOTE_MARK.match(lines[start].text):
        return pieces, []
    limit = lines[start].top + 0.1
    return [p for p in pieces if p.top > limit], [p for p in pieces if p.top <= limit]


def _with_paragraphs(lines: Lines) -> list[str]:
    """The lines' texts, with "" before a line that is further below, in larger print, or indented after a sentence."""
    steps = [a.top - b.top for a, b in pairwise(lines)]
    usual = median([step for step in steps if step > 0] or [0])
    texts = [lines[0].text] if lines else []
    for i, step in enumerate(steps):
        before, line = lines[i], lines[i + 1]
        after = lines[i + 2] if i + 2 < len(lines) else line
        far = step > PARAGRAPH_GAP * usual or step < 0
        indented = 0.8 * line.height < line.left - before.left < 4 * line.height and abs(after.left - before.left) < 2
        ended = before.text.endswith(SENTENCE_ENDS)
        resized = abs(line.height - before.height) > 0.15 * max(line.height, before.height) and (
            step > 1.1 * usual or not line.text[0].islower()
        )
        new_font = before.font and line.font and before.font != line.font and before.width < 0.9 * line.width
        if (
            (far or resized or new_font) and (ended or not line.text[0].islower()) and not before.text.endswith("-")
        ) or (indented and ended):
            texts.append("")
        texts.append(line.text)
    return texts
