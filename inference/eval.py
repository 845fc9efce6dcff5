"""Ask a model the benchmark's questions and score its answers, with n and 95 % intervals.

Reads   a model (Hugging Face folder, LoRA adapter or hub name), MMedBench/Test (mmedbench/FORMAT.md), a prompt: the one
        in the checkpoint, or --prompt for a foreign model
Writes  <out>: predictions.jsonl (one line a question), result.json last (inference/FORMAT.md)
Example python inference/eval.py --model checkpoints/finetuned
        python inference/eval.py --model checkpoints/finetuned --data data/MMedBench/English_benchmarks
        python inference/eval.py --model NAME --api-base http://localhost:8000/v1 --prompt finetune/prompts/mmedbench

Answers are written down as they come: a run that was killed asks no question twice. Exit 3: an endpoint left questions
unanswered; they count as wrong until the same command has asked them again.
"""

import argparse
import contextlib
import fcntl
import json
import sys
from pathlib import Path

from accuracy import group_averages, score_table
from api_arguments import (
    DECISIVE,
    DEFAULTS,
    MAX_NEW_TOKENS,
    add_endpoint_arguments,
    check_endpoint,
    choose_api_mode,
    endpoint_facts,
    endpoint_fingerprint,
)
from api_asking import ask_endpoint, print_plan
from api_report import describe_endpoint, print_failures, write_failures
from asking import ask, find_examples, parse_shard
from clean_subset import clean_scores, clean_table, read_contamination
from exam_questions import LANGUAGE_FILES, RecordError, read_split
from few_shot import render_with_examples
from inference_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
    write_text,
)
from prompt_reader import FORMS, Prompt, PromptError
from rationale import MODES, add_bert_flags, rationale_table
from rationale_bertscore import describe_encoder
from scoring import PARSERS, question_of, rationale_scores, read_answers, score

# Of what accuracy.py counts and of how letters are read; a change makes a new version. 1: the prompt's pattern alone;
# 2: free answers of foreign models are read by the policy of answers.py. 3: that policy reads tables of verdicts,
# doubts ("I don't think it is A") and "all but C"; a letter that is only called wrong is no answer.
METRIC_VERSION = 3
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


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
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
    add("--batch-size", type=int, default=32, help="questions at a time (default %(default)s)")
    add("--max-new-tokens", type=int, help="default 16 for the form answer, 512 for rationale")
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


def read_test(args: argparse.Namespace) -> dict[str, list[dict]]:
    """{language or benchmark: records}; a key is the ISO code, or the file's stem for the English benchmarks."""
    codes = {Path(name).stem: code for code, name in LANGUAGE_FILES.items()}
    try:
        split = read_split(args.data)
    except RecordError as error:
        raise InputError(
            f"{error}; `python mmedbench/prepare.py SOURCES --out {args.data.parent}` makes a test set"
        ) from None
    test = {codes.get(stem, stem): records for stem, records in split.items()}
    if args.languages:
        test = {key: records for key, records in test.items() if records[0]["language"] in args.languages}
    if args.limit:
        test = {key: records[: args.limit] for key, records in test.items()}
    if not test:
        raise InputError(f"{args.data} has no question in {', '.join(args.languages)}")
    return test


def find_prompt(args: argparse.Namespace) -> tuple[Prompt, bool]:
    """(prompt, whether it came with the checkpoint). Errors: InputError when there is none, or it does not hold."""
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


def released_split(data: Path, keys: list[str]) -> dict[str, bool | None]:
    """Per key whether the split is the released one, from the benchmark's manifest; None where nobody says."""
    manifest = data.parent / "manifest.json"
    said = read_json(manifest).get("released_split", {}) if manifest.exists() else {}
    return {key: said.get(key) for key in keys}


