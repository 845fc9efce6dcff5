"""The flags of eval.py, what must hold between them, and which of them a run is known by."""

import argparse
import math
from pathlib import Path

from endpoint.api_arguments import DECISIVE, DEFAULTS, add_endpoint_arguments, check_endpoint
from evaluation.generate_answers import parse_shard
from evaluation.scoring import PARSERS
from metrics.rationale_scores import MODES, add_bert_flags
from mmedbench_questions import LANGUAGE_FILES
from prompt_folder import FORMS
from run_record import InputError

DESCRIPTION = "Ask a model the benchmark's questions and score its answers, with n and 95 % intervals."
# Flags that change no answer, or whose content stands in the record's inputs or scoring.
FREE_ARGUMENTS = {
    "out",
    "recipe",
    "dry_run",
    "data",
    "model",
    "prompt",
    "score_only",
    "name",
    "parse",
    "rationale_mode",
    "bert_score",
    "bert_layer",
    "contamination",
    "contamination_coverage",
    "shard",
} | set(DEFAULTS)
# {flag: what it needs}: alone it would promise what is not done.
NEEDS = {
    "temperature": "--samples over 1",
    "rationale_mode": "--form rationale",
    "bert_layer": "--bert-score",
    "contamination_coverage": "--contamination",
    "batch_size": "a local model",
    "shard": "questions to ask (--score-only scores all)",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--model", default="checkpoints/finetuned", help="folder, adapter or hub name (default %(default)s)")
    add("--data", type=Path, default=Path("data/MMedBench/Test"), help="test split (default %(default)s)")
    add("--out", type=Path, help="result folder (default results/<model's folder name>)")
    add("--name", help="the model's name in tables (default: its folder's name)")
    add("--prompt", type=Path, help="prompt folder (default: the one in the checkpoint)")
    add(
        "--chat-template",
        action=argparse.BooleanOptionalAction,
        help="put the prompt through the tokenizer's own chat template (default: as the prompt's prompt.json says)",
    )
    add("--form", choices=FORMS, default="answer", help="the letters alone, or a rationale first (default %(default)s)")
    add(
        "--mode",
        choices=("generate", "letter-logprob", "option-logprob"),
        default="generate",
        help="generation, the most likely single letter, or the option whose text is likeliest (default %(default)s)",
    )
    add("--few-shot", type=int, default=0, help="worked examples before each question (default %(default)s)")
    add("--few-shot-data", type=Path, help="train split they are drawn from (default: the Train folder beside --data)")
    add("--samples", type=int, default=1, help="sampled answers a question, the majority counts (default 1: greedy)")
    add("--temperature", type=float, default=0.7, help="of the samples (default %(default)s)")
    add("--seed", type=int, default=0, help="of the samples and of the choice of examples (default %(default)s)")
    add(
        "--circular",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="ask each question once for each turn of its options, and report how many are right in every turn",
    )
    add("--shard", type=parse_shard, metavar="I/N", help="ask only the I-th of N shares; the last to end scores all")
    add("--languages", nargs="+", choices=list(LANGUAGE_FILES), help="ISO codes (default: all there are)")
    add("--limit", type=int, help="questions a file at most, the first ones")
    add(
        "--batch-size",
        type=int,
        default=128,
        help="questions answered together and saved together; halved where memory runs out; a larger number is faster, "
        "above all for long answers (default %(default)s)",
    )
    add("--max-new-tokens", type=int, help="default 16 for the form answer, 512 for rationale; endpoints 256, 1024")
    add(
        "--parse",
        choices=PARSERS,
        help="strict: an answer must keep the prompt's format; policy: else it is read by the policy of answers.py "
        "(default: strict where the prompt came with the checkpoint, else policy)",
    )
    add(
        "--rationale-mode",
        choices=MODES,
        default="default",
        help="default: an empty rationale scores 0; paper: it is left out and counted (default %(default)s)",
    )
    add_bert_flags(parser)
    add(
        "--contamination",
        type=Path,
        metavar="DIR",
        help="contamination report of this test set: scores the questions not found in the corpus beside all of them",
    )
    add(
        "--contamination-coverage",
        type=float,
        default=0.5,
        help="a question is contaminated when this share of it or more stands in the corpus (0 to 1, default "
        "%(default)s)",
    )
    add("--score-only", action="store_true", help="score the predictions that are there; ask nothing")
    add("--recipe", type=Path, help="flat YAML file of these flags")
    add("--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the model's own code")
    add("--dry-run", action="store_true", help="check everything, print the plan and one prompt, write nothing")
    add_endpoint_arguments(parser)
    return parser


def deciding_arguments(args: argparse.Namespace) -> dict:
    """{flag: JSON value} of the flags that decide the answers; another value of one is another run."""
    free = FREE_ARGUMENTS - set(DECISIVE) if args.api_base else FREE_ARGUMENTS
    return {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in free}


def check_arguments(args: argparse.Namespace) -> None:
    """Errors: InputError for flags that do not go together."""
    if args.mode != "generate" and args.form != "answer":
        raise InputError(f"--mode {args.mode} scores what stands right after the prompt; use --form answer with it")
    several = args.circular or args.mode != "generate" or not 0 < args.temperature < math.inf
    if args.samples < 1 or (args.samples > 1 and several):
        raise InputError("--samples goes with --mode generate and a --temperature over 0, without --circular")
    if args.few_shot < 0 or (args.few_shot_data and not args.few_shot):
        raise InputError("--few-shot takes the number of examples, and --few-shot-data where they are drawn from")
    check_endpoint(args)
    if args.bert_score and args.form != "rationale":
        raise InputError("--bert-score compares rationales; use --form rationale with it")
    if args.bert_layer < 1:
        raise InputError(f"--bert-layer {args.bert_layer}: layers are counted from 1")
    if not 0 <= args.contamination_coverage <= 1:
        raise InputError(f"--contamination-coverage {args.contamination_coverage:g}: expected a share between 0 and 1")
    for flag in ("batch_size", "limit", "max_new_tokens"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise InputError(f"--{flag.replace('_', '-')} {value}: expected 1 or more")
    needed = {
        "temperature": args.samples > 1,
        "rationale_mode": args.form == "rationale",
        "bert_layer": args.bert_score,
        "contamination_coverage": args.contamination,
        "batch_size": not args.api_base,
        "shard": not args.score_only,
    }
    defaults = build_parser()
    for name, there in needed.items():
        if not there and getattr(args, name) != defaults.get_default(name):
            raise InputError(f"--{name.replace('_', '-')} does nothing without {NEEDS[name]}")
