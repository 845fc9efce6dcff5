"""page_furniture.py: running heads, feet and page numbers are removed; text never is."""

import random

import pytest

from pdf.page_furniture import remove_furniture

WORDS = ("patient", "fever", "cough", "chest", "pain", "heart", "lung", "blood", "doctor", "clinic", "nurse", "drug")
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii")


def body(seed: int, lines: int = 12) -> list[str]:
    """Lines of text unique to the seed."""
    chosen = random.Random(seed)
    return [" ".join(chosen.choice(WORDS) for _ in range(10)) + f" x{seed}y{i}." for i in range(lines)]


def pages_with(head, foot, count: int = 8) -> tuple[list[str], list[str]]:
    """(pages with head(number) and foot(number) lines, the pages without them)."""
    plain = ["\n".join(body(number)) for number in range(count)]
    return ["\n".join(filter(None, [head(n), page, foot(n)])) for n, page in enumerate(plain)], plain


@pytest.mark.parametrize(
    ("head", "foot", "removed"),
    [
        (lambda n: "Internal Medicine", lambda n: str(n + 17), {"heads": 8, "feet": 0, "page_numbers": 8}),
        (lambda n: f"{n + 1}  INTERNAL  MEDICINE", lambda n: "", {"heads": 8, "feet": 0, "page_numbers": 0}),
        (
            lambda n: "Chapter 3" if n % 2 else "The Heart",
            lambda n: f"- {n + 1} -",
            {"heads": 8, "feet": 0, "page_numbers": 8},
        ),  # odd and even pages
        (lambda n: "", lambda n: ROMAN[n], {"heads": 0, "feet": 0, "page_numbers": 8}),
        (lambda n: "", lambda n: f"Page {n + 1} of 20", {"heads": 0, "feet": 8, "page_numbers": 0}),
        (lambda n: f"内科学\n第{n + 3}页", lambda n: "", {"heads": 16, "feet": 0, "page_numbers": 0}),
        (lambda n: "Clinique\nService A\nLyon", lambda n: "Confidentiel", {"heads": 24, "feet": 8, "page_numbers": 0}),
        (lambda n: "", lambda n: f"{n + 16} DKIX-06-後H-{n + 20}", {"heads": 0, "feet": 8, "page_numbers": 0}),
        (lambda n: f"Vol. 12 ({n + 3}) {n + 40} - {n + 1}", lambda n: "", {"heads": 8, "feet": 0, "page_numbers": 0}),
        (lambda n: "", lambda n: f"{n // 4 + 3}-{n % 4 + 1}", {"heads": 0, "feet": 0, "page_numbers": 8}),
        (lambda n: "", lambda n: f"{n + 3}/{n + 103}/20", {"heads": 0, "feet": 0, "page_numbers": 8}),
        (lambda n: "", lambda n: f"II-{n + 1}", {"heads": 0, "feet": 8, "page_numbers": 0}),
        (
            lambda n: f"Стр. {n + 3} из 20" if n % 2 else "",
            lambda n: "" if n % 2 else f"Стр. {n + 3} из 20",
            {"heads": 4, "feet": 4, "page_numbers": 0},
        ),  # at the top of some pages and at the bottom of others
        (
            lambda n: f"{n + 3}" if n % 5 == 0 else "",
            lambda n: "" if n % 5 == 0 else f"{n + 3}",
            {"heads": 0, "feet": 0, "page_numbers": 8},
        ),
        (lambda n: "طب القلب", lambda n: "١٢٣٤٥٦٧٨"[n], {"heads": 8, "feet": 0, "page_numbers": 8}),
    ],
)
def test_lines_that_repeat_at_the_ends_of_pages_are_removed_and_counted(head, foot, removed):
    pages, plain = pages_with(head, foot)
    cleaned = remove_furniture(pages)
    assert cleaned.pages == plain
    assert cleaned.removed == removed


def test_a_chapters_head_is_removed_from_that_chapter_and_the_heading_in_the_text_stays():
    pages, plain = pages_with(lambda n: "The Lung" if 2 <= n < 6 else "", lambda n: "")
    pages[1] += "\nThe Lung\nIt breathes."
    assert remove_furniture(pages).pages == [p + "\nThe Lung\nIt breathes." * (n == 1) for n, p in enumerate(plain)]


