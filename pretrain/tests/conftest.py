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


def write_store(folder: Path, groups: dict[str, list[int]], masks: dict[str, list] | None = None, tokenizer="t"):
    """A store of documents of these lengths by "language" or "language/source", opened.

    Its tokens are all different but for the end token 0, so that every place is recognised. masks: {group: [0, 1, ...]
    of its tokens}.
    """
    import numpy as np

    from token_data.token_store import TokenStore

    shards, following = {}, 1
    for group, lengths in groups.items():
        language, _, source = group.partition("/")
        name = f"{language}/{source or 'web'}/part-00000"
        base = folder / name
        base.parent.mkdir(parents=True)
        tokens = []
        for length in lengths:
            tokens += [*range(following, following + length - 1), 0]
            following += length - 1
        np.asarray(tokens, "<u4").tofile(base.with_suffix(".tokens"))
        np.save(base.with_suffix(".offsets.npy"), np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64))
        np.save(base.with_suffix(".bytes.npy"), np.asarray([3 * n for n in lengths], np.uint32))
        np.save(base.with_suffix(".ids.npy"), np.asarray([f"{language}{n}" for n in range(len(lengths))], "S16"))
        if masks:
            np.asarray(masks[group], np.uint8).tofile(base.with_suffix(".loss"))
        shards[name] = {"language": language, "source": source or "web", "documents": len(lengths)}
        shards[name]["tokens"] = len(tokens)
    manifest = {"format_version": 2, "loss_mask": masks is not None, "shards": shards, "dtype": "<u4", "end_of_text": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"inputs": {"tokenizer": tokenizer}}))
    return TokenStore(folder)


@pytest.fixture(scope="session")
def make_store():
    return write_store


@pytest.fixture(scope="module")
def group_of_one(tmp_path_factory):
    """A process group of this process alone: checkpoints are saved by all ranks of a group."""
    import torch.distributed as dist

    store = dist.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()
