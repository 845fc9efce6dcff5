"""The sample exams: the committed files are what their generator makes, whole, spread, and counted right."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mmedbench_questions

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
EXAMS = SAMPLE / "exams"
MADE = ("exams", "rationales.jsonl")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def lettered(texts: list[str]) -> dict[str, str]:
    return dict(zip(mmedbench_questions.LETTERS, texts, strict=False))


def raw_questions(folder: str) -> list[tuple[str, dict]]:
    """(file stem, record with upper-case letters) of one raw exam, read from its own format."""
    found = []
    for path in sorted((EXAMS / folder).rglob("*.json*")):
        if folder == "frenchmedmcqa_fr":
            for raw in json.loads(path.read_text(encoding="utf-8")):
                found.append(
                    (
                        path.stem,
                        {
                            "question": raw["question"],
                            "options": lettered(raw["answers"].values()),
                            "answer_idx": ",".join(raw["correct_answers"]).upper(),
                        },
                    )
                )
        elif folder == "headqa_es":
            for exam in json.loads(path.read_text(encoding="utf-8"))["exams"].values():
                for raw in exam["data"]:
                    options = lettered([a["atext"] for a in sorted(raw["answers"], key=lambda a: a["aid"])])
                    found.append(
                        (
                            path.stem,
                            {
                                "question": raw["qtext"],
                                "options": options,
                                "answer_idx": mmedbench_questions.LETTERS[int(raw["ra"]) - 1],
                            },
                        )
                    )
        elif folder == "igakuqa_ja":
            for raw in read_lines(path):
                found.append(
                    (
                        path.stem,
                        {
                            "question": raw["problem_text"],
                            "options": lettered(raw["choices"]),
                            "answer_idx": ",".join(raw["answer"]).upper(),
                        },
                    )
                )
        elif folder == "rumeddanet_ru":
            for raw in read_lines(path):
                found.append(
                    (
                        path.stem,
                        {
                            "question": raw["question"],
                            "options": {"A": "да", "B": "нет"},
                            "answer_idx": {"да": "A", "нет": "B"}[raw["answer"]],
                        },
                    )
                )
        else:
            for raw in read_lines(path):
                assert raw["options"][raw["answer_idx"]] == raw["answer"]
                found.append((path.stem, {key: raw[key] for key in ("question", "options", "answer_idx")}))
    return found


FOLDERS = ["medqa_usmle_en", "medqa_mainland_zh", "igakuqa_ja", "frenchmedmcqa_fr", "rumeddanet_ru", "headqa_es"]


def test_generator_reproduces_the_committed_files_byte_for_byte(tmp_path):
    command = [sys.executable, SAMPLE / "make_exam_sample.py", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)

    def contents(root: Path) -> dict[str, bytes]:
        files = [path for name in MADE for path in [root / name, *(root / name).rglob("*")] if path.is_file()]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    assert contents(tmp_path) == contents(SAMPLE)


def test_generator_dry_run_writes_nothing(tmp_path):
    command = [sys.executable, SAMPLE / "make_exam_sample.py", "--out", tmp_path, "--dry-run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "dry run" in done.stdout
    assert not list(tmp_path.iterdir())


def test_every_question_of_the_raw_exams_has_its_rationale_and_no_other_exists():
    wanted = [
        mmedbench_questions.question_id(record)
        for folder in FOLDERS
        for _, record in raw_questions(folder)
        if record["options"]
    ]
    rationales = read_lines(SAMPLE / "rationales.jsonl")
    assert Counter(line["id"] for line in rationales) == Counter(wanted)
    assert len(set(wanted)) == len(wanted)
    for line in rationales:
        assert len(line["rationale"]) >= 40, line
        assert line["rationale"][-1] in ".。", line


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_question_keeps_the_record_contract(folder):
    for _, record in raw_questions(folder):
        if record["options"]:
            mmedbench_questions.check_record(record)
        else:
            assert folder == "igakuqa_ja", record


@pytest.mark.parametrize("folder", FOLDERS)
def test_right_letters_are_spread(folder):
    records = [record for _, record in raw_questions(folder) if record["options"]]
    counts = Counter(letter for record in records for letter in mmedbench_questions.answer_letters(record))
    letters = {letter for record in records for letter in record["options"]}
    assert set(counts) == letters
    assert max(counts.values()) - min(counts.values()) <= 3, counts
    assert max(counts.values()) <= 0.5 * sum(counts.values()), counts


@pytest.mark.parametrize("split", ["Train", "Test"])
def test_generic_questions_have_several_right_answers_and_a_rationale(split):
    found = mmedbench_questions.read_split(EXAMS / "generic" / split)
    assert sorted(found) == ["Chinese", "English", "French", "Japanese", "Russian", "Spanish"]
    for record in (record for records in found.values() for record in records):
        assert 1 < len(mmedbench_questions.answer_letters(record)) < len(record["options"]), record
        assert len(record["rationale"]) >= 30, record


def test_counts_in_the_readme_are_those_of_the_files():
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| [\w ]+ ((?:\| *\d* *){3})\|", text, flags=re.MULTILINE))
    assert sorted(table) == sorted([*FOLDERS, "generic"])
    for folder, cells in table.items():
        stated = [int(cell) if cell.strip() else 0 for cell in cells.split("|")[1:]]
        if folder == "generic":
            splits = [mmedbench_questions.read_split(EXAMS / folder / name) for name in ("Train", "Test")]
            counted = [sum(map(len, split.values())) for split in splits] + [0]
        elif folder == "igakuqa_ja":
            counted = [len(raw_questions(folder)), 0, 0]
        else:
            stems = [stem for stem, _ in raw_questions(folder)]
            counted = [sum(name in stem for stem in stems) for name in ("train", "test", "dev")]
        assert stated == counted, folder


def test_no_question_stands_twice_or_in_two_splits():
    keys = [mmedbench_questions.content_key(record) for folder in FOLDERS for _, record in raw_questions(folder)]
    for split in ("Train", "Test"):
        generic = mmedbench_questions.read_split(EXAMS / "generic" / split)
        keys += [mmedbench_questions.content_key(record) for records in generic.values() for record in records]
    assert len(keys) == len(set(keys))
