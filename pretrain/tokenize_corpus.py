"""Tokenise an MMedC corpus into a flat token store, once, before any GPU waits for it.

Reads   a corpus folder (data_collection/FORMAT.md) and a Hugging Face tokenizer (folder or hub name)
Writes  a token store (pretrain/FORMAT.md): the files of each shard, tokenizer/, manifest.json last
Example python pretrain/tokenize_corpus.py data/MMedC --tokenizer data/tokenizer --out data/tokens

Every document ends with the end-of-text token. A shard whose .json stands is whole: a killed run goes on from there.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from corpus_encoder import LibraryEncoder, load_tokenizer, tokenizer_fingerprint
from corpus_reader import Shard, read_corpus
from pretrain_record import (
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
)
from token_writer import tokenise_shard

FORMAT_VERSION = 2
ARGUMENTS = {"store_format": FORMAT_VERSION}  # no flag changes what a store holds
_encoder = None  # one per worker process


@dataclass(frozen=True)
class Settings:
    """What decides the files of a shard, besides its texts."""

    out: Path
    end_of_text: int
    dtype: str
    loss_mask: bool
    trust_remote_code: bool


def start_worker(settings: Settings) -> None:
    global _encoder
    _encoder = LibraryEncoder(settings.out / "tokenizer", settings.trust_remote_code)


def run_shard(shard: Shard, settings: Settings) -> dict:
    return tokenise_shard(shard, settings.out, _encoder, settings.end_of_text, settings.dtype, settings.loss_mask)


def tokenise_all(corpus: list[Shard], settings: Settings, workers: int) -> dict[str, dict]:
    """{shard name: facts}; shards whose .json stands are reused, the others made, `workers` at a time."""
    from tqdm import tqdm

    records = {shard.name: settings.out / f"{shard.name}.json" for shard in corpus}
    shards = {name: read_json(path) for name, path in records.items() if path.exists()}
    # The biggest first, so that no worker is left alone with it at the end.
    missing = sorted((s for s in corpus if s.name not in shards), key=lambda shard: (-shard.size, shard.name))
    total = sum(shard.size for shard in missing)
    with tqdm(total=total, unit="B", unit_scale=True, desc="tokenise", disable=None, file=sys.stderr) as bar:
        if min(workers, len(missing)) == 1:
            start_worker(settings)
            for shard in missing:
                shards[shard.name] = run_shard(shard, settings)
                bar.update(shard.size)
        elif missing:
            with ProcessPoolExecutor(
                min(workers, len(missing)), initializer=start_worker, initargs=(settings,)
            ) as pool:
                jobs = {pool.submit(run_shard, shard, settings): shard for shard in missing}
                for job in as_completed(jobs):
                    shards[jobs[job].name] = job.result()
                    bar.update(jobs[job].size)
    return dict(sorted(shards.items()))


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("corpus", type=Path, help="corpus folder with a manifest.json, such as data/MMedC")
    parser.add_argument(
        "--tokenizer",
        default="data/tokenizer",
        help="tokenizer folder or the hub name of the model to train further (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("data/tokens"), help="token store (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument(
        "--trust-remote-code",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run code that comes with the tokenizer (default: no)",
    )
    parser.add_argument("--recipe", type=Path, help="flat YAML file of these flags")
    parser.add_argument("--dry-run", action="store_true", help="check the input, print the plan, write nothing")
    args = parse_arguments(parser, argv)
    corpus = read_corpus(args.corpus)
    tokenizer = load_tokenizer(args.tokenizer, args.trust_remote_code)
    dtype = "<u2" if len(tokenizer) <= 1 << 16 else "<u4"
    inputs = {
        "corpus": sha256_of_file(args.corpus / "manifest.json"),
        "tokenizer": tokenizer_fingerprint(tokenizer),
    }
    print(
        f"{args.corpus}: {len(corpus)} shards, {sum(s.size for s in corpus) / 1e6:.1f} MB on disk; tokenizer "
        f"{args.tokenizer}: {len(tokenizer)} entries, {'uint16' if dtype == '<u2' else 'uint32'} ids"
    )
    record = finished_record(args.out / "manifest.json", ARGUMENTS, inputs)
    if record is None and not args.dry_run:
        record = make_store(args, argv, corpus, tokenizer, dtype, inputs)
    elif record is not None:
        print(f"{args.out} is complete and is reused")
    for name, row in (record or {}).get("counts", {}).items():
        print(
            f"  {name:14} {row['documents']:>9,} documents {row['tokens']:>13,} tokens "
            f"{row['tokens_per_character']:.3f} tokens/character {row['bytes_per_token']:.2f} bytes/token"
        )
    return 0


def make_store(args: argparse.Namespace, argv, corpus: list[Shard], tokenizer, dtype: str, inputs: dict) -> dict:
    """Make what is missing of the store, its manifest last. Returns the manifest."""
    # A store names its inputs before its first shard, so that shards of another corpus are never mixed in.
    if finished_record(args.out / "making.json", ARGUMENTS, inputs) is None:
        tokenizer.save_pretrained(args.out / "tokenizer")
        write_json(args.out / "making.json", {"arguments": ARGUMENTS, "inputs": inputs})
    loss_mask = any(shard.has_spans for shard in corpus)
    settings = Settings(args.out, tokenizer.eos_token_id, dtype, loss_mask, args.trust_remote_code)
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
        "shards": shards,
        "counts": count_by_language_and_source(shards),
        "files": describe_files(args.out, [p for p in (args.out / "tokenizer").rglob("*") if p.is_file()]),
        "provenance": provenance(argv),
    }
    write_json(args.out / "manifest.json", record)
    return record


if __name__ == "__main__":
    run_command(main)
