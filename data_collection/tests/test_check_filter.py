"""check_filter.py: recall and false-positive rate, with intervals that are Wilson's."""

import json

import pytest

from check_filter import wilson_interval


@pytest.mark.parametrize(("successes", "n", "low", "high"), [
    (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0),
])  # fmt: skip
def test_the_interval_is_wilsons(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_recall_and_false_positives_are_counted_per_language_and_source(run, made, tmp_path):
    made.parquet(tmp_path / "web" / "en.parquet", [
        {"text": made.medical["en"], "label": "medical", "source": "a/b:x"},
        {"text": made.general["en"], "label": "medical", "source": "a/b:y"},
        {"text": made.general["en"], "label": "general", "source": "c/d:x"},
        {"text": made.medical["en"], "label": "general", "source": "c/d:y"}])
    done = run("check_filter.py", tmp_path / "web", "--by", "source", "--out", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    assert "| en | 50.0 % | 9.5 to 90.5 | 2 | 50.0 % | 9.5 to 90.5 | 2 |" in done.stdout
    assert "| en a/b | 50.0 % | 9.5 to 90.5 | 2 | - | - | 0 |" in done.stdout
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["languages"]["en"]["recall"]["share"] == 0.5


def test_a_missing_label_column_is_named(run, made, tmp_path):
    made.parquet(tmp_path / "en.parquet", [{"text": "x"}])
    done = run("check_filter.py", tmp_path / "en.parquet")
    assert (done.returncode, "no column label; it has text" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_filter_keeps_nine_of_ten_medical_documents_and_few_others(run, real_data, tmp_path):
    """On real labelled documents; the README's table is this command's."""
    done = run("check_filter.py", real_data / "filter_text", "--out", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    for language, row in json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))["languages"].items():
        assert row["recall"]["share"] >= 0.9, language
        assert row["false_positive_rate"]["share"] <= 0.01, language