def check_arguments(args: argparse.Namespace) -> None:
    """Errors: InputError for flags that do not go together."""
    if args.mode != "generate" and args.form != "answer":
        raise InputError(f"--mode {args.mode} scores what stands right after the prompt; use --form answer with it")
    if args.samples < 1 or (args.samples > 1 and (args.circular or args.mode != "generate" or args.temperature <= 0)):
        raise InputError("--samples goes with --mode generate and a --temperature over 0, without --circular")
    if args.few_shot < 0 or (args.few_shot_data and not args.few_shot):
        raise InputError("--few-shot takes the number of examples, and --few-shot-data where they are drawn from")
    check_endpoint(args)
    if args.bert_score and args.form != "rationale":
        raise InputError("--bert-score compares rationales; use --form rationale with it")
    if not 0 <= args.contamination_coverage <= 1:
        raise InputError(f"--contamination-coverage {args.contamination_coverage:g}: expected a share between 0 and 1")
    for flag in ("batch_size", "limit", "max_new_tokens"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise InputError(f"--{flag.replace('_', '-')} {value}: expected 1 or more")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    check_arguments(args)
    longest = MAX_NEW_TOKENS if args.api_base else {"answer": 16, "rationale": 512}
    args.max_new_tokens = args.max_new_tokens or longest[args.form]
    args.out = args.out or Path("results") / Path(args.model).name
    test = read_test(args)
    prompt, own = find_prompt(args)
    args.parse = args.parse or ("strict" if own else "policy")
    print("arguments: " + ", ".join(f"{k}={v}" for k, v in sorted(vars(args).items())))
    print("questions: " + ", ".join(f"{key} {len(records)}" for key, records in test.items()))
    shots = find_examples(test, args)
    first = next(iter(test.values()))[0]
    try:
        shown = render_with_examples(prompt, first, args.form, shots.get(first["language"], []))
        print(f"one prompt ({prompt.name} {prompt.version}):\n{shown}", flush=True)
    except PromptError as error:
        raise InputError(str(error)) from None
    from decode import load_model, model_fingerprint

    free = FREE_ARGUMENTS - set(DECISIVE) if args.api_base else FREE_ARGUMENTS
    arguments = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in free}
    files = describe_files(args.data, args.data.glob("*.jsonl"))
    # Scoring again needs no model: it may have been moved away since.
    saved = read_json(args.out / "result.json") if args.score_only and (args.out / "result.json").exists() else None
    make_fingerprint = (lambda _: endpoint_fingerprint(args)) if args.api_base else model_fingerprint
    fingerprint = saved["inputs"]["model"] if saved else make_fingerprint(args.model)
    inputs = {"model": fingerprint, "prompt": prompt.sha256, "data": files}
    if shots:
        inputs["few_shot"] = {language: [record["id"] for record in mine] for language, mine in shots.items()}
    finished = finished_record(args.out / "result.json", arguments, inputs)
    report = read_contamination(args.contamination, args.data) if args.contamination else None
    scoring = {"parse": args.parse, "rationale_mode": args.rationale_mode}
    if args.bert_score:
        scoring["bert_score"] = describe_encoder(args.bert_score, args.bert_layer)
    if report:
        scoring["contamination"] = {"sha256": report.sha256, "coverage": args.contamination_coverage}
    if args.dry_run:
        if args.api_base:
            print_plan(prompt, test, shots, args)
        return 0
    if finished and not args.score_only and (finished.get("endpoint") or {}).get("unanswered"):
        print("some questions are unanswered and are asked again")
        finished = None
    if finished and finished.get("scoring") != scoring:
        args.score_only = True  # asked already; only the rule of scoring is another
    if finished and not args.score_only:
        print(f"{args.out} is complete and is reused")
        print(score_table(finished["scores"], finished["macro"], finished["micro"]))
        if finished.get("clean"):
            print(clean_table(finished["clean"], finished["scores"]))
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    with lock_run(args):
        return evaluate(args, argv, test, shots, prompt, own, arguments, inputs, load_model, scoring, report)


@contextlib.contextmanager
def lock_run(args: argparse.Namespace):
    """Hold the folder alone, or one shard of it beside the other shards. Errors: InputError when somebody has it."""
    with contextlib.ExitStack() as stack:
        wanted = [(".lock", fcntl.LOCK_SH if args.shard else fcntl.LOCK_EX)]
        if args.shard:
            wanted.append((f".lock-{args.shard[0]}-of-{args.shard[1]}", fcntl.LOCK_EX))
        for name, kind in wanted:
            lock = stack.enter_context(open(args.out / name, "w"))
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another evaluation is writing to {args.out}; wait for it or give another --out"
                ) from None
        yield


