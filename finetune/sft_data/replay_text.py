"""Replay: plain corpus text mixed into fine-tuning, so that what pretraining taught is not forgotten.

Reads an MMedC corpus folder (data_collection/FORMAT.md: parquet shards under a manifest), a .jsonl file with a `text`
field (`language` is optional), a .txt file (one document), or a folder of such files. A document gives one example: at
most `longest` tokens from a place in it that the seed chooses, the loss on every token.
"""

import json
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES
from prompt_folder import encode_completion, encode_prompt
from run_record import InputError, read_json
from sft_data.examples import IGNORED, ExampleCounts
from sft_data.instruction_data import UNKNOWN

PER_ROW_GROUP = 50  # documents taken of one row group: a few are read whole instead of nearly all of a huge corpus


def read_replay(path: Path, wanted: int, tokenizer, longest: int, seed: int, counts: ExampleCounts) -> list[dict]:
    """At most `wanted` examples of the kind "replay", drawn by the seed. Errors: InputError."""
    chance = random.Random(f"{seed} replay")
    examples = []
    for text, language in draw_documents(path, wanted, chance):
        # Hardly any text has more than eight characters a token, so the example is full where the document is long.
        window = 8 * longest
        start = chance.randrange(len(text) - window + 1) if len(text) > window else 0
        ids = encode_replay(tokenizer, text[start : start + window], start, start + window >= len(text))
        ids = ids[:longest]
        if len(ids) < 2:
            counts.add("dropped: replay text without a token to learn", language)
            continue
        # The first token has nothing before it that could predict it.
        examples.append(
            {"input_ids": ids, "labels": array("i", [IGNORED]) + ids[1:], "kind": "replay", "language": language}
        )
        counts.add("replay texts read", language)
    if not examples:
        raise InputError(f"--replay {path} holds no text to learn; give a corpus with documents in it")
    return examples


def encode_replay(tokenizer, text: str, start: int, to_the_end: bool) -> array:
    """Token ids: with the opening token only at the document's start, with the end token only at its end."""
    ids = array("i", encode_completion(tokenizer, text) if start else encode_prompt(tokenizer, text))
    if to_the_end:
        ids.append(tokenizer.eos_token_id)
    return ids


def draw_documents(path: Path, wanted: int, chance: random.Random) -> list[tuple[str, str]]:
    """(text, language) of `wanted` documents by chance, or of all where there are fewer."""
    if (path / "manifest.json").exists():
        return draw_from_corpus(path, wanted, chance)
    if path.is_dir() and list(path.rglob("*.parquet")):
        raise InputError(
            f"--replay {path} holds parquet and no manifest.json: half-made; run data_collection/build_corpus.py"
        )
    files = sorted(p for p in path.rglob("*") if p.suffix in (".jsonl", ".txt")) if path.is_dir() else [path]
    if not files or not all(file.is_file() and file.suffix in (".jsonl", ".txt") for file in files):
        raise InputError(f"--replay {path} is no corpus folder with a manifest.json, no .jsonl and no .txt")
    documents: list[tuple[str, str]] = []
    for seen, document in enumerate(document for file in files for document in iterate_file(file)):
        # Reservoir sampling: every document has the same chance, and only those wanted are held.
        if len(documents) < wanted:
            documents.append(document)
        elif (place := chance.randrange(seen + 1)) < wanted:
            documents[place] = document
    return documents


def iterate_file(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            if path.suffix == ".txt":
                yield file.read(), UNKNOWN
                return
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}:{number}: not JSON ({error.msg}); correct or remove the line") from None
                text = record.get("text") if isinstance(record, dict) else None
                if not isinstance(text, str):
                    raise InputError(
                        f"{path}:{number}: expected an object with a field text; --replay learns nothing else"
                    )
                yield text, language_of(record.get("language"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read --replay {path} ({error})") from None


def language_of(code: object) -> str:
    return code if code in LANGUAGE_FILES else UNKNOWN


def draw_from_corpus(folder: Path, wanted: int, chance: random.Random) -> list[tuple[str, str]]:
    """Documents of random row groups of a corpus, a few of each, so that the corpus is not read whole."""
    import pyarrow.parquet as pq

    groups = []
    for name, facts in sorted(read_json(folder / "manifest.json").get("files", {}).items()):
        if not name.endswith(".parquet"):
            continue
        path = folder / name
        if not path.exists() or path.stat().st_size != facts["bytes"]:
            raise InputError(f"{path} is not as its manifest says; run data_collection/build_corpus.py again")
        shard = pq.ParquetFile(path)
        for number in range(shard.metadata.num_row_groups):
            groups.append((path, number, shard.metadata.row_group(number).num_rows, language_of(name.split("/")[0])))
    # A large group comes proportionally often: each is drawn once for every PER_ROW_GROUP of its rows.
    parts = [(group, first) for group in groups for first in range(0, group[2], PER_ROW_GROUP)]
    chance.shuffle(parts)
    takes: dict[tuple, int] = {}
    left = wanted
    for group, first in parts:
        if left <= 0:
            break
        take = min(PER_ROW_GROUP, group[2] - first, left)
        takes[group] = takes.get(group, 0) + take
        left -= take
    documents = []
    for (path, number, rows, language), take in sorted(takes.items(), key=lambda item: str(item[0])):
        texts = pq.ParquetFile(path).read_row_group(number, columns=["text"]).column(0).to_pylist()
        documents += [(texts[row], language) for row in sorted(chance.sample(range(rows), take))]
    return documents
