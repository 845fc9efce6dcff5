"""Text layers at the level of characters: spaces, raised figures, accents, symbol fonts, fields, boxes, doubts."""

import pytest

from pdf.ocr_document import UNMAPPED, UNREADABLE, doubts, read_page
from text_layers import text_layer
from text_layers.layer_quality import decoded, has_ciphered_words, has_function_words, is_readable
from text_layers.symbol_fonts import symbol_text
from text_layers.text_layer import Layer, Page, open_pdf
from text_layers.text_repair import repair_page

MEDICAL = (
    "The patient was treated with amoxicillin for ten days and the fever had gone when he was seen again. "
    "It is not known whether the rash that was found on the third day was due to the drug or to the virus."
)


def font(base: str, kind: str = "TrueType", to_unicode: dict[int, str] | None = None) -> str:
    """A font that is not embedded. to_unicode: {code: text}; other codes are those of Windows Latin."""
    if not to_unicode:
        return f"<< /Type /Font /Subtype /{kind} /BaseFont /{base} /Encoding /WinAnsiEncoding >>"
    return f"<< /Type /Font /Subtype /{kind} /BaseFont /{base} /Encoding /WinAnsiEncoding /ToUnicode 6 0 R >>"


@pytest.fixture
def layer(tmp_path, made):
    """Function of a content stream (fonts /F and /G) that returns the layer of a page with it."""

    def draw(content: str, second: str = "", to_unicode: dict[int, str] | None = None) -> Layer:
        table = "".join(
            f"<{code:02x}> <{text.encode('utf-16-be').hex()}>\n" for code, text in (to_unicode or {}).items()
        )
        cmap = (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def "
            f"1 begincodespacerange <00> <ff> endcodespacerange {len(to_unicode or {})} beginbfchar\n"
            f"{table}endbfchar endcmap end end"
        )
        path = made.raw_pdf(
            tmp_path / "page.pdf",
            [
                "<< /Type /Catalog /Pages 2 0 R >>",
                "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
                "/Resources << /Font << /F 4 0 R /G 7 0 R >> >> >>",
                font("Helvetica"),
                f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
                f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream",
                second or font("Helvetica", to_unicode=to_unicode),
            ],
        )
        return Page(open_pdf(path), 0).text_layer()

    return draw


