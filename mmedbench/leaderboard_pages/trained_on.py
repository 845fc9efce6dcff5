"""What a model was trained on, in one sentence, from the run records of its checkpoint where that lies on this disk."""

from pathlib import Path

from run_record import InputError, read_json, sha256_of_file


def describe_training(result: dict) -> str | None:
    """The training data of a result's model; None where its checkpoint is not here, or is another by now.

    Reads run.json of the checkpoint, which the result knows by its SHA-256, and that of the base beside it.
    """
    folder = Path(str(result["model"].get("path") or ""))
    known = (result.get("inputs") or {}).get("model")
    path = folder / "run.json"
    if not path.is_file() or not isinstance(known, dict) or known.get("run.json") != sha256_of_file(path):
        return None
    run = read_json(path)
    try:
        parts = [_tuning(run)] if str(run.get("stage")).startswith("finetune/") else []
        base = folder / run["base_from_here"] / "run.json" if run.get("base_from_here") else path
        if base.is_file():
            pretrained = read_json(base)
            if pretrained.get("stage") == "pretrain/train_lm.py":
                parts.append(
                    f"pretrained on {pretrained['tokens_seen']:,} tokens in "
                    f"{', '.join(sorted(pretrained['card']['languages']))}"
                )
    except (KeyError, TypeError, ValueError, AttributeError, InputError):
        return None  # a record of another version: the person who adds the row says it
    return "; ".join(parts) or None


def _tuning(run: dict) -> str:
    questions = run["counts"]["questions"]
    each = ", ".join(f"{language} {count:,}" for language, count in sorted(questions.items()))
    return (
        f"{' and '.join(run['card']['data_names'])}: {sum(questions.values()):,} questions ({each}), "
        f"{run['examples']:,} examples"
    )
