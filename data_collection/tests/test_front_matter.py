"""The pages of a long book that are its body."""

import pytest

from front_matter import body_pages


@pytest.mark.parametrize(("pages", "first", "last"), [
    (1, 1, 1), (99, 1, 99), (100, 5, 95), (111, 5, 106), (112, 6, 107), (1000, 22, 995),
])  # fmt: skip
def test_front_and_back_of_books_from_100_pages_on_are_left_out(pages, first, last):
    kept = body_pages(pages)
    assert (kept[0], kept[-1]) == (first, last)


def test_a_document_without_pages_has_no_body():
    assert list(body_pages(0)) == []
