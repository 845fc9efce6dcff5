"""ocr.py: text layer or recognition, languages, pages omitted from the documents, bad settings."""

import pytest

from benchmark_helpers.synthetic_scans import edit_distance
from pdf import recognition_engines

pytestmark = pytest.mark.usefixtures("tesseract")


def test_a_tree_of_pdfs_is_read_with_the_right_method_per_page(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "a" / "text.pdf", [made.long, "", "A last short page about the treatment."])
    made.scanned_pdf(tmp_path / "pdfs" / "b" / "scan.PDF", [made.long])
    (tmp_path / "pdfs" / "notes.txt").write_text("not a PDF", encoding="utf-8")
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 2)
    assert done.returncode == 0, (done.stdout, done.stderr)
    documents, pages, failures = made.books(tmp_path / "out")
    assert failures == []
    assert {key: page["method"] for key, page in pages.items()} == {
        ("a/text.pdf", 1): "text_layer",
        ("a/text.pdf", 2): "empty",
        ("a/text.pdf", 3): "text_layer",
        ("b/scan.PDF", 1): "ocr",
    }
    assert documents["a/text.pdf"]["text"] == f"{made.long}\nA last short page about the treatment."
    scan = documents["b/scan.PDF"]
    assert edit_distance(scan["text"].replace("\n", " "), made.long) <= 3
    assert (scan["language"], scan["source"], scan["pages"], scan["pages_ocr"]) == ("en", "textbook", 1, 1)
    assert scan["confidence"] == pages["b/scan.PDF", 1]["confidence"] > 80
    assert scan["id"] == documents["a/text.pdf"]["id"] or len(scan["id"]) == 16
    manifest = made.manifest(tmp_path / "out")
    assert manifest["stage"] == "data_collection/ocr.py"
    assert manifest["pages"] == {"text_layer": 2, "ocr": 1, "empty": 1}
    assert not (tmp_path / "out" / "parts").exists()
    again = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 1)
    assert (again.returncode, "reused" in again.stdout) == (0, True)


def test_a_rotated_scan_is_rotated_back_before_it_is_read(run, made, tmp_path):
    made.scanned_pdf(tmp_path / "pdfs" / "turned.pdf", [made.long], turned=90)
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 0
    documents, _, _ = made.books(tmp_path / "out")
    assert edit_distance(documents["turned.pdf"]["text"].replace("\n", " "), made.long) <= 3


def test_later_scanned_pages_use_the_language_of_the_first(run, made, tmp_path):
    page = made.medical["de"] + " " + made.medical["de"]
    made.scanned_pdf(tmp_path / "pdfs" / "de.pdf", [page, page])
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 0
    documents, pages, _ = made.books(tmp_path / "out")
    assert [page["model"] for page in pages.values()] == ["deu", "deu"]
    assert documents["de.pdf"]["language"] == "de"


def test_a_page_of_low_confidence_is_omitted_from_the_document_and_listed(run, made, tmp_path):
    made.scanned_pdf(tmp_path / "pdfs" / "scan.pdf", [made.long])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--min-confidence", 99.9)
    assert done.returncode == 3
    documents, pages, failures = made.books(tmp_path / "out")
    assert documents == {}
    assert pages["scan.pdf", 1]["text"]
    assert "under 99.9: kept in pages.jsonl only" in failures[0]["reason"]


def test_the_given_language_is_used_and_its_trained_data_required(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.long])
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--language", "fr").returncode == 0
    assert made.books(tmp_path / "out")[0]["a.pdf"]["language"] == "fr"
    monkeypatch.setattr(recognition_engines, "installed_models", lambda: frozenset({"eng", "osd"}))
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out2", "--language", "zh")
    assert done.returncode == 2
    assert "install the Debian package tesseract-ocr-chi-sim" in done.stderr


def test_a_missing_tesseract_is_one_sentence(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.long])
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert (done.returncode, "install the Debian package tesseract-ocr" in done.stderr) == (2, True)


def test_a_page_records_how_it_was_recognised(run, made, tmp_path):
    made.scanned_pdf(tmp_path / "pdfs" / "scan.pdf", [made.long], turned=90)
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--engine", "pytesseract", "--language", "en")
    assert done.returncode == 0, done.stderr
    page = made.books(tmp_path / "out")[1]["scan.pdf", 1]
    assert [page[key] for key in ("engine", "model", "resolution", "layout", "turned")] == [
        "pytesseract",
        "eng",
        200,
        6,
        90,
    ]
    assert made.manifest(tmp_path / "out")["arguments"]["engine"] == "pytesseract"


