"""Keep the medical documents of web text in eight languages, by keywords.

Reads parquet, JSON lines (.jsonl, .jsonl.gz, .jsonl.zst) or text files (.txt, one document each): one file, a folder of
them, or with --hub a data set of the Hugging Face hub, streamed. Writes

    OUT/<iso>/part-00000.parquet                 kept documents: text, id, every other input column, and
                                                 distinct_keywords, density, characters, rule, language, ...
    OUT/other_language/<iso>/part-00000.parquet  medical, but surely in another language than declared (set aside)
    OUT/rejected/<iso>/part-00000.parquet        the rest with its reason, only with --keep-rejected
    OUT/scores/part-00000.parquet                what the rule measured of every document, only with --keep-scores
    OUT/failures.jsonl                           what could not be read: {file, reason}
    OUT/manifest.json                            counts per language and reason; written last

Rerun the same command to resume an interrupted run, unit by unit (--unit-mb). With --shard the same command runs as
many jobs on one OUT; the last to end writes the manifest. Exit codes: 0 done, 1 disk full, 2 bad input, 3 done but some
input could not be read (failures.jsonl), 130 or 143 interrupted. Example:

    python data_collection/filter.py data/web --out data/filtered
"""

import argparse
import importlib.metadata
import json
import shutil
from pathlib import Path

from cleaning.boilerplate_lines import BOILERPLATE_FOLDER
from cleaning.clean_text import CLEANING_STEPS
from executor.run_folder import refuse_nesting
from executor.sharded_run import (
    Unfinished,
    add_run_flags,
    exit_on_sigterm,
    not_done,
    others_missing,
    own_units,
    require_at_least,
    run_sharded,
)
from executor.workers import add_counts as add_progress
from executor.workers import run_units
from filtering.filter_document import THRESHOLDS_FILE, load_thresholds
from filtering.filter_output import (
    FORMAT_VERSION,
    STAGE,
    add_cleaning,
    add_counts,
    count_repeated_ids,
    report,
    scored_files,
)
from filtering.filter_unit import Unit, declared_language, describe_unit, document_filter, filter_unit, plan_units
from filtering.keyword_lists import KEYWORD_FOLDER, RULES, load_keywords
from filtering.language import DETECTORS
from language_codes import LANGUAGES
from readers.document_files import HubUnreachable, InputFile, find_hub_files, fingerprint, input_files
from run_record import (
    InputError,
    describe_files,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
    write_text,
)

SOURCES = ("web", "website", "existing", "textbook")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("input", type=Path, nargs="?", help="a file of documents or a folder of them (or give --hub)")
    add("--out", type=Path, required=True, help="output folder (created if missing)")
    add(
        "--rule",
        choices=RULES,
        default="bounded",
        help="bounded: a keyword matches at the start of a word, any ending; published: the paper's rule "
        "(default: %(default)s)",
    )
    add(
        "--language",
        choices=("auto", *LANGUAGES),
        default="auto",
        help="language of the documents; auto: the file's (or its nearest folder's) name if that is an ISO 639-1 code, "
        "else a column `language`, else detection (default: %(default)s)",
    )
    add("--text-column", default="text", help="column with the text (default: %(default)s)")
    add(
        "--source",
        choices=SOURCES,
        default="web",
        help="value of the column `source` (default: %(default)s)",
    )
    add(
        "--detector",
        choices=DETECTORS,
        default=DETECTORS[0],
        help="language detector for the documents that pass the rule (default: %(default)s)",
    )
    add(
        "--relabel",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="keep a document whose language differs from the declared one under its own language, if it "
        "passes the rule there (default: no, written to OUT/other_language)",
    )
    add(
        "--skip-steps",
        nargs="*",
        choices=CLEANING_STEPS,
        default=[],
        metavar="STEP",
        help=f"steps of cleaning to omit, of {', '.join(CLEANING_STEPS)} (default: none)",
    )
    add(
        "--keep-rejected",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also write the rejected documents, with their reason, to OUT/rejected (default: no)",
    )
    add(
        "--keep-scores",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also write the scores of every document, without its text, to OUT/scores (default: no)",
    )
    add(
        "--from-scores",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="the input is an output of this command: decide again from its distinct_keywords and density "
        "columns with other --thresholds; looser ones need an input with --keep-rejected (default: no)",
    )
    add("--keywords", type=Path, default=KEYWORD_FOLDER, help="folder of <iso>.txt keyword lists")
    add("--thresholds", type=Path, default=THRESHOLDS_FILE, help="JSON of thresholds per rule and language")
    add("--hub", metavar="NAME", help="data set on the Hugging Face hub instead of an input, such as uonlp/CulturaX")
    add("--config", help="configuration of --hub, such as fr; a language code also sets the language")
    add("--split", default="train", help="split of --hub (default: %(default)s)")
    add("--revision", default="main", help="branch, tag or commit of --hub (default: %(default)s)")
    add_run_flags(add, unit_mb=1000, unit_help="; also the cut between output files")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    exit_on_sigterm()
    try:
        return filter_documents(args, argv)
    except HubUnreachable as error:
        raise InputError(f"the hub does not answer ({error}); run the same command again to resume") from None


