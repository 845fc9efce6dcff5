"""duplicate_clusters.py: groups and clusters equal those of the plain definition, in any order."""

import itertools
import random
import types

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import duplicate_clusters
from dedup.duplicate_clusters import LEADERS, SMALL_GROUP, compare, groups_of, roots_of, unite_pairs
from dedup.minhash_signatures import band_keys, bands_for

some_sets = st.lists(st.frozensets(st.integers(0, 14), min_size=1, max_size=9), max_size=14)


def catalogue_of(sets: list) -> types.SimpleNamespace:
    """Documents that have these sets of shingles."""
    arrays = [numpy.array(sorted(one), numpy.uint32) for one in sets]

    def shingles(documents):
        chosen = [arrays[document] for document in documents]
        ends = numpy.cumsum([0, *map(len, chosen)])
        return numpy.concatenate([numpy.empty(0, numpy.uint32), *chosen]), ends

    return types.SimpleNamespace(sizes=numpy.array([len(one) for one in sets], numpy.int64), shingles=shingles)


def similarity(one: frozenset, other: frozenset) -> float:
    return len(one & other) / len(one | other)


def clusters_of(count: int, pairs) -> set[frozenset]:
    """Connected parts, by walking."""
    beside = {document: {document} for document in range(count)}
    for one, other in pairs:
        beside[one].add(other)
        beside[other].add(one)
    clusters = set()
    for document in range(count):
        reached, waiting = set(), [document]
        while waiting:
            if (here := waiting.pop()) not in reached:
                reached.add(here)
                waiting += beside[here]
        clusters.add(frozenset(reached))
    return clusters


def joined(sets: list, threshold: float, order: list[int] | None = None) -> set[frozenset]:
    """Clusters by `compare`, where all documents are candidates, given in another order."""
    order = list(range(len(sets))) if order is None else order
    forest = numpy.arange(len(sets), dtype=numpy.int32)
    groups = groups_of(numpy.zeros(len(sets), numpy.uint64))
    pairs = [
        (int(a), int(b))
        for matches in compare(catalogue_of([sets[i] for i in order]), groups, threshold, forest)
        for a, b in zip(matches.earlier, matches.later, strict=True)
    ]
    return {frozenset(order[i] for i in cluster) for cluster in clusters_of(len(sets), pairs)}


@settings(deadline=None)  # the first compiles
@given(some_sets, st.sampled_from([0.5, 0.8, 1.0]), st.randoms())
def test_small_groups_become_the_clusters_of_the_definition_in_any_order(sets, threshold, dice):
    wanted = clusters_of(
        len(sets),
        [(i, j) for i, j in itertools.combinations(range(len(sets)), 2) if similarity(sets[i], sets[j]) >= threshold],
    )
    order = list(range(len(sets)))
    dice.shuffle(order)
    assert joined(sets, threshold) == joined(sets, threshold, order) == wanted


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20), st.randoms())
def test_union_find_gives_connected_parts_under_their_least_document_in_any_order(pairs, dice):
    roots = []
    for _ in range(2):
        forest = numpy.arange(12, dtype=numpy.int32)
        unite_pairs(forest, numpy.array(pairs, numpy.int32).reshape(-1, 2))
        roots.append(roots_of(forest, numpy.arange(12)).tolist())
        dice.shuffle(pairs)
    assert roots[0] == roots[1]
    wanted = clusters_of(12, pairs)
    assert {frozenset(i for i in range(12) if roots[0][i] == root) for root in roots[0]} == wanted
    assert all(roots[0][min(cluster)] == min(cluster) for cluster in wanted)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_large_groups_have_leaders_unlike_each_other_and_pieces_make_no_difference(seed, pieces):
    dice = random.Random(seed)
    kinds = [frozenset(range(20 * kind, 20 * kind + 20)) for kind in range(5)]
    sets = [dice.choice(kinds) - {dice.randrange(100)} for _ in range(SMALL_GROUP + 30)]
    groups = groups_of(numpy.zeros(len(sets), numpy.uint64))
    found = []
    for at_once in (10**9, pieces * 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(duplicate_clusters, "SHINGLES_AT_ONCE", at_once)
            forest = numpy.arange(len(sets), dtype=numpy.int32)
            found.append(
                numpy.concatenate([numpy.stack(m) for m in compare(catalogue_of(sets), groups, 0.8, forest)], axis=1)
            )
    assert numpy.array_equal(*found)
    earlier, later, shares = found[0]
    assert len(set(later)) == len(later) == len(sets) - 5 and not set(earlier) & set(later)
    for one, other, share in zip(earlier.astype(int), later.astype(int), shares, strict=True):
        assert share == pytest.approx(similarity(sets[one], sets[other])) and share >= 0.8


def test_a_group_of_strangers_costs_no_more_than_its_leaders(monkeypatch):
    """5,000 documents with one key and nothing in common: each is compared with at most LEADERS others."""
    count = 5000
    sets = [range(3 * i, 3 * i + 3) for i in range(count)]
    groups = groups_of(numpy.zeros(count, numpy.uint64))
    read = []
    catalogue = catalogue_of(sets)
    plain = catalogue.shingles
    catalogue.shingles = lambda documents: (read.append(len(documents)), plain(documents))[1]
    monkeypatch.setattr(duplicate_clusters, "SHINGLES_AT_ONCE", 3000)
    forest = numpy.arange(count, dtype=numpy.int32)
    assert sum(len(matches.later) for matches in compare(catalogue, groups, 0.8, forest)) == 0
    assert max(read) <= 1000 + LEADERS and sum(read) <= count + LEADERS * len(read)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_pairs_at_the_threshold_share_a_key(threshold):
    dice = numpy.random.default_rng(1)
    bands = bands_for(threshold)
    assert bands.bands * bands.rows <= 128
    size, pairs = 400, 1000
    common = round(2 * size * threshold / (1 + threshold) + 0.5) if threshold < 1 else size
    both = dice.integers(0, 2**32, (pairs, 2 * size - common), numpy.uint32)
    sets = numpy.stack([both[:, :size], both[:, size - common :]], axis=1)
    keys = band_keys(sets.ravel(), numpy.arange(1, 2 * pairs + 1) * size, bands).reshape(pairs, 2, bands.bands)
    assert (keys[:, 0] == keys[:, 1]).any(axis=1).mean() >= 0.985
    strangers = band_keys(dice.integers(0, 2**32, 2 * size, numpy.uint32), numpy.array([size, 2 * size]), bands)
    assert not (strangers[0] == strangers[1]).any()
