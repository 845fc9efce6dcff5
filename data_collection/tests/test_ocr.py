"""ocr.py: text layer or recognition, languages, failures with their reasons, crashes, and that a killed run goes on."""

import os
import shutil
import signal

import pytest

import ocr_document
import ocr_processes
import page_ocr

pytestmark = pytest.mark.usefixtures("tesseract")
LONG = " ".join(f"Sentence number {i} tells that the patient was treated with antibiotics there." for i in range(8))


def read(made, out) -> tuple[dict, dict, list]:
    """({origin: document}, {(origin, page): page}, failures) of an output."""
    return ({d["origin"]: d for d in made.lines(out / "documents.jsonl")},
            {(p["document"], p["page"]): p for p in made.lines(out / "pages.jsonl")},
            made.lines(out / "failures.jsonl"))


def test_a_tree_of_pdfs_is_read_each_page_by_the_method_it_needs(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "a" / "text.pdf", [LONG, "", "A last short page about the treatment."])
    made.scanned_pdf(tmp_path / "pdfs" / "b" / "scan.PDF", [LONG])
    (tmp_path / "pdfs" / "notes.txt").write_text("no PDF", encoding="utf-8")
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 2)
    assert done.returncode == 0, (done.stdout, done.stderr)
    documents, pages, failures = read(made, tmp_path / "out")
    assert failures == []
    assert {key: page["method"] for key, page in pages.items()} == {
        ("a/text.pdf", 1): "text_layer", ("a/text.pdf", 2): "empty", ("a/text.pdf", 3): "text_layer",
        ("b/scan.PDF", 1): "ocr"}
    assert documents["a/text.pdf"]["text"] == f"{LONG}\nA last short page about the treatment."
    scan = documents["b/scan.PDF"]
    assert scan["text"].replace("\n", " ") == LONG
    assert (scan["language"], scan["source"], scan["pages"], scan["pages_ocr"]) == ("en", "textbook", 1, 1)
    assert scan["confidence"] == pages["b/scan.PDF", 1]["confidence"] > 80
    assert scan["id"] == documents["a/text.pdf"]["id"] or len(scan["id"]) == 16
    manifest = made.manifest(tmp_path / "out")
    assert manifest["stage"] == "data_collection/ocr.py"
    assert manifest["pages"] == {"text_layer": 2, "ocr": 1, "empty": 1}
    assert not (tmp_path / "out" / "parts").exists()
    again = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 1)
    assert (again.returncode, "reused" in again.stdout) == (0, True)


def test_a_scan_lying_on_its_side_is_turned_before_it_is_read(run, made, tmp_path):
    made.scanned_pdf(tmp_path / "pdfs" / "turned.pdf", [LONG], turned=90)
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 0
    documents, _, _ = read(made, tmp_path / "out")
    assert documents["turned.pdf"]["text"].replace("\n", " ") == LONG


def test_later_scanned_pages_take_the_language_that_the_first_showed(run, made, tmp_path):
    page = made.medical["de"] + " " + made.medical["de"]
    made.scanned_pdf(tmp_path / "pdfs" / "de.pdf", [page, page])
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 0
    documents, pages, _ = read(made, tmp_path / "out")
    assert [page["model"] for page in pages.values()] == ["eng+fra+spa+deu", "deu"]
    assert documents["de.pdf"]["language"] == "de"


