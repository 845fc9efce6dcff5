"""One saved web page: decoding, metadata of its head, main text by trafilatura."""

import codecs
import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from cleaning.clean_text import MAX_REPLACEMENT_SHARE
from web.collected_documents import language_of_tag

HEAD_BYTES = 4096  # where a page says its encoding, and by which it is known to be HTML
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Pages name the smaller encoding and use the larger one, as browsers have read them ever since (WHATWG, Encoding).
LARGER_ENCODINGS = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "iso-8859-9": "cp1254",
    "big5": "big5hkscs",
    "euc-kr": "cp949",
}
DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{0,100}encoding=["']([\w.-]+)""", re.IGNORECASE
)
IS_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|div|p)[\s>/]", re.IGNORECASE)
REFRESH = "//meta[translate(@http-equiv, 'REFSH', 'refsh') = 'refresh']/@content"
CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z-]+)/([\d.]+)|publicdomain/(zero|mark)/([\d.]+))", re.IGNORECASE
)


class Page(NamedTuple):
    """What was read of a page."""

    text: str
    reason: str  # "" where there is text, else why there is none
    language: str  # as the page declares it: ISO 639-1 or ""
    address: str  # its own, absolute; or ""
    licence: str  # as stated, or ""


def is_html(raw: bytes) -> bool:
    """Whether the beginning of a file looks like HTML, in an encoding of one byte or of two."""
    return bool(IS_HTML.search(raw[:HEAD_BYTES].replace(b"\x00", b"")))


def decode_page(raw: bytes, declared: str) -> str | None:
    """The page's text, or None where too much of it is lost. declared: the encoding by the server, or "".

    A byte-order mark is believed first, then bytes that are valid UTF-8 (nothing else is by chance), then what server
    and page declare, then a guess by the bytes.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return _unless_lost(raw[len(mark) :].decode(encoding, "replace"))
    said = DECLARED.search(raw[:HEAD_BYTES])
    names = [declared, (said[1] or said[2]).decode("ascii", "ignore") if said else ""]
    encodings = [known for name in names if (known := _encoding(name))]
    shifting = [e for e in encodings if e.startswith(("utf_16", "iso2022"))]  # their bytes may be valid UTF-8 too
    for encoding in (*shifting, "utf-8", *encodings):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    if not encodings:
        import charset_normalizer

        best = charset_normalizer.from_bytes(raw[:200_000]).best()
        encodings = [best.encoding] if best else []
    # Of a few wrong bytes the rest is read; UTF-8 among others is the likeliest where the page says nothing.
    tries = [raw.decode(encoding, "replace") for encoding in (*encodings, "utf-8")]
    return _unless_lost(min(tries, key=lambda text: text.count("\ufffd")))


def _encoding(name: str) -> str:
    """Python's name of an encoding as browsers understand the label; "" for none that is known."""
    try:
        return codecs.lookup(LARGER_ENCODINGS.get(name.strip().lower(), name.strip())).name.replace("-", "_")
    except (LookupError, ValueError):
        return ""


def _unless_lost(text: str) -> str | None:
    lost = text.count("\ufffd") + text.count("\x00")
    return None if lost > MAX_REPLACEMENT_SHARE * max(1, len(text)) else text


def read_page(raw: bytes, declared: str, address: str) -> Page:
    """The page's main text and what it says of itself. address: where it was saved from, or "".

    Errors: what trafilatura raises on pages that it cannot read (any exception).
    """
    from trafilatura import extract
    from trafilatura.utils import load_html

    if not is_html(raw):
        return Page("", "not_html", "", address, "")
    text = decode_page(raw, declared)
    if text is None:
        return Page("", "broken_encoding", "", address, "")
    tree = load_html(text)
    if tree is None:
        return Page("", "no_text", "", address, "")
    language = _first(
        tree,
        "//html/@lang",
        "/html/@*[local-name() = 'lang']",
        "//body/@lang",
        "//meta[translate(@http-equiv, 'CONTELAGU', 'contelagu') = 'content-language']/@content",
        "//meta[@property = 'og:locale']/@content",
    )
    own = _first(tree, "//link[@rel = 'canonical']/@href", "//meta[@property = 'og:url']/@content")
    licence = _licence(
        _first(tree, "//*[self::link or self::a][contains(concat(' ', @rel, ' '), ' license ')]/@href"), address
    )
    refresh = _first(tree, REFRESH)
    found = extract(tree, include_comments=False, include_tables=True, favor_recall=True) or ""
    reason = "" if found.strip() else "redirect" if "url=" in refresh.lower() else "no_text"
    return Page(found, reason, language_of_tag(language), _absolute(own, address) or address, licence)


def _first(tree, *paths: str) -> str:
    """The first value in the page that is not blank, by XPath."""
    return next((value.strip() for path in paths for value in tree.xpath(path) if value.strip()), "")


def _absolute(link: str, address: str) -> str:
    """An address of the web in full, or ""."""
    try:
        whole = urljoin(address, link)
        return whole if urlsplit(whole).scheme in ("http", "https") and urlsplit(whole).netloc else ""
    except ValueError:  # no address at all, such as http://[
        return ""


def _licence(link: str, address: str) -> str:
    """A licence's short name where it is a Creative Commons one, else its address as given."""
    if not (known := CREATIVE_COMMONS.search(link)):
        return _absolute(link, address) or link
    if known[3]:
        return "CC0-1.0" if known[3].lower() == "zero" else "public domain"
    return f"CC-{known[1].upper()}-{known[2]}"
