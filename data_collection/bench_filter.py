"""Measure the filter on one core: MB of text per CPU second, against a plain baseline.

Reads labelled documents (<iso>.parquet with columns text and label, as check_filter.py does). Writes parquet files of
--megabytes of text per language to a temporary folder, --medical-share of it medical: each document joins the first
half of one document with the second half of another with the same label (zstd, row groups of 5,000). Then runs, round
by round, pinned to one core:

    baseline   the published rule as its paper describes it, in plain Python: lower case, split, `keyword in words` and
               `words.count(keyword)` for each short keyword, `text.count(keyword)` for each long one (zh, ja: for all);
               parquet in, kept rows out; with --baseline-keywords of our keywords (the paper has about 200) on
               --baseline-megabytes of the same text
    published, bounded   filter.py with this rule alone: no language detection, no cleaning
    default    filter.py with its defaults

CPU seconds include child processes (rusage). The start-up, which is the same command on a few medical documents, is
subtracted. A first run, not counted, compiles the matcher. Example:

    python data_collection/bench_filter.py ../shared/data/filter_text --json results/bench_filter.json
"""

import argparse
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

from benchmark_helpers.measurement import (
    add_bench_flags,
    recombined,
    require_languages,
    timed,
    use_one_core,
    write_results,
)
from cleaning.clean_text import CLEANING_STEPS
from filtering.filter_document import load_thresholds
from filtering.keyword_lists import is_long, load_keywords
from run_record import InputError, parse_arguments, run_command

FILTER = Path(__file__).with_name("filter.py")
SIDES = ("published", "bounded", "default")
ROW_GROUP_ROWS = 5000
START_UP_BYTES = 10_000  # a few documents, all medical, so that every step runs


