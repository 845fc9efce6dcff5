"""Put filtered web text, books, web sites and existing corpora together into the corpus (MMedC's layout).

Reads folders finished by `filter.py`, `ocr.py`, `websites.py`, `existing_corpora.py` or this command, in any number
and order, and the lists of `deduplicate.py` and `decontaminate.py`. Exact duplicates go. Writes

    OUT/<iso>/<source>/part-00000.parquet   records as FORMAT.md says, in order of id
    OUT/removed.jsonl                       every document left out: {id, language, source, origin, reason, ...}
    OUT/cut.jsonl                           with --contamination: every document that lost a passage
    OUT/README.md, OUT/corpus.png           dataset card: documents, characters and tokens per language and source
    OUT/manifest.json                       counts and checksums; written last

Units of the inputs are read and sorted by processes and, with --shard, by many jobs on one OUT; the last to end writes
the corpus. A killed run goes on with the same command, unit by unit. Exit codes: 0 done, 1 disk full, 2 bad input.
Example:

    python data_collection/build_corpus.py data/filtered data/ocr --out data/mmedc
"""

import argparse
import contextlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

from corpus.corpus_lists import Lists
from corpus.corpus_picture import draw_corpus
from corpus.corpus_shards import ShardWriter
from corpus.corpus_sorting import SegmentFile, Sorting, count_buckets, cut_documents, read_bucket
from corpus.corpus_tokens import TokenCounter
from corpus.corpus_units_run import is_done, sort_units, unit_file
from corpus.corpus_upload import upload_corpus, upload_token
from corpus.dataset_card import dataset_card
from executor.run_folder import close_run, one_at_a_time, only_run, open_run, refuse_nesting
from executor.units import parse_shard
from filtering.keyword_match import LANGUAGES
from readers.corpus_format import FORMAT_VERSION
from readers.corpus_inputs import MAKERS, open_input, units_of
from readers.text_identity import keep_first_of_each
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