def test_broken_locked_empty_and_textless_pdfs_are_listed_with_reasons(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    whole = made.text_pdf(pdfs / "whole.pdf", [LONG]).read_bytes()
    made.text_pdf(pdfs / "locked.pdf", [LONG], password="secret")
    made.text_pdf(pdfs / "no_text.pdf", ["", ""])
    (pdfs / "zero.pdf").write_bytes(b"")
    (pdfs / "cut.pdf").write_bytes(whole[:400])
    (pdfs / "page.pdf").write_bytes(b"<html>not found</html>")
    done = run("ocr.py", pdfs, "--out", tmp_path / "out", "--workers", 2)
    assert done.returncode == 3, (done.stdout, done.stderr)
    documents, _, failures = read(made, tmp_path / "out")
    assert list(documents) == ["whole.pdf"]
    assert failures == [
        {"document": "cut.pdf", "page": None, "reason": "truncated or damaged PDF: pdfium cannot load it"},
        {"document": "locked.pdf", "page": None, "reason": "encrypted: it needs a password"},
        {"document": "no_text.pdf", "page": None, "reason": "no usable text on any of its 2 pages"},
        {"document": "page.pdf", "page": None, "reason": "not a PDF: pdfium cannot load it"},
        {"document": "zero.pdf", "page": None, "reason": "the file is empty (0 bytes)"},
    ]
    again = run("ocr.py", pdfs, "--out", tmp_path / "out")
    assert (again.returncode, "reused" in again.stdout) == (3, True)


def misbehave(monkeypatch, document: str, page: int, deed) -> None:
    """Make the reading process do something when it comes to one page (the forked process inherits this)."""
    read_page = ocr_document.read_page

    def bad(pdf, number, name, *rest):
        if (name, number + 1) == (document, page):
            deed()
        return read_page(pdf, number, name, *rest)

    monkeypatch.setattr(ocr_document, "read_page", bad)


def crash():
    os.kill(os.getpid(), signal.SIGTRAP)


def eat_memory():
    return bytearray(1 << 40)


def hang():
    signal.pause()


@pytest.mark.parametrize(("deed", "reason"), [
    (crash, "the reading process ended (signal SIGTRAP)"),
    (eat_memory, "the reading process ended (more than 4 GiB of memory needed)"),
    (hang, "no answer after 2 s"),
])  # fmt: skip
def test_a_page_that_ends_its_process_costs_that_page_alone(run, made, tmp_path, monkeypatch, deed, reason):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"{LONG} one", f"{LONG} two", f"{LONG} three"])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [LONG])
    misbehave(monkeypatch, "a.pdf", 2, deed)
    monkeypatch.setattr(ocr_processes, "GRACE", 1.0)
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--timeout", 1)
    assert done.returncode == 3, (done.stdout, done.stderr)
    documents, pages, failures = read(made, tmp_path / "out")
    assert failures == [{"document": "a.pdf", "page": 2, "reason": reason}]
    assert set(pages) == {("a.pdf", 1), ("a.pdf", 3), ("b.pdf", 1)}
    assert (documents["a.pdf"]["pages"], documents["a.pdf"]["pages_failed"]) == (3, 1)


def test_a_pdf_whose_every_page_crashes_is_given_up(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [LONG])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [LONG])
    open_pdf = ocr_document.open_pdf
    monkeypatch.setattr(ocr_document, "open_pdf", lambda p: crash() if p.name == "a.pdf" else open_pdf(p))
    monkeypatch.setattr(ocr_processes, "MOST_RESTARTS", 3)
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 3
    documents, _, failures = read(made, tmp_path / "out")
    assert list(documents) == ["b.pdf"]
    assert failures[-1] == {"document": "a.pdf", "page": None, "reason":
                            "given up after 3 failed pages: the reading process ended (signal SIGTRAP)"}


def test_a_page_that_takes_tesseract_too_long_fails_alone(run, made, tmp_path, monkeypatch):
    made.scanned_pdf(tmp_path / "pdfs" / "scan.pdf", [LONG])
    made.text_pdf(tmp_path / "pdfs" / "text.pdf", [LONG])
    real = shutil.which("tesseract")
    slow = tmp_path / "bin" / "tesseract"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$*" in *--list-langs*|*--version*) exec {real} "$@";; esac\nexec sleep 60\n',
                    encoding="utf-8")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--timeout", 1)
    assert done.returncode == 3
    documents, _, failures = read(made, tmp_path / "out")
    assert list(documents) == ["text.pdf"]
    assert failures[0] == {"document": "scan.pdf", "page": 1, "reason": "tesseract took longer than 1 s"}


def test_an_unsure_page_stays_out_of_the_document_and_is_listed(run, made, tmp_path):
    made.scanned_pdf(tmp_path / "pdfs" / "scan.pdf", [LONG])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--min-confidence", 99.9)
    assert done.returncode == 3
    documents, pages, failures = read(made, tmp_path / "out")
    assert documents == {}
    assert pages["scan.pdf", 1]["text"]
    assert "under 99.9: kept in pages.jsonl only" in failures[0]["reason"]


