"""The recognition engines: tesseract, and PP-OCRv6 for lines in Chinese and Japanese.

Tesseract is called in two ways with the same results: `tesserocr` (MIT; its wheel contains tesseract 5.5) keeps each
model loaded in this process; `pytesseract` starts the `tesseract` program for each call and is used where tesserocr
cannot be imported. Both need trained data (Debian: tesseract-ocr-<code>, tesseract-ocr-osd), found through
TESSDATA_PREFIX or the program.

In Chinese and Japanese tesseract only finds the lines, and each is read by PP-OCRv6 (small), whose weights are in the
wheel of `rapidocr` (Apache-2.0, code and weights), so it works offline. The model runs in onnxruntime without
RapidOCR's own code: its detector of lines took as long as reading them and ignored columns.
"""

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from pdf.page_layout import ink_of, lost_lines
from run_record import InputError

TRAINED_DATA = {"en": "eng", "zh": "chi_sim", "ja": "jpn", "fr": "fra"}  # tesseract's names
TRAINED_DATA |= {"ru": "rus", "es": "spa", "de": "deu", "ar": "ara"}
LANGUAGE_OF = {model: language for language, model in TRAINED_DATA.items()}
DEBIAN_PACKAGES = {model: f"tesseract-ocr-{model.replace('_', '-')}" for model in (*TRAINED_DATA.values(), "osd")}
ENGINES = ("tesserocr", "pytesseract")
CHINESE_ENGINES = ("rapidocr", "tesseract")  # for Chinese and Japanese; the first is the default
CHINESE_MODELS = ("chi_sim", "jpn")
LINE_MODEL = "PP-OCRv6_rec_small.onnx"  # reads Chinese, Japanese and Latin letters
LINE_HEIGHT = 48  # pixels: the model's input
LINE_MARGINS = (0.5, 0.25)  # of a line's height, added at its sides, and above and below
MAX_LINE_LENGTH = 100  # heights; a longer one is a rule, not print
CELL_GAP = 2.0  # heights of white between two cells of a table, which are read apart
# On a page whose words have this median confidence, lines of less than the other mean (5 to 45) were found in a drawing
# if there are several in a row with some length. Single short ones (1, 15, E2:) are print.
CLEAN_PRINT, NOISE_LINE = 87.0, 50.0
NOISE_LINES, NOISE_CHARACTERS = 3, 20  # at least
MIN_LINE_SCORE = 50.0  # of 100; RapidOCR's own limit; lines of drawn print score 95 to 100
# Characters on the length of a line's height: Chinese has 0.8 to 1; letters that the model lacks leave the line empty.
MIN_CHARACTERS_A_HEIGHT = 0.4
ONE_BLOCK, AUTOMATIC, SCRIPT_ONLY = 6, 3, 0  # tesseract's page segmentation modes (--psm)
# tesseract puts these around right-to-left words; they are not part of the text.
DIRECTION_MARKS = str.maketrans("", "", "\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2069")


Word = tuple[str, float, tuple[int, ...]]  # text, confidence, box as in `Words`
IsNoise = (
    Callable[[tuple[int, ...], float], bool] | None
)  # (box, confidence) of a word: whether it was found in a picture


class OcrError(Exception):
    """A page could not be recognised; the message is the reason in failures.jsonl."""


class OutOfTime(OcrError):
    """The time limit of a page has passed."""


