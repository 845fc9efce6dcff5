"""The flags of train_lm.py: data, model, optimizer, validation, checkpoints, log."""

import argparse
from pathlib import Path

from modelling.packed_attention import CHOICES as ATTENTION
from training.lm_card import add_card_flags
from training.lm_log import TRACKERS

# Arguments that change neither the weights nor the data order, and so may differ when a run is resumed. What lies at
# the paths `data`, `mix`, `replay`, `model` and `init_config` is part of the run's identity by its content.
FREE_ARGUMENTS = {"data", "mix", "replay", "model", "init_config", "validate_every", "validation_warning"}
# How the same sums are computed (attention kernel, compilation, recomputation) changes the last bits alone.
FREE_ARGUMENTS |= {"attn", "compile", "liger", "gradient_checkpointing", "track", "peak_tflops"}
# A run that stopped at a spike can be resumed with another answer to it.
FREE_ARGUMENTS |= {"on_spike", "spike_factor", "max_skips"}
FREE_ARGUMENTS |= {"out", "recipe", "dry_run", "resume", "log_every", "micro_batch_size", "zero", "offload"}
FREE_ARGUMENTS |= {"save_every", "keep", "keep_every", "async_save", "export_every", "weights_licence", "data_names"}


def build_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="validate the flags, the token store, the mixture and the contents of --out, print the plan, "
        "write nothing; the model is not loaded and batches are not divided among ranks (see plan.py)",
    )
    kinds = (data_flags, model_flags, optimizer_flags, validation_flags, checkpoint_flags, log_flags, add_card_flags)
    for add_flags in kinds:
        add_flags(parser.add_argument)
    return parser


def data_flags(add) -> None:
    """Which tokens, in which order and shape."""
    add("data", type=Path, nargs="?", default=Path("data/tokens"), help="token store (default %(default)s)")
    add("--sequence-length", type=positive, default=2048, help="tokens per window (default %(default)s)")
    add(
        "--rows",
        choices=("packed", "overlapping", "document"),
        default="packed",
        help="packed: documents end to end without padding; document: one document per row, padded to the "
        "longest of the batch, longer ones truncated; overlapping: as published, for comparison: windows "
        "overlap by a quarter, short documents are padded and the padding is trained on (default "
        "%(default)s)",
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
        help="natural: every token once per epoch; temperature: windows by language and source with shares "
        "tokens^(1/T); FILE: YAML of weights such as `fr/textbook: 2.0` or `zh: 1.0`, any scale, all "
        "groups named (default %(default)s)",
    )
    add(
        "--mix-temperature",
        type=float,
        metavar="T",
        help="temperature T of --mix temperature; 1 is natural (default 3)",
    )
    add("--replay", type=Path, metavar="STORE", help="token store of general text to mix in, same tokenizer")
    add("--replay-share", type=float, help="share of replay windows, between 0 and 1 (default 0.05)")
    add("--seed", type=int, default=0, help="random seed for the data order and new weights (default %(default)s)")


