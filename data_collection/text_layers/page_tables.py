"""Rows of printed lines and tables on a page: the pieces of a row become one line with tabs between its cells.

A table shows itself by drawn lines between its rows, or by white strips between columns of cells at the same height.
"""

import re
from itertools import pairwise
from statistics import median

import numpy

from text_layers.page_characters import Piece
from text_layers.text_repair import CELL, join_lines

# Lengths in heights of a usual line, which is about 1.1 times the font size, unless they are in points.
MIN_GUTTER = 0.6  # width; words of justified lines are rarely further apart
ROW_SPACE = 0.35  # white above a table's row, beyond the usual distance of lines
MIN_TABLE_ROWS = 3
MAX_CROSSED = 0.2  # share of a table's rows that cross the white strip between two columns: headings
MAX_UNLEVEL = 0.15  # of the heights of a row's cells
FAR = 3.0  # between Chinese or Japanese words of one line: other cells; the characters of a heading are closer
EDGE_TOLERANCE = 0.45  # between edges of cells in one column
MAX_CELL_LINES = 4  # pieces written for a cell, on average, before those of the next cell in its row
MAX_CELL = 60  # characters in a table's median cell that is not wrapped
MAX_RULE = 3.0  # points: a drawn rectangle that is lower or narrower is a line
MIN_RULE = 20.0  # points: length of a line that may separate rows
MAX_BAND_LINES = 25  # printed lines between two lines of a table: more is text in a frame
MAX_TABLES = 1000  # ruled tables of a page
LIST_MARK = re.compile(r"[•●▪◦‣–—*·■□○◆▶➢✓-]|\(?[0-9０-９a-zA-Zivx①-⑳ア-ンア-ン]{1,4}[.)．）、]?")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

Lines = list[Piece]


def bands_of(lines: Lines, height: float, white: float | None = None) -> list[Lines]:
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


def visual_rows(pieces: list[Piece]) -> list[list[Piece]]:
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


def visual_lines(pieces: list[Piece]) -> Lines:
    return [joined(row) for row in visual_rows(pieces)]


def joined(row: list[Piece], separator: str = " ") -> Piece:
    """Pieces side by side as one line, from left to right; from right to left if most are in Arabic."""
    if len(row) == 1:
        return row[0]
    if sum(RIGHT_TO_LEFT.search(piece.text) is not None for piece in row) > 0.5 * len(row):
        row = row[::-1]
    return around(row, separator.join(piece.text for piece in row) if separator == CELL else side_by_side(row))


def side_by_side(row: list[Piece]) -> str:
    """The text of pieces in one line; Chinese and Japanese far apart, where a space would be lost, with a tab."""
    text = row[0].text
    for before, piece in pairwise(row):
        far = piece.left - before.right > FAR * min(piece.height, before.height)
        is_cjk = "\u3040" <= before.text[-1] <= "\u9fff" and "\u3040" <= piece.text[0] <= "\u9fff"
        text += (CELL if far and is_cjk else " ") + piece.text
    return text


def around(pieces: list[Piece], text: str) -> Piece:
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
            if median(len(visual_rows(band)) for band in several) > MAX_BAND_LINES:
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
        if len(visual_rows(across)) > 1:
            runs.append([])
        else:
            runs[-1].append(band)
    return [run for run in runs if run]


def _ruled_row(band: list[Piece], columns: list[tuple[float, float]]) -> Lines:
    """The line of one row; several if each of its lines fills most columns: rows that no drawn line separates."""
    rows = visual_rows(band)
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
        lines = visual_lines(cells[column])
        text = lines[0].text
        for line in lines[1:]:
            text = join_lines(text, line.text)
        texts.append(around(cells[column], text))
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
    rows = visual_rows(placed)
    if sum(len(row) > 1 for row in rows) < MIN_TABLE_ROWS:
        return []
    height = median(piece.height for piece in placed)
    places = {id(piece): i for i, piece in enumerate(pieces)}
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
            tables += _as_table(run, places, height)
            run, singles, strips = [], [], []
            if len(cells) >= 2:
                run, strips = [row], _gaps(row)[1:-1]
    return tables + _as_table(run, places, height)


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


def _as_table(run: list[list[Piece]], places: dict[int, int], height: float) -> list[tuple[list[Piece], Lines]]:
    """[(pieces, lines)] of rows that form a table; [] if they do not.

    places: {id of a piece: its place in the file's order}. Programs write tables row by row; what they write column by
    column are the columns of an index or a list.
    """
    full = [row for row in run if len(_cells(row)) >= 2]
    if len(full) < MIN_TABLE_ROWS:
        return []
    if median(len(piece.text) for row in full for piece in row) > MAX_CELL:
        return []
    spans = [max(places[id(piece)] for piece in row) - min(places[id(piece)] for piece in row) for row in full]
    if median(spans) > MAX_CELL_LINES * median(len(row) for row in full):
        return []
    members = [piece for row in run for piece in row]
    return [(members, _table_lines(run, height))]


def _table_lines(run: list[list[Piece]], height: float) -> Lines:
    """A line per row of the table; the lines of a wrapped cell are joined."""
    bands = bands_of([piece for row in run for piece in row], height)
    columns = _column_edges(run, height)
    lines: Lines = []
    for band in bands:
        rows = visual_rows(band)
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
