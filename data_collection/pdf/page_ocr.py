"""Recognise the text of one page picture: find its script, language and orientation, then read it.

Latin script is detected from one band of the page: read with the English model, the band shows the language, and no
other script gives readable text with it. Other scripts and rotated pages are detected by tesseract, which takes as long
as reading a page. So later pages of a document are first tried with the model that served before.
"""

import contextlib
import os
import re
import time
from collections import Counter
from typing import NamedTuple

from filtering.language import SCRIPTS_OF, count_scripts, detect_language, main_script
from pdf.page_layout import DOTS_PER_INCH, ink_of, is_one_column, missed_ink, pictures_of, print_band, set_upright
from pdf.recognition_engines import (
    AUTOMATIC,
    CHINESE_MODELS,
    LANGUAGE_OF,
    ONE_BLOCK,
    TRAINED_DATA,
    OcrError,
    OutOfTime,
    Script,
    Words,
    chinese_engine_name,
    engine_name,
    installed_models,
    read_lines,
    read_script,
    read_words,
)
from pdf.text_repair import CJK

RESOLUTION = 200  # dots per inch: 25 to 41 % cheaper than 300 at equal character errors on 11 point print
# Pixels to either side over which a picture is averaged before it is read: tesseract takes a scanner's grain for
# strokes. On scans with light noise that takes 10 % off the errors in zh, ja and fr, more in ar, adds none in others.
SMOOTHING = 0.8
# Below this median height of words (pixels at 200 dots per inch; 11 point print: 20 to 30) the page is drawn finer.
SMALL_PRINT, SMALL_PRINT_RESOLUTION = 15.0, 300
# Below this mean confidence a page is read again in other ways and the best reading is kept. Clean print of seven
# languages has 84 to 97. Arabic has 70 to 90 and now and then loses a line at one resolution and not at another.
GOOD_CONFIDENCE = 87.0
OTHER_RESOLUTIONS = {"ara": (150, 300)}  # tried in this order until the page is good
LOST_LINE_RESOLUTIONS = (150, 300)
MAX_MISSED = 0.02  # a larger share of ink without a word means a lost line or more: the page is read again as well
LAYOUT_DOUBT = 75.0  # below this confidence the other layout is tried as well
PROBE_BAND = (0.2, 0.32)  # the part of the page's height that is read to detect the language: 5 to 8 lines of a book
# Confidence of words that are not there. Such words lower a reading's score; otherwise the reading wins that finds more
# words in a drawing. Beside hatching print has 90 to 96; most words found in it have 20 to 60, a few 93.
WORTHLESS = 50.0
OVER_PICTURE = 70.0  # words on a picture below it are omitted; print on one tinted box had 78 to 97
MIN_BAND = 20  # pixels; a lower band is not cut out, the whole page is used
# Smaller pages without print are often scans with a wrong resolution: they are drawn as if they were as high as a page.
SMALLEST_PAGE_INCHES, PAGE_INCHES = 1.0, 8
# Russian medical texts contain abbreviations in Latin letters; the Russian model alone reads FGFR as ЕСЕК.
READ_TOGETHER = {"rus": "rus+eng"}

WRONG_MODEL = 70.0  # a page read with another script's model, or rotated, has a confidence of 30 to 59
LATIN_PROBE = 75.0  # French, Spanish and German read with the English model have 81 to 95, other scripts under 55
PROBE_LETTERS = 80  # fewer letters do not show the language
CLEARLY = 10.0  # more confident than the document's language must a page be in another script
MIN_SHARE = 0.2  # of the document's expected characters, below which its language overrules the settled model
# PP-OCRv6 took a picture of 83 x 56 pixels for one character at a confidence of 63; it reads short lines of drawn print
# at 99 to 100.
SPECKS, SPECK_CONFIDENCE = 10, 75.0
ENOUGH_LETTERS = 200  # a page with this many letters settles the language model for the document's later pages
MIN_KANA_SHARE = 0.1  # of the characters read with the Japanese model; below it the page is Chinese
MODELS_OF_SCRIPT = {"Cyrillic": ("rus",), "Arabic": ("ara",), "Han": ("chi_sim", "jpn"), "Japanese": ("jpn", "chi_sim")}
# Read with both models, a few Russian words come out in Latin letters of the same shape; these are converted back.
LOOKALIKE_WORD = re.compile(r"(?<![A-Za-z0-9])[ABCEHKMOPTXaceopxy]+(?![A-Za-z0-9])")
LOOKALIKES = str.maketrans("ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху")
# tesseract writes a space at every change between Japanese letters and figures or Latin letters; print has none there.
JAPANESE_GAP = re.compile(f"(?<=[{CJK}]) (?=[A-Za-z0-9])|(?<=[A-Za-z0-9%]) (?=[{CJK}])")


