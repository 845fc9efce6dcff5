"""One PDF page, read with pdfium: its text layer, the signs that this may be wrong, and the page's picture."""

import ctypes
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy

from text_layers.layer_quality import (
    INK_DPI,
    has_function_words,
    reads_as_words,
    uncovered_letters,
)
from text_layers.page_characters import Piece, drawn_objects, pieces_of, read_characters, rotated, unmapped_text
from text_layers.reading_order import file_order, page_text

# Ours: a picture over at least this share of the page may contain text, so a short text layer is not trusted beside it.
PICTURE_SHARE = 0.1
# Ours: a picture over this share of the page may be a scan, also under a long text layer.
SCAN_SHARE = 0.5
# Ours: an A3 page at 300 dpi has 17 million pixels. Larger pages are drawn at a lower resolution.
MAX_PIXELS = 25_000_000
BLANK_SPREAD = 8  # grey levels (of 255) between the darkest and lightest pixels of a page without content
BLANK_PIXELS = 850  # of the longer side of the reduced picture: A4 at 72 dots per inch
BLANK_SPECKS = 20_000  # one pixel in this many may be darker or lighter: dust
PATH, PICTURE, SHADING, FORM = 2, 3, 4, 5  # pdfium's kinds of page objects
# Kinds of annotations whose text people see: free text, stamps, fields of forms (pdfium's fpdf_annot.h).
SHOWN_ANNOTATIONS = (3, 13, 20)


class PdfError(Exception):
    """A PDF or page cannot be read; the message is the reason in failures.jsonl."""


class EncryptedPdf(PdfError):
    """The PDF needs a password, or another one."""


class Layer(NamedTuple):
    """The text layer of a page."""

    text: str  # lines in reading order, an empty line between paragraphs, a tab between the cells of a table
    order: str  # "layout", or "file": the layout could not be analysed and the lines are in the file's order
    unmapped: str  # words in fonts that have no Unicode values for them
    boxes: list[tuple[float, float, float, float]]  # of its pieces: left, bottom, right, top in points
    is_hidden: bool  # words that another program recognised, over a picture


NO_LAYER = Layer("", "layout", "", [], False)


def open_pdf(path: Path, password: str | None = None):
    """A pypdfium2.PdfDocument. Errors: PdfError with the reason (empty, encrypted, not a PDF, damaged)."""
    import pypdfium2
    import pypdfium2.raw as raw

    if path.stat().st_size == 0:
        raise PdfError("the file is empty (0 bytes)")
    # pdfium may fail without setting its error code, which is then that of an earlier file; no bytes set "format".
    raw.FPDF_LoadMemDocument(b"", 0, None)
    try:
        document = pypdfium2.PdfDocument(path, password=password)
        pages = len(document)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise EncryptedPdf("encrypted: it needs a password") from None
        if "security" in str(error).lower():
            raise PdfError("encrypted in a way that pdfium does not support; save a copy without encryption") from None
        with open(path, "rb") as file:
            head = file.read(1024)
        kind = "truncated or damaged PDF" if b"%PDF-" in head else "not a PDF"
        raise PdfError(f"{kind}: pdfium cannot load it") from None
    if pages == 0:
        raise PdfError("the PDF has no pages")
    return document


