"""leaderboard_pages.row_ranks.py: the paired test is McNemar's, the unpaired one conservative, ranks say ties."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard_pages.leaderboard_rows import is_better, paired_p, rank_rows, z_better


def run_of(**languages: str) -> dict:
    """{question: right} of strings such as "110": 1 is right."""
    return {(key, str(number), 0): mark == "1" for key, marks in languages.items() for number, mark in enumerate(marks)}


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 0), (6, 0), (9, 2), (10, 10), (40, 20)])
def test_with_one_language_the_paired_test_is_mcnemars_exact_one(only_a, only_b):
    a = run_of(en="1" * only_a + "0" * only_b + "1" * 30)
    b = run_of(en="0" * only_a + "1" * only_b + "1" * 30)
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    points, p = paired_p(a, b)
    assert p == pytest.approx(min(1.0, 2 * tail))
    assert points == pytest.approx(100 * (only_a - only_b) / (n + 30))


marks = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5)


@given(st.dictionaries(st.sampled_from(["en", "zh", "ja"]), marks, min_size=1))
@settings(max_examples=60, deadline=None)
def test_over_several_languages_it_counts_every_way_the_coins_can_fall(languages):
    a = {(key, str(n), 0): pair[0] for key, pairs in languages.items() for n, pair in enumerate(pairs)}
    b = {(key, str(n), 0): pair[1] for key, pairs in languages.items() for n, pair in enumerate(pairs)}
    weights = [1 / len(pairs) for pairs in languages.values() for x, y in pairs if x != y]
    found = sum((x - y) / len(pairs) for pairs in languages.values() for x, y in pairs)
    falls = [
        sum(sign * weight for sign, weight in zip(signs, weights, strict=True))
        for signs in itertools.product((1, -1), repeat=len(weights))
    ]
    points, p = paired_p(a, b)
    assert p == pytest.approx(sum(abs(fall) >= abs(found) - 1e-9 for fall in falls) / len(falls))
    assert points == pytest.approx(100 * found / len(languages), abs=1e-9)
    assert paired_p(b, a) == (-points, p)


def test_many_questions_take_the_normal_distribution_which_agrees_with_the_exact_one(monkeypatch):
    a = run_of(en="1" * 200 + "0" * 160 + "1" * 640, ru="1" * 28 + "0" * 20 + "1" * 208)
    b = run_of(en="0" * 200 + "1" * 160 + "1" * 640, ru="0" * 28 + "1" * 20 + "1" * 208)
    exact = paired_p(a, b)
    monkeypatch.setattr("leaderboard_pages.leaderboard_rows.EXACT_SUMS", 10)
    normal = paired_p(a, b)
    assert exact[0] == normal[0]
    assert exact[1] != normal[1]
    assert exact[1] == pytest.approx(normal[1], abs=0.003)


def test_pairing_sees_what_independent_samples_cannot():
    """One has right all that the other has, and ten more: an advantage that is not a chance, of 4 points in 256."""
    a, b = run_of(ru="1" * 140 + "0" * 116), run_of(ru="1" * 130 + "0" * 126)
    cells = {"ru": (100 * 140 / 256, 256)}, {"ru": (100 * 130 / 256, 256)}
    assert is_better(*cells, a, b) == (True, True)
    assert is_better(*cells, None, b) == (False, False)
    assert is_better(*cells, a, run_of(ru="1" * 130 + "0" * 125)) == (False, False)  # not the same questions
    ranks = rank_rows([(cells[0], a), (cells[1], b)])
    assert ranks == [(1, "paired", []), (2, "paired", [])]


def test_the_z_test_is_two_sided_at_five_per_cent():
    """A difference of 10 points in two samples of n at one half: significant from 2 * 0.25 / (0.1 / 1.96)^2 on."""

    def better(n):
        return z_better({"en": (55.0, n)}, {"en": (45.0, n)})

    assert not better(190)
    assert better(191)
    assert not z_better({"en": (45.0, 9999)}, {"en": (55.0, 9999)})
    assert not z_better({"en": (50.0, 9)}, {"en": (50.0, 9)})


def test_ranks_count_the_better_rows_and_name_the_ties_and_how_they_were_tested():
    a, b = run_of(en="1" * 60 + "0" * 40), run_of(en="1" * 59 + "0" * 41)
    rows = [({"en": (60.0, 100)}, a), ({"en": (59.0, 100)}, b), ({"en": (10.0, 100)}, None)]
    assert rank_rows(rows) == [(1, "partly paired", [1]), (1, "partly paired", [0]), (3, "unpaired", [])]
    assert rank_rows(rows[:1]) == [(1, "", [])]
