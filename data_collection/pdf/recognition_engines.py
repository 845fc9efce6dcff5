"""The recognition engines: tesseract for words, script and orientation; optionally RapidOCR for Chinese.

Tesseract is called in two ways with the same results: `tesserocr` (MIT; its wheel contains tesseract 5.5) keeps each
model loaded in this process; `pytesseract` starts the `tesseract` program for each call and is used where tesserocr
cannot be imported. Both need trained data (Debian: tesseract-ocr-<code>, tesseract-ocr-osd), found through
TESSDATA_PREFIX or the program.

RapidOCR makes an eighth of tesseract's errors on Chinese and is five times slower. It is not among the requirements:
`pip install rapidocr-onnxruntime==1.4.4` (Apache-2.0; the wheel contains the PP-OCRv4 models, so it works offline).
"""

import os
import re
import shutil
import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from run_record import InputError

TRAINED_DATA = {"en": "eng", "zh": "chi_sim", "ja": "jpn", "fr": "fra"}  # tesseract's names
TRAINED_DATA |= {"ru": "rus", "es": "spa", "de": "deu", "ar": "ara"}
LANGUAGE_OF = {model: language for language, model in TRAINED_DATA.items()}
DEBIAN_PACKAGES = {model: f"tesseract-ocr-{model.replace('_', '-')}" for model in (*TRAINED_DATA.values(), "osd")}
ENGINES = ("tesserocr", "pytesseract")
CHINESE_ENGINES = ("tesseract", "rapidocr")
SAME_LINE = 0.5  # RapidOCR's pieces are on one line if their middles are closer than this share of their height
ONE_BLOCK, AUTOMATIC, SCRIPT_ONLY = 6, 3, 0  # tesseract's page segmentation modes (--psm)
# tesseract puts these around right-to-left words; they are not part of the text.
DIRECTION_MARKS = str.maketrans("", "", "\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2069")


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


def require_chinese_engine(name: str) -> None:
    """Errors: InputError, naming the package to install, if the engine is missing."""
    if name == "rapidocr" and find_spec("rapidocr_onnxruntime") is None:
        raise InputError("RapidOCR is not installed: pip install rapidocr-onnxruntime, or --chinese-engine tesseract")


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


def read_words(engine: str, picture, model: str, layout: int, resolution: int, seconds: float) -> Words:
    """The words of a grey PIL picture. resolution: dots per inch. Errors: OcrError, OutOfTime after `seconds`."""
    for part in model.split("+"):
        if part not in installed_models():
            raise OcrError(f"tesseract lacks the trained data {part}: install {DEBIAN_PACKAGES.get(part, part)}")
    read = _words_in_process if engine == "tesserocr" else _words_by_program
    return parse_words(read(picture, model, layout, resolution, seconds))


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


def parse_words(table: str) -> Words:
    """Words of tesseract's table: tab-separated rows of level, page, block, paragraph, line, word, left, top, width,
    height, confidence, text; level 5 is a word (tesseract's manual, "TSV").
    """
    lines: list[str] = []
    weights: list[tuple[int, float]] = []
    boxes: list[tuple[int, ...]] = []
    last_block = last_line = None
    for row in table.split("\n"):
        cells = row.split("\t", 11)
        if len(cells) < 12 or cells[0] != "5":
            continue
        word = cells[11].translate(DIRECTION_MARKS).strip()
        if not word:
            continue
        block, line = tuple(cells[2:4]), tuple(cells[2:5])
        if last_block is not None and block != last_block:
            lines.append("")
        if line == last_line:
            lines[-1] += " " + word
        else:
            lines.append(word)
        last_block, last_line = block, line
        if float(cells[10]) >= 0:
            weights.append((len(word), float(cells[10])))
            boxes.append(tuple(map(int, cells[6:10])))
    return Words("\n".join(lines), tuple(weights), tuple(boxes))


@lru_cache(maxsize=1)
def _rapidocr_engine():
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, max_side_len=4000)


def read_chinese(picture) -> Words:
    """The words of a grey PIL picture of one column of print, by RapidOCR. Errors: OcrError, MemoryError."""
    import numpy
    from rapidocr_onnxruntime.utils.infer_engine import ONNXRuntimeError

    try:
        found, _ = _rapidocr_engine()(numpy.asarray(picture.convert("RGB")), use_cls=False)
    except ONNXRuntimeError as error:
        if "bad_alloc" in str(error):
            raise MemoryError from None
        raise OcrError(f"rapidocr: {' '.join(str(error).split())[-200:]}") from None
    corners = [(numpy.asarray(box), text, float(score)) for box, text, score in found or ()]
    return in_lines([(tuple(map(float, b.min(0))), tuple(map(float, b.max(0))), *rest) for b, *rest in corners])


def in_lines(pieces: list[tuple[tuple[float, float], tuple[float, float], str, float]]) -> Words:
    """Pieces of text ((left, top), (right, bottom), text, score 0 to 1) as lines from the top down."""
    lines: list[list] = []
    for piece in sorted(pieces, key=lambda p: p[0][1] + p[1][1]):
        (_, top), (_, bottom) = piece[:2]
        if lines:
            (_, above_top), (_, above_bottom) = lines[-1][-1][:2]
            lower = min(bottom - top, above_bottom - above_top)
            if abs(top + bottom - above_top - above_bottom) / 2 < SAME_LINE * lower:
                lines[-1].append(piece)
                continue
        lines.append([piece])
    ordered = [sorted(line, key=lambda p: p[0][0]) for line in lines]
    flat = [piece for line in ordered for piece in line]
    return Words(
        "\n".join(" ".join(piece[2] for piece in line) for line in ordered),
        tuple((len(text), round(100 * score, 1)) for _, _, text, score in flat),
        tuple(
            (int(left), int(top), int(right - left), int(bottom - top)) for (left, top), (right, bottom), _, _ in flat
        ),
    )
