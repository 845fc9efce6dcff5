"""Write the documents of one unit of work as parquet files: kept, other_language, rejected, scores.

Rows are gathered to row groups of a few MB, whatever the batches they come in. Of JSON lines the types of the columns
are known at the end only: their rows are laid aside on the disk, and written then.
"""

import json
import os
from pathlib import Path

from readers.document_chunks import ROW_JSON, readable_strings
from readers.document_files import JsonTypes
from run_record import sha256_of_file

ROW_GROUP_BYTES = 8_000_000
ROW_GROUP_ROWS = 50_000
ROW_ID = "_row_id"  # the id of a document that brings none, until the end
ADDED = (
    "distinct_keywords",
    "density",
    "characters",
    "rule",
    "language",
    "detected_language",
    "detected_probability",
    "reason",
)  # columns that the filter adds; an input's columns of these names give way


class Outputs:
    """The parquet files of one unit, opened when first needed. `close` tells their sizes and checksums."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: dict[str, _ParquetFile] = {}

    def add(self, name: str, table) -> None:
        """name: such as en or rejected/en. The tables of one name have the same columns."""
        if name not in self.files:
            self.files[name] = _ParquetFile(self.folder / f"{name}.parquet", ROW_JSON in table.column_names)
        self.files[name].add(table)

    def close(self) -> dict[str, dict]:
        """{name: {"rows", "bytes", "sha256"}}; every file is on the disk when this returns."""
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
    """Write `target` from a parquet file in which the column ROW_JSON holds what else a JSON line said."""
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
            pieces.append(
                joined(
                    pyarrow.Table.from_batches([batch]).drop_columns([ROW_JSON, ROW_ID]),
                    pyarrow.Table.from_batches([others]),
                )
            )
        table = pyarrow.concat_tables(pieces)
        writer = writer or pyarrow.parquet.ParquetWriter(target, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()


def _json_rows(batch) -> list[dict]:
    """The rows' other values, each with an id, without the columns that the filter adds itself."""
    rows = []
    for text, own in zip(batch.column(ROW_JSON).to_pylist(), batch.column(ROW_ID).to_pylist(), strict=True):
        row = {name: value for name, value in json.loads(text).items() if name not in ADDED}
        if row.get("id") is None or not str(row["id"]).strip():
            row["id"] = own
        rows.append(row)
    return rows


def joined(own, others):
    """One table of the filter's columns and the input's: text first, then the input's, then those that are added."""
    names = own.column_names
    table = own.select(names[:1])
    for name in others.column_names:
        if name not in names:
            table = table.append_column(name, others.column(name))
    for name in names[1:]:
        table = table.append_column(name, own.column(name))
    return table


def has_loss_spans(others, rows: int) -> list[bool]:
    """Which of the rows mark characters of their text, so that the text must stay as it is."""
    if others is None or not {"loss_spans", ROW_JSON} & set(others.column_names):
        return [False] * rows
    if ROW_JSON in others.column_names:
        return [json.loads(text).get("loss_spans") is not None for text in others.column(ROW_JSON).to_pylist()]
    return others.column("loss_spans").is_valid().to_pylist()


def with_ids(others, ids, as_text: bool):
    """The input's columns with an id in every row: its own where it has one. as_text: write the column as text."""
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
