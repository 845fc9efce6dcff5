"""Extract the text of PDFs page by page: the text layer if it is good, else recognition (Tesseract).

Reads a PDF, or every *.pdf below a folder. Writes (FORMAT.md has every field)

    OUT/pages.jsonl      a line per page as it was read: method (text_layer, ocr, empty), language, text, seconds, ...
    OUT/documents.jsonl  a line per PDF with text, for build_corpus.py: {id, text, language, source, origin, pages, ...}
    OUT/failures.jsonl   {document, page (null: the whole PDF), reason}
    OUT/manifest.json    counts and checksums; written last

Pages are shared out to --workers processes that last as long as the run; a page that crashes or hangs one is listed and
only that page is lost. Rerun the same command to resume an interrupted run at its page; but for the seconds, the output
depends neither on that nor on --workers and --shard. Exit codes: 0 done, 2 bad input, 3 done but some PDFs or pages
failed. Example:

    python data_collection/ocr.py data/pdfs --out data/ocr --language auto --workers 2
"""

import argparse
from pathlib import Path

from executor.run_folder import refuse_nesting
from executor.sharded_run import (
    Unfinished,
    add_run_flags,
    exit_on_sigterm,
    others_missing,
    require_at_least,
    run_sharded,
)
from pdf.ocr_files import AUTO, FILES, Passwords, assemble, choose_languages, describe_pdfs, find_pdfs
from pdf.ocr_processes import Book, read_all
from pdf.page_ocr import RESOLUTION
from pdf.pdf_journal import Journal, read_journal
from pdf.recognition_engines import (
    CHINESE_ENGINES,
    ENGINES,
    chinese_engine_name,
    engine_name,
    installed_models,
    require_tesseract,
)
from run_record import (
    describe_files,
    parse_arguments,
    provenance,
    run_command,
    write_json,
)

STAGE = "data_collection/ocr.py"
FORMAT_VERSION = 2
# Handwriting and maps came out at 45 to 59 and unreadable, printed pages of eight languages at 75 to 97.
MIN_CONFIDENCE = 60.0

MEMORY_GIB = {"tesseract": 1.25, "rapidocr": 1.75}  # by the engine for Chinese and Japanese; measured: 0.4 and 0.9


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("pdfs", type=Path, help="a PDF, or a folder of PDFs (searched recursively)")
    add("--out", type=Path, required=True, help="output folder (created if missing)")
    add(
        "--language",
        nargs="+",
        default=[AUTO],
        metavar="CODE",
        help="language of the PDFs, or several such as en fr; auto: detected for each page (default: auto)",
    )
    add(
        "--passwords",
        type=Path,
        metavar="FILE",
        help="passwords of encrypted PDFs: lines of a path relative to PDFS (or *), a tab and the password",
    )
    add("--limit", type=int, help="read only the first N PDFs in order of their paths")
    add(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="time limit per page (default: %(default)s s)",
    )
    add(
        "--dpi",
        type=int,
        default=RESOLUTION,
        help="resolution for rendering scanned pages in dpi; small print uses at least 300 (default: %(default)s)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default=None,
        help="run Tesseract in the process or as one program per page (default: in the process, if tesserocr "
        "can be imported)",
    )
    add(
        "--cjk-engine",
        "--chinese-engine",
        dest="chinese_engine",
        choices=CHINESE_ENGINES,
        default=None,
        help="engine for Chinese and Japanese: tesseract makes 4 (Japanese) to 100 times as many errors in 0.7 to 1.0 "
        "times the time (default: rapidocr, if it is installed)",
    )
    add(
        "--min-confidence",
        type=float,
        default=MIN_CONFIDENCE,
        metavar="PERCENT",
        help="recognised pages below this mean word confidence are omitted from documents.jsonl and listed as "
        "failures (default: %(default)s)",
    )
    add(
        "--drop-front-matter",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="omit the first 1.8 %% + 3 and the last 5 pages of PDFs with 100 or more pages from documents.jsonl",
    )
    add(
        "--memory",
        type=float,
        metavar="GIB",
        help="most memory that a page may take in its process, GiB of address space (default: "
        f"{MEMORY_GIB['tesseract']:g}, with rapidocr {MEMORY_GIB['rapidocr']:g})",
    )
    add_run_flags(add, shares="PDFs")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    args.chinese_engine = chinese_engine_name(args.chinese_engine)
    args.memory = MEMORY_GIB[args.chinese_engine] if args.memory is None else args.memory
    exit_on_sigterm()
    args.language = choose_languages(args.language)
    passwords = Passwords(args.passwords)
    pdfs = check_input(args)
    arguments = {
        "language": ",".join(args.language),
        "limit": args.limit,
        "timeout": args.timeout,
        "dpi": args.dpi,
        "engine": engine_name(args.engine),
        "chinese_engine": args.chinese_engine,
        "min_confidence": args.min_confidence,
        "drop_front_matter": args.drop_front_matter,
        "memory": args.memory,
        "passwords_for": passwords.named,
    }
    names = list(pdfs) if args.shard is None else list(pdfs)[args.shard[0] :: args.shard[1]]
    print_plan(args, arguments, pdfs, names)
    if args.dry_run:
        return 0
    inputs = {"files": describe_pdfs(pdfs)}
    numbers = {name: i for i, name in enumerate(pdfs)}

    def part(folder: Path, name: str) -> Path:
        return folder / f"{numbers[name]:06d}.jsonl"

    def work(folder: Path) -> Unfinished | None:
        parts = {name: part(folder, name) for name in pdfs}
        read_pdfs(args, {name: pdfs[name] for name in names}, parts, passwords)
        if (args.out / "manifest.json").exists():  # of another shard, which found all PDFs done
            return None
        failed = any(read_journal(parts[name], name).failed for name in names)
        return others_missing(sum(path.exists() for path in parts.values()), len(pdfs), "PDFs", 3 * failed)

    return run_sharded(
        args.out,
        args.shard,
        arguments,
        inputs,
        work,
        lambda folder: finish(args, arguments, inputs, {name: part(folder, name) for name in pdfs}, argv),
        report,
    )


