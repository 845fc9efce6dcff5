"""The base model: finding, checking and loading it with its tokenizer; adding a LoRA adapter."""

import argparse
import hashlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path

from run_record import InputError, sha256_of_file


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


def quiet_libraries() -> None:
    """What transformers announces of its own insides is not news here, and a log file wants no progress bars."""
    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed|transformers")
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()


def check_base_folder(model: str) -> None:
    """Errors: InputError when the folder is an adapter, incomplete, or contains no model."""
    folder = Path(model)
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder} is a LoRA adapter, not a base model; give the model it was trained on")
    if not (folder / "config.json").exists() or ((folder / "training").is_dir() and not (folder / "run.json").exists()):
        raise InputError(f"{folder} is incomplete (no run.json or no config.json); let pretrain/run.sh finish first")


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
    """The base model, ready to be trained. Errors: InputError saying which command makes what is missing.

    In bf16 a frozen model is loaded so, and one under DeepSpeed, which keeps fp32 copies of its own. A model that is
    tuned in full without DeepSpeed stays in fp32 and only computes in bf16: steps of 1e-6 would vanish in bf16's eight
    bits. Tuned in full, it is written out in the precision that its config.json names (`stored_dtype`), whatever it was
    trained in; float32 where it names none.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    bf16 = torch.cuda.is_available() if args.bf16 is None else args.bf16
    options = {"dtype": torch.bfloat16 if bf16 and (args.lora or args.zero) else torch.float32}
    if args.qlora:
        options["quantization_config"] = four_bits(torch.bfloat16 if bf16 else torch.float32)
    if args.attn:
        options["attn_implementation"] = args.attn
    try:
        stored = AutoConfig.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(
            args.model, trust_remote_code=args.trust_remote_code, use_safetensors=True, **options
        )
    except ImportError as error:
        raise InputError(f"this machine lacks what these flags need: {shortened(error)}") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise no_model(args.model, error) from None
    except RuntimeError as error:
        if "mismatch" not in str(error):
            raise
        raise InputError(f"the weights of {args.model} do not fit its config.json: {shortened(error)}") from None
    if not args.lora:
        model.stored_dtype = stored.dtype or stored.get_text_config().dtype or torch.float32
    if args.qlora:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    settle_generation(model)
    model.config.use_cache = False
    return model


def settle_generation(model) -> None:
    """Some published models name a temperature without sampling; the library would refuse to write them out."""
    generation = model.generation_config
    if generation is not None and not generation.do_sample:
        generation.temperature = generation.top_p = generation.top_k = None


def four_bits(compute_dtype):
    """4-bit NormalFloat with quantised constants, as QLoRA (arXiv 2305.14314). Errors: InputError."""
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("--qlora needs the library bitsandbytes (pip install bitsandbytes); or use --lora")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def no_model(model: str, error: Exception) -> InputError:
    return InputError(
        f"no model at {model} ({shortened(error)}); make one with `bash pretrain/run.sh`, or name another with --model"
    )


def shortened(error: Exception) -> str:
    """A library's error as one line of bearable length."""
    return " ".join(str(error).split())[:300]


def check_known_tokens(examples, rows: int, tokenizer) -> None:
    """Errors: InputError when an example contains a token for which the model has no embedding.

    A tokenizer with more tokens than the model has embeddings is not an error by itself: some have tokens added that no
    text of ours contains.
    """
    largest = max(max(example["input_ids"]) for example in examples)
    if largest >= rows:
        raise InputError(
            f"the examples hold the token {tokenizer.convert_ids_to_tokens(largest)!r} with id {largest}, but the "
            f"model has {rows} embeddings; does the tokenizer belong to this model?"
        )


def longest_example(config, args: argparse.Namespace) -> int:
    """Tokens per example may have: --max-length, or the model's positions where these are fewer."""
    return min(args.max_length, getattr(config.get_text_config(), "max_position_embeddings", None) or args.max_length)


def relative_base(model: str, out: Path) -> str | None:
    """Where the base model lies as seen from the output folder, so that both can be moved together."""
    return os.path.relpath(model, out) if Path(model).is_dir() else None


def model_fingerprint(model: str) -> str:
    """A folder by the SHA-256 of its run.json, written last; without one, of its config.json and of each
    weight file's name, size, first and last MiB. A hub name as it is."""
    folder = Path(model)
    if (folder / "run.json").exists():
        return sha256_of_file(folder / "run.json")
    if not (folder / "config.json").exists():
        return model
    digest = hashlib.sha256(sha256_of_file(folder / "config.json").encode())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with open(path, "rb") as file:
            digest.update(f"\0{path.name} {size}\0".encode() + file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()


def count_parameters(model) -> dict[str, int]:
    """{"trained", "all"}; under ZeRO 3 a parameter's own size is that of this rank's part, 4-bit ones are packed."""

    def size(parameter) -> int:
        if getattr(parameter, "quant_state", None) is not None:
            return parameter.quant_state.shape.numel()
        return getattr(parameter, "ds_numel", parameter.numel())

    sizes = [(size(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return {"trained": sum(n for n, trained in sizes if trained), "all": sum(n for n, _ in sizes)}
