"""Plan a training run: parameters, memory per GPU by part, days and GPU-hours, disk.

Reads   a model's configuration (--model or --init-config) and the flags of train_lm.py, so that one recipe serves both
Writes  nothing; --json FILE: the same figures for a machine
Example python pretrain/plan.py --recipe pretrain/recipes/llama3_8b.yaml --card "H100 SXM" --tokens 25.5e9
        --shape pretrain/recipes/shapes/llama3_8b.yaml   (with it, nothing is fetched from the hub)

Nothing is allocated: the model's shapes are on the meta device, its activations are traced (step_memory.py),
weights, gradients and optimizer state follow ZeRO as DeepSpeed keeps them (step_memory.py), operations are PaLM's
6 N + 12 L H Q T a token (flops.py). bench_memory.py puts the estimate beside a real step.
"""

import argparse
import copy
import json
import math
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path

from modelling.lm_model import make_deepspeed_config, model_class
from modelling.packed_attention import choose_attention
from planning.flops import CARDS, Card, count_parameters, empty_model, find_card, flops_per_token
from planning.step_memory import Activations, States, state_bytes, trace_activations
from run_record import InputError, parse_arguments, read_json, run_command, write_json
from training.lm_arguments import build_parser

GIB = 2**30
DAY = 86400
MICRO_BATCHES = (1, 2, 4, 8)
PARTS = {
    "weights": "weights",
    "gathered": "other ranks' weights in use, at most",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "buffers": "buffers of the gradients' reduction",
    "activations_saved": "activations saved for backward",
    "head_saved": "logits and loss, mask",
    "passing": "passing values at the peak",
    "forward_and_backward": "  in forward and backward",
    "optimizer_step": "  in the optimizer's step",
}


def model_choice_flags(add) -> None:
    add("--shape", type=Path, help="YAML file with the model's configuration, instead of --model")
    add(
        "--vocab-size",
        type=int,
        help="vocabulary size if the configuration has none (default: that of the token store)",
    )


def plan_flags(add) -> None:
    """What train_lm.py does not ask, because the machine tells it."""
    add("--card", help="GPU by name, such as 'H100 SXM' (default: the GPU of this machine)")
    add("--gpus", type=int, default=8, help="GPUs per node (default %(default)s)")
    add("--nodes", type=int, default=1, help="number of nodes (default %(default)s)")
    add(
        "--tokens",
        type=float,
        help="tokens to train on, such as 25.5e9 (default: from --steps, or --epochs over the store)",
    )
    add("--tokens-per-character", type=float, help="estimate the tokens of a corpus that is not tokenized yet")
    add("--mfu", type=float, default=0.4, help="expected model FLOPs utilisation, 0 to 1 (default %(default)s)")
    add(
        "--metrics",
        type=Path,
        help="metrics.jsonl of a run on the same number of these GPUs: use its speed instead of --mfu",
    )
    add("--margin", type=float, default=0.1, help="share of a GPU's memory to leave free (default %(default)s)")
    add("--alternatives", action=argparse.BooleanOptionalAction, default=True, help="print a table of other settings")
    add("--json", type=Path, help="JSON output file")


def main(argv: list[str] | None = None) -> int:
    parser = build_parser(__doc__.splitlines()[0])
    model_choice_flags(parser.add_argument)
    plan_flags(parser.add_argument)
    args = parse_arguments(parser, argv)
    check_numbers(args)
    card = choose_card(args.card)
    args.bf16 = True if args.bf16 is None else args.bf16
    make_deepspeed_config(args, args.gpus * args.nodes, args.bf16)  # refuses an indivisible batch, before the work
    plan = make_plan(args, load_config(args), card)
    print_plan(args, plan, card)
    if args.json and not args.dry_run:
        write_json(args.json, plan)
    return 0


