import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tokenize_corpus
from pretrain_record import InputError, read_json


def data_bytes(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("part-*")) if p.is_file()}


def test_the_store_holds_every_document_with_its_end_token(corpus, tokenizer_folder, store_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    manifest = read_json(store_folder / "manifest.json")
    assert len(manifest["shards"]) == 5
    for name, facts in manifest["shards"].items():
        texts = pq.read_table(corpus / f"{name}.parquet").column("text").to_pylist()
        tokens = np.fromfile(store_folder / f"{name}.tokens", manifest["dtype"])
        offsets = np.load(store_folder / f"{name}.offsets.npy")
        assert (len(offsets) - 1, offsets[-1]) == (len(texts), len(tokens)) == (facts["documents"], facts["tokens"])
        for number, text in enumerate(texts):
            ids = tokens[offsets[number] : offsets[number + 1]].tolist()
            assert ids == [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert np.load(store_folder / f"{name}.bytes.npy").tolist() == [len(text.encode()) for text in texts]


def test_counts_stand_per_language_and_source(store_folder):
    counts = read_json(store_folder / "manifest.json")["counts"]
    assert set(counts) == {"en/web", "en/textbook", "fr/web", "ru/web", "zh/web"}
    row = counts["ru/web"]
    assert row["tokens_per_character"] == pytest.approx(row["tokens"] / row["characters"], abs=1e-4)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(corpus, tokenizer_folder, store_folder, tmp_path, workers):
    out = tmp_path / "tokens"
    shutil.copytree(store_folder, out)
    # As a kill leaves it: no manifest, one shard unfinished, another half-written.
    (out / "manifest.json").unlink()
    (out / "fr/web/part-00000.json").unlink()
    (out / "ru/web/part-00000.json").unlink()
    (out / "ru/web/part-00000.tokens").unlink()
    (out / "ru/web/part-00000.tokens.tmp").write_bytes(b"half")
    kept = (out / "en/web/part-00000.tokens").stat().st_mtime_ns
    arguments = [str(corpus), "--tokenizer", str(tokenizer_folder), "--out", str(out), "--workers", str(workers)]
    assert tokenize_corpus.main(arguments) == 0
    assert data_bytes(out) == data_bytes(store_folder)
    assert (out / "en/web/part-00000.tokens").stat().st_mtime_ns == kept


def test_another_corpus_is_never_mixed_into_a_store(make_corpus, tokenizer_folder, store_folder, tmp_path):
    other = make_corpus(tmp_path / "other", documents=5, seed=1)
    out = tmp_path / "tokens"
    shutil.copytree(store_folder, out)
    (out / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"other inputs \(corpus\)"):
        tokenize_corpus.main([str(other), "--tokenizer", str(tokenizer_folder), "--out", str(out)])


def test_a_missing_tokenizer_is_said_with_the_command_that_makes_one(corpus, tmp_path):
    with pytest.raises(InputError, match=r"train_tokenizer\.py"):
        tokenize_corpus.main([str(corpus), "--tokenizer", str(tmp_path / "none"), "--out", str(tmp_path / "tokens")])


def test_the_fingerprint_knows_tokenizers_apart(corpus, tokenizer_folder, tmp_path):
    import train_tokenizer

    train_tokenizer.main([str(corpus), "--vocab-size", "380", "--out", str(tmp_path / "small")])
    prints = {
        tokenize_corpus.tokenizer_fingerprint(tokenize_corpus.load_tokenizer(str(folder)))
        for folder in (tokenizer_folder, tmp_path / "small", tokenizer_folder)
    }
    assert len(prints) == 2
