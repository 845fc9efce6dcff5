"""Extract the text of PDFs page by page: the text layer if it is good, else recognition (Tesseract).

Reads a PDF, or every PDF below a folder and the folders that it links to: files ending in .pdf and those that begin
with %PDF-. Writes (FORMAT.md has every field)

    OUT/pages.jsonl      a line per page as it was read: method (text_layer, ocr, empty), language, text, seconds, ...
    OUT/documents.jsonl  a line per PDF with text, for build_corpus.py: {id, text, language, source, origin, pages, ...}
    OUT/failures.jsonl   {document, page (null: the whole PDF), reason}
    OUT/manifest.json    counts and checksums; written last
    OUT/journals/        what was read of each PDF, for later runs

Pages are shared out to --workers processes that last as long as the run; a page that crashes or hangs one is listed and
only that page is lost. Rerun the same command to resume an interrupted run at its page, or, if PDFs were added, changed
or removed, to read only the new and changed ones; but for the seconds, the output depends neither on that nor on
--workers and --shard. Exit codes: 0 done, 2 bad input, 3 done but some PDFs or pages failed. Example:

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
from filtering.language import UNDETERMINED
from pdf.ocr_files import (
    AUTO,
    FILES,
    FoundPdfs,
    Passwords,
    assemble,
    choose_languages,
    describe_other_files,
    describe_pdfs,
    find_pdfs,
    some_of,
)
from pdf.ocr_processes import Book, read_all
from pdf.ocr_report import PAGES as REPORT_PAGES
from pdf.ocr_report import check_report_flags, write_report
from pdf.page_ocr import RESOLUTION
from pdf.pdf_journal import FOLDER, VERSION, Journal, journal_path, read_journal, remove_other_journals
from pdf.recognition_engines import (
    CHINESE_ENGINES,
    ENGINES,
    chinese_engine_name,
    engine_name,
    installed_models,
    require_tesseract,
)
from run_record import (
    InputError,
    describe_files,
    parse_arguments,
    provenance,
    read_json,
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
        help="omit titles, imprints, contents and indexes among the first 1.8 %% + 3 and the last 5 pages of PDFs with "
        "100 or more pages from documents.jsonl",
    )
    add(
        "--memory",
        type=float,
        metavar="GIB",
        help="most memory that a page may take in its process, GiB of address space (default: "
        f"{MEMORY_GIB['tesseract']:g}, with rapidocr {MEMORY_GIB['rapidocr']:g})",
    )
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="write an HTML page with a sample of pages beside their text; also of an output that was finished before",
    )
    add("--report-pages", type=int, metavar="N", help=f"most pages in the report (default: {REPORT_PAGES})")
    add_run_flags(add, shares="PDFs")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    args.chinese_engine = chinese_engine_name(args.chinese_engine)
    args.memory = MEMORY_GIB[args.chinese_engine] if args.memory is None else args.memory
    exit_on_sigterm()
    args.language = choose_languages(args.language)
    passwords = Passwords(args.passwords)
    found = check_input(args)
    pdfs = found.pdfs
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
    print_plan(args, arguments, found, names)
    if args.dry_run:
        return 0
    inputs = {"files": describe_pdfs(pdfs)}
    journals = {name: journal_path(args.out, name, facts) for name, facts in inputs["files"].items()}

    def work(_: Path) -> Unfinished | None:
        (args.out / FOLDER).mkdir(exist_ok=True)
        read_pdfs(args, {name: pdfs[name] for name in names}, journals, passwords)
        failed = any(read_journal(journals[name], name).failed for name in names)
        return others_missing(sum(path.exists() for path in journals.values()), len(pdfs), "PDFs", 3 * failed)

    code = run_sharded(
        args.out,
        args.shard,
        arguments,
        inputs,
        work,
        lambda folder: finish(args, folder, arguments, inputs, found.not_read, journals, argv),
        report,
        resume_only=({"journal_version": VERSION}, {}),
        renew=lambda record: say_changes(args.out, record, inputs["files"]),
    )
    if args.report:
        write_report(args.report, args.out, pdfs, passwords, args.report_pages)
    return code


def check_input(args: argparse.Namespace) -> FoundPdfs:
    """The PDFs to read, after everything that can be checked before the work."""
    check_report_flags(args)
    require_at_least(args, workers=1, timeout=1, dpi=50, memory=0.25, **({} if args.limit is None else {"limit": 1}))
    if args.pdfs.is_dir():
        refuse_nesting(args.pdfs, args.out)
    found = find_pdfs(args.pdfs)
    require_tesseract(() if args.language == (AUTO,) else args.language)
    return found._replace(pdfs=dict(list(found.pdfs.items())[: args.limit]))


def print_plan(args: argparse.Namespace, arguments: dict, found: FoundPdfs, names: list[str]) -> None:
    pdfs = found.pdfs
    for name, value in {"pdfs": args.pdfs, "out": args.out, **arguments, "workers": args.workers}.items():
        print(f"{name}: {value}")
    size = sum(path.stat().st_size for path in pdfs.values() if path.exists())
    print(f"PDFs: {len(pdfs)}, {size / 1e6:.1f} MB; tesseract data: {', '.join(sorted(installed_models()))}")
    if found.unnamed:
        print(f"read as PDFs by their content, without the ending .pdf: {some_of(found.unnamed)}")
    if found.not_read:
        print(describe_other_files(found.not_read))
    if args.shard:
        print(f"shard {args.shard[0]}/{args.shard[1]}: {len(names)} PDFs")
    if args.dry_run:
        for name in names:
            print(f"would read {name}")


def say_changes(out: Path, record: dict, files: dict[str, dict]) -> None:
    """Print how the PDFs differ from those of an earlier manifest or plan. files: {PDF: fingerprint} of now.

    Errors: InputError if that run left no journals to reuse.
    """
    before = record.get("inputs", {}).get("files", {})
    if not (out / FOLDER).is_dir():
        raise InputError(
            f"{out} contains a run with other PDFs and has no {FOLDER}/ to reuse (deleted, or written by an earlier "
            "version); use another --out, or delete that folder to read every PDF again"
        )
    removed = [name for name in before if name not in files]
    unchanged = sum(facts == before.get(name) for name, facts in files.items())
    print(f"{unchanged} PDFs unchanged, {len(files) - unchanged} new or changed, {len(removed)} removed")
    if removed:
        print(f"removed from the output: {some_of(removed)}")


def read_pdfs(args: argparse.Namespace, pdfs: dict[str, Path], journals: dict[str, Path], passwords: Passwords) -> None:
    """Read this run's (or shard's) PDFs that are not done yet."""
    waiting = {name: path for name, path in pdfs.items() if not journals[name].exists()}
    if len(waiting) < len(pdfs):
        print(f"{len(pdfs) - len(waiting)} of {len(pdfs)} PDFs were done before")
    if not waiting:
        return
    books = [Book(path, Journal(name, journals[name]), passwords.for_pdf(name)) for name, path in waiting.items()]
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
    args: argparse.Namespace,
    folder: Path,
    arguments: dict,
    inputs: dict,
    not_read: dict[str, int],
    journals: dict[str, Path],
    argv: list[str] | None,
) -> dict:
    """Write the output files and, last, the manifest; returns that. folder: for files before they are published."""
    manifest_path, replaced = args.out / "manifest.json", folder / "replaced_manifest.json"
    counts = assemble(folder, journals, args.min_confidence, args.drop_front_matter)
    files = describe_files(folder, [folder / name for name in FILES])
    # A manifest means that the files beside it are complete and its own, so an earlier one is removed first.
    if manifest_path.exists():
        manifest_path.replace(replaced)
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": STAGE,
        "arguments": arguments,
        "inputs": inputs,
        **counts,
        "not_read": not_read,
        "files": files,
        "parent": None,
        "provenance": provenance(argv),
        "earlier_runs": earlier_runs(replaced),
    }
    for name in FILES:
        (folder / name).replace(args.out / name)
    write_json(manifest_path, manifest)
    remove_other_journals(args.out, journals.values())
    return manifest


def earlier_runs(replaced: Path) -> list[dict]:
    """[{commit, finished_at}] of the runs whose journals this one may have reused, from the manifest it replaces."""
    if not replaced.exists():
        return []
    record = read_json(replaced)
    return [*record.get("earlier_runs", []), {key: record["provenance"][key] for key in ("commit", "finished_at")}]


def report(manifest: dict) -> int:
    """Print documents, pages and failures; returns the exit code."""
    for language, row in manifest["counts"].items():
        print(f"{language}: {row['documents']} documents, {row['pages']} pages, {row['characters']} characters")
    given = manifest["arguments"]["language"].split(",")
    others = {code: row for code, row in manifest["counts"].items() if code not in (*given, UNDETERMINED)}
    if others and given != [AUTO]:
        shown = ", ".join(f"{row['documents']} in {code}" for code, row in others.items())
        print(f"documents in another language than --language {','.join(given)}: {shown}")
    print(
        f"{manifest['documents']} of {manifest['pdfs']} PDFs gave text; pages: "
        + ", ".join(f"{count} {method}" for method, count in manifest["pages"].items())
    )
    if kinds := manifest.get("front_and_back_kinds"):
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        print(f"omitted from the documents: {shown} pages of front and back matter (field matter in pages.jsonl)")
    if manifest["failures"]:
        print(f"{manifest['failures']} failures; see failures.jsonl")
        return 3
    return 0


if __name__ == "__main__":
    run_command(main)
