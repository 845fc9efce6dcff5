"""Put the lines of a page in the order in which a reader takes them: columns one after the other, top to bottom.

The order of the file is kept wherever geometry gives no clear answer: tables, forms, drawings with labels, vertical
writing. Used by `text_layer.py`.
"""

import re
from bisect import bisect
from itertools import pairwise
from statistics import median

from filtering.language import script_of
from pdf.page_lines import MOST_POINTS, Box, Line, PageText

LEAST_GAP = 6.0  # points; columns stand at least this far apart, words of 12 point print about 3 to 5
WIDE = 0.55  # of the text's width: such lines may go through two columns; a line of one column of two is narrower
SAMPLED_LINES = 4  # wide lines looked at for gaps
VALLEY = 0.75  # of the usual number of lines over a place: fewer may be a gutter below a title and a summary
LEAST_COLUMN_LINES = 4  # in each column; two or three lines side by side are a table, a letter's head, a caption
LEAST_LETTERS = 12  # in a column's usual line (Chinese characters count double): cells of tables hold fewer
LEAST_FILL = 0.5  # a column's usual line is at least this much of the column's width
OVERHANG = 0.1  # of a line that may hang over into the next column, as addresses and formulas do
PARAGRAPH_GAP = 1.45  # times the usual distance of lines
NOTE_SIZE = 0.92  # of the column's print: smaller lines at its end, the first with a note's mark, are footnotes
NOTE = re.compile(r"[\d*†‡§\[(]")
SENTENCE_ENDS = tuple('.!?:;。！？：；؟…»”"')


def page_text(page: PageText, lines: list[Line]) -> str:
    """The lines of a page as text in reading order, with an empty line where their places show a new paragraph."""
    upright = [line for line in lines if len(line.text) >= 4 and line.height > line.width]
    if len(lines) < 2 or len(upright) > 0.5 * sum(len(line.text) >= 4 for line in lines):
        return "\n".join(line.text for line in lines)  # vertical writing, or a page whose text lies on its side
    if upright:  # a stamp along the page's edge
        lines = [line for line in lines if line not in upright]
    gutters = _gutters(page, lines)
    blocks = _columns(page, lines, gutters) if gutters else [[_from_top(lines)]]
    blocks += [[[line] for line in upright]] if upright else []
    return "\n\n".join("\n".join(text for column in block for text in _with_paragraphs(column)) for block in blocks)


def _from_top(lines: list[Line]) -> list[Line]:
    """Lines from top to bottom where no two stand beside each other; else as they are."""
    order = sorted(lines, key=lambda line: -line.box.top)
    for above, below in pairwise(order):
        if min(above.box.top, below.box.top) - max(above.box.bottom, below.box.bottom) > 0.5 * below.height:
            return lines
    return order


