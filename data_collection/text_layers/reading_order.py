"""The pieces of a PDF page's text layer in reading order: columns one after the other, tables row by row.

Columns are found by region: an empty rectangle between pieces of lines, tall and wide enough, with running text on both
sides, separates two columns as far up and down as it reaches. Everything else keeps the file's order, which nearly all
programs write as people read, unless that order jumps up the page.
"""

import re
from itertools import pairwise
from statistics import median

import numpy

from filtering.keyword_kernel import compiled
from filtering.language import script_of
from text_layers.page_characters import Piece
from text_layers.page_tables import (
    MAX_TABLES,
    MIN_GUTTER,
    MIN_TABLE_ROWS,
    RIGHT_TO_LEFT,
    Lines,
    around,
    bands_of,
    find_tables,
    ruled_tables,
    side_by_side,
    visual_lines,
)
from text_layers.text_repair import SENTENCE_ENDS

# Lengths in heights of a usual line, which is about 1.1 times the font size.
MIN_COLUMN_LINES = 4  # per column; two or three lines side by side are a table, a letterhead, a caption
SHORT_LINE = 0.7  # of a column's width: a paragraph ends with it
MIN_LINES_TOGETHER = 6  # per column, if the file draws the lines of both as one
MIN_LETTERS = 12  # in a column's median line (Chinese characters count double): table cells have fewer
MIN_FILL = 0.5  # width of a column's median line / width of the column
MIN_CJK_FILL = 0.7  # the same in Chinese and Japanese, whose lines are full
MIN_CONTINUED = 0.12  # share of lines that begin with a small letter: fewer are cells or list items
OPENING = "“”\"'«‹„‘’(（「『《"
MAX_ALIGNED_STARTS = 0.7  # share of the rows of a region that begin at one height in both columns: more is a table
MAX_WHITE = 0.8  # white row in a column that is not between two parts of the page
MAX_INDENT = 3.0  # of all lines of a part of a column
PARAGRAPH_GAP = 1.45  # times the median distance of lines
NOTE_SIZE = 0.92  # of the column's print: smaller lines at its end are footnotes if the first has a note's mark
NOTE_MARK = re.compile(r"[\d*†‡§∗\[(¹²³⁴-⁹]")
BLOCK, FOLLOWS, NOTE = range(3)  # kinds of blocks
NO_RULES = numpy.zeros((0, 4))


def page_text(pieces: list[Piece], rules: numpy.ndarray = NO_RULES) -> str:
    """The text of a page in reading order, a line per printed line or table row, a tab between cells.

    An empty line is written where the layout shows a new paragraph. rules: (n, 4) boxes of drawn lines and rectangles.
    """
    placed = [piece for piece in pieces if piece.right > piece.left]
    upright = [p for p in placed if len(p.text) >= 4 and p.height > p.width]
    if len(upright) > 0.5 * sum(len(piece.text) >= 4 for piece in placed) or len(placed) < 2:
        vertical = _vertical_lines(placed)  # else text rotated by 90 degrees
        return file_order([*vertical, *(p for p in pieces if not p.right > p.left)] if vertical else pieces)
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


def _vertical_lines(pieces: list[Piece]) -> list[Piece]:
    """The pieces of a page in vertical Chinese or Japanese: tiers from the top, in each the lines from the right."""
    cjk = sum("\u3040" <= c <= "\u9fff" for piece in pieces for c in piece.text)
    if not pieces or cjk < 0.5 * sum(len(piece.text) for piece in pieces):
        return []
    width = median(piece.width for piece in pieces)
    tiers = bands_of(pieces, width, width)
    return [
        piece for tier in tiers for piece in sorted(tier, key=lambda p: (-round((p.left + p.right) / width), -p.top))
    ]


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
            kept.append(around(tables[number][0], "-" * MIN_LETTERS)._replace(row=-1 - number))
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
    boxes = numpy.array([piece[1:5] for piece in pieces], numpy.float64)
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
        others = ordered_column(second)
        kind = FOLLOWS if _may_continue(columns, others) else BLOCK
        columns += [(lines, kind if i == 0 else own) for i, (lines, own) in enumerate(others)]
        text = [block for block in columns if block[1] != NOTE]
        notes = [block for block in columns if block[1] == NOTE]
        return [*(ordered(above) if above else []), *text, *notes, *(ordered(below) if below else [])]
    return [(_base_order(pieces), BLOCK)]


def _may_continue(columns: list[tuple[Lines, int]], others: list[tuple[Lines, int]]) -> bool:
    """Whether the second column may begin inside the paragraph that ends the first one."""
    last = next((lines for lines, kind in reversed(columns) if kind != NOTE and lines), None)
    first = others[0][0] if others and others[0][1] != NOTE else None
    if not last or not first:
        return False
    width = max(line.width for line in last)
    is_short = last[-1].width < SHORT_LINE * width and not last[-1].text.endswith("-")
    heights = last[-1].height, first[0].height
    return not is_short and max(heights) < 1.2 * min(heights)


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
            bands = bands_of(first + second, height, MAX_WHITE * height)
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
    sides = [visual_lines(side) for side in (first, second)]
    together = {piece.row for piece in first} & {piece.row for piece in second}  # printed as one line
    shorter = min(map(len, sides))
    if shorter < MIN_LINES_TOGETHER and len(together) > 0.7 * shorter:
        return False
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
        if sum(line.text[0].isalnum() or line.text[0] in OPENING for line in lines) < 0.5 * len(lines):
            return False  # comments of a program, items of a list
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
    bands = bands_of(sides[0] + sides[1], height)
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


def _letters(text: str) -> int:
    return sum(2 if script_of(c) in ("Han", "Kana", "Hangul") else 1 for c in text if c.isalpha())


def _file_lines(pieces: list[Piece]) -> Lines:
    """Pieces of the same printed line joined, in the file's order."""
    lines: list[list[Piece]] = []
    for piece in pieces:
        if lines and lines[-1][-1].row == piece.row:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [around(line, side_by_side(line)) if len(line) > 1 else line[0] for line in lines]


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


def _without_footnotes(pieces: list[Piece]) -> tuple[list[Piece], list[Piece]]:
    """(a column without the footnotes at its end, these)."""
    lines = visual_lines(pieces)
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
