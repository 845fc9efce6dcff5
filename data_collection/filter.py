"""Keep the medical documents of web text, in eight languages, by keywords.

Reads parquet or JSON lines (.jsonl, .jsonl.gz, .jsonl.zst), one file or a folder of them. Writes

    OUT/<iso>/part-00000.parquet                 kept documents: every input column, and distinct_keywords, density,
                                                 rule, language
    OUT/other_language/<iso>/part-00000.parquet  medical, but surely in another language than declared (set aside)
    OUT/rejected/<iso>/part-00000.parquet        the rest with its reason, only with --keep-rejected
    OUT/failures.jsonl                           what could not be read: {file, reason}
    OUT/manifest.json                            counts per language and reason; written last

A killed run goes on with the same command, input file by input file. Exit codes: 0 done, 2 bad input, 3 done but some
input could not be read (failures.jsonl). Example:

    python data_collection/filter.py data/web --out data/filtered
"""

import argparse
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from corpus_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
    write_text,
)
from document_files import column_names, list_document_files
from filter_document import REASONS, THRESHOLDS_FILE, load_thresholds
from filter_shard import filter_one_file
from keyword_match import KEYWORD_FOLDER, LANGUAGES, RULES, load_keywords
from unfinished_run import close_run, die_with_parent, open_run, refuse_nesting

STAGE = "data_collection/filter.py"
FORMAT_VERSION = 1
SOURCES = ("web", "website", "existing", "textbook")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="a parquet or JSON lines file, or a folder of them")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (made if missing)")
    parser.add_argument("--rule", choices=RULES, default="bounded",
                        help="bounded: word begins match, endings free; published: the paper's (default: %(default)s)")
    parser.add_argument("--language", choices=("auto", *LANGUAGES), default="auto",
                        help="language of the documents; auto: the file's (or its folder's) name if that is an ISO "
                             "639-1 code, else a column `language`, else detection (default: %(default)s)")
    parser.add_argument("--text-column", default="text", help="column with the text (default: %(default)s)")
    parser.add_argument("--source", choices=SOURCES, default="web",
                        help="what kind of source the corpus shall say these are (default: %(default)s)")
    parser.add_argument("--keep-rejected", action=argparse.BooleanOptionalAction, default=False,
                        help="also write the rejected documents, with their reason, to OUT/rejected (default: no)")
    parser.add_argument("--keywords", type=Path, default=KEYWORD_FOLDER, help="folder of <iso>.txt keyword lists")
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS_FILE,
                        help="JSON of thresholds per rule and language")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)),
                        help="processes, one input file each (default: one per CPU core, %(default)s here)")
    parser.add_argument("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    parser.add_argument("--dry-run", action=argparse.BooleanOptionalAction, default=False,
                        help="check input and settings, print the plan, write nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    files = check_input(args)
    root = args.input if args.input.is_dir() else args.input.parent
    for name in ("input", "out", "rule", "language", "text_column", "source", "keep_rejected", "workers"):
        print(f"{name}: {getattr(args, name)}")
    print(f"files: {len(files)}, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB")
    if args.dry_run:
        for file in files:
            print(f"would read {file.relative_to(root)}")
        return 0
    arguments = {"rule": args.rule, "language": args.language, "text_column": args.text_column,
                 "source": args.source, "keep_rejected": args.keep_rejected}
    inputs = {"files": describe_files(root, files),
              "keywords": {iso: sha256_of_file(args.keywords / f"{iso}.txt") for iso in LANGUAGES
                           if (args.keywords / f"{iso}.txt").exists()},
              "thresholds": sha256_of_file(args.thresholds)}
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, arguments, inputs):
        print(f"{args.out} is finished already and made from this input: reused")
        close_run(args.out)
        return report(manifest)
    parts = open_run(args.out, arguments, inputs)
    units = run_units(args, root, files, parts)
    failures = [failure for unit in units for failure in unit["failures"]]
    if all(unit["failures"] and not unit["read"] for unit in units):
        shutil.rmtree(args.out)
        raise InputError(f"no document could be read; the first reason: {failures[0]['file']}: {failures[0]['reason']}")
    written = publish(args.out, parts, units)
    write_text(args.out / "failures.jsonl", "".join(json.dumps(f, ensure_ascii=False) + "\n" for f in failures))
    written.append(args.out / "failures.jsonl")
    manifest = {
        "format_version": FORMAT_VERSION, "stage": STAGE, "arguments": arguments, "inputs": inputs,
        "counts": add_counts(units), "failures": len(failures),
        "files": describe_files(args.out, written), "parent": None, "provenance": provenance(argv),
    }
    write_json(manifest_path, manifest)
    close_run(args.out)
    return report(manifest)


