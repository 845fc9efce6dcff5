"""A token store as training windows: packed, one document per row, or overlapping (`--rows`).

Reads a token store (token_data/token_store.py). Documents, in an order that is a function of the seed and the epoch
alone, stand end to end; window i of an epoch is tokens [i*L, i*L + L] of that stream, so that every token is
predicted once. Step s of training uses windows [s*B, (s+1)*B): the order depends on nothing else, least of all on the
number of ranks or workers, and the position in the data is the step itself.
"""

import numpy as np

from run_record import InputError
from token_data.token_store import Documents, TokenStore

Piece = tuple[int, int, int]  # a document (its place in the layout's choice) and its tokens [start, stop)


class WindowLayout:
    """Windows of `length` inputs over a choice of documents, epoch after epoch; an index counts over all epochs.

    A layout says which pieces of which documents are in window i (`pieces`), and how many windows make an epoch.
    """

    crosses_documents = False

    def __init__(self, store: TokenStore, documents: Documents, length: int, seed: int):
        self.store, self.chosen, self.length, self.seed = store, documents, length, seed
        self.tokens = int(documents.tokens.sum(dtype=np.int64))
        self.per_epoch = 0
        self._epochs: dict[int, tuple] = {}

    def pieces(self, index: int) -> list[Piece]:
        raise NotImplementedError

    def facts(self) -> dict[str, int]:
        """Counts of an epoch that `describe` speaks of."""
        return {}

    def describe(self, facts: dict[str, int]) -> str:
        """The layout and what it costs, in one phrase; facts: this layout's, or the sum over those of a mixture."""
        raise NotImplementedError

    def _order(self, epoch: int) -> tuple:
        raise NotImplementedError

    def order(self, epoch: int) -> tuple:
        """What the layout shuffles for an epoch; two epochs are kept, because a step can span their border."""
        if epoch not in self._epochs:
            if len(self._epochs) > 1:
                del self._epochs[min(self._epochs)]
            self._epochs[epoch] = self._order(epoch)
        return self._epochs[epoch]

    def counted(self, pieces: list[Piece]) -> np.ndarray:
        """bool [tokens of the window]: whether each token counts as the one predicted. The first never does."""
        shard, number = self.chosen.shard, self.chosen.number
        counted = [self.store.read_mask(shard[d], number[d], start, stop) for d, start, stop in pieces]
        for place, mask in enumerate(counted):
            if len(mask) and (place == 0 or not self.crosses_documents):
                mask[0] = False
        return np.concatenate(counted)

    def window(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Window `index`: tokens int64, documents within the window int32, counted bool; each [inputs + 1]."""
        pieces = self.pieces(index)
        shard, number = self.chosen.shard, self.chosen.number
        tokens = [self.store.read(shard[d], number[d], start, stop) for d, start, stop in pieces]
        members = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece) for piece in tokens])
        return np.concatenate(tokens).astype(np.int64), members, self.counted(pieces)

    def batch(self, first: int, count: int) -> dict:
        """Windows [first, first + count) as `lm_loss.summed_loss` takes them (see `collate`)."""
        return collate(
            [self.window(index) for index in range(first, first + count)],
            self.store.end_of_text,
            self.crosses_documents,
        )

    def documents(self, first: int, count: int) -> list[str]:
        """Names (`TokenStore.name`) of the documents that are in windows [first, first + count), in order."""
        found = dict.fromkeys(piece[0] for index in range(first, first + count) for piece in self.pieces(index))
        return [self.store.name(int(self.chosen.shard[d]), int(self.chosen.number[d])) for d in found]

    def labels_in(self, first: int, count: int) -> int:
        """The number of labels that count in windows [first, first + count): the divisor of a step's loss."""
        return sum(int(self.counted(self.pieces(index)).sum()) for index in range(first, first + count))

    def useful_tokens(self, first: int, count: int) -> int:
        """Labels that are text and that no earlier window of the epoch has predicted."""
        return self.labels_in(first, count)

    def groups(self) -> dict[str, int]:
        """{group: tokens} of the documents."""
        group_of = self.store.group_of(self.chosen)
        sums = np.bincount(group_of, self.chosen.tokens, len(self.store.group_names)).astype(np.int64)
        return {name: int(tokens) for name, tokens in zip(self.store.group_names, sums, strict=True) if tokens}

    def too_few(self) -> InputError:
        return InputError(
            f"{', '.join(self.groups()) or 'nothing'} of {self.store.folder}: {self.tokens} tokens to read, fewer than "
            f"one window of {self.length + 1}; lower --sequence-length, bring more text, or leave it out by --mix FILE"
        )


def collate(windows: list[tuple], padding: int, crosses_documents: bool = False) -> dict:
    """Windows (as `WindowLayout.window` gives them) as one batch, padded on the right to the longest with `padding`.

    Arrays [windows, inputs of the longest]:
    input_ids int64; labels int64, already shifted: labels[t] is the token after input_ids[t], -100 where it does not
    count; position_ids int64, from 0 in each document (running through where attention crosses); documents int32,
    which document of its window a token is of, or None where a plain causal mask does.
    """
    length = max(len(tokens) for tokens, _, _ in windows) - 1
    ids = np.full((len(windows), length), padding, np.int64)
    labels = np.full((len(windows), length), -100, np.int64)
    documents = np.full((len(windows), length), -1, np.int32)
    for row, (tokens, members, counted) in enumerate(windows):
        inputs = len(tokens) - 1
        ids[row, :inputs] = tokens[:-1]
        labels[row, :inputs] = np.where(counted[1:], tokens[1:], -100)
        documents[row, :inputs] = members[:-1]
    positions = np.broadcast_to(np.arange(length), ids.shape)
    if crosses_documents or (documents <= 0).all():
        return {"input_ids": ids, "labels": labels, "position_ids": positions.copy(), "documents": None}
    opens = np.diff(documents, axis=1, prepend=documents[:, :1]) != 0
    positions = positions - np.maximum.accumulate(np.where(opens, positions, 0), axis=1)
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "documents": documents}


