"""Signatures of documents: MinHash (rensa) cut into bands, and the shingles they were made of, unit by unit on disk.

Documents that share a band's key are candidates. Why rensa: MIT, needs nothing else, takes ready hashes in one flat
array, 12 microseconds a document (datasketch, also MIT: 75 to 220, and it needs scipy). It is a young project; so its
version and its algorithm's are part of an unfinished run, which no other version goes on with. What is joined does not
hang on it alone, since every candidate is verified by its shingles. Example:

    python -c "import minhash_signatures as m; print(m.bands_for(0.8))"
"""

import itertools
import os
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy

from dedup.text_shingles import CHARACTER_LANGUAGES, UNITS, shingle_hashes
from language_codes import LANGUAGES
from readers.corpus_inputs import Unit, read_unit
from readers.text_identity import SOURCE_ORDER
from run_record import read_json, write_json

PERMUTATIONS, SEED = 128, 42
RECALL = 0.995  # at least so many of the pairs at the threshold itself shall become candidates
DOCUMENTS_AT_ONCE = 512
FOREIGN = "language is none of the eight"
# What is known of each document: its id's 64 bits, where its shingles begin and how many, characters of its text, and
# its places in LANGUAGES and SOURCE_ORDER.
DOCUMENT = numpy.dtype(
    [("id", "u8"), ("start", "u8"), ("count", "u4"), ("characters", "u4"), ("language", "u1"), ("source", "u1")]
)


class Bands(NamedTuple):
    bands: int
    rows: int


