"""Train a causal language model further (or from scratch) on a token store, with DeepSpeed.

Reads   a token store (pretrain/tokenize_corpus.py) and a Hugging Face model, or a configuration to start from scratch
Writes  <out>: the model in safetensors with its tokenizer, run.json last; <out>/training: checkpoints, metrics.jsonl
Example bash pretrain/run.sh --recipe pretrain/recipes/tiny.yaml        (one process per GPU, or two on a CPU)
        sbatch pretrain/run.sh --recipe pretrain/recipes/tiny.yaml

An interrupted run resumes from its newest complete checkpoint; the data continue where they stopped, because the
position in the data is the step. USR1 or TERM: the checkpoint is saved at the next step on all ranks, exit 0.
"""

import argparse
import atexit
import math
import os
import sys
from pathlib import Path

from training.distributed import join_ranks, stop_flags, stop_name, watch_signals

if __name__ == "__main__":
    watch_signals()

from checkpointing.checkpoint_reader import fitting_micro_batch
from checkpointing.checkpoints import Checkpoints
from dataloading.lm_data import TrainingData, open_training_data, plan_lines
from export_model import export_checkpoint, logits_of, save_model_description
from loss_picture import draw
from modelling.lm_loss import backward_scale, summed_loss
from modelling.lm_model import (
    build_model,
    check_kernels,
    clips_itself,
    describe_model,
    make_deepspeed_config,
    model_fingerprint,
)
from modelling.lm_optimizer import learning_rate
from planning.flops import count_parameters
from run_record import (
    InputError,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    write_json,
)
from training.distributed import RunLock
from training.lm_arguments import FREE_ARGUMENTS, build_parser
from training.lm_card import training_facts
from training.lm_log import RunLog, check_trackers
from training.lm_validation import Validation, print_validation
from training.spike_guard import SpikeGuard


