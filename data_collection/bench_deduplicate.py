"""Measure deduplicate.py: speed on one core, recall on planted pairs, memory per document.

Reads a folder of documents (<iso>.parquet with a column text, as check_filter.py does). Makes from them, in a temporary
folder, --documents documents per language, each of pieces of several, 1 to 8 kB of UTF-8; --planted of them at each of
eight levels of Jaccard similarity are copies of others, half of which differ in single words, half in one passage. How
similar a pair came out is measured by plain Python on words, not by the command. Then, round by round, on one core:

    deduplicate   deduplicate.py with one worker, from the finished folder to the list
    datasketch    sets of shingles as text, MinHash(128).update_batch, MinHashLSH(0.8, 128): query, then insert, as its
                  documentation does; on --baseline-documents of the same documents, the copies and their originals
                  first (omitted where datasketch is not installed)

CPU seconds are those of all the command's processes together (rusage), less those of the same command on a few
documents, which is the start-up; of datasketch those from the opened file on. One run before, not counted, compiles. At
last two runs on made-up signatures tell the bytes of memory per document. Example:

    python data_collection/bench_deduplicate.py ../shared/data/filter_text --json results/bench_deduplicate.json
"""

import argparse
import importlib.util
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark_helpers.duplicate_measurements import (
    comparing_memory,
    datasketch_run,
    mixed_document,
    near_copy,
    true_similarity,
    write_finished_folder,
)
from language_codes import LANGUAGES
from readers.corpus_format import document_id
from run_record import InputError, parse_arguments, provenance, run_command, write_json

