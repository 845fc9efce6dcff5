"""Reading a token store again and comparing it with its manifest and its corpus (`tokenize_corpus.py --check`)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from run_record import sha256_of_file
from token_data.corpus_encoder import LibraryEncoder
from token_data.corpus_reader import Shard, iterate_batches
from token_data.token_writer import check_spans, tokens_in_spans


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
