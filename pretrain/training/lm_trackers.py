"""The optional trackers of --track: TensorBoard and Weights & Biases, told the rows of metrics.jsonl."""

import argparse
from pathlib import Path

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
