"""Sort corpus records by id on disk, unit by unit in worker processes, and write them as parquet shards.

A sorted unit is two files of `OUT/parts/units/`: 00007.jsonl, its records by bucket (the first digits of the id), and
00007.json, where each bucket begins. The second is written last: where it is, the unit is done. Records that are to be
cut are behind all others, by bucket too. A bucket of the corpus is that bucket of all units in their order, then what
the cut built from documents whose new ids belong there.
"""

import array
import functools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from corpus.corpus_lists import Lists, cut_record
from executor.workers import run_units
from readers.corpus_format import LOSS_SPANS, arrow_schema, keep_first_of_each
from readers.corpus_inputs import Unit, input_files, read_unit
from run_record import read_json, write_json

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


BUCKET_BYTES = 128_000_000  # text of one bucket, about: what is held in memory at once
MAX_BUCKETS = 1024


class Sorting(NamedTuple):
    """What sorting a unit needs beside the unit."""

    manifests: dict[Path, dict]  # {input folder: its manifest}
    lists: Lists
    licence: str  # for documents that carry none of their own
    buckets: int

    def bucket(self, record: dict) -> int:
        return int(record["id"][:8], 16) * self.buckets >> 32


def count_buckets(manifests: dict[Path, dict]) -> int:
    """How many buckets the documents of these folders need. Their number does not change the corpus."""
    sizes = [
        file.stat().st_size * (3 if file.suffix == ".parquet" else 1)  # zstd takes text to about a third
        for folder, manifest in manifests.items()
        for file in input_files(folder, manifest)
    ]
    return min(MAX_BUCKETS, max(1, -(-sum(sizes) // BUCKET_BYTES)))


class Segments:
    """Records held in memory by segment until they are written, as lines of JSON."""

    def __init__(self, count: int):
        self.lines: list[list[bytes]] = [[] for _ in range(count)]
        self.bytes = 0

    def add(self, segment: int, record: dict) -> None:
        # A lone surrogate, which JSON lines can hold, passes: the corpus's writer is to meet it.
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        self.lines[segment].append(line)
        self.bytes += len(line)

    def write(self, path: Path, facts: dict) -> None:
        """Write `path` (.jsonl), and beside it (.json) the segments' offsets with `facts`, last and whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        offsets = [0]
        with open(path, "wb") as file:
            for lines in self.lines:
                file.writelines(lines)
                offsets.append(file.tell())
            file.flush()
            os.fsync(file.fileno())
        write_json(path.with_suffix(".json"), {**facts, "offsets": offsets})


class SegmentFile:
    """A file that Segments wrote. `facts`: as given there."""

    def __init__(self, path: Path):
        self.path = path
        self.facts = read_json(path.with_suffix(".json"))
        self.offsets = array.array("q", self.facts.pop("offsets"))  # 8 bytes each; there are thousands a file

    def read(self, segment: int) -> list[dict]:
        first, last = self.offsets[segment : segment + 2]
        if first == last:
            return []
        with open(self.path, "rb") as file:
            file.seek(first)
            lines = file.read(last - first).splitlines()
        return [json.loads(line.decode("utf-8", "surrogatepass")) for line in lines]


def sort_unit(sorting: Sorting, unit: Unit, path: Path) -> dict:
    """Write the records of one unit by bucket to `path`; returns its facts. Those that go carry a `reason`, no text."""
    segments = Segments(2 * sorting.buckets)
    facts = {"documents": 0, "text_bytes": 0, "has_spans": False}
    for record in read_unit(unit, sorting.manifests[unit.folder], sorting.licence):
        facts["documents"] += 1
        facts["text_bytes"] += len(record["text"].encode("utf-8", "replace"))
        facts["has_spans"] = facts["has_spans"] or LOSS_SPANS in record
        segment = sorting.bucket(record)
        if removal := sorting.lists.removal(record["id"]):
            record = without_text(record) | removal
        elif sorting.lists.cut(record["id"]):
            segment += sorting.buckets
        segments.add(segment, record)
    segments.write(path, facts)
    return facts


def cut_documents(units: list[SegmentFile], sorting: Sorting, folder: Path) -> tuple[list[SegmentFile], list[dict]]:
    """Cut what is to be cut; returns (files of the records with their new ids, by bucket; lines of cut.jsonl).

    Of documents with one id one stays, with the text of the first, on which the decision was made (they differ in case
    and white space at most). Its new id may put it into another bucket.
    """
    files: list[SegmentFile] = []
    changed = []
    segments = Segments(sorting.buckets)

    def write() -> None:
        path = folder / f"{len(files):05d}.jsonl"
        segments.write(path, {})
        files.append(SegmentFile(path))

    for bucket in range(sorting.buckets):
        records = [record for unit in units for record in unit.read(sorting.buckets + bucket)]
        decided = {record["id"]: record for record in reversed(records)}
        kept, duplicates = keep_first_of_each(records)
        for record in duplicates:
            segments.add(bucket, without_text(record) | {"reason": "exact duplicate"})
        for record in kept:
            decision = sorting.lists.cut(record["id"])
            first = decided[record["id"]]
            its_text = {field: first[field] for field in ("text", LOSS_SPANS) if field in first}
            after = cut_record(without_text(record) | its_text, decision)
            if "reason" in after:
                segments.add(sorting.bucket(after), without_text(after))
                continue
            segments.add(sorting.bucket(after), after)
            changed.append(
                {
                    "id": after["id"],
                    "id_before": record["id"],
                    "language": record["language"],
                    "source": record["source"],
                    "origin": record["origin"],
                    "characters": len(first["text"]) - len(after["text"]),
                    "questions": decision.get("questions", []),
                }
            )
        if segments.bytes >= BUCKET_BYTES:
            write()
            segments = Segments(sorting.buckets)
    if segments.bytes:
        write()
    return files, changed


def read_bucket(files: list[SegmentFile], bucket: int) -> Iterator[dict]:
    """The records of a bucket in the files' order."""
    for file in files:
        yield from file.read(bucket)


def without_text(record: dict) -> dict:
    return {field: value for field, value in record.items() if field not in ("text", LOSS_SPANS)}


def unit_file(parts: Path, unit: int) -> Path:
    """Where a unit's records go; it is done when the index beside it (.json) is there."""
    return parts / "units" / f"{unit:05d}.jsonl"


def is_done(parts: Path, unit: int) -> bool:
    return unit_file(parts, unit).with_suffix(".json").exists()


def sort_units(waiting: dict[int, Unit], parts: Path, sorting: Sorting, workers: int) -> None:
    """Sort units in processes. Errors: see `executor.workers.run_units`."""

    def describe(u: int, facts: dict) -> str:
        size = f"{facts['documents']} documents, {facts['text_bytes'] / 1e6:.1f} MB"
        return f"{waiting[u].folder.name}/{waiting[u].file}: {size}"

    tasks = {u: (unit, unit_file(parts, u)) for u, unit in waiting.items()}
    run_units(functools.partial(sort_unit, sorting), tasks, workers, describe)
