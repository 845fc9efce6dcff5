"""Worked examples before the question: chosen from the train set, the same ones for every question of a language."""

import random
from pathlib import Path

from mmedbench_questions import RecordError, content_key, read_split
from prompt_folder import Prompt
from run_record import InputError


def choose_examples(
    folder: Path, test: dict[str, list[dict]], count: int, form: str, seed: int
) -> dict[str, list[dict]]:
    """{language: `count` train questions}, drawn by the seed, none of them in the test set.

    test: {language or benchmark: records}. In the form rationale only questions with a rationale are drawn.
    Errors: InputError when the folder is not a train set or holds too few of a language that is asked.
    """
    try:
        train = [record for records in read_split(folder).values() for record in records]
    except RecordError as error:
        raise InputError(f"--few-shot takes its examples from --few-shot-data {folder}: {error}") from None
    # By content: the same question with its options in another order has another id.
    asked = {content_key(record) for records in test.values() for record in records}
    chosen = {}
    for language in sorted({record["language"] for records in test.values() for record in records}):
        usable = [r for r in train if r["language"] == language and content_key(r) not in asked]
        if form == "rationale":
            usable = [r for r in usable if r.get("rationale")]
        if len(usable) < count:
            raise InputError(
                f"{folder} has {len(usable)} usable questions in {language}, fewer than --few-shot {count}; "
                "name another --few-shot-data, or the --languages that it has"
            )
        chosen[language] = random.Random(f"{seed} {language}").sample(sorted(usable, key=lambda r: r["id"]), count)
    return chosen


def render_with_examples(prompt: Prompt, record: dict, form: str, examples: list[dict]) -> str:
    """The examples with their answers, each followed by a blank line, then the question."""
    shots = [prompt.render(shot, form) + prompt.target(shot, form) for shot in examples]
    return "\n\n".join([*shots, prompt.render(record, form)])
