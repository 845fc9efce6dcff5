"""InternLM and InternLM 2 configurations and tensor names in terms of the library's Llama.

Fields: InternLM's published configuration classes (https://huggingface.co/internlm/internlm-7b, internlm2-7b).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError, read_json

LAYOUTS = ("internlm", "internlm2")
# InternLM 2's name -> Llama's, for the tensors that both have whole.
OUTSIDE_LAYERS = {
    "model.tok_embeddings.weight": "model.embed_tokens.weight",
    "model.norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
IN_LAYERS = {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a model: what decides its tensors' shapes."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    key_value_heads: int
    bias: bool

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class Step:
    """One tensor to write: the tensors it is built from, and how."""

    sources: tuple[str, ...]
    make: Callable


def llama_shapes(size: Dimensions) -> dict[str, tuple[int, ...]]:
    """Llama's tensors by name, in file order."""
    key_value_rows = size.key_value_heads * size.head_size
    shapes = {"model.embed_tokens.weight": (size.vocabulary, size.hidden)}
    for layer in range(size.layers):
        inside = {
            "self_attn.q_proj": (size.hidden, size.hidden),
            "self_attn.k_proj": (key_value_rows, size.hidden),
            "self_attn.v_proj": (key_value_rows, size.hidden),
            "self_attn.o_proj": (size.hidden, size.hidden),
            "mlp.gate_proj": (size.intermediate, size.hidden),
            "mlp.up_proj": (size.intermediate, size.hidden),
            "mlp.down_proj": (size.hidden, size.intermediate),
            "input_layernorm": (size.hidden,),
            "post_attention_layernorm": (size.hidden,),
        }
        for name, shape in inside.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
            if size.bias and name.startswith("self_attn."):
                shapes[f"model.layers.{layer}.{name}.bias"] = shape[:1]
    return shapes | {"model.norm.weight": (size.hidden,), "lm_head.weight": (size.vocabulary, size.hidden)}


def published_shapes(layout: str, size: Dimensions) -> dict[str, tuple[int, ...]]:
    """The tensors of a published checkpoint by name, in file order."""
    shapes = llama_shapes(size)
    if layout != "internlm2":
        return shapes
    fused_rows = (size.heads + 2 * size.key_value_heads) * size.head_size
    named = {}
    for theirs, step in steps_to_published(layout, size).items():
        shape = shapes[step.sources[0]]
        named[theirs] = shape if len(step.sources) == 1 else (fused_rows, *shape[1:])
    return named


def steps_to_llama(layout: str, size: Dimensions) -> dict[str, Step]:
    """{Llama's tensor: how it is built from the published ones}."""
    if layout != "internlm2":
        return {name: Step((name,), _same) for name in llama_shapes(size)}
    steps = {}
    for theirs, step in steps_to_published(layout, size).items():
        for place, name in enumerate(step.sources):
            whole = len(step.sources) == 1
            steps[name] = Step((theirs,), _same if whole else _part(size, place))
    return {name: steps[name] for name in llama_shapes(size)}


def steps_to_published(layout: str, size: Dimensions) -> dict[str, Step]:
    """{published tensor: how it is built from Llama's}."""
    if layout != "internlm2":
        return {name: Step((name,), _same) for name in llama_shapes(size)}
    theirs_of = {ours: theirs for theirs, ours in OUTSIDE_LAYERS.items()}
    inside = {ours: theirs for theirs, ours in IN_LAYERS.items()}
    steps = {}
    for name in llama_shapes(size):
        if name in theirs_of:
            steps[theirs_of[name]] = Step((name,), _same)
            continue
        _, _, layer, rest = name.split(".", 3)
        module, kind = rest.rsplit(".", 1)
        if module in inside:
            steps[f"model.layers.{layer}.{inside[module]}.{kind}"] = Step((name,), _same)
        elif module == "self_attn.q_proj":
            parts = tuple(f"model.layers.{layer}.self_attn.{part}_proj.{kind}" for part in "qkv")
            steps[f"model.layers.{layer}.attention.wqkv.{kind}"] = Step(parts, lambda q, k, v: join_wqkv(q, k, v, size))
    return steps


def _same(tensor):
    return tensor


def _part(size: Dimensions, place: int) -> Callable:
    return lambda fused: split_wqkv(fused, size)[place]


def split_wqkv(fused, size: Dimensions):
    """(queries, keys, values) of a fused matrix or bias, heads in order; shapes as in `llama_shapes`."""
    group = size.heads // size.key_value_heads
    rest = fused.shape[1:]
    heads = fused.reshape(size.key_value_heads, group + 2, size.head_size, *rest)
    parts = heads[:, :group], heads[:, group], heads[:, group + 1]
    return tuple(part.reshape(-1, *rest).contiguous() for part in parts)


def join_wqkv(queries, keys, values, size: Dimensions):
    """The fused matrix or bias of `split_wqkv`'s three."""
    import torch

    rest = queries.shape[1:]
    shape = (size.key_value_heads, -1, size.head_size, *rest)
    heads = [tensor.reshape(shape) for tensor in (queries, keys, values)]
    return torch.cat(heads, dim=1).reshape(-1, *rest).contiguous()


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
        print(f"{path}: omitted from the new configuration: {', '.join(ignored)}")
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
