"""The result folder: its lock, the predictions, whether its scores belong to them; reading a finished evaluation."""

import argparse
import contextlib
import fcntl
import json
from dataclasses import dataclass
from pathlib import Path

from evaluation.eval_inputs import by_key, describe_examples
from evaluation.generate_answers import find_examples
from evaluation.scoring import METRIC_VERSION, answer_text, question_of
from evaluation.variants import render_with_examples
from metrics.accuracy import clean_table, score_table
from metrics.rationale_scores import RATIONALE_METRIC_VERSION, rationale_table
from mmedbench_questions import RecordError, read_split
from prompt_folder import Prompt, PromptError
from run_record import InputError, describe_files, read_json, sha256_of_file, write_text


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
                    f"another evaluation is writing to {args.out}; wait for it or use another --out"
                ) from None
        yield


@contextlib.contextmanager
def lock_scoring(args: argparse.Namespace):
    """Hold the folder's scores alone: shards that end together score one after the other."""
    if getattr(args, "last_lock", None):  # generate_answers.py's last shard holds it already
        yield
        return
    with open(args.out / ".lock-scoring", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_predictions(path: Path) -> list[dict]:
    """Saved predictions in their order. Errors: InputError naming the line that is none."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete the folder and ask again") from None
    # Not splitlines: an answer may hold one of Unicode's other line separators.
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not {"key", "number", "id", "gold", "options"} <= set(row):
            raise InputError(f"{path}:{number}: no prediction of inference/eval.py; delete the folder and ask again")
        rows.append(row)
    return rows


def write_predictions(path: Path, rows: list[dict]) -> dict:
    """Write them whole; returns what the record says of the file."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def why_score_again(result: dict, scoring: dict, out: Path) -> str | None:
    """Why the scores of a finished run are not those that are asked for; None where they are."""
    if result.get("scoring") != scoring:
        return "another rule of scoring is asked for"
    if result.get("metric_version") != METRIC_VERSION:
        return f"scored by metric version {result.get('metric_version')}, and {METRIC_VERSION} is the present one"
    if result.get("rationales") and result["rationales"].get("metric_version") != RATIONALE_METRIC_VERSION:
        return f"rationales are scored by metric version {RATIONALE_METRIC_VERSION} now"
    if not are_scored(result, out):
        return f"{out / 'predictions.jsonl'} is not the file that was scored"  # as after a kill while scoring again
    return None


def are_scored(result: dict, out: Path) -> bool:
    """Whether predictions.jsonl is the file that result.json was written for, where that says so."""
    path, written = out / "predictions.jsonl", result.get("files", {}).get("predictions.jsonl", {})
    return path.exists() and written.get("sha256") in (None, sha256_of_file(path))


def check_predictions(result: dict, out: Path) -> None:
    """Errors: InputError when `are_scored` is false: the letters in the file would be other than the scores say."""
    if not are_scored(result, out):
        raise InputError(
            f"{out}/predictions.jsonl is not the file that its result.json was written for; score the run again with "
            "inference/eval.py --score-only"
        )


def print_result(result: dict, form: str) -> None:
    """The scores of a result, old or new."""
    print(score_table(result["scores"], result["macro"], result["micro"]))
    if result.get("clean"):
        print(clean_table(result["clean"], result["scores"]))
    rationales = result.get("rationales")
    if rationales:
        print(f"rationales, in per cent (mode {rationales['mode']}):\n{rationale_table(rationales['scores'])}")
    elif form == "rationale":
        print("the test set has no rationale to compare with")
    if result["prompts_shortened"]:
        print(
            f"{result['prompts_shortened']} prompts were longer than the model's positions and were shortened left of "
            "their middle"
        )


@dataclass
class FinishedRun:
    """result: result.json; rows: its predictions; test: {language or benchmark: questions}."""

    result: dict
    rows: list[dict]
    test: dict[str, list[dict]]
    prompt: Prompt
    shots: dict[str, list[dict]]

    def question(self, row: dict) -> dict:
        """The question that a prediction answers."""
        return question_of(row, self.test)

    def model_input(self, row: dict) -> str:
        """The prompt of a prediction as text, with its worked examples."""
        record = self.question(row)
        shots = self.shots.get(record["language"], [])[row.get("examples_dropped", 0) :]
        return render_with_examples(self.prompt, record, self.result["prompt"]["form"], shots)

    def model_output(self, row: dict) -> str:
        """The raw text of a prediction (`answer_text`); by log-probability the letter that was likeliest."""
        text = answer_text(row, self.question(row), self.prompt, self.result["scoring"]["parse"])
        return ",".join(row["letters"] or []) if text is None else text


def read_finished_run(folder: Path, data: Path | None = None, prompt: Path | None = None) -> FinishedRun:
    """Errors: InputError when the folder is not a finished run, or data and prompt are not those that were used.

    data, prompt: where they are now; by default where the run found them.
    """
    for name in ("result.json", "predictions.jsonl"):
        if not (folder / name).exists():
            raise InputError(f"{folder} has no {name}; give the folder of a finished run of inference/eval.py")
    result = read_json(folder / "result.json")
    data = data or Path(result["data"]["path"])
    prompt = prompt or Path(result["prompt"].get("path") or Path(result["model"]["path"]) / "prompt")
    if not prompt.is_dir():
        raise InputError(f"the prompt of this run is not at {prompt}; say with --prompt where it is")
    try:
        split = read_split(data)
        loaded = Prompt(prompt)
    except (RecordError, PromptError) as error:
        raise InputError(f"{error}; say with --data and --prompt where those of this run are") from None
    found = {name: facts["sha256"] for name, facts in describe_files(data, data.glob("*.jsonl")).items()}
    if found != {name: facts["sha256"] for name, facts in result["data"]["files"].items()}:
        raise InputError(f"{data} is not the test set that was answered; say with --data where that is")
    if loaded.sha256 != result["prompt"]["sha256"]:
        raise InputError(f"{prompt} is not the prompt that was used; say with --prompt where that is")
    asked, test = result["arguments"], by_key(split, data)
    test = {key: test[key] for key in result["scores"]}
    if asked.get("limit"):
        test = {key: records[: asked["limit"]] for key, records in test.items()}
    examples = argparse.Namespace(
        few_shot=asked.get("few_shot", 0),
        few_shot_data=asked.get("few_shot_data") and Path(asked["few_shot_data"]),
        data=data,
        form=asked["form"],
        seed=asked.get("seed", 0),
    )
    shots = find_examples(test, examples)
    if shots and describe_examples(shots, loaded, asked["form"]) != result["inputs"]["few_shot"]:
        raise InputError(
            f"the train questions at {examples.few_shot_data or data.parent / 'Train'} are not those that "
            "were shown as worked examples; put those back"
        )
    check_predictions(result, folder)
    return FinishedRun(result, read_predictions(folder / "predictions.jsonl"), test, loaded, shots)
