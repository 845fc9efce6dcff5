"""The files of other corpora, and the units of work they are read in: JSON lines, text files, parquet, zips.

A unit is some row groups of a parquet file, or other files together up to --unit-mb; of a zip likewise its members,
read where they lie (existing_documents.py). Example:

    python -c "import existing_files as e; from pathlib import Path;
    print(e.plan_units(e.find_sources([Path('a.zip')]), 1 << 28, 'text'))"
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from filtering.filter_unit import is_text
from readers.document_files import InputFile, files_below, open_parquet
from readers.zip_members import members_of
from run_record import InputError

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
            raise InputError(f"{path} is empty; it holds no files of {', '.join(SUFFIXES)}")
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
        raise InputError(f"{file.name}: column {text_column!r} is no text; name the right one with --text-column")
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