def check_numbers(args: argparse.Namespace) -> None:
    for name in ("gpus", "nodes"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: give a number above 0")
    if not 0 < args.mfu <= 1:
        raise InputError(f"--mfu {args.mfu}: a share of the peak lies above 0 and at most at 1 (0.4 is 40 %)")
    if not 0 <= args.margin < 1:
        raise InputError(f"--margin {args.margin}: a share of the memory lies between 0 and 1 (0.1 is 10 %)")
    if args.tokens is not None and not (args.tokens > 0 and math.isfinite(args.tokens)):
        raise InputError(f"--tokens {args.tokens:g}: give a number above 0, such as 25.5e9")


def choose_card(name: str | None) -> Card:
    """The card of the table that `name` means, or the one available."""
    import torch

    if name is None and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    card = find_card(name) if name else None
    if card is None:
        what = f"--card {name} is not in the table" if name else "no GPU available: give --card"
        raise InputError(f"{what}; known are {', '.join(c.name for c in CARDS)} (pretrain/planning/flops.py)")
    return card


def load_config(args: argparse.Namespace):
    """The transformers configuration that --model or --init-config names. Errors: InputError."""
    import yaml
    from transformers import AutoConfig

    file = args.shape or args.init_config
    if not args.shape and bool(args.model) == bool(args.init_config):
        raise InputError(
            "give --model (a folder or hub name), --init-config or --shape (a file of fields), one of them"
        )
    try:
        if file is None:
            config = AutoConfig.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
        else:
            fields = yaml.safe_load(file.read_text(encoding="utf-8"))
            if not isinstance(fields, dict) or "model_type" not in fields:
                raise InputError(f"{file}: expected model_type and its fields, as YAML or a config.json")
            if "vocab_size" not in fields:
                fields["vocab_size"] = vocabulary(args, file)
            config = AutoConfig.for_model(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        source = file or args.model
        sentence = " ".join(str(error).split())[:300]
        raise InputError(f"{source} gives no model configuration: {sentence}") from None
    longest = getattr(config, "max_position_embeddings", None)
    if longest and args.sequence_length > longest:
        raise InputError(f"--sequence-length {args.sequence_length} is over the model's limit of {longest} tokens")
    return config


def vocabulary(args: argparse.Namespace, file: Path) -> int:
    """The vocabulary of a model from scratch: as train_lm.py makes it, the tokenizer's, up to a multiple of 64."""
    size = args.vocab_size
    if size is None and (args.data / "manifest.json").exists():
        size = read_json(args.data / "manifest.json").get("vocabulary")
    if not size or size < 1:
        raise InputError(f"{file} names no vocab_size; give --vocab-size, or a token store instead of {args.data}")
    return math.ceil(size / 64) * 64


def count_tokens(args: argparse.Namespace) -> tuple[float, str]:
    """(tokens to train on, where the number comes from)."""
    if args.tokens is not None:
        return args.tokens, "--tokens"
    if args.steps is not None:
        return args.steps * args.global_batch_size * args.sequence_length, f"--steps {args.steps}"
    if not (args.data / "manifest.json").exists():
        raise InputError(f"{args.data} is not a complete token store or corpus; give --tokens, such as 25.5e9")
    manifest = read_json(args.data / "manifest.json")
    if "shards" in manifest:
        tokens = sum(shard["tokens"] for shard in manifest["shards"].values())
        return tokens * args.epochs, f"{args.epochs:g} epochs of {args.data}"
    counts = manifest.get("counts", {})
    characters = sum(facts.get("characters", 0) for sources in counts.values() for facts in sources.values())
    if not characters:
        raise InputError(f"{args.data}/manifest.json is neither a token store's nor a corpus's; give --tokens")
    if not args.tokens_per_character or args.tokens_per_character <= 0:
        raise InputError(
            f"{args.data} has {characters:,} characters and is not tokenised; give --tokens-per-character (a store's "
            "manifest has it, by language), or --tokens"
        )
    return characters * args.tokens_per_character * args.epochs, f"{args.epochs:g} epochs of {args.data}"


def speed(args: argparse.Namespace, flops: float, card: Card) -> tuple[float, float, str]:
    """(tokens a second of the whole run, MFU, where it comes from)."""
    peak = card.peak * args.gpus * args.nodes
    if args.metrics is None:
        return args.mfu * peak / flops, args.mfu, "stated"
    try:
        rows = [json.loads(line) for line in args.metrics.read_text(encoding="utf-8").splitlines() if line.strip()]
        seen = [row["tokens_per_second"] for row in rows if isinstance(row, dict) and row.get("tokens_per_second")]
    except (OSError, ValueError) as error:
        raise InputError(f"{args.metrics}: no metrics.jsonl of a run ({error})") from None
    if not seen:
        raise InputError(f"{args.metrics} has no line with tokens_per_second; give a training run's metrics.jsonl")
    measured = statistics.median(seen[len(seen) // 2 :])  # the first half contains the start-up
    share = measured * flops / peak
    if share > 1:
        raise InputError(f"{args.metrics}: {measured:,.0f} tokens/s is {share:.0%} of the peak: other cards, or more")
    return measured, share, f"median of the last {math.ceil(len(seen) / 2)} lines of {args.metrics}"


def attention_of(args: argparse.Namespace, config) -> str:
    """The attention that train_lm.py would use on the planned GPU, whatever is installed here."""
    if args.attn.startswith("flash"):
        return args.attn
    return choose_attention(args, model_class(config), config, True, args.bf16)


def make_plan(args: argparse.Namespace, config, card: Card) -> dict:
    """All figures, as plain numbers: bytes, FLOPs, seconds."""
    import torch

    model = empty_model(config, torch.bfloat16 if args.bf16 else torch.float32, args.trust_remote_code)
    count = count_parameters(model)
    flops = flops_per_token(config, args.sequence_length, count)
    tokens, tokens_from = count_tokens(args)
    tokens_per_second, share, speed_from = speed(args, flops, card)
    world = args.gpus * args.nodes
    attention = attention_of(args, config)
    traces: dict[tuple[int, bool], Activations] = {}

    def activations(micro: int, checkpointing: bool) -> Activations:
        if (micro, checkpointing) not in traces:
            traces[micro, checkpointing] = trace_activations(
                config, args.bf16, micro, args.sequence_length, checkpointing, attention, True, args.trust_remote_code
            )
        return traces[micro, checkpointing]

    def variant(zero: int, micro: int, checkpointing: bool) -> tuple[States, Activations, int]:
        changed = copy.copy(args)
        changed.zero, changed.micro_batch_size = zero, micro
        settings = make_deepspeed_config(changed, world, args.bf16)
        states, traced = state_bytes(model, settings, world), activations(micro, checkpointing)
        return states, traced, max(states.backward_peak(traced.peak), states.step_peak())

    states, traced, needed = variant(args.zero, args.micro_batch_size, args.gradient_checkpointing)
    room = card.memory_gib * GIB * (1 - args.margin)
    others = []
    # ZeRO 1 and 2 cannot offload the weights.
    for zero in ((3,) if args.offload == "all" else (1, 2, 3)) if args.alternatives else ():
        for checkpointing in (False, True):
            for micro in MICRO_BATCHES:
                if args.global_batch_size % (micro * world) == 0:
                    most = variant(zero, micro, checkpointing)[2]
                    setting = {"zero": zero, "gradient_checkpointing": checkpointing, "micro_batch_size": micro}
                    others.append(setting | {"needed": most, "fits": most <= room})
    weights = (2 if args.bf16 else 4) * count.total
    disk = disk_bytes(args, weights, 12 * count.total, tokens)
    seconds = tokens / tokens_per_second
    return {
        "format_version": 1,
        "stage": "pretrain/plan.py",
        "model_type": config.model_type,
        "parameters": asdict(count),
        "flops_per_token": flops,
        "card": asdict(replace(card, pattern="")),
        "gpus": world,
        "attention": attention,
        "memory": asdict(states)
        | {
            "activations_saved": traced.saved - traced.head,
            "head_saved": traced.head,
            "passing": traced.peak - traced.saved,
            "forward_and_backward": states.backward_peak(traced.peak),
            "optimizer_step": states.step_peak(),
            "needed": needed,
            "room": round(room),
            "fits": needed <= room,
        },
        "tokens": tokens,
        "tokens_from": tokens_from,
        "mfu": share,
        "mfu_from": speed_from,
        "tokens_per_second": tokens_per_second,
        "tokens_per_day": tokens_per_second * DAY,
        "seconds_per_step": args.global_batch_size * args.sequence_length / tokens_per_second,
        "days": seconds / DAY,
        "gpu_hours": seconds / 3600 * world,
        "disk": disk,
        "alternatives": others,
    }


def disk_bytes(args: argparse.Namespace, model: int, checkpoint: int, tokens: float) -> dict:
    """Bytes of a model, of a checkpoint (float32 weights and two moments), of a whole run; how many stay for good."""
    steps = math.ceil(tokens / (args.global_batch_size * args.sequence_length))
    exports = (steps - 1) // args.export_every if args.export_every else 0
    stay = range(args.keep_every, steps + 1, args.keep_every) if args.keep_every else ()
    # A checkpoint is made at every --save-every and --export-every steps.
    stay = sum(s % args.save_every == 0 or bool(args.export_every and s % args.export_every == 0) for s in stay)
    run = (args.keep + 1 + stay) * checkpoint + (1 + exports) * model
    return {"checkpoint": checkpoint, "model": model, "stay": stay, "exports": exports, "run": run}


def print_plan(args: argparse.Namespace, plan: dict, card: Card) -> None:
    """The plan as a person reads it: bytes in GiB (2**30)."""
    count, memory, disk = plan["parameters"], plan["memory"], plan["disk"]
    length, keep = args.sequence_length, args.keep
    output = "tied to the input embeddings" if count["tied"] else f"{count['output']:,}"
    fits = "fits" if memory["fits"] else "DOES NOT FIT"
    width, checkpointing = "bf16" if args.bf16 else "float32", "with" if args.gradient_checkpointing else "no"
    lines = [
        f"model       {plan['model_type']}, {count['total']:,} parameters: input embeddings",
        f"            {count['input_embeddings']:,}, layers {count['layers']:,}, output {output}, rest "
        f"{count['rest']:,}",
        f"FLOPs       {plan['flops_per_token']:.4g} a token at length {length}: 6 N + 12 L H Q T with N "
        f"{count['active']:,}",
        f"cards       {args.nodes} x {args.gpus} {card.name}: {card.peak / 1e12:g} TFLOP/s dense, "
        f"{card.memory_gib:g} GiB",
        f"            source: {card.source}",
        "",
        f"memory of a GPU: ZeRO {args.zero}, {width}, micro batch {args.micro_batch_size} x {length}, "
        f"attention {plan['attention']}, {checkpointing} gradient checkpointing",
        *(f"  {label:<38}{memory[name] / GIB:>9.2f} GiB" for name, label in PARTS.items()),
        f"  needed {memory['needed'] / GIB:.2f} of {memory['room'] / GIB:.2f} GiB: {fits}",
        f"  ({card.memory_gib:g} GiB less {args.margin:.0%} for the driver, NCCL and fragments)",
    ]
    if memory["host"]:
        lines.append(f"  offloaded to the machine's memory: {memory['host'] * args.gpus / GIB:.1f} GiB a node")
    lines += [
        "",
        f"time        {plan['tokens']:.4g} tokens ({plan['tokens_from']}) at MFU {plan['mfu']:.3f} "
        f"({plan['mfu_from']})",
        f"            {plan['tokens_per_second']:,.0f} tokens/s, {plan['tokens_per_day']:.3g} a day: "
        f"{plan['days']:.2f} days, {plan['gpu_hours']:,.0f} GPU-hours",
        f"            {plan['seconds_per_step']:,.3g} s a step; --save-every {args.save_every}: a checkpoint every "
        f"{args.save_every * plan['seconds_per_step'] / 3600:.3g} hours",
        f"disk        {disk['checkpoint'] / GIB:.1f} GiB a checkpoint, {disk['model'] / GIB:.1f} GiB the model; "
        f"{disk['run'] / GIB:.1f} GiB with {keep} kept and one being written, {disk['stay']} that stay, "
        f"{disk['exports']} exports",
    ]
    print("\n".join(lines))
    if plan["alternatives"]:
        print_alternatives(plan["alternatives"], memory["room"])


def print_alternatives(others: list[dict], room: int) -> None:
    """Needed GiB by ZeRO stage, checkpointing (rows) and micro batch (columns), and the first choice that fits."""
    micros = sorted({o["micro_batch_size"] for o in others})
    print(f"\nneeded GiB of {room / GIB:.1f} (* does not fit)  micro batch " + "".join(f"{m:>9}" for m in micros))
    for zero in (1, 2, 3):
        for checkpointing in (False, True):
            if not any(o["zero"] == zero for o in others):
                continue
            row = [o for o in others if (o["zero"], o["gradient_checkpointing"]) == (zero, checkpointing)]
            cells = "".join(f"{o['needed'] / GIB:>8.1f}{' ' if o['fits'] else '*'}" for o in row)
            label = f"ZeRO {zero}, {'with' if checkpointing else 'no'} checkpointing"
            print(f"  {label:<45}{cells}")
    fitting = [o for o in others if o["fits"]]
    if not fitting:
        print("none of these fits: more GPUs, shorter windows, or --offload optimizer|all")
        return
    # Recomputing costs a third more work, a higher stage more traffic; a larger micro batch keeps the cores busier.
    best = min(fitting, key=lambda o: (o["gradient_checkpointing"], o["zero"], -o["micro_batch_size"]))
    flag = "--gradient-checkpointing" if best["gradient_checkpointing"] else "--no-gradient-checkpointing"
    print(f"least work that fits: --zero {best['zero']} {flag} --micro-batch-size {best['micro_batch_size']}")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
