"""Turn the lines of a page back into paragraphs: hyphens at line ends, line breaks, stray spaces, odd characters.

Words are never changed, but for shapes of letters (ligatures, Arabic presentation forms) that become the letters
themselves, and Arabic that is stored backwards. Example:

    python -c "import text_repair as t; print(t.repair_page('The pa-\\ntient was seen.'))"
"""

import re
import unicodedata

from filtering.language import script_of
from pdf.arabic_order import in_writing_order, spaces_mended
from pdf.line_joining import CJK, HYPHENS, QUOTES, join_lines

SHORT_LINE = 0.7  # a line under this share of the page's usual width may end a paragraph
SENTENCE_ENDS = tuple('.!?:;。！？：；؟…»”"')
LIST_ITEM = re.compile(r"^\s*(?:[•●▪◦‣–*·-]\s|\(?\d{1,2}[.)]\s|[a-zA-Z][.)]\s)")
# Ligatures and Arabic presentation forms are shapes of letters, written back as the letters themselves.
SHAPES = re.compile("[\ufb00-\ufb06\ufb1d-\ufdff\ufe70-\ufefc]+")
# Control characters, soft hyphens, marks without width or that only steer the direction of display, half surrogates.
UNWANTED = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe"
    r"\ud800-\udfff]"
)
DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LINE_END_HYPHEN = re.compile("(?<=\\w)[\x02\ufffe]\n?")  # pdfium's mark for a hyphen at a line's end
ANY_CJK = re.compile(f"[{CJK}]")
SPACE_IN_CJK = re.compile(f"(?<=[{CJK}])[ \u3000]+(?=[{CJK}{QUOTES}])|(?<=[{QUOTES}])[ \u3000]+(?=[{CJK}])")
ONE_LETTER_WORDS = frozenset("AIÀYOEВИКОСУЯА")
AFTER_INITIAL = frozenset(("n", "t", "f", "s", "ll", "nd"))  # what a large I or A leaves of In, It, If, As, All, And
UNBROKEN = {"Han": 20, "Kana": 20, "Hangul": 20, "Arabic": 60}  # letters that have no capitals: see join_pages


def repair_page(text: str) -> str:
    """The page's text as paragraphs, one a line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x02" in text or "\ufffe" in text:  # the pattern is slow, and most pages have none
        text = LINE_END_HYPHEN.sub("-\n", text)
    if not text.isascii():
        text = in_writing_order(DIRECTION_MARKS.sub("", text))
        text = SHAPES.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        text = unicodedata.normalize("NFC", text)
    raw_lines = text.split("\n")
    has_cjk = ANY_CJK.search(text) is not None
    lines = [_clean_line(line, has_cjk) for line in raw_lines]
    usual = _usual_width(lines)
    paragraphs: list[str] = []
    open_paragraph = False
    for i, line in enumerate(lines):
        if not line:
            open_paragraph = False
            continue
        if raw_lines[i].startswith("\u3000"):  # paragraphs in Chinese and Japanese begin with a wide space
            open_paragraph = False
        if open_paragraph and _is_initial(paragraphs[-1], line):
            paragraphs[-1] += line
        elif open_paragraph and not LIST_ITEM.match(line):
            paragraphs[-1] = join_lines(paragraphs[-1], line, text)
        else:
            paragraphs.append(line)
        following = next((after for after in lines[i + 1 :] if after), "")
        open_paragraph = _is_initial(line, following) or not _ends_paragraph(line, following, usual)
    joined = (UNWANTED.sub("", p) for p in paragraphs)
    return "\n".join(p for p in joined if p.strip())


def join_pages(pages: list[str]) -> str:
    """The document's text: pages below each other, a paragraph cut by a page break made whole."""
    text = ""
    for page in filter(None, pages):
        if text and _goes_on(text, page):
            text = join_lines(text, page, page)
        else:
            text = f"{text}\n{page}" if text else page
    return text


def _goes_on(text: str, page: str) -> bool:
    """Whether the page begins in the middle of the paragraph that ends the text."""
    if text.endswith(SENTENCE_ENDS):
        return False
    if page[0].islower():
        return True
    # Where letters have no capitals, a long paragraph that does not end a sentence goes on; a short one is a heading.
    least = UNBROKEN.get(script_of(page[0]))
    return least is not None and len(text) - text.rfind("\n") > least and not LIST_ITEM.match(page)


def _clean_line(line: str, has_cjk: bool) -> str:
    line = " ".join(line.split())
    if has_cjk:
        line = SPACE_IN_CJK.sub("", line)
    return line if line.isascii() else spaces_mended(line)


def _is_initial(letter: str, line: str) -> bool:
    """Whether a line of one capital letter is the large first letter of the line below it."""
    if len(letter) != 1 or not letter.isupper() or len(line) < 20 or not line[0].islower():
        return False
    return letter not in ONE_LETTER_WORDS or line.split()[0] in AFTER_INITIAL


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
