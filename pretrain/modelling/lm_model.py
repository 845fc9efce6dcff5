"""The model to train: loaded or initialised, matched to the token store; DeepSpeed's settings."""

import argparse
import hashlib
import importlib.util
import inspect
import math
import os
import shutil
from pathlib import Path

from modelling.packed_attention import choose_attention, register_document_attention
from run_record import InputError, sha256_of_file
from token_data.token_store import TokenStore


def build_model(args: argparse.Namespace, store: TokenStore, deepspeed_config: dict, dtype):
    """(model, tokenizer). Under ZeRO 3 the parameters are made partitioned from the start.

    Errors: InputError when the model cannot be read, its tokenizer is not the store's, or the windows are too long.
    """
    import torch
    import yaml
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    from token_data.corpus_encoder import load_tokenizer, tokenizer_fingerprint

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
    attention = choose_attention(args, model_class(config), config, torch.cuda.is_available(), dtype == torch.bfloat16)
    register_document_attention()
    how = {"dtype": dtype, "attn_implementation": attention}
    if args.model:
        model = AutoModelForCausalLM.from_pretrained(args.model, trust_remote_code=args.trust_remote_code, **how)
    else:
        model = AutoModelForCausalLM.from_config(config, **how)
    del keep
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise InputError(
            f"{config.model_type} takes no position_ids, so documents that are in one row could not be told apart; "
            "choose a model with rotary or learned positions"
        )
    # The cache is of no use in training, and with it a packed batch without a mask would leak between documents.
    model.config.use_cache = False
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if args.liger:
        apply_liger(model)
    if args.compile:
        model.compile()
    return model, tokenizer


def model_class(config):
    """The class that AutoModelForCausalLM would make of this configuration; None for one that comes with its code."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM._model_mapping.get(type(config), None)


def apply_liger(model) -> None:
    """Exchange norms, rotary positions and gated layers for Liger's kernels, as the library's own trainer does.

    The loss stays ours. Errors: InputError where the package does not know the model.
    """
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise InputError(f"--liger: the package has no kernels for {model.config.model_type}; leave the flag out")
    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)


def check_kernels(args: argparse.Namespace, gpu: bool) -> None:
    """Errors: InputError for kernels or compilers that are asked for and cannot be had here."""
    if args.liger and not gpu:
        raise InputError("--liger: these kernels run on a GPU only; leave the flag out")
    if args.liger and importlib.util.find_spec("liger_kernel") is None:
        raise InputError("--liger needs the package liger-kernel: pip install liger-kernel, or leave the flag out")
    if args.compile and args.zero == 3:
        raise InputError("--compile does not go with --zero 3, which swaps the weights under it; use --zero 2")
    if args.compile and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise InputError("--compile needs a C++ compiler (Debian package g++, or set CXX), or leave the flag out")


def describe_model(args: argparse.Namespace, model, bf16: bool, world: int, gpu: bool) -> str:
    """One line of what is really in use."""
    parameters = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters())
    used = {
        "compiled": args.compile,
        "Liger kernels": args.liger,
        "gradient checkpointing": model.is_gradient_checkpointing,
    }
    parts = [
        f"{parameters:,} parameters",
        "bf16" if bf16 else "fp32",
        f"ZeRO {args.zero}",
        f"offload {args.offload}",
        f"attention {model.config._attn_implementation}",
        *(f"{name}: {'yes' if on else 'no'}" for name, on in used.items()),
        f"{world} {'rank' if world == 1 else 'ranks'} on {'GPU' if gpu else 'CPU'}",
    ]
    return f"{type(model).__name__}: {', '.join(parts)}"


def make_deepspeed_config(args: argparse.Namespace, world: int, bf16: bool) -> dict:
    """DeepSpeed's own settings; the optimizer and the learning rate are ours.

    Errors: InputError for batch sizes that do not divide, and an offload that the ZeRO stage does not have.
    """
    import torch

    per_step = args.micro_batch_size * world
    if args.global_batch_size % per_step:
        raise InputError(
            f"--global-batch-size {args.global_batch_size} is not a multiple of --micro-batch-size "
            f"{args.micro_batch_size} x {world} ranks"
        )
    if args.offload != "none" and args.zero == 0:
        raise InputError(f"--offload {args.offload} needs --zero 1, 2 or 3")
    if args.offload == "all" and args.zero != 3:
        raise InputError(f"--offload all needs --zero 3, not {args.zero}; --offload optimizer goes with 1 and 2 too")
    zero = {"stage": args.zero}
    # pinned memory makes the way to the GPU faster, and is of no use without one
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if args.offload != "none":
        zero["offload_optimizer"] = place
    if args.offload == "all":
        zero["offload_param"] = place
    # Many micro-batches are summed in float32: in bf16, small gradients would be lost beside the sum.
    kept = {"data_types": {"grad_accum_dtype": "fp32"}} if bf16 and args.zero >= 2 else {}
    return kept | {
        "train_micro_batch_size_per_gpu": args.micro_batch_size,
        "gradient_accumulation_steps": args.global_batch_size // per_step,
        "gradient_clipping": 0.0 if clips_itself(args, bf16) else args.clip,
        "bf16": {"enabled": bf16},
        "zero_optimization": zero,
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
        # torch's fused AdamW also runs on the CPU; DeepSpeed's own would be compiled there first, for minutes.
        "zero_force_ds_cpu_optimizer": False,
    }


def clips_itself(args: argparse.Namespace, bf16: bool) -> bool:
    """Whether our optimizer clips: with ZeRO 0 in float32 DeepSpeed tells no gradient norm."""
    return args.zero == 0 and not bf16


def model_fingerprint(args: argparse.Namespace) -> str:
    """What the weights start from, by SHA-256: the configuration file, the parent's run.json, which has its files'
    hashes, or its config.json with size and middle of each weight file; a hub name stands for itself."""
    if args.init_config:
        return sha256_of_file(args.init_config)
    folder = Path(args.model)
    if (folder / "run.json").exists():
        return sha256_of_file(folder / "run.json")
    if not (folder / "config.json").exists():
        return args.model
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin")):
        size = path.stat().st_size
        with open(path, "rb") as file:  # all of it would take minutes; models of one configuration differ everywhere
            file.seek(size // 2)
            digest.update(f"{path.name} {size}".encode() + file.read(1 << 20))
    return digest.hexdigest()
