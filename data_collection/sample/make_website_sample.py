"""Write the sample's saved web sites from `texts/websites.txt`.

Reads   texts/websites.txt (pages between lines "---": `language:`, `encoding:`, `title:`, `slug:`, then paragraphs).
Writes  <out>/websites/: an HTML file per page in its encoding, a page in no encoding (broken.html), one that only leads
        elsewhere (moved.html), a style sheet, and site.warc.gz with the pages whose slug begins with warc/, a redirect
        and a picture. The bytes are the same whenever they are made (of the archive: with the same zlib).

Example: python data_collection/sample/make_website_sample.py
"""

import argparse
import gzip
import html
import io
import uuid
from pathlib import Path

from make_corpus_sample import HERE, read_documents, run_record

SITE = "https://health.example.org"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
MENU = {
    "en": "Home Topics Contact",
    "es": "Inicio Temas Contacto",
    "fr": "Accueil Thèmes Contact",
    "ja": "ホーム 一覧",
    "ar": "الرئيسية المواضيع",
    "ru": "Главная Темы",
    "de": "Startseite Themen",
    "zh": "首页 主题",
}
DATE = "2024-01-01T00:00:00Z"
RESPONSE = "application/http; msgtype=response"


def page_of(document: dict[str, str]) -> bytes:
    """A whole page: head, menu, article, footer."""
    parts = []
    for block in document["text"].strip().split("\n\n"):
        tag, text = ("h2", block[3:]) if block.startswith("## ") else ("p", block)
        parts.append(f"<{tag}>{html.escape(text)}</{tag}>")
    menu = "".join(f'<li><a href="/{i}">{word}</a></li>' for i, word in enumerate(MENU[document["language"]].split()))
    page = f"""<!DOCTYPE html>
<html lang="{document["language"]}">
<head>
<meta charset="{document["encoding"]}">
<title>{document["title"]}</title>
<link rel="canonical" href="{SITE}/{document["slug"].removeprefix("warc/").removesuffix(".html")}">
<link rel="license" href="{LICENCE}">
<style>p {{ margin: 1em }}</style>
</head>
<body>
<nav><ul>{menu}</ul></nav>
<main><article>
<h1>{document["title"]}</h1>
{chr(10).join(parts)}
</article></main>
<footer><p>&copy; example.org</p></footer>
</body>
</html>
"""
    return page.encode(document["encoding"])


def record(kind: str, address: str, content_type: str, content: bytes) -> bytes:
    """One record of an archive, a gzip file of its own."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {address}")
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{name}>\r\nWARC-Date: {DATE}\r\n"
        + (f"WARC-Target-URI: {address}\r\n" if address else "")
        + f"Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(head.encode() + content + b"\r\n\r\n")
    return packed.getvalue()


def response(address: str, status: str, headers: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return record("response", address, RESPONSE, head.encode() + body)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: the sample's)")
    out = parser.parse_args(argv).out / "websites"
    documents = read_documents(HERE / "texts" / "websites.txt")
    archive = [record("warcinfo", "", "application/warc-fields", b"software: make_website_sample.py\r\n")]
    for document in documents:
        page = page_of(document)
        if document["slug"].startswith("warc/"):
            address = f"{SITE}/{document['slug'].removeprefix('warc/')}"
            kind = f"Content-Type: text/html; charset={document['encoding']}\r\n"
            archive.append(response(address, "200 OK", kind, page))
        else:
            write(out / document["slug"], page)
    archive.append(response(f"{SITE}/en/rubeola", "301 Moved Permanently", f"Location: {SITE}/en/measles\r\n", b""))
    archive.append(response(f"{SITE}/logo.png", "200 OK", "Content-Type: image/png\r\n", b"\x89PNG\r\n\x1a\n"))
    write(out / "site.warc.gz", b"".join(archive))
    write(out / "style.css", b"p { margin: 1em }\n")
    refresh = b'<meta http-equiv="refresh" content="0; url=asthma.html">'
    write(out / "en" / "moved.html", b"<html><head>" + refresh + b"</head></html>\n")
    # A page whose bytes were spoilt: it says UTF-8, and every third byte is none.
    write(
        out / "en" / "broken.html",
        b'<html lang="en"><head><meta charset="utf-8"></head><body><p>' + b"\xff\xfeA" * 400 + b"</p></body></html>\n",
    )
    return 0


if __name__ == "__main__":
    run_record.run_command(main)
