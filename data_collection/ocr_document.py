"""Read one PDF into pages of text, each from its text layer or by recognition: the work of one process of `ocr.py`.

The process writes `<part>.jsonl.aside` page by page and renames it when the PDF is done, so that a page that kills
the process costs that page alone: the next process goes on after it.
"""

import json
import os
from collections import Counter
from pathlib import Path

from language import SCRIPTS_OF, UNDETERMINED, detect_language, language_by_script
from page_ocr import OcrError, PageReader
from pdf_text import (
    MIN_ALPHANUMERIC_CHARACTERS,
    Page,
    PdfError,
    alphanumeric,
    is_blank,
    is_readable,
    open_pdf,
)
from text_repair import repair_page

# Fewer letters than these at a lower confidence are specks of dust taken for letters on an empty page.
NOISE_CHARACTERS = 10
NOISE_CONFIDENCE = 60.0


def read_document(path: Path, name: str, part: Path, settings: dict) -> None:
    """Write `part`: a JSON line per page {document, page, method, language, ...}, or {document, page, reason}.

    name: the document's name in the records (its path relative to the folder of PDFs). settings: language, dpi,
    timeout. Goes on after the pages that `<part>.aside` has already; each line also carries the reader's settled model,
    so that a run taken up again reads the rest as it would have.
    """
    aside = part.with_name(part.name + ".aside")
    lines = whole_lines(aside)
    with open(aside, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        file.flush()
        try:
            document = open_pdf(path)
        except PdfError as error:
            _write(file, {"document": name, "page": None, "reason": str(error)})
        else:
            reader = PageReader(settings["language"], settings["dpi"], settings["timeout"])
            reader.settled = next((line["settled"] for line in reversed(lines) if "settled" in line), reader.settled)
            for number in range(len(lines), len(document)):
                record = read_page(document, number, name, reader, settings["language"])
                _write(file, record | {"settled": reader.settled})
            document.close()
        os.fsync(file.fileno())
    aside.replace(part)


def whole_lines(path: Path) -> list[dict]:
    """The JSON lines of a file that may be missing or end in the middle of a line."""
    if not path.exists():
        return []
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _write(file, record: dict) -> None:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    file.flush()


def read_page(document, number: int, name: str, reader: PageReader, language: str) -> dict:
    """One page's record: its text with the method used, or the reason why there is none. number: from 0."""
    try:
        page = Page(document, number)
    except PdfError as error:
        return {"document": name, "page": number + 1, "reason": str(error)}
    try:
        return _read_loaded_page(page, name, reader, language)
    except (PdfError, OcrError) as error:
        return {"document": name, "page": number + 1, "reason": str(error)}
    finally:
        page.close()


def _read_loaded_page(page: Page, name: str, reader: PageReader, language: str) -> dict:
    layer = page.text_layer()
    readable = is_readable(layer) and is_expected_script(layer, language)
    if readable and (alphanumeric(layer) >= MIN_ALPHANUMERIC_CHARACTERS or not page.has_pictures_or_drawings()):
        return page_record(name, page.number, "text_layer", layer, language)
    if is_blank(page.picture(72)):
        return page_record(name, page.number, "empty", "", language)
    found = reader.read(page.picture)
    if readable and alphanumeric(layer) >= alphanumeric(found.text):  # the picture shows no more than the layer says
        return page_record(name, page.number, "text_layer", layer, language)
    if alphanumeric(found.text) < (NOISE_CHARACTERS if found.confidence < NOISE_CONFIDENCE else 1):
        return page_record(name, page.number, "empty", "", language)
    return page_record(name, page.number, "ocr", found.text, language) | {
        "confidence": found.confidence, "model": found.model}


def is_expected_script(text: str, language: str) -> bool:
    """Whether the text is in a script of the language (auto: of any of the eight), or too short to tell.

    A layer in another script is mostly a font with a wrong character table: the page looks right and reads as nonsense.
    """
    script, code = language_by_script(text)
    if code == UNDETERMINED and not script:
        return True
    if language == "auto":
        return script == "Han" or script in SCRIPTS_OF
    return script == "Han" if language in ("zh", "ja") else language in SCRIPTS_OF.get(script, ())


def page_record(name: str, number: int, method: str, text: str, language: str) -> dict:
    """The record of one page in pages.jsonl."""
    text = repair_page(text)
    code = language if language != "auto" else detect_language(text).code
    return {"document": name, "page": number, "method": method, "language": code, "characters": len(text), "text": text}


def document_language(pages: list[dict]) -> str:
    """The language of most characters; where no page tells, that of all pages together, which may be "und"."""
    characters: Counter = Counter()
    for page in pages:
        if page["language"] != UNDETERMINED:
            characters[page["language"]] += page["characters"]
    if not characters:
        return detect_language("\n".join(page["text"] for page in pages)).code
    return max(sorted(characters), key=characters.__getitem__)
