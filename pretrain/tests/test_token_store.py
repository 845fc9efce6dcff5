import json

import numpy as np
import pytest

from run_record import InputError, read_json
from token_data.token_store import TokenStore, held_out_counts


def test_held_out_documents_are_a_share_of_each_language_and_source_and_not_trained_on(make_store, tmp_path):
    store = make_store(tmp_path, {"en/web": [5] * 40, "en/textbook": [6] * 20, "fr": [7] * 30, "ru": [4] * 9})
    training, held_out = store.split(3, seed=1)
    assert {group: len(d) for group, d in held_out.items()} == {"en/textbook": 2, "en/web": 3, "fr/web": 3}
    assert len(training) == 99 - 8
    chosen = {(int(s), int(n)) for d in held_out.values() for s, n in zip(d.shard, d.number, strict=True)}
    assert not chosen & set(zip(training.shard.tolist(), training.number.tolist(), strict=True))


def test_a_language_of_small_sources_gives_of_its_largest():
    sizes = {"es/book": 3, "es/web": 9, "fr/web": 8, "ru/book": 9, "ru/web": 10}
    assert held_out_counts(sizes, 5) == {"es/book": 0, "es/web": 1, "fr/web": 0, "ru/book": 0, "ru/web": 1}
    assert set(held_out_counts(sizes, 0).values()) == {0}


def test_a_document_is_named_by_shard_number_and_id(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [5, 5], "fr/textbook": [3, 4]})
    assert store.name(store.names.index("fr/textbook/part-00000"), 1) == "fr/textbook/part-00000:1 (fr1)"


def test_without_a_mask_every_token_counts_and_with_one_those_marked(make_store, tmp_path):
    assert make_store(tmp_path / "a", {"en": [4, 3]}).read_mask(0, 1, 0, 3).tolist() == [True] * 3
    store = make_store(tmp_path / "b", {"en": [4, 3]}, masks={"en": [0, 1, 0, 0, 1, 0, 1]})
    assert store.read_mask(0, 1, 0, 3).tolist() == [True, False, True]


def cut(name: str):
    def damage(folder):
        with open(folder / name, "r+b") as file:
            file.truncate(12)

    return damage


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def short_offsets(folder) -> None:
    np.save(folder / "en/web/part-00000.offsets.npy", np.asarray([0, 5, 9], np.uint64))


def edit_manifest(**changes):
    return lambda folder: (folder / "manifest.json").write_text(
        json.dumps(read_json(folder / "manifest.json") | changes)
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("en/web/part-00000.tokens"), r"part-00000\.tokens is missing or not of 40 bytes"),
        (remove("en/web/part-00000.tokens"), r"part-00000\.tokens is missing"),
        (cut("en/web/part-00000.loss"), r"part-00000\.loss is missing or not of 10 bytes"),
        (remove("en/web/part-00000.loss"), r"part-00000\.loss is missing"),
        (cut("en/web/part-00000.offsets.npy"), r"part-00000\.offsets\.npy cannot be read"),
        (remove("en/web/part-00000.bytes.npy"), r"part-00000\.bytes\.npy cannot be read"),
        (remove("en/web/part-00000.ids.npy"), r"part-00000\.ids\.npy cannot be read"),
        (short_offsets, r"does not lead from 0 to the shard's 10 tokens"),
        (edit_manifest(format_version=1), r"format_version 1, read is 2"),
        (edit_manifest(shards={}), r"contains no shard"),
        (remove("manifest.json"), r"no token store, or one incomplete"),
    ],
)
def test_a_damaged_store_ends_in_a_sentence(make_store, tmp_path, damage, message):
    make_store(tmp_path, {"en": [5, 5]}, masks={"en": [1] * 10})
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        TokenStore(tmp_path)
    assert "tokenize_corpus.py" in str(caught.value)


def test_a_language_without_text_is_refused_by_name(make_store, tmp_path):
    with pytest.raises(InputError, match="shards of fr without a single token"):
        make_store(tmp_path, {"en": [5, 5], "fr/web": [], "fr/textbook": []})
