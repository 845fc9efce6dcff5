"""Measure the memory of one training step on this machine by part, beside the estimate of plan.py.

Reads   a model (--model, --init-config) and the flags of train_lm.py; no token store: the tokens are random
Writes  nothing; --json FILE: the figures
Example python pretrain/bench_memory.py --init-config pretrain/recipes/tiny_model.yaml --vocab-size 8000
        torchrun --nproc-per-node 2 pretrain/bench_memory.py --recipe FILE     (each rank its share)

The model is made as train_lm.py makes it, and DeepSpeed with its settings takes one optimizer step of two micro
batches. Weights, gradients and optimizer state are the bytes of the tensors that hold them (each storage once); saved
for backward is counted by `saved_tensors_hooks`; the highest sum of live bytes of one pass is followed tensor by
tensor, without DeepSpeed. On a GPU the last line compares the whole with `max_memory_allocated`.
"""

import argparse
import os
import socket
import sys
import warnings
from pathlib import Path

from modelling.lm_model import clips_itself, make_deepspeed_config, model_class
from modelling.lm_optimizer import make_optimizer
from modelling.packed_attention import choose_attention, register_document_attention
from plan import load_config, model_choice_flags
from planning.step_memory import SavedBytes, measure_pass, sample_batch, state_bytes, trace_activations
from run_record import parse_arguments, run_command, write_json
from training.lm_arguments import build_parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser(__doc__.splitlines()[0])
    model_choice_flags(parser.add_argument)
    parser.add_argument("--json", type=Path, help="JSON output file")
    args = parse_arguments(parser, argv)
    config = load_config(args)
    if args.dry_run:
        return 0
    rows = measure(args, config)
    if int(os.environ["RANK"]) == 0:
        print(f"{'part':<22}{'estimated':>16}{'measured':>16}{'ratio':>8}")
        for name, (estimated, measured) in rows.items():
            ratio = f"{estimated / measured:.3f}" if measured else "-"
            print(f"{name:<22}{estimated:>16,}{measured:>16,}{ratio:>8}")
        if args.json:
            write_json(args.json, {name: {"estimated": e, "measured": m} for name, (e, m) in rows.items()})
    return 0


def measure(args: argparse.Namespace, config) -> dict[str, tuple[int, int]]:
    """{part: (estimated bytes, measured bytes)} of this rank."""
    import torch

    gpu = torch.cuda.is_available()
    if not gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= alone
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed|transformers")
    import deepspeed
    import torch.distributed as dist
    from transformers import AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    from modelling.lm_loss import summed_loss
    from planning.flops import empty_model

    # Compiled for half a minute, to make collectives on a CPU faster: of no use for one step.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if gpu else "gloo", verbose=False)
    world = dist.get_world_size()
    args.global_batch_size = 2 * args.micro_batch_size * world
    bf16 = gpu if args.bf16 is None else args.bf16
    dtype = torch.bfloat16 if bf16 else torch.float32
    settings = make_deepspeed_config(args, world, bf16)
    attention = choose_attention(args, model_class(config), config, gpu, bf16)
    how = {"dtype": dtype, "attn_implementation": attention, "trust_remote_code": args.trust_remote_code}
    expected = state_bytes(empty_model(config, dtype, args.trust_remote_code), settings, world)
    activations = trace_activations(
        config,
        bf16,
        args.micro_batch_size,
        args.sequence_length,
        args.gradient_checkpointing,
        attention,
        gpu,
        args.trust_remote_code,
    )
    batch = sample_batch(config.get_text_config().vocab_size, args.micro_batch_size, args.sequence_length)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")

    register_document_attention()
    plain = AutoModelForCausalLM.from_config(config, **how).to(device)
    _, peak = measure_pass(plain, batch, args.gradient_checkpointing, summed_loss, device)
    del plain

    keep = HfDeepSpeedConfig(settings) if args.zero == 3 else None
    model = AutoModelForCausalLM.from_config(config, **how)
    del keep
    model.train()
    model.config.use_cache = False
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = make_optimizer(args, model, clips_itself(args, bf16))
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        saved = SavedBytes(model)
        with saved.hooks():
            loss, _ = summed_loss(engine, batch, engine.device)
        saved_bytes = saved.total()
        saved.kept.clear()
        # Those that waited through the forward pass, or those that wait for the step: whichever are more.
        before = bytes_of(gradient_tensors(engine))
        engine.backward(loss)
        gradients = max(before, bytes_of(gradient_tensors(engine)))
        engine.step()
    weights = [t for p in model.parameters() for t in (p.data, getattr(p, "ds_tensor", None)) if t is not None]
    rows = {
        "weights": (expected.weights, bytes_of(weights)),
        "gradients": (expected.gradients, gradients),
        "optimizer state": (expected.optimizer, bytes_of(optimizer_tensors(engine), without=weights)),
        "saved for backward": (activations.saved, saved_bytes),
        "peak of a pass": (activations.peak, peak),
    }
    if gpu:
        whole = expected.backward_peak(activations.peak)
        rows["whole"] = (max(whole, expected.step_peak()), torch.cuda.max_memory_allocated())
    dist.barrier()
    dist.destroy_process_group()
    return rows


def bytes_of(tensors, without=()) -> int:
    """Bytes of the storages behind the tensors, each once."""
    hidden = {t.untyped_storage()._cdata for t in without}
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(size for key, size in storages.items() if key not in hidden)


def gradient_tensors(engine) -> list:
    """The gradients that wait for the optimizer's step, wherever the ZeRO stage keeps them, without the buckets."""
    wrapper = engine.optimizer
    found = [p.grad for p in engine.module.parameters() if p.grad is not None]
    for name in ("averaged_gradients", "all_grad_tensors"):
        for group in (getattr(wrapper, name, None) or {}).values():
            found += [t for t in group or [] if t is not None]
    if getattr(wrapper, "grad_partitions_flat_buffer", None) is not None:
        found.append(wrapper.grad_partitions_flat_buffer)
    return found


def optimizer_tensors(engine) -> list:
    """The optimizer's state and the weights that it updates."""
    import torch

    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    found = [t for state in inner.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    for name in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat"):
        found += getattr(engine.optimizer, name, [])
    return found + [p for group in getattr(engine.optimizer, "fp32_groups", []) for p in group]


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
