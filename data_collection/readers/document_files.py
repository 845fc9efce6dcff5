"""Find and open files of documents: parquet, JSON lines (plain, .gz, .zst), text files; here or on the hub.

`read_batches` streams a whole parquet or JSON lines file with every column as it came. JSON lines are read twice: once
for the columns' types (a column of mixed or nested values becomes JSON text), once for the rows, so that memory stays
bounded. (`filter.py` reads less than everything: document_chunks.py.) Example:

    python -c "import document_files as d; print(sum(b.num_rows for b in d.read_batches(d.Path('en.parquet'))))"
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from run_record import InputError

TABLES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
SUFFIXES = (*TABLES, ".txt")
HUB_SUFFIXES = (*TABLES, ".json", ".json.gz", ".json.zst")  # of .json files on the hub each line is a document
BATCH_ROWS = 1000
# What this stage writes beside documents.
OWN_LISTS = ("failures.jsonl", "removed.jsonl", "left_out.jsonl", "cut.jsonl")
END_BYTES = 65_536


class InputFile(NamedTuple):
    """One file of documents."""

    name: str  # its path below the input folder
    place: str  # where to open it: a path, or an address on the hub (https://...)
    size: int  # bytes

    @property
    def on_hub(self) -> bool:
        return "://" in self.place


def list_document_files(source: Path, suffixes: tuple[str, ...] = TABLES) -> list[Path]:
    """The document files of a folder (or the one file given), sorted; InputError where there are none."""
    if source.is_file():
        if not source.name.endswith(suffixes):
            raise InputError(f"{source} is none of {', '.join(suffixes)}")
        return [source]
    if not source.is_dir():
        raise InputError(f"{source} does not exist; give a file or a folder of {', '.join(suffixes)}")
    found = sorted(p for p in files_below(source) if p.name.endswith(suffixes) and p.name not in OWN_LISTS)
    if not found:
        raise InputError(f"{source} holds no documents; expected files ending in {', '.join(suffixes)}")
    for path in found:
        if not path.is_file():
            raise InputError(f"{path} is a link to nothing, or no file; remove it")
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"{str(path)!a}: a name that is no UTF-8; rename the file or its folder") from None
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, those in linked folders too. Errors: InputError for a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); it, or what it links to, is in the way")

    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        for name in folders:
            link = Path(here, name)
            if link.is_symlink() and link.resolve() in (Path(here).resolve(), *Path(here).resolve().parents):
                raise InputError(f"{link} links to a folder that it lies in; remove it")
        yield from (Path(here, name) for name in names)


def input_files(source: Path) -> list[InputFile]:
    """The document files of a folder, or the one file given, text files too. Errors: see `list_document_files`."""
    root = source if source.is_dir() else source.parent
    return [
        InputFile(path.relative_to(root).as_posix(), str(path), path.stat().st_size)
        for path in list_document_files(source, SUFFIXES)
    ]


def is_json_lines(name: str) -> bool:
    return name.endswith(HUB_SUFFIXES) and not name.endswith(".parquet")


def document_stem(path: Path) -> str:
    """A document file's name without its (double) suffix: `en.jsonl.gz` -> `en`."""
    return next(
        (
            path.name[: -len(suffix)]
            for suffix in sorted({*SUFFIXES, *HUB_SUFFIXES}, key=len, reverse=True)
            if path.name.endswith(suffix)
        ),
        path.name,
    )


def fingerprint(file: InputFile) -> dict:
    """{bytes, sha256_of_ends}: what tells one input from another before it is read, in a moment whatever its size.

    The ends are the first and the last 64 KiB; a parquet file's end tells the place and size of all it holds.
    """
    digest = hashlib.sha256()
    try:
        with open(file.place, "rb") as content:
            digest.update(content.read(END_BYTES))
            content.seek(max(0, file.size - END_BYTES))
            digest.update(content.read(END_BYTES))
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read ({error.strerror}); make it readable or take it away") from None
    return {"bytes": file.size, "sha256_of_ends": digest.hexdigest()}