def filter_documents(args: argparse.Namespace, argv: list[str] | None) -> int:
    """The complete command; returns its exit code."""
    files, inputs = find_input(args)
    units = plan_units(files, args.language, args.text_column, args.unit_mb * 1_000_000)
    own = own_units(units, args.shard)
    arguments = deciding(args)
    print_plan(args, arguments, files, units, own)
    if args.dry_run:
        return 0
    # While a run is unfinished its input must not be touched; for a finished one only the content counts.
    modified = {} if args.hub else {file.name: Path(file.place).stat().st_mtime_ns for file in files}

    def work(parts: Path) -> Unfinished | None:
        filter_units(args, own, parts)
        failed = any(read_done(parts, u)["failures"] for u in own)
        return others_missing(sum(is_done(parts, u) for u in range(len(units))), len(units), exit_code=3 * failed)

    return run_sharded(
        args.out,
        args.shard,
        arguments,
        inputs,
        work,
        lambda parts: finish(args, arguments, inputs, parts, len(units), argv),
        report,
        resume_only=({}, {"modified": modified}),
    )


def deciding(args: argparse.Namespace) -> dict:
    """The flags that decide what is written; --workers, --shard and the like do not."""
    return {
        "rule": args.rule,
        "language": args.language,
        "text_column": args.text_column,
        "source": args.source,
        "detector": args.detector,
        "relabel": args.relabel,
        "skip_steps": sorted(set(args.skip_steps)),
        "keep_rejected": args.keep_rejected,
        "keep_scores": args.keep_scores,
        "from_scores": args.from_scores,
        "unit_mb": args.unit_mb,
    }


def find_input(args: argparse.Namespace) -> tuple[list[InputFile], dict]:
    """(input files, what tells this input from another), after everything else that can be checked before the work."""
    require_at_least(args, workers=1, unit_mb=1)
    if (args.input is None) == (args.hub is None):
        raise InputError("give a file or folder of documents, or --hub NAME, one of the two")
    thresholds = load_thresholds(args.rule, args.thresholds)
    for language in LANGUAGES if args.language == "auto" else (args.language,):
        load_keywords(language, args.keywords)
    inputs = {
        "keywords": {
            iso: sha256_of_file(args.keywords / f"{iso}.txt")
            for iso in LANGUAGES
            if (args.keywords / f"{iso}.txt").exists()
        },
        "thresholds": {iso: list(limits) for iso, limits in thresholds.items()},
    }
    if "boilerplate_lines" not in args.skip_steps:
        inputs["boilerplate"] = {path.stem: sha256_of_file(path) for path in sorted(BOILERPLATE_FOLDER.glob("*.txt"))}
    if args.detector != "none":
        inputs["detector"] = f"{args.detector} {importlib.metadata.version(args.detector)}"
    if args.hub:
        if args.from_scores:
            raise InputError("--from-scores reads a folder that filter.py wrote, not --hub")
        hub = find_hub_files(args.hub, args.config, args.split, args.revision)
        if args.language == "auto" and args.config in LANGUAGES:
            args.language = args.config
        print(f"hub: {args.hub} at commit {hub.commit}")
        inputs["hub"] = {"name": args.hub, "config": args.config, "split": args.split, "commit": hub.commit}
        inputs["files"] = {file.name: {"bytes": file.size} for file in hub.files}
        return hub.files, inputs
    if args.input.is_dir():
        refuse_nesting(args.input, args.out)
    files = scored_files(args.input, args.rule, thresholds) if args.from_scores else input_files(args.input)
    if args.language == "auto" and not any(declared_language(Path(file.name), "auto") for file in files):
        args.language = own_language(args.input)
    inputs["files"] = {file.name: fingerprint(file) for file in files}
    return files, inputs


def own_language(source: Path) -> str:
    """The language that the input folder (of one file: its folder) is named after, else "auto"."""
    name = (source if source.is_dir() else source.parent).resolve().name
    return name if name in LANGUAGES else "auto"


