"""The catalogue of an unfinished run of `deduplicate.py`: every distinct text per language, sorted by id.

Made from the documents of all units (`minhash_signatures.py`), so that nothing later depends on the order of inputs, on
units, workers or shards. A document's number is its row here.
"""

import shutil
from pathlib import Path

import numpy

from dedup.minhash_signatures import DOCUMENT, read_documents, read_keys, read_origins, read_shingles
from language_codes import LANGUAGES
from run_record import read_json, write_json

# What DOCUMENT says, and where its signature is: the unit, and the row there.
ENTRY = numpy.dtype([*((name, DOCUMENT[name].str) for name in DOCUMENT.names), ("unit", "u4"), ("row", "u4")])
COUNTED = ("documents", "exact_duplicates", "without_words", "compared")


def make_catalogue(units: list[Path], folder: Path) -> None:
    """Write `folder`: <iso>.npy (ENTRY) of each language with a document to compare, and counts.json; whole or not.

    Of equal ids the one stays that `keep_first_of_each` of corpus_format.py keeps. Memory: about 60 bytes a
    document of all languages.
    """
    entries = read_entries(units)
    counts = {language: dict.fromkeys(COUNTED, 0) for language in LANGUAGES}
    _count(counts, "documents", entries)
    first = first_of_each(entries, units)
    _count(counts, "exact_duplicates", numpy.delete(entries["language"], first))
    entries = entries[first]
    wordless = entries["count"] == 0
    _count(counts, "without_words", entries["language"][wordless])
    entries = entries[~wordless]
    aside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for code, language in enumerate(LANGUAGES):
        of_one = entries[entries["language"] == code]
        counts[language]["compared"] = len(of_one)
        if len(of_one):
            numpy.save(aside / f"{language}.npy", of_one)
    skipped: dict[str, int] = {}
    for unit in units:
        for reason, count in read_json(unit / "done.json")["skipped"].items():
            skipped[reason] = skipped.get(reason, 0) + count
    counts = {language: row for language, row in counts.items() if row["documents"]}
    write_json(aside / "counts.json", {"counts": counts, "skipped": skipped})
    aside.replace(folder)


def _count(counts: dict[str, dict], what: str, entries: numpy.ndarray) -> None:
    codes = entries["language"] if entries.dtype.names else entries
    for code, language in enumerate(LANGUAGES):
        counts[language][what] = int(numpy.count_nonzero(codes == code))


def read_entries(units: list[Path]) -> numpy.ndarray:
    """ENTRY of every document of the units, in their order."""
    entries = numpy.empty(sum(read_json(unit / "done.json")["documents"] for unit in units), ENTRY)
    at = 0
    for number, unit in enumerate(units):
        documents = read_documents(unit)
        part = entries[at : at + len(documents)]
        for name in DOCUMENT.names:
            part[name] = documents[name]
        part["unit"], part["row"] = number, numpy.arange(len(documents))
        at += len(documents)
    return entries


def first_of_each(entries: numpy.ndarray, units: list[Path]) -> numpy.ndarray:
    """Rows of `entries` in order of id, one an id: of the first source, then the first origin, then language."""
    order = numpy.lexsort((entries["source"], entries["id"]))
    ids, sources = entries["id"][order], entries["source"][order]
    begins = numpy.append(True, ids[1:] != ids[:-1])[: len(ids)]
    # Only where the best source contains an id more than once do origins decide.
    group = numpy.cumsum(begins) - 1
    best = sources == sources[begins][group]
    contested = numpy.bincount(group[best], minlength=1)[group] > 1 if len(ids) else best
    rows = order[best & contested]
    origins = origins_of(entries[rows], units)
    keys = sorted(
        (int(entries["id"][row]), origin, LANGUAGES[entries["language"][row]], int(row))
        for row, origin in zip(rows, origins, strict=True)
    )
    first = order[begins]
    seen = None
    for document, _, _, row in keys:
        if document != seen:
            first[numpy.searchsorted(ids[begins], numpy.uint64(document))] = row
            seen = document
    return first


def origins_of(entries: numpy.ndarray, units: list[Path]) -> list[str]:
    """Where documents came from, in their order."""
    origins: list[str] = [""] * len(entries)
    for number in numpy.unique(entries["unit"]):
        places = numpy.flatnonzero(entries["unit"] == number)
        for place, origin in zip(places, read_origins(units[number], entries["row"][places]), strict=True):
            origins[place] = origin
    return origins


class Catalogue:
    """One language's documents, with what the units hold of them."""

    def __init__(self, folder: Path, language: str, units: list[Path]):
        self.entries = numpy.load(folder / f"{language}.npy", mmap_mode="r")
        self.language, self.units = language, units
        self.sizes = numpy.array(self.entries["count"], numpy.int64)  # distinct shingles

    def __len__(self) -> int:
        return len(self.entries)

    def keys(self, band: int) -> numpy.ndarray:
        """uint64 [documents]: the key of each in a band."""
        keys = numpy.empty(len(self), numpy.uint64)
        for unit, documents in self.by_unit(numpy.arange(len(self))):
            keys[documents] = read_keys(unit, band)[self.entries["row"][documents]]
        return keys

    def shingles(self, documents: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """(shingles uint32, ends int64 [documents + 1]) of some documents, in their order, read from the disk."""
        ends = numpy.concatenate([[0], numpy.cumsum(self.sizes[documents])]).astype(numpy.int64)
        shingles = numpy.empty(ends[-1], numpy.uint32)
        for unit, places in self.by_unit(documents):
            mapped, entries = read_shingles(unit), self.entries[documents[places]]
            for place, start, size in zip(places, entries["start"].tolist(), entries["count"].tolist(), strict=True):
                shingles[ends[place] : ends[place] + size] = mapped[start : start + size]
        return shingles, ends

    def by_unit(self, documents: numpy.ndarray):
        """Yield (a unit's folder, places in `documents`), the places in the order of the unit's rows."""
        entries = self.entries[documents]
        order = numpy.lexsort((entries["row"], entries["unit"]))
        units = entries["unit"][order]
        borders = numpy.flatnonzero(numpy.append(True, units[1:] != units[:-1])[: len(units)])
        for begin, end in zip(borders, [*borders[1:], len(order)], strict=True):
            yield self.units[units[begin]], order[begin:end]
