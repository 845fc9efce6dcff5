"""Which tensors an InternLM, InternLM 2 and Llama checkpoint hold, and how each is made of the other's.

The three architectures compute the same function; only names, the fused attention matrix and the biases differ.
Sources: InternLM's published conversion (https://github.com/InternLM/InternLM, tools/), its loading in vLLM
(https://github.com/vllm-project/vllm/pull/2666) and llama.cpp (https://github.com/ggml-org/llama.cpp/pull/5184).

InternLM 2 stores queries, keys and values as one matrix `wqkv` of [(heads + 2 x key-value heads) x head size, hidden]
rows. For each key-value head in turn it holds the query heads of its group, then its key head, then its value head.
InternLM has Llama's names; its four attention projections have biases, as Llama's have with `attention_bias`.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    """One tensor to write: the tensors it is made of, and how."""

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
    """{Llama's tensor: how it is made of the published ones}."""
    if layout != "internlm2":
        return {name: Step((name,), _same) for name in llama_shapes(size)}
    steps = {}
    for theirs, step in steps_to_published(layout, size).items():
        for place, name in enumerate(step.sources):
            whole = len(step.sources) == 1
            steps[name] = Step((theirs,), _same if whole else _part(size, place))
    return {name: steps[name] for name in llama_shapes(size)}


def steps_to_published(layout: str, size: Dimensions) -> dict[str, Step]:
    """{published tensor: how it is made of Llama's}."""
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