def print_plan(
    args: argparse.Namespace, arguments: dict, files: list[InputFile], units: list[Unit], own: dict[int, Unit]
) -> None:
    for name, value in {"input": args.hub or args.input, "out": args.out, **arguments, "workers": args.workers}.items():
        print(f"{name}: {value}")
    print(f"files: {len(files)}, {sum(file.size for file in files) / 1e6:.1f} MB, in {len(units)} units")
    if args.shard:
        print(f"shard {args.shard[0]}/{args.shard[1]}: {len(own)} units")
    if args.dry_run:
        for file in files:
            print(f"would read {file.name}")


def filter_units(args: argparse.Namespace, own: dict[int, Unit], parts: Path) -> None:
    """Filter the units of this run (or shard) that are not done yet."""
    waiting = not_done(own, lambda u: is_done(parts, u))
    if not waiting:
        return
    settings = deciding(args) | {"keywords": args.keywords, "thresholds": args.thresholds}
    document_filter(settings).warm_up(sorted({unit.language for unit in waiting.values()} - {""}))

    def show(bar, counts: list[int]) -> None:
        stored, text, documents, kept = counts
        bar.n = min(stored, bar.total)
        seconds = bar.format_dict["elapsed"] or 1e-9
        bar.set_postfix_str(f"{text / 1e6 / seconds:.1f} MB/s of text, {100 * kept / max(1, documents):.2f} % kept")

    def describe(u: int, counted: dict) -> str:
        kept = f"{counted['kept']} of {counted['read']} documents kept"
        return f"{describe_unit(waiting[u])}: {kept}, {counted['text_bytes'] / 1e6:.1f} MB of text"

    run_units(
        filter_unit,
        {u: (unit, parts / f"{u:05d}", settings, add_progress) for u, unit in waiting.items()},
        args.workers,
        describe,
        sizes={u: unit.input_bytes for u, unit in waiting.items()},
        watch=show,
        counters=4,  # input bytes, text bytes, documents, kept documents
        apart=True,
    )


def is_done(parts: Path, unit: int) -> bool:
    return (parts / f"{unit:05d}" / "done.json").exists()


def read_done(parts: Path, unit: int) -> dict:
    return read_json(parts / f"{unit:05d}" / "done.json")


def finish(
    args: argparse.Namespace, arguments: dict, inputs: dict, parts: Path, count: int, argv: list[str] | None
) -> dict:
    """Move what the units wrote to its place, and write failures.jsonl and, last, the manifest; returns that."""
    units = [read_done(parts, u) for u in range(count)]
    failures = [failure for unit in units for failure in unit["failures"]]
    unreadable = sum(row["unreadable"] for unit in units for row in unit["counts"].values())
    if failures and sum(unit["read"] for unit in units) == unreadable:
        shutil.rmtree(args.out)
        raise InputError(f"no document could be read; the first reason: {failures[0]['reason']}")
    files = publish(args.out, parts, units)
    listing = args.out / "failures.jsonl"
    write_text(listing, "".join(json.dumps(f, ensure_ascii=False) + "\n" for f in failures))
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": STAGE,
        "arguments": arguments,
        "inputs": inputs,
        "counts": add_counts(units),
        "cleaning": add_cleaning(units),
        "relabelled": sum(unit["relabelled"] for unit in units),
        "repeated_ids": count_repeated_ids(args.out, files),
        "failures": len(failures),
        "input_sha256": {name: sha for unit in units for name, sha in unit["input_sha256"].items()},
        "files": files | describe_files(args.out, [listing]),
        "parent": None,
        "provenance": provenance(argv),
    }
    write_json(args.out / "manifest.json", manifest)
    return manifest


def publish(out: Path, parts: Path, units: list[dict]) -> dict[str, dict]:
    """Move the parts to their places, numbered in the order of the units; returns {path: {bytes, sha256}}.

    Moving is repeatable: after a kill in between, what has been moved is found at its place.
    """
    numbers: dict[str, int] = {}
    files = {}
    for u, unit in enumerate(units):
        for name, facts in unit["outputs"].items():  # such as en or rejected/en
            number = numbers[name] = numbers.get(name, -1) + 1
            here, there = parts / f"{u:05d}" / f"{name}.parquet", out / name / f"part-{number:05d}.parquet"
            if here.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                here.replace(there)
            elif not there.exists():
                raise InputError(f"{there} has vanished; delete {out} and run again")
            files[there.relative_to(out).as_posix()] = {"bytes": facts["bytes"], "sha256": facts["sha256"]}
    return dict(sorted(files.items()))


if __name__ == "__main__":
    run_command(main)