class Run(NamedTuple):
    cpu_s: float
    wall_s: float
    kept: int
    documents: int


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add_bench_flags(add, rounds=3)
    add(
        "--megabytes",
        type=float,
        default=300.0,
        help="text per language, in MB (10^6 bytes of UTF-8) (default: %(default)s)",
    )
    add(
        "--baseline-megabytes",
        type=float,
        default=20.0,
        help="MB of text for the baseline, from the start of the same text (default: %(default)s)",
    )
    add(
        "--baseline-keywords",
        type=int,
        default=200,
        help="number of keywords for the baseline, spread over our list (default: %(default)s)",
    )
    add("--medical-share", type=float, default=0.05, help="share of medical documents (default: %(default)s)")
    add(
        "--decomposed",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write the text with decomposed accents (Unicode NFD), which is harder (default: no)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if args.rounds < 1 or min(args.megabytes, args.baseline_megabytes, args.baseline_keywords) <= 0:
        raise InputError("--rounds, --megabytes, --baseline-megabytes and --baseline-keywords must be above 0")
    if not 0 <= args.medical_share <= 1:
        raise InputError(f"--medical-share {args.medical_share}: must be a share from 0 to 1")
    require_languages(args)
    use_one_core(args.core)
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench_filter_") as folder:
        for language in args.languages:
            results[language] = measure(args, language, Path(folder) / language)
            shutil.rmtree(Path(folder) / language)
    report(args, results)
    write_results(args, argv, {"languages": results})
    return 0


def measure(args: argparse.Namespace, language: str, folder: Path) -> dict:
    """All rounds of one language: {"megabytes", "baseline_megabytes", side: {"cpu_s": [...], ...}}."""
    folder.mkdir()
    large, small, few = (folder / name / f"{language}.parquet" for name in ("large", "small", "few"))
    for path in (large, small, few):
        path.parent.mkdir()
    size = make_text(args, language, large, args.megabytes * 1e6, args.medical_share)
    small_size = make_text(
        args, language, small, min(args.megabytes, args.baseline_megabytes) * 1e6, args.medical_share
    )
    make_text(args, language, few, START_UP_BYTES, 1.0)
    run_filter(few, folder / "out", "default")
    runs: dict[str, list[Run]] = {name: [] for name in ("baseline", *SIDES, *(f"{side} start-up" for side in SIDES))}
    for round_number in range(args.rounds):
        runs["baseline"].append(run_baseline(small, folder / "kept.parquet", language, args.baseline_keywords))
        for side in SIDES:
            runs[f"{side} start-up"].append(run_filter(few, folder / "out", side))
            runs[side].append(run_filter(large, folder / "out", side))
            print(
                f"{language} round {round_number + 1} of {args.rounds}: {side} {runs[side][-1].cpu_s:.2f} s of CPU, "
                f"{runs[side][-1].kept} of {runs[side][-1].documents} kept",
                flush=True,
            )
    return {
        "megabytes": size / 1e6,
        "baseline_megabytes": small_size / 1e6,
        **{name: {field: [getattr(run, field) for run in own] for field in Run._fields} for name, own in runs.items()},
    }


def make_text(args: argparse.Namespace, language: str, path: Path, size: float, medical_share: float) -> int:
    """Write at least `size` bytes of text; returns the number of bytes written."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(args.input / f"{language}.parquet", columns=["text", "label"]).to_pylist()
    pools = [[row["text"] for row in table if (row["label"] == "medical") == medical] for medical in (False, True)]
    if not all(pools):
        raise InputError(
            f"{args.input}/{language}.parquet: needs documents labelled medical and documents with another label"
        )
    rng = random.Random(f"{args.seed} {language}")
    schema = pyarrow.schema({"text": pyarrow.large_string(), "id": pyarrow.string(), "url": pyarrow.string()})
    written = number = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while written < size:
            rows = []
            while written < size and len(rows) < ROW_GROUP_ROWS:
                pool = pools[rng.random() < medical_share]
                text = recombined(pool, rng)
                text = unicodedata.normalize("NFD", text) if args.decomposed else text
                rows.append({"text": text, "id": f"{language}-{number}", "url": f"https://example.org/{number}"})
                written += len(text.encode("utf-8"))
                number += 1
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    return written


def run_filter(path: Path, out: Path, side: str) -> Run:
    """filter.py on one file, in a process of its own with one worker."""
    command = [sys.executable, FILTER, path, "--out", out, "--workers", "1"]
    if side != "default":
        command += ["--rule", side, "--detector", "none", "--skip-steps", *CLEANING_STEPS]
    shutil.rmtree(out, ignore_errors=True)
    run = timed(command)
    return Run(run.cpu_s, run.wall_s, count_rows(out.glob("??/*.parquet")), count_rows([path]))


def count_rows(paths) -> int:
    import pyarrow.parquet

    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in paths)


def run_baseline(path: Path, out: Path, language: str, keywords: int) -> Run:
    """The plain implementation, in a process of its own; its start-up is not measured."""
    import pyarrow.parquet  # noqa: F401 (imported here, so that the forked process does not pay for it)

    ours = [keyword.bare for keyword in load_keywords(language)]
    chosen = [ours[i * len(ours) // keywords] for i in range(keywords)] if keywords < len(ours) else ours
    answers = multiprocessing.get_context("fork").SimpleQueue()
    process = multiprocessing.get_context("fork").Process(target=baseline, args=(path, out, language, chosen, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise InputError(f"the baseline exited with {process.exitcode}")
    return Run(*answers.get())


def baseline(path: Path, out: Path, language: str, keywords: list[str], answers) -> None:
    """Keep the documents of a parquet file by the published rule, in plain Python."""
    import pyarrow
    import pyarrow.parquet

    began, began_wall = time.process_time(), time.perf_counter()
    limits = load_thresholds("published")[language]
    long = [keyword for keyword in keywords if is_long(keyword, language)]
    short = [keyword for keyword in keywords if not is_long(keyword, language)]
    source = pyarrow.parquet.ParquetFile(path)
    kept = documents = 0
    with pyarrow.parquet.ParquetWriter(out, source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches(1000, use_threads=False):
            rows = []
            for row in batch.to_pylist():
                documents += 1
                text = row["text"].lower()
                words = text.split()
                distinct = length = 0
                for keyword in short:
                    if keyword in words:
                        distinct += 1
                        length += len(keyword) * words.count(keyword)
                for keyword in long:
                    if keyword in text:
                        distinct += 1
                        length += len(keyword) * text.count(keyword)
                if text and distinct >= limits.min_distinct_keywords and length / len(text) >= limits.min_density:
                    rows.append(row)
            kept += len(rows)
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=source.schema_arrow))
    answers.put((time.process_time() - began, time.perf_counter() - began_wall, kept, documents))


def speeds(result: dict, side: str) -> list[float]:
    """MB of text per CPU second in each round, start-up excluded."""
    if side == "baseline":
        return [result["baseline_megabytes"] / cpu for cpu in result[side]["cpu_s"]]
    start = statistics.median(result[f"{side} start-up"]["cpu_s"])
    return [result["megabytes"] / max(cpu - start, 1e-3) for cpu in result[side]["cpu_s"]]


def report(args: argparse.Namespace, results: dict) -> None:
    """Print both tables: the rule alone beside the baseline, and all default steps."""
    print(
        f"\nMB of text per CPU second, one core, medians of {args.rounds} rounds; {args.megabytes:g} MB per language, "
        f"{args.medical_share:.0%} medical; start-up excluded.\n\nThe rule alone, parquet to parquet (baseline on "
        f"{min(args.megabytes, args.baseline_megabytes):g} MB with {args.baseline_keywords} keywords; ratios with "
        "minimum and maximum by round):\n"
    )
    print("| language | baseline | published | ratio | kept | bounded | ratio | kept |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for language, result in results.items():
        plain = speeds(result, "baseline")
        cells = [language, f"{statistics.median(plain):.1f}"]
        for side in ("published", "bounded"):
            ours = speeds(result, side)
            ratios = sorted(a / b for a, b in zip(ours, plain, strict=True))
            cells += [
                f"{statistics.median(ours):.0f}",
                f"{statistics.median(ratios):.0f} ({ratios[0]:.0f} to {ratios[-1]:.0f})",
                kept_share(result[side]),
            ]
        print("| " + " | ".join(cells) + " |")
    print("\nAll default steps; start-up is the same command on a few medical documents:\n")
    print("| language | MB/s | minimum to maximum | kept | start-up, CPU s | start-up, wall s | with start-up, MB/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for language, result in results.items():
        ours = sorted(speeds(result, "default"))
        start = result["default start-up"]
        whole = result["megabytes"] / statistics.median(result["default"]["cpu_s"])
        print(
            f"| {language} | {statistics.median(ours):.0f} | {ours[0]:.0f} to {ours[-1]:.0f} | "
            f"{kept_share(result['default'])} | {statistics.median(start['cpu_s']):.2f} | "
            f"{statistics.median(start['wall_s']):.2f} | {whole:.0f} |"
        )


def kept_share(runs: dict) -> str:
    return f"{100 * runs['kept'][0] / runs['documents'][0]:.2f} %"


if __name__ == "__main__":
    run_command(main)
