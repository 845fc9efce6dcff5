"""How far the reading of PDFs is: a bar with pages/s and time left where a person watches, else lines.

A line a PDF, and one now and then while a big one is read.
"""

import time

from pdf.pdf_journal import Journal

LINE_EVERY_SECONDS = 60.0


class Display:
    """done, total: PDFs finished before, and all. The pages of PDFs not opened yet are estimated from the others."""

    def __init__(self, journals: list[Journal], done: int, total: int):
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread in a process that forks
        self.pages = {i: journal.pages for i, journal in enumerate(journals) if journal.pages}
        self.unfinished, self.done, self.total, self.failed = len(journals), done, total, 0
        self.before = self.read = sum(len(journal.settled) + len(journal.failed) for journal in journals)
        self.begun = self.last_line = time.monotonic()
        self.bar = tqdm(initial=self.before, unit=" pages", disable=None, smoothing=0.05)

    def count(self, i: int, record: dict) -> None:
        """A record of the i-th PDF has been written down."""
        if "opened" in record:
            self.pages[i] = record["opened"]
            self.bar.total = round(sum(self.pages.values()) / len(self.pages) * self.unfinished)
            return
        self.failed += "method" not in record
        self.bar.set_postfix_str(f"{self.done}/{self.total} PDFs, {self.failed} failed", refresh=False)
        if record["page"] is not None:
            self.read += 1
            self.bar.update()
        now = time.monotonic()
        if self.bar.disable and now - self.last_line > LINE_EVERY_SECONDS:
            self.last_line = now
            print(
                f"{self.read} pages read, {(self.read - self.before) / (now - self.begun):.1f} a second, "
                f"{self.failed} failed",
                flush=True,
            )

    def book_done(self, journal: Journal) -> None:
        self.done += 1
        if self.bar.disable:
            print(f"{self.done}/{self.total} {journal.name}: {journal.summary()}", flush=True)

    def close(self) -> None:
        self.bar.close()
