"""The window layouts by name (`--rows`): documents end to end, a document a row, overlapping as published."""

import numpy as np

from dataloading.packed_windows import PackedWindows, Piece, WindowLayout
from run_record import InputError
from token_data.token_store import Documents, TokenStore


class RowLayout(WindowLayout):
    """Layouts whose rows hold one document each; every epoch deals the same rows in an order of its own."""

    def __init__(self, store: TokenStore, documents: Documents, length: int, seed: int):
        super().__init__(store, documents, length, seed)
        rows = self.rows_of(documents.tokens.astype(np.int64))
        self._ends = np.cumsum(rows, dtype=np.int64)
        self.per_epoch = int(self._ends[-1]) if len(rows) else 0
        if self.per_epoch == 0:
            raise self.too_few()

    def rows_of(self, tokens: np.ndarray) -> np.ndarray:
        """Rows that documents of so many tokens make, int64 [documents]."""
        raise NotImplementedError

    def place(self, row, tokens):
        """(start, stop) of a document's tokens in its row number `row`; numbers or arrays."""
        raise NotImplementedError

    def _order(self, epoch: int) -> tuple[np.ndarray]:
        return (np.random.default_rng([self.seed, 2, epoch]).permutation(self.per_epoch),)

    def spans(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Documents, rows within them, starts and stops of windows [first, first + count); int64 each."""
        index = np.arange(first, first + count)
        windows = np.concatenate(
            [
                self.order(epoch)[0][index[index // self.per_epoch == epoch] % self.per_epoch]
                for epoch in range(first // self.per_epoch, (first + max(1, count) - 1) // self.per_epoch + 1)
            ]
        )
        document = np.searchsorted(self._ends, windows, side="right")
        tokens = self.chosen.tokens[document].astype(np.int64)
        row = windows - (self._ends[document] - self.rows_of(tokens))
        return document, row, *self.place(row, tokens)

    def pieces(self, index: int) -> list[Piece]:
        document, _, start, stop = (int(values[0]) for values in self.spans(index, 1))
        return [(document, start, stop)]


class DocumentRows(RowLayout):
    """One document a row, padded on the right to the longest of the batch; longer ones are cut into several rows.

    Each token after a document's first is predicted once an epoch; labels on padding do not count.
    """

    def rows_of(self, tokens: np.ndarray) -> np.ndarray:
        return -(-np.maximum(tokens - 1, 0) // self.length)

    def place(self, row, tokens):
        start = row * self.length
        return start, np.minimum(start + self.length + 1, tokens)

    def labels_in(self, first: int, count: int) -> int:
        if self.store.masks:
            return super().labels_in(first, count)
        _, _, start, stop = self.spans(first, count)
        return int((stop - start - 1).sum())

    def facts(self) -> dict[str, int]:
        rows = self.rows_of(self.chosen.tokens.astype(np.int64))
        return {"documents": len(rows), "cut": int((rows > 1).sum()), "left_out": int((rows == 0).sum())}

    def describe(self, facts: dict[str, int]) -> str:
        return (
            f"a document a row; {facts['cut']:,} of {facts['documents']:,} documents are longer and cut into rows, "
            f"{facts['left_out']:,} of a single token left out"
        )


class OverlappingWindows(RowLayout):
    """The published layout, for comparison: a quarter of each window repeats the one before, padding is trained on.

    A document's windows of `length` tokens start every 3/4 length, the last one moved back to end with the document; a
    shorter document is padded on the right with the end-of-text token. The model sees `length` tokens and predicts all
    but the first, padding included [the published tokenising and training scripts: 2048 with 512 overlap, labels a copy
    of the padded ids].
    """

    def __init__(self, store: TokenStore, documents: Documents, length: int, seed: int):
        self.stride = max(1, length * 3 // 4)
        super().__init__(store, documents.take(np.flatnonzero(documents.tokens > 0)), length, seed)

    def rows_of(self, tokens: np.ndarray) -> np.ndarray:
        return 1 - (-np.maximum(tokens - self.length, 0) // self.stride)

    def place(self, row, tokens):
        start = np.minimum(row * self.stride, np.maximum(tokens - self.length, 0))
        return start, np.minimum(start + self.length, tokens)

    def _padded(self, values: np.ndarray, filling) -> np.ndarray:
        return np.concatenate([values, np.full(self.length - len(values), filling, values.dtype)])

    def counted(self, pieces: list[Piece]) -> np.ndarray:
        return self._padded(super().counted(pieces), True)

    def window(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokens, members, counted = super().window(index)
        # A last token that is never predicted, so that the window has `length` inputs and one label fewer.
        return (
            np.append(self._padded(tokens, self.store.end_of_text), self.store.end_of_text),
            np.zeros(self.length + 1, members.dtype),
            np.append(counted, False),
        )

    def labels_in(self, first: int, count: int) -> int:
        return super().labels_in(first, count) if self.store.masks else count * (self.length - 1)

    def useful_tokens(self, first: int, count: int) -> int:
        document, row, start, stop = self.spans(first, count)
        before = self.place(np.maximum(row - 1, 0), self.chosen.tokens[document].astype(np.int64))[1]
        useful = stop - np.where(row == 0, 1, np.maximum(before, start + 1))
        return int(useful.sum())

    def facts(self) -> dict[str, int]:
        shown = np.minimum(self.chosen.tokens, self.length).astype(np.int64)
        rows = self.rows_of(self.chosen.tokens.astype(np.int64))
        return {
            "places": self.per_epoch * self.length,
            "repeated": int((rows * shown).sum()) - self.tokens,
            "padding": int((self.length - shown).sum()),
        }

    def describe(self, facts: dict[str, int]) -> str:
        repeated, padding, places = facts["repeated"], facts["padding"], facts["places"]
        return (
            f"overlapping windows as published: of {places:,} tokens an epoch {repeated:,} "
            f"({100 * repeated / places:.1f} %) are repeated and {padding:,} ({100 * padding / places:.1f} %) are "
            "padding, and both are trained on"
        )


def make_windows(store: TokenStore, documents: Documents, args) -> WindowLayout:
    """The layout that the flags ask for: args.rows, args.sequence_length, args.seed, args.cross_document_attention.

    Errors: InputError when the documents fill no window.
    """
    if args.sequence_length < 2:
        raise InputError(f"--sequence-length {args.sequence_length}: a window has at least 2 tokens")
    if args.rows == "packed":
        return PackedWindows(store, documents, args.sequence_length, args.seed, args.cross_document_attention)
    if args.cross_document_attention:
        raise InputError(
            f"--cross-document-attention has no effect with --rows {args.rows}, where a row holds one document; "
            "leave it out"
        )
    layout = {"document": DocumentRows, "overlapping": OverlappingWindows}[args.rows]
    return layout(store, documents, args.sequence_length, args.seed)
