"""Cut an input into units of work, the same ones whoever asks: a function of the input files and --unit-mb alone.

A parquet file is cut between row groups where it holds more than --unit-mb of text; a file of JSON lines is one unit;
text files are taken together up to --unit-mb. Unit u belongs to the shard i/n with i = u modulo n.
"""

import argparse
import itertools
import json
from pathlib import Path

from corpus_record import InputError
from document_chunks import Span, open_lines
from document_files import InputFile, file_errors, open_parquet
from filter_shard import Unit, declared_language, is_text

TEXT_FILE_BYTES = 1000  # what a text file counts in a unit at least, so that none holds endless tiny ones


def parse_shard(text: str) -> tuple[int, int]:
    """(i modulo n, n) of "i/n": shards may be counted from 0 or from 1, the last is then n/n, which is 0/n."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()) or int(count) < 1 or int(index) > int(count):
        raise argparse.ArgumentTypeError(f"{text}: expected i/n, such as 0/4 to 3/4 (or 1/4 to 4/4)")
    return int(index) % int(count), int(count)


def plan_units(files: list[InputFile], language: str, text_column: str, unit_bytes: int) -> list[Unit]:
    """The units of all files, in order. Errors: InputError for a file without the column, or with no text in it."""
    units: list[Unit] = []
    waiting: list[InputFile] = []
    for file in files:
        declared = declared_language(Path(file.name), language)
        if waiting and (not file.name.endswith(".txt") or _full(waiting, declared, language, unit_bytes)):
            units.append(_text_unit(waiting, language))
            waiting = []
        if file.name.endswith(".txt"):
            waiting.append(file)
        elif file.name.endswith(".parquet"):
            units += _parquet_units(file, declared, text_column, unit_bytes)
        else:
            _check_first_line(file, text_column)
            units.append(Unit((file,), Span(0, 0), declared, True, not file.on_hub))
    return [*units, _text_unit(waiting, language)] if waiting else units


def _full(waiting: list[InputFile], declared: str, language: str, unit_bytes: int) -> bool:
    other = declared_language(Path(waiting[0].name), language) != declared
    return other or sum(max(TEXT_FILE_BYTES, file.size) for file in waiting) >= unit_bytes


def _text_unit(files: list[InputFile], language: str) -> Unit:
    return Unit(tuple(files), Span(0, 0), declared_language(Path(files[0].name), language), True, True)


def _parquet_units(file: InputFile, declared: str, text_column: str, unit_bytes: int) -> list[Unit]:
    try:
        parquet = open_parquet(file)
    except InputError:
        return [Unit((file,), Span(0, 0), declared, False, False)]  # listed in failures.jsonl when its turn comes
    schema, facts = parquet.schema_arrow, parquet.metadata
    _check_columns(file.name, schema.names, text_column)
    if not is_text(schema.field(text_column).type):
        raise InputError(f"{file.name}: column {text_column!r} holds {schema.field(text_column).type}, not text; "
                         "name the right one with --text-column")
    as_text = "id" not in schema.names or str(schema.field("id").type) in ("string", "large_string")
    bounds, size = [0], 0
    for group in range(facts.num_row_groups):
        columns = {facts.row_group(group).column(i).path_in_schema: facts.row_group(group).column(i)
                   for i in range(facts.num_columns)}
        if size >= unit_bytes:
            bounds.append(group)
            size = 0
        size += columns[text_column].total_uncompressed_size
        statistics = columns["id"].statistics if "id" in columns else None
        as_text = as_text or statistics is None or not statistics.has_null_count or statistics.null_count > 0
    bounds.append(facts.num_row_groups)
    return [Unit((file,), Span(first, last), declared, as_text, first == 0 and not file.on_hub)
            for first, last in itertools.pairwise(bounds)]


def _check_first_line(file: InputFile, text_column: str) -> None:
    """InputError where the first line is a JSON object without the text column; other faults show when it is read."""
    try:
        with open_lines(file) as (lines, _), file_errors(file.name):
            first = next((line for line in iter(lines.readline, b"") if line.strip()), b"{}")
        row = json.loads(first.decode("utf-8-sig"))
    except (InputError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return
    if isinstance(row, dict) and row:
        _check_columns(file.name, list(row), text_column)


def _check_columns(name: str, columns: list[str], text_column: str) -> None:
    if text_column not in columns:
        raise InputError(f"{name}: no column {text_column!r}; it has {', '.join(columns) or 'none'}; "
                         "name the right one with --text-column")


def input_bytes(unit: Unit) -> int:
    """Bytes of input that a unit stands for, as stored: for the progress bar."""
    if unit.files[0].name.endswith(".txt") or unit.span == Span(0, 0):
        return sum(file.size for file in unit.files)
    facts = open_parquet(unit.files[0]).metadata
    groups = (facts.row_group(group) for group in range(unit.span.first, unit.span.last))
    return sum(g.column(i).total_compressed_size for g in groups for i in range(g.num_columns))
