"""Read an MMedC corpus folder: `<iso>/<source>/part-*.parquet` under a manifest (data_collection/FORMAT.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from run_record import InputError, read_json


@dataclass(frozen=True)
class Shard:
    """One parquet file of one language and source."""

    path: Path
    name: str  # relative to the corpus, without suffix: "fr/web/part-00000"
    language: str
    source: str
    size: int  # bytes
    documents: int
    has_spans: bool  # whether it has the column loss_spans


def read_corpus(folder: Path) -> list[Shard]:
    """The shards that the manifest lists, in name order, each seen to be there with its size and its columns.

    Errors: InputError for a missing folder or manifest (a corpus incomplete), a missing or changed shard, a shard that
    is not a parquet file or has not the columns that are read, a language without documents, no shard.
    """
    if not folder.is_dir():
        raise InputError(f"the corpus {folder} is not a folder; data_collection/build_corpus.py makes one")
    if not (folder / "manifest.json").exists():
        raise InputError(
            f"{folder} has no manifest.json, so it is incomplete; run data_collection/build_corpus.py again"
        )
    manifest = read_json(folder / "manifest.json")
    shards = []
    for name, facts in sorted(manifest.get("files", {}).items()):
        if not name.endswith(".parquet"):
            continue
        path = folder / name
        if not path.exists() or path.stat().st_size != facts["bytes"]:
            raise InputError(
                f"{path} is missing or not as its manifest says; run data_collection/build_corpus.py again"
            )
        language, source, part = name.split("/")
        name = f"{language}/{source}/{part.removesuffix('.parquet')}"
        shards.append(Shard(path, name, language, source, facts["bytes"], *read_schema(path)))
    if not shards:
        raise InputError(f"{folder}/manifest.json lists no parquet shard; the corpus is empty")
    for language in sorted({shard.language for shard in shards}):
        if not sum(shard.documents for shard in shards if shard.language == language):
            raise InputError(
                f"{folder}/{language}: no shard of this language contains a document; bring text for it and run "
                "data_collection/build_corpus.py again, or build the corpus without it"
            )
    return shards


def read_schema(path: Path) -> tuple[int, bool]:
    """(documents, whether there are loss spans) from a shard's footer. Errors: InputError, see `read_corpus`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, documents = file.schema_arrow, file.metadata.num_rows
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path} is not a parquet file ({str(error).splitlines()[0]}); run data_collection/build_corpus.py again"
        ) from None
    for column in ("id", "text"):
        if column not in schema.names or not is_text(schema.field(column).type):
            raise InputError(
                f"{path} has no column `{column}` of strings (its columns: {', '.join(schema.names)}); "
                "data_collection/FORMAT.md says what a corpus holds"
            )
    if "loss_spans" not in schema.names:
        return documents, False
    spans = schema.field("loss_spans").type
    if not (is_list(spans) and is_list(spans.value_type) and pa.types.is_integer(spans.value_type.value_type)):
        raise InputError(f"{path}: the column `loss_spans` holds {spans}, not lists of [start, end) pairs of integers")
    return documents, True


def is_text(kind) -> bool:
    import pyarrow.types

    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def is_list(kind) -> bool:
    import pyarrow.types

    return pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)


@dataclass(frozen=True)
class Batch:
    """Documents that stand one after the other in a shard."""

    ids: list[str]
    texts: list[str]
    utf8_bytes: np.ndarray  # of each text, int64
    characters: int  # of all texts
    loss_spans: list | None  # of each text, [[start, end], ...] or None; None where the shard has no such column


def iterate_batches(shard: Shard, documents: int = 1000) -> Iterator[Batch]:
    """A shard's documents in their order, row group by row group, so that memory does not grow with the shard.

    Errors: InputError naming the document whose text or id is null, or the shard when it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["id", "text", *(["loss_spans"] if shard.has_spans else [])]
    first = 0
    with pq.ParquetFile(shard.path) as file:
        records = file.iter_batches(batch_size=documents, columns=columns, use_threads=False)
        while True:
            try:
                record = next(records, None)
                batch = None if record is None else to_batch(shard, record, first)
            except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
                raise InputError(
                    f"{shard.path} is damaged ({str(error).splitlines()[0]}); run data_collection/build_corpus.py again"
                ) from None
            if batch is None:
                return
            yield batch
            first += len(batch.texts)


def to_batch(shard: Shard, record, first: int) -> Batch:
    """A pyarrow record batch whose first document is the shard's document number `first`."""
    import pyarrow.compute as pc

    for column in ("id", "text"):
        values = record.column(column)
        if values.null_count:
            number = first + values.is_null().to_pylist().index(True)
            raise InputError(
                f"{shard.path}: document {number} (from 0) has no {column}; a document without text has no "
                "place in a corpus: run data_collection/build_corpus.py again"
            )
    texts = record.column("text")
    return Batch(
        ids=record.column("id").to_pylist(),
        texts=texts.to_pylist(),
        utf8_bytes=np.asarray(pc.binary_length(texts), np.int64),
        characters=pc.sum(pc.utf8_length(texts)).as_py() or 0,
        loss_spans=record.column("loss_spans").to_pylist() if shard.has_spans else None,
    )


def iterate_texts(shard: Shard) -> Iterator[str]:
    """The texts alone, in the shard's order."""
    for batch in iterate_batches(shard):
        yield from batch.texts
