"""Results of inference/eval.py: validation of everything a leaderboard row needs. One file per row and metric version.

A result is refused, with field and reason, if numbers contradict each other, a field is unknown, or a required field
(n, training data, prompt, commit, command, date) is missing. Nothing is repaired.
"""

import hashlib
import json
import re
import unicodedata
from pathlib import Path

from leaderboard_pages.page_text import macro_percent
from leaderboard_pages.result_predictions import differences, find_predictions, read_predictions, right_by_question
from mmedbench_questions import LANGUAGE_FILES
from run_record import InputError, read_json

SCORE = (
    "n",
    "right",
    "accuracy",
    "ci95",
    "unparsed",
    "refused",
    "not_an_option",
    "predicted_letters",
    "single",
    "multiple",
    "by_options",
    "circular",
)
MEAN = ("languages", "accuracy", "ci95")
POT = ("n", "right", "accuracy", "ci95")
METRICS = (
    "BLEU-1",
    "BLEU-2",
    "BLEU-3",
    "BLEU-4",
    "ROUGE-1",
    "ROUGE-2",
    "ROUGE-L",
    "BERTScore-P",
    "BERTScore-R",
    "BERTScore-F1",
)
# By path, "*" for any name; fields below other paths are not checked.
KNOWN: dict[str, tuple[str, ...]] = {
    "": (
        "format_version",
        "stage",
        "model",
        "setting",
        "endpoint",
        "asked",
        "metric_version",
        "scores",
        "macro",
        "micro",
        "groups",
        "clean",
        "rationales",
        "prompts_shortened",
        "mode",
        "prompt",
        "scoring",
        "data",
        "arguments",
        "inputs",
        "files",
        "provenance",
        "leaderboard",
    ),
    "model": ("name", "path", "parameters", "base", "training"),
    "endpoint": ("base", "api_mode", "reported_models", "fingerprints", "sampling", "outcomes", "unanswered", "usage"),
    "asked": ("command", "commit", "versions", "machine", "finished_at"),
    "scores.*": SCORE,
    "macro": MEAN,
    "micro": POT,
    "groups.*": MEAN,
    "clean": ("sha256", "coverage", "scores", "macro", "micro"),
    "clean.scores.*": ("n", "right", "accuracy", "ci95", "contaminated", "contaminated_right"),
    "clean.macro": MEAN,
    "clean.micro": POT,
    "rationales": ("metric_version", "mode", "metrics", "bert_score", "scores", "macro"),
    "rationales.scores.*": (
        "on",
        "questions",
        "n",
        "empty",
        "no_reference",
        "tokenizer",
        "bertscore_shortened",
        *METRICS,
    ),
    "rationales.macro": METRICS,
    "prompt": ("name", "version", "sha256", "form", "path"),
    "scoring": ("parse", "rationale_mode", "bert_score", "contamination"),
    "data": ("path", "released_split", "files"),
    "provenance": ("command", "commit", "versions", "machine", "finished_at"),
    "leaderboard": ("training_data", "machinery_check"),
}


def check_fields(result: dict, where: object) -> None:
    """Errors: InputError for an unknown field, which no page would show."""
    for path, known in KNOWN.items():
        found = [("", result)]
        for step in path.split(".") if path else []:
            found = [
                (f"{name}.{key}".lstrip("."), inner)
                for name, value in found
                if isinstance(value, dict)
                for key, inner in value.items()
                if step in ("*", key)
            ]
        for name, value in found:
            for key in value if isinstance(value, dict) else ():
                if key not in known:
                    raise InputError(
                        f"{where}: {f'{name}.{key}'.lstrip('.')[:80]!r} is not a field of a result; known "
                        f"fields: {', '.join(known)}"
                    )


def need(value: object, path: str, kind: type | tuple[type, ...], where: object):
    """value[...] by a dotted path; must be there and of that kind. Errors: InputError naming file and field."""
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise InputError(f"{where}: {path}: missing; a leaderboard row needs it")
        value = value[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where}: {path}: {value!r:.60} has the wrong type")
    return value


def need_text(value: object, path: str, where: object, allowed: tuple[str, ...] = ()) -> str:
    """A text that is not blank, one of `allowed` if given."""
    text = need(value, path, str, where)
    if not text.strip() or len(text) > 2000:
        raise InputError(f"{where}: {path}: expected a text of 1 to 2,000 characters")
    if allowed and text not in allowed:
        raise InputError(f"{where}: {path}: {text!r:.60} is not one of {', '.join(allowed)}")
    return text


SETTINGS = ("fine-tuned", "zero-shot")
TRAININGS = ("full", "lora", "none")
MODES = ("generate", "letter-logprob", "option-logprob")
FORMS = ("answer", "rationale")

