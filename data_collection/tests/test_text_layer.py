"""text_layer.py: when a text layer is good enough, how large a page is drawn, which files open."""

from collections import Counter

import pytest

from text_layers.layer_quality import has_usual_letters, is_readable, reads_as_words
from text_layers.text_layer import MAX_PIXELS, PICTURE_SHARE, Page, PdfError, is_blank, open_pdf


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("The patient has a fever.", True),
        ("患者发热三天。", True),
        ("", False),
        (" \n ", False),
        ("Contents . . . . . . . . . . . . 12\nIndex ........................ 90", True),
        ("Text \ufffd\ufffd\ufffd with a font that has no map", False),
        ("\ue001\ue002\ue003\ue004 private use", False),
        ("Ïàöèåíò æàëóåòñÿ íà áîëü", False),  # Cyrillic through the wrong table
        ("Élève à l'hôpital où il a été opéré", True),
        ("Wkh sdwlhqw zdv vhhq eb d grfwru lq wkh folqlf. " * 5, False),  # each letter stands for another
    ],
)
def test_a_text_layer_is_trusted_when_it_reads_as_text(text, readable):
    assert is_readable(text) == readable


def test_a_page_is_drawn_at_the_resolution_asked_for_and_a_huge_one_smaller(tmp_path, made):
    document = open_pdf(made.text_pdf(tmp_path / "a4.pdf", ["Some text"]))
    assert Page(document, 0).picture(100).size == pytest.approx((827, 1170), abs=1)
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "huge.pdf"), pagesize=(14400, 14400))  # 35,000 pixels would be at 175 dpi
    canvas.drawString(100, 100, "x")
    canvas.save()
    picture = Page(open_pdf(tmp_path / "huge.pdf"), 0).picture(200)
    assert 0.9 * MAX_PIXELS <= picture.width * picture.height <= 1.01 * MAX_PIXELS
    assert picture.mode == "L"


def test_a_page_with_one_small_word_is_not_blank(tmp_path, made):
    document = open_pdf(made.text_pdf(tmp_path / "a.pdf", ["Note 7", ""]))
    assert [is_blank(Page(document, i).picture(72)) for i in range(2)] == [False, True]


def test_drawings_and_pictures_are_detected(tmp_path, made):
    assert Page(open_pdf(made.text_pdf(tmp_path / "a.pdf", ["Words"])), 0).picture_share() < PICTURE_SHARE
    assert Page(open_pdf(made.scanned_pdf(tmp_path / "b.pdf", ["Words"])), 0).picture_share() >= PICTURE_SHARE


def test_a_file_that_cannot_be_opened_gives_the_reason(tmp_path, made):
    whole = made.text_pdf(tmp_path / "whole.pdf", ["Text"]).read_bytes()
    for name, content, reason in (
        ("empty.pdf", b"", "the file is empty"),
        ("page.pdf", b"<html></html>", "not a PDF"),
        ("cut.pdf", whole[:300], "truncated or damaged PDF"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PdfError, match=reason):
            open_pdf(tmp_path / name)
    with pytest.raises(PdfError, match="needs a password"):
        open_pdf(made.text_pdf(tmp_path / "locked.pdf", ["Text"], password="secret"))


def test_real_pages_read_in_order(real_data):
    def layer(name: str, number: int) -> str:
        return Page(open_pdf(real_data / "pdfs" / name), number).text_layer().text

    arabic = layer("docling__right_to_left_01.pdf", 0)
    assert "الإنتاجية" in arabic and "المشكلات" in arabic and "اإلنتاجية" not in arabic  # lam-alef shapes
    three_columns = " ".join(layer("pdfplumber__federal-register-2020-17221.pdf", 1).split())
    assert "airspeed disagree alert, and altitude disagree alert,⁵ and may affect" in three_columns
    assert three_columns.index("1 Preliminary KNKT") > three_columns.index("In addition to these four design")
    assert layer("docling__invisible_text_layer.pdf", 0) == "Visible heading line"
    assert "click track. When the sequence loops back" in " ".join(layer("pikepdf__sandwich.pdf", 0).split())


@pytest.mark.parametrize("language", ["en", "fr", "es", "de", "ru", "ar", "zh", "ja"])
def test_texts_of_the_eight_languages_have_their_letters(made, language):
    assert has_usual_letters(Counter(made.medical[language] * 5))


@pytest.mark.parametrize(
    ("language", "first", "count"),
    [
        ("en", "a", 26),
        ("de", "a", 26),
        ("ru", "а", 32),
        ("zh", "\u4e00", 20000),
    ],
)
def test_letters_that_stand_for_others_are_detected(made, language, first, count):
    start = ord(first)
    moved = "".join(
        chr(start + (ord(c) - start + 7) % count) if 0 <= ord(c) - start < count else c
        for c in (made.medical[language] * 5).lower()
    )
    assert not has_usual_letters(Counter(moved))


def test_a_short_text_a_table_of_figures_and_codes_in_another_script_show_nothing(made):
    assert has_usual_letters(Counter("xyz zxy"))
    assert has_usual_letters(Counter("12 34 5.6\n" * 100))
    assert has_usual_letters(Counter())
    assert has_usual_letters(Counter(made.medical["ru"] * 5 + " QXZ-WKJ" * 20))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The patient (aged 54) had a fever of 38.5, a cough and chest pain.", True),
        ("«Болит голова», сказал пациент, 25-30 дней.", True),
        ("患者因发热、咳嗽和胸痛来医院就诊。", True),
        ("l1| .~ i;J tbe ,,~ 'rn a~d _- |l !i ~~ e* pa|ient", False),
        ("", True),
    ],
)
def test_bad_recognition_is_detected_by_its_words(text, words):
    assert reads_as_words(text) == words
