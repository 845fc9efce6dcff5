"""Read finished folders of documents as corpus records (FORMAT.md), completely or by units of work.

A finished folder is an output of `filter.py`, `ocr.py`, `websites.py` or `existing_corpora.py`, or a corpus made by
`build_corpus.py`. A unit is some row groups of a parquet file, or some bytes of a file of JSON lines: what one step of
`deduplicate.py` and `decontaminate.py` reads, so that the work can be shared and resumed.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from readers.corpus_format import LOSS_SPANS, SHARD_NAME, SOURCES, document_id, span_problem
from readers.document_files import BATCH_ROWS, InputFile, file_errors, open_parquet
from run_record import InputError, read_json, sha256_of_file

FILTER, OCR = "data_collection/filter.py", "data_collection/ocr.py"
WEBSITES, EXISTING = "data_collection/websites.py", "data_collection/existing_corpora.py"
CORPUS = "data_collection/build_corpus.py"
STAGES = (FILTER, OCR, WEBSITES, EXISTING, CORPUS)
MAKERS = ", ".join(Path(stage).name for stage in STAGES)
KEPT = re.compile(r"^[a-z]{2}/part-\d+\.parquet$")
UNIT_BYTES = 256_000_000  # of text in one unit, about
ORIGIN_COLUMNS = ("origin", "url", "source", "id")  # the first that has a value says where a document came from
LICENCE_COLUMNS = ("licence", "license")


class Unit(NamedTuple):
    """A part of one file of a finished folder: row groups [first, last) of parquet, bytes [first, last) of JSON lines.

    A line belongs to the unit in which it begins.
    """

    folder: Path
    file: str  # its path below the folder
    first: int
    last: int


def open_input(folder: Path) -> dict:
    """The manifest of a finished folder, its files checked. Errors: InputError for anything incomplete or altered."""
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give folders made by {MAKERS}")
    if not path.exists():
        raise InputError(
            f"{folder} has no manifest.json: it is incomplete; first finish the command that writes it ({MAKERS})"
        )
    manifest = read_json(path)
    if manifest.get("stage") not in STAGES:
        raise InputError(f"{path}: made by {manifest.get('stage')!r}; expected one of {', '.join(STAGES)}")
    for name, facts in manifest.get("files", {}).items():
        file = folder / name
        if not file.exists():
            raise InputError(f"{file} is named in the manifest but missing; make {folder} again")
        if file.stat().st_size != facts["bytes"] or sha256_of_file(file) != facts["sha256"]:
            raise InputError(f"{file} is not the file its manifest describes; make {folder} again")
    return manifest


def input_files(folder: Path, manifest: dict) -> list[Path]:
    """The files of a finished folder that contain documents for the corpus."""
    if manifest["stage"] == OCR:
        return [folder / "documents.jsonl"]
    name_of = SHARD_NAME if manifest["stage"] == CORPUS else KEPT
    return [folder / name for name in sorted(manifest["files"]) if name_of.match(name)]


def units_of(manifests: dict[Path, dict], unit_bytes: int = UNIT_BYTES) -> list[Unit]:
    """All documents of finished folders cut into units of about unit_bytes of text, in the folders' order."""
    units = []
    for folder, manifest in manifests.items():
        for path in input_files(folder, manifest):
            name = path.relative_to(folder).as_posix()
            if path.suffix == ".jsonl":
                sizes = [min(unit_bytes, path.stat().st_size - at) for at in range(0, path.stat().st_size, unit_bytes)]
            else:
                facts = open_parquet(InputFile(str(path), str(path), 0)).metadata
                sizes = [facts.row_group(group).total_byte_size for group in range(facts.num_row_groups)]
            first = last = size = 0
            for place, more in enumerate(sizes):
                size += more
                last += more if path.suffix == ".jsonl" else 1
                if size >= unit_bytes or place == len(sizes) - 1:
                    units.append(Unit(folder, name, first, last))
                    first, size = last, 0
    return units


