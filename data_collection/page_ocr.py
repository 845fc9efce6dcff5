"""Recognise the text of one page picture: which way up, which script and language, how fine, in which layout.

What is chosen, and why, stands at the constants. The words come from tesseract (`tesseract_engine.py`), Chinese ones
from RapidOCR where that is asked for (`chinese_engine.py`). Used by `ocr_document.py`.
"""

import os
import time
from typing import NamedTuple

from language import SCRIPTS_OF, count_scripts, detect_language
from page_columns import is_one_column
from tesseract_engine import (
    AUTOMATIC,
    ENGINES,
    LANGUAGE_OF,
    ONE_BLOCK,
    TRAINED_DATA,
    OcrError,
    OutOfTime,
    Words,
    engine_name,
    installed_models,
    read_script,
    read_words,
    require_tesseract,
)

__all__ = ["ENGINES", "RESOLUTION", "OcrError", "PageReader", "Recognised", "installed_models", "require_tesseract"]

RESOLUTION = 200  # dots per inch: 25 to 41 % cheaper than 300 at equal character errors on 11 point print
# Under so many pixels' median height of words at 200 dots per inch (11 point print: 20 to 30) the page is drawn finer.
SMALL_PRINT, SMALL_PRINT_RESOLUTION = 15.0, 300
# Under this mean confidence a page is read again in other ways and the surest reading kept. Clean print of seven
# languages comes at 88 to 97. Arabic comes at 70 to 85 and now and then loses a line at one size and not at another.
SURE = 87.0
OTHER_RESOLUTIONS = {"ara": (150, 300)}  # in this order, while the page is not sure
LAYOUT_DOUBT = 75.0  # under it the other layout is tried as well
WRONG_MODEL = 70.0  # a page read with another script's model, or lying on its side, comes at 30 to 59
LATIN_PROBE = 75.0  # French, Spanish and German read with the English model come at 85 to 87, other scripts under 40
PROBE_BAND = (0.15, 0.35)  # the part of the page's height that is read to tell the language
PROBE_LETTERS = 80  # fewer letters do not tell the language
ENOUGH_LETTERS = 200  # from so many letters on, a page settles which language model the document's later pages take
MIN_CJK_KANA_SHARE = 0.1  # of the characters read with the Japanese model; under it the page is Chinese
WORTHLESS = 30.0  # the confidence of words that are not there; above it a word speaks for a reading
MODELS_OF_SCRIPT = {"Cyrillic": ("rus",), "Arabic": ("ara",), "Han": ("chi_sim", "jpn"), "Japanese": ("jpn", "chi_sim")}


class Recognised(NamedTuple):
    text: str  # lines as they stand on the page, an empty line between blocks
    confidence: float  # mean over words, 0 to 100
    model: str  # trained data used, such as rus or eng+fra+spa+deu
    engine: str = ""  # tesserocr, pytesseract or rapidocr
    resolution: int = 0  # dots per inch
    layout: int = 0  # tesseract's page segmentation mode: 6 one block, 3 automatic
    turned: int = 0  # degrees by which the picture was turned clockwise: 0, 90, 180, 270
    seconds: float = 0.0  # wall time


class _Reading(NamedTuple):
    words: Words
    model: str
    resolution: int
    layout: int
    turn: int

    @property
    def worth(self) -> float:
        """How much text was read how surely; for choosing between readings of the same page."""
        return sum(length * max(0.0, confidence - WORTHLESS) for length, confidence in self.words.weights)


