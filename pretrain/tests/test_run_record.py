"""The habits that every stage carries in its record file, tried on one of the five identical copies."""

import argparse
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import run_record as record

STAGE = Path(record.__file__).parent


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(allow_abbrev=False)
    made.add_argument("--recipe", type=Path)
    made.add_argument("--steps", type=int, default=1)
    made.add_argument("--learning-rate", type=float, default=0.1)
    made.add_argument("--lora", action=argparse.BooleanOptionalAction, default=False)
    made.add_argument("--forms", nargs="+", choices=("answer", "rationale"), default=["answer"])
    made.add_argument("--dry-run", action="store_true")
    made.add_argument("--model", required=True)
    return made


def parse(tmp_path: Path, recipe: str, *argv: str) -> argparse.Namespace:
    (tmp_path / "recipe.yaml").write_text(recipe)
    return record.parse_arguments(parser(), ["--recipe", str(tmp_path / "recipe.yaml"), *argv])


def test_the_recipe_beats_defaults_and_the_command_line_beats_the_recipe(tmp_path):
    args = parse(
        tmp_path, "steps: 5\nlearning-rate: 1.0e-3\nlora: true\nforms: [answer, rationale]\nmodel: m\n", "--steps", "7"
    )
    assert (args.steps, args.learning_rate, args.lora, args.forms, args.model) == (
        7,
        1e-3,
        True,
        ["answer", "rationale"],
        "m",
    )
    assert parse(tmp_path, "lora: true\nmodel: m\n", "--no-lora").lora is False


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("step: 5", "unknown key 'step'"),
        ("help: true", "unknown key 'help'"),
        ("steps: five", "invalid value .five. for steps"),
        ("lora: 1", "lora must be true or false"),
        ("forms: [answer, letters]", "forms must be one of answer, rationale"),
        ("forms: answer", "forms takes a list"),
        ("steps: [1]", "steps takes one value"),
        ("- steps", "flat list"),
        ("steps: [", "cannot read the recipe"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(tmp_path, recipe, message):
    with pytest.raises(record.InputError, match=message):
        parse(tmp_path, recipe, "--model", "m")


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(record.InputError, match=r"none\.yaml"):
        record.parse_arguments(parser(), ["--recipe", str(tmp_path / "none.yaml"), "--model", "m"])


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path):
    path = tmp_path / "run.json"
    record.write_json(path, {"old": 1})
    circle: list = []
    circle.append(circle)
    with pytest.raises((ValueError, RecursionError)):
        record.write_json(path, circle)
    assert record.read_json(path) == {"old": 1} and [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_broken_record_is_named_with_its_line(tmp_path):
    (tmp_path / "run.json").write_text('{"a": 1,\n"b": }')
    with pytest.raises(record.InputError, match=r"run\.json:2: not JSON"):
        record.read_json(tmp_path / "run.json")


def test_a_finished_run_is_known_by_its_arguments_and_inputs(tmp_path):
    path = tmp_path / "run.json"
    assert record.finished_record(path, {"seed": 1}, {}) is None
    record.write_json(path, {"arguments": {"seed": 1}, "inputs": {"data": "x"}})
    assert record.finished_record(path, {"seed": 1}, {"data": "x"})
    with pytest.raises(record.InputError, match=r"different arguments \(limit, seed\)"):
        record.finished_record(path, {"seed": 2, "limit": 3}, {"data": "x"})
    with pytest.raises(record.InputError, match=r"different inputs \(data\)"):
        record.finished_record(path, {"seed": 1}, {"data": "y"})


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 5248 vs 5140"), True),
        (ValueError("wrapped"), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("something else"), False),
    ],
)
def test_a_full_disk_is_known_through_the_libraries_own_errors(error, full):
    if str(error) == "wrapped":
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert record.is_disk_full(error) is full


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("raise InputError('x.jsonl:3: bad')", 2, "x.jsonl:3: bad"),
        ("raise OSError(28, 'No space left on device')", 1, "no space left on the disk"),
        ("raise KeyboardInterrupt", 130, "run the same command again to resume"),
        ("return 3", 3, ""),
        ("return None", 0, ""),
    ],
)
def test_commands_end_with_their_code_and_one_sentence(body, code, said):
    program = f"from run_record import *\ndef main():\n    {body}\nrun_command(main)"
    done = subprocess.run([sys.executable, "-c", program], cwd=STAGE, capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (1 if said else 0)


def test_an_error_of_ours_keeps_its_traceback():
    program = "from run_record import *\ndef main():\n    return {}['key']\nrun_command(main)"
    done = subprocess.run([sys.executable, "-c", program], cwd=STAGE, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "KeyError" in done.stderr


def test_provenance_names_command_commit_and_versions():
    facts = record.provenance(["--steps", "3"])
    assert facts["command"].endswith("--steps 3") and facts["versions"]["python"] and facts["commit"]
    assert os.sep + "home" not in json.dumps(facts)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB; skipped where one may not be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_stage_on_a_full_disk_says_so_and_finishes_when_there_is_room(small_disk, tmp_path):
    root = STAGE.parent
    command = [
        sys.executable,
        root / "mmedbench/prepare.py",
        root / "mmedbench/sample/exams",
        "--out",
        small_disk / "bench",
    ]
    (small_disk / "filler").write_bytes(bytes(4 * 1024 * 1024 - 3 * 4096))
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 1 and "no space left on the disk" in full.stderr and "Traceback" not in full.stderr
    assert not (small_disk / "bench/manifest.json").exists()
    (small_disk / "filler").unlink()
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
    assert (small_disk / "bench/manifest.json").exists()
