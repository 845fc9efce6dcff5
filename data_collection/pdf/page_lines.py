"""The lines of a PDF page's text layer with their boxes, in the page as a reader sees it.

pdfium gives the text in the order in which the file draws it, and joins what stands at one height to one line, columns
too. Two calls a line tell its box: boxes of all characters would cost ten times the text itself. Used by
`text_layer.py` and `reading_order.py`.
"""

import re
from itertools import accumulate
from typing import NamedTuple

MOST_POINTS = 20_000  # a larger character is a broken file's
INVISIBLE = 3  # text render mode, PDF 32000-1:2008, table 106
# What pdfium writes for a hyphen at a line's end; the next line then follows without a line break.
LINE_END_HYPHENS = "\x02\ufffe"
PRINTED_LINE = re.compile(f"[^\n{LINE_END_HYPHENS}]+[{LINE_END_HYPHENS}]?")
# pdfium turns right-to-left text round letter by letter, and so also the two letters of one lam-alef shape.
TURNED_LAM_ALEF = re.compile("[\u0622\u0623\u0625\u0627]\u0644")


class Box(NamedTuple):
    """Edges in points (1/72 inch); x grows to the right and y upwards, as the page is seen."""

    left: float
    bottom: float
    right: float
    top: float


NO_BOX = Box(0.0, 0.0, 0.0, 0.0)


class Line(NamedTuple):
    text: str
    box: Box
    start: int  # place of the text's first character in the page's text

    @property
    def height(self) -> float:
        return self.box.top - self.box.bottom

    @property
    def width(self) -> float:
        return self.box.right - self.box.left


class PageText:
    """The text of one open pdfium text page. rotation: degrees (0, 90, 180, 270) by which viewers turn the page."""

    def __init__(self, text_page, rotation: int = 0):
        import pypdfium2.raw as raw

        self.text = text_page.get_text_range(errors="replace")
        self.rotation = rotation
        self.raw_page, self.raw = text_page.raw, raw
        self.rectangle = raw.FS_RECTF()
        # pdfium counts UTF-16 units, and leaves characters without a code out of the text but not out of its count.
        self.units: list[int] = []
        if text_page.count_chars() != len(self.text):
            self.units = [0, *accumulate(1 + (c > "\uffff") for c in self.text)]
        self.text = TURNED_LAM_ALEF.sub(self._lam_alef, self.text)

    def _lam_alef(self, pair: re.Match) -> str:
        """The two letters in writing order, where both are one shape: they have the same box."""
        first, second = self.character_box(pair.start()), self.character_box(pair.start() + 1)
        return pair[0][::-1] if first == second and first.right > first.left else pair[0]

    def lines(self) -> list[Line]:
        """Lines that hold more than white space, in the file's order."""
        lines = []
        for part in PRINTED_LINE.finditer(self.text):
            shown = part[0].strip()
            if shown:
                first = part.start() + part[0].index(shown[0])
                lines.append(Line(shown, self.box(first, first + len(shown) - 1), first))
        return lines

    def box(self, first: int, last: int) -> Box:
        """The box around two characters, given by their places in the text."""
        if last > first and self.text[last] in LINE_END_HYPHENS:
            last -= 1  # the mark has no box of its own
        a, b = self.character_box(first), self.character_box(last)
        if a == NO_BOX or b == NO_BOX:
            return a if b == NO_BOX else b
        return Box(min(a.left, b.left), min(a.bottom, b.bottom), max(a.right, b.right), max(a.top, b.top))

    def character_box(self, place: int) -> Box:
        """The box of one character, as high as its font; zeros where pdfium has none."""
        if not self.raw.FPDFText_GetLooseCharBox(self.raw_page, self._index(place), self.rectangle):
            return NO_BOX
        box = self.rectangle
        if not (box.right - box.left < MOST_POINTS and box.top - box.bottom < MOST_POINTS):  # no numbers at all too
            return NO_BOX
        if not self.rotation:
            return Box(box.left, box.bottom, box.right, box.top)
        return self.turned(box.left, box.bottom, box.right, box.top)

    def turned(self, left: float, bottom: float, right: float, top: float) -> Box:
        """A box of the page as its file has it, as the page is seen (about the origin: only differences matter)."""
        if self.rotation == 90:
            return Box(bottom, -right, top, -left)
        if self.rotation == 180:
            return Box(-right, -top, -left, -bottom)
        if self.rotation == 270:
            return Box(-top, left, -bottom, right)
        return Box(left, bottom, right, top)

    def is_invisible(self, line: Line) -> bool:
        """Whether the line's first character is drawn with nothing (text render mode 3)."""
        drawn = self.raw.FPDFText_GetTextObject(self.raw_page, self._index(line.start))
        return bool(drawn) and self.raw.FPDFTextObj_GetTextRenderMode(drawn) == INVISIBLE

    def _index(self, place: int) -> int:
        """pdfium's number of the character at a place of the text."""
        if not self.units:
            return place
        return self.raw.FPDFText_GetCharIndexFromTextIndex(self.raw_page, self.units[place])

    def gaps(self, line: Line, least: float) -> list[tuple[float, float, int, int]]:
        """Empty stretches of at least `least` points in a line: (left, right, end of the text before, start after)."""
        found = []
        for space in re.finditer(r"\s+", line.text):
            a = self.character_box(line.start + space.start() - 1)
            b = self.character_box(line.start + space.end())
            left, right = min(a.right, b.right), max(a.left, b.left)  # in Arabic the later word stands left
            if right - left >= least:
                found.append((left, right, space.start(), space.end()))
        return found

    def split(self, line: Line, cuts: list[tuple[int, int]]) -> list[Line]:
        """The parts of a line between cuts, each (end of the text before, start of the text after)."""
        parts = []
        begin = 0
        for end, after in [*cuts, (len(line.text), len(line.text))]:
            start = line.start + begin
            parts.append(Line(line.text[begin:end], self.box(start, line.start + end - 1), start))
            begin = after
        return parts
