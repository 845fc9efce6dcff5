"""Memory of weights, gradients and optimizer state per GPU by ZeRO stage, as DeepSpeed 0.19.8 allocates them.

Source: ZeRO (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054, figure 1): 2 + 2 + 12 bytes per parameter in
mixed precision, each part divided by the number of ranks from its stage on; and what DeepSpeed's source adds
(runtime/zero/stage_1_and_2.py, runtime/zero/stage3.py, runtime/fp16/unfused_optimizer.py):

- bf16: a float32 copy of the weights (4) and AdamW's two moments (8); gradients in bf16, unless accumulated in float32
- float32: a copy of the weights too from ZeRO 1 on (ZeRO 3 means to share them, but compares a device with its name)
- ZeRO 1: all gradients of the micro batches so far wait on every rank until the last one is reduced
- ZeRO 3: tensors of fewer than 100,000 elements stay whole on every rank; the others are gathered as they are needed,
  up to 1e9 elements at once
- buffers: the bucket in which gradients are reduced, 5e8 elements (1 GB in bf16), from ZeRO 1 on
"""

import math
from dataclasses import dataclass

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
