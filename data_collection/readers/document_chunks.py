"""Stream part of a document file: the text column in bounded batches, other columns only for the requested rows.

Reads parquet (row groups, in batches), JSON lines (plain, .gz, .zst) and text files (one document each), here or on the
hub. A `Chunk` gives the texts of some rows as an Arrow array, and `rows(places)`: a table of everything else of a few
of them. So a rejected document costs no Python object (parquet), and memory does not grow with the file, its row
groups or its lines.
"""

import contextlib
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from readers.document_files import InputFile, file_errors, is_json_lines, open_bytes, open_parquet

CHUNK_BYTES = 4_000_000  # of text in one chunk, about
MAX_ROWS = 10_000
BUFFER_BYTES = 1_000_000  # of a column read at once
ROW_JSON = "_row_as_json"  # a JSON line's other values, until the types of the columns are known (see filter_output.py)


class Span(NamedTuple):
    """Row groups of a parquet file, or files of a folder of text files, [first, last)."""

    first: int
    last: int


class Chunk(NamedTuple):
    texts: object  # pyarrow string or large_string Array, null where there is no text; see `valid_texts`
    first_row: int  # the number of its first row in the file, from 0
    columns: dict  # {name: pyarrow Array}: the further columns asked for, of all rows
    not_text: dict  # {place in this chunk: value made readable} of rows that are null above for being no text
    rows: Callable  # (ascending places in this chunk) -> pyarrow.Table without the text column
    input_bytes: int  # bytes of the input file that this chunk stands for, about


