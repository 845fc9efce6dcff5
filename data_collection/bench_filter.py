"""Measure the filter on one core: MB of text per CPU second, against a plain baseline.

Reads a folder of labelled documents (<iso>.parquet with columns text and label, as check_filter.py does). Makes from
them, in a temporary folder, parquet files of --megabytes of text a language, --medical-share of it medical: each
document joins the first half of one with the second half of another of the same label (zstd, columns text, id, url,
row groups of 5,000). Then runs, round by round, pinned to one core:

    baseline   the published rule as its paper describes it, in plain Python: lower case, split, `keyword in words` and
               `words.count(keyword)` for each short keyword, `text.count(keyword)` for each long one (zh, ja: for all);
               parquet in, kept rows out; with --baseline-keywords of our keywords (the paper has about 200) on
               --baseline-megabytes of the same text
    published, bounded   filter.py with this rule alone: no language detection, no cleaning
    default    filter.py as it is

CPU seconds are those of all the command's processes together (rusage), less those of the same command on a few medical
documents, which is the start-up. One run before the first round, not counted, compiles the matcher. Example:

    python data_collection/bench_filter.py ../shared/data/filter_text --json results/bench_filter.json
"""

import argparse
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

from cleaning.clean_text import CLEANING_STEPS
from filtering.filter_document import load_thresholds
from filtering.keyword_lists import is_long, load_keywords
from language_codes import LANGUAGES
from run_record import InputError, parse_arguments, provenance, run_command, write_json

FILTER = Path(__file__).with_name("filter.py")
SIDES = ("published", "bounded", "default")
ROW_GROUP_ROWS = 5000
START_UP_BYTES = 10_000  # some documents, all medical, so that every step has been at work
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1")


