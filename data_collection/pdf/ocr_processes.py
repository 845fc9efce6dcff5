"""Read pages in processes that last as long as the run, one per worker, and survive crashes, hangs and lack of memory.

A process reads some pages of a PDF in a row, keeps its engine between PDFs and sends each page as soon as it is done.
If a process dies (crash in a native library, out of memory), it is replaced and the page is tried again in the new
process; if that dies too, the page is recorded as failed. A process that exceeds the time limit of a page is killed.
"""

import contextlib
import errno
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from executor.run_folder import die_with_parent
from filtering.language import detect_language
from pdf.ocr_document import PdfReader
from pdf.pdf_journal import MAX_UNIT_PAGES, Journal, Unit
from pdf.recognition_engines import engine_name
from run_record import is_disk_full

GRACE = 5.0  # seconds beyond a page's time limit before its process is killed: the engine may report the timeout itself
POLL_SECONDS = 0.5
LOG_EVERY_SECONDS = 60.0
OUT_OF_MEMORY, DISK_FULL = 77, 78  # exit codes of a process
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNIT_DONE, MEMORY_USED_UP = "unit done", "used up"  # messages of a process in addition to records


class Book(NamedTuple):
    """One PDF to read."""

    path: Path
    journal: Journal
    passwords: tuple[str, ...]  # to try in turn if it is encrypted


def read_all(books: list[Book], settings: dict, workers: int, done: int, total: int) -> None:
    """Read the pages that the books' journals lack. done, total: PDFs finished before, and all, for the display.

    settings: languages, dpi, timeout (seconds per page), engine, chinese_engine, memory_bytes. Errors: OSError if the
    disk is full.
    """
    _load_before_forking(settings["engine"])
    pool = _Pool(books, settings, workers, done, total)
    try:
        pool.run()
    finally:
        pool.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    print(f"peak memory of the largest process: {peak:.0f} MB")


def _load_before_forking(engine: str) -> None:
    """Load what every process needs; it would take each half a second."""
    import pypdfium2  # noqa: F401

    engine_name(engine)  # imports it
    detect_language("The patient was seen by a doctor in the clinic.")


class _Pool:
    """The books, the waiting units of pages, and the processes."""

    def __init__(self, books: list[Book], settings: dict, workers: int, done: int, total: int):
        self.books, self.settings, self.max_workers = books, settings, workers
        self.waiting = deque((i, unit) for i, book in enumerate(books) for unit in book.journal.units())
        self.tried: set[tuple[int, int]] = set()  # (book, first page) of units on which a process died once
        self.open_books = set(range(len(books)))
        self.workers: list[_Worker] = []
        self.display = Display([book.journal for book in books], done, total)

    def run(self) -> None:
        for i in range(len(self.books)):
            self._close_if_complete(i)
        limit = self.settings["timeout"]
        while self.open_books:
            self._assign_units()
            ready = wait([worker.pipe for worker in self.workers], timeout=POLL_SECONDS)
            for worker in [w for w in self.workers if w.pipe in ready]:
                self._receive(worker)
            for worker in [w for w in self.workers if w.seconds_on_page() > limit + GRACE]:
                self._fail_page(worker, f"took longer than {limit:g} s")
                self._remove(worker)

    def _assign_units(self) -> None:
        """Give waiting units to idle processes; start processes while there are too few."""
        while self.waiting:
            i, unit = self.waiting[0]
            rest = self.books[i].journal.rest(unit)
            if rest is not None:
                idle = [worker for worker in self.workers if worker.unit is None]
                if idle and (i, rest.first) in self.tried:  # a page that killed a process is retried in a new one
                    self._remove(idle.pop())
                    idle = []
                if not idle and len(self.workers) == self.max_workers:
                    return
                worker = idle[0] if idle else _Worker(self.settings)
                if not idle:
                    self.workers.append(worker)
                worker.begin(i, rest, self.books[i])
            self.waiting.popleft()

    def _receive(self, worker: "_Worker") -> None:
        """Handle a process's messages, or its death."""
        while worker.pipe.poll():
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):  # the process has died
                self._handle_death(worker)
                return
            if message == MEMORY_USED_UP:
                self._remove(worker)
                return
            if message == UNIT_DONE:
                self._end_unit(worker)
            else:
                worker.since, worker.records = time.monotonic(), worker.records + 1
                self._record(worker.book, message)

    def _handle_death(self, worker: "_Worker") -> None:
        worker.process.join()
        code = worker.process.exitcode
        if code == DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == OUT_OF_MEMORY:
            reason = f"more than {self.settings['memory_bytes'] / 2**30:g} GiB of memory needed"
        rest = self.books[worker.book].journal.rest(worker.unit) if worker.unit else None
        if rest is not None:
            if worker.records == 0 or (worker.book, rest.first) in self.tried:
                self._fail_page(worker, f"the reading process ended ({reason})")
            else:  # earlier pages may have been the cause
                self.tried.add((worker.book, rest.first))
        self._remove(worker)

    def _fail_page(self, worker: "_Worker", reason: str) -> None:
        """Record the page that a process was on as failed, or the PDF if it was being opened."""
        rest = self.books[worker.book].journal.rest(worker.unit)
        if rest is not None:
            journal = self.books[worker.book].journal
            page = None if journal.pages is None else rest.first
            self._record(worker.book, {"document": journal.name, "page": page, "reason": reason, "lost": True})

    def _record(self, i: int, record: dict) -> None:
        if i in self.open_books:  # otherwise the PDF was given up because of another process's pages
            self.books[i].journal.add(record)
            self.display.count(i, record)

    def _remove(self, worker: "_Worker") -> None:
        """Kill a process; the rest of its unit waits for another one."""
        worker.kill()
        self.workers.remove(worker)
        if worker.unit is not None:
            self._end_unit(worker)

    def _end_unit(self, worker: "_Worker") -> None:
        i, unit = worker.book, worker.unit
        worker.unit = None
        if (rest := self.books[i].journal.rest(unit)) is not None:
            self.waiting.appendleft((i, rest))
        elif unit.is_opening:
            self.waiting.extendleft((i, following) for following in reversed(self.books[i].journal.units()))
        self._close_if_complete(i)

    def _close_if_complete(self, i: int) -> None:
        journal = self.books[i].journal
        if i in self.open_books and journal.is_complete():
            journal.close()
            self.open_books.discard(i)
            self.display.book_done(journal)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.display.close()


