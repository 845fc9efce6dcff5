"""Extract the text of saved web sites: folders of HTML files and web archives (WARC).

Reads a folder (or one file) of HTML as wget and browsers save it, in any encoding, and `.warc` or `.warc.gz`. A page's
language is the one it declares (else its folder's name), unless the detector is sure of another; its origin is its
canonical address, else the archive's, else its path; its licence is the one it links to. Writes

    OUT/<iso>/part-00000.parquet   main text (trafilatura), cleaned as by filter.py; language, source, origin, licence
    OUT/left_out.jsonl             every page omitted: {origin, reason, language}
    OUT/failures.jsonl             what could not be read: {file, reason}
    OUT/manifest.json              counts per language and reason; written last

Rerun the same command to resume an interrupted run, unit by unit. Exit codes: 0 done, 2 bad input, 3 done but
some pages could not be read. Example:

    python data_collection/websites.py data/sites --out data/websites
"""

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from executor.run_folder import refuse_nesting
from readers.document_files import InputFile, files_below, fingerprint
from run_record import InputError, parse_arguments, run_command
from web.collected_documents import Broken, Found, LeftOut, language_of
from web.collection_run import Work, add_common_flags, common_arguments, run_collection
from web.web_archives import SUFFIXES, Damage, parts_of, read_records
from web.web_pages import read_page

STAGE = "data_collection/websites.py"
# By their names no pages; every other file is looked into.
OTHER_FILES = (
    ".css",
    ".js",
    ".json",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".svg",
    ".ico",
    ".webp",
    ".woff",
    ".woff2",
    ".ttf",
    ".pdf",
    ".zip",
    ".gz",
    ".mp3",
    ".mp4",
    ".xml",
    ".txt",
    ".csv",
    ".map",
)
FILE_BYTES_AT_LEAST = 1000  # what a small file counts in a unit, so that none holds endless tiny ones
FAILED = {
    "broken_encoding": "not to be decoded: by no encoding that server, page or bytes suggest",
    "truncated": "cut short when it was saved",
    "too_large": "longer than --page-mb",
}


class SiteUnit(NamedTuple):
    """Some HTML files, or bytes [first, last) of one archive."""

    files: tuple[InputFile, ...]
    first: int
    last: int


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="a folder of saved sites, or one HTML file or web archive")
    parser.add_argument(
        "--page-mb",
        type=int,
        default=20,
        help="skip pages larger than this, in MB (10^6 bytes) of HTML (default: %(default)s)",
    )
    add_common_flags(parser.add_argument)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    arguments, inputs = common_arguments(args)
    if args.page_mb < 1:
        raise InputError(f"--page-mb {args.page_mb}: at least 1 is needed")
    files = find_files(args.input)
    if args.input.is_dir():
        refuse_nesting(args.input, args.out)
    units = plan_units(files, args.unit_mb * 1_000_000)
    sizes = [sum(f.size for f in unit.files) if unit.last <= 0 else unit.last - unit.first for unit in units]
    work = Work(
        STAGE,
        {"source": "website", "page_mb": args.page_mb, **arguments},
        inputs | {"files": {file.name: fingerprint(file) for file in files}},
        {file.name: Path(file.place).stat().st_mtime_ns for file in files},
        units,
        sizes,
        read_unit,
        describe,
        lambda: importlib.import_module("trafilatura"),
    )
    return run_collection(work, args, argv)


def find_files(source: Path) -> list[InputFile]:
    """Every file of the input in order, those that are no pages too. Errors: InputError where there is none."""
    if not source.exists():
        raise InputError(f"{source} does not exist; give a folder of saved web pages, or an HTML file or web archive")
    root = source if source.is_dir() else source.parent
    paths = sorted(files_below(source)) if source.is_dir() else [source]
    if not paths:
        raise InputError(
            f"{source} contains no files; expected saved web pages or web archives ({', '.join(SUFFIXES)})"
        )
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} is a link to nothing, or no file; remove it")
    return [
        InputFile(p.relative_to(root).as_posix().encode("utf-8", "replace").decode(), str(p), p.stat().st_size)
        for p in paths
    ]


def plan_units(files: list[InputFile], unit_bytes: int) -> list[SiteUnit]:
    """Parts of archives, and other files together, each of about unit_bytes."""
    units, together, size = [], [], 0
    for file in files:
        if file.name.endswith(SUFFIXES):
            units += [SiteUnit((file,), *part) for part in parts_of(Path(file.place), unit_bytes)]
            continue
        together.append(file)
        size += max(FILE_BYTES_AT_LEAST, file.size)
        if size >= unit_bytes:
            units.append(SiteUnit(tuple(together), 0, 0))
            together, size = [], 0
    return [*units, SiteUnit(tuple(together), 0, 0)] if together else units


def describe(unit: SiteUnit) -> str:
    name = unit.files[0].name
    if len(unit.files) > 1:
        return f"{name} and {len(unit.files) - 1} more"
    return f"{name} bytes {unit.first} to {unit.last}" if unit.last > 0 else name


def read_unit(unit: SiteUnit, arguments: dict) -> Iterator[Found | LeftOut | Broken]:
    """What one unit holds, page by page."""
    most_bytes = arguments["page_mb"] * 1_000_000
    if unit.files[0].name.endswith(SUFFIXES):
        (file,) = unit.files
        for record in read_records(Path(file.place), unit.first, unit.last, most_bytes):
            where = f"{file.name} byte {record.offset}"
            if isinstance(record, Damage):
                yield Broken(where, "damaged_record", record.sentence)
            elif record.problem in FAILED:
                yield Broken(f"{where} {record.address}", record.problem, FAILED[record.problem])
            elif record.problem:
                yield LeftOut(record.address or where, record.problem)
            else:
                yield from page_items(record.content, record.encoding, record.address, where, file.name, arguments)
        return
    for file in unit.files:
        if file.name.lower().endswith(OTHER_FILES):
            yield LeftOut(file.name, "not_html")
        elif file.size > most_bytes:
            yield Broken(file.name, "too_large", FAILED["too_large"])
        else:
            try:
                raw = Path(file.place).read_bytes()
            except OSError as error:
                yield Broken(file.name, "unreadable", f"cannot be read ({error.strerror})")
                continue
            yield from page_items(raw, "", "", file.name, file.name, arguments)


def page_items(
    raw: bytes, encoding: str, address: str, where: str, path: str, arguments: dict
) -> Iterator[Found | LeftOut | Broken]:
    """One page as a document, or why it is none. where: names it where it has no address; path: of the saved file."""
    if not raw.strip():
        yield LeftOut(address or where, "no_text")
        return
    try:
        page = read_page(raw, encoding, address)
    except Exception as error:  # one page of millions must not end the run, whatever the extractor stumbles over
        yield Broken(f"{where} {address}".strip(), "extraction_failed", f"{type(error).__name__}: {str(error)[:200]}")
        return
    origin = page.address or where
    if page.reason in FAILED:
        yield Broken(f"{where} {address}".strip(), page.reason, FAILED[page.reason])
    elif page.reason:
        yield LeftOut(origin, page.reason, page.language)
    else:
        yield Found(
            page.text,
            origin,
            origin,
            "website",
            page.language or language_of(path),
            page.licence or arguments["licence"],
        )


if __name__ == "__main__":
    run_command(main)
