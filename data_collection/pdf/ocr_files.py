"""The files of `ocr.py`: PDFs and passwords in; pages.jsonl, documents.jsonl, failures.jsonl out (see FORMAT.md).

A password file has one password per line, `relative/path.pdf<TAB>password`, or `*<TAB>password` for every PDF:

    anatomy/atlas.pdf	open sesame
    *	library2024
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from language_codes import LANGUAGES
from pdf.ocr_document import document_language
from pdf.page_furniture import find_matter, remove_furniture
from pdf.pdf_journal import ReadPdf, read_journal
from readers.corpus_format import document_id
from readers.document_files import InputFile, files_below, fingerprint
from run_record import InputError
from text_layers.text_repair import join_pages, repair_page

AUTO = "auto"
SHOWN = 5  # names in a message
NO_ENDING = "without an ending"
CONVERTERS = {  # endings of files in which books are kept: how to make PDFs of them
    ".jpg .jpeg .png .tif .tiff .gif .bmp .webp .jp2 .jpx": "make a PDF of images with img2pdf *.jpg -o book.pdf",
    ".djvu .djv": "make a PDF of DjVu with ddjvu -format=pdf book.djvu book.pdf",
    ".epub .mobi .azw .azw3 .fb2 .chm": "make a PDF of e-books with a converter such as Calibre's ebook-convert",
    ".doc .docx .odt .rtf .ppt .pptx .ps .eps": "make a PDF of documents with LibreOffice or Ghostscript",
    ".zip .rar .7z .tar .gz .tgz .bz2 .xz": "unpack archives",
}
FILES = ("pages.jsonl", "documents.jsonl", "failures.jsonl")
METHODS = ("text_layer", "ocr", "empty")
INTERNAL = ("text", "lines", "settled")  # fields of a journal's page that are not published, or come last
PLACEHOLDER = "please wait"  # shown by Adobe's dynamic forms in readers that do not run their program
# Qiu et al. 2024 (MMedLM, data collection) omit the first 1.8 % + 3 and the last 5 pages of books of at least 100 pages
# as title, contents, index and the like. Here those of them are omitted that look like it.
LONG_BOOK, FRONT_SHARE, FRONT_PAGES, BACK_PAGES = 100, 0.018, 3, 5


def choose_languages(given: list[str]) -> tuple[str, ...]:
    """Codes, each once and in a fixed order, or ("auto",). given: words of the command line, also comma-separated."""
    codes = [code for word in given for code in word.split(",") if code]
    if unknown := [code for code in codes if code not in (AUTO, *LANGUAGES)]:
        raise InputError(
            f"--language {unknown[0]}: give auto, or some of {' '.join(LANGUAGES)} (and the PDFs before --language)"
        )
    return (AUTO,) if AUTO in codes or not codes else tuple(code for code in LANGUAGES if code in codes)


class FoundPdfs(NamedTuple):
    """The PDFs of a folder, and what else is in it."""

    pdfs: dict[str, Path]  # {path below the folder: path}, in order of the paths
    unnamed: list[str]  # names of those that do not end in .pdf
    not_read: dict[str, int]  # {ending: number of files that are not PDFs}


def find_pdfs(source: Path) -> FoundPdfs:
    """The PDFs of a folder and of the folders that it links to, or a single one.

    Errors: InputError if there is none, or for a folder that cannot be read or links to one that contains it.
    """
    if source.is_file():
        return FoundPdfs({printable(source.name): source}, [], {})
    if not source.is_dir():
        raise InputError(f"{source} does not exist; give a PDF or a folder of PDFs")
    found, not_read = FoundPdfs({}, [], {}), Counter()
    for path in sorted(files_below(source)):
        # A broken link called .pdf is a PDF that cannot be read, so that it appears in failures.jsonl.
        has_ending = path.suffix.lower() == ".pdf"
        if not (path.is_file() or (has_ending and path.is_symlink())) or not (has_ending or begins_as_pdf(path)):
            not_read[printable(path.suffix.lower()) or NO_ENDING] += 1
            continue
        name = printable(path.relative_to(source).as_posix())
        while name in found.pdfs:  # two names that are not UTF-8 may become equal
            name += "'"
        found.pdfs[name] = path
        if not has_ending:
            found.unnamed.append(name)
    if not found.pdfs:
        others = f"; {describe_other_files(not_read)}" if not_read else ""
        raise InputError(f"{source} contains no file ending in .pdf and no other PDF{others}")
    return found._replace(not_read=dict(sorted(not_read.items())))


def begins_as_pdf(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(5) == b"%PDF-"
    except OSError:
        return False


def describe_other_files(not_read: dict[str, int]) -> str:
    """For example `not read: 12 .jpg, 1 .epub; make PDFs ...`: files that are not PDFs, and how to convert them."""
    counts = sorted(not_read.items(), key=lambda item: (-item[1], item[0]))
    advice = [how for endings, how in CONVERTERS.items() if not_read.keys() & set(endings.split())]
    return "; ".join([f"not read: {', '.join(f'{count} {ending}' for ending, count in counts)}", *advice])


def some_of(names: list[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def printable(name: str) -> str:
    """A file's name as valid UTF-8; file systems allow any bytes."""
    return os.fsencode(name).decode("utf-8", "replace")


