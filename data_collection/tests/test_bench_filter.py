"""bench_filter.py: it measures every side, its baseline decides as the published rule does, bad settings are named."""

import json
import subprocess
import sys

import pytest

import bench_filter
from filtering.keyword_lists import load_keywords
from filtering.keyword_match import load_matcher


@pytest.fixture
def labelled(tmp_path, made):
    texts = (("medical", made.medical["en"]), ("general", made.general["en"]))
    rows = [{"text": text * 3, "label": label} for label, text in texts for _ in range(3)]
    made.parquet(tmp_path / "labelled" / "en.parquet", rows)
    return tmp_path / "labelled"


@pytest.mark.slow
def test_every_side_is_measured_and_written(labelled, made, tmp_path):
    command = [
        sys.executable,
        made.stage / "bench_filter.py",
        labelled,
        "--languages",
        "en",
        "--megabytes",
        "0.2",
        "--baseline-megabytes",
        "0.1",
        "--rounds",
        "1",
        "--decomposed",
        "--json",
        tmp_path / "bench.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # it ties its process to one core
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if line.startswith("| en |")]
    assert [line.count("|") for line in tables] == [9, 8]
    result = json.loads((tmp_path / "bench.json").read_text("utf-8"))["languages"]["en"]
    assert 0.2 <= result["megabytes"] < 0.21 and 0.1 <= result["baseline_megabytes"] < 0.11
    for side in ("baseline", "published", "bounded", "default"):
        assert min(result[side]["cpu_s"]) > 0 and result[side]["documents"][0] > 100
    assert 0 < result["bounded"]["kept"][0] < result["bounded"]["documents"][0]


def test_the_baseline_keeps_what_the_published_rule_keeps(tmp_path, made):
    """The baseline's words are a list, but its answers must be the rule's."""
    texts = [made.medical["fr"], made.general["fr"], "", made.medical["fr"] * 20, "patient " * 50]
    rows = [{"text": text, "id": str(i), "url": ""} for i, text in enumerate(texts)]
    path = made.parquet(tmp_path / "fr.parquet", rows)
    run = bench_filter.run_baseline(path, tmp_path / "kept.parquet", "fr", 10_000)
    matcher = load_matcher("fr", "published")
    scores = [matcher.score(text) for text in texts]
    limits = bench_filter.load_thresholds("published")["fr"]
    passed = [s.distinct >= limits.min_distinct_keywords and s.density >= limits.min_density for s in scores]
    assert (run.kept, run.documents) == (sum(passed), 5)
    assert len(load_keywords("fr")) < 10_000


def test_documents_are_recombined_at_the_requested_share(tmp_path, made, labelled):
    args = bench_filter.build_parser().parse_args([str(labelled), "--decomposed"])
    path = tmp_path / "text.parquet"
    size = bench_filter.make_text(args, "en", path, 100_000, 0.3)
    rows = made.table(path)
    assert size == sum(len(row["text"].encode()) for row in rows) >= 100_000
    medical = sum("pneumonia" in row["text"] for row in rows) / len(rows)
    assert 0.2 < medical < 0.4
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", "0"], "must be above 0"),
        (["--medical-share", "5"], "must be a share from 0 to 1"),
        (["--languages", "en", "fr"], "contains no fr.parquet"),
    ],
)
def test_bad_settings_end_in_a_sentence(labelled, run, flags, message):
    done = run("bench_filter.py", labelled, *flags)
    assert done.returncode == 2 and message in done.stderr
