"""An HTML page on which a person compares pages with their text: `ocr.py --report FILE`.

Reads   a finished output of ocr.py (FORMAT.md) and its PDFs
Writes  one file that needs nothing else: a summary, then a sample of pages, each drawn beside its text as read, with
        method, language, confidence and the other fields of pages.jsonl

The sample depends on the output alone: the pages that failed and those of the lowest confidence, at most a quarter of
the sample each; the rest in turn from every method, language and mark, and in these from every PDF.
"""

import argparse
import base64
import hashlib
import html
import io
import json
import multiprocessing
import re
import resource
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

from executor.run_folder import die_with_parent
from pdf.ocr_files import Passwords
from pdf.ocr_processes import address_space
from run_record import InputError, is_disk_full, read_json, write_text
from text_layers.text_layer import EncryptedPdf, PdfError, open_pdf

PAGES = 40
SHARE = 4  # at most a quarter of the pages for failures, and a quarter for low confidences
PICTURE_PIXELS = 1300  # of the longer side: A4 at 111 dots per inch, where 6 points can be read
MAX_PICTURE_BYTES = 160_000  # 40 pages and their text stay under 10 MB
MAX_CHARACTERS = 12_000  # of a page's text; a dense page has 8,000
QUALITIES = (60, 45, 30)  # of JPEG, tried in turn; then the picture is halved
DRAW_SECONDS, DRAW_BYTES = 60.0, 2**31  # for a page, which is drawn in a process of its own: it may crash
MAX_REASONS = 20  # kinds of failures that the summary lists
PLAIN = ("document", "page", "text", "method", "language", "characters", "seconds", "reason")  # shown by themselves
UNUSED = ("text", "characters", "seconds", "engine", "model", "resolution", "layout", "turned")  # in choosing pages
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Characters that cannot be read: private-use ones, U+FFFD and control characters.
ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd\U000f0000-\U0010fffd]")
STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --stripe: #f2f4f7; --ink: #1b2330; --faint: #566070; --line: #ccd2db; --accent: #0b5ea8;
  --warn: #a02316;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181f; --stripe: #1c222b; --ink: #e8ecf2; --faint: #a9b3c0; --line: #3b4453; --accent: #85b8f2;
    --warn: #ff9c8f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 100rem; background: var(--ground); color: var(--ink); line-height: 1.5;
  font-family: system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans Arabic",
    "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 0; }