class _Worker:
    """A forked process and the unit that it reads."""

    def __init__(self, settings: dict):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        # Python loses a signal that arrives while it forks; a blocked one is delivered afterwards.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self.process.start()
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.book, self.unit = -1, None
        self.since = time.monotonic()  # when it began the current page
        self.records = 0  # received from it

    def begin(self, i: int, unit: Unit, book: Book) -> None:
        self.book, self.unit, self.since = i, unit, time.monotonic()
        with contextlib.suppress(ConnectionError):  # _receive notices a process that has just died
            self.pipe.send((book.path, book.journal.name, book.passwords, unit, book.journal.pages is None))

    def seconds_on_page(self) -> float:
        return time.monotonic() - self.since if self.unit is not None else 0.0

    def kill(self) -> None:
        """Kill the process and its children (tesseract)."""
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe, settings: dict) -> None:
    """The forked process: in its own group, ends with its parent, bounded memory, no core dump."""
    os.setsid()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    before = address_space()
    resource.setrlimit(resource.RLIMIT_AS, (before + settings["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reader, sent = PdfReader(settings), 0
    try:
        while True:
            for record in reader.read_unit(*pipe.recv()):
                pipe.send(record)
                sent += 1
                if sent >= MAX_UNIT_PAGES and address_space() - before > settings["memory_bytes"] / 2:
                    pipe.send(MEMORY_USED_UP)  # so that a page does not fail because of earlier pages
            pipe.send(UNIT_DONE)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except OSError as error:
        if not is_disk_full(error):
            raise
        os._exit(DISK_FULL)


def address_space() -> int:
    """This process's address space in bytes, which RLIMIT_AS bounds; 0 if the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


class Display:
    """Progress: a bar with pages/s and time left on a terminal, else one line per PDF and per minute.

    done, total: PDFs finished before, and all. The pages of PDFs not opened yet are estimated from the others.
    """

    def __init__(self, journals: list[Journal], done: int, total: int):
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread in a process that forks
        self.pages = {i: journal.pages for i, journal in enumerate(journals) if journal.pages}
        self.unfinished, self.done, self.total, self.failed = len(journals), done, total, 0
        self.before = self.read = sum(len(journal.settled) + len(journal.failed) for journal in journals)
        self.begun = self.last_line = time.monotonic()
        self.bar = tqdm(initial=self.before, unit=" pages", disable=None, smoothing=0.05)

    def count(self, i: int, record: dict) -> None:
        """Count a record of the i-th PDF."""
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
        if self.bar.disable and now - self.last_line > LOG_EVERY_SECONDS:
            self.last_line = now
            speed = (self.read - self.before) / (now - self.begun)
            print(f"{self.read} pages read, {speed:.1f} pages/s, {self.failed} failed", flush=True)

    def book_done(self, journal: Journal) -> None:
        self.done += 1
        if self.bar.disable:
            print(f"{self.done}/{self.total} {journal.name}: {journal.summary()}", flush=True)

    def close(self) -> None:
        self.bar.close()
