"""ocr.py: text layer or recognition, languages, pages omitted from the documents, bad settings."""

import shutil

import pytest

from benchmark_helpers.synthetic_scans import edit_distance
from pdf import ocr_document, recognition_engines

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
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", ["Liste : ABC 12, DEF 34, GHI 56"])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [made.long])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--language", "fr")
    assert "documents in another language than --language fr: 1 in en" in done.stdout
    assert {name: row["language"] for name, row in made.books(tmp_path / "out")[0].items()} == {
        "a.pdf": "fr",
        "b.pdf": "en",
    }
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
    text = [f"This is page {i} of the book: the patient had fever {i} times." for i in range(100)]
    front = [
        "INTERNAL MEDICINE by John Smith",
        "ISBN 978-3-16-148410-0 (C) 2019 All rights reserved",
        "Contents " + " ".join(f"Diseases of the organ number {i} {'.' * 75} {i * 8}" for i in range(1, 12)),
    ]
    made.text_pdf(tmp_path / "pdfs" / "book.pdf", front + text[3:])
    made.text_pdf(tmp_path / "pdfs" / "content.pdf", text)
    made.text_pdf(tmp_path / "pdfs" / "short.pdf", front + text[4:])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert "omitted from the documents: 1 contents, 1 imprint, 1 title pages of front and back matter" in done.stdout
    documents, pages, _ = made.books(tmp_path / "out")
    book, kinds = documents["book.pdf"], {"contents": 1, "imprint": 1, "title": 1}
    assert (book["pages"], book["pages_front_and_back"], book["front_and_back_kinds"]) == (100, 3, kinds)
    assert book["text"].startswith("This is page 3 of") and book["text"].endswith("the patient had fever 99 times.")
    assert [page.get("matter") for page in pages.values()][:5] == ["title", "imprint", "contents", None, None]
    for name in ("content.pdf", "short.pdf"):
        assert (documents[name]["pages_front_and_back"], documents[name]["front_and_back_kinds"]) == (0, {})
    assert "INTERNAL MEDICINE" in documents["short.pdf"]["text"]
    manifest = made.manifest(tmp_path / "out")
    assert (manifest["front_and_back_pages_dropped"], manifest["front_and_back_kinds"]) == (3, kinds)
    run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "all", "--no-drop-front-matter")
    documents, pages, _ = made.books(tmp_path / "all")
    assert "INTERNAL MEDICINE" in documents["book.pdf"]["text"]
    assert not any("matter" in page for page in pages.values())


def test_only_new_and_changed_pdfs_are_read_when_the_folder_has_changed(run, made, tmp_path, monkeypatch):
    pdfs, out = tmp_path / "pdfs", tmp_path / "out"
    for name in ("b", "c", "d"):
        made.text_pdf(pdfs / f"{name}.pdf", [f"{made.long} {name}"])
    broken = (pdfs / "c.pdf").read_bytes()
    (pdfs / "c.pdf").write_bytes(broken[:300])
    assert run("ocr.py", pdfs, "--out", out).returncode == 3
    (pdfs / "c.pdf").write_bytes(broken)
    made.text_pdf(pdfs / "a.pdf", [f"{made.long} a"])
    (pdfs / "d.pdf").unlink()
    opened = tmp_path / "opened"
    open_pdf = ocr_document.open_pdf

    def noted(path, password):
        with open(opened, "a", encoding="utf-8") as file:
            file.write(f"{path.name}\n")
        return open_pdf(path, password)

    monkeypatch.setattr(ocr_document, "open_pdf", noted)
    done = run("ocr.py", pdfs, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "1 PDFs unchanged, 2 new or changed, 1 removed\nremoved from the output: d.pdf\n" in done.stdout
    assert set(opened.read_text(encoding="utf-8").split()) == {"a.pdf", "c.pdf"}
    assert run("ocr.py", pdfs, "--out", tmp_path / "whole").returncode == 0
    assert made.all_but_seconds(out) == made.all_but_seconds(tmp_path / "whole")
    assert len(list((out / "journals").iterdir())) == 3
    assert "reused" in run("ocr.py", pdfs, "--out", out).stdout


def test_other_arguments_and_outputs_without_journals_are_refused(run, made, tmp_path):
    pdfs, out = tmp_path / "pdfs", tmp_path / "out"
    made.text_pdf(pdfs / "a.pdf", [made.long])
    assert run("ocr.py", pdfs, "--out", out).returncode == 0
    made.text_pdf(pdfs / "b.pdf", [made.long])
    before = made.files(out)
    done = run("ocr.py", pdfs, "--out", out, "--dpi", 300)
    assert (done.returncode, "different arguments (dpi)" in done.stderr) == (2, True), done.stderr
    shutil.rmtree(out / "journals")
    done = run("ocr.py", pdfs, "--out", out)
    assert (done.returncode, "has no journals/ to reuse" in done.stderr) == (2, True), done.stderr
    assert made.files(out) == before
    assert not (out / "parts").exists()


def test_linked_folders_are_followed_and_a_cycle_is_an_error(run, made, tmp_path):
    made.text_pdf(tmp_path / "elsewhere" / "a.pdf", [made.long])
    (tmp_path / "pdfs").mkdir()
    (tmp_path / "pdfs" / "link").symlink_to(tmp_path / "elsewhere")
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 0
    assert list(made.books(tmp_path / "out")[0]) == ["link/a.pdf"]
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert (done.returncode, "links to a folder that it lies in" in done.stderr) == (2, True), done.stderr


def test_files_that_are_not_pdfs_are_counted_by_kind_and_pdfs_with_other_names_are_read(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    made.text_pdf(pdfs / "a.pdf", [made.long])
    made.text_pdf(pdfs / "download", [made.long])
    for name in ("1.jpg", "2.JPG", "book.djvu", "sub/book.epub", "README", "page.html"):
        (pdfs / name).parent.mkdir(exist_ok=True)
        (pdfs / name).write_bytes(b"%!PS not a PDF")
    done = run("ocr.py", pdfs, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "not read: 2 .jpg, 1 .djvu, 1 .epub, 1 .html, 1 without an ending; make a PDF of images with img2pdf" in (
        done.stdout
    )
    assert all(how in done.stdout for how in ("ddjvu -format=pdf", "ebook-convert", "by their content"))
    assert "Ghostscript" not in done.stdout
    manifest = made.manifest(tmp_path / "out")
    assert manifest["not_read"] == {".djvu": 1, ".epub": 1, ".html": 1, ".jpg": 2, "without an ending": 1}
    assert list(made.books(tmp_path / "out")[0]) == ["a.pdf", "download"]
    (pdfs / "a.pdf").unlink()
    (pdfs / "download").unlink()
    done = run("ocr.py", pdfs, "--out", tmp_path / "none")
    assert (done.returncode, "no other PDF; not read: 2 .jpg" in done.stderr) == (2, True), done.stderr
