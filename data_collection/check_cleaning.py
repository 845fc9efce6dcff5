"""Measure language identification and cleaning on labelled documents of known language.

Reads a folder of <iso>.parquet or JSON lines files with a text column and a label column. Prints, both detectors in one
run: how often each finds the language in 100, 400 and 3,000 characters from the middle of a document, in 400 characters
of which a quarter is in another language (mixed), and in sentences of neighbouring languages; then which medical
documents cleaning omits, what it changes, and how fast it is. Example:

    python data_collection/check_cleaning.py ../shared/data/filter_text --limit 100
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from cleaning.clean_text import clean
from filtering.language import detect_language
from language_codes import LANGUAGES
from readers.document_files import column_names, document_stem, list_document_files, read_batches
from run_record import InputError, parse_arguments, run_command, write_json

OTHERS = Path(__file__).parent / "sample/languages/other_languages.jsonl"
DETECTORS = ("py3langid", "langdetect")
LENGTHS = (100, 400, 3000)
SURE = 0.9  # the filter believes a detector from this probability on


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="a folder of labelled <iso>.parquet or JSON lines files")
    parser.add_argument("--text-column", default="text", help="column with the text (default: %(default)s)")
    parser.add_argument("--label-column", default="label", help="column with the label (default: %(default)s)")
    parser.add_argument(
        "--medical-label", default="medical", help="the label of medical documents (default: %(default)s)"
    )
    parser.add_argument(
        "--others",
        type=Path,
        default=OTHERS,
        help="JSON lines {language, text} in other languages (default: the sample's)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        help="maximum number of documents per language in the language tables; 0: all",
    )
    parser.add_argument("--out", type=Path, help="JSON output file")
    parser.add_argument("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if args.limit < 0:
        raise InputError(f"--limit {args.limit}: a number of documents, or 0 for all, is needed")
    documents = read_documents(args)
    others = [json.loads(line) for line in args.others.read_text(encoding="utf-8").splitlines()]
    some = {language: [text for text, _ in spread(rows, args.limit)] for language, rows in documents.items()}
    numbers = {"languages": measure_languages(some), "others": measure_others(others)}
    medical = {
        language: [text for text, label in rows if label == args.medical_label] for language, rows in documents.items()
    }
    numbers["cleaning"] = measure_cleaning(medical)
    if args.out:
        write_json(args.out, numbers)
    return 0


def read_documents(args: argparse.Namespace) -> dict[str, list[tuple[str, str]]]:
    """{language: [(text, label)]}; the language is the file's name."""
    documents: dict[str, list] = {}
    for path in list_document_files(args.input):
        if (language := document_stem(path)) not in LANGUAGES:
            raise InputError(f"{path}: named after none of the languages {', '.join(LANGUAGES)}; rename it")
        names = [args.text_column, args.label_column]
        if missing := [name for name in names if name not in column_names(path)]:
            raise InputError(f"{path}: no column {', '.join(missing)}; it has {', '.join(column_names(path))}")
        for batch in read_batches(path):
            documents.setdefault(language, []).extend(zip(*(batch.column(n).to_pylist() for n in names), strict=True))
    return documents


def spread(rows: list, count: int) -> list:
    """`count` rows evenly from the whole list; all of them for 0."""
    return rows if not count or count >= len(rows) else [rows[len(rows) * i // count] for i in range(count)]


def middle(text: str, characters: int) -> str:
    start = max(0, (len(text) - characters) // 2)
    return text[start : start + characters]


def mix(texts: dict[str, list[str]], language: str) -> list[str]:
    """400 characters each: the second hundred is from a document in the next language."""
    languages = list(texts)
    foreign = texts[languages[(languages.index(language) + 1) % len(languages)]]
    return [
        f"{piece[:100]} {middle(foreign[i % len(foreign)], 100)} {piece[100:]}"
        for i, text in enumerate(texts[language])
        for piece in [middle(text, 300)]
    ]


def measure_languages(texts: dict[str, list[str]]) -> dict:
    """Print and return {detector: {text: {language: accuracy, "per_second": documents}}}."""
    for detector in DETECTORS:
        detect_language("The model is loaded before the clock runs.", detector)
    samples = {str(n): {language: [middle(t, n) for t in rows] for language, rows in texts.items()} for n in LENGTHS}
    samples["mixed"] = {language: mix(texts, language) for language in texts}
    print(
        "| found, % | "
        + " | ".join(f"{language} ({len(rows)})" for language, rows in texts.items())
        + " | surely wrong | documents/s a core |"
    )
    print("|---" * (len(texts) + 3) + "|")
    numbers: dict = {}
    for kind, by_language in samples.items():
        for detector in DETECTORS:
            began, row, wrong = time.process_time(), {}, 0
            for language, rows in by_language.items():
                found = [detect_language(text, detector) for text in rows]
                row[language] = sum(f.code == language for f in found) / len(rows)
                wrong += sum(f.code != language and f.probability >= SURE for f in found)
            row["surely_wrong"] = wrong
            row["per_second"] = sum(map(len, by_language.values())) / (time.process_time() - began)
            numbers.setdefault(detector, {})[kind] = row
            print(
                f"| {kind}, {detector} | "
                + " | ".join(f"{100 * row[language]:.1f}" for language in texts)
                + f" | {wrong} | {row['per_second']:,.0f} |"
            )
    return numbers


def measure_others(others: list[dict]) -> dict:
    """Print and return {detector: {right, taken_for_ours, n}} of sentences in other languages."""
    numbers = {}
    names = sorted({other["language"] for other in others})
    print(f"\n{len(others)} sentences in {len(names)} other languages ({' '.join(names)}):")
    for detector in DETECTORS:
        found = [(other["language"], detect_language(other["text"], detector).code) for other in others]
        numbers[detector] = {
            "right": sum(a == b for a, b in found),
            "n": len(found),
            "taken_for_ours": sum(b in LANGUAGES for _, b in found),
        }
        print(
            f"{detector}: {numbers[detector]['right']} named rightly, "
            f"{numbers[detector]['taken_for_ours']} taken for one of the eight languages"
        )
    return numbers


def measure_cleaning(texts: dict[str, list[str]]) -> dict:
    """Print and return {language: {n, reasons, changes, megabytes_per_second}} of medical documents."""
    print("\n| medical documents | n | omitted | reasons | changes | cleaning and language, MB/s a core |")
    print("|---|---:|---:|---|---|---:|")
    numbers, total, out = {}, 0, 0
    for language, rows in texts.items():
        for text in rows[:1]:
            detect_language(text), clean(text, language)  # the lists and models are loaded
        began, reasons, changes = time.process_time(), Counter(), Counter()
        for text in rows:
            detect_language(text)
            cleaned = clean(text, language)
            changes.update(cleaned.changes)
            reasons.update([cleaned.reason] if cleaned.reason else [])
        seconds = time.process_time() - began
        speed = sum(len(text.encode("utf-8")) for text in rows) / 1e6 / max(seconds, 1e-9)
        numbers[language] = {
            "n": len(rows),
            "reasons": dict(reasons),
            "changes": dict(changes),
            "megabytes_per_second": speed,
        }
        total, out = total + len(rows), out + sum(reasons.values())
        print(
            f"| {language} | {len(rows)} | {sum(reasons.values())} | {_listed(reasons)} | {_listed(changes)} "
            f"| {speed:.1f} |"
        )
    print(f"| all | {total} | {out} ({100 * out / max(1, total):.2f} %) | | | |")
    return numbers


def _listed(counts: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"


if __name__ == "__main__":
    run_command(main)