class Settings(NamedTuple):
    """How pages are read."""

    resolution: int  # dots per inch
    timeout: float  # seconds per page
    engine: str  # tesserocr or pytesseract
    chinese_engine: str  # for Chinese and Japanese: rapidocr or tesseract


class Reading(NamedTuple):
    """One attempt to read a page."""

    words: Words
    model: str
    resolution: int
    layout: int  # tesseract's page segmentation mode
    rotation: int  # degrees clockwise by which the page was rotated: 0, 90, 180, 270
    engine: str

    @property
    def score(self) -> float:
        """Amount of text weighted by confidence, for choosing between readings of the same page."""
        return sum(length * (confidence - WORTHLESS) for length, confidence in self.words.weights)


class Recognised(NamedTuple):
    text: str  # the page's lines, with an empty line between blocks
    confidence: float  # mean over words, 0 to 100
    model: str  # trained data used, such as rus+eng
    engine: str = ""  # tesserocr, pytesseract or rapidocr (its model for lines that tesseract finds)
    resolution: int = 0  # dots per inch
    layout: int = 0  # tesseract's page segmentation mode: 6 one block, 3 automatic
    turned: float = 0.0  # degrees clockwise by which the picture was rotated to be upright
    seconds: float = 0.0  # wall time


class PageReadings:
    """The pictures of one page and the readings made from them. draw(dots per inch) returns the page's grey picture.

    `rotation`: degrees clockwise by which the page is rotated before skew is corrected and it is read. Methods raise
    OcrError, and OutOfTime when `settings.timeout` seconds have passed since the page was begun.
    """

    def __init__(self, draw, settings: Settings):
        self.draw, self.settings = draw, settings
        self.deadline = time.monotonic() + settings.timeout
        self.rotation = 0
        self._pictures: dict[tuple[int, int], object] = {}  # by (dots per inch, rotation)
        self._skew: dict[tuple[int, int], float] = {}  # degrees counterclockwise, in addition to the rotation
        self._ink: dict[int, object] = {}  # by rotation
        self._seen: dict[int, object] = {}  # pictures on the page, by rotation
        self._readings: dict[tuple, Reading] = {}

    def words(self, model: str, resolution: int = 0, layout: int | None = None) -> Reading:
        """One reading of the page; repeated calls return the same one.

        layout: by default one block if the page has one column. There tesseract's own analysis loses lines and takes
        Japanese for vertical writing; on other pages it keeps columns apart.
        """
        resolution = resolution or self.settings.resolution
        picture = self._picture(resolution)
        if layout is None:
            layout = ONE_BLOCK if self._is_one_column() else AUTOMATIC
        in_lines = self._in_lines(model)
        key = (model, resolution, layout, self.rotation, "rapidocr" if in_lines else self.settings.engine)
        if in_lines:  # one model reads both languages
            for other in CHINESE_MODELS:
                if (other, *key[1:]) in self._readings:
                    return self._readings[other, *key[1:]]._replace(model=model)
        if key not in self._readings:
            read = read_lines if in_lines else read_words
            joined = read_together(model)
            words = read(
                self.settings.engine, picture, joined, layout, resolution, self._time_left(), self._is_noise(resolution)
            )
            self._readings[key] = Reading(words, *key)
        return self._readings[key]

    def probe(self, model: str) -> Words:
        """A band of the page, to detect the language; cut between lines, because halved lines give nonsense."""
        resolution = self.settings.resolution
        picture = self._picture(resolution)
        top, bottom = (int(share * picture.height) for share in print_band(self._page_ink(), *PROBE_BAND))
        if bottom - top >= MIN_BAND:
            picture = picture.crop((0, top, picture.width, bottom))
        read = read_lines if self._in_lines(model) else read_words
        return read(self.settings.engine, picture, model, ONE_BLOCK, resolution, self._time_left())

    def _in_lines(self, model: str) -> bool:
        return model in CHINESE_MODELS and self.settings.chinese_engine == "rapidocr"

    def script(self) -> Script:
        """The page's script and orientation, detected by tesseract."""
        resolution = self.settings.resolution
        return read_script(self.settings.engine, self._picture(resolution), resolution, self._time_left())

    def best(self, first: Reading) -> Reading:
        """The best of `first` and readings by the same model at other resolutions and in the other layout."""
        self.rotation = first.rotation
        readings = [first]
        with contextlib.suppress(OutOfTime):  # then the best so far is used
            self._read_again(readings)
        return max(readings, key=lambda r: r.score)

    def _read_again(self, readings: list[Reading]) -> None:
        """Add readings in other ways until one is good."""
        first = readings[0]
        if 0 < first.words.height < SMALL_PRINT * first.resolution / RESOLUTION:
            readings.append(self.words(first.model, max(SMALL_PRINT_RESOLUTION, first.resolution)))
        ways = [(resolution, None) for resolution in OTHER_RESOLUTIONS.get(first.model, ())]
        if first.words.confidence < LAYOUT_DOUBT or self.missed(first) > MAX_MISSED:
            ways.append((readings[-1].resolution, AUTOMATIC if first.layout == ONE_BLOCK else ONE_BLOCK))
        if self.missed(first) > MAX_MISSED:
            ways += [(resolution, None) for resolution in LOST_LINE_RESOLUTIONS if (resolution, None) not in ways]
        for resolution, layout in ways:
            best = max(readings, key=lambda r: r.score)
            if best.words.confidence >= GOOD_CONFIDENCE and self.missed(best) <= MAX_MISSED:
                break
            readings.append(self.words(first.model, resolution, layout))

    def missed(self, reading: Reading) -> float:
        """The share of the page's ink for which a reading has no word; pictures do not count."""
        return missed_ink(self._page_ink() & ~self._pictures_seen(), reading.words.boxes, reading.resolution)

    def degrees(self, reading: Reading) -> float:
        """Degrees clockwise, 0 to 360, by which the reading's picture was rotated, skew included."""
        return round((reading.rotation - self._skew[reading.resolution, reading.rotation]) % 360, 2)

    def _picture(self, resolution: int):
        from PIL import ImageFilter

        key = (resolution, self.rotation)
        if key not in self._pictures:
            picture = self.draw(resolution)
            picture = picture.rotate(-self.rotation, expand=True) if self.rotation else picture
            picture, self._skew[key] = set_upright(picture)
            self._pictures[key] = picture.filter(ImageFilter.BoxBlur(SMOOTHING))
        return self._pictures[key]

    def _is_one_column(self) -> bool:
        return is_one_column(self._page_ink())

    def _page_ink(self):
        """Where the page has ink (`page_layout.ink_of`), from the coarsest picture drawn so far."""
        if self.rotation not in self._ink:
            resolution = min(r for r, rotation in self._pictures if rotation == self.rotation)
            self._ink[self.rotation] = ink_of(self._pictures[resolution, self.rotation], resolution)
        return self._ink[self.rotation]

    def _pictures_seen(self):
        """Where the page has pictures (`page_layout.pictures_of`)."""
        if self.rotation not in self._seen:
            self._seen[self.rotation] = pictures_of(self._page_ink())
        return self._seen[self.rotation]

    def _is_noise(self, resolution: int):
        """Function of a word's box and confidence: whether it was found in a picture rather than in print; or None."""
        pictures = self._pictures_seen()
        scale = DOTS_PER_INCH / resolution

        def is_noise(box: tuple[int, ...], confidence: float) -> bool:
            left, top, width, height = box
            here = pictures[
                int(top * scale) : int((top + height) * scale) + 1, int(left * scale) : int((left + width) * scale) + 1
            ]
            return confidence < OVER_PICTURE and here.size > 0 and float(here.mean()) > 0.5

        return is_noise if pictures.any() else None

    def _time_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime("no time is left")
        return left


