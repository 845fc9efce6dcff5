"""What an evaluation is made of: the questions, the prompt, worked examples, and by what the run is known."""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

from endpoint.api_arguments import choose_api_mode, endpoint_fingerprint
from evaluation.eval_arguments import deciding_arguments
from local_model.model_identity import known_by
from metrics.clean_subset import ContaminationReport, read_contamination
from metrics.rationale_bertscore import describe_encoder
from mmedbench_questions import LANGUAGE_FILES, RecordError, read_split
from prompt_folder import Prompt, PromptError
from run_record import InputError, describe_files, read_json


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
    """Per key whether the split is the released one, from the benchmark's manifest; None where nobody says."""
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
