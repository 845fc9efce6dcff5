"""The configuration of an InternLM or InternLM 2 folder as the library's LlamaConfig.

Fields: InternLM's published configuration classes (https://huggingface.co/internlm/internlm-7b, internlm2-7b).
"""

from pathlib import Path

from internlm.internlm_tensors import Dimensions
from run_record import InputError, read_json

SIZES = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
]
KEPT_FIELDS = [
    *SIZES,
    "rms_norm_eps",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
]
# Fields that say how their own code runs, not what it computes.
FIELDS_LEFT_OUT = {
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "dtype",
    "model_type",
    "pretraining_tp",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
FIELDS_READ = {
    *KEPT_FIELDS,
    "bias",
    "hidden_act",
    "num_key_value_heads",
    "rope_scaling",
    "rope_theta",
    "rotary",
    "tie_word_embeddings",
}
# What decides the function; the rest of a configuration (token ids, caches) may differ between a model and its parent.
DECISIVE_FIELDS = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
]


def llama_config(folder: Path, bias: bool):
    """The LlamaConfig of a published folder. bias: whether its tensors have biases. Errors: InputError."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import LlamaConfig

    path = folder / "config.json"
    fields = read_json(path)
    odd = [name for name in SIZES if not isinstance(fields.get(name), int) or fields[name] < 1]
    if odd or not isinstance(fields.get("rms_norm_eps"), float):
        raise InputError(f"{path}: {', '.join(odd) or 'rms_norm_eps'} must be there, a number above 0")
    if fields.get("hidden_act", "silu") != "silu" or fields.get("tie_word_embeddings"):
        raise InputError(f"{path}: hidden_act must be silu and the output not tied to the embeddings, as in InternLM")
    if fields.get("bias", bias) != bias:
        raise InputError(f"{path}: bias is {fields['bias']}, but the weights {'have' if bias else 'lack'} biases")
    heads = fields["num_attention_heads"]
    key_value_heads = fields.get("num_key_value_heads") or heads
    if fields["hidden_size"] % heads or heads % key_value_heads:
        raise InputError(
            f"{path}: {fields['hidden_size']} wide, {heads} heads, {key_value_heads} key-value heads: no fit"
        )
    if ignored := sorted(set(fields) - FIELDS_READ - FIELDS_LEFT_OUT):
        print(f"{path}: left out of the new configuration: {', '.join(ignored)}")
    try:
        return LlamaConfig(
            **{name: fields[name] for name in KEPT_FIELDS if name in fields},
            num_key_value_heads=key_value_heads,
            attention_bias=bias,
            hidden_act="silu",
            tie_word_embeddings=False,
            architectures=["LlamaForCausalLM"],
            rope_parameters=rope_parameters(path, fields),
        )
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"{path}: {error}") from None


def read_llama_config(folder: Path):
    """The configuration of a Llama folder. Errors: InputError."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise InputError(f"{folder / 'config.json'}: {' '.join(str(error).split())[:300]}") from None


def rope_parameters(path: Path, fields: dict) -> dict:
    """The rotary embedding in the library's words. Errors: InputError for a kind that InternLM does not have.

    InternLM says {"rotary": {"base", "type": "origin" or "dynamic", "scaling_factor"}}, InternLM 2 {"rope_theta",
    "rope_scaling": None or {"type": "dynamic" or "linear", "factor"}}; early InternLM says nothing and has base 10000.
    """
    rotary = fields.get("rotary") or {}
    scaling = fields.get("rope_scaling") or rotary
    kind = scaling.get("type") or scaling.get("rope_type") or "origin"
    theta = float(rotary.get("base") or fields.get("rope_theta") or 10000)
    if kind in ("origin", "default"):
        return {"rope_type": "default", "rope_theta": theta}
    if kind not in ("dynamic", "linear"):
        raise InputError(f"{path}: rotary embedding of type {kind!r}; known are origin, dynamic and linear")
    factor = float(scaling.get("factor") or scaling.get("scaling_factor") or 1.0)
    return {"rope_type": kind, "rope_theta": theta, "factor": factor}


def dimensions(config) -> Dimensions:
    return Dimensions(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        vocabulary=config.vocab_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        bias=config.attention_bias,
    )
