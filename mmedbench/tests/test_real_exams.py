"""The real exams, where they are present: published counts, every sampled MMedBench question reproduced, quickly."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGE = Path(__file__).resolve().parents[1]
PUBLISHED = {
    "en Test": 1273,
    "zh Test": 3426,
    "fr Test": 622,
    "ru Test": 256,
    "es Test": 2742,
    "fr Train": 2171,
    "ru Train": 1052,
    "es Train": 2657,
    "fr Dev": 312,
    "ru Dev": 256,
    "es Dev": 1366,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory, real_data):
    """(folder, manifest, what was printed) of prepare.py on all real sources, as a user runs it."""
    out = tmp_path_factory.mktemp("real") / "MMedBench"
    started = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            STAGE / "prepare.py",
            real_data / "sources",
            "--out",
            out,
            "--known-test",
            real_data / "mmedbench_sample",
            "--english-benchmarks",
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60
    return out, json.loads((out / "manifest.json").read_text(encoding="utf-8")), done.stdout


def test_the_official_splits_have_their_published_sizes(built):
    counts = {f"{row['language']} {row['split']}": row["found"] for row in built[1]["counts"]}
    assert {key: counts[key] for key in PUBLISHED} == PUBLISHED
    assert built[1]["released_split"] == {"en": True, "zh": True, "ja": False, "fr": True, "ru": True, "es": True}


def test_japanese_keeps_the_questions_with_choices_and_lists_the_others(built):
    row = built[1]["sources"]["IgakuQA"]
    assert row["read"] == 2000
    assert row["excluded"] == {"no_choices": 12, "struck_from_scoring": 11, "alternative_answers": 1, "blank_option": 1}
    assert sum(row["kept"].values()) == 1975
    assert 1500 < row["kept"]["Train"] < 1650
    assert 190 < row["kept"]["Test"] < 210


def test_every_sampled_question_is_reproduced_to_the_letter_and_none_is_in_train(built):
    rows = built[1]["known_test"]["reproduced"]
    assert sum(row["questions"] for row in rows) == sum(row["reproduced"] for row in rows) == 466
    assert built[2].count("(100.0 %)") == 6
    assert built[1]["known_test"]["moved_to_test"] == 82


def test_the_english_benchmarks_have_their_published_sizes(built):
    counts = {name.split("/")[1]: n for name, n in built[1]["english_benchmarks"].items()}
    assert (counts["MedQA.jsonl"], counts["MedMCQA.jsonl"], counts["PubMedQA.jsonl"]) == (1273, 4183, 500)
    assert sum(n for name, n in counts.items() if name.startswith("MMLU_")) == 1089


def test_the_real_benchmark_passes_its_own_check(built, run):
    done = run("check.py", built[0])
    assert done.returncode == 0, done.stdout


def test_the_duplicates_the_data_is_known_for_are_found(built):
    groups = built[1]["duplicates"]["groups"]
    assert groups["zh: inside Test"] == 8  # six to the letter, two with the options in another order
    lines = (built[0] / "duplicates.jsonl").read_text(encoding="utf-8").splitlines()
    chinese = [row for row in map(json.loads, lines) if row["language"] == "zh"]
    assert sum(len({place["id"] for place in row["places"]}) == 1 for row in chinese) == 6


def test_every_context_of_rumeddanet_is_kept_beside_the_records(built, raw):
    lines = raw.lines(built[0] / "left_out_contexts.jsonl")
    assert [sum(line["split"] == split for line in lines) for split in ("Train", "Dev", "Test")] == [1052, 256, 256]
    assert all(len(line["context"]) > 50 for line in lines)
