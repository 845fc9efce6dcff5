"""bench_ocr.py: it measures every side, counts errors rightly, and names bad settings."""

import json
import shutil

import pytest

import bench_ocr
from benchmark_helpers.layer_yardstick import compare, other_texts
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
        (["--measure", "errors", "--pdfs", "here"], "--pdfs has no effect without --measure layer"),
        (["--measure", "layer", "--out", "here"], "--out is ocr.py's output on the PDFs of --pdfs: give --pdfs too"),
    ],
)
def test_bad_settings_are_named(run, labelled, arguments, message):
    done = run("bench_ocr.py", labelled, *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


LAYER = "The usual dose is 10.5 mg a day, at most 3 × 10{}/L in pneu-\nmonia, and never more than 20 % of it."
OURS = "The usual dose is 10.5 mg a day, at most 3 × 10⁹/L in pneumonia, and never more than 20 % of it."
CHINESE = "患者因发热、咳嗽和胸痛来医院就诊。医生怀疑是肺炎"


@pytest.mark.parametrize(
    ("ours", "pdftotext", "pypdfium2", "missing"),
    [
        (OURS, LAYER.format("9"), LAYER.format("9"), []),  # joined hyphens and figures set high are no loss
        (OURS, LAYER.format(" 9"), LAYER.format(" 9"), []),
        (OURS.replace("⁹", "⁻³"), *[LAYER.format("-3")] * 2, []),
        (OURS.replace("dose is", "dose | is").replace("mg a", "mg\ta"), LAYER.format("9"), LAYER.format("9"), []),
        (OURS.replace("10.5", "105"), *[LAYER.format("9")] * 2, ["the usual dose is 10.5 mg a day at"]),
        (OURS.replace("20 %", "20"), *[LAYER.format("9")] * 2, ["never more than 20 % of it"]),
        ("", *[LAYER.format("9")] * 2, None),
        (CHINESE, " ".join(CHINESE), CHINESE.replace("。", "。\n"), []),
        (CHINESE.replace("咳", ""), CHINESE, CHINESE, ["患者因发热咳嗽和胸痛来医院就诊"]),
        ("", "one two three four five", "five four three two one", []),  # the two do not agree
        ("• one two three four five", *["\uf0b7 one two three four five"] * 2, []),
        ("5 μg/ml for all patients", *["5 \uf06dg/ml for all patients"] * 2, []),
        ("من أقوى لغات البرمجة Python وهو", *["من أقوى لغات البرمجة Pythonوهو"] * 2, []),
        ("rank ᵈJoint space narrowing is rare", *["rank d Joint space narrowing is rare"] * 2, []),
        ("≥ one two three four five", *["one two three \uf0b3 four five six seven"] * 2, []),
        ("وصل المريض إلى المستشفى وهو", *["وصل المَريض إلى المستشفى وهو"] * 2, []),
        ("وصل المريض إلى المستشفى وهو", "\u202bوصل المريض إلى المستشفى وهو\u202c", "وصل المريض إلى المستشفى وهو", []),
    ],
)
def test_a_sequence_on_which_two_programs_agree_is_missing_if_our_text_lacks_it(ours, pdftotext, pypdfium2, missing):
    counted = compare(ours, ours, pdftotext, pypdfium2)
    if missing is None:
        assert counted.missing_sequences == counted.agreed == counted.pdftotext == 20
    else:
        assert counted.missing == missing
        assert (counted.missing_sequences > 0) == bool(missing)


@pytest.fixture
def pdftotext():
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (Debian package poppler-utils)")


def test_lost_and_removed_text_of_a_folder_of_pdfs_is_counted_and_listed(run, made, tmp_path, pdftotext):
    pages = ["Head of page\n" + made.medical["en"], made.long]
    made.text_pdf(tmp_path / "pdfs" / "books" / "two.pdf", pages)
    (tmp_path / "pdfs" / "broken.pdf").write_bytes(b"%PDF-1.7\n")
    bench = ["--measure", "layer", "--pdfs", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 1]

    def measured() -> dict:
        done = run("bench_ocr.py", *bench, "--json", tmp_path / "found.json")
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
        return json.loads((tmp_path / "found.json").read_text("utf-8"))

    printed: list[str] = []
    found = measured()
    assert "layer" not in found  # no INPUT, so no speed
    row = found["agreement"]["languages"]["en"]
    assert (row["pages"], row["missing"], row["private"]) == (2, 0, 0) and row["agreed"] > 60
    assert found["agreement"]["folders"].keys() == {"books"}
    assert list(found["agreement"]["not_compared"].values()) == [["broken.pdf"]]
    read = made.lines(tmp_path / "out" / "pages.jsonl")
    read[0]["text"] = read[0]["text"].replace("fever", "\uf0b3")
    read[1] |= {"method": "ocr", "text": "", "confidence": 70.0}
    made.jsonl(tmp_path / "out" / "pages.jsonl", read)
    document = made.lines(tmp_path / "out" / "documents.jsonl")[0]
    made.jsonl(
        tmp_path / "out" / "documents.jsonl", [document | {"text": document["text"].replace("ordered", "\uf0b7")}]
    )
    found = measured()["agreement"]
    row = found["languages"]["en"]
    assert (row["pages"], row["missing"], row["private"], found["private_in_documents"]) == (1, 5, 1, 1)
    assert found["missing_pages"][0]["passages"] == ["to the hospital with fever cough and chest pain"]
    assert (found["missing_pages"][0]["document"], found["missing_pages"][0]["page"]) == ("books/two.pdf", 1)
    assert found["removed"] == 5
    assert found["apart"]["ocr"]["missing"] == found["apart"]["ocr"]["agreed"] > 40
    assert found["apart_pages"][0]["confidence"] == 70.0
    assert (
        "books/two.pdf, page 1: 5 of " in printed[-1] and "not compared: broken.pdf: ocr.py: truncated" in printed[-1]
    )


def test_text_outside_the_visible_page_is_counted_apart(made, tmp_path, pdftotext):
    words = "one two three four five six seven"
    boxes = "/MediaBox [0 0 600 800] /CropBox [0 100 600 800]"
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    made.raw_pdf(
        tmp_path / "cropped.pdf",
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            f"<< /Type /Page /Parent 2 0 R {boxes} /Contents 4 0 R /Resources {font} >>",
            made.stream(f"BT /F 11 Tf 50 700 Td (The page says {words}) Tj 0 -650 Td (The printer says {words}) Tj ET"),
        ],
    )
    ((number, *texts),) = other_texts(tmp_path / "cropped.pdf", [1])
    counted = compare(f"The page says {words}", "", *texts)
    crossing = "four five six seven the printer says one two three"  # sequences that begin inside end outside
    assert (number, counted.missing, counted.outside) == (1, [], [crossing])
    assert counted.removed[0] == f"the page says {words}"
    counted = compare(f"The printer says {words}", "", *texts)
    assert counted.missing == ["the page says one two three"]


def test_an_output_made_from_other_pdfs_is_refused(run, made, tmp_path, pdftotext):
    made.text_pdf(tmp_path / "pdfs" / "one.pdf", [made.medical["en"]])
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 1).returncode == 0
    made.text_pdf(tmp_path / "pdfs" / "one.pdf", [made.general["en"]])
    bench = ["--measure", "layer", "--pdfs", tmp_path / "pdfs", "--out"]
    done = run("bench_ocr.py", *bench, tmp_path / "out")
    assert done.returncode == 2 and "was made from another one.pdf than" in done.stderr
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "manifest.json").write_text("{}")
    done = run("bench_ocr.py", *bench, tmp_path / "else")
    assert done.returncode == 2 and "is not an output of ocr.py" in done.stderr


def test_without_pdftotext_the_package_is_named_and_without_input_the_flags(run, tmp_path, monkeypatch):
    done = run("bench_ocr.py", "--pdfs", tmp_path)
    assert done.returncode == 2 and "give INPUT" in done.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("bench_ocr.py", "--measure", "layer", "--pdfs", tmp_path)
    assert done.returncode == 2 and "install the Debian package poppler-utils" in done.stderr
