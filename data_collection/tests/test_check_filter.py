"""check_filter.py: recall, false positives, intervals that are Wilson's, precision, sides, misses, the grid."""

import json

import pytest

from check_filter import TUNING_SOURCES, load_tuning_sources, precision_at, wilson_interval


@pytest.fixture
def labelled(made, tmp_path):
    """Four English documents, one of each label judged wrongly by intent, of a tuning source and another."""
    made.parquet(
        tmp_path / "web" / "en.parquet",
        [
            {"text": made.medical["en"], "label": "medical", "source": "a/b:x"},
            {"text": made.general["en"], "label": "medical", "source": "a/b:y"},
            {"text": made.general["en"], "label": "general", "source": "c/d:x"},
            {"text": made.medical["en"], "label": "general", "source": "c/d:y"},
        ],
    )
    (tmp_path / "tuning.json").write_text('{"tuning": ["c/"]}', encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("recall", "false_positive_rate", "medical_share", "precision"),
    [
        (0.9, 0.005, 0.05, 0.045 / 0.04975),
        (0.9, 0.0, 0.01, 1.0),
        (1.0, 1.0, 0.5, 0.5),
        (0.0, 0.0, 0.5, None),
    ],
)
def test_precision_follows_by_bayes_rule(recall, false_positive_rate, medical_share, precision):
    assert precision_at(recall, false_positive_rate, medical_share) == pytest.approx(precision)