class PackedWindows(WindowLayout):
    """Documents end to end, no padding; the tail of an epoch that fills no window is omitted from that epoch."""

    def __init__(
        self,
        store: TokenStore,
        documents: Documents,
        length: int,
        seed: int,
        cross_document_attention: bool = False,
    ):
        super().__init__(store, documents.take(np.flatnonzero(documents.tokens > 0)), length, seed)
        self.crosses_documents = cross_document_attention
        self.per_epoch = max(0, (self.tokens - 1) // length)
        if self.per_epoch == 0:
            raise self.too_few()

    def describe(self, facts: dict[str, int]) -> str:
        return "documents end to end, no padding; attention " + (
            "crosses documents" if self.crosses_documents else "stays inside a document"
        )

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(documents in this epoch's order, where each ends in its stream)."""
        order = np.random.default_rng([self.seed, 2, epoch]).permutation(np.arange(len(self.chosen), dtype=np.int32))
        return order, np.cumsum(self.chosen.tokens[order], dtype=np.int64)

    def pieces(self, index: int) -> list[Piece]:
        epoch, index = divmod(index, self.per_epoch)
        order, ends = self.order(epoch)
        start, stop = index * self.length, (index + 1) * self.length + 1
        place, pieces = int(np.searchsorted(ends, start, side="right")), []
        while start < stop:
            end = int(ends[place])
            first = end - int(self.chosen.tokens[order[place]])
            pieces.append((int(order[place]), start - first, min(stop, end) - first))
            start, place = end, place + 1
        return pieces

    def labels_in(self, first: int, count: int) -> int:
        if self.store.masks:
            return super().labels_in(first, count)
        total, index, last = count * self.length, first, first + count
        while index < last and not self.crosses_documents:
            epoch, start = divmod(index, self.per_epoch)
            stop = min(self.per_epoch, start + last - index)
            ends = self.order(epoch)[1]
            # A label is lost wherever a document opens after the first token of the stretch.
            total -= int(np.diff(np.searchsorted(ends, [start * self.length, stop * self.length], side="right"))[0])
            index += stop - start
        return total


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
        """Rows that documents of this many tokens make, int64 [documents]."""
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

    Each token after a document's first is predicted once per epoch; labels on padding do not count.
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
            f"{facts['left_out']:,} of a single token omitted"
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
            f"overlapping windows as published: of {places:,} tokens per epoch {repeated:,} "
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
            f"--cross-document-attention has no effect with --rows {args.rows}, where a row contains one document; "
            "leave it out"
        )
    layout = {"document": DocumentRows, "overlapping": OverlappingWindows}[args.rows]
    return layout(store, documents, args.sequence_length, args.seed)
