"""Put filtered web text, books, web sites and existing corpora together into the corpus (MMedC's layout).

Reads folders finished by `filter.py`, `ocr.py`, `websites.py`, `existing_corpora.py` or this command, in any number
and order, and the lists of `deduplicate.py` and `decontaminate.py`. Exact duplicates go. Writes

    OUT/<iso>/<source>/part-00000.parquet   records as FORMAT.md says, in order of id
    OUT/removed.jsonl                       every document left out: {id, language, source, origin, reason, ...}
    OUT/cut.jsonl                           with --contamination: every document that lost a passage
    OUT/README.md, OUT/corpus.png           dataset card: documents, characters and tokens per language and source
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
from corpus_inputs import MAKERS, input_files, open_input, read_records
from corpus_lists import Lists, cut_record
from corpus_picture import draw_corpus
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
from corpus_tokens import TokenCounter
from corpus_upload import upload_corpus, upload_token
from dataset_card import dataset_card
from exact_duplicates import keep_first_of_each
from keyword_match import LANGUAGES
from unfinished_run import close_run, open_run, refuse_nesting

STAGE = "data_collection/build_corpus.py"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("inputs", type=Path, nargs="+", help=f"folders made by {MAKERS}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (made if missing)")
    parser.add_argument("--shard-mb", type=int, default=256,
                        help="most text in one shard, MB (10^6 bytes) before compression (default: %(default)s)")
    parser.add_argument("--licence", default="unknown",
                        help="licence to record for documents that name none (default: %(default)s)")
    parser.add_argument("--duplicates", type=Path, metavar="DIR", help="list of deduplicate.py: these documents go")
    parser.add_argument("--contamination", type=Path, metavar="DIR",
                        help="list of decontaminate.py: these documents go, or lose the passages it names")
    parser.add_argument("--tokenizer", metavar="PATH_OR_NAME",
                        help="count tokens with it for the dataset card: a file or folder, or a name on the hub")
    parser.add_argument("--upload", metavar="REPO",
                        help="then upload the corpus to this data set repository of the Hugging Face hub, such as "
                             "me/MMedC; HF_TOKEN in the environment must be allowed to write to it")
    parser.add_argument("--private", action=argparse.BooleanOptionalAction, default=False,
                        help="make the repository of --upload private if it has to be made (default: no)")
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
    counter = TokenCounter(args.tokenizer) if args.tokenizer else None
    arguments = {"shard_mb": args.shard_mb, "licence": args.licence}
    if counter:
        arguments["tokenizer"] = counter.facts
    if args.dry_run:
        return 0
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, arguments, inputs):
        print(f"{args.out} is finished already and made from these inputs: reused")
        close_run(args.out)
        return end(manifest, args)
    parts = open_run(args.out, arguments, inputs)
    manifest = {"format_version": FORMAT_VERSION, "stage": STAGE, "arguments": arguments, "inputs": inputs}
    manifest |= build(parts, manifests, args, lists, counter)
    files = publish(args.out, parts)
    manifest |= {"files": describe_files(args.out, files), "parent": list(inputs), "provenance": provenance(argv)}
    write_json(manifest_path, manifest)
    close_run(args.out)
    return end(manifest, args)


def check_inputs(args: argparse.Namespace) -> dict[Path, dict]:
    """{folder: manifest} of the inputs, each finished and unaltered."""
    if args.shard_mb < 1:
        raise InputError(f"--shard-mb {args.shard_mb}: at least 1 is needed")
    if args.upload:
        upload_token()
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


def build(parts: Path, manifests: dict[Path, dict], args: argparse.Namespace, lists: Lists,
          counter: TokenCounter | None) -> dict:
    """Write shards, lists and the card below `parts/corpus`; returns the manifest's counts."""
    corpus = parts / "corpus"
    for folder in (corpus, parts / "sorting", parts / "cutting"):
        shutil.rmtree(folder, ignore_errors=True)
    corpus.mkdir()
    buckets, has_spans, cut = lay_aside(parts, manifests, args.licence, lists, corpus)
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
                if counter:
                    counter.add(key, record["text"])
        removed_file.flush()
        os.fsync(removed_file.fileno())
    counts: dict[str, dict] = {}
    for (language, source), writer in sorted(writers.items()):
        writer.close()
        counts.setdefault(language, {})[source] = {k: writer.counts[k] for k in ("documents", "characters", "shards")}
    if not counts:
        shutil.rmtree(parts)
        raise InputError("the inputs hold no document in any of the eight languages: nothing to build")
    result = {"counts": counts, "removed": dict(sorted(reasons.items()))}
    if lists.mode:
        result["cut"] = cut
    if counter:
        result["tokens"] = counter.counts()
    draw_corpus(counts, result.get("tokens"), corpus / "corpus.png")
    write_text(corpus / "README.md", dataset_card(counts, result["removed"], licences, result.get("tokens"),
                                                  counter.facts if counter else None, cut))
    return result


