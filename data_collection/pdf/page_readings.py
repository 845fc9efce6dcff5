"""The pictures of one page, and what was read from them: at which resolution, in which layout, with which model.

What is chosen, and why, stands at the constants. The words come from tesseract (`tesseract_engine.py`), Chinese ones
from RapidOCR where that is asked for (`chinese_engine.py`). Used by `page_ocr.py`, which chooses the model.
"""

import contextlib
import time
from typing import NamedTuple

from pdf.chinese_engine import read_chinese
from pdf.page_columns import ink_of, is_one_column, missed_ink, whitest_row
from pdf.tesseract_engine import (
    AUTOMATIC,
    ONE_BLOCK,
    OutOfTime,
    Script,
    Words,
    installed_models,
    read_script,
    read_words,
)
from pdf.upright import set_upright

RESOLUTION = 200  # dots per inch: 25 to 41 % cheaper than 300 at equal character errors on 11 point print
# Pixels to either side over which a picture is averaged before it is read: tesseract takes a scanner's grain for
# strokes. On scans with light noise that takes 10 % off the errors in zh, ja and fr, more in ar, adds none in others.
SMOOTHING = 0.8
# Under so many pixels' median height of words at 200 dots per inch (11 point print: 20 to 30) the page is drawn finer.
SMALL_PRINT, SMALL_PRINT_RESOLUTION = 15.0, 300
# Under this mean confidence a page is read again in other ways and the surest reading kept. Clean print of seven
# languages comes at 84 to 97. Arabic comes at 70 to 90 and now and then loses a line at one size and not at another.
SURE = 87.0
OTHER_RESOLUTIONS = {"ara": (150, 300)}  # in this order, while the page is not sure
FOR_LOST_LINES = (150, 300)
MISSED = 0.02  # from this share of ink without a word on, a line or more was lost: the page is read again as well
LAYOUT_DOUBT = 75.0  # under it the other layout is tried as well
PROBE_BAND = (0.2, 0.32)  # the part of the page's height that is read to tell the language: 5 to 8 lines of a book
WORTHLESS = 30.0  # the confidence of words that are not there; above it a word speaks for a reading
# Abbreviations in Latin letters stand in every Russian medical text; the Russian model alone writes FGFR as ЕСЕК.
READ_TOGETHER = {"rus": "rus+eng"}


class Settings(NamedTuple):
    """How pages are read."""

    resolution: int  # dots per inch
    timeout: float  # seconds a page
    engine: str  # tesserocr or pytesseract
    chinese_engine: str  # tesseract or rapidocr


class Reading(NamedTuple):
    words: Words
    model: str
    resolution: int
    layout: int  # tesseract's page segmentation mode
    turn: int  # degrees clockwise by which the page was turned: 0, 90, 180, 270
    engine: str

    @property
    def worth(self) -> float:
        """How much text was read how surely; for choosing between readings of the same page."""
        return sum(length * max(0.0, confidence - WORTHLESS) for length, confidence in self.words.weights)