def test_bad_folders_and_settings_are_errors(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    made.text_pdf(pdfs / "a.pdf", [made.long])
    (tmp_path / "none").mkdir()
    wrong = tmp_path / "words"
    wrong.write_text("a.pdf\tsecret\nb.pdf secret\n", encoding="utf-8")
    for arguments, message in (
        ([tmp_path / "gone", "--out", tmp_path / "o"], "does not exist"),
        ([tmp_path / "none", "--out", tmp_path / "o"], "contains no file ending in .pdf"),
        ([pdfs, "--out", tmp_path / "o", "--language", "en,it"], "--language it: give auto"),
        ([pdfs, "--out", tmp_path / "o", "--shard", "3/2"], "expected i/n"),
        ([pdfs, "--out", tmp_path / "o", "--passwords", tmp_path / "no"], "cannot read the passwords"),
        ([pdfs, "--out", tmp_path / "o", "--passwords", wrong], "words:2: expected a PDF's path (or *), a tab"),
        ([pdfs, "--out", pdfs / "o"], "is inside the input"),
        ([pdfs, "--out", tmp_path / "o", "--language", "it"], "--language it: give auto"),
        ([pdfs, "--out", tmp_path / "o", "--workers", "0"], "--workers 0: must be at least 1"),
        ([pdfs, "--out", tmp_path / "o", "--limit", "0"], "--limit 0: must be at least 1"),
        ([pdfs, "--out", tmp_path / "o", "--timeout", "0"], "--timeout 0.0: must be at least 1"),
    ):
        done = run("ocr.py", *arguments)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "o").exists()


def test_a_dry_run_and_a_limit(run, made, tmp_path):
    for name in ("b.pdf", "a.pdf"):
        made.text_pdf(tmp_path / "pdfs" / name, [f"{made.long} {name}"])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--dry-run")
    assert (done.returncode, "would read a.pdf" in done.stdout) == (0, True)
    assert not (tmp_path / "out").exists()
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--limit", 1).returncode == 0
    assert list(made.books(tmp_path / "out")[0]) == ["a.pdf"]


def test_a_single_pdf_is_read(run, made, tmp_path):
    pdf = made.text_pdf(tmp_path / "a.pdf", [made.long])
    made.text_pdf(tmp_path / "b.pdf", [made.long])
    assert run("ocr.py", pdf, "--out", tmp_path / "out").returncode == 0
    assert list(made.books(tmp_path / "out")[0]) == ["a.pdf"]


def test_running_heads_and_page_numbers_are_not_in_the_document_and_are_counted(run, made, tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "book.pdf"))
    for number, word in enumerate(["fever", "cough", "rash", "pain", "nausea"]):
        canvas.drawString(200, 810, f"{number + 11}   Internal Medicine")
        for i in range(12):
            canvas.drawString(70, 750 - 15 * i, f"The {word} of patient {i} was treated with antibiotics in the clinic")
        canvas.drawString(290, 30, f"- {number + 11} -")
        canvas.showPage()
    canvas.save()
    run("ocr.py", tmp_path / "book.pdf", "--out", tmp_path / "out")
    documents, pages, _ = made.books(tmp_path / "out")
    book = documents["book.pdf"]
    assert book["lines_removed"] == {"heads": 5, "feet": 0, "page_numbers": 5}
    assert "Internal Medicine" not in book["text"] and "- 12 -" not in book["text"]
    assert book["text"].count("was treated with antibiotics") == 60
    assert all("Internal Medicine" in page["text"] for page in pages.values())
    assert made.manifest(tmp_path / "out")["lines_removed"] == book["lines_removed"]


def test_the_page_decides_among_several_languages(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "en.pdf", [made.medical["en"] * 2])
    made.text_pdf(tmp_path / "pdfs" / "es.pdf", [made.medical["es"] * 2])
    made.scanned_pdf(tmp_path / "pdfs" / "scan.pdf", [made.medical["es"] * 2])
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--language", "es", "fr").returncode == 0
    documents, _, _ = made.books(tmp_path / "out")
    assert [documents[name]["language"] for name in ("es.pdf", "scan.pdf")] == ["es", "es"]
    assert made.manifest(tmp_path / "out")["arguments"]["language"] == "fr,es"


def test_front_and_back_matter_of_long_books_is_omitted_and_counted(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "book.pdf", [f"This is page {i} of the book." for i in range(1, 101)])
    made.text_pdf(tmp_path / "pdfs" / "short.pdf", [f"This is page {i} of it." for i in range(1, 100)])
    run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    documents, pages, _ = made.books(tmp_path / "out")
    book = documents["book.pdf"]
    assert (book["pages"], book["pages_front_and_back"], len(pages)) == (100, 9, 199)
    assert book["text"].startswith("This is page 5 of") and book["text"].endswith("This is page 95 of the book.")
    assert documents["short.pdf"]["pages_front_and_back"] == 0
    run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "all", "--no-drop-front-matter")
    assert "page 100 of" in made.books(tmp_path / "all")[0]["book.pdf"]["text"]
