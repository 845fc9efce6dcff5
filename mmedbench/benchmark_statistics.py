"""Benchmark statistics: questions, answers, options and mean lengths by language and split, as tables and a picture.

Reads   a folder in MMedBench's layout (FORMAT.md), a tokenizer if one is named, a file of topics if one is given.
Writes  --out: statistics.md (the tables), statistics.json (the same numbers), statistics.png, manifest.json last.

    python mmedbench/benchmark_statistics.py data/MMedBench --out data/statistics --topics mmedbench/topics.yaml
    python mmedbench/benchmark_statistics.py data/MMedBench --tokenizer checkpoints/pretrained

Lengths are in tokens of the tokenizer that is named; without one, in characters, and in words where a script puts
spaces between them. The published counts are in reported/mmedbench_counts.csv.
"""

import argparse
import json
import sys
from pathlib import Path

from mmedbench_questions import RecordError, read_questions
from run_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    sha256_of_file,
    write_json,
    write_text,
)
from sources.benchmark_report import published_counts
from sources.find_sources import SPLITS
from sources.question_counts import Length, count_rows, draw, length_units, read_topics, statistics_markdown, topic_rows

FORMAT_VERSION = 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("data", type=Path, metavar="BENCHMARK", help="folder with Train/ Dev/ Test/ (and English_benchmarks/)")
    add("--out", type=Path, default=Path("data/statistics"), help="folder to make (default: %(default)s)")
    add("--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence")
    add(
        "--tokenizer",
        metavar="NAME",
        help="folder or hub name of a tokenizer; lengths are in its tokens (default: "
        "none, lengths are in characters and words)",
    )
    add(
        "--trust-remote-code",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run code that comes with the tokenizer (default: no)",
    )
    add(
        "--topics",
        type=Path,
        metavar="FILE",
        help="YAML of {topic: {language: [keywords]}}, such as mmedbench/topics.yaml; counts questions by topic",
    )
    add("--dry-run", action="store_true", help="read, check, count the questions, write nothing")
    return parser


def read_groups(folder: Path) -> dict[tuple[str, str], list[dict]]:
    """{(language, split or benchmark): records}, in the order of languages and splits. Errors: InputError."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for split in (*SPLITS, "English_benchmarks"):
        for path in sorted((folder / split).glob("*.jsonl")):
            try:
                records = read_questions(path)
            except RecordError as error:
                raise InputError(str(error)) from None
            for record in records:
                name = split if split in SPLITS else path.stem
                groups.setdefault((record["language"], name), []).append(record)
    if not groups:
        raise InputError(f"{folder} contains no question in Train/, Dev/ or Test/; make it with mmedbench/prepare.py")
    return groups


def read_tokenizer(name: str, trust_remote_code: bool):
    """A function from texts to their numbers of tokens, special tokens omitted. Errors: InputError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--tokenizer {name}: no tokenizer can be read there ({reason})") from None

    def count(texts: list[str]) -> list[int]:
        # verbose: a text longer than the model's context is not a reason for a warning here.
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]

    return count


def tokenizer_files(name: str) -> dict:
    """Checksums of a tokenizer's folder; a hub name has none."""
    folder = Path(name)
    return describe_files(folder, folder.glob("*token*")) if folder.is_dir() else {}


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(build_parser(), argv)
    print("arguments: " + ", ".join(f"{name}={value}" for name, value in vars(options).items()))
    groups = read_groups(options.data)
    topics = read_topics(options.topics) if options.topics else {}
    files = [path for path in options.data.glob("*/*.jsonl") if path.parent.name in (*SPLITS, "English_benchmarks")]
    arguments = {"tokenizer": options.tokenizer, "trust_remote_code": options.trust_remote_code}
    inputs = {
        "questions": describe_files(options.data, files),
        "tokenizer": tokenizer_files(options.tokenizer) if options.tokenizer else {},
        "topics": sha256_of_file(options.topics) if options.topics else None,
    }
    for (language, split), records in groups.items():
        print(f"{language} {split}: {len(records)} questions")
    if options.dry_run:
        print(f"dry run: would write the statistics to {options.out}")
        return 0
    if finished_record(options.out / "manifest.json", arguments, inputs):
        print(f"{options.out} is complete and made from the same inputs: reused")
        return 0
    names = {"manifest.json", "statistics.md", "statistics.json", "statistics.png"}
    if options.out.is_file() or (options.out.is_dir() and {path.name for path in options.out.iterdir()} - names):
        raise InputError(f"--out {options.out} is not a folder of this command; give another")
    count = read_tokenizer(options.tokenizer, options.trust_remote_code) if options.tokenizer else None
    units: list[Length] = length_units(options.tokenizer, count)
    rows = count_rows(groups, units, published_counts())
    topic_table = topic_rows(groups, topics)
    tables = statistics_markdown(rows, units, topic_table, published_counts())
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "statistics.md", tables)
    write_json(out / "statistics.json", {"units": [unit.name for unit in units], "rows": rows, "topics": topic_table})
    draw(rows, units[0].name, out / "statistics.png")
    manifest = options.data / "manifest.json"
    write_json(
        out / "manifest.json",
        {
            "format_version": FORMAT_VERSION,
            "stage": "mmedbench/benchmark_statistics.py",
            "arguments": arguments,
            "inputs": inputs,
            "counts": {f"{row['language']} {row['split']}": row["questions"] for row in rows},
            "parent": sha256_of_file(manifest) if manifest.is_file() else None,
            "files": describe_files(out, [out / name for name in names - {"manifest.json"}]),
            "provenance": provenance(sys.argv[1:] if argv is None else argv),
        },
    )
    print(tables)
    print(f"wrote {out}: {json.dumps(sorted(names))}")
    return 0


if __name__ == "__main__":
    run_command(main)
