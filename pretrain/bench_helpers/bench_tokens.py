"""Benchmarks of tokenizing against the bare encoder and of reading a batch against a training step; their documents."""

import itertools
import math
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dataloading.packed_windows import PackedWindows
from run_record import InputError, describe_files, write_json
from token_data.corpus_encoder import LibraryEncoder
from token_data.corpus_reader import iterate_texts, read_corpus
from token_data.fast_encoder import FastEncoder, plan_fast_encoder
from token_data.token_store import TokenStore, tokenise_shard

SMALLEST, LARGEST = 1000, 8000  # bytes of a document
SCRIPTS = {
    "en": "abcdefghijklmnopqrstuvwxyz",
    "fr": "abcdefghilmnopqrstuvéèàçôê",
    "ru": "абвгдежзийклмнопрстуфхцчшщыьэюя",
    "zh": "".join(chr(0x4E00 + 7 * n) for n in range(900)),
}


def read_sentences(corpus: Path | None, seed: int) -> dict[str, list[str]]:
    """{language: sentences}: of a corpus, or made up of random words whose frequencies fall as in a language.

    Errors: InputError for a corpus without sentences.
    """
    if corpus is None:
        return {language: make_sentences(language, letters, seed) for language, letters in SCRIPTS.items()}
    sentences: dict[str, list[str]] = {}
    for shard in read_corpus(corpus):
        found = sentences.setdefault(shard.language, [])
        for text in iterate_texts(shard):
            if len(found) < 200_000:
                found += [part for part in re.split(r"(?<=[.!?。！？\n])", text) if part]
    if not all(sentences.values()):
        raise InputError(f"{corpus} has a language without a sentence")
    return sentences


def make_sentences(language: str, letters: str, seed: int) -> list[str]:
    generator = random.Random(f"{seed} {language}")
    joint = "" if language == "zh" else " "
    longest = 2 if language == "zh" else 9
    words = ["".join(generator.choices(letters, k=generator.randint(1, longest))) for _ in range(20_000)]
    summed = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))  # Zipf's law
    return [
        joint.join(generator.choices(words, cum_weights=summed, k=generator.randint(5, 30))).capitalize()
        + ("。" if language == "zh" else ". ")
        for _ in range(5_000)
    ]


def write_documents(sentences: dict[str, list[str]], folder: Path, megabytes: float, seed: int) -> Path:
    """A corpus of about `megabytes` x 10^6 bytes, equally much of each language, a shard each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = []
    for language, known in sentences.items():
        generator = random.Random(f"{seed} {language}")
        texts, left = [], megabytes * 1e6 / len(sentences)
        while left > 0:
            wanted = math.exp(generator.uniform(math.log(SMALLEST), math.log(LARGEST)))
            pieces: list[str] = []
            while wanted > 0:
                pieces.append(generator.choice(known))
                wanted -= len(pieces[-1].encode())
            texts.append("".join(pieces))
            left -= len(texts[-1].encode())
        path = folder / language / "web" / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        ids = [f"{number:016x}" for number in range(len(texts))]
        pq.write_table(pa.table({"id": ids, "text": texts}), path, compression="zstd", row_group_size=1000)
        paths.append(path)
    write_json(folder / "manifest.json", {"format_version": 1, "files": describe_files(folder, paths)})
    return folder


Seconds = dict[str, list[float]]


def interleave(sides: dict[str, Callable[[], None]], rounds: int) -> tuple[Seconds, Seconds]:
    """(wall seconds, CPU seconds of this process) of each side in each round, one side after the other."""
    wall: Seconds = {name: [] for name in sides}
    cpu: Seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            began, used = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - used)
    return wall, cpu


def time_tokenising(corpus: Path, tokenizer: Path, work: Path, rounds: int) -> tuple[float, Seconds, Seconds]:
    """(megabytes of text, wall, CPU): reading parquet, encoding and writing, against tiktoken on texts in memory.

    Both in this process, on one thread. Each round of ours starts with an encoder that has seen no character yet;
    what is done once a store (loading the tokenizer, proving the merges, the sample) is not counted.
    """
    library = LibraryEncoder(tokenizer, "<u2")
    if len(library.tokenizer) > 1 << 16:
        library = LibraryEncoder(tokenizer, "<u4")
    plan = plan_fast_encoder(library.backend.to_str())
    shards = read_corpus(corpus)
    texts = [text for shard in shards for text in iterate_texts(shard)]
    bare = FastEncoder(plan, library).tiktoken
    fresh = [FastEncoder(plan, library) for _ in range(rounds)]

    def ours() -> None:
        encoder = fresh.pop()
        shutil.rmtree(work / "store", ignore_errors=True)
        for shard in shards:
            tokenise_shard(shard, work / "store", encoder, loss_mask=False)

    def ordinary() -> None:
        for text in texts:
            bare.encode_ordinary(text)

    def to_numpy() -> None:
        for text in texts:
            bare.encode_to_numpy(text, disallowed_special=())

    sides = {
        "tokenize_corpus.py": ours,
        "bare encode_ordinary": ordinary,
        "bare encode_ordinary_batch": lambda: bare.encode_ordinary_batch(texts, num_threads=1),
        "bare encode_to_numpy": to_numpy,
    }
    wall, cpu = interleave(sides, rounds)
    return sum(len(text.encode()) for text in texts) / 1e6, wall, cpu


def time_reading(store: Path, config: dict, length: int, rows: int, rounds: int) -> tuple[Seconds, Seconds]:
    """(wall, CPU) of `windows.batch(...)` and of a training step of a model of `config` on that batch, on the CPU.

    Every round reads windows that were not read before, in the epoch's order.
    """
    import torch

    from bench_helpers.bench_training import make_model
    from modelling.lm_loss import summed_loss
    from modelling.packed_attention import register_document_attention

    opened = TokenStore(store)
    windows = PackedWindows(opened, opened.documents, length, seed=0)
    register_document_attention()
    model = make_model(config, opened, "documents")
    optimizer = torch.optim.AdamW(model.parameters())
    numbers = iter(range(1, 10**9))
    batches: list[dict] = [windows.batch(0, rows)]

    def read() -> None:
        batches[0] = windows.batch(next(numbers) * rows, rows)

    def step() -> None:
        loss, count = summed_loss(model, batches[0], "cpu")
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # the first step allocates
    return interleave({"windows.batch": read, "training step": step}, rounds)
