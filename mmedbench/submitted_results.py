"""Results that inference/eval.py wrote: what a leaderboard row needs, checked. One file a model and setting.

A result is refused, with the field and the reason, when a number contradicts another or a fact that a reader needs
(n, prompt, commit, command, date) is missing. Nothing is repaired.
"""

import hashlib
import re
import unicodedata
from pathlib import Path

from benchmark_files import LANGUAGE_FILES
from benchmark_record import InputError, read_json
from score_intervals import macro_percent

SETTINGS = ("fine-tuned", "zero-shot")
TRAININGS = ("full", "lora", "none")
MODES = ("generate", "letter-logprob")
FORMS = ("answer", "rationale")


def need(value: object, path: str, kind: type | tuple[type, ...], where: object):
    """value[...] by a dotted path; must be there and of that kind. Errors: InputError naming file and field."""
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise InputError(f"{where}: {path}: missing; a leaderboard row needs it")
        value = value[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where}: {path}: {value!r:.60} is of the wrong kind")
    return value


def need_text(value: object, path: str, where: object, allowed: tuple[str, ...] = ()) -> str:
    """A text that is not blank, one of `allowed` if given."""
    text = need(value, path, str, where)
    if not text.strip() or len(text) > 2000:
        raise InputError(f"{where}: {path}: expected a text of 1 to 2,000 characters")
    if allowed and text not in allowed:
        raise InputError(f"{where}: {path}: {text!r:.60} is none of {', '.join(allowed)}")
    return text


def check_scores(result: dict, where: object) -> None:
    """Every language's n, right, accuracy, unparsed and letters agree with each other, and the mean with them."""
    scores = need(result, "scores", dict, where)
    if not scores:
        raise InputError(f"{where}: scores: holds no language")
    languages = [key for key in scores if key in LANGUAGE_FILES]
    if languages and len(languages) != len(scores):
        raise InputError(f"{where}: scores: languages and English benchmarks stand in one result; make two")
    for key in scores:
        at = f"{where}: scores.{key}"
        n, right = (need(scores[key], name, int, at) for name in ("n", "right"))
        if n <= 0 or not 0 <= right <= n:
            raise InputError(f"{at}: {right} right of n = {n} is impossible")
        accuracy = need(scores[key], "accuracy", (int, float), at)
        if not abs(accuracy - 100 * right / n) <= 0.0051:
            raise InputError(f"{at}.accuracy: {accuracy} is not {right} of {n} "
                             f"({100 * right / n:.2f} per cent)")
        unparsed = need(scores[key], "unparsed", int, at)
        if not 0 <= unparsed <= n - right:
            raise InputError(f"{at}.unparsed: {unparsed} of n = {n} with {right} right is impossible")
        letters = need(scores[key], "predicted_letters", dict, at)
        if any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in letters.values()):
            raise InputError(f"{at}.predicted_letters: expected a count for each letter")
    mean = macro_percent([(100 * s["right"] / s["n"], s["n"]) for s in scores.values()])[0]
    stated = need(result, "macro.accuracy", (int, float), where)
    if not abs(stated - mean) <= 0.0101:
        raise InputError(f"{where}: macro.accuracy: {stated} is not the mean of the languages ({mean:.2f})")


def check_result(result: dict, where: object) -> dict:
    """The result if it can stand in the leaderboard. Errors: InputError naming the file, the field and the reason."""
    if result.get("format_version") != 1:
        raise InputError(f"{where}: format_version: expected 1, found {result.get('format_version')!r}")
    need_text(result, "model.name", where)
    if len(result["model"]["name"]) > 100:
        raise InputError(f"{where}: model.name: longer than 100 characters; give a shorter one with --name")
    if need(result, "model.parameters", int, where) <= 0:
        raise InputError(f"{where}: model.parameters: expected the number of parameters")
    training = need_text(result, "model.training", where, TRAININGS)
    setting = need_text(result, "setting", where, SETTINGS)
    if setting == "fine-tuned" and training == "none":
        raise InputError(f"{where}: setting: fine-tuned, but model.training is none")
    need_text(result, "mode", where, MODES)
    for name in ("prompt.name", "prompt.sha256", "provenance.command", "provenance.commit", "provenance.machine",
                 "provenance.finished_at"):
        need_text(result, name, where)
    need_text(result, "prompt.form", where, FORMS)
    need(result, "prompt.version", (int, str), where)
    need(result, "metric_version", int, where)
    need(result, "data.released_split", dict, where)
    if not re.match(r"\d{4}-\d\d-\d\d", result["provenance"]["finished_at"]):
        raise InputError(f"{where}: provenance.finished_at: expected a date such as 2025-01-31")
    check_scores(result, where)
    return result


def is_benchmark(result: dict) -> bool:
    """True for a result on the English benchmarks, False for one on MMedBench's languages."""
    return not any(key in LANGUAGE_FILES for key in result["scores"])


def result_key(result: dict) -> tuple[str, str, bool]:
    """What there may be only one of: (model, setting, English benchmarks or not)."""
    return result["model"]["name"], result["setting"], is_benchmark(result)


def file_name(result: dict) -> str:
    """The result's file in the leaderboard's folder: readable, and one of its own for every key."""
    name = result["model"]["name"]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.") or "model"
    if slug != name.lower():  # another name could give the same slug
        slug += "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{slug}--{result['setting']}{'--english-benchmarks' if is_benchmark(result) else ''}.json"


def read_results(folder: Path) -> list[dict]:
    """Every result of the folder, checked, by key. Errors: InputError for a bad one and for two of one key."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; results are added by `python mmedbench/leaderboard.py add`")
    found: dict[tuple, tuple[Path, dict]] = {}
    for path in sorted(folder.glob("*.json")):
        result = check_result(read_json(path), path)
        key = result_key(result)
        if key in found:
            raise InputError(f"{path} and {found[key][0]} are both results of {key[0]!r} ({key[1]}); leave one")
        found[key] = (path, result)
    return [result for _, result in (found[key] for key in sorted(found))]