STAGE = "data_collection/build_corpus.py"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("inputs", type=Path, nargs="+", help=f"folders made by {MAKERS}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (made if missing)")
    parser.add_argument(
        "--shard-mb",
        type=int,
        default=256,
        help="most text in one shard, MB (10^6 bytes) before compression (default: %(default)s)",
    )
    parser.add_argument(
        "--licence", default="unknown", help="licence to record for documents that name none (default: %(default)s)"
    )
    parser.add_argument("--duplicates", type=Path, metavar="DIR", help="list of deduplicate.py: these documents go")
    parser.add_argument(
        "--contamination",
        type=Path,
        metavar="DIR",
        help="list of decontaminate.py: these documents go, or lose the passages it names",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="PATH_OR_NAME",
        help="count tokens with it for the dataset card: a file or folder, or a name on the hub",
    )
    parser.add_argument(
        "--upload",
        metavar="REPO",
        help="then upload the corpus to this data set repository of the Hugging Face hub, such as "
        "me/MMedC; HF_TOKEN in the environment must be allowed to write to it",
    )
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="make the repository of --upload private if it has to be made (default: no)",
    )
    parser.add_argument(
        "--unit-mb",
        type=int,
        default=128,
        help="about so much text, MB (10^6 bytes), one process takes at a time (of parquet, a row "
        "group at least); what a kill costs at most, and what a process holds in memory; the last "
        "step holds about 128 MB of text as records. The corpus is the same whatever it is "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--shard",
        type=parse_shard,
        metavar="i/n",
        help="sort only the i-th of n shares of the units, i from 0 to n-1 (or from 1 to n)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes, one unit each (default: one per CPU core, %(default)s here)",
    )
    parser.add_argument("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    parser.add_argument(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="check the inputs, print the plan, write nothing",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    manifests = check_inputs(args)
    for name in ("out", "shard_mb", "licence", "unit_mb", "workers"):
        print(f"{name}: {getattr(args, name)}")
    for folder, manifest in manifests.items():
        print(f"input: {folder} ({manifest['stage']})")
        for language, row in manifest["counts"].items():
            print(f"  {language}: {documents_of(row)} documents")
    for name in ("duplicates", "contamination", "tokenizer", "upload"):
        if getattr(args, name):
            print(f"{name}: {getattr(args, name)}")
    checksums = {folder: sha256_of_file(folder / "manifest.json") for folder in manifests}
    # As decontaminate.py reads them: its decision is on the first of several documents with one id.
    manifests = {folder: manifests[folder] for folder in sorted(manifests, key=lambda folder: checksums[folder])}
    inputs = {checksums[folder]: manifest["stage"] for folder, manifest in manifests.items()}
    lists = Lists(args.duplicates, args.contamination, inputs)
    # Told apart by what they hold, not by where they lie or in which order they were given.
    inputs = dict(sorted((inputs | lists.manifests).items()))
    if lists.mode == "report":
        print("the list of --contamination is a report: it changes no document")
    units = units_of(manifests, args.unit_mb * 1_000_000)
    own = {u: unit for u, unit in enumerate(units) if args.shard is None or u % args.shard[1] == args.shard[0]}
    print(
        f"units: {len(units)}"
        + (f", of which shard {args.shard[0]}/{args.shard[1]} sorts {len(own)}" if args.shard else "")
    )
    counter = TokenCounter(args.tokenizer) if args.tokenizer else None
    arguments = {"shard_mb": args.shard_mb, "licence": args.licence}
    if counter:
        arguments["tokenizer"] = counter.facts
    if args.dry_run:
        return 0
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, arguments, inputs):
        return reuse(manifest, args)
    sorting = Sorting(manifests, lists, args.licence, count_buckets(manifests))
    with contextlib.ExitStack() as held:
        try:
            # Sizes that decide what the parts hold, and not what the corpus does: none may change on the way.
            sizes = {"unit_mb": args.unit_mb, "buckets": sorting.buckets}
            parts = open_run(args.out, arguments | sizes, inputs)
            held.enter_context(only_run(args.out, args.shard))
        except (InputError, FileNotFoundError):
            if not manifest_path.exists():
                raise
        if not manifest_path.exists():
            sort_units(own, parts, sorting, args.workers)
        if manifest := finished_record(manifest_path, arguments, inputs):  # another shard has ended in the meantime
            held.close()
            return reuse(manifest, args)
        if missing := sum(not is_done(parts, u) for u in range(len(units))):
            print(
                f"{len(units) - missing} of {len(units)} units are sorted; the other shards sort the rest, and the "
                "last to end writes the corpus"
            )
            return 0
        with one_at_a_time(args.out):
            manifest = finished_record(manifest_path, arguments, inputs)
            if manifest is None:
                made = build(parts, len(units), args, sorting, counter)
                manifest = {
                    "format_version": FORMAT_VERSION,
                    "stage": STAGE,
                    "arguments": arguments,
                    "inputs": inputs,
                    **made,
                    "files": describe_files(args.out, publish(args.out, parts)),
                    "parent": list(inputs),
                    "provenance": provenance(argv),
                }
                write_json(manifest_path, manifest)
    close_run(args.out)
    return end(manifest, args)


def reuse(manifest: dict, args: argparse.Namespace) -> int:
    print(f"{args.out} is finished already and made from these inputs: reused")
    close_run(args.out)
    return end(manifest, args)


def documents_of(row: dict) -> int:
    """Documents of one language by an input's manifest; a corpus counts them by source."""
    if "kept" in row or "documents" in row:
        return row.get("kept", row.get("documents"))
    return sum(source["documents"] for source in row.values())