def describe_pdfs(pdfs: dict[str, Path]) -> dict[str, dict]:
    """{name: size and checksum of both ends}: identifies the input without reading complete files."""
    described = {}
    for name, path in pdfs.items():
        try:
            described[name] = fingerprint(InputFile(name, str(path), path.stat().st_size))
        except OSError as error:
            described[name] = {"unreadable": error.strerror}
    return described


class Passwords:
    """The passwords of a file, never printed or written; `named`: the PDFs that have one."""

    def __init__(self, path: Path | None):
        self._of: dict[str, list[str]] = {}
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines() if path else []
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the passwords in {path}: {error}") from None
        for number, line in enumerate(lines, 1):
            name, tab, password = line.partition("\t")
            if not line.strip():
                continue
            if not (tab and name and password):
                raise InputError(f"{path}:{number}: expected a PDF's path (or *), a tab and a password")
            self._of.setdefault(name, []).append(password)
        self.named = sorted(self._of)

    def for_pdf(self, name: str) -> tuple[str, ...]:
        return (*self._of.get(name, ()), *self._of.get("*", ()))


def front_and_back(pages: int) -> tuple[int, int]:
    """(first, last pages among which a book has front and back matter); (0, 0) for a short one."""
    return (int(FRONT_SHARE * pages) + FRONT_PAGES, BACK_PAGES) if pages >= LONG_BOOK else (0, 0)


def assemble(out: Path, journals: dict[str, Path], min_confidence: float, drop_matter: bool) -> dict:
    """Write FILES into `out` from {PDF's name: its journal}; returns the manifest's counts."""
    files = {name: open(out / name, "w", encoding="utf-8", newline="\n") for name in FILES}  # noqa: SIM115
    counts: Counter = Counter()
    removed: Counter = Counter(heads=0, feet=0, page_numbers=0)
    kinds: Counter = Counter()
    languages: dict[str, Counter] = {}
    checksums = {}

    def write(name: str, record: dict) -> None:
        files[f"{name}.jsonl"].write(json.dumps(record, ensure_ascii=False) + "\n")
        counts[name] += 1

    for name, journal in journals.items():
        pdf = read_journal(journal, name)
        checksums[name] = pdf.facts.get("sha256")
        matter = matter_of(pdf) if drop_matter else {}
        for page in pdf.pages:
            kind = {"matter": matter[page["page"]]} if page["page"] in matter else {}
            shown = {key: value for key, value in page.items() if key not in INTERNAL}
            write("pages", shown | kind | {"text": page["text"]})
            counts[page["method"]] += 1
        document, failed = as_document(name, pdf, min_confidence, matter)
        if document["text"]:
            write("documents", document)
            row = languages.setdefault(document["language"], Counter())
            row.update(documents=1, pages=document["pages"], characters=len(document["text"]))
            counts["matter"] += document["pages_front_and_back"]
            kinds.update(document["front_and_back_kinds"])
            removed.update(document["lines_removed"])
        for failure in failed:
            write("failures", failure)
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
        file.close()
    return {
        "counts": {language: dict(row) for language, row in sorted(languages.items())},
        "pages": {method: counts[method] for method in METHODS},
        "front_and_back_pages_dropped": counts["matter"],
        "front_and_back_kinds": dict(sorted(kinds.items())),
        "lines_removed": dict(removed),
        "pdfs": len(journals),
        "documents": counts["documents"],
        "failures": counts["failures"],
        "input_sha256": checksums,
    }