def check_input(args: argparse.Namespace) -> list[Path]:
    """The input files, after everything that can be checked before the work: names, columns, lists, thresholds."""
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: at least 1 process is needed")
    files = list_document_files(args.input)
    if args.input.is_dir():
        refuse_nesting(args.input, args.out)
    load_thresholds(args.rule, args.thresholds)
    for language in LANGUAGES if args.language == "auto" else (args.language,):
        load_keywords(language, args.keywords)
    for file in files:
        try:
            names = column_names(file)
        except InputError:
            continue  # listed in failures.jsonl when its turn comes
        if names and args.text_column not in names:  # a file without a line has no columns and no documents
            raise InputError(f"{file}: no column {args.text_column!r}; it has {', '.join(names) or 'none'}; "
                             "name the right one with --text-column")
    return files


def run_units(args: argparse.Namespace, root: Path, files: list[Path], parts: Path) -> list[dict]:
    """Filter every file that is not done yet, one process each; returns the files' records in input order."""
    from tqdm import tqdm

    folders = [parts / f"{i:05d}" for i in range(len(files))]
    waiting = [i for i, folder in enumerate(folders) if not (folder / "done.json").exists()]
    if len(waiting) < len(files):
        print(f"{len(files) - len(waiting)} of {len(files)} files were done before")
    settings = {"rule": args.rule, "language": args.language, "text_column": args.text_column,
                "keep_rejected": args.keep_rejected, "keywords": args.keywords, "thresholds": args.thresholds}
    workers = min(args.workers, max(1, len(waiting)))
    with ProcessPoolExecutor(max_workers=workers, initializer=die_with_parent) as pool:
        jobs = {pool.submit(filter_one_file, files[i], root, folders[i], settings): i for i in waiting}
        try:
            bar = tqdm(as_completed(jobs), total=len(jobs), unit="file", disable=None)
            for done, job in enumerate(bar, 1):
                try:
                    unit = job.result()
                except BrokenProcessPool:
                    raise InputError("a filtering process was ended from outside (no memory left?); run the same "
                                     "command with fewer --workers: it goes on from what is done") from None
                if bar.disable:
                    print(f"{done}/{len(jobs)} {unit['file']}: {unit['read']} documents", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [read_json(folder / "done.json") for folder in folders]


def publish(out: Path, parts: Path, units: list[dict]) -> list[Path]:
    """Move the parts to their places, numbered in the order of the input files; returns the paths written.

    Moving is repeatable: after a kill in between, what has been moved is found at its place.
    """
    numbers: dict[str, int] = {}
    written = []
    for i, unit in enumerate(units):
        for name in unit["outputs"]:  # such as en or rejected/en
            number = numbers[name] = numbers.get(name, -1) + 1
            here, there = parts / f"{i:05d}" / f"{name}.parquet", out / name / f"part-{number:05d}.parquet"
            if here.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                here.replace(there)
            elif not there.exists():
                raise InputError(f"{there} has vanished; delete {out} and run again")
            written.append(there)
    return written


def add_counts(units: list[dict]) -> dict:
    """{language: {reason: documents, ..., read, kept_characters}} over all files."""
    total: dict[str, dict] = {}
    for unit in units:
        for language, counts in unit["counts"].items():
            row = total.setdefault(language, dict.fromkeys((*REASONS, "read", "kept_characters"), 0))
            for key, value in counts.items():
                row[key] += value
    return dict(sorted(total.items()))


def report(manifest: dict) -> int:
    """Print documents per language and reason; returns the exit code."""
    print("language     read " + " ".join(f"{reason:>16}" for reason in REASONS))
    for language, row in manifest["counts"].items():
        print(f"{language:<8} {row['read']:>8} " + " ".join(f"{row[reason]:>16}" for reason in REASONS))
    if manifest["failures"]:
        print(f"{manifest['failures']} inputs could not be read; see failures.jsonl")
        return 3
    return 0


if __name__ == "__main__":
    run_command(main)
