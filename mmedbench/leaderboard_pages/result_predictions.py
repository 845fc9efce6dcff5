"""Predictions of a result: read, stored compactly, and recounted against its scores.

Optional, beside `results/<row>.json`: `<row>.predictions.jsonl` or `<row>.predictions.jsonl.gz`, one line per answer
with `key` (language or benchmark), `id` (of the question), `gold` and `letters` (lists; null if unparsed), and
`contaminated` if known. These are the fields of inference/eval.py's predictions.jsonl; others are ignored.
Texts are not kept: 8,518 answers are about 0.1 MB compressed.
"""

import gzip
import io
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LETTERS
from run_record import InputError

ENDINGS = (".predictions.jsonl.gz", ".predictions.jsonl")
LARGEST = 1 << 29  # bytes, unpacked: more is not a file of answers


@dataclass(frozen=True)
class Prediction:
    """One answer and the line it is in, from 1."""

    line: int
    key: str
    id: str
    gold: tuple[str, ...]
    letters: tuple[str, ...] | None
    contaminated: bool | None


def find_predictions(result: Path) -> Path | None:
    """The predictions beside a result file, if there are some. Errors: InputError for both kinds of file."""
    found = [path for ending in ENDINGS if (path := result.with_name(result.stem + ending)).exists()]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]} are both predictions of {result.name}; leave one")
    return found[0] if found else None


def read_predictions(path: Path) -> list[Prediction]:
    """All answers of a file, plain or gzip. Errors: InputError with the line of what is not an answer."""
    rows = []
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            data = (gzip.GzipFile(fileobj=raw) if packed else raw).read(LARGEST + 1)
        text = data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); give the predictions.jsonl of inference/eval.py") from None
    if len(data) > LARGEST:
        raise InputError(f"{path} unpacks to more than {LARGEST >> 20} MiB; remove the texts of the answers")
    # Not splitlines: an answer may hold one of Unicode's other line separators.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        try:
            row = json.loads(line)
            rows.append(_prediction(number, row))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}:{number}: not a prediction of inference/eval.py ({reason:.100})") from None
    return rows


def _prediction(number: int, row: object) -> Prediction:
    if not isinstance(row, dict):
        raise TypeError("expected an object")
    gold, letters, contaminated = row["gold"], row["letters"], row.get("contaminated")
    for name, value in (("gold", gold), ("letters", [] if letters is None else letters)):
        if not isinstance(value, list) or sorted(set(map(str, value))) != value or not set(value) <= set(LETTERS):
            raise ValueError(f"{name}: expected sorted letters, found {value!r:.40}")
    if not gold or not isinstance(row["key"], str) or not isinstance(row["id"], str) or len(row["id"]) > 64:
        raise ValueError("key and id are texts, gold is not empty")
    if not (contaminated is None or isinstance(contaminated, bool)):
        raise ValueError("contaminated: expected true or false")
    return Prediction(
        number, row["key"], row["id"], tuple(gold), None if letters is None else tuple(letters), contaminated
    )


def packed(rows: list[Prediction]) -> bytes:
    """Predictions as the leaderboard stores them: gzip of lines with key, id, gold, letters; deterministic bytes."""
    lines = []
    for row in rows:
        line = {"key": row.key, "id": row.id, "gold": row.gold, "letters": row.letters}
        lines.append(
            json.dumps(
                line | ({} if row.contaminated is None else {"contaminated": row.contaminated}),
                ensure_ascii=False,
                separators=(",", ":"),
            )
            + "\n"
        )
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as file:
        file.write("".join(lines).encode())
    return buffer.getvalue()


def right_by_question(rows: list[Prediction]) -> dict[tuple[str, str, int], bool]:
    """{(key, question id, how many of this id came before): right}: what a paired test compares."""
    seen: Counter[tuple[str, str]] = Counter()
    right = {}
    for row in rows:
        right[row.key, row.id, seen[row.key, row.id]] = row.letters == row.gold
        seen[row.key, row.id] += 1
    return right


def differences(result: dict, result_path: Path, rows: list[Prediction], path: Path) -> list[str]:
    """Differences between a result and its predictions: lines `file:line: field: ...`, [] if there are none."""
    text = result_path.read_text(encoding="utf-8")
    by_key: dict[str, list[Prediction]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    problems = [
        f"{path}:{mine[0].line}: {key!r:.40} is not a language of {result_path}"
        for key, mine in by_key.items()
        if key not in result["scores"]
    ]
    for key, score in result["scores"].items():
        mine = by_key.get(key, [])
        if not mine:
            problems.append(f"{path}:1: contains no answer in {key}, of which {result_path} has {score['n']}")
            continue
        fields = {f"scores.{key}.{name}": (score.get(name), value) for name, value in _count(mine).items()}
        clean = ((result.get("clean") or {}).get("scores") or {}).get(key)
        if clean and all(row.contaminated is not None for row in mine):
            counted = _count([row for row in mine if not row.contaminated])
            fields |= {f"clean.scores.{key}.{name}": (clean[name], counted[name]) for name in ("n", "right")}
        problems += [
            f"{result_path}:{line_of(text, field)}: {field}: {stated}, but {path}:{mine[0].line} to "
            f"{mine[-1].line} give {counted}"
            for field, (stated, counted) in fields.items()
            if stated != counted
        ]
    return problems


def _count(rows: list[Prediction]) -> dict:
    """n, right, unparsed, accuracy and letters of answers, as a result states them."""
    n, right = len(rows), sum(row.letters == row.gold for row in rows)
    letters = Counter(letter for row in rows for letter in row.letters or ())
    return {
        "n": n,
        "right": right,
        "unparsed": sum(row.letters is None for row in rows),
        "accuracy": round(100 * right / n, 2) if n else None,
        "predicted_letters": dict(sorted(letters.items())),
    }


def line_of(text: str, path: str) -> int:
    """The line, from 1, in which a JSON text names a field by its dotted path; that of its parent if it does not."""
    at = 0
    for name in path.split("."):
        found = re.compile(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:").search(text, at)
        if not found:
            break
        at = found.end()
    return text.count("\n", 0, at) + 1
