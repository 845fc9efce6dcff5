"""Find exam questions in documents: which, where, and how much of each benchmark is in the corpus.

Reads folders finished by the commands before it (as build_corpus.py does) and benchmarks: folders of English.jsonl,
Chinese.jsonl ... or MedQA.jsonl ..., such as MMedBench/Test, with the contexts that their records go without
(left_out_contexts.jsonl beside such a folder). Writes lists, never texts:

    OUT/matches.jsonl         a line per question and document: where it stands, how much of it
    OUT/contamination.jsonl   a line per question that was found; what inference/eval.py --contamination reads
    OUT/contamination.csv     the table: questions found of how many, by benchmark file and language
    OUT/decisions.jsonl       with --mode drop or cut: what build_corpus.py --contamination is to do
    OUT/manifest.json         counts, the benchmark's checksums; written last

What counts as found is defined in contamination_match.py. Rerun the same command to resume an interrupted run, unit
by unit (--unit-mb). With --shard the same command runs as many jobs on one OUT; the last to end writes the lists. Exit
codes: 0 done, 1 disk full, 2 bad input. Example:

    python data_collection/decontaminate.py data/filtered data/ocr --benchmark data/MMedBench/Test --mode cut \\
        --out data/contamination
"""

import argparse
import functools
from pathlib import Path

from decontamination.contamination_report import MODES, finish, report
from decontamination.found_questions import BENCHMARK_STAGE, benchmark_units, read_duplicates, search_units
from decontamination.question_index import Benchmarks, build_index, read_benchmarks
from executor.run_folder import refuse_nesting
from executor.sharded_run import (
    Unfinished,
    add_run_flags,
    not_done,
    others_missing,
    own_units,
    require_at_least,
    run_sharded,
)
from readers.corpus_inputs import Unit, open_input, units_of
from run_record import InputError, parse_arguments, read_json, run_command, sha256_of_file


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("inputs", type=Path, nargs="*", help="finished folders of documents (filter.py, ocr.py, ...)")
    add(
        "--benchmark",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="benchmark folders with one *.jsonl file per language or exam (mmedbench/FORMAT.md)",
    )
    add(
        "--benchmark-as-documents",
        type=Path,
        metavar="DIR",
        help="search the questions of this folder, such as MMedBench/Train, instead of documents",
    )
    add(
        "--mode",
        choices=MODES,
        default="report",
        help="report: list only; drop: remove the document; cut: remove the passage (default: %(default)s)",
    )
    add("--duplicates", type=Path, metavar="DIR", help="output of deduplicate.py: skip the documents that it removes")
    add("--out", type=Path, required=True, help="output folder (created if missing)")
    add_run_flags(add, unit_mb=64)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    manifests, inputs = check_inputs(args)
    benchmarks = read_benchmarks(args.benchmark)
    arguments = {
        "mode": args.mode,
        "unit_mb": args.unit_mb,
        "benchmark": {name: facts["sha256"] for name, facts in benchmarks.files.items()},
        "left_out_contexts": list(benchmarks.contexts),
        "duplicates": check_duplicates(args, inputs),
    }
    units = plan(args, manifests)
    own = own_units(units, args.shard)
    print_plan(args, manifests, benchmarks, units, own)
    if args.dry_run:
        return 0

    def work(parts: Path) -> Unfinished | None:
        waiting = not_done(own, lambda u: done_file(parts, u).exists())
        search_units(
            {u: (unit, manifests[unit.folder], done_file(parts, u)) for u, unit in waiting.items()},
            index(),
            args.mode,
            read_duplicates(args.duplicates),
            args.workers,
        )
        return others_missing(sum(done_file(parts, u).exists() for u in range(len(units))), len(units))

    def publish(parts: Path) -> dict:
        done = [done_file(parts, u) for u in range(len(units))]
        return finish(args.out, done, benchmarks, index(), arguments, inputs, argv)

    index = functools.cache(lambda: build_index(benchmarks.questions))
    return run_sharded(args.out, args.shard, arguments, inputs, work, publish, report)


def done_file(parts: Path, unit: int) -> Path:
    return parts / f"{unit:05d}.json"


