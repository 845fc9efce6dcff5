"""Tokenize an MMedC corpus into a flat token store, once, before training.

Reads   a corpus folder (data_collection/FORMAT.md) and a Hugging Face tokenizer (folder or hub name)
Writes  a token store (pretrain/FORMAT.md): the files of each shard, tokenizer/, manifest.json last
Example python pretrain/tokenize_corpus.py data/MMedC --tokenizer data/tokenizer --out data/tokens

        python pretrain/tokenize_corpus.py data/MMedC --tokenizer data/tokenizer --out data/tokens --check

Every document ends with the end-of-text token. A shard whose .json stands is whole: an interrupted run resumes there.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from run_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
)
from token_data.corpus_encoder import LibraryEncoder, load_tokenizer, tokenizer_fingerprint
from token_data.corpus_reader import Shard, read_corpus
from token_data.fast_encoder import FastEncoder, FastPlan, choose_encoder
from token_data.token_store import find_differences, tokenise_shard

FORMAT_VERSION = 2
ARGUMENTS = {"store_format": FORMAT_VERSION}  # no flag changes what a store holds
_encoder = None  # one per worker process


@dataclass(frozen=True)
class Settings:
    """What a worker needs besides its shard."""

    out: Path
    dtype: str
    loss_mask: bool
    trust_remote_code: bool
    plan: FastPlan | None


def start_worker(settings: Settings) -> None:
    global _encoder
    _encoder = LibraryEncoder(settings.out / "tokenizer", settings.dtype, settings.trust_remote_code)
    if settings.plan is not None:
        _encoder = FastEncoder(settings.plan, _encoder)


def run_shard(shard: Shard, settings: Settings) -> dict:
    """One shard's facts. Errors name the shard, whatever they are."""
    try:
        return tokenise_shard(shard, settings.out, _encoder, settings.loss_mask)
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"the shard {shard.path} could not be tokenised: {error}") from error


def tokenise_all(corpus: list[Shard], settings: Settings, workers: int) -> dict[str, dict]:
    """{shard name: facts}; shards whose .json stands are reused, the others made, `workers` at a time."""
    from tqdm import tqdm

    records = {shard.name: settings.out / f"{shard.name}.json" for shard in corpus}
    shards = {name: read_json(path) for name, path in records.items() if path.exists()}
    # The biggest first, so that no worker is left alone with it at the end.
    missing = sorted((s for s in corpus if s.name not in shards), key=lambda shard: (-shard.size, shard.name))
    total = sum(shard.size for shard in missing)
    with tqdm(total=total, unit="B", unit_scale=True, desc="tokenise", disable=None, file=sys.stderr) as bar:
        for shard, facts in run_shards(missing, settings, min(workers, len(missing))):
            shards[shard.name] = facts
            bar.update(shard.size)
    return dict(sorted(shards.items()))


