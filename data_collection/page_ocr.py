"""Recognise the text of one page picture with tesseract: which way up, which script, which language, then the words.

Needs the `tesseract` program and its trained data (Debian: tesseract-ocr, tesseract-ocr-osd, tesseract-ocr-<code>).
Used by `ocr_document.py`.
"""

import os
import shutil
import time
from functools import lru_cache
from typing import NamedTuple

from corpus_record import InputError
from language import SCRIPTS_OF, count_scripts, detect_language

TRAINED_DATA = {"en": "eng", "zh": "chi_sim", "ja": "jpn", "fr": "fra", "ru": "rus", "es": "spa", "de": "deu",
                "ar": "ara"}
LANGUAGE_OF = {model: language for language, model in TRAINED_DATA.items()}
DEBIAN_PACKAGES = {model: f"tesseract-ocr-{model.replace('_', '-')}" for model in (*TRAINED_DATA.values(), "osd")}
LATIN_MODELS = "eng+fra+spa+deu"
RESOLUTION = 200  # dots per inch: 25 to 41 % cheaper than 300 at equal character errors on 11 point print
JAPANESE_RESOLUTION = 300  # at 200 with automatic layout, 41 % of Japanese characters were wrong; 5 % like this
JAPANESE_LAYOUT = 6  # tesseract --psm: one block of text
AUTOMATIC_LAYOUT = 3
ENOUGH_LETTERS = 200  # from so many letters on, a page settles which language model the document's later pages take
UNSURE = 60.0  # under this mean confidence the script may have been told wrongly ...
SURE = 75.0  # ... and is taken for Latin if that reads so well
MIN_CJK_KANA_SHARE = 0.1  # of the characters read with the Japanese model; under it the page is Chinese


class OcrError(Exception):
    """A page that tesseract could not do; the message is the reason for failures.jsonl."""


class Recognised(NamedTuple):
    text: str  # lines as tesseract found them, an empty line between paragraphs
    confidence: float  # mean over words, 0 to 100
    model: str  # trained data used, such as rus or eng+fra+spa+deu


def require_tesseract(languages: tuple[str, ...]) -> None:
    """InputError, naming the Debian package to install, unless tesseract and the languages' data are there."""
    if shutil.which("tesseract") is None:
        raise InputError("tesseract is not installed; it reads scanned pages: install the Debian package tesseract-ocr")
    needed = (*(TRAINED_DATA[language] for language in languages), "osd")
    missing = [model for model in needed if model not in installed_models()]
    if missing:
        raise InputError(f"tesseract lacks trained data for {', '.join(missing)}; install the Debian package"
                         f"{'s' * (len(missing) > 1)} {' '.join(DEBIAN_PACKAGES[m] for m in missing)}")


@lru_cache(maxsize=1)
def installed_models() -> frozenset[str]:
    """Names of the trained data that tesseract finds."""
    import pytesseract

    return frozenset(pytesseract.get_languages(config=""))


