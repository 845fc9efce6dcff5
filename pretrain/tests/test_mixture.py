import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloading.lm_data import (
    PERIOD,
    Mixture,
    parts_by_weight,
    read_weights,
    take_turns,
    temperature_weights,
    whole_counts,
)
from dataloading.packed_windows import PackedWindows
from run_record import InputError


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.floats(0.001, 100), min_size=1, max_size=12), total=st.integers(50, 2000))
def test_running_shares_stay_within_one_window_of_the_weights(weights, total):
    shares = np.asarray(weights) / sum(weights)
    counts = whole_counts(shares.tolist(), total)
    assert counts.sum() == total and (counts >= 1).all()
    turns = take_turns(counts)
    assert np.bincount(turns, minlength=len(counts)).tolist() == counts.tolist()
    drawn = np.cumsum(turns[:, None] == np.arange(len(counts)), axis=0)
    owed = np.arange(1, total + 1)[:, None] * counts / total
    assert np.abs(drawn - owed).max() < 1


def test_shares_are_kept_to_the_nearest_ten_thousandth_and_none_is_lost():
    assert whole_counts([0.70004, 0.29995, 0.00001], PERIOD).tolist() == [7000, 2999, 1]
    assert whole_counts([0.98, 0.01, 0.01], 50).tolist() == [48, 1, 1]


@pytest.fixture(scope="module")
def mixture(make_store, tmp_path_factory):
    store = make_store(
        tmp_path_factory.mktemp("store"), {"en": [7, 9, 12, 5, 30], "fr/web": [11, 3, 8], "zh": [20, 9, 4, 4]}
    )
    parts = {
        group: PackedWindows(store, documents, 5, 0)
        for group, documents in parts_by_weight(store, store.documents, {"en": 1, "fr": 1, "zh": 1}, "x").items()
    }
    return Mixture(parts, {"en": 0.5, "fr": 0.2, "zh": 0.3}, per_epoch=40)


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 3 * PERIOD), count=st.integers(1, 60))
def test_any_stretch_is_the_same_windows_whatever_the_ranks(mixture, first, count):
    whole = mixture.batch(first, count)
    one_by_one = [mixture.batch(index, 1) for index in range(first, first + count)]
    for name in ("input_ids", "labels", "position_ids"):
        assert np.array_equal(whole[name], np.concatenate([batch[name] for batch in one_by_one]))
    assert mixture.labels_in(first, count) == (whole["labels"] != -100).sum()
    named = set(mixture.documents(first, count))
    assert named == {name for index in range(first, first + count) for name in mixture.documents(index, 1)}


def test_a_place_months_away_is_found_without_replaying(mixture):
    far = 10**9 + 12_345
    assert sum(mixture.drawn(far)) == far
    part, number = mixture.locate(far)
    assert number == mixture.drawn(far)[part] and mixture.drawn(far + 1)[part] == number + 1


def test_each_part_reads_its_windows_in_turn_through_epochs_of_its_own(mixture):
    seen = {part: [] for part in range(3)}
    for index in range(2000):
        part, number = mixture.locate(index)
        seen[part].append(number)
    assert all(numbers == list(range(len(numbers))) for numbers in seen.values())
    assert [len(numbers) for numbers in seen.values()] == pytest.approx([1000, 400, 600], abs=1)


def test_a_group_belongs_to_its_own_weight_before_its_languages(make_store, tmp_path):
    store = make_store(tmp_path, {"fr/web": [5] * 4, "fr/textbook": [6] * 3, "fr/site": [7], "zh": [8] * 2})
    parts = parts_by_weight(store, store.documents, {"fr/textbook": 2, "fr": 1, "zh": 0}, "x")
    assert {key: sorted(set(documents.tokens.tolist())) for key, documents in parts.items()} == {
        "fr/textbook": [6],
        "fr": [5, 7],
    }


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"fr": 1, "de": 2, "zh": 1}, "contains no de; it holds fr, fr/textbook, fr/web, zh, zh/web"),
        ({"fr/web": 1, "zh": 1}, "no weight for fr/textbook; give one, 0 to leave it out"),
        ({"fr": 1, "zh/web": 1, "zh": 1}, "zh has no document to train on"),
    ],
)
def test_weights_that_do_not_fit_the_store_are_refused(make_store, tmp_path, weights, message):
    store = make_store(tmp_path, {"fr/web": [5], "fr/textbook": [6], "zh": [8]})
    with pytest.raises(InputError, match=message):
        parts_by_weight(store, store.documents, weights, "weights.yaml")


def test_a_temperature_lifts_small_groups(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [800], "fr/web": [90], "fr/textbook": [10]})
    natural = temperature_weights(store, store.documents, 1.0)
    assert natural == {"en/web": 800, "fr/textbook": 10, "fr/web": 90}
    lifted = temperature_weights(store, store.documents, 3.0)
    assert lifted["en/web"] / lifted["fr/textbook"] == pytest.approx(80 ** (1 / 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the weights .*missing.yaml.*natural, temperature, or a YAML file"),
        ("- fr\n- zh\n", "expected lines such as"),
        ("", "expected lines such as"),
        ("fr: [1\n", "cannot read the weights"),
        ("fr: much\n", "the weight of fr is a number from 0 up, not 'much'"),
        ("fr: -1\n", "the weight of fr is a number from 0 up, not -1"),
        ("fr: .nan\n", "the weight of fr"),
        ("fr: true\n", "the weight of fr"),
        ("fr: 0\nzh: 0\n", "every weight is 0"),
    ],
)
def test_a_weights_file_that_is_wrong_ends_in_a_sentence(tmp_path, text, message):
    path = tmp_path / "missing.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_weights(path)
