"""Near-duplicate pairs, verified by their shingles; clusters, and which document of each is kept.

Documents that some pair joins, directly or through others, are one cluster. The best stays: the first source in
SOURCE_ORDER, then the longest text, then the least id. The others go, each with its similarity to the one kept; but one
that shares less than MIN_SIMILARITY with it (the far end of a chain) stays too, and may have a cluster of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy

from dedup.document_catalogue import Catalogue, origins_of
from filtering.keyword_kernel import compiled
from readers.corpus_format import SOURCE_ORDER

SMALL_GROUP, LEADERS = 32, 64
SHINGLES_AT_ONCE = 50_000_000  # in memory: 200 MB


class Groups(NamedTuple):
    """Documents group after group: group g has members [begins[g], begins[g + 1]); large: compare with leaders only."""

    members: numpy.ndarray
    begins: numpy.ndarray
    large: numpy.ndarray


class Matches(NamedTuple):
    """Pairs of similar documents: of the two the earlier one in the group, the later one, their Jaccard similarity."""

    earlier: numpy.ndarray
    later: numpy.ndarray
    similarity: numpy.ndarray


def groups_of(labels: numpy.ndarray, order: numpy.ndarray | None = None) -> Groups:
    """The groups of two and more documents with equal labels, large where over SMALL_GROUP.

    order: all documents, in the order that members of a group shall have (default: ascending).
    """
    by_label = numpy.argsort(labels if order is None else labels[order], kind="stable")
    order = by_label if order is None else order[by_label]
    ordered = labels[order]
    borders = numpy.flatnonzero(numpy.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    sizes = numpy.diff(borders, append=len(ordered))
    members = order[numpy.repeat(sizes > 1, sizes)]
    sizes = sizes[sizes > 1]
    return Groups(members, numpy.append(0, numpy.cumsum(sizes)), sizes > SMALL_GROUP)


def join_band(catalogue: Catalogue, band: int, threshold: float, forest: numpy.ndarray) -> numpy.ndarray:
    """int32 [pairs, 2]: documents of one language that this band joins, of a similarity of at least the threshold.

    forest: union-find (the parent of each document), changed. Small groups that it has joined already are not read.
    """
    groups = groups_of(catalogue.keys(band))
    if len(groups.large):
        roots = roots_of(forest, groups.members)
        at = groups.begins[:-1]
        open_ones = groups.large | (numpy.minimum.reduceat(roots, at) != numpy.maximum.reduceat(roots, at))
        sizes = numpy.diff(groups.begins)
        groups = Groups(
            groups.members[numpy.repeat(open_ones, sizes)],
            numpy.append(0, numpy.cumsum(sizes[open_ones])),
            groups.large[open_ones],
        )
    joined = [numpy.empty((0, 2), numpy.int32)]
    for matches in compare(catalogue, groups, threshold, forest):
        joined.append(numpy.stack([matches.earlier, matches.later], axis=1).astype(numpy.int32))
    return numpy.concatenate(joined)


def compare(catalogue: Catalogue, groups: Groups, threshold: float, forest: numpy.ndarray) -> Iterator[Matches]:
    """Yield the matches of the groups, with at most SHINGLES_AT_ONCE (and one document's) in memory.

    Small groups: matches that join something in the forest. Large groups: each document with its leader.
    """
    leaders = numpy.empty(0, numpy.int64)
    for piece, going_on in _pieces(catalogue, groups):
        known = len(leaders) if going_on else 0
        if known:
            piece = Groups(numpy.concatenate([leaders, piece.members]), piece.begins + known, piece.large)
            piece.begins[0] = 0
        shingles, ends = catalogue.shingles(piece.members)
        matches, last_leaders = compare_groups(
            piece.members, piece.begins, piece.large, known, shingles, ends, threshold, SMALL_GROUP, LEADERS, forest
        )
        leaders = piece.members[last_leaders]
        yield Matches(*matches)


def _pieces(catalogue: Catalogue, groups: Groups) -> Iterator[tuple[Groups, bool]]:
    """Split groups into pieces that fit into memory: whole groups, or parts of a large one (and whether more follow).

    A small group is never cut.
    """
    size_up_to = numpy.concatenate([[0], numpy.cumsum(catalogue.sizes[groups.members])])
    group, count = 0, len(groups.large)
    size_up_to_group = size_up_to[groups.begins]
    while group < count:
        begin = groups.begins[group]
        last = int(numpy.searchsorted(size_up_to_group, size_up_to[begin] + SHINGLES_AT_ONCE, "right")) - 1
        if last > group or not groups.large[group]:
            last = max(last, group + 1)  # groups [group, last) fit
            yield (
                Groups(
                    groups.members[begin : groups.begins[last]],
                    groups.begins[group : last + 1] - begin,
                    groups.large[group:last],
                ),
                False,
            )
            group = last
            continue
        going_on = False
        while begin < groups.begins[group + 1]:
            fits = int(numpy.searchsorted(size_up_to, size_up_to[begin] + SHINGLES_AT_ONCE, "right")) - 1
            end = min(max(fits, begin + 1), groups.begins[group + 1])
            part = Groups(groups.members[begin:end], numpy.array([0, end - begin]), groups.large[group : group + 1])
            yield part, going_on
            begin, going_on = end, True
        group += 1


@compiled
def root_of(forest, document):
    """The least document of the tree that a document is in; halves the way for the next who asks."""
    while forest[document] != document:
        forest[document] = forest[forest[document]]
        document = forest[document]
    return document


@compiled
def roots_of(forest, documents):
    roots = numpy.empty(len(documents), forest.dtype)
    for i in range(len(documents)):
        roots[i] = root_of(forest, documents[i])
    return roots


@compiled
def unite(forest, one, other):
    """Join two documents' trees under the lesser root."""
    one, other = root_of(forest, one), root_of(forest, other)
    forest[max(one, other)] = min(one, other)


@compiled
def unite_pairs(forest, pairs):
    for i in range(len(pairs)):
        unite(forest, pairs[i, 0], pairs[i, 1])


@compiled
def jaccard(shingles, begin, end, other_begin, other_end, threshold):
    """Shared part of two texts' shingles, each ascending; 0 where their numbers say that it is under threshold."""
    one, other = end - begin, other_end - other_begin
    if min(one, other) < threshold * max(one, other):
        return 0.0
    common = 0
    while begin < end and other_begin < other_end:
        a, b = shingles[begin], shingles[other_begin]
        common += a == b
        begin += a <= b
        other_begin += b <= a
    return common / (one + other - common)


@compiled
def compare_groups(members, begins, large, known, shingles, ends, threshold, small_group, most_leaders, forest):
    """((earlier, later, similarity) of matches, places of the last group's leaders).

    known: this many members of the first group are its leaders already. shingles, ends: of the members.
    """
    # A member is matched at most once in a large group; in a small one each match joins two trees.
    earlier, later = numpy.empty(len(members), numpy.int64), numpy.empty(len(members), numpy.int64)
    similarity = numpy.empty(len(members), numpy.float64)
    leaders = numpy.empty(max(small_group, most_leaders), numpy.int64)
    matched = count = 0
    for group in range(len(large)):
        first, most, count = begins[group], most_leaders if large[group] else small_group, 0
        if group == 0:
            first, count = first + known, known
            leaders[:known] = numpy.arange(known)
        for place in range(first, begins[group + 1]):
            found = False
            for leader in leaders[:count]:
                if not large[group] and root_of(forest, members[leader]) == root_of(forest, members[place]):
                    continue
                share = jaccard(shingles, ends[leader], ends[leader + 1], ends[place], ends[place + 1], threshold)
                if share < threshold:
                    continue
                unite(forest, members[leader], members[place])
                earlier[matched], later[matched], similarity[matched] = members[leader], members[place], share
                matched += 1
                found = True
                if large[group]:
                    break
            if count < most and not (found and large[group]):
                leaders[count] = place
                count += 1
    return (earlier[:matched], later[:matched], similarity[:matched]), leaders[:count]


MIN_SIMILARITY = 0.5
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

    Pairs joined by what is there already are omitted: the clusters are the same without them.
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
    """(columns of the documents to omit, in order of id; counts) of one language."""
    forest = joined_forest(catalogue, folder)
    entries = catalogue.entries
    preferred = numpy.lexsort((-entries["characters"].astype(numpy.int64), entries["source"]))  # ties: by id
    groups = groups_of(roots_of(forest, numpy.arange(len(catalogue))), preferred)
    groups = Groups(groups.members, groups.begins, numpy.full(len(groups.large), True))
    found = [numpy.empty((3, 0))]
    alone = numpy.arange(len(catalogue), dtype=numpy.int32)
    for matches in compare(catalogue, groups, MIN_SIMILARITY, alone):
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