@contextlib.contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Errors of reading a file become an InputError that names it."""
    import pyarrow

    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pyarrow.ArrowException, _zstd_error()) as error:
        raise InputError(f"{name}: damaged or cut short ({' '.join(str(error).split())[:200]})") from None


def open_bytes(file: InputFile, glance: bool = False) -> io.BufferedIOBase:
    if file.on_hub:
        from readers.hub_documents import HubReader

        return io.BufferedReader(HubReader(file.place, file.size, glance), 1 << 18)
    return open(file.place, "rb")


def open_parquet(file: InputFile, buffer_bytes: int = 0):
    """A pyarrow ParquetFile; with buffer_bytes columns are read in such pieces, not a whole row group's at once.

    Without, of a file on the hub the footer alone is wanted.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        source = file.place
        if file.on_hub:
            from readers.hub_documents import HubReader

            source = pyarrow.PythonFile(HubReader(file.place, file.size, glance=not buffer_bytes), "r")
        return pyarrow.parquet.ParquetFile(source, buffer_size=buffer_bytes, pre_buffer=False)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{file.name}: not a whole parquet file ({' '.join(str(error).split())[:200]})") from None


def column_names(path: Path) -> list[str]:
    """The file's columns, from the parquet footer or the first JSON line. Errors: InputError for an unreadable file."""
    if path.suffix == ".parquet":
        return _open_parquet(path).schema_arrow.names
    try:
        with _open_text(path) as lines:
            first = next((line for line in lines if line.strip()), "{}")
        row = json.loads(first)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError, _zstd_error()) as error:
        raise InputError(f"{path}:1: not readable as JSON lines ({error})") from None
    return list(row) if isinstance(row, dict) else []


def read_batches(path: Path, report: Callable[[str], None] = lambda reason: None) -> Iterator:
    """Yield pyarrow.RecordBatch of at most 1,000 rows.

    report: called with a sentence for every JSON line that is none (the line is left out, the rest is read).
    Errors: InputError for a file that is truncated or damaged; batches before the damage have been yielded.
    """
    import pyarrow

    try:
        if path.suffix == ".parquet":
            yield from _open_parquet(path).iter_batches(batch_size=BATCH_ROWS)
        else:
            yield from _read_json_lines(path, report)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pyarrow.ArrowException, _zstd_error()) as error:
        raise InputError(f"{path}: damaged or cut short ({' '.join(str(error).split())[:200]})") from None


def _open_parquet(path: Path):
    return open_parquet(InputFile(str(path), str(path), 0))


def _zstd_error() -> type[Exception]:
    import zstandard

    return zstandard.ZstdError


def _open_text(path: Path) -> io.TextIOBase:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    if path.name.endswith(".zst"):
        import zstandard

        return zstandard.open(path, "rt", encoding="utf-8", newline="\n")
    return open(path, encoding="utf-8", newline="\n")


def _read_json_lines(path: Path, report: Callable[[str], None]) -> Iterator:
    import pyarrow

    types = JsonTypes()
    for row in _rows(path, report):
        types.add(row)
    schema = types.schema()
    waiting: list[dict] = []
    for row in _rows(path, lambda reason: None):
        waiting.append(types.fit(row))
        if len(waiting) == BATCH_ROWS:
            yield pyarrow.RecordBatch.from_pylist(waiting, schema=schema)
            waiting = []
    if waiting:
        yield pyarrow.RecordBatch.from_pylist(waiting, schema=schema)


def _rows(path: Path, report: Callable[[str], None]) -> Iterator[dict]:
    with _open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                report(f"{path.name}:{number}: not JSON ({error})")
                continue
            if isinstance(row, dict):
                yield row
            else:
                report(f"{path.name}:{number}: not a JSON object")


class JsonTypes:
    """Arrow types for JSON rows: a column of mixed or nested values, or of integers over 64 bits, is JSON text."""

    def __init__(self) -> None:
        self.found: dict[str, set] = {}

    def add(self, row: dict) -> None:
        for name, value in row.items():
            kinds = self.found.setdefault(name, set())
            if value is not None:
                kinds.add("large" if type(value) is int and not -(2**63) <= value < 2**63 else type(value))

    def schema(self):
        import pyarrow

        arrow = {
            frozenset({bool}): pyarrow.bool_(),
            frozenset({int}): pyarrow.int64(),
            frozenset({float}): pyarrow.float64(),
            frozenset({int, float}): pyarrow.float64(),
        }
        return pyarrow.schema(
            [(name, arrow.get(frozenset(kinds), pyarrow.string())) for name, kinds in self.found.items()]
        )

    def fit(self, row: dict) -> dict:
        """A row with every column, its values as the types want them."""
        return {name: self._fit(row.get(name), kinds) for name, kinds in self.found.items()}

    @staticmethod
    def _fit(value, kinds: set):
        if value is None or kinds in ({bool}, {int}, {float}, {int, float}):
            return value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        return text.encode("utf-8", "replace").decode("utf-8")  # JSON can hold halves of a character, Arrow cannot
