import argparse
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloading.packed_windows import DocumentRows, OverlappingWindows, make_windows
from run_record import InputError

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, length=st.integers(2, 16), seed=st.integers(0, 3), masked=st.booleans())
def test_a_document_a_row_predicts_every_token_but_the_first_once(
    make_store, tmp_path_factory, lengths, length, seed, masked
):
    mask = np.random.default_rng(seed).integers(0, 2, sum(lengths))
    folder = tmp_path_factory.mktemp("store")
    store = make_store(folder, {"en": lengths}, masks={"en": mask} if masked else None)
    if max(lengths) == 1:
        with pytest.raises(InputError, match="fewer than one window"):
            DocumentRows(store, store.documents, length, seed)
        return
    rows = DocumentRows(store, store.documents, length, seed)
    batch = rows.batch(0, rows.per_epoch)
    assert batch["documents"] is None and batch["input_ids"].shape[1] <= length
    predicted = np.sort(batch["labels"][batch["labels"] != -100])
    offsets = store.offsets[0]
    wanted = [
        int(store.tokens[0][place])
        for start, stop in pairwise(offsets)
        for place in range(start + 1, stop)
        if not masked or mask[place]
    ]
    assert predicted.tolist() == sorted(wanted)
    assert rows.labels_in(0, rows.per_epoch) == len(wanted)
    # Rows start at their first token, whatever is beside them in the batch.
    assert (batch["position_ids"] == np.arange(batch["input_ids"].shape[1])).all()


def test_a_batch_of_rows_is_as_long_as_its_longest(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [5, 5, 5, 30]})
    rows = DocumentRows(store, store.documents, 16, 0)
    assert rows.per_epoch == 3 + 2 and "1 of 4 documents are longer" in rows.describe(rows.facts())
    widths = {rows.batch(i, 1)["input_ids"].shape[1] for i in range(5)}
    assert widths == {4, 13, 16}
    assert rows.batch(0, 5)["input_ids"].shape == (5, 16)


def test_overlapping_windows_are_the_published_ones(make_store, tmp_path):
    """Length 8, so a stride of 6: a document of 21 tokens makes windows at 0, 6, 12 and, moved back, 13."""
    store = make_store(tmp_path, {"en": [21, 5]})
    windows = OverlappingWindows(store, store.documents, 8, seed=0)
    assert windows.per_epoch == 5
    batch = windows.batch(0, 5)
    rows = sorted(batch["input_ids"].tolist())
    assert rows == [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [7, 8, 9, 10, 11, 12, 13, 14],
        [13, 14, 15, 16, 17, 18, 19, 20],
        [14, 15, 16, 17, 18, 19, 20, 0],
        [21, 22, 23, 24, 0, 0, 0, 0],
    ]
    assert np.array_equal(batch["labels"][:, :-1], batch["input_ids"][:, 1:]), "padding is trained on, as published"
    assert (batch["labels"][:, -1] == -100).all() and batch["documents"] is None
    assert windows.labels_in(0, 5) == 5 * 7
    assert windows.useful_tokens(0, 5) == 20 + 4
    described = windows.describe(windows.facts())
    assert "of 40 tokens per epoch 11 (27.5 %) are repeated and 3 (7.5 %) are padding" in described


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, length=st.integers(2, 16), first=st.integers(0, 20), count=st.integers(1, 30))
def test_overlapping_windows_find_each_token_useful_once_an_epoch(
    make_store, tmp_path_factory, lengths, length, first, count
):
    store = make_store(tmp_path_factory.mktemp("store"), {"en": lengths})
    windows = OverlappingWindows(store, store.documents, length, seed=1)
    assert windows.useful_tokens(0, windows.per_epoch) == sum(n - 1 for n in lengths)
    each = sum(windows.useful_tokens(i, 1) for i in range(first, first + count))
    assert windows.useful_tokens(first, count) == each


@pytest.mark.parametrize("layout", [DocumentRows, OverlappingWindows])
def test_the_rows_are_the_same_whatever_the_ranks_and_others_each_epoch(make_store, tmp_path, layout):
    store = make_store(tmp_path, {"en": list(range(2, 30)), "fr": [3] * 10})
    windows = layout(store, store.documents, 8, seed=3)
    epoch = windows.per_epoch
    whole = windows.batch(0, 2 * epoch)["input_ids"]
    width = whole.shape[1]
    for first in (epoch + 4, epoch - 4, 0):
        part = layout(store, store.documents, 8, seed=3).batch(first, 8)["input_ids"]
        assert np.array_equal(part, whole[first : first + 8, : part.shape[1]])
        assert part.shape[1] == width or (whole[first : first + 8, part.shape[1] :] == 0).all()
    assert sorted(whole[:epoch].tolist()) == sorted(whole[epoch:].tolist())
    assert not np.array_equal(whole[:epoch], whole[epoch:])


@pytest.mark.parametrize(
    ("rows", "crosses", "length", "message"),
    [
        ("document", True, 8, "no effect with --rows document"),
        ("packed", False, 1, "a window has at least 2 tokens"),
        ("packed", False, 99, r"en/web of .* 10 tokens to read, fewer than one window of 100"),
    ],
)
def test_layouts_that_cannot_be_end_in_a_sentence(make_store, tmp_path, rows, crosses, length, message):
    store = make_store(tmp_path, {"en": [5, 5]})
    args = argparse.Namespace(rows=rows, cross_document_attention=crosses, sequence_length=length, seed=0)
    with pytest.raises(InputError, match=message):
        make_windows(store, store.documents, args)
