"""Read pages of PDFs, each from its text layer or by recognition: the work of one process of `ocr.py`."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from filtering.language import SCRIPTS_OF, UNDETERMINED, detect_language, main_script
from pdf.page_ocr import PageReader
from pdf.pdf_journal import Unit
from pdf.recognition_engines import OcrError
from pdf.text_layer import (
    MIN_ALPHANUMERIC_CHARACTERS,
    EncryptedPdf,
    Page,
    PdfError,
    alphanumeric,
    is_blank,
    is_readable,
    open_pdf,
)
from pdf.text_repair import repair_page
from run_record import sha256_of_file

# Fewer letters at a lower confidence are specks of dust on an empty page.
NOISE_CHARACTERS = 10
NOISE_CONFIDENCE = 60.0
XFA_FORMS = (2, 3)  # pdfium's FORMTYPE_XFA_FULL and FORMTYPE_XFA_FOREGROUND


class PdfReader:
    """Keeps the recognition engine and the last PDF open.

    settings: languages (codes, or "auto" only), dpi, timeout (seconds per page), engine, chinese_engine.
    """

    def __init__(self, settings: dict):
        self.languages = settings["languages"]
        self.reader = PageReader(
            self.languages, settings["dpi"], settings["timeout"], settings["engine"], settings["chinese_engine"]
        )
        self.unsettled = self.reader.settled
        self.path, self.document = None, None

    def read_unit(self, path: Path, name: str, passwords: tuple[str, ...], unit: Unit, facts: bool) -> Iterator[dict]:
        """Yield the records of pdf_journal.py: the PDF's facts first if `facts`, then each page of the unit in order.

        name: the document's name in the records. passwords: to try in turn if the PDF is encrypted.
        """
        try:
            if path != self.path:
                self._open(path, passwords)
            if facts:
                yield facts_of(self.document, path)
        except (PdfError, OSError) as error:
            reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
            yield {"document": name, "page": None, "reason": reason}
            return
        self.reader.settled = self.unsettled if unit.settled is None else unit.settled
        for number in range(unit.first - 1, min(unit.last, len(self.document))):
            begun, settled = time.monotonic(), self.reader.settled
            record = read_page(self.document, number, name, self.reader, self.languages)
            if "method" in record:
                record |= {"seconds": round(time.monotonic() - begun, 3), "settled": self.reader.settled}
            else:
                self.reader.settled = settled  # a run that is resumed after this page starts with the same model
            yield record
            if unit.is_opening and self.reader.settled:
                return

    def _open(self, path: Path, passwords: tuple[str, ...]) -> None:
        if self.document is not None:
            self.document.close()
        self.path = self.document = None
        for password in (None, *passwords):
            try:
                self.document = open_pdf(path, password)
            except EncryptedPdf:
                continue
            self.path = path
            return
        raise PdfError("encrypted: none of the passwords opens it" if passwords else "encrypted: it needs a password")


def facts_of(document, path: Path) -> dict:
    """The first record of a PDF's journal."""
    return {
        "opened": len(document),
        "sha256": sha256_of_file(path),
        "attachments": document.count_attachments(),
        "xfa": document.get_formtype() in XFA_FORMS,
    }


def read_page(document, number: int, name: str, reader: PageReader, languages: tuple[str, ...]) -> dict:
    """One page's record: its text and method, or the reason why it cannot be read. number: from 0."""
    record = {"document": name, "page": number + 1}
    try:
        with closing(Page(document, number)) as page:
            return record | _read_loaded_page(page, reader, languages)
    except (PdfError, OcrError) as error:
        return record | {"reason": str(error)}


def _read_loaded_page(page: Page, reader: PageReader, languages: tuple[str, ...]) -> dict:
    layer = page.text_layer()
    readable = is_readable(layer) and is_expected_script(layer, languages)
    if readable and (alphanumeric(layer) >= MIN_ALPHANUMERIC_CHARACTERS or not page.has_pictures_or_drawings()):
        return page_record("text_layer", layer, languages)
    draw = lru_cache(page.picture)  # drawing takes a tenth of the time of recognition
    if is_blank(draw(reader.resolution)):
        return page_record("empty", "", languages) | {"reason": "blank"}
    found = reader.read(draw)
    if readable and alphanumeric(layer) >= alphanumeric(found.text):  # the picture contains no more text than the layer
        return page_record("text_layer", layer, languages)
    characters = alphanumeric(found.text)
    if characters < (NOISE_CHARACTERS if found.confidence < NOISE_CONFIDENCE else 1):
        reason = f"{characters} letters or digits recognised" + f" at confidence {found.confidence}" * (characters > 0)
        return page_record("empty", "", languages) | {"reason": reason}
    how = {key: value for key, value in found._asdict().items() if key not in ("text", "seconds")}
    return page_record("ocr", found.text, languages) | how


def is_expected_script(text: str, languages: tuple[str, ...]) -> bool:
    """Whether the text is in a script of the languages (auto: of any of the eight), or too short to detect one.

    A layer in another script usually comes from a font with a wrong character table: the page only looks right.
    """
    script, code, _ = main_script(text)
    if code == UNDETERMINED and not script:
        return True
    if script == "Han":
        return bool({"auto", "zh", "ja"} & set(languages))
    return script in SCRIPTS_OF and ("auto" in languages or not set(languages).isdisjoint(SCRIPTS_OF[script]))


def page_record(method: str, lines: str, languages: tuple[str, ...]) -> dict:
    """A page's record without its number. lines: the text as read, one line per line of the page."""
    text = repair_page(lines)
    language = page_language(text, languages)
    return {"method": method, "language": language, "characters": len(text), "text": text, "lines": lines}


def page_language(text: str, languages: tuple[str, ...]) -> str:
    """The given language; if several are given the detected one, or "und" if it is not one of them."""
    if len(languages) == 1 and languages != ("auto",):
        return languages[0]
    code = detect_language(text).code
    return code if languages == ("auto",) or code in languages else UNDETERMINED


def document_language(pages: list[dict]) -> str:
    """The language of most characters; if no page has one, that of all pages together, which may be "und"."""
    characters: Counter = Counter()
    for page in pages:
        if page["language"] != UNDETERMINED:
            characters[page["language"]] += page["characters"]
    if not characters:
        return detect_language("\n".join(page["text"] for page in pages)).code
    return max(sorted(characters), key=characters.__getitem__)