class Run(NamedTuple):
    cpu_s: float
    wall_s: float
    kept: int
    documents: int


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="a folder of labelled <iso>.parquet files")
    parser.add_argument(
        "--languages",
        nargs="+",
        choices=LANGUAGES,
        default=list(LANGUAGES),
        metavar="ISO",
        help="languages to measure (default: all eight)",
    )
    parser.add_argument(
        "--megabytes",
        type=float,
        default=300.0,
        help="text per language, in MB (10^6 bytes of UTF-8) (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline-megabytes",
        type=float,
        default=20.0,
        help="MB of text for the baseline, from the start of the same text (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline-keywords",
        type=int,
        default=200,
        help="number of keywords for the baseline, spread over our list (default: %(default)s)",
    )
    parser.add_argument(
        "--medical-share", type=float, default=0.05, help="share of medical documents (default: %(default)s)"
    )
    parser.add_argument(
        "--decomposed",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write the text with decomposed accents (Unicode NFD), which is harder (default: no)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements per side (default: %(default)s)")
    parser.add_argument(
        "--core", type=int, default=min(os.sched_getaffinity(0)), help="CPU core to run on (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for choosing documents (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="JSON file for all measurements")
    parser.add_argument("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if args.rounds < 1 or min(args.megabytes, args.baseline_megabytes, args.baseline_keywords) <= 0:
        raise InputError("--rounds, --megabytes, --baseline-megabytes and --baseline-keywords must be above 0")
    if not 0 <= args.medical_share <= 1:
        raise InputError(f"--medical-share {args.medical_share}: a share lies between 0 and 1")
    for language in args.languages:
        if not (args.input / f"{language}.parquet").is_file():
            raise InputError(f"{args.input} contains no {language}.parquet; leave {language} out of --languages")
    os.sched_setaffinity(0, {args.core})  # the processes started here inherit it
    os.environ.update(ONE_THREAD)
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench_filter_") as folder:
        for language in args.languages:
            results[language] = measure(args, language, Path(folder) / language)
            shutil.rmtree(Path(folder) / language)
    report(args, results)
    if args.json:
        write_json(
            args.json,
            {
                "arguments": {k: str(v) for k, v in vars(args).items()},
                "languages": results,
                "provenance": provenance(argv),
            },
        )
    return 0


def measure(args: argparse.Namespace, language: str, folder: Path) -> dict:
    """All rounds of one language: {"megabytes", "documents", side: {"cpu_s": [...], ...}}."""
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
        **{
            name: {field: [getattr(run, field) for run in of_one] for field in Run._fields}
            for name, of_one in runs.items()
        },
    }


def make_text(args: argparse.Namespace, language: str, path: Path, size: float, medical_share: float) -> int:
    """Write documents until they hold `size` bytes of text; returns how many bytes they hold."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(args.input / f"{language}.parquet", columns=["text", "label"]).to_pylist()
    pools = [[row["text"] for row in table if (row["label"] == "medical") == medical] for medical in (False, True)]
    if not all(pools):
        raise InputError(f"{args.input}/{language}.parquet: medical and other documents are needed")
    dice = random.Random(f"{args.seed} {language}")
    schema = pyarrow.schema({"text": pyarrow.large_string(), "id": pyarrow.string(), "url": pyarrow.string()})
    written = number = 0
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while written < size:
            rows = []
            while written < size and len(rows) < ROW_GROUP_ROWS:
                pool = pools[dice.random() < medical_share]
                text = first_half(dice.choice(pool)) + second_half(dice.choice(pool))
                text = unicodedata.normalize("NFD", text) if args.decomposed else text
                rows.append({"text": text, "id": f"{language}-{number}", "url": f"https://example.org/{number}"})
                written += len(text.encode("utf-8"))
                number += 1
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    return written


def middle(text: str) -> int:
    """The place behind the first line end or space after half of a text; half, where there is none."""
    half = len(text) // 2
    return next((i + 1 for mark in "\n " if (i := text.find(mark, half)) >= 0), half)


def first_half(text: str) -> str:
    return text[: middle(text)]


def second_half(text: str) -> str:
    return text[middle(text) :]


def run_filter(path: Path, out: Path, side: str) -> Run:
    """filter.py on one file, in a process of its own with one worker."""
    command = [sys.executable, FILTER, path, "--out", out, "--workers", "1"]
    if side != "default":
        command += ["--rule", side, "--detector", "none", "--skip-steps", *CLEANING_STEPS]
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(list(map(str, command)), stdout=messages, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # of the process and of those it waited for
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            raise InputError(
                f"{' '.join(map(str, command))}\nended with {process.returncode}:\n"
                + messages.read().decode("utf-8", "replace")
            )
    kept, documents = count_rows(out.glob("??/*.parquet")), count_rows([path])
    return Run(usage.ru_utime + usage.ru_stime, wall_s, kept, documents)


def count_rows(paths) -> int:
    import pyarrow.parquet

    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in paths)


def run_baseline(path: Path, out: Path, language: str, keywords: int) -> Run:
    """The plain implementation, in a process of its own; its start-up is not measured."""
    import pyarrow.parquet  # noqa: F401 (here, so that the process need not)

    ours = [keyword.bare for keyword in load_keywords(language)]
    chosen = [ours[i * len(ours) // keywords] for i in range(keywords)] if keywords < len(ours) else ours
    answers = multiprocessing.get_context("fork").SimpleQueue()
    process = multiprocessing.get_context("fork").Process(target=baseline, args=(path, out, language, chosen, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise InputError(f"the baseline ended with {process.exitcode}")
    return Run(*answers.get())


def baseline(path: Path, out: Path, language: str, keywords: list[str], answers) -> None:
    """Keep the documents of a parquet file by the published rule, in the obvious way."""
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
    """Megabytes of text per CPU second in each round, start-up omitted."""
    if side == "baseline":
        return [result["baseline_megabytes"] / cpu for cpu in result[side]["cpu_s"]]
    start = statistics.median(result[f"{side} start-up"]["cpu_s"])
    return [result["megabytes"] / max(cpu - start, 1e-3) for cpu in result[side]["cpu_s"]]


def report(args: argparse.Namespace, results: dict) -> None:
    """Print both tables: the rule alone beside the baseline, and all default steps."""
    print(
        f"\nMB of text per second of CPU time, one core, medians of {args.rounds} rounds; {args.megabytes:g} MB a "
        f"language, {args.medical_share:.0%} medical; start-up omitted.\n\nThe rule alone, parquet to parquet "
        f"(baseline on {min(args.megabytes, args.baseline_megabytes):g} MB with {args.baseline_keywords} keywords; "
        "ratios with their least and greatest by round):\n"
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
    print("| language | MB/s | least to greatest | kept | start-up, s of CPU | start-up, s of time | whole, MB/s |")
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
