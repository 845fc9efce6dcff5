"""From the flags to the mixture of examples: questions, instructions, and replayed corpus text."""

import argparse
import json
import math
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES
from prompt_folder import Prompt, PromptError, encode_completion, encode_prompt
from run_record import InputError, read_json, sha256_of_file
from sft_data.example_mixture import Mixture, make_mixture, question_pools
from sft_data.examples import IGNORED, ExampleCounts, ExampleText, build_examples, make_example

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
FORMATS = "instruction/input/output, messages [{role, content}] or conversations [{from, value}]"
SHOWN = 5  # bad records named before the rest are only counted
UNKNOWN = "-"  # the language of what does not say it

Turns = list[tuple[str, str]]


class TurnsError(ValueError):
    """What is wrong with a record."""


def read_turns(path: Path) -> Iterator[tuple[int, Turns]]:
    """(line, turns) of every record of a file. Errors: InputError naming every bad line, or the first of many."""
    bad, count = [], 0
    for line, record in iterate_records(path):
        count += 1
        try:
            if isinstance(record, json.JSONDecodeError):
                raise TurnsError(f"not JSON ({record.msg})")
            yield line, turns_of(record)
        except TurnsError as error:
            bad.append(f"{path}:{line}: {error}")
    if bad:
        more = f"; {len(bad)} bad records in all" if len(bad) > SHOWN else ""
        raise InputError(f"{'; '.join(bad[:SHOWN])}{more}; correct or remove them (known formats: {FORMATS})")
    if not count:
        raise InputError(f"{path} contains no record; leave it out or fill it")


def iterate_records(path: Path) -> Iterator[tuple[int, object]]:
    """(line, value) for each record; the value is a JSONDecodeError where a line is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the instruction file {path} ({error})") from None
    if text.lstrip().startswith("["):
        yield from iterate_array(text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                yield number, error


def iterate_array(text: str) -> Iterator[tuple[int, object]]:
    """The records of a JSON array with the lines that they begin at."""
    decoder, place, line, seen = json.JSONDecoder(), text.index("[") + 1, 1, 0
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        line, seen = line + text.count("\n", seen, place), place
        if text[place : place + 1] == "]":
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            yield line, error
            return
        yield line, value


def turns_of(record: object) -> Turns:
    """The record's turns (role, text). Errors: TurnsError."""
    if not isinstance(record, dict):
        raise TurnsError("expected a JSON object")
    if "messages" in record or "conversations" in record:
        key, role, text = (
            ("messages", "role", "content") if "messages" in record else ("conversations", "from", "value")
        )
        entries = record[key]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise TurnsError(f"{key}: expected a list of objects with {role} and {text}")
        turns = [turn(f"{key}[{i}]", entry.get(role), entry.get(text)) for i, entry in enumerate(entries)]
        if key == "conversations" and isinstance(record.get("system"), str) and record["system"].strip():
            turns.insert(0, ("system", record["system"]))
    elif "instruction" in record and "output" in record:
        more = record.get("input") or ""
        turns = [turn("instruction", "user", record["instruction"])]
        turns += [turn("output", "assistant", record["output"])]
        if turn("input", "user", more)[1].strip():
            turns[0] = ("user", f"{turns[0][1]}\n\n### Input:\n{more}")
    else:
        raise TurnsError(f"keys {', '.join(sorted(map(str, record)))[:80] or 'none'} are of no known format")
    check_order([role for role, _ in turns])
    return turns


def turn(where: str, role: object, text: object) -> tuple[str, str]:
    if role not in ROLES:
        raise TurnsError(f"{where}: role {role!r} is none of {', '.join(ROLES)}")
    if not isinstance(text, str):
        raise TurnsError(f"{where}: expected a text")
    return ROLES[role], text


def check_order(roles: list[str]) -> None:
    """A system turn only first, then user and assistant in turns. Errors: TurnsError."""
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if "assistant" not in spoken:
        raise TurnsError("no turn of the assistant, so there is nothing to learn")
    wanted = ["user", "assistant"] * len(spoken)
    if spoken != wanted[: len(spoken)]:
        raise TurnsError(f"turns of {', '.join(roles[:6])}; expected user and assistant in turns, the user first")


def build_instruction_examples(paths: list[Path], encoding, longest: int, counts: ExampleCounts) -> list[dict]:
    """Examples of the kind "instruction", the loss on the assistant's turns alone, counted. Errors: InputError."""
    examples, seen = [], set()
    for path in paths:
        for _, turns in read_turns(path):
            counts.add("instructions", UNKNOWN)
            while turns and turns[-1][0] == "user":  # a question that is never answered teaches nothing
                turns = turns[:-1]
            if any(not text.strip() for role, text in turns if role == "assistant"):
                counts.add("dropped: instruction with an empty answer", UNKNOWN)
                continue
            if (key := hash(tuple(turns))) in seen:
                counts.add("dropped: instruction that occurs twice", UNKNOWN)
                continue
            seen.add(key)
            example, done = make_example(encoding.conversation(turns), longest)
            if done:
                counts.add(f"instruction: {done}", UNKNOWN)
            if example is not None:
                examples.append(example | {"kind": "instruction", "language": UNKNOWN})
    if not examples:
        raise InputError(f"no record of {', '.join(map(str, paths))} gives an example of {longest} tokens or less")
    return examples


