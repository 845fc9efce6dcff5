import json
from pathlib import Path

import pytest

from run_record import InputError, describe_files
from sft_data.examples import IGNORED, ExampleCounts
from sft_data.training_data import read_replay


@pytest.fixture
def tokenizer(model_of):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_of())


@pytest.fixture
def read(tokenizer):
    def run(path: Path, wanted: int = 100, longest: int = 60, seed: int = 0):
        counts = ExampleCounts()
        return read_replay(path, wanted, tokenizer, longest, seed, counts), counts.as_dict()

    return run


@pytest.fixture
def corpus(tmp_path) -> Path:
    """The layout of data_collection/FORMAT.md, as far as a reader of texts sees it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "MMedC"
    for language, count in (("fr", 180), ("ru", 20)):
        path = folder / language / "web" / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        texts = [f"{language} {number} " + "medical text " * (number % 40) for number in range(count)]
        pq.write_table(pa.table({"text": texts, "id": list(map(str, range(count)))}), path, row_group_size=30)
    files = describe_files(folder, list(folder.rglob("*.parquet")))
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


def test_every_token_of_a_text_is_learned_but_the_first(read, tokenizer, tmp_path):
    (tmp_path / "text.txt").write_text("Un texte court.")
    (example,), counts = read(tmp_path / "text.txt")
    assert tokenizer.decode(example["input_ids"]) == "Un texte court.<|end|>"
    assert list(example["labels"]) == [IGNORED, *example["input_ids"][1:]]
    assert (example["kind"], counts) == ("replay", {"replay texts read": {"-": 1}})


def test_a_long_text_gives_one_full_example_without_an_end(read, tokenizer, tmp_path):
    (tmp_path / "long.jsonl").write_text(json.dumps({"text": "abcdefg " * 5000, "language": "en"}) + "\n")
    (example,), _ = read(tmp_path / "long.jsonl")
    assert len(example["input_ids"]) == 60 and tokenizer.eos_token_id not in example["input_ids"]
    assert example["language"] == "en"


def test_documents_of_a_corpus_are_drawn_by_the_seed(read, corpus, tokenizer):
    examples, counts = read(corpus, wanted=120, longest=400)
    starts = [tokenizer.decode(e["input_ids"]).split(" medical")[0].removesuffix("<|end|>") for e in examples]
    assert len(set(starts)) == 120 == sum(counts["replay texts read"].values())
    assert all(start.split()[0] == e["language"] for start, e in zip(starts, examples, strict=True))
    assert read(corpus, wanted=120, longest=400)[0] == examples
    assert read(corpus, wanted=120, longest=400, seed=1)[0] != examples
    assert read(corpus, wanted=1000)[1] == {"replay texts read": {"fr": 180, "ru": 20}}, "a small corpus is read whole"


def test_a_folder_of_files_is_drawn_from_as_a_whole(read, tmp_path):
    (tmp_path / "folder").mkdir()
    for number in range(3):
        (tmp_path / f"folder/{number}.txt").write_text(f"text {number}")
    lines = [json.dumps({"text": f"line {n}"}) for n in range(50)]
    (tmp_path / "folder/a.jsonl").write_text("\n".join(lines))
    assert len(read(tmp_path / "folder", wanted=1000)[0]) == 53
    assert len(read(tmp_path / "folder", wanted=10)[0]) == 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x y z"}\n{"text": 3}\n', r"a\.jsonl:2: expected an object with a field text"),
        ("a.jsonl", "{", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", "", r"contains no text to learn"),
        ("a.csv", "x", r"not a corpus folder"),
        ("a.parquet", "x", r"not a corpus folder"),
    ],
)
def test_bad_replay_files_are_named(name, content, message, read, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_a_half_made_or_changed_corpus_is_refused(read, corpus, tmp_path):
    with pytest.raises(InputError, match="not a corpus folder"):
        read(tmp_path / "nowhere")
    (corpus / "fr/web/part-00000.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="not as its manifest says"):
        read(corpus)
    (corpus / "manifest.json").unlink()
    with pytest.raises(InputError, match="incomplete"):
        read(corpus)