def matter_of(pdf: ReadPdf) -> dict[int, str]:
    """{page: kind} of the pages of front and back matter among the first and last pages of a book."""
    total = pages_of(pdf)
    front, back = front_and_back(total)
    outer = {page["page"]: page["lines"] for page in pdf.pages if page["page"] <= front or page["page"] > total - back}
    return find_matter(outer, front, total - back + 1) if outer else {}


def pages_of(pdf: ReadPdf) -> int:
    """Pages read or failed."""
    return len(pdf.pages) + sum(failure["page"] is not None for failure in pdf.failed)


def as_document(name: str, pdf: ReadPdf, min_confidence: float, matter: dict[int, str]) -> tuple[dict, list[dict]]:
    """(the record of one PDF in documents.jsonl, its failures). matter: pages to omit."""
    total = pages_of(pdf)
    sure = [page for page in pdf.pages if page.get("confidence", 100) >= min_confidence]
    body = [page for page in sure if page["page"] not in matter]
    failed = list(pdf.failed)
    for page in pdf.pages:
        if (confidence := page.get("confidence", 100)) < min_confidence:
            reason = f"recognised with confidence {confidence}, under {min_confidence:g}: kept in pages.jsonl only"
            failed.append({"document": name, "page": page["page"], "reason": reason})
    text, removed = without_furniture(body)
    reason = ""
    if pdf.facts.get("xfa") and total == 1 and PLACEHOLDER in text.lower():
        text, reason = "", "a dynamic (XFA) form: print it to a plain PDF first"
    elif not text and not any(failure["page"] is None for failure in pdf.failed):
        attached = pdf.facts.get("attachments", 0)
        reason = f"no usable text on any of its {total} pages"
        reason += f"; {attached} attached files are not read" * (attached > 0)
    if reason:
        failed.append({"document": name, "page": None, "reason": reason})
    methods = Counter(page["method"] for page in pdf.pages)
    return {
        "id": document_id(text),
        "text": text,
        "language": document_language(body),
        "source": "textbook",
        "origin": name,
        "pages": total,
        "pages_text_layer": methods["text_layer"],
        "pages_ocr": methods["ocr"],
        "pages_empty": methods["empty"],
        "pages_failed": total - len(pdf.pages),
        "pages_unsure": len(pdf.pages) - len(sure),
        "pages_front_and_back": len(sure) - len(body),
        "front_and_back_kinds": dict(sorted(Counter(matter[p["page"]] for p in sure if p["page"] in matter).items())),
        "lines_removed": removed,
        "confidence": mean_confidence(body),
    }, failed


def without_furniture(pages: list[dict]) -> tuple[str, dict[str, int]]:
    """(the pages' text without running heads, feet and page numbers, {kind: lines removed})."""
    if not pages:
        return "", remove_furniture([]).removed
    by_number = {page["page"]: page for page in pages}
    # Pages that failed count as well: printed page numbers include them.
    numbers = range(pages[0]["page"], pages[-1]["page"] + 1)
    cleaned = remove_furniture([by_number[n]["lines"] if n in by_number else "" for n in numbers])
    texts = []
    for number, lines in zip(numbers, cleaned.pages, strict=True):
        page = by_number.get(number)
        if page is not None:
            texts.append(page["text"] if lines == page["lines"] else repair_page(lines))
    return join_pages(texts), cleaned.removed


def mean_confidence(pages: list[dict]) -> float | None:
    """Mean word confidence of the recognised pages, weighted by characters; None without recognised pages."""
    recognised = [page for page in pages if page["method"] == "ocr"]
    if not recognised:
        return None
    total = sum(page["characters"] for page in recognised)
    return round(sum(page["confidence"] * page["characters"] for page in recognised) / total, 1)