class Page:
    """One page; number counts from 0. Errors: PdfError if it cannot be loaded."""

    def __init__(self, document, number: int):
        import pypdfium2

        self.number = number + 1
        self._objects = None
        try:
            self.page = document[number]
            if self._has_shown_annotations():
                self._draw_annotations(document, number)
        except pypdfium2.PdfiumError as error:
            raise PdfError("the page cannot be loaded") from error

    def _has_shown_annotations(self) -> bool:
        import pypdfium2.raw as raw

        for i in range(raw.FPDFPage_GetAnnotCount(self.page.raw)):
            annotation = raw.FPDFPage_GetAnnot(self.page.raw, i)
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            raw.FPDFPage_CloseAnnot(annotation)
            if kind in SHOWN_ANNOTATIONS:
                return True
        return False

    def _draw_annotations(self, document, number: int) -> None:
        """Make filled-in fields, notes and stamps part of the page, in memory: neither layer nor picture has them."""
        import pypdfium2.raw as raw

        if raw.FPDFPage_Flatten(self.page.raw, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS:
            self.page.close()
            self.page = document[number]

    def box(self) -> tuple[float, float, float, float]:
        """The visible part of the page as displayed: left, bottom, right, top in points, as in `Characters.boxes`."""
        import pypdfium2.raw as raw

        found = raw.FS_RECTF()  # also of a box that the page inherits, and cut to the paper's size
        if not raw.FPDF_GetPageBoundingBox(self.page.raw, ctypes.byref(found)):
            width, height = self.page.get_size()
            return 0.0, 0.0, width, height
        box = rotated([[found.left, found.bottom, found.right, found.top]], self.page.get_rotation())
        return tuple(box[0].tolist())

    def text_layer(self) -> Layer:
        """The page's text; NO_LAYER if there is none, it is invisible, or another program found no words in it."""
        import pypdfium2

        try:
            text_page = self.page.get_textpage()
        except pypdfium2.PdfiumError:
            return NO_LAYER
        try:
            characters = read_characters(text_page, self.page.get_rotation())
            pieces, is_hidden = self._visible(pieces_of(characters))
        finally:
            text_page.close()
        if not pieces:
            return NO_LAYER
        order = "layout"
        try:
            kinds, bounds, depths = self.objects()
            text = page_text(pieces, bounds[(kinds == PATH) & (depths == 0)])
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):  # an unforeseen layout loses no text
            text, order = file_order(pieces), "file"
        if is_hidden and not (reads_as_words(text) and has_function_words(text)):
            return NO_LAYER
        return Layer(text, order, unmapped_text(characters), [tuple(piece[1:5]) for piece in pieces], is_hidden)

    def _visible(self, pieces: list[Piece]) -> tuple[list[Piece], bool]:
        """(pieces inside the page that are drawn, or that are invisible over a picture; whether there are such)."""
        left, bottom, right, top = self.box()
        pieces = [
            piece
            for piece in pieces
            if piece.right <= piece.left
            or (piece.right >= left and piece.left <= right and piece.top >= bottom and piece.bottom <= top)
        ]
        drawn = [piece for piece in pieces if not piece.invisible]
        is_hidden = len(drawn) < len(pieces) and self.picture_share() >= PICTURE_SHARE
        return (pieces if is_hidden else drawn), is_hidden

    def objects(self) -> tuple:
        """The result of `drawn_objects`."""
        if self._objects is None:
            self._objects = drawn_objects(self.page)
        return self._objects

    def has_drawings(self) -> bool:
        """Whether the page has pictures, drawings or shadings."""
        return bool(len(self.objects()[0]))

    def picture_share(self, kinds: tuple[int, ...] = (PATH, PICTURE, SHADING)) -> float:
        """The share of the page that objects of these kinds cover, at most 1.0; overlaps count twice."""
        width, height = self.page.get_size()
        found, bounds, _ = self.objects()
        left, bottom, right, top = self.box()
        chosen = bounds[numpy.isin(found, kinds)]
        across = numpy.minimum(chosen[:, 2], right) - numpy.maximum(chosen[:, 0], left)
        up = numpy.minimum(chosen[:, 3], top) - numpy.maximum(chosen[:, 1], bottom)
        covered = float((numpy.maximum(across, 0) * numpy.maximum(up, 0)).sum())
        return min(1.0, covered / max(1.0, width * height))

    def uncovered_letters(self, layer: Layer) -> tuple[int, int]:
        """(dark areas of the size of letters that no piece of the layer covers, all such areas) on the drawn page."""
        left, _, _, top = self.box()
        picture = self.picture(INK_DPI)
        scale = picture.width / max(1.0, self.page.get_size()[0])
        boxes = [
            ((a - left) * scale, (top - d) * scale, (c - left) * scale, (top - b) * scale)
            for a, b, c, d in layer.boxes
            if c > a
        ]
        return uncovered_letters(picture, boxes)

    def picture(self, dots_per_inch: int):
        """The page as a grey PIL image at that resolution, or at a lower one to stay below MAX_PIXELS."""
        import pypdfium2

        width, height = self.page.get_size()  # in points, 1/72 inch
        if not (width > 0 and height > 0):
            raise PdfError(f"the page has no area ({width} x {height} points)")
        scale = min(dots_per_inch / 72, (MAX_PIXELS / (width * height)) ** 0.5)
        try:
            bitmap = self.page.render(scale=scale, grayscale=True)
        except (pypdfium2.PdfiumError, MemoryError, ValueError) as error:
            raise PdfError(f"the page cannot be drawn ({error or type(error).__name__})") from None
        try:
            return bitmap.to_pil().copy()
        finally:
            bitmap.close()

    def close(self) -> None:
        self.page.close()


def is_blank(picture) -> bool:
    """Whether a grey picture is blank: its darkest and lightest pixels (except for dust and noise) are alike."""
    reduced = picture.reduce(max(1, round(max(picture.size) / BLANK_PIXELS)))  # averages a scanner's noise
    histogram = reduced.histogram()
    margin = sum(histogram) / BLANK_SPECKS
    darkest = _level(histogram, margin)
    lightest = 255 - _level(histogram[::-1], margin)
    return lightest - darkest <= BLANK_SPREAD


def _level(histogram: list[int], margin: float) -> int:
    """The first grey level with more than `margin` pixels up to it."""
    return next((level for level, seen in enumerate(accumulate(histogram)) if seen > margin), len(histogram) - 1)
