import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tokenize_corpus
from run_record import InputError, read_json

TYPES = {"id": pa.string(), "text": pa.string(), "loss_spans": pa.list_(pa.list_(pa.int32()))}


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
    with pytest.raises(InputError, match=r"different inputs \(corpus\)"):
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


def make_shards(folder: Path, shards: dict[str, dict[str, list]], types: dict | None = None) -> Path:
    """A corpus of the given columns, by shard name."""
    files = {}
    for name, columns in shards.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {"id": [f"{i:016x}" for i in range(len(next(iter(columns.values()))))], **columns}
        pq.write_table(pa.table({k: pa.array(v, (types or TYPES)[k]) for k, v in columns.items()}), path)
        files[f"{name}.parquet"] = {"bytes": path.stat().st_size, "sha256": ""}
    (folder / "manifest.json").write_text(json.dumps({"format_version": 1, "files": files}))
    return folder


def tokenise(corpus: Path, tokenizer: Path, out: Path, *flags: str) -> Path:
    assert tokenize_corpus.main([str(corpus), "--tokenizer", str(tokenizer), "--out", str(out), *flags]) == 0
    return out


def test_documents_keep_their_names(corpus, store_folder):
    for name in read_json(store_folder / "manifest.json")["shards"]:
        wanted = pq.read_table(corpus / f"{name}.parquet").column("id").to_pylist()
        assert [i.decode() for i in np.load(store_folder / f"{name}.ids.npy").tolist()] == wanted


def test_marked_spans_become_a_loss_mask_and_the_other_shards_get_one_too(tokenizer_folder, tmp_path):
    text = "Question: 发热 and fever?\n\nAnswer: cough, 💊."
    start = text.index("Answer")
    shards = {
        "en/web/part-00000": {
            "text": [text, text, text, text],
            "loss_spans": [[[start, len(text)]], None, [], [[0, 3], [start, start + 1]]],
        },
        "fr/web/part-00000": {"text": ["le malade"]},
    }
    out = tokenise(make_shards(tmp_path / "corpus", shards), tokenizer_folder, tmp_path / "tokens")
    manifest = read_json(out / "manifest.json")
    assert manifest["loss_mask"] is True
    offsets = np.load(out / "en/web/part-00000.offsets.npy").astype(int)
    tokens = np.fromfile(out / "en/web/part-00000.tokens", manifest["dtype"])
    mask = np.fromfile(out / "en/web/part-00000.loss", np.uint8)
    assert len(mask) == len(tokens)
    tokenizer = tokenize_corpus.load_tokenizer(str(tokenizer_folder))

    def counted(number: int) -> tuple[str, int]:
        """(text of the tokens that count, whether the end token does)."""
        ids = tokens[offsets[number] : offsets[number + 1]]
        chosen = mask[offsets[number] : offsets[number + 1]].astype(bool)
        return tokenizer.decode(ids[:-1][chosen[:-1]], clean_up_tokenization_spaces=False), int(chosen[-1])

    assert counted(0) == (text[start:], 0)
    assert counted(1) == (text, 1)
    assert counted(2) == ("", 0)
    assert text.startswith(counted(3)[0][:3]) and counted(3)[1] == 0 and "A" in counted(3)[0]
    assert np.fromfile(out / "fr/web/part-00000.loss", np.uint8).all()


def test_a_store_without_spans_has_no_mask(store_folder):
    assert read_json(store_folder / "manifest.json")["loss_mask"] is False
    assert not list(store_folder.rglob("*.loss"))


@pytest.mark.parametrize("spans", [[[0, 99]], [[3, 3]], [[-1, 2]], [[1, 2, 3]]])
def test_a_span_outside_its_text_is_refused_with_the_documents_place(tokenizer_folder, tmp_path, spans):
    corpus = make_shards(tmp_path / "c", {"en/web/part-00000": {"text": ["a b", "c d"], "loss_spans": [None, spans]}})
    with pytest.raises(InputError, match=r"part-00000\.parquet: document 1 .*loss span"):
        tokenise(corpus, tokenizer_folder, tmp_path / "tokens")


def test_the_letters_of_a_special_token_are_text(tokenizer_folder, tmp_path):
    corpus = make_shards(tmp_path / "c", {"en/web/part-00000": {"text": ["a <|endoftext|> b", ""]}})
    out = tokenise(corpus, tokenizer_folder, tmp_path / "tokens")
    manifest = read_json(out / "manifest.json")
    tokens = np.fromfile(out / "en/web/part-00000.tokens", manifest["dtype"])
    assert (tokens == manifest["end_of_text"]).sum() == 2
    assert manifest["shards"]["en/web/part-00000"]["empty_documents"] == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"title": ["a"]}, "no column `text`"),
        ({"text": [1]}, "no column `text`"),
        ({"text": ["a", None]}, r"document 1 \(from 0\) has no text"),
        ({"text": []}, "en: no shard of this language contains a document"),
        ({"text": ["a"], "loss_spans": ["0-1"]}, "lists of"),
    ],
)
def test_a_corpus_that_is_none_ends_in_a_sentence(tokenizer_folder, tmp_path, columns, message):
    kinds = {"id": pa.string(), "title": pa.string(), "text": pa.int64() if columns.get("text") == [1] else pa.string()}
    types = kinds | {"loss_spans": pa.string()}
    corpus = make_shards(tmp_path / "c", {"en/web/part-00000": columns}, types)
    with pytest.raises(InputError, match=message):
        tokenise(corpus, tokenizer_folder, tmp_path / "tokens")


