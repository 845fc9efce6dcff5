"""Read a folder tree of PDFs into text, page by page: the text layer where it is good, else recognition (tesseract).

Reads every *.pdf below a folder. Writes

    OUT/pages.jsonl      a line per page: {document, page, method (text_layer, ocr, empty), language, characters, text},
                         and confidence (0-100) and model where the page was recognised
    OUT/documents.jsonl  a line per PDF with text: {id, text, language, source "textbook", origin, pages, ...}
    OUT/failures.jsonl   {document, page (null: the whole PDF), reason}
    OUT/manifest.json    counts and checksums; written last

Each PDF is read in a process of its own: a PDF that crashes it or hangs costs the page where that happened. A killed
run goes on with the same command. Exit codes: 0 done, 2 bad input, 3 done but some PDFs or pages failed. Example:

    python data_collection/ocr.py data/pdfs --out data/ocr --language auto --workers 2
"""

import argparse
import json
import os
from collections import Counter
from pathlib import Path

from corpus_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    write_json,
)
from exact_duplicates import document_id
from keyword_match import LANGUAGES
from ocr_document import document_language, whole_lines
from ocr_processes import printable, read_all
from page_ocr import RESOLUTION, installed_models, require_tesseract
from text_repair import join_pages
from unfinished_run import close_run, open_run, refuse_nesting

STAGE = "data_collection/ocr.py"
FORMAT_VERSION = 1
METHODS = ("text_layer", "ocr", "empty")
# Handwriting and maps came out at 45 to 59 and unreadable, printed pages of eight languages at 75 to 97.
MIN_CONFIDENCE = 60.0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("pdfs", type=Path, help="folder of PDFs, searched with its subfolders")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (made if missing)")
    parser.add_argument("--language", choices=("auto", *LANGUAGES), default="auto",
                        help="language of the PDFs; auto: told page by page (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)),
                        help="PDFs read at once (default: one per CPU core, %(default)s here)")
    parser.add_argument("--limit", type=int, help="read only the first N PDFs in order of their paths")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS",
                        help="longest time for one page (default: %(default)s s)")
    parser.add_argument("--dpi", type=int, default=RESOLUTION,
                        help="dots per inch at which scanned pages are drawn, Japanese at 300 or more "
                             "(default: %(default)s)")
    parser.add_argument("--min-confidence", type=float, default=MIN_CONFIDENCE, metavar="PERCENT",
                        help="recognised pages under this mean word confidence stay out of documents.jsonl and are "
                             "listed as failures (default: %(default)s)")
    parser.add_argument("--memory", type=float, default=4.0, metavar="GIB",
                        help="most memory for one PDF's process, GiB (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    parser.add_argument("--dry-run", action=argparse.BooleanOptionalAction, default=False,
                        help="check input and settings, print the plan, write nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    pdfs = check_input(args)
    for name in ("pdfs", "out", "language", "workers", "limit", "timeout", "dpi", "min_confidence", "memory"):
        print(f"{name}: {getattr(args, name)}")
    print(f"PDFs: {len(pdfs)}, {sum(p.stat().st_size for p in pdfs) / 1e6:.1f} MB; "
          f"tesseract data: {', '.join(sorted(installed_models()))}")
    if args.dry_run:
        for pdf in pdfs:
            print(f"would read {printable(pdf.relative_to(args.pdfs).as_posix())}")
        return 0
    arguments = {"language": args.language, "limit": args.limit, "timeout": args.timeout, "dpi": args.dpi,
                 "min_confidence": args.min_confidence, "memory": args.memory}
    inputs = {"files": {printable(name): facts for name, facts in describe_files(args.pdfs, pdfs).items()}}
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, arguments, inputs):
        print(f"{args.out} is finished already and made from this input: reused")
        close_run(args.out)
        return report(manifest)
    parts = open_run(args.out, arguments, inputs)
    read_all(pdfs, args.pdfs, parts, args)
    names = [printable(p.relative_to(args.pdfs).as_posix()) for p in pdfs]
    manifest = {"format_version": FORMAT_VERSION, "stage": STAGE, "arguments": arguments, "inputs": inputs,
                **assemble(args.out, parts, names, args.min_confidence)}
    outputs = [args.out / name for name in ("pages.jsonl", "documents.jsonl", "failures.jsonl")]
    manifest |= {"files": describe_files(args.out, outputs), "parent": None, "provenance": provenance(argv)}
    write_json(manifest_path, manifest)
    close_run(args.out)
    return report(manifest)


