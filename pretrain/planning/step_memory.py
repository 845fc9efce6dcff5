"""Activation memory of a training step, traced on tensors without storage, for any model family in seconds.

Not a formula: the model itself, with few layers, runs one forward and one backward pass on FakeTensors, at its true
width, batch and length, with the loss of train_lm.py. Recorded are the bytes of the tensors that autograd saves
(`saved_tensors_hooks`; each storage once, the model's own tensors not) and the highest sum of live bytes; both grow
linearly with the layers. So the modules count as they are installed, with every float32 copy that a norm keeps.
Kernels of --compile and --liger keep less; they are not traced.

Only the attention differs between machines. On a CPU it runs as it is. For a GPU a stand-in saves what the kernel
saves: query, key, value, output and one float32 number a row and head (flash: Dao 2023,
https://arxiv.org/abs/2307.08691); torch's memory-efficient kernel, which `sdpa` becomes where there is a mask, also
the mask as numbers, and keys and values repeated to the query heads.
"""

import copy
import logging
import math
import warnings
import weakref
from dataclasses import dataclass

from modelling.packed_attention import register_document_attention
from run_record import InputError

# DeepSpeed's defaults (runtime/zero/config.py), where the settings do not say otherwise.
BUCKET = int(5e8)
SUB_GROUP = int(1e9)
LIVE_PARAMETERS = int(1e9)
PERSISTENT = int(1e5)


@dataclass(frozen=True)
class States:
    """Bytes on one GPU of what is neither an activation nor a passing value of the forward and backward pass.

    weights, gradients, optimizer: of this rank; buffers: of the gradients' reduction; gathered: other ranks' weights in
    use (ZeRO 3, at most); step: beyond weights and optimizer state while the optimizer works (gradients in float32);
    host: kept in the machine's memory instead, by offloading.
    """

    weights: int
    gradients: int
    optimizer: int
    buffers: int = 0
    gathered: int = 0
    step: int = 0
    host: int = 0

    def backward_peak(self, activations: int) -> int:
        """The most that is held during a forward and backward pass whose activations take `activations` bytes."""
        return self.weights + self.gradients + self.optimizer + self.buffers + self.gathered + activations

    def step_peak(self) -> int:
        """The most that is held while the optimizer works; the activations are gone."""
        return self.weights + self.optimizer + self.step


def state_bytes(model, settings: dict, ranks: int) -> States:
    """What `model` (on any device, the meta device too) keeps on one of `ranks` GPUs under DeepSpeed's `settings`."""
    zero = settings["zero_optimization"]
    stage, bf16 = zero["stage"], settings["bf16"]["enabled"]
    sizes = [p.numel() for p in model.parameters()]
    total = sum(sizes)
    share = math.ceil(total / ranks)
    width = 2 if bf16 else 4
    accumulated = {"fp32": 4, "bf16": 2, None: width}[settings.get("data_types", {}).get("grad_accum_dtype")]
    # AdamW's two moments, and the float32 weights that it updates where the model's own are not they.
    update = 12 if bf16 or stage else 8
    if stage == 0:
        return States(width * total, width * total, update * total, step=(6 if bf16 else 4) * total)
    buffers = width * int(zero.get("reduce_bucket_size", BUCKET)) * (2 if stage < 3 and zero.get("overlap_comm") else 1)
    offloaded = zero.get("offload_optimizer", {}).get("device", "none") != "none"
    if stage == 3:
        return _stage_3(zero, sizes, ranks, width, accumulated, update, buffers, offloaded)
    if stage == 2:
        gradients = accumulated * share
    else:
        gradients = width * total + (accumulated * total if accumulated != width else 0)
    if offloaded:
        # On the GPU one gradient at a time passes; the host keeps float32 gradients and a copy for the way back.
        host = (update + 4 + width) * share
        return States(width * total, width * max(sizes) + (gradients if stage == 1 else 0), 0, buffers, host=host)
    # The share's gradients, flattened, then in float32.
    return States(width * total, gradients, update * share, buffers, step=8 * share)


