"""A finished evaluation read back: its answers beside the questions and the prompt that they answer."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from evaluation.eval_inputs import by_key, describe_examples
from evaluation.few_shot import render_with_examples
from evaluation.generate_answers import find_examples
from evaluation.result_folder import check_predictions, read_predictions
from evaluation.scoring import answer_text, question_of
from mmedbench_questions import RecordError, read_split
from prompt_folder import Prompt, PromptError
from run_record import InputError, describe_files, read_json


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
    """Errors: InputError when the folder is no finished run, or data and prompt are not those that were used.

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