def letters(words: list[str], x: float, y: float, size: float, space: float) -> str:
    """Each letter drawn by itself, without spaces between the words. space: points between words."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    content = f"BT /F {size} Tf "
    for word in words:
        for letter in word:
            content += f"1 0 0 1 {x:.2f} {y} Tm ({letter}) Tj "
            x += stringWidth(letter, "Helvetica", size)
        x += space
    return content + "ET "


def test_words_drawn_letter_by_letter_are_separated_at_gaps(layer):
    words = ["the", "right", "to", "withdraw", "or", "modify", "the", "statement", "at", "any", "time"]
    for space in (2.0, 2.8):  # points: .2 and .28 of the font size
        assert layer(letters(words, 50, 700, 10, space)).text == " ".join(words)


def test_letters_set_apart_are_one_word(layer):
    content = "BT /F 10 Tf 1.5 Tc 50 700 Td (Introduction to anatomy) Tj ET"
    assert layer(content).text == "Introduction to anatomy"


def test_a_space_that_fills_a_ligature_is_no_space(layer):
    # Code 1 is the ligature, as wide as two letters; the space behind it is drawn over its second half.
    content = "BT /G 10 Tf 50 700 Td [(de) (A) 389 ( ) (nition of in) (B) 389 ( ) (uenza virus)] TJ ET"
    assert layer(content, to_unicode={0x41: "fi", 0x42: "fl"}).text == "definition of influenza virus"


def test_accents_drawn_over_letters_are_composed(layer):
    from reportlab.pdfbase.pdfmetrics import stringWidth

    content = "BT /F 12 Tf 1 0 0 1 50 700 Tm (Jan Minac) Tj "
    for before in ("J", "Jan Min"):
        middle = 50 + stringWidth(before, "Helvetica", 12) + stringWidth("a", "Helvetica", 12) / 2
        content += f"1 0 0 1 {middle - stringWidth('´', 'Helvetica', 12) / 2:.2f} 700 Tm (\\264) Tj "
    assert layer(content + "ET").text == "Ján Minác"


def test_raised_figures_stay_raised(layer):
    def raised(text: str) -> str:
        return f"/F 6 Tf 4 Ts ({text}) Tj /F 10 Tf 0 Ts "

    content = "BT /F 10 Tf 50 700 Td (count 4.5 x 10) Tj " + raised("9") + "(/L, dose 5 mg/m) Tj " + raised("2")
    content += "( daily) Tj " + raised("1,2") + "( and CO) Tj /F 6 Tf -2 Ts (2) Tj /F 10 Tf 0 Ts ( at 10) Tj "
    content += raised("-3") + "( mol) Tj ET"
    assert layer(content).text == "count 4.5 x 10⁹/L, dose 5 mg/m² daily¹,² and CO2 at 10⁻³ mol"


def test_symbol_fonts_give_ordinary_signs(layer):
    to_unicode = {0x41: "\uf0b3", 0x42: "\uf0a3", 0x43: "\uf06d", 0x44: "\uf0b0", 0x45: "\uf0b7"}
    content = "BT /G 10 Tf 50 700 Td (E ) Tj /F 10 Tf (dose ) Tj /G 10 Tf (A) Tj /F 10 Tf ( 5 ) Tj /G 10 Tf (C) Tj "
    content += "/F 10 Tf (g at 2) Tj /G 10 Tf (D) Tj /F 10 Tf (C, ) Tj /G 10 Tf (B) Tj /F 10 Tf ( 7) Tj ET"
    symbol = font("ABCDEF+Symbol", to_unicode=to_unicode)
    assert layer(content, symbol, to_unicode).text == "• dose ≥ 5 µg at 2°C, ≤ 7"
    wingdings = font("Wingdings")
    assert layer("BT /G 10 Tf 50 700 Td (\\247 ) Tj /F 10 Tf (first item) Tj ET", wingdings).text == "▪ first item"


@pytest.mark.parametrize(
    ("character", "name", "text"),
    [
        ("\uf0b3", "SymbolMT", "≥"),
        ("\uf0fc", "Wingdings", "✓"),
        ("\uf041", "MyFont", "A"),
        ("\uf735", "AGaramondExp", "5"),  # an old-style figure
        ("\uf8e8", "Symbol", "®"),
        ("\ue123", "FontAwesome", "•"),
        ("\ue123", "MyFont", "\ue123"),
    ],
)
def test_private_use_characters_by_their_font(character, name, text):
    assert symbol_text(character, name) == text


def test_radicals_become_ideographs_and_private_use_characters_leave():
    assert repair_page("⽤药⼈群，⺟⼦") == "用药人群，母子"
    assert repair_page("\ue001 first\nsecond \uf123 third wo\ue055rd") == "first second third wo\ufffdrd"


def test_private_use_digits_are_read_from_the_picture():
    layer = "\ue006.\ue001.\ue002 哺乳期用药 \ue002\ue005 mg"
    assert decoded(layer, "6.1.2 哺乳期用药 25 mg") == "6.1.2 哺乳期用药 25 mg"
    assert decoded(layer, "completely other text") == layer


def test_filled_in_fields_and_notes_are_text(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "form.pdf"), pagesize=(595, 842))
    canvas.drawString(50, 700, "Patient:")
    canvas.acroForm.textfield(name="patient", value="Erika Mustermann", x=120, y=690, width=200, height=24)
    canvas.save()
    page = Page(open_pdf(tmp_path / "form.pdf"), 0)
    assert page.text_layer().text.split() == ["Patient:", "Erika", "Mustermann"]


def test_a_box_that_the_page_inherits_is_its_box(tmp_path, made):
    content = "BT /F 12 Tf 50 1100 Td (A line above the paper of the United States) Tj ET"
    path = made.raw_pdf(
        tmp_path / "a3.pdf",
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 842 1191] >>",
            "<< /Type /Page /Parent 2 0 R /Contents 5 0 R /Resources << /Font << /F 4 0 R >> >> >>",
            font("Helvetica"),
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ],
    )
    assert Page(open_pdf(path), 0).text_layer().text == "A line above the paper of the United States"


def test_a_layout_that_fails_keeps_the_text_in_the_files_order(layer, monkeypatch):
    def fail(*_):
        raise IndexError("an unforeseen layout")

    monkeypatch.setattr(text_layer, "page_text", fail)
    found = layer("BT /F 10 Tf 50 700 Td (First line) Tj 0 -14 Td (Second line) Tj ET")
    assert (found.text, found.order) == ("First line\nSecond line", "file")


def test_text_drawn_twice_is_read_once(layer):
    twice = "BT /F 10 Tf 50 700 Td (A bold heading) Tj ET BT /F 10 Tf 50.3 700 Td (A bold heading) Tj ET"
    assert layer(twice).text == "A bold heading"


def test_a_short_layer_beside_drawings_is_kept_without_recognition(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "marks.pdf"), pagesize=(595, 842))
    for x, y in ((20, 20), (575, 20), (20, 822), (575, 822)):
        canvas.line(x - 15, y, x + 15, y)
        canvas.line(x, y - 15, x, y + 15)
    canvas.rect(0, 0, 60, 842, fill=1)
    canvas.drawString(100, 700, "Which bone is a part of the orbit?")
    canvas.save()
    record = read_page(open_pdf(tmp_path / "marks.pdf"), 0, "marks.pdf", None, ("en",))  # None: no recognition
    assert (record["method"], record["text"]) == ("text_layer", "Which bone is a part of the orbit?")


def test_print_in_a_picture_is_not_covered_by_a_short_layer(tmp_path, made):
    from reportlab.pdfgen.canvas import Canvas

    scan = made.scanned_pdf(tmp_path / "scan.pdf", [MEDICAL * 3])
    picture = Page(open_pdf(scan), 0).picture(150)
    canvas = Canvas(str(tmp_path / "both.pdf"), pagesize=(595, 842))
    canvas.drawInlineImage(picture, 0, 0, 595, 842)
    canvas.drawString(100, 20, "Downloaded from a library")
    canvas.save()
    page = Page(open_pdf(tmp_path / "both.pdf"), 0)
    uncovered, everything = page.uncovered_letters(page.text_layer())
    assert uncovered > 0.8 * everything > 100
    assert doubts(page, page.text_layer(), ("en",)) == "print that the layer lacks"


def test_ciphered_words_are_found_and_right_ones_are_not():
    ciphered = "".join(chr(ord(c) + 3) if c.isalpha() else c for c in MEDICAL)
    assert has_ciphered_words(ciphered) and not has_ciphered_words(MEDICAL) and not has_ciphered_words("x y z α β")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (MEDICAL, True),
        ("CyMMa Toprosoro c6opa, cjiaKTI/lljecKl/I ynna4eHHaR B Te4eHl/le Hanoroso ro " * 8, False),
        ("Сумма торгового сбора, фактически уплаченная в течение налогового периода и за год " * 6, True),
        ("患者在治疗后第三天出现皮疹，体温正常。" * 10, True),
        ("يجب على المريض أن يأخذ الدواء مع الطعام في الصباح وفي المساء إلى أن تزول الحمى من جسمه " * 4, True),
        ("يبج عىل ارملضي نا يذخأ اودلاء عم ماعطلا يف حابصلا ءاسملايفو ىلإ نا لوزت ىمحلا نم همسج " * 4, False),
        ("Ibuprofen Paracetamol Amoxicillin", True),  # too short to show anything
    ],
)
def test_function_words_show_a_layer_in_wrong_letters(text, right):
    assert has_function_words(text) == right


def test_doubts_about_a_layer(made, tmp_path):
    page = Page(open_pdf(made.text_pdf(tmp_path / "a.pdf", [MEDICAL])), 0)
    layer = page.text_layer()
    assert doubts(page, layer, ("en",)) == doubts(page, layer, ("auto",)) == ""
    assert doubts(page, layer, ("ja",)) == ""  # a clean page in another language
    assert doubts(page, layer._replace(text="\ue001\ue002\ue003\ue004\ue005 mg"), ("en",)) == UNREADABLE
    assert doubts(page, layer._replace(unmapped="".join(chr(ord(c) + 3) for c in MEDICAL)), ("en",)) == UNMAPPED
    assert not is_readable("\ue001\ue002\ue003\ue004 and words")
