"""A small corpus in our layout, its tokenizer and its token store, made once by the stage's own commands."""

import hashlib
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

WORDS = {
    "en": ["fever", "cough", "heart", "liver", "the", "of", "patient", "dose", "pain", "with", "blood", "sugar"],
    "fr": ["fièvre", "toux", "cœur", "foie", "le", "la", "du", "malade", "dose", "douleur", "avec", "sucre"],
    "ru": ["лихорадка", "кашель", "сердце", "печень", "и", "в", "больной", "доза", "боль", "с", "кровь"],
    "zh": list("发热咳嗽心脏肝的患者剂量疼痛血糖高压"),
}


def write_corpus(folder: Path, documents: int = 60, seed: int = 0) -> Path:
    """Write a corpus of random words: a parquet shard a language and source, and the manifest."""
    generator, files = random.Random(seed), {}
    for language, words in WORDS.items():
        for source in ("web", "textbook") if language == "en" else ("web",):
            texts = [
                ("" if language == "zh" else " ").join(generator.choices(words, k=generator.randint(5, 60)))
                for _ in range(documents)
            ]
            path = folder / language / source / "part-00000.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(pa.table({"id": [f"{i:016x}" for i in range(documents)], "text": texts}), path)
            name = path.relative_to(folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"format_version": 1, "files": files}))
    return folder


@pytest.fixture
def make_corpus():
    return write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "MMedC")


@pytest.fixture(scope="session")
def tokenizer_folder(corpus, tmp_path_factory) -> Path:
    import train_tokenizer

    out = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    assert train_tokenizer.main([str(corpus), "--vocab-size", "400", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def store_folder(corpus, tokenizer_folder, tmp_path_factory) -> Path:
    import tokenize_corpus

    out = tmp_path_factory.mktemp("store") / "tokens"
    assert tokenize_corpus.main([str(corpus), "--tokenizer", str(tokenizer_folder), "--out", str(out)]) == 0
    return out
