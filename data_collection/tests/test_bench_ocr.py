"""bench_ocr.py: it measures every side, counts errors rightly, and names bad settings."""

import json

import pytest

import bench_ocr
from benchmark_helpers.synthetic_scans import comparable, edit_distance, fonts_of
from run_record import InputError

pytestmark = pytest.mark.usefixtures("tesseract")


@pytest.fixture
def labelled(tmp_path, made):
    try:
        for language in ("en", "zh"):
            fonts_of(language)
    except InputError as error:
        pytest.skip(str(error))
    for language in ("en", "fr", "ru", "zh", "ja"):
        text = f"{made.medical[language]} " * (600 // len(made.medical[language]) + 1)
        rows = [{"text": text, "label": label} for label in ("medical", "medical", "general")]
        made.parquet(tmp_path / "labelled" / f"{language}.parquet", rows)
    return tmp_path / "labelled"


def test_edits_are_counted_as_the_definition_says():
    def plainly(a: str, b: str) -> int:
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            diagonal, row[0] = row[0], i
            for j, y in enumerate(b, 1):
                diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
        return row[-1]

    words = ["", "a", "kitten", "sitting", "患者は発熱", "患者发热", "abcabcabc" * 9, "bcabcaabc" * 8]
    assert {(a, b) for a in words for b in words if edit_distance(a, b) != plainly(a, b)} == set()


def test_white_space_and_forms_are_no_errors_and_a_page_not_read_is_all_errors():
    assert comparable(" ﬁve\n１０ ", "en") == "five 10"
    assert comparable("患 者\n发热", "zh") == "患者发热"
    counted = bench_ocr.count_errors({"a.pdf": ["fever", "cough"]}, {("a.pdf", 1): "fevers"}, "en")
    assert (counted["edits"], counted["characters"], counted["character_error_rate"]) == (6, 10, 0.6)
    assert counted["by_page"] == [0.2, 1.0] and counted["worst_page"] == 1.0


@pytest.mark.slow
def test_everything_is_measured_and_written(run, labelled, tmp_path):
    scan = tmp_path / "scan.pdf"
    done = run(
        "bench_ocr.py",
        labelled,
        "--languages",
        "en",
        "zh",
        "--pages",
        2,
        "--pages-a-pdf",
        2,
        "--rounds",
        1,
        "--workers",
        2,
        "--layer-pages",
        5,
        "--keep",
        tmp_path / "kept",
        "--json",
        tmp_path / "bench.json",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert set(result["errors"]) == {"en", "zh"}
    for language, limit in (("en", 0.01), ("zh", 0.04)):
        for how in ("auto", "given"):
            assert result["errors"][language][how]["pages"] == 2
            assert result["errors"][language][how]["character_error_rate"] <= limit
    assert result["speed"]["pages"] == 4
    assert all(result["speed"][side]["cpu_s"][0] > 0 for side in bench_ocr.SIDES.values())
    assert {row["font"] for row in result["layer"].values()} == {"embedded", "not embedded"}
    scan.write_bytes((tmp_path / "kept" / "scans" / "en" / "00.pdf").read_bytes())
    scan.with_suffix(".txt").write_text("The patient came to the hospital", encoding="utf-8")
    done = run("bench_ocr.py", labelled, "--measure", "scan", "--scan", scan)
    assert done.returncode == 0, done.stderr
    assert "scan.pdf, --language auto: error rate" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pages", "0"], "must be at least 1"),
        (["--languages", "ar", "--measure", "errors"], "contains no ar.parquet; leave ar out"),
        (["--languages", "en", "--measure", "scan"], "--scan None: give a PDF"),
        (["--languages", "en", "--measure", "errors", "--pages", "9"], "too few documents for 9 pages"),
    ],
)
def test_bad_settings_are_named(run, labelled, arguments, message):
    done = run("bench_ocr.py", labelled, *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