def _stage_3(zero: dict, sizes: list[int], ranks: int, width, accumulated, update, buffers, offloaded) -> States:
    limit = zero.get("stage3_param_persistence_threshold", PERSISTENT)
    whole = sum(size for size in sizes if size < limit)
    share = sum(math.ceil(size / ranks) for size in sizes)
    most = max(int(zero.get("stage3_max_live_parameters", LIVE_PARAMETERS)), max(sizes))
    gathered = width * min(sum(sizes) - whole, most)
    group = min(share, int(zero.get("sub_group_size", SUB_GROUP)))
    weights, host = width * (share + whole), 0
    if zero.get("offload_param", {}).get("device", "none") != "none":
        weights, host = width * whole, width * share
    if offloaded:
        return States(weights, 0, 0, buffers, gathered, host=host + (update + 4 + accumulated) * share)
    step = accumulated * share + (6 if width == 2 else 4) * group + buffers
    return States(weights, accumulated * share, update * share, buffers, gathered, step, host)


@dataclass(frozen=True)
class Activations:
    """Bytes that one micro batch's forward and backward pass holds beyond weights and gradients.

    saved: for backward, at the end of the forward pass; of it `head`: what no layer saves (logits and loss, mask)
    peak: the highest sum of live bytes over both passes, with what is recomputed and passing values
    """

    saved: int
    head: int
    peak: int


class SavedBytes:
    """Storages that autograd saves while `hooks()` is entered, each once, those of the model's own tensors not."""

    def __init__(self, model):
        self.model, self.kept = model, {}

    def hooks(self):
        import torch

        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.kept:
            # Under ZeRO 3 a parameter's storage changes with every gathering, so it is looked up each time.
            own = {t.untyped_storage()._cdata for t in (*self.model.parameters(), *self.model.buffers())}
            if storage._cdata not in own:
                self.kept[storage._cdata] = storage  # held, so that the address is not used again
        return tensor

    def total(self) -> int:
        return sum(storage.nbytes() for storage in self.kept.values())


def live_bytes_mode(model):
    """A dispatch mode that follows the bytes of all tensors made while it is entered: `.now`, `.peak`.

    A parameter's accumulated gradient leaves the sum when it is complete: gradients are a part of their own.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class LiveBytes(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.now = self.peak = 0
            self.live: dict[int, int] = {}
            self.handles = [p.register_post_accumulate_grad_hook(self.leave) for p in model.parameters()]

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
            for tensor in tree_leaves(out):
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in known:
                    self.enter_storage(tensor.untyped_storage())
            return out

        def enter_storage(self, storage):
            key = storage._cdata
            if key in self.live:
                return
            self.live[key] = storage.nbytes()
            self.now += self.live[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key)

        def forget(self, key):
            self.now -= self.live.pop(key, 0)

        def leave(self, parameter):
            self.forget(parameter.grad.untyped_storage()._cdata)

        def __exit__(self, *details):
            for handle in self.handles:
                handle.remove()
            return super().__exit__(*details)

    return LiveBytes()


def sample_batch(vocabulary: int, micro: int, length: int) -> dict:
    """A batch as `PackedWindows.batch` gives it, of one document a window, random tokens."""
    import numpy as np

    ids = np.random.default_rng(0).integers(0, vocabulary, (micro, length))
    return {
        "input_ids": ids,
        "labels": ids,
        "position_ids": np.tile(np.arange(length), (micro, 1)),
        "documents": np.zeros((micro, length), np.int32),
    }


def trace_activations(
    config,
    bf16: bool,
    micro: int,
    length: int,
    checkpointing: bool,
    attention: str,
    gpu: bool,
    remote_code: bool = False,
) -> Activations:
    """Activations of a training step of `config` (a transformers configuration), traced without memory.

    attention: as `packed_attention.choose_attention` names it; gpu: for a GPU's kernels, or this machine's CPU.
    The pass runs with one and two windows and with two depths; both grow linearly from there.
    Errors: InputError when the model cannot be made or does not run.
    """
    layers = config.get_text_config().num_hidden_layers
    depths = (2, 4) if layers > 4 else (1, max(2, layers))
    sums = {}
    for windows in (1, 2) if micro > 2 else (micro,):
        few, many = (
            _trace(config, n, bf16, windows, length, checkpointing, attention, gpu, remote_code) for n in depths
        )
        slopes = [(b - a) / (depths[1] - depths[0]) for a, b in zip(few, many, strict=True)]
        saved, peak = (b + (layers - depths[1]) * slope for b, slope in zip(many, slopes, strict=True))
        sums[windows] = (saved, saved - layers * slopes[0], peak)
    if micro not in sums:
        sums[micro] = [b + (micro - 2) * (b - a) for a, b in zip(sums[1], sums[2], strict=True)]
    return Activations(*map(round, sums[micro]))


def _trace(config, layers, bf16, micro, length, checkpointing, attention, gpu, remote_code) -> tuple[int, int]:
    """(bytes saved for backward, highest live bytes) of one pass through a model with `layers` layers."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    from modelling import lm_loss
    from modelling.lm_loss import summed_loss

    config = copy.deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    # The fake tensors' own report of a failing operation is long; the sentence below says it.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    pieces = dict(lm_loss.ROWS)
    try:
        lm_loss.ROWS["cpu"] = pieces["cuda" if gpu else "cpu"]
        with FakeTensorMode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            how = {"dtype": torch.bfloat16 if bf16 else torch.float32, "trust_remote_code": remote_code}
            how["attn_implementation"] = register_stand_in(attention, gpu)
            model = AutoModelForCausalLM.from_config(config, **how)
            return measure_pass(model, sample_batch(text.vocab_size, micro, length), checkpointing, summed_loss, "cpu")
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError, KeyError) as error:
        sentence = " ".join(str(error).split())[:300]
        raise InputError(f"a training step of this {config.model_type} cannot be traced: {sentence}") from None
    finally:
        lm_loss.ROWS.update(pieces)
        register_document_attention()


