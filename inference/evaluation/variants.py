"""Variants of a question: worked examples before it, rotated options, samples; and combining the answers.

Circular order (after CircularEval of MMBench, Liu et al., arXiv 2307.06281): n options, n turns; in turn r the text of
option i + r is at letter i. An answer that follows the text and not the letter is the same in every turn.
Self-consistency (Wang et al., arXiv 2203.11171): k samples, the most frequent set of letters; among equals, the one
that came first. Answers that cannot be read do not vote.
"""

import random
from collections import Counter
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


# What each answer to a question has for itself; the last three are of endpoints.
OF_EACH_ANSWER = ("output", "letter_logprobs", "option_logprobs", "reply", "failure", "detail")


def turn(record: dict, turns: int) -> dict:
    """The record with its options' texts moved `turns` letters up; answer_idx stays and means nothing in it."""
    letters, texts = list(record["options"]), list(record["options"].values())
    moved = texts[turns % len(texts) :] + texts[: turns % len(texts)]
    return record | {"options": dict(zip(letters, moved, strict=True))}


def turn_back(letters: list[str] | None, options: str, turns: int) -> list[str] | None:
    """Letters that were given in turn `turns`, as letters of the question as it stands; unknown ones stay."""
    if letters is None:
        return None
    places = {letter: options[(i + turns) % len(options)] for i, letter in enumerate(options)}
    return sorted(places.get(letter, letter) for letter in letters)


def count_variants(record: dict, circular: bool, samples: int) -> int:
    """How often a question is asked."""
    return len(record["options"]) if circular else samples


def gather(rows: list[dict], variants_per_question: bool) -> list[dict]:
    """One row per question from one row per question and variant, the answers together in `variants`."""
    if not variants_per_question:
        return [{key: value for key, value in row.items() if key != "variant"} for row in rows]
    questions: dict[tuple[str, int], list[dict]] = {}
    for row in rows:
        questions.setdefault((row["key"], row["number"]), []).append(row)
    gathered = []
    for mine in questions.values():
        mine.sort(key=lambda row: row["variant"])
        answers = [{k: row[k] for k in OF_EACH_ANSWER if k in row} for row in mine]
        shared = {k: v for k, v in mine[0].items() if k not in OF_EACH_ANSWER and k != "variant"}
        gathered.append(shared | {"variants": answers})
    return gathered


def majority(answers: list[list[str] | None]) -> tuple[list[str] | None, float]:
    """(the most frequent set of letters, its share of all answers); None and 0 where nothing could be read."""
    votes = Counter(tuple(letters) for letters in answers if letters is not None)
    if not votes:
        return None, 0.0
    [(letters, count)] = votes.most_common(1)  # equal counts come in the order they were first seen
    return list(letters), round(count / len(answers), 4)
