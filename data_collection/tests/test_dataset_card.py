"""The corpus's dataset card: its header as the hub reads it, the numbers in its tables, tokens, and its picture."""

import pytest
import yaml

from corpus.dataset_card import PIECE_CHARACTERS, draw_corpus, pieces_of, reported_tokens


@pytest.fixture
def documents(run, made, tmp_path):
    rows = [
        {"text": text, "language": iso, "source": "textbook" if iso == "zh" else "existing", "licence": "CC0 | <b>"}
        for iso, text in made.medical.items()
    ]
    made.jsonl(tmp_path / "docs.jsonl", rows)
    assert run("existing_corpora.py", tmp_path / "docs.jsonl", "--out", tmp_path / "docs").returncode == 0
    return tmp_path / "docs"


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer whose tokens are runs of letters and single signs."""
    import tokenizers

    one = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "[CLS]": 1}, unk_token="[UNK]"))
    one.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    one.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 1)])
    one.enable_truncation(5)
    (tmp_path / "words").mkdir()
    one.save(str(tmp_path / "words" / "tokenizer.json"))
    return tmp_path / "words"


def test_the_card_opens_as_the_hub_and_its_readers_open_it(run, made, documents, tmp_path, monkeypatch):
    assert run("build_corpus.py", documents, "--out", tmp_path / "MMedC").returncode == 0
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(tmp_path / "MMedC" / "README.md")
    header = yaml.safe_load((tmp_path / "MMedC" / "README.md").read_text("utf-8").split("---\n")[1])
    assert card.data.to_dict() == header
    assert header["language"] == ["ar", "de", "en", "es", "fr", "ja", "ru", "zh"]
    assert [c["config_name"] for c in header["configs"]] == ["default", *header["language"]]
    assert header["size_categories"] == ["n<1K"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets
    import pandas

    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    assert datasets.load_dataset(str(tmp_path / "MMedC"), **options).num_rows == 8
    for iso in ("ar", "zh"):
        loaded = datasets.load_dataset(str(tmp_path / "MMedC"), iso, **options)
        assert loaded["text"][:] == [made.medical[iso]]
        assert pandas.read_parquet(tmp_path / "MMedC" / iso)["text"].tolist() == [made.medical[iso]]


def test_tokens_are_counted_by_the_tokenizer_named_special_ones_left_out(run, made, documents, tokenizer, tmp_path):
    import re

    done = run("build_corpus.py", documents, "--out", tmp_path / "a", "--tokenizer", tokenizer)
    assert done.returncode == 0, done.stderr
    manifest = made.manifest(tmp_path / "a")
    expected = {iso: len(re.findall(r"\w+|[^\w\s]+", made.medical[iso])) for iso in ("en", "ru", "de")}
    assert {iso: manifest["tokens"][iso]["existing"] for iso in expected} == expected
    assert manifest["tokens"]["zh"].keys() == {"textbook"}
    card = (tmp_path / "a" / "README.md").read_text("utf-8")
    assert f"| English (en) | existing | 1 | {len(made.medical['en'])} | {expected['en']} | 1 |" in card
    assert f"| {sum(sum(row.values()) for row in manifest['tokens'].values())} | 8 |" in card
    assert "Tokens by the tokenizer words (SHA-256 " in card
    assert f"{expected['en']} tokens" in done.stdout
    assert run("check_corpus.py", tmp_path / "a").returncode == 0
    # The same tokenizer elsewhere is the same; without it, or with another, it is another corpus's card.
    tokenizer.rename(tmp_path / "elsewhere").joinpath("tokenizer.json").rename(tmp_path / "words")
    assert (
        "reused" in run("build_corpus.py", documents, "--out", tmp_path / "a", "--tokenizer", tmp_path / "words").stdout
    )
    assert run("build_corpus.py", documents, "--out", tmp_path / "a").returncode == 2
    plain = run("build_corpus.py", documents, "--out", tmp_path / "b")
    assert plain.returncode == 0
    card = (tmp_path / "b" / "README.md").read_text("utf-8")
    assert "| not counted | 8 |" in card and "no `--tokenizer` was given" in card
    (tmp_path / "none.json").write_text("{}")
    for name in (tmp_path / "none.json", tmp_path / "docs"):
        done = run("build_corpus.py", documents, "--out", tmp_path / "c", "--tokenizer", name)
        assert (done.returncode, f"--tokenizer {name}: no tokenizer" in done.stderr) == (2, True), done.stderr


def test_long_texts_are_counted_in_pieces_that_are_the_text():
    text = ("word " * 30 + "\n") * 20_000
    pieces = pieces_of(text)
    assert len(pieces) == 4 and "".join(pieces) == text
    assert all(piece.endswith("\n") and len(piece) <= PIECE_CHARACTERS for piece in pieces)
    assert [len(piece) for piece in pieces_of("x" * (2 * PIECE_CHARACTERS + 1))] == [PIECE_CHARACTERS] * 2 + [1]


def test_the_picture_shows_what_it_says_and_has_the_same_bytes_each_time(tmp_path):
    from PIL import Image

    counts = {
        "en": {"web": {"characters": 4_000_000}, "textbook": {"characters": 2_000_000}},
        "ar": {"website": {"characters": 1_000_000}},
    }
    draw_corpus(counts, None, tmp_path / "a.png")
    draw_corpus(counts, None, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG" and picture.width >= 1000 and "Software" not in picture.info
        pixels = picture.convert("RGB").crop((0, 0, picture.width // 2, int(picture.height * 0.85)))
        tally = dict(map(reversed, pixels.getcolors(1 << 24)))
    web, textbook, website, existing = ((86, 180, 233), (0, 114, 178), (230, 159, 0), (0, 158, 115))
    assert existing not in tally
    assert tally[web] == pytest.approx(2 * tally[textbook], rel=0.05)  # areas as the numbers
    assert tally[web] == pytest.approx(4 * tally[website], rel=0.05)


def test_the_reported_figures_are_those_of_the_paper(run, documents, tmp_path):
    reported = reported_tokens()
    assert reported["en"] == {"web": 6.56, "textbook": 4.0, "website": 0.0, "existing": 0.0, "total": 10.56}
    for row in reported.values():
        assert sum(size for source, size in row.items() if source != "total") == pytest.approx(row["total"], abs=0.0151)
    assert sum(row["total"] for row in reported.values()) == pytest.approx(25.49)
    assert run("build_corpus.py", documents, "--out", tmp_path / "a").returncode == 0
    card = (tmp_path / "a" / "README.md").read_text("utf-8")
    assert "| Spanish (es) | 3.98 | 0.31 | 0.05 | 0.02 | 4.35 |" in card and "Nature Communications 15:8384" in card
    assert "CC0 \\| &lt;b&gt;" in card
