"""Merge filtered web text, books, web sites and existing corpora into the corpus (MMedC's layout).

Reads folders finished by `filter.py`, `ocr.py`, `websites.py`, `existing_corpora.py` or this command, in any number
and order, and the lists of `deduplicate.py` and `decontaminate.py`. Exact duplicates go. Writes

    OUT/<iso>/<source>/part-00000.parquet   records as FORMAT.md says, in order of id
    OUT/removed.jsonl                       every document omitted: {id, language, source, origin, reason, ...}
    OUT/cut.jsonl                           with --contamination: every document that lost a passage
    OUT/README.md, OUT/corpus.png           dataset card: documents, characters and tokens per language and source
    OUT/manifest.json                       counts and checksums; written last

Units of the inputs are read and sorted by processes and, with --shard, by many jobs on one OUT; the last to end writes
the corpus. Rerun the same command to resume an interrupted run, unit by unit. Exit codes: 0 done, 1 disk
full, 2 bad input. Example:

    python data_collection/build_corpus.py data/filtered data/ocr --out data/mmedc
"""

import argparse
import json
import os
import shutil
from collections import Counter
from pathlib import Path

from corpus.corpus_lists import Lists
from corpus.corpus_sorting import (
    SegmentFile,
    ShardWriter,
    Sorting,
    count_buckets,
    cut_documents,
    is_done,
    read_bucket,
    sort_units,
    unit_file,
)
from corpus.corpus_upload import upload_corpus, upload_token
from corpus.dataset_card import TokenCounter, dataset_card, draw_corpus
from executor.run_folder import close_run, refuse_nesting
from executor.sharded_run import (
    Unfinished,
    add_run_flags,
    not_done,
    others_missing,
    own_units,
    require_at_least,
    run_sharded,
)
from language_codes import LANGUAGES
from readers.corpus_format import FORMAT_VERSION, keep_first_of_each
from readers.corpus_inputs import MAKERS, open_input, units_of
from run_record import (
    InputError,
    describe_files,
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
    parser.add_argument("--out", type=Path, required=True, help="output folder (created if missing)")
    parser.add_argument(
        "--shard-mb",
        type=int,
        default=256,
        help="maximum text per corpus shard, in MB (10^6 bytes) before compression (default: %(default)s)",
    )
    parser.add_argument(
        "--licence", default="unknown", help="licence recorded for documents without one (default: %(default)s)"
    )
    parser.add_argument(
        "--duplicates", type=Path, metavar="DIR", help="output of deduplicate.py: the documents on its list are removed"
    )
    parser.add_argument(
        "--contamination",
        type=Path,
        metavar="DIR",
        help="output of decontaminate.py: documents on its list are removed or cut",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="PATH_OR_NAME",
        help="tokenizer (file, folder or hub name) that counts tokens for the dataset card",
    )
    parser.add_argument(
        "--upload",
        metavar="REPO",
        help="upload the finished corpus to this data set repository on the Hugging Face hub, such as "
        "me/MMedC; needs HF_TOKEN with write access",
    )
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="create the repository of --upload as private if it does not exist (default: no)",
    )
    add_run_flags(parser.add_argument, unit_mb=128, unit_help="; also bounds the memory of a process")
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
    own = own_units(units, args.shard)
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
    sorting = Sorting(manifests, lists, args.licence, count_buckets(manifests))

    def work(parts: Path) -> Unfinished | None:
        sort_units(not_done(own, lambda u: is_done(parts, u)), parts, sorting, args.workers)
        return others_missing(sum(is_done(parts, u) for u in range(len(units))), len(units))

    def finish(parts: Path) -> dict:
        counts = build(parts, len(units), args, sorting, counter)
        manifest = {
            "format_version": FORMAT_VERSION,
            "stage": STAGE,
            "arguments": arguments,
            "inputs": inputs,
            **counts,
            "files": describe_files(args.out, publish(args.out, parts)),
            "parent": list(inputs),
            "provenance": provenance(argv),
        }
        write_json(args.out / "manifest.json", manifest)
        return manifest

    return run_sharded(
        args.out,
        args.shard,
        arguments,
        inputs,
        work,
        finish,
        lambda manifest: end(manifest, args),
        # The parts depend on these sizes, the corpus does not.
        resume_only=({"unit_mb": args.unit_mb, "buckets": sorting.buckets}, {}),
    )


def documents_of(row: dict) -> int:
    """Documents of one language by an input's manifest; a corpus counts them by source."""
    if "kept" in row or "documents" in row:
        return row.get("kept", row.get("documents"))
    return sum(source["documents"] for source in row.values())


def check_inputs(args: argparse.Namespace) -> dict[Path, dict]:
    """{folder: manifest} of the inputs, each finished and unaltered."""
    require_at_least(args, shard_mb=1, unit_mb=1, workers=1)
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
        raise InputError("the inputs contain no document in any of the eight languages: nothing to build")
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
        print(f"omitted: {count} ({reason}); see removed.jsonl")
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
