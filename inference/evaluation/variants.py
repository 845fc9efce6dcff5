"""Asking one question several times: with its options turned round, or by sampling; and reading the answers together.

Circular order (after CircularEval of MMBench, Liu et al., arXiv 2307.06281): n options, n turns; in turn r the text of
option i + r stands at letter i. An answer that follows the text and not the letter is the same in every turn.
Self-consistency (Wang et al., arXiv 2203.11171): k samples, the most frequent set of letters; among equals, the one
that came first. Answers that cannot be read do not vote.
"""

from collections import Counter

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
    """One row a question from one row a question and variant, the answers together in `variants`."""
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
