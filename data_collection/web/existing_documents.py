"""The documents in the files of other corpora, read piece by piece: lines of JSON, rows of parquet, texts.

Nothing is held but one document (at most --document-mb) and one batch of rows. What cannot be read is a `Broken` with
its file and line, row or member. Example:

    python data_collection/existing_corpora.py data_collection/sample/existing --out data/existing
"""

import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from readers.corpus_format import LOSS_SPANS, SOURCES
from readers.document_files import BATCH_ROWS, InputFile, file_errors, open_parquet
from readers.zip_members import open_zip
from run_record import InputError
from web.collected_documents import Broken, Found, LeftOut
from web.existing_files import SUFFIXES, ExistingUnit
from web.folder_labels import language_of, language_of_tag, source_of

INSIDE = (".jsonl", ".txt")  # what is read inside a zip
SPLITS = ("document", "blank-lines", "lines")
ORIGIN_FIELDS = ("origin", "url", "id")
LICENCE_FIELDS = ("licence", "license")
# What a damaged file can raise; a RuntimeError is zipfile's word for a member that is encrypted, or packed strangely.
DAMAGE = (InputError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


def read_unit(unit: ExistingUnit, arguments: dict) -> Iterator[Found | LeftOut | Broken]:
    """What a unit holds, document by document; a file without any is named."""
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(Path(unit.place))) if unit.place else None
        for file in unit.files:
            if set(file.name.split("/")[:-1]) & set(arguments["skip_folders"]):
                yield LeftOut(file.name, "skipped_folder")
                continue
            if not file.name.endswith(INSIDE if archive else SUFFIXES) and (file.place or not archive):
                yield LeftOut(file.name, "no_document_file")
                continue
            count = 0
            try:
                for item in _read_file(file, unit, archive, arguments):
                    count += 1
                    yield item
            except DAMAGE as error:
                yield Broken(
                    file.name,
                    "damaged_file",
                    f"damaged, encrypted or cut short; {count} documents were read "
                    f"before that ({' '.join(str(error).split())[:200]})",
                )
                continue
            if count == 0:
                yield Broken(file.name, "no_documents", "holds no documents: empty")


def _read_file(file: InputFile, unit: ExistingUnit, archive, arguments: dict) -> Iterator[Found | Broken]:
    if file.size == 0:
        return
    if file.name.endswith(".parquet"):
        yield from _parquet_rows(file, unit, arguments)
        return
    with file_errors(file.name), _open(file, archive) as content:
        if file.name.endswith(".txt"):
            yield from _texts(file.name, content, arguments)
        else:
            yield from _json_lines(file.name, content, arguments)


def _open(file: InputFile, archive) -> io.BufferedIOBase:
    if archive is not None:
        return archive.open(file.place)
    if file.name.endswith(".gz"):
        return gzip.open(file.place)
    if file.name.endswith(".zst"):
        import zstandard

        return io.BufferedReader(zstandard.open(file.place, "rb"), 1 << 18)
    return open(file.place, "rb")