# Not allowed in the name of a model: line breaks, control characters, pipes, HTML. Pages escape them anyway.
NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029|<>]|&#?\\w+;")


def check_share(score: object, at: str) -> tuple[int, int]:
    """(n, right) of a score whose accuracy, in per cent to two decimals, is right of n. Errors: InputError."""
    n, right = (need(score, name, int, at) for name in ("n", "right"))
    if n <= 0 or not 0 <= right <= n:
        raise InputError(f"{at}: {right} right of n = {n} is impossible")
    accuracy = need(score, "accuracy", (int, float), at)
    if not abs(accuracy - 100 * right / n) <= 0.0051:
        raise InputError(f"{at}.accuracy: {accuracy} is not {right} of {n} ({100 * right / n:.2f} per cent)")
    return n, right


def check_scores(result: dict, where: object) -> None:
    """Every language's n, right, accuracy, unparsed and letters agree with each other, and the mean with them."""
    scores = need(result, "scores", dict, where)
    if not scores:
        raise InputError(f"{where}: scores: contains no language")
    languages = [key for key in scores if key in LANGUAGE_FILES]
    if languages and len(languages) != len(scores):
        raise InputError(f"{where}: scores: contains languages and English benchmarks; make two results")
    for key in scores:
        at = f"{where}: scores.{key}"
        n, right = check_share(scores[key], at)
        unparsed = need(scores[key], "unparsed", int, at)
        if not 0 <= unparsed <= n - right:
            raise InputError(f"{at}.unparsed: {unparsed} of n = {n} with {right} right is impossible")
        letters = need(scores[key], "predicted_letters", dict, at)
        if any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in letters.values()):
            raise InputError(f"{at}.predicted_letters: expected a count for each letter")
    if result.get("micro") is not None:
        n, right = check_share(result["micro"], f"{where}: micro")
        if (n, right) != tuple(sum(score[name] for score in scores.values()) for name in ("n", "right")):
            raise InputError(f"{where}: micro: {right} right of n = {n} is not the sum of the languages")
    mean = macro_percent([(100 * s["right"] / s["n"], s["n"]) for s in scores.values()])[0]
    stated = need(result, "macro.accuracy", (int, float), where)
    if not abs(stated - mean) <= 0.0101:
        raise InputError(f"{where}: macro.accuracy: {stated} is not the mean of the languages ({mean:.2f})")


def check_clean(result: dict, where: object) -> None:
    """The accuracy on uncontaminated questions, if present: k of n, with n at most the number of questions."""
    if result.get("clean") is None:
        return
    need(result, "clean.coverage", (int, float), where)
    for key, score in need(result, "clean.scores", dict, where).items():
        at = f"{where}: clean.scores.{key}"
        whole = result["scores"].get(key)
        n, contaminated, bad = (need(score, name, int, at) for name in ("n", "contaminated", "contaminated_right"))
        right = check_share(score, at)[1] if n else need(score, "right", int, at)
        if whole is None or n + contaminated != whole["n"] or right + bad != whole["right"] or contaminated < 0:
            raise InputError(f"{at}: the clean and the contaminated questions are not those of scores.{key}")


def check_rationales(result: dict, where: object) -> None:
    """The rationale scores, where there are some: per cent with their n, and means that are theirs."""
    if result.get("rationales") is None:
        return
    need(result, "rationales.metric_version", int, where)
    scores = need(result, "rationales.scores", dict, where)
    for key, score in scores.items():
        at = f"{where}: rationales.scores.{key}"
        n = need(score, "n", int, at)
        if key not in result["scores"] or not 0 <= n <= result["scores"][key]["n"]:
            raise InputError(f"{at}: n = {n} rationales, but scores.{key} has not this many questions")
        if "empty" in score:
            need(score, "empty", int, at)
        for metric in (m for m in METRICS if m in score):
            value = score[metric]
            if value is None and not n:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not -100 <= value <= 100:
                raise InputError(f"{at}.{metric}: {value!r:.60} is not per cent")
    for metric, stated in need(result, "rationales.macro", dict, where).items():
        values = [s[metric] for s in scores.values() if s.get(metric) is not None]
        if stated is None and not values:
            continue
        if not values or not isinstance(stated, (int, float)) or not abs(stated - sum(values) / len(values)) <= 0.0051:
            raise InputError(f"{where}: rationales.macro.{metric}: {stated!r:.60} is not the mean of the languages")


