"""Documents in files of other corpora: JSON lines, parquet rows, texts, and members of zip archives.

Nothing is held but one document (at most --document-mb) and one batch of rows. What cannot be read is a `Broken` with
its file and line, row or member. Example:

    python data_collection/existing_corpora.py data_collection/sample/existing --out data/existing
"""

import gzip
import io
import json
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from filtering.filter_unit import is_text
from readers.corpus_format import LOSS_SPANS, SOURCES
from readers.document_files import BATCH_ROWS, InputFile, file_errors, files_below, open_parquet
from run_record import InputError
from web.collected_documents import Broken, Found, LeftOut, language_of, language_of_tag, source_of

MAX_RATIO = 200  # bytes read of one stored; text is packed to a third or a tenth, deflate can go up to 1032
RATIO_COUNTS_FROM = 10_000_000  # bytes: below this a member is harmless at any compression ratio


def members_of(path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive, by name. Errors: InputError for one that is damaged or means harm."""
    with open_zip(path) as archive:
        members = sorted((m for m in archive.infolist() if not m.is_dir()), key=lambda m: m.filename)
        compressed = sum(member.compress_size for member in members)
    seen: set[str] = set()
    for member in members:
        name = member.orig_filename  # zipfile's filename is cut at a zero byte
        if (
            name.startswith("/")
            or "\\" in name
            or ":" in name.split("/")[0]
            or "\x00" in name
            or any(part in ("..", "") for part in name.split("/"))
        ):
            raise InputError(
                f"{path}: its member {name!r} has a path that leaves the archive's folder; refused whole: "
                "look at where it came from"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path}: its member {name!r} is a link; refused whole: pack the files themselves")
        if name in seen:
            raise InputError(f"{path}: two members are called {name!r}; pack it again with one of them")
        seen.add(name)
        if member.file_size > max(RATIO_COUNTS_FROM, MAX_RATIO * member.compress_size):
            raise InputError(
                f"{path}: its member {name!r} says that {member.compress_size} bytes become "
                f"{member.file_size}: a zip bomb, or no text; refused whole"
            )
    if compressed > path.stat().st_size:
        raise InputError(
            f"{path}: its members share their bytes (they say {compressed} together, the file has "
            f"{path.stat().st_size}): a zip bomb; refused whole"
        )
    return members


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The open archive.

    Errors: InputError for a file that is not a whole zip, or a zip of a version that zipfile does not read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError(f"{path}: not a whole zip ({error}); download or pack it again") from None
    with archive:
        yield archive


LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
SUFFIXES = (*LINES, ".txt", ".parquet", ".zip")
FILE_BYTES_AT_LEAST = 1000


class ExistingUnit(NamedTuple):
    """Files of one kind; of a zip its members; of parquet one file's row groups [first, last)."""

    place: str  # of a zip the archive, else ""
    files: tuple[InputFile, ...]  # name: `<input>/<path below it>`; place: a path, or a member's name
    first: int
    last: int


def find_sources(inputs: list[Path]) -> list[InputFile]:
    """The files of all inputs, each named by its input's own name first. Errors: InputError for an empty input."""
    found = []
    names = [path.resolve().name for path in inputs]
    for path, name in zip(inputs, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"two inputs are called {name}; rename one, so that origins tell them apart")
        if not path.exists():
            raise InputError(f"{path} does not exist; give files or folders of {', '.join(SUFFIXES)}")
        below = sorted(files_below(path)) if path.is_dir() else [path]
        if not below:
            raise InputError(f"{path} is empty; it contains no files of {', '.join(SUFFIXES)}")
        for file in below:
            if not file.is_file():
                raise InputError(f"{file} is a link to nothing, or no file; remove it")
            inner = f"{name}/{file.relative_to(path).as_posix()}" if path.is_dir() else name
            found.append(InputFile(inner.encode("utf-8", "replace").decode(), str(file), file.stat().st_size))
    if not any(file.name.endswith(SUFFIXES) for file in found):
        raise InputError(f"{', '.join(map(str, inputs))}: no documents; expected files ending in {', '.join(SUFFIXES)}")
    return found


def plan_units(files: list[InputFile], unit_bytes: int, text_column: str) -> list[ExistingUnit]:
    """The units of all files, in order. Errors: InputError for zips that are refused and columns that are missing."""
    units: list[ExistingUnit] = []
    others = []
    for file in files:
        if file.name.endswith(".zip"):
            members = [
                InputFile(f"{file.name}/{m.filename}", m.filename, m.file_size) for m in members_of(Path(file.place))
            ]
            if not members:
                members = [InputFile(file.name, "", 0)]  # named when its turn comes
            units += _together(members, unit_bytes, file.place)
        elif file.name.endswith(".parquet") and file.size:
            units += _row_groups(file, unit_bytes, text_column)
        else:
            others.append(file)
    return units + _together(others, unit_bytes, "")


def _together(files: Iterable[InputFile], unit_bytes: int, place: str) -> list[ExistingUnit]:
    units, waiting, size = [], [], 0
    for file in files:
        waiting.append(file)
        size += max(FILE_BYTES_AT_LEAST, file.size)
        if size >= unit_bytes:
            units.append(ExistingUnit(place, tuple(waiting), 0, 0))
            waiting, size = [], 0
    return [*units, ExistingUnit(place, tuple(waiting), 0, 0)] if waiting else units


def _row_groups(file: InputFile, unit_bytes: int, text_column: str) -> list[ExistingUnit]:
    try:
        parquet = open_parquet(file)
    except InputError:
        return [ExistingUnit("", (file,), 0, 0)]  # listed when its turn comes
    if text_column not in parquet.schema_arrow.names:
        raise InputError(
            f"{file.name}: no column {text_column!r}; it has {', '.join(parquet.schema_arrow.names)}; "
            "name the right one with --text-column"
        )
    if parquet.schema_arrow.names.count(text_column) > 1:
        raise InputError(
            f"{file.name}: {parquet.schema_arrow.names.count(text_column)} columns are called "
            f"{text_column!r}; rename all but one"
        )
    if not is_text(parquet.schema_arrow.field(text_column).type):
        raise InputError(f"{file.name}: column {text_column!r} is not text; name the right one with --text-column")
    units, first, size = [], 0, 0
    for group in range(parquet.num_row_groups):
        size += parquet.metadata.row_group(group).total_byte_size
        if size >= unit_bytes or group == parquet.num_row_groups - 1:
            units.append(ExistingUnit("", (file,), first, group + 1))
            first, size = group + 1, 0
    return units or [ExistingUnit("", (file,), 0, 0)]


def describe(unit: ExistingUnit) -> str:
    name = unit.files[0].name
    if len(unit.files) > 1:
        return f"{name} and {len(unit.files) - 1} more"
    return f"{name} row groups {unit.first} to {unit.last - 1}" if unit.last else name


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
                yield Broken(file.name, "no_documents", "contains no documents: empty")


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
            return Broken(where, "wrong_loss_spans", f"{LOSS_SPANS} is not a list of [start, end) pairs")
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
