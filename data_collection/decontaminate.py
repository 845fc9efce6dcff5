"""Find exam questions in documents: which, where, and how much of each benchmark stands in the corpus.

Reads folders finished by the commands before it (as build_corpus.py does) and benchmarks: folders of English.jsonl,
Chinese.jsonl ... or MedQA.jsonl ..., such as MMedBench/Test, with the contexts that their records go without
(left_out_contexts.jsonl beside such a folder). Writes lists, never texts:

    OUT/matches.jsonl         a line per question and document: where it stands, how much of it
    OUT/contamination.jsonl   a line per question that was found; what inference/eval.py --contamination reads
    OUT/contamination.csv     the table: questions found of how many, by benchmark file and language
    OUT/decisions.jsonl       with --mode drop or cut: what build_corpus.py --contamination is to do
    OUT/manifest.json         counts, the benchmark's checksums; written last

What counts as found is defined in contamination_match.py. A killed run goes on with the same command, unit by unit
(--unit-mb). With --shard the same command runs as many jobs on one OUT; the last to end writes the lists. Exit codes: 0
done, 1 disk full, 2 bad input. Example:

    python data_collection/decontaminate.py data/filtered data/ocr --benchmark data/MMedBench/Test --mode cut \\
        --out data/contamination
"""

import argparse
import contextlib
import os
from pathlib import Path

from decontamination.contamination_report import MODES, finish, report
from decontamination.contamination_units import BENCHMARK_STAGE, benchmark_units, read_duplicates, search_units
from decontamination.question_index import Benchmarks, build_index, read_benchmarks
from executor.run_folder import close_run, one_at_a_time, only_run, open_run, refuse_nesting
from executor.units import parse_shard
from readers.corpus_inputs import Unit, open_input, units_of
from run_record import InputError, finished_record, parse_arguments, read_json, run_command, sha256_of_file


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
        help="folders of questions, a *.jsonl file a language or exam (mmedbench/FORMAT.md)",
    )
    add(
        "--benchmark-as-documents",
        type=Path,
        metavar="DIR",
        help="in place of inputs: look for the questions among those of this folder, such as MMedBench/Train",
    )
    add(
        "--mode",
        choices=MODES,
        default="report",
        help="report: lists only; drop: documents with a question; cut: the passage out of them (default: %(default)s)",
    )
    add("--duplicates", type=Path, metavar="DIR", help="output of deduplicate.py: leave out what it removes")
    add("--out", type=Path, required=True, help="folder to write (made if missing)")
    add(
        "--unit-mb",
        type=int,
        default=64,
        help="about so much text, MB (10^6 bytes), one process takes at a time; what a kill costs at most (default: "
        "%(default)s)",
    )
    add(
        "--shard",
        type=parse_shard,
        metavar="i/n",
        help="do only the i-th of n shares of the units, i from 0 to n-1 (or from 1 to n)",
    )
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes, one unit each (default: one per CPU core, %(default)s here)",
    )
    add("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    add(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="check inputs and benchmarks, print the plan, write nothing",
    )
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
    own = {u: unit for u, unit in enumerate(units) if args.shard is None or u % args.shard[1] == args.shard[0]}
    print_plan(args, manifests, benchmarks, units, own)
    if args.dry_run:
        return 0
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, arguments, inputs):
        return reuse(args.out, manifest)
    with contextlib.ExitStack() as held:
        try:
            parts = open_run(args.out, arguments, inputs)
            held.enter_context(only_run(args.out, args.shard))
        except (InputError, FileNotFoundError):
            if not manifest_path.exists():
                raise
        index = None if manifest_path.exists() else build_index(benchmarks.questions)
        if index:
            waiting = {u: unit for u, unit in own.items() if not done_file(parts, u).exists()}
            if len(waiting) < len(own):
                print(f"{len(own) - len(waiting)} of {len(own)} units were done before")
            search_units(
                {u: (unit, manifests[unit.folder], done_file(parts, u)) for u, unit in waiting.items()},
                index,
                args.mode,
                read_duplicates(args.duplicates),
                args.workers,
            )
        if manifest := finished_record(manifest_path, arguments, inputs):  # another shard has ended in the meantime
            held.close()
            return reuse(args.out, manifest)
        missing = [u for u in range(len(units)) if not done_file(parts, u).exists()]
        if missing:
            print(
                f"{len(units) - len(missing)} of {len(units)} units are done; the other shards do the rest, and the "
                "last to end writes the lists"
            )
            return 0
        with one_at_a_time(args.out):
            manifest = finished_record(manifest_path, arguments, inputs) or finish(
                args.out, [done_file(parts, u) for u in range(len(units))], benchmarks, index, arguments, inputs, argv
            )
    close_run(args.out)
    return report(manifest)


def done_file(parts: Path, unit: int) -> Path:
    return parts / f"{unit:05d}.json"


def reuse(out: Path, manifest: dict) -> int:
    print(f"{out} is finished already and made from these inputs: reused")
    close_run(out)
    return report(manifest)


def check_inputs(args: argparse.Namespace) -> tuple[dict[Path, dict], dict[str, str]]:
    """({folder: manifest}, {its checksum: stage}), each finished and unaltered; in order of the checksums."""
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: at least 1 process is needed")
    if args.unit_mb < 1:
        raise InputError(f"--unit-mb {args.unit_mb}: at least 1 is needed")
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
    """The SHA-256 of the list of duplicates. Errors: InputError where it is half-made, altered or of other inputs."""
    if args.duplicates is None:
        return None
    path = args.duplicates / "duplicates.parquet"
    if not (args.duplicates / "manifest.json").exists():
        raise InputError(f"{args.duplicates} has no manifest.json: it is half-made, or no output of deduplicate.py")
    manifest = read_json(args.duplicates / "manifest.json")
    if manifest.get("stage") != "data_collection/deduplicate.py" or not path.exists():
        raise InputError(f"{args.duplicates}: no output of deduplicate.py")
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