def test_the_language_asked_for_is_taken_and_its_trained_data_required(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [LONG])
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--language", "fr").returncode == 0
    assert read(made, tmp_path / "out")[0]["a.pdf"]["language"] == "fr"
    monkeypatch.setattr(page_ocr, "installed_models", lambda: frozenset({"eng", "osd"}))
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out2", "--language", "zh")
    assert done.returncode == 2
    assert "install the Debian package tesseract-ocr-chi-sim" in done.stderr


def test_a_missing_tesseract_is_one_sentence(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [LONG])
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert (done.returncode, "install the Debian package tesseract-ocr" in done.stderr) == (2, True)


def test_bad_folders_and_settings_are_refused(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    made.text_pdf(pdfs / "a.pdf", [LONG])
    (tmp_path / "none").mkdir()
    for arguments, message in (
        ([tmp_path / "gone", "--out", tmp_path / "o"], "is not a folder"),
        ([tmp_path / "none", "--out", tmp_path / "o"], "holds no file ending in .pdf"),
        ([pdfs / "a.pdf", "--out", tmp_path / "o"], "is not a folder"),
        ([pdfs, "--out", pdfs / "o"], "lies inside the input"),
        ([pdfs, "--out", tmp_path / "o", "--language", "it"], "invalid choice: 'it'"),
        ([pdfs, "--out", tmp_path / "o", "--workers", "0"], "--workers 0: at least 1"),
        ([pdfs, "--out", tmp_path / "o", "--limit", "0"], "--limit 0: at least 1"),
        ([pdfs, "--out", tmp_path / "o", "--timeout", "0"], "--timeout 0.0: at least 1"),
    ):  # fmt: skip
        done = run("ocr.py", *arguments)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "o").exists()


def test_a_dry_run_and_a_limit(run, made, tmp_path):
    for name in ("b.pdf", "a.pdf"):
        made.text_pdf(tmp_path / "pdfs" / name, [f"{LONG} {name}"])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--dry-run")
    assert (done.returncode, "would read a.pdf" in done.stdout) == (0, True)
    assert not (tmp_path / "out").exists()
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--limit", 1).returncode == 0
    assert list(read(made, tmp_path / "out")[0]) == ["a.pdf"]


def test_a_killed_run_goes_on_and_ends_with_the_bytes_of_an_unbroken_one(run, made, tmp_path):
    for i in range(8):
        pages = [f"{LONG} {i} {j}" for j in range(2)]
        (made.scanned_pdf if i == 4 else made.text_pdf)(tmp_path / "pdfs" / f"{i}.pdf", pages)
    out = tmp_path / "out"
    arguments = [tmp_path / "pdfs", "--out", out, "--workers", 1]
    begun = out / "parts" / "000004.jsonl.aside"
    assert made.start_and_kill("ocr.py", arguments, lambda: begun.exists() and begun.read_bytes().count(b"\n") == 1)
    assert not (out / "manifest.json").exists()
    done = run("ocr.py", *arguments)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "4 of 8 PDFs were done before" in done.stdout
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "whole", "--workers", 2).returncode == 0
    assert made.files(out) == made.files(tmp_path / "whole")


def test_a_file_name_that_is_not_utf8_is_read(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [LONG])
    (tmp_path / "pdfs" / "a.pdf").rename(tmp_path / "pdfs" / os.fsdecode(b"caf\xe9.pdf"))
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert list(read(made, tmp_path / "out")[0]) == ["caf\ufffd.pdf"]


@pytest.mark.slow
def test_real_pdfs_are_read_and_the_unreadable_ones_are_named(run, made, real_data, tmp_path):
    done = run("ocr.py", real_data / "pdfs", "--out", tmp_path / "out", "--workers", 2)
    assert done.returncode == 3
    documents, pages, failures = read(made, tmp_path / "out")
    whole = {f["document"]: f["reason"] for f in failures if f["page"] is None}
    assert {name for name, reason in whole.items() if "password" in reason} == {
        "pikepdf__graph-encrypted.pdf", "pdfplumber__password-example.pdf", "pdfjs__print_protection.pdf"}
    assert len(documents) + len(whole) == 42
    assert documents["de_kafka_scan_assembled.pdf"]["language"] == "de"
    assert documents["mineru__small_ocr.pdf"]["language"] == "zh"
    assert "tiny amount of text" in documents["ocrmypdf__hugemono.pdf"]["text"]
    turned = {pages["ocrmypdf__cardinal.pdf", i]["text"][:60] for i in range(1, 5)}
    assert len(turned) == 1, turned
