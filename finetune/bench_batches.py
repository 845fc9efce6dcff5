"""Measure useful (non-padding) tokens per second of our batches against the Trainer's default shuffled ones.

Reads   a prepared train split (mmedbench/FORMAT.md); optional: questions with rationales, to borrow theirs
Writes  only what it prints
Example python finetune/bench_batches.py --data DIR/MMedBench/Train --languages fr ru es \
            --rationales DIR/mmedbench_sample/Test

Both sides train the same model on the same examples with the Hugging Face Trainer, batch after batch of --batch-size
examples in one forward pass; only who makes the batches differs. The rounds alternate which side goes first, and each
has another seed. Without --model a random Llama (hidden 128, 4 layers) with a vocabulary of 8,000 learned from the data
is trained. A measurement is worth something on a machine that does nothing else.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, RecordError, read_split
from prompt_folder import FORMS, Prompt
from run_record import InputError, parse_arguments, run_command
from sft_data.batching import MicroBatchCollator, MicroBatches, PadOnTheRight
from sft_data.example_mixture import make_mixture, question_pools
from sft_data.examples import ExampleCounts, ExampleText, build_examples, drop_duplicates

SIDES = ("ours", "default")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--data", type=Path, default=Path("data/MMedBench/Train"), help="train split (default %(default)s)")
    add("--languages", nargs="+", choices=list(LANGUAGE_FILES), help="ISO codes (default: all in the data)")
    add(
        "--rationales",
        type=Path,
        help="questions with rationales, lent to questions of --data that have none, so that lengths are realistic",
    )
    add("--model", help="folder of a model to train instead of the random one")
    add("--batch-size", type=int, default=32, help="examples per step and forward pass (default %(default)s)")
    add("--steps", type=int, default=20, help="steps per side and round (default %(default)s)")
    add("--rounds", type=int, default=5, help="rounds (default %(default)s)")
    add("--max-length", type=int, default=2048, help="maximum tokens per example (default %(default)s)")
    add("--quick", action="store_true", help="one round of two steps with few examples, only to see that it runs")
    return parser


@dataclass
class Measured:
    """One side's part of a round."""

    seconds: float
    cpu_seconds: float
    useful: int
    positions: int


class Counting:
    """A collator that counts the tokens and positions which pass through it."""

    def __init__(self, collate):
        self.collate, self.useful, self.positions = collate, 0, 0

    def __call__(self, items: list) -> dict:
        batch = self.collate(items)
        self.useful += int(batch["attention_mask"].sum())
        self.positions += batch["input_ids"].numel()
        return batch


def read_questions(args: argparse.Namespace) -> list[dict]:
    """The split's questions, each once, with borrowed rationales where asked. Errors: InputError."""
    try:
        questions = [record for records in read_split(args.data).values() for record in records]
        lenders = [r for records in read_split(args.rationales).values() for r in records] if args.rationales else []
    except RecordError as error:
        raise InputError(str(error)) from None
    questions = drop_duplicates(questions, ExampleCounts())
    if args.languages:
        questions = [record for record in questions if record["language"] in args.languages]
    if not questions:
        raise InputError(f"{args.data} has no question in {', '.join(args.languages)}")
    chance = random.Random(0)
    for record in questions:
        lent = [r["rationale"] for r in lenders if r["language"] == record["language"] and r.get("rationale")]
        if lent and not record.get("rationale"):
            record["rationale"] = chance.choice(lent)
    return chance.sample(questions, min(200, len(questions))) if args.quick else questions


def make_tokenizer(texts: list[str]):
    """A byte-level BPE tokenizer of 8,000 tokens learned from the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


def make_model(args: argparse.Namespace, tokenizer):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    if args.model:
        return AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=args.max_length,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return AutoModelForCausalLM.from_config(config)


def measure(side: str, model, mixture, tokenizer, steps: int, batch_size: int, seed: int, folder: str) -> Measured:
    """Train for some steps with one side's batches. `seed` decides the order on both sides."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    ours = side == "ours"
    if ours:
        mixture.seed = seed
        batches = MicroBatches(mixture, 1, batch_size, batch_size, packing=False)
        # Without the first, which is the run's longest by design: it would weigh 1 / steps here, not 1 / epoch.
        dataset = [batches[1 + number % (len(batches) - 1)] for number in range(steps)]
        collate = Counting(MicroBatchCollator(tokenizer.pad_token_id, packing=False))
    else:
        dataset = [example for pool in mixture.pools for example in pool.examples]
        collate = Counting(PadOnTheRight(tokenizer.pad_token_id))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=1 if ours else batch_size,
            train_sampling_strategy="sequential" if ours else "random",  # random is the Trainer's default
            max_steps=steps,
            learning_rate=1e-4,
            seed=seed,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=dataset,
        data_collator=collate,
    )
    trainer.remove_callback(PrinterCallback)
    start, cpu = time.perf_counter(), time.process_time()
    trainer.train()
    return Measured(time.perf_counter() - start, time.process_time() - cpu, collate.useful, collate.positions)