def check_inputs(args: argparse.Namespace) -> dict[Path, dict]:
    """{folder: manifest} of the inputs, each finished and unaltered."""
    for name in ("shard_mb", "unit_mb", "workers"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1 is needed")
    if args.upload:
        upload_token()
        if args.shard:
            raise InputError("--upload does not go with --shard; give it to one more run without --shard, afterwards")
    elif args.private:
        raise InputError("--private goes with --upload")
    if not args.licence.strip():
        raise InputError("--licence is blank; give a licence's name, or leave the flag out")
    manifests: dict[Path, dict] = {}
    for folder in args.inputs:
        if folder.resolve() in [f.resolve() for f in manifests]:
            raise InputError(f"{folder} is given twice")
        manifests[folder] = open_input(folder)
        refuse_nesting(folder, args.out)
    return manifests


def build(
    parts: Path, unit_count: int, args: argparse.Namespace, sorting: Sorting, counter: TokenCounter | None
) -> dict:
    """Write shards, lists and the card below `parts/corpus` from the sorted units; returns the manifest's counts."""
    corpus = parts / "corpus"
    for folder in (corpus, parts / "cut"):
        shutil.rmtree(folder, ignore_errors=True)
    corpus.mkdir()
    files = [SegmentFile(unit_file(parts, u)) for u in range(unit_count)]
    has_spans = any(file.facts["has_spans"] for file in files)
    print(f"putting {sum(file.facts['documents'] for file in files)} documents in order", flush=True)
    with_new_ids, changed = cut_documents(files, sorting, parts / "cut")
    files += with_new_ids
    cut = {"documents": len(changed), "characters": sum(line["characters"] for line in changed)}
    if sorting.lists.mode:
        write_text(corpus / "cut.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in changed))
    from tqdm import tqdm

    writers: dict[tuple[str, str], ShardWriter] = {}
    licences: Counter = Counter()
    reasons: Counter = Counter()
    with open(corpus / "removed.jsonl", "w", encoding="utf-8", newline="\n") as removed_file:
        for bucket in tqdm(range(sorting.buckets), unit="bucket", disable=None):
            kept, removed = choose(list(read_bucket(files, bucket)))
            for record in removed:
                reasons[record["reason"]] += 1
                removed_file.write(json.dumps(record, ensure_ascii=False) + "\n")
            for record in kept:
                key = (record["language"], record["source"])
                if key not in writers:
                    writers[key] = ShardWriter(corpus / key[0] / key[1], args.shard_mb * 1_000_000, has_spans)
                writers[key].add(record)
                licences[record["licence"]] += 1
                if counter:
                    counter.add(key, record["text"])
        removed_file.flush()
        os.fsync(removed_file.fileno())
    counts: dict[str, dict] = {}
    for (language, source), writer in sorted(writers.items()):
        writer.close()
        counts.setdefault(language, {})[source] = {k: writer.counts[k] for k in ("documents", "characters", "shards")}
    if not counts:
        close_run(args.out)
        raise InputError("the inputs hold no document in any of the eight languages: nothing to build")
    result = {"counts": counts, "removed": dict(sorted(reasons.items()))}
    if sorting.lists.mode:
        result["cut"] = cut
    if counter:
        result["tokens"] = counter.counts()
    draw_corpus(counts, result.get("tokens"), corpus / "corpus.png")
    write_text(
        corpus / "README.md",
        dataset_card(
            counts, result["removed"], licences, result.get("tokens"), counter.facts if counter else None, cut
        ),
    )
    return result


def choose(records: list[dict]) -> tuple[list[dict], list[dict]]:
    """Split a bucket into (kept records, removed ones without their text), each in order of id.

    A record with a `reason` is removed already.
    """
    usable, removed = [], []
    for record in records:
        if "reason" in record:
            removed.append(record)
        elif record["language"] not in LANGUAGES:
            removed.append(record | {"reason": "language is none of the eight"})
        else:
            usable.append(record)
    kept, duplicates = keep_first_of_each(usable)
    removed += [record | {"reason": "exact duplicate"} for record in duplicates]
    removed.sort(key=lambda r: (r["id"], r["source"], r["origin"], r["language"]))
    fields = ("id", "language", "source", "origin", "reason", "kept_origin", "kept_id", "questions")
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


def end(manifest: dict, args: argparse.Namespace) -> int:
    """Print what is in the corpus, and upload it where that was asked; returns the exit code."""
    for language, sources in manifest["counts"].items():
        for source, row in sources.items():
            tokens = manifest.get("tokens", {}).get(language, {}).get(source)
            print(
                f"{language} {source}: {row['documents']} documents, {row['characters']} characters"
                + ("" if tokens is None else f", {tokens} tokens")
            )
    for reason, count in manifest["removed"].items():
        print(f"left out: {count} ({reason}); see removed.jsonl")
    if manifest.get("cut", {}).get("documents"):
        print(
            f"cut: {manifest['cut']['documents']} documents lost {manifest['cut']['characters']} characters; "
            "see cut.jsonl"
        )
    if args.upload:
        print(f"uploaded: {upload_corpus(args.out, manifest, args.upload, args.private)}")
    return 0


if __name__ == "__main__":
    run_command(main)
