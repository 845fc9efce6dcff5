"""Layout of a scanned page from its picture: skew, one or several columns, pictures, ink that no word covers.

Skew: the lines of a level page leave white rows between them, skewed lines smear these. So the picture is tried at
many angles, and the one with the largest differences between row sums wins (projection profile; Postl 1986, Baird 1987,
as in https://doi.org/10.1117/12.130295). On a picture reduced to a few hundred pixels this takes about 15 ms.

Columns: tesseract reads a single column better and faster as one block than with its own layout analysis.
"""

MAX_SKEW = 12.0  # degrees either way; scanned books are skewed by up to about 10
MIN_SKEW = 0.4  # degrees; less does not harm recognition, and rotating blurs the letters a little
REDUCED_PIXELS = 900  # of the longer side of the picture on which the angle is measured
MAX_INK = 30_000  # dark pixels used
MIN_INK = 200  # fewer show no direction
COARSE, FINE = 0.5, 0.05  # degrees between the angles tried
# The best angle must be this much sharper than the picture as it is: 2.8 times at a skew of 0.4 degrees, at most 1.2
# on noise.
MIN_SHARPER = 1.5

DOTS_PER_INCH = 72  # of the picture on which columns are measured: a printed character is 5 to 8 pixels high
INK_SHARE = 0.4  # a pixel darker than this share of the way from the paper's grey to the ink's is ink
GUTTER_INCHES = 0.14  # a gap this wide is not a space between words (11 points: 0.04)
GUTTER_ROWS = 0.3  # share of the printed rows with a gap at one place from which the page has columns
EDGE = 0.12  # of the page's width on either side: shadows of scanners, margins of books
# Ink without a white row over this height and width is a picture; print has a white row between any two lines. Strokes
# of a drawing closer than twice PICTURE_REACH are taken together, and light parts up to twice PICTURE_HOLE wide filled.
PICTURE_INCHES, PICTURE_REACH, PICTURE_HOLE = 0.55, 0.11, 0.25
LOST_LINE = (0.5, 1.5)  # least and most height of a line that was not found, in heights of the others
BAND_INK = 0.5  # of the ink in the page's fullest band; a band with less print does not show the language
SMEAR_ROWS = 4  # added above and below each row: the tips of tall letters alone would show gaps
FULL_ROW = 0.5  # only rows with this share of a full row's ink are used
LINE_ROWS = 22  # rows that contain a printed line and the white beside it, at DOTS_PER_INCH


def set_upright(picture):
    """(grey picture with level lines, degrees by which it was rotated counterclockwise; 0.0: the same picture).

    Corrects skew only: a page rotated by 90 degrees stays rotated.
    """
    picture = picture.convert("L")
    degrees = skew_degrees(picture)
    if abs(degrees) < MIN_SKEW:
        return picture, 0.0
    from PIL import Image

    histogram = picture.histogram()
    paper = histogram.index(max(histogram))  # the most frequent grey fills the corners
    return picture.rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=paper), degrees


def skew_degrees(picture) -> float:
    """Degrees to rotate the grey picture counterclockwise so that its lines are level; 0.0 if that is not clear."""
    import numpy

    rows, columns, height = _dark_edges(picture.convert("L"))
    if len(rows) < MIN_INK:
        return 0.0

    def sharpness(degrees: float) -> float:
        # Rotating counterclockwise by `degrees` moves a pixel at column x up by x * tan(degrees).
        level = rows - columns * numpy.float32(numpy.tan(numpy.radians(degrees)))
        sums = numpy.bincount((level - level.min()).astype(numpy.int32), minlength=height)
        return float(numpy.square(numpy.diff(sums.astype(numpy.float32))).sum())

    coarse = {degrees: sharpness(degrees) for degrees in numpy.arange(-MAX_SKEW, MAX_SKEW + COARSE, COARSE)}
    best = max(coarse, key=coarse.__getitem__)
    fine = {degrees: sharpness(degrees) for degrees in numpy.arange(best - COARSE, best + COARSE + FINE, FINE)}
    best = max(fine, key=fine.__getitem__)
    if fine[best] < MIN_SHARPER * sharpness(0.0) or abs(best) >= MAX_SKEW:
        return 0.0
    return round(float(best), 2)