def test_both_encoders_write_the_same_bytes(corpus, tokenizer_folder, store_folder, tmp_path, capsys):
    out = tokenise(corpus, tokenizer_folder, tmp_path / "tokens", "--encoder", "library", "--workers", "1")
    assert "encoder: tokenizers, because it was asked for" in capsys.readouterr().out
    assert data_bytes(out) == data_bytes(store_folder)
    names = [read_json(folder / "manifest.json")["encoder"]["name"] for folder in (store_folder, out)]
    assert names == ["tiktoken", "tokenizers"]


def test_a_check_of_a_whole_store_says_what_it_saw(corpus, tokenizer_folder, store_folder, capsys):
    before = data_bytes(store_folder)
    tokenise(corpus, tokenizer_folder, store_folder, "--check", "--check-documents", "7")
    assert "35 documents encoded again through the library are equal" in capsys.readouterr().out
    assert data_bytes(store_folder) == before


def change_token(store: Path, number: int, place: int, value: int) -> None:
    name = store / "fr/web/part-00000"
    offsets = np.load(f"{name}.offsets.npy").astype(int)
    tokens = np.memmap(f"{name}.tokens", "<u2", "r+")
    tokens[offsets[number] + place if place >= 0 else offsets[number + 1] + place] = value
    tokens.flush()


@pytest.mark.parametrize(
    ("damage", "lines"),
    [
        (lambda store: change_token(store, 5, 0, 3), ["SHA-256", "document 5 is encoded otherwise"]),
        (lambda store: change_token(store, 6, 0, 60000), ["document 6 has an id over the vocabulary"]),
        (lambda store: change_token(store, 7, -1, 3), ["document 7 does not end with the end-of-text token"]),
        (lambda store: (store / "ru/web/part-00000.ids.npy").unlink(), ["ru/web/part-00000.ids.npy: is missing"]),
        (
            lambda store: (store / "tokenizer/tokenizer.json").write_text("{}"),
            ["tokenizer/tokenizer.json: has 2 bytes"],
        ),
        (
            lambda store: np.save(store / "zh/web/part-00000.bytes.npy", np.arange(60, dtype=np.uint32)),
            ["zh/web/part-00000.bytes.npy: document 3 has not the size of its text"],
        ),
        (
            lambda store: np.save(store / "zh/web/part-00000.offsets.npy", np.zeros(61, np.uint64)),
            ["different numbers of documents or tokens"],
        ),
    ],
)
def test_a_check_names_what_differs_and_exits_1(
    corpus, tokenizer_folder, store_folder, tmp_path, damage, lines, capsys
):
    out = tmp_path / "tokens"
    shutil.copytree(store_folder, out)
    damage(out)
    arguments = [str(corpus), "--tokenizer", str(tokenizer_folder), "--out", str(out), "--check"]
    assert tokenize_corpus.main(arguments) == 1
    said = capsys.readouterr().out
    assert [line for line in lines if line not in said] == [], said


def test_a_check_knows_another_mask(tokenizer_folder, tmp_path, capsys):
    shards = {"en/web/part-00000": {"text": ["fever and cough", "b c"], "loss_spans": [[[0, 5]], None]}}
    corpus = make_shards(tmp_path / "corpus", shards)
    out = tokenise(corpus, tokenizer_folder, tmp_path / "tokens")
    tokenise(corpus, tokenizer_folder, out, "--check")
    mask = np.memmap(out / "en/web/part-00000.loss", np.uint8, "r+")
    mask[0] ^= 1
    mask.flush()
    arguments = [str(corpus), "--tokenizer", str(tokenizer_folder), "--out", str(out), "--check"]
    assert tokenize_corpus.main(arguments) == 1
    assert "en/web/part-00000.loss: document 0 has other marks" in capsys.readouterr().out


def test_a_check_wants_a_store(corpus, tokenizer_folder, tmp_path):
    with pytest.raises(InputError, match="nothing to check"):
        tokenise(corpus, tokenizer_folder, tmp_path / "tokens", "--check")


def test_a_damaged_shard_stops_the_workers_with_its_name_and_the_others_are_kept(
    make_corpus, tokenizer_folder, tmp_path
):
    corpus = make_corpus(tmp_path / "corpus", documents=30)
    path = corpus / "ru/web/part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[200:600] = bytes(400)  # pages, not the footer
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"ru/web/part-00000\.parquet is damaged"):
        tokenise(corpus, tokenizer_folder, tmp_path / "tokens", "--workers", "2", "--encoder", "library")
    assert not (tmp_path / "tokens/manifest.json").exists()
    assert (tmp_path / "tokens/en/web/part-00000.json").exists()


def test_empty_shards_and_documents_are_counted_in_the_log(tokenizer_folder, tmp_path, capsys):
    shards = {"en/web/part-00000": {"text": ["a", ""]}, "en/web/part-00001": {"text": []}}
    out = tokenise(make_shards(tmp_path / "c", shards), tokenizer_folder, tmp_path / "tokens")
    said = capsys.readouterr().out
    assert "en/web/part-00000 has 2 documents, 1 of them without text" in said
    assert "en/web/part-00001 has 0 documents" in said
    assert read_json(out / "manifest.json")["counts"]["en/web"]["documents"] == 2
