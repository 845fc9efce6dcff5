"""Benchmarks of this stage: both sides alternately in one run.

Reads   a corpus for its words (or none: made-up words); measures on documents generated from them, of log-uniform
        1 to 8 kB
Writes  a table to the screen, and JSON with every round's figures where --out says
Example python pretrain/bench.py tokenize data/MMedC
        python pretrain/bench.py read data/MMedC
        python pretrain/bench.py train data/MMedC

tokenize  tokenize_corpus.py's whole path on one core against the bare encoder (target: 0.90 of its MB/s)
read      a batch from the store against a training step of a small model on the CPU (target: under 1 %)
train     train_lm.py's loop on the CPU against the published window layout (useful tokens, target 2.0), plain torch
          DistributedDataParallel (0.9) and the Hugging Face Trainer (1.0)
Figures mean something on a quiet machine only. Each is the median over the rounds, with the smallest and largest.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import tokenize_corpus
import train_tokenizer
from bench_helpers.bench_tokens import read_sentences, time_reading, time_tokenising, write_documents
from bench_helpers.bench_training import WARM_UP, Run, loop_command, other_command, time_steps, useful_share
from run_record import InputError, parse_arguments, provenance, run_command, write_json

# A Llama of 3 million parameters: a window of 2048 tokens takes under a second of one core.
MODEL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
TINY = MODEL | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Round by round, so that what slows the whole machine for a while slows both."""
    return [one / other for one, other in zip(above, below, strict=True)]


def print_table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |", flush=True)


def prepare(args: argparse.Namespace, work: Path, megabytes: float) -> tuple[Path, Path]:
    """(corpus, tokenizer): generated documents and a tokenizer trained on them, or the one that was asked for."""
    corpus = write_documents(read_sentences(args.corpus, args.seed), work / "corpus", megabytes, args.seed)
    if args.tokenizer:
        return corpus, Path(args.tokenizer)
    train_tokenizer.main([str(corpus), "--vocab-size", str(args.vocab_size), "--out", str(work / "tokenizer")])
    return corpus, work / "tokenizer"


def prepare_store(args: argparse.Namespace, work: Path, megabytes: float) -> Path:
    corpus, tokenizer = prepare(args, work, megabytes)
    tokenize_corpus.main([str(corpus), "--tokenizer", str(tokenizer), "--out", str(work / "tokens")])
    return work / "tokens"


def bench_tokenize(args: argparse.Namespace, work: Path) -> dict:
    corpus, tokenizer = prepare(args, work, args.megabytes)
    megabytes, wall, cpu = time_tokenising(corpus, tokenizer, work, args.rounds)
    ours = next(iter(cpu))
    print(f"{megabytes:.1f} MB of text, one core, {args.rounds} rounds; MB/s by CPU seconds")
    print_table(
        ["side", "MB/s", "CPU seconds", "wall seconds", "ours / this"],
        [
            [
                name,
                spread([megabytes / s for s in cpu[name]]),
                spread(cpu[name]),
                spread(wall[name]),
                spread(ratios(cpu[name], cpu[ours])),
            ]
            for name in cpu
        ],
    )
    return {"megabytes": megabytes, "wall_seconds": wall, "cpu_seconds": cpu}


def bench_read(args: argparse.Namespace, work: Path) -> dict:
    store = prepare_store(args, work, args.megabytes)
    config = TINY if args.quick else MODEL
    wall, cpu = time_reading(store, config, args.sequence_length, args.micro_batch_size, args.rounds)
    names = list(wall)
    print(f"{args.micro_batch_size} window(s) of {args.sequence_length} tokens a batch, {args.rounds} rounds")
    print_table(
        ["side", "milliseconds", "CPU milliseconds", "share of the step, %"],
        [
            [
                name,
                spread([1000 * s for s in wall[name]]),
                spread([1000 * s for s in cpu[name]]),
                spread([100 * share for share in ratios(wall[name], wall[names[1]])], 3),
            ]
            for name in names
        ],
    )
    return {"wall_seconds": wall, "cpu_seconds": cpu}


