"""Read folders of documents, parquet or JSON lines (plain, .gz, .zst), as a stream of Arrow record batches.

Every column is kept as it came. JSON lines are read twice: once for the columns' types (a column of mixed or nested
values becomes JSON text), once for the rows, so that memory stays bounded. Example:

    python -c "import document_files as d; print(sum(b.num_rows for b in d.read_batches(d.Path('en.parquet'))))"
"""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from corpus_record import InputError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
BATCH_ROWS = 1000
OWN_LISTS = ("failures.jsonl", "removed.jsonl")  # what this stage writes beside documents


def list_document_files(source: Path) -> list[Path]:
    """The document files of a folder (or the one file given), sorted; InputError where there are none."""
    if source.is_file():
        if not source.name.endswith(SUFFIXES):
            raise InputError(f"{source} is none of {', '.join(SUFFIXES)}")
        return [source]
    if not source.is_dir():
        raise InputError(f"{source} does not exist; give a file or a folder of {', '.join(SUFFIXES)}")
    found = sorted(p for p in source.rglob("*")
                   if p.is_file() and p.name.endswith(SUFFIXES) and p.name not in OWN_LISTS)
    if not found:
        raise InputError(f"{source} holds no documents; expected files ending in {', '.join(SUFFIXES)}")
    return found


def document_stem(path: Path) -> str:
    """A document file's name without its (double) suffix: `en.jsonl.gz` -> `en`."""
    return next(path.name[: -len(suffix)] for suffix in sorted(SUFFIXES, key=len, reverse=True)
                if path.name.endswith(suffix))


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
    except (OSError, EOFError, UnicodeDecodeError, pyarrow.ArrowException, _zstd_error()) as error:
        raise InputError(f"{path}: damaged or cut short ({' '.join(str(error).split())[:200]})") from None


def _open_parquet(path: Path):
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: not a whole parquet file ({' '.join(str(error).split())[:200]})") from None


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

    columns: dict[str, set[type]] = {}
    for row in _rows(path, report):
        for name, value in row.items():
            if value is not None:
                columns.setdefault(name, set()).add(type(value))
            else:
                columns.setdefault(name, set())
    types = {name: _arrow_type(found) for name, found in columns.items()}
    schema = pyarrow.schema(list(types.items()))
    waiting: list[dict] = []
    for row in _rows(path, lambda reason: None):
        waiting.append({name: _fit(row.get(name), types[name]) for name in types})
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


def _arrow_type(found: set[type]):
    import pyarrow

    if found == {bool}:
        return pyarrow.bool_()
    if found == {int}:
        return pyarrow.int64()  # larger integers than fit are refused by Arrow, which names the value
    if found and found <= {int, float}:
        return pyarrow.float64()
    return pyarrow.string()


def _fit(value, arrow_type):
    """A JSON value as the column's type wants it: text columns hold numbers, lists and objects as JSON."""
    if value is None or str(arrow_type) != "string":
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace").decode("utf-8")  # JSON can hold halves of a character, Arrow cannot
