"""Recognition of drawn pages: script, language, which way up, size of print, columns; and the errors that remain."""

import random
import time

import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmark_helpers.synthetic_scans import (
    comparable,
    draw_page,
    drawable,
    edit_distance,
    font_files,
    fonts_of,
    save_pages,
)
from filtering.language import SCRIPTS_OF
from pdf import page_ocr, recognition_engines
from pdf.page_ocr import LOOKALIKE_WORD, OcrError, PageReader, _in_cyrillic
from pdf.recognition_engines import TRAINED_DATA, Script, Words
from run_record import InputError
from text_layers.text_repair import repair_page

pytestmark = pytest.mark.usefixtures("tesseract")


@pytest.fixture
def font():
    """Function of a language that returns its first font; skips if there is none."""

    def first(language: str):
        try:
            return fonts_of(language)[0]
        except InputError as error:
            pytest.skip(str(error))

    return first


def drawer(picture: Image.Image, dots_per_inch: int = 200):
    """What PageReader.read takes, for a picture drawn at that resolution."""

    def draw(wanted: int) -> Image.Image:
        size = (picture.width * wanted // dots_per_inch, picture.height * wanted // dots_per_inch)
        return picture if wanted == dots_per_inch else picture.resize(size, Image.Resampling.BICUBIC)

    return draw


def paragraphs(text: str, count: int) -> str:
    """The text several times, each from another word on: equal lines would look like a table."""
    words = text.split() if " " in text else list(text)
    glue = " " if " " in text else ""
    return "\n".join(glue.join(words[5 * i % len(words) :] + words[: 5 * i % len(words)]) for i in range(count))


def errors(read: str, truth: str, language: str) -> float:
    wanted = comparable(truth, language)
    return edit_distance(wanted, comparable(repair_page(read), language)) / len(wanted)


@pytest.mark.parametrize(("language", "limit"), [("en", 0.005), ("ru", 0.01), ("zh", 0.05), ("ja", 0.06), ("ar", 0.08)])
def test_a_page_of_each_script_is_detected_and_read(language, limit, made, font):
    picture, truth = draw_page(paragraphs(made.medical[language], 4), language, font(language), 200, 1)
    found = PageReader("auto", 200, 60).read(drawer(picture))
    assert found.model.split("+")[0] == TRAINED_DATA[language]
    assert errors(found.text, truth, language) <= limit, found.text
    assert found.resolution in (150, 200, 300) and found.layout in (3, 6)
    assert min(found.turned, 360 - found.turned) < 1  # drawn 0.3 degrees askew
    assert found.confidence > 75 and found.seconds > 0


def test_the_page_decides_among_the_given_languages_and_later_pages_skip_detection(made, font, monkeypatch):
    reader = PageReader(("fr", "de"), 200, 60)

    def page(code: str, seed: int):
        return drawer(draw_page(paragraphs(made.medical[code], 4), code, font(code), 200, seed)[0])

    assert reader.read(page("fr", 1)).model == "fra"
    assert reader.settled == "fra"
    monkeypatch.setattr(page_ocr.PageReadings, "probe", None)  # would be called to detect the language
    assert reader.read(page("fr", 2)).model == "fra"
    monkeypatch.undo()
    assert reader.read(page("de", 3)).model == "deu"


def test_a_rotated_page_is_rotated_back_and_a_skewed_one_is_levelled(made, font):
    picture, truth = draw_page(paragraphs(made.medical["en"], 4), "en", font("en"), 200, 1, skew=0)
    for languages in ("auto", "en"):
        found = PageReader(languages, 200, 60).read(drawer(picture.rotate(90, expand=True)))
        assert (found.turned, errors(found.text, truth, "en") < 0.01) == (90, True), languages
    found = PageReader("en", 200, 60).read(drawer(picture.rotate(5, expand=True, fillcolor=245)))
    assert found.turned == pytest.approx(5, abs=0.5)
    assert errors(found.text, truth, "en") < 0.01


def test_small_print_is_drawn_finer(made, font):
    picture, truth = draw_page(paragraphs(made.medical["en"], 4), "en", font("en"), 400, 1, points=5)
    found = PageReader("en", 200, 60).read(drawer(picture, 400))
    assert found.resolution == 300
    assert errors(found.text, truth, "en") < 0.01


def test_columns_are_read_one_after_the_other(made, font):
    page = Image.new("L", (1654, 2339), 245)
    for i, language in enumerate(("en", "fr")):
        column, _ = draw_page(paragraphs(made.medical[language], 4), language, font(language), 200, 1, skew=0)
        page.paste(column.resize((1240, 1754)).crop((100, 0, 1240, 1754)).resize((800, 1230)), (27 + 800 * i, 0))
    found = PageReader("en", 200, 60).read(drawer(page))
    assert found.layout == 3
    assert found.text.index("antibiotic treatment at once") < found.text.index("patient est")


def test_latin_abbreviations_in_russian_are_read_and_russian_words_stay_russian(made, font):
    text = made.medical["ru"] + " Определены FGFR1, HLA-DR, PDGFRA и TNF методом ELISA. Нос не заложен, МРТ в норме. "
    picture, truth = draw_page(paragraphs(text, 2), "ru", font("ru"), 200, 1)
    found = PageReader("ru", 200, 60).read(drawer(picture))
    assert found.model == "rus+eng"
    assert all(word in found.text for word in ("FGFR1", "HLA-DR", "PDGFRA", "ELISA", "Нос не", "МРТ")), found.text
    assert errors(found.text, truth, "ru") < 0.03, found.text
    assert LOOKALIKE_WORD.sub(_in_cyrillic, "MPT B HOPME, IgA, TNF") == "МРТ В НОРМЕ, IgA, TNF"


class Fake:
    """Replaces tesseract: words of each (model, resolution, layout)."""

    def __init__(self, monkeypatch, answers: dict, script: str = ""):
        self.calls, self.answers = [], answers
        monkeypatch.setattr(page_ocr, "read_words", self.words)
        monkeypatch.setattr(page_ocr, "read_lines", self.words)
        monkeypatch.setattr(page_ocr, "read_script", lambda *rest: Script(script, 0))

    def words(self, engine, picture, model, layout, resolution, *rest):
        self.calls.append((model, resolution, layout))
        text, confidence = self.answers.get((model, resolution, layout), self.answers.get(model, ("x", 30.0)))
        weights = tuple((len(word), confidence) for word in text.split())
        return Words(text, weights, ((0, 0, picture.width, picture.height),) * len(weights))


def blank(dots_per_inch: int) -> Image.Image:
    return Image.new("L", (8 * dots_per_inch, 11 * dots_per_inch), 245)


def test_spaces_that_tesseract_puts_around_figures_in_japanese_are_removed(monkeypatch):
    Fake(monkeypatch, {"jpn": ("18 歳の男性、体温 38.5 ℃、Hb 13 g/dL、HIV 感染", 90.0)})
    found = PageReader("ja", 200, 60, "pytesseract").read(blank)
    assert found.text == "18歳の男性、体温38.5 ℃、Hb 13 g/dL、HIV感染"


def test_uncertain_arabic_is_read_at_other_resolutions_and_the_best_kept(monkeypatch):
    long, short = "حمى وسعال شديد " * 9, "حمى " * 9
    answers = {("ara", 200, 6): (short, 85.0), ("ara", 150, 6): (long, 84.0), ("ara", 300, 6): (short, 86.0)}
    fake = Fake(monkeypatch, answers)
    found = PageReader("ar", 200, 60, "pytesseract").read(blank)
    assert fake.calls == [("ara", 200, 6), ("ara", 150, 6), ("ara", 300, 6)]
    assert (found.text, found.resolution) == (long, 150)


def test_a_page_whose_script_is_misdetected_is_tried_with_every_model(monkeypatch):
    fake = Fake(monkeypatch, {"rus+eng": ("Пациент " * 30, 92.0), "rus": ("Пациент " * 30, 92.0)}, "Arabic")
    found = PageReader("auto", 200, 60, "pytesseract").read(blank)
    assert (found.text.strip(), found.model) == (("Пациент " * 30).strip(), "rus+eng")
    assert {model for model, _, _ in fake.calls} >= {"eng", "ara", "chi_sim", "jpn", "rus"}


def test_a_page_that_takes_too_long_fails_and_one_retry_too_long_does_not(monkeypatch):
    def slow(*rest):
        time.sleep(0.35)
        return fake.words(*rest)

    fake = Fake(monkeypatch, {"ara": ("حمى " * 30, 80.0)})
    monkeypatch.setattr(page_ocr, "read_words", slow)
    assert PageReader("ar", 200, 0.6, "pytesseract").read(blank).text
    with pytest.raises(OcrError, match="took longer than"):
        PageReader("auto", 200, 0.2, "pytesseract").read(blank)


@pytest.mark.skipif(recognition_engines.line_model() is None, reason="rapidocr or onnxruntime is not installed")
@pytest.mark.parametrize(("language", "other"), [("zh", "ja"), ("ja", "zh")])
def test_chinese_and_japanese_are_read_by_one_model_and_told_apart(language, other, made, font):
    picture, truth = draw_page(paragraphs(made.medical[language], 5), language, font(language), 200, 1)
    page = page_ocr.PageReadings(drawer(picture), PageReader("auto", 200, 60).settings)
    assert page.words("jpn").words is page.words("chi_sim").words  # read once
    for languages, settled in ((("zh", "ja"), ""), (("ja", "zh"), ""), ("auto", TRAINED_DATA[other])):
        reader = PageReader(languages, 200, 60)
        reader.settled = settled
        found = reader.read(drawer(picture))
        assert (found.engine, found.model) == ("rapidocr", TRAINED_DATA[language]), (languages, settled)
        assert errors(found.text, truth, language) <= 0.01


def beside(text: str, draw_in) -> tuple[Image.Image, str]:
    """(a page at 200 dots per inch with room at the left for what draw_in(picture, box) draws, its text)."""
    page, box = Image.new("L", (1654, 2339), 245), (180, 500, 780, 1200)
    pen, face = ImageDraw.Draw(page), ImageFont.load_default(size=31)
    words, lines, y = text.split() * 30, [], 180
    while y < 2100:
        left = box[2] + 60 if box[1] - 50 < y < box[3] + 60 else box[0]
        line = ""
        while face.getlength(f"{line} {words[0]}") < 1470 - left:
            line = f"{line} {words.pop(0)}".strip()
        pen.text((left, y), line, fill=25, font=face)
        lines.append(line)
        y += 42
    draw_in(page, box)
    return page, "\n".join(lines)


def hatching(page: Image.Image, box: tuple[int, int, int, int]) -> None:
    rng, pen = random.Random(1), ImageDraw.Draw(page)
    for _ in range(2600):
        x, y = rng.uniform(box[0], box[2]), rng.uniform(box[1], box[3])
        pen.line((x, y, min(box[2], x + rng.uniform(-30, 30)), min(box[3], y + rng.uniform(-30, 30))), fill=30, width=2)


def photo(page: Image.Image, box: tuple[int, int, int, int]) -> None:
    grey = Image.frombytes("L", (50, 58), random.Random(1).randbytes(50 * 58))
    page.paste(grey.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC), box[:2])