class Training:
    """One run's loop: `steps` optimizer steps over `windows`, from step `start`. The hooks are its small methods.

    optimizer: the `lm_optimizer.SkippableAdamW` inside the DeepSpeed engine.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        engine,
        optimizer,
        windows,
        validation: Validation,
        steps: int,
        start: int,
        log: RunLog,
        checkpoints: Checkpoints,
    ):
        import torch.distributed as dist

        self.args, self.engine, self.optimizer, self.windows = args, engine, optimizer, windows
        self.validation, self.log, self.checkpoints = validation, log, checkpoints
        self.steps, self.start = steps, start
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.guard = SpikeGuard(args.on_spike, args.spike_factor, args.max_skips)
        self.guard.recall(log.rows)

    def run(self) -> tuple[int, str | None]:
        """Returns (steps done, the signal that asked to stop, or None)."""
        for step in range(self.start, self.steps):
            self.log.begin()
            rate = self.set_learning_rate(step)
            losses = self.accumulate(step)
            nats, labels, tokens, *stops = self.agree(losses)
            stop, done = stop_name(stops), step + 1
            loss = nats / max(1, labels)
            norm, skipped = self.move_weights(step, loss, losses)
            row = self.log.step(done, loss, int(tokens), rate, norm, skipped)
            self.guard.remember(done, row["loss"], skipped)
            self.validate_if_due(done)
            self.checkpoints.poll()
            export = self.args.export_every and done % self.args.export_every == 0
            if stop or export or done % self.args.save_every == 0 or done == self.steps:
                self.save(done)
            if stop or done == self.steps:
                self.checkpoints.finish()
            if stop:
                if export and self.rank == 0:
                    print(f"the export of step {done} is omitted; export_model.py --step {done} makes it", flush=True)
                return done, stop
            if export and done < self.steps:
                self.export(done)
        return self.steps, None

    def set_learning_rate(self, step: int) -> float:
        rate = learning_rate(self.args, step, self.steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def accumulate(self, step: int):
        """Forward and backward over this rank's share of the step's windows; the weights stay as they are.

        Returns float64 [micro-batches, 3] on the device: the sum of the losses in nats, labels, input tokens.
        """
        import torch

        parts = self.engine.gradient_accumulation_steps()
        labels = self.windows.labels_in(step * self.args.global_batch_size, self.args.global_batch_size)
        scale = backward_scale(labels, self.world, parts)
        facts = torch.zeros(parts, 3, dtype=torch.float64, device=self.engine.device)
        for part in range(parts):
            batch = self.windows.batch(self.first_window(step, part, self.rank), self.args.micro_batch_size)
            nats, count = summed_loss(self.engine, batch, self.engine.device)
            self.engine.backward(nats * scale)
            facts[part, 0] = nats.detach()
            facts[part, 1], facts[part, 2] = count, batch["input_ids"].size
            if part < parts - 1:
                self.engine.step()  # counts the micro-batch; the last one's call, in `move_weights`, moves the weights
        return facts

    def first_window(self, step: int, part: int, rank: int) -> int:
        """The first window of a rank's micro-batch: a function of the step, whatever the number of ranks."""
        return step * self.args.global_batch_size + (part * self.world + rank) * self.args.micro_batch_size

    def agree(self, losses) -> list[float]:
        """[nats, labels, input tokens, a flag a stop signal], summed over all ranks: the step's one all-reduce."""
        import torch
        import torch.distributed as dist

        facts = torch.cat([losses.sum(0), losses.new_tensor(stop_flags())])
        dist.all_reduce(facts)
        return facts.tolist()

    def move_weights(self, step: int, loss: float, losses) -> tuple[float | None, bool]:
        """The update, unless the loss or the gradient forbids it. Returns (gradient norm, whether it was omitted).

        Errors: InputError when the run is to stop there; the weights have not moved.
        """
        decision, why = self.guard.judge(loss)
        if decision == "warn":
            self.report(step, decision, why, losses)
        if decision != "stop":
            self.optimizer.hold = decision == "skip"
            self.engine.step()
            norm = self.engine.get_global_grad_norm()
            norm = self.optimizer.norm if norm is None else float(norm)
            if decision in ("apply", "warn"):
                # DeepSpeed omits an update with a NaN or infinite gradient, in every stage.
                decision, why = self.guard.judge(loss, norm) if not math.isfinite(norm) else ("apply", "")
        if decision in ("skip", "stop"):
            named = self.report(step, decision, why, losses)
        if decision == "stop":
            raise InputError(
                f"stopped at step {step + 1}, before the weights moved: {why}; documents: {named}; "
                f"{self.log.incidents} has them all. Look at them, then go on from the last checkpoint by the same "
                "command, with --on-spike skip to leave such steps out, or a lower --learning-rate in a new --out"
            )
        return norm, decision == "skip"

    def report(self, step: int, decision: str, why: str, losses) -> str:
        """Write the step's documents to <out>/training/spikes.jsonl, the worst micro-batches first; names the first.

        All ranks call it, because the losses of all are gathered.
        """
        import torch
        import torch.distributed as dist

        gathered = [torch.empty_like(losses) for _ in range(self.world)]
        dist.all_gather(gathered, losses)
        batches = []
        for rank, facts in enumerate(gathered):
            for part, (nats, labels, _) in enumerate(facts.tolist()):
                first = self.first_window(step, part, rank)
                documents = self.windows.documents(first, self.args.micro_batch_size)
                batches.append({"window": first, "loss": nats / max(1.0, labels), "documents": documents})
        batches.sort(key=lambda batch: -batch["loss"] if math.isfinite(batch["loss"]) else -math.inf)
        named = ", ".join(batches[0]["documents"][:8])
        self.log.incident(step + 1, decision, why, batches, named)
        return named

    def validate_if_due(self, done: int) -> None:
        """Validation in the middle of training; before the step's checkpoint, so that a resumed run has its figures."""
        if self.validation.due(done) and done < self.steps:
            self.log.scores(done, self.validation.at(done))

    def save(self, done: int) -> None:
        self.log.flush()
        self.checkpoints.save(done)

    def export(self, done: int) -> None:
        """The model of this step, beside the checkpoints, for whoever wants to evaluate it meanwhile."""
        self.checkpoints.finish()
        out = self.args.out / "training" / "exports" / f"step-{done:08d}"
        record = {"stage": "pretrain/train_lm.py", "training": self.checkpoints.identity, "provenance": provenance()}
        record["tokens_seen"] = self.log.tokens
        export_model(self.checkpoints, self.args, done, out, record)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(__doc__.splitlines()[0]), argv)
    if bool(args.model) == bool(args.init_config):
        raise InputError("give --model (to train further) or --init-config (to start from scratch), one of them")
    if args.init_config and not args.init_config.exists():
        raise InputError(f"the configuration {args.init_config} is missing")
    refuse_a_folder_of_another_model(args.out, args.model)
    check_kernels(args, gpu_at_hand())
    check_trackers(args)
    data = open_training_data(args)
    windows = data.windows
    steps = args.steps
    if steps is None:
        steps = max(1, math.ceil(args.epochs * windows.per_epoch / args.global_batch_size))
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        print(
            f"{args.data}: {windows.per_epoch:,} windows per epoch; {steps} steps of {args.global_batch_size} windows "
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


def refuse_a_folder_of_another_model(out: Path, model: str | None) -> None:
    """A model that no run of this command has made is not overwritten, the one that is trained further least of all."""
    if model and Path(model).exists() and Path(model).resolve() == out.resolve():
        raise InputError(f"--out {out} is the model that is to be trained further; use another --out")
    ours = (out / "run.json", out / "training" / "making.json")
    if (out / "config.json").exists() and not any(path.exists() for path in ours):
        raise InputError(f"--out {out} holds another model (config.json without run.json); use another --out")


def gpu_at_hand() -> bool:
    import torch

    return torch.cuda.is_available()


def run(args, argv, data: TrainingData, steps: int, arguments: dict, inputs: dict) -> int:
    """The distributed part: set up, resume, train, validate, export."""
    import torch

    gpu = torch.cuda.is_available()
    join_ranks(gpu)
    import deepspeed
    import torch.distributed as dist

    rank, world = dist.get_rank(), dist.get_world_size()
    fence = RunLock(args.out).claim() if rank == 0 else None
    bf16 = gpu if args.bf16 is None else args.bf16
    micro = fitting_micro_batch(args.out / "training", args.global_batch_size, args.micro_batch_size, world)
    if micro != args.micro_batch_size and rank == 0:
        print(f"--micro-batch-size {args.micro_batch_size} does not fit {world} ranks: {micro} is taken", flush=True)
    args.micro_batch_size = micro
    config = make_deepspeed_config(args, world, bf16)
    model, tokenizer = build_model(args, data.store, config, torch.bfloat16 if bf16 else torch.float32)
    from modelling.lm_optimizer import make_optimizer  # torch is slow to import, and bad input is reported before

    optimizer = make_optimizer(args, model, clips_itself(args, bf16))
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
    start = resume(checkpoints, model, tokenizer, resume_choice_now(args.resume, rank))
    card = args.out / "training" / "card.json"
    checkpoints.on_rank_0(f"{card} could not be written", lambda: write_json(card, training_facts(args)))
    if start == 0:
        torch.manual_seed(args.seed * 1_000_003 + rank)  # every rank drops out units of its own
    validation = Validation(engine, data.held_out, args, start)
    before = validation.at(0) if start == 0 else validation.on_file(0)
    if rank == 0:
        print(f"{describe_model(args, model, bf16, world, gpu)}; from step {start} to {steps}", flush=True)
        print_validation("before", before)

    marker = args.out / "training" / "stopped.json"
    log = RunLog(args, steps, start, model, gpu)
    if rank == 0:
        marker.unlink(missing_ok=True)
    training = Training(args, engine, optimizer, data.windows, validation, steps, start, log, checkpoints)
    done, stopped = training.run()
    log.close()
    if stopped:
        if rank == 0:
            write_json(marker, {"step": done, "steps": steps, "signal": stopped})
            print(
                f"asked to stop ({stopped}): checkpoint saved at step {done}; run the same command again to resume",
                flush=True,
            )
    else:
        after = validation.at(steps)
        if rank == 0:
            print_validation("after", after)
            print(picture(args.out / "training"), flush=True)
        record = {
            "stage": "pretrain/train_lm.py",
            "arguments": arguments,
            "inputs": inputs,
            "parent": inputs["tokens"],
            "steps": steps,
            "tokens_seen": training.log.tokens,
            "skipped_steps": training.guard.skipped,
            "world_size": world,
            "parameters": count_parameters(model).total,
            "base": args.model,
            "validation": validation.record(steps),
            "provenance": provenance(argv),
        }
        export_model(checkpoints, args, steps, args.out, record)
    # Leave together: a rank that exits early can abort the others in their last collective.
    dist.barrier()
    dist.destroy_process_group()
    if fence:
        fence.close()
    return 0


def picture(folder: Path) -> str:
    """Draw the run; a month of training must not fail for want of a plotting library."""
    try:
        return " ".join(["wrote", *map(str, draw(folder))])
    except InputError as error:
        return f"warning: no loss picture: {error}"


def export_model(checkpoints: Checkpoints, args: argparse.Namespace, step: int, out: Path, record: dict) -> None:
    """Rank 0 makes a Hugging Face folder of a checkpoint and compares it with the model in training; all ranks call."""
    reference = logits_of(checkpoints.engine, checkpoints.engine.module.config.vocab_size)

    def export() -> None:
        checkpoints.check_owner()
        trusted = {"trust_remote_code": args.trust_remote_code}
        export_checkpoint(args.out, step, out, checkpoints.dtype, record, reference, **trusted)

    checkpoints.on_rank_0(f"the model of step {step} could not be written to {out}; its checkpoint is whole", export)


def resume_choice_now(how: str | int, rank: int) -> str | int:
    """--resume, which a job that Slurm has queued again must not apply a second time: it would lose what was trained
    since, or refuse its own checkpoints."""
    restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    if restarts == 0 or how == "auto":
        return how
    if rank == 0:
        print(f"restart {restarts} of this job by Slurm: --resume {how} is taken as auto", flush=True)
    return "auto"


def resume(checkpoints: Checkpoints, model, tokenizer, how: str | int) -> int:
    """The step that the run resumes from; a folder of another run is refused. A new run is noted first."""
    folder = checkpoints.folder

    def note() -> None:
        if not finished_record(folder / "making.json", checkpoints.identity, {}):
            save_model_description(model, tokenizer, folder / "model")
            write_json(folder / "making.json", {"arguments": checkpoints.identity, "inputs": {}})

    checkpoints.on_rank_0(f"{folder} could not be written", note)
    return checkpoints.resume(how)[0]


def run_rank() -> int:
    """`main`; a rank of several then ends without the interpreter's own end.

    There gloo's threads, which may still hold tensors, abort a process that has done everything, once in many runs
    (https://github.com/pytorch/pytorch/pull/179291).
    """
    code = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(run_rank)
