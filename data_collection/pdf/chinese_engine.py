"""Read a page of Chinese with RapidOCR: five times slower than tesseract, with an eighth of its errors.

Optional and not among the requirements: `pip install rapidocr-onnxruntime==1.4.4` (Apache-2.0; its wheel holds the
models, PP-OCRv4, so that it works offline). Used by `page_ocr.py` with --chinese-engine rapidocr.
"""

from functools import lru_cache
from importlib.util import find_spec

from pdf.tesseract_engine import OcrError, Words
from run_record import InputError

CHINESE_ENGINES = ("tesseract", "rapidocr")
SAME_LINE = 0.5  # of a piece's height: pieces whose middles lie closer are on one line


def require_chinese_engine(name: str) -> None:
    """InputError, saying what to install, where the engine asked for is not there."""
    if name == "rapidocr" and find_spec("rapidocr_onnxruntime") is None:
        raise InputError("RapidOCR is not installed: pip install rapidocr-onnxruntime, or --chinese-engine tesseract")


@lru_cache(maxsize=1)
def _loaded():
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, max_side_len=4000)


def read_chinese(picture) -> Words:
    """The words of a grey PIL picture of one column of print. Errors: OcrError; MemoryError where that is bounded."""
    import numpy
    from rapidocr_onnxruntime.utils.infer_engine import ONNXRuntimeError

    try:
        found, _ = _loaded()(numpy.asarray(picture.convert("RGB")), use_cls=False)
    except ONNXRuntimeError as error:
        if "bad_alloc" in str(error):
            raise MemoryError from None
        raise OcrError(f"rapidocr: {' '.join(str(error).split())[-200:]}") from None
    return in_lines(
        [
            (
                tuple(map(float, numpy.asarray(box).min(0))),
                tuple(map(float, numpy.asarray(box).max(0))),
                text,
                float(score),
            )
            for box, text, score in found or ()
        ]
    )


def in_lines(pieces: list[tuple[tuple[float, float], tuple[float, float], str, float]]) -> Words:
    """Pieces of text (left and top, right and bottom, text, score 0 to 1) as lines from the top down."""
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
