"""The tokenising path against the bare encoder, and the reading of a batch against a training step."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dataloading.packed_windows import PackedWindows
from token_data.bpe_plan import plan_fast_encoder
from token_data.corpus_encoder import LibraryEncoder
from token_data.corpus_reader import iterate_texts, read_corpus
from token_data.fast_encoder import FastEncoder
from token_data.token_store import TokenStore
from token_data.token_writer import tokenise_shard

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

    from bench_loops import make_model
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
