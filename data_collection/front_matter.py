"""Which pages of a long book are its body: title pages, contents and index say little and repeat much.

The published rule for the corpus's textbooks (Qiu et al. 2024, https://arxiv.org/abs/2402.13963, their PDF parser): of
a book of 100 pages or more the first 1.8 % and 3 pages more are left out, and the last 5.
"""

LEAST_PAGES = 100
FRONT_SHARE, FRONT_PAGES, BACK_PAGES = 0.018, 3, 5


def body_pages(pages: int) -> range:
    """Numbers, counted from 1, of the pages to keep of a document with so many pages; all of a short one."""
    if pages < LEAST_PAGES:
        return range(1, pages + 1)
    return range(int(FRONT_SHARE * pages) + FRONT_PAGES + 1, pages - BACK_PAGES + 1)