@pytest.mark.parametrize("seed", range(20))
def test_a_book_of_distinct_lines_is_unchanged(seed):
    chosen = random.Random(seed)
    pages = ["\n".join(body(1000 * seed + n, chosen.randint(0, 6))) for n in range(chosen.randint(0, 30))]
    cleaned = remove_furniture(pages)
    assert cleaned.pages == pages
    assert not any(cleaned.removed.values())


def test_numbers_that_do_not_count_with_the_pages_are_text():
    figures = [310, 7, 42, 1999, 5, 88, 12, 640]
    pages, _ = pages_with(lambda n: f"Table {figures[n]}", lambda n: str(figures[-n]))
    assert remove_furniture(pages).pages == pages


@pytest.mark.parametrize(
    "heading",
    [
        "Question {}",
        "Case {}:",
        "TABLE {}",
        "Cas clinique n° {}",
        "Вопрос {}.",
        "問{}",
        "第 {} 题",
        "症例 {}",
        "السؤال {}",
        "{}.",
        "({})",
        "{}、",
    ],
)
@pytest.mark.parametrize("foot", ["", "- {} -"])
def test_headings_that_count_with_the_pages_stay_at_the_top(heading, foot):
    pages, plain = pages_with(lambda n: heading.format(n + 1), lambda n: foot.format(n + 11))
    assert remove_furniture(pages).pages == [f"{heading.format(n + 1)}\n{page}" for n, page in enumerate(plain)]


def test_numbers_that_count_with_the_pages_by_chance_stay():
    questions = [1, 2, 3, 5, 6, 8, 10, 11]
    pages, plain = pages_with(lambda n: str(questions[n]), lambda n: "")
    assert remove_furniture(pages).pages == pages
    rows = [f"{n + 1} {7 * n % 5} {n * n}" for n in range(8)]  # the first number of a table's row counts
    pages, plain = pages_with(lambda n: rows[n], lambda n: f"{n + 1} / 8")
    assert remove_furniture(pages).pages == [f"{rows[n]}\n{page}" for n, page in enumerate(plain)]


@pytest.mark.parametrize("seed", range(40))
def test_a_line_inside_a_pages_text_never_goes(seed):
    """Between text that differs, lines like the furniture stay whatever the furniture is."""
    chosen = random.Random(seed)
    kinds = [
        "{0}",
        "{0}.",
        "{1} DKIX-06-H-{0}",
        "3-{0}",
        "Page {0} of 20",
        "Internal Medicine",
        "Question {0}",
        "{0} {1} 5",
    ]
    head, foot, *inside = (chosen.choice(kinds) for _ in range(6))
    pages, bodies = [], []
    for number in range(chosen.randint(3, 25)):
        shown = [line.format(number + 1, number + 20) for line in (head, foot, *inside)]
        text = body(1000 * seed + number, 6)
        bodies.append("\n".join([text[0], *shown[2:4], *text[1:5], *shown[4:], text[5]]))
        pages.append(f"{shown[0]}\n{bodies[-1]}\n{shown[1]}")
    for page, cleaned in zip(bodies, remove_furniture(pages).pages, strict=True):
        assert page in cleaned


def test_a_head_that_recognition_misread_on_a_page_is_removed_there_too():
    heads = ["Cardiology today"] * 8
    heads[3:6] = "Cardio1ogy today", "Carcliology today", "Neurology tomorrow"
    pages, plain = pages_with(lambda n: heads[n], lambda n: "")
    plain[5] = f"{heads[5]}\n{plain[5]}"
    assert remove_furniture(pages).pages == plain


def test_two_pages_or_lines_far_apart_are_not_furniture():
    pages, _ = pages_with(lambda n: "Internal Medicine", lambda n: str(n), count=2)
    assert remove_furniture(pages).pages == pages
    pages, _ = pages_with(lambda n: "Questions" if n % 10 == 0 else "", lambda n: "", count=40)
    assert remove_furniture(pages).pages == pages


@pytest.mark.parametrize("lines", [1, 3, 4, 12])
def test_equal_pages_keep_their_text(lines):
    pages = ["\n".join(body(1, lines))] * 5
    assert remove_furniture(pages).pages == pages
    numbered = [f"{page}\n{n + 1}" for n, page in enumerate(pages)]
    assert remove_furniture(numbered).pages == pages