def bench_train(args: argparse.Namespace, work: Path) -> dict:
    store, config = prepare_store(args, work, args.megabytes), work / "model.yaml"
    fields = TINY if args.quick else MODEL
    config.write_text("".join(f"{key}: {value}\n" for key, value in fields.items()), encoding="utf-8")
    shape = {
        "sequence-length": args.sequence_length,
        "global-batch-size": args.global_batch_size,
        "micro-batch-size": args.micro_batch_size,
    }
    zero = ("--zero", str(args.zero))
    sides = {
        "train_lm.py": lambda out: loop_command(store, config, out, shape, args.steps, 1, *zero),
        "published layout, same loop": lambda out: loop_command(
            store, config, out, shape, args.steps, 1, *zero, "--rows", "overlapping"
        ),
        "Hugging Face Trainer": lambda out: other_command("trainer", store, config, out, shape, args.steps, 1),
        "train_lm.py, 2 ranks": lambda out: loop_command(store, config, out, shape, args.steps, 2, *zero),
        "torch DDP, 2 ranks": lambda out: other_command("ddp", store, config, out, shape, args.steps, 2),
    }
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(args.rounds):
        for name, command in sides.items():
            runs[name].append(time_steps(command(work / f"run-{number}-{len(runs[name])}-{len(name)}")))
            print(f"round {number + 1}, {name}: {runs[name][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return report_training(args, store, fields, runs)


def report_training(args: argparse.Namespace, store: Path, fields: dict, runs: dict[str, list[Run]]) -> dict:
    from bench_helpers.bench_training import make_model
    from planning.flops import count_parameters, flops_per_token
    from token_data.token_store import TokenStore

    model = make_model(fields, TokenStore(store))
    flops = flops_per_token(model.config, args.sequence_length, count_parameters(model))
    windows = (args.steps - WARM_UP) * args.global_batch_size
    share = {
        rows: useful_share(store, args.sequence_length, rows, windows, WARM_UP * args.global_batch_size)
        for rows in ("packed", "overlapping")
    }
    raw, useful = {}, {}
    for name, side in runs.items():
        raw[name] = [run.steps * args.global_batch_size * args.sequence_length / run.seconds for run in side]
        of = share["overlapping" if "published" in name else "packed"]
        useful[name] = [speed * of for speed in raw[name]]
    loop, published, trainer, loop_2, ddp_2 = runs
    # Useful tokens where the layouts differ, raw ones where they are the same.
    found = {
        published: ratios(useful[loop], useful[published]),
        trainer: ratios(raw[loop], raw[trainer]),
        ddp_2: ratios(raw[loop_2], raw[ddp_2]),
    }
    print(
        f"{model.num_parameters():,} parameters, {flops / 1e6:.1f} MFLOP a token (6N + attention), windows of "
        f"{args.sequence_length}, {args.global_batch_size} a step, {args.steps - WARM_UP} counted steps, {args.rounds} "
        f"rounds, fp32 on the CPU; useful tokens: packed {share['packed']:.1%}, published {share['overlapping']:.1%}"
    )
    print_table(
        ["side", "tokens/s", "useful tokens/s", "GFLOP/s", "CPU seconds per step", "train_lm.py / this", "target"],
        [
            [
                name,
                spread(raw[name], 0),
                spread(useful[name], 0),
                spread([s * flops / 1e9 for s in raw[name]], 1),
                spread([run.cpu_seconds / run.steps for run in runs[name]]),
                spread(found[name]) if name in found else "",
                {published: "2.0, useful", trainer: "1.0, raw", ddp_2: "0.9, raw"}.get(name, ""),
            ]
            for name in runs
        ],
    )
    return {"tokens_per_second": raw, "useful_tokens_per_second": useful, "ratios": found, "useful_share": share}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("what", choices=("tokenize", "read", "train"), help="which benchmark")
    add("corpus", type=Path, nargs="?", help="corpus folder whose sentences are used for the documents")
    add("--quick", action="store_true", help="smallest sizes, only to see that it runs; the figures mean nothing")
    add("--tokenizer", help="tokenizer folder or hub name (default: one trained on the documents)")
    add("--vocab-size", type=int, help="vocabulary size of the tokenizer that is trained (default 32000; train: 8000)")
    add("--megabytes", type=float, help="MB of text to generate (default: tokenize 120, read and train 10)")
    add("--rounds", type=int, help="measurements per side (default: tokenize 3, read 20, train 3)")
    add("--steps", type=int, help=f"train: optimizer steps per run, the first {WARM_UP} not counted (default 8)")
    add("--sequence-length", type=int, help="read, train: tokens per window (default 2048)")
    add("--global-batch-size", type=int, help="train: windows per step, over all ranks (default 4)")
    add("--micro-batch-size", type=int, help="read, train: windows per forward pass (default 1)")
    add("--zero", type=int, choices=(0, 1, 2, 3), default=1, help="train: ZeRO stage (default %(default)s)")
    add("--seed", type=int, default=0, help="random seed for the documents (default %(default)s)")
    add("--out", type=Path, help="JSON file for every round's figures")
    add("--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence")
    return parser


# By benchmark: what is taken where a flag is not given.
DEFAULTS = {
    "tokenize": {"vocab_size": 32000, "megabytes": 120.0, "rounds": 3},
    "read": {"vocab_size": 8000, "megabytes": 10.0, "rounds": 20},
    "train": {"vocab_size": 8000, "megabytes": 10.0, "rounds": 3},
}
SHAPE = {"steps": 8, "sequence_length": 2048, "global_batch_size": 4, "micro_batch_size": 1}
QUICK = {"vocab_size": 400, "megabytes": 0.3, "rounds": 1, "steps": 4, "sequence_length": 64, "global_batch_size": 2}


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    for name, value in (DEFAULTS[args.what] | SHAPE | (QUICK if args.quick else {})).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.rounds < 1 or args.steps < WARM_UP + 1:
        raise InputError(f"--rounds is 1 or more and --steps {WARM_UP + 1} or more")
    if args.out and args.out.exists():
        raise InputError(f"{args.out} exists; use another --out")
    run = {"tokenize": bench_tokenize, "read": bench_read, "train": bench_train}[args.what]
    with tempfile.TemporaryDirectory(prefix="mmed-bench-") as work:
        figures = run(args, Path(work))
    if args.out:
        write_json(args.out, {"benchmark": args.what, "figures": figures, "provenance": provenance(argv)})
    return 0


if __name__ == "__main__":
    run_command(main)
