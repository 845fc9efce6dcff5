"""Recognise the text of one page picture: in which script and language it is, which way up, and what it says.

Latin print is told at a glance: a band of the page read with the English model shows the language, and no other script
reads well with it. Other scripts, and pages that lie on their side, are told by tesseract's own detection, which takes
as long as reading a page; later pages of a document are tried with the model that served before. `page_readings.py`
chooses resolution and layout. Used by `ocr_document.py`.
"""

import os
import re
import time
from typing import NamedTuple

from filtering.language import SCRIPTS_OF, count_scripts, detect_language
from pdf.chinese_engine import CHINESE_ENGINES, require_chinese_engine
from pdf.page_readings import RESOLUTION, PageReadings, Reading, Settings, read_together
from pdf.tesseract_engine import (
    ENGINES,
    LANGUAGE_OF,
    TRAINED_DATA,
    OcrError,
    OutOfTime,
    engine_name,
    installed_models,
    require_tesseract,
)
from pdf.text_repair import CJK

__all__ = [
    "CHINESE_ENGINES",
    "ENGINES",
    "RESOLUTION",
    "OcrError",
    "PageReader",
    "Recognised",
    "engine_name",
    "installed_models",
    "require_chinese_engine",
    "require_tesseract",
]

WRONG_MODEL = 70.0  # a page read with another script's model, or lying on its side, comes at 30 to 59
LATIN_PROBE = 75.0  # French, Spanish and German read with the English model come at 81 to 95, other scripts under 55
PROBE_LETTERS = 80  # fewer letters do not tell the language
ENOUGH_LETTERS = 200  # from so many letters on, a page settles which language model the document's later pages take
MIN_CJK_KANA_SHARE = 0.1  # of the characters read with the Japanese model; under it the page is Chinese
MODELS_OF_SCRIPT = {"Cyrillic": ("rus",), "Arabic": ("ara",), "Han": ("chi_sim", "jpn"), "Japanese": ("jpn", "chi_sim")}
# Read with both models, a few Russian words come out in Latin letters of the same shape: these are written back.
LOOKALIKE_WORD = re.compile(r"(?<![A-Za-z0-9])[ABCEHKMOPTXaceopxy]+(?![A-Za-z0-9])")
# tesseract writes every change between Japanese letters and figures or Latin ones as a space; print has none there.
JAPANESE_GAP = re.compile(f"(?<=[{CJK}]) (?=[A-Za-z0-9])|(?<=[A-Za-z0-9%]) (?=[{CJK}])")
LOOKALIKES = str.maketrans("ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху")


class Recognised(NamedTuple):
    text: str  # lines as they stand on the page, an empty line between blocks
    confidence: float  # mean over words, 0 to 100
    model: str  # trained data used, such as rus+eng
    engine: str = ""  # tesserocr, pytesseract or rapidocr
    resolution: int = 0  # dots per inch
    layout: int = 0  # tesseract's page segmentation mode: 6 one block, 3 automatic
    turned: float = 0.0  # degrees clockwise by which the picture was turned upright
    seconds: float = 0.0  # wall time