DEDUPLICATE = Path(__file__).with_name("deduplicate.py")
LEVELS = (0.82, 0.86, 0.9, 0.95, 0.3, 0.35, 0.4, 0.45)  # wanted; a copy comes out near its level, on either side
SIMILAR, UNLIKE = 0.8, 0.5
MIN_BYTES, MAX_BYTES = 1000, 8000
MEMORY_DOCUMENTS = (100_000, 500_000)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("input", type=Path, help="a folder of <iso>.parquet files")
    add(
        "--languages",
        nargs="+",
        choices=LANGUAGES,
        default=list(LANGUAGES),
        metavar="ISO",
        help="languages to measure (default: all eight)",
    )
    add("--documents", type=int, default=8000, help="documents per language (default: %(default)s)")
    add("--planted", type=int, default=100, help="copies per level of similarity (default: %(default)s)")
    add("--baseline-documents", type=int, default=2000, help="documents for datasketch (default: %(default)s)")
    add("--memory", action=argparse.BooleanOptionalAction, default=True, help="also measure memory (default: yes)")
    add("--rounds", type=int, default=3, help="measurements per side (default: %(default)s)")
    add("--core", type=int, default=min(os.sched_getaffinity(0)), help="CPU core to run on (default: %(default)s)")
    add("--seed", type=int, default=0, help="random seed for choosing documents (default: %(default)s)")
    add("--json", type=Path, help="JSON file for all measurements")
    add("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if min(args.rounds, args.documents, args.planted, args.baseline_documents) < 1:
        raise InputError("--rounds, --documents, --planted and --baseline-documents must be above 0")
    if args.documents < 2 * args.planted * len(LEVELS):
        raise InputError(
            f"--documents {args.documents}: at least {2 * args.planted * len(LEVELS)} are needed for "
            f"--planted {args.planted}"
        )
    for language in args.languages:
        if not (args.input / f"{language}.parquet").is_file():
            raise InputError(f"{args.input} contains no {language}.parquet; leave {language} out of --languages")
    os.sched_setaffinity(0, {args.core})  # the processes started here inherit it
    os.environ.update(ONE_THREAD)
    results, memory = {}, {}
    for language in args.languages:
        with tempfile.TemporaryDirectory(prefix="bench_deduplicate_") as folder:
            results[language] = measure(args, language, Path(folder))
    if args.memory:
        with tempfile.TemporaryDirectory(prefix="bench_deduplicate_") as folder:
            memory = comparing_memory(Path(folder), MEMORY_DOCUMENTS)
    report(results, memory)
    if args.json:
        write_json(
            args.json,
            {
                "arguments": {k: str(v) for k, v in vars(args).items()},
                "languages": results,
                "memory": memory,
                "provenance": provenance(argv),
            },
        )
    return 0


def make_documents(args: argparse.Namespace, language: str) -> tuple[list[str], list[tuple[str, str]]]:
    """(texts, the planted pairs' first; [(text, its copy)])."""
    import pyarrow.parquet

    pool = pyarrow.parquet.read_table(args.input / f"{language}.parquet", columns=["text"]).column("text").to_pylist()
    pool = [text for text in pool if text and text.strip()]
    width = sum(len(text.encode()) for text in pool) / sum(map(len, pool))
    dice = random.Random(f"{args.seed} {language}")
    texts, pairs = [], []
    for number in range(args.documents - args.planted * len(LEVELS)):
        size = MIN_BYTES * (MAX_BYTES / MIN_BYTES) ** dice.random()
        texts.append(mixed_document(pool, int(size / width), dice))
        if number < args.planted * len(LEVELS):
            level = LEVELS[number // args.planted]
            copy = near_copy(texts[-1], mixed_document(pool, 1000, dice), language, level, number % 2 == 0, dice)
            pairs.append((texts[-1], copy))
            texts.append(copy)
    return texts, pairs


def measure(args: argparse.Namespace, language: str, folder: Path) -> dict:
    """All rounds of one language: {"documents", "bytes", side: {"cpu_s": [...]}, recall and false pairs of both}."""
    texts, pairs = make_documents(args, language)
    rows = [{"text": text, "url": f"https://example.org/{number}"} for number, text in enumerate(texts)]
    large = write_finished_folder(folder / "large", {language: rows})
    few = write_finished_folder(folder / "few", {language: rows[:2]})
    run_deduplicate(few, folder / "out")
    similarities = [true_similarity(*pair, language) for pair in pairs]
    baseline_texts = texts[: args.baseline_documents]
    baseline_pairs = [pair for pair in pairs if pair[1] in set(baseline_texts)]
    result = {
        "documents": len(texts),
        "bytes": sum(len(text.encode()) for text in texts),
        "cpu_s": [],
        "start_up_cpu_s": [],
        "wall_s": [],
        "baseline_documents": len(baseline_texts),
        "baseline_cpu_s": [],
    }
    for round_number in range(args.rounds):
        result["start_up_cpu_s"].append(run_deduplicate(few, folder / "out")[0])
        cpu, wall = run_deduplicate(large, folder / "out")
        result["cpu_s"].append(cpu)
        result["wall_s"].append(wall)
        if importlib.util.find_spec("datasketch"):
            cpu, found = datasketch_run(
                large / language / "part-00000.parquet", len(baseline_texts), language, baseline_pairs
            )
            result["baseline_cpu_s"].append(cpu)
            result["baseline"] = judged(found, similarities)
        print(f"{language} round {round_number + 1} of {args.rounds}: {result['cpu_s'][-1]:.2f} s of CPU", flush=True)
    kept = kept_of(folder / "out")
    joined = [kept.get(one, one) == kept.get(other, other) for one, other in (map(document_id, p) for p in pairs)]
    result["ours"] = judged(joined, similarities)
    by_id = {document_id(text): text for text in texts}
    others = [true_similarity(by_id[one], by_id[other], language) for one, other in kept.items()]
    return result | {"removed": len(kept), "least_similarity_removed": min(others, default=1.0)}


def judged(found: list[bool], similarities: list[float]) -> dict:
    """Of pairs at least SIMILAR: how many, how many found; of those under UNLIKE: how many, how many joined."""
    judged_pairs = list(zip(found, similarities, strict=False))
    return {
        "similar": sum(s >= SIMILAR for _, s in judged_pairs),
        "found": sum(hit for hit, s in judged_pairs if s >= SIMILAR),
        "unlike": sum(s < UNLIKE for _, s in judged_pairs),
        "false": sum(hit for hit, s in judged_pairs if s < UNLIKE),
    }


def kept_of(out: Path) -> dict[str, str]:
    """{id omitted: id kept}."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(out / "duplicates.parquet", columns=["id", "kept_id"])
    return dict(zip(*(table.column(name).to_pylist() for name in ("id", "kept_id")), strict=True))


def run_deduplicate(source: Path, out: Path) -> tuple[float, float]:
    """(CPU seconds, seconds) of the command on a folder, in a process of its own with one worker."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, DEDUPLICATE, source, "--out", out, "--workers", "1"]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(list(map(str, command)), stdout=messages, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            raise InputError(
                f"{' '.join(map(str, command))}\nended with {process.returncode}:\n"
                + messages.read().decode("utf-8", "replace")
            )
    return usage.ru_utime + usage.ru_stime, wall_s


def report(results: dict, memory: dict) -> None:
    """Print the table, and what a document takes of memory and disk."""
    print(
        "\n| language | kB a document | documents/s | least to greatest | start-up, s | recall | false pairs | least "
        "similar removed | datasketch, documents/s | its recall | its false pairs | ratio |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for language, result in results.items():
        start = statistics.median(result["start_up_cpu_s"])
        ours = sorted(result["documents"] / max(cpu - start, 1e-3) for cpu in result["cpu_s"])
        cells = [
            language,
            f"{result['bytes'] / result['documents'] / 1000:.1f}",
            f"{statistics.median(ours):,.0f}",
            f"{ours[0]:,.0f} to {ours[-1]:,.0f}",
            f"{start:.2f}",
            *accuracy(result["ours"]),
            f"{result['least_similarity_removed']:.2f}",
        ]
        if result["baseline_cpu_s"]:
            plain = [result["baseline_documents"] / cpu for cpu in result["baseline_cpu_s"]]
            ratio = statistics.median(ours) / statistics.median(plain)
            cells += [f"{statistics.median(plain):,.0f}", *accuracy(result["baseline"]), f"{ratio:.1f}"]
        print("| " + " | ".join(cells + ["-"] * (12 - len(cells))) + " |")
    if memory:
        print(
            f"\nComparing {memory['documents'][-1]:,} made-up documents: {memory['peak_bytes'][-1] / 1e6:.0f} MB, "
            f"{memory['bytes_a_document']:.0f} bytes more a document; "
            f"{memory['disk_bytes_a_document']:.0f} bytes of disk a document besides its shingles (4 each)."
        )


def accuracy(pairs: dict) -> list[str]:
    return [
        f"{pairs['found']} of {pairs['similar']} ({pairs['found'] / max(1, pairs['similar']):.3f})",
        f"{pairs['false']} of {pairs['unlike']}",
    ]


if __name__ == "__main__":
    run_command(main)