def test_rates_are_counted_by_language_side_and_source_and_misses_name_their_sources(run, labelled):
    done = run(
        "check_filter.py",
        labelled / "web",
        "--tuning-sources",
        labelled / "tuning.json",
        "--out",
        labelled / "numbers.json",
    )
    assert done.returncode == 0, done.stderr
    assert "| en | 50.0 % | 9.5 to 90.5 | 2 | 50.0 % | 9.5 to 90.5 | 2 |" in done.stdout
    assert "| en held out | 50.0 % | 9.5 to 90.5 | 2 | - | - | 0 |" in done.stdout
    assert "| en tuning: c/d | - | - | 0 | 50.0 % | 9.5 to 90.5 | 2 |" in done.stdout
    assert "| en | 1.0 % (0.6 %) | 5.0 % (2.8 %) | 50.0 % (35.6 %) |" in done.stdout
    assert "en: recall 50.0 %; judged wrongly: a/b 1 of 2" in done.stdout
    assert "en: false positive rate 50.0 %; judged wrongly: c/d 1 of 2" in done.stdout
    numbers = json.loads((labelled / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["languages"]["en"]["recall"]["share"] == 0.5
    assert numbers["sides"]["en tuning"]["general"] == 2
    assert [miss["sources"] for miss in numbers["misses"][:2]] == [["a/b 1 of 2"], ["c/d 1 of 2"]]


def test_other_columns_and_labels_may_be_named_and_without_a_source_there_are_no_sides(run, made, tmp_path):
    made.parquet(
        tmp_path / "en.parquet",
        [{"body": made.medical["en"], "kind": "med"}, {"body": made.general["en"], "kind": "other"}],
    )
    done = run(
        "check_filter.py",
        tmp_path / "en.parquet",
        "--text-column",
        "body",
        "--label-column",
        "kind",
        "--medical-label",
        "med",
    )
    assert done.returncode == 0, done.stderr
    assert "| en | 100.0 % | 20.7 to 100.0 | 1 | 0.0 % | 0.0 to 79.3 | 1 |" in done.stdout
    assert "every language meets both" in done.stdout
    assert "held out" not in done.stdout


def test_language_and_cleaning_count_unless_told_otherwise(run, made, tmp_path):
    """A text in another language than its file's name passes the keyword rule alone, not all steps."""
    text = made.medical["en"] + " Patientin, Arzt, Krankenhaus, Fieber, Husten, Lungenentzündung."
    made.parquet(tmp_path / "de.parquet", [{"text": text, "label": "medical"}])
    recalls = {}
    for flag in ("--all-steps", "--no-all-steps"):
        done = run("check_filter.py", tmp_path / "de.parquet", flag, "--out", tmp_path / "numbers.json")
        assert done.returncode == 0, done.stderr
        numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
        recalls[flag] = numbers["languages"]["de"]["recall"]["share"]
    assert recalls == {"--all-steps": 0.0, "--no-all-steps": 1.0}


def test_the_language_of_a_file_that_does_not_say_it_is_found(run, made, tmp_path):
    made.parquet(
        tmp_path / "web.parquet",
        [{"text": made.medical["ru"], "label": "medical"}, {"text": made.general["fr"], "label": "general"}],
    )
    done = run("check_filter.py", tmp_path / "web.parquet")
    assert "| auto | 100.0 % | 20.7 to 100.0 | 1 | 0.0 % | 0.0 to 79.3 | 1 |" in done.stdout


def test_the_grid_counts_the_tuning_side_only(run, labelled):
    done = run(
        "check_filter.py",
        labelled / "web",
        "--grid",
        "--tuning-sources",
        labelled / "tuning.json",
        "--out",
        labelled / "numbers.json",
    )
    assert done.returncode == 0, done.stderr
    assert "of 0 medical and 2 general documents" in done.stdout
    grid = json.loads((labelled / "numbers.json").read_text(encoding="utf-8"))["grid"]["en"]
    assert grid["2 0.02"] == {"recall": None, "false_positives": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a JSON object"),
        ("{", "JSON"),
        ('{"tuning": "a/b"}', "a list of sources"),
        ('{"tuning": [""]}', "a list of sources"),
    ],
)
def test_a_list_of_tuning_sources_of_another_shape_is_refused(run, labelled, content, message):
    (labelled / "tuning.json").write_text(content, encoding="utf-8")
    done = run("check_filter.py", labelled / "web", "--tuning-sources", labelled / "tuning.json")
    assert (done.returncode, message in done.stderr, "tuning.json" in done.stderr) == (2, True, True), done.stderr


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "x"}], "no column label; it has text"),
        ([{"text": 1, "label": "medical"}], "column 'text' holds int64, not text"),
    ],
)
def test_a_missing_or_numeric_column_is_named(run, made, tmp_path, rows, message):
    made.parquet(tmp_path / "en.parquet", rows)
    done = run("check_filter.py", tmp_path / "en.parquet")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_missing_thresholds_and_bad_keyword_lists_are_named(run, made, tmp_path):
    made.parquet(tmp_path / "en.parquet", [{"text": made.medical["en"], "label": "medical"}])
    thresholds = json.loads((made.stage / "thresholds.json").read_text(encoding="utf-8"))
    del thresholds["bounded"]["ru"]["min_density"]
    (tmp_path / "thresholds.json").write_text(json.dumps(thresholds), encoding="utf-8")
    done = run("check_filter.py", tmp_path / "en.parquet", "--thresholds", tmp_path / "thresholds.json")
    assert (done.returncode, "bounded ru needs min_distinct_keywords and min_density" in done.stderr) == (2, True)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "en.txt").write_text("fever\n\ncough\n", encoding="utf-8")
    done = run("check_filter.py", tmp_path / "en.parquet", "--keywords", tmp_path / "lists")
    assert (done.returncode, "en.txt:2: a blank keyword" in done.stderr) == (2, True)
    done = run("check_filter.py", tmp_path / "en.parquet", "--language", "it")
    assert (done.returncode, "invalid choice: 'it'" in done.stderr) == (2, True)


def test_every_tuning_source_is_one_of_the_labelled_documents(real_data):
    import pyarrow.parquet

    sources = {
        source
        for path in (real_data / "filter_text").glob("*.parquet")
        for source in pyarrow.parquet.read_table(path, columns=["source"])["source"].to_pylist()
    }
    for beginning in load_tuning_sources(TUNING_SOURCES):
        assert any(source.startswith(beginning) for source in sources), beginning


@pytest.mark.slow
def test_held_out_sources_meet_the_targets_in_every_language(run, real_data, tmp_path):
    """On real labelled documents, all steps on; the README's tables are this command's."""
    done = run("check_filter.py", real_data / "filter_text", "--out", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    sides = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))["sides"]
    held_out = {name: row for name, row in sides.items() if name.endswith("held out")}
    assert len(held_out) == 8
    for name, row in held_out.items():
        assert row["recall"]["share"] >= 0.9, name
        assert row["false_positive_rate"]["share"] <= 0.005, name