class PageReader:
    """Reads the pages of one document; remembers in `settled` which model served, so that later pages are cheaper.

    languages: an ISO code, several of them, or "auto" for all eight. resolution: dots per inch. timeout: seconds for
    one page. engine: one of ENGINES ("": the faster one that is there). chinese_engine: one of CHINESE_ENGINES.
    What is read depends on the page and `settled` alone.
    """

    def __init__(
        self, languages, resolution: int, timeout: float, engine: str = "", chinese_engine: str = CHINESE_ENGINES[0]
    ):
        # One thread a process: tesseract's own threads cost 2.8 times the CPU time of one (measured), and pages run
        # in parallel anyway.
        os.environ["OMP_THREAD_LIMIT"] = "1"
        languages = (languages,) if isinstance(languages, str) else tuple(languages)
        self.models = [TRAINED_DATA[code] for code in (TRAINED_DATA if "auto" in languages else languages)]
        self.latin = [model for model in self.models if LANGUAGE_OF[model] in SCRIPTS_OF["Latin"]]
        self.resolution = resolution
        self.settings = Settings(resolution, timeout, engine_name(engine), chinese_engine)
        self.settled = self.models[0] if len(self.models) == 1 else ""

    def read(self, draw) -> Recognised:
        """draw: function of dots per inch that returns the page's grey picture. Errors: OcrError."""
        begun = time.monotonic()
        page = PageReadings(draw, self.settings)
        try:
            reading = page.surest(self._in_its_language(page))
        except OutOfTime:
            raise OcrError(f"tesseract took longer than {self.settings.timeout:g} s") from None
        words = reading.words
        if len(self.models) > 1 and words.confidence >= WRONG_MODEL and letters(words.text) >= ENOUGH_LETTERS:
            self.settled = reading.model if reading.model in self.models else ""
        text = words.text
        if reading.model == "rus":
            text = LOOKALIKE_WORD.sub(_in_cyrillic, text)
        elif reading.model == "jpn":
            text = JAPANESE_GAP.sub("", text)
        model = reading.model if reading.engine == "rapidocr" else read_together(reading.model)
        return Recognised(
            text,
            words.confidence,
            model,
            reading.engine,
            reading.resolution,
            reading.layout,
            page.degrees(reading),
            round(time.monotonic() - begun, 3),
        )

    def _in_its_language(self, page: PageReadings) -> Reading:
        if not self.settled:
            return self._told_by_page(page)
        first = page.in_chinese() if self.settled == "chi_sim" else page.words(self.settled)
        if first.words.confidence >= WRONG_MODEL and self._is_language_of(first):
            return first
        return max(first, self._told_by_page(page), key=lambda reading: reading.worth)

    def _is_language_of(self, reading: Reading) -> bool:
        """Whether the text is in the language of the model that read it, or too short to tell."""
        if len(self.models) == 1 or letters(reading.words.text) < PROBE_LETTERS:
            return True
        code = detect_language(reading.words.text).code
        return code == LANGUAGE_OF[reading.model] or TRAINED_DATA.get(code) not in self.models

    def _told_by_page(self, page: PageReadings) -> Reading:
        """Read with the model that the page itself shows."""
        if self.latin and len(self.models) > 1:
            probe = page.probe(self._latin_probe())
            if probe.confidence >= LATIN_PROBE and letters(probe.text) >= PROBE_LETTERS:
                return self._read_latin(page, probe.text)
        script = page.script()
        page.turn = script.turn
        models = [model for model in MODELS_OF_SCRIPT.get(script.name, ()) if model in self.models]
        if models:
            reading = self._first_that_serves(page, models)
        elif self.latin:
            reading = self._read_latin(page)
        else:
            reading = page.words(self.models[0])
        if reading.words.confidence >= WRONG_MODEL or len(self.models) == 1:
            return reading
        return max(reading, self._by_trial(page), key=lambda r: r.words.confidence)

    def _latin_probe(self) -> str:
        return "eng" if "eng" in self.latin else self.latin[0]

    def _read_latin(self, page: PageReadings, seen: str = "") -> Reading:
        """seen: what is known of the page's text. A page too short to tell its language is read with all models."""
        if len(self.latin) == 1:
            return page.words(self.latin[0])
        seen = seen or page.words(self._latin_probe()).words.text
        model = TRAINED_DATA.get(detect_language(seen).code, "")
        if model not in self.latin:
            model = self._latin_probe() if letters(seen) >= ENOUGH_LETTERS else "+".join(self.latin)
        return page.words(model)

    def _first_that_serves(self, page: PageReadings, models: list[str]) -> Reading:
        """Of a script's models: Japanese comes at confidences of 50 to 60 with the Chinese model, and the other way."""
        readings = []
        for model in models:
            readings.append(page.words(model))
            scripts = count_scripts(readings[-1].words.text)
            kana_missing = scripts["Kana"] < MIN_CJK_KANA_SHARE * (scripts["Kana"] + scripts["Han"])
            if readings[-1].words.confidence >= WRONG_MODEL and not (model == "jpn" and kana_missing):
                break
        return max(readings, key=lambda reading: reading.words.confidence)

    def _by_trial(self, page: PageReadings) -> Reading:
        """With the model that is surest of a band of the page; for pages whose script tesseract tells wrongly."""
        trials = [model for model in self.models if model not in self.latin] + [self._latin_probe()] * bool(self.latin)
        surest = max(trials, key=lambda model: page.probe(model).confidence)
        return self._read_latin(page) if surest in self.latin else page.words(surest)


def letters(text: str) -> int:
    """How many letters the text has."""
    return sum(map(str.isalpha, text))


def _in_cyrillic(word: re.Match) -> str:
    return word[0].translate(LOOKALIKES)
