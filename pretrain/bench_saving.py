"""Measure what a checkpoint costs: how long training pauses for a save in the step or in the background.

Reads   nothing
Writes  a table to the screen; the checkpoints go to a folder of their own under --out, removed at the end
Example python pretrain/bench_saving.py --parameters 20e6 --out DIR

A plain torch model on this machine's CPU, one process, AdamW, float32: 12 bytes per parameter are written. The stall is
what `save` takes; the rest of a background save is shared with the steps, whose time beside it is reported too.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from run_record import parse_arguments, run_command


def measure(engine, folder: Path, asynchronous: bool, saves: int, steps: int) -> dict[str, float]:
    """Milliseconds: the stall of a save, a step after it, a step elsewhere; medians."""
    import torch

    from checkpointing.checkpoints import Checkpoints

    kept = Checkpoints(engine, folder, {}, keep=1, asynchronous=asynchronous)
    times = {"stall": [], "step beside a save": [], "step": []}

    def timed(name: str, work, *arguments) -> None:
        began = time.perf_counter()
        work(*arguments)
        times[name].append((time.perf_counter() - began) * 1000)

    def step() -> None:
        engine.module(torch.ones(8, engine.module[0].in_features)).square().sum().backward()
        engine.optimizer.step()
        engine.optimizer.zero_grad()

    step()
    kept.save(0)
    kept.finish()
    for number in range(1, saves + 1):
        for _ in range(steps):
            timed("step", step)
        timed("stall", kept.save, number)
        while kept.in_flight:
            timed("step beside a save", step)
            kept.poll()
    return {name: statistics.median(values) if values else float("nan") for name, values in times.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--parameters", type=float, default=3e6, help="number of model parameters (default %(default)s)"
    )
    parser.add_argument("--saves", type=int, default=5, help="number of saves of each kind (default %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="steps between saves (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, help="folder on the disk to measure (default: the system's temporary folder)"
    )
    args = parse_arguments(parser, argv)
    import torch
    import torch.distributed as dist

    width = max(8, round((args.parameters / 4) ** 0.5))
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False) for _ in range(4)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    engine = SimpleNamespace(module=model, optimizer=optimizer, zero_optimization_stage=lambda: 0)
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        store = dist.FileStore(f"{folder}/store", 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        print(f"{4 * width**2:,} parameters, {12 * 4 * width**2 / 1e6:.1f} MB a checkpoint; medians in ms")
        for name, asynchronous in (("in the step", False), ("in the background", True)):
            row = measure(engine, Path(folder) / name.replace(" ", "-"), asynchronous, args.saves, args.steps)
            print(f"{name:18}" + "".join(f"  {what} {value:8.1f}" for what, value in row.items()), flush=True)
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
