"""The fields that a result may have: what inference/eval.py writes (inference/FORMAT.md), and what `add` puts to it."""

from run_record import InputError

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
# By path, "*" for any name; what stands under a path that is not named here is free.
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
    """Errors: InputError for a field that no result has: it would stand in the file and be shown nowhere."""
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
                        f"{where}: {f'{name}.{key}'.lstrip('.')[:80]!r} is no field of a result; known "
                        f"are {', '.join(known)}"
                    )


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
