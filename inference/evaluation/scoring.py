"""From saved predictions to scores: letters, accuracy by language, rationales by language."""

from pathlib import Path

from evaluation.variants import majority, turn, turn_back
from metrics.accuracy import macro_average, micro_average, score_answers
from metrics.answers import read_answer
from metrics.rationale_scores import (
    RATIONALE_METRIC_VERSION,
    add_bert_scores,
    mean_over_languages,
    metrics_of,
    score_rationales,
)
from prompt_folder import Prompt
from run_record import InputError

PARSERS = ("strict", "policy")
# Version of the counts and of how letters are read. 1: the prompt's pattern alone;
# 2: free answers of foreign models are read by the policy of answers.py. 3: that policy reads tables of verdicts,
# doubts ("I don't think it is A") and "all but C"; a letter that is only called wrong is not an answer.
METRIC_VERSION = 3


def read_letters(row: dict, record: dict, prompt: Prompt, parse: str) -> dict:
    """{"letters": sorted letters or None, "status"} of a prediction with its raw `output` or its `letter_logprobs`.

    parse: "strict" takes what keeps the prompt's own pattern (status "format") and nothing else; "policy" reads the
    rest by answers.py. By log-probability the likeliest letter is the answer.
    """
    if "failure" in row:  # of an endpoint: refused, empty or unanswered
        return {"letters": None, "status": "refused" if row["failure"] == "refused" else "unparsed"}
    table = row.get("letter_logprobs") or row.get("option_logprobs")
    if table:
        return {"letters": [max(table, key=table.get)], "status": "format"}
    letters = prompt.parse(row["output"])
    if letters is not None:
        return {"letters": letters, "status": "format"}
    if parse == "strict":
        return {"letters": None, "status": "unparsed"}
    answer = read_answer(row["output"], record["options"])
    return {"letters": answer.letters, "status": answer.status}


def read_answers(row: dict, record: dict, prompt: Prompt, parse: str, circular: bool) -> dict:
    """`read_letters` of a prediction; where it was asked several times, of all its variants.

    Circular: `turns` are the letters of every turn, turned back; the answer is that of the question as it stands.
    Samples: the majority is the answer, `agreement` its share of the samples.
    """
    if "variants" not in row:
        return read_letters(row, record, prompt, parse)
    read = [
        read_letters(variant, turn(record, number) if circular else record, prompt, parse)
        for number, variant in enumerate(row["variants"])
    ]
    if circular:
        turns = [turn_back(r["letters"], row["options"], number) for number, r in enumerate(read)]
        return read[0] | {"turns": turns}
    letters, agreement = majority([r["letters"] for r in read])
    status = next((r["status"] for r in read if r["letters"] == letters), "unparsed")
    return {"letters": letters, "status": status, "agreement": agreement}


def answer_text(row: dict, record: dict, prompt: Prompt, parse: str) -> str | None:
    """The raw text of a prediction; None where it was made by log-probability.

    Of several samples the first that answers as the majority does, of turned options the question as it stands.
    """
    if "variants" not in row:
        return row.get("output")
    texts = [variant["output"] for variant in row["variants"] if "output" in variant]
    if not texts or "turns" in row:
        return texts[0] if texts else None
    read = (read_letters({"output": text}, record, prompt, parse)["letters"] for text in texts)
    return next((text for text, letters in zip(texts, read, strict=True) if letters == row["letters"]), texts[0])


def score(rows: list[dict]) -> tuple[dict, dict, dict]:
    """(scores by key, macro average, micro average) of predictions."""
    by_key: dict[str, list[dict]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row)
    scores = {key: score_answers(mine) | score_turns(mine) for key, mine in by_key.items()}
    return scores, macro_average(scores), micro_average(scores)


def score_turns(rows: list[dict]) -> dict:
    """{"circular": counts} of predictions with `turns`; {} where the options were not turned."""
    if not all("turns" in row for row in rows):
        return {}
    right = [[letters == row["gold"] for letters in row["turns"]] for row in rows]
    return {
        "circular": {
            "n": len(rows),
            "right_in_every_turn": sum(all(mine) for mine in right),
            "same_answer_in_every_turn": sum(len({str(t) for t in row["turns"]}) == 1 for row in rows),
            "mean_accuracy_over_turns": round(100 * sum(sum(m) / len(m) for m in right) / len(rows), 2),
        }
    }


def question_of(row: dict, test: dict[str, list[dict]]) -> dict:
    """The question of a prediction. Errors: InputError when the test set is not the one that was answered."""
    records = test.get(row["key"], [])
    if row["number"] >= len(records) or records[row["number"]]["id"] != row["id"]:
        raise InputError(
            f"prediction {row['key']} {row['number']} answers question {row['id']}, which the test set does not have "
            "there; give the --data that was answered"
        )
    return records[row["number"]]


def written_rationale(output: str, prompt: Prompt) -> str:
    """What is before the answer; the whole output where no answer keeps the format."""
    match = prompt.pattern.search(output)
    return (output[: match.start()] if match else output).strip()


def rationales_that_count(records: list[dict]) -> tuple[bool, set[int]]:
    """(whether people checked any of a language's questions, the places of those whose rationale counts).

    Where anybody checked, those that passed count; else all do. A benchmark that says false of every question was
    not checked. Errors: InputError for a mark that is neither true nor false.
    """
    marks = []
    for record in records:
        for field in ("human_checked", "human_check_passed"):
            if record.get(field) not in (None, True, False):
                raise InputError(
                    f"question {record['id']} (line {record.get('line', '?')} of its file): {field}: "
                    f"{record[field]!r:.40} is neither true nor false; see mmedbench/FORMAT.md"
                )
        marks.append((bool(record.get("human_checked")), bool(record.get("human_check_passed"))))
    checked = any(any(mark) for mark in marks)
    return checked, {place for place, (_, passed) in enumerate(marks) if passed or not checked}


def rationale_scores(
    rows: list[dict],
    test: dict[str, list[dict]],
    prompt: Prompt,
    mode: str,
    parse: str,
    bert: tuple[str, dict, Path] | None = None,
) -> dict | None:
    """Rationale scores by language, or None where the test set has no rationale.

    In a language where people checked questions only those that passed count (`rationales_that_count`); `on` says so,
    `questions` how many were answered. A language whose every check failed has n 0. Of several samples one that answers
    as the majority does is scored; parse: how that answer is read (`read_letters`). bert: for BERTScore its encoder's
    name and description, and the folder that keeps each pair's score.
    """
    items, said = {}, {}
    for key, records in test.items():
        mine = [(row, question_of(row, test)) for row in rows if row["key"] == key]
        checked, counted = rationales_that_count(records)
        said[key] = {"on": "human-checked" if checked else "all", "questions": len(mine)}
        items[key] = [
            {
                "language": record["language"],
                "rationale": written_rationale(answer_text(row, record, prompt, parse) or "", prompt),
                "reference": record.get("rationale") or "",
            }
            for row, record in mine
            if row["number"] in counted
        ]
    items = {key: mine for key, mine in items.items() if any(record.get("rationale") for record in test[key])}
    if not items:
        return None
    if bert:
        add_bert_scores([item for mine in items.values() for item in mine], *bert)
    scores = {key: said[key] | score_rationales(mine, mode) for key, mine in items.items()}
    return {
        "metric_version": RATIONALE_METRIC_VERSION,
        "mode": mode,
        "metrics": list(metrics_of(scores)),
        "bert_score": bert[1] if bert else None,
        "scores": scores,
        "macro": mean_over_languages(scores),
    }
