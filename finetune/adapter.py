"""LoRA: which layers get an adapter, and the model with a fresh one."""

import argparse

from finetune_record import InputError


def add_adapter(model, args: argparse.Namespace):
    """The model with a fresh LoRA adapter, everything else frozen. Errors: InputError for targets it does not have."""
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
