"""One PDF page, read with pdfium: its text layer, whether that layer is good enough, and its picture."""

import re
import unicodedata
from collections import Counter
from itertools import accumulate
from pathlib import Path

from filtering.language import script_of
from pdf.reading_order import NO_BOX, Line, PageText, page_text

# A page counts as scanned below these: published for whole documents (Qiu et al. 2024), applied here to each page.
MIN_ALPHANUMERIC_SHARE = 0.5
MIN_ALPHANUMERIC_CHARACTERS = 200
# Ours: a larger share of U+FFFD, private-use and control characters means a font without a character map.
MAX_BROKEN_SHARE = 0.05
# Ours: letters such as "Ïàöèåíò" are Cyrillic read through the wrong table; the most accented of the eight languages,
# French, has about 4 % accented letters.
MAX_ACCENTED_SHARE = 0.4
# Ours: a picture over at least this share of the page may contain text, so a short text layer is not trusted beside it.
PICTURE_SHARE = 0.1
# Ours: an A3 page at 300 dpi has 17 million pixels. Larger pages are drawn at a lower resolution.
MAX_PIXELS = 25_000_000
SAMPLED_LINES = 12  # per page, checked for invisible text
BLANK_SPREAD = 8  # grey levels (of 255) between the darkest and lightest pixels of a page without content
BLANK_PIXELS = 850  # of the longer side of the reduced picture: A4 at 72 dots per inch
BLANK_SPECKS = 20_000  # one pixel in this many may be darker or lighter: dust

# The letters (Chinese: characters) most frequent in the corpus's languages of each script: more than half of any text.
FREQUENT = {
    "Latin": frozenset("eainrsto"),
    "Cyrillic": frozenset("оеаинтср"),
    "Arabic": frozenset("اليمونرت"),
    "Han": frozenset(
        "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她"
        "里后日本者能用分病性治疗症于血法成作方部多发行同体所与等高心及理主见及"
    ),
}
# Of pieces of 1,500 characters of web text the thousandth lowest share of frequent letters was .497 (fr), .496 (ru),
# .491 (ar), .057 (zh), .085 (ja); an alphabet shifted by some letters has .2 to .35.
MIN_FREQUENT_SHARE = {"Latin": 0.42, "Cyrillic": 0.40, "Arabic": 0.38, "Han": 0.04}
MIN_LETTERS = 150  # fewer show nothing
BLOCKS = {"Latin": (0x41, 0x24F), "Cyrillic": (0x400, 0x52F), "Arabic": (0x600, 0x6FF), "Han": (0x3400, 0x9FFF)}
WORD = re.compile(r"[(\[{\"'«“‘„]*(?:[^\W\d_]{2,}(?:['’-][^\W\d_]+)*|\d+(?:[.,:/-]\d+)*%?)-?[)\]}\"'»”’.,;:!?]*")
MIN_WORD_SHARE = 0.6  # of the pieces between white space, in text recognised by another program


class PdfError(Exception):
    """A PDF or page cannot be read; the message is the reason in failures.jsonl."""


class EncryptedPdf(PdfError):
    """The PDF needs a password, or another one."""


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
        self.has_hidden_text = False  # set by text_layer(): a scan with words recognised by another program
        try:
            self.page = document[number]
        except pypdfium2.PdfiumError as error:
            raise PdfError("the page cannot be loaded") from error

    def text_layer(self) -> str:
        """The page's lines in reading order, with an empty line where the layout shows the end of a paragraph.

        "" if there is none or it is invisible or unreadable, or if another program recognised it and found no words.
        """
        import pypdfium2

        try:
            text_page = self.page.get_textpage()
        except pypdfium2.PdfiumError:
            return ""
        try:
            page = PageText(text_page, self.page.get_rotation())
            text = page_text(page, self._visible(page, page.lines()))
            return text if not self.has_hidden_text or reads_as_words(text) else ""
        finally:
            text_page.close()

    def _visible(self, page: PageText, lines: list[Line]) -> list[Line]:
        """Lines inside the page that are drawn, or that lie invisible over a picture: recognised by another program."""
        left, bottom, right, top = page.rotated(*self.page.get_cropbox())
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
        """Whether pictures, drawings or forms cover at least PICTURE_SHARE of the page."""
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


def alphanumeric(text: str) -> int:
    """Number of letters and digits of any script in the text."""
    return sum(map(str.isalnum, text))


def is_readable(text: str) -> bool:
    """Whether a text layer is plausible: mostly letters and digits, few broken ones, usual letter frequencies."""
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


def has_usual_letters(characters: Counter) -> bool:
    """characters: {character: count}. False if the main script's frequent letters are too rare.

    Then each letter stands for another, because the font has a wrong character table: "Wkh sdwlhqw zdv vhhq".
    """
    letters: Counter = Counter()
    frequent: Counter = Counter()
    for character, count in characters.items():
        for script, (first, last) in BLOCKS.items():
            if first <= ord(character) <= last and character.isalpha():
                letters[script] += count
                frequent[script] += count * (character.lower() in FREQUENT[script])
    if not letters:
        return True
    script, count = letters.most_common(1)[0]  # codes and addresses in another script may have any letters
    return count < MIN_LETTERS or frequent[script] >= MIN_FREQUENT_SHARE[script] * count


def reads_as_words(text: str) -> bool:
    """Whether most pieces of a text are words or figures; always true of Chinese and Japanese (without spaces)."""
    pieces = text.split()
    if sum("\u3040" <= c <= "\u9fff" for c in text) > len(pieces):
        return True
    return sum(WORD.fullmatch(piece) is not None for piece in pieces) >= MIN_WORD_SHARE * len(pieces)


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
