"""From the command line's files and shares to the mixture of examples that a run trains on."""

import argparse
import math
from pathlib import Path

from prompt_folder import Prompt, PromptError
from run_record import InputError, sha256_of_file
from sft_data.example_mixture import Mixture, make_mixture, question_pools
from sft_data.example_text import ExampleText
from sft_data.examples import ExampleCounts, build_examples
from sft_data.instruction_data import build_instruction_examples
from sft_data.replay_text import read_replay


def read_mixture(
    questions: list[dict], prompt: Prompt, tokenizer, longest: int, args: argparse.Namespace, counts: ExampleCounts
) -> tuple[Mixture, dict]:
    """(the mixture, what the run's record says of the files beside the questions). Errors: InputError.

    longest: tokens an example at most.
    """
    shares = settle_shares(args)
    try:
        encoding = ExampleText(tokenizer, prompt)
        pools = question_pools(
            build_question_examples(questions, encoding, longest, args, counts),
            dict(args.form_shares or []),
            dict(args.language_weights or []),
        )
        others = {}
        if args.instructions:
            others["instruction"] = build_instruction_examples(args.instructions, encoding, longest, counts)
    except PromptError as error:
        raise InputError(str(error)) from None
    if args.replay:
        total = sum(pool.per_epoch for pool in pools) / (1 - sum(shares.values()))
        wanted = math.ceil(total * shares["replay"] * max(1.0, args.epochs))
        others["replay"] = read_replay(args.replay, wanted, tokenizer, longest, args.seed, counts)
    data = {}
    if args.instructions:
        data["instructions"] = [sha256_of_file(path) for path in args.instructions]
    if args.replay:
        data["replay"] = replay_fingerprint(args.replay)
    return make_mixture(pools, others, shares, encoding, longest, args.seed), data


def settle_shares(args: argparse.Namespace) -> dict[str, float]:
    """{"instruction": share, "replay": share} mixed in, the defaults written into `args`. Errors: InputError."""
    if args.instruction_share is not None and not args.instructions:
        raise InputError("--instruction-share without --instructions has nothing to mix in; name the files")
    if args.replay_share is not None and not args.replay:
        raise InputError("--replay-share without --replay has nothing to mix in; name the corpus")
    shares = {}
    if args.instructions:
        shares["instruction"] = args.instruction_share = args.instruction_share or 0.2
    if args.replay:
        shares["replay"] = args.replay_share = args.replay_share or 0.1
    if sum(shares.values()) >= 1:
        raise InputError(
            "--instruction-share and --replay-share leave no room for questions; keep them below 1 together"
        )
    if args.packing and args.loss_per == "example":
        raise InputError(
            "--packing knows no --loss-per example (a row holds several); use --loss-per token, or no packing"
        )
    return shares


def build_question_examples(questions: list[dict], encoding, longest: int, args, counts: ExampleCounts) -> list[dict]:
    """The questions' examples in the forms asked for. Errors: InputError, PromptError."""
    form_shares = dict(args.form_shares or [])
    forms = [form for form in sorted(set(args.forms)) if form_shares.get(form, 1.0) > 0]
    if set(form_shares) - set(args.forms) or not forms:
        raise InputError(
            f"--form-shares {' '.join(f'{form}={share:g}' for form, share in form_shares.items())} does not fit "
            f"--forms {' '.join(args.forms)}: a share is of one of these forms, and one of them is above 0"
        )
    examples = build_examples(
        questions, encoding, longest, forms, counts, args.option_orders, args.seed, args.shuffle_options
    )
    if not examples:
        raise InputError(nothing_left(args, forms, counts))
    return examples


def replay_fingerprint(path: Path) -> str | list[str]:
    """A corpus by its manifest, other text by its files, as SHA-256."""
    if (path / "manifest.json").exists():
        return sha256_of_file(path / "manifest.json")
    files = sorted(p for p in path.rglob("*") if p.suffix in (".jsonl", ".txt")) if path.is_dir() else [path]
    return [sha256_of_file(file) for file in files]


def nothing_left(args: argparse.Namespace, forms: list[str], counts: ExampleCounts) -> str:
    """Why no example came of the questions, and what to do."""
    table = counts.as_dict()
    if "no rationale" in table and forms == ["rationale"]:
        return (
            f"no question of {args.data} has a rationale, which --forms rationale needs; add --forms answer, or give "
            "them rationales with mmedbench/rationales.py"
        )
    return f"every completion is longer than --max-length {args.max_length} tokens leaves room for; raise it"