def bands_for(threshold: float) -> Bands:
    """The most rows a band with which pairs of this Jaccard similarity become candidates with a chance of RECALL.

    The chance of a pair of similarity s is 1 - (1 - s^rows)^bands (Leskovec, Rajaraman, Ullman, Mining of Massive
    Datasets, section 3.4.2). More rows mean fewer candidates in vain.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return Bands(bands, rows)
    raise ValueError(f"no bands find pairs of similarity {threshold}")


def method(threshold: float) -> dict:
    """What the signatures are made by, for records; an unfinished run of another method is not gone on with."""
    from rensa import RMinHash

    bands = bands_for(threshold)
    return {
        "shingles": f"{UNITS} words, {' and '.join(CHARACTER_LANGUAGES)} {UNITS} characters",
        "permutations": PERMUTATIONS,
        "bands": bands.bands,
        "rows": bands.rows,
        "seed": SEED,
        "minhash": f"rensa {version('rensa')}, algorithm {RMinHash.ALGORITHM_VERSION}",
    }


def band_keys(hashes: numpy.ndarray, ends: numpy.ndarray, bands: Bands) -> numpy.ndarray:
    """uint64 [documents, bands]: documents with the same key in a band are candidates.

    hashes, ends: as shingle_hashes returns them. What a document without shingles gets means nothing.
    """
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # --workers says how many cores are taken
    from rensa import RMinHash

    offsets = numpy.concatenate([[0], ends]).astype(numpy.uint64)
    signatures = RMinHash.digest_matrix_from_flat_token_hashes(hashes.astype(numpy.uint64), offsets, PERMUTATIONS, SEED)
    rows = numpy.array(signatures.to_rows(), numpy.uint64).reshape(len(ends), PERMUTATIONS)
    rows = rows[:, : bands.bands * bands.rows].reshape(len(ends), bands.bands, bands.rows)
    keys = numpy.zeros((len(ends), bands.bands), numpy.uint64)
    for row in range(bands.rows):  # FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) over the rows, then spread
        keys = (keys ^ rows[:, :, row]) * numpy.uint64(0x100000001B3)
        keys ^= keys >> numpy.uint64(29)
    return keys


def sign_unit(unit: Unit, manifest: dict, folder: Path, threshold: float) -> dict:
    """Write what is kept of a unit's documents to `folder`; returns what done.json says.

    documents.npy, origins.parquet (a row each), shingles.bin (uint32), keys.bin (uint64, band by band), done.json.
    Memory: one batch of texts, and about 200 bytes a document of the unit.
    """
    bands = bands_for(threshold)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "done.json").unlink(missing_ok=True)
    keys, facts, origins = [], [], []
    foreign = shingles = 0
    with open(folder / "shingles.bin", "wb") as file:
        for batch in _batches(read_unit(unit, manifest)):
            for language in LANGUAGES:
                documents = [d for d in batch if d["language"] == language]
                if not documents:
                    continue
                hashes, ends = shingle_hashes([d["text"] for d in documents], language)
                keys.append(band_keys(hashes, ends, bands))
                facts.append(_facts(documents, ends, shingles))
                origins += [d["origin"] for d in documents]
                hashes.tofile(file)
                shingles += len(hashes)
            foreign += sum(d["language"] not in LANGUAGES for d in batch)
    return write_unit(
        folder,
        numpy.concatenate([numpy.empty(0, DOCUMENT), *facts]),
        numpy.concatenate([numpy.empty((0, bands.bands), numpy.uint64), *keys]),
        origins,
        foreign,
    )


def write_unit(folder: Path, documents: numpy.ndarray, keys: numpy.ndarray, origins: list[str], foreign: int) -> dict:
    """Write a unit's files beside its shingles.bin, done.json last; returns what that says.

    documents: DOCUMENT; keys: uint64 [documents, bands]; foreign: documents left out for their language.
    """
    numpy.save(folder / "documents.npy", documents)
    keys.T.tofile(folder / "keys.bin")
    _write_origins(folder / "origins.parquet", origins)
    done = {
        "documents": len(documents),
        "shingles": int(documents["count"].sum()),
        "skipped": {FOREIGN: foreign} if foreign else {},
    }
    write_json(folder / "done.json", done)
    return done


def _batches(records):
    while batch := list(itertools.islice(records, DOCUMENTS_AT_ONCE)):
        yield batch


def _facts(documents: list[dict], ends: numpy.ndarray, shingles: int) -> numpy.ndarray:
    """The DOCUMENT rows of a batch, whose shingles stand behind so many others."""
    facts = numpy.empty(len(documents), DOCUMENT)
    facts["id"] = [int(d["id"], 16) for d in documents]
    facts["count"] = numpy.diff(ends, prepend=0)
    facts["start"] = shingles + ends - facts["count"]
    facts["characters"] = [len(d["text"]) for d in documents]
    facts["language"] = [LANGUAGES.index(d["language"]) for d in documents]
    facts["source"] = [SOURCE_ORDER.index(d["source"]) for d in documents]
    return facts


def _write_origins(path: Path, origins: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"origin": pyarrow.array(origins, pyarrow.large_string())})
    pyarrow.parquet.write_table(table, path, compression="zstd")


def read_documents(folder: Path) -> numpy.ndarray:
    return numpy.load(folder / "documents.npy")


def read_origins(folder: Path, rows: numpy.ndarray) -> list[str]:
    """Where the documents of these rows of a unit came from."""
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.parquet.read_table(folder / "origins.parquet").column("origin")
    return column.take(pyarrow.array(rows, pyarrow.int64())).to_pylist()


def read_shingles(folder: Path) -> numpy.ndarray:
    """All shingles of a unit, mapped from the disk."""
    return _mapped(folder / "shingles.bin", "<u4")


def read_keys(folder: Path, band: int) -> numpy.ndarray:
    """One band's keys of a unit's documents, mapped from the disk."""
    keys = _mapped(folder / "keys.bin", "<u8")
    count = read_json(folder / "done.json")["documents"]
    return keys[band * count : (band + 1) * count]


def _mapped(path: Path, kind: str) -> numpy.ndarray:
    if path.stat().st_size == 0:  # nothing that could be mapped
        return numpy.empty(0, kind)
    return numpy.memmap(path, kind, "r")
