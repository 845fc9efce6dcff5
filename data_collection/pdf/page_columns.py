"""Tell from its picture how a page is laid out: one column of print, or more (columns, tables, forms); and how much
of the ink no word was found for.

Where there is one column, tesseract reads it better and faster as one block than by its own analysis of the layout.
Used by `page_ocr.py`.
"""

DOTS_PER_INCH = 72  # the picture is reduced to this: a character of print keeps 5 to 8 pixels of height
GUTTER_INCHES = 0.14  # white this wide between two pieces of print is no space between words (11 points: 0.04)
INK_SHARE = 0.4  # of the way from the paper's grey to the ink's: from here on a pixel is ink
GUTTER_ROWS = 0.3  # of the rows of print, at one place: from here on the page has columns
EDGE = 0.12  # of the page's width on either side, where scanners leave shadows and books their margins
SOLID_INCHES = 0.8  # ink this high without a white row, over this share of the width, is a picture
SOLID_SHARE = 0.6
# The tips of tall letters alone would show gaps: each row counts with so many above and below, and only rows with this
# share of a full row's ink.
SMEAR_ROWS = 4
LINE_ROWS = 22  # rows in which a line of print and the white beside it have room, at DOTS_PER_INCH
FULL_ROW = 0.5


def is_one_column(ink) -> bool:
    """Whether a page shows one column of print, and no picture. ink: from `ink_of`."""
    return not ink.any() or (_gutter_share(ink) < GUTTER_ROWS and not _has_picture(ink))


def ink_of(picture, dots_per_inch: int):
    """Where a grey PIL picture of a page has ink: a bool array (height, width) at DOTS_PER_INCH, edges left out."""
    import numpy
    from PIL import Image

    reduced = picture.resize(
        (
            max(1, picture.width * DOTS_PER_INCH // dots_per_inch),
            max(1, picture.height * DOTS_PER_INCH // dots_per_inch),
        ),
        Image.Resampling.BOX,
    )
    grey = numpy.asarray(reduced, numpy.float32)
    darkest, paper = numpy.percentile(grey, (1, 80))
    ink = grey < paper - INK_SHARE * max(40.0, paper - darkest)
    ink[:, : int(EDGE / 2 * ink.shape[1])] = ink[:, ink.shape[1] - int(EDGE / 2 * ink.shape[1]) :] = False
    return ink


def missed_ink(ink, boxes, dots_per_inch: int) -> float:
    """The share of the ink (as `ink_of` finds it) that lies in none of the boxes (left, top, width, height in pixels
    at dots_per_inch); 0.0 on a blank page. A box stands for its surroundings too, because tesseract's boxes of Chinese
    characters are narrower than the ink: a character's height to either side, a quarter of it above and below.
    """
    all_ink = int(ink.sum())
    left_over = ink.copy()
    scale = DOTS_PER_INCH / dots_per_inch
    for left, top, width, height in boxes:
        rows = slice(max(0, int((top - height / 4) * scale)), int((top + height * 1.25) * scale) + 1)
        left_over[rows, max(0, int((left - height) * scale)) : int((left + width + height) * scale) + 1] = False
    return int(left_over.sum()) / all_ink if all_ink else 0.0


def whitest_row(ink, share: float) -> float:
    """Where near `share` of the page's height there is least ink, as a share of the height: between two lines."""
    height = ink.shape[0]
    first = max(0, int(share * height) - LINE_ROWS // 2)
    row = first + int(ink[first : first + LINE_ROWS].sum(1).argmin()) if height else 0
    return row / max(1, height)


def _gutter_share(ink) -> float:
    """The share of the full rows of print that have a wide gap between print at one place, where most have it."""
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


def _has_picture(ink) -> bool:
    """Whether there is a high and wide area without a white row: print has one between any two lines."""
    import numpy

    wide = ink.mean(1) > SOLID_SHARE
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([0], wide.astype(numpy.int8), [0]))))
    heights = edges[1::2] - edges[::2]
    return bool(len(heights)) and int(heights.max()) > SOLID_INCHES * DOTS_PER_INCH
