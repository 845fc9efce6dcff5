"""Questions and scoring of an exported task folder for lm-evaluation-harness.

`export_harness.py` copies this file beside the questions. lm-evaluation-harness calls `read_task`, `score_generated`,
and `score_letters` by their names in the YAML files. It needs the
standard library and, in `read_task`, the `datasets` package that both harnesses bring.

Reads, all beside itself: settings.json, data/<key>.jsonl, and answers.py with answer_words.py for the policy.
A question is right when the set of its letters is exactly right, as in inference/eval.py; an answer that cannot be read
is wrong and counted.
"""

import functools
import importlib.util
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


@functools.cache
def read_settings() -> dict:
    """settings.json: answer_pattern, parse ("strict" or "policy"), stop strings, max_new_tokens, keys, delimiters."""
    return json.loads((HERE / "settings.json").read_text(encoding="utf-8"))


def load_beside(name: str):
    """A module of this folder by its name; harnesses load single files, so a plain import would not find it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def read_task(key: str, **_) -> dict:
    """{"test": Dataset of a language or benchmark}; lm-evaluation-harness adds arguments of its own, unused here."""
    from datasets import Dataset

    lines = (HERE / "data" / f"{key}.jsonl").read_text(encoding="utf-8").split("\n")
    return {"test": Dataset.from_list([json.loads(line) for line in lines if line])}


def read_generated(doc: dict, text: str) -> list[str] | None:
    """The letters of a completion, sorted; None where they cannot be read. doc: a line of data/<key>.jsonl."""
    settings = read_settings()
    for string in settings["stop"]:
        text = text.split(string)[0]
    match = re.search(settings["answer_pattern"], text)
    if match and match.group(1):
        return sorted({letter.strip() for letter in match.group(1).split(",")})
    if settings["parse"] == "strict":
        return None
    load_beside("answer_words")
    options = dict(zip(doc["letters"], doc["option_texts"], strict=True))
    return load_beside("answers").read_answer(text, options).letters


def score_set(doc: dict, letters: list[str] | None) -> dict[str, float]:
    """exact_set: 1 where the letters are exactly the right ones; unparsed: 1 where none could be read."""
    return {"exact_set": float(letters == doc["gold"].split(",")), "unparsed": float(letters is None)}


def score_generated(doc: dict, results: list[str]) -> dict[str, float]:
    """For lm-evaluation-harness, generation: results contains the completion."""
    return score_set(doc, read_generated(doc, results[0]))


def score_letters(doc: dict, results: list) -> dict[str, float]:
    """For lm-evaluation-harness, log-probabilities: results holds (log-probability, is greedy) of each letter."""
    logprobs = [logprob for logprob, _ in results]
    return {"exact_set": score_set(doc, [doc["letters"][logprobs.index(max(logprobs))]])["exact_set"]}
