"""Ask a model the benchmark's questions and score its answers, with n and 95 % intervals.

Reads   a model (Hugging Face folder, LoRA adapter or hub name), MMedBench/Test (mmedbench/FORMAT.md), a prompt: the one
        in the checkpoint, or --prompt for a foreign model
Writes  <out>: predictions.jsonl (one line per question), result.json last (inference/FORMAT.md)
Example python inference/eval.py --model checkpoints/finetuned
        python inference/eval.py --model checkpoints/finetuned --data data/MMedBench/English_benchmarks
        python inference/eval.py --model NAME --api-base http://localhost:8000/v1 --prompt finetune/prompts/mmedbench

Answers are written down as they come: a run that was killed asks no question twice. Exit 3: an endpoint left questions
unanswered; they count as wrong until the same command has asked them again.
"""

import argparse
import sys
from pathlib import Path

from endpoint.api_arguments import MAX_NEW_TOKENS, endpoint_facts
from endpoint.api_report import describe_endpoint, print_failures, write_failures
from evaluation.ask_endpoint import ask_endpoint, print_plan
from evaluation.eval_inputs import (
    Inputs,
    build_parser,
    check_arguments,
    find_prompt,
    read_inputs,
    read_test,
    released_split,
)
from evaluation.generate_answers import ask, find_examples
from evaluation.result_folder import (
    lock_run,
    lock_scoring,
    print_result,
    read_predictions,
    why_score_again,
    write_predictions,
)
from evaluation.scoring import METRIC_VERSION, question_of, rationale_scores, read_answers, score
from evaluation.variants import render_with_examples
from local_model.local_model import load_model
from metrics.accuracy import clean_scores, group_averages
from prompt_folder import PromptError
from run_record import (
    InputError,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    write_json,
)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    check_arguments(args)
    longest = MAX_NEW_TOKENS if args.api_base else {"answer": 16, "rationale": 512}
    args.max_new_tokens = args.max_new_tokens or longest[args.form]
    args.out = args.out or Path("results") / Path(args.model).name

    test = read_test(args)
    prompt, own = find_prompt(args)
    shots = find_examples(test, args)
    inputs = read_inputs(args, test, prompt, own, shots)
    print_questions(inputs, args)
    finished = finished_record(args.out / "result.json", inputs.arguments, inputs.inputs)
    if args.dry_run:
        if args.api_base:
            print_plan(prompt, test, shots, args)
        return 0

    score_only = args.score_only
    if finished and not score_only:
        reason = why_score_again(finished, inputs.scoring, args.out)
        if (finished.get("endpoint") or {}).get("unanswered"):
            print("some questions are unanswered and are asked again")
        elif reason:
            print(f"{args.out} is asked already and is scored again: {reason}")
            score_only = True
        else:
            print(f"{args.out} is complete and is reused")
            print_result(finished, args.form)
            return 0
    if score_only and not finished:
        raise InputError(f"{args.out} has no finished run to score; run the same command without --score-only first")
    args.out.mkdir(parents=True, exist_ok=True)
    with lock_run(args):
        answers = answers_of_before(args) if score_only else ask_all(inputs, args)
        if not answers:
            return 0
        with lock_scoring(args):
            return score_all(*answers, inputs, args, argv)


def print_questions(inputs: Inputs, args: argparse.Namespace) -> None:
    """The resolved arguments, how many questions, and one prompt as the model gets it."""
    shown = vars(args) | {"parse": inputs.scoring["parse"]}
    print("arguments: " + ", ".join(f"{k}={v}" for k, v in sorted(shown.items())))
    print("questions: " + ", ".join(f"{key} {len(records)}" for key, records in inputs.test.items()))
    first, prompt = next(iter(inputs.test.values()))[0], inputs.prompt
    try:
        text = render_with_examples(prompt, first, args.form, inputs.shots.get(first["language"], []))
    except PromptError as error:
        raise InputError(str(error)) from None
    print(f"one prompt ({prompt.name} {prompt.version}):\n{text}", flush=True)


