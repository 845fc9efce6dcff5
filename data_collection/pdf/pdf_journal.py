"""What is known of one PDF while its pages are read, in any order, by several processes: `OUT/parts/000000.jsonl`.

While pages are missing the file is called `000000.jsonl.aside`. A record is appended as soon as a page is done, so a
killed run goes on at the page. Its lines, in the order in which they came:

    {"opened": pages, "sha256": the file's, "attachments": files attached, "xfa": made by a program}
    {"document", "page", "method", ...}   a page that was read (see FORMAT.md), with "lines" as read and "settled"
    {"document", "page", "reason"}        a page that could not be read (null: the whole PDF); "lost": with its process
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

PAGES_A_UNIT = 16  # pages that one process reads in a row, at most
UNITS_A_PDF = 8  # into so many units a shorter PDF is cut, so that no process waits for another's last pages
MOST_LOST = 20  # pages of one PDF that may crash or hang their process; then its remaining pages are given up
MOST_IN_A_ROW = 50  # pages that may fail one after the other: some PDFs claim 100,000 pages and have one


class Unit(NamedTuple):
    """Pages to read in a row."""

    first: int  # number of the first page, from 1
    last: int  # number of the last page; may lie behind the PDF's last while nobody has opened it
    settled: str | None  # the language model that earlier pages showed; None: none of them did
    is_opening: bool = False  # it ends at the first page that shows the language model


class Journal:
    """The state of one PDF, on the disk and here. part: the file's name once everything is there."""

    def __init__(self, name: str, part: Path):
        self.name, self.part = name, part
        self.aside = part.with_name(part.name + ".aside")
        self.pages: int | None = None  # known once the PDF has been opened
        self.failed_whole: str | None = None
        self.settled: dict[int, str | None] = {}  # {page read: the model settled after it}
        self.failed: dict[int, bool] = {}  # {page failed: whether its process was lost}
        self.given_up: tuple[int, str] | None = None
        self._file = None
        if self.aside.exists():
            records, size = _whole_records(self.aside)
            os.truncate(self.aside, size)
            for record in records:
                self._take(record)

    def add(self, record: dict) -> None:
        """Write a record down; only then does it count."""
        if self._file is None:
            self._file = open(self.aside, "a", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()
        self._take(record)

    def _take(self, record: dict) -> None:
        if "opened" in record:
            self.pages = record["opened"]
        elif record["page"] is None:
            self.failed_whole = record["reason"]
        elif "method" in record:
            self.settled[record["page"]] = record["settled"]
        else:
            self.failed[record["page"]] = record.get("lost", False)
            self.given_up = given_up(self.failed, self.pages)

    def end(self) -> int:
        """The last page to read."""
        return min(self.pages, self.given_up[0]) if self.given_up else self.pages

    def is_whole(self) -> bool:
        if self.failed_whole is not None:
            return True
        if self.given_up is None:
            return len(self.settled) + len(self.failed) == self.pages
        return self._next(1, self.end()) is None

    def units(self) -> list[Unit]:
        """What is still to be read; before the opening is done, that alone: what it settles serves the other units."""
        if self.is_whole():
            return []
        if self.pages is None:
            return [Unit(1, PAGES_A_UNIT, None, True)]
        opening = self._opening()
        if opening is None:
            return [self.rest(Unit(1, PAGES_A_UNIT, None, True))]
        starts = range(opening + 1, self.end() + 1, self._unit_pages())
        return [unit for start in starts if (unit := self.rest(Unit(start, start + self._unit_pages() - 1, None)))]

    def rest(self, unit: Unit) -> Unit | None:
        """A unit without the pages that are done; None where all are."""
        opening, last = self._opening(), min(unit.last, self.end())
        first = self._next(unit.first, last)
        if first is None or (unit.is_opening and opening is not None):
            return None
        if opening is None:
            return Unit(first, last, None, True)
        start = first - (first - opening - 1) % self._unit_pages()
        before = [*range(first - 1, start - 1, -1), *range(opening, 0, -1)]
        return Unit(first, last, next((self.settled[page] for page in before if page in self.settled), None))

    def _opening(self) -> int | None:
        """The last page of the opening; None while it is not done."""
        last = min(PAGES_A_UNIT, self.end())
        for page in range(1, last + 1):
            if self.settled.get(page):
                return page
            if page not in self.settled and page not in self.failed:
                return None
        return last

    def _unit_pages(self) -> int:
        return min(PAGES_A_UNIT, -(-self.pages // UNITS_A_PDF))

    def _next(self, first: int, last: int) -> int | None:
        return next((p for p in range(first, last + 1) if p not in self.settled and p not in self.failed), None)

    def close(self) -> None:
        """Everything is there."""
        if self._file is not None:
            self._file.close()
        self.aside.replace(self.part)

    def summary(self) -> str:
        """Such as `12 pages; 1 failed`."""
        if self.failed_whole is not None:
            return f"failed: {self.failed_whole}"
        failed = f"; {len(self.failed)} failed" if self.failed else ""
        return f"{len(self.settled)} pages{failed}" + (f"; {self.given_up[1]}" if self.given_up else "")


def given_up(failed: dict[int, bool], pages: int) -> tuple[int, str] | None:
    """(the last page that counts, why) where too many pages failed; whatever order they were read in.

    failed: {page: whether its process was lost}.
    """
    lost = in_a_row = before = 0
    for page in sorted(failed):
        lost += failed[page]
        in_a_row = in_a_row + 1 if page == before + 1 else 1
        before = page
        if page == pages or (lost < MOST_LOST and in_a_row < MOST_IN_A_ROW):
            continue
        why = f"{MOST_LOST} pages crashed or hung" if lost >= MOST_LOST else f"{MOST_IN_A_ROW} pages in a row failed"
        return page, f"given up behind page {page} of {pages}: {why}"
    return None


class ReadPdf(NamedTuple):
    """A finished journal, in order."""

    pages: list[dict]
    failed: list[dict]  # {document, page, reason}
    facts: dict  # sha256, attachments, xfa; {} where the PDF could not be opened


def read_journal(part: Path, name: str) -> ReadPdf:
    """What a finished journal says, the same whatever order its pages were read in."""
    records = _whole_records(part)[0]
    facts = next((record for record in records if "opened" in record), {})
    by_page = {record["page"]: record for record in records if record.get("page") is not None}
    lost = {page: record.get("lost", False) for page, record in by_page.items() if "method" not in record}
    stop = given_up(lost, facts.get("opened", 0))
    if stop:
        by_page = {page: record for page, record in by_page.items() if page <= stop[0]}
    read = [by_page[page] for page in sorted(by_page)]
    failed = [_failure(record) for record in read if "method" not in record]
    failed += [_failure(record) for record in records if "opened" not in record and record["page"] is None]
    if stop:
        failed.append({"document": name, "page": None, "reason": stop[1]})
    return ReadPdf([record for record in read if "method" in record], failed, facts)


def _failure(record: dict) -> dict:
    return {key: record[key] for key in ("document", "page", "reason")}


def _whole_records(path: Path) -> tuple[list[dict], int]:
    """The records of a file that may end in the middle of a line, and the bytes up to there."""
    content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in content.split(b"\n")[:-1]], len(content)
