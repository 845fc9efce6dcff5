"""Broken, encrypted, empty, fuzzed, cyclic, huge and wrong PDFs: each gives text or a reason."""

import csv
import os
import random
import re
import subprocess
import sys
import zlib

import pytest

pytestmark = pytest.mark.usefixtures("tesseract")


def test_broken_locked_empty_and_textless_pdfs_are_listed_with_reasons(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    whole = made.text_pdf(pdfs / "whole.pdf", [made.long]).read_bytes()
    made.text_pdf(pdfs / "locked.pdf", [made.long], password="secret")
    made.text_pdf(pdfs / "no_text.pdf", ["", ""])
    (pdfs / "zero.pdf").write_bytes(b"")
    (pdfs / "cut.pdf").write_bytes(whole[:400])
    (pdfs / "page.pdf").write_bytes(b"<html>not found</html>")
    done = run("ocr.py", pdfs, "--out", tmp_path / "out", "--workers", 2)
    assert done.returncode == 3, (done.stdout, done.stderr)
    documents, _, failures = made.books(tmp_path / "out")
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


def test_passwords_open_their_pdfs_and_are_never_printed(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    for name, password in (("own", "sesame"), ("any", "library"), ("other", "unknown")):
        made.text_pdf(pdfs / "locked" / f"{name}.pdf", [f"{made.long} {name}"], password=password)
    words = tmp_path / "words"
    words.write_text("locked/own.pdf\tsesame\n\n*\twrong\n*\tlibrary\n", encoding="utf-8")
    done = run("ocr.py", pdfs, "--out", tmp_path / "out", "--passwords", words)
    assert done.returncode == 3, done.stderr
    documents, _, failures = made.books(tmp_path / "out")
    assert set(documents) == {"locked/own.pdf", "locked/any.pdf"}
    assert failures == [
        {"document": "locked/other.pdf", "page": None, "reason": "encrypted: none of the passwords opens it"}
    ]
    written = (
        done.stdout
        + done.stderr
        + "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "out").rglob("*") if p.is_file())
    )
    assert not any(word in written for word in ("sesame", "library"))
    assert made.manifest(tmp_path / "out")["arguments"]["passwords_for"] == ["*", "locked/own.pdf"]


def test_failures_do_not_depend_on_the_pdf_read_before(run, made, tmp_path):
    """pdfium fails at a PDF without pages without an error code of its own."""
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.long], password="secret")
    made.raw_pdf(tmp_path / "pdfs" / "b.pdf", ["<< /Type /Catalog >>"])
    reasons = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        assert run("ocr.py", tmp_path / "pdfs", "--out", out, "--workers", workers).returncode == 3
        reasons.append([failure["reason"] for failure in made.books(out)[2]])
    assert reasons[0] == reasons[1]
    assert reasons[0] == ["encrypted: it needs a password", "truncated or damaged PDF: pdfium cannot load it"]


def test_a_file_name_that_is_not_utf8_is_read(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.long])
    (tmp_path / "pdfs" / "a.pdf").rename(tmp_path / "pdfs" / os.fsdecode(b"caf\xe9.pdf"))
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert list(made.books(tmp_path / "out")[0]) == ["caf\ufffd.pdf"]


def test_odd_pdfs_give_text_or_a_reason(run, made, tmp_path):
    pdfs = tmp_path / "pdfs"
    text = made.page_content(made.long[:60])
    page = (
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
    )
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    catalog = "<< /Type /Catalog /Pages 2 0 R >>"
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    attached = (
        "<< /Type /Catalog /Pages 2 0 R /Names << /EmbeddedFiles << /Names [(a.txt) "
        "<< /Type /Filespec /F (a.txt) /EF << /F 6 0 R >> >>] >> >> >>"
    )
    blank = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>"
    xfa = "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [] /XFA 6 0 R >> >>"
    wait = made.page_content("Please wait... If this message is not eventually replaced")
    xdp = made.stream("<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'/>")
    draws_itself = (
        "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >> "
        "/Length 5 >>\nstream\n/X Do\nendstream"
    )
    made.raw_pdf(pdfs / "fine.pdf", [catalog, pages, page, text, font])
    made.raw_pdf(pdfs / "claims.pdf", [catalog, pages.replace("/Count 1", "/Count 100000"), page, text, font])
    made.raw_pdf(pdfs / "loop.pdf", [catalog, pages.replace("3 0 R", "3 0 R 2 0 R"), page, text, font])
    made.raw_pdf(pdfs / "own_parent.pdf", [catalog, pages.replace("3 0 R", "2 0 R"), page, text, font])
    made.raw_pdf(pdfs / "attached.pdf", [attached, pages, blank, text, font, made.stream("attached")])
    made.raw_pdf(pdfs / "form.pdf", [xfa, pages, page, wait, font, xdp])
    made.raw_pdf(pdfs / "no_area.pdf", [catalog, pages, page.replace("595 842", "0 0"), made.stream(""), font])
    made.raw_pdf(
        pdfs / "draws_itself.pdf",
        [
            catalog,
            pages,
            page.replace("/Font", "/XObject << /X 6 0 R >> /Font"),
            made.stream("/X Do"),
            font,
            draws_itself,
        ],
    )
    (pdfs / "gone.pdf").symlink_to(tmp_path / "nowhere.pdf")
    done = run("ocr.py", pdfs, "--out", tmp_path / "out", "--workers", 2, "--timeout", 20)
    assert done.returncode == 3, (done.stdout, done.stderr)
    documents, read_pages, failures = made.books(tmp_path / "out")
    of_whole = {f["document"]: f["reason"] for f in failures if f["page"] is None}
    assert documents["fine.pdf"]["text"] == made.long[:60]
    assert documents["claims.pdf"]["text"] == made.long[:60]
    assert "given up after page 51 of 100000: 50 pages in a row failed" in of_whole["claims.pdf"]
    assert of_whole["attached.pdf"] == "no usable text on any of its 1 pages; 1 attached files are not read"
    assert read_pages["attached.pdf", 1]["reason"] == "blank"
    assert "a dynamic (XFA) form" in of_whole["form.pdf"]
    assert "No such file" in of_whole["gone.pdf"]
    assert set(documents) | set(of_whole) == {path.name for path in pdfs.iterdir()}


