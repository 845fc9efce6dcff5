"""Instruction data: conversations in three file formats, recognised by their keys.

    {"instruction": "...", "input": "...", "output": "..."}                      input may be empty or absent
    {"messages": [{"role": "user", "content": "..."}, ...]}                      roles system, user, assistant
    {"conversations": [{"from": "human", "value": "..."}, ...]}                  ShareGPT: system, human, gpt

A file is JSON Lines, or one JSON array; UTF-8. Other keys are ignored. A record that breaks its format is an error that
names the file and the line; one with nothing to learn from (an empty answer) is omitted and counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from run_record import InputError
from sft_data.examples import ExampleCounts, make_example

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
