"""The training state of a run, extracted from DeepSpeed's engine and restored for any ZeRO stage and number of ranks.

Every ZeRO stage keeps, per rank, pieces of flattened parameters in fp32 with the optimizer's moments beside them. A
checkpoint holds these pieces under the parameter's own name and place: `weights/NAME`, `exp_avg/NAME` and so on, each
a flat run of elements starting at element `start` of the flattened parameter. A run with another number of ranks, or
of another stage, reads the pieces that it needs. Nothing is converted, no rank contains more than its share, and the
files are safetensors.

Where the pieces lie inside DeepSpeed is not a public interface; read in its source (0.19.8: utils/tensor_fragment.py,
runtime/zero/stage3.py, runtime/bf16_optimizer.py, runtime/fp16/unfused_optimizer.py). `pieces_of` counts what it
finds, and the checkpoint is refused when the ranks together do not have every element once.
"""

import math
import random
from dataclasses import dataclass

from run_record import InputError


@dataclass
class Piece:
    """A run of elements of one flattened parameter that this rank has: its weights in fp32 and the moments."""

    name: str
    start: int
    weights: object  # float32 [n], a view into the live tensors
    flat: object  # the tensor that the optimizer knows, and keeps its state under
    offset: int  # where the piece starts in `flat`
    optimizer: object  # the torch optimizer

    @property
    def numel(self) -> int:
        return self.weights.numel()

    def moments(self) -> dict:
        """{"exp_avg": float32 [n], ...}: views of the optimizer's state that has one value an element."""
        import torch

        state = self.optimizer.state.get(self.flat, {})
        return {
            key: value.detach().view(-1)[self.offset : self.offset + self.numel]
            for key, value in state.items()
            if torch.is_tensor(value) and value.numel() == self.flat.numel() and value.dim() > 0
        }


def parameter_shapes(engine) -> dict[str, tuple[int, ...]]:
    """{name: true shape}; under ZeRO 3 a parameter's true shape is its ds_shape."""
    return {name: tuple(getattr(p, "ds_shape", p.shape)) for name, p in named_parameters(engine).items()}


def named_parameters(engine) -> dict:
    # A compiled module shows its parameters under this prefix; the checkpoint must not know of it.
    return {name.replace("_orig_mod.", ""): p for name, p in engine.module.named_parameters()}