def run_shards(shards: list[Shard], settings: Settings, workers: int) -> Iterator[tuple[Shard, dict]]:
    """(shard, facts) as they are done: in this process, or in `workers` others."""
    if workers <= 1:
        if shards:
            start_worker(settings)
        for shard in shards:
            yield shard, run_shard(shard, settings)
        return
    pool = ProcessPoolExecutor(workers, initializer=start_worker, initargs=(settings,))
    try:
        jobs = {pool.submit(run_shard, shard, settings): shard for shard in shards}
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    except BrokenProcessPool:
        left = [shard.name for job, shard in jobs.items() if not job.done() or job.exception()]
        raise InputError(
            f"a worker died, of too little memory most likely, at one of these shards: {', '.join(left[:workers])}; "
            "lower --workers and run the same command again to resume"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def count_by_language_and_source(shards: dict[str, dict]) -> dict[str, dict]:
    """{"fr/web": sums of documents, tokens, characters, bytes; tokens per character; bytes per token}."""
    counts: dict[str, dict] = {}
    for facts in shards.values():
        row = counts.setdefault(
            f"{facts['language']}/{facts['source']}", {"documents": 0, "tokens": 0, "characters": 0, "utf8_bytes": 0}
        )
        for key in row:
            row[key] += facts[key]
    for row in counts.values():
        row["tokens_per_character"] = round(row["tokens"] / max(1, row["characters"]), 4)
        row["bytes_per_token"] = round(row["utf8_bytes"] / max(1, row["tokens"]), 4)
    return dict(sorted(counts.items()))


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("corpus", type=Path, help="corpus folder with a manifest.json, such as data/MMedC")
    parser.add_argument(
        "--tokenizer",
        default="data/tokenizer",
        help="tokenizer folder or the hub name of the model to train further (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("data/tokens"), help="token store (default %(default)s)")
    parser.add_argument(
        "--workers",
        type=positive,
        default=available_cores(),
        help="number of processes (default: one per CPU core, %(default)s here)",
    )
    parser.add_argument(
        "--encoder",
        choices=("auto", "library"),
        default="auto",
        help="auto: tiktoken if its ids are verified to be equal; library: never tiktoken. The store is the "
        "same (default %(default)s)",
    )
    parser.add_argument(
        "--trust-remote-code",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run code that comes with the tokenizer (default: no)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing: read a finished store again and compare it with its manifest and the corpus; "
        "exit code 1 if anything differs",
    )
    parser.add_argument(
        "--check-documents",
        type=positive,
        default=100,
        help="documents of each shard that --check encodes again through the library (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed for choosing these documents (default %(default)s)"
    )
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="validate the input, print the plan, write nothing")
    args = parse_arguments(parser, argv)
    corpus = read_corpus(args.corpus)
    tokenizer = load_tokenizer(args.tokenizer, args.trust_remote_code)
    dtype = "<u2" if len(tokenizer) <= 1 << 16 else "<u4"
    inputs = {
        "corpus": sha256_of_file(args.corpus / "manifest.json"),
        "tokenizer": tokenizer_fingerprint(tokenizer),
    }
    print(
        f"{args.corpus}: {len(corpus)} shards, {sum(s.documents for s in corpus):,} documents, "
        f"{sum(s.size for s in corpus) / 1e6:.1f} MB on disk; tokenizer {args.tokenizer}: {len(tokenizer)} entries, "
        f"{'uint16' if dtype == '<u2' else 'uint32'} ids"
    )
    record = finished_record(args.out / "manifest.json", ARGUMENTS, inputs)
    if args.check:
        return check_store(args, record, corpus, dtype)
    if record is not None:
        print(f"{args.out} is complete and is reused")
    elif not args.dry_run:
        record = make_store(args, argv, corpus, tokenizer, dtype, inputs)
    if record is not None:
        print_counts(record["counts"])
    return 0


def make_store(args: argparse.Namespace, argv, corpus: list[Shard], tokenizer, dtype: str, inputs: dict) -> dict:
    """Make what is missing of the store, its manifest last. Returns the manifest."""
    # A store names its inputs before its first shard, so that shards of another corpus are never mixed in.
    if finished_record(args.out / "making.json", ARGUMENTS, inputs) is None:
        tokenizer.save_pretrained(args.out / "tokenizer")
        write_json(args.out / "making.json", {"arguments": ARGUMENTS, "inputs": inputs})
    # The processes are what runs side by side; threads of the library under them would only crowd the cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    library = LibraryEncoder(args.out / "tokenizer", dtype, args.trust_remote_code)
    choice = choose_encoder(library, corpus, fast=args.encoder == "auto")
    print(f"encoder: {choice.name}, because {choice.why}")
    loss_mask = any(shard.has_spans for shard in corpus)
    settings = Settings(args.out, dtype, loss_mask, args.trust_remote_code, choice.plan)
    shards = tokenise_all(corpus, settings, args.workers)
    record = {
        "format_version": FORMAT_VERSION,
        "stage": "pretrain/tokenize_corpus.py",
        "arguments": ARGUMENTS,
        "inputs": inputs,
        "parent": inputs["corpus"],
        "dtype": dtype,
        "vocabulary": len(tokenizer),
        "end_of_text": tokenizer.eos_token_id,
        "loss_mask": loss_mask,
        "encoder": choice.record(),
        "shards": shards,
        "counts": count_by_language_and_source(shards),
        "files": describe_files(args.out, [p for p in (args.out / "tokenizer").rglob("*") if p.is_file()]),
        "provenance": provenance(argv),
    }
    write_json(args.out / "manifest.json", record)
    for name, facts in shards.items():
        if facts["empty_documents"] or not facts["documents"]:
            print(f"note: {name} has {facts['documents']} documents, {facts['empty_documents']} of them without text")
    return record


def check_store(args: argparse.Namespace, record: dict | None, corpus: list[Shard], dtype: str) -> int:
    """Print what differs. Returns the exit code."""
    if record is None:
        raise InputError(f"{args.out} has no manifest.json, so there is nothing to check; make it without --check")
    library = LibraryEncoder(args.tokenizer, dtype, args.trust_remote_code)
    differences = 0
    for line in find_differences(args.out, record, corpus, library, args.check_documents, args.seed):
        print(f"  {line}")
        differences += 1
    if differences:
        print(f"{args.out}: {differences} differences; delete it and run pretrain/tokenize_corpus.py again")
        return 1
    tokens = sum(facts["tokens"] for facts in record["shards"].values())
    again = sum(min(args.check_documents, facts["documents"]) for facts in record["shards"].values())
    print(
        f"{args.out}: {len(record['shards'])} shards and {tokens:,} tokens are as the manifest says; "
        f"{again:,} documents encoded again through the library are equal"
    )
    return 0


def print_counts(counts: dict[str, dict]) -> None:
    """The table of the counts per language and source, and their sum."""
    print(f"  {'':14} {'documents':>11} {'tokens':>15} {'tokens/character':>17} {'bytes/token':>12}")
    for name, row in counts.items():
        print(
            f"  {name:14} {row['documents']:>11,} {row['tokens']:>15,} {row['tokens_per_character']:>17.3f} "
            f"{row['bytes_per_token']:>12.2f}"
        )
    documents, tokens = (sum(row[key] for row in counts.values()) for key in ("documents", "tokens"))
    print(f"  {'sum':14} {documents:>11,} {tokens:>15,}")


if __name__ == "__main__":
    run_command(main)
