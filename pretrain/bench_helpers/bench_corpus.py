"""Documents for the benchmarks: as many as wanted, of log-uniform length, out of given texts or of made-up words.

Writes  a corpus folder as data_collection/build_corpus.py lays one out, with the columns that tokenize_corpus.py reads
"""

import itertools
import math
import random
import re
from pathlib import Path

from run_record import InputError, describe_files, write_json
from token_data.corpus_reader import iterate_texts, read_corpus

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
