"""Atomic checkpoints: written to a temporary folder, hashed, made current by one rename, read by any number of ranks.

<out>/training/checkpoints/step-00000100/rank-00000.safetensors   the pieces of the training state that rank 0 had
<out>/training/checkpoints/step-00000100/complete.json            written last: step, ranks, SHA-256 of every file
<out>/training/checkpoints/.step-00000200.saving/                 being written; counts for nothing

DeepSpeed's own save_checkpoint is not used: it writes its `latest` before all ranks have finished [read in its source,
and seen: a rank killed in its save leaves `latest` on a broken checkpoint], pickles, cannot be read by another number
of ranks without a conversion that copies everything, and does not hash. What is saved is in training_state.py.
"""

import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from checkpointing.checkpoint_reader import (
    FORMAT_VERSION,
    CheckpointReader,
    complete_checkpoints,
    damaged_files,
    step_folder,
)
from checkpointing.tensor_files import write_hashed
from checkpointing.training_state import (
    parameter_shapes,
    pieces_of,
    put_back,
    random_state,
    scalar_state,
    set_random_state,
)
from run_record import InputError, write_json

# Ranks wait for each other's files at most so long: a slow disk must not look like a dead rank.
PATIENCE = timedelta(hours=6)


class Checkpoints:
    """A run's checkpoints, on all ranks: `resume` once, `save` at some steps, `poll` at each, `finish` at the end.

    keep: newest ones kept; keep_every: every this many steps one is kept for good (0: none). asynchronous: the state is
    copied to host memory (12 bytes per parameter, over the ranks) and written by a thread during training.
    identity: what decides the run; a checkpoint of another identity is refused. check_owner: raises when another job
    has taken the run over; asked before a checkpoint is made current.
    """

    def __init__(
        self,
        engine,
        folder: Path,
        identity: dict,
        keep: int,
        keep_every: int = 0,
        asynchronous: bool = False,
        check_owner=lambda: None,
    ):
        import torch.distributed as dist

        self.engine, self.folder, self.identity = engine, folder, json.loads(json.dumps(identity, default=str))
        self.keep, self.keep_every, self.asynchronous, self.check_owner = keep, keep_every, asynchronous, check_owner
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.dtype = str(next(engine.module.parameters()).dtype).removeprefix("torch.")
        restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        self._start = f".restart-{restarts}" if restarts else ""
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)  # files are no business of the GPUs
        self._pool = ThreadPoolExecutor(1) if asynchronous else None
        self._host: dict = {}  # host copies, kept from save to save
        self._flight: tuple[int, dict | None, Future] | None = None

    # Saving

    def save(self, step: int, state: dict | None = None) -> None:
        """Save the whole training state of `step`; asynchronous: begin to. state: JSON values of the caller."""
        self.finish()
        aside = self._aside(step)
        with self._together(_no_save(step)):
            if self.rank == 0:
                self._remove_leftovers()
                aside.mkdir(parents=True)
        tensors, starts = self._state_tensors()
        if self.asynchronous:
            tensors = self._copy_to_host(tensors)
            future = self._pool.submit(self._write, aside, tensors, starts)
        else:
            future = Future()
            try:
                future.set_result(self._write(aside, tensors, starts))
            except OSError as error:
                future.set_exception(error)
        self._flight = (step, state, future)
        if not self.asynchronous:
            self.finish()

    @property
    def in_flight(self) -> bool:
        """Whether a save is being written in the background, or written and not yet made current."""
        return self._flight is not None

    def poll(self) -> None:
        """Called by all ranks after every step: a background save that all have written is made current."""
        import torch
        import torch.distributed as dist

        if self._flight is None:
            return
        done = torch.tensor([int(self._flight[2].done())])
        dist.all_reduce(done, dist.ReduceOp.MIN, group=self._group)
        if int(done):
            self.finish()

    def finish(self) -> None:
        """Wait for the save in flight, on all ranks, and make it current; a failed one ends the run on all of them."""
        if self._flight is None:
            return
        (step, state, future), self._flight = self._flight, None
        with self._together(_no_save(step)) as shared:
            shared["mine"] = future.result()
        parts = shared["all"]
        with self._together(_no_save(step)):
            if self.rank == 0:
                self._make_current(step, state, parts)

    def _state_tensors(self) -> tuple[dict, dict]:
        """({name in the file: live tensor}, {parameter: first element})."""
        pieces = pieces_of(self.engine)
        tensors = {}
        for piece in pieces:
            tensors[f"weights/{piece.name}"] = piece.weights
            tensors |= {f"{key}/{piece.name}": value for key, value in piece.moments().items()}
        self._scalars = scalar_state(pieces)
        self._moments = sorted({key for piece in pieces for key in piece.moments()})
        if self.rank == 0:
            tensors |= {f"buffers/{name}": value for name, value in persistent_buffers(self.engine.module).items()}
        tensors |= {f"random/{name}": value for name, value in random_state().items()}
        return tensors, {piece.name: piece.start for piece in pieces}

    def _copy_to_host(self, tensors: dict) -> dict:
        import torch

        for name, value in tensors.items():
            had = self._host.get(name)
            if had is None or had.shape != value.shape:
                self._host[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            self._host[name].copy_(value, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return {name: self._host[name] for name in tensors}

    def _write(self, aside: Path, tensors: dict, starts: dict) -> dict:
        name = f"rank-{self.rank:05d}.safetensors"
        shapes = {key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in tensors.items()}
        facts = write_hashed(aside / name, shapes, tensors.__getitem__, {"starts": json.dumps(starts)})
        elements = sum(value.numel() for key, value in tensors.items() if key.startswith("weights/"))
        return {"file": name, "facts": facts, "elements": elements, "moments": self._moments, "scalars": self._scalars}

    def _make_current(self, step: int, state: dict | None, parts: list[dict]) -> None:
        shapes = parameter_shapes(self.engine)
        total = sum(_count(shape) for shape in shapes.values())
        saved = sum(part["elements"] for part in parts)
        if saved != total:
            raise InputError(f"the ranks saved {saved:,} elements of {total:,}; the checkpoint is not made current")
        self.check_owner()
        aside, target = self._aside(step), step_folder(self.folder, step)
        record = {
            "format_version": FORMAT_VERSION,
            "step": step,
            "world_size": self.world,
            "zero": self.engine.zero_optimization_stage(),
            "dtype": self.dtype,
            "identity": self.identity,
            "optimizer": {
                "moments": sorted({m for p in parts for m in p["moments"]}),
                "scalars": next((p["scalars"] for p in parts if p["scalars"]), {}),
            },
            "state": state,
            "shapes": shapes,
            "files": {part["file"]: part["facts"] for part in parts},
        }
        write_json(aside / "complete.json", record)
        _flush_folder(aside)
        if target.exists():
            _remove(target)
        aside.rename(target)
        _flush_folder(target.parent)
        complete = complete_checkpoints(self.folder)
        kept = {s for s in complete if self.keep_every and s % self.keep_every == 0} | set(complete[-self.keep :])
        for old in complete:
            if old not in kept:
                _remove(step_folder(self.folder, old))

    def _aside(self, step: int) -> Path:
        # A job that was queued again never writes where its earlier start, cut off with its node, may still be writing.
        return self.folder / "checkpoints" / f".step-{step:08d}{self._start}.saving"

    def _remove_leftovers(self) -> None:
        for pattern in (".step-*.saving", ".step-*.removing"):
            for path in (self.folder / "checkpoints").glob(pattern):
                shutil.rmtree(path)

    # Resuming

    def resume(self, how: str | int = "auto") -> tuple[int, dict]:
        """(step, the caller's state) of the checkpoint that the run resumes from; (0, {}) when there is none.

        how: "auto", the newest whole one; "none", refuse a folder that has one; or a step.
        """
        steps = self.on_rank_0(f"{self.folder} cannot be read", lambda: complete_checkpoints(self.folder))
        if not steps:
            if isinstance(how, int):
                raise InputError(f"{self.folder} has no complete checkpoint, so none at step {how}")
            return 0, {}
        if how == "none":
            raise InputError(
                f"{self.folder} has a checkpoint at step {steps[-1]}; use --resume auto, or use another --out"
            )
        if isinstance(how, int) and how not in steps:
            raise InputError(f"{self.folder} has no complete checkpoint at step {how}; it has {steps}")
        for step in [how] if isinstance(how, int) else steps[::-1]:
            problems = self._problems(step)
            if not problems:
                return self._load(step, [s for s in steps if s > step])
            if isinstance(how, int):
                raise InputError(f"the checkpoint at step {how} is damaged: {'; '.join(problems)}")
            if self.rank == 0:
                target = step_folder(self.folder, step)
                aside = target.with_name(f"damaged-{target.name}")
                if aside.exists():
                    shutil.rmtree(aside)
                target.rename(aside)
                print(
                    f"WARNING: the checkpoint at step {step} is damaged and set aside as {aside.name}: "
                    f"{'; '.join(problems)}; trying the one before",
                    flush=True,
                )
        raise InputError(
            f"every checkpoint in {self.folder}/checkpoints is damaged; delete {self.folder} to start again"
        )

    def _problems(self, step: int) -> list[str]:
        with self._together(f"the checkpoint of step {step} cannot be read") as shared:
            shared["mine"] = damaged_files(step_folder(self.folder, step), self.rank, self.world)
        return list(dict.fromkeys(problem for part in shared["all"] for problem in part))

    def _load(self, step: int, newer: list[int]) -> tuple[int, dict]:
        mine = f"rank-{self.rank:05d}.safetensors"
        reader = CheckpointReader(step_folder(self.folder, step), first=mine)
        record = reader.record
        other = sorted(
            key
            for key in {*record["identity"], *self.identity}
            if record["identity"].get(key) != self.identity.get(key)
        )
        if other:
            raise InputError(
                f"{reader.checkpoint} is of a run with different arguments ({', '.join(other)}); use another --out"
            )
        if record["dtype"] != self.dtype:
            raise InputError(
                f"{reader.checkpoint} was trained in {record['dtype']}, this run would go on in {self.dtype}; give "
                f"--{'' if record['dtype'] == 'bfloat16' else 'no-'}bf16, or another --out"
            )
        _check_shapes(reader, parameter_shapes(self.engine))
        optimizer = record["optimizer"]
        pieces = pieces_of(self.engine, whole=True)
        put_back(self.engine, pieces, optimizer["scalars"], optimizer["moments"], reader.read, step)
        buffers = reader.others("rank-00000.safetensors", "buffers/")
        for name, value in persistent_buffers(self.engine.module).items():
            value.copy_(buffers[name])
        if record["world_size"] == self.world:
            set_random_state(reader.others(mine, "random/"))
        else:
            import torch

            torch.manual_seed(step * 1_000_003 + self.rank)  # with other ranks there is no state to go on from
        with self._together("checkpoints newer than --resume could not be set aside"):
            for path in (step_folder(self.folder, s) for s in newer if self.rank == 0):
                if path.exists():
                    aside = _free_name(path.with_name(f"set-aside-{path.name}"))
                    path.rename(aside)
                    print(f"{path.name} is newer than --resume {step} and is set aside as {aside.name}")
        if self.rank == 0:
            changed = "" if record["world_size"] == self.world else f"; {record['world_size']} -> {self.world} ranks"
            if record["zero"] != self.engine.zero_optimization_stage():
                changed += f"; ZeRO {record['zero']} -> {self.engine.zero_optimization_stage()}"
            print(f"resumed from the checkpoint at step {step}{changed}", flush=True)
        return step, record["state"] or {}

    # Agreement of the ranks

    def _together(self, what: str) -> "_Together":
        return _Together(self._group, what)

    def on_rank_0(self, what: str, work):
        """work() on rank 0 while the others wait, for hours if need be; its result on all ranks. what: the sentence of
        a failed disk."""
        with self._together(what) as shared:
            shared["mine"] = work() if self.rank == 0 else None
        return shared["all"][0]


class _Together(dict):
    """`with _Together(group, what) as shared`: all ranks leave it well, or all of them end with the failure's sentence.

    shared["mine"], set inside, is found as shared["all"], a list by rank, after it.
    """

    def __init__(self, group, what: str):
        super().__init__(mine=None)
        self._group, self._what = group, what

    def __exit__(self, kind, error, _trace) -> bool:
        import torch.distributed as dist

        if error is not None and not isinstance(error, OSError | InputError):
            return False
        outcomes = [None] * dist.get_world_size()
        dist.all_gather_object(outcomes, (self["mine"], error and str(error)), group=self._group)
        failures = [f"rank {rank}: {text}" for rank, (_, text) in enumerate(outcomes) if text is not None]
        if isinstance(error, InputError):
            return False
        if failures:
            # One rank speaks for all.
            raise SystemExit(f"train_lm.py: {self._what} ({'; '.join(failures)})" if dist.get_rank() == 0 else 1)
        self["all"] = [mine for mine, _ in outcomes]
        return False

    def __enter__(self) -> "_Together":
        return self


def _no_save(step: int) -> str:
    return (
        f"the checkpoint of step {step} could not be written and counts for nothing; those from before are whole; "
        "make room, then run the same command again"
    )


def persistent_buffers(module) -> dict:
    """{name: tensor} of the buffers that belong to the model's state."""
    kept = module.state_dict(keep_vars=True).keys()
    return {name.replace("_orig_mod.", ""): buffer.detach() for name, buffer in module.named_buffers() if name in kept}


def _check_shapes(reader: CheckpointReader, shapes: dict) -> None:
    wrong = sorted(name for name in {*shapes, *reader.shapes} if shapes.get(name) != reader.shapes.get(name))
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{reader.checkpoint} is of another model: {len(wrong)} parameters differ, such as {name}, "
            f"{reader.shapes.get(name, 'absent')} there and {shapes.get(name, 'absent')} here"
        )


def _count(shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _free_name(path: Path) -> Path:
    """`path`, or with the first number behind it that no earlier one has: set-aside-step-00000003.2"""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _remove(path: Path) -> None:
    """Out of the way by one rename, so that a removal that is cut off leaves no half that looks whole."""
    aside = path.with_name(f".{path.name}.removing")
    if aside.exists():
        shutil.rmtree(aside)
    path.rename(aside)
    shutil.rmtree(aside)


def _flush_folder(path: Path) -> None:
    """A rename is on the disk only when its folder is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