def measure_pass(model, batch: dict, checkpointing: bool, loss_of, device) -> tuple[int, int]:
    """(bytes saved for backward, highest live bytes) of one forward and backward pass, on tensors real or fake."""
    model.train()
    model.config.use_cache = False
    if checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable()
    saved, live = SavedBytes(model), live_bytes_mode(model)
    with live:
        with saved.hooks():
            loss, _ = loss_of(model, batch, device)
        total = saved.total()
        saved.kept.clear()
        loss.backward()
    return total, live.peak


def register_stand_in(attention: str, gpu: bool) -> str:
    """Make what keeps the attention's tensors known to transformers, and return the name to ask for.

    The name decides the inputs (`packed_attention.model_inputs`): `documents` takes the rows end to end, without mask.
    """
    import torch
    from transformers import AttentionInterface

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(ctx, query, key, value, bias):
            batch, heads, length, _ = query.shape
            out = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
            rows = query.new_empty(batch, heads, length, dtype=torch.float32)
            ctx.save_for_backward(*(t for t in (query, key, value, out, rows, bias) if t is not None))
            return out

        @staticmethod
        def backward(ctx, gradient):
            return (*(torch.empty_like(t) for t in ctx.saved_tensors[:3]), None)

    def flash(module, query, key, value, attention_mask, **_):
        return Kernel.apply(query, key, value, None).transpose(1, 2).contiguous(), None

    def efficient(module, query, key, value, attention_mask, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = (t.repeat_interleave(groups, dim=1) if groups > 1 else t for t in (key, value))
        bias = None if attention_mask is None else attention_mask.to(query.dtype)
        return Kernel.apply(query, key, value, bias).transpose(1, 2).contiguous(), None

    def each_row(module, query, key, value, attention_mask, scaling=None, max_length_q=None, **_):
        """`attend_within_documents` on a CPU, for rows of one document each: fake bounds have no values to split at."""
        pieces = zip(*(t.split(max_length_q, dim=2) for t in (query, key, value)), strict=True)
        grouped = query.shape[1] != key.shape[1]
        attend = torch.nn.functional.scaled_dot_product_attention
        outs = [attend(*qkv, scale=scaling, is_causal=True, enable_gqa=grouped) for qkv in pieces]
        return torch.cat(outs, dim=2).transpose(1, 2), None

    if attention == "eager" or (attention == "sdpa" and not gpu):
        return attention
    if attention == "sdpa":
        AttentionInterface.register("stand_in_with_mask", efficient)
        return "stand_in_with_mask"
    AttentionInterface.register("documents", flash if gpu else each_row)
    return "documents"
