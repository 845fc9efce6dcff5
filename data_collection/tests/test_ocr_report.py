"""ocr.py --report: every kind of page is shown beside its text, nothing is executed or fetched, nothing crashes it.

The test in a browser needs Debian's chromium and chromium-driver, or CHROMIUM and CHROMEDRIVER naming them.
"""

import io
import json
import os
import random
import shutil
import time
from html.parser import HTMLParser

import pytest

from pdf import ocr_report
from pdf.ocr_files import Passwords
from pdf.ocr_report import MAX_CHARACTERS, MAX_PICTURE_BYTES, choose_pages, jpeg_of, picture_of, write_report
from run_record import write_json

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
CHROMEDRIVER = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
EVIL = "</p><script>window.evil = 1</script><img src=http://127.0.0.1:9/x onerror='window.evil = 1'>"
ARABIC = "وصل المريض إلى المستشفى وهو يعاني من الحمى والسعال وألم في الصدر."


class Parsed(HTMLParser):
    """Counts tags and collects attributes and text."""

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], "", []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def page(document: str, number: int, method: str = "text_layer", language: str = "en", **more) -> dict:
    about = {"document": document, "page": number, "method": method, "language": language, "characters": 5}
    return about | {"seconds": 0.1, "text": "words"} | more


def finished(made, out, pages: list[dict], failures: list[dict] = ()) -> None:
    """An output of ocr.py with these pages."""
    made.jsonl(out / "pages.jsonl", pages)
    made.jsonl(out / "failures.jsonl", list(failures))
    write_json(out / "manifest.json", {"documents": 1, "pdfs": 2, "provenance": {"command": "python ocr.py"}})


def test_the_command_writes_a_report_and_again_without_reading_again(run, made, tmp_path, tesseract):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.medical["en"], made.long])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [made.general["en"]], password="secret")
    (tmp_path / "pdfs" / "c.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "passwords").write_text("b.pdf\tsecret\n")
    command = ["ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--passwords", tmp_path / "passwords"]
    command += ["--workers", 1, "--report", tmp_path / "new" / "report.html"]
    assert run(*command, "--dry-run").returncode == 0
    assert not (tmp_path / "new").exists()
    done = run(*command)
    assert done.returncode == 3, done.stderr  # c.pdf
    assert "report.html: 3 pages beside their text" in done.stdout
    report = (tmp_path / "new" / "report.html").read_text("utf-8")
    parsed = Parsed(report)
    assert not parsed.open
    assert (parsed.tags.count("article"), parsed.tags.count("img")) == (3, 3)
    assert all(word in parsed.words for word in ("a.pdf, page 2", "b.pdf, page 1", "c.pdf", "truncated or damaged"))
    assert made.medical["en"].split()[-1] in parsed.words
    links = [value for _, name, value in parsed.attributes if name in ("src", "href")]
    assert all(link.startswith(("data:", "#page-")) for link in links)
    before = made.files(tmp_path / "out")
    again = run(*command[:-1], tmp_path / "second.html", "--report-pages", 1)
    assert again.returncode == 3 and "reused" in again.stdout
    assert made.files(tmp_path / "out") == before
    assert (tmp_path / "second.html").read_text("utf-8").count("<article") == 1
    run(*command)
    assert (tmp_path / "new" / "report.html").read_text("utf-8") == report


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--report-pages", "3"], "--report-pages has no effect without --report FILE"),
        (["--report", "r.html", "--report-pages", "0"], "--report-pages 0: must be at least 1"),
        (["--report", "."], "--report . is a folder; give the name of a file"),
    ],
)
def test_bad_report_flags_are_named(run, made, tmp_path, tesseract, flags, message):
    made.text_pdf(tmp_path / "a.pdf", [made.medical["en"]])
    done = run("ocr.py", tmp_path / "a.pdf", "--out", tmp_path / "out", *flags)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_finished_output_there_is_no_report(capsys, tmp_path):
    write_report(tmp_path / "report.html", tmp_path / "out", {}, Passwords(None), 5)
    assert "no report yet" in capsys.readouterr().out
    assert not (tmp_path / "report.html").exists()


