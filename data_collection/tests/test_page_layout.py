"""page_layout.py: skew, columns and ink without a word, measured on pictures of pages."""

import numpy
import pytest
from PIL import Image, ImageDraw, ImageFont

from pdf.page_layout import (
    ink_of,
    is_one_column,
    lost_lines,
    missed_ink,
    pictures_of,
    print_band,
    set_upright,
    skew_degrees,
)

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
def test_columns_are_detected(page, one):
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


@pytest.fixture(scope="module")
def page():
    """A grey page of 40 lines of print, 150 dots per inch."""
    picture = Image.new("L", (1240, 1754), 240)
    draw = ImageDraw.Draw(picture)
    for i in range(40):
        words = f"Line {i} says that the patient was treated for pneumonia" + " at the clinic" * (i % 3 > 0)
        draw.text((120, 150 + 35 * i), words, fill=10, font=ImageFont.load_default(size=24))
    return picture


def skewed(picture, degrees: float):
    return picture.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=240)


@pytest.mark.parametrize("degrees", [-10, -5.3, -2, -0.5, 0, 0.5, 1, 3.3, 7.7, 10])
def test_the_skew_of_a_page_is_measured_to_a_tenth_of_a_degree(page, degrees):
    assert skew_degrees(skewed(page, degrees)) == pytest.approx(-degrees, abs=0.1)


def test_a_skewed_page_is_levelled_with_paper_in_its_corners(page):
    upright, degrees = set_upright(skewed(page, 4))
    assert degrees == pytest.approx(-4, abs=0.1)
    assert abs(skew_degrees(upright)) <= 0.1
    assert upright.getpixel((0, 0)) == 240 and upright.mode == "L"


def test_a_page_that_is_level_or_nearly_so_is_unchanged(page):
    assert set_upright(page)[1] == 0.0
    assert set_upright(skewed(page, 0.3))[1] == 0.0


def test_blank_pages_dust_and_photographs_are_not_rotated():
    random = numpy.random.default_rng(1)
    assert skew_degrees(Image.new("L", (800, 1000), 255)) == 0.0
    assert skew_degrees(Image.fromarray(random.integers(0, 255, (1000, 800), dtype=numpy.uint8))) == 0.0
    dust = numpy.full((1000, 800), 250, dtype=numpy.uint8)
    dust[random.integers(0, 1000, 50), random.integers(0, 800, 50)] = 0
    assert skew_degrees(Image.fromarray(dust)) == 0.0
    wide = numpy.tile(numpy.linspace(0, 255, 800).astype(numpy.uint8), (1000, 1))
    assert skew_degrees(Image.fromarray(wide)) == 0.0
    assert skew_degrees(Image.new("L", (1, 1), 0)) == 0.0


def test_pictures_are_told_from_print():
    photo = drawn(lines=15)
    grey = numpy.random.default_rng(0).integers(0, 256, (25, 50)).astype(numpy.uint8)
    photo.paste(Image.fromarray(grey).resize((600, 300), Image.Resampling.BICUBIC), (100, 600))
    seen = pictures_of(ink_of(photo, 100))
    assert seen[460:620, 100:470].mean() > 0.6  # 72 pixels an inch
    assert not seen[:400].any()
    for page in ({}, {"skew": 0.4}, {"columns": 2}):
        assert not pictures_of(ink_of(drawn(**page), 100)).any()


def test_the_band_with_print_is_found_between_lines_and_not_over_a_picture():
    assert print_band(ink_of(drawn(), 100), 0.2, 0.32) == pytest.approx((0.2, 0.32), abs=0.03)
    low = drawn(lines=0)
    low.paste(drawn(lines=12).crop((0, 80, 827, 360)), (0, 800))
    top, bottom = print_band(ink_of(low, 100), 0.2, 0.32)
    assert 0.6 < top < bottom < 1
    low.paste(0, (100, 100, 700, 600))
    assert print_band(ink_of(low, 100), 0.2, 0.32)[0] > 0.6


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 3), (83, 56)])
def test_pictures_of_any_proportion_are_measured(size):
    for grey in (0, 245):
        ink = ink_of(Image.new("L", size, grey), 200)
        assert 0 <= print_band(ink, 0.2, 0.32)[0] <= print_band(ink, 0.2, 0.32)[1] <= 1
        assert pictures_of(ink).shape == ink.shape
        assert is_one_column(ink) in (True, False)


def test_a_line_that_was_not_found_is_returned():
    ink = ink_of(drawn(lines=10), 100)
    boxes = [(80, 90 + 21 * line, 667, 15) for line in range(10)]
    ((left, top, width, height),) = lost_lines(ink, boxes[:4] + boxes[5:], 100)
    assert abs(top - boxes[4][1]) < 6 and abs(left - 80) < 6 and width > 600 and 8 < height < 22
    assert lost_lines(ink, boxes, 100) == lost_lines(ink, [], 100) == []
