"""How much of a PDF's text layer `ocr.py` loses: sequences of words on which two other programs agree.

poppler's pdftotext and pypdfium2's raw text read the same layer with different code. A sequence of 5 words (in pages of
Chinese or Japanese: 10 characters) that both have on a page, in whatever place, is in the layer; the share of these
that `ocr.py` lacks is lost text, or text in another order. Compared after NFKC (raised figures become ordinary) and
case folding, without hyphens inside words and at line ends, punctuation and words of one letter (formulas: the programs
write q with a raised r as "q r" or "qr"); each sequence counts once per page.
"""

import re
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filtering.language import count_scripts
from pdf.text_repair import PRIVATE
from run_record import InputError

WORDS, CHARACTERS = 5, 10
# pdfium and poppler write the two letters of the shape lam-alef in either order, so these letters are sorted.
LAM_ALEF = re.compile("[\u0622\u0623\u0625\u0627\u0644]{2,}")
HYPHEN = re.compile(r"(?<=\w)[-\u2010\u2011\u00ad\u0002\ufffe]+\s*(?=\w)")


class PageCount(NamedTuple):
    agreed: int  # sequences that both programs have
    either: int  # sequences that one of them has
    missing: list[str]  # agreed ones that ocr.py's text lacks


def require_pdftotext() -> None:
    """Errors: InputError if poppler's program is missing."""
    try:
        subprocess.run(["pdftotext", "-v"], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("pdftotext is missing; install the Debian package poppler-utils") from None


def sequences(text: str) -> set[str]:
    """The distinct sequences of WORDS words, or CHARACTERS characters of a page mostly in Chinese or Japanese."""
    text = HYPHEN.sub("", unicodedata.normalize("NFKC", text)).casefold()
    text = LAM_ALEF.sub(lambda run: "".join(sorted(run[0])), text)
    scripts = count_scripts(text)
    if scripts["Han"] + scripts["Kana"] > 0.5 * sum(scripts.values()):
        units, length, joint = [c for c in text if c.isalnum()], CHARACTERS, ""
    else:
        units, length, joint = re.findall(r"\w{2,}", text), WORDS, " "
    return {joint.join(units[i : i + length]) for i in range(len(units) - length + 1)}


def other_texts(path: Path) -> Iterator[tuple[str, str]]:
    """(pdftotext's text, pypdfium2's) of each page of a PDF that opens without a password."""
    import pypdfium2

    done = subprocess.run(["pdftotext", "-q", "-cropbox", "-enc", "UTF-8", path, "-"], capture_output=True, check=False)
    poppler = done.stdout.decode("utf-8", "replace").split("\f")
    with pypdfium2.PdfDocument(path) as document:
        for number in range(len(document)):
            try:
                page = document[number]
                text_page = page.get_textpage()
                text = text_page.get_text_bounded(*bounds_of(page), errors="replace")
                text_page.close()
            except pypdfium2.PdfiumError:
                text = ""
            yield (poppler[number] if number < len(poppler) else ""), text


def bounds_of(page) -> tuple[float, float, float, float]:
    """left, bottom, right, top of the visible part of a pypdfium2 page."""
    import pypdfium2.raw as raw

    box = raw.FS_RECTF()
    raw.FPDF_GetPageBoundingBox(page.raw, box)
    return box.left, box.bottom, box.right, box.top


def compare(text: str, others: tuple[str, str]) -> PageCount:
    first, second = map(sequences, others)
    return PageCount(len(first & second), len(first | second), sorted(first & second - sequences(text)))


def private_characters(text: str) -> int:
    return len(PRIVATE.findall(text))
