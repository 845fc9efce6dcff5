"""Turn the lines of a page back into paragraphs: hyphens at line ends, line breaks, stray spaces, odd characters.

Minimal on purpose: words are never changed. Example:

    python -c "import text_repair as t; print(t.repair_page('The pa-\\ntient was seen.'))"
"""

import re
import unicodedata

from language import script_of

SHORT_LINE = 0.7  # a line under this share of the page's usual width may end a paragraph
SENTENCE_ENDS = tuple(".!?:;。！？：；؟…»”\"")
LIST_ITEM = re.compile(r"^\s*(?:[•●▪◦‣–*·-]\s|\(?\d{1,2}[.)]\s|[a-zA-Z][.)]\s)")
# Ligatures and Arabic presentation forms are shapes of letters, written back as the letters themselves.
SHAPES = re.compile("[\ufb00-\ufb06\ufb1d-\ufdff\ufe70-\ufefc]+")
UNWANTED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\ud800-\udfff]")
# "=" and U+2E17 in old prints; U+0002 and U+FFFE are what pdfium writes for a hyphen at a line's end.
HYPHENS = ("-", "\u2010", "\u00ad", "\u00ac", "\u2e17", "=", "\x02", "\ufffe")
SOFT_HYPHENS = "\u00ad\x02\ufffe"  # these never belong to the word
CJK = r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60]"
SPACE_IN_CJK = re.compile(rf"(?<={CJK})[ \u3000]+(?={CJK})")


def repair_page(text: str) -> str:
    """The page's text as paragraphs, one a line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub("[\x02\ufffe]\n?", "\x02\n", text)
    text = SHAPES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = unicodedata.normalize("NFC", text)
    lines = [_clean_line(line) for line in text.split("\n")]
    usual = _usual_width(lines)
    paragraphs: list[str] = []
    open_paragraph = False
    for i, line in enumerate(lines):
        if not line:
            open_paragraph = False
            continue
        if open_paragraph and not LIST_ITEM.match(line):
            paragraphs[-1] = _join(paragraphs[-1], line)
        else:
            paragraphs.append(line)
        following = next((after for after in lines[i + 1 :] if after), "")
        open_paragraph = not _ends_paragraph(line, following, usual)
    joined = (UNWANTED.sub("", p.rstrip("\x02")) for p in paragraphs)
    return "\n".join(p for p in joined if p.strip())


def join_pages(pages: list[str]) -> str:
    """The document's text: pages below each other, a paragraph cut by a page break made whole."""
    text = ""
    for page in filter(None, pages):
        cut = text and not text.endswith(SENTENCE_ENDS) and page[:1].islower()
        text = _join(text, page) if cut else f"{text}\n{page}" if text else page
    return text


def _clean_line(line: str) -> str:
    line = re.sub(r"[^\S\n]+", " ", line).strip()
    return SPACE_IN_CJK.sub("", line)


def _usual_width(lines: list[str]) -> int:
    widths = sorted(len(line) for line in lines if line)
    return widths[int(0.8 * (len(widths) - 1))] if widths else 0


def _ends_paragraph(line: str, following: str, usual: int) -> bool:
    """Whether a line closes its paragraph: it is short, and ends a sentence or stands like a heading."""
    if line.endswith(HYPHENS) or len(line) >= SHORT_LINE * usual:
        return False
    if line.endswith(SENTENCE_ENDS):
        return True
    begins_anew = following[:1].isupper() or script_of(following[:1]) not in ("Latin", "Cyrillic")
    return begins_anew and len(line) < 0.5 * usual


def _join(before: str, line: str) -> str:
    """Two lines of a paragraph: hyphenated words made whole, no space between CJK characters."""
    if before.endswith(HYPHENS) and script_of(before[-2:-1]) in ("Latin", "Cyrillic"):
        soft = before[-1] in SOFT_HYPHENS
        if line.split()[0] in ("und", "oder", "bzw."):
            return before + " " + line  # German "Kinder- und Jugendmedizin"
        if soft or line[:1].islower():
            return before[:-1] + line
        return before + (" " if before[-1] in "=\u00ac" else "") + line  # a compound: "Anti-" and "Tumor"
    before = before.rstrip(SOFT_HYPHENS)
    if before and re.match(CJK, before[-1]) and re.match(CJK, line[0]):
        return before + line
    return before + " " + line
