"""The flags of train_lm.py, by what they set: data, model, optimizer, validation, checkpoints, log."""

import argparse
from pathlib import Path

# Arguments that change neither the weights nor the data order, and so may differ when a run is resumed. What lies at
# the paths `data`, `mix` and `replay` is part of the run's identity by its content.
FREE_ARGUMENTS = {"data", "mix", "replay", "validate_every", "validation_warning"}
FREE_ARGUMENTS |= {"out", "recipe", "dry_run", "resume", "log_every", "micro_batch_size", "zero"}
FREE_ARGUMENTS |= {"save_every", "keep", "keep_every", "async_save", "export_every"}


def build_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--recipe", type=Path, help="flat YAML file of these flags")
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the plan, write nothing")
    for add_flags in (data_flags, model_flags, optimizer_flags, validation_flags, checkpoint_flags, log_flags):
        add_flags(parser.add_argument)
    return parser


def data_flags(add) -> None:
    """Which tokens, in which order and shape."""
    add("data", type=Path, nargs="?", default=Path("data/tokens"), help="token store (default %(default)s)")
    add("--sequence-length", type=int, default=2048, help="tokens a window (default %(default)s)")
    add(
        "--rows",
        choices=("packed", "overlapping", "document"),
        default="packed",
        help="packed: documents end to end, no padding; document: one document a row, padded to the longest of the "
        "batch, longer ones cut; overlapping: as published, for comparison: windows repeat a quarter of the one "
        "before, short documents are padded and the padding is trained on (default %(default)s)",
    )
    add(
        "--cross-document-attention",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="packed rows: a token sees, and is predicted from, the documents before its own (default: no)",
    )
    add(
        "--mix",
        default="natural",
        metavar="natural|temperature|FILE",
        help="natural: every token once an epoch, in one order; temperature: windows by language and source, shares "
        "tokens^(1/T); FILE: YAML of weights such as `fr/textbook: 2.0` or `zh: 1.0`, any scale, every group named "
        "(default %(default)s)",
    )
    add("--mix-temperature", type=float, metavar="T", help="of --mix temperature: 1 is natural (default 3)")
    add("--replay", type=Path, metavar="STORE", help="token store of general text to mix in, same tokenizer")
    add("--replay-share", type=float, help="of the windows that are replay, between 0 and 1 (default 0.05)")
    add("--seed", type=int, default=0, help="of the data order and of new weights (default %(default)s)")


def model_flags(add) -> None:
    """The model, its precision, and how it lies on the machine."""
    add("--model", help="model to train further: folder or hub name; without it, --init-config")
    add(
        "--init-config",
        type=Path,
        help="YAML of a configuration to start from scratch: model_type and any of its fields",
    )
    add("--bf16", action=argparse.BooleanOptionalAction, default=None, help="bfloat16 (default: on a GPU yes, else no)")
    add("--zero", type=int, choices=(0, 1, 2, 3), default=1, help="DeepSpeed ZeRO stage (default %(default)s)")
    add(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="recompute activations: less memory, about a third more work (default: no)",
    )
    add(
        "--trust-remote-code",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run code that comes with the model (default: no)",
    )


def optimizer_flags(add) -> None:
    """How long, how much at once, and how fast."""
    add("--steps", type=int, help="optimizer steps in all; give this or --epochs")
    add("--epochs", type=float, default=1.0, help="passes over the store, without --steps (default %(default)s)")
    add("--global-batch-size", type=int, default=512, help="windows a step, over all ranks (default %(default)s)")
    add("--micro-batch-size", type=int, default=1, help="windows a forward pass and rank (default %(default)s)")
    add("--learning-rate", type=float, default=2e-5, help="peak (default %(default)s)")
    add(
        "--final-learning-rate-share",
        type=float,
        default=0.1,
        help="of the peak, where the cosine ends (default %(default)s)",
    )
    add("--warmup-share", type=float, default=0.01, help="of the steps (default %(default)s)")
    add("--weight-decay", type=float, default=0.01, help="on matrices only (default %(default)s)")
    add("--clip", type=float, default=1.0, help="gradient norm (default %(default)s)")


def validation_flags(add) -> None:
    """What is held out, and when it is looked at."""
    add(
        "--validation-documents",
        type=int,
        default=50,
        help="held out of each language and source, at most a tenth (default %(default)s)",
    )
    add(
        "--validate-every",
        type=int,
        default=500,
        help="steps between validations; 0: only at the start and the end (default %(default)s)",
    )
    add(
        "--validation-warning",
        type=float,
        default=0.02,
        help="warn when a language or the replay set is worse than its best by this share of its bits per byte "
        "(default %(default)s)",
    )


def checkpoint_flags(add) -> None:
    """What is kept of a run, and how it goes on."""
    add("--out", type=Path, default=Path("checkpoints/pretrained"), help="model folder (default %(default)s)")
    add("--save-every", type=int, default=200, help="steps between checkpoints (default %(default)s)")
    add("--keep", type=positive, default=2, help="newest checkpoints kept (default %(default)s)")
    add("--keep-every", type=int, default=0, help="steps between checkpoints that stay for good (default: none)")
    add(
        "--async-save",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="copy the state to host memory and write it while training goes on: 12 bytes a parameter, over the ranks",
    )
    add("--export-every", type=int, default=0, help="steps between models under training/exports (default: none)")
    add(
        "--resume",
        type=resume_choice,
        default="auto",
        help="auto: the newest checkpoint that is whole; none: refuse a folder that has one; or a step (default auto)",
    )


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def resume_choice(text: str) -> str | int:
    if text in ("auto", "none"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, none, or a step")
    return int(text)


def log_flags(add) -> None:
    """What a person sees of it."""
    add("--log-every", type=int, default=1, help="steps between log lines (default %(default)s)")