def _dark_edges(picture):
    """(rows, columns) of dark pixels of the reduced picture, as float32, and its height in pixels."""
    import numpy

    small = picture.reduce(max(1, round(max(picture.size) / REDUCED_PIXELS)))
    grey = numpy.asarray(small)
    paper = numpy.median(grey)
    dark = grey < paper - max(30.0, 0.4 * (paper - grey.min()))
    # Only the upper edges of dark areas count: pictures and dark borders of a scan would hide the lines.
    edges = dark.copy()
    edges[1:] &= ~dark[:-1]
    rows, columns = numpy.nonzero(edges)
    if len(rows) > MAX_INK:
        chosen = numpy.random.default_rng(0).integers(0, len(rows), MAX_INK)  # every n-th would make a pattern
        rows, columns = rows[chosen], columns[chosen]
    return rows.astype(numpy.float32), columns.astype(numpy.float32), grey.shape[0]


def is_one_column(ink) -> bool:
    """Whether a page has one column of print and no picture. ink: from `ink_of`."""
    return not ink.any() or (_gutter_share(ink) < GUTTER_ROWS and not pictures_of(ink).any())


def ink_of(picture, dots_per_inch: int):
    """Where a grey PIL picture of a page has ink: bool array (height, width) at DOTS_PER_INCH, False at the edges."""
    import numpy
    from PIL import Image

    size = tuple(max(1, pixels * DOTS_PER_INCH // dots_per_inch) for pixels in picture.size)
    grey = numpy.asarray(picture.resize(size, Image.Resampling.BOX), numpy.float32)
    darkest, paper = numpy.percentile(grey, (1, 80))
    ink = grey < paper - INK_SHARE * max(40.0, paper - darkest)
    ink[:, : int(EDGE / 2 * ink.shape[1])] = ink[:, ink.shape[1] - int(EDGE / 2 * ink.shape[1]) :] = False
    return ink


def missed_ink(ink, boxes, dots_per_inch: int) -> float:
    """The share of the ink (from `ink_of`) outside all boxes (left, top, width, height in pixels at dots_per_inch).

    Boxes are extended by their height to either side and a quarter of it above and below, because tesseract's boxes of
    Chinese characters are narrower than the ink. 0.0 on a blank page.
    """
    all_ink = int(ink.sum())
    return int(_left_over(ink, boxes, dots_per_inch).sum()) / all_ink if all_ink else 0.0


def _left_over(ink, boxes, dots_per_inch: int):
    """The ink outside the boxes, extended as `missed_ink` says."""
    left_over = ink.copy()
    scale = DOTS_PER_INCH / dots_per_inch
    for left, top, width, height in boxes:
        rows = slice(max(0, int((top - height / 4) * scale)), int((top + height * 1.25) * scale) + 1)
        left_over[rows, max(0, int((left - height) * scale)) : int((left + width + height) * scale) + 1] = False
    return left_over


def lost_lines(ink, boxes, dots_per_inch: int) -> list[tuple[int, int, int, int]]:
    """Boxes of ink (from `ink_of`) as high as a line, in rows outside all `boxes`, the lines found on the page.

    Boxes are (left, top, width, height) in pixels at dots_per_inch. tesseract loses a short line now and then.
    """
    import numpy

    if not boxes:
        return []
    scale = DOTS_PER_INCH / dots_per_inch
    usual = float(numpy.median([height for *_, height in boxes])) * scale
    left_over = _left_over(ink, boxes, dots_per_inch)
    inked = numpy.concatenate(([0], left_over.any(1).astype(numpy.int8), [0]))
    found = []
    for top, bottom in zip(
        numpy.flatnonzero(numpy.diff(inked) > 0), numpy.flatnonzero(numpy.diff(inked) < 0), strict=True
    ):
        columns = numpy.flatnonzero(left_over[top:bottom].any(0))
        if LOST_LINE[0] * usual <= bottom - top <= LOST_LINE[1] * usual and len(columns) > usual:
            box = (columns[0], top, columns[-1] + 1 - columns[0], bottom - top)
            found.append(tuple(int(side / scale) for side in box))
    return found


def print_band(ink, first: float, last: float) -> tuple[float, float]:
    """Two rows between lines, as shares of the page's height: near `first` and `last`, or at the fullest band as high.

    The fullest is taken if the other has less than BAND_INK of its ink; pictures do not count.
    """
    import numpy

    height = ink.shape[0]
    rows = (ink & ~pictures_of(ink)).sum(1)
    sums = numpy.concatenate(([0], numpy.cumsum(rows)))
    top, high = int(first * height), max(1, int((last - first) * height))
    bands = sums[high:] - sums[:-high]
    if len(bands) > top and bands[top] < BAND_INK * bands.max():
        top = int(bands.argmax())
    return whitest_row(ink, top / height), whitest_row(ink, (top + high) / height)


def whitest_row(ink, share: float) -> float:
    """The row with least ink near `share` of the page's height, as a share of the height: between two lines."""
    height = ink.shape[0]
    first = min(height - 1, max(0, int(share * height) - LINE_ROWS // 2))
    return (first + int(ink[first : first + LINE_ROWS].sum(1).argmin())) / height


def pictures_of(ink):
    """Where the page has pictures: bool array of the shape of `ink` (from `ink_of`). False on drawings of few lines."""
    long, reach, hole = (round(i * DOTS_PER_INCH) for i in (PICTURE_INCHES, PICTURE_REACH, PICTURE_HOLE))
    joined = _spread(ink.T, reach).T
    seen = _long_runs(_long_runs(joined, long).T, long).T
    if not seen.any():
        return seen
    grown = _spread(_spread(seen, hole).T, hole).T
    return ~_spread(_spread(~grown, hole).T, hole).T  # its outline as before, its light parts included


def _spread(marks, reach: int):
    """The marks and everything up to `reach` rows above and below them."""
    import numpy

    height, width = marks.shape
    sums = numpy.concatenate((numpy.zeros((1, width), numpy.int32), marks.cumsum(0, numpy.int32)))
    rows = numpy.arange(height)
    return sums[numpy.minimum(rows + reach + 1, height)] > sums[numpy.maximum(rows - reach, 0)]


def _long_runs(marks, length: int):
    """The marks that are in vertical runs of at least `length`."""
    import numpy

    height, width = marks.shape
    if height < length:
        return numpy.zeros_like(marks)
    sums = numpy.concatenate((numpy.zeros((1, width), numpy.int32), marks.cumsum(0, numpy.int32)))
    begins = sums[length:] - sums[:-length] == length
    covered = numpy.zeros((height + 1, width), numpy.int32)
    covered[: len(begins)] += begins
    covered[length:] -= begins
    return covered.cumsum(0)[:-1] > 0


def _gutter_share(ink) -> float:
    """The share of the full printed rows with a wide gap at the x where most rows have one."""
    import numpy

    width = ink.shape[1]
    gap = max(2, round(GUTTER_INCHES * DOTS_PER_INCH))
    smeared = ink.copy()
    for shift in range(1, SMEAR_ROWS + 1):
        smeared[shift:] |= ink[:-shift]
        smeared[:-shift] |= ink[shift:]
    filled = smeared.sum(1)
    if not filled.any():
        return 0.0
    rows = numpy.flatnonzero(filled >= FULL_ROW * numpy.percentile(filled[filled > 0], 90))
    votes = numpy.zeros(width, numpy.int32)
    for row in rows:
        places = numpy.flatnonzero(smeared[row])
        for i in numpy.flatnonzero(numpy.diff(places) > gap):
            votes[places[i] + 1 : places[i + 1]] += 1
    middle = votes[int(EDGE * width) : width - int(EDGE * width)]
    return float(middle.max()) / len(rows) if len(middle) else 0.0
