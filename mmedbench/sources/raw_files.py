"""Read raw exam files: JSON lines, JSON or CSV, with or without a byte-order mark, LF or CRLF.

A file that is not UTF-8 or not JSON stops the run with an InputError that names file and line. A record with a missing
or wrong field is a DamagedRecord, which `exam_entries` skips, counts and lists. Rules about valid questions are in
`exam_rules.py`.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from run_record import InputError
from sources.exam_rules import Entry, leave_out

csv.field_size_limit(sys.maxsize)  # the csv module stops at 128 KiB a cell; a question may be longer


class DuplicateKey(ValueError):
    """A JSON object contains a key twice, so its value is ambiguous."""


class DamagedRecord(InputError):
    """One record that can be read but not used; reason is a key of exam_rules.REASONS."""

    def __init__(self, where: str, reason: str, message: str):
        super().__init__(f"{where}: {message}")
        self.reason, self.message = reason, message


class TwiceNamed(dict):
    """An object of a raw file in which the key `twice` occurs twice."""

    twice = ""


def _marked_object(pairs: list[tuple[str, object]]) -> dict:
    value = dict(pairs)
    if len(value) != len(pairs):
        value, names = TwiceNamed(value), [name for name, _ in pairs]
        value.twice = next(name for name in names if names.count(name) > 1)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict:
    value = _marked_object(pairs)
    if isinstance(value, TwiceNamed):
        raise DuplicateKey(f"the key {value.twice!r} occurs twice in one object")
    return value


def parse_json(text: str, mark_twice: bool = False):
    """One JSON value. Errors: DuplicateKey (with mark_twice the object is a TwiceNamed instead), json.JSONDecodeError;
    RecursionError becomes a ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_marked_object if mark_twice else _object)
    except RecursionError:
        raise ValueError("brackets nested too deep") from None


def twice_named(value: object) -> str:
    """A key that occurs twice in an object somewhere in value, or ""."""
    if isinstance(value, TwiceNamed):
        return value.twice
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((name for name in map(twice_named, inner) if name), "")


def exam_entries(records: Iterator[tuple[str, object]], make: Callable[[str, object], Entry]) -> Iterator[Entry]:
    """One entry per record: make(where, record), or an excluded one if the record is damaged."""
    for where, record in records:
        try:
            if isinstance(record, DamagedRecord):
                raise record
            if twice := twice_named(record):
                raise DamagedRecord(where, "duplicate_key", f"the key {twice!r} occurs twice in one object")
            entry = make(where, record)
        except DamagedRecord as error:
            entry = leave_out(where, error.reason, f"{error.message};", _some_text(record))
        yield entry


def _some_text(record: object) -> str:
    """The first text of a damaged record, to find it by."""
    values = record.values() if isinstance(record, dict) else ()
    return next((value for value in values if isinstance(value, str)), "")


def read_text(path: Path) -> str:
    """The file as text, without a byte-order mark. Errors: InputError with path:line of the first bad byte."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: not UTF-8 (byte {data[error.start]:#04x}); convert the file and run again"
        ) from None


def json_lines(path: Path, mark_damage: bool = False) -> Iterator[tuple[str, dict]]:
    """("path:line", object) for every line that is not blank.

    Lines end at line feeds alone (a carriage return before it is white space): U+2028 and its like are ordinary
    characters in exam texts. mark_damage: for `exam_entries`, a key that occurs twice and a bare NUL are no error here;
    the object is a TwiceNamed, or a DamagedRecord is in its place. Errors: InputError with path:line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = parse_json(line, mark_damage)
        except ValueError as error:
            if mark_damage and "\x00" in line:
                yield where, DamagedRecord(where, "nul_character", "a bare NUL in the line")
                continue
            raise InputError(f"{where}: not JSON as expected ({error}); repair or remove the line") from None
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
        yield where, value


def json_value(path: Path, mark_damage: bool = False):
    """The one JSON value of a file; mark_damage as in `json_lines`. Errors: InputError with path:line."""
    text = read_text(path)
    try:
        return parse_json(text, mark_damage)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error}); repair the file") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON as expected ({error}); repair the file") from None


def csv_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[str, list[str]]]:
    """("path:line", cells) for every row that is not blank; line: where the row begins. Errors: InputError."""
    reader, line = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, delimiter=delimiter), 1
    try:
        for row in reader:
            if row:
                yield f"{path}:{line}", row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV ({error}); repair the row") from None


KINDS = {str: "a text", list: "a list", dict: "an object", int: "a whole number", (str, list): "a text or a list"}


def field(record: object, name: str, kind: type | tuple[type, ...], where: str):
    """record[name], which must be of that kind. Errors: DamagedRecord naming the place and the field."""
    if not isinstance(record, dict):
        raise DamagedRecord(where, "wrong_type", f"expected a JSON object, found {type(record).__name__}")
    if name not in record:
        held = ", ".join(map(str, record)) or "no field"
        raise DamagedRecord(where, "field_missing", f"{name}: missing (the record has {held})")
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DamagedRecord(where, "wrong_type", f"{name}: expected {KINDS[kind]}, found {value!r:.80}")
    return value


def text_list(record: object, name: str, where: str) -> list[str]:
    """record[name], a list of texts. Errors: DamagedRecord naming the place and the field."""
    value = field(record, name, list, where)
    for number, item in enumerate(value, start=1):
        if not isinstance(item, str):
            raise DamagedRecord(where, "wrong_type", f"{name}: entry {number} is not text: {item!r:.80}")
    return value
