"""Any exam as a table (CSV, TSV, JSONL): how German, Arabic and further exams are added. FORMAT.md has the columns.

A CSV or TSV file with a header, or a JSONL file: `question`, `answer` and the options, as columns A, B, ... or as one
field `options`; language and split by column, by the file's name or by its folder.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, LETTERS
from run_record import InputError
from sources.exam_rules import Entry, leave_out
from sources.raw_files import DamagedRecord, csv_rows, exam_entries, field, json_lines
from sources.source_exams import entry_with_origin, option_texts

SPLIT_WORDS = {"train": "Train", "dev": "Dev", "val": "Dev", "valid": "Dev", "validation": "Dev", "test": "Test"}
LANGUAGE_WORDS = {
    **{code: code for code in LANGUAGE_FILES},
    **{name.removesuffix(".jsonl").lower(): code for code, name in LANGUAGE_FILES.items()},
}
COLUMNS = (
    "question",
    "options",
    "answer",
    "answer_idx",
    "context",
    "rationale",
    "source",
    "language",
    "split",
    "human_checked",
    "human_check_passed",
)
DELIMITERS = (",", ";", "\t")
YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": None}


def name_words(path: Path) -> list[str]:
    """The words of a file's name, in lower case: physikum_DE-test.csv -> physikum, de, test."""
    return [word for word in re.split(r"[\W_]+", path.stem.lower()) if word]


def language_of_name(path: Path) -> str:
    """The ISO code of the language in the file's name, or "" without exactly one."""
    codes = {LANGUAGE_WORDS[word] for word in name_words(path) if word in LANGUAGE_WORDS}
    return codes.pop() if len(codes) == 1 else ""


def split_of_place(path: Path) -> str:
    """Train, Dev or Test from the file's name, else from its folder's name, or ""."""
    words = [word for word in name_words(path) if word in SPLIT_WORDS]
    return SPLIT_WORDS[words[-1]] if words else SPLIT_WORDS.get(path.parent.name.lower(), "")


def source_name(path: Path) -> str:
    """The default name of the exam: the file's name without language and split, else a folder's."""
    words = [word for word in re.split(r"[\W_]+", path.stem) if word.lower() not in {*SPLIT_WORDS, *LANGUAGE_WORDS}]
    folders = [folder.name for folder in path.parents if folder.name.lower() not in {*SPLIT_WORDS, *LANGUAGE_WORDS, ""}]
    return " ".join(words) or next(iter(folders), "exam")


def canonical(column: str) -> str:
    """The canonical name of a column: lower case, options as A, B, ...; "Option B", "option_b" and "b" are B."""
    name = re.sub(r"[\s-]+", "_", column.strip().lower())
    letter = re.fullmatch(r"(?:option_?)?([a-z])", name)
    return letter[1].upper() if letter and name != "options" else name


def table_delimiter(head: str) -> str | None:
    """The delimiter with which the first line is a valid header, or None."""
    line = head.removeprefix("\ufeff").split("\n", 1)[0]
    for delimiter in DELIMITERS:
        names = {canonical(cell.strip().strip('"')) for cell in line.split(delimiter)}
        if "question" in names and names & {"answer", "answer_idx"} and names & {"A", "options"}:
            return delimiter
    return None


def read_generic(path: Path) -> Iterator[Entry]:
    """Every question of one file. Errors: InputError for a file that is not a table."""
    if path.suffix == ".jsonl":
        records = json_lines(path, mark_damage=True)
    else:
        records = _table_records(path)
    return exam_entries(records, lambda where, record: _generic_entry(where, record, path))


