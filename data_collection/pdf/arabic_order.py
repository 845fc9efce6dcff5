"""Arabic text in writing order: text layers that hold it as it looks, from left to right, are turned round.

Old programs store Arabic lines from the left edge on, so that each word reads backwards; digits and Latin words in
them stand in their own order. Shapes of letters tell it surely (a word begins with an initial shape and ends with a
final one); else the article, which most sentences have, and letters that only end words do. Example:

    python -c "import arabic_order as a; print(a.in_writing_order(open('page.txt', encoding='utf-8').read()))"
"""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

ARABIC = "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc"
LETTERS = re.compile(f"[{ARABIC}]")
WORD = re.compile(f"[{ARABIC}]{{3,}}")
MARKS = "\u064b-\u0652\u0670"
WITH_ARTICLE = re.compile("[\u0648\u0628\u0641\u0643]?\u0627\u0644")  # al-, wal-, bil-, fal-, kal-
ENDINGS = ("\u0629", "\u0649")  # teh marbuta and alef maksura end words only
LEAST_SIGNS = 3  # of backward words; fewer tell nothing
FORWARD = {("initial", "medial"), ("medial", "final"), ("", "initial"), ("final", "")}  # "": before or after the word
BACKWARD = {("medial", "initial"), ("final", "medial"), ("", "final"), ("initial", "")}
# Runs that keep their order in a line that is turned round: words in other letters with what stands between them, and
# figures.
DIGIT = "[0-9\u0660-\u0669\u06f0-\u06f9]"
LETTER = "A-Za-z\u00c0-\u058f"
KEPT = re.compile(f"[{LETTER}](?:[^{ARABIC}\n]*[{LETTER}0-9])?|{DIGIT}+(?:[.,/:\u066b\u066c-]{DIGIT}+)*")
MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")
MARK_AFTER_SPACE = re.compile(f" ([{MARKS}]+)([\u0621-\u064a])")
LATIN_BEFORE_ARABIC = re.compile("(?<=[A-Za-z])(?=[\u0621-\u064a])")


def in_writing_order(text: str) -> str:
    """The text; where it is found to be stored as it looks, with its lines of Arabic turned round."""
    if not LETTERS.search(text) or not is_backward(text):
        return text
    return "\n".join(_turned(line) if LETTERS.search(line) else line for line in text.split("\n"))


def is_backward(text: str) -> bool:
    """Whether Arabic words of the text are written backwards."""
    forward = backward = 0
    for word in WORD.findall(text):
        shapes = [_shape(c) for c in word]
        if any(shapes):
            pairs = list(pairwise(["", *shapes, ""]))
            forward += sum(pair in FORWARD for pair in pairs)
            backward += sum(pair in BACKWARD for pair in pairs)
        else:
            forward += WITH_ARTICLE.match(word) is not None
            forward += word.endswith(ENDINGS)
            backward += WITH_ARTICLE.match(word[::-1]) is not None
            backward += word.startswith(ENDINGS)
    return backward >= LEAST_SIGNS and backward > 2 * forward


def spaces_mended(line: str) -> str:
    """A line as pdfium gives it, its vowel marks back on their letters and Latin words apart from Arabic ones.

    pdfium writes the mark of a letter before it, after a space of its own, and loses the space behind a Latin word.
    """
    if not LETTERS.search(line):
        return line
    return LATIN_BEFORE_ARABIC.sub(" ", MARK_AFTER_SPACE.sub(r"\2\1", line))


@lru_cache(maxsize=2048)
def _shape(character: str) -> str:
    """ "initial", "medial", "final" or "isolated" for an Arabic presentation form, else ""."""
    tag = unicodedata.decomposition(character).partition(" ")[0]
    return tag.strip("<>") if tag in ("<initial>", "<medial>", "<final>", "<isolated>") else ""


def _turned(line: str) -> str:
    """The line from right to left, what KEPT matches in its own order."""
    pieces, last = [], 0
    for run in KEPT.finditer(line):
        pieces += [line[last : run.start()][::-1].translate(MIRRORED), run[0]]
        last = run.end()
    pieces.append(line[last:][::-1].translate(MIRRORED))
    return "".join(pieces[::-1])
