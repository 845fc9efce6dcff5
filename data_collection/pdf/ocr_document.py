"""Read pages of PDFs, each from its text layer or by recognition: the work of one process of `ocr.py`."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from filtering.language import SCRIPTS_OF, UNDETERMINED, detect_language
from pdf.page_ocr import PageReader, Recognised
from pdf.pdf_journal import Unit
from pdf.recognition_engines import OcrError
from run_record import sha256_of_file
from text_layers.layer_quality import (
    LANGUAGES_OF_SCRIPT,
    MAX_UNCOVERED,
    MAX_UNCOVERED_SHARE,
    MIN_FOUND_AGAIN,
    MIN_MORE,
    SURE,
    alphanumeric,
    decoded,
    found_again,
    has_ciphered_words,
    has_function_words,
    is_mostly_alphanumeric,
    is_private,
    is_readable,
    reads_as_language,
    script_of_text,
    shows_another_language,
)
from text_layers.text_layer import (
    PICTURE,
    PICTURE_SHARE,
    SCAN_SHARE,
    EncryptedPdf,
    Layer,
    Page,
    PdfError,
    is_blank,
    open_pdf,
)
from text_layers.text_repair import repair_page

# Fewer letters at a lower confidence are specks of dust on an empty page.
NOISE_CHARACTERS = 10
NOISE_CONFIDENCE = 60.0
# A page counts as scanned below this: published for whole documents (Qiu et al. 2024), applied here to each page.
MIN_ALPHANUMERIC_CHARACTERS = 200
MIN_PROOF_WORDS = 12  # of a layer in another script than expected: more must contain a language's short words
# Why a page with a text layer is recognised (field "layer" of its record).
UNREADABLE = "unreadable characters"
PRIVATE = "private-use characters read from the picture"
UNMAPPED = "fonts without Unicode values"
SCRIPT = "unexpected script"
WORDS = "no function words of any language"
UNCOVERED = "print that the layer lacks"
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
            layer = page.text_layer()
            doubt = doubts(page, layer, languages)
            if not doubt:
                return record | layer_record(layer, languages)
            return record | _recognised(page, layer, doubt, reader, languages, document)
    except (PdfError, OcrError) as error:
        return record | {"reason": str(error)}


def _recognised(page: Page, layer: Layer, doubt: str, reader: PageReader, languages: tuple[str, ...], document) -> dict:
    """The record of a page whose layer is missing or in doubt."""
    draw = lru_cache(page.picture)  # drawing takes a tenth of the time of recognition
    if is_blank(draw(reader.resolution)):
        return page_record("empty", "", languages) | {"reason": "blank"}
    reader.expected = languages_nearby(document, page.number - 1)
    found = reader.read(draw)
    if doubt == UNREADABLE and any(map(is_private, layer.text)):
        text = decoded(layer.text, found.text)
        if is_readable(text):
            return layer_record(layer._replace(text=text), languages) | {"layer": PRIVATE}
    if layer.text and layer_is_better(layer, found, doubt):
        return layer_record(layer, languages)
    characters = alphanumeric(found.text)
    if characters < (NOISE_CHARACTERS if found.confidence < NOISE_CONFIDENCE else 1):
        reason = f"{characters} letters or digits recognised" + f" at confidence {found.confidence}" * (characters > 0)
        return page_record("empty", "", languages) | {"reason": reason}
    how = {key: value for key, value in found._asdict().items() if key not in ("text", "seconds")}
    if layer.text:
        how["layer"] = doubt
    return page_record("ocr", found.text, languages) | how


def languages_nearby(document, number: int) -> Counter:
    """{ISO code: letters} of the right text layers of the pages around a page; number: from 0."""
    votes: Counter = Counter()
    for near in (number - 2, number - 1, number + 1, number + 2):
        if 0 <= near < len(document):
            try:
                with closing(Page(document, near)) as page:
                    text = page.text_layer().text
            except PdfError:
                continue
            if is_readable(text) and has_function_words(text):
                votes[detect_language(text).code] += alphanumeric(text)
    del votes[UNDETERMINED]
    return votes


def doubts(page: Page, layer: Layer, languages: tuple[str, ...]) -> str:
    """Why the page is recognised although it has a text layer; "" if the layer is right as far as it shows."""
    if not layer.text or not is_readable(layer.text):
        return UNREADABLE
    if layer.unmapped and has_ciphered_words(layer.unmapped):
        return UNMAPPED
    script = script_of_text(layer.text)[0]
    if not is_expected(script, languages) and not is_another_language(layer.text, script):
        return SCRIPT
    # Lists and indexes have no short words either. Wrong Latin letters over no scan are found by their frequencies.
    may_be_wrong = script != "Latin" or layer.is_hidden or page.picture_share((PICTURE,)) >= SCAN_SHARE
    if script in LANGUAGES_OF_SCRIPT and may_be_wrong and not has_function_words(layer.text):
        return WORDS
    if not page.has_drawings():
        return ""
    letters = alphanumeric(layer.text)
    is_short = letters < MIN_ALPHANUMERIC_CHARACTERS or not is_mostly_alphanumeric(layer.text)
    if (is_short and page.picture_share() >= PICTURE_SHARE) or page.picture_share((PICTURE,)) >= SCAN_SHARE:
        uncovered, everything = page.uncovered_letters(layer)
        if uncovered > MAX_UNCOVERED and (is_short or uncovered > MAX_UNCOVERED_SHARE * everything):
            return UNCOVERED
    return ""


def layer_is_better(layer: Layer, found: Recognised, doubt: str) -> bool:
    """Whether the layer is used although there was a doubt, because recognition does not read better."""
    if doubt in (UNREADABLE, UNMAPPED):
        return False
    if found.confidence < SURE or not reads_as_language(found.text):
        return True
    if doubt == UNCOVERED:  # recognition must read what the layer has, and much more
        more = alphanumeric(found.text) >= MIN_MORE * alphanumeric(layer.text)
        return not more or found_again(layer.text, found.text) < MIN_FOUND_AGAIN
    return found_again(layer.text, found.text) >= MIN_FOUND_AGAIN


def layer_record(layer: Layer, languages: tuple[str, ...]) -> dict:
    record = page_record("text_layer", layer.text, languages)
    return record | {"order": layer.order} if layer.order != "layout" else record


def is_expected(script: str, languages: tuple[str, ...]) -> bool:
    """Whether a text's main script is one of the languages' (auto: of any of the eight); True for "", a short text.

    A layer in another script usually comes from a font with a wrong character table: the page only looks right.
    """
    if script == "Han":
        return bool({"auto", "zh", "ja"} & set(languages))
    return not script or (
        script in SCRIPTS_OF and ("auto" in languages or not set(languages).isdisjoint(SCRIPTS_OF[script]))
    )


def is_another_language(text: str, script: str) -> bool:
    """Whether a text in an unexpected script is right all the same: long enough, with the short words of a language."""
    return (
        script in LANGUAGES_OF_SCRIPT
        and len(text.split()) >= MIN_PROOF_WORDS
        and has_function_words(text, MIN_PROOF_WORDS)
    )


def page_record(method: str, lines: str, languages: tuple[str, ...]) -> dict:
    """A page's record without its number. lines: the text as read, one line per line of the page."""
    text = repair_page(lines)
    is_given = len(languages) == 1 and languages != ("auto",)  # then the doubts about `lines` have counted their words
    language = page_language(lines if is_given else text, languages)
    return {"method": method, "language": language, "characters": len(text), "text": text, "lines": lines}


def page_language(text: str, languages: tuple[str, ...]) -> str:
    """The given language unless the text shows another one; of several the detected one, or "und"."""
    if len(languages) == 1 and languages != ("auto",):
        return detect_language(text).code if shows_another_language(text, languages[0]) else languages[0]
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