def read_unit(unit: Unit, manifest: dict, licence: str = "unknown") -> Iterator[dict]:
    """Yield the corpus records of one unit. licence: for documents that carry none of their own."""
    if unit.file.endswith(".jsonl"):
        yield from _read_books(unit, licence)
    else:
        yield from _read_rows(unit, manifest, licence)


def read_records(folder: Path, manifest: dict, licence: str) -> Iterator[dict]:
    """Yield the corpus records of a finished folder. licence: for documents that carry none of their own."""
    for unit in units_of({folder: manifest}):
        yield from read_unit(unit, manifest, licence)


def _read_books(unit: Unit, licence: str) -> Iterator[dict]:
    with open(unit.folder / unit.file, "rb") as lines:
        if unit.first:
            lines.seek(unit.first - 1)
            lines.readline()  # the rest of a line of the unit before, or that line's end
        while lines.tell() < unit.last and (line := lines.readline()):
            document = json.loads(line)
            yield _record(
                document["text"],
                document["language"],
                "textbook",
                document["origin"],
                document.get("licence") or licence,
            )


def _read_rows(unit: Unit, manifest: dict, licence: str) -> Iterator[dict]:
    path = unit.folder / unit.file
    text_column = manifest["arguments"]["text_column"] if manifest["stage"] == FILTER else "text"
    usual_source = manifest["arguments"].get("source")
    parquet = open_parquet(InputFile(str(path), str(path), 0))
    row_number = sum(parquet.metadata.row_group(group).num_rows for group in range(unit.first))
    # The filter keeps every column of the web's: what is in the others costs nothing and can break nothing.
    wanted = (
        text_column,
        "language",
        "source",
        "distinct_keywords",
        "density",
        LOSS_SPANS,
        *ORIGIN_COLUMNS,
        *LICENCE_COLUMNS,
    )
    columns = [name for name in parquet.schema_arrow.names if name in wanted]
    with file_errors(str(path)):
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=list(range(unit.first, unit.last)), columns=columns):
            for row in batch.to_pylist():
                row_number += 1
                source = row.get("source") if row.get("source") in SOURCES else usual_source
                origin = _first(row, ORIGIN_COLUMNS, SOURCES) or f"{unit.file}#{row_number}"
                density = row.get("density")
                record = _record(
                    row[text_column],
                    row["language"],
                    source,
                    origin,
                    _first(row, LICENCE_COLUMNS) or licence,
                    row.get("distinct_keywords"),
                    None if density is None else min(1.0, density),
                )  # published: nested ones count each
                yield record | _loss_spans(row.get(LOSS_SPANS), record["text"], f"{path} row {row_number - 1}")


def _first(row: dict, columns: tuple[str, ...], but_not: tuple[str, ...] = ()) -> str:
    """The first filled one of several columns, as text."""
    values = (str(row[c]).strip() for c in columns if row.get(c) is not None)
    return next((v for v in values if v and v not in but_not), "")


def _loss_spans(spans, text: str, where: str) -> dict:
    """{"loss_spans": [[start, end], ...]} of a document that has them. Errors: InputError for spans that are none."""
    if spans is None:
        return {}
    if isinstance(spans, str):  # as the filter writes nested values of JSON lines
        try:
            spans = json.loads(spans)
        except json.JSONDecodeError:
            raise InputError(f"{where}: {LOSS_SPANS} is {spans[:100]!r}, not a list of [start, end) pairs") from None
    if wrong := span_problem(spans, text):
        raise InputError(f"{where}: {LOSS_SPANS} {wrong}; FORMAT.md says what it holds")
    return {LOSS_SPANS: spans}


def _record(
    text: str,
    language: str,
    source: str,
    origin: str,
    licence: str,
    distinct: int | None = None,
    density: float | None = None,
) -> dict:
    return {
        "id": document_id(text),
        "text": text,
        "language": language,
        "source": source,
        "origin": origin,
        "licence": licence,
        "distinct_keywords": distinct,
        "density": density,
    }
