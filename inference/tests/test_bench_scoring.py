"""The measurement of scoring speed: what it draws, counts and refuses; never how fast this machine is."""

import json
import random
from pathlib import Path

import pytest

import bench_scoring
from run_record import InputError, read_json

PAIRS = Path(__file__).parents[1] / "sample/rationale_pairs.jsonl"


def test_the_measurement_is_of_the_test_sets_proportions(tmp_path, capsys):
    assert sum(bench_scoring.TEST_QUESTIONS.values()) == 8518
    assert bench_scoring.main(["--limit", "3", "--out", str(tmp_path / "speed.json")]) == 0
    record = read_json(tmp_path / "speed.json")
    assert {key: row["n"] for key, row in record["languages"].items()} == dict.fromkeys(bench_scoring.TEST_QUESTIONS, 3)
    rows = record["languages"].values()
    assert record["seconds"] == pytest.approx(sum(row["seconds"] for row in rows), abs=0.02)
    whole = sum(
        row["first_seconds"] + bench_scoring.TEST_QUESTIONS[key] * row["ms_a_pair"] / 1000
        for key, row in record["languages"].items()
    )
    assert record["whole_test_set_seconds"] == pytest.approx(whole, abs=0.02)
    assert "18 pairs" in capsys.readouterr().out


def test_drawn_pairs_differ_are_as_long_as_asked_and_the_same_for_a_seed():
    texts = bench_scoring.read_rationales(PAIRS)["fr"]
    pairs = bench_scoring.recombine(texts, 20, random.Random(1), 3)
    assert pairs == bench_scoring.recombine(texts, 20, random.Random(1), 3)
    assert len(set(pairs)) == 20 and all(written != reference for written, reference in pairs)
    assert all(len(text) >= 2.5 * min(map(len, texts)) for pair in pairs for text in pair)


def test_rationales_that_lack_a_language_are_refused(tmp_path):
    line = json.dumps({"language": "en", "rationale": "a", "reference": "b"})
    (tmp_path / "pairs.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match="has no rationale in zh, ja, fr, ru, es"):
        bench_scoring.main([str(tmp_path / "pairs.jsonl")])
    with pytest.raises(InputError, match="--longer 0: expected 1 or more"):
        bench_scoring.main(["--longer", "0"])