class PageReader:
    """Reads the pages of one document; remembers in `settled` which model served, so that later pages are cheaper.

    languages: an ISO code, several of them, or "auto" for all eight. resolution: dots per inch. timeout: seconds for
    one page. engine: one of ENGINES ("": the faster one that is there). What is read depends on the page and `settled`.
    """

    def __init__(self, languages, resolution: int, timeout: float, engine: str = ""):
        # One thread a process: tesseract's own threads cost 2.8 times the CPU time of one (measured), and pages run
        # in parallel anyway.
        os.environ["OMP_THREAD_LIMIT"] = "1"
        languages = (languages,) if isinstance(languages, str) else tuple(languages)
        codes = tuple(TRAINED_DATA) if "auto" in languages else languages
        self.models = tuple(TRAINED_DATA[code] for code in codes)
        self.resolution, self.timeout, self.engine = resolution, timeout, engine_name(engine)
        self.settled = self.models[0] if len(self.models) == 1 else ""

    def read(self, draw) -> Recognised:
        """draw: function of dots per inch that returns the page's grey picture. Errors: OcrError."""
        page = _PagePictures(draw)
        self.deadline = time.monotonic() + self.timeout
        try:
            reading = self._read(page)
        except OutOfTime:
            raise OcrError(f"recognition took longer than {self.timeout:g} s") from None
        if len(self.models) > 1 and sum(map(str.isalpha, reading.words.text)) >= ENOUGH_LETTERS \
                and reading.words.confidence >= WRONG_MODEL and "+" not in reading.model:
            self.settled = reading.model
        seconds = round(time.monotonic() - self.deadline + self.timeout, 3)
        return Recognised(reading.words.text, reading.words.confidence, reading.model, self.engine, reading.resolution,
                          reading.layout, reading.turn, seconds)

    def _read(self, page: "_PagePictures") -> _Reading:
        if self.settled:
            first = self._words(page, self.settled)
            if first.words.confidence >= WRONG_MODEL and self._is_language_of(first):
                return self._surest(page, first)
        reading = self._told_by_page(page)
        if self.settled:
            reading = max(first, reading, key=lambda r: r.worth)
        return self._surest(page, reading)

    def _is_language_of(self, reading: _Reading) -> bool:
        """Whether the text is in the language of the model that read it, or too short to tell."""
        text = reading.words.text
        if len(self.models) == 1 or sum(map(str.isalpha, text)) < PROBE_LETTERS:
            return True
        code = detect_language(text).code
        return code == LANGUAGE_OF[reading.model] or code not in LANGUAGE_OF.values()

    def _told_by_page(self, page: "_PagePictures") -> _Reading:
        """Read with the model that the page itself shows: Latin print at a glance, others by tesseract's detection."""
        latin = [m for m in self.models if LANGUAGE_OF[m] in SCRIPTS_OF["Latin"]]
        if latin and len(self.models) > 1:
            probe = read_words(self.engine, page.band(self.resolution), self._latin_probe(latin), ONE_BLOCK,
                               self.resolution, self._time_left())
            if probe.confidence >= LATIN_PROBE and sum(map(str.isalpha, probe.text)) >= PROBE_LETTERS:
                return self._read_latin(page, latin, probe.text)
        script = read_script(self.engine, page.at(self.resolution), self.resolution, self._time_left())
        page.turn = script.turn
        models = [m for m in MODELS_OF_SCRIPT.get(script.name, ()) if m in self.models]
        if models:
            reading = self._first_that_serves(page, models)
            if reading.words.confidence >= WRONG_MODEL:
                return reading
        elif latin and script.name in ("Latin", ""):
            reading = self._read_latin(page, latin, "")
            if reading.words.confidence >= WRONG_MODEL or script.name == "Latin":
                return reading
        else:
            reading = self._words(page, self.models[0])
        if len(self.models) == 1:
            return reading
        return max(reading, self._by_trial(page, latin), key=lambda r: r.words.confidence)

    def _latin_probe(self, latin: list[str]) -> str:
        return "eng" if "eng" in latin else latin[0]

    def _read_latin(self, page: "_PagePictures", latin: list[str], seen: str) -> _Reading:
        """seen: text of the page read with the probing model, "" for none. A page too short to tell its language is
        read with all models of Latin letters together."""
        if not seen and len(latin) > 1:
            whole = self._words(page, self._latin_probe(latin))
            seen = whole.words.text
        model = TRAINED_DATA.get(detect_language(seen).code, "") if len(latin) > 1 else latin[0]
        if model not in latin:
            letters = sum(map(str.isalpha, seen))
            model = self._latin_probe(latin) if letters >= ENOUGH_LETTERS else "+".join(latin)
        return self._words(page, model)

    def _first_that_serves(self, page: "_PagePictures", models: list[str]) -> _Reading:
        """Of the models of a script: Japanese read as Chinese comes at confidences of 50 to 60, and the other way."""
        readings = []
        for model in models:
            readings.append(self._words(page, model))
            scripts = count_scripts(readings[-1].words.text)
            kana_missing = scripts["Kana"] < MIN_CJK_KANA_SHARE * (scripts["Kana"] + scripts["Han"])
            if readings[-1].words.confidence >= WRONG_MODEL and not (model == "jpn" and kana_missing):
                break
        return max(readings, key=lambda r: r.words.confidence)

    def _by_trial(self, page: "_PagePictures", latin: list[str]) -> _Reading:
        """The surest over a band of the page of all models; for pages whose script tesseract tells wrongly."""
        trials = ([self._latin_probe(latin)] if latin else []) + [m for m in self.models if m not in latin]
        band = page.band(self.resolution)
        surest = max(trials, key=lambda m: read_words(self.engine, band, m, ONE_BLOCK, self.resolution,
                                                      self._time_left()).confidence)
        return self._read_latin(page, latin, "") if surest in latin else self._words(page, surest)

    def _surest(self, page: "_PagePictures", first: _Reading) -> _Reading:
        """The reading, or a better one of the same page by the same model: finer, in the other layout."""
        readings = [first]
        page.turn = first.turn
        if 0 < first.words.height < SMALL_PRINT * self.resolution / RESOLUTION:
            readings.append(self._words(page, first.model, max(SMALL_PRINT_RESOLUTION, self.resolution)))
        ways = [(resolution, None) for resolution in OTHER_RESOLUTIONS.get(first.model, ())]
        if first.words.confidence < LAYOUT_DOUBT:
            ways.append((readings[-1].resolution, AUTOMATIC if first.layout == ONE_BLOCK else ONE_BLOCK))
        for resolution, layout in ways:
            if max(r.words.confidence for r in readings) >= SURE or self._time_left() < self.timeout / 2:
                break
            readings.append(self._words(page, first.model, resolution, layout))
        return max(readings, key=lambda r: r.worth)

    def _words(self, page: "_PagePictures", model: str, resolution: int = 0, layout: int | None = None) -> _Reading:
        """One reading of the page, done once only. Layout: one block where the page shows one column; tesseract's own
        analysis loses lines and takes Japanese for vertical writing there, but keeps columns apart.
        """
        resolution = resolution or self.resolution
        picture = page.at(resolution)
        if layout is None:
            layout = ONE_BLOCK if page.is_one_column() else AUTOMATIC
        key = (model, resolution, layout, page.turn)
        if key not in page.readings:
            words = read_words(self.engine, picture, model, layout, resolution, self._time_left())
            page.readings[key] = _Reading(words, *key)
        return page.readings[key]

    def _time_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime
        return left


class _PagePictures:
    """The pictures of one page as they are asked for, turned upright by `turn`, and what was read from them."""

    def __init__(self, draw):
        self.draw = draw
        self.turn = 0  # degrees clockwise
        self.drawn: dict[tuple[int, int], object] = {}
        self.readings: dict[tuple, _Reading] = {}

    def at(self, resolution: int):
        """The page's grey picture at so many dots per inch."""
        if (resolution, self.turn) not in self.drawn:
            picture = self.draw(resolution)
            self.drawn[resolution, self.turn] = picture.rotate(-self.turn, expand=True) if self.turn else picture
        return self.drawn[resolution, self.turn]

    def band(self, resolution: int):
        """A part of the page of full width."""
        picture = self.at(resolution)
        top, bottom = (int(share * picture.height) for share in PROBE_BAND)
        return picture.crop((0, top, picture.width, bottom))

    def is_one_column(self) -> bool:
        resolution = min(r for r, turn in self.drawn if turn == self.turn)
        return is_one_column(self.drawn[resolution, self.turn], resolution)