class Words(NamedTuple):
    """Recognised text: lines of words with an empty line between blocks, and confidences."""

    text: str
    weights: tuple[tuple[int, float], ...]  # (characters, confidence 0 to 100) of each word
    boxes: tuple[tuple[int, int, int, int], ...]  # left, top, width, height of each word, pixels

    @property
    def confidence(self) -> float:
        """Mean over the words, 0 to 100; 0.0 without words."""
        return round(sum(c for _, c in self.weights) / len(self.weights), 1) if self.weights else 0.0

    @property
    def height(self) -> float:
        """Median height of the words, pixels; 0.0 without words."""
        return float(sorted(box[3] for box in self.boxes)[len(self.boxes) // 2]) if self.boxes else 0.0


class Script(NamedTuple):
    name: str  # Latin, Cyrillic, Arabic, Han, Japanese, ...; "" if tesseract cannot tell
    turn: int  # degrees to rotate the picture clockwise so that it is upright: 0, 90, 180, 270


@lru_cache(maxsize=1)
def data_folder() -> Path | None:
    """Folder of the trained data: $TESSDATA_PREFIX, else the tesseract program's own."""
    if given := os.environ.get("TESSDATA_PREFIX"):
        return Path(given)
    if shutil.which("tesseract") is None:
        return None
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=False)
    found = re.search(r'in "?([^"\n]+?)/?"? \(\d+\)', listed.stdout + listed.stderr)
    return Path(found[1]) if found else None


@lru_cache(maxsize=1)
def installed_models() -> frozenset[str]:
    """Names of the installed trained data."""
    folder = data_folder()
    return frozenset(path.stem for path in folder.glob("*.traineddata")) if folder else frozenset()


def require_tesseract(languages: tuple[str, ...]) -> None:
    """Errors: InputError, naming the Debian package to install, if tesseract or the languages' data are missing."""
    if shutil.which("tesseract") is None and not (has_tesserocr() and os.environ.get("TESSDATA_PREFIX")):
        raise InputError(
            "tesseract, which reads scanned pages, is not installed; install the Debian package tesseract-ocr"
        )
    needed = (*(TRAINED_DATA[language] for language in languages), "osd")
    missing = [model for model in needed if model not in installed_models()]
    if missing:
        raise InputError(
            f"tesseract lacks trained data for {', '.join(missing)}; install the Debian package"
            f"{'s' * (len(missing) > 1)} {' '.join(DEBIAN_PACKAGES[m] for m in missing)}"
        )


def line_model() -> Path | None:
    """The file of the model that reads lines, if it and onnxruntime are installed."""
    package = find_spec("rapidocr")
    if package is None or find_spec("onnxruntime") is None:
        return None
    found = (Path(folder) / "models" / LINE_MODEL for folder in package.submodule_search_locations or ())
    return next((path for path in found if path.is_file()), None)


def chinese_engine_name(wanted: str | None = None) -> str:
    """`wanted`, or rapidocr if it is installed, else tesseract. Errors: InputError if it is wanted and missing."""
    installed = line_model() is not None
    if wanted == "rapidocr" and not installed:
        raise InputError(
            f"rapidocr with {LINE_MODEL}, or onnxruntime, is not installed: pip install rapidocr==3.10.0 onnxruntime,"
            " or use --cjk-engine tesseract (several times the errors)"
        )
    return wanted or CHINESE_ENGINES[not installed]


@lru_cache(maxsize=1)
def has_tesserocr() -> bool:
    """Whether tesserocr can be imported."""
    try:
        import tesserocr  # noqa: F401
    except ImportError:
        return False
    return True


def engine_name(wanted: str = "") -> str:
    """`wanted`, or the faster available one. Errors: InputError if `wanted` is tesserocr and it cannot be imported."""
    if wanted == "tesserocr" and not has_tesserocr():
        raise InputError("tesserocr cannot be imported; pip install tesserocr, or use --engine pytesseract")
    return wanted or ENGINES[not has_tesserocr()]


def read_words(
    engine: str, picture, model: str, layout: int, resolution: int, seconds: float, is_noise: IsNoise = None
) -> Words:
    """The words of a grey PIL picture. resolution: dots per inch. Errors: OcrError, OutOfTime after `seconds`.

    Words for which is_noise(box, confidence) is true are omitted.
    """
    for part in model.split("+"):
        if part not in installed_models():
            raise OcrError(f"tesseract lacks the trained data {part}: install {DEBIAN_PACKAGES.get(part, part)}")
    read = _words_in_process if engine == "tesserocr" else _words_by_program
    return parse_words(read(picture, model, layout, resolution, seconds), is_noise)


def read_script(engine: str, picture, resolution: int, seconds: float) -> Script:
    """The script and orientation of a grey PIL picture; Script("", 0) if there is too little text."""
    read = _script_in_process if engine == "tesserocr" else _script_by_program
    found = read(picture, resolution, seconds)
    if found is None:
        return Script("", 0)
    script, script_confidence, turn, turn_confidence = found
    name = {"Hiragana": "Japanese", "Katakana": "Japanese", "Fraktur": "Latin"}.get(script, script)
    return Script(name if script_confidence >= 0.4 else "", turn if turn_confidence >= 2 else 0)


@lru_cache(maxsize=12)  # eight languages, osd, and a few combinations: 5 to 60 MB each
def _tesserocr_engine(model: str):
    """tesserocr's engine of one model, kept for all pages that this process reads."""
    import tesserocr

    tesserocr.set_leptonica_log_level(tesserocr.LeptLogLevel.NONE)
    engine = tesserocr.PyTessBaseAPI(
        path=str(data_folder()), lang=model, psm=SCRIPT_ONLY if model == "osd" else AUTOMATIC
    )
    engine.SetVariable("debug_file", os.devnull)  # otherwise it writes warnings to the terminal
    engine.SetVariable("tessedit_enable_doc_dict", "0")  # a page's result does not depend on earlier pages
    return engine


def _words_in_process(picture, model: str, layout: int, resolution: int, seconds: float) -> str:
    try:
        engine = _tesserocr_engine(model)
        engine.SetPageSegMode(layout)
        engine.SetImage(picture)
        engine.SetSourceResolution(resolution)
        if not engine.Recognize(max(1, int(seconds * 1000))):
            raise OutOfTime("tesseract took too long")
        return engine.GetTSVText(0)
    except RuntimeError as error:
        raise OcrError(f"tesseract: {' '.join(str(error).split())[:200]}") from None


def _words_by_program(picture, model: str, layout: int, resolution: int, seconds: float) -> str:
    import pytesseract

    try:
        return pytesseract.image_to_data(
            picture, lang=model, config=f"--psm {layout} --dpi {resolution}", timeout=seconds
        )
    except pytesseract.TesseractError as error:
        raise OcrError(f"tesseract: {' '.join(str(error).split())[:200]}") from None
    except RuntimeError:
        raise OutOfTime("tesseract took too long") from None


def _script_in_process(picture, resolution: int, seconds: float) -> tuple[str, float, int, float] | None:
    try:
        engine = _tesserocr_engine("osd")
        engine.SetImage(picture)
        engine.SetSourceResolution(resolution)
        found = engine.DetectOrientationScript()
    except RuntimeError as error:
        raise OcrError(f"tesseract: {' '.join(str(error).split())[:200]}") from None
    if not found:
        return None
    return found["script_name"], found["script_conf"], (360 - found["orient_deg"]) % 360, found["orient_conf"]


def _script_by_program(picture, resolution: int, seconds: float) -> tuple[str, float, int, float] | None:
    import pytesseract

    try:
        found = pytesseract.image_to_osd(
            picture, config=f"--dpi {resolution}", timeout=seconds, output_type=pytesseract.Output.DICT
        )
    except pytesseract.TesseractError:
        return None
    except RuntimeError:
        raise OutOfTime("tesseract took too long") from None
    return found["script"], found["script_conf"], found["rotate"], found["orientation_conf"]


def parse_words(table: str, is_noise: IsNoise = None) -> Words:
    """Words of tesseract's table: tab-separated rows of level, page, block, paragraph, line, word, left, top, width,
    height, confidence, text; level 5 is a word (tesseract's manual, "TSV").
    """
    lines: dict[tuple, list[Word]] = {}
    for row in table.split("\n"):
        cells = row.split("\t", 11)
        if len(cells) < 12 or cells[0] != "5":
            continue
        word = cells[11].translate(DIRECTION_MARKS).strip()
        box, confidence = tuple(map(int, cells[6:10])), float(cells[10])
        if word and not (is_noise and is_noise(box, confidence)):
            lines.setdefault((cells[2], *cells[3:5]), []).append((word, confidence, box))
    return in_lines([(block, words) for (block, *_), words in lines.items()])


def in_lines(lines: list[tuple[object, list[Word]]]) -> Words:
    """Lines of (block, words) as a page's words, without those found in a drawing (CLEAN_PRINT)."""
    sure = sorted(confidence for _, words in lines for _, confidence, _ in words if confidence >= 0)
    if sure and sure[len(sure) // 2] >= CLEAN_PRINT:
        kept: list[tuple[object, list[Word]]] = []
        for is_low, run in groupby(lines, key=lambda line: _mean(line[1]) < NOISE_LINE):
            found = list(run)
            characters = sum(len(word) for _, words in found for word, _, _ in words)
            if not (is_low and len(found) >= NOISE_LINES and characters >= NOISE_CHARACTERS):
                kept += found
        lines = kept
    text: list[str] = []
    for i, (block, words) in enumerate(lines):
        text += [""] * (i > 0 and block != lines[i - 1][0]) + [" ".join(word for word, _, _ in words)]
    known = [word for _, words in lines for word in words if word[1] >= 0]
    return Words("\n".join(text), tuple((len(w), c) for w, c, _ in known), tuple(box for *_, box in known))


def _mean(words: list[Word]) -> float:
    """Mean confidence over the characters of a line; 100.0 if it is not known."""
    known = [(len(word), confidence) for word, confidence, _ in words if confidence >= 0]
    return sum(n * c for n, c in known) / sum(n for n, _ in known) if known else 100.0


def find_lines(engine: str, picture, model: str, layout: int, resolution: int, seconds: float) -> list[tuple[int, ...]]:
    """(block, left, top, width, height) of each line of a grey PIL picture, in pixels and reading order."""
    find = _lines_in_process if engine == "tesserocr" else _lines_by_program
    return find(picture, model, layout, resolution, seconds)


def _lines_in_process(picture, model: str, layout: int, resolution: int, seconds: float) -> list[tuple[int, ...]]:
    from tesserocr import RIL

    lines: list[tuple[int, ...]] = []
    try:
        engine = _tesserocr_engine(model)
        engine.SetPageSegMode(layout)
        engine.SetImage(picture)
        engine.SetSourceResolution(resolution)
        found, block = engine.AnalyseLayout(), 0
        while found is not None:
            block += found.IsAtBeginningOf(RIL.BLOCK)
            if box := found.BoundingBox(RIL.TEXTLINE):
                left, top, right, bottom = box
                lines.append((block, left, top, right - left, bottom - top))
            if not found.Next(RIL.TEXTLINE):
                break
    except RuntimeError as error:
        raise OcrError(f"tesseract: {' '.join(str(error).split())[:200]}") from None
    return lines


def _lines_by_program(picture, model: str, layout: int, resolution: int, seconds: float) -> list[tuple[int, ...]]:
    """The program has no way to find lines without reading them."""
    rows = [row.split("\t") for row in _words_by_program(picture, model, layout, resolution, seconds).split("\n")]
    return [tuple(int(row[i]) for i in (2, 6, 7, 8, 9)) for row in rows if len(row) > 9 and row[0] == "4"]


@lru_cache(maxsize=1)
def _line_session():
    """(onnxruntime's session of LINE_MODEL, its characters by number; 0 is the gap between characters)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it keeps the memory of the widest line
    session = onnxruntime.InferenceSession(str(line_model()), options, providers=["CPUExecutionProvider"])
    return session, ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]


def read_lines(
    engine: str, picture, model: str, layout: int, resolution: int, seconds: float, is_noise: IsNoise = None
) -> Words:
    """As `read_words`: lines found by tesseract, read by PP-OCRv6; a "word" is a line, or a cell of a table's row.

    Errors: also MemoryError.
    """
    deadline = time.monotonic() + seconds
    rows = find_lines(engine, picture, model, layout, resolution, seconds)
    if layout == ONE_BLOCK:
        lost = lost_lines(ink_of(picture, resolution), [box for _, *box in rows], resolution)
        rows = sorted([*rows, *((1, *box) for box in lost)], key=lambda row: row[2])
    lines = []
    for block, *row in rows:
        cells: list[Word] = []
        for box in cells_of(picture, *row):
            if time.monotonic() > deadline:
                raise OutOfTime("reading the lines took too long")
            text, score = read_line(picture, *box)
            if text and score >= MIN_LINE_SCORE and not (is_noise and is_noise(box, score)):
                cells.append((text, score, box))
        if cells:
            lines.append((block, cells))
    return in_lines(lines)


def cells_of(picture, left: int, top: int, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """A line's box, divided at gaps wider than CELL_GAP heights; [] if it is too long or too small for print."""
    import numpy

    if min(width, height) < 2 or width > MAX_LINE_LENGTH * height:
        return []
    grey = numpy.asarray(picture.crop((left, top, left + width, top + height)))
    darkest, paper = numpy.percentile(grey, (1, 80))
    inked = numpy.flatnonzero((grey < paper - 0.4 * max(40.0, paper - darkest)).any(0))
    if not len(inked):
        return []
    breaks = numpy.flatnonzero(numpy.diff(inked) > CELL_GAP * height)
    starts, ends = [inked[0], *inked[breaks + 1]], [*inked[breaks], inked[-1]]
    return [(left + int(a), top, int(b - a) + 1, height) for a, b in zip(starts, ends, strict=True)]


def read_line(picture, left: int, top: int, width: int, height: int) -> tuple[str, float]:
    """(text, score 0 to 100) of the line in this box of a grey PIL picture. Errors: OcrError, MemoryError."""
    import numpy
    from PIL import Image

    beside, above = (math.ceil(share * height) for share in LINE_MARGINS)
    line = picture.crop(
        (
            max(0, left - beside),
            max(0, top - above),
            min(picture.width, left + width + beside),
            min(picture.height, top + height + above),
        )
    )
    line = line.resize((max(8, round(line.width * LINE_HEIGHT / line.height)), LINE_HEIGHT), Image.Resampling.BILINEAR)
    grey = numpy.asarray(line, numpy.float32) / 127.5 - 1
    session, characters = _line_session()
    try:
        (chances,) = session.run(None, {session.get_inputs()[0].name: numpy.stack([grey] * 3)[None]})
    except Exception as error:  # onnxruntime's classes of errors have no common base of their own
        if "bad_alloc" in str(error):
            raise MemoryError from None
        raise OcrError(f"onnxruntime: {' '.join(str(error).split())[-200:]}") from None
    # The usual reading of such models: the best character at each place, without repetitions and gaps.
    best, sure = chances[0].argmax(1), chances[0].max(1)
    kept = (best > 0) & numpy.concatenate(([True], best[1:] != best[:-1]))
    text = "".join(characters[i] for i in best[kept]).strip()
    if not text:
        return "", 0.0
    enough = min(1.0, len("".join(text.split())) / (MIN_CHARACTERS_A_HEIGHT * width / height))
    return text, round(100 * float(sure[kept].mean()) * enough, 1)
