"""FLOPs per token, peak FLOP/s of GPUs, and model FLOPs utilisation (MFU).

Convention (PaLM, Chowdhery et al. 2022, appendix B, https://arxiv.org/abs/2204.02311): the operations that the model
needs for one token's forward and backward pass,

    6 N + 12 L H Q T

N  parameters that multiply: all but the input embeddings, whose use is a lookup, with the output projection (a matrix
   that is tied to the input embeddings counts once, for the output); of a mixture of experts, those that a token uses
L  layers, H  query heads, Q  size of a head, T  tokens that a position can look at (the window; less only where the
   layer's own sliding window is shorter)

A causal mask does not halve the attention term, and recomputed activations are not counted twice: both are PaLM's
convention, so figures compare with published ones. A multiply and an add are two operations.
"""

import math
import re
from dataclasses import dataclass

from run_record import InputError

TERA = 1e12
NVIDIA = "https://www.nvidia.com/en-us/data-center"


@dataclass(frozen=True)
class Card:
    """One accelerator as PyTorch sees it.

    peak: dense bfloat16 FLOP/s with float32 accumulation (float16 where the card has no bfloat16 units); data sheets
    that print only the figure "with sparsity" are halved. memory_gib: the data sheet's gigabytes; NVIDIA's are
    2**30 bytes, less 1 to 2 % that the driver and error correction keep. pattern: matched against `device_name`.
    """

    name: str
    pattern: str
    peak: float
    memory_gib: float
    source: str


# The first pattern that matches wins, so the special names are before the general ones.
CARDS = (
    Card("B200", r"\bb200\b", 2250 * TERA, 180, "NVIDIA Blackwell architecture brief and HGX B200 data sheet"),
    Card("GB200", r"\bgb200\b", 2500 * TERA, 186, "NVIDIA GB200 NVL72 data sheet, a 72nd"),
    Card("GH200 96GB", r"\bgh200\b", 989 * TERA, 96, "NVIDIA GH200 data sheet (HBM3; 1,979 with sparsity)"),
    Card("H200 NVL", r"\bh200.*\bnvl\b", 835 * TERA, 141, f"{NVIDIA}/h200 (1,671 with sparsity)"),
    Card("H200", r"\bh200\b", 989 * TERA, 141, f"{NVIDIA}/h200 (1,979 with sparsity)"),
    Card("H100 NVL", r"\bh100.*\bnvl\b", 835 * TERA, 94, f"{NVIDIA}/h100 (1,671 with sparsity)"),
    Card("H100 PCIe", r"\bh100.*\bpcie\b", 756 * TERA, 80, "NVIDIA H100 PCIe data sheet (1,513 with sparsity)"),
    Card("H100 SXM", r"\bh100\b", 989 * TERA, 80, f"{NVIDIA}/h100 (1,979 with sparsity)"),
    Card("H800 PCIe", r"\bh800.*\bpcie\b", 756 * TERA, 80, "NVIDIA H800 data sheet (1,513 with sparsity)"),
    Card("H800", r"\bh800\b", 989 * TERA, 80, "NVIDIA H800 data sheet (1,979 with sparsity)"),
    Card("H20", r"\bh20\b", 148 * TERA, 96, "NVIDIA H20 data sheet"),
    Card("A100 40GB", r"\ba100\b.*\b40 ?gb", 312 * TERA, 40, f"{NVIDIA}/a100"),
    Card("A100 80GB", r"\ba100\b.*\b80 ?gb", 312 * TERA, 80, f"{NVIDIA}/a100"),
    Card("A800 40GB", r"\ba800\b.*\b40 ?gb", 312 * TERA, 40, "NVIDIA A800 data sheet (cores of the A100)"),
    Card("A800 80GB", r"\ba800\b.*\b80 ?gb", 312 * TERA, 80, "NVIDIA A800 data sheet (cores of the A100)"),
    Card("A40", r"\ba40\b", 149.7 * TERA, 48, f"{NVIDIA}/a40"),
    Card("A30", r"\ba30\b", 165 * TERA, 24, "NVIDIA A30 data sheet"),
    Card("A10", r"\ba10\b", 125 * TERA, 24, "NVIDIA A10 data sheet"),
    Card("L40S", r"\bl40s\b", 362.05 * TERA, 48, f"{NVIDIA}/l40s"),
    Card("L40", r"\bl40\b", 181.05 * TERA, 48, f"{NVIDIA}/l40"),
    Card("L4", r"\bl4\b", 121 * TERA, 24, f"{NVIDIA}/l4 (242 with sparsity)"),
    Card("RTX 6000 Ada", r"\brtx 6000 ada\b", 364.2 * TERA, 48, "NVIDIA RTX 6000 Ada data sheet (FP8 sparse / 4)"),
    Card("RTX A6000", r"\ba6000\b", 154.8 * TERA, 48, "NVIDIA Ampere GA102 whitepaper, table of the RTX A6000"),
    Card("RTX 4090", r"\b4090\b(?! (laptop|d\b))", 165.2 * TERA, 24, "NVIDIA Ada whitepaper, float32 accumulation"),
    Card("RTX 3090", r"\b3090\b(?! ti\b)", 71 * TERA, 24, "NVIDIA Ampere GA102 whitepaper, float32 accumulation"),
    Card("V100 16GB", r"\bv100\b.*\b16 ?gb", 125 * TERA, 16, "NVIDIA V100 data sheet, SXM2; float16, no bfloat16"),
    Card("V100 32GB", r"\bv100\b.*\b32 ?gb", 125 * TERA, 32, "NVIDIA V100 data sheet, SXM2; float16, no bfloat16"),
    Card("T4", r"\bt4\b", 65 * TERA, 16, "NVIDIA T4 data sheet; float16, no bfloat16"),
    Card("MI325X", r"\bmi325x\b", 1307.4 * TERA, 256, "AMD Instinct MI325X data sheet"),
    Card("MI300X", r"\bmi300x\b", 1307.4 * TERA, 192, "AMD Instinct MI300X data sheet"),
    Card("MI250X", r"\bmi250x\b", 191.5 * TERA, 64, "AMD Instinct MI250X data sheet, halved: a card is two devices"),
    Card("MI250", r"\bmi250\b", 181.05 * TERA, 64, "AMD Instinct MI250 data sheet, halved: a card is two devices"),
)


