"""Reading the raw files of exams: UTF-8 with or without a byte-order mark, LF or CRLF, JSON lines, JSON or CSV.

Whatever is wrong stops the run with one sentence that names the file and the line (InputError): a file that is
damaged in one place cannot be trusted in the others. Rules about single questions live in `exam_rules.py`.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from benchmark_record import InputError


class DuplicateKey(ValueError):
    """A JSON object that names one key twice: which of the two values is meant, nobody can tell."""


def _object(pairs: list[tuple[str, object]]) -> dict:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise DuplicateKey(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return value


def parse_json(text: str):
    """One JSON value. Errors: DuplicateKey, json.JSONDecodeError; RecursionError becomes a ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("brackets nested too deep") from None


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
        raise InputError(f"{path}:{line}: not UTF-8 (byte {data[error.start]:#04x}); convert the file and run again"
                         ) from None


def json_lines(path: Path) -> Iterator[tuple[str, dict]]:
    """("path:line", object) for every line that is not blank.

    Lines end at line feeds alone (a carriage return before it is white space): U+2028 and its like are ordinary
    characters in exam texts. Errors: InputError with path:line.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            raise InputError(f"{where}: not JSON as expected ({error}); repair or remove the line") from None
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
        yield where, value


def json_value(path: Path):
    """The one JSON value of a file. Errors: InputError with path:line."""
    text = read_text(path)
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error}); repair the file") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON as expected ({error}); repair the file") from None


def csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """("path:line", cells) for every row that is not blank. Errors: InputError with path:line."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield f"{path}:{reader.line_num}", row
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not CSV ({error}); repair the row") from None


KINDS = {str: "a text", list: "a list", dict: "an object", int: "a whole number"}


def field(record: object, name: str, kind: type, where: str):
    """record[name], which must be of that kind. Errors: InputError naming the place and the field."""
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")
    if name not in record:
        raise InputError(f"{where}: {name}: missing (the record has {', '.join(map(str, record)) or 'no field'})")
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where}: {name}: expected {KINDS[kind]}, found {value!r:.80}")
    return value


def text_list(record: object, name: str, where: str) -> list[str]:
    """record[name], a list of texts. Errors: InputError naming the place and the field."""
    value = field(record, name, list, where)
    for number, item in enumerate(value, start=1):
        if not isinstance(item, str):
            raise InputError(f"{where}: {name}: entry {number} is no text: {item!r:.80}")
    return value