class PageReader:
    """Reads the pages of one document in order; remembers which model served, so that later pages are cheaper.

    languages: ISO codes, or ("auto",). timeout: seconds that all tesseract calls of one page may take together.
    """

    def __init__(self, languages: tuple[str, ...], resolution: int, timeout: float):
        language = languages[0] if len(languages) == 1 else "auto"
        # One thread a process: tesseract's own threads cost 2.8 times the CPU time of one (measured), and pages run
        # in parallel anyway.
        os.environ["OMP_THREAD_LIMIT"] = "1"
        self.language, self.resolution, self.timeout = language, resolution, timeout
        self.settled = "" if language == "auto" else TRAINED_DATA[language]
        self.deadline = 0.0

    def read(self, draw) -> Recognised:
        """draw: function of dots per inch that returns the page's grey picture. Errors: OcrError."""
        self.deadline = time.monotonic() + self.timeout
        picture = draw(self.resolution)
        script, turn = self._script_and_turn(picture)
        if self.language != "auto":
            return self._read_with(self.settled, draw, turn, picture)
        if script == "Han":
            return self._read_japanese_or_chinese(draw, turn, picture)
        if script in ("Cyrillic", "Arabic"):
            result = self._read_with({"Cyrillic": "rus", "Arabic": "ara"}[script], draw, turn, picture)
            if result.confidence >= UNSURE:
                return result
            latin = self._read_latin(draw, turn, picture)
            return latin if latin.confidence >= SURE else result
        if script == "" and self.settled:
            return self._read_with(self.settled, draw, turn, picture)
        return self._read_latin(draw, turn, picture)

    def _read_latin(self, draw, turn: int, picture) -> Recognised:
        """With the model that served before; with all four where none has, or where the text turns out another."""
        model = self.settled if LANGUAGE_OF.get(self.settled) in SCRIPTS_OF["Latin"] else ""
        result = self._read_with(model or available(LATIN_MODELS), draw, turn, picture)
        found = detect_language(result.text)
        if sum(map(str.isalpha, result.text)) < ENOUGH_LETTERS or found.code not in SCRIPTS_OF["Latin"]:
            return result
        wanted = TRAINED_DATA[found.code]
        if model and wanted != model:
            result = self._read_with(wanted, draw, turn, picture)
        self.settled = wanted
        return result

    def _read_japanese_or_chinese(self, draw, turn: int, picture) -> Recognised:
        """The Japanese model writes kana only where there is some: without, the page is Chinese."""
        if self.settled == "chi_sim":
            return self._read_with("chi_sim", draw, turn, picture)
        result = self._read_with("jpn", draw, turn, picture)
        scripts = count_scripts(result.text)
        if scripts["Kana"] < MIN_CJK_KANA_SHARE * (scripts["Kana"] + scripts["Han"]):
            result = self._read_with("chi_sim", draw, turn, picture)
        if scripts["Han"] + scripts["Kana"] >= ENOUGH_LETTERS:
            self.settled = result.model
        return result

    def _script_and_turn(self, picture) -> tuple[str, int]:
        """(script, degrees to turn the picture clockwise); ("", 0) where tesseract finds too little text to tell."""
        import pytesseract

        try:
            found = pytesseract.image_to_osd(picture, config=f"--dpi {self.resolution}", timeout=self._time_left(),
                                             output_type=pytesseract.Output.DICT)
        except pytesseract.TesseractError:
            return "", 0
        except RuntimeError:
            raise OcrError(f"tesseract took longer than {self.timeout:g} s") from None
        script = {"Japanese": "Han", "Hiragana": "Han", "Katakana": "Han", "Fraktur": "Latin"}.get(
            found["script"], found["script"])
        turn = found["rotate"] if found["orientation_conf"] >= 2 else 0
        return (script if found["script_conf"] >= 0.5 else ""), turn

    def _read_with(self, model: str, draw, turn: int, picture) -> Recognised:
        """Words of the page by one trained model (or several joined by +)."""
        import pytesseract

        require_models(model)
        layout, resolution = AUTOMATIC_LAYOUT, self.resolution
        if model == "jpn":
            layout, resolution = JAPANESE_LAYOUT, max(JAPANESE_RESOLUTION, self.resolution)
            picture = draw(resolution) if resolution != self.resolution else picture
        if turn:
            picture = picture.rotate(-turn, expand=True)
        try:
            words = pytesseract.image_to_data(picture, lang=model, config=f"--psm {layout} --dpi {resolution}",
                                              timeout=self._time_left(), output_type=pytesseract.Output.DICT)
        except pytesseract.TesseractError as error:
            raise OcrError(f"tesseract: {' '.join(str(error).split())[:200]}") from None
        except RuntimeError:
            raise OcrError(f"tesseract took longer than {self.timeout:g} s") from None
        return _join_words(words, model)

    def _time_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OcrError(f"tesseract took longer than {self.timeout:g} s")
        return left


def available(models: str) -> str:
    """The installed ones of several models joined by +."""
    return "+".join(m for m in models.split("+") if m in installed_models()) or models


def require_models(models: str) -> None:
    """OcrError naming the Debian package of a model that is not installed."""
    for model in models.split("+"):
        if model not in installed_models():
            raise OcrError(f"tesseract lacks the trained data {model}: install {DEBIAN_PACKAGES[model]}")


def _join_words(words: dict, model: str) -> Recognised:
    lines: list[str] = []
    confidences: list[float] = []
    last_block = last_line = None
    for i, word in enumerate(words["text"]):
        if not word.strip():
            continue
        block = (words["block_num"][i], words["par_num"][i])
        line = (*block, words["line_num"][i])
        if last_block is not None and block != last_block:
            lines.append("")
        if line == last_line:
            lines[-1] += " " + word
        else:
            lines.append(word)
        last_block, last_line = block, line
        if float(words["conf"][i]) >= 0:
            confidences.append(float(words["conf"][i]))
    mean = round(sum(confidences) / len(confidences), 1) if confidences else 0.0
    return Recognised("\n".join(lines), mean, model)
