"""Measure deduplicate.py: speed on one core, recall on planted pairs, memory per document.

Reads <iso>.parquet files with a column text. Builds --documents documents per language in a temporary folder, each from
pieces of several texts, 1 to 8 kB of UTF-8. At each of eight levels of Jaccard similarity, --planted of them are copies
of others; half of the copies differ in single words, half in one passage. The similarity of each pair is computed in
plain Python on words, independently of the command. Each round runs deduplicate.py with one worker on one core, from
the finished folder to the list.

CPU seconds include child processes (rusage). The start-up, which is the same command on two documents, is subtracted. A
first run, not counted, compiles. Memory per document is the difference of two runs on synthetic signatures. Example:

    python data_collection/bench_deduplicate.py ../shared/data/filter_text --json results/bench_deduplicate.json
"""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmark_helpers.duplicate_measurements import (
    comparing_memory,
    mixed_document,
    near_copy,
    true_similarity,
    write_finished_folder,
)
from benchmark_helpers.measurement import (
    Run,
    add_bench_flags,
    require_languages,
    timed,
    use_one_core,
    write_results,
)
from readers.corpus_format import document_id
from run_record import InputError, parse_arguments, run_command

DEDUPLICATE = Path(__file__).with_name("deduplicate.py")
LEVELS = (0.82, 0.86, 0.9, 0.95, 0.3, 0.35, 0.4, 0.45)  # targets; the similarity of a copy is close to its level
SIMILAR, UNLIKE = 0.8, 0.5
MIN_BYTES, MAX_BYTES = 1000, 8000
MEMORY_DOCUMENTS = (100_000, 500_000)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add_bench_flags(add, rounds=3)
    add("--documents", type=int, default=8000, help="documents per language (default: %(default)s)")
    add("--planted", type=int, default=100, help="copies per level of similarity (default: %(default)s)")
    add("--memory", action=argparse.BooleanOptionalAction, default=True, help="also measure memory (default: yes)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if min(args.rounds, args.documents, args.planted) < 1:
        raise InputError("--rounds, --documents and --planted must be above 0")
    if args.documents < 2 * args.planted * len(LEVELS):
        raise InputError(
            f"--documents {args.documents}: at least {2 * args.planted * len(LEVELS)} are needed for "
            f"--planted {args.planted}"
        )
    require_languages(args)
    use_one_core(args.core)
    results, memory = {}, {}
    for language in args.languages:
        with tempfile.TemporaryDirectory(prefix="bench_deduplicate_") as folder:
            results[language] = measure(args, language, Path(folder))
    if args.memory:
        with tempfile.TemporaryDirectory(prefix="bench_deduplicate_") as folder:
            memory = comparing_memory(Path(folder), MEMORY_DOCUMENTS)
    report(results, memory)
    write_results(args, argv, {"languages": results, "memory": memory})
    return 0


def make_documents(args: argparse.Namespace, language: str) -> tuple[list[str], list[tuple[str, str]]]:
    """(texts, beginning with the planted pairs; [(text, its copy)])."""
    import pyarrow.parquet

    pool = pyarrow.parquet.read_table(args.input / f"{language}.parquet", columns=["text"]).column("text").to_pylist()
    pool = [text for text in pool if text and text.strip()]
    width = sum(len(text.encode()) for text in pool) / sum(map(len, pool))
    rng = random.Random(f"{args.seed} {language}")
    texts, pairs = [], []
    for number in range(args.documents - args.planted * len(LEVELS)):
        size = MIN_BYTES * (MAX_BYTES / MIN_BYTES) ** rng.random()
        texts.append(mixed_document(pool, int(size / width), rng))
        if number < args.planted * len(LEVELS):
            level = LEVELS[number // args.planted]
            copy = near_copy(texts[-1], mixed_document(pool, 1000, rng), language, level, number % 2 == 0, rng)
            pairs.append((texts[-1], copy))
            texts.append(copy)
    return texts, pairs


def measure(args: argparse.Namespace, language: str, folder: Path) -> dict:
    """All rounds of one language: {"documents", "bytes", "cpu_s": [...], ..., counts of found and false pairs}."""
    texts, pairs = make_documents(args, language)
    rows = [{"text": text, "url": f"https://example.org/{number}"} for number, text in enumerate(texts)]
    large = write_finished_folder(folder / "large", {language: rows})
    few = write_finished_folder(folder / "few", {language: rows[:2]})
    run_deduplicate(few, folder / "out")
    result = {
        "documents": len(texts),
        "bytes": sum(len(text.encode()) for text in texts),
        "cpu_s": [],
        "start_up_cpu_s": [],
        "wall_s": [],
    }
    for round_number in range(args.rounds):
        result["start_up_cpu_s"].append(run_deduplicate(few, folder / "out").cpu_s)
        run = run_deduplicate(large, folder / "out")
        result["cpu_s"].append(run.cpu_s)
        result["wall_s"].append(run.wall_s)
        print(f"{language} round {round_number + 1} of {args.rounds}: {run.cpu_s:.2f} CPU s", flush=True)
    kept = kept_of(folder / "out")
    joined = [kept.get(one, one) == kept.get(other, other) for one, other in (map(document_id, p) for p in pairs)]
    result["ours"] = count_pairs(joined, [true_similarity(*pair, language) for pair in pairs])
    by_id = {document_id(text): text for text in texts}
    others = [true_similarity(by_id[one], by_id[other], language) for one, other in kept.items()]
    return result | {"removed": len(kept), "least_similarity_removed": min(others, default=1.0)}


def count_pairs(found: list[bool], similarities: list[float]) -> dict:
    """Pairs with a similarity of at least SIMILAR and how many were found; pairs under UNLIKE and how many joined."""
    pairs = list(zip(found, similarities, strict=True))
    return {
        "similar": sum(s >= SIMILAR for _, s in pairs),
        "found": sum(hit for hit, s in pairs if s >= SIMILAR),
        "unlike": sum(s < UNLIKE for _, s in pairs),
        "false": sum(hit for hit, s in pairs if s < UNLIKE),
    }


def kept_of(out: Path) -> dict[str, str]:
    """{removed id: kept id}."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(out / "duplicates.parquet", columns=["id", "kept_id"])
    return dict(zip(*(table.column(name).to_pylist() for name in ("id", "kept_id")), strict=True))


def run_deduplicate(source: Path, out: Path) -> Run:
    """deduplicate.py on a folder, in a process of its own with one worker."""
    shutil.rmtree(out, ignore_errors=True)
    return timed([sys.executable, DEDUPLICATE, source, "--out", out, "--workers", "1"])


def report(results: dict, memory: dict) -> None:
    """Print the table, and memory and disk space per document."""
    print(
        "\n| language | kB per document | documents/s | minimum to maximum | start-up, CPU s | found | false pairs | "
        "minimum similarity removed |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for language, result in results.items():
        start = statistics.median(result["start_up_cpu_s"])
        speeds = sorted(result["documents"] / max(cpu - start, 1e-3) for cpu in result["cpu_s"])
        pairs = result["ours"]
        print(
            f"| {language} | {result['bytes'] / result['documents'] / 1000:.1f} | {statistics.median(speeds):,.0f} | "
            f"{speeds[0]:,.0f} to {speeds[-1]:,.0f} | {start:.2f} | {pairs['found']} of {pairs['similar']} | "
            f"{pairs['false']} of {pairs['unlike']} | {result['least_similarity_removed']:.2f} |"
        )
    if memory:
        print(
            f"\nComparing {memory['documents'][-1]:,} synthetic documents: {memory['peak_bytes'][-1] / 1e6:.0f} MB, "
            f"{memory['bytes_a_document']:.0f} bytes per further document; {memory['disk_bytes_a_document']:.0f} bytes "
            "of disk per document, plus 4 per shingle."
        )


if __name__ == "__main__":
    run_command(main)
