"""Reading a token store as packed training windows without padding.

Reads a token store (pretrain/tokenize_corpus.py). Documents, in an order that is a function of the seed and the epoch
alone, stand end to end; window i of an epoch is tokens [i*L, i*L + L] of that stream, so that every token is
predicted once. Step s of training uses windows [s*B, (s+1)*B): the order depends on nothing else, least of all on the
number of ranks or workers, and the position in the data is the step itself.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain_record import InputError, read_json


@dataclass(frozen=True)
class Documents:
    """A choice of documents: (shard number, document number) each, with tokens and UTF-8 bytes; int64 arrays [n]."""

    shard: np.ndarray
    number: np.ndarray
    tokens: np.ndarray
    utf8_bytes: np.ndarray

    def take(self, index: np.ndarray) -> "Documents":
        return Documents(self.shard[index], self.number[index], self.tokens[index], self.utf8_bytes[index])


class TokenStore:
    """The shards of a store, memory-mapped; opening costs the document offsets, not the tokens."""

    def __init__(self, folder: Path):
        """Errors: InputError when the store is missing, half-made, or a shard has not the size it should have."""
        if not (folder / "manifest.json").exists():
            raise InputError(
                f"{folder} has no manifest.json: no token store, or one half-made; run pretrain/tokenize_corpus.py"
            )
        self.folder = folder
        self.manifest = read_json(folder / "manifest.json")
        if self.manifest.get("format_version") != 2:
            raise InputError(f"{folder} was made by an earlier version; run pretrain/tokenize_corpus.py again")
        self.end_of_text: int = self.manifest["end_of_text"]
        dtype = np.dtype(self.manifest["dtype"])
        self.names = sorted(self.manifest["shards"])
        self.languages = [self.manifest["shards"][name]["language"] for name in self.names]
        self.tokens, self.offsets, sizes = [], [], []
        for name in self.names:
            path = folder / f"{name}.tokens"
            wanted = self.manifest["shards"][name]["tokens"] * dtype.itemsize
            if not path.exists() or path.stat().st_size != wanted:
                raise InputError(
                    f"{path} is missing or not of {wanted} bytes, as the manifest says; "
                    f"delete {folder} and run pretrain/tokenize_corpus.py again"
                )
            self.tokens.append(np.memmap(path, dtype, "r") if wanted else np.zeros(0, dtype))
            self.offsets.append(np.load(folder / f"{name}.offsets.npy").astype(np.int64))
            sizes.append(np.load(folder / f"{name}.bytes.npy").astype(np.int64))
        counts = [len(size) for size in sizes]
        self.documents = Documents(
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([np.arange(count) for count in counts]),
            np.concatenate([np.diff(offsets) for offsets in self.offsets]),
            np.concatenate(sizes),
        )

    def read(self, shard: int, document: int, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop) of one document."""
        first = self.offsets[shard][document]
        return self.tokens[shard][first + start : first + stop]

    def split(self, validation_per_language: int, seed: int) -> tuple[Documents, dict[str, Documents]]:
        """(documents to train on, {language: documents held out}).

        Of each language at most `validation_per_language` documents, and at most a tenth, are held out by the seed.
        """
        of_language = np.asarray(self.languages)[self.documents.shard]
        held_out: dict[str, Documents] = {}
        training = np.ones(len(of_language), bool)
        for language in sorted(set(self.languages)):
            members = np.flatnonzero(of_language == language)
            count = min(validation_per_language, len(members) // 10)
            if count == 0:
                continue
            chosen = np.sort(np.random.default_rng([seed, 1]).permutation(members)[:count])
            held_out[language] = self.documents.take(chosen)
            training[chosen] = False
        return self.documents.take(np.flatnonzero(training)), held_out


class PackedWindows:
    """Windows of `length` + 1 tokens over the documents, epoch after epoch, each epoch in an order of its own."""

    def __init__(self, store: TokenStore, documents: Documents, length: int, seed: int, shuffle: bool = True):
        self.store, self.documents, self.length, self.seed, self.shuffle = store, documents, length, seed, shuffle
        self.per_epoch = max(0, (int(documents.tokens.sum()) - 1) // length)
        if self.per_epoch == 0:
            raise InputError(
                f"{store.folder} has {int(documents.tokens.sum())} tokens to read, fewer than one window of "
                f"{length + 1}; lower --sequence-length or bring more text"
            )
        self._epoch = -1

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:
            order = np.arange(len(self.documents.tokens))
            if self.shuffle:
                order = np.random.default_rng([self.seed, 2, epoch]).permutation(order)
            self._order = self.documents.take(order)
            self._ends = np.cumsum(self._order.tokens)
            self._epoch = epoch

    def window(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, document numbers within the window), int64 arrays [length + 1]; `index` counts over all epochs."""
        epoch, index = divmod(index, self.per_epoch)
        self._enter(epoch)
        start, stop = index * self.length, index * self.length + self.length + 1
        position = int(np.searchsorted(self._ends, start, side="right"))
        tokens, members = [], []
        while start < stop:
            first = int(self._ends[position] - self._order.tokens[position])
            end = min(stop, int(self._ends[position]))
            piece = self.store.read(
                int(self._order.shard[position]), int(self._order.number[position]), start - first, end - first
            )
            tokens.append(np.asarray(piece, np.int64))
            members.append(np.full(len(piece), len(members)))
            start, position = end, position + 1
        return np.concatenate(tokens), np.concatenate(members)

    def batch(self, first: int, count: int) -> dict[str, np.ndarray]:
        """Windows [first, first + count) as a model takes them; int64 [count, length] unless said.

        input_ids; labels (already shifted: labels[t] follows input_ids[t]; -100 where the next token opens another
        document); position_ids (from 0 in each document); attention bool [count, 1, length, length], True where t may
        look: at or before itself and in its own document.
        """
        windows = [self.window(index) for index in range(first, first + count)]
        tokens = np.stack([window[0] for window in windows])
        members = np.stack([window[1] for window in windows])
        labels = np.where(members[:, 1:] == members[:, :-1], tokens[:, 1:], -100)
        members = members[:, :-1]
        places = np.arange(self.length)
        opens = np.concatenate([np.ones((count, 1), bool), members[:, 1:] != members[:, :-1]], axis=1)
        position_ids = places - np.maximum.accumulate(np.where(opens, places, 0), axis=1)
        attention = (members[:, :, None] == members[:, None, :]) & (places[:, None] >= places[None, :])
        return {
            "input_ids": tokens[:, :-1],
            "labels": labels,
            "position_ids": position_ids,
            "attention": attention[:, None],
        }


def validation_batches(store: TokenStore, documents: Documents, length: int, batch: int):
    """Batches over held-out documents, each from its start, cut at `length` + 1 tokens, padded with -100 labels.

    Yields (batch as in `PackedWindows.batch`, UTF-8 bytes of the text that its labels cover, by share of tokens).
    """
    total = len(documents.tokens)
    for first in range(0, math.ceil(total / batch) * batch, batch):
        rows = range(first, min(first + batch, total))
        ids = np.zeros((len(rows), length + 1), np.int64)
        labels = np.full((len(rows), length), -100, np.int64)
        covered = 0.0
        for row, document in enumerate(rows):
            whole = int(documents.tokens[document])
            piece = store.read(
                int(documents.shard[document]), int(documents.number[document]), 0, min(whole, length + 1)
            )
            ids[row, : len(piece)] = piece
            labels[row, : len(piece) - 1] = piece[1:]
            covered += float(documents.utf8_bytes[document]) * (len(piece) - 1) / whole
        places = np.arange(length)
        attention = np.broadcast_to(places[:, None] >= places[None, :], (len(rows), 1, length, length))
        yield (
            {
                "input_ids": ids[:, :-1],
                "labels": labels,
                "attention": attention,
                "position_ids": np.broadcast_to(places, (len(rows), length)),
            },
            covered,
        )
