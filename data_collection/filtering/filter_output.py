"""The output of filter.py: parquet files of one unit, sums over units, and a finished output as input (--from-scores).

Rows are collected into row groups of a few MB, independent of the batches in which they arrive. The column types of
JSON lines are known only at the end, so their rows are first written to a temporary file.
"""

import hashlib
import json
import os
from pathlib import Path

from filtering.filter_document import REASONS
from readers.document_chunks import ROW_JSON, readable_strings
from readers.document_files import InputFile, JsonTypes
from run_record import InputError, read_json, sha256_of_file

STAGE = "data_collection/filter.py"
FORMAT_VERSION = 2
ROW_GROUP_BYTES = 8_000_000
ROW_GROUP_ROWS = 50_000
ROW_ID = "_row_id"  # temporary column: the id for a document that has none
# Columns that the filter adds; they replace an input's columns of these names.
ADDED = ("distinct_keywords", "density", "characters", "rule", "language", "detected_language", "detected_probability")
ADDED += ("reason",)


class Outputs:
    """The parquet files of one unit, opened when first needed. `close` returns their sizes and checksums."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: dict[str, _ParquetFile] = {}

    def add(self, name: str, table) -> None:
        """name: for example en or rejected/en. The tables of one name have the same columns."""
        if name not in self.files:
            self.files[name] = _ParquetFile(self.folder / f"{name}.parquet", ROW_JSON in table.column_names)
        self.files[name].add(table)

    def close(self) -> dict[str, dict]:
        """{name: {"rows", "bytes", "sha256"}}; every file is flushed to disk."""
        result = {}
        for name, file in sorted(self.files.items()):
            file.close()
            with open(file.path, "rb+") as written:
                os.fsync(written.fileno())
            result[name] = {"rows": file.rows, "bytes": file.path.stat().st_size, "sha256": sha256_of_file(file.path)}
        return result


class _ParquetFile:
    def __init__(self, path: Path, json_rows: bool):
        self.path, self.json_rows = path, json_rows
        self.target = path.with_suffix(".rows") if json_rows else path
        self.waiting: list = []
        self.waiting_bytes = self.waiting_rows = self.rows = 0
        self.writer = None

    def add(self, table) -> None:
        self.waiting.append(table)
        self.waiting_bytes += table.nbytes
        self.waiting_rows += table.num_rows
        if self.waiting_bytes >= ROW_GROUP_BYTES or self.waiting_rows >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if not self.waiting:
            return
        table = pyarrow.concat_tables(self.waiting)
        if self.writer is None:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.writer = pyarrow.parquet.ParquetWriter(self.target, table.schema, compression="zstd")
        self.writer.write_table(table)
        self.rows += table.num_rows
        self.waiting, self.waiting_bytes, self.waiting_rows = [], 0, 0

    def close(self) -> None:
        self._flush()
        if self.writer is not None:
            self.writer.close()
        if self.json_rows:
            unpack_json_rows(self.target, self.path)
            self.target.unlink()


def unpack_json_rows(rows: Path, target: Path) -> None:
    """Write `target` from a parquet file whose column ROW_JSON contains the other fields of JSON lines."""
    import pyarrow
    import pyarrow.parquet

    types = JsonTypes()
    source = pyarrow.parquet.ParquetFile(rows)
    for batch in source.iter_batches(1000, columns=[ROW_JSON, ROW_ID]):
        for row in _json_rows(batch):
            types.add(row)
    schema = types.schema()
    writer = None
    for group in range(source.num_row_groups):
        pieces = []
        for batch in source.iter_batches(1000, [group]):
            fitted = [types.fit(row) for row in _json_rows(batch)]
            others = pyarrow.RecordBatch.from_pylist(fitted, schema=schema)
            own = pyarrow.Table.from_batches([batch]).drop_columns([ROW_JSON, ROW_ID])
            pieces.append(joined(own, pyarrow.Table.from_batches([others])))
        table = pyarrow.concat_tables(pieces)
        writer = writer or pyarrow.parquet.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()


def _json_rows(batch) -> list[dict]:
    """The other fields of the rows, each with an id, without the columns that the filter adds."""
    rows = []
    for text, own in zip(batch.column(ROW_JSON).to_pylist(), batch.column(ROW_ID).to_pylist(), strict=True):
        row = {name: value for name, value in json.loads(text).items() if name not in ADDED}
        if row.get("id") is None or not str(row["id"]).strip():
            row["id"] = own
        rows.append(row)
    return rows


def joined(own, others):
    """One table of the filter's columns and the input's: text, then the input's columns, then the added ones."""
    names = own.column_names
    table = own.select(names[:1])
    columns = [(others, name) for name in others.column_names if name not in names]
    for source, name in columns + [(own, name) for name in names[1:]]:
        table = table.append_column(name, source.column(name))
    return table


def has_loss_spans(others, rows: int) -> list[bool]:
    """Which rows refer to characters of their text by `loss_spans`, so that the text must not change."""
    if others is None or not {"loss_spans", ROW_JSON} & set(others.column_names):
        return [False] * rows
    if ROW_JSON in others.column_names:
        return [json.loads(text).get("loss_spans") is not None for text in others.column(ROW_JSON).to_pylist()]
    return others.column("loss_spans").is_valid().to_pylist()