def model_flags(add) -> None:
    """The model, its precision, and how it lies on the machine."""
    add("--model", help="model to train further: folder or hub name; without it, --init-config")
    add(
        "--init-config",
        type=Path,
        help="YAML of a configuration to start from scratch: model_type and any of its fields",
    )
    add(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bfloat16; with ZeRO 2 and 3 "
        "micro-batches' gradients are summed in float32 (default: on a GPU yes, else no)",
    )
    add(
        "--zero",
        type=int,
        choices=(0, 1, 2, 3),
        default=1,
        help="DeepSpeed ZeRO stage: 1 shards the optimizer state over the ranks, 2 the gradients too, 3 the "
        "weights too (default %(default)s)",
    )
    add(
        "--offload",
        choices=("none", "optimizer", "all"),
        default="none",
        help="offload to host memory: the optimizer state (ZeRO 1 to 3), or the weights too (ZeRO 3) (default "
        "%(default)s)",
    )
    add(
        "--attn",
        choices=ATTENTION,
        default="auto",
        help="attention: documents: each document by itself, torch's own kernels; flash_attention_*: needs that "
        "library and a GPU; sdpa, eager, flex_attention: with a mask; auto: flash where installed, else documents, "
        "else sdpa (default %(default)s)",
    )
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="torch.compile; needs a C++ compiler; minutes at the start, faster steps (default: no)",
    )
    add(
        "--liger",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="Liger's GPU kernels, where the package is installed (default: no)",
    )
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
    add("--steps", type=positive, help="total number of optimizer steps; this or --epochs")
    add("--epochs", type=float, default=1.0, help="passes over the store, without --steps (default %(default)s)")
    add(
        "--global-batch-size", type=positive, default=512, help="windows per step, over all ranks (default %(default)s)"
    )
    add("--micro-batch-size", type=positive, default=1, help="windows per forward pass and rank (default %(default)s)")
    add("--learning-rate", type=float, default=2e-5, help="peak learning rate (default %(default)s)")
    add(
        "--final-learning-rate-share",
        type=float,
        default=0.1,
        help="final learning rate of cosine and wsd as a fraction of the peak (default %(default)s)",
    )
    add(
        "--schedule",
        choices=("cosine", "wsd", "constant"),
        default="cosine",
        help="after the warm-up: cosine; wsd: stable, then a decay over the last steps; constant (default %(default)s)",
    )
    add("--warmup-share", type=float, default=0.01, help="share of the steps with linear warm-up (default %(default)s)")
    add("--decay-share", type=float, default=0.1, help="share of the steps with decay, for wsd (default %(default)s)")
    add(
        "--decay-shape",
        choices=("linear", "sqrt"),
        default="sqrt",
        help="shape of wsd's decay: linear, or 1 - sqrt of its progress (default %(default)s)",
    )
    add("--weight-decay", type=float, default=0.01, help="weight decay, on matrices only (default %(default)s)")
    add("--beta2", type=float, default=0.95, help="AdamW's beta2; beta1 is 0.9 (default %(default)s)")
    add("--clip", type=float, default=1.0, help="maximum gradient norm; 0: no clipping (default %(default)s)")
    add(
        "--on-spike",
        choices=("stop", "skip", "warn"),
        default="stop",
        help="on a loss spike, or a NaN or infinite loss or gradient: stop before the weights are updated; "
        "skip the step; warn: log it and update (NaN and infinite values always stop). The batch's "
        "documents are logged in each case (default %(default)s)",
    )
    add(
        "--spike-factor",
        type=float,
        default=12.0,
        help="a spike is this many deviations above the median of the last 64 losses; 0: only detect NaN and "
        "infinite values (default %(default)s)",
    )
    add("--max-skips", type=int, default=5, help="stop after this many skipped steps in a row (default %(default)s)")


def validation_flags(add) -> None:
    """What is held out, and when it is looked at."""
    add(
        "--validation-documents",
        type=int,
        default=50,
        help="documents held out per language and source, at most a tenth (default %(default)s)",
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
    """What is kept of a run, and how it is resumed."""
    add("--out", type=Path, default=Path("checkpoints/pretrained"), help="model folder (default %(default)s)")
    add("--save-every", type=positive, default=200, help="steps between checkpoints (default %(default)s)")
    add("--keep", type=positive, default=2, help="newest checkpoints kept (default %(default)s)")
    add("--keep-every", type=int, default=0, help="steps between checkpoints that are kept permanently (default: none)")
    add(
        "--async-save",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="copy the state to host memory (12 bytes per parameter, over all ranks) and write it during training",
    )
    add("--export-every", type=int, default=0, help="steps between models exported to training/exports (default: none)")
    add(
        "--resume",
        type=resume_choice,
        default="auto",
        help="auto: the newest valid checkpoint; none: error if there is one; or a step to go back to (newer "
        "ones are set aside); always auto after Slurm has requeued the job (SLURM_RESTART_COUNT) (default"
        " %(default)s)",
    )


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def resume_choice(text: str) -> str | int:
    if text in ("auto", "none"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, none, or a step")
    return int(text)


def log_flags(add) -> None:
    """What a person sees of it."""
    add("--log-every", type=positive, default=1, help="steps between log lines (default %(default)s)")
    add("--track", nargs="*", choices=TRACKERS, default=[], help="also write to these trackers (default: none)")
    add(
        "--peak-tflops",
        type=float,
        help="dense bf16 peak of one GPU in TFLOP/s, for MFU (default: by the GPU's name, else unknown)",
    )
