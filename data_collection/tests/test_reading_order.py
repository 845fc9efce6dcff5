"""Columns are read one after the other; tables, vertical writing and what is in order already stay as they are."""

import pytest

from text_layers.text_layer import Page, open_pdf

LEFT = [f"left line {i} of the first column ends {i}" for i in range(10)]
RIGHT = [f"right line {i} of the other column ends {i}" for i in range(10)]
THIRD = [f"third line {i} of the last column ends {i}" for i in range(10)]
HEAD = "A heading that stands over all the columns of this page, as wide as they are together"
NOTE = "1 A footnote below all the columns of this page, as wide as the columns are together"


@pytest.fixture
def layer(tmp_path):
    """Function of [(x, y, text)], drawn in that order at 9 points, that returns the page's text layer."""
    from reportlab.pdfgen.canvas import Canvas

    def draw(items, rotation=0, invisible=(), small=()):
        canvas = Canvas(str(tmp_path / "page.pdf"), pagesize=(595, 842))
        canvas.setPageRotation(rotation)
        if rotation == 90:  # drawn so that it reads level once a viewer has turned the page
            canvas.rotate(90)
            canvas.translate(0, -595)
        for x, y, text in items:
            words = canvas.beginText(x, y)
            words.setFont("Helvetica", 7 if text in small else 9)
            words.setTextRenderMode(3 if text in invisible else 0)
            words.textOut(text)
            canvas.drawText(words)
        canvas.save()
        page = Page(open_pdf(tmp_path / "page.pdf"), 0)
        try:
            return page.text_layer().text
        finally:
            page.close()

    return draw


def column(x: float, texts: list[str], top: float = 500, step: float = 12) -> list[tuple]:
    return [(x, top - step * i, text) for i, text in enumerate(texts)]


def rows(*columns) -> list[tuple]:
    """Columns drawn line by line across the page, as programs that print row by row do."""
    return [item for row in zip(*columns, strict=True) for item in row]


@pytest.mark.parametrize(
    "drawn",
    [
        rows(column(50, LEFT), column(300, RIGHT)),
        column(50, LEFT) + column(300, RIGHT),
        column(300, RIGHT) + column(50, LEFT),
        rows(column(50, LEFT), column(300, RIGHT, top=495)),  # lines of the columns at different heights
        rows(column(50, LEFT), column(300, RIGHT))[::-1],
    ],
)
def test_two_columns_are_read_one_after_the_other_whatever_order_they_are_drawn_in(layer, drawn):
    assert layer(drawn).split("\n") == LEFT + RIGHT


def test_three_columns_under_a_heading_and_over_a_footnote(layer):
    drawn = rows(column(30, LEFT), column(215, RIGHT), column(400, THIRD))
    text = layer([(30, 300, NOTE + NOTE[1:40]), *drawn, (30, 540, HEAD + HEAD[1:40])]).split("\n")
    assert [line for line in text if line] == [HEAD + HEAD[1:40], *LEFT, *RIGHT, *THIRD, NOTE + NOTE[1:40]]


def test_a_heading_between_columns_parts_them(layer):
    drawn = [
        *rows(column(50, LEFT, 700), column(300, RIGHT, 700)),
        (50, 560, HEAD),
        *rows(column(50, THIRD, 530), column(300, RIGHT, 530)),
    ]
    assert [line for line in layer(drawn).split("\n") if line] == [*LEFT, *RIGHT, HEAD, *THIRD, *RIGHT]


def test_footnotes_below_a_column_do_not_part_the_text_that_goes_on_in_the_next(layer):
    notes = ["1 A note on the first line of this page,", "in smaller letters than the text above it."]
    drawn = column(50, LEFT) + column(50, notes, 370) + column(300, RIGHT)
    assert [line for line in layer(drawn, small=notes).split("\n") if line] == LEFT + RIGHT + notes


def test_a_stamp_along_the_edge_stands_behind_the_text(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "stamp.pdf"), pagesize=(595, 842))
    for x, y, text in column(50, LEFT)[:5]:
        canvas.drawString(x, y, text)
    canvas.saveState()
    canvas.rotate(90)
    canvas.drawString(400, -30, "arXiv 2402.13963 of the year 2024")
    canvas.restoreState()
    for x, y, text in column(50, LEFT)[5:]:
        canvas.drawString(x, y, text)
    canvas.save()
    lines = Page(open_pdf(tmp_path / "stamp.pdf"), 0).text_layer().text.split("\n")
    assert [line for line in lines if line][:10] == LEFT


def test_columns_on_a_page_that_viewers_turn(layer):
    drawn = rows(column(50, LEFT, 400), column(300, RIGHT, 400))
    assert layer(drawn, rotation=90).split("\n") == LEFT + RIGHT


def test_a_table_is_read_row_by_row(layer):
    names = ["Fever", "Cough", "Chest pain", "Rash", "Nausea", "Headache"]
    figures = ["12 (4 %)", "30 (10 %)", "7 (2 %)", "2 (1 %)", "18 (6 %)", "44 (15 %)"]
    text = layer(rows(column(50, names), column(250, figures), column(400, figures)))
    assert text.split("\n") == [f"{a}\t{b}\t{b}" for a, b in zip(names, figures, strict=True)]


def test_lines_of_one_column_drawn_in_another_order_are_read_from_the_top(layer):
    drawn = column(50, LEFT)
    assert layer(drawn[5:] + drawn[:5]).split("\n") == LEFT


def test_a_wider_distance_and_an_indent_after_a_full_stop_begin_a_paragraph(layer):
    lines = [
        (50, 700, "The first paragraph of the page is here and"),
        (50, 688, "ends in its second line."),
        (50, 660, "The second one stands lower and is longer"),
        (50, 648, "than it, and ends like this."),
        (65, 636, "The third begins with an indent and goes"),
        (50, 624, "on in its second line."),
    ]
    assert [part.count("\n") for part in layer(lines).split("\n\n")] == [1, 1, 1]


def test_a_word_parted_by_a_hyphen_does_not_hide_where_its_line_ends(layer):
    left = [f"{line[:-1]}pneu-" if i == 3 else f"monia {line}" if i == 4 else line for i, line in enumerate(LEFT)]
    text = layer(rows(column(50, left), column(300, RIGHT)))
    assert text.replace("\x02", "-").replace("\ufffe", "-").split("\n") == left + RIGHT


def test_what_nobody_sees_is_no_text(layer):
    assert layer([(50, 700, "Seen words"), (50, 650, "Hidden words")], invisible={"Hidden words"}) == "Seen words"
    assert layer([(50, 700, "Seen words"), (-300, 650, "Beside"), (50, 2000, "Above")]) == "Seen words"