@pytest.mark.parametrize("draw_in", [hatching, photo])
def test_a_drawing_beside_print_adds_no_words_and_takes_none(draw_in, made):
    picture, truth = beside(made.medical["en"], draw_in)
    found = PageReader("en", 200, 60).read(drawer(picture))
    assert errors(found.text, truth, "en") < 0.02, found.text


def test_words_in_drawings_do_not_win_the_choice_between_readings(monkeypatch):
    clean, noisy = "fever and cough " * 40, "fever and cough " * 40 + "xq jj " * 90
    answers = {("eng", 200, 3): (clean, 74.0), ("eng", 200, 6): (noisy, 58.0)}
    Fake(monkeypatch, answers)
    monkeypatch.setattr(page_ocr, "is_one_column", lambda ink: False)
    assert PageReader("en", 200, 60, "pytesseract").read(blank).text == clean


@pytest.mark.parametrize("inches", [(0.05, 0.05), (0.4, 0.3), (0.005, 50), (50, 0.005), (0.2, 30)], ids=str)
@pytest.mark.parametrize("language", ["auto", "en", "ja"])
def test_pages_of_any_size_are_read_or_empty(inches, language):
    def draw(resolution: int) -> Image.Image:
        grey = Image.new("L", tuple(max(1, round(side * resolution)) for side in inches), 245)
        ImageDraw.Draw(grey).line((0, 0, *grey.size), fill=0)
        return grey

    assert sum(map(str.isalnum, PageReader(language, 200, 60).read(draw).text)) < 10


