"""A token store, opened for reading: its shards, its documents, what is held out of it.

Reads   a token store (pretrain/FORMAT.md, written by pretrain/tokenize_corpus.py)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from run_record import InputError, read_json

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Documents:
    """A choice of documents: (shard number, document number) each, with tokens and UTF-8 bytes; int32 arrays [n]."""

    shard: np.ndarray
    number: np.ndarray
    tokens: np.ndarray
    utf8_bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, index: np.ndarray) -> "Documents":
        return Documents(self.shard[index], self.number[index], self.tokens[index], self.utf8_bytes[index])

    @staticmethod
    def joined(choices: list["Documents"]) -> "Documents":
        fields = ("shard", "number", "tokens", "utf8_bytes")
        return Documents(*(np.concatenate([getattr(choice, name) for choice in choices]) for name in fields))


class TokenStore:
    """The shards of a store, memory-mapped; opening costs the document offsets, not the tokens.

    A group is "<language>/<source>", such as "fr/textbook".
    """

    def __init__(self, folder: Path):
        """Errors: InputError when the store is missing, half-made or damaged, or a language in it is empty."""
        if not (folder / "manifest.json").exists():
            raise InputError(
                f"{folder} has no manifest.json: no token store, or one half-made; run pretrain/tokenize_corpus.py"
            )
        self.folder = folder
        self.manifest = read_json(folder / "manifest.json")
        if self.manifest.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{folder}/manifest.json has format_version {self.manifest.get('format_version')}, read is "
                f"{FORMAT_VERSION} (pretrain/FORMAT.md); run pretrain/tokenize_corpus.py with another --out"
            )
        self.end_of_text: int = self.manifest["end_of_text"]
        self.names = sorted(self.manifest["shards"])
        facts = [self.manifest["shards"][name] for name in self.names]
        self.groups = [f"{row['language']}/{row['source']}" for row in facts]
        self.tokens, self.offsets, self.masks, sizes = [], [], [], []
        for name, row in zip(self.names, facts, strict=True):
            count, total = int(row["documents"]), int(row["tokens"])
            self.tokens.append(self._flat(f"{name}.tokens", np.dtype(self.manifest["dtype"]), total))
            offsets = np.array(self._array(f"{name}.offsets.npy", count + 1), np.int64)
            if offsets[0] != 0 or offsets[-1] != total or (offsets[1:] < offsets[:-1]).any():
                raise self._damaged(f"{name}.offsets.npy", f"does not lead from 0 to the shard's {total} tokens")
            self.offsets.append(offsets)
            sizes.append(np.array(self._array(f"{name}.bytes.npy", count), np.int32))
            self._array(f"{name}.ids.npy", count)
            if self.manifest.get("loss_mask"):
                self.masks.append(self._flat(f"{name}.loss", np.dtype(np.uint8), total))
        if not self.names:
            raise InputError(f"{folder} holds no shard; bring a corpus with text to pretrain/tokenize_corpus.py")
        counts = [len(size) for size in sizes]
        self.documents = Documents(
            np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
            np.concatenate([np.diff(offsets).astype(np.int32) for offsets in self.offsets]),
            np.concatenate(sizes),
        )
        self._refuse_empty_languages(facts)

    def _flat(self, name: str, dtype: np.dtype, count: int) -> np.ndarray:
        """A raw file of `count` numbers, memory-mapped."""
        path, wanted = self.folder / name, count * dtype.itemsize
        if not path.exists() or path.stat().st_size != wanted:
            raise self._damaged(name, f"is missing or not of {wanted} bytes, as the manifest says")
        # As a plain array: a slice of a memmap costs several microseconds more.
        return np.asarray(np.memmap(path, dtype, "r")) if wanted else np.zeros(0, dtype)

    def _array(self, name: str, count: int) -> np.ndarray:
        """A .npy file of `count` entries, memory-mapped (an open file while it is held)."""
        try:
            array = np.load(self.folder / name, mmap_mode="r" if count else None)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(name, f"cannot be read ({str(error).splitlines()[0]})") from None
        if array.shape != (count,):
            raise self._damaged(name, f"has not the {count} entries that the manifest says")
        return array

    def _damaged(self, name: str, what: str) -> InputError:
        return InputError(
            f"{self.folder / name} {what}; delete {self.folder} and run pretrain/tokenize_corpus.py again"
        )

    def _refuse_empty_languages(self, facts: list[dict]) -> None:
        tokens: dict[str, int] = {}
        for row in facts:
            tokens[row["language"]] = tokens.get(row["language"], 0) + int(row["tokens"])
        empty = sorted(language for language, count in tokens.items() if count == 0)
        if empty:
            raise InputError(
                f"{self.folder} has shards of {', '.join(empty)} without a single token; "
                "bring text of that language, or leave its folder out of the corpus, and tokenise again"
            )

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer (`tokenizer_fingerprint` in pretrain/tokenize_corpus.py)."""
        return self.manifest["inputs"]["tokenizer"]

    def read(self, shard: int, document: int, start: int, stop: int) -> np.ndarray:
        """Tokens [start, stop) of one document, in the store's dtype."""
        first = int(self.offsets[shard][document])
        return self.tokens[shard][first + start : first + stop]

    def read_mask(self, shard: int, document: int, start: int, stop: int) -> np.ndarray:
        """bool [stop - start]: whether each token counts when it is the one predicted (all, without a loss mask)."""
        if not self.masks:
            return np.ones(stop - start, bool)
        first = int(self.offsets[shard][document])
        return self.masks[shard][first + start : first + stop] != 0

    def name(self, shard: int, document: int) -> str:
        """A document as a person finds it again: "fr/web/part-00000:123 (id)", the id being the corpus'."""
        identity = self._array(f"{self.names[shard]}.ids.npy", len(self.offsets[shard]) - 1)[document]
        identity = identity.decode("utf-8", "replace") if isinstance(identity, bytes) else str(identity)
        return f"{self.names[shard]}:{document} ({identity})"

    def group_of(self, documents: Documents) -> np.ndarray:
        """Each document's group, as numbers into `group_names`."""
        names = self.group_names
        return np.asarray([names.index(group) for group in self.groups], np.int32)[documents.shard]

    @property
    def group_names(self) -> list[str]:
        return sorted(set(self.groups))

    def split(self, validation_per_group: int, seed: int) -> tuple[Documents, dict[str, Documents]]:
        """(documents to train on, {group: documents held out by the seed}); how many: `held_out_counts`."""
        group_of = self.group_of(self.documents)
        sizes = np.bincount(group_of, minlength=len(self.group_names)).tolist()
        counts = held_out_counts(dict(zip(self.group_names, sizes, strict=True)), validation_per_group)
        held_out: dict[str, Documents] = {}
        training = self.documents.tokens > 0
        for number, group in enumerate(self.group_names):
            if counts[group]:
                members = np.flatnonzero(group_of == number)
                chosen = np.sort(np.random.default_rng([seed, 1]).permutation(members)[: counts[group]])
                held_out[group] = self.documents.take(chosen)
                training[chosen] = False
        return self.documents.take(np.flatnonzero(training)), held_out


def held_out_counts(sizes: dict[str, int], most: int) -> dict[str, int]:
    """{group: documents to hold out} from {group: documents}: at most `most` of each, and at most a tenth.

    A language whose sources are all too small for one gives a tenth of all its documents from its largest source.
    """
    counts = {group: min(most, size // 10) for group, size in sizes.items()}
    for language in {group.split("/")[0] for group in sizes}:
        own = {group: size for group, size in sizes.items() if group.split("/")[0] == language}
        if not any(counts[group] for group in own):
            counts[max(own, key=own.get)] = min(most, sum(own.values()) // 10)
    return counts
