"""The log of a run: one line per logged step, one row per step in <out>/training/metrics.jsonl, optional trackers.

metrics.jsonl has every step once, also if it was killed and resumed: step, loss (nats per token), learning_rate,
gradient_norm (before clipping), tokens_per_second, mfu (model FLOPs utilisation, 0 to 1), memory_gib (peak of rank 0:
allocated on a GPU, else resident), seconds and tokens (of all steps so far), skipped (only where true). A value that
is unknown, or a NaN or infinite loss, is null.
"""

import argparse
import json
import math
import os
import resource
import sys
import time
from pathlib import Path

from planning.flops import count_parameters, flops_per_token, mfu, peak_flops
from run_record import InputError, write_text

TRACKERS = ("tensorboard", "wandb")


def check_trackers(args: argparse.Namespace) -> None:
    """Errors: InputError when a library that a tracker needs is not installed."""
    import importlib.util

    for name in args.track:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--track {name} needs the package {name}: pip install {name}, or leave the flag out")


def open_trackers(args: argparse.Namespace, start: int) -> list:
    """The trackers asked for, going on after step `start`. They write under <out>/training."""
    makers = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
    return [makers[name](args, start) for name in args.track]


class TensorBoard:
    """<out>/training/tensorboard: `tensorboard --logdir` shows it. What a killed run wrote later is hidden."""

    def __init__(self, args: argparse.Namespace, start: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(args.out / "training" / "tensorboard"), purge_step=start + 1)

    def log(self, row: dict) -> None:
        for name, value in row.items():
            if name != "step" and value is not None:
                self.writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """One W&B run over all restarts (its id stays in <out>/training). Project and mode: WANDB_PROJECT, WANDB_MODE."""

    def __init__(self, args: argparse.Namespace, start: int):
        import wandb

        note = args.out / "training" / "wandb_id.txt"
        known = note.read_text(encoding="utf-8").strip() if note.exists() else None
        config = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
        self.run = wandb.init(
            id=known, resume="allow", dir=str(args.out / "training"), name=args.out.name, config=config
        )
        write_text(note, self.run.id + "\n")

    def log(self, row: dict) -> None:
        values = {name: value for name, value in row.items() if name != "step" and value is not None}
        self.run.log(values, step=row["step"])

    def close(self) -> None:
        self.run.finish()


def read_metrics(path: Path, last: int | None = None) -> list[dict]:
    """Rows of metrics.jsonl up to step `last`; a line that a killed run left half-written ends the file."""
    rows: list[dict] = []
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if last is not None and row["step"] > last:
            break
        rows.append(row)
    return rows


def compute_peak(args: argparse.Namespace, gpu: bool) -> float | None:
    """FLOP/s of one rank's device: --peak-tflops, or the table's for the card; None where neither is known."""
    import torch

    if args.peak_tflops:
        return args.peak_tflops * 1e12
    return peak_flops(torch.cuda.get_device_name()) if gpu else None