PER_ROW_GROUP = 50  # documents taken of one row group: a few are read whole instead of nearly all of a huge corpus


def read_replay(path: Path, wanted: int, tokenizer, longest: int, seed: int, counts: ExampleCounts) -> list[dict]:
    """At most `wanted` examples of the kind "replay", drawn by the seed. Errors: InputError."""
    chance = random.Random(f"{seed} replay")
    examples = []
    for text, language in draw_documents(path, wanted, chance):
        # Hardly any text has more than eight characters per token, so the example is full where the document is long.
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
        raise InputError(f"--replay {path} contains no text to learn; give a corpus with documents in it")
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
            f"--replay {path} holds parquet and no manifest.json: incomplete; run data_collection/build_corpus.py"
        )
    files = sorted(p for p in path.rglob("*") if p.suffix in (".jsonl", ".txt")) if path.is_dir() else [path]
    if not files or not all(file.is_file() and file.suffix in (".jsonl", ".txt") for file in files):
        raise InputError(f"--replay {path} is not a corpus folder with a manifest.json, no .jsonl and no .txt")
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


def read_mixture(
    questions: list[dict], prompt: Prompt, tokenizer, longest: int, args: argparse.Namespace, counts: ExampleCounts
) -> tuple[Mixture, dict]:
    """(the mixture, what the run's record says of the files beside the questions). Errors: InputError.

    longest: tokens per example at most.
    """
    shares = settle_shares(args)
    try:
        encoding = ExampleText(tokenizer, prompt)
        pools = question_pools(
            build_question_examples(questions, encoding, longest, args, counts),
            dict(args.form_shares or []),
            dict(args.language_weights or []),
        )
        others = {}
        if args.instructions:
            others["instruction"] = build_instruction_examples(args.instructions, encoding, longest, counts)
    except PromptError as error:
        raise InputError(str(error)) from None
    if args.replay:
        total = sum(pool.per_epoch for pool in pools) / (1 - sum(shares.values()))
        wanted = math.ceil(total * shares["replay"] * max(1.0, args.epochs))
        others["replay"] = read_replay(args.replay, wanted, tokenizer, longest, args.seed, counts)
    data = {}
    if args.instructions:
        data["instructions"] = [sha256_of_file(path) for path in args.instructions]
    if args.replay:
        data["replay"] = replay_fingerprint(args.replay)
    return make_mixture(pools, others, shares, encoding, longest, args.seed), data


def settle_shares(args: argparse.Namespace) -> dict[str, float]:
    """{"instruction": share, "replay": share} mixed in, the defaults written into `args`. Errors: InputError."""
    if args.instruction_share is not None and not args.instructions:
        raise InputError("--instruction-share without --instructions has nothing to mix in; name the files")
    if args.replay_share is not None and not args.replay:
        raise InputError("--replay-share without --replay has nothing to mix in; name the corpus")
    shares = {}
    if args.instructions:
        shares["instruction"] = args.instruction_share = args.instruction_share or 0.2
    if args.replay:
        shares["replay"] = args.replay_share = args.replay_share or 0.1
    if sum(shares.values()) >= 1:
        raise InputError(
            "--instruction-share and --replay-share leave no room for questions; keep them below 1 together"
        )
    if args.packing and args.loss_per == "example":
        raise InputError(
            "--packing knows no --loss-per example (a row holds several); use --loss-per token, or no packing"
        )
    return shares


def build_question_examples(questions: list[dict], encoding, longest: int, args, counts: ExampleCounts) -> list[dict]:
    """The questions' examples in the forms asked for. Errors: InputError, PromptError."""
    form_shares = dict(args.form_shares or [])
    forms = [form for form in sorted(set(args.forms)) if form_shares.get(form, 1.0) > 0]
    if set(form_shares) - set(args.forms) or not forms:
        raise InputError(
            f"--form-shares {' '.join(f'{form}={share:g}' for form, share in form_shares.items())} does not fit "
            f"--forms {' '.join(args.forms)}: a share is of one of these forms, and one of them is above 0"
        )
    examples = build_examples(
        questions, encoding, longest, forms, counts, args.option_orders, args.seed, args.shuffle_options
    )
    if not examples:
        raise InputError(nothing_left(args, forms, counts))
    return examples


def replay_fingerprint(path: Path) -> str | list[str]:
    """A corpus by its manifest, other text by its files, as SHA-256."""
    if (path / "manifest.json").exists():
        return sha256_of_file(path / "manifest.json")
    files = sorted(p for p in path.rglob("*") if p.suffix in (".jsonl", ".txt")) if path.is_dir() else [path]
    return [sha256_of_file(file) for file in files]


def nothing_left(args: argparse.Namespace, forms: list[str], counts: ExampleCounts) -> str:
    """Why no example came of the questions, and what to do."""
    table = counts.as_dict()
    if "no rationale" in table and forms == ["rationale"]:
        return (
            f"no question of {args.data} has a rationale, which --forms rationale needs; add --forms answer, or give "
            "them rationales with mmedbench/rationales.py"
        )
    return f"every completion is longer than --max-length {args.max_length} tokens leaves room for; raise it"
