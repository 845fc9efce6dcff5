"""Read one PDF page by page with pdfium: its text layer, whether that layer is good enough, and its picture.

Used by `ocr_document.py`. Example:

    python -c "import pdf_text as p; print(p.Page(p.open_pdf(p.Path('book.pdf')), 0).text_layer())"
"""

import unicodedata
from collections import Counter
from pathlib import Path

from filtering.language import script_of
from pdf.letter_statistics import has_usual_letters, reads_as_words
from pdf.page_lines import NO_BOX, Line, PageText
from pdf.reading_order import page_text

# A page counts as scanned below these: published for whole documents (Qiu et al. 2024), applied here to each page.
MIN_ALPHANUMERIC_SHARE = 0.5
MIN_ALPHANUMERIC_CHARACTERS = 200
# Ours: more characters than this share that are no text (U+FFFD, private use, control) mean a font without a map.
MAX_BROKEN_SHARE = 0.05
# Ours: letters such as "Ïàöèåíò" are Cyrillic read through the wrong table; the most accented of the eight languages,
# French, has about 4 % accented letters.
MAX_ACCENTED_SHARE = 0.4
# Ours: a picture over at least this share of the page may hold text, so a short text layer is not trusted beside it.
PICTURE_SHARE = 0.1
# Ours: an A3 page at 300 dpi has 17 million pixels. Larger pages are drawn smaller, never larger than this.
MAX_PIXELS = 25_000_000
SAMPLED_LINES = 12  # of a page, asked whether they are drawn at all
BLANK_SPREAD = 8  # grey levels (of 255) between the darkest and lightest pixels of a page without content
BLANK_PIXELS = 850  # of the longer side, at which a page is looked at: A4 at 72 dots per inch
BLANK_SPECKS = 20_000  # one pixel in so many may be darker or lighter: dust


class PdfError(Exception):
    """A PDF, or a page of it, that cannot be read; the message is the reason for failures.jsonl."""


class EncryptedPdf(PdfError):
    """It needs a password, or another one."""


def open_pdf(path: Path, password: str | None = None):
    """A pypdfium2.PdfDocument. Errors: PdfError with the reason (empty, encrypted, not a PDF, damaged)."""
    import pypdfium2

    if path.stat().st_size == 0:
        raise PdfError("the file is empty (0 bytes)")
    try:
        document = pypdfium2.PdfDocument(path, password=password)
        pages = len(document)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise EncryptedPdf("encrypted: it needs a password") from None
        with open(path, "rb") as file:
            head = file.read(1024)
        kind = "truncated or damaged PDF" if b"%PDF-" in head else "not a PDF"
        raise PdfError(f"{kind}: pdfium cannot load it") from None
    if pages == 0:
        raise PdfError("the PDF has no pages")
    return document


class Page:
    """One page; number counts from 0. Errors: PdfError where it cannot be loaded."""

    def __init__(self, document, number: int):
        import pypdfium2

        self.number = number + 1
        self.has_hidden_text = False  # known after text_layer(): a scan with words recognised by another program
        try:
            self.page = document[number]
        except pypdfium2.PdfiumError as error:
            raise PdfError("the page cannot be loaded") from error

    def text_layer(self) -> str:
        """The page's text in reading order, a line each, an empty one where a paragraph ends by the look of it.

        "" where the page has none, where nobody sees it, where it cannot be read, and where it is what another program
        recognised on a scan without finding words.
        """
        import pypdfium2

        try:
            text_page = self.page.get_textpage()
        except pypdfium2.PdfiumError:
            return ""
        try:
            page = PageText(text_page, self.page.get_rotation())
            text = page_text(page, self._seen(page, page.lines()))
            return text if not self.has_hidden_text or reads_as_words(text) else ""
        finally:
            text_page.close()

    def _seen(self, page: PageText, lines: list[Line]) -> list[Line]:
        """Lines that stand on the page and are drawn, or that lie invisible over a picture: recognised by others."""
        left, bottom, right, top = page.turned(*self.page.get_cropbox())
        left, right, bottom, top = min(left, right), max(left, right), min(bottom, top), max(bottom, top)
        lines = [
            line
            for line in lines
            if line.box == NO_BOX
            or (line.box.right >= left and line.box.left <= right and line.box.top >= bottom and line.box.bottom <= top)
        ]
        drawn = lines
        if any(map(page.is_invisible, lines[:: 1 + len(lines) // SAMPLED_LINES])):
            drawn = [line for line in lines if not page.is_invisible(line)]
        self.has_hidden_text = len(drawn) < len(lines)
        return lines if self.has_hidden_text and self.has_pictures_or_drawings() else drawn

    def has_pictures_or_drawings(self) -> bool:
        """Whether anything but text covers a good part of the page: a picture, a drawing or a form."""
        import pypdfium2.raw as raw

        width, height = self.page.get_size()
        area = max(1.0, width * height)
        drawn = 0.0
        for item in self.page.get_objects(max_depth=3):
            if item.type in (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING):
                left, bottom, right, top = item.get_bounds()
                drawn += max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(top, height) - max(bottom, 0))
                if drawn >= PICTURE_SHARE * area:
                    return True
        return False

    def picture(self, dots_per_inch: int):
        """The page as a grey PIL image at that resolution, or at a lower one where that would pass MAX_PIXELS."""
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


def alphanumeric(text: str) -> int:
    """How many letters and digits of any script the text has."""
    return sum(map(str.isalnum, text))


def is_readable(text: str) -> bool:
    """Whether a text layer reads as text: at least half letters and digits, few broken ones, letters as usual."""
    shown = Counter(text)
    for mark in [c for c in shown if c.isspace() or c in "\x02\ufffe\u00ad"]:  # pdfium's marks of a hyphen
        del shown[mark]
    total = shown.total()
    if not total:
        return False
    latin = {c: count for c, count in shown.items() if script_of(c) == "Latin"}
    if sum(count for c, count in latin.items() if not c.isascii()) > MAX_ACCENTED_SHARE * sum(latin.values()):
        return False
    readable = sum(count for c, count in shown.items() if c.isalnum())
    broken = sum(count for c, count in shown.items() if c == "\ufffd" or unicodedata.category(c) in ("Co", "Cn", "Cc"))
    return (
        readable >= MIN_ALPHANUMERIC_SHARE * total and broken <= MAX_BROKEN_SHARE * total and has_usual_letters(shown)
    )


def is_blank(picture) -> bool:
    """Whether a grey picture shows nothing: its darkest and lightest pixels (but for dust and noise) are alike."""
    reduced = picture.reduce(max(1, round(max(picture.size) / BLANK_PIXELS)))  # averages a scanner's noise
    histogram = reduced.histogram()
    margin = sum(histogram) / BLANK_SPECKS
    darkest = _level(histogram, margin)
    lightest = 255 - _level(histogram[::-1], margin)
    return lightest - darkest <= BLANK_SPREAD


def _level(histogram: list[int], margin: float) -> int:
    seen = 0
    for level, count in enumerate(histogram):
        seen += count
        if seen > margin:
            return level
    return len(histogram) - 1