def pieces_of(engine, whole: bool = False) -> list[Piece]:
    """The pieces that this rank has. Without ZeRO every rank has everything: then its share only, unless `whole`."""
    import torch.distributed as dist

    pieces, optimizer = [], engine.optimizer
    base = getattr(optimizer, "optimizer", optimizer)  # the torch optimizer inside DeepSpeed's
    masters = _unpartitioned_masters(optimizer)
    for name, parameter in named_parameters(engine).items():
        if hasattr(parameter, "ds_id"):  # ZeRO 3: each parameter cut into equal parts, the last one padded
            group, offset, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
            size = parameter.ds_tensor.ds_numel
            start = size * dist.get_rank(parameter.ds_process_group)
            count, flat = min(size, parameter.ds_numel - start), optimizer.fp32_partitioned_groups_flat[group]
        elif hasattr(parameter, "_hp_mapping"):  # ZeRO 1 and 2: a run of all parameters end to end
            mapping = parameter._hp_mapping
            if mapping is None:
                continue
            start, count = mapping.lp_fragment_address.start, mapping.hp_fragment_address.numel
            offset, flat = mapping.hp_fragment_address.start, base.param_groups[mapping.param_group_index]["params"][0]
        else:
            flat = masters.get(parameter)
            if flat is None:
                raise InputError(f"no checkpoint can hold {name}: {type(optimizer).__name__} keeps it nowhere known")
            share = -(-flat.numel() // dist.get_world_size())
            start = 0 if whole else min(share * dist.get_rank(), flat.numel())
            count, offset = (flat.numel() if whole else min(share, flat.numel() - start)), start
        if count > 0:
            weights = flat.detach().view(-1)[offset : offset + count]
            pieces.append(Piece(name, start, weights, flat, offset, base))
    return pieces


def _unpartitioned_masters(optimizer) -> dict:
    """{parameter: the tensor that the optimizer steps}: itself in fp32, DeepSpeed's fp32 copy in bf16 without ZeRO."""
    if hasattr(optimizer, "fp16_groups") and hasattr(optimizer, "fp32_groups"):
        groups = zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
        return {p: master for group in groups for p, master in zip(*group, strict=True)}
    if not hasattr(optimizer, "optimizer"):
        return {p: p for group in optimizer.param_groups for p in group["params"]}
    return {}


def scalar_state(pieces: list[Piece]) -> dict[str, float]:
    """The optimizer's state that is one number a tensor (Adam's step count), the same for all of them."""
    import torch

    found = {}
    for piece in pieces:
        for key, value in piece.optimizer.state.get(piece.flat, {}).items():
            is_number = isinstance(value, int | float) or (torch.is_tensor(value) and value.dim() == 0)
            if is_number and found.setdefault(key, float(value)) != float(value):
                raise InputError(f"the optimizer's {key} differs between parameters; the checkpoint contains one")
    return found


def put_back(engine, pieces: list[Piece], scalars: dict[str, float], moments: list[str], read, step: int) -> None:
    """Fill this rank's pieces and everything that follows from them.

    pieces: of `pieces_of(engine, whole=True)`. read(kind, name, start, count) -> float32 [count].
    """
    import torch

    optimizer = engine.optimizer
    if hasattr(optimizer, "checkpoint_event_prologue"):
        optimizer.checkpoint_event_prologue()
    with torch.no_grad():
        for piece in pieces:
            piece.weights.copy_(read("weights", piece.name, piece.start, piece.numel))
            _make_state(piece, scalars, moments)
            for key, view in piece.moments().items():
                view.copy_(read(key, piece.name, piece.start, piece.numel))
        _refresh_low_precision(optimizer)
    if hasattr(optimizer, "checkpoint_event_epilogue"):
        optimizer.checkpoint_event_epilogue()
    engine.global_steps, engine.micro_steps = step, step * engine.gradient_accumulation_steps()
    engine.global_samples = step * engine.train_batch_size()


def _make_state(piece: Piece, scalars: dict[str, float], moments: list[str]) -> None:
    """The optimizer's state as it is after a step; before the first one there is none to fill."""
    import torch

    state = piece.optimizer.state[piece.flat]
    for key in moments:
        if key not in state:
            state[key] = torch.zeros_like(piece.flat.detach())
    for key, value in scalars.items():
        had = state.get(key)
        if torch.is_tensor(had):
            had.fill_(value)
        elif isinstance(piece.optimizer, torch.optim.AdamW):
            # torch counts steps in a float32 tensor: on the CPU, but beside the parameter when it steps in one kernel.
            group = piece.optimizer.param_groups[0]
            beside = group.get("fused") or group.get("capturable")
            state[key] = torch.tensor(value, dtype=torch.float32, device=piece.flat.device if beside else "cpu")
        else:
            state[key] = int(value)


def _refresh_low_precision(optimizer) -> None:
    """The weights that the model computes with, from their fp32 originals."""
    if hasattr(optimizer, "fp16_partitioned_groups_flat"):  # ZeRO 3
        for group, flat in enumerate(optimizer.fp16_partitioned_groups_flat):
            flat.data.copy_(optimizer.fp32_partitioned_groups_flat[group].data)
            parts = optimizer.fp16_partitioned_groups[group]
            for part, value in zip(parts, optimizer.unflatten(flat, parts), strict=True):
                part.data = value.data
    elif hasattr(optimizer, "update_lp_params"):  # ZeRO 1 and 2
        optimizer.update_lp_params()
    elif hasattr(optimizer, "fp32_groups"):
        for parameter, master in _unpartitioned_masters(optimizer).items():
            parameter.data.copy_(master.data)


def random_state() -> dict:
    """Python's, numpy's, torch's and this rank's GPU's generators as tensors: {"python": int64 [n], ...}."""
    import numpy as np
    import torch

    _version, numbers, python_gauss = random.getstate()
    _name, keys, position, has_gauss, numpy_gauss = np.random.get_state()
    state = {
        "python": torch.tensor(numbers, dtype=torch.int64),
        "numpy": torch.tensor([*keys.tolist(), position, has_gauss], dtype=torch.int64),
        # Both keep the second number of a Gaussian pair; python's is None when it has none.
        "gauss": torch.tensor([math.nan if python_gauss is None else python_gauss, numpy_gauss], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """The reverse of `random_state`."""
    import numpy as np
    import torch

    python_gauss, numpy_gauss = state["gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), None if math.isnan(python_gauss) else python_gauss))
    *keys, position, has_gauss = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, numpy_gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
