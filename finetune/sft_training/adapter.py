"""LoRA: which layers get an adapter, and the model with a fresh one."""

import argparse

from run_record import InputError


def linear_targets(model) -> list[str]:
    """Names of the layers to adapt, in any decoder: every linear layer but the output one, by the name's last part.

    GPT-2's Conv1D is a linear layer too. Where a last part is the output layer's as well, whole names are given.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = (torch.nn.Linear, Conv1D)
    names = [name for name, module in model.named_modules() if isinstance(module, linear) and module is not head]
    heads = {name.rpartition(".")[2] for name, module in model.named_modules() if module is head}
    return sorted({name if name.rpartition(".")[2] in heads else name.rpartition(".")[2] for name in names})


def add_adapter(model, args: argparse.Namespace):
    """The model with a fresh LoRA adapter, everything else frozen. Errors: InputError for targets it does not have."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(args.seed)  # the Trainer seeds only later, after the adapter's random start
    targets = args.lora_targets or linear_targets(model)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=targets,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(
            f"--lora-targets {' '.join(targets)} do not fit this model, whose linear layers are "
            f"{', '.join(linear_targets(model))} ({error})"
        ) from None


def adapted_layers(model) -> dict[str, int]:
    """{last part of a layer's name: how many of them carry an adapter}."""
    counts: dict[str, int] = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            last = name.rpartition(".")[2]
            counts[last] = counts.get(last, 0) + 1
    return counts