def test_a_scan_with_a_wrong_resolution_is_read(made, font):
    picture, truth = draw_page(paragraphs(made.medical["en"], 2), "en", font("en"), 200, 1)
    found = PageReader("en", 200, 60).read(drawer(picture, 4000))  # 0.6 inches high
    assert errors(found.text, truth, "en") < 0.02


CONTENTS = ("Chemotherapy and radiotherapy of the breast " * 9, 62.0)


@pytest.mark.parametrize(
    ("expected", "answers", "model"),
    [
        ({"en": 5000}, {"eng": CONTENTS, "chi_sim": ("化疗 " * 60, 68.0)}, "eng"),
        ({"en": 5000}, {"eng": (CONTENTS[0], 66.0), "chi_sim": ("化疗 " * 60, 74.0)}, "eng"),
        ({"en": 5000}, {"eng": CONTENTS, "chi_sim": ("化疗 " * 60, 90.0)}, "chi_sim"),  # clearly better
        ({"en": 5000}, {"eng": CONTENTS, "jpn": (CONTENTS[0], 90.0)}, "eng"),  # not in the language of its model
        ({"zh": 5000}, {"eng": CONTENTS, "chi_sim": ("化疗 " * 60, 66.0)}, "chi_sim"),
        ({"zh": 900, "en": 5000}, {"eng": CONTENTS, "chi_sim": ("化疗 " * 60, 66.0)}, "eng"),
    ],
)
def test_the_documents_language_is_kept_unless_another_is_clearly_better(monkeypatch, expected, answers, model):
    Fake(monkeypatch, answers, "Han")
    reader = PageReader("auto", 200, 60, "pytesseract", "tesseract")
    reader.expected.update(expected)
    assert reader.read(blank).model == model


