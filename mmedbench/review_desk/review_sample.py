"""Sample the rationales to be judged: n per language, reproducible by seed.

Reads   a folder in MMedBench's layout. Writes nothing.

    sample, counts = sample_rationales(Path("data/MMedBench"), ["Test"], 200, 0)
"""

import hashlib
from collections import Counter
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, RecordError, read_split
from review_desk.review_store import item_key
from run_record import InputError, describe_files, read_json, sha256_of_file

SHOWN_FIELDS = ("id", "source", "question", "options", "answer_idx", "rationale", "context")


def check_benchmark(folder: Path) -> dict | None:
    """The folder's manifest, or None for released files, which have none.

    Errors: InputError if the folder is missing, incomplete, or differs from its manifest.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; make one with `python mmedbench/prepare.py SOURCES --out {folder}`"
        )
    if folder.name.endswith(".partial"):
        raise InputError(f"{folder} is incomplete; run the command that writes it again and use its --out")
    if not (folder / "manifest.json").exists():
        return None
    manifest = read_json(folder / "manifest.json")
    for name, described in manifest.get("files", {}).items():
        path = folder / name
        if not path.is_file() or sha256_of_file(path) != described["sha256"]:
            raise InputError(
                f"{path} is missing or was changed after {folder / 'manifest.json'} was written; make "
                "the folder again, or remove the manifest to take its files as they are"
            )
    return manifest


def sample_rationales(folder: Path, splits: list[str], number: int, seed: int) -> tuple[list[dict], dict[str, dict]]:
    """(items as `create_store` takes them, {language: counts}).

    The sample is the `number` rationales per language with the lowest SHA-256 of seed and content, in that order: the
    first k are a random sample too, and the order of the files does not matter. Copies (same question, answer and
    rationale) are sampled once. Errors: InputError with file and line, or if there is no rationale.
    """
    found: dict[str, dict[str, dict]] = {}
    counts: dict[str, Counter] = {}
    for split in splits:
        try:
            files = read_split(folder / split)
        except RecordError as error:
            raise InputError(f"{error}; --split says which of Train, Dev and Test to draw from") from None
        for record in (record for records in files.values() for record in records):
            count = counts.setdefault(record["language"], Counter())
            count["questions"] += 1
            if not (record.get("rationale") or "").strip():
                continue
            count["with_rationale"] += 1
            key = item_key(record, record["id"])
            shown = {name: record[name] for name in SHOWN_FIELDS if record.get(name)}
            found.setdefault(record["language"], {}).setdefault(key, {"split": split, **shown})
    items = []
    for language in (code for code in LANGUAGE_FILES if code in counts):
        drawn = sorted(found.get(language, {}), key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
        drawn = drawn[:number]
        counts[language]["sampled"] = len(drawn)
        items += [
            {"language": language, "position": position, "key": key, "record": found[language][key]}
            for position, key in enumerate(drawn, start=1)
        ]
    if not items:
        raise InputError(
            f"no question of {folder} in {', '.join(splits)} has a rationale; write some with "
            "mmedbench/rationales.py and join them with prepare.py --rationales"
        )
    names = ("questions", "with_rationale", "sampled")
    return items, {code: {name: counts[code][name] for name in names} for code in LANGUAGE_FILES if code in counts}


def described_splits(folder: Path, splits: list[str]) -> dict:
    """Checksums of the files that the sample is drawn from."""
    return describe_files(folder, [path for split in splits for path in sorted((folder / split).glob("*.jsonl"))])
