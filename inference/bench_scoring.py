"""Measure the time to score the rationales of a test set, without BERTScore, on one core.

Reads   rationales: a test split (folder of *.jsonl with `rationale`) or a file of pairs as inference/rationale.py reads
Writes  a table; with --out the same figures as JSON
Example python inference/bench_scoring.py --limit 100
        python inference/bench_scoring.py DIR

As many pairs per language as MMedBench's test set has questions (8,518 in six languages, from the paper).
No two are the same: sentences of the language's rationales are drawn again until a text is as long as a rationale that
was drawn; the written one has about half of its sentences from its reference. The seconds are those of the processor;
those of the first pair, which loads a language's dictionary, are reported apart and counted.
"""

import argparse
import random
import re
import statistics
import time
from pathlib import Path

from metrics.rationale_scores import score_pair
from mmedbench_questions import RecordError, read_split
from rationale import read_pairs
from run_record import InputError, parse_arguments, provenance, run_command, write_json

# Questions of the released test set (Qiu et al., Nature Communications 15:8384, 2024, and its public files).
TEST_QUESTIONS = {"en": 1273, "zh": 3426, "ja": 199, "fr": 622, "ru": 256, "es": 2742}


def read_rationales(path: Path) -> dict[str, list[str]]:
    """{language: rationales that are not empty} of a test split or a file of pairs. Errors: InputError."""
    texts: dict[str, list[str]] = {}
    if path.is_dir():
        try:
            records = [record for mine in read_split(path).values() for record in mine]
        except RecordError as error:
            raise InputError(str(error)) from None
        found = [(record["language"], record.get("rationale") or "") for record in records]
    else:
        found = [(language, item["reference"]) for language, items in read_pairs(path).items() for item in items]
    for language, text in found:
        if text.strip():
            texts.setdefault(language, []).append(text)
    missing = [language for language in TEST_QUESTIONS if language not in texts]
    if missing:
        raise InputError(f"{path} has no rationale in {', '.join(missing)}; give a test split with rationales")
    return texts


def recombine(texts: list[str], count: int, draw: random.Random, longer: int) -> list[tuple[str, str]]:
    """Pairs (written, reference) of new texts, each as long as one of the texts, times `longer`."""
    sentences = [s for text in texts for s in re.split(r"(?<=[.!?。！？])\s*|\n+", text) if s.strip()]
    blank = "" if re.search(r"[一-龥ぁ-ヿ]", texts[0]) else " "
    pairs = []
    for _ in range(count):
        size = longer * len(draw.choice(texts))

        def text(pool: list[str], size: int = size) -> tuple[str, list[str]]:
            chosen: list[str] = []
            while sum(map(len, chosen)) < size:
                chosen.append(draw.choice(pool))
            return blank.join(chosen), chosen

        reference, used = text(sentences)
        written, _ = text(used + draw.choices(sentences, k=len(used)))
        pairs.append((written, reference))
    return pairs


def measure(language: str, pairs: list[tuple[str, str]]) -> dict:
    """Counts and seconds of the processor for one language."""
    start = time.process_time()
    score_pair(*pairs[0], language)
    first = time.process_time()
    for pair in pairs[1:]:
        score_pair(*pair, language)
    end = time.process_time()
    return {
        "n": len(pairs),
        "characters": round(statistics.mean(len(text) for pair in pairs for text in pair)),
        "words": round(statistics.mean(len(text.split()) for pair in pairs for text in pair)),
        "first_seconds": round(first - start, 2),
        "seconds": round(end - start, 2),
        "ms_a_pair": round(1000 * (end - first) / max(1, len(pairs) - 1), 2),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "rationales",
        type=Path,
        nargs="?",
        default=Path(__file__).parent / "sample/rationale_pairs.jsonl",
        help="test split with rationales, or file of pairs (default: the sample, whose texts are short: see --longer)",
    )
    parser.add_argument(
        "--limit", type=int, help="maximum number of pairs per language (default: as many as the test set has)"
    )
    parser.add_argument(
        "--longer", type=int, default=1, help="factor by which the rationales are lengthened (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON output file")
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="read the rationales, print how many, write nothing")
    args = parse_arguments(parser, argv)
    for flag, value in (("limit", args.limit), ("longer", args.longer)):
        if value is not None and value < 1:
            raise InputError(f"--{flag} {value}: expected 1 or more")
    texts = read_rationales(args.rationales)
    print(f"{args.rationales}: " + ", ".join(f"{language} {len(mine)}" for language, mine in texts.items()))
    if args.dry_run:
        return 0
    found = {}
    print("language     n  characters  words  first s  seconds  ms a pair", flush=True)
    for language, count in TEST_QUESTIONS.items():
        pairs = recombine(texts[language], min(count, args.limit or count), random.Random(args.seed), args.longer)
        row = found[language] = measure(language, pairs)
        print(
            f"{language:8}{row['n']:>6}  {row['characters']:>10}  {row['words']:>5}  {row['first_seconds']:>7.2f}"
            f"  {row['seconds']:>7.2f}  {row['ms_a_pair']:>9.2f}",
            flush=True,
        )
    total = sum(row["seconds"] for row in found.values())
    whole = sum(
        found[key]["first_seconds"] + count * found[key]["ms_a_pair"] / 1000 for key, count in TEST_QUESTIONS.items()
    )
    print(
        f"{sum(row['n'] for row in found.values())} pairs: {total:.1f} s of one core; "
        f"{sum(TEST_QUESTIONS.values())} pairs at this speed: {whole:.1f} s"
    )
    if args.out:
        record = {
            "languages": found,
            "seconds": round(total, 2),
            "whole_test_set_seconds": round(whole, 2),
            "longer": args.longer,
            "seed": args.seed,
            "provenance": provenance(argv),
        }
        write_json(args.out, record)
    return 0


if __name__ == "__main__":
    run_command(main)
