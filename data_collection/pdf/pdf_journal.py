"""The state of one PDF while several processes read its pages in any order: `OUT/journals/NAME.journal`.

NAME depends on the PDF's name, size and content, so that a later run with more PDFs reuses the journals of the others.
While pages are missing the file is called `NAME.journal.aside`. A record is appended as soon as a page is done, so that
an interrupted run resumes at the page. The lines, in order of arrival:

    {"opened": pages, "sha256": the file's, "attachments": files attached, "xfa": a dynamic form}
    {"document", "page", "method", ...}   a page that was read (see FORMAT.md), with "lines" as read and "settled"
    {"document", "page", "reason"}        a page that could not be read (null: the PDF); "lost": its process died
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FOLDER = "journals"
VERSION = 1  # of the records; a run does not resume with journals of another version
MAX_UNIT_PAGES = 16  # consecutive pages that one process reads
UNITS_PER_PDF = 8  # shorter PDFs are split into this many units, so that no process waits for another's last pages
MAX_LOST = 20  # pages of one PDF that crash or hang their process; then its remaining pages are given up
MAX_FAILED_IN_A_ROW = 50  # consecutive failed pages: some PDFs claim 100,000 pages and have one


def journal_path(out: Path, name: str, facts: dict) -> Path:
    """The journal of the PDF with this name and fingerprint (or reason why it is unreadable) in an output folder."""
    key = hashlib.sha256(json.dumps([name, facts], sort_keys=True).encode()).hexdigest()
    return out / FOLDER / f"{key[:32]}.journal"


def remove_other_journals(out: Path, kept: Iterable[Path]) -> None:
    """Delete the journals of PDFs that are not in the output any more."""
    for path in {*(out / FOLDER).iterdir()} - {*kept}:
        path.unlink(missing_ok=True)


class Unit(NamedTuple):
    """Consecutive pages to read."""

    first: int  # number of the first page, from 1
    last: int  # number of the last page; may exceed the PDF's last one before the PDF has been opened
    settled: str | None  # the language model that earlier pages settled; None: none of them did
    is_opening: bool = False  # ends at the first page that settles the language model


class Journal:
    """The state of one PDF, on disk and in memory. part: the file's name once the PDF is complete."""

    def __init__(self, name: str, part: Path):
        self.name, self.part = name, part
        self.aside = part.with_name(part.name + ".aside")
        self.pages: int | None = None  # known once the PDF has been opened
        self.failure: str | None = None  # the reason why the PDF cannot be read
        self.settled: dict[int, str | None] = {}  # {page read: model settled after it}
        self.failed: dict[int, bool] = {}  # {page failed: whether its process died}
        self.given_up: tuple[int, str] | None = None
        self._file = None
        if self.aside.exists():
            records, size = _complete_records(self.aside)
            os.truncate(self.aside, size)
            for record in records:
                self._take(record)

    def add(self, record: dict) -> None:
        """Append a record to the file, then count it."""
        if self._file is None:
            self._file = open(self.aside, "a", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()
        self._take(record)

    def _take(self, record: dict) -> None:
        if "opened" in record:
            self.pages = record["opened"]
        elif record["page"] is None:
            self.failure = record["reason"]
        elif "method" in record:
            self.settled[record["page"]] = record["settled"]
        else:
            self.failed[record["page"]] = record.get("lost", False)
            self.given_up = given_up(self.failed, self.pages)

    def end(self) -> int:
        """The last page to read."""
        return min(self.pages, self.given_up[0]) if self.given_up else self.pages

    def is_complete(self) -> bool:
        if self.failure is not None:
            return True
        if self.given_up is None:
            return len(self.settled) + len(self.failed) == self.pages
        return self._next(1, self.end()) is None

    def units(self) -> list[Unit]:
        """The units still to read; only the opening until that is done, because it settles the others' model."""
        if self.is_complete():
            return []
        if self.pages is None:
            return [Unit(1, MAX_UNIT_PAGES, None, True)]
        opening = self._opening()
        if opening is None:
            return [self.rest(Unit(1, MAX_UNIT_PAGES, None, True))]
        starts = range(opening + 1, self.end() + 1, self._unit_pages())
        return [unit for start in starts if (unit := self.rest(Unit(start, start + self._unit_pages() - 1, None)))]

    def rest(self, unit: Unit) -> Unit | None:
        """A unit without the pages that are done; None if all are. Before the PDF is opened, the unit itself."""
        if self.is_complete():
            return None
        if self.pages is None:
            return unit
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
        """The last page of the opening; None if it is not done yet."""
        last = min(MAX_UNIT_PAGES, self.end())
        for page in range(1, last + 1):
            if self.settled.get(page):
                return page
            if page not in self.settled and page not in self.failed:
                return None
        return last

    def _unit_pages(self) -> int:
        return min(MAX_UNIT_PAGES, -(-self.pages // UNITS_PER_PDF))

    def _next(self, first: int, last: int) -> int | None:
        return next((p for p in range(first, last + 1) if p not in self.settled and p not in self.failed), None)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self.aside.replace(self.part)

    def summary(self) -> str:
        """For example `12 pages; 1 failed`."""
        if self.failure is not None:
            return f"failed: {self.failure}"
        failed = f"; {len(self.failed)} failed" if self.failed else ""
        return f"{len(self.settled)} pages{failed}" + (f"; {self.given_up[1]}" if self.given_up else "")


def given_up(failed: dict[int, bool], pages: int) -> tuple[int, str] | None:
    """(last page that counts, reason) if too many pages failed; independent of the order in which they were read.

    failed: {page: whether its process died}.
    """
    lost = in_a_row = before = 0
    for page in sorted(failed):
        lost += failed[page]
        in_a_row = in_a_row + 1 if page == before + 1 else 1
        before = page
        if page == pages or (lost < MAX_LOST and in_a_row < MAX_FAILED_IN_A_ROW):
            continue
        why = (
            f"{MAX_LOST} pages crashed or hung" if lost >= MAX_LOST else f"{MAX_FAILED_IN_A_ROW} pages in a row failed"
        )
        return page, f"given up after page {page} of {pages}: {why}"
    return None


class ReadPdf(NamedTuple):
    """A finished journal in page order."""

    pages: list[dict]
    failed: list[dict]  # {document, page, reason}
    facts: dict  # sha256, attachments, xfa; {} if the PDF could not be opened


def read_journal(part: Path, name: str) -> ReadPdf:
    """The content of a finished journal, independent of the order in which its pages were read."""
    records = _complete_records(part)[0]
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


def _complete_records(path: Path) -> tuple[list[dict], int]:
    """The complete lines of a file that may end in the middle of one, and their length in bytes."""
    content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in content.split(b"\n")[:-1]], len(content)
