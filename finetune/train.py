"""Fine-tune a causal language model on MMedBench's train set, fully or with LoRA.

Reads   a Hugging Face model (folder or hub name), MMedBench/Train (mmedbench/FORMAT.md), a prompt folder
Writes  <out>: the model or the LoRA adapter, its tokenizer, prompt/, README.md (the model card), run.json last;
        <out>/training: checkpoints, metrics.jsonl
Example python finetune/train.py --lora
        python finetune/train.py --model checkpoints/pretrained --data data/MMedBench/Train --out checkpoints/finetuned
        torchrun --nproc-per-node 8 finetune/train.py --recipe FILE           (one process per GPU)

An interrupted run resumes from its newest complete checkpoint. USR1 or TERM: saved at the next step, exit 0.
"""

import argparse
import atexit
import hashlib
import json
import math
import os
import sys

from sft_training.run_folder import begin_run, catch_stop_signals, finish_model, finished_files, stop_requested

if __name__ == "__main__":
    catch_stop_signals()  # before the slow imports

from merge import merge_adapter
from mmedbench_questions import RecordError, read_split
from prompt_folder import Prompt, PromptError
from run_record import (
    InputError,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    write_json,
)
from sft_data.batching import MicroBatches
from sft_data.example_mixture import Mixture
from sft_data.examples import (
    ExampleCounts,
    ExampleText,
    drop_duplicates,
    drop_test_questions,
    limit_per_language,
    show_example,
)
from sft_data.training_data import read_mixture
from sft_training.answer_validation import hold_out, validation_examples, validation_summary
from sft_training.base_model import (
    adapted_layers,
    add_adapter,
    check_known_tokens,
    count_parameters,
    load_base,
    load_tokenizer,
    longest_example,
    model_fingerprint,
    relative_base,
)
from sft_training.finetune_arguments import FREE_ARGUMENTS, build_parser
from sft_training.supervised_training import leave_together, memory_advice, train, trainer_settings
from sft_training.tuned_card import card_facts, write_card


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


def settle(args: argparse.Namespace) -> None:
    """Fill in what follows from other flags. Errors: InputError for flags that contradict each other."""
    args.lora = args.lora or args.qlora
    if args.learning_rate is None:
        args.learning_rate = 2e-5 if args.lora else 1e-6
    if args.merge and not args.lora:
        raise InputError("--merge adds an adapter into its base model; it needs --lora or --qlora")
    if args.qlora and args.zero:
        raise InputError("--qlora contains the model in 4 bits on every process, which ZeRO cannot split; omit --zero")
    counts = ("batch_size", "micro_batch_size", "limit", "validate_every", "early_stopping", "save_every", "log_every")
    for name in (*counts, "keep"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is a number of 1 or more")
    if not 0 < args.epochs < math.inf:
        raise InputError("--epochs is above 0")
    if args.best_by == "accuracy" and "answer" not in args.forms:
        raise InputError("--best-by accuracy looks at the form answer; add it to --forms, or omit --best-by")
    if args.validation_questions < 0 or not 0 <= args.validation_share < 1:
        raise InputError("--validation-questions is 0 or more, --validation-share from 0 to below 1")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(__doc__.splitlines()[0]), argv)
    settle(args)
    counts = ExampleCounts()
    questions = read_questions_to_train_on(args, counts)
    prompt = read_prompt(args)
    tokenizer, config = load_tokenizer(args)
    longest = longest_example(config, args)
    questions, held_out = hold_out(questions, args.validation_questions, args.validation_share, args.seed)
    for question in held_out:
        counts.add("held out for validation", question["language"])
    if args.early_stopping and not held_out:
        raise InputError("--early-stopping needs validation, but no language has questions enough to hold one out")
    mixture, data = read_mixture(questions, prompt, tokenizer, longest, args, counts)
    validation = validation_examples(held_out, ExampleText(tokenizer, prompt), longest, sorted(set(args.forms)))
    everything = [*validation, *(example for pool in mixture.pools for example in pool.examples)]
    check_known_tokens(everything, config.get_text_config().vocab_size, tokenizer)
    batches = MicroBatches(mixture, args.epochs, args.batch_size, args.micro_batch_size, args.packing)
    first = int(os.environ.get("RANK", "0")) == 0
    if first:
        show_plan(args, counts, mixture, batches, tokenizer)
    arguments = {k: v for k, v in vars(args).items() if k not in FREE_ARGUMENTS}
    inputs = {
        "model": model_fingerprint(args.model),
        "prompt": prompt.sha256,
        "questions": {"count": len(questions), "sha256": fingerprint(questions)},
        **data,
    }
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused") if first else None
    elif args.dry_run:
        return 0
    else:
        lock = begin_run(args.out, arguments, inputs) if first else None  # held until this process ends
        facts = {"counts": counts.as_dict(), "examples": mixture.per_epoch, "mixture": mixture.as_dict()}
        record = {"arguments": arguments, "inputs": inputs} | facts
        try:
            finished = run(args, argv, prompt, tokenizer, batches, validation, record)
        except (RuntimeError, MemoryError) as error:
            advice = memory_advice(error, args)
            if advice is None:
                raise
            raise advice from error
        if lock:
            lock.close()
        if not finished:
            return 0
    if args.merge and first and not args.dry_run:
        merge_adapter(args.out, args.out / "merged", args, argv)
    return 0


