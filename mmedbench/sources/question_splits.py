"""The split of a question: known test questions, the Japanese split, copies across splits.

"The same question" is decided by `content_key` of mmedbench_questions.py: punctuation, spaces, width and the options'
order omitted.
"""

import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

from mmedbench_questions import RecordError, content_key, normalise, read_split
from run_record import InputError
from sources.exam_rules import Entry

# IgakuQA has no published split. The released counts, 1,590 train and 199 test, are 80 % and 10 % of the 1,988
# questions that have choices; we take the same shares and keep the remaining tenth as Dev. [computed, not stated by
# the authors]
HASHED_SHARES = {"Test": 0.1, "Dev": 0.1}
KEPT_FIRST = {"Test": 0, "English_benchmarks": 1, "Dev": 2, "Train": 3}


def read_known_test(folder: Path) -> list[dict]:
    """Every record of a folder of test questions (a Test folder, or a folder that contains one).

    Errors: InputError when it cannot be read or holds none.
    """
    try:
        split = read_split(folder / "Test" if (folder / "Test").is_dir() else folder)
    except RecordError as error:
        raise InputError(f"--known-test {folder}: {error}") from None
    return [record for records in split.values() for record in records]


def _rank(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def assign_hashed_splits(entries: list[Entry], known: set[str]) -> int:
    """Give a split to every entry that has none; returns how many went to Test because they are known.

    Known test questions go to Test. If they are fewer than Test's share, the questions with the lowest SHA-256 of
    their content key fill it; the next ones make Dev; the rest is Train. Copies of a question stay together.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.split and entry.record:
            groups[content_key(entry.record)].append(entry)
    test = [key for key in groups if key in known]
    others = sorted((key for key in groups if key not in known), key=_rank)
    wanted = {split: round(share * len(groups)) for split, share in HASHED_SHARES.items()}
    fill = max(0, wanted["Test"] - len(test))
    for position, key in enumerate(others):
        split = "Test" if position < fill else "Dev" if position < fill + wanted["Dev"] else "Train"
        for entry in groups[key]:
            entry.split, entry.released = split, False
    for key in test:
        for entry in groups[key]:
            entry.split, entry.released = "Test", False
    return sum(len(groups[key]) for key in test)


def take_out_known(entries: list[Entry], known: set[str]) -> int:
    """Exclude the known test questions that are in Train or Dev; returns how many."""
    count = 0
    for entry in entries:
        if entry.record and entry.split in ("Train", "Dev") and content_key(entry.record) in known:
            question = entry.record["question"]
            entry.record, entry.excluded = None, "known_test_question"
            entry.detail = f"was in {entry.split}; " + " ".join(question[:80].split())
            count += 1
    return count


def right_texts(record: dict) -> tuple[str, ...]:
    """The right options' letters and digits, sorted: what copies with shuffled options can be compared by."""
    texts = (record["options"][letter] for letter in record["answer_idx"].split(","))
    return tuple(sorted(re.sub(r"[\W_]+", "", normalise(text)) for text in texts))


def find_copies(entries: list[Entry]) -> list[list[Entry]]:
    """Groups of two or more entries that ask the same thing, in one split or across, in order of first place."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.record:
            groups[content_key(entry.record)].append(entry)
    return [group for group in groups.values() if len(group) > 1]


def count_copies(groups: list[list[Entry]]) -> dict[str, int]:
    """{"en: Train + Test": groups, ...}: where the copies are, and how many groups have different answers."""
    counts = Counter()
    for group in groups:
        places = sorted({entry.split for entry in group}, key=KEPT_FIRST.get, reverse=True)
        where = " + ".join(places) if len(places) > 1 else f"inside {places[0]}"
        counts[f"{group[0].language}: {where}"] += 1
        if len({right_texts(entry.record) for entry in group}) > 1:
            counts[f"{group[0].language}: {where}, with different answers"] += 1
    return dict(sorted(counts.items()))


def remove_copies(groups: list[list[Entry]]) -> int:
    """Keep one copy of each question: Test before Dev before Train, the first of several; returns how many went.

    English benchmarks are kept complete: their copies in Train and Dev are removed, those in Test are kept.
    """
    count = 0
    for group in groups:
        taken = set()
        for entry in sorted(group, key=lambda e: KEPT_FIRST[e.split]):
            in_way = {"Test": {"Test"}, "English_benchmarks": set()}.get(entry.split, taken)
            if taken & in_way:
                question = entry.record["question"]
                entry.record, entry.excluded = None, "duplicate"
                entry.detail = f"was in {entry.split}; " + " ".join(question[:80].split())
                count += 1
            else:
                taken.add(entry.split)
    return count