def check_inputs(args: argparse.Namespace) -> tuple[dict[Path, dict], dict[str, str]]:
    """({folder: manifest}, {its checksum: stage}), each finished and unaltered; in order of the checksums."""
    require_at_least(args, workers=1, unit_mb=1)
    if bool(args.inputs) == bool(args.benchmark_as_documents):
        raise InputError("give folders of documents, or --benchmark-as-documents DIR, one of the two")
    for folder in (*args.benchmark, *filter(None, (args.duplicates, args.benchmark_as_documents))):
        refuse_nesting(folder, args.out)
    if args.benchmark_as_documents:
        if args.mode != "report" or args.duplicates:
            raise InputError("--benchmark-as-documents changes no documents: --mode report, without --duplicates")
        files = read_benchmarks([args.benchmark_as_documents]).files
        return (
            {args.benchmark_as_documents: {"stage": BENCHMARK_STAGE}},
            {facts["sha256"]: BENCHMARK_STAGE for _, facts in sorted(files.items())},
        )
    found: dict[str, tuple[Path, dict]] = {}
    for folder in args.inputs:
        manifest = open_input(folder)
        refuse_nesting(folder, args.out)
        checksum = sha256_of_file(folder / "manifest.json")
        if checksum in found:
            raise InputError(f"{folder} is given twice (or a copy of it, {found[checksum][0]})")
        found[checksum] = folder, manifest
    ordered = dict(sorted(found.items()))
    return dict(ordered.values()), {checksum: manifest["stage"] for checksum, (_, manifest) in ordered.items()}


def check_duplicates(args: argparse.Namespace, inputs: dict[str, str]) -> str | None:
    """The SHA-256 of the list of duplicates. Errors: InputError where it is incomplete, altered or of other inputs."""
    if args.duplicates is None:
        return None
    path = args.duplicates / "duplicates.parquet"
    if not (args.duplicates / "manifest.json").exists():
        raise InputError(f"{args.duplicates} has no manifest.json: incomplete, or not an output of deduplicate.py")
    manifest = read_json(args.duplicates / "manifest.json")
    if manifest.get("stage") != "data_collection/deduplicate.py" or not path.exists():
        raise InputError(f"{args.duplicates} is not an output of deduplicate.py")
    if manifest.get("inputs") != inputs:
        raise InputError(f"{args.duplicates} was made from other inputs than these; run deduplicate.py on these")
    checksum = sha256_of_file(path)
    if manifest.get("files", {}).get(path.name, {}).get("sha256") != checksum:
        raise InputError(f"{path} is not the file its manifest describes; run deduplicate.py again")
    return checksum


def plan(args: argparse.Namespace, manifests: dict[Path, dict]) -> list[Unit]:
    if args.benchmark_as_documents:
        return benchmark_units(args.benchmark_as_documents)
    return units_of(manifests, args.unit_mb * 1_000_000)


def print_plan(
    args: argparse.Namespace,
    manifests: dict[Path, dict],
    benchmarks: Benchmarks,
    units: list[Unit],
    own: dict[int, Unit],
) -> None:
    for name in ("out", "mode", "duplicates", "unit_mb", "workers"):
        print(f"{name}: {getattr(args, name)}")
    for folder, manifest in manifests.items():
        print(f"input: {folder} ({manifest['stage']})")
    languages = [question["language"] for question in benchmarks.questions]
    print(
        f"benchmark: {len(benchmarks.files)} files, {len(benchmarks.questions)} different questions: "
        + ", ".join(f"{iso} {languages.count(iso)}" for iso in sorted(set(languages)))
    )
    for facts in benchmarks.contexts.values():
        print(
            f"left-out contexts: {facts['contexts']} of these questions in {facts['file']}, which has "
            f"{facts['without_text']} more without a text"
        )
    if not benchmarks.contexts:
        print("left-out contexts: no left_out_contexts.jsonl beside the benchmarks")
    print(
        f"units: {len(units)}"
        + (f", of which shard {args.shard[0]}/{args.shard[1]} does {len(own)}" if args.shard else "")
    )


if __name__ == "__main__":
    run_command(main)
