"""bench_deduplicate.py: documents and copies are as documented, everything is measured, bad settings are named."""

import json
import subprocess
import sys

import pytest

import bench_deduplicate
from benchmark_helpers.duplicate_measurements import comparing_memory, true_similarity

FEW = ["--documents", 40, "--planted", 2, "--rounds", 1, "--languages", "en"]


@pytest.fixture
def texts(tmp_path, made):
    words = (made.medical["en"] + " " + made.general["en"]).split()
    rows = [{"text": " ".join(words[(i * k) % len(words)] for i in range(1, 400))} for k in range(1, 30)]
    return made.parquet(tmp_path / "texts" / "en.parquet", rows).parent


def test_copies_are_planted_at_every_level(texts):
    args = bench_deduplicate.build_parser().parse_args([str(texts), *map(str, FEW)])
    documents, pairs = bench_deduplicate.make_documents(args, "en")
    assert len(documents) == 40 and len(pairs) == 16 and documents[:2] == list(pairs[0])
    assert all(800 < len(text.encode()) < 8400 for text in documents)
    similarities = [true_similarity(*pair, "en") for pair in pairs]
    assert sum(s >= 0.75 for s in similarities) == sum(0.15 < s < 0.6 for s in similarities) == 8


@pytest.mark.slow
def test_speed_and_pairs_are_measured_and_written(texts, made, tmp_path):
    command = [
        sys.executable,
        made.stage / "bench_deduplicate.py",
        texts,
        *FEW,
        "--json",
        tmp_path / "bench.json",
        "--no-memory",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| en |")]
    assert line.count("|") == 9
    result = json.loads((tmp_path / "bench.json").read_text("utf-8"))["languages"]["en"]
    assert result["ours"]["found"] == result["ours"]["similar"] > 0 and result["ours"]["false"] == 0
    assert result["removed"] >= result["ours"]["found"] and result["least_similarity_removed"] >= 0.5


def test_memory_is_measured_on_synthetic_signatures(tmp_path):
    ballast = bytearray(600_000_000)  # this process's own memory is not counted
    memory = comparing_memory(tmp_path, (500, 40_000))
    assert 10**7 < memory["peak_bytes"][0] < memory["peak_bytes"][1] < len(ballast)
    assert memory["bytes_a_document"] > 50
    assert 150 < memory["disk_bytes_a_document"] < 400


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", "0"], "must be above 0"),
        (["--documents", "100"], "at least 1600 are needed"),
        (["--languages", "en", "fr"], "contains no fr.parquet"),
    ],
)
def test_bad_settings_end_in_a_sentence(texts, run, flags, message):
    done = run("bench_deduplicate.py", texts, *flags)
    assert done.returncode == 2 and message in done.stderr
