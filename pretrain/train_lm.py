"""Train a causal language model further (or from scratch) on a token store, with DeepSpeed.

Reads   a token store (pretrain/tokenize_corpus.py) and a Hugging Face model, or a configuration to start from scratch
Writes  <out>: the model in safetensors with its tokenizer, run.json last; <out>/training: checkpoints, metrics.jsonl
Example bash pretrain/run.sh --recipe pretrain/recipes/tiny.yaml        (one process a GPU, or two on a CPU)
        sbatch pretrain/run.sh --recipe pretrain/recipes/tiny.yaml

A run that was killed goes on from its newest complete checkpoint; the data go on where they stopped, because the
position in the data is the step. USR1 or TERM: the checkpoint is saved at the next step on all ranks, exit 0.
"""

import argparse
import ctypes
import math
import os
import signal
import socket
import sys
import warnings
from pathlib import Path

# Handlers before the slow imports: a job warned in its first seconds must not die of the warning.
_stop_asked = False


def _ask_to_stop(_signal, _frame) -> None:
    global _stop_asked
    _stop_asked = True


if __name__ == "__main__":
    for _number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(_number, _ask_to_stop)
    if "RANK" in os.environ and sys.platform == "linux":
        # When torchrun is killed, its ranks are asked to save and stop, instead of writing on without a master.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

from checkpoints import Checkpoints  # noqa: E402
from export_model import export_checkpoint, logits_of, save_model_description  # noqa: E402
from lm_arguments import FREE_ARGUMENTS, build_parser  # noqa: E402
from lm_data import TrainingData, open_training_data, plan_lines  # noqa: E402
from lm_log import RunLog  # noqa: E402
from lm_loss import backward_scale, summed_loss  # noqa: E402
from lm_model import build_model, make_deepspeed_config, model_fingerprint  # noqa: E402
from lm_schedule import learning_rate  # noqa: E402
from lm_validation import Validation, print_validation  # noqa: E402
from pretrain_record import (  # noqa: E402
    InputError,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    write_json,
)
from run_fence import RunFence  # noqa: E402


class Training:
    """One run's loop: `steps` optimizer steps over `windows`, from step `start`. The hooks are its small methods."""

    def __init__(
        self,
        args: argparse.Namespace,
        engine,
        windows,
        validation: Validation,
        steps: int,
        start: int,
        log: RunLog,
        checkpoints: Checkpoints,
    ):
        import torch.distributed as dist

        self.args, self.engine, self.windows, self.validation, self.log = args, engine, windows, validation, log
        self.steps, self.start, self.checkpoints = steps, start, checkpoints
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def run(self) -> tuple[int, bool]:
        """Returns (steps done, whether a signal asked to stop)."""
        self.log.begin(self.start)
        for step in range(self.start, self.steps):
            rate = self.set_learning_rate(step)
            losses = self.accumulate(step)
            nats, tokens, stop = self.agree(losses)
            if not math.isfinite(nats):
                raise InputError(
                    f"the loss is not a number at step {step + 1}; lower --learning-rate, and go on from the "
                    "last checkpoint by the same command"
                )
            self.engine.step()
            done = step + 1
            self.log.step(done, nats / max(1, tokens), rate, self.engine.get_global_grad_norm())
            self.validate_if_due(done)
            self.checkpoints.poll()
            export = self.args.export_every and done % self.args.export_every == 0
            if stop or export or done % self.args.save_every == 0 or done == self.steps:
                self.save(done)
            if stop or done == self.steps:
                self.checkpoints.finish()
            if export and done < self.steps:
                self.export(done)
            if stop:
                return done, True
        return self.steps, False

    def set_learning_rate(self, step: int) -> float:
        rate = learning_rate(self.args, step, self.steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def accumulate(self, step: int):
        """Forward and backward over this rank's share of the step's windows; the weights stay as they are.

        Returns float64 [2] on the device: the sum of the losses in nats, the number of predicted tokens.
        """
        import torch

        micro, parts = self.args.micro_batch_size, self.engine.gradient_accumulation_steps()
        labels = self.windows.labels_in(step * self.args.global_batch_size, self.args.global_batch_size)
        scale = backward_scale(labels, self.world, parts)
        losses = torch.zeros(2, dtype=torch.float64, device=self.engine.device)
        for part in range(parts):
            first = step * self.args.global_batch_size + (part * self.world + self.rank) * micro
            nats, count = summed_loss(self.engine, self.windows.batch(first, micro), self.engine.device)
            self.engine.backward(nats * scale)
            losses += torch.stack([nats.detach().double(), losses.new_tensor(count)])
            if part < parts - 1:
                self.engine.step()  # counts the micro-batch; the last one's call, in `run`, moves the weights
        return losses

    def agree(self, losses) -> tuple[float, float, bool]:
        """(nats, predicted tokens, whether any rank was asked to stop) over all ranks: the step's one all-reduce."""
        import torch
        import torch.distributed as dist

        facts = torch.cat([losses, losses.new_tensor([float(_stop_asked)])])
        dist.all_reduce(facts)
        nats, tokens, stop = facts.tolist()
        return nats, tokens, stop > 0

    def validate_if_due(self, done: int) -> None:
        """Validation in the middle of training; before the step's checkpoint, so that a resumed run has its figures."""
        if self.validation.due(done) and done < self.steps:
            self.validation.at(done)

    def save(self, done: int) -> None:
        self.checkpoints.save(done)

    def export(self, done: int) -> None:
        """The model of this step, beside the checkpoints, for whoever wants to evaluate it meanwhile."""
        self.checkpoints.finish()
        out = self.args.out / "training" / "exports" / f"step-{done:08d}"
        record = {"stage": "pretrain/train_lm.py", "training": self.checkpoints.identity, "provenance": provenance()}
        export_model(self.checkpoints, self.args.out, done, out, record)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(__doc__.splitlines()[0]), argv)
    if bool(args.model) == bool(args.init_config):
        raise InputError("give --model (to train further) or --init-config (to start from scratch), one of them")
    if args.init_config and not args.init_config.exists():
        raise InputError(f"the configuration {args.init_config} is missing")
    data = open_training_data(args)
    windows = data.windows
    steps = args.steps or max(1, math.ceil(args.epochs * windows.per_epoch / args.global_batch_size))
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        print(
            f"{args.data}: {windows.per_epoch:,} windows an epoch; {steps} steps of {args.global_batch_size} windows "
            f"= {steps * args.global_batch_size / windows.per_epoch:.2f} epochs",
            *plan_lines(data, steps * args.global_batch_size),
            sep="\n",
            flush=True,
        )
        print("arguments: " + ", ".join(f"{k}={v}" for k, v in sorted(vars(args).items())), flush=True)
    arguments = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in FREE_ARGUMENTS}
    inputs = data.inputs | {"model": model_fingerprint(args)}
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused") if rank == 0 else None
        return 0
    if args.dry_run:
        return 0
    return run(args, argv, data, steps, arguments, inputs)