def show_plan(args: argparse.Namespace, counts: ExampleCounts, mixture: Mixture, batches, tokenizer) -> None:
    """The resolved arguments, the counts per language, what an epoch holds, one rendered example of each kind."""
    print("arguments: " + ", ".join(f"{k}={v}" for k, v in sorted(vars(args).items())))
    for what, row in counts.as_dict().items():
        print(f"{what}: {sum(row.values())} ({', '.join(f'{k} {v}' for k, v in row.items())})")
    print("\n".join(mixture.table()))
    print(f"{batches.steps} steps of {args.batch_size} examples, {batches.padding():.1%} padding")
    for example in mixture.one_of_each_kind():
        print(f"an example of the kind {example['kind']}, the loss on what is in ⟦⟧:")
        print(show_example(example, tokenizer), flush=True)


def run(args, argv, prompt: Prompt, tokenizer, batches: MicroBatches, held_out: list[dict], record: dict) -> bool:
    """Load, train, and write the finished folder, run.json last. Returns whether training reached its end."""
    settings = trainer_settings(args)
    first = settings.process_index == 0
    model = load_base(args)
    if args.lora:
        model = add_adapter(model, args)
        if first:
            print("adapters on " + ", ".join(f"{name} x {count}" for name, count in adapted_layers(model).items()))
    parameters = count_parameters(model)
    if first:
        print(f"{parameters['trained']:,} of {parameters['all']:,} parameters are trained", flush=True)
    outcome, trainer = train(model, tokenizer, batches, held_out, settings, args, stop_requested)
    if outcome.finished:
        best = args.out / f"training/best-{outcome.best['step']}" if outcome.best and args.keep_best else None
        finish_model(trainer, tokenizer, prompt, best, args.out)
        if first:
            write_record(args, argv, prompt, outcome, parameters, settings.world_size, record)
            print(f"wrote {args.out}; next: python inference/eval.py --model {args.out}", flush=True)
    elif first:
        print("asked to stop: checkpoint saved; run the same command again to resume")
    leave_together()
    return outcome.finished


def write_record(args, argv, prompt: Prompt, outcome, parameters: dict, processes: int, record: dict) -> None:
    """README.md, then run.json: what the folder is built from. Written last, so it is there only when all else is."""
    record = {
        "format_version": 1,
        "stage": "finetune/train.py",
        **record,
        "parent": record["inputs"]["model"],
        "base": args.model,
        "base_from_here": relative_base(args.model, args.out),
        "training": "lora" if args.lora else "full",
        "parameters": parameters["all"],
        "parameters_trained": parameters["trained"],
        "steps": outcome.steps,
        "stopped_early": outcome.stopped_early,
        "processes": processes,
        "validation": validation_summary(args.out / "training/metrics.jsonl", outcome.best),
        "prompt": {"name": prompt.name, "version": prompt.version, "chat_template": prompt.chat_template},
        "card": card_facts(args, args.model, args.data),
        "files": finished_files(args.out),
        "provenance": provenance(argv),
    }
    write_card(args.out, args.out.resolve().name, record)
    write_json(args.out / "run.json", record)


def fingerprint(questions: list[dict]) -> str:
    """SHA-256 of what is learned from the questions: an id tells neither the answer nor the rationale."""
    learned = [[r["id"], r["answer_idx"], r.get("rationale") or ""] for r in questions]
    return hashlib.sha256(json.dumps(learned).encode()).hexdigest()


def run_rank() -> int:
    """`main`; a rank of several then ends without the interpreter's own end.

    There gloo's threads, which may still hold tensors, abort a process that has done everything, once in many runs
    (https://github.com/pytorch/pytorch/pull/179291).
    """
    code = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(run_rank)
