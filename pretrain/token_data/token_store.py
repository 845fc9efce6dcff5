"""The token store (FORMAT.md): writing its shards, reading it, checking it against its manifest and corpus.

Reads   a token store (pretrain/FORMAT.md, written by pretrain/tokenize_corpus.py)
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from run_record import InputError, describe_files, read_json, sha256_of_file, write_json
from token_data.corpus_encoder import LibraryEncoder
from token_data.corpus_reader import Batch, Shard, iterate_batches


def find_differences(
    store: Path, manifest: dict, corpus: list[Shard], library: LibraryEncoder, documents: int, seed: int
) -> Iterator[str]:
    """What differs, a line each: "file: what", with the document's number (from 0) where there is one.

    Files against their SHA-256; columns against each other; ids against the vocabulary; and of each shard `documents`
    documents, drawn by the seed, encoded again through the library.
    """
    files = dict(manifest["files"])
    for facts in manifest["shards"].values():
        files |= facts["files"]
    whole = True
    for name, wanted in sorted(files.items()):
        difference = compare_file(store / name, wanted)
        if difference:
            whole = False
            yield f"{name}: {difference}"
    known = {shard.name: shard for shard in corpus}
    for name in sorted({*known, *manifest["shards"]}):
        if name not in manifest["shards"] or name not in known:
            yield f"{name}: in the {'corpus' if name in known else 'store'} only"
        elif whole or (store / f"{name}.tokens").exists():
            yield from check_shard(store, manifest, known[name], library, documents, seed)


def compare_file(path: Path, wanted: dict) -> str | None:
    if not path.exists():
        return "is missing"
    if path.stat().st_size != wanted["bytes"]:
        return f"has {path.stat().st_size} bytes, the manifest says {wanted['bytes']}"
    return None if sha256_of_file(path) == wanted["sha256"] else "its SHA-256 is not the manifest's"


def check_shard(
    store: Path, manifest: dict, shard: Shard, library: LibraryEncoder, documents: int, seed: int
) -> Iterator[str]:
    """What differs in one shard: between its files, and between it and the corpus."""
    facts, name = manifest["shards"][shard.name], shard.name
    try:
        tokens = np.fromfile(store / f"{name}.tokens", manifest["dtype"])
        offsets = np.load(store / f"{name}.offsets.npy").astype(np.int64)
        sizes, ids = np.load(store / f"{name}.bytes.npy"), np.load(store / f"{name}.ids.npy")
        mask = np.fromfile(store / f"{name}.loss", np.uint8) if manifest["loss_mask"] else None
    except (OSError, ValueError) as error:
        yield f"{name}: cannot be read ({error})"
        return
    lengths = {len(offsets) - 1, len(sizes), len(ids), facts["documents"], shard.documents}
    if len(lengths) != 1 or offsets[0] != 0 or offsets[-1] != len(tokens) or len(tokens) != facts["tokens"]:
        yield f"{name}: its columns, its manifest and the corpus name different numbers of documents or tokens"
        return
    if mask is not None and len(mask) != len(tokens):
        yield f"{name}.loss: has {len(mask)} entries for {len(tokens)} tokens"
        mask = None
    empty = np.flatnonzero(np.diff(offsets) <= 0)
    if len(empty):
        yield f"{name}.offsets.npy: document {empty[0]} does not start before the next ({len(empty)} such)"
        return
    unknown = np.flatnonzero(tokens >= manifest["vocabulary"])
    if len(unknown):
        number = np.searchsorted(offsets, unknown[0], side="right") - 1
        yield f"{name}.tokens: document {number} has an id over the vocabulary ({len(unknown)} such ids)"
    endless = np.flatnonzero(tokens[offsets[1:] - 1] != manifest["end_of_text"])
    if len(endless):
        yield f"{name}.tokens: document {endless[0]} does not end with the end-of-text token ({len(endless)} such)"
    yield from compare_documents(shard, library, tokens, offsets, sizes, ids, mask, documents, seed)


def compare_documents(
    shard: Shard, library: LibraryEncoder, tokens, offsets, sizes, ids, mask, documents: int, seed: int
) -> Iterator[str]:
    """What differs between the corpus and the store in all documents' names and sizes, and in some documents' ids."""
    count = len(sizes)
    chosen = set(np.random.default_rng([seed, count]).permutation(count)[:documents].tolist())
    first = 0
    for batch in iterate_batches(shard):
        spans = batch.loss_spans or [None] * len(batch.texts)
        for number, (text, name, marked) in enumerate(zip(batch.texts, batch.ids, spans, strict=True), first):
            place = slice(int(offsets[number]), int(offsets[number + 1]))
            if ids[number] != name.encode():
                yield f"{shard.name}.ids.npy: document {number} is not {name}, as in the corpus"
            if sizes[number] != len(text.encode()):
                yield f"{shard.name}.bytes.npy: document {number} has not the size of its text"
            if number not in chosen:
                continue
            if tokens[place].tolist() != [*library.ids([text])[0], library.end_of_text]:
                yield f"{shard.name}.tokens: document {number} is encoded otherwise by the library"
            if mask is not None and mask[place].tolist() != wanted_mask(shard, number, text, marked, library, place):
                yield f"{shard.name}.loss: document {number} has other marks than its loss_spans give"
        first += len(batch.texts)


def wanted_mask(shard: Shard, number: int, text: str, spans, library: LibraryEncoder, place: slice) -> list[int]:
    if spans is None:
        return [1] * (place.stop - place.start)
    check_spans(shard, number, spans, len(text))
    return [*tokens_in_spans(library.encode_with_places(text)[1], spans).tolist(), 0]


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
                f"{shard.path}: document {number} (from 0): the loss span {span} is not a [start, end) within its "
                f"{characters} characters; pretrain/FORMAT.md says what loss_spans hold"
            )


def tokens_in_spans(places: np.ndarray, spans: list) -> np.ndarray:
    """uint8 [tokens]: 1 where the characters of a token, [start, end), overlap one of the spans."""
    mask = np.zeros(len(places), np.uint8)
    for start, end in spans:
        mask |= ((places[:, 0] < end) & (places[:, 1] > start)).astype(np.uint8)
    return mask


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
        """Errors: InputError when the store is missing, incomplete or damaged, or a language in it is empty."""
        if not (folder / "manifest.json").exists():
            raise InputError(
                f"{folder} has no manifest.json: no token store, or one incomplete; run pretrain/tokenize_corpus.py"
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
            raise InputError(f"{folder} contains no shard; bring a corpus with text to pretrain/tokenize_corpus.py")
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
