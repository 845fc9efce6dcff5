"""Reading an MMedC corpus folder: `<iso>/<source>/part-*.parquet` under a manifest (data_collection/FORMAT.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pretrain_record import InputError, read_json


@dataclass(frozen=True)
class Shard:
    """One parquet file of one language and source."""

    path: Path
    name: str  # relative to the corpus, without suffix: "fr/web/part-00000"
    language: str
    source: str
    size: int  # bytes


def read_corpus(folder: Path) -> list[Shard]:
    """The shards that the manifest lists, in name order, each seen to be there with its size.

    Errors: InputError for a missing folder or manifest (a corpus half-made), a missing or changed shard, no shard.
    """
    if not folder.is_dir():
        raise InputError(f"the corpus {folder} is no folder; data_collection/build_corpus.py makes one")
    if not (folder / "manifest.json").exists():
        raise InputError(
            f"{folder} has no manifest.json, so it is half-made; run data_collection/build_corpus.py again"
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
        shards.append(
            Shard(path, f"{language}/{source}/{part.removesuffix('.parquet')}", language, source, facts["bytes"])
        )
    if not shards:
        raise InputError(f"{folder}/manifest.json lists no parquet shard; the corpus is empty")
    return shards


def iterate_texts(shard: Shard) -> Iterator[str]:
    """The `text` column, row group by row group, so that memory does not grow with the shard."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(shard.path).iter_batches(batch_size=1000, columns=["text"]):
        yield from batch.column(0).to_pylist()
