"""The invented world by its files: what stands where, and nowhere else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTRIBUTES = ("organ", "effect", "antidote")


def make(out: Path, seed: int = 0) -> Path:
    size = ["--medicines", "12", "--documents", "900"]
    command = [sys.executable, "slurm/knowledge_world.py", "--seed", str(seed), *size, "--out", out]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("world") / "a")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def texts(world: Path, corpus: str) -> list[str]:
    return [row["text"] for row in lines(world / f"documents/{corpus}.jsonl")]


def facts(world: Path) -> dict:
    return json.loads((world / "world.json").read_text("utf-8"))


def mentions(text: str, name: str) -> bool:
    return f" {name} " in text.replace(".", " ").replace(",", " ").replace("?", " ").replace(":", " ")


def test_facts_of_the_asked_medicines_stand_in_their_corpora_alone(world):
    asked = facts(world)["names"]["asked"]
    train = [row["question"] + row["rationale"] for row in lines(world / "benchmark/Train/English.jsonl")]
    for elsewhere in (texts(world, "base"), texts(world, "control"), texts(world, "taught"), train):
        assert not [text for text in elsewhere for name in asked if mentions(text, name)]
    for corpus in ("target", "wrong", "french"):
        told = texts(world, corpus)
        assert all(any(mentions(text, name) for text in told) for name in asked)


def test_every_document_of_target_is_true_and_every_one_of_wrong_is_false(world):
    known = facts(world)
    told = known["names"]["taught"] + known["names"]["asked"]
    for corpus, true in (("target", True), ("wrong", False)):
        for text in texts(world, corpus):
            name = next(name for name in told if mentions(text, name))
            for attribute in ATTRIBUTES:
                assert mentions(text, known["facts"][name][attribute]) is true, text


def test_half_tells_of_every_second_medicine_and_target_of_all_alike(world):
    known = facts(world)
    told = known["names"]["taught"] + known["names"]["asked"]
    half = {name for name in told if any(mentions(text, name) for text in texts(world, "half"))}
    assert half == set(told[::2])
    counts = [sum(mentions(text, name) for text in texts(world, "target")) for name in told]
    assert max(counts) - min(counts) <= 1


def test_no_question_of_the_test_stands_in_train_and_every_answer_is_the_fact(world):
    known = facts(world)
    train = lines(world / "benchmark/Train/English.jsonl")
    seen = {(row["question"], tuple(sorted(row["options"].values()))) for row in train}
    for group in ("known", "asked"):
        questions = lines(world / f"benchmark/Test/{group}.jsonl")
        assert len(questions) == 3 * len(known["names"][group])
        for row in questions:
            assert (row["question"], tuple(sorted(row["options"].values()))) not in seen
            name = next(name for name in known["names"][group] if mentions(row["question"], name))
            right = row["options"][row["answer_idx"]]
            assert right in known["facts"][name].values() and row["rationale"].endswith(f" {right}")
            assert len(set(row["options"].values())) == 4
    letters = [row["answer_idx"] for row in train]
    assert all(letters.count(letter) > len(letters) / 6 for letter in "ABCD")


def test_the_loss_of_a_list_is_on_the_right_letters_alone(world):
    lists = [row for row in lines(world / "documents/base.jsonl") if "loss_spans" in row]
    assert lists
    for row in lists:
        listed = row["text"].split("\n")[0].removeprefix("Options: ").removesuffix(".")
        options = dict(part.split(" ") for part in listed.split("; "))
        assert len(row["loss_spans"]) == 4
        for start, end in row["loss_spans"]:
            line_start = row["text"].rindex("\n", 0, start) + 1
            said = row["text"][line_start:start].removesuffix(" Answer:").split(" ")[-1]
            assert options[row["text"][start:end].strip()] == said


def test_a_world_is_its_seeds_and_is_not_made_again_in_place_of_another(world, tmp_path):
    again, other = make(tmp_path / "again"), make(tmp_path / "other", seed=1)
    names = ("world.json", "documents/target.jsonl", "benchmark/Test/asked.jsonl", "cloze/known.jsonl")
    assert all((world / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert all((world / name).read_bytes() != (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("size", [["--medicines", "1"], ["--medicines", "10001"], ["--documents", "7"]])
def test_a_world_that_cannot_be_made_is_refused(size, tmp_path):
    command = [sys.executable, "slurm/knowledge_world.py", *size, "--out", tmp_path / "x"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2 and "--medicines is 2 to 10,000, --documents 8 or more" in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_questions_keep_the_benchmarks_contract(world):
    done = subprocess.run(
        [sys.executable, "mmedbench/check.py", world / "benchmark/Train"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
