"""Set a scanned page's picture upright: how far its lines lean, and the picture turned back.

The lines of a page that lies straight leave white rows between them; leaning lines smear these. So the picture is
tried at many angles and the one whose row sums differ most wins (projection profile; Postl 1986, Baird 1987, as in
https://doi.org/10.1117/12.130295). On a picture reduced to a few hundred pixels this takes some 15 ms. Example:

    python -c "import sys, PIL.Image, upright; print(upright.skew_degrees(PIL.Image.open(sys.argv[1])))" page.png
"""

MOST_DEGREES = 12.0  # either way; scanned books lean up to about 10
LEAST_DEGREES = 0.4  # less does not harm recognition, and turning blurs the letters a little
REDUCED_PIXELS = 900  # of the longer side, on which the angle is looked for
MOST_INK = 30_000  # dark pixels looked at
LEAST_INK = 200  # fewer tell no direction
COARSE, FINE = 0.5, 0.05  # degrees between the angles tried
# The best angle's rows must differ so much more than those of the picture as it is: 2.8 times at 0.4 degrees of lean,
# at most 1.2 on noise.
CLEARER = 1.5


def set_upright(picture):
    """(the grey picture with its lines level, degrees by which it was turned counterclockwise; 0.0: the same picture).

    Sees lean, not which way up: a page on its side stays on its side (its lines then level or upright).
    """
    picture = picture.convert("L")
    degrees = skew_degrees(picture)
    if abs(degrees) < LEAST_DEGREES:
        return picture, 0.0
    from PIL import Image

    paper = _paper_level(picture)
    return picture.rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=paper), degrees


def skew_degrees(picture) -> float:
    """Degrees to turn the grey picture counterclockwise so that its lines are level; 0.0 where that is not clear."""
    import numpy

    rows, columns, height = _ink(picture.convert("L"))
    if len(rows) < LEAST_INK:
        return 0.0

    def sharpness(degrees: float) -> float:
        # Turning counterclockwise by `degrees` moves a pixel at column x up by x * tan(degrees).
        level = rows - columns * numpy.float32(numpy.tan(numpy.radians(degrees)))
        sums = numpy.bincount((level - level.min()).astype(numpy.int32), minlength=height)
        return float(numpy.square(numpy.diff(sums.astype(numpy.float32))).sum())

    coarse = {degrees: sharpness(degrees) for degrees in numpy.arange(-MOST_DEGREES, MOST_DEGREES + COARSE, COARSE)}
    best = max(coarse, key=coarse.__getitem__)
    fine = {degrees: sharpness(degrees) for degrees in numpy.arange(best - COARSE, best + COARSE + FINE, FINE)}
    best = max(fine, key=fine.__getitem__)
    if fine[best] < CLEARER * sharpness(0.0) or abs(best) >= MOST_DEGREES:
        return 0.0
    return round(float(best), 2)


def _ink(picture):
    """(rows, columns) of dark pixels of the reduced picture, as float32, and its height in pixels."""
    import numpy

    small = picture.reduce(max(1, round(max(picture.size) / REDUCED_PIXELS)))
    grey = numpy.asarray(small)
    paper = numpy.median(grey)
    dark = grey < paper - max(30.0, 0.4 * (paper - grey.min()))
    # Solid surfaces (pictures, dark edges of a scan) drown the lines: only where dark begins from above counts.
    edges = dark.copy()
    edges[1:] &= ~dark[:-1]
    rows, columns = numpy.nonzero(edges)
    if len(rows) > MOST_INK:
        chosen = numpy.random.default_rng(0).integers(0, len(rows), MOST_INK)  # every n-th would make a pattern
        rows, columns = rows[chosen], columns[chosen]
    return rows.astype(numpy.float32), columns.astype(numpy.float32), grey.shape[0]


def _paper_level(picture) -> int:
    """The grey of most pixels: what the corners are filled with after turning."""
    histogram = picture.histogram()
    return histogram.index(max(histogram))
