"""Run one forked process per PDF, several at once, and survive what PDFs do to them.

A process that dies (a crash in the PDF library, no memory) or stands still for longer than a page may take is ended;
the page it was on is written down as failed and a new process goes on with the page after it.
"""

import json
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

from language import detect_language
from ocr_document import read_document, whole_lines
from unfinished_run import die_with_parent

MOST_RESTARTS = 20  # of one PDF; then its remaining pages are given up
GRACE = 30.0  # seconds over the page's time limit before a process counts as hanging: drawing, detection
POLL = 0.05  # seconds between looks at the processes


def read_all(pdfs: list[Path], root: Path, parts: Path, args) -> None:
    """Read every PDF that has no finished part yet. args: workers, language, dpi, timeout, memory."""
    from tqdm import tqdm

    waiting = [i for i in range(len(pdfs)) if not (parts / f"{i:06d}.jsonl").exists()]
    if len(waiting) < len(pdfs):
        print(f"{len(pdfs) - len(waiting)} of {len(pdfs)} PDFs were done before")
    settings = {"language": args.language, "dpi": args.dpi, "timeout": args.timeout,
                "memory_bytes": int(args.memory * 2**30)}
    _load_before_forking()
    running: list[_Reading] = []
    done = len(pdfs) - len(waiting)
    bar = tqdm(total=len(pdfs), initial=done, unit="PDF", disable=None)
    try:
        while waiting or running:
            while waiting and len(running) < args.workers:
                i = waiting.pop(0)
                name = printable(pdfs[i].relative_to(root).as_posix())
                running.append(_Reading(pdfs[i], name, parts / f"{i:06d}.jsonl", settings))
            time.sleep(POLL)
            for reading in [r for r in running if r.is_finished()]:
                running.remove(reading)
                done += 1
                bar.update()
                if bar.disable:
                    print(f"{done}/{len(pdfs)} {reading.name}: {reading.summary()}", flush=True)
    finally:
        for reading in running:
            reading.end()
        bar.close()


def printable(name: str) -> str:
    """A file's name as UTF-8 can hold it: file systems allow names in any bytes."""
    return os.fsencode(name).decode("utf-8", "replace")


def _load_before_forking() -> None:
    """What every process needs and would take half a second to load for itself."""
    import pypdfium2  # noqa: F401
    import pytesseract  # noqa: F401

    detect_language("The patient was seen by a doctor in the clinic.")


class _Reading:
    """One PDF being read by a process of its own, started again after a page that killed it."""

    def __init__(self, path: Path, name: str, part: Path, settings: dict):
        self.path, self.name, self.part, self.settings = path, name, part, settings
        self.aside = part.with_name(part.name + ".aside")
        self.restarts = 0
        self._start()

    def _start(self) -> None:
        self.process = multiprocessing.get_context("fork").Process(
            target=_work, args=(self.path, self.name, self.part, self.settings))
        self.process.start()
        self.seen, self.since = -1, time.monotonic()

    def is_finished(self) -> bool:
        """Look after the process: True when the part is whole; a dead or hanging process is replaced."""
        if self.process.is_alive():
            size = self.aside.stat().st_size if self.aside.exists() else 0
            if size != self.seen:
                self.seen, self.since = size, time.monotonic()
            elif time.monotonic() - self.since > self.settings["timeout"] + GRACE:
                self.end()
                self._go_on_after(f"no answer after {self.settings['timeout'] + GRACE:g} s")
            return False
        self.process.join()
        if self.part.exists():
            return True
        code = self.process.exitcode
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == OUT_OF_MEMORY:
            reason = f"more than {self.settings['memory_bytes'] / 2**30:g} GiB of memory needed"
        self._go_on_after(f"the reading process ended ({reason})")
        return False

    def _go_on_after(self, reason: str) -> None:
        """Write the page down on which the process ended, and start another for the pages behind it."""
        lines = whole_lines(self.aside)
        self.restarts += 1
        given_up = self.restarts > MOST_RESTARTS
        # A process that ends before its first page has broken on the PDF as a whole only if the next does so again;
        # the page is skipped, and a PDF whose every page does this is given up.
        page = None if given_up else len(lines) + 1
        lines.append({"document": self.name, "page": page,
                      "reason": f"given up after {MOST_RESTARTS} failed pages: {reason}" if given_up else reason})
        with open(self.aside, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        if given_up:
            self.aside.replace(self.part)
        else:
            self._start()

    def summary(self) -> str:
        lines = whole_lines(self.part)
        failed = [line["reason"] for line in lines if "reason" in line]
        pages = f"{len(lines) - len(failed)} pages"
        return f"{pages}; {len(failed)} failed: {failed[0]}" if failed else pages

    def end(self) -> None:
        """Kill the process and what it has started (tesseract)."""
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()
            self.process.join()


OUT_OF_MEMORY = 77


def _work(path: Path, name: str, part: Path, settings: dict) -> None:
    """The forked process: its own group, ended with its parent, with bounded memory and no core dump."""
    os.setsid()
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (settings["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        read_document(path, name, part, settings)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