def with_ids(others, ids, as_text: bool):
    """The input's columns with an id in every row, the row's own if it has one. as_text: write the column as text."""
    import pyarrow
    import pyarrow.compute as pc

    own = pyarrow.array(ids, pyarrow.string())
    if others is None:
        return pyarrow.table({"id": own})
    if ROW_JSON in others.column_names:
        return others.append_column(ROW_ID, own)
    if "id" not in others.column_names:
        return others.append_column("id", own)
    if not as_text:
        return others
    given = readable_strings(others.column("id"))
    blank = pc.or_kleene(pc.is_null(given), pc.equal(pc.utf8_trim_whitespace(given), ""))
    filled = pc.if_else(blank, own, given)
    return others.set_column(others.column_names.index("id"), "id", filled)


def add_counts(units: list[dict]) -> dict:
    """{language: {reason: documents, ..., read, kept_characters}} over all units."""
    total: dict[str, dict] = {}
    for unit in units:
        for language, counts in unit["counts"].items():
            _add(total.setdefault(language, dict.fromkeys((*REASONS, "read", "kept_characters"), 0)), counts)
    return dict(sorted(total.items()))


def add_cleaning(units: list[dict]) -> dict:
    """{language: {cleaning step: {documents, changes}}} of the kept documents of all units."""
    total: dict[str, dict] = {}
    for unit in units:
        for language, steps in unit["cleaning"].items():
            for step, counts in steps.items():
                _add(total.setdefault(language, {}).setdefault(step, {"documents": 0, "changes": 0}), counts)
    return {language: dict(sorted(steps.items())) for language, steps in sorted(total.items())}


def _add(row: dict[str, int], counts: dict[str, int]) -> None:
    for key, value in counts.items():
        row[key] += value


def count_repeated_ids(out: Path, files: dict[str, dict]) -> dict[str, int]:
    """{language: kept documents with the id of an earlier one}, if any; takes 8 bytes of memory per id."""
    import numpy as np
    import pyarrow.parquet

    digests: dict[str, list] = {}
    for name in files:
        folder, _, rest = name.partition("/")
        if len(folder) != 2 or "/" in rest:
            continue
        for batch in pyarrow.parquet.ParquetFile(out / name).iter_batches(columns=["id"]):
            ids = readable_strings(batch.column(0)).to_pylist()
            numbers = [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest()) for i in ids]
            digests.setdefault(folder, []).append(np.array(numbers, np.uint64))
    repeated = {}
    for language, pieces in digests.items():
        numbers = np.concatenate(pieces)
        if more := len(numbers) - len(np.unique(numbers)):
            repeated[language] = more
    return repeated


def report(manifest: dict) -> int:
    """Print documents per language and reason; returns the exit code."""
    reasons = [r for r in REASONS if r == "kept" or any(row.get(r) for row in manifest["counts"].values())]
    print("language       read " + " ".join(f"{reason:>16}" for reason in reasons))
    for language, row in manifest["counts"].items():
        print(f"{language:<8} {row['read']:>10} " + " ".join(f"{row[reason]:>16}" for reason in reasons))
    for language, steps in manifest["cleaning"].items():
        changes = [f"{step} {row['changes']} in {row['documents']} documents" for step, row in steps.items()]
        print(f"cleaned {language}: {', '.join(changes)}")
    if manifest["relabelled"]:
        print(f"{manifest['relabelled']} documents are counted under another language than declared")
    if not manifest["counts"]:
        print("note: the input contains no documents")
    for language, count in manifest["repeated_ids"].items():
        print(f"note: {count} kept documents of {language} have the id of another document")
    if manifest["failures"]:
        print(f"{manifest['failures']} inputs or lines could not be read; see failures.jsonl")
        return 3
    return 0


def scored_files(folder: Path, rule: str, thresholds: dict[str, tuple[int, float]]) -> list[InputFile]:
    """The files of documents in a finished output: kept, in another language, rejected.

    Errors: InputError if the output is not finished, used another rule, or may lack documents that these thresholds
    keep.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise InputError(f"--from-scores: {folder} has no manifest.json; expected a finished output of filter.py")
    manifest = read_json(path)
    if manifest.get("stage") != STAGE or manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"--from-scores: {path} is of {manifest.get('stage')!r}, format_version "
            f"{manifest.get('format_version')!r}; expected {STAGE!r}, {FORMAT_VERSION}"
        )
    if manifest["arguments"]["rule"] != rule:
        raise InputError(
            f"--from-scores: {folder} was scored by the rule {manifest['arguments']['rule']!r}; "
            f"give --rule {manifest['arguments']['rule']}"
        )
    if not manifest["arguments"]["keep_rejected"]:
        for language in manifest["counts"]:
            before, now = manifest["inputs"]["thresholds"].get(language), thresholds.get(language)
            if now is not None and (now[0] < before[0] or now[1] < before[1]):
                raise InputError(
                    f"--from-scores: the thresholds of {language}, {now[0]} keywords and {now[1]}, are looser than "
                    f"those of {folder}, {before[0]} and {before[1]}, whose rejected documents were not kept; "
                    "filter the original text again, with --keep-rejected"
                )
    names = [name for name in manifest["files"] if name.endswith(".parquet") and not name.startswith("scores/")]
    if not names:
        raise InputError(f"--from-scores: {folder} contains no documents")
    if missing := [name for name in names if not (folder / name).exists()]:
        raise InputError(f"--from-scores: {folder / missing[0]} is missing; write {folder} again")
    return [InputFile(name, str(folder / name), (folder / name).stat().st_size) for name in sorted(names)]