def run(args, argv, data: TrainingData, steps: int, arguments: dict, inputs: dict) -> int:
    """The distributed part: set up, resume, train, validate, export."""
    import torch

    gpu = torch.cuda.is_available()
    if not gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ:  # started by plain python, not by torchrun: a group of one, on a free port
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ |= {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
    # What torch and transformers announce of their own insides is no news for the person who watches the steps.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed|transformers")
    import deepspeed
    import torch.distributed as dist
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()

    deepspeed.init_distributed("nccl" if gpu else "gloo", verbose=False)
    rank, world = dist.get_rank(), dist.get_world_size()
    fence = RunFence(args.out).claim() if rank == 0 else None
    bf16 = gpu if args.bf16 is None else args.bf16
    config = make_deepspeed_config(args, world, bf16)
    model, tokenizer = build_model(args, data.store, config, torch.bfloat16 if bf16 else torch.float32)
    # Under ZeRO 3 a parameter's true shape is its ds_shape.
    matrices = [p for p in model.parameters() if len(getattr(p, "ds_shape", p.shape)) > 1]
    known = {id(p) for p in matrices}
    groups = [
        {"params": matrices, "weight_decay": args.weight_decay},
        {"params": [p for p in model.parameters() if id(p) not in known], "weight_decay": 0.0},
    ]
    # betas and eps of the GPT-3 family's pretraining recipes (0.9, 0.95).
    optimizer = torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=args.learning_rate, betas=(0.9, 0.95), eps=1e-8
    )
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    checkpoints = Checkpoints(
        engine,
        args.out / "training",
        arguments | {"inputs": inputs},
        keep=args.keep,
        keep_every=args.keep_every,
        asynchronous=args.async_save,
        check_owner=fence.check if fence else lambda: None,
    )
    start = resume(checkpoints, model, tokenizer, args.resume)
    validation = Validation(engine, data.held_out, args, start)
    before = validation.at(0) if start == 0 else validation.on_file(0)
    if rank == 0:
        parameters = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters())
        print(
            f"{type(model).__name__}: {parameters:,} parameters, {'bf16' if bf16 else 'fp32'}, ZeRO {args.zero}, "
            f"{world} ranks on {'GPU' if gpu else 'CPU'}; from step {start} to {steps}",
            flush=True,
        )
        print_validation("before", before)

    log = RunLog(args, steps, rank)
    done, stopped = Training(args, engine, data.windows, validation, steps, start, log, checkpoints).run()
    if stopped:
        if rank == 0:
            print(f"asked to stop: checkpoint saved at step {done}; the same command goes on from there", flush=True)
    else:
        after = validation.at(steps)
        if rank == 0:
            print_validation("after", after)
        record = {
            "stage": "pretrain/train_lm.py",
            "arguments": arguments,
            "inputs": inputs,
            "parent": inputs["tokens"],
            "steps": steps,
            "tokens_seen": steps * args.global_batch_size * args.sequence_length,
            "world_size": world,
            "parameters": sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters()),
            "base": args.model,
            "validation": validation.record(steps),
            "provenance": provenance(argv),
        }
        export_model(checkpoints, args.out, steps, args.out, record)
    # Leave together: a rank that exits early can abort the others in their last collective.
    dist.barrier()
    dist.destroy_process_group()
    if fence:
        fence.close()
    return 0


def export_model(checkpoints: Checkpoints, run: Path, step: int, out: Path, record: dict) -> None:
    """Rank 0 makes a Hugging Face folder of a checkpoint and compares it with the model in training; all ranks call."""
    reference = logits_of(checkpoints.engine, checkpoints.engine.module.config.vocab_size)

    def export() -> None:
        export_checkpoint(run, step, out, checkpoints.dtype, record, reference)

    checkpoints.on_rank_0(f"the model of step {step} could not be written to {out}; its checkpoint is whole", export)


def resume(checkpoints: Checkpoints, model, tokenizer, how: str | int) -> int:
    """The step that the run goes on from; a folder of another run is refused. A new run is noted first."""
    folder = checkpoints.folder

    def note() -> None:
        if not finished_record(folder / "making.json", checkpoints.identity, {}):
            save_model_description(model, tokenizer, folder / "model")
            write_json(folder / "making.json", {"arguments": checkpoints.identity, "inputs": {}})

    checkpoints.on_rank_0(f"{folder} could not be written", note)
    return checkpoints.resume(how)[0]


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