def test_text_that_is_not_in_the_script_of_its_model_is_read_with_a_latin_one(monkeypatch):
    Fake(monkeypatch, {"eng": ("acomp + + -\n" * 20, 73.0), "chi_sim": ("++H +++ -+\n" * 20, 81.0)}, "Han")
    assert PageReader("auto", 200, 60, "pytesseract", "tesseract").read(blank).model == "eng"


@pytest.mark.skipif(recognition_engines.line_model() is None, reason="rapidocr or onnxruntime is not installed")
@pytest.mark.parametrize(("confidence", "text"), [(63.0, ""), (95.0, "车")])
def test_a_character_seen_in_specks_is_not_text(monkeypatch, confidence, text):
    Fake(monkeypatch, {"chi_sim": ("车", confidence)})
    assert PageReader("zh", 200, 60, "pytesseract").read(blank).text == text


def test_a_settled_model_of_a_language_that_the_document_has_not_is_overruled(monkeypatch):
    fake = Fake(monkeypatch, {"eng": ("The patient was treated for fever. " * 9, 92.0)})
    reader = PageReader("auto", 200, 60, "pytesseract", "tesseract")
    reader.settled = "jpn"
    reader.expected.update({"en": 5000})
    assert reader.read(blank).model == "eng"
    assert {model for model, _, _ in fake.calls} == {"eng"}


def test_a_page_in_latin_letters_of_a_japanese_document_is_read_in_english(monkeypatch):
    english = "The patient was treated for fever and cough at the clinic. " * 5
    for confidence in (55.0, 75.0):
        Fake(monkeypatch, {"jpn": (english.replace("n", "m"), confidence), "eng": (english, 93.0)})
        found = PageReader("ja", 200, 60, "pytesseract", "tesseract").read(blank)
        assert (found.model, found.text) == ("eng", english)
    Fake(monkeypatch, {"jpn": ("患者は発熱と咳のため来院した。" * 9, 88.0), "eng": (english, 93.0)})
    assert PageReader("ja", 200, 60, "pytesseract", "tesseract").read(blank).model == "jpn"


LIMITS = {"en": 0.005, "fr": 0.01, "es": 0.01, "ru": 0.01, "de": 0.01, "zh": 0.03, "ja": 0.06, "ar": 0.06}
if recognition_engines.line_model():
    LIMITS |= {"zh": 0.01, "ja": 0.01}


@pytest.mark.slow
def test_real_texts_in_eight_languages_are_read_by_the_command(run, made, real_data, font, tmp_path):
    """Two pages per language, in Arabic three: fewer than bench_ocr.py draws, so 1.5 times its errors are allowed."""
    import pyarrow.parquet

    truths = {}
    for language in LIMITS:
        font(language)
        fonts = (fonts_of(language) * 3)[: 3 if language == "ar" else 2]
        texts = pyarrow.parquet.read_table(real_data / "filter_text" / f"{language}.parquet", columns=["text", "label"])
        texts = [row["text"] for row in texts.to_pylist() if row["label"] == "medical" and len(row["text"]) > 600]
        random.Random(97).shuffle(texts)
        pages = []
        for i, face in enumerate(fonts):
            text = next(text for text in texts[50 * i :] if drawable(text, face))
            pages.append(draw_page(text, language, face, 300, 970 + i))
        (tmp_path / "pdfs").mkdir(exist_ok=True)
        save_pages([picture for picture, _ in pages], tmp_path / "pdfs" / f"{language}.pdf", 300)
        truths[language] = [truth for _, truth in pages]
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--min-confidence", 0)
    assert done.returncode == 0, (done.stdout, done.stderr)
    read = {(p["document"][:2], p["page"]): p["text"] for p in made.lines(tmp_path / "out" / "pages.jsonl")}
    rates = {}
    for language, pages in truths.items():
        edits = [errors(read[language, i + 1], truth, language) * len(truth) for i, truth in enumerate(pages)]
        rates[language] = sum(edits) / sum(map(len, pages))
    assert {language: rate for language, rate in rates.items() if rate > 1.5 * LIMITS[language]} == {}


def test_every_language_has_a_model_and_fonts_are_searched():
    assert set(LIMITS) == set(TRAINED_DATA)
    assert {recognition_engines.LANGUAGE_OF[model] for model in TRAINED_DATA.values()} == set(LIMITS)
    assert all(code in TRAINED_DATA for codes in SCRIPTS_OF.values() for code in codes)
    assert isinstance(font_files(), dict)
