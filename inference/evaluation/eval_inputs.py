"""The inputs of an evaluation: flags, questions, prompt, worked examples, and what identifies the run."""

import argparse
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from endpoint.api_arguments import (
    DECISIVE,
    DEFAULTS,
    add_endpoint_arguments,
    check_endpoint,
    choose_api_mode,
    endpoint_fingerprint,
)
from evaluation.generate_answers import parse_shard
from evaluation.scoring import PARSERS
from local_model.local_model import known_by
from metrics.accuracy import ContaminationReport, read_contamination
from metrics.rationale_bertscore import describe_encoder
from metrics.rationale_scores import MODES, add_bert_flags
from mmedbench_questions import LANGUAGE_FILES, RecordError, read_split
from prompt_folder import FORMS, Prompt, PromptError
from run_record import InputError, describe_files, read_json

DESCRIPTION = "Ask a model the benchmark's questions and score its answers, with n and 95 % intervals."
# Flags that change no answer, or whose content is in the record's inputs or scoring.
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
        help="apply the tokenizer's chat template to the prompt (default: as in the prompt's prompt.json)",
    )
    add("--form", choices=FORMS, default="answer", help="the letters alone, or a rationale first (default %(default)s)")
    add(
        "--mode",
        choices=("generate", "letter-logprob", "option-logprob"),
        default="generate",
        help="generate an answer, take the most likely letter, or the option with the most likely text "
        "(default %(default)s)",
    )
    add("--few-shot", type=int, default=0, help="worked examples before each question (default %(default)s)")
    add("--few-shot-data", type=Path, help="train split they are drawn from (default: the Train folder beside --data)")
    add(
        "--samples",
        type=int,
        default=1,
        help="sampled answers per question, scored by majority vote (default 1: greedy)",
    )
    add("--temperature", type=float, default=0.7, help="sampling temperature (default %(default)s)")
    add("--seed", type=int, default=0, help="random seed for sampling and for few-shot examples (default %(default)s)")
    add(
        "--circular",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="ask each question once per rotation of its options, and report how many are right in every rotation",
    )
    add(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="answer only every N-th question, from number I on, I from 0 to N-1; the last shard to end scores all",
    )
    add("--languages", nargs="+", choices=list(LANGUAGE_FILES), help="ISO codes (default: all in the data)")
    add("--limit", type=int, help="use only the first N questions per file")
    add(
        "--batch-size",
        type=int,
        default=128,
        help="questions per batch; halved on out-of-memory; larger batches are faster, above all for long "
        "answers (default %(default)s)",
    )
    add(
        "--max-new-tokens",
        type=int,
        help="maximum number of generated tokens (default 16 for the form answer, 512 for rationale; "
        "endpoints: 256, 1024)",
    )
    add(
        "--parse",
        choices=PARSERS,
        help="strict: an answer must keep the prompt's format; policy: otherwise it is parsed by the rules in "
        "answers.py (default: strict if the prompt came with the checkpoint, else policy)",
    )
    add(
        "--rationale-mode",
        choices=MODES,
        default="default",
        help="default: an empty rationale scores 0; paper: it is omitted and counted (default %(default)s)",
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
        help="a question is contaminated when this share of it or more is in the corpus (0 to 1, default %(default)s)",
    )
    add("--score-only", action="store_true", help="score the predictions that are there; ask nothing")
    add("--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence")
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


@dataclass
class Inputs:
    """test: {language or benchmark: questions}; own: the prompt came with the checkpoint; shots: worked examples by
    language. arguments and inputs decide the answers, scoring how they are read; all three are JSON values."""

    test: dict[str, list[dict]]
    prompt: Prompt
    own: bool
    shots: dict[str, list[dict]]
    arguments: dict
    inputs: dict
    scoring: dict
    report: ContaminationReport | None


def read_test(args: argparse.Namespace) -> dict[str, list[dict]]:
    """{language or benchmark: records}; a key is the ISO code, or the file's stem for the English benchmarks."""
    try:
        test = by_key(read_split(args.data), args.data)
    except RecordError as error:
        raise InputError(
            f"{error}; `python mmedbench/prepare.py SOURCES --out {args.data.parent}` makes a test set"
        ) from None
    if args.languages:
        there = {records[0]["language"] for records in test.values()}
        missing = [language for language in args.languages if language not in there]
        if missing:
            raise InputError(f"{args.data} has no question in {', '.join(missing)}")
        test = {key: records for key, records in test.items() if records[0]["language"] in args.languages}
    if args.limit:
        test = {key: records[: args.limit] for key, records in test.items()}
    return test


