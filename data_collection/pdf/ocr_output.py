"""Put the finished journals of `ocr.py` together: pages.jsonl, documents.jsonl, failures.jsonl (see FORMAT.md)."""

import json
import os
from collections import Counter
from pathlib import Path

from pdf.ocr_document import document_language
from pdf.page_furniture import remove_furniture
from pdf.pdf_journal import ReadPdf, read_journal
from pdf.text_repair import join_pages, repair_page
from readers.text_identity import document_id

FILES = ("pages.jsonl", "documents.jsonl", "failures.jsonl")
METHODS = ("text_layer", "ocr", "empty")
INTERNAL = ("text", "lines", "settled")  # what a journal's page has that is not published, or comes last
PLACEHOLDER = "please wait"  # what Adobe's dynamic forms show to readers that do not run their program
# Qiu et al. 2024 (MMedLM, data collection): of books of at least 100 pages the first 1.8 % + 3 and the last 5 are
# title, contents, index and the like.
LONG_BOOK, FRONT_SHARE, FRONT_PAGES, BACK_PAGES = 100, 0.018, 3, 5


def front_and_back(pages: int) -> tuple[int, int]:
    """(pages before the text, pages behind it) of a book; (0, 0) for a short one."""
    return (int(FRONT_SHARE * pages) + FRONT_PAGES, BACK_PAGES) if pages >= LONG_BOOK else (0, 0)


def assemble(out: Path, parts: dict[str, Path], min_confidence: float, drop_matter: bool) -> dict:
    """Write the three files from {PDF's name: its journal}, in that order; returns the manifest's counts."""
    asides = {name: out / f".{name}.tmp" for name in FILES}
    files = {name: open(path, "w", encoding="utf-8", newline="\n") for name, path in asides.items()}  # noqa: SIM115
    counts: Counter = Counter()
    removed: Counter = Counter(heads=0, feet=0, page_numbers=0)
    languages: dict[str, Counter] = {}
    checksums = {}

    def write(name: str, record: dict) -> None:
        files[f"{name}.jsonl"].write(json.dumps(record, ensure_ascii=False) + "\n")
        counts[name] += 1

    for name, part in parts.items():
        pdf = read_journal(part, name)
        checksums[name] = pdf.facts.get("sha256")
        for page in pdf.pages:
            write("pages", {key: value for key, value in page.items() if key not in INTERNAL} | {"text": page["text"]})
            counts[page["method"]] += 1
        document, failed = as_document(name, pdf, min_confidence, drop_matter)
        if document["text"]:
            write("documents", document)
            row = languages.setdefault(document["language"], Counter())
            row.update(documents=1, pages=document["pages"], characters=len(document["text"]))
            counts["matter"] += document["pages_front_and_back"]
            removed.update(document["lines_removed"])
        for failure in failed:
            write("failures", failure)
    for name, file in files.items():
        file.flush()
        os.fsync(file.fileno())
        file.close()
        asides[name].replace(out / name)
    return {
        "counts": {language: dict(row) for language, row in sorted(languages.items())},
        "pages": {method: counts[method] for method in METHODS},
        "front_and_back_pages_dropped": counts["matter"],
        "lines_removed": dict(removed),
        "pdfs": len(parts),
        "documents": counts["documents"],
        "failures": counts["failures"],
        "input_sha256": checksums,
    }


def as_document(name: str, pdf: ReadPdf, min_confidence: float, drop_matter: bool) -> tuple[dict, list[dict]]:
    """(the record of one PDF in documents.jsonl, its failures)."""
    total = len(pdf.pages) + sum(failure["page"] is not None for failure in pdf.failed)
    front, back = front_and_back(total) if drop_matter else (0, 0)
    unsure = [page for page in pdf.pages if page.get("confidence", 100) < min_confidence]
    sure = [page for page in pdf.pages if page not in unsure]
    body = [page for page in sure if front < page["page"] <= total - back]
    failed = pdf.failed + [
        {
            "document": name,
            "page": page["page"],
            "reason": f"recognised with confidence {page['confidence']}, under "
            f"{min_confidence:g}: kept in pages.jsonl only",
        }
        for page in unsure
    ]
    text, removed = without_furniture(body)
    reason = ""
    if pdf.facts.get("xfa") and total == 1 and PLACEHOLDER in text.lower():
        text, reason = "", "a dynamic (XFA) form, which a program draws: print it to a plain PDF first"
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
        "pages_unsure": len(unsure),
        "pages_front_and_back": len(sure) - len(body),
        "lines_removed": removed,
        "confidence": mean_confidence(body),
    }, failed


def without_furniture(pages: list[dict]) -> tuple[str, dict[str, int]]:
    """(the pages' text without running heads, feet and page numbers, {which: lines taken off})."""
    if not pages:
        return "", remove_furniture([]).removed
    by_number = {page["page"]: page for page in pages}
    numbers = range(pages[0]["page"], pages[-1]["page"] + 1)  # pages that failed count too: numbers go on over them
    cleaned = remove_furniture([by_number[n]["lines"] if n in by_number else "" for n in numbers])
    texts = []
    for number, lines in zip(numbers, cleaned.pages, strict=True):
        page = by_number.get(number)
        if page is not None:
            texts.append(page["text"] if lines == page["lines"] else repair_page(lines))
    return join_pages(texts), cleaned.removed


def mean_confidence(pages: list[dict]) -> float | None:
    """Mean word confidence of the recognised pages, weighted by characters; None where none was recognised."""
    recognised = [page for page in pages if page["method"] == "ocr"]
    if not recognised:
        return None
    total = sum(page["characters"] for page in recognised)
    return round(sum(page["confidence"] * page["characters"] for page in recognised) / total, 1)
