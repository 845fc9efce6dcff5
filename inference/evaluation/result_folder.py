"""A result folder: who may write to it, the predictions in it, and whether its scores are those of its predictions."""

import argparse
import contextlib
import fcntl
import json
from pathlib import Path

from evaluation.scoring import METRIC_VERSION
from metrics.accuracy import score_table
from metrics.clean_subset import clean_table
from metrics.rationale_scores import RATIONALE_METRIC_VERSION, rationale_table
from run_record import InputError, sha256_of_file, write_text


@contextlib.contextmanager
def lock_run(args: argparse.Namespace):
    """Hold the folder alone, or one shard of it beside the other shards. Errors: InputError when somebody has it."""
    with contextlib.ExitStack() as stack:
        wanted = [(".lock", fcntl.LOCK_SH if args.shard else fcntl.LOCK_EX)]
        if args.shard:
            wanted.append((f".lock-{args.shard[0]}-of-{args.shard[1]}", fcntl.LOCK_EX))
        for name, kind in wanted:
            lock = stack.enter_context(open(args.out / name, "w"))
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another evaluation is writing to {args.out}; wait for it or give another --out"
                ) from None
        yield


@contextlib.contextmanager
def lock_scoring(args: argparse.Namespace):
    """Hold the folder's scores alone: shards that end together score one after the other."""
    if getattr(args, "last_lock", None):  # generate_answers.py's last shard holds it already
        yield
        return
    with open(args.out / ".lock-scoring", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_predictions(path: Path) -> list[dict]:
    """Saved predictions in their order. Errors: InputError naming the line that is none."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete the folder and ask again") from None
    # Not splitlines: an answer may hold one of Unicode's other line separators.
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not {"key", "number", "id", "gold", "options"} <= set(row):
            raise InputError(f"{path}:{number}: no prediction of inference/eval.py; delete the folder and ask again")
        rows.append(row)
    return rows


def write_predictions(path: Path, rows: list[dict]) -> dict:
    """Write them whole; returns what the record says of the file."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def why_score_again(result: dict, scoring: dict, out: Path) -> str | None:
    """Why the scores of a finished run are not those that are asked for; None where they are."""
    if result.get("scoring") != scoring:
        return "another rule of scoring is asked for"
    if result.get("metric_version") != METRIC_VERSION:
        return f"scored by metric version {result.get('metric_version')}, and {METRIC_VERSION} is the present one"
    if result.get("rationales") and result["rationales"].get("metric_version") != RATIONALE_METRIC_VERSION:
        return f"rationales are scored by metric version {RATIONALE_METRIC_VERSION} now"
    if not are_scored(result, out):
        return f"{out / 'predictions.jsonl'} is not the file that was scored"  # as after a kill while scoring again
    return None


def are_scored(result: dict, out: Path) -> bool:
    """Whether predictions.jsonl is the file that result.json was written for, where that says so."""
    path, written = out / "predictions.jsonl", result.get("files", {}).get("predictions.jsonl", {})
    return path.exists() and written.get("sha256") in (None, sha256_of_file(path))


def check_predictions(result: dict, out: Path) -> None:
    """Errors: InputError when `are_scored` is false: the letters in the file would be other than the scores say."""
    if not are_scored(result, out):
        raise InputError(
            f"{out}/predictions.jsonl is not the file that its result.json was written for; score the run again with "
            "inference/eval.py --score-only"
        )


def print_result(result: dict, form: str) -> None:
    """The scores of a result, old or new."""
    print(score_table(result["scores"], result["macro"], result["micro"]))
    if result.get("clean"):
        print(clean_table(result["clean"], result["scores"]))
    rationales = result.get("rationales")
    if rationales:
        print(f"rationales, in per cent (mode {rationales['mode']}):\n{rationale_table(rationales['scores'])}")
    elif form == "rationale":
        print("the test set has no rationale to compare with")
    if result["prompts_shortened"]:
        print(
            f"{result['prompts_shortened']} prompts were longer than the model's positions and were shortened left of "
            "their middle"
        )
