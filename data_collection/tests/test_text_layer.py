"""When a page's text layer is good enough, how large a page is drawn, what opens and what does not."""

import pytest

from pdf.text_layer import MAX_PIXELS, Page, PdfError, is_blank, is_readable, open_pdf


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("The patient has a fever.", True),
        ("患者发热三天。", True),
        ("", False),
        (" \n ", False),
        (". . . . . 12 . . . . .", False),  # under half letters and digits
        ("Text \ufffd\ufffd\ufffd with a font that has no map", False),
        ("\ue001\ue002\ue003\ue004 private use", False),
        ("Ïàöèåíò æàëóåòñÿ íà áîëü", False),  # Cyrillic through the wrong table
        ("Élève à l'hôpital où il a été opéré", True),
        ("hy\x02phen at a line's end", True),
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


def test_drawings_and_pictures_are_seen(tmp_path, made):
    assert not Page(open_pdf(made.text_pdf(tmp_path / "a.pdf", ["Words"])), 0).has_pictures_or_drawings()
    assert Page(open_pdf(made.scanned_pdf(tmp_path / "b.pdf", ["Words"])), 0).has_pictures_or_drawings()


def test_what_cannot_be_opened_says_why(tmp_path, made):
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
        return Page(open_pdf(real_data / "pdfs" / name), number).text_layer()

    arabic = layer("docling__right_to_left_01.pdf", 0)
    assert "الإنتاجية" in arabic and "المشكلات" in arabic and "اإلنتاجية" not in arabic  # lam-alef shapes
    three_columns = " ".join(layer("pdfplumber__federal-register-2020-17221.pdf", 1).split())
    assert "airspeed disagree alert, and altitude disagree alert,5 and may affect" in three_columns
    assert three_columns.index("1Preliminary KNKT") > three_columns.index("In addition to these four design")
    assert layer("docling__invisible_text_layer.pdf", 0) == "Visible heading line"
    assert "click track. When the sequence loops back" in " ".join(layer("pikepdf__sandwich.pdf", 0).split())