def lay_aside(parts: Path, manifests: dict[Path, dict], licence: str, lists: Lists,
              corpus: Path) -> tuple[Buckets, bool, dict]:
    """(all records by id, those that go with a `reason`; whether any has loss spans; {what was cut: how much}).

    Of documents with one id one stays, with the text of the first, on which the decision was made (they differ in case
    and white space at most). Its new id may put it into another bucket.
    """
    sizes = [f.stat().st_size * (3 if f.suffix == ".parquet" else 1)  # zstd takes text to about a third
             for folder, m in manifests.items() for f in input_files(folder, m)]
    buckets = Buckets(parts / "sorting", sum(sizes))
    cutting = Buckets(parts / "cutting", sum(sizes) if lists.mode else 0)
    has_spans = False
    for folder, manifest in manifests.items():
        for record in read_records(folder, manifest, licence):
            has_spans = has_spans or LOSS_SPANS in record
            if removal := lists.removal(record["id"]):
                buckets.add(without_text(record) | removal)
            else:
                (cutting if lists.cut(record["id"]) else buckets).add(record)
    cut = {"documents": 0, "characters": 0}
    changed = []
    for bucket in cutting.read():
        decided = {record["id"]: record for record in reversed(bucket)}
        kept, duplicates = keep_first_of_each(bucket)
        for record in duplicates:
            buckets.add(without_text(record) | {"reason": "exact duplicate"})
        for record in kept:
            decision = lists.cut(record["id"])
            first = decided[record["id"]]
            its_text = {field: first[field] for field in ("text", LOSS_SPANS) if field in first}
            after = cut_record(without_text(record) | its_text, decision)
            if "reason" in after:
                buckets.add(without_text(after))
                continue
            buckets.add(after)
            lost = len(first["text"]) - len(after["text"])
            cut = {"documents": cut["documents"] + 1, "characters": cut["characters"] + lost}
            changed.append({"id": after["id"], "id_before": record["id"], "language": record["language"],
                            "source": record["source"], "origin": record["origin"], "characters": lost,
                            "questions": decision.get("questions", [])})
    if lists.mode:
        write_text(corpus / "cut.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in changed))
    return buckets, has_spans, cut


def without_text(record: dict) -> dict:
    return {field: value for field, value in record.items() if field not in ("text", LOSS_SPANS)}


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
            print(f"{language} {source}: {row['documents']} documents, {row['characters']} characters"
                  + ("" if tokens is None else f", {tokens} tokens"))
    for reason, count in manifest["removed"].items():
        print(f"left out: {count} ({reason}); see removed.jsonl")
    if manifest.get("cut", {}).get("documents"):
        print(f"cut: {manifest['cut']['documents']} documents lost {manifest['cut']['characters']} characters; "
              "see cut.jsonl")
    if args.upload:
        print(f"uploaded: {upload_corpus(args.out, manifest, args.upload, args.private)}")
    return 0


if __name__ == "__main__":
    run_command(main)