def _lines(content, most_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """(number from 1, line) of a binary file; None for a line longer than most_bytes."""
    number = 0
    while line := content.readline(most_bytes + 1):
        number += 1
        if len(line) <= most_bytes:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = content.readline(1 << 20)
        yield number, None


def _json_lines(name: str, content, arguments: dict) -> Iterator[Found | Broken]:
    for number, line in _lines(content, arguments["document_mb"] * 1_000_000):
        where = f"{name}:{number}"
        if line is None:
            yield Broken(where, "too_large", "a line longer than --document-mb")
            continue
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of thousands of digits
            yield Broken(where, "broken_line", f"not JSON in UTF-8 ({str(error)[:200]})")
            continue
        yield _document(row, name, where, f"{name}#{number}", arguments)


def _parquet_rows(file: InputFile, unit: ExistingUnit, arguments: dict) -> Iterator[Found | Broken]:
    wanted = {arguments["text_column"], "language", "source", LOSS_SPANS, *ORIGIN_FIELDS, *LICENCE_FIELDS}
    parquet = open_parquet(file, 1 << 20)  # columns in pieces, not a whole row group's at once
    number = sum(parquet.metadata.row_group(group).num_rows for group in range(unit.first))
    columns = [name for name in parquet.schema_arrow.names if name in wanted]
    with file_errors(file.name):
        for batch in parquet.iter_batches(
            BATCH_ROWS // 10, row_groups=list(range(unit.first, unit.last)), columns=columns
        ):
            for row in _rows_of(_with_times_as_text(batch)):
                where = f"{file.name} row {number}"
                if row is None:
                    yield Broken(where, "broken_encoding", "holds bytes that are no UTF-8")
                else:
                    yield _document(row, file.name, where, f"{file.name}#{number}", arguments)
                number += 1


def _with_times_as_text(batch):
    """The batch with points in time as text (UTC): Python's own know no nanoseconds, nor the year 10000."""
    import pyarrow

    for place, field in enumerate(batch.schema):
        column = batch.column(place)
        if pyarrow.types.is_timestamp(field.type):
            column = column.cast(pyarrow.timestamp(field.type.unit))  # without a zone, which needs a table of zones
        if pyarrow.types.is_timestamp(field.type) or pyarrow.types.is_date(field.type):
            batch = batch.set_column(place, field.name, column.cast(pyarrow.string()))
    return batch


def _rows_of(batch) -> Iterator[dict | None]:
    """The rows of a batch; None for one with bytes that are no UTF-8, which spoils no other."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for place in range(batch.num_rows):
        try:
            yield from batch.slice(place, 1).to_pylist()
        except UnicodeDecodeError:
            yield None


def _document(row: object, name: str, where: str, place: str, arguments: dict) -> Found | Broken:
    """One JSON object or row as a document. where: for failures; place: its origin where it names none."""
    if not isinstance(row, dict):
        return Broken(where, "broken_line", "not a JSON object")
    text = row.get(arguments["text_column"])
    if not isinstance(text, str):
        missing = "null" if text is None else type(text).__name__
        return Broken(where, "no_text", f"field {arguments['text_column']!r} is {missing}, not text")
    own = _first(row, ORIGIN_FIELDS)
    declared = arguments["language"] or language_of_tag(str(row.get("language") or "")) or language_of(name)
    source = row.get("source") if row.get("source") in SOURCES else arguments["source"]
    spans = row.get(LOSS_SPANS)
    if isinstance(spans, str):
        try:
            spans = json.loads(spans)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, too deep
            return Broken(where, "wrong_loss_spans", f"{LOSS_SPANS} is no list of [start, end) pairs")
    return Found(
        text,
        _first(row, ("id",)) or place,
        own or place,
        source,
        declared,
        _first(row, LICENCE_FIELDS) or arguments["licence"],
        spans,
    )


def _first(row: dict, fields: tuple[str, ...]) -> str:
    values = (str(row[f]).strip() for f in fields if row.get(f) is not None)
    return next((value for value in values if value), "").encode("utf-8", "replace").decode()


def _texts(name: str, content, arguments: dict) -> Iterator[Found | Broken]:
    """The documents of a text file: all of it, its paragraphs between blank lines, or its lines."""
    most = arguments["document_mb"] * 1_000_000
    source = source_of(name) if arguments["source_from_folders"] else ""
    facts = {
        "source": source or arguments["source"],
        "language": arguments["language"] or language_of(name),
        "licence": arguments["licence"],
    }
    for number, raw in _pieces(content, arguments["split"], most):
        where = name if arguments["split"] == "document" else f"{name}:{number}"
        if raw is None:
            yield Broken(where, "too_large", "longer than --document-mb; raise it, or give --split")
            continue
        try:
            text = raw.decode("utf-8-sig" if arguments["encoding"] == "utf-8" else arguments["encoding"])
        except UnicodeDecodeError as error:
            yield Broken(
                where,
                "broken_encoding",
                f"not {arguments['encoding']} ({error.reason}, byte {error.start}); --encoding names another",
            )
            continue
        place = name if arguments["split"] == "document" else f"{name}#{number}"
        yield Found(text, place, place, spans=None, **facts)


def _pieces(content, split: str, most: int) -> Iterator[tuple[int, bytes | None]]:
    """(line from 1 at which it begins, piece); None for one longer than most bytes."""
    if split == "document":
        raw = content.read(most + 1)
        yield 1, raw if len(raw) <= most else None
        return
    if split == "lines":
        yield from ((number, line) for number, line in _lines(content, most) if line is None or line.strip())
        return
    waiting, size, first = [], 0, 1
    for number, line in _lines(content, most):
        if line is not None and not line.strip():
            if size:
                yield first, b"".join(waiting) if size <= most else None
            waiting, size = [], 0
            continue
        first = first if size else number
        size += most + 1 if line is None else len(line)
        if size <= most:
            waiting.append(line)
    if size:
        yield first, b"".join(waiting) if size <= most else None
