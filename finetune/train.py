"""Fine-tune a causal language model on MMedBench's train set, in full or by LoRA.

Reads   a Hugging Face model (folder or hub name), MMedBench/Train (mmedbench/FORMAT.md), a prompt folder
Writes  <out>: the model or the LoRA adapter, its tokenizer, prompt/, run.json last; <out>/training: checkpoints,
        metrics.jsonl
Example python finetune/train.py --lora
        python finetune/train.py --model checkpoints/pretrained --data data/MMedBench/Train --out checkpoints/finetuned
        torchrun --nproc-per-node 8 finetune/train.py --recipe FILE           (one process a GPU)

A run that was killed goes on from its newest complete checkpoint. USR1 or TERM: saved at the next step, exit 0.
"""

import argparse
import hashlib
import os
import sys

import stop_signal

if __name__ == "__main__":
    stop_signal.listen()  # before the slow imports

from adapter import add_adapter
from base_model import load_base, load_tokenizer, longest_example, model_fingerprint, relative_base
from batching import MicroBatches
from example_mixture import Mixture
from examples import ExampleCounts, drop_duplicates, drop_test_questions, limit_per_language, show_example
from finetune_arguments import FREE_ARGUMENTS, build_parser
from finetune_record import (
    InputError,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    write_json,
)
from prompt_file import Prompt, PromptError
from run_folder import finished_files, lock_run, save
from supervised_training import train
from train_questions import RecordError, read_split
from training_data import read_mixture


def read_questions_to_train_on(args: argparse.Namespace, counts: ExampleCounts) -> list[dict]:
    """The train split less test questions and languages not asked for, counted. Errors: InputError."""
    if not args.data.is_dir():
        raise InputError(
            f"no train set at {args.data}; make one with `python mmedbench/prepare.py SOURCES --out {args.data.parent}`"
        )
    exclude = args.exclude
    if exclude is None:
        beside = args.data.parent / "Test"
        exclude = [beside] if beside.is_dir() and beside.resolve() != args.data.resolve() else []
    try:
        questions = [record for records in read_split(args.data).values() for record in records]
        test = [record for folder in exclude for records in read_split(folder).values() for record in records]
    except RecordError as error:
        raise InputError(str(error)) from None
    for record in questions:
        counts.add("questions", record["language"])
    questions = drop_duplicates(drop_test_questions(questions, test, counts), counts)
    if args.languages:
        questions = [record for record in questions if record["language"] in args.languages]
    questions = limit_per_language(questions, args.limit, args.seed)
    if not questions:
        raise InputError(f"{args.data} has no question left to train on (languages {args.languages or 'all'})")
    return questions


def read_prompt(args: argparse.Namespace) -> Prompt:
    """The proved prompt folder, with --chat-template laid over what it says. Errors: InputError."""
    try:
        prompt = Prompt(args.prompt)
    except PromptError as error:
        raise InputError(str(error)) from None
    if args.chat_template is not None:
        prompt.chat_template = args.chat_template
    return prompt


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(__doc__.splitlines()[0]), argv)
    if args.learning_rate is None:
        args.learning_rate = 2e-5 if args.lora else 1e-6
    counts = ExampleCounts()
    questions = read_questions_to_train_on(args, counts)
    prompt = read_prompt(args)
    tokenizer, config = load_tokenizer(args)
    mixture, data = read_mixture(questions, prompt, tokenizer, longest_example(config, args), args, counts)
    batches = MicroBatches(mixture, args.epochs, args.batch_size, args.micro_batch_size, args.packing)
    first = int(os.environ.get("RANK", "0")) == 0
    if first:
        show_plan(args, counts, mixture, batches, tokenizer)
    arguments = {k: v for k, v in vars(args).items() if k not in FREE_ARGUMENTS}
    inputs = {
        "model": model_fingerprint(args.model),
        "prompt": prompt.sha256,
        "questions": {"count": len(questions), "ids": fingerprint([r["id"] for r in questions])},
        **data,
    }
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused") if first else None
        return 0
    if args.dry_run:
        return 0
    lock = lock_run(args.out) if first else None  # held until this process ends
    if first and not finished_record(args.out / "training/making.json", arguments, inputs):
        write_json(args.out / "training/making.json", {"arguments": arguments, "inputs": inputs})
    facts = {"counts": counts.as_dict(), "examples": mixture.per_epoch, "mixture": mixture.as_dict()}
    run(args, argv, prompt, tokenizer, batches, {"arguments": arguments, "inputs": inputs} | facts)
    if lock:
        lock.close()
    return 0


def show_plan(args: argparse.Namespace, counts: ExampleCounts, mixture: Mixture, batches, tokenizer) -> None:
    """The resolved arguments, the counts per language, what an epoch holds, one rendered example of each kind."""
    print("arguments: " + ", ".join(f"{k}={v}" for k, v in sorted(vars(args).items())))
    for what, row in counts.as_dict().items():
        print(f"{what}: {sum(row.values())} ({', '.join(f'{k} {v}' for k, v in row.items())})")
    print("\n".join(mixture.table()))
    print(f"{batches.steps} steps of {args.batch_size} examples, {batches.padding():.1%} padding")
    for example in mixture.one_of_each_kind():
        print(f"an example of the kind {example['kind']}, the loss on what stands in ⟦⟧:")
        print(show_example(example, tokenizer), flush=True)


def run(args, argv: list[str] | None, prompt: Prompt, tokenizer, batches: MicroBatches, record: dict) -> None:
    """Load, train, and write the finished folder, run.json last."""
    first = int(os.environ.get("RANK", "0")) == 0
    model = load_base(args)
    if args.lora:
        model = add_adapter(model, args)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    if first:
        print(f"{trained:,} of {total:,} parameters are trained", flush=True)
    if not train(model, tokenizer, batches, args):
        print("asked to stop: checkpoint saved; the same command goes on from there") if first else None
        return
    if not first:
        return
    save(model, tokenizer, prompt, args)
    write_json(
        args.out / "run.json",
        {
            "format_version": 1,
            "stage": "finetune/train.py",
            **record,
            "parent": record["inputs"]["model"],
            "base": args.model,
            "base_from_here": relative_base(args.model, args.out),
            "training": "lora" if args.lora else "full",
            "parameters": total,
            "parameters_trained": trained,
            "prompt": {"name": prompt.name, "version": prompt.version},
            "files": finished_files(args.out),
            "provenance": provenance(argv),
        },
    )
    print(f"wrote {args.out}; next: python inference/eval.py --model {args.out}", flush=True)


def fingerprint(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
