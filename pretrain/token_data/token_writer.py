"""Writing one shard of a token store (FORMAT.md): every file aside, renamed when whole, the shard's facts last."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from run_record import InputError, describe_files, write_json
from token_data.corpus_reader import Batch, Shard, iterate_batches

DATA_SUFFIXES = (".tokens", ".offsets.npy", ".bytes.npy", ".ids.npy", ".loss")


def tokenise_shard(shard: Shard, out: Path, encoder, loss_mask: bool) -> dict:
    """Write one shard's files. Returns its facts, which are also the .json that makes the shard whole.

    encoder: turns texts into ids (corpus_encoder.py, fast_encoder.py); loss_mask: whether the corpus has loss spans
    anywhere, and so every shard a mask.
    Errors: InputError naming the document whose loss_spans are no spans of its text.
    """
    base = out / shard.name
    base.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        writer = ShardWriter(base, loss_mask, files)
        for batch in iterate_batches(shard):
            writer.add_batch(shard, batch, encoder)
    return writer.finish(shard)


class ShardWriter:
    """The open files and the growing columns of one shard."""

    def __init__(self, base: Path, loss_mask: bool, files: ExitStack):
        self.base = base
        for suffix in DATA_SUFFIXES:  # what another run, killed, may have left
            base.with_name(base.name + suffix).unlink(missing_ok=True)
        self.tokens = files.enter_context(open(self.aside(".tokens"), "wb"))  # noqa: SIM115, the stack closes it
        self.mask = files.enter_context(open(self.aside(".loss"), "wb")) if loss_mask else None  # noqa: SIM115
        self.hash = hashlib.sha256()
        self.counts, self.sizes, self.ids, self.characters, self.empty = [], [], [], 0, 0

    def aside(self, suffix: str) -> Path:
        return self.base.with_name(f"{self.base.name}{suffix}.tmp")

    def add_batch(self, shard: Shard, batch: Batch, encoder) -> None:
        """Encode and write some documents."""
        flat, counts = encoder.encode(batch.texts)
        self.tokens.write(flat.data)
        self.hash.update(flat.data)
        if self.mask:
            self.mask.write(self.loss_mask(shard, batch, len(flat), counts, encoder).data)
        self.counts.append(counts)
        self.sizes.append(batch.utf8_bytes)
        self.characters += batch.characters
        self.empty += batch.texts.count("")
        self.ids += [identifier.encode("utf-8") for identifier in batch.ids]

    def loss_mask(self, shard: Shard, batch: Batch, tokens: int, counts: np.ndarray, encoder) -> np.ndarray:
        """uint8 [tokens]: 0 outside the spans of the documents that have some, 1 elsewhere."""
        mask = np.ones(tokens, np.uint8)
        first, stops = sum(map(len, self.counts)), np.cumsum(counts)
        for number, spans in enumerate(batch.loss_spans or []):
            if spans is None:
                continue
            check_spans(shard, first + number, spans, len(batch.texts[number]))
            _, places = encoder.encode_with_places(batch.texts[number])
            mask[stops[number] - counts[number] : stops[number] - 1] = tokens_in_spans(places, spans)
            mask[stops[number] - 1] = 0
        return mask

    def finish(self, shard: Shard) -> dict:
        """Once the files are closed: the arrays, the names, the facts."""
        counts = np.concatenate(self.counts) if self.counts else np.zeros(0, np.int64)
        sizes = np.concatenate(self.sizes) if self.sizes else np.zeros(0, np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
        arrays = {
            ".offsets.npy": offsets,
            ".bytes.npy": sizes.astype(np.uint32),
            ".ids.npy": np.asarray(self.ids, f"S{max(map(len, self.ids), default=1)}"),
        }
        for suffix, array in arrays.items():
            with open(self.aside(suffix), "wb") as file:
                np.save(file, array)
        suffixes = [".tokens", *arrays, *([".loss"] if self.mask else [])]
        for suffix in suffixes:
            self.aside(suffix).replace(self.base.with_name(self.base.name + suffix))
        root = self.base.parents[2]
        tokens = self.base.with_name(self.base.name + ".tokens")
        others = [self.base.with_name(self.base.name + suffix) for suffix in suffixes[1:]]
        files = describe_files(root, others)
        files[tokens.relative_to(root).as_posix()] = {
            "bytes": tokens.stat().st_size,
            "sha256": self.hash.hexdigest(),
        }
        facts = {
            "language": shard.language,
            "source": shard.source,
            "documents": len(counts),
            "empty_documents": self.empty,
            "tokens": int(offsets[-1]),
            "characters": self.characters,
            "utf8_bytes": int(sizes.sum()),
            "files": files,
        }
        write_json(self.base.with_name(self.base.name + ".json"), facts)
        return facts


def check_spans(shard: Shard, number: int, spans: list, characters: int) -> None:
    for span in spans:
        if span is None or len(span) != 2 or None in span or not 0 <= span[0] < span[1] <= characters:
            raise InputError(
                f"{shard.path}: document {number} (from 0): the loss span {span} is no [start, end) within its "
                f"{characters} characters; pretrain/FORMAT.md says what loss_spans hold"
            )


def tokens_in_spans(places: np.ndarray, spans: list) -> np.ndarray:
    """uint8 [tokens]: 1 where the characters of a token, [start, end), overlap one of the spans."""
    mask = np.zeros(len(places), np.uint8)
    for start, end in spans:
        mask |= ((places[:, 0] < end) & (places[:, 1] > start)).astype(np.uint8)
    return mask
