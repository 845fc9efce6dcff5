"""The Hugging Face Trainer as this stage runs it: its settings, DeepSpeed's, the loss per example, and a whole run."""

import argparse
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError
from sft_data.batching import MicroBatchCollator, MicroBatches
from sft_training.packing_guard import make_packing_guard
from sft_training.run_checkpoints import forget_metrics_after, newest_checkpoint, step_of


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
            f"--batch-size {args.batch_size} is no multiple of --micro-batch-size {args.micro_batch_size} x "
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
    """DeepSpeed's own process group: it must stand before a model is split (ZeRO 3), and also for one process."""
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


def train(model, tokenizer, batches: MicroBatches, held_out: list[dict], settings, args: argparse.Namespace):
    """Run the Trainer, from a checkpoint if there is one. Returns (Outcome, the trainer).

    held_out: examples of answer_validation.validation_examples; none is no validation.
    """
    from transformers import PrinterCallback, Trainer

    from sft_training.trainer_callbacks import KeepCheckpoints, LogAndStop, Validation

    folder = args.out / "training"
    validation = Validation(held_out, args) if held_out else None
    callbacks = [LogAndStop(folder / "metrics.jsonl"), KeepCheckpoints(folder, args.keep)]
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
