import pytest

import train_tokenizer
from run_record import InputError, read_json


@pytest.mark.parametrize(
    "text",
    [
        "Fever 38.5 °C",
        "fièvre aiguë",
        "fiebre",
        "Fieber",
        "лихорадка",
        "发热。",
        "発熱する",
        "حمى شديدة",
        " two  spaces\n\t",
        "💊",
    ],
)
def test_every_script_survives_the_round_trip(tokenizer_folder, text):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.eos_token_id not in ids


def test_a_complete_tokenizer_is_reused_and_another_size_refused(corpus, tokenizer_folder, capsys):
    before = read_json(tokenizer_folder / "run.json")
    assert train_tokenizer.main([str(corpus), "--vocab-size", "400", "--out", str(tokenizer_folder)]) == 0
    assert "is reused" in capsys.readouterr().out
    assert read_json(tokenizer_folder / "run.json") == before
    with pytest.raises(InputError, match=r"different arguments \(vocab_size\)"):
        train_tokenizer.main([str(corpus), "--vocab-size", "500", "--out", str(tokenizer_folder)])


def test_a_vocabulary_smaller_than_the_bytes_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match="256 bytes"):
        train_tokenizer.main([str(corpus), "--vocab-size", "100", "--out", str(tmp_path / "t")])


def test_a_dry_run_writes_nothing(corpus, tmp_path):
    assert train_tokenizer.main([str(corpus), "--vocab-size", "400", "--out", str(tmp_path / "t"), "--dry-run"]) == 0
    assert not (tmp_path / "t").exists()


def test_a_corpus_that_is_missing_half_made_or_damaged_is_refused(corpus, tmp_path):
    import shutil

    with pytest.raises(InputError, match="build_corpus"):
        train_tokenizer.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "t")])
    half = tmp_path / "half"
    shutil.copytree(corpus, half)
    (half / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"incomplete"):
        train_tokenizer.main([str(half), "--out", str(tmp_path / "t")])
    damaged = tmp_path / "damaged"
    shutil.copytree(corpus, damaged)
    with open(damaged / "fr/web/part-00000.parquet", "r+b") as file:
        file.truncate(100)
    with pytest.raises(InputError, match=r"fr/web/part-00000\.parquet"):
        train_tokenizer.main([str(damaged), "--out", str(tmp_path / "t")])
