"""Read pages in processes that last as long as the run, one per worker, and survive what PDFs do to them.

A process reads some pages of a PDF in a row, keeps its engine between PDFs and sends every page as soon as it is done.
One that dies (a crash in a native library, no memory) is replaced; the page it was on is tried again in the new
process, and written down as failed if that dies too. One that takes longer for a page than it may is ended.
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
from pdf.ocr_display import Display
from pdf.ocr_document import PdfReader
from pdf.pdf_journal import PAGES_A_UNIT, Journal, Unit
from pdf.recognition_engines import engine_name
from run_record import is_disk_full

GRACE = 5.0  # seconds over a page's time limit before its process is ended: the engine may tell of it by itself
LOOK_EVERY_SECONDS = 0.5
OUT_OF_MEMORY, DISK_FULL = 77, 78  # exit codes of a process
STOPPING = (signal.SIGINT, signal.SIGTERM)
UNIT_DONE, USED_UP = "unit done", "used up"  # what a process says beside records


class Book(NamedTuple):
    """One PDF to read."""

    path: Path
    journal: Journal
    passwords: tuple[str, ...]  # to try in turn if it is encrypted


def read_all(books: list[Book], settings: dict, workers: int, done: int, total: int) -> None:
    """Read what the books' journals lack. done, total: PDFs finished before, and all, for the display.

    settings: languages, dpi, timeout (seconds a page), engine, chinese_engine, memory_bytes. Errors: OSError where the
    disk is full.
    """
    _load_before_forking(settings["engine"])
    run = _Run(books, settings, workers, done, total)
    try:
        run.go()
    finally:
        run.end()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    print(f"largest process: {peak:.0f} MB of memory at its peak")


def _load_before_forking(engine: str) -> None:
    """What every process needs and would take half a second to load for itself."""
    import pypdfium2  # noqa: F401

    engine_name(engine)  # imports it
    detect_language("The patient was seen by a doctor in the clinic.")


class _Run:
    """The books, the units of pages that wait, and the processes."""

    def __init__(self, books: list[Book], settings: dict, workers: int, done: int, total: int):
        self.books, self.settings, self.most_workers = books, settings, workers
        self.waiting = deque((i, unit) for i, book in enumerate(books) for unit in book.journal.units())
        self.tried: set[tuple[int, int]] = set()  # (book, first page) of what a process ended on once
        self.open_books = set(range(len(books)))
        self.workers: list[_Worker] = []
        self.display = Display([book.journal for book in books], done, total)

    def go(self) -> None:
        for i in range(len(self.books)):
            self._finish_if_whole(i)
        limit = self.settings["timeout"]
        while self.open_books:
            self._hand_out()
            ready = wait([worker.pipe for worker in self.workers], timeout=LOOK_EVERY_SECONDS)
            for worker in [w for w in self.workers if w.pipe in ready]:
                self._hear(worker)
            for worker in [w for w in self.workers if w.seconds_on_page() > limit + GRACE]:
                self._fail_page(worker, f"took longer than {limit:g} s")
                self._drop(worker)

    def _hand_out(self) -> None:
        """Give waiting units to idle processes, newly started ones where there are too few."""
        while self.waiting:
            i, unit = self.waiting[0]
            rest = self._rest(i, unit)
            if rest is not None:
                idle = [worker for worker in self.workers if worker.unit is None]
                if idle and (i, rest.first) in self.tried:  # what ended a process is tried again in a new one
                    self._drop(idle.pop())
                    idle = []
                if not idle and len(self.workers) == self.most_workers:
                    return
                worker = idle[0] if idle else _Worker(self.settings)
                if not idle:
                    self.workers.append(worker)
                worker.begin(i, rest, self.books[i])
            self.waiting.popleft()

    def _rest(self, i: int, unit: Unit) -> Unit | None:
        journal = self.books[i].journal
        if journal.is_whole():
            return None
        return unit if journal.pages is None else journal.rest(unit)

    def _hear(self, worker: "_Worker") -> None:
        """Take what a process says, or its end."""
        while worker.pipe.poll():
            try:
                said = worker.pipe.recv()
            except (EOFError, OSError):  # nobody is at the other end any more
                self._ended_by_itself(worker)
                return
            if said == USED_UP:
                self._drop(worker)
                return
            if said == UNIT_DONE:
                self._unit_ended(worker)
            else:
                worker.since, worker.heard_of = time.monotonic(), worker.heard_of + 1
                self._write_down(worker.book, said)

    def _ended_by_itself(self, worker: "_Worker") -> None:
        worker.process.join()
        code = worker.process.exitcode
        if code == DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == OUT_OF_MEMORY:
            reason = f"more than {self.settings['memory_bytes'] / 2**30:g} GiB of memory needed"
        rest = self._rest(worker.book, worker.unit) if worker.unit else None
        if rest is not None:
            if worker.heard_of == 0 or (worker.book, rest.first) in self.tried:
                self._fail_page(worker, f"the reading process ended ({reason})")
            else:  # what it did before may have been the cause
                self.tried.add((worker.book, rest.first))
        self._drop(worker)

    def _fail_page(self, worker: "_Worker", reason: str) -> None:
        """Write down as failed the page that a process was on, or the PDF if it was being opened."""
        rest = self._rest(worker.book, worker.unit)
        if rest is not None:
            journal = self.books[worker.book].journal
            page = None if journal.pages is None else rest.first
            self._write_down(worker.book, {"document": journal.name, "page": page, "reason": reason, "lost": True})

    def _write_down(self, i: int, record: dict) -> None:
        if i in self.open_books:  # else another process's pages had the PDF given up
            self.books[i].journal.add(record)
            self.display.count(i, record)

    def _drop(self, worker: "_Worker") -> None:
        """End a process; what is left of its unit waits for another."""
        worker.end()
        self.workers.remove(worker)
        if worker.unit is not None:
            self._unit_ended(worker)

    def _unit_ended(self, worker: "_Worker") -> None:
        i, unit = worker.book, worker.unit
        worker.unit = None
        if (rest := self._rest(i, unit)) is not None:
            self.waiting.appendleft((i, rest))
        elif unit.is_opening:
            self.waiting.extendleft((i, following) for following in reversed(self.books[i].journal.units()))
        self._finish_if_whole(i)

    def _finish_if_whole(self, i: int) -> None:
        journal = self.books[i].journal
        if i in self.open_books and journal.is_whole():
            journal.close()
            self.open_books.discard(i)
            self.display.book_done(journal)

    def end(self) -> None:
        for worker in self.workers:
            worker.end()
        self.display.close()


class _Worker:
    """A forked process and what it is at."""

    def __init__(self, settings: dict):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        # Python drops an interruption that comes while it forks; held back, it comes right after.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        self.process.start()
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.book, self.unit = -1, None
        self.since = time.monotonic()  # when it began the page it is on
        self.heard_of = 0  # records that came from it

    def begin(self, i: int, unit: Unit, book: Book) -> None:
        self.book, self.unit, self.since = i, unit, time.monotonic()
        # A process that has just died shows when it is listened to.
        with contextlib.suppress(ConnectionError):
            self.pipe.send((book.path, book.journal.name, book.passwords, unit, book.journal.pages is None))

    def seconds_on_page(self) -> float:
        return time.monotonic() - self.since if self.unit is not None else 0.0

    def end(self) -> None:
        """Kill the process and what it has started (tesseract)."""
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe, settings: dict) -> None:
    """The forked process: its own group, ended with its parent, with bounded memory and no core dump."""
    os.setsid()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    before = address_space()
    resource.setrlimit(resource.RLIMIT_AS, (before + settings["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reader, sent = PdfReader(settings), 0
    try:
        while True:
            for record in reader.read_unit(*pipe.recv()):
                pipe.send(record)
                sent += 1
                if sent >= PAGES_A_UNIT and address_space() - before > settings["memory_bytes"] / 2:
                    pipe.send(USED_UP)  # so that no page fails for what others left behind
            pipe.send(UNIT_DONE)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except OSError as error:
        if not is_disk_full(error):
            raise
        os._exit(DISK_FULL)


def address_space() -> int:
    """Bytes of address space of this process, which is what RLIMIT_AS bounds; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