def parquet_chunks(file: InputFile, span: Span, text_column: str, also: tuple[str, ...]) -> Iterator[Chunk]:
    """also: columns to read with the text. Errors: InputError for a damaged file, after the chunks before the damage.

    Other columns are opened at a row group's first row that is asked for: a row group without one is never read.
    """
    parquet = open_parquet(file, BUFFER_BYTES)
    names = list(dict.fromkeys(parquet.schema_arrow.names))
    also = tuple(name for name in also if name in names)
    others = [name for name in names if name != text_column]
    row = sum(parquet.metadata.row_group(group).num_rows for group in range(span.first))
    for group in range(span.first, span.last):
        facts = parquet.metadata.row_group(group)
        if not facts.num_rows:
            continue
        text_bytes, stored = _column_bytes(facts, text_column)
        batch_rows = max(1, min(MAX_ROWS, CHUNK_BYTES * facts.num_rows // max(1, text_bytes)))
        rest = _Rows(parquet, group, others, batch_rows, file.name)
        group_first = row
        with file_errors(file.name):
            batches = parquet.iter_batches(batch_rows, [group], [text_column, *also], use_threads=False)
        while True:
            with file_errors(file.name):
                batch = next(batches, None)
            if batch is None:
                break
            first = row - group_first
            yield Chunk(
                _as_strings(batch.column(text_column)),
                row,
                {name: batch.column(name) for name in also},
                {},
                lambda places, first=first, rest=rest: rest.take([first + p for p in places]),
                stored * batch.num_rows // facts.num_rows,
            )
            row += batch.num_rows


def _column_bytes(facts, column: str) -> tuple[int, int]:
    """(bytes of a row group's column before compression, bytes of the whole row group as stored)."""
    chunks = [facts.column(i) for i in range(facts.num_columns)]
    return (
        sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == column),
        sum(c.total_compressed_size for c in chunks),
    )


class _Rows:
    """Rows of some columns of one row group, in ascending order, read from the first one asked for on."""

    def __init__(self, parquet, group: int, columns: list[str], batch_rows: int, name: str):
        self.parquet, self.group, self.columns, self.batch_rows, self.name = parquet, group, columns, batch_rows, name
        self.batches = self.batch = None
        self.begin = 0  # the row group's row at which self.batch begins

    def take(self, rows: list[int]):
        import pyarrow

        if not self.columns:
            return None
        with file_errors(self.name):
            if self.batches is None:
                self.batches = self.parquet.iter_batches(self.batch_rows, [self.group], self.columns, use_threads=False)
                self.batch = next(self.batches)
            pieces, i = [], 0
            while i < len(rows):
                end = self.begin + self.batch.num_rows
                here = [r - self.begin for r in rows[i:] if r < end]
                if here:
                    pieces.append(_without_views(self.batch).take(pyarrow.array(here, pyarrow.int64())))
                    i += len(here)
                else:
                    self.begin, self.batch = end, next(self.batches)
            return pyarrow.Table.from_batches(pieces)


def _without_views(batch):
    """String views as plain strings: pyarrow takes no rows of the former."""
    import pyarrow

    plain = {pyarrow.string_view(): pyarrow.large_string(), pyarrow.binary_view(): pyarrow.large_binary()}
    fields = [field.with_type(plain.get(field.type, field.type)) for field in batch.schema]
    schema = pyarrow.schema(fields)
    return batch if schema.equals(batch.schema) else batch.cast(schema)


def _as_strings(array):
    import pyarrow

    if pyarrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pyarrow.types.is_string(array.type) or pyarrow.types.is_large_string(array.type):
        return array
    return array.cast(pyarrow.large_string())


def readable_strings(column):
    """Any Arrow column as strings: U+FFFD for bytes that are no UTF-8, JSON for lists and the like."""
    import pyarrow

    with contextlib.suppress(pyarrow.ArrowException):
        strings = column.cast(pyarrow.string())
        strings.validate(full=True)
        return strings
    column = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    column = column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        column = column.view(pyarrow.binary() if pyarrow.types.is_string(column.type) else pyarrow.large_binary())
    return pyarrow.array([None if v is None else _as_text(v) for v in column.to_pylist()], pyarrow.string())


def _as_text(value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return _whole_characters(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def valid_texts(chunk: Chunk) -> Chunk:
    """The chunk with null, and an entry in not_text, for every text that is not UTF-8: parquet files may hold such."""
    import pyarrow

    try:
        chunk.texts.validate(full=True)
        return chunk
    except pyarrow.ArrowInvalid:
        pass
    wide = pyarrow.types.is_large_string(chunk.texts.type)
    values = chunk.texts.view(pyarrow.large_binary() if wide else pyarrow.binary()).to_pylist()
    not_text = dict(chunk.not_text)
    for place, value in enumerate(values):
        try:
            (value or b"").decode("utf-8")
        except UnicodeDecodeError:
            not_text[place] = value.decode("utf-8", "replace")
            values[place] = None
    return chunk._replace(texts=pyarrow.array(values, chunk.texts.type), not_text=not_text)


def json_chunks(
    file: InputFile, text_column: str, also: tuple[str, ...], report: Callable[[str], None]
) -> Iterator[Chunk]:
    """JSON lines. report: called with a sentence for every line that is not JSON object; it is omitted."""
    rows: list[dict] = []
    first_row = size = 0
    with open_lines(file) as (lines, raw):
        position = 0
        number = 0
        while True:
            with file_errors(file.name):
                line = lines.readline()
            if line:
                number += 1
                size += len(line)
                if (row := _json_row(line, number, file.name, report)) is not None:
                    rows.append(row)
            if rows and (not line or size >= CHUNK_BYTES or len(rows) == MAX_ROWS):
                moved = raw.tell() - position
                position += moved
                yield _json_chunk(rows, first_row, text_column, also, moved)
                first_row, size = first_row + len(rows), 0
                rows = []
            if not line:
                return


def _json_row(line: bytes, number: int, name: str, report: Callable[[str], None]) -> dict | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        report(f"{name}:{number}: not UTF-8 text ({error.reason} at byte {error.start + 1})")
    except (json.JSONDecodeError, RecursionError) as error:
        report(f"{name}:{number}: not JSON ({error})")
    else:
        if isinstance(row, dict):
            return row
        report(f"{name}:{number}: not a JSON object")
    return None


def _json_chunk(rows: list[dict], first_row: int, text_column: str, also: tuple[str, ...], moved: int) -> Chunk:
    import pyarrow

    not_text, texts = {}, []
    for place, row in enumerate(rows):
        text = row.get(text_column)
        if text is not None and not isinstance(text, str):
            not_text[place] = json.dumps(text, ensure_ascii=False)
            text = None
        texts.append(text)
    try:
        array = pyarrow.array(texts, pyarrow.large_string())
    except UnicodeEncodeError:  # JSON can hold halves of a character: no text, as bytes that are no UTF-8
        for place, text in enumerate(texts):
            if text and (whole := _whole_characters(text)) != text:
                not_text[place], texts[place] = whole, None
        array = pyarrow.array(texts, pyarrow.large_string())

    def others(places):
        kept = [json.dumps({_whole_characters(k): v for k, v in rows[p].items() if k != text_column}) for p in places]
        return pyarrow.table({ROW_JSON: pyarrow.array(kept, pyarrow.large_string())})

    columns = {name: [row.get(name) for row in rows] for name in also if any(name in row for row in rows)}
    return Chunk(array, first_row, {name: _column(values) for name, values in columns.items()}, not_text, others, moved)


def _column(values: list):
    """Values of a JSON column as Arrow; as text where they are of several kinds."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError):
        return pyarrow.array([None if v is None else _as_text(v) for v in values], pyarrow.large_string())


def _whole_characters(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


class open_lines:
    """Context: (a binary stream of lines, the raw stream below it, whose place tells how much was read).

    glance: only the beginning is wanted; see hub_documents.HubReader.
    """

    def __init__(self, file: InputFile, glance: bool = False):
        self.file, self.glance = file, glance

    def __enter__(self):
        with file_errors(self.file.name):
            self.raw = open_bytes(self.file, self.glance)
        if self.file.name.endswith(".gz"):
            return io.BufferedReader(gzip.GzipFile(fileobj=self.raw), 1 << 18), self.raw
        if self.file.name.endswith(".zst"):
            import zstandard

            unpacker = zstandard.ZstdDecompressor().stream_reader(self.raw, read_across_frames=True)
            return io.BufferedReader(unpacker, 1 << 18), self.raw
        return self.raw, self.raw

    def __exit__(self, *error):
        self.raw.close()


def text_chunks(files: list[InputFile], first_row: int, report: Callable[[str], None]) -> Iterator[Chunk]:
    """Text files, one document each, with the file's path as `id`. Files that are not UTF-8 are null."""
    import pyarrow

    texts: list[str | None] = []
    names: list[str] = []
    not_text: dict[int, str] = {}
    size = 0
    for number, file in enumerate(files, 1):
        try:
            content = Path(file.place).read_bytes()
            size += len(content)
            names.append(file.name)
            texts.append(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            not_text[len(texts)] = content.decode("utf-8", "replace")
            texts.append(None)
        except OSError as error:
            report(f"{file.name}: {error.strerror}")
        if names and (size >= CHUNK_BYTES or len(names) == MAX_ROWS or number == len(files)):
            ids = pyarrow.table({"id": pyarrow.array(names, pyarrow.string())})
            yield Chunk(
                pyarrow.array(texts, pyarrow.large_string()),
                first_row,
                {"id": ids.column(0).chunk(0)},
                not_text,
                ids.take,
                size,
            )
            first_row, size = first_row + len(names), 0
            texts, names, not_text = [], [], {}


def read_chunks(
    files: list[InputFile], span: Span, text_column: str, also: tuple[str, ...], report: Callable[[str], None]
) -> Iterator[Chunk]:
    """The chunks of one unit of work: a parquet file's row groups, a file of JSON lines, or a span of text files."""
    if files[0].name.endswith(".parquet"):
        return parquet_chunks(files[0], span, text_column, also)
    if is_json_lines(files[0].name):
        return json_chunks(files[0], text_column, also, report)
    return text_chunks(files, span.first, report)