class PageReadings:
    """One page. draw: function of dots per inch that returns the page's grey picture.

    `turn`: degrees clockwise by which it is turned before it is set upright and read. Methods raise OcrError, and
    OutOfTime when `settings.timeout` seconds have passed since the page was begun.
    """

    def __init__(self, draw, settings: Settings):
        self.draw, self.settings = draw, settings
        self.deadline = time.monotonic() + settings.timeout
        self.turn = 0
        self._pictures: dict[tuple[int, int], object] = {}  # by (dots per inch, turn)
        self._lean: dict[tuple[int, int], float] = {}  # degrees counterclockwise that were added to the turn
        self._ink: dict[int, object] = {}  # by turn
        self._readings: dict[tuple, Reading] = {}

    def words(self, model: str, resolution: int = 0, layout: int | None = None) -> Reading:
        """One reading of the page, done once only. Layout: one block where the page shows one column; tesseract's own
        analysis loses lines and takes Japanese for vertical writing there, but keeps columns apart.
        """
        resolution = resolution or self.settings.resolution
        picture = self._picture(resolution)
        if layout is None:
            layout = ONE_BLOCK if self._is_one_column() else AUTOMATIC
        key = (model, resolution, layout, self.turn, self.settings.engine)
        if key not in self._readings:
            words = read_words(
                self.settings.engine, picture, read_together(model), layout, resolution, self._time_left()
            )
            self._readings[key] = Reading(words, *key)
        return self._readings[key]

    def probe(self, model: str) -> Words:
        """A band of the page's full width, for telling the language; cut between lines: halved ones make nonsense."""
        resolution = self.settings.resolution
        picture = self._picture(resolution)
        top, bottom = (int(whitest_row(self._ink_seen(), share) * picture.height) for share in PROBE_BAND)
        return read_words(
            self.settings.engine,
            picture.crop((0, top, picture.width, bottom)),
            model,
            ONE_BLOCK,
            resolution,
            self._time_left(),
        )

    def script(self) -> Script:
        """What tesseract says of the page's script and which way up it is."""
        resolution = self.settings.resolution
        return read_script(self.settings.engine, self._picture(resolution), resolution, self._time_left())

    def in_chinese(self) -> Reading:
        """The page in Chinese, by the engine asked for; columns always by tesseract, RapidOCR knows nothing of them."""
        picture = self._picture(self.settings.resolution)
        if self.settings.chinese_engine != "rapidocr" or not self._is_one_column():
            return self.words("chi_sim")
        key = ("chi_sim", self.settings.resolution, ONE_BLOCK, self.turn, "rapidocr")
        if key not in self._readings:
            self._readings[key] = Reading(read_chinese(picture), *key)
        return self._readings[key]

    def surest(self, first: Reading) -> Reading:
        """A reading, or a better one of the page by the same model: finer, at another size, in the other layout."""
        self.turn = first.turn
        if first.model == "chi_sim":
            first = self.in_chinese()
        if first.engine == "rapidocr":
            return first
        readings = [first]
        with contextlib.suppress(OutOfTime):  # then the best of what was read stands
            self._read_again(readings)
        return max(readings, key=lambda r: r.worth)

    def _read_again(self, readings: list[Reading]) -> None:
        """Add readings in other ways while none is good."""
        first = readings[0]
        if 0 < first.words.height < SMALL_PRINT * first.resolution / RESOLUTION:
            readings.append(self.words(first.model, max(SMALL_PRINT_RESOLUTION, first.resolution)))
        ways = [(resolution, None) for resolution in OTHER_RESOLUTIONS.get(first.model, ())]
        if first.words.confidence < LAYOUT_DOUBT or self.missed(first) > MISSED:
            ways.append((readings[-1].resolution, AUTOMATIC if first.layout == ONE_BLOCK else ONE_BLOCK))
        if self.missed(first) > MISSED:
            ways += [(resolution, None) for resolution in FOR_LOST_LINES if (resolution, None) not in ways]
        for resolution, layout in ways:
            best = max(readings, key=lambda r: r.worth)
            is_good = best.words.confidence >= SURE and self.missed(best) <= MISSED
            if is_good:
                break
            readings.append(self.words(first.model, resolution, layout))

    def missed(self, reading: Reading) -> float:
        """The share of the page's ink for which a reading has no word."""
        return missed_ink(self._ink_seen(), reading.words.boxes, reading.resolution)

    def degrees(self, reading: Reading) -> float:
        """By how many degrees clockwise the picture was turned that a reading was made from, 0 to 360."""
        return round((reading.turn - self._lean[reading.resolution, reading.turn]) % 360, 2)

    def _picture(self, resolution: int):
        from PIL import ImageFilter

        key = (resolution, self.turn)
        if key not in self._pictures:
            picture = self.draw(resolution)
            picture = picture.rotate(-self.turn, expand=True) if self.turn else picture
            picture, self._lean[key] = set_upright(picture)
            self._pictures[key] = picture.filter(ImageFilter.BoxBlur(SMOOTHING))
        return self._pictures[key]

    def _is_one_column(self) -> bool:
        return is_one_column(self._ink_seen())

    def _ink_seen(self):
        """Where the page has ink (`page_columns.ink_of`), from the coarsest picture that was drawn."""
        if self.turn not in self._ink:
            resolution = min(r for r, turn in self._pictures if turn == self.turn)
            self._ink[self.turn] = ink_of(self._pictures[resolution, self.turn], resolution)
        return self._ink[self.turn]

    def _time_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime("no time is left")
        return left


def read_together(model: str) -> str:
    """The trained data that a model's pages are read with, as far as it is installed."""
    joined = READ_TOGETHER.get(model, model)
    return joined if all(part in installed_models() for part in joined.split("+")) else model
