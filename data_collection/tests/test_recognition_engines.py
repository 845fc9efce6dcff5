"""recognition_engines.py: tesseract's words and script by either engine; missing parts are named in errors."""

import os

import pytest
from PIL import Image, ImageDraw, ImageFont

from pdf import recognition_engines
from pdf.recognition_engines import (
    ENGINES,
    OcrError,
    OutOfTime,
    chinese_engine_name,
    engine_name,
    parse_words,
    read_lines,
    read_script,
    read_words,
)
from run_record import InputError

pytestmark = pytest.mark.usefixtures("tesseract")
TABLE = """level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext
1\t1\t0\t0\t0\t0\t0\t0\t600\t400\t-1\t
5\t1\t1\t1\t1\t1\t10\t10\t40\t20\t96.5\tFever
5\t1\t1\t1\t1\t2\t60\t10\t40\t24\t90.5\tand\t
5\t1\t1\t1\t2\t1\t10\t40\t40\t22\t80\t\u200fcough\u200e
5\t1\t1\t1\t2\t2\t70\t40\t40\t22\t95\t
5\t1\t2\t1\t1\t1\t10\t90\t40\t20\t-1\tPage
"""


def test_words_become_lines_and_blocks():
    words = parse_words(TABLE)
    assert words.text == "Fever and\ncough\n\nPage"
    assert (words.confidence, words.height) == (89.0, 22)
    assert words.weights == ((5, 96.5), (3, 90.5), (5, 80.0))
    assert words.boxes[0] == (10, 10, 40, 20)
    assert parse_words("").confidence == parse_words("").height == 0.0


def test_lines_and_words_found_in_drawings_are_omitted():
    def row(line: int, word: int, confidence: float, text: str) -> str:
        return f"5\t1\t1\t1\t{line}\t{word}\t{40 * word}\t{20 * line}\t40\t15\t{confidence}\t{text}"

    table = [row(line, word, 95, "fever") for line in range(4) for word in range(3)]
    drawing = [
        row(line, word, c, t) for line in (5, 6, 7) for word, c, t in ((0, 20, "xq"), (1, 93, "-"), (2, 31, "jjjj"))
    ]
    assert "xq" not in parse_words("\n".join(table + drawing)).text
    assert "xq" in parse_words("\n".join(table + drawing[:6])).text  # one or two lines may be print
    numbers = [row(line, 0, 20, str(line)) for line in (5, 6, 7, 8)]
    assert parse_words("\n".join(table + numbers)).text.endswith("5\n6\n7\n8")
    faint = [row(line, word, 60, "fever") for line in range(4) for word in range(3)]
    assert "xq" in parse_words("\n".join(faint + drawing)).text  # the whole page is hard to read
    assert parse_words("\n".join(table), lambda box, confidence: box[0] == 0).text == "\n".join(["fever fever"] * 4)


@pytest.fixture(scope="module")
def picture():
    drawn = Image.new("L", (1240, 900), 245)
    text = "\n".join(f"Sentence number {i} says that the patient was treated there." for i in range(12))
    ImageDraw.Draw(drawn).multiline_text((100, 100), text, fill=20, spacing=14, font=ImageFont.load_default(size=28))
    return drawn


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "tesserocr":
        pytest.importorskip("tesserocr")
    return request.param


def test_both_engines_read_words_and_detect_script_and_orientation(engine, picture):
    os.environ["OMP_THREAD_LIMIT"] = "1"
    words = read_words(engine, picture, "eng", 6, 150, 60)
    assert words.text.split("\n")[7] == "Sentence number 7 says that the patient was treated there."
    assert words.confidence > 85 and 16 <= words.height < 30
    assert read_script(engine, picture.rotate(90, expand=True), 150, 60).turn == 90
    assert read_script(engine, Image.new("L", (400, 400), 245), 150, 60) == ("", 0)


def test_a_page_does_not_depend_on_earlier_pages(picture):
    pytest.importorskip("tesserocr")
    first = read_words("tesserocr", picture, "eng", 6, 150, 60)
    read_words("tesserocr", picture.resize((620, 450)), "eng", 3, 75, 60)
    assert read_words("tesserocr", picture, "eng", 6, 150, 60) == first


def test_a_page_out_of_time_ends_and_the_next_is_read(engine, picture):
    with pytest.raises(OutOfTime):
        read_words(engine, picture, "eng", 6, 150, 0.01)
    assert read_words(engine, picture, "eng", 6, 150, 60).text


def test_errors_name_the_missing_package(monkeypatch, picture):
    monkeypatch.setattr(recognition_engines, "installed_models", lambda: frozenset({"eng", "osd"}))
    with pytest.raises(OcrError, match="install tesseract-ocr-chi-sim"):
        read_words(ENGINES[1], picture, "eng+chi_sim", 6, 150, 60)
    with pytest.raises(InputError, match="packages tesseract-ocr-fra tesseract-ocr-ara"):
        recognition_engines.require_tesseract(("fr", "en", "ar"))
    monkeypatch.setattr(recognition_engines, "has_tesserocr", lambda: False)
    assert engine_name() == "pytesseract"
    with pytest.raises(InputError, match="tesserocr cannot be imported"):
        engine_name("tesserocr")


needs_line_model = pytest.mark.skipif(
    recognition_engines.line_model() is None, reason="rapidocr or onnxruntime is not installed"
)


@needs_line_model
def test_lines_are_found_by_tesseract_and_read_by_the_line_model(engine, picture):
    words = read_lines(engine, picture, "jpn", 6, 150, 60)
    assert words.text.split("\n")[7] == "Sentence number 7 says that the patient was treated there."
    assert len(words.boxes) == 12 and words.confidence > 90 and 16 <= words.height < 40
    with pytest.raises(OutOfTime):
        read_lines(engine, picture, "jpn", 6, 150, 0.01)


@needs_line_model
def test_cells_of_a_row_are_read_apart_and_rules_and_blank_boxes_are_not_read():
    row = Image.new("L", (1240, 60), 245)
    pen = ImageDraw.Draw(row)
    for left, cell in ((100, "Sodium"), (600, "134 mEq/L")):
        pen.text((left, 15), cell, fill=20, font=ImageFont.load_default(size=28))
    cells = recognition_engines.cells_of(row, 90, 15, 700, 30)
    assert [recognition_engines.read_line(row, *cell)[0] for cell in cells] == ["Sodium", "134 mEq/L"]
    assert recognition_engines.cells_of(row, 0, 0, 1240, 5) == []  # longer than any print of its height
    assert recognition_engines.cells_of(row, 0, 50, 300, 8) == []


@needs_line_model
def test_text_in_letters_that_the_line_model_lacks_is_not_a_confident_reading():
    drawn = Image.new("L", (1240, 900), 245)
    text = "\n".join(["Пациент получал антибиотики, температура нормализовалась."] * 9)
    try:
        font = ImageFont.truetype("DejaVuSans.ttf", 26)
    except OSError:
        pytest.skip("no font with Russian letters")
    ImageDraw.Draw(drawn).multiline_text((100, 100), text, fill=20, spacing=14, font=font)
    assert read_lines(engine_name(), drawn, "jpn", 6, 150, 60).confidence < 60


def test_a_missing_line_model_is_replaced_by_tesseract_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(recognition_engines, "find_spec", lambda name: None)
    assert chinese_engine_name() == chinese_engine_name("tesseract") == "tesseract"
    with pytest.raises(InputError, match="pip install rapidocr"):
        chinese_engine_name("rapidocr")