a { color: var(--accent); }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: start; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: start; vertical-align: top; border-block-end: 1px solid var(--line); }
td.number, th.number { text-align: end; white-space: nowrap; }
article { margin: 1.5rem 0; border: 1px solid var(--line); border-radius: .5rem; }
header {
  padding: .5rem .75rem; background: var(--stripe); border-block-end: 1px solid var(--line);
  border-radius: .5rem .5rem 0 0;
}
header p { margin: 0; color: var(--faint); font-size: .9rem; }
header b { color: var(--ink); font-weight: 600; }
.warn, .warn b, mark { color: var(--warn); background: none; }
mark { border: 1px solid; border-radius: .2rem; font-size: .75em; padding: 0 .15rem; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem; padding: .75rem; }
.sides img {
  display: block; max-inline-size: 100%; max-block-size: 70rem; margin: 0 auto; position: sticky; inset-block-start: 0;
  border: 1px solid var(--line); background: #ffffff;
}
.text p { margin: 0 0 .5rem; white-space: pre-wrap; }
.cell { border-inline-start: 2px solid var(--accent); margin-inline: .35rem; }
.none { color: var(--faint); font-style: italic; }
@media (max-width: 50rem) { .sides { grid-template-columns: minmax(0, 1fr); } .sides img { position: static; } }
@media print { article { break-inside: avoid; } .sides img { position: static; } }
"""


def check_report_flags(args: argparse.Namespace) -> None:
    """Errors: InputError if --report or --report-pages of ocr.py cannot be used."""
    if args.report is None and args.report_pages is not None:
        raise InputError("--report-pages has no effect without --report FILE")
    if args.report_pages is not None and args.report_pages < 1:
        raise InputError(f"--report-pages {args.report_pages}: must be at least 1")
    if args.report is not None and args.report.is_dir():
        raise InputError(
            f"--report {args.report} is a folder; give the name of a file, such as {args.report}/report.html"
        )


def write_report(path: Path, out: Path, pdfs: dict[str, Path], passwords: Passwords, pages: int | None) -> None:
    """Write the report of an output of ocr.py, if that is finished.

    pdfs: {name: path} of the PDFs. pages: at most so many are shown (None: PAGES). Errors: InputError if the report
    cannot be written.
    """
    if not (out / "manifest.json").exists():
        print("no report yet: other shards still have work to do")
        return
    manifest, failures = read_json(out / "manifest.json"), list(lines_of(out / "failures.jsonl"))
    read = [{key: page[key] for key in page if key not in UNUSED} for page in lines_of(out / "pages.jsonl")]
    known = {key_of(page) for page in read}
    failed = [{**f, "method": "failed"} for f in failures if f["page"] is not None and key_of(f) not in known]
    unsure = {key_of(failure): failure["reason"] for failure in failures if key_of(failure) in known}
    shown = {key_of(page): page for page in choose_pages(read, failed, PAGES if pages is None else pages)}
    shown |= {key_of(page): page for page in lines_of(out / "pages.jsonl") if key_of(page) in shown}
    articles = []
    for key, page in shown.items():
        picture = picture_of(pdfs.get(key[0]), key[1], passwords.for_pdf(key[0]), page.get("turned", 0.0))
        articles.append(article(len(articles) + 1, page, picture, unsure.get(key, "")))
    try:
        write_text(path, whole_page(manifest, [*read, *failed], failures, list(shown.values()), articles))
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InputError(f"cannot write the report to {path} ({error.strerror})") from None
    print(f"wrote {path}: {len(shown)} pages beside their text")


def lines_of(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8") as file:
        yield from map(json.loads, file)


def key_of(page: dict) -> tuple[str, int | None]:
    return page["document"], page["page"]


def choose_pages(read: list[dict], failed: list[dict], pages: int) -> list[dict]:
    """At most `pages` of the pages, in the order of documents and pages; the same for the same output.

    read, failed: records with document, page, method. A kind is a method, a language and all marks (text fields).
    """
    by_reason: dict[object, list[dict]] = defaultdict(list)
    for failure in failed:
        by_reason[NUMBER.sub("", failure["reason"])].append(failure)
    kinds: dict[object, list[dict]] = defaultdict(list)
    for page in read:
        marks = sorted((key, value) for key, value in page.items() if isinstance(value, str) and key not in PLAIN)
        kinds[page["method"], page["language"], str(marks)].append(page)
    sure_last = sorted(
        (page for page in read if "confidence" in page), key=lambda page: (page["confidence"], rank(page))
    )
    part = max(1, pages // SHARE)
    broken = list(in_turn(map(by_document, by_reason.values())))
    wanted = chain(
        broken[:part], sure_last[:part], in_turn(by_document(kinds[kind]) for kind in sorted(kinds)), broken[part:]
    )
    chosen: dict[tuple, dict] = {}
    for page in wanted:
        if len(chosen) == pages:
            break
        chosen.setdefault(key_of(page), page)
    return [chosen[key] for key in sorted(chosen)]


def by_document(pages: list[dict]) -> Iterator[dict]:
    """The pages in turn from each document, in an order that looks random."""
    documents: dict[str, list[dict]] = defaultdict(list)
    for page in sorted(pages, key=rank):
        documents[page["document"]].append(page)
    return in_turn(documents.values())


def in_turn(groups: Iterable[Iterable[dict]]) -> Iterator[dict]:
    """The first of each group, then the second of each, and so on."""
    return (item for row in zip_longest(*groups) for item in row if item is not None)


def rank(page: dict) -> str:
    return hashlib.sha256(f"{page['document']}\n{page['page']}".encode()).hexdigest()


def picture_of(path: Path | None, number: int, passwords: tuple[str, ...], turned: float) -> tuple[bytes, str]:
    """(JPEG of a page, ""), or (b"", why there is none). number: from 1; turned: degrees clockwise."""
    if path is None:
        return b"", "the PDF is not among the input any more"
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_draw, args=(theirs, path, number, passwords, turned), daemon=True)
    process.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(DRAW_SECONDS) else (b"", f"drawing takes longer than {DRAW_SECONDS:g} s")
    except EOFError:
        return b"", "drawing ends the process"
    finally:
        process.kill()
        process.join()
        ours.close()


def _draw(pipe, path: Path, number: int, passwords: tuple[str, ...], turned: float) -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + DRAW_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pipe.send((jpeg_of(path, number, passwords, turned), ""))
    except Exception as error:  # whatever is wrong with the page, the report says it
        pipe.send((b"", f"{error or type(error).__name__}"))


def jpeg_of(path: Path, number: int, passwords: tuple[str, ...], turned: float) -> bytes:
    """A page as JPEG of at most MAX_PICTURE_BYTES. Errors: PdfError, and those of pypdfium2."""
    for password in (None, *passwords):
        try:
            document = open_pdf(path, password)
        except EncryptedPdf:
            continue
        break
    else:
        raise PdfError("encrypted: none of the passwords opens it")
    document.init_forms()  # before the page is loaded: what is filled in is drawn
    page = document[number - 1]
    picture = page.render(scale=min(4.0, PICTURE_PIXELS / max(1.0, *page.get_size()))).to_pil().convert("RGB")
    if turned:
        picture = picture.rotate(-turned, expand=True, fillcolor="white")
    while True:
        for quality in QUALITIES:
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=quality, optimize=True)
            if content.tell() <= MAX_PICTURE_BYTES:
                return content.getvalue()
        picture = picture.reduce(2)


def text(value: object) -> str:
    """Any text as HTML: escaped, isolated from the direction of its surroundings."""
    return f"<bdi>{html.escape(str(value))}</bdi>"


def paragraph(line: str) -> str:
    """A line of the text as read; cells are parted by a rule, unreadable characters named."""
    cells = [ODD.sub(lambda odd: f"\0{ord(odd[0]):04X}\0", cell) for cell in line.split("\t")]
    marked = [re.sub("\0([0-9A-F]+)\0", r"<mark>U+\1</mark>", html.escape(cell)) for cell in cells]
    return f'<p dir="auto">{"<span class=cell>&#9;</span>".join(marked)}</p>'


def article(number: int, page: dict, picture: tuple[bytes, str], unsure: str) -> str:
    """One page of the sample: its facts, its picture, its text. unsure: why the documents omit it, or ""."""
    facts = [f"<b>{text(page['method'])}</b>"]
    if "language" in page:
        facts += [text(page["language"]), f"{page['characters']:,} characters"]
    facts += [f"{text(key)} <b>{text(value)}</b>" for key, value in page.items() if key not in PLAIN]
    reasons = "".join(f'<p class="warn">{text(reason)}</p>' for reason in (page.get("reason"), unsure) if reason)
    name = f"{page['document']}, page {page['page']}"
    jpeg, why = picture
    drawn = f'<p class="none">no picture: {text(why)}</p>'
    if jpeg:
        data = base64.b64encode(jpeg).decode()
        drawn = f'<img alt="{html.escape(name, quote=True)} as drawn" src="data:image/jpeg;base64,{data}">'
    content = page.get("text", "")
    lines = (
        "\n".join(map(paragraph, content[:MAX_CHARACTERS].split("\n"))) if content else '<p class="none">no text</p>'
    )
    if len(content) > MAX_CHARACTERS:
        lines += f'<p class="none">and {len(content) - MAX_CHARACTERS:,} more characters; see pages.jsonl</p>'
    head = f"<h2>{number}. {text(name)}</h2><p>{' · '.join(facts)}</p>{reasons}"
    return (
        f'<article id="page-{number}"><header>{head}</header>'
        f'<div class="sides"><div class="picture">{drawn}</div><div class="text">{lines}</div></div></article>'
    )


def table(heads: list[str], rows: Iterable[list]) -> str:
    """Columns of numbers are set to the right."""
    body = [
        "".join(f'<td class="number">{v:,}</td>' if isinstance(v, int) else f"<td>{v}</td>" for v in row)
        for row in rows
    ]
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{'</tr><tr>'.join(body)}</tr></tbody></table>" * bool(body)


def whole_page(manifest: dict, pages: list[dict], failures: list[dict], shown: list[dict], articles: list[str]) -> str:
    """The file: what the run did, where it failed, the list of the sample, the sample."""

    def kind(page: dict) -> tuple[str, str]:
        return page["method"], page.get("language", "–")

    counts, sample = Counter(map(kind, pages)), Counter(map(kind, shown))
    reasons: dict[str, list[dict]] = defaultdict(list)
    for failure in failures:
        reasons[NUMBER.sub("…", failure["reason"])].append(failure)
    listed = sorted(reasons, key=lambda reason: (-len(reasons[reason]), reason))
    more = f"<p>And {len(listed) - MAX_REASONS} other reasons; see failures.jsonl.</p>" * (len(listed) > MAX_REASONS)

    def example(failure: dict) -> str:
        return text(failure["document"] + (f", page {failure['page']}" if failure["page"] is not None else ""))

    links = (
        f'<li><a href="#page-{i}">{text(page["document"] + ", page " + str(page["page"]))}</a> {page["method"]}</li>'
        for i, page in enumerate(shown, 1)
    )
    allowed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; img-src data:; base-uri 'none'; form-action 'none'"
    provenance = manifest.get("provenance", {})
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<link rel="icon" href="data:,">',
            f"<title>Pages and their text</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            "<h1>Pages and their text</h1>",
            f"<p>{manifest['documents']:,} of {manifest['pdfs']:,} PDFs gave text; {sum(counts.values()):,} pages, "
            f"{len(failures):,} failures. Shown: {len(shown):,} pages, among them failed pages and those read with the "
            "lowest confidence, the others in turn from every method, language and PDF. Left the page as drawn, right "
            "its text in pages.jsonl; running heads and page numbers are taken out later.</p>",
            f"<p>{text(provenance.get('command', ''))}, commit {text(provenance.get('commit', 'unknown'))}</p>",
            '<div class="tables">',
            table(
                ["method", "language", "pages", "shown"],
                (
                    [text(method), text(language), n, sample[method, language]]
                    for (method, language), n in sorted(counts.items())
                ),
            ),
            table(
                ["failure", "number", "for example"],
                ([text(why), len(reasons[why]), example(reasons[why][0])] for why in listed[:MAX_REASONS]),
            ),
            "</div>",
            more,
            f"<details><summary>The pages shown</summary><ol>{''.join(links)}</ol></details>\n<main>",
            *articles,
            "</main>\n</body>\n</html>\n",
        ]
    )