def evaluate(
    args, argv, test: dict, shots: dict, prompt: Prompt, own: bool, arguments: dict, inputs: dict, load_model,
    scoring: dict, report
) -> int:  # fmt: skip
    """Ask (unless --score-only), score, write result.json last."""
    predictions = args.out / "predictions.jsonl"
    if args.score_only:
        if not predictions.exists():
            raise InputError(f"{predictions} is missing; run the same command without --score-only first")
        previous = read_json(args.out / "result.json")
        rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").split("\n") if line]
        model, endpoint = previous["model"], previous.get("endpoint")
    else:
        # The first file names what this run is made of, so that answers of another run are never mixed in.
        if finished_record(args.out / "making.json", arguments, inputs) is None:
            write_json(args.out / "making.json", {"arguments": arguments, "inputs": inputs})
        if args.api_base:
            facts, rows = endpoint_facts(args), ask_endpoint(prompt, test, shots, args)
        else:
            loaded = load_model(args.model, args.trust_remote_code)
            facts, rows = loaded.facts, ask(loaded, prompt, test, shots, args)
        if rows is None:
            return 0
        model = facts | ({"name": args.name} if args.name else {})
        endpoint = describe_endpoint(rows, args) if args.api_base else None
    # The raw output is what was predicted; the letters are read from it here, by the rule that is asked for now.
    rows = [row | read_answers(row, question_of(row, test), prompt, args.parse, args.circular) for row in rows]
    for row in rows:
        row.pop("contaminated", None)  # of another report
        if report:
            row["contaminated"] = report.holds(row, args.contamination_coverage)
    write_text(predictions, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    scores, macro, micro = score(rows)
    rationales = None
    if args.form == "rationale":
        bert = (args.bert_score, scoring["bert_score"], args.out) if args.bert_score else None
        rationales = rationale_scores(rows, test, prompt, args.rationale_mode, bert)
    clean = scoring["contamination"] | clean_scores(rows) if report else None
    shortened = sum(row["shortened"] for row in rows)
    if endpoint:
        write_failures(rows, args.out)
    write_json(
        args.out / "result.json",
        {
            "format_version": 1,
            "stage": "inference/eval.py",
            "model": model,
            "setting": "fine-tuned" if own and model["training"] in ("lora", "full") else "zero-shot",
            "mode": args.mode,
            "metric_version": METRIC_VERSION,
            "prompt": {"name": prompt.name, "version": prompt.version, "form": args.form, "sha256": prompt.sha256},
            "scores": scores,
            "macro": macro,
            "micro": micro,
            "groups": group_averages(scores),
            "clean": clean,
            "rationales": rationales,
            "scoring": scoring,
            "prompts_shortened": shortened,
            **({"endpoint": endpoint} if endpoint else {}),
            "data": {
                "path": str(args.data),
                "released_split": released_split(args.data, list(test)),
                "files": inputs["data"],
            },
            "arguments": arguments,
            "inputs": inputs,
            "files": {
                "predictions.jsonl": {"bytes": predictions.stat().st_size, "sha256": sha256_of_file(predictions)}
            },
            "provenance": provenance(argv),
        },
    )
    unanswered = endpoint["unanswered"] if endpoint else 0
    for path in args.out.glob("predictions.partial*.jsonl"):
        if not unanswered:
            path.unlink()
    print(score_table(scores, macro, micro))
    if clean:
        print(clean_table(clean, scores))
    if rationales:
        print(f"rationales, in per cent (mode {rationales['mode']}):\n{rationale_table(rationales['scores'])}")
    elif args.form == "rationale":
        print("the test set has no rationale to compare with")
    if shortened:
        print(f"{shortened} prompts were longer than the model's positions and were shortened left of their middle")
    print(f"wrote {args.out}/result.json (research use; these scores are no medical advice)")
    if endpoint:
        print_failures(rows, endpoint)
    return 3 if unanswered else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