def check_input(args: argparse.Namespace) -> dict[str, Path]:
    """{name: PDF} to read, after everything that can be checked before the work."""
    require_at_least(args, workers=1, timeout=1, dpi=50, memory=0.25, **({} if args.limit is None else {"limit": 1}))
    root, pdfs = find_pdfs(args.pdfs)
    if args.pdfs.is_dir():
        refuse_nesting(root, args.out)
    require_tesseract(() if args.language == (AUTO,) else args.language)
    return dict(list(pdfs.items())[: args.limit])


def print_plan(args: argparse.Namespace, arguments: dict, pdfs: dict[str, Path], names: list[str]) -> None:
    for name, value in {"pdfs": args.pdfs, "out": args.out, **arguments, "workers": args.workers}.items():
        print(f"{name}: {value}")
    size = sum(path.stat().st_size for path in pdfs.values() if path.exists())
    print(f"PDFs: {len(pdfs)}, {size / 1e6:.1f} MB; tesseract data: {', '.join(sorted(installed_models()))}")
    if args.shard:
        print(f"shard {args.shard[0]}/{args.shard[1]}: {len(names)} PDFs")
    if args.dry_run:
        for name in names:
            print(f"would read {name}")


def read_pdfs(args: argparse.Namespace, pdfs: dict[str, Path], parts: dict[str, Path], passwords: Passwords) -> None:
    """Read this run's (or shard's) PDFs that are not done yet."""
    waiting = {name: path for name, path in pdfs.items() if not parts[name].exists()}
    if len(waiting) < len(pdfs):
        print(f"{len(pdfs) - len(waiting)} of {len(pdfs)} PDFs were done before")
    if not waiting:
        return
    books = [Book(path, Journal(name, parts[name]), passwords.for_pdf(name)) for name, path in waiting.items()]
    if pages := sum(len(book.journal.settled) + len(book.journal.failed) for book in books):
        print(f"{pages} pages of the others were done before")
    settings = {
        "languages": args.language,
        "dpi": args.dpi,
        "timeout": args.timeout,
        "engine": engine_name(args.engine),
        "chinese_engine": args.chinese_engine,
        "memory_bytes": int(args.memory * 2**30),
    }
    read_all(books, settings, args.workers, len(pdfs) - len(waiting), len(pdfs))


def finish(
    args: argparse.Namespace, arguments: dict, inputs: dict, parts: dict[str, Path], argv: list[str] | None
) -> dict:
    """Write the output files and, last, the manifest; returns that."""
    counts = assemble(args.out, parts, args.min_confidence, args.drop_front_matter)
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": STAGE,
        "arguments": arguments,
        "inputs": inputs,
        **counts,
        "files": describe_files(args.out, [args.out / name for name in FILES]),
        "parent": None,
        "provenance": provenance(argv),
    }
    write_json(args.out / "manifest.json", manifest)
    return manifest


def report(manifest: dict) -> int:
    """Print documents, pages and failures; returns the exit code."""
    for language, row in manifest["counts"].items():
        print(f"{language}: {row['documents']} documents, {row['pages']} pages, {row['characters']} characters")
    print(
        f"{manifest['documents']} of {manifest['pdfs']} PDFs gave text; pages: "
        + ", ".join(f"{count} {method}" for method, count in manifest["pages"].items())
    )
    if manifest["failures"]:
        print(f"{manifest['failures']} failures; see failures.jsonl")
        return 3
    return 0


if __name__ == "__main__":
    run_command(main)
