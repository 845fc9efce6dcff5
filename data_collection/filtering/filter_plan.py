"""Split the input of filter.py into units of work, as a function of the input files and --unit-mb alone.

A parquet file is split between row groups if it contains more than --unit-mb of text; a JSON lines file is one unit;
text files are grouped up to --unit-mb.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filtering.filter_unit import Unit, declared_language, is_number, is_text
from readers.document_chunks import Span, open_lines
from readers.document_files import InputFile, file_errors, open_parquet
from run_record import InputError

PARALLEL_FILES = 16
MIN_TEXT_FILE_BYTES = 1000  # size at which smaller text files are counted, to bound the files of a unit


def plan_units(files: list[InputFile], language: str, text_column: str, unit_bytes: int) -> list[Unit]:
    """The units of all files, in order. Errors: InputError for a file without the text column."""

    def plan(file: InputFile) -> list[Unit]:
        declared = declared_language(Path(file.name), language)
        if file.name.endswith(".txt"):
            return [Unit((file,), Span(0, 0), declared, True, True, max(MIN_TEXT_FILE_BYTES, file.size))]
        if file.name.endswith(".parquet"):
            return _parquet_units(file, declared, text_column, unit_bytes)
        _check_first_line(file, text_column)
        return [Unit((file,), Span(0, 0), declared, True, not file.on_hub, file.size)]

    with ThreadPoolExecutor(PARALLEL_FILES) as pool:  # on the hub most of the time is waiting
        return list(_texts_together([unit for units in pool.map(plan, files) for unit in units], unit_bytes))


def _texts_together(units: list[Unit], unit_bytes: int) -> Iterator[Unit]:
    """Group consecutive text files of one language into units of up to unit_bytes."""
    waiting: list[Unit] = []

    def together() -> Unit:
        files = tuple(unit.files[0] for unit in waiting)
        return waiting[0]._replace(files=files, input_bytes=sum(unit.input_bytes for unit in waiting))

    for unit in units:
        is_text_file = unit.files[0].name.endswith(".txt")
        if waiting and (
            not is_text_file
            or unit.language != waiting[0].language
            or sum(u.input_bytes for u in waiting) >= unit_bytes
        ):
            yield together()
            waiting = []
        if is_text_file:
            waiting.append(unit)
        else:
            yield unit
    if waiting:
        yield together()


def _parquet_units(file: InputFile, declared: str, text_column: str, unit_bytes: int) -> list[Unit]:
    try:
        parquet = open_parquet(file)
    except InputError:
        # Listed in failures.jsonl when it is read.
        return [Unit((file,), Span(0, 0), declared, False, False, file.size)]
    schema, facts = parquet.schema_arrow, parquet.metadata
    _check_columns(file.name, schema.names, text_column)
    if not is_text(schema.field(text_column).type):
        raise InputError(
            f"{file.name}: column {text_column!r} is {schema.field(text_column).type}, not text; choose another one "
            "with --text-column"
        )
    as_text = "id" not in schema.names or not is_number(schema.field("id").type)
    spans, first, text, stored = [], 0, 0, 0
    for group in range(facts.num_row_groups):
        row_group = facts.row_group(group)
        columns = {row_group.column(i).path_in_schema: row_group.column(i) for i in range(facts.num_columns)}
        text += columns[text_column].total_uncompressed_size
        stored += sum(column.total_compressed_size for column in columns.values())
        statistics = columns["id"].statistics if "id" in columns else None
        as_text = as_text or statistics is None or not statistics.has_null_count or statistics.null_count > 0
        if text >= unit_bytes or group == facts.num_row_groups - 1:
            spans.append((Span(first, group + 1), stored))
            first, text, stored = group + 1, 0, 0
    return [
        Unit((file,), span, declared, as_text, span.first == 0 and not file.on_hub, size)
        for span, size in spans or [(Span(0, 0), file.size)]
    ]


def _check_first_line(file: InputFile, text_column: str) -> None:
    """InputError if the first line is a JSON object without the text column; other errors are reported on reading."""
    try:
        with open_lines(file, glance=True) as (lines, _), file_errors(file.name):
            first = next((line for line in iter(lines.readline, b"") if line.strip()), b"{}")
        row = json.loads(first.decode("utf-8-sig"))
    except (InputError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return
    if isinstance(row, dict) and row:
        _check_columns(file.name, list(row), text_column)


def _check_columns(name: str, columns: list[str], text_column: str) -> None:
    if twice := next((column for i, column in enumerate(columns) if column in columns[:i]), None):
        raise InputError(f"{name}: two columns are called {twice!r}; rename one")
    if text_column not in columns:
        raise InputError(
            f"{name}: no column {text_column!r}; it has {', '.join(columns) or 'none'}; choose one with --text-column"
        )


def describe_unit(unit: Unit) -> str:
    """For example `en.parquet row groups 0 to 9`."""
    first = unit.files[0].name
    if len(unit.files) > 1:
        return f"{first} and {len(unit.files) - 1} more"
    if unit.span.last:
        return f"{first} row groups {unit.span.first} to {unit.span.last - 1}"
    return first
