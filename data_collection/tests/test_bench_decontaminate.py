"""bench_decontaminate.py: its three tables count what is documented, at the requested size; bad settings are named."""

import json
import random
import subprocess
import sys

import pytest

import bench_decontaminate
from run_record import InputError

ASKED = {
    "question": "Which gland makes the hormone that lowers the blood glucose after a meal?",
    "answer_idx": "A",
    "options": {"A": "The pancreas", "B": "The thyroid", "C": "The pituitary"},
}
OTHER = {
    "question": "Which part of the eye bends the light most before it reaches the retina?",
    "answer_idx": "B",
    "options": {"A": "The lens", "B": "The cornea", "C": "The vitreous body"},
}
FEW = ["--questions", 4, "--rounds", 1, "--languages", "en", "--megabytes", 0.02, "--plant-at-most", 2]


@pytest.fixture
def texts(tmp_path, made):
    rows = [
        {"text": made.medical["en"], "label": "medical"},
        {"text": made.general["en"], "label": "general"},
        {"text": f"{made.general['en']} {ASKED['question']}", "label": "general"},
    ]
    return made.parquet(tmp_path / "texts" / "en.parquet", rows).parent


@pytest.fixture
def benchmark(tmp_path, made):
    return made.jsonl(tmp_path / "bench" / "English.jsonl", [ASKED, OTHER]).parent


def test_exactly_the_requested_number_of_different_questions_is_loaded(benchmark, tmp_path):
    questions = bench_decontaminate.read_benchmarks([benchmark]).questions
    for wanted in (1, 2, 4):
        folder = tmp_path / str(wanted)
        bench_decontaminate.write_questions(folder, questions, wanted, random.Random(1))
        assert len(bench_decontaminate.read_benchmarks([folder]).questions) == wanted
    with pytest.raises(InputError, match="--questions 5: 2 questions do not give that many"):
        bench_decontaminate.write_questions(tmp_path / "5", questions, 5, random.Random(1))


@pytest.mark.parametrize(("flagged", "documents", "bound"), [(0, 100, 0.0362), (1, 100, 0.0545), (5, 10, 0.8129)])
def test_the_upper_bound_is_that_of_clopper_and_pearson(flagged, documents, bound):
    assert bench_decontaminate.upper_bound(flagged, documents) == pytest.approx(bound, abs=1e-4)


@pytest.mark.slow
def test_speed_planted_questions_and_false_alarms_are_measured_and_written(texts, benchmark, made, tmp_path):
    command = [
        sys.executable,
        made.stage / "bench_decontaminate.py",
        texts,
        "--benchmark",
        benchmark,
        "--planted-from",
        benchmark,
        *FEW,
        "--json",
        tmp_path / "bench.json",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert list(result["planted"]) == ["en"]
    assert set(map(tuple, result["planted"]["en"].values())) == {(2, 2)}
    assert result["general"] == {"en": [1, 2]}  # the one with a question in it
    speed = result["speed"]["en"]
    assert speed["megabytes"] >= 0.02
    assert len(speed["cpu_s"]) == len(speed["start_cpu_s"]) == 1
    assert min(speed["cpu_s"] + speed["start_cpu_s"]) > 0
    assert "General documents flagged: en 1 of 2" in done.stdout
    assert sum(line.startswith("| en |") for line in done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", 0], "must be above 0"),
        (["--medical-share", 1.5], "must be a share from 0 to 1"),
        (["--languages", "en", "fr"], "contains no fr.parquet"),
    ],
)
def test_bad_settings_end_in_a_sentence(texts, benchmark, run, flags, message):
    done = run("bench_decontaminate.py", texts, "--benchmark", benchmark, "--planted-from", benchmark, *flags)
    assert done.returncode == 2
    assert message in done.stderr
