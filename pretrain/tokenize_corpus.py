"""Tokenise an MMedC corpus into a flat token store, once, before any GPU waits for it.

Reads   a corpus folder (data_collection/FORMAT.md) and a Hugging Face tokenizer (folder or hub name)
Writes  for each shard <iso>/<source>/part-00000: .tokens (uint16 or uint32, little-endian), .offsets.npy (uint64,
        documents + 1), .bytes.npy (uint32, UTF-8 bytes of each document), .json last; tokenizer/; manifest.json last
Example python pretrain/tokenize_corpus.py data/MMedC --tokenizer data/tokenizer --out data/tokens

Every document ends with the end-of-text token. A shard whose .json stands is whole: a killed run goes on from there.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from corpus_reader import Shard, iterate_texts, read_corpus
from pretrain_record import (
    InputError,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
)

_tokenizer = None  # one per worker process


def load_tokenizer(name: str, trust_remote_code: bool = False):
    """A fast tokenizer with an end-of-text token. Errors: InputError saying what is missing."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no tokenizer at {name}: {str(error).splitlines()[0]}; pretrain/train_tokenizer.py makes one, "
            "or name a Hugging Face model"
        ) from None
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer {name} has no end-of-text token; documents could not be told apart")
    return tokenizer


def tokenizer_fingerprint(tokenizer) -> str:
    """SHA-256 (hex) of the vocabulary, the special tokens and the ids of a probe in eight languages.

    Two tokenizers with one fingerprint give the same ids on ordinary text; file dates and paths do not count.
    """
    import hashlib
    import json

    probe = "Fever 38.5 °C; fièvre, fiebre, Fieber, лихорадка, 发热, 発熱する, حمى\n\t 12 mg/kg"
    value = [
        sorted(tokenizer.get_vocab().items()),
        sorted(map(str, tokenizer.all_special_tokens)),
        tokenizer(probe, add_special_tokens=False)["input_ids"],
    ]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def start_worker(tokenizer_folder: str) -> None:
    global _tokenizer
    _tokenizer = load_tokenizer(tokenizer_folder)


def tokenise_shard(shard: Shard, out: Path, dtype: str) -> dict:
    """Write one shard's files, each aside and renamed, its facts (.json) last. Returns the facts."""
    import numpy as np

    base = out / shard.name
    base.parent.mkdir(parents=True, exist_ok=True)
    offsets, sizes, characters = [0], [], 0
    aside = base.with_name(base.name + ".tokens.tmp")
    with open(aside, "wb") as file:
        batch: list[str] = []

        def flush() -> None:
            for ids in _tokenizer(batch, add_special_tokens=False)["input_ids"] if batch else []:
                np.asarray([*ids, _tokenizer.eos_token_id], dtype=dtype).tofile(file)
                offsets.append(offsets[-1] + len(ids) + 1)
            batch.clear()

        for text in iterate_texts(shard):
            characters += len(text)
            sizes.append(len(text.encode("utf-8")))
            batch.append(text)
            if len(batch) == 256:
                flush()
        flush()
    aside.replace(base.with_name(base.name + ".tokens"))
    for suffix, array in (
        (".offsets.npy", np.asarray(offsets, np.uint64)),
        (".bytes.npy", np.asarray(sizes, np.uint32)),
    ):
        aside = base.with_name(base.name + suffix + ".tmp")
        with open(aside, "wb") as file:
            np.save(file, array)
        aside.replace(base.with_name(base.name + suffix))
    facts = {
        "language": shard.language,
        "source": shard.source,
        "documents": len(sizes),
        "tokens": offsets[-1],
        "characters": characters,
        "utf8_bytes": sum(sizes),
        "sha256": sha256_of_file(base.with_name(base.name + ".tokens")),
    }
    write_json(base.with_name(base.name + ".json"), facts)
    return facts


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
    inputs = {"corpus": sha256_of_file(args.corpus / "manifest.json"), "tokenizer": tokenizer_fingerprint(tokenizer)}
    print(
        f"{args.corpus}: {len(corpus)} shards, {sum(s.size for s in corpus) / 1e6:.1f} MB on disk; tokenizer "
        f"{args.tokenizer}: {len(tokenizer)} entries, {'uint16' if dtype == '<u2' else 'uint32'} ids"
    )
    record = finished_record(args.out / "manifest.json", {}, inputs)
    if record is None and not args.dry_run:
        # The first file of a store names its inputs, so that shards of another corpus are never mixed in.
        if finished_record(args.out / "making.json", {}, inputs) is None:
            write_json(args.out / "making.json", {"arguments": {}, "inputs": inputs})
            tokenizer.save_pretrained(args.out / "tokenizer")
        shards = tokenise_all(corpus, args.out, dtype, args.workers)
        record = {
            "format_version": 1,
            "stage": "pretrain/tokenize_corpus.py",
            "arguments": {},
            "inputs": inputs,
            "parent": inputs["corpus"],
            "dtype": dtype,
            "vocabulary": len(tokenizer),
            "end_of_text": tokenizer.eos_token_id,
            "shards": shards,
            "counts": count_by_language_and_source(shards),
            "provenance": provenance(argv),
        }
        write_json(args.out / "manifest.json", record)
    elif record is not None:
        print(f"{args.out} is complete and is reused")
    for name, row in (record or {}).get("counts", {}).items():
        print(
            f"  {name:14} {row['documents']:>9,} documents {row['tokens']:>13,} tokens "
            f"{row['tokens_per_character']:.3f} tokens/character {row['bytes_per_token']:.2f} bytes/token"
        )
    return 0


def tokenise_all(corpus: list[Shard], out: Path, dtype: str, workers: int) -> dict[str, dict]:
    """{shard name: facts}; shards whose .json stands are reused, the others made, `workers` at a time."""
    from tqdm import tqdm

    shards = {s.name: read_json(out / f"{s.name}.json") for s in corpus if (out / f"{s.name}.json").exists()}
    missing = [shard for shard in corpus if shard.name not in shards]
    folder = str(out / "tokenizer")
    with tqdm(
        total=sum(s.size for s in missing), unit="B", unit_scale=True, desc="tokenise", disable=None, file=sys.stderr
    ) as bar:
        if workers == 1 or len(missing) == 1:
            start_worker(folder)
            for shard in missing:
                shards[shard.name] = tokenise_shard(shard, out, dtype)
                bar.update(shard.size)
        elif missing:
            with ProcessPoolExecutor(workers, initializer=start_worker, initargs=(folder,)) as pool:
                jobs = {pool.submit(tokenise_shard, shard, out, dtype): shard for shard in missing}
                for job in as_completed(jobs):
                    shards[jobs[job].name] = job.result()
                    bar.update(jobs[job].size)
    return dict(sorted(shards.items()))


if __name__ == "__main__":
    run_command(main)