def check_input(args: argparse.Namespace) -> list[Path]:
    """The PDFs to read, after everything that can be checked before the work."""
    for name, least in (("workers", 1), ("timeout", 1), ("dpi", 50), ("memory", 1)):
        if getattr(args, name) < least:
            raise InputError(f"--{name} {getattr(args, name)}: at least {least} is needed")
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: at least 1 is needed")
    if not args.pdfs.is_dir():
        raise InputError(f"{args.pdfs} is not a folder; give the folder that holds the PDFs")
    pdfs = sorted(p for p in args.pdfs.rglob("*") if p.is_file() and p.suffix.lower() == ".pdf")
    if not pdfs:
        raise InputError(f"{args.pdfs} holds no file ending in .pdf")
    refuse_nesting(args.pdfs, args.out)
    require_tesseract(() if args.language == "auto" else (args.language,))
    return pdfs[: args.limit]


def assemble(out: Path, parts: Path, names: list[str], min_confidence: float) -> dict:
    """Write pages, documents and failures from the parts, in order; returns the manifest's counts."""
    asides = {name: out / f".{name}.jsonl.tmp" for name in ("pages", "documents", "failures")}
    files = {name: open(path, "w", encoding="utf-8", newline="\n") for name, path in asides.items()}  # noqa: SIM115
    methods: Counter = Counter()
    languages: dict[str, Counter] = {}

    def write(name: str, record: dict) -> None:
        files[name].write(json.dumps(record, ensure_ascii=False) + "\n")
        methods[name] += 1

    for i, name in enumerate(names):
        records = whole_lines(parts / f"{i:06d}.jsonl")
        pages = [{k: v for k, v in r.items() if k != "settled"} for r in records if "reason" not in r]
        failed = [{k: r[k] for k in ("document", "page", "reason")} for r in records if "reason" in r]
        for page in pages:
            write("pages", page)
            methods[page["method"]] += 1
        unsure = [page for page in pages if page.get("confidence", 100) < min_confidence]
        failed += [{"document": name, "page": page["page"],
                    "reason": f"recognised with confidence {page['confidence']}, under {min_confidence:g}: "
                              "kept in pages.jsonl only"} for page in unsure]
        document = as_document(name, [page for page in pages if page not in unsure], failed)
        if document["text"]:
            write("documents", document)
            row = languages.setdefault(document["language"], Counter())
            row.update(documents=1, pages=document["pages"], characters=len(document["text"]))
        elif not any(f["page"] is None for f in failed):
            failed.append({"document": name, "page": None,
                           "reason": f"no usable text on any of its {document['pages']} pages"})
        for failure in failed:
            write("failures", failure)
    for name, file in files.items():
        file.flush()
        os.fsync(file.fileno())
        file.close()
        asides[name].replace(out / f"{name}.jsonl")
    return {
        "counts": {language: dict(row) for language, row in sorted(languages.items())},
        "pages": {method: methods[method] for method in METHODS},
        "pdfs": len(names), "documents": methods["documents"], "failures": methods["failures"],
    }


def as_document(name: str, pages: list[dict], failed: list[dict]) -> dict:
    """The record of one PDF in documents.jsonl."""
    text = join_pages([page["text"] for page in pages])
    by_method = Counter(page["method"] for page in pages)
    return {
        "id": document_id(text), "text": text, "language": document_language(pages), "source": "textbook",
        "origin": name, "pages": len(pages) + sum(f["page"] is not None for f in failed),
        "pages_text_layer": by_method["text_layer"], "pages_ocr": by_method["ocr"],
        "pages_empty": by_method["empty"], "pages_failed": sum(f["page"] is not None for f in failed),
        "confidence": mean_confidence(pages),
    }


def mean_confidence(pages: list[dict]) -> float | None:
    """Mean word confidence of the recognised pages, weighted by characters; None where none was recognised."""
    recognised = [page for page in pages if page["method"] == "ocr"]
    if not recognised:
        return None
    total = sum(page["characters"] for page in recognised)
    return round(sum(page["confidence"] * page["characters"] for page in recognised) / total, 1)


def report(manifest: dict) -> int:
    """Print documents, pages and failures; returns the exit code."""
    for language, row in manifest["counts"].items():
        print(f"{language}: {row['documents']} documents, {row['pages']} pages, {row['characters']} characters")
    print(f"{manifest['documents']} of {manifest['pdfs']} PDFs gave text; pages: "
          + ", ".join(f"{count} {method}" for method, count in manifest["pages"].items()))
    if manifest["failures"]:
        print(f"{manifest['failures']} failures; see failures.jsonl")
        return 3
    return 0


if __name__ == "__main__":
    run_command(main)