def print_padding(mixture, batch_size: int) -> None:
    """Padding of a whole epoch on both sides, from the lengths alone."""
    lengths = [len(example["input_ids"]) for pool in mixture.pools for example in pool.examples]
    random.Random(0).shuffle(lengths)
    groups = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    shuffled = 1 - sum(lengths) / sum(len(group) * max(group) for group in groups)
    ours = MicroBatches(mixture, 1, batch_size, batch_size, packing=False).padding()
    print(f"padding of an epoch in batches of {batch_size}: ours {ours:.2%}, shuffled {shuffled:.2%}", flush=True)


def report(rounds: list[dict[str, Measured]]) -> None:
    speeds = {side: [row[side].useful / row[side].seconds for row in rounds] for side in SIDES}
    for side in SIDES:
        parts = [row[side] for row in rounds]
        padding = 1 - sum(part.useful for part in parts) / sum(part.positions for part in parts)
        print(
            f"{side:8} {statistics.median(speeds[side]):8.0f} useful tokens/s (median; {min(speeds[side]):.0f} to "
            f"{max(speeds[side]):.0f} over {len(rounds)} rounds)   padding {padding:6.2%}   "
            f"{sum(part.seconds for part in parts):.1f} s, {sum(part.cpu_seconds for part in parts):.1f} CPU seconds "
            f"for {sum(part.useful for part in parts):,} tokens"
        )
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    cpu = [sum(row[s].useful for row in rounds) / sum(row[s].cpu_seconds for row in rounds) for s in SIDES]
    print(
        f"ours / default: {statistics.median(ratios):.2f} times the useful tokens/s (median; rounds {min(ratios):.2f} "
        f"to {max(ratios):.2f}), {cpu[0] / cpu[1]:.2f} times by CPU seconds"
    )


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    questions = read_questions(args)
    prompt = Prompt(Path(__file__).parent / "prompts/mmedbench")
    if args.model:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(args.model)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    else:
        texts = [prompt.render(record, "answer") + (record.get("rationale") or "") for record in questions]
        tokenizer = make_tokenizer(texts)
    encoding, counts = ExampleText(tokenizer, prompt), ExampleCounts()
    examples = build_examples(questions, encoding, args.max_length, list(FORMS), counts)
    mixture = make_mixture(question_pools(examples, {}, {}), {}, {}, encoding, args.max_length, 0)
    if 2 * args.batch_size > len(examples):
        raise InputError(f"--batch-size {args.batch_size}: {len(examples)} examples do not fill two batches")
    for what, row in counts.as_dict().items():
        print(f"{what}: {sum(row.values())} ({', '.join(f'{k} {v}' for k, v in row.items())})")
    print("\n".join(mixture.table()), flush=True)
    print_padding(mixture, args.batch_size)
    steps, number = (2, 1) if args.quick else (args.steps, args.rounds)
    model = make_model(args, tokenizer)
    rounds: list[dict[str, Measured]] = []
    with tempfile.TemporaryDirectory() as folder:
        measure("default", model, mixture, tokenizer, 1, args.batch_size, 0, folder)  # the first steps are slower
        for seed in range(1, number + 1):
            rounds.append({})
            for side in SIDES if seed % 2 else SIDES[::-1]:
                rounds[-1][side] = measure(side, model, mixture, tokenizer, steps, args.batch_size, seed, folder)
                part = rounds[-1][side]
                print(f"round {seed}: {side:8} {part.useful / part.seconds:8.0f} useful tokens/s", flush=True)
    print(f"{steps} steps of {args.batch_size} examples a round and side, {os.cpu_count()} CPU cores")
    report(rounds)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
