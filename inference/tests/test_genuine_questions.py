"""Genuine questions, where they are present (MMED_TEST_DATA): every way to answer, and the English benchmarks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import eval as evaluation
from run_record import read_json

ROOT = Path(__file__).parents[2]
SAMPLED = {"en": 73, "zh": 80, "ja": 82, "fr": 84, "ru": 71, "es": 76}  # 466 in all
PROMPT = ROOT / "finetune/prompts/mmedbench"


@pytest.fixture(scope="module")
def genuine() -> Path:
    path = Path(os.environ.get("MMED_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no genuine questions at {path} (set MMED_TEST_DATA)")
    return path


def run(checkpoint: Path, data: Path, out: Path, *more: str) -> dict:
    flags = ["--model", str(checkpoint), "--data", str(data), "--out", str(out), "--prompt", str(PROMPT), *more]
    assert evaluation.main(flags) == 0
    return read_json(out / "result.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        ["--max-new-tokens", "4"],
        ["--form", "rationale", "--max-new-tokens", "8"],
        ["--mode", "letter-logprob"],
        ["--mode", "option-logprob"],
    ],
    ids=lambda way: "-".join(way),
)
def test_every_genuine_question_is_answered_and_counted(checkpoint, genuine, tmp_path, way):
    result = run(checkpoint, genuine / "mmedbench_sample/Test", tmp_path / "out", *way)
    assert {key: score["n"] for key, score in result["scores"].items()} == SAMPLED and result["micro"]["n"] == 466
    for score in result["scores"].values():
        assert score["ci95"][0] <= score["accuracy"] <= score["ci95"][1]
        assert score["single"]["n"] + score["multiple"]["n"] == score["n"]
        if "logprob" in result["mode"]:
            assert score["unparsed"] == 0 and score["multiple"]["right"] == 0, "one letter is never two"
    assert result["setting"] == "zero-shot" and result["prompts_shortened"] > 0, "this model has 512 positions"
    assert (result["rationales"] is not None) is ("rationale" in way)


@pytest.mark.slow
def test_the_english_benchmarks_are_scored_by_the_same_command_from_their_sources(checkpoint, genuine, tmp_path):
    made = tmp_path / "MMedBench"
    command = ["mmedbench/prepare.py", genuine / "sources", "--out", made, "--english-benchmarks"]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    data = made / "English_benchmarks"
    result = run(checkpoint, data, tmp_path / "out", "--limit", "4", "--mode", "letter-logprob")
    subjects = [key for key in result["scores"] if key.startswith("MMLU_")]
    assert len(subjects) == 6 and {*result["scores"]} == {*subjects, "MedQA", "MedMCQA", "PubMedQA"}
    assert {score["n"] for score in result["scores"].values()} == {4} and result["macro"]["languages"] == 9
    mean = sum(result["scores"][key]["accuracy"] for key in subjects) / 6
    assert result["groups"]["MMLU"]["accuracy"] == pytest.approx(mean, abs=0.01)
    assert {*result["scores"]["PubMedQA"]["by_options"]} == {"3"}
