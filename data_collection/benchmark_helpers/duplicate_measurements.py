"""Synthetic documents with near copies, and the memory that comparing documents takes; for bench_deduplicate.py."""

import json
import multiprocessing
import random
import re
import unicodedata
from pathlib import Path

import numpy

from dedup.document_catalogue import Catalogue, make_catalogue
from dedup.duplicate_clusters import join_bands, removed_documents
from dedup.minhash_signatures import DOCUMENT, bands_for, write_unit
from readers.corpus_format import normalised_text
from readers.corpus_inputs import FILTER
from run_record import describe_files, write_json

CHARACTERS = ("zh", "ja")
GRAM = 5
IGNORED = ("Mn", "Mc", "Me", "Cf")  # vowel marks, joiners


def units_of_text(text: str, language: str) -> list[str]:
    """The words of a text; in Chinese and Japanese its characters."""
    seen = "".join(c for c in normalised_text(text) if unicodedata.category(c) not in IGNORED and c != "ـ")
    words = re.findall(r"[^\W_]+", "".join(c if c.isalnum() else " " for c in seen))
    return list("".join(words)) if language in CHARACTERS else words


def true_similarity(one: str, other: str, language: str) -> float:
    """Jaccard similarity of the sets of 5-grams; a shorter text is one gram."""
    sets = []
    for text in (one, other):
        units = units_of_text(text, language)
        sets.append({tuple(units[i : i + GRAM]) for i in range(max(1, len(units) - GRAM + 1))} if units else set())
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def near_copy(text: str, other: str, language: str, similarity: float, scattered: bool, rng: random.Random) -> str:
    """A copy of a text with about this Jaccard similarity; the differing words come from another text.

    scattered: single words (characters) differ, spread over the text; else one passage differs. If m of n shingles
    differ, the similarity is (n - m) / (n + m); a single word changes GRAM shingles.
    """
    joint = "" if language in CHARACTERS else " "
    units = list(text) if not joint else text.split()
    foreign = (list(other) if not joint else other.split()) or ["0"]
    differing = round(len(units) * (1 - similarity) / (1 + similarity))
    if scattered:
        count = max(1, differing // GRAM)
        step = len(units) / count
        places = [min(len(units) - 1, int(step * i + rng.random() * max(0, step - GRAM))) for i in range(count)]
        for place in places:
            units[place] = rng.choice(foreign)
    else:
        begin = rng.randrange(max(1, len(units) - differing))
        passage = [foreign[i % len(foreign)] for i in range(differing)]
        units[begin : begin + differing] = passage
    return joint.join(units)


def mixed_document(pool: list[str], characters: int, rng: random.Random) -> str:
    """A new document of about this many characters, from pieces of the texts in a pool."""
    pieces: list[str] = []
    length = 0
    while length < characters:
        text = rng.choice(pool)
        begin = rng.randrange(max(1, len(text) - 300))
        piece = text[begin : begin + rng.randrange(150, 300)]
        pieces.append(piece)
        length += len(piece) + 1
    return "\n".join(pieces)


def write_finished_folder(
    folder: Path, documents: dict[str, list[dict]], group_rows: int = 5000, source: str = "web"
) -> Path:
    """Write {language: [{"text", "id", ...}]} like an output of filter.py; returns the folder."""
    import pyarrow
    import pyarrow.parquet

    files = []
    for language, texts in documents.items():
        path = folder / language / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        table = pyarrow.Table.from_pylist([{"language": language} | text for text in texts])
        pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=group_rows)
        files.append(path)
    manifest = {
        "stage": FILTER,
        "arguments": {"text_column": "text", "source": source},
        "counts": {language: {"kept": len(texts)} for language, texts in documents.items()},
        "files": describe_files(folder, files),
    }
    write_json(folder / "manifest.json", json.loads(json.dumps(manifest)))
    return folder


UNIT_DOCUMENTS, SHINGLES, COPIES = 50_000, 20, 0.3  # of synthetic units: documents, shingles, share of copies


def comparing_memory(folder: Path, sizes: tuple[int, ...]) -> dict:
    """Peak memory of all steps after the signatures, for each number of synthetic documents of one language.

    bytes_a_document: growth from the smallest to the largest number.
    """
    # Warm-up, not measured: compiling numba's code takes more memory than comparing a few documents.
    warm_up = folder / "warm-up"
    _in_process(_compare_units, warm_up, _in_process(_make_units, warm_up, sizes[0]))
    peaks, disk = [], 0
    for size in sizes:
        units = _in_process(_make_units, folder / str(size), size)
        disk = sum(f.stat().st_size for unit in units for f in unit.iterdir() if f.name != "shingles.bin")
        peaks.append(_in_process(_compare_units, folder / str(size), units))
    return {
        "documents": list(sizes),
        "peak_bytes": peaks,
        "disk_bytes_a_document": disk / sizes[-1],
        "bytes_a_document": (peaks[-1] - peaks[0]) / (sizes[-1] - sizes[0]),
    }


def _make_units(folder: Path, size: int) -> list[Path]:
    """Write units of synthetic documents; COPIES of them have the shingles and keys of the document before."""
    rng = numpy.random.default_rng(size)
    bands = bands_for(0.8).bands
    units = []
    for number, begin in enumerate(range(0, size, UNIT_DOCUMENTS)):
        count = min(UNIT_DOCUMENTS, size - begin)
        unit = folder / f"unit-{number:05d}"
        unit.mkdir(parents=True)
        original = numpy.maximum.accumulate(numpy.where(rng.random(count) < COPIES, 0, numpy.arange(count)))
        shingles = numpy.sort(rng.integers(0, 2**32, (count, SHINGLES), numpy.uint32), axis=1)[original]
        shingles.tofile(unit / "shingles.bin")
        documents = numpy.zeros(count, DOCUMENT)
        documents["id"] = rng.integers(0, 2**64, count, numpy.uint64)
        documents["start"], documents["count"] = numpy.arange(count) * SHINGLES, SHINGLES
        keys = rng.integers(0, 2**64, (count, bands), numpy.uint64)[original]
        write_unit(unit, documents, keys, [f"https://example.org/{begin + i}" for i in range(count)], 0)
        units.append(unit)
    return units


def _compare_units(folder: Path, units: list[Path]) -> int:
    """Compare as deduplicate.py does; returns this process's peak memory in bytes."""
    make_catalogue(units, folder / "catalogue")
    (folder / "pairs").mkdir()
    catalogue = Catalogue(folder / "catalogue", "en", units)
    join_bands(catalogue, list(range(bands_for(0.8).bands)), 0.8, folder / "pairs")
    removed_documents(catalogue, folder / "pairs")
    # Not getrusage: its maximum includes the memory inherited from the parent process.
    status = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])


def _in_process(work, *arguments):
    """work(*arguments), run in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)