def find_card(device_name: str) -> Card | None:
    """The card that a person or `torch.cuda.get_device_name` names, or None. A slice of a card (MIG) is none."""
    name = " ".join(re.sub(r"[-_()/]", " ", device_name.lower()).split())
    if re.search(r"\bmig\b", name):
        return None
    exact = [card for card in CARDS if card.name.lower() == name]
    return next(iter(exact), None) or next((card for card in CARDS if re.search(card.pattern, name)), None)


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 FLOP/s of the named card (see `Card`), or None where no data sheet is known."""
    card = find_card(device_name)
    return card.peak if card else None


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters, shared ones counted once; `active`: those that multiply for a token (N above)."""

    total: int
    input_embeddings: int
    layers: int
    output: int
    rest: int
    tied: bool
    active: int


def empty_model(config, dtype=None, trust_remote_code: bool = False):
    """The causal language model of a configuration on the meta device: all shapes, no memory.

    Errors: InputError when the library cannot make a causal language model of it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, ZeroDivisionError) as error:
        sentence = " ".join(str(error).split())[:300]
        raise InputError(f"no causal language model can be built from this {config.model_type}: {sentence}") from None


def count_parameters(model) -> ParameterCount:
    """Count a model's parameters, on any device, also partitioned by ZeRO 3 (a parameter's true size is `ds_numel`).

    Errors: InputError for a mixture of experts whose configuration does not say how many experts per token uses.
    """
    config = model.config.get_text_config()
    sizes = {name: getattr(p, "ds_numel", p.numel()) for name, p in model.named_parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    embedding = names.get(id(model.get_input_embeddings().weight))
    head = model.get_output_embeddings()
    output = [] if head is None else [names[id(p)] for p in head.parameters() if names[id(p)] != embedding]
    tied = head is not None and any(names[id(p)] == embedding for p in head.parameters())
    stack = re.compile(r"(^|\.)(layers|h|blocks|block)\.\d+\.")
    layers = sum(size for name, size in sizes.items() if stack.search(name))
    positions = sum(size for name, size in sizes.items() if re.search(r"\b(wpe|embed_positions)\.", name))
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    used = experts and round(experts * _share_of_experts(config))
    total = sum(sizes.values())
    lookups = positions + (0 if tied else sizes[embedding])
    outputs = sum(sizes[name] for name in output)
    return ParameterCount(
        total=total,
        input_embeddings=sizes[embedding] + positions,
        layers=layers,
        output=outputs,
        rest=total - sizes[embedding] - positions - layers - outputs,
        tied=tied,
        active=total - lookups - experts + used,
    )


def _share_of_experts(config) -> float:
    """Experts that a token uses, of all that a layer has."""
    for name in ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"):
        if getattr(config, name, None) and getattr(config, "num_experts_per_tok", None):
            return config.num_experts_per_tok / getattr(config, name)
    raise InputError(f"this {config.model_type} has experts, and its configuration does not say how many a token uses")


def attention_flops(config, sequence_length: int) -> float:
    """12 L H Q T, per token; of a layer with a sliding window, T is at most that window.

    Errors: InputError for layers without attention (state spaces, linear attention), which this formula does not fit.
    """
    config = config.get_text_config()
    heads, layers = getattr(config, "num_attention_heads", None), getattr(config, "num_hidden_layers", None)
    kinds = getattr(config, "layer_types", None) or []
    if not heads or not layers or any("attention" not in kind or "linear" in kind for kind in kinds):
        raise InputError(f"FLOPs are counted for decoders with attention in every layer; {config.model_type} is none")
    # DeepSeek's heads have one size for queries and keys, another for values; elsewhere they are the same.
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    query = getattr(config, "qk_nope_head_dim", 0) + getattr(config, "qk_rope_head_dim", 0) or size
    value = getattr(config, "v_head_dim", None) or query
    window = getattr(config, "sliding_window", None) or sequence_length
    if not getattr(config, "use_sliding_window", True):
        window = sequence_length
    kinds = kinds or ["sliding_attention"] * layers
    reach = sum(min(sequence_length, window) if "sliding" in kind else sequence_length for kind in kinds)
    return 6.0 * reach * heads * (query + value)


def flops_per_token(config, sequence_length: int, count: ParameterCount | None = None) -> float:
    """Operations of one token's forward and backward pass, 6 N + 12 L H Q T (see the top of this file).

    config: a transformers configuration; count: of its model, where it is available (`count_parameters(model)`),
    otherwise counted on the meta device, which takes a second or two and no memory.
    """
    count = count or count_parameters(empty_model(config))
    return 6.0 * count.active + attention_flops(config, sequence_length)


def mfu(tokens_per_second: float, flops_per_token: float, peak: float | None, gpus: int) -> float | None:
    """Model FLOPs utilisation, 0 to 1: tokens/s of the whole run over what `gpus` cards could do (None: no peak)."""
    if not peak or not gpus or not math.isfinite(tokens_per_second):
        return None
    return tokens_per_second * flops_per_token / (peak * gpus)
