"""pdf_journal.py: which pages are still to read, in which order, and where a PDF is given up."""

import json

import pytest

from pdf import pdf_journal
from pdf.pdf_journal import Journal, Unit, given_up, read_journal


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal("a.pdf", tmp_path / "000000.jsonl")


def page(number: int, settled: str = "") -> dict:
    return {"document": "a.pdf", "page": number, "method": "ocr", "settled": settled}


def broken(number: int | None, **more) -> dict:
    return {"document": "a.pdf", "page": number, "reason": "broken"} | more


def test_the_opening_is_read_alone_and_settles_the_model_of_the_other_units(journal):
    assert journal.units() == [Unit(1, 16, None, True)]
    journal.add({"opened": 40})
    assert journal.units() == [Unit(1, 16, None, True)]
    journal.add(page(1))
    journal.add(broken(2))
    assert journal.units() == [Unit(3, 16, None, True)]
    journal.add(page(3, "deu"))
    assert journal.rest(Unit(1, 16, None, True)) is None
    units = [Unit(first, min(40, first + 4), "deu") for first in range(4, 41, 5)]
    assert journal.units() == units
    journal.add(page(9, "fra"))
    journal.add(broken(10, lost=True))
    assert journal.units() == [units[0], Unit(11, 13, "fra"), *units[2:]]
    assert journal.rest(Unit(39, 43, None)) == Unit(39, 40, "deu")
    for number in (*range(4, 9), *range(11, 41)):
        assert not journal.is_complete()
        journal.add(page(number))
    assert (journal.is_complete(), journal.units()) == (True, [])


@pytest.mark.parametrize(
    ("pages", "units"),
    [
        (3, []),  # the opening only
        (16, []),
        (20, [Unit(17, 19, ""), Unit(20, 20, "")]),
        (300, [Unit(first, min(300, first + 15), "") for first in range(17, 301, 16)]),
    ],
)
def test_an_opening_that_settles_nothing_ends_after_sixteen_pages(journal, pages, units):
    journal.add({"opened": pages})
    for number in range(1, min(16, pages) + 1):
        assert journal.units() == [Unit(number, min(16, pages), None, True)]
        journal.add(page(number))
    assert journal.units() == units


def test_a_journal_read_again_has_the_same_state_without_the_half_line(journal):
    journal.add({"opened": 20})
    journal.add(page(1, "rus"))
    with open(journal.aside, "a", encoding="utf-8") as file:
        file.write(json.dumps(page(2))[:-9])
    again = Journal("a.pdf", journal.part)
    assert again.units()[:2] == [Unit(2, 4, "rus"), Unit(5, 7, "rus")]
    again.add(page(2, "rus"))
    assert Journal("a.pdf", journal.part).units()[0] == Unit(3, 4, "rus")


def test_a_pdf_that_cannot_be_opened_is_done(journal):
    journal.add(broken(None))
    assert (journal.is_complete(), journal.units()) == (True, [])
    journal.close()
    assert read_journal(journal.part, "a.pdf").failed == [broken(None)]


@pytest.mark.parametrize(
    ("failed", "pages", "page_and_why"),
    [
        ({}, 100, None),
        (dict.fromkeys(range(1, 40), True), 100, (20, "20 pages crashed or hung")),
        (dict.fromkeys(range(1, 80, 2), True), 100, (39, "20 pages crashed or hung")),
        (dict.fromkeys(range(1, 80, 2), False), 100, None),
        (dict.fromkeys(range(11, 100), False), 100, (60, "50 pages in a row failed")),
        (dict.fromkeys(range(1, 51), False), 50, None),  # nothing is left to give up
    ],
)
def test_a_pdf_is_given_up_where_too_many_pages_failed(failed, pages, page_and_why):
    found = given_up(dict(reversed(failed.items())), pages)
    if page_and_why is None:
        assert found is None
    else:
        assert found == (page_and_why[0], f"given up after page {page_and_why[0]} of {pages}: {page_and_why[1]}")


def test_pages_after_the_one_where_a_pdf_is_given_up_do_not_count_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf_journal, "MAX_LOST", 2)
    texts = []
    for order in ((1, 2, 3, 4, 5), (5, 4, 2, 3, 1), (4, 2, 1)):
        journal = Journal("a.pdf", tmp_path / f"{order}.jsonl")
        journal.add({"opened": 5})
        for number in order:
            journal.add(broken(number, lost=True) if number in (2, 4, 5) else page(number))
            if number == 1 and order[-1] == 1 and len(order) == 3:
                assert journal.units() == [Unit(3, 4, None, True)]
                journal.add(page(3))
        assert journal.is_complete()
        journal.close()
        texts.append(read_journal(journal.part, "a.pdf"))
    assert texts[0] == texts[1] == texts[2]
    assert [p["page"] for p in texts[0].pages] == [1, 3]
    assert texts[0].failed[-1]["reason"] == "given up after page 4 of 5: 2 pages crashed or hung"