def by_key(split: dict[str, list[dict]], data: Path) -> dict[str, list[dict]]:
    """{key: records} of {file stem: records}. Errors: InputError when two files have one key."""
    codes = {Path(name).stem: code for code, name in LANGUAGE_FILES.items()}
    test = {codes.get(stem, stem): records for stem, records in split.items()}
    if len(test) < len(split):
        both = next(stem for stem in split if stem in codes and codes[stem] in split)
        raise InputError(f"{data} holds {both}.jsonl and {codes[both]}.jsonl, one language; leave one of them")
    return test


def find_prompt(args: argparse.Namespace) -> tuple[Prompt, bool]:
    """(prompt, whether it came with the checkpoint). Errors: InputError when there is none, or it does not hold.

    Fills in --chat-template and --api-mode, which follow from the prompt where they are not given.
    """
    own = Path(args.model) / "prompt"
    folder = args.prompt or own
    if not folder.is_dir():
        raise InputError(f"{args.model} brings no prompt; name one with --prompt, such as finetune/prompts/mmedbench")
    try:
        prompt = Prompt(folder)
        mine = own.is_dir() and prompt.sha256 == Prompt(own).sha256
        if args.api_base:
            choose_api_mode(args, mine, prompt.chat_template)
            args.chat_template = args.api_mode == "chat"
        if args.chat_template is None:
            args.chat_template = prompt.chat_template
        mine = mine and args.chat_template == prompt.chat_template
        prompt.chat_template = args.chat_template
        return prompt, mine
    except PromptError as error:
        raise InputError(str(error)) from None


def known(args: argparse.Namespace) -> dict:
    """What the model is known by: its files, or the endpoint that has it."""
    return endpoint_fingerprint(args) if args.api_base else known_by(args.model)


def describe_examples(shots: dict[str, list[dict]], prompt: Prompt, form: str) -> dict[str, dict[str, str]]:
    """{language: {question id: 16 hex digits of the text that is shown of it, answer included}}.

    The id alone is not enough: it is of question, options and context, and an example shows its answer too.
    """

    def digest(record: dict) -> str:
        return hashlib.sha256((prompt.render(record, form) + prompt.target(record, form)).encode()).hexdigest()[:16]

    try:
        return {language: {record["id"]: digest(record) for record in mine} for language, mine in shots.items()}
    except PromptError as error:
        raise InputError(str(error)) from None


def released_split(data: Path, keys: list[str]) -> dict[str, bool | None]:
    """Per key whether the split is the released one, from the benchmark's manifest; None if unknown."""
    manifest = data.parent / "manifest.json"
    said = read_json(manifest).get("released_split", {}) if manifest.exists() else {}
    return {key: said.get(key) for key in keys}


def read_inputs(args: argparse.Namespace, test: dict, prompt: Prompt, own: bool, shots: dict) -> Inputs:
    """All of it with its fingerprints. Errors: InputError. The model is not loaded, only known by its files."""
    # Scoring again needs no model: it may have been moved away since.
    path = args.out / "result.json"
    saved = read_json(path) if args.score_only and path.exists() else {}
    model = saved["inputs"]["model"] if saved else known(args)
    inputs = {"model": model, "prompt": prompt.sha256, "data": describe_files(args.data, args.data.glob("*.jsonl"))}
    if shots:
        inputs["few_shot"] = describe_examples(shots, prompt, args.form)
    own = own or saved.get("setting") == "fine-tuned"
    scoring = {"parse": args.parse or ("strict" if own else "policy"), "rationale_mode": args.rationale_mode}
    report = read_contamination(args.contamination, args.data) if args.contamination else None
    if args.bert_score:
        scoring["bert_score"] = describe_encoder(args.bert_score, args.bert_layer)
    if report:
        scoring["contamination"] = {"sha256": report.sha256, "coverage": args.contamination_coverage}
    return Inputs(test, prompt, own, shots, deciding_arguments(args), inputs, scoring, report)