def check_result(result: dict, where: object) -> dict:
    """The result if it can be in the leaderboard. Errors: InputError naming the file, the field and the reason."""
    if result.get("format_version") != 1:
        raise InputError(f"{where}: format_version: expected 1, found {result.get('format_version')!r}")
    check_fields(result, where)
    need_text(result, "model.name", where)
    if len(result["model"]["name"]) > 100:
        raise InputError(f"{where}: model.name: longer than 100 characters; give a shorter one with --name")
    if found := NO_NAME.search(result["model"]["name"]):
        raise InputError(
            f"{where}: model.name: contains {found[0]!a}; give a one-line name without | and HTML with --name"
        )
    for name in ("endpoint", "inputs", "files"):
        if result.get(name) is not None:
            need(result, name, dict, where)
    # Endpoints do not report the size of their model.
    parameters = need(result, "model.parameters", (int, type(None)) if result.get("endpoint") else int, where)
    if parameters is not None and not 0 < parameters < 10**15:
        raise InputError(f"{where}: model.parameters: expected the number of parameters")
    training = need_text(result, "model.training", where, TRAININGS)
    need(result, "model.base", (str, type(None)), where)
    if need_text(result, "setting", where, SETTINGS) == "fine-tuned" and training == "none":
        raise InputError(f"{where}: setting: fine-tuned, but model.training is none")
    need_text(result, "mode", where, MODES)
    for name in (
        "prompt.name",
        "prompt.sha256",
        "provenance.command",
        "provenance.commit",
        "provenance.machine",
        "provenance.finished_at",
    ):
        need_text(result, name, where)
    need_text(result, "prompt.form", where, FORMS)
    need(result, "prompt.version", (int, str), where)
    if need(result, "metric_version", int, where) < 1:
        raise InputError(f"{where}: metric_version: expected 1 or more")
    need(result, "data.released_split", dict, where)
    if "files" in result["data"]:
        need(result, "data.files", dict, where)
    if not re.match(r"\d{4}-\d\d-\d\d", result["provenance"]["finished_at"]):
        raise InputError(f"{where}: provenance.finished_at: expected a date such as 2025-01-31")
    if result.get("asked") is not None:
        for name in ("asked.command", "asked.commit", "asked.finished_at"):
            need_text(result, name, where)
    if "leaderboard" in result:
        need_text(result, "leaderboard.training_data", where)
        need(result, "leaderboard.machinery_check", bool, where)
    check_scores(result, where)
    check_clean(result, where)
    check_rationales(result, where)
    try:
        json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # NaN, infinity, half of a surrogate pair
        raise InputError(f"{where}: contains what a JSON file in UTF-8 cannot ({error!s:.100})") from None
    return result


def is_benchmark(result: dict) -> bool:
    """True for a result on the English benchmarks, False for one on MMedBench's languages."""
    return not any(key in LANGUAGE_FILES for key in result["scores"])


def row_key(result: dict) -> tuple[str, str, bool]:
    """What a row of the tables is: (model, setting, English benchmarks or not)."""
    return result["model"]["name"], result["setting"], is_benchmark(result)


def result_key(result: dict) -> tuple[str, str, bool, int]:
    """The unique key of a result: a row and a metric version."""
    return *row_key(result), result["metric_version"]


def is_newest(result: dict, results: list[dict]) -> bool:
    """Whether no other of the results is the same row by a newer metric version."""
    return all(
        other["metric_version"] <= result["metric_version"] for other in results if row_key(other) == row_key(result)
    )


def file_name(result: dict) -> str:
    """The result's file name in the leaderboard's folder: readable, and unique per key."""
    name = result["model"]["name"]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.") or "model"
    if slug != name:  # another name, such as one that differs in its capitals, could give the same slug
        slug += "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    kind = "--english-benchmarks" if is_benchmark(result) else ""
    return f"{slug}--{result['setting']}{kind}--metric-{result['metric_version']}.json"


def read_results(folder: Path) -> list[dict]:
    """Every result of the folder, checked, by key.

    Two keys are added: `predictions` ({question: right}, None without a file) and `differences` (what the predictions
    contradict, as lines).
    Errors: InputError for a bad one, for two of one key, for broken predictions and for predictions without a result.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; results are added by `python mmedbench/leaderboard.py add`")
    found: dict[tuple, tuple[Path, dict]] = {}
    used = set()
    for path in sorted(folder.glob("*.json")):
        result = check_result(read_json(path), path)
        need_text(result, "leaderboard.training_data", path)
        key = result_key(result)
        if key in found:
            raise InputError(f"{path} and {found[key][0]} are both results of {key[0]!r} ({key[1]}); leave one")
        predictions = find_predictions(path)
        used.add(predictions)
        rows = read_predictions(predictions) if predictions else []
        result["differences"] = differences(result, path, rows, predictions) if predictions else []
        result["predictions"] = right_by_question(rows) if predictions else None
        found[key] = (path, result)
    for path in sorted(folder.glob("*.predictions.jsonl*")):
        if path not in used:
            raise InputError(
                f"{path} belongs to no result; it is named as the result's file, .predictions.jsonl or "
                ".predictions.jsonl.gz instead of .json"
            )
    return [result for _, result in (found[key] for key in sorted(found))]
