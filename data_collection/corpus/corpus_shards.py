"""Write corpus records as parquet shards of bounded size."""

from collections import Counter
from pathlib import Path

from readers.corpus_format import arrow_schema

ROW_GROUP_BYTES = 8_000_000


class ShardWriter:
    """Writes the records of one language and source to `folder/part-00000.parquet` (zstd), part-00001, ...

    spans: with the column of loss spans.
    """

    def __init__(self, folder: Path, shard_bytes: int, spans: bool = False):
        self.folder, self.shard_bytes = folder, shard_bytes
        self.schema = arrow_schema(spans)
        self.counts: Counter = Counter()
        self.waiting: list[dict] = []
        self.waiting_bytes = self.shard_text_bytes = 0
        self.writer = None

    def add(self, record: dict) -> None:
        size = len(record["text"].encode("utf-8"))
        if self.shard_text_bytes and self.shard_text_bytes + size > self.shard_bytes:
            self._close_shard()
        self.waiting.append(record)
        self.waiting_bytes += size
        self.shard_text_bytes += size
        self.counts.update(documents=1, characters=len(record["text"]))
        if self.waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if not self.waiting:
            return
        if self.writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"part-{self.counts['shards']:05d}.parquet"
            self.counts["shards"] += 1
            self.writer = pyarrow.parquet.ParquetWriter(path, self.schema, compression="zstd")
        self.writer.write_table(pyarrow.Table.from_pylist(self.waiting, schema=self.schema))
        self.waiting, self.waiting_bytes = [], 0

    def _close_shard(self) -> None:
        self._flush()
        if self.writer is not None:
            self.writer.close()
        self.writer, self.shard_text_bytes = None, 0

    def close(self) -> None:
        self._close_shard()
