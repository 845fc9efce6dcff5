import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packed_tokens import PackedWindows, TokenStore, validation_batches
from pretrain_record import InputError


def make_store(folder, lengths_by_language: dict[str, list[int]]) -> TokenStore:
    """A store whose tokens are all different but for the end token 0, so that every place is recognised."""
    shards, following = {}, 1
    for language, lengths in lengths_by_language.items():
        base = folder / language / "web" / "part-00000"
        base.parent.mkdir(parents=True)
        tokens = []
        for length in lengths:
            tokens += [*range(following, following + length - 1), 0]
            following += length - 1
        np.asarray(tokens, "<u4").tofile(base.with_suffix(".tokens"))
        np.save(base.with_suffix(".offsets.npy"), np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64))
        np.save(base.with_suffix(".bytes.npy"), np.asarray([3 * n for n in lengths], np.uint32))
        np.save(base.with_suffix(".ids.npy"), np.asarray([f"{language}{n}" for n in range(len(lengths))], "S"))
        shards[f"{language}/web/part-00000"] = {"language": language, "tokens": len(tokens)}
    manifest = {"format_version": 2, "loss_mask": False, "shards": shards, "dtype": "<u4", "end_of_text": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return TokenStore(folder)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 16), st.integers(0, 3))
def test_an_epoch_predicts_every_token_once_and_never_across_documents(tmp_path_factory, lengths, length, seed):
    store = make_store(tmp_path_factory.mktemp("store"), {"en": lengths})
    if (sum(lengths) - 1) // length == 0:
        with pytest.raises(InputError, match="fewer than one window"):
            PackedWindows(store, store.documents, length, seed)
        return
    windows = PackedWindows(store, store.documents, length, seed)
    batch = windows.batch(0, windows.per_epoch)
    stream = np.concatenate([windows.window(i)[0][:-1] for i in range(windows.per_epoch)])
    assert np.array_equal(stream, batch["input_ids"].ravel())
    predicted = batch["labels"][batch["labels"] >= 0]
    content = predicted[predicted > 0]
    assert len(set(content.tolist())) == len(content), "a token is predicted twice"
    # Inside a document labels follow inputs; after an end token nothing is predicted.
    ids, labels = batch["input_ids"], batch["labels"]
    assert (labels[ids == 0] == -100).all()
    inside = (ids > 0) & (labels > 0)
    assert (labels[inside] == ids[inside] + 1).all()


def test_the_order_is_a_function_of_seed_and_step_alone(tmp_path):
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


def test_a_document_sees_itself_alone(tmp_path):
    """Its logits in a packed window equal its logits alone: attention and positions stop at its borders."""
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
    model = LlamaForCausalLM(config).eval()
    store = make_store(tmp_path, {"en": [6, 9, 4, 8, 5]})
    batch = PackedWindows(store, store.documents, 24, seed=0).batch(0, 1)

    def logits(attention):
        return model(
            input_ids=torch.tensor(batch["input_ids"]),
            position_ids=torch.tensor(batch["position_ids"]),
            attention_mask=torch.tensor(attention),
            use_cache=False,
        ).logits[0]

    with torch.no_grad():
        packed = logits(batch["attention"])
        leaking = logits(np.tril(np.ones((1, 1, 24, 24), bool)))
        starts = [i for i in range(24) if batch["position_ids"][0, i] == 0]
        for start, stop in zip(starts, [*starts[1:], 24], strict=True):
            alone = model(input_ids=torch.tensor(batch["input_ids"][:, start:stop]), use_cache=False).logits[0]
            assert torch.allclose(packed[start:stop], alone, atol=1e-5)
    assert len(starts) >= 3
    assert not torch.allclose(packed[starts[1] :], leaking[starts[1] :], atol=1e-2), "the check would not see a leak"


def test_held_out_documents_are_a_share_of_each_language_and_not_trained_on(tmp_path):
    store = make_store(tmp_path, {"en": [5] * 40, "fr": [7] * 30, "ru": [4] * 9})
    training, held_out = store.split(3, seed=1)
    assert {language: len(d.tokens) for language, d in held_out.items()} == {"en": 3, "fr": 3}
    assert len(training.tokens) == 79 - 6
    chosen = {(int(s), int(n)) for d in held_out.values() for s, n in zip(d.shard, d.number, strict=True)}
    assert not chosen & set(zip(training.shard.tolist(), training.number.tolist(), strict=True))


def test_validation_reads_each_document_once_and_counts_its_bytes(tmp_path):
    store = make_store(tmp_path, {"en": [5, 30, 2]})
    batches = list(validation_batches(store, store.documents, length=8, batch=2))
    labels = np.concatenate([batch["labels"] for batch, _ in batches])
    assert (labels != -100).sum(axis=1).tolist() == [4, 8, 1]
    assert sum(size for _, size in batches) == pytest.approx(15 * 4 / 5 + 90 * 8 / 30 + 6 * 1 / 2)


def test_a_store_without_manifest_or_with_a_short_shard_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"tokenize_corpus\.py"):
        TokenStore(tmp_path)
    make_store(tmp_path, {"en": [5, 5]})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 1}))
    with pytest.raises(InputError, match="made by an earlier version"):
        TokenStore(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with open(tmp_path / "en/web/part-00000.tokens", "r+b") as file:
        file.truncate(12)
    with pytest.raises(InputError, match=r"part-00000\.tokens"):
        TokenStore(tmp_path)
