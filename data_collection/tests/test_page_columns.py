"""How a page is laid out is told from its picture, and ink without a word is counted."""

import numpy
import pytest
from PIL import Image, ImageDraw, ImageFont

from pdf.page_columns import ink_of, is_one_column, missed_ink

TEXT = "the patient was treated with antibiotics and the fever went down within three days after that"
WORDS = TEXT.split()


def drawn(columns: int = 1, ragged: bool = False, skew: float = 0.0, lines: int = 40) -> Image.Image:
    """A page at 100 dots per inch, print of 11 points."""
    picture = Image.new("L", (827, 1169), 245)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    width = (827 - 160 - 30 * (columns - 1)) // columns
    for column in range(columns):
        for line in range(lines):
            text, i = "", 7 * line + column
            while font.getlength(f"{text} {WORDS[i % len(WORDS)]}") < (width * (0.5 if ragged and line % 3 else 1)):
                text, i = f"{text} {WORDS[i % len(WORDS)]}", i + 1
            pen.text((80 + column * (width + 30), 90 + 21 * line), text.strip(), fill=25, font=font)
    return picture.rotate(skew, fillcolor=245)


@pytest.mark.parametrize(
    ("page", "one"),
    [
        ({}, True),
        ({"skew": 0.4}, True),
        ({"ragged": True}, True),
        ({"lines": 3}, True),
        ({"lines": 0}, True),
        ({"columns": 2}, False),
        ({"columns": 2, "skew": 0.4}, False),
        ({"columns": 3}, False),
    ],
    ids=str,
)
def test_columns_are_seen(page, one):
    assert is_one_column(ink_of(drawn(**page), 100)) == one


def test_a_heading_over_two_columns_does_not_hide_them():
    picture = drawn(columns=2)
    ImageDraw.Draw(picture).text((80, 40), " ".join(WORDS[:9]), fill=25, font=ImageFont.load_default(size=24))
    assert not is_one_column(ink_of(picture, 100))


def test_a_page_with_a_picture_is_left_to_tesseracts_own_analysis():
    picture = drawn(lines=15)
    noise = numpy.random.default_rng(0).integers(0, 120, (300, 600)).astype(numpy.uint8)
    picture.paste(Image.fromarray(noise), (100, 600))
    assert not is_one_column(ink_of(picture, 100))


def test_a_line_without_words_is_counted():
    ink = ink_of(drawn(lines=10), 100)
    boxes = [(80, 90 + 21 * line, 667, 15) for line in range(10)]
    assert missed_ink(ink, boxes, 100) < 0.005
    assert 0.05 < missed_ink(ink, boxes[:4] + boxes[5:], 100) < 0.12
    assert missed_ink(ink, [], 100) == 1.0
    assert missed_ink(ink & False, [], 100) == 0.0
