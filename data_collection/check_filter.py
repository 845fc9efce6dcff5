"""Measure the filter on labelled documents: recall, false-positive rate, and their 95 % intervals, per language.

Reads parquet or JSON lines with a text column and a label column ("medical" or anything else); prints a table and,
with --out, writes the same numbers as JSON. The language of a file is told as `filter.py` does. Example:

    python data_collection/check_filter.py ../shared/data/filter_text
"""

import argparse
import time
from collections import Counter
from pathlib import Path

from corpus_record import InputError, parse_arguments, run_command, write_json
from document_files import column_names, list_document_files, read_batches
from filter_document import THRESHOLDS_FILE, DocumentFilter
from filter_shard import declared_language
from keyword_match import KEYWORD_FOLDER, LANGUAGES, RULES

Z_95 = 1.959964  # the normal distribution's 97.5 % point


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="a labelled parquet or JSON lines file, or a folder of them")
    parser.add_argument("--rule", choices=RULES, default="bounded", help="keyword rule (default: %(default)s)")
    parser.add_argument("--language", choices=("auto", *LANGUAGES), default="auto",
                        help="language of the documents; auto: the file's or its folder's name (default: %(default)s)")
    parser.add_argument("--text-column", default="text", help="column with the text (default: %(default)s)")
    parser.add_argument("--label-column", default="label", help="column with the label (default: %(default)s)")
    parser.add_argument("--medical-label", default="medical",
                        help="the label of medical documents (default: %(default)s)")
    parser.add_argument("--by", metavar="COLUMN",
                        help="also print a line per value of this column, up to its first colon")
    parser.add_argument("--keywords", type=Path, default=KEYWORD_FOLDER, help="folder of <iso>.txt keyword lists")
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS_FILE, help="JSON of thresholds")
    parser.add_argument("--out", type=Path, help="JSON file to write the numbers to")
    parser.add_argument("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    judge = DocumentFilter(args.rule, args.keywords, args.thresholds)
    total: Counter = Counter()
    table: dict[str, Counter] = {}
    began = time.process_time()
    for path in list_document_files(args.input):
        needed = [args.text_column, args.label_column, *([args.by] if args.by else [])]
        if missing := [name for name in needed if name not in column_names(path)]:
            raise InputError(f"{path}: no column {', '.join(missing)}; it has {', '.join(column_names(path))}")
        language = declared_language(path, args.language)
        for batch in read_batches(path):
            rows = zip(*(batch.column(name).to_pylist() for name in needed), strict=True)
            for text, label, *group in rows:
                kind = "medical" if label == args.medical_label else "general"
                decision = judge.decide(text, language)
                passed = {kind: 1, f"{kind}_kept": int(decision.reason == "kept")}
                table.setdefault(language or "auto", Counter()).update(passed)
                if group:
                    name = f"{language or 'auto'} {str(group[0]).split(':')[0]}"
                    table.setdefault(name, Counter()).update(passed)
                total.update(bytes=len((text or "").encode("utf-8")))
    seconds = time.process_time() - began
    numbers = {name: summary(counts) for name, counts in sorted(table.items())}
    print(f"rule {args.rule}")
    print("| language | recall | 95 % | n medical | false-positive rate | 95 % | n general |")
    print("|---|---:|---|---:|---:|---|---:|")
    for name, row in numbers.items():
        print(f"| {name} | {shown(row['recall'])} | {row['medical']} "
              f"| {shown(row['false_positive_rate'])} | {row['general']} |")
    megabytes = total["bytes"] / 1e6
    print(f"{megabytes:.1f} MB of text at {megabytes / max(seconds, 1e-9):.1f} MB/s of processor time, "
          "language detection of what passes included")
    if args.out:
        write_json(args.out, {"rule": args.rule, "languages": numbers})
    return 0


def summary(counts: Counter) -> dict:
    """Recall and false-positive rate with their intervals, in shares; None where there is nothing to count."""
    result: dict = {"medical": counts["medical"], "general": counts["general"]}
    for name, kind in (("recall", "medical"), ("false_positive_rate", "general")):
        n, kept = counts[kind], counts[f"{kind}_kept"]
        low, high = wilson_interval(kept, n)
        result[name] = {"share": kept / n, "low": low, "high": high} if n else None
    return result


def shown(rate: dict | None) -> str:
    """Two table cells: the share in per cent, and its interval."""
    if rate is None:
        return "- | -"
    return f"{100 * rate['share']:.1f} % | {100 * rate['low']:.1f} to {100 * rate['high']:.1f}"


if __name__ == "__main__":
    run_command(main)
