"""The model that is trained: loaded or made from a configuration, matched to the token store; DeepSpeed's settings."""

import argparse
import math
from pathlib import Path

from pretrain_record import InputError, sha256_of_file
from token_store import TokenStore


def build_model(args: argparse.Namespace, store: TokenStore, deepspeed_config: dict, dtype):
    """(model, tokenizer). Under ZeRO 3 the parameters are made partitioned from the start.

    Errors: InputError when the model cannot be read, its tokenizer is not the store's, or the windows are too long.
    """
    import torch
    import yaml
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    from tokenize_corpus import load_tokenizer, tokenizer_fingerprint

    # transformers looks this up while it builds or loads a model; it must stay referenced meanwhile.
    keep = HfDeepSpeedConfig(deepspeed_config) if args.zero == 3 else None
    torch.manual_seed(args.seed)
    if args.model:
        tokenizer = load_tokenizer(args.model, args.trust_remote_code)
        if tokenizer_fingerprint(tokenizer) != store.manifest["inputs"]["tokenizer"]:
            raise InputError(
                f"{store.folder} was made with another tokenizer than that of {args.model}; run "
                f"pretrain/tokenize_corpus.py with --tokenizer {args.model}"
            )
        config = AutoConfig.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    else:
        tokenizer = load_tokenizer(str(store.folder / "tokenizer"))
        fields = yaml.safe_load(args.init_config.read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or "model_type" not in fields:
            raise InputError(f"{args.init_config}: expected a flat YAML with model_type and its fields")
        # The vocabulary is padded to a multiple of 64, which matrix units like.
        fields.setdefault("vocab_size", math.ceil(len(tokenizer) / 64) * 64)
        special = {
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        try:
            config = AutoConfig.for_model(**special | fields)
        except (ValueError, TypeError) as error:
            raise InputError(f"{args.init_config}: {error}") from None
    longest = getattr(config, "max_position_embeddings", None)
    if longest and args.sequence_length > longest:
        raise InputError(f"--sequence-length {args.sequence_length} is over the model's limit of {longest} tokens")
    if args.model:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, trust_remote_code=args.trust_remote_code)
    else:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    del keep
    # The cache is of no use in training, and with it a packed batch without a mask would leak between documents.
    model.config.use_cache = False
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model, tokenizer


def make_deepspeed_config(args: argparse.Namespace, world: int, bf16: bool) -> dict:
    """DeepSpeed's own settings; the optimizer and the learning rate are ours."""
    per_step = args.micro_batch_size * world
    if args.global_batch_size % per_step:
        raise InputError(
            f"--global-batch-size {args.global_batch_size} is no multiple of --micro-batch-size "
            f"{args.micro_batch_size} x {world} ranks"
        )
    return {
        "train_micro_batch_size_per_gpu": args.micro_batch_size,
        "gradient_accumulation_steps": args.global_batch_size // per_step,
        "gradient_clipping": args.clip,
        "bf16": {"enabled": bf16},
        "zero_optimization": {"stage": args.zero},
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
    }


def model_fingerprint(args: argparse.Namespace) -> str:
    """What the weights start from: the parent's run.json or config.json, or the configuration file, by SHA-256."""
    if args.init_config:
        return sha256_of_file(args.init_config)
    folder = Path(args.model)
    for name in ("run.json", "config.json"):
        if (folder / name).exists():
            return sha256_of_file(folder / name)
    return args.model
