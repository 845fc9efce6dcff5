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
from prompt_file import FILES, FORMS, Prompt, PromptError
from supervised_training import train
from train_questions import LANGUAGE_FILES, RecordError, read_split

# Arguments that change neither the weights nor the order of the examples.
FREE_ARGUMENTS = {"out", "recipe", "dry_run", "save_every", "keep", "log_every", "data", "exclude", "prompt", "model"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--model", default="checkpoints/pretrained", help="base model: folder or hub name (default %(default)s)")
    add("--data", type=Path, default=Path("data/MMedBench/Train"), help="train split (default %(default)s)")
    add(
        "--exclude",
        type=Path,
        nargs="*",
        help="test splits whose questions must not be trained on (default: the Test folder beside --data, if any)",
    )
    add("--out", type=Path, default=Path("checkpoints/finetuned"), help="model folder (default %(default)s)")
    add(
        "--prompt", type=Path, default=Path(__file__).parent / "prompts/mmedbench", help="prompt folder (default: ours)"
    )
    add("--recipe", type=Path, help="flat YAML file of these flags")
    add("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="completions to learn (default: both)")
    add(
        "--loss-per",
        choices=("token", "example"),
        default="token",
        help="token: every completion token counts alike, as published, so long rationales outweigh letters; example: "
        "every completion counts alike (default %(default)s)",
    )
    add(
        "--option-orders",
        type=int,
        default=1,
        help="times each comes in the form answer, from the second on with its options reordered (default %(default)s)",
    )
    add("--languages", nargs="+", choices=list(LANGUAGE_FILES), help="ISO codes to train on (default: all there are)")
    add("--limit", type=int, help="questions a language at most")
    add("--lora", action=argparse.BooleanOptionalAction, default=False, help="train a LoRA adapter, not the model")
    add("--lora-rank", type=int, default=16, help="rank (default %(default)s)")
    add("--lora-alpha", type=int, default=32, help="scale is alpha / rank (default %(default)s)")
    add("--lora-dropout", type=float, default=0.05, help="share dropped (default %(default)s)")
    add("--lora-targets", nargs="+", help="module names (default: every linear layer but the output)")
    add("--epochs", type=float, default=3.0, help="passes over the examples (default %(default)s)")
    add("--batch-size", type=int, default=128, help="examples an optimizer step, over all ranks (default %(default)s)")
    add("--micro-batch-size", type=int, default=4, help="examples a forward pass and rank (default %(default)s)")
    add("--learning-rate", type=float, help="peak (default 2e-5 with --lora, 1e-6 in full, as published)")
    add("--warmup-share", type=float, default=0.03, help="of the steps; then cosine (default %(default)s)")
    add("--weight-decay", type=float, default=0.0, help="default %(default)s")
    add("--clip", type=float, default=1.0, help="gradient norm (default %(default)s)")
    add("--max-length", type=int, default=2048, help="tokens an example (default %(default)s)")
    add("--bf16", action=argparse.BooleanOptionalAction, default=None, help="bfloat16 (default: on a GPU yes, else no)")
    add("--save-every", type=int, default=200, help="steps between checkpoints (default %(default)s)")
    add("--keep", type=int, default=2, help="newest checkpoints kept (default %(default)s)")
    add("--log-every", type=int, default=10, help="steps between log lines (default %(default)s)")
    add("--seed", type=int, default=0, help="of the examples' order and the adapter's start (default %(default)s)")
    add("--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the model's own code")
    add("--dry-run", action="store_true", help="check everything, print the plan and one example, write nothing")
    return parser


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
    args = parse_arguments(build_parser(), argv)
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