class PageReader:
    """Reads the pages of one document; `settled` is the model that served so far, so that later pages are cheaper.

    `expected`, to be set by the caller before each page: {ISO code: characters} of the document's pages whose language
    is known, such as those with a text layer (empty: nothing is known). A page is read first with the model of the
    language with most characters, or the settled one if its language has MIN_SHARE of them. A reading by another
    script's model replaces that only if it is more confident by CLEARLY, at least WRONG_MODEL, and in its language.
    With one language given, `expected` has no effect; a page in Latin letters is then read in English too, unless it
    reads well.

    languages: an ISO code, several of them, or "auto" for all eight. resolution: dots per inch. timeout: seconds for
    one page. engine: one of ENGINES ("": the faster available one). chinese_engine: one of CHINESE_ENGINES ("": the
    better available one).
    The result depends on the page, `settled` and `expected` only.
    """

    def __init__(self, languages, resolution: int, timeout: float, engine: str = "", chinese_engine: str = ""):
        # One thread per process: tesseract's own threads cost 2.8 times the CPU time of one (measured), and pages run
        # in parallel anyway.
        os.environ["OMP_THREAD_LIMIT"] = "1"
        languages = (languages,) if isinstance(languages, str) else tuple(languages)
        self.models = [TRAINED_DATA[code] for code in (TRAINED_DATA if "auto" in languages else languages)]
        self.latin = [model for model in self.models if LANGUAGE_OF[model] in SCRIPTS_OF["Latin"]]
        self.latin_probe = "eng" if "eng" in self.latin else next(iter(self.latin), "")
        self.resolution = resolution
        self.settings = Settings(resolution, timeout, engine_name(engine), chinese_engine_name(chinese_engine))
        self.settled = self.models[0] if len(self.models) == 1 else ""
        self.expected: Counter[str] = Counter()

    def read(self, draw) -> Recognised:
        """draw(dots per inch) returns the page's grey picture. Errors: OcrError."""
        found = self._read(draw)
        inches = max(draw(self.resolution).size) / self.resolution
        if inches < SMALLEST_PAGE_INCHES and letters(found.text) < PROBE_LETTERS:
            larger = round(PAGE_INCHES / inches)
            whole = self._read(lambda resolution: draw(resolution * larger))
            if letters(whole.text) >= PROBE_LETTERS:
                return whole._replace(resolution=whole.resolution * larger)
        return found

    def _read(self, draw) -> Recognised:
        begun = time.monotonic()
        page = PageReadings(draw, self.settings)
        try:
            reading = page.best(self._in_its_language(page))
        except OutOfTime:
            raise OcrError(f"tesseract took longer than {self.settings.timeout:g} s") from None
        words, model, text = reading.words, reading.model, reading.words.text
        if reading.engine == "rapidocr" and letters(text) < SPECKS and words.confidence < SPECK_CONFIDENCE:
            text = ""
        if len(self.models) > 1 and words.confidence >= WRONG_MODEL and letters(text) >= ENOUGH_LETTERS:
            self.settled = model if model in self.models and self._is_language_of(reading) else ""
        if model == "rus":
            text = LOOKALIKE_WORD.sub(_in_cyrillic, text)
        elif model == "jpn":
            text = JAPANESE_GAP.sub("", text)
        return Recognised(
            text,
            words.confidence,
            model if reading.engine == "rapidocr" else read_together(model),
            reading.engine,
            reading.resolution,
            reading.layout,
            page.degrees(reading),
            round(time.monotonic() - begun, 3),
        )

    def _in_its_language(self, page: PageReadings) -> Reading:
        likely = self._likely_model()
        if not likely:
            return self._detect_and_read(page)
        first = page.words(likely)
        if first.words.confidence >= WRONG_MODEL and self._is_language_of(first):
            return first
        best = first
        for read in (self._detect_and_read, self._read_english):
            second = read(page)
            if second is not None and self._is_better(second, best):
                best = second
        return best

    def _likely_model(self) -> str:
        """The model of the document's language so far; "" if that is not known.

        `expected` overrules a `settled` model whose language has little of the document.
        """
        expected = {m: self.expected[LANGUAGE_OF[m]] for m in self.models if self.expected[LANGUAGE_OF[m]] > 0}
        if not expected or (self.settled and expected.get(self.settled, 0) >= MIN_SHARE * sum(expected.values())):
            return self.settled
        return max(sorted(expected), key=expected.__getitem__)

    def _read_english(self, page: PageReadings) -> Reading | None:
        """In English where that was not asked for: a page in Latin letters of a document in another script."""
        wanted = len(self.models) == 1 and not self.latin and "eng" in installed_models()
        return page.words("eng") if wanted else None

    def _is_better(self, second: Reading, first: Reading) -> bool:
        """Whether a reading beats the one in the document's language.

        In the same script the score decides. Another script's model makes words of anything, so it must be clearly
        more confident, and its text must be in its language.
        """
        if _script(second) == _script(first):
            return self._is_language_of(second) >= self._is_language_of(first) and second.score >= first.score
        if second.words.confidence < max(WRONG_MODEL, first.words.confidence * self._is_language_of(first) + CLEARLY):
            return False
        return detect_language(second.words.text).code == LANGUAGE_OF.get(second.model)

    def _is_language_of(self, reading: Reading) -> bool:
        """Whether the text is in the language of the model that read it, or too short to show another one."""
        text = reading.words.text
        if letters(text) < PROBE_LETTERS:
            return True
        if len(self.models) == 1:
            return bool(self.latin) or main_script(text)[0] != "Latin"
        code = detect_language(text).code
        return code == LANGUAGE_OF.get(reading.model) or TRAINED_DATA.get(code) not in self.models

    def _detect_and_read(self, page: PageReadings) -> Reading:
        """Read with the model of the script and language that the page shows."""
        if self.latin and len(self.models) > 1:
            probe = page.probe(self.latin_probe)
            if probe.confidence >= LATIN_PROBE and letters(probe.text) >= PROBE_LETTERS:
                return self._read_latin(page, probe.text)
        script = page.script()
        page.rotation = script.turn
        models = [model for model in MODELS_OF_SCRIPT.get(script.name, ()) if model in self.models]
        if models:
            reading = self._first_plausible(page, models)
        elif self.latin:
            reading = self._read_latin(page)
        else:
            reading = page.words(self.models[0])
        if len(self.models) == 1:
            return reading
        if reading.words.confidence < WRONG_MODEL:
            reading = max(reading, self._by_trial(page), key=lambda r: r.words.confidence)
        return self._or_latin(page, reading)

    def _or_latin(self, page: PageReadings, reading: Reading) -> Reading:
        """The reading, or one with a Latin model if it is uncertain or its text in another script than its model's."""
        script, seen = _script(reading), main_script(reading.words.text)[0]
        sure = reading.words.confidence >= WRONG_MODEL
        if not self.latin or script == "Latin" or (sure and seen == script):
            return reading
        latin = max(page.words(self.latin_probe), self._read_latin(page), key=lambda r: r.words.confidence)
        enough = min(WRONG_MODEL, reading.words.confidence - CLEARLY)
        return latin if latin.words.confidence >= enough else reading

    def _read_latin(self, page: PageReadings, seen: str = "") -> Reading:
        """seen: text of the page known so far. A page too short to show its language is read with all models."""
        if len(self.latin) == 1:
            return page.words(self.latin[0])
        seen = seen or page.words(self.latin_probe).words.text
        model = TRAINED_DATA.get(detect_language(seen).code, "")
        if model not in self.latin:
            model = self.latin_probe if letters(seen) >= ENOUGH_LETTERS else "+".join(self.latin)
        return page.words(model)

    def _first_plausible(self, page: PageReadings, models: list[str]) -> Reading:
        """With a script's models: Japanese if there are kana. By tesseract, the wrong one has 50 to 60 confidence."""
        readings = []
        for model in models:
            readings.append(page.words(model))
            if readings[-1].words.confidence >= WRONG_MODEL and _kana_fit(readings[-1]):
                break
        return max(readings, key=lambda reading: (reading.words.confidence, _kana_fit(reading)))

    def _by_trial(self, page: PageReadings) -> Reading:
        """By the model with the highest confidence on a band of the page; for pages whose script is misdetected."""
        trials = [model for model in self.models if model not in self.latin] + [self.latin_probe] * bool(self.latin)
        best = max(trials, key=lambda model: page.probe(model).confidence)
        if best in self.latin:
            return self._read_latin(page)
        tried = CHINESE_MODELS if best in CHINESE_MODELS else (best,)
        return self._first_plausible(page, [model for model in tried if model in self.models])


def read_together(model: str) -> str:
    """The trained data with which a model's pages are read, if it is installed."""
    joined = READ_TOGETHER.get(model, model)
    return joined if all(part in installed_models() for part in joined.split("+")) else model


def letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def _script(reading: Reading) -> str:
    """A name for the script of the model."""
    code = LANGUAGE_OF.get(reading.model, "")
    found = next((script for script, codes in SCRIPTS_OF.items() if code in codes), "Latin")
    return "Han" if reading.model in CHINESE_MODELS else found


def _kana_fit(reading: Reading) -> bool:
    """Whether the text has kana if and only if the model is the Japanese one; True for models of other languages."""
    scripts = count_scripts(reading.words.text)
    has_kana = 0 < scripts["Kana"] >= MIN_KANA_SHARE * (scripts["Kana"] + scripts["Han"])
    return reading.model not in CHINESE_MODELS or has_kana == (reading.model == "jpn")


def _in_cyrillic(word: re.Match) -> str:
    return word[0].translate(LOOKALIKES)