def _gutters(page: PageText, lines: list[Line]) -> list[float]:
    """x of the empty stretches between columns of running text, from the left; none for one column or a table."""
    left, right = min(line.box.left for line in lines), max(line.box.right for line in lines)
    if right - left > MOST_POINTS:
        return []
    wide = [line for line in lines if line.width > WIDE * (right - left) and " " in line.text]
    sampled = wide[:: 1 + len(wide) // SAMPLED_LINES]
    pieces = lines
    if len(wide) >= LEAST_COLUMN_LINES and sum(bool(page.gaps(x, LEAST_GAP)) for x in sampled) > 0.3 * len(sampled):
        chosen = set(wide)
        pieces = [piece for line in lines for piece in (_pieces(page, line) if line in chosen else [line])]
    elif len(wide) > 0.8 * len(lines):
        return []
    candidates = _valleys(pieces, left, right)
    if _are_columns(pieces, candidates):
        return candidates
    alone = [[x] for x in candidates if len(candidates) > 1 and _are_columns(pieces, [x])]
    return min(alone, key=lambda gutter: abs(gutter[0] - (left + right) / 2), default=[])


def _pieces(page: PageText, line: Line) -> list[Line]:
    return page.split(line, [(end, after) for _, _, end, after in page.gaps(line, LEAST_GAP)])


def _valleys(pieces: list[Line], left: float, right: float) -> list[float]:
    """Middles of the stretches, LEAST_GAP wide at least, that far fewer lines cross than their surroundings."""
    first, count = int(left), int(right) - int(left) + 2
    changes = [0] * (count + 1)
    for piece in pieces:
        changes[max(0, int(piece.box.left) - first)] += 1
        changes[min(count, int(piece.box.right) - first + 1)] -= 1
    cover, running = [], 0
    for change in changes[:count]:
        running += change
        cover.append(running)
    low = VALLEY * median(cover)
    valleys, begin = [], None
    for x, lines_here in enumerate([*cover, len(pieces)]):
        if lines_here < low and begin is None:
            begin = x
        elif lines_here >= low and begin is not None:
            # The least crossed part of the stretch: ragged lines make its edges slope.
            least = min(cover[begin:x])
            flat = [i for i in range(begin, x) if cover[i] == least]
            if begin > 0 and len(flat) >= LEAST_GAP - 2:
                valleys.append(first + (flat[0] + flat[-1] + 1) / 2)
            begin = None
    return valleys


def _column_of(box: Box, gutters: list[float]) -> int | None:
    """The number of the column, from the left, that holds the box or all but a bit of it; None where several do."""
    first, last = bisect(gutters, box.left), bisect(gutters, box.right)
    if first == last:
        return first
    column = bisect(gutters, (box.left + box.right) / 2)
    outside = max(0.0, gutters[column - 1] - box.left) if column else 0.0
    outside += max(0.0, box.right - gutters[column]) if column < len(gutters) else 0.0
    return column if outside < OVERHANG * (box.right - box.left) else None


def _are_columns(pieces: list[Line], gutters: list[float]) -> bool:
    """Whether the gutters part running text: every column has enough lines, well filled, beside the others."""
    columns: list[list[Line]] = [[] for _ in range(len(gutters) + 1)]
    for piece in pieces:
        column = _column_of(piece.box, gutters)
        if column is not None:
            columns[column].append(piece)
    inside = sum(map(len, columns))
    if not gutters or inside < 0.4 * len(pieces):
        return False
    for column in columns:
        if len(column) < LEAST_COLUMN_LINES:
            return False
        width = max(line.box.right for line in column) - min(line.box.left for line in column)
        if median(line.width for line in column) < LEAST_FILL * width:
            return False
        if median(_letters(line.text) for line in column[:: 1 + len(column) // 12]) < LEAST_LETTERS:
            return False
    extents = [(min(line.box.bottom for line in c), max(line.box.top for line in c)) for c in columns]
    shared = min(top for _, top in extents) - max(bottom for bottom, _ in extents)
    return shared >= 0.3 * min(top - bottom for bottom, top in extents)


def _letters(text: str) -> int:
    return sum(2 if script_of(c) in ("Han", "Kana", "Hangul") else 1 for c in text if c.isalpha())


def _columns(page: PageText, lines: list[Line], gutters: list[float]) -> list[list[list[Line]]]:
    """Blocks from the top of the page: lines that go over several columns, or the columns between two such."""
    pieces = []
    for line in lines:
        gaps = page.gaps(line, LEAST_GAP) if _column_of(line.box, gutters) is None else []
        cuts = [(end, after) for left, right, end, after in gaps if bisect(gutters, left) < bisect(gutters, right)]
        pieces += page.split(line, cuts) if cuts else [line]
    pieces.sort(key=lambda piece: -(piece.box.top + piece.box.bottom))
    from_the_right = sum("\u0600" <= line.text[0] <= "\u06ff" for line in lines) > 0.5 * len(lines)
    blocks: list[list[list[Line]]] = []
    was_wide = None
    for piece in pieces:
        column = _column_of(piece.box, gutters)
        is_wide = column is None
        if is_wide != was_wide:
            blocks.append([[]] if is_wide else [[] for _ in range(len(gutters) + 1)])
        blocks[-1][0 if column is None else len(gutters) - column if from_the_right else column].append(piece)
        was_wide = is_wide
    blocks = [[_joined_level(column) for column in block if column] for block in blocks]
    return [part for block in blocks for part in _notes_apart(block)]


def _notes_apart(columns: list[list[Line]]) -> list[list[list[Line]]]:
    """The columns without the footnotes below each, and these as a block of their own behind them."""
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
    """Lines of a column from the top, pieces that stand at one height joined from left to right."""
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
        box = Box(
            min(r.box.left for r in row),
            min(r.box.bottom for r in row),
            max(r.box.right for r in row),
            max(r.box.top for r in row),
        )
        joined.append(Line(" ".join(r.text for r in row), box, row[0].start))
    return joined


def _with_paragraphs(lines: list[Line]) -> list[str]:
    """The lines' texts, an empty one before a line that stands further below or is indented after a sentence's end."""
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