class RunLog:
    """Rows and lines of one run. Every rank keeps the rows' sums; rank 0 writes."""

    def __init__(self, args: argparse.Namespace, steps: int, start: int, model, gpu: bool):
        """start: the step that the run resumes from; rows of later steps, left by a killed run, are removed."""
        import torch.distributed as dist

        self.args, self.steps, self.gpu = args, steps, gpu
        self.first, self.world = dist.get_rank() == 0, dist.get_world_size()
        self.path = args.out / "training" / "metrics.jsonl"
        self.incidents = args.out / "training" / "spikes.jsonl"
        self.rows = read_metrics(self.path, start)
        dist.barrier()  # no rank reads what rank 0 has begun to change
        for path in (self.path, self.incidents) if self.first else ():
            if path.exists():
                write_text(path, "".join(json.dumps(row) + "\n" for row in read_metrics(path, start)))
        last = self.rows[-1] if self.rows else {}
        if self.first and last.get("step", 0) != start:
            print(f"warning: {self.path} ends at step {last.get('step', 0)}, the run resumes from step {start}")
        self.seconds, self.tokens = last.get("seconds", 0.0), last.get("tokens", 0)
        self.line = [0.0, 0]  # seconds and tokens since the last line
        self.run = [0.0, 0]  # seconds and steps of this process
        self.peak = compute_peak(args, gpu)
        try:
            self.flops = flops_per_token(model.config, args.sequence_length, count_parameters(model))
        except InputError:
            self.flops = None  # a model whose operations are not known has no utilisation
        self.trackers = open_trackers(args, start) if self.first else []

    def begin(self) -> None:
        """A step begins."""
        self.began = time.monotonic()

    def step(self, done: int, loss: float, tokens: int, rate: float, norm: float | None, skipped: bool) -> dict:
        """A finished step: loss in nats per token, input tokens of all ranks. Returns its row of metrics.jsonl."""
        seconds = time.monotonic() - self.began
        self.seconds += seconds
        self.tokens += tokens
        for counter, amount in ((self.line, tokens), (self.run, 1)):
            counter[0] += seconds
            counter[1] += amount
        speed = tokens / seconds
        share = self._mfu(speed)
        row = {
            "step": done,
            "loss": round(loss, 4) if math.isfinite(loss) else None,
            "learning_rate": rate,
            "gradient_norm": round(norm, 4) if norm is not None and math.isfinite(norm) else None,
            "tokens_per_second": round(speed),
            "mfu": None if share is None else round(share, 4),
            "memory_gib": round(self._memory_gib(), 3),
            "seconds": round(self.seconds, 3),
            "tokens": self.tokens,
        } | ({"skipped": True} if skipped else {})
        if self.first:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            for tracker in self.trackers:
                tracker.log(row)
            if done % self.args.log_every == 0 or done == self.steps or skipped:
                self._print(row, loss, norm)
        return row

    def incident(self, step: int, decision: str, why: str, batches: list[dict], named: str) -> None:
        """A step (from 1) whose loss or gradient is not as it should be; `named`: the worst documents, for the line."""
        if not self.first:
            return
        for batch in batches:
            batch["loss"] = round(batch["loss"], 4) if math.isfinite(batch["loss"]) else None
        row = {"step": step, "decision": decision, "why": why, "micro_batches": batches}
        with open(self.incidents, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{decision} at step {step}: {why}; documents: {named}", flush=True)

    def scores(self, done: int, scores: dict[str, dict]) -> None:
        """Validation figures by language and group, for the trackers."""
        for tracker in self.trackers:
            tracker.log({"step": done} | {f"bits_per_byte/{name}": s["bits_per_byte"] for name, s in scores.items()})

    def flush(self) -> None:
        """Before a checkpoint is made: the rows up to it are on the disk."""
        if self.first and self.path.exists():
            with open(self.path, "rb+") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()

    def _print(self, row: dict, loss: float, norm: float | None) -> None:
        speed = self.line[1] / self.line[0]
        share = self._mfu(speed)
        self.line = [0.0, 0]
        left = (self.steps - row["step"]) * self.run[0] / self.run[1]
        print(
            f"step {row['step']}/{self.steps}  loss {loss:.4f}  lr {row['learning_rate']:.2e}  "
            f"grad norm {'-' if norm is None else f'{norm:.2f}'}  {speed:,.0f} tokens/s  "
            f"MFU {'-' if share is None else f'{100 * share:.1f} %'}  "
            f"memory {row['memory_gib']:.2f} GiB  left {show_time(left)}{'  skipped' if 'skipped' in row else ''}",
            flush=True,
        )

    def _mfu(self, speed: float) -> float | None:
        return None if self.flops is None else mfu(speed, self.flops, self.peak, self.world)

    def _memory_gib(self) -> float:
        if self.gpu:
            import torch

            return torch.cuda.max_memory_allocated() / 2**30
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB


def show_time(seconds: float) -> str:
    """Days, hours, minutes and seconds, as short as it goes: 0:07, 1:02:03, 4 d 02:10."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