def test_fuzzed_and_cut_pdfs_are_all_accounted_for(run, made, tmp_path):
    whole = made.text_pdf(tmp_path / "whole.pdf", [f"{made.long} {i}" for i in range(3)]).read_bytes()
    chosen = random.Random(7)
    for seed in range(40):
        content = bytearray(whole)
        for _ in range(chosen.choice((1, 5, 30, 200))):
            content[chosen.randrange(len(content))] = chosen.randrange(256)
        kept = len(content) if seed % 4 else chosen.randrange(len(content))
        (tmp_path / "pdfs").mkdir(exist_ok=True)
        (tmp_path / "pdfs" / f"{seed:02d}.pdf").write_bytes(content[:kept])
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 2, "--timeout", 20)
    assert done.returncode in (0, 3), (done.stdout, done.stderr)
    documents, _, failures = made.books(tmp_path / "out")
    assert {f"{seed:02d}.pdf" for seed in range(40)} == set(documents) | {
        f["document"] for f in failures if f["page"] is None
    }
    assert len(documents) > 5


@pytest.mark.slow
def test_a_picture_of_35000_by_35000_pixels_is_read_in_bounded_memory(run, made, tmp_path):
    side = 35_000
    packed = zlib.compress(b"\xff" * (side // 8 * side), 1).decode("latin-1")
    picture = (
        f"<< /Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceGray "
        f"/BitsPerComponent 1 /Filter /FlateDecode /Length {len(packed)} >>\nstream\n{packed}\nendstream"
    )
    made.raw_pdf(
        tmp_path / "pdfs" / "huge.pdf",
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 14400 14400] /Contents 4 0 R "
            "/Resources << /XObject << /X 5 0 R >> >> >>",
            made.stream("14400 0 0 14400 0 0 cm /X Do"),
            picture,
        ],
    )
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    _, pages, _ = made.books(tmp_path / "out")
    assert pages["huge.pdf", 1]["reason"] == "blank"


@pytest.mark.slow
def test_real_pdfs_are_all_accounted_for_in_bounded_memory(made, real_data, tmp_path):
    words = tmp_path / "words"
    words.write_text("pdfplumber__password-example.pdf\ttest\n*\tuser\n", encoding="utf-8")
    # In a process of its own: one forked from the test process would start with all of its memory.
    command = [sys.executable, made.stage / "ocr.py", real_data / "pdfs", "--out", tmp_path / "out", "--workers", 2]
    done = subprocess.run([*map(str, command), "--passwords", words], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    documents, pages, failures = made.books(tmp_path / "out")
    whole = {f["document"]: f["reason"] for f in failures if f["page"] is None}
    assert {name for name, reason in whole.items() if "password" in reason} == {"pdfjs__print_protection.pdf"}
    names = {path.name for path in (real_data / "pdfs").glob("*.pdf")}
    assert (set(documents) | set(whole), set(documents) & set(whole)) == (names, set())
    with open(real_data / "pdfs" / "manifest.csv", encoding="utf-8") as file:
        claimed = {row["file"]: int(row["pages"]) for row in csv.DictReader(file)}
    listed = {(f["document"], f["page"]) for f in failures}
    for name, count in claimed.items():
        assert name in whole or all((name, i + 1) in pages or (name, i + 1) in listed for i in range(count)), name
    assert float(re.search(r"largest process: (\d+) MB", done.stdout)[1]) < 1500
    assert documents["de_kafka_scan_assembled.pdf"]["language"] == "de"
    assert documents["mineru__small_ocr.pdf"]["language"] == "zh"
    assert "tiny amount of text" in documents["ocrmypdf__hugemono.pdf"]["text"]
    turned = {pages["ocrmypdf__cardinal.pdf", i]["text"][:60] for i in range(1, 5)}
    assert len(turned) == 1, turned
