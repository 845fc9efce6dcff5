"""Read the finished outputs of `filter.py` and `ocr.py` as one stream of corpus records (see FORMAT.md)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from corpus_format import LOSS_SPANS, SOURCES, span_problem
from corpus_record import InputError, read_json, sha256_of_file
from document_files import read_batches
from exact_duplicates import document_id

FILTER, OCR = "data_collection/filter.py", "data_collection/ocr.py"
KEPT = re.compile(r"^[a-z]{2}/part-\d+\.parquet$")
ORIGIN_COLUMNS = ("origin", "url", "source", "id")  # the first that has a value says where a document came from
LICENCE_COLUMNS = ("licence", "license")


def open_input(folder: Path) -> dict:
    """The manifest of a finished folder, its files checked. Errors: InputError for anything half-made or altered."""
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give folders made by filter.py or ocr.py")
    if not path.exists():
        raise InputError(f"{folder} has no manifest.json: it is half-made; run filter.py or ocr.py to its end first")
    manifest = read_json(path)
    if manifest.get("stage") not in (FILTER, OCR):
        raise InputError(f"{path}: made by {manifest.get('stage')!r}; expected {FILTER} or {OCR}")
    for name, facts in manifest.get("files", {}).items():
        file = folder / name
        if not file.exists():
            raise InputError(f"{file} is named in the manifest but missing; make {folder} again")
        if file.stat().st_size != facts["bytes"] or sha256_of_file(file) != facts["sha256"]:
            raise InputError(f"{file} is not the file its manifest describes; make {folder} again")
    return manifest


def input_files(folder: Path, manifest: dict) -> list[Path]:
    """The files of a finished folder that hold documents for the corpus."""
    if manifest["stage"] == OCR:
        return [folder / "documents.jsonl"]
    return [folder / name for name in sorted(manifest["files"]) if KEPT.match(name)]


def read_records(folder: Path, manifest: dict, licence: str) -> Iterator[dict]:
    """Yield corpus records. licence: for documents that carry none of their own."""
    if manifest["stage"] == OCR:
        with open(folder / "documents.jsonl", encoding="utf-8") as lines:
            for line in lines:
                document = json.loads(line)
                yield _record(document["text"], document["language"], "textbook", document["origin"], licence)
        return
    arguments = manifest["arguments"]
    for path in input_files(folder, manifest):
        row_number = 0
        for batch in read_batches(path):
            for row in batch.to_pylist():
                row_number += 1
                source = row.get("source") if row.get("source") in SOURCES else arguments["source"]
                origin = _first(row, ORIGIN_COLUMNS, SOURCES) or f"{path.relative_to(folder).as_posix()}#{row_number}"
                record = _record(row[arguments["text_column"]], row["language"], source, origin,
                                 _first(row, LICENCE_COLUMNS) or licence, row["distinct_keywords"],
                                 min(1.0, row["density"]))  # nested keywords of the published rule count each
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


def _record(text: str, language: str, source: str, origin: str, licence: str,
            distinct: int | None = None, density: float | None = None) -> dict:
    return {"id": document_id(text), "text": text, "language": language, "source": source, "origin": origin,
            "licence": licence, "distinct_keywords": distinct, "density": density}
