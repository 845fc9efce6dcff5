"""How far the lines of a picture lean is found; pictures without lines are left alone."""

import pytest

from pdf.upright import set_upright, skew_degrees


@pytest.fixture(scope="module")
def page():
    """A grey page of 40 lines of print, 150 dots per inch."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("L", (1240, 1754), 240)
    draw = ImageDraw.Draw(picture)
    for i in range(40):
        words = f"Line {i} tells that the patient was treated for pneumonia" + " at the clinic" * (i % 3 > 0)
        draw.text((120, 150 + 35 * i), words, fill=10, font=ImageFont.load_default(size=24))
    return picture


def leaning(picture, degrees: float):
    from PIL import Image

    return picture.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=240)


@pytest.mark.parametrize("degrees", [-10, -5.3, -2, -0.5, 0, 0.5, 1, 3.3, 7.7, 10])
def test_the_lean_of_a_page_is_found_to_a_tenth_of_a_degree(page, degrees):
    assert skew_degrees(leaning(page, degrees)) == pytest.approx(-degrees, abs=0.1)


def test_a_leaning_page_is_turned_back_with_paper_in_its_corners(page):
    upright, degrees = set_upright(leaning(page, 4))
    assert degrees == pytest.approx(-4, abs=0.1)
    assert abs(skew_degrees(upright)) <= 0.1
    assert upright.getpixel((0, 0)) == 240 and upright.mode == "L"


def test_a_page_that_is_level_or_nearly_so_is_not_touched(page):
    assert set_upright(page)[1] == 0.0
    assert set_upright(leaning(page, 0.3))[1] == 0.0


def test_blank_pages_dust_and_photographs_are_not_turned():
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(1)
    assert skew_degrees(Image.new("L", (800, 1000), 255)) == 0.0
    assert skew_degrees(Image.fromarray(random.integers(0, 255, (1000, 800), dtype=numpy.uint8))) == 0.0
    dust = numpy.full((1000, 800), 250, dtype=numpy.uint8)
    dust[random.integers(0, 1000, 50), random.integers(0, 800, 50)] = 0
    assert skew_degrees(Image.fromarray(dust)) == 0.0
    wide = numpy.tile(numpy.linspace(0, 255, 800).astype(numpy.uint8), (1000, 1))
    assert skew_degrees(Image.fromarray(wide)) == 0.0
    assert skew_degrees(Image.new("L", (1, 1), 0)) == 0.0
