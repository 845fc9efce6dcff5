"""Validate a folder of questions in MMedBench's layout; report every problem with file, line and field.

Reads   a folder with Train/ Dev/ Test/ (and English_benchmarks/), or one folder of *.jsonl files, or one file.
Writes  nothing. Problems are printed as path:line: field: what is wrong. The contract is FORMAT.md.

    python mmedbench/check.py data/MMedBench

Exit 0: no problem; 1: there are problems; 2: nothing to check. A question that occurs twice is not a problem (the
released Chinese test set has six), but is counted.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, LETTERS, RecordError, check_record, question_id
from run_record import InputError, parse_arguments, run_command
from sources.exam_rules import broken_text
from sources.find_sources import SPLITS
from sources.raw_files import parse_json

Problem = tuple[str, str]  # (field, message)


def record_problems(record: object, language: str | None) -> Iterator[Problem]:
    """All problems of a parsed line; language: that of the file's name, or None."""
    if not isinstance(record, dict):
        yield "record", f"expected a JSON object, found {type(record).__name__}"
        return
    problems = [*_question_problems(record), *_options_problems(record), *_answer_problems(record)]
    for name in ("id", "language", "source", "rationale", "context"):
        if record.get(name) is not None and not isinstance(record[name], str):
            problems.append((name, f"expected a text, found {record[name]!r:.60}"))
    for name in ("human_checked", "human_check_passed"):
        if record.get(name) is not None and not isinstance(record[name], bool):
            problems.append((name, f"expected true or false, found {record[name]!r:.60}"))
    for name, value in record.items():
        texts = [value, *value.values()] if isinstance(value, dict) else [value]
        if broken_text(*(text for text in texts if isinstance(text, str))):
            problems.append((name, "contains a NUL character or an unpaired surrogate"))
    if isinstance(record.get("language"), str) and language and record["language"] != language:
        problems.append(("language", f"{record['language']!r}, but the file's name says {language!r}"))
    yield from problems
    if problems:
        return
    try:
        check_record(record)
    except RecordError as error:  # a rule of the shared reader that the checks above do not cover
        yield "record", str(error)
        return
    if record.get("id") is not None and record["id"] != question_id(record):
        yield "id", f"{record['id']!r} is not the question's id {question_id(record)!r} (was the text edited by hand?)"


def _question_problems(record: dict) -> Iterator[Problem]:
    if "question" not in record:
        yield "question", "missing"
    elif not isinstance(record["question"], str) or not record["question"].strip():
        yield "question", "expected a text that is not empty"


def _options_problems(record: dict) -> Iterator[Problem]:
    options = record.get("options")
    if "options" not in record:
        yield "options", "missing"
    elif not isinstance(options, dict):
        yield "options", f"expected an object of letters and texts, found {type(options).__name__}"
    else:
        if len(options) < 2:
            yield "options", f"expected at least two, found {len(options)}"
        if list(options) != list(LETTERS[: len(options)]):
            yield "options", f"expected the letters A, B, ... in order, found {', '.join(options)}"
        for letter, text in options.items():
            if not isinstance(text, str) or not text.strip():
                yield f"options.{letter}", "expected a text that is not empty"


def _answer_problems(record: dict) -> Iterator[Problem]:
    answer, options = record.get("answer_idx"), record.get("options")
    if "answer_idx" not in record:
        yield "answer_idx", "missing"
    elif not isinstance(answer, str) or not answer:
        yield "answer_idx", f'expected letters such as "A" or "A,C", found {answer!r:.60}'
    elif isinstance(options, dict):
        letters = answer.split(",")
        outside = [letter for letter in letters if letter not in options]
        if outside:
            yield "answer_idx", f"{answer!r}: {', '.join(map(repr, outside))} is not an option ({', '.join(options)})"
        elif letters != sorted(set(letters)):
            yield "answer_idx", f"{answer!r}: expected each letter once, in order, joined by commas"


def check_file(path: Path, language: str | None, ids: Counter) -> tuple[list[str], int]:
    """(problems as printed, number of records); adds the ids of valid records to `ids`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return [f"{path}:1: record: the file cannot be read ({error.strerror})"], 0
    problems, count = [], 0
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        count += 1
        try:
            record = parse_json(raw.decode("utf-8"))
        except ValueError as error:  # not UTF-8, not JSON, a key twice
            problems.append(f"{path}:{number}: record: {error}")
            continue
        found = [f"{path}:{number}: {name}: {message}" for name, message in record_problems(record, language)]
        problems += found
        if not found:
            ids[question_id(record)] += 1
    if not count:
        problems.append(f"{path}:1: record: the file contains no question")
    return problems, count


def files_to_check(path: Path) -> list[tuple[Path, str | None]]:
    """[(file, language by its name or None)]. Errors: InputError when there is nothing to check."""
    by_name = {name: code for code, name in LANGUAGE_FILES.items()}
    if path.is_file():
        return [(path, by_name.get(path.name))]
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give a folder with Train/ and Test/, or one of *.jsonl")
    folders = [path / name for name in (*SPLITS, "English_benchmarks") if (path / name).is_dir()] or [path]
    files = [file for folder in folders for file in sorted(folder.glob("*.jsonl")) if not file.name.startswith(".")]
    if not files:
        raise InputError(f"{path} contains no *.jsonl file, itself or in Train/, Dev/, Test/")
    return [(file, by_name.get(file.name)) for file in files]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder in MMedBench's layout, or one JSONL file")
    options = parse_arguments(parser, argv)
    problems = 0
    ids: dict[Path, Counter] = {}
    for path, language in files_to_check(options.folder):
        if language is None and path.parent.name in SPLITS:
            problems += 1
            print(f"{path}:1: language: the file's name is not one of {', '.join(LANGUAGE_FILES.values())}")
        counter = ids.setdefault(path.parent, Counter())
        before = sum(n - 1 for n in counter.values())
        found, count = check_file(path, language, counter)
        problems += len(found)
        for line in found:
            print(line)
        twice = sum(n - 1 for n in counter.values()) - before
        print(f"{path}: {count} records, {len(found)} problems" + (f", {twice} duplicate ids" if twice else ""))
    train, test = (ids.get(options.folder / name, Counter()) for name in ("Train", "Test"))
    if train.keys() & test.keys():
        print(f"note: {len(train.keys() & test.keys())} ids are in Train and in Test")
    print(f"{problems} problems" + (", see mmedbench/FORMAT.md" if problems else ""))
    return 1 if problems else 0


if __name__ == "__main__":
    run_command(main)