def test_the_sample_has_every_kind_failures_and_the_least_sure_and_depends_on_the_output_alone():
    read = [page("thick.pdf", n) for n in range(1, 901)]
    read += [page(f"thin{n}.pdf", 1, language="fr") for n in range(10)]
    read += [page("scan.pdf", n, "ocr", "de", confidence=90 + n / 100) for n in range(1, 101)]
    read += [page("scan.pdf", 101, "ocr", "de", confidence=61.0), page("scan.pdf", 102, "empty", "und", reason="blank")]
    read += [page("thick.pdf", 901, layer="a mark")]
    failed = [{"document": "bad.pdf", "page": n, "reason": f"crash {n}", "method": "failed"} for n in range(1, 50)]
    failed += [{"document": "bad.pdf", "page": 60, "reason": "slow", "method": "failed"}]
    chosen = choose_pages(read, failed, 24)
    places = [(shown["document"], shown["page"]) for shown in chosen]
    assert len(places) == 24 and places == sorted(set(places))
    assert sum(shown["method"] == "failed" for shown in chosen) == 6
    assert {"scan.pdf 101", "scan.pdf 102", "thick.pdf 901", "bad.pdf 60"} <= {
        f"{shown['document']} {shown['page']}" for shown in chosen
    }
    assert len({shown["document"] for shown in chosen if shown.get("language") == "fr"}) >= 2
    assert sum(shown["document"] == "thick.pdf" for shown in chosen) < 8
    random.Random(1).shuffle(read)
    random.Random(2).shuffle(failed)
    assert choose_pages(read, failed, 24) == chosen
    assert len(choose_pages(read[:2], failed, 24)) == 24  # failures fill the places that are left
    assert choose_pages([], [], 24) == []


def test_text_is_escaped_and_odd_characters_cells_and_reasons_are_shown(made, tmp_path):
    texts = [EVIL, "a\tb\n≥ \uf0b3 \ufffd", ARABIC, "x" * (MAX_CHARACTERS + 1234), ""]
    pages = [page(EVIL, n, "ocr", text=text, confidence=50.0, model=EVIL) for n, text in enumerate(texts, 1)]
    unsure = {"document": EVIL, "page": 5, "reason": "recognised with confidence 50.0"}
    finished(made, tmp_path / "out", pages, [unsure, {"document": EVIL, "page": None, "reason": EVIL}])
    write_report(tmp_path / "report.html", tmp_path / "out", {}, Passwords(None), None)
    parsed = Parsed((tmp_path / "report.html").read_text("utf-8"))
    assert not {"script", "img"} & set(parsed.tags)
    assert parsed.tags.count("article") == 5
    assert "; 5 pages, 2 failures." in parsed.words  # a page left out of the documents is counted once
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert parsed.words.count(EVIL) >= 1 + 5 * 2
    assert "U+F0B3" in parsed.words and "U+FFFD" in parsed.words and "a\tb" in parsed.words
    assert ARABIC in parsed.words and ("p", "dir", "auto") in parsed.attributes
    assert "and 1,234 more characters" in parsed.words and "x" * (MAX_CHARACTERS + 1) not in parsed.words
    assert parsed.words.count("recognised with confidence 50.0") == 1  # the table has no numbers
    assert "the PDF is not among the input any more" in parsed.words and "no text" in parsed.words