def answers_of_before(args: argparse.Namespace) -> tuple[list[dict], dict]:
    """(predictions, what their record says of how they were made) of the finished run in --out."""
    rows, before = read_predictions(args.out / "predictions.jsonl"), read_json(args.out / "result.json")
    made = {name: before[name] for name in ("model", "setting", "endpoint") if name in before}
    return rows, made | {"asked": before.get("asked") or before["provenance"]}


def ask_all(inputs: Inputs, args: argparse.Namespace) -> tuple[list[dict], dict] | None:
    """The same of answers that are asked for now; None while other shards' answers are missing."""
    # The first file names what this run is built from, so that answers of another run are never mixed in.
    making = args.out / "making.json"
    if finished_record(making, inputs.arguments, inputs.inputs) is None:
        write_json(making, {"arguments": inputs.arguments, "inputs": inputs.inputs})
    if args.api_base:
        facts, rows = endpoint_facts(args), ask_endpoint(inputs.prompt, inputs.test, inputs.shots, args)
    else:
        loaded = load_model(args.model, args.trust_remote_code)
        facts, rows = loaded.facts, ask(loaded, inputs.prompt, inputs.test, inputs.shots, args)
    if rows is None:
        return None
    tuned = inputs.own and facts["training"] in ("lora", "full")
    made = {"model": facts, "setting": "fine-tuned" if tuned else "zero-shot"}
    return rows, made | ({"endpoint": describe_endpoint(rows, args)} if args.api_base else {})


def score_all(rows: list[dict], made: dict, inputs: Inputs, args: argparse.Namespace, argv) -> int:
    """Read the letters, score, write predictions.jsonl and, last, result.json; returns the exit code.

    made: `model`, `setting` and what else of the result comes from how the answers were made.
    """
    test, prompt, scoring, report = inputs.test, inputs.prompt, inputs.scoring, inputs.report
    # The raw output is what was predicted; the letters are read from it here, by the rule that is asked for now.
    rows = [row | read_answers(row, question_of(row, test), prompt, scoring["parse"], args.circular) for row in rows]
    for row in rows:
        row.pop("contaminated", None)  # of another report
        if report:
            row["contaminated"] = report.holds(row, args.contamination_coverage)
    file = write_predictions(args.out / "predictions.jsonl", rows)
    scores, macro, micro = score(rows)
    rationales = None
    if args.form == "rationale":
        bert = (args.bert_score, scoring["bert_score"], args.out) if args.bert_score else None
        rationales = rationale_scores(rows, test, prompt, args.rationale_mode, scoring["parse"], bert)
    result = {
        "format_version": 1,
        "stage": "inference/eval.py",
        **made,
        "metric_version": METRIC_VERSION,
        "scores": scores,
        "macro": macro,
        "micro": micro,
        "groups": group_averages(scores),
        "clean": scoring["contamination"] | clean_scores(rows) if report else None,
        "rationales": rationales,
        "prompts_shortened": sum(row["shortened"] for row in rows),
        **describe_run(inputs, args),
        "files": {"predictions.jsonl": file},
        "provenance": provenance(argv),
    }
    if args.name:
        result["model"] = result["model"] | {"name": args.name}
    endpoint = made.get("endpoint")
    if endpoint:
        write_failures(rows, args.out)
    write_json(args.out / "result.json", result)
    unanswered = endpoint["unanswered"] if endpoint else 0
    if not unanswered:
        for path in args.out.glob("predictions.partial*.jsonl"):
            path.unlink(missing_ok=True)
    print_result(result, args.form)
    print(f"wrote {args.out}/result.json (research use; these scores are not medical advice)")
    if endpoint:
        print_failures(rows, endpoint)
    return 3 if unanswered else 0


def describe_run(inputs: Inputs, args: argparse.Namespace) -> dict:
    """What was asked and how, for result.json."""
    prompt = inputs.prompt
    about = {name: getattr(prompt, name) for name in ("name", "version", "sha256")}
    split = released_split(args.data, list(inputs.test))
    return {
        "mode": args.mode,
        "prompt": about | {"form": args.form, "path": str(prompt.folder)},
        "scoring": inputs.scoring,
        "data": {"path": str(args.data), "released_split": split, "files": inputs.inputs["data"]},
        "arguments": inputs.arguments,
        "inputs": inputs.inputs,
    }


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
