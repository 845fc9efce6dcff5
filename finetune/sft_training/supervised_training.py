"""The Hugging Face Trainer of this stage: settings, DeepSpeed, callbacks, the loss per example, a complete run."""

import argparse
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from run_record import InputError, read_json, write_json
from sft_data.batching import MicroBatchCollator, MicroBatches, PadOnTheRight, make_packing_guard
from sft_training.answer_validation import validate, validation_line
from sft_training.run_folder import forget_metrics_after, mark_complete, newest_checkpoint, step_of, write_model


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
    """Print one line per logged step, write the same values to metrics.jsonl, checkpoint and stop when requested."""

    def __init__(self, metrics: Path, stop_requested: Callable[[], bool]):
        self.metrics, self.stop_requested = metrics, stop_requested

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
        if on_any_rank(self.stop_requested()):
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
    """Validate every this many steps and at the end; keep the weights that did best; stop when they get no better.

    The best weights lie in <folder>/best-STEP, complete when its validation.json is there. That folder is the only
    memory: a run that resumes from an older checkpoint comes by the same numbers again.
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


@dataclass
class Outcome:
    """What a run came to: whether it reached its end, after how many steps, and the best validation, if any."""

    finished: bool
    steps: int
    stopped_early: bool = False
    best: dict | None = None


def deepspeed_config(stage: int) -> dict:
    """DeepSpeed's settings for the Trainer, which fills in "auto" and makes the same AdamW as without DeepSpeed."""
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
        "bf16": {"enabled": "auto"},
    }


def trainer_settings(args: argparse.Namespace):
    """The Trainer's arguments. They come before the model: under ZeRO 3 its weights are split as they are read.

    Errors: InputError when the batch cannot be dealt out to the processes.
    """
    import torch
    from transformers import TrainingArguments

    world = int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    if args.batch_size % (args.micro_batch_size * world):
        raise InputError(
            f"--batch-size {args.batch_size} is not a multiple of --micro-batch-size {args.micro_batch_size} x "
            f"{world} processes"
        )
    launched = "WORLD_SIZE" in os.environ
    if args.zero:
        start_deepspeed(gpu)
    settings = TrainingArguments(
        output_dir=str(args.out / "training"),
        # An item of the dataset is a whole micro-batch, and the dataset is the whole run in its order.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=args.batch_size // (args.micro_batch_size * world),
        num_train_epochs=1,
        learning_rate=args.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=args.warmup_share,
        weight_decay=args.weight_decay,
        max_grad_norm=args.clip,
        bf16=gpu if args.bf16 is None else args.bf16,
        use_cpu=not gpu,
        ddp_backend=("nccl" if gpu else "gloo") if world > 1 else None,
        ddp_find_unused_parameters=False if world > 1 else None,
        deepspeed=deepspeed_config(args.zero) if args.zero else None,
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_steps=args.save_every,
        logging_steps=args.log_every,
        seed=args.seed,
        report_to=[],
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
    )
    return settings if launched else use_one_gpu(settings, torch.cuda.device_count() if gpu else 0)


def use_one_gpu(settings, visible: int):
    """A process that torchrun did not start takes one GPU: the Trainer would deal each batch out to all that it sees,
    and a batch here is one item."""
    if settings.n_gpu > 1:
        settings._n_gpu = 1
    if visible > 1:
        print(f"one GPU of {visible} is used; `bash finetune/run.sh` takes all", flush=True)
    return settings


def start_deepspeed(gpu: bool) -> None:
    """DeepSpeed's own process group: it must be before a model is split (ZeRO 3), and also for one process."""
    if not gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    import deepspeed

    deepspeed.init_distributed("nccl" if gpu else "gloo", auto_mpi_discovery=False, verbose=False)


def make_loss_per_example(examples_per_step: int):
    """A loss for the Trainer: each completion's mean cross-entropy (nats per token), averaged over the step's examples.

    examples_per_step: over all micro-batches and ranks. The Trainer leaves this division to the function and multiplies
    by the number of ranks what their average then divides.
    """
    import torch

    def loss_per_example(outputs, labels, num_items_in_batch=None):
        logits, labels = outputs.logits[:, :-1].float(), labels[:, 1:]  # position t predicts token t + 1
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
        return (losses.sum(1) / (labels != -100).sum(1)).sum() / examples_per_step

    return loss_per_example


def starting_point(args: argparse.Namespace) -> str | None:
    """The checkpoint to go on from, the same on all ranks; the first one looks, and tidies up."""
    import torch.distributed as dist

    folder = args.out / "training"
    found: list[str | None] = [None]
    if int(os.environ.get("RANK", "0")) == 0:
        found[0] = newest_checkpoint(folder)
        forget_metrics_after(folder / "metrics.jsonl", step_of(Path(found[0])) if found[0] else -1)
        if found[0]:
            print(f"resumed from {found[0]}", flush=True)
    if dist.is_initialized():
        dist.broadcast_object_list(found, src=0)
    return found[0]


def train(
    model,
    tokenizer,
    batches: MicroBatches,
    held_out: list[dict],
    settings,
    args: argparse.Namespace,
    stop_requested: Callable[[], bool],
):
    """Run the Trainer, from a checkpoint if there is one. Returns (Outcome, the trainer).

    held_out: examples of answer_validation.validation_examples; empty: no validation. stop_requested is called after
    every step; if it is true on any rank, all ranks checkpoint and stop.
    """
    from transformers import PrinterCallback, Trainer

    folder = args.out / "training"
    validation = Validation(held_out, args) if held_out else None
    callbacks = [LogAndStop(folder / "metrics.jsonl", stop_requested), KeepCheckpoints(folder, args.keep)]
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=batches,
        data_collator=MicroBatchCollator(tokenizer.pad_token_id, args.packing),
        processing_class=tokenizer,
        compute_loss_func=make_loss_per_example(args.batch_size) if args.loss_per == "example" else None,
        callbacks=[*([validation] if validation else []), *callbacks],
    )
    if args.packing:
        trainer.add_callback(make_packing_guard(batches.shortest(2)))
    trainer.remove_callback(PrinterCallback)
    if validation:
        validation.trainer = trainer
    trainer.train(resume_from_checkpoint=starting_point(args))
    steps = trainer.state.global_step
    outcome = Outcome(steps >= trainer.state.max_steps, steps)
    if validation:
        outcome.stopped_early = validation.stopped_early
        outcome.finished |= validation.stopped_early
        outcome.best = validation.best()
    return outcome, trainer


def leave_together() -> None:
    """End the process group; from here on this process is alone, and models are read whole again, not split.

    A rank that exits early can abort the others in their last collective.
    """
    import torch.distributed as dist
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    unset_hf_deepspeed_config()


def memory_advice(error: BaseException, args: argparse.Namespace) -> InputError | None:
    """The sentence for a machine without memory enough, naming what to lower; None for any other error."""
    import torch

    signs = ("out of memory", "can't allocate memory", "not enough memory")
    if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not any(s in str(error) for s in signs):
        return None
    remedies = [f"--micro-batch-size (now {args.micro_batch_size})"] if args.micro_batch_size > 1 else []
    remedies.append(f"--max-length (now {args.max_length})")
    others = [] if args.gradient_checkpointing else ["--gradient-checkpointing"]
    if not args.lora:
        others += ["--lora"] + (["--zero 3 on more GPUs"] if args.zero < 3 else [])
    elif not args.qlora:
        others.append("--qlora")
    what = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(
        f"out of memory ({what}): lower {' or '.join(remedies)}"
        + (f", or add {' or '.join(others)}" if others else "")
        + "; --batch-size can stay, it is reached in more micro-batches"
    )
