"""Render text as scanned pages: black on grey paper, with noise and skew; for benchmarks and tests.

Needs fonts (Debian: fonts-dejavu-core, fonts-liberation, fonts-noto-cjk, fonts-wqy-zenhei, fonts-ipafont-mincho,
fonts-hosny-amiri, fonts-kacst-one); the ones that are there are used. Used by `bench_ocr.py` and the tests.
"""

import shutil
import subprocess
import unicodedata
from functools import lru_cache
from pathlib import Path

from run_record import InputError

A4_INCHES = (8.27, 11.69)
MARGIN_INCHES = 0.9
POINT_SIZE = 11.0
LINE_SPACING = 1.35  # of the point size
SKEW_DEGREES = 0.3
NOISE_LEVELS = 8.0  # standard deviation of the grey noise, of 255 levels
PAPER, INK = 245, 25  # grey levels

# Two designs of letters per script, so that no figure hangs on one font: (file name, face in the collection).
FONTS = {
    "en": (("LiberationSerif-Regular.ttf", 0), ("DejaVuSans.ttf", 0)),
    "zh": (("NotoSansCJK-Regular.ttc", 2), ("wqy-zenhei.ttc", 0), ("NotoSerifCJK-Regular.ttc", 2)),
    "ja": (("NotoSansCJK-Regular.ttc", 0), ("ipam.ttf", 0), ("NotoSerifCJK-Regular.ttc", 0)),
    "ar": (("Amiri-Regular.ttf", 0), ("DejaVuSans.ttf", 0), ("KacstOne.ttf", 0)),
}
FONTS |= dict.fromkeys(("fr", "es", "ru", "de"), FONTS["en"])
UNSPACED = ("zh", "ja")


@lru_cache(maxsize=1)
def font_files() -> dict[str, Path]:
    """{file name: path} of the installed fonts, as fontconfig lists them."""
    if shutil.which("fc-list") is None:
        raise InputError("fc-list is not installed; it finds the fonts to draw with: install fontconfig")
    listed = subprocess.run(["fc-list", "--format", "%{file}\n"], capture_output=True, text=True, check=True).stdout
    return {Path(line).name: Path(line) for line in listed.splitlines()}


def fonts_of(language: str) -> list[tuple[Path, int]]:
    """The installed fonts for a language. Errors: InputError when there is none of those in FONTS."""
    found = [(font_files()[name], face) for name, face in FONTS[language] if name in font_files()]
    if not found:
        raise InputError(f"no font to draw {language} with; install one of {', '.join(n for n, _ in FONTS[language])}")
    return found


@lru_cache(maxsize=64)
def _letters_of(font: tuple[Path, int]) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    path, face = font
    with TTFont(path, fontNumber=face, lazy=True) as opened:
        return frozenset(opened.getBestCmap())


def drawable(text: str, font: tuple[Path, int]) -> bool:
    """Whether the font has every character of the text (boxes would be read as errors)."""
    letters = _letters_of(font)
    return all(ord(c) in letters for c in text if not c.isspace())


def draw_page(
    text: str,
    language: str,
    font: tuple[Path, int],
    dots_per_inch: int,
    seed: int,
    skew: float = SKEW_DEGREES,
    points: float = POINT_SIZE,
):
    """(grey PIL image of one A4 page, the text that found room on it). Lines are broken as a printer would."""
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    width, height = (round(side * dots_per_inch) for side in A4_INCHES)
    margin = round(MARGIN_INCHES * dots_per_inch)
    size = points * dots_per_inch / 72
    face = ImageFont.truetype(str(font[0]), round(size), index=font[1])
    image = Image.new("L", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    right_to_left = language == "ar"
    step, y, shown = round(size * LINE_SPACING), margin, []
    for paragraph in unicodedata.normalize("NFC", text).split("\n"):
        for line in _break_lines(paragraph.strip(), face, width - 2 * margin, language):
            if y + step > height - margin:
                return _age(image, numpy.random.default_rng(seed), skew), "\n".join(shown)
            if right_to_left:
                pen.text((width - margin, y), line, fill=INK, font=face, anchor="ra", direction="rtl")
            else:
                pen.text((margin, y), line, fill=INK, font=face)
            shown.append(line)
            y += step
        y += step // 3
    return _age(image, numpy.random.default_rng(seed), skew), "\n".join(shown)


def _break_lines(paragraph: str, face, room: int, language: str):
    """The paragraph's lines: between words, or between any characters in Chinese and Japanese."""
    pieces = list(paragraph) if language in UNSPACED else paragraph.split()
    glue = "" if language in UNSPACED else " "
    line = ""
    for piece in pieces:
        longer = f"{line}{glue}{piece}" if line else piece
        # Chinese and Japanese full stops and commas hang over the margin instead of beginning a line.
        hangs = language in UNSPACED and piece in "、。，．,.)）」』】；：？！" and line
        if line and not hangs and face.getlength(longer) > room:
            yield line
            longer = piece
        line = longer
    if line:
        yield line


def _age(image, random, skew: float):
    import numpy
    from PIL import Image

    turned = image.rotate(skew, resample=Image.Resampling.BICUBIC, fillcolor=PAPER)
    grey = numpy.asarray(turned, numpy.float32) + random.normal(0, NOISE_LEVELS, turned.size[::-1])
    return Image.fromarray(numpy.clip(grey, 0, 255).astype(numpy.uint8))


def save_pages(images: list, path: Path, dots_per_inch: int) -> None:
    """A PDF of pictures, as a scanner writes them (JPEG inside)."""
    images[0].save(path, "PDF", resolution=dots_per_inch, save_all=True, append_images=images[1:], quality=90)


def comparable(text: str, language: str) -> str:
    """The text as errors are counted: compatibility forms folded, white space to one space (none in zh, ja)."""
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    return text.replace(" ", "") if language in UNSPACED else text


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in characters, by the bit-parallel method of Hyyrö (2003) on Python's long integers."""
    if not a or not b:
        return max(len(a), len(b))
    places: dict[str, int] = {}
    for i, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << i
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    plus, minus, distance = full, 0, len(a)
    for character in b:
        here = places.get(character, 0)
        diagonal = (((here & plus) + plus) ^ plus) | here | minus
        up, down = minus | ~(diagonal | plus) & full, plus & diagonal
        distance += bool(up & last) - bool(down & last)
        up = (up << 1 | 1) & full
        down = down << 1 & full
        plus, minus = down | ~(diagonal | up) & full, up & diagonal
    return distance