def test_a_page_that_cannot_be_drawn_costs_only_its_picture(made, tmp_path, monkeypatch):
    path = made.text_pdf(tmp_path / "a.pdf", [made.medical["en"]])
    locked = made.text_pdf(tmp_path / "b.pdf", [made.medical["en"]], password="secret")
    assert picture_of(path, 1, (), 0.0)[0].startswith(b"\xff\xd8")
    assert picture_of(locked, 1, ("wrong", "secret"), 0.0)[0].startswith(b"\xff\xd8")
    assert picture_of(locked, 1, ("wrong",), 0.0) == (b"", "encrypted: none of the passwords opens it")
    jpeg, why = picture_of(path, 2, (), 0.0)
    assert not jpeg and why
    monkeypatch.setattr(ocr_report, "jpeg_of", lambda *_: os._exit(9))
    assert picture_of(path, 1, (), 0.0) == (b"", "drawing ends the process")
    monkeypatch.setattr(ocr_report, "jpeg_of", lambda *_: time.sleep(60))
    monkeypatch.setattr(ocr_report, "DRAW_SECONDS", 0.3)
    begun = time.monotonic()
    assert picture_of(path, 1, (), 0.0) == (b"", "drawing takes longer than 0.3 s")
    assert time.monotonic() - begun < 4


def test_a_picture_is_small_and_upright(tmp_path):
    from PIL import Image

    noise = Image.frombytes("RGB", (1800, 1200), random.Random(0).randbytes(1800 * 1200 * 3))
    noise.save(tmp_path / "noise.pdf", resolution=150)
    jpeg = jpeg_of(tmp_path / "noise.pdf", 1, (), 0.0)
    assert 1000 < len(jpeg) <= MAX_PICTURE_BYTES
    half = Image.new("L", (600, 300), 255)
    half.paste(0, (0, 0, 300, 300))  # black on the left
    half.save(tmp_path / "half.pdf", resolution=100)
    upright = Image.open(io.BytesIO(jpeg_of(tmp_path / "half.pdf", 1, (), 90.0)))
    assert upright.width < upright.height
    assert upright.convert("L").getpixel((upright.width // 2, 10)) < 50  # turned clockwise: black on top


def test_what_is_filled_into_a_form_is_drawn(made, tmp_path):
    from PIL import Image
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "form.pdf"), invariant=1)
    canvas.acroForm.textfield(name="dose", value="MMMMMMMM", x=50, y=600, width=400, height=60, fontSize=40)
    canvas.showPage()
    canvas.save()
    drawn = Image.open(io.BytesIO(jpeg_of(tmp_path / "form.pdf", 1, (), 0.0))).convert("L")
    assert sum(drawn.histogram()[:80]) > 1000


@pytest.mark.slow
def test_in_a_browser_both_sides_are_seen_side_by_side_without_a_network(made, tmp_path):
    selenium = pytest.importorskip("selenium.webdriver", reason="the package selenium is not installed")
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("no chromium and chromedriver here (Debian packages chromium and chromium-driver)")
    pdf = made.text_pdf(tmp_path / "a.pdf", [made.medical["en"]] * 2)
    finished(
        made, tmp_path / "out", [page("a.pdf", 1, text=EVIL + "\na\tb"), page("a.pdf", 2, "ocr", "ar", text=ARABIC)]
    )
    write_report(tmp_path / "report.html", tmp_path / "out", {"a.pdf": pdf}, Passwords(None), None)
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,1200",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = selenium.Chrome(options=options, service=selenium.ChromeService(CHROMEDRIVER))
    try:
        browser.get((tmp_path / "report.html").as_uri())
        assert browser.execute_script("return window.evil") is None
        assert not browser.get_log("browser")  # neither errors nor refused by the content security policy
        sides = browser.execute_script("""
            return [...document.querySelectorAll("article")].map((article) => {
              const [picture, text] = [article.querySelector("img"), article.querySelector(".text")];
              const [left, right] = [picture.getBoundingClientRect(), text.getBoundingClientRect()];
              return [picture.naturalWidth, right.left - left.right, Math.abs(left.top - right.top),
                      getComputedStyle(text.querySelector("p")).direction];
            });""")
        assert [row[3] for row in sides] == ["ltr", "rtl"]
        assert all(width > 500 and apart > 0 and top < 5 for width, apart, top, _ in sides)
        assert (
            browser.execute_script("return getComputedStyle(document.querySelector('article')).borderTopWidth") == "1px"
        )
        sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith(("file:", "data:")) for url in urls)
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
        )
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.quit()
