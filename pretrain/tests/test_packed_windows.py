import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloading.packed_windows import PackedWindows
from modelling.packed_attention import attention_mask
from run_record import InputError


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    length=st.integers(1, 16),
    seed=st.integers(0, 3),
    masked=st.booleans(),
    crosses=st.booleans(),
)
def test_an_epoch_predicts_every_token_once(make_store, tmp_path_factory, lengths, length, seed, masked, crosses):
    mask = np.random.default_rng(seed).integers(0, 2, sum(lengths))
    folder = tmp_path_factory.mktemp("store")
    store = make_store(folder, {"en": lengths}, masks={"en": mask} if masked else None)
    if (sum(lengths) - 1) // length == 0:
        with pytest.raises(InputError, match="fewer than one window"):
            PackedWindows(store, store.documents, length, seed)
        return
    windows = PackedWindows(store, store.documents, length, seed, cross_document_attention=crosses)
    batch = windows.batch(0, windows.per_epoch)
    ids, labels = batch["input_ids"], batch["labels"]
    stream = np.concatenate([windows.window(i)[0][:-1] for i in range(windows.per_epoch)])
    assert np.array_equal(stream, ids.ravel())
    # The tokens 1, 2, 3, ... are in the store in this order, so a token's document and mask are known.
    content = ids[ids > 0]
    assert len(set(content.tolist())) == len(content), "a token is read twice"
    assert len(ids.ravel()) > sum(lengths) - 1 - length, "more than the tail of an epoch is omitted"
    following = np.append(stream[1:], windows.window(windows.per_epoch - 1)[0][-1]).reshape(ids.shape)
    counts = np.full(ids.shape, True) if crosses else ids > 0
    if masked:
        place = np.concatenate([np.arange(a, b) for a, b in in_order(windows)])
        counts = counts & (mask[place[1 : ids.size + 1]] > 0).reshape(ids.shape)
    assert np.array_equal(labels, np.where(counts, following, -100))
    assert windows.labels_in(0, windows.per_epoch) == counts.sum()


def in_order(windows: PackedWindows) -> list[tuple[int, int]]:
    """[start, stop) in the store of each document of the first epoch."""
    offsets = windows.store.offsets[0]
    return [(offsets[n], offsets[n + 1]) for n in windows.chosen.number[windows.order(0)[0]]]


@settings(max_examples=40, deadline=None)
@given(first=st.integers(0, 30), count=st.integers(1, 40), masked=st.booleans(), seed=st.integers(0, 2))
def test_labels_in_any_stretch_are_those_of_its_batches(make_store, tmp_path_factory, first, count, masked, seed):
    lengths = [7, 9, 1, 12, 5, 11, 3]
    mask = {"en": np.random.default_rng(seed).integers(0, 2, sum(lengths))} if masked else None
    store = make_store(tmp_path_factory.mktemp("store"), {"en": lengths}, masks=mask)
    windows = PackedWindows(store, store.documents, 5, seed)
    counted = sum(int((windows.batch(i, 1)["labels"] != -100).sum()) for i in range(first, first + count))
    assert windows.labels_in(first, count) == counted == windows.useful_tokens(first, count)


def test_the_order_is_a_function_of_seed_and_step_alone(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [7, 9, 12, 5], "fr": [11, 3, 8, 20]})
    windows = PackedWindows(store, store.documents, 5, seed=3)
    whole = windows.batch(0, 24)["input_ids"]
    # Two ranks, each in pieces of its own and out of order, read the same windows.
    for first in (20, 4, 0, 12):
        part = PackedWindows(store, store.documents, 5, seed=3).batch(first, 4)["input_ids"]
        assert np.array_equal(part, whole[first : first + 4])
    assert not np.array_equal(PackedWindows(store, store.documents, 5, seed=4).batch(0, 24)["input_ids"], whole)
    epoch = windows.per_epoch
    assert not np.array_equal(windows.batch(0, epoch)["input_ids"], windows.batch(epoch, epoch)["input_ids"])


def test_the_documents_of_a_window_are_named(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [4, 4, 4], "fr": [6]})
    windows = PackedWindows(store, store.documents, 17, seed=0)
    assert sorted(windows.documents(0, 1)) == [
        "en/web/part-00000:0 (en0)",
        "en/web/part-00000:1 (en1)",
        "en/web/part-00000:2 (en2)",
        "fr/web/part-00000:0 (fr0)",
    ]


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


def logits(model, batch):
    import torch

    with torch.no_grad():
        return model(
            input_ids=torch.tensor(batch["input_ids"]),
            position_ids=torch.tensor(batch["position_ids"]),
            attention_mask=attention_mask(batch["documents"], "cpu"),
            use_cache=False,
        ).logits[0]


def test_a_document_sees_itself_alone_and_its_neighbours_only_when_asked_to(make_store, tmp_path, model):
    """Its logits in a packed window equal its logits alone: attention and positions stop at its borders."""
    import torch

    store = make_store(tmp_path, {"en": [6, 9, 4, 8, 5]})
    batch = PackedWindows(store, store.documents, 24, seed=0).batch(0, 1)
    crossing = PackedWindows(store, store.documents, 24, seed=0, cross_document_attention=True).batch(0, 1)
    assert np.array_equal(batch["input_ids"], crossing["input_ids"])
    packed, leaking = logits(model, batch), logits(model, crossing)
    starts = [i for i in range(24) if batch["position_ids"][0, i] == 0]
    assert len(starts) >= 3
    for start, stop in zip(starts, [*starts[1:], 24], strict=True):
        with torch.no_grad():
            alone = model(input_ids=torch.tensor(batch["input_ids"][:, start:stop]), use_cache=False).logits[0]
        assert torch.allclose(packed[start:stop], alone, atol=1e-5)
        if start:
            assert not torch.allclose(leaking[start:stop], alone, atol=1e-2), "attention across documents changes them"
    assert torch.allclose(packed[: starts[1]], leaking[: starts[1]], atol=1e-5)
    assert crossing["position_ids"].tolist() == [list(range(24))] and crossing["documents"] is None
    assert (crossing["labels"] != -100).all()
