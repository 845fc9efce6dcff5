"""Clusters of near duplicates, and which document of each is kept.

Documents that some pair joins, directly or through others, are one cluster. The best stays: the first source in
SOURCE_ORDER, then the longest text, then the least id. The others go, each with its similarity to the one kept; but one
that shares less than LEAST_SIMILARITY with it (the far end of a chain) stays too, and may have a cluster of its own.
Example:

    python -c "import duplicate_clusters as d; print(d.LEAST_SIMILARITY)"
"""

from pathlib import Path

import numpy

from dedup.document_catalogue import Catalogue, origins_of
from dedup.near_duplicates import Groups, compare, groups_of, join_band, roots_of, unite_pairs
from readers.text_identity import SOURCE_ORDER

LEAST_SIMILARITY = 0.5
REASON = "near duplicate"
COLUMNS = {
    "id": "string",
    "kept_id": "string",
    "cluster": "string",
    "language": "string",
    "source": "string",
    "origin": "string",
    "similarity": "double",
    "reason": "string",
}


def pairs_file(folder: Path, language: str, band: int) -> Path:
    return folder / f"{language}-{band:03d}.npy"


def join_bands(catalogue: Catalogue, bands: list[int], threshold: float, folder: Path) -> None:
    """Write the pairs that each of these bands joins (int32 [pairs, 2]) to `folder`, whole or not.

    Pairs joined by what stands there already are left out: the clusters are the same without them.
    """
    forest = joined_forest(catalogue, folder)
    for band in bands:
        pairs = join_band(catalogue, band, threshold, forest)
        path = pairs_file(folder, catalogue.language, band)
        aside = path.with_suffix(".tmp")
        with open(aside, "wb") as file:
            numpy.save(file, pairs)
        aside.replace(path)


def joined_forest(catalogue: Catalogue, folder: Path) -> numpy.ndarray:
    """Union-find over one language's documents, joined by all pairs that were written: int32, the parent of each."""
    forest = numpy.arange(len(catalogue), dtype=numpy.int32)
    for path in sorted(folder.glob(f"{catalogue.language}-*.npy")):
        unite_pairs(forest, numpy.load(path))
    return forest


def removed_documents(catalogue: Catalogue, folder: Path) -> tuple[dict[str, list], dict[str, int]]:
    """(columns of the documents to leave out, in order of id; counts) of one language."""
    forest = joined_forest(catalogue, folder)
    entries = catalogue.entries
    preferred = numpy.lexsort((-entries["characters"].astype(numpy.int64), entries["source"]))  # ties: by id
    groups = groups_of(roots_of(forest, numpy.arange(len(catalogue))), preferred)
    groups = Groups(groups.members, groups.begins, numpy.full(len(groups.large), True))
    found = [numpy.empty((3, 0))]
    alone = numpy.arange(len(catalogue), dtype=numpy.int32)
    for matches in compare(catalogue, groups, LEAST_SIMILARITY, alone):
        found.append(numpy.stack(matches))
    kept, removed, similarity = numpy.concatenate(found, axis=1)
    order = numpy.argsort(removed)
    kept, removed = kept[order].astype(numpy.int64), removed[order].astype(numpy.int64)
    clusters = len(numpy.unique(kept))
    counts = {
        "near_duplicates": len(removed),
        "clusters": clusters,
        "kept_apart": len(groups.members) - len(removed) - len(groups.large),
    }
    kept_ids = [f"{number:016x}" for number in entries["id"][kept].tolist()]
    columns = {
        "id": [f"{number:016x}" for number in entries["id"][removed].tolist()],
        "kept_id": kept_ids,
        "cluster": kept_ids,
        "language": [catalogue.language] * len(removed),
        "source": [SOURCE_ORDER[source] for source in entries["source"][removed]],
        "origin": origins_of(entries[removed], catalogue.units),
        "similarity": similarity[order].round(6).tolist(),
        "reason": [REASON] * len(removed),
    }
    return columns, counts


def write_duplicates(path: Path, languages: list[dict[str, list]]) -> None:
    """Write the removed documents of all languages as one parquet file, in order of id."""
    import pyarrow
    import pyarrow.parquet

    types = {"string": pyarrow.string(), "double": pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    tables = [pyarrow.table(columns, schema=schema) for columns in languages]
    table = pyarrow.concat_tables([schema.empty_table(), *tables]).sort_by("id")
    aside = path.with_name(f".{path.name}.tmp")
    pyarrow.parquet.write_table(table, aside, compression="zstd")
    aside.replace(path)
