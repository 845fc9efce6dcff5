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
import fcntl
import os
import shutil
import sys
import warnings
from pathlib import Path

import stop_signal

if __name__ == "__main__":
    stop_signal.listen()  # before the slow imports

from examples import (
    ExampleCounts,
    build_examples,
    drop_test_questions,
    limit_per_language,
    show_example,
)
from finetune_arguments import FREE_ARGUMENTS, build_parser
from finetune_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    sha256_of_file,
    write_json,
)
from prompt_file import FILES, Prompt, PromptError
from supervised_training import train
from train_questions import RecordError, read_split


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
    questions = drop_test_questions(questions, test, counts)
    if args.languages:
        questions = [record for record in questions if record["language"] in args.languages]
    questions = limit_per_language(questions, args.limit, args.seed)
    if not questions:
        raise InputError(f"{args.data} has no question left to train on (languages {args.languages or 'all'})")
    return questions


def load_base(args: argparse.Namespace):
    """(model, tokenizer) of the base model. Errors: InputError saying which command makes what is missing."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    # What transformers announces of its own insides is no news here, and a log file wants no progress bars.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()

    folder = Path(args.model)
    if folder.is_dir():
        if (folder / "adapter_config.json").exists():
            raise InputError(f"{folder} is a LoRA adapter, not a base model; give the model it was trained on")
        if not (folder / "config.json").exists() or (
            (folder / "training").is_dir() and not (folder / "run.json").exists()
        ):
            raise InputError(f"{folder} is half-made (no run.json or no config.json); let pretrain/run.sh finish first")
    bf16 = torch.cuda.is_available() if args.bf16 is None else args.bf16
    try:
        tokenizer = AutoTokenizer.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            args.model, dtype=torch.bfloat16 if bf16 else torch.float32, trust_remote_code=args.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"no model at {args.model} ({str(error).splitlines()[0]}); make one with `bash pretrain/run.sh`, or "
            "name another with --model"
        ) from None
    rows = model.get_input_embeddings().num_embeddings
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= rows:
        raise InputError(
            f"the tokenizer of {args.model} has no end token that the model knows (id {tokenizer.eos_token_id}, {rows} "
            "embeddings), so an answer could not end; does the tokenizer belong to this model?"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked and not learned, so any known token will do
    model.config.use_cache = False
    return model, tokenizer


def add_adapter(model, args: argparse.Namespace):
    """The model with a fresh LoRA adapter, everything else frozen."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(args.seed)  # the Trainer seeds only later, after the adapter's random start
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=args.lora_targets or "all-linear",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"--lora-targets {args.lora_targets} do not fit this model: {error}") from None


def save(model, tokenizer, prompt: Prompt, args: argparse.Namespace) -> None:
    """The finished folder, but for run.json: weights in safetensors, tokenizer, prompt."""
    if not args.lora:
        model.config.use_cache = True
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "prompt").mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(prompt.folder / name, args.out / "prompt" / name)
    for path in args.out.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes them readable by the owner alone


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(__doc__.splitlines()[0]), argv)
    if args.learning_rate is None:
        args.learning_rate = 2e-5 if args.lora else 1e-6
    counts = ExampleCounts()
    questions = read_questions_to_train_on(args, counts)
    try:
        prompt = Prompt(args.prompt)
    except PromptError as error:
        raise InputError(str(error)) from None
    model, tokenizer = load_base(args)
    positions = getattr(model.config, "max_position_embeddings", None) or args.max_length
    try:
        examples = build_examples(
            questions,
            prompt,
            tokenizer,
            min(args.max_length, positions),
            sorted(set(args.forms)),
            counts,
            args.option_orders,
            args.seed,
        )
    except PromptError as error:
        raise InputError(str(error)) from None
    if not examples:
        raise InputError(f"no example can be made of {args.data} in the forms {args.forms} (is there any rationale?)")
    first = int(os.environ.get("RANK", "0")) == 0
    if first:
        print("arguments: " + ", ".join(f"{k}={v}" for k, v in sorted(vars(args).items())))
        for what, row in counts.as_dict().items():
            print(f"{what}: {sum(row.values())} ({', '.join(f'{k} {v}' for k, v in row.items())})")
        print(f"one example, the loss on what stands in ⟦⟧:\n{show_example(examples[0], tokenizer)}", flush=True)
    arguments = {k: v for k, v in vars(args).items() if k not in FREE_ARGUMENTS}
    inputs = {
        "model": model_fingerprint(args.model),
        "prompt": prompt.sha256,
        "questions": {"count": len(questions), "ids": fingerprint([r["id"] for r in questions])},
    }
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused") if first else None
        return 0
    if args.dry_run:
        return 0
    lock = lock_run(args.out) if first else None  # held until this process ends
    if first and not finished_record(args.out / "training/making.json", arguments, inputs):
        write_json(args.out / "training/making.json", {"arguments": arguments, "inputs": inputs})
    if args.lora:
        model = add_adapter(model, args)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    if first:
        print(f"{len(examples)} examples; {trained:,} of {total:,} parameters are trained", flush=True)
    if not train(model, tokenizer, examples, args):
        print("asked to stop: checkpoint saved; the same command goes on from there") if first else None
        return 0
    if first:
        save(model, tokenizer, prompt, args)
        outputs = [p for p in args.out.rglob("*") if p.is_file() and "training" not in p.parts and p.name != "run.json"]
        write_json(
            args.out / "run.json",
            {
                "format_version": 1,
                "stage": "finetune/train.py",
                "arguments": arguments,
                "inputs": inputs,
                "parent": inputs["model"],
                "base": args.model,
                "base_from_here": relative_base(args.model, args.out),
                "training": "lora" if args.lora else "full",
                "parameters": total,
                "parameters_trained": trained,
                "counts": counts.as_dict(),
                "examples": len(examples),
                "prompt": {"name": prompt.name, "version": prompt.version},
                "files": describe_files(args.out, outputs),
                "provenance": provenance(argv),
            },
        )
        print(f"wrote {args.out}; next: python inference/eval.py --model {args.out}", flush=True)
    if lock:
        lock.close()
    return 0


def lock_run(out: Path):
    """Hold <out>/training/.lock: a second run would clear this one's unfinished checkpoint. Errors: InputError."""
    (out / "training").mkdir(parents=True, exist_ok=True)
    file = open(out / "training" / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"another run is writing to {out}; wait for it, stop it, or give another --out") from None
    return file


def relative_base(model: str, out: Path) -> str | None:
    """Where the base model lies as seen from the output folder, so that both can be moved together."""
    return os.path.relpath(model, out) if Path(model).is_dir() else None


def model_fingerprint(model: str) -> str:
    """A folder's run.json or config.json by SHA-256; a hub name as it is."""
    for name in ("run.json", "config.json"):
        if (Path(model) / name).exists():
            return sha256_of_file(Path(model) / name)
    return model


def fingerprint(ids: list[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
