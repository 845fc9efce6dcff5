"""Columns are read one after the other, tables row by row; vertical writing and what is in order stay as they are."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from text_layers.page_characters import Piece
from text_layers.reading_order import page_text
from text_layers.text_layer import Page, open_pdf
from text_layers.text_repair import repair_page

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


def test_regions_of_one_page_have_their_own_columns(layer):
    top = [
        column(x, [f"{name} of the line {i} is" for i in range(6)], 780)
        for name, x in zip("abc", (30, 215, 400), strict=True)
    ]
    bottom = [
        column(30, [f"below {line}" for line in LEFT], 600),
        column(310, [f"below {line}" for line in RIGHT], 600),
    ]
    lines = [line for line in layer(rows(*top) + rows(*bottom)).split("\n") if line]
    assert lines == [text for part in top + bottom for _, _, text in part]


def test_a_column_beside_a_box_of_another_width(layer):
    abstract = [
        (250, 700 - 12 * i, f"the abstract is wider than its neighbour and has line {i} here") for i in range(10)
    ]
    facts = [(40, 700 - 12 * i, f"received on day {i}") for i in range(8)]
    body = rows(column(40, LEFT, 540), column(320, RIGHT, 540))
    lines = [line for line in layer([*rows(facts, abstract[:8]), *abstract[8:], *body]).split("\n") if line]
    assert lines == [text for _, _, text in facts + abstract] + LEFT + RIGHT


CELLS = [
    ["Fever", "is given paracetamol", "until it is"],
    ["Cough", "needs no treatment", "if it is dry"],
    ["Chest pain", "an ECG is taken first", "at once"],
    ["Rash", "the drug is stopped", "and not given"],
]
SECOND = [
    ["", "every six hours,", "below 38"],
    ["", "in most patients", "and short"],
    ["", "and troponin", "in all"],
    ["", "and noted", "again"],
]


@pytest.mark.parametrize("has_rules", [True, False])
@pytest.mark.parametrize("by_cell", [True, False])
def test_the_lines_of_a_wrapped_cell_stay_together(tmp_path, has_rules, by_cell):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "table.pdf"), pagesize=(595, 842))
    for i, (first, second) in enumerate(zip(CELLS, SECOND, strict=True)):
        y = 700 - 40 * i
        drawn = [(x, y - 12 * k, (first, second)[k][n]) for n, x in enumerate((50, 160, 330)) for k in range(2)]
        for x, height, text in drawn if by_cell else sorted(drawn, key=lambda item: -item[1]):
            canvas.drawString(x, height, text)
        if has_rules:
            canvas.line(45, y + 15, 450, y + 15)
            canvas.line(45, y - 25, 450, y - 25)
    canvas.save()
    text = repair_page(Page(open_pdf(tmp_path / "table.pdf"), 0).text_layer().text)
    assert text.split("\n") == [
        "\t".join(" ".join(filter(None, pair)) for pair in zip(first, second, strict=True))
        for first, second in zip(CELLS, SECOND, strict=True)
    ]


def test_cells_of_chinese_tables_are_kept_apart(tmp_path):
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    table = [
        ["项目", "结果", "单位"],
        ["白细胞计数", "3.9", "10/L"],
        ["血红蛋白", "159", "g/L"],
        ["血小板", "149", "10/L"],
    ]
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    canvas = Canvas(str(tmp_path / "zh.pdf"), pagesize=(595, 842))
    canvas.setFont("STSong-Light", 11)
    for i, row in enumerate(table):
        for x, cell in zip((50, 200, 300), row, strict=True):
            canvas.drawString(x, 700 - 16 * i, cell)
    canvas.save()
    text = repair_page(Page(open_pdf(tmp_path / "zh.pdf"), 0).text_layer().text)
    assert text.split("\n") == ["\t".join(row) for row in table]


def test_wide_spaces_of_justified_lines_are_no_cells(layer):
    from reportlab.pdfbase.pdfmetrics import stringWidth

    sentence = "this enzyme is used in the food industry to prevent the loss of taste while acids form in heat"
    words = sentence.split()
    drawn = []
    for i in range(5):
        x = 50.0
        for word in words[2 * i : 2 * i + 8]:
            drawn.append((x, 700 - 12 * i, word))
            x += stringWidth(word, "Helvetica", 9) + 9
    text = layer(drawn)
    assert "\t" not in text and text.split() == [word for i in range(5) for word in words[2 * i : 2 * i + 8]]


def test_a_side_column_at_other_heights_is_no_table(layer):
    side = [(40, 703 - 17 * i, f"Dr Adams {i}") for i in range(12)]
    letter = [(200, 700 - 12 * i, f"we thank you for the letter of day {i} and its report") for i in range(16)]
    text = layer(side + letter)
    assert "\t" not in text
    assert [line for line in text.split("\n") if line] == [line for _, _, line in side + letter]


def test_a_heading_in_other_print_does_not_join_the_paragraph_below(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "heading.pdf"), pagesize=(595, 842))
    canvas.setFont("Helvetica-Bold", 10)
    canvas.drawString(50, 700, "Treatment of the acute attack of gout in older patients")
    canvas.setFont("Helvetica", 10)
    for i in range(3):
        canvas.drawString(50, 688 - 12 * i, f"Colchicine is given in a low dose, or a steroid, on day {i} and later")
    canvas.save()
    text = repair_page(Page(open_pdf(tmp_path / "heading.pdf"), 0).text_layer().text)
    assert text.split("\n")[0] == "Treatment of the acute attack of gout in older patients"


def test_vertical_writing_is_read_from_the_right_tier_by_tier():
    def line(text: str, x: int, top: int) -> Piece:
        return Piece(text, x, top - 12 * len(text), x + 12, top, x * 1000 + top, False)

    upper = [
        line("春は曙やうやう白く", 300, 700),
        line("なりゆく山ぎは少し", 270, 700),
        line("明りて紫だちたる雲", 240, 700),
    ]
    lower = [
        line("夏は夜月の頃はさら", 300, 500),
        line("なり闇もなほ螢飛び", 270, 500),
        line("ちがひたる雨などの", 240, 500),
    ]
    drawn = [*lower[::-1], *upper[::-1]]
    assert page_text(drawn).split("\n") == [piece.text for piece in upper + lower]


BOXES = st.tuples(
    st.sampled_from(["alpha", "beta gamma", "the line goes", "患者发热三天", "12", "المريض", "Word. Next"]),
    st.integers(0, 560),
    st.integers(0, 800),
    st.integers(0, 120),
    st.integers(0, 14),
)


@given(st.lists(BOXES, max_size=60), st.lists(st.tuples(*[st.integers(0, 600)] * 4), max_size=12))
@example([("alpha", 0, 0, 0, 0), ("患者发热三天", 0, 0, 1, 0)], [])  # beside vertical writing, text without a box
def test_no_layout_loses_text(drawn, rules):
    import numpy

    pieces = [Piece(text, x, y, x + w, y + h, i // 2, False) for i, (text, x, y, w, h) in enumerate(drawn)]
    boxes = numpy.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rules], float).reshape(-1, 4)
    text = page_text(pieces, boxes)
    assert sorted("".join(text.split())) == sorted("".join("".join(piece.text for piece in pieces).split()))
