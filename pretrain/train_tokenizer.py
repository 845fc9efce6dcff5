"""Train a byte-level BPE tokenizer on an MMedC corpus, for models trained from scratch.

Reads   a corpus folder (data_collection/FORMAT.md)
Writes  a Hugging Face tokenizer folder: tokenizer.json, tokenizer_config.json, run.json last
Example python pretrain/train_tokenizer.py data/MMedC --vocab-size 8000 --out data/tokenizer

A model that is trained further keeps its own tokenizer; this script is for the others. Byte-level BPE has no
unknown characters, so one vocabulary contains every script.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from run_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    sha256_of_file,
    write_json,
)
from token_data.corpus_reader import iterate_texts, read_corpus

END_OF_TEXT, PADDING = "<|endoftext|>", "<|pad|>"
# 256 bytes and the two special tokens: below this nothing could be learned.
SMALLEST_VOCABULARY = 256 + 2 + 2


def balanced_texts(shards: list, characters: int) -> Iterator[str]:
    """Texts of every shard, at most `characters` of each language, so that no language drowns the others."""
    left = {shard.language: characters for shard in shards}
    for shard in shards:
        for text in iterate_texts(shard):
            if left[shard.language] <= 0:
                break
            left[shard.language] -= len(text)
            yield text


def train_tokenizer(texts: Iterator[str], vocabulary: int):
    """A transformers PreTrainedTokenizerFast with at most `vocabulary` entries, digits one by one, no prefix space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Digits one by one: doses and laboratory values then share their pieces (as in Llama and its kin).
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=PADDING)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("corpus", type=Path, help="corpus folder with a manifest.json, such as data/MMedC")
    parser.add_argument(
        "--out", type=Path, default=Path("data/tokenizer"), help="tokenizer folder (default %(default)s)"
    )
    parser.add_argument("--vocab-size", type=int, default=32000, help="vocabulary size (default %(default)s)")
    parser.add_argument(
        "--characters-per-language",
        type=int,
        default=20_000_000,
        help="maximum number of characters read per language (default %(default)s)",
    )
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="validate the input, print the plan, write nothing")
    args = parse_arguments(parser, argv)
    if args.vocab_size < SMALLEST_VOCABULARY:
        raise InputError(f"--vocab-size {args.vocab_size} is under {SMALLEST_VOCABULARY}: the 256 bytes come first")
    corpus = read_corpus(args.corpus)
    arguments = {"vocab_size": args.vocab_size, "characters_per_language": args.characters_per_language}
    inputs = {"corpus": sha256_of_file(args.corpus / "manifest.json")}
    print(
        f"tokenizer of {args.vocab_size} entries from {args.corpus}: {len(corpus)} shards, languages "
        f"{' '.join(sorted({shard.language for shard in corpus}))}"
    )
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused")
        return 0
    if args.dry_run:
        return 0
    tokenizer = train_tokenizer(balanced_texts(corpus, args.characters_per_language), args.vocab_size)
    args.out.mkdir(parents=True, exist_ok=True)
    files = [Path(name) for name in tokenizer.save_pretrained(args.out) if Path(name).exists()]
    write_json(
        args.out / "run.json",
        {
            "format_version": 1,
            "stage": "pretrain/train_tokenizer.py",
            "arguments": arguments,
            "inputs": inputs,
            "vocabulary": len(tokenizer),
            "files": describe_files(args.out, files),
            "provenance": provenance(argv),
        },
    )
    print(f"wrote {args.out}: {len(tokenizer)} entries")
    return 0


if __name__ == "__main__":
    run_command(main)
