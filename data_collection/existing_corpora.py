"""Import other corpora: JSON lines, text files, parquet, and zip archives of them, such as the released MMedC.

Reads files and folders in any number: `.jsonl` (`.gz`, `.zst`), `.txt`, `.parquet`, and `.zip` with `.txt` or `.jsonl`
in it, which is read where it lies. A document's language is what its field `language`, else its folder or file says
(`zh`, `Chinese`), unless the detector is sure of another. Writes

    OUT/<iso>/part-00000.parquet   text, cleaned as filter.py cleans; language, source, origin, licence
    OUT/left_out.jsonl             every document omitted: {origin, reason, language}
    OUT/failures.jsonl             what could not be read: {file (path:line), reason}
    OUT/manifest.json              counts per language and reason; written last

Rerun the same command to resume an interrupted run, unit by unit. Exit codes: 0 done, 2 bad input, 3 done but
some documents could not be read. Example:

    python data_collection/existing_corpora.py MMedC.zip --licence CC-BY-NC-SA-4.0 --out data/released
"""

import argparse
import codecs
from pathlib import Path

from executor.run_folder import refuse_nesting
from language_codes import LANGUAGES
from readers.corpus_format import SOURCES
from readers.document_files import fingerprint
from run_record import InputError, parse_arguments, run_command
from web.collection_run import Work, add_common_flags, common_arguments, run_collection
from web.existing_documents import SPLITS, describe, find_sources, plan_units, read_unit

STAGE = "data_collection/existing_corpora.py"
# The released MMedC's dataset card has its loader pass over this one.
SKIPPED_FOLDERS = ["cultural_filtered_data_used"]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("inputs", type=Path, nargs="+", help="files and folders of documents")
    add(
        "--language",
        choices=("auto", *LANGUAGES),
        default="auto",
        help="language of all documents; auto: from a field, or the folder or file name (default: %(default)s)",
    )
    add(
        "--source",
        choices=SOURCES,
        default="existing",
        help="value of the column `source` for documents without one (default: %(default)s)",
    )
    add(
        "--source-from-folders",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="derive the source of text files from folder names such as books, websites (default: yes)",
    )
    add("--text-column", default="text", help="field or column with the text (default: %(default)s)")
    add(
        "--split",
        choices=SPLITS,
        default="document",
        help="what one document is in a text file: the file, a paragraph, or a line (default: %(default)s)",
    )
    add("--encoding", default="utf-8", help="encoding of text files (default: %(default)s)")
    add(
        "--document-mb",
        type=int,
        default=64,
        help="skip documents larger than this, in MB (10^6 bytes) (default: %(default)s)",
    )
    add(
        "--skip-folders",
        nargs="*",
        default=SKIPPED_FOLDERS,
        metavar="NAME",
        help=f"folders by these names are skipped (default: {', '.join(SKIPPED_FOLDERS)})",
    )
    add_common_flags(add)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    arguments, inputs = common_arguments(args)
    if args.document_mb < 1:
        raise InputError(f"--document-mb {args.document_mb}: at least 1 is needed")
    try:
        encoding = codecs.lookup(args.encoding).name
        line_end = "\n".encode(encoding)
    except (LookupError, UnicodeError):
        raise InputError(f"--encoding {args.encoding}: no encoding of texts that Python knows") from None
    if args.split != "document" and line_end != b"\n":
        raise InputError(
            f"--encoding {args.encoding} does not go with --split {args.split}: lines are found by single "
            "bytes; save the files as UTF-8"
        )
    files = find_sources(args.inputs)
    for folder in args.inputs:
        if folder.is_dir():
            refuse_nesting(folder, args.out)
    units = plan_units(files, args.unit_mb * 1_000_000, args.text_column)
    arguments |= {
        "source": args.source,
        "language": "" if args.language == "auto" else args.language,
        "source_from_folders": args.source_from_folders,
        "text_column": args.text_column,
        "split": args.split,
        "encoding": encoding,
        "document_mb": args.document_mb,
        "skip_folders": sorted(set(args.skip_folders)),
    }
    work = Work(
        STAGE,
        arguments,
        inputs | {"files": {file.name: fingerprint(file) for file in files}},
        {file.name: Path(file.place).stat().st_mtime_ns for file in files},
        units,
        [sum(file.size for file in unit.files) for unit in units],
        read_unit,
        describe,
    )
    return run_collection(work, args, argv)


if __name__ == "__main__":
    run_command(main)
