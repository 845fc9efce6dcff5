"""Put filtered web text and the text of PDFs together into the corpus (MMedC's layout), exact duplicates removed.

Reads folders finished by `filter.py` and `ocr.py`, in any number and order. Writes

    OUT/<iso>/<source>/part-00000.parquet   records as FORMAT.md says, in order of id
    OUT/removed.jsonl                       every document left out: {id, language, source, origin, reason, ...}
    OUT/README.md                           dataset card: documents and characters per language and source
    OUT/manifest.json                       counts and checksums; written last

Example:

    python data_collection/build_corpus.py data/filtered data/ocr --out data/mmedc
"""

import argparse
import json
import os
import shutil
from collections import Counter
from pathlib import Path

from corpus_format import FORMAT_VERSION, LOSS_SPANS
from corpus_inputs import input_files, open_input, read_records
from corpus_record import (
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
from corpus_shards import Buckets, ShardWriter
from dataset_card import dataset_card
from exact_duplicates import keep_first_of_each
from keyword_match import LANGUAGES
from unfinished_run import close_run, open_run, refuse_nesting

STAGE = "data_collection/build_corpus.py"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("inputs", type=Path, nargs="+", help="folders made by filter.py or ocr.py")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (made if missing)")
    parser.add_argument("--shard-mb", type=int, default=256,
                        help="most text in one shard, MB (10^6 bytes) before compression (default: %(default)s)")
    parser.add_argument("--licence", default="unknown",
                        help="licence to record for documents that name none (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    parser.add_argument("--dry-run", action=argparse.BooleanOptionalAction, default=False,
                        help="check the inputs, print the plan, write nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    manifests = check_inputs(args)
    for name in ("out", "shard_mb", "licence"):
        print(f"{name}: {getattr(args, name)}")
    for folder, manifest in manifests.items():
        print(f"input: {folder} ({manifest['stage']})")
        for language, row in manifest["counts"].items():
            print(f"  {language}: {row.get('kept', row.get('documents'))} documents")
    if args.dry_run:
        return 0
    arguments = {"shard_mb": args.shard_mb, "licence": args.licence}
    # Told apart by what they hold, not by where they lie or in which order they were given.
    inputs = {sha256_of_file(folder / "manifest.json"): m["stage"] for folder, m in manifests.items()}
    inputs = dict(sorted(inputs.items()))
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, arguments, inputs):
        print(f"{args.out} is finished already and made from these inputs: reused")
        close_run(args.out)
        return report(manifest)
    parts = open_run(args.out, arguments, inputs)
    manifest = {"format_version": FORMAT_VERSION, "stage": STAGE, "arguments": arguments, "inputs": inputs}
    manifest |= build(parts, manifests, args)
    files = publish(args.out, parts)
    manifest |= {"files": describe_files(args.out, files), "parent": list(inputs), "provenance": provenance(argv)}
    write_json(manifest_path, manifest)
    close_run(args.out)
    return report(manifest)


def check_inputs(args: argparse.Namespace) -> dict[Path, dict]:
    """{folder: manifest} of the inputs, each finished and unaltered."""
    if args.shard_mb < 1:
        raise InputError(f"--shard-mb {args.shard_mb}: at least 1 is needed")
    if not args.licence.strip():
        raise InputError("--licence is blank; give a licence's name, or leave the flag out")
    manifests: dict[Path, dict] = {}
    for folder in args.inputs:
        if folder.resolve() in [f.resolve() for f in manifests]:
            raise InputError(f"{folder} is given twice")
        manifests[folder] = open_input(folder)
        refuse_nesting(folder, args.out)
    return manifests


def build(parts: Path, manifests: dict[Path, dict], args: argparse.Namespace) -> dict:
    """Write shards, removed.jsonl and the card below `parts/corpus`; returns the manifest's counts."""
    corpus = parts / "corpus"
    shutil.rmtree(corpus, ignore_errors=True)
    shutil.rmtree(parts / "sorting", ignore_errors=True)
    corpus.mkdir()
    sizes = [f.stat().st_size * (3 if f.suffix == ".parquet" else 1)  # zstd takes text to about a third
             for folder, m in manifests.items() for f in input_files(folder, m)]
    buckets = Buckets(parts / "sorting", sum(sizes))
    has_spans = False
    for folder, manifest in manifests.items():
        for record in read_records(folder, manifest, args.licence):
            has_spans = has_spans or LOSS_SPANS in record
            buckets.add(record)
    writers: dict[tuple[str, str], ShardWriter] = {}
    licences: Counter = Counter()
    reasons: Counter = Counter()
    with open(corpus / "removed.jsonl", "w", encoding="utf-8", newline="\n") as removed_file:
        for bucket in buckets.read():
            kept, removed = choose(bucket)
            for record in removed:
                reasons[record["reason"]] += 1
                removed_file.write(json.dumps(record, ensure_ascii=False) + "\n")
            for record in kept:
                key = (record["language"], record["source"])
                if key not in writers:
                    writers[key] = ShardWriter(corpus / key[0] / key[1], args.shard_mb * 1_000_000, has_spans)
                writers[key].add(record)
                licences[record["licence"]] += 1
        removed_file.flush()
        os.fsync(removed_file.fileno())
    counts: dict[str, dict] = {}
    for (language, source), writer in sorted(writers.items()):
        writer.close()
        counts.setdefault(language, {})[source] = {k: writer.counts[k] for k in ("documents", "characters", "shards")}
    if not counts:
        shutil.rmtree(parts)
        raise InputError("the inputs hold no document in any of the eight languages: nothing to build")
    write_text(corpus / "README.md", dataset_card(counts, sum(reasons.values()), licences))
    return {"counts": counts, "removed": dict(sorted(reasons.items()))}


def choose(records: list[dict]) -> tuple[list[dict], list[dict]]:
    """Split a bucket into (kept records, removed ones without their text), each in order of id."""
    usable, removed = [], []
    for record in records:
        if record["language"] not in LANGUAGES:
            removed.append(record | {"reason": "language is none of the eight"})
        else:
            usable.append(record)
    kept, duplicates = keep_first_of_each(usable)
    removed += [record | {"reason": "exact duplicate"} for record in duplicates]
    removed.sort(key=lambda r: (r["id"], r["source"], r["origin"], r["language"]))
    fields = ("id", "language", "source", "origin", "reason", "kept_origin")
    return kept, [{f: r[f] for f in fields if f in r} for r in removed]


def publish(out: Path, parts: Path) -> list[Path]:
    """Move the finished corpus to its place, file by file; returns the paths written."""
    written = []
    for path in sorted(p for p in (parts / "corpus").rglob("*") if p.is_file()):
        there = out / path.relative_to(parts / "corpus")
        there.parent.mkdir(parents=True, exist_ok=True)
        path.replace(there)
        written.append(there)
    return written


def report(manifest: dict) -> int:
    """Print documents and characters per language and source; returns the exit code."""
    for language, sources in manifest["counts"].items():
        for source, row in sources.items():
            print(f"{language} {source}: {row['documents']} documents, {row['characters']} characters")
    for reason, count in manifest["removed"].items():
        print(f"left out: {count} ({reason}); see removed.jsonl")
    return 0


if __name__ == "__main__":
    run_command(main)
