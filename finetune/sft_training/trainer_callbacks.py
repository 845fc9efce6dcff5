"""What happens between the Trainer's steps: log, wish to stop, whole checkpoints, validation, the best weights."""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from run_record import read_json, write_json
from sft_data.batching import PadOnTheRight
from sft_training import stop_signal
from sft_training.answer_validation import validate, validation_line
from sft_training.run_checkpoints import mark_complete
from sft_training.run_folder import write_model


def on_any_rank(wish: bool) -> bool:
    """Whether any rank wishes it: all must stop at the same step."""
    if not dist.is_initialized():
        return wish
    votes = torch.tensor(float(wish), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(votes)
    return bool(votes)


def from_first_rank(decide: Callable):
    """What the first rank decides, on all ranks: what each reads from a shared disk, or sums up, may differ, and ranks
    that part here wait for each other for ever."""
    answer = [decide() if not dist.is_initialized() or dist.get_rank() == 0 else None]
    if dist.is_initialized():
        dist.broadcast_object_list(answer, src=0)
    return answer[0]


def append_metrics(metrics: Path, row: dict) -> None:
    with open(metrics, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class LogAndStop(TrainerCallback):
    """One line a logged step, the same values to metrics.jsonl; stop with a checkpoint when a signal has come."""

    def __init__(self, metrics: Path):
        self.metrics = metrics

    def on_train_begin(self, _args, state, _control, **_):
        self.began, self.first = time.monotonic(), state.global_step

    def on_log(self, _args, state, _control, logs=None, **_):
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        row = {"step": state.global_step, "loss": logs["loss"], "learning_rate": logs["learning_rate"]}
        row["gradient_norm"] = logs.get("grad_norm")
        append_metrics(self.metrics, row)
        speed = (time.monotonic() - self.began) / max(1, state.global_step - self.first)
        left = int(speed * (state.max_steps - state.global_step))
        print(
            f"step {row['step']}/{state.max_steps}  loss {row['loss']:.4f}  lr {row['learning_rate']:.2e}  "
            f"left {left // 60}:{left % 60:02d}",
            flush=True,
        )

    def on_step_end(self, _args, _state, control, **_):
        if on_any_rank(stop_signal.asked()):
            control.should_save = control.should_training_stop = True


class KeepCheckpoints(TrainerCallback):
    """Mark a checkpoint complete once every rank has written its files, and remove old ones."""

    def __init__(self, folder: Path, keep: int):
        self.folder, self.keep = folder, keep

    def on_save(self, _args, state, _control, **_):
        if dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            mark_complete(self.folder, state.global_step, self.keep)


class Validation(TrainerCallback):
    """Validate every so many steps and at the end; keep the weights that did best; stop when they get no better.

    The best weights lie in <folder>/best-STEP, complete when its validation.json is there. That folder is the only
    memory: a run that goes on from an older checkpoint comes by the same numbers again.
    """

    def __init__(self, examples: list[dict], args: argparse.Namespace):
        self.examples, self.args = examples, args
        self.folder = args.out / "training"
        self.trainer = None  # the Trainer takes its callbacks before it is there
        self.stopped_early = False

    def on_train_begin(self, _args, state, _control, **_):
        if not state.global_step:
            self._measure(0)

    def on_step_end(self, _args, state, control, **_):
        step = state.global_step
        if step % self.args.validate_every and step < state.max_steps:
            return
        scores = self._measure(step)
        keep, since = from_first_rank(lambda: self._compare(scores))
        if keep:
            self._keep(scores)
        elif self.args.early_stopping and since >= self.args.early_stopping and step < state.max_steps:
            self.stopped_early = control.should_training_stop = True
            control.should_save = False  # a run that went on from here would go past its end
            if state.is_world_process_zero:
                print(f"stopped early at step {step}: none of the last {since} validations was better", flush=True)

    def best(self) -> dict | None:
        """What the kept weights scored, with their step. All ranks call it together and get the same."""
        return from_first_rank(self._read_best)

    def _compare(self, scores: dict) -> tuple[bool, int]:
        """(whether these weights are the best so far, validations since the best ones)."""
        best = self._read_best()
        if best is None or better(scores, best, self.args.best_by):
            return True, 0
        return False, (scores["step"] - best["step"] + self.args.validate_every - 1) // self.args.validate_every

    def _read_best(self) -> dict | None:
        kept = [read_json(path) for path in self.folder.glob("best-*/validation.json")]
        for row in kept[1:]:
            kept[0] = row if better(row, kept[0], self.args.best_by) else kept[0]
        return kept[0] if kept else None

    def _measure(self, step: int) -> dict:
        trainer = self.trainer
        collate = PadOnTheRight(trainer.processing_class.pad_token_id)
        scores = validate(
            trainer.model_wrapped, self.examples, self.args.micro_batch_size, collate, trainer.args.device
        )
        if trainer.is_world_process_zero():
            print(validation_line(step, scores), flush=True)
            append_metrics(self.folder / "metrics.jsonl", {"step": step, "validation": scores})
        return {"step": step, **scores}

    def _keep(self, scores: dict) -> None:
        """Write these weights, mark them, remove the ones before: all ranks together, as ZeRO 3 needs."""
        target = self.folder / f"best-{scores['step']}"
        if self.args.keep_best:
            write_model(self.trainer, target)
        if self.trainer.is_world_process_zero():
            write_json(target / "validation.json", scores)
            for old in self.folder.glob("best-*"):
                if old != target:
                    shutil.rmtree(old)
        if dist.is_initialized():
            dist.barrier()


def better(new: dict, old: dict, by: str) -> bool:
    """Whether a validation beats another: by loss, or by accuracy and among equals by loss."""
    if by == "accuracy" and new["accuracy"] is not None and new["accuracy"] != old["accuracy"]:
        return new["accuracy"] > old["accuracy"]
    return new["loss"] < old["loss"]