def _table_records(path: Path) -> Iterator[tuple[str, object]]:
    """("path:line", {column: cell}) of a CSV or TSV file. Errors: InputError for a header that names a column twice."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        delimiter = table_delimiter(file.readline())
    header: list[str] = []
    for where, row in csv_rows(path, delimiter or ","):
        if not header:
            header = [canonical(cell) for cell in row]
            if twice := [name for name in header if name and header.count(name) > 1]:
                raise InputError(f"{where}: the column {twice[0]} occurs twice; rename one of them")
        elif len(row) != len(header):
            yield where, DamagedRecord(where, "cells_disagree", f"{len(row)} cells under {len(header)} columns")
        else:
            yield where, dict(zip(header, row, strict=True))


def _generic_entry(where: str, record: dict, path: Path) -> Entry:
    """One record. A table's cells are all texts, so marks may be words and an absent option an empty cell."""
    if not isinstance(record, dict):
        raise DamagedRecord(where, "wrong_type", f"expected a JSON object, found {type(record).__name__}")
    names = [canonical(name) for name in record]
    if len(set(names)) < len(names):
        raise DamagedRecord(where, "duplicate_key", "two columns mean the same")
    record = dict(zip(names, record.values(), strict=True))
    question, options = field(record, "question", str, where), _options(record, where)
    by_letter = "answer_idx" in record
    key = field(record, "answer_idx" if by_letter else "answer", (str, list), where)
    readings = answer_readings(key, options)
    right = readings[0]
    for name in ("human_checked", "human_check_passed"):
        if isinstance(record.get(name), str):
            if record[name].strip().lower() not in YES_NO:
                raise DamagedRecord(where, "wrong_type", f"{name}: expected true or false, found {record[name]!r:.80}")
            record[name] = YES_NO[record[name].strip().lower()]
    entry = entry_with_origin(where, record, question, options, right)
    answer = record.get("answer") if by_letter else None
    out = None
    if entry.record and not by_letter and len(readings) > 1:
        out = leave_out(where, "ambiguous_answer", f"key {key}, the text of option {', '.join(readings[1])};", question)
    elif entry.record and isinstance(answer, str) and answer.strip() and right not in answer_readings(answer, options):
        out = leave_out(where, "answer_text_disagrees", f"{key} against {answer[:40]!r};", question)
    if out:
        out.source, entry = entry.source, out
    entry.language = _place(record, "language", LANGUAGE_WORDS, language_of_name(path), where, path)
    entry.split = _place(record, "split", SPLIT_WORDS, split_of_place(path), where, path)
    return entry


def _options(record: dict, where: str) -> list[str]:
    """The options' texts in order, from `options` (a list, or an object by letter) or from the columns A, B, ..."""
    options = record.get("options")
    if isinstance(options, list):
        if any(not isinstance(text, str) for text in options):
            raise DamagedRecord(where, "wrong_type", "options: expected texts")
        return options
    if isinstance(options, dict):
        return option_texts(options, where)
    if options not in (None, ""):
        raise DamagedRecord(where, "wrong_type", f"options: expected a list or an object, found {options!r:.80}")
    cells = {name: text for name, text in record.items() if len(name) == 1 and name in LETTERS and text is not None}
    if not cells:
        raise DamagedRecord(where, "field_missing", "options: missing, and there is no column A, B, ... either")
    texts = option_texts(cells, where)
    while texts and not texts[-1].strip():  # a question with fewer options than the table has columns
        texts.pop()
    return texts


def answer_readings(key: str | list, options: list[str]) -> list[list[str]]:
    """What a key can mean, as letters: "B", "b", "A,C", "A; C", "A C", "AC" or a list of letters; or the text of the
    right option. Both, letters first, where the text of another option is itself such letters (a blood group, a
    vitamin).

    Anything else is returned unchanged and counts as outside the options. Numbers are not read, because they could
    count from 0 or from 1.
    """
    text = ",".join(map(str, key)) if isinstance(key, list) else key
    parts = [part for part in re.split(r"[\s,;]+", text.strip().upper()) if part]
    letters = LETTERS[: len(options)]
    if len(parts) == 1 and 1 < len(parts[0]) <= len(options) and set(parts[0]) <= set(letters):
        parts = list(parts[0])
    texts = [option.strip() for option in options]
    if not isinstance(key, str) or texts.count(key.strip()) != 1:
        return [parts]
    by_text = [LETTERS[texts.index(key.strip())]]
    return [parts, by_text] if parts and set(parts) <= set(letters) and parts != by_text else [by_text]


def _place(record: dict, column: str, words: dict[str, str], by_name: str, where: str, path: Path) -> str:
    """The language or split of a record. Errors: InputError if it is in neither column nor name, or they disagree."""
    cell = record.get(column)
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        if not by_name:
            raise InputError(
                f"{where}: {column}: neither in a column {column!r} nor in the file's name; rename "
                f"{path.name}, for example to {path.stem}_{'de' if column == 'language' else 'test'}"
                f"{path.suffix}"
            )
        return by_name
    value = words.get(str(cell).strip().lower())
    if value is None:
        raise InputError(f"{where}: {column}: {cell!r:.80} is not one of {', '.join(words)}")
    if by_name and value != by_name:
        raise InputError(f"{where}: {column}: {cell!r}, but the file's name or folder says {by_name}; correct one")
    return value
