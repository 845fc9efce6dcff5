"""Read MMedBench folders: the record, its validation, its ids. The format is documented in mmedbench/FORMAT.md.

This file is carried by several stages, byte-identical; edit one copy and run `bash slurm/sync_copies.sh PATH`.
"""

import hashlib
import json
import re
import unicodedata
from pathlib import Path

# The released layout names its files in English; everything else here uses ISO 639-1 codes.
LANGUAGE_FILES = {
    "en": "English.jsonl",
    "zh": "Chinese.jsonl",
    "ja": "Japanese.jsonl",
    "fr": "French.jsonl",
    "ru": "Russian.jsonl",
    "es": "Spanish.jsonl",
    "de": "German.jsonl",
    "ar": "Arabic.jsonl",
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class RecordError(ValueError):
    """An invalid record. The message names the field and what was expected."""


def normalise(text: str) -> str:
    """Normalised text for comparison: NFKC, case-folded, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def question_id(record: dict) -> str:
    """The id of a question: 16 hex digits computed from its text, so released files without ids join with ours.

    The first 16 hex digits of the SHA-256 of the compact JSON list
    [question, [[letter, option], ...] sorted by letter, context], all texts normalised (see `normalise`).
    """
    options = [[letter, normalise(text)] for letter, text in sorted(record["options"].items())]
    value = [normalise(record["question"]), options, normalise(record.get("context") or "")]
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def content_key(record: dict) -> str:
    """A key that is equal for two copies of a question, ignoring punctuation, spaces and the order of options.

    Used to find questions of one split in another; ids are stricter.
    """

    def words(text: str) -> str:
        return re.sub(r"[\W_]+", "", normalise(text))

    options = sorted(words(text) for text in record["options"].values())
    context = words(record.get("context") or "")
    return json.dumps([words(record["question"]), options, context], ensure_ascii=False)


def answer_letters(record: dict) -> list[str]:
    """The letters of the right answer, sorted: "A,C" -> ["A", "C"]."""
    return record["answer_idx"].split(",")


def check_record(record: object) -> dict:
    """Return the record if it is valid. Errors: RecordError naming the field."""
    if not isinstance(record, dict):
        raise RecordError("expected a JSON object")
    for field in ("question", "options", "answer_idx"):
        if field not in record:
            raise RecordError(f"{field}: missing")
    question, options, answer = record["question"], record["options"], record["answer_idx"]
    if not isinstance(question, str) or not question.strip():
        raise RecordError("question: expected a non-empty string")
    if not isinstance(options, dict) or len(options) < 2:
        raise RecordError("options: expected an object with at least two letters")
    if list(options) != list(LETTERS[: len(options)]):
        raise RecordError(f"options: expected the letters A, B, ... in order, found {', '.join(map(str, options))}")
    for letter, text in options.items():
        if not isinstance(text, str) or not text.strip():
            raise RecordError(f"options.{letter}: expected a non-empty string")
    if not isinstance(answer, str) or not answer:
        raise RecordError('answer_idx: expected letters such as "A" or "A,C"')
    letters = answer.split(",")
    if letters != sorted(set(letters)) or any(letter not in options for letter in letters):
        raise RecordError(f"answer_idx: {answer!r} is not a comma-joined, sorted choice of {', '.join(options)}")
    for field in ("rationale", "context", "source", "language", "id"):
        if record.get(field) is not None and not isinstance(record[field], str):
            raise RecordError(f"{field}: expected a string")
    texts = {"question": question, **{f"options.{letter}": text for letter, text in options.items()}}
    texts |= {field: record.get(field) or "" for field in ("rationale", "context")}
    for field, text in texts.items():
        # A lone surrogate can be neither written as UTF-8 nor hashed.
        if "\x00" in text or re.search("[\ud800-\udfff]", text):
            raise RecordError(f"{field}: contains a NUL character or a lone surrogate")
    return record


def unique_keys(pairs: list[tuple[str, object]]) -> dict:
    """object_pairs_hook of json.loads that rejects duplicate keys. Errors: RecordError naming the key."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RecordError(f"{next(key for key in keys if keys.count(key) > 1)}: duplicate key")
    return record


def read_questions(path: Path) -> list[dict]:
    """Read and validate one JSONL file; fills in `id`, `language` and `line` (from 1).

    The language is the record's own, or else that of the released file name.
    Errors: RecordError with path:line:field. No record is skipped.
    """
    by_file = {name: code for code, name in LANGUAGE_FILES.items()}
    records = []
    with open(path, encoding="utf-8-sig", newline="") as file:
        # Split at line feeds only: U+2028 and similar are ordinary characters in exam texts.
        try:
            lines = file.read().split("\n")
        except UnicodeDecodeError as error:
            raise RecordError(f"{path}: not UTF-8 ({error}); see mmedbench/FORMAT.md") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = check_record(json.loads(line, object_pairs_hook=unique_keys))
        except (json.JSONDecodeError, RecursionError) as error:
            raise RecordError(f"{path}:{number}: not JSON ({error}); see mmedbench/FORMAT.md") from None
        except RecordError as error:
            raise RecordError(f"{path}:{number}: {error}; see mmedbench/FORMAT.md") from None
        computed = question_id(record)
        if record.get("id") not in (None, computed):
            raise RecordError(
                f"{path}:{number}: id: {record['id']!r} is not the question's id {computed!r} (was the "
                "text edited by hand?); see mmedbench/FORMAT.md"
            )
        record["id"] = computed
        record["language"] = record.get("language") or by_file.get(path.name)
        if record["language"] not in LANGUAGE_FILES:
            raise RecordError(
                f"{path}:{number}: language: {record['language']!r} is not one of {', '.join(LANGUAGE_FILES)}, "
                "and the file name does not give a language either; see mmedbench/FORMAT.md"
            )
        record["line"] = number
        records.append(record)
    return records


def read_split(folder: Path) -> dict[str, list[dict]]:
    """{file stem: records} of all *.jsonl files in a split folder such as MMedBench/Test, in name order.

    Errors: RecordError if the folder is missing, has no *.jsonl file, or contains an empty one.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder} is not a folder")
    files = sorted(path for path in folder.glob("*.jsonl") if not path.name.startswith("."))
    if not files:
        raise RecordError(f"{folder} contains no *.jsonl file")
    split = {path.stem: read_questions(path) for path in files}
    for path in files:
        if not split[path.stem]:
            raise RecordError(f"{path} contains no questions; remove the file or add some")
    return split
