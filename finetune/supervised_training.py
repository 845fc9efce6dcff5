"""The Hugging Face Trainer as this stage runs it: its log, loss per example, checkpoints, and stop at a signal."""

import argparse
import os
import shutil
import sys
from pathlib import Path

import stop_signal
from batching import MicroBatchCollator, MicroBatches
from finetune_record import InputError


def make_callback(metrics: Path):
    """A Trainer callback: one line a logged step, the same values to metrics.jsonl, and stop on a signal."""
    import json
    import time

    import torch
    from transformers import TrainerCallback

    class LogAndStop(TrainerCallback):
        def on_train_begin(self, _args, state, control, **_):
            self.began, self.first = time.monotonic(), state.global_step

        def on_log(self, _args, state, control, logs=None, **_):
            if not state.is_world_process_zero or "loss" not in (logs or {}):
                return
            row = {"step": state.global_step, "loss": logs["loss"], "learning_rate": logs["learning_rate"]}
            row["gradient_norm"] = logs.get("grad_norm")
            speed = (time.monotonic() - self.began) / max(1, state.global_step - self.first)
            left = int(speed * (state.max_steps - state.global_step))
            with open(metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"step {row['step']}/{state.max_steps}  loss {row['loss']:.4f}  lr {row['learning_rate']:.2e}  "
                f"left {left // 60}:{left % 60:02d}",
                flush=True,
            )

        def on_step_end(self, _args, _state, control, **_):
            stop = torch.tensor(float(stop_signal.asked()))
            if torch.distributed.is_initialized():  # all ranks must stop at the same step
                stop = stop.to("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")
                torch.distributed.all_reduce(stop)
            if stop:
                control.should_save = control.should_training_stop = True

    return LogAndStop()


def make_loss_per_example(examples_per_step: int):
    """A loss for the Trainer: each completion's mean cross-entropy (nats a token), averaged over the step's examples.

    examples_per_step: over all micro-batches and ranks. The Trainer leaves this division to the function and multiplies
    by the number of ranks what their average then divides.
    """
    import torch

    def loss_per_example(outputs, labels, num_items_in_batch=None):
        logits, labels = outputs.logits[:, :-1].float(), labels[:, 1:]  # position t predicts token t + 1
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
        return (losses.sum(1) / (labels != -100).sum(1)).sum() / examples_per_step

    return loss_per_example


def newest_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: trainer_state.json is the Trainer's last file."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    for path in folder.glob("checkpoint-*"):
        if path not in complete:
            shutil.rmtree(
                path, ignore_errors=True
            )  # every rank looks; cut off in the middle of its save; the Trainer would stumble over it
    return str(max(complete, key=lambda path: int(path.name.split("-")[1]))) if complete else None


def train(model, tokenizer, batches: MicroBatches, args: argparse.Namespace) -> bool:
    """Run the Hugging Face Trainer, from a checkpoint if there is one. Returns whether it reached its last step."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    world = int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    if args.batch_size % (args.micro_batch_size * world):
        raise InputError(
            f"--batch-size {args.batch_size} is no multiple of --micro-batch-size {args.micro_batch_size} x "
            f"{world} processes"
        )
    folder = args.out / "training"
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
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
            train_sampling_strategy="sequential",
            save_strategy="steps",
            save_steps=args.save_every,
            save_total_limit=args.keep,
            logging_steps=args.log_every,
            seed=args.seed,
            report_to=[],
            disable_tqdm=not sys.stderr.isatty(),
            remove_unused_columns=False,
        ),
        train_dataset=batches,
        data_collator=MicroBatchCollator(tokenizer.pad_token_id, args.packing),
        processing_class=tokenizer,
        compute_loss_func=make_loss_per_example(args.batch_size) if args.loss_per == "example" else None,
        callbacks=[make_callback(folder / "metrics.jsonl")],
    )
    trainer.remove_callback(PrinterCallback)
    start = newest_checkpoint(folder)
    if start:
        print(f"resumed from {start}", flush=True)
    trainer.train(resume_from_checkpoint=start)
    return trainer.state.global_step >= trainer.state.max_steps
