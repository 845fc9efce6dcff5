"""The model to be fine-tuned: finding it, checking it, loading it with its tokenizer."""

import argparse
import os
import sys
import warnings
from pathlib import Path

from finetune_record import InputError, sha256_of_file


def quiet_libraries() -> None:
    """What transformers announces of its own insides is no news here, and a log file wants no progress bars."""
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()


def check_base_folder(model: str) -> None:
    """Errors: InputError when the folder is an adapter, half-made, or holds no model."""
    folder = Path(model)
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder} is a LoRA adapter, not a base model; give the model it was trained on")
    if not (folder / "config.json").exists() or ((folder / "training").is_dir() and not (folder / "run.json").exists()):
        raise InputError(f"{folder} is half-made (no run.json or no config.json); let pretrain/run.sh finish first")


def load_tokenizer(args: argparse.Namespace):
    """(tokenizer, configuration) of the base model, checked to fit together; the weights are not read yet.

    A tokenizer without a padding token gets its end token as one: padding is masked and not learned.
    Errors: InputError saying which command makes what is missing.
    """
    from transformers import AutoConfig, AutoTokenizer

    quiet_libraries()
    check_base_folder(args.model)
    try:
        config = AutoConfig.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    except (OSError, ValueError) as error:
        raise no_model(args.model, error) from None
    rows = config.get_text_config().vocab_size
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= rows:
        raise InputError(
            f"the tokenizer of {args.model} has no end token that the model knows (id {tokenizer.eos_token_id}, {rows} "
            "embeddings), so an answer could not end; does the tokenizer belong to this model?"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, config


def load_base(args: argparse.Namespace):
    """The base model, ready to be trained. Errors: InputError saying which command makes what is missing."""
    import torch
    from transformers import AutoModelForCausalLM

    bf16 = torch.cuda.is_available() if args.bf16 is None else args.bf16
    try:
        model = AutoModelForCausalLM.from_pretrained(
            args.model, dtype=torch.bfloat16 if bf16 else torch.float32, trust_remote_code=args.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise no_model(args.model, error) from None
    model.config.use_cache = False
    return model


def no_model(model: str, error: Exception) -> InputError:
    return InputError(
        f"no model at {model} ({str(error).splitlines()[0]}); make one with `bash pretrain/run.sh`, or name another "
        "with --model"
    )


def longest_example(config, args: argparse.Namespace) -> int:
    """Tokens an example may have: --max-length, or the model's positions where these are fewer."""
    return min(args.max_length, getattr(config.get_text_config(), "max_position_embeddings", None) or args.max_length)


def relative_base(model: str, out: Path) -> str | None:
    """Where the base model lies as seen from the output folder, so that both can be moved together."""
    return os.path.relpath(model, out) if Path(model).is_dir() else None


def model_fingerprint(model: str) -> str:
    """A folder's run.json or config.json by SHA-256; a hub name as it is."""
    for name in ("run.json", "config.json"):
        if (Path(model) / name).exists():
            return sha256_of_file(Path(model) / name)
    return model
