"""Shingles and MinHash signatures (rensa) of documents, unit by unit on disk.

Documents that share a band's key are candidates. Why rensa: MIT, needs nothing else, takes ready hashes in one flat
array, 12 microseconds per document (datasketch, also MIT: 75 to 220, and it needs scipy). It is a young project; so its
version and its algorithm's are part of an unfinished run, which another version cannot resume. What is joined does not
hang on it alone, since every candidate is verified by its shingles.
"""

import functools
import itertools
import os
import unicodedata
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy

from filtering.keyword_kernel import compiled
from language_codes import LANGUAGES
from readers.corpus_format import SOURCE_ORDER, normalised_text
from readers.corpus_inputs import Unit, read_unit
from run_record import read_json, write_json

# Lee et al. 2022 (https://arxiv.org/abs/2107.06499) compare 5-grams at a Jaccard similarity of 0.8. An isolated change
# touches 5 of n shingles, so that 0.8 allows changes of one word in 45: one in a text of 300 characters (50 words), 17
# in one of 5,000. Of characters, as many as of words, since every character begins a shingle.
UNITS = 5
CHARACTER_LANGUAGES = ("zh", "ja")
SEPARATOR, LETTER, SKIPPED = 0, 1, 2
TATWEEL = 0x640  # stretches Arabic words
LAST_ASSIGNED = 0x33480  # above are only private use and variation selectors
# The multipliers of MurmurHash3's 64-bit finaliser (https://github.com/aappleby/smhasher), and two odd ones of our own.
MIX_1, MIX_2 = numpy.uint64(0xFF51AFD7ED558CCD), numpy.uint64(0xC4CEB9FE1A85EC53)
WORD_STEP, SHINGLE_STEP = numpy.uint64(0x9E3779B97F4A7C15), numpy.uint64(0xD6E8FEB86659FD93)
HALF, MIX_SHIFT, NOTHING = numpy.uint64(32), numpy.uint64(33), numpy.uint64(0)


def shingle_hashes(texts: list[str], language: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(hashes, ends) of texts in one language: text i has the distinct hashes [ends[i-1], ends[i]), ascending.

    hashes: uint32 (two shingles of a text of 1,000 are taken for one with a chance of 0.0001); ends: int64. A text of
    fewer than five units has one shingle of what is there; one without any unit has none.
    """
    normalised = [normalised_text(text) for text in texts]
    codes = numpy.frombuffer("".join(normalised).encode("utf-32-le", "surrogatepass"), "<u4")
    text_ends = numpy.cumsum([len(text) for text in normalised], dtype=numpy.int64)
    found = numpy.empty(len(codes) + len(texts), numpy.uint64)
    count = hash_texts(codes, text_ends, letter_kinds(), language in CHARACTER_LANGUAGES, found)
    found = found[:count]
    found.sort()  # by text, then by hash; numpy.unique takes five times as long
    found = found[numpy.append(True, found[1:] != found[:-1])[:count]]
    ends = numpy.searchsorted(found, numpy.arange(1, len(texts) + 1, dtype=numpy.uint64) << HALF)
    return found.astype(numpy.uint32), ends.astype(numpy.int64)


@functools.cache
def letter_kinds() -> numpy.ndarray:
    """For every code point SEPARATOR, LETTER or SKIPPED (uint8)."""
    kinds = numpy.array([character.isalnum() for character in map(chr, range(0x110000))], numpy.uint8)
    for code in range(LAST_ASSIGNED):
        if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me", "Cf"):
            kinds[code] = SKIPPED
    kinds[TATWEEL] = SKIPPED
    return kinds


@compiled
def mixed(value):
    value = (value ^ (value >> MIX_SHIFT)) * MIX_1
    value = (value ^ (value >> MIX_SHIFT)) * MIX_2
    return value ^ (value >> MIX_SHIFT)


@compiled
def shingle_of(ring, first, last):
    """The hash of the units [first, last), of which the ring contains the last five."""
    value = NOTHING
    for unit in range(first, last):
        value = (value + ring[unit % UNITS]) * SHINGLE_STEP
    return mixed(value) >> HALF


@compiled
def hash_texts(codes, ends, kinds, characters, found):
    """Write (number of the text, shingle's hash) in one uint64 for every shingle; returns how many.

    codes: code points of all texts; ends: where each ends; characters: whether each letter is a unit of its own.
    """
    ring = numpy.zeros(UNITS, numpy.uint64)
    count = at = 0
    for text in range(len(ends)):
        label = numpy.uint64(text) << HALF
        units = 0
        word = NOTHING
        inside = False
        while at <= ends[text]:
            kind = kinds[codes[at]] if at < ends[text] else SEPARATOR
            if at == ends[text] and not inside:
                break
            at += 1
            if kind == SKIPPED:
                continue
            if kind == LETTER:
                word = mixed((word + numpy.uint64(codes[at - 1])) * WORD_STEP)
                inside = True
                if not characters:
                    continue
            elif not inside:
                continue
            ring[units % UNITS] = word
            units += 1
            word = NOTHING
            inside = False
            if units >= UNITS:
                found[count] = label | shingle_of(ring, units - UNITS, units)
                count += 1
        at = ends[text]
        if 0 < units < UNITS:
            found[count] = label | shingle_of(ring, 0, units)
            count += 1
    return count


PERMUTATIONS, SEED = 128, 42
RECALL = 0.995  # at least this many of the pairs at the threshold itself shall become candidates
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
    """What the signatures are made by, for records; an unfinished run of another method is not resumed."""
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

    documents: DOCUMENT; keys: uint64 [documents, bands]; foreign: documents omitted for their language.
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
    """The DOCUMENT rows of a batch, whose shingles are behind this many others."""
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
