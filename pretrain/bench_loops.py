"""The baseline training loops of the benchmark: Hugging Face Trainer and DistributedDataParallel.

    python pretrain/bench_loops.py trainer STORE ...    Hugging Face Trainer, one process
    torchrun ... pretrain/bench_loops.py ddp STORE ...  torch's DistributedDataParallel, one process per rank

Both read the windows that train_lm.py reads, with plain causal attention, and print "step K/N" after each optimizer
step, as train_lm.py does; bench.py starts them and takes the times.
"""

import argparse
from pathlib import Path

import yaml

from bench_helpers.bench_training import make_model
from dataloading.packed_windows import PackedWindows
from run_record import run_command
from token_data.token_store import TokenStore


class Blocks:
    """Windows as a map-style dataset of {input_ids, labels}: int64 [length] each."""

    def __init__(self, store: TokenStore, length: int):
        self.windows = PackedWindows(store, store.documents, length, seed=0, cross_document_attention=True)

    def __len__(self) -> int:
        return self.windows.per_epoch

    def __getitem__(self, index: int) -> dict:
        import torch

        tokens = torch.from_numpy(self.windows.window(index)[0][:-1])
        return {"input_ids": tokens, "labels": tokens}


def run_trainer(args: argparse.Namespace, model, data: Blocks) -> None:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Steps(TrainerCallback):
        def on_step_end(self, _arguments, state, _control, **_others) -> None:
            print(f"step {state.global_step}/{args.steps}", flush=True)

    settings = TrainingArguments(
        output_dir=str(args.out),
        use_cpu=True,
        max_steps=args.steps,
        per_device_train_batch_size=args.micro_batch_size,
        gradient_accumulation_steps=args.global_batch_size // args.micro_batch_size,
        learning_rate=3e-4,
        max_grad_norm=1.0,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(model=model, args=settings, train_dataset=data, callbacks=[Steps()]).train()


def run_ddp(args: argparse.Namespace, model, data: Blocks) -> None:
    import contextlib

    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(wrapped.parameters(), lr=3e-4)
    parts = args.global_batch_size // (args.micro_batch_size * world)
    for step in range(args.steps):
        for part in range(parts):
            first = step * args.global_batch_size + (part * world + rank) * args.micro_batch_size
            rows = [data[(first + row) % len(data)] for row in range(args.micro_batch_size)]
            batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
            with contextlib.nullcontext() if part == parts - 1 else wrapped.no_sync():
                (wrapped(**batch).loss / parts).backward()
        torch.nn.utils.clip_grad_norm_(wrapped.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if rank == 0:
            print(f"step {step + 1}/{args.steps}", flush=True)
    dist.barrier()
    del wrapped, optimizer  # DDP's destructor may wait forever for a group that is gone
    dist.destroy_process_group()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("loop", choices=("trainer", "ddp"), help="which loop")
    parser.add_argument("store", type=Path, help="token store")
    parser.add_argument("--init-config", type=Path, required=True, help="YAML of the model's configuration")
    parser.add_argument("--out", type=Path, required=True, help="output folder of the Trainer")
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps")
    parser.add_argument("--sequence-length", type=int, required=True, help="tokens per window")
    parser.add_argument("--global-batch-size", type=int, required=True, help="windows per step, over all ranks")
    parser.add_argument("--micro-batch-size", type=int, required=True, help="windows per forward pass and rank")
    args = parser.parse_args(argv)
    store = TokenStore(args.store)
    model = make_model(yaml.safe_load(args.init_config.read_text(encoding="utf-8")), store)
    run = {"trainer": run_trainer, "ddp": run_ddp}[args.loop]
    run(args, model, Blocks(store, args.sequence_length))
    return 0


if __name__ == "__main__":
    run_command(main)
