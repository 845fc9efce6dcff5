"""ocr_processes.py: crashes, hangs, kills, interruptions, shards, a full disk, and the progress display."""

import contextlib
import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from executor.run_folder import only_run
from pdf import ocr_document, ocr_processes, pdf_journal

pytestmark = pytest.mark.usefixtures("tesseract")


def misbehave(monkeypatch, document: str, page: int, deed) -> None:
    """Make the reading process call `deed` at one page (the forked process inherits this)."""
    read_page = ocr_document.read_page

    def bad(pdf, number, name, *rest):
        if (name, number + 1) == (document, page):
            deed()
        return read_page(pdf, number, name, *rest)

    monkeypatch.setattr(ocr_document, "read_page", bad)


def crash():
    os.kill(os.getpid(), signal.SIGTRAP)


def eat_memory():
    return bytearray(1 << 40)


def hang():
    signal.pause()


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        (crash, "the reading process ended (signal SIGTRAP)"),
        (eat_memory, "the reading process ended (more than 1.25 GiB of memory needed)"),
        (hang, "took longer than 1 s"),
    ],
)
def test_only_the_page_that_kills_its_process_is_lost(run, made, tmp_path, monkeypatch, deed, reason):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"{made.long} one", f"{made.long} two", f"{made.long} three"])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [made.long])
    misbehave(monkeypatch, "a.pdf", 2, deed)
    monkeypatch.setattr(ocr_processes, "GRACE", 1.0)
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--timeout", 1, "--memory", 1.25)
    assert done.returncode == 3, (done.stdout, done.stderr)
    documents, pages, failures = made.books(tmp_path / "out")
    assert failures == [{"document": "a.pdf", "page": 2, "reason": reason}]
    assert set(pages) == {("a.pdf", 1), ("a.pdf", 3), ("b.pdf", 1)}
    assert (documents["a.pdf"]["pages"], documents["a.pdf"]["pages_failed"]) == (3, 1)


def test_a_pdf_that_crashes_when_it_is_opened_is_listed(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.long])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [made.long])
    open_pdf = ocr_document.open_pdf
    monkeypatch.setattr(ocr_document, "open_pdf", lambda p, word: crash() if p.name == "a.pdf" else open_pdf(p, word))
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 3
    documents, _, failures = made.books(tmp_path / "out")
    assert list(documents) == ["b.pdf"]
    assert failures == [{"document": "a.pdf", "page": None, "reason": "the reading process ended (signal SIGTRAP)"}]


def test_a_pdf_whose_pages_crash_is_given_up_at_the_same_page_with_any_number_of_workers(
    run, made, tmp_path, monkeypatch
):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"{made.long} {i}" for i in range(40)])
    read_page = ocr_document.read_page
    monkeypatch.setattr(
        ocr_document,
        "read_page",
        lambda pdf, number, *rest: crash() if number in (2, 17, 18, 33) else read_page(pdf, number, *rest),
    )
    monkeypatch.setattr(pdf_journal, "MAX_LOST", 3)
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        assert run("ocr.py", tmp_path / "pdfs", "--out", out, "--workers", workers).returncode == 3
        _, pages, failures = made.books(out)
        assert failures[-1] == {
            "document": "a.pdf",
            "page": None,
            "reason": "given up after page 19 of 40: 3 pages crashed or hung",
        }
        assert [page for _, page in pages] == [i for i in range(1, 19) if i not in (3, 18)]


def test_pages_that_arrive_after_their_pdf_was_given_up_are_ignored(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"Here is page {i}." for i in range(120)])
    made.text_pdf(tmp_path / "pdfs" / "b.pdf", [made.long])
    read_page = ocr_document.read_page

    def slow_behind(pdf, number, name, *rest):
        if name == "b.pdf":
            time.sleep(1.5)
        elif number < 64:
            return {"document": name, "page": number + 1, "reason": "broken"}
        else:
            time.sleep(0.2)
        return read_page(pdf, number, name, *rest)

    monkeypatch.setattr(ocr_document, "read_page", slow_behind)
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", 3)
    assert done.returncode == 3, done.stderr
    assert made.books(tmp_path / "out")[2][-1]["reason"] == ("given up after page 50 of 120: 50 pages in a row failed")


def test_no_page_is_lost_if_a_process_is_killed_from_outside(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"{made.long} one", f"{made.long} two", f"{made.long} three"])
    once = tmp_path / "once"

    def killed_once():
        if not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    misbehave(monkeypatch, "a.pdf", 2, killed_once)
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out").returncode == 0
    assert once.exists()
    assert len(made.books(tmp_path / "out")[1]) == 3


def test_a_page_that_takes_tesseract_too_long_fails_alone(run, made, tmp_path, monkeypatch):
    made.scanned_pdf(tmp_path / "pdfs" / "scan.pdf", [made.long])
    made.text_pdf(tmp_path / "pdfs" / "text.pdf", [made.long])
    real = shutil.which("tesseract")
    slow = tmp_path / "bin" / "tesseract"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *--list-langs*|*--version*) exec {real} "$@";; esac\nexec sleep 60\n',
        encoding="utf-8",
    )
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--timeout", 1, "--engine", "pytesseract")
    assert done.returncode == 3
    documents, _, failures = made.books(tmp_path / "out")
    assert list(documents) == ["text.pdf"]
    assert failures[0] == {"document": "scan.pdf", "page": 1, "reason": "tesseract took longer than 1 s"}


def test_a_killed_run_resumes_at_the_page_and_ends_with_the_same_files(run, made, tmp_path):
    for i, pages in enumerate((2, 600, 2)):
        made.text_pdf(tmp_path / "pdfs" / f"{i}.pdf", [f"Here is page {j} of {i}." for j in range(pages)])
    out = tmp_path / "out"
    arguments = [tmp_path / "pdfs", "--out", out, "--workers", 1]

    def begun() -> list[Path]:
        return [path for path in out.glob("journals/*.aside") if path.read_bytes().count(b"\n") > 20]

    assert made.start_and_kill("ocr.py", arguments, begun)
    assert not (out / "manifest.json").exists()
    with open(begun()[0], "a", encoding="utf-8") as file:
        file.write('{"document": "1.pdf", "pa')  # as a kill in the middle of writing leaves it
    done = run("ocr.py", *arguments)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "1 of 3 PDFs were done before" in done.stdout
    assert int(re.search(r"(\d+) pages of the others were done before", done.stdout)[1]) >= 20
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "whole", "--workers", 3).returncode == 0
    assert made.all_but_seconds(out) == made.all_but_seconds(tmp_path / "whole")
    assert [page["page"] for page in made.lines(out / "pages.jsonl") if page["document"] == "1.pdf"] == [*range(1, 601)]


def test_an_interrupted_run_says_how_to_resume_and_leaves_no_process(made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"Here is page {j}." for j in range(2000)])
    command = [sys.executable, made.stage / "ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out", "--workers", "2"]
    for sent, code, said in ((signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        while "tesseract data" not in process.stdout.readline():
            pass
        while process.poll() is None and len(processes_with(tmp_path / "out")) < 2:
            time.sleep(0.01)
        process.send_signal(sent)
        output = process.communicate(timeout=30)[0]
        assert (process.returncode, f"{said}; run the same command again" in output) == (code, True), output
        assert "Traceback" not in output
        assert processes_with(tmp_path / "out") == []


def processes_with(argument) -> list[Path]:
    """Running processes with this argument on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(str(argument)) in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(folder)
    return found


def test_each_shard_reads_a_share_and_the_last_writes_the_output(run, made, tmp_path):
    for i in range(3):
        made.text_pdf(tmp_path / "pdfs" / f"{i}.pdf", [f"{made.long} {i}"])
    out = tmp_path / "out"
    first = run("ocr.py", tmp_path / "pdfs", "--out", out, "--shard", "0/2")
    assert (first.returncode, "2 of 3 PDFs are done" in first.stdout) == (0, True), first.stderr
    assert not (out / "manifest.json").exists()
    assert run("ocr.py", tmp_path / "pdfs", "--out", out, "--shard", "1/2").returncode == 0
    assert run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "whole").returncode == 0
    assert made.all_but_seconds(out) == made.all_but_seconds(tmp_path / "whole")
    assert list(made.books(out)[0]) == ["0.pdf", "1.pdf", "2.pdf"]


def test_an_interrupted_addition_leaves_the_finished_output_and_is_resumed_or_taken_back(run, made, tmp_path):
    pdfs, out = tmp_path / "pdfs", tmp_path / "out"
    made.text_pdf(pdfs / "a.pdf", [made.long])
    made.text_pdf(pdfs / "gone.pdf", [made.long])
    assert run("ocr.py", pdfs, "--out", out).returncode == 0
    whole, manifest = made.all_but_seconds(out), made.manifest(out)
    made.text_pdf(tmp_path / "more.pdf", [f"Here is page {j}." for j in range(600)])
    (tmp_path / "more.pdf").rename(pdfs / "b.pdf")
    (pdfs / "gone.pdf").rename(tmp_path / "gone.pdf")

    def begun() -> bool:
        return any(path.read_bytes().count(b"\n") > 20 for path in out.glob("journals/*.aside"))

    for _ in range(2):  # the second one takes up the first
        assert made.start_and_kill("ocr.py", [pdfs, "--out", out, "--workers", 1], begun)
        assert {name: made.files(out)[name] for name in whole[1]} == whole[1]
        assert made.manifest(out) == manifest
    with only_run(out):
        done = run("ocr.py", pdfs, "--out", out)
        assert (done.returncode, "another process is working" in done.stderr) == (2, True)
        plan = (out / "parts" / "plan.json").read_bytes()
        (tmp_path / "gone.pdf").rename(pdfs / "gone.pdf")
        done = run("ocr.py", pdfs, "--out", out)
        assert (done.returncode, "another process is working" in done.stderr) == (2, True)
        assert (out / "parts" / "plan.json").read_bytes() == plan
    (pdfs / "b.pdf").rename(tmp_path / "b.pdf")
    done = run("ocr.py", pdfs, "--out", out)
    assert (done.returncode, "reused" in done.stdout) == (0, True)
    (tmp_path / "b.pdf").rename(pdfs / "b.pdf")
    done = run("ocr.py", pdfs, "--out", out, "--workers", 2)
    assert (done.returncode, "2 PDFs unchanged, 1 new or changed, 0 removed" in done.stdout) == (0, True), done.stderr
    assert int(re.search(r"(\d+) pages of the others were done before", done.stdout)[1]) >= 20
    assert run("ocr.py", pdfs, "--out", tmp_path / "whole").returncode == 0
    assert made.all_but_seconds(out) == made.all_but_seconds(tmp_path / "whole")


def test_a_run_killed_while_it_replaces_an_output_leaves_no_manifest_and_is_resumed(run, made, tmp_path, monkeypatch):
    pdfs, out = tmp_path / "pdfs", tmp_path / "out"
    for name in ("a.pdf", "b.pdf"):
        made.text_pdf(pdfs / name, [f"{made.long} {name}"])
        if name == "a.pdf":
            assert run("ocr.py", pdfs, "--out", out).returncode == 0
    commit = made.manifest(out)["provenance"]["commit"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_until("documents.jsonl"))
        assert run("ocr.py", pdfs, "--out", out).returncode == 130
    assert not (out / "manifest.json").exists()
    done = run("ocr.py", pdfs, "--out", out)
    assert (done.returncode, "2 of 2 PDFs were done before" in done.stdout) == (0, True), done.stderr
    assert list(made.books(out)[0]) == ["a.pdf", "b.pdf"]
    assert [row["commit"] for row in made.manifest(out)["earlier_runs"]] == [commit]


def replace_until(name: str):
    """Path.replace that is interrupted at a file with this name."""
    replace = Path.replace

    def replace_or_stop(path, target):
        if path.name == name:
            raise KeyboardInterrupt
        return replace(path, target)

    return replace_or_stop


def test_shards_add_to_an_output(run, made, tmp_path):
    pdfs, out = tmp_path / "pdfs", tmp_path / "out"
    for i in range(3):
        made.text_pdf(pdfs / f"{i}.pdf", [f"{made.long} {i}"])
    assert run("ocr.py", pdfs, "--out", out).returncode == 0
    for i in range(3, 6):
        made.text_pdf(pdfs / f"{i}.pdf", [f"{made.long} {i}"])
    before = made.files(out)
    first = run("ocr.py", pdfs, "--out", out, "--shard", "0/2")
    assert (first.returncode, "4 of 6 PDFs are done" in first.stdout) == (0, True), first.stdout
    assert {name: made.files(out)[name] for name in before} == before
    second = run("ocr.py", pdfs, "--out", out, "--shard", "1/2")
    assert (second.returncode, "3 PDFs unchanged, 3 new or changed" in second.stdout) == (0, True), second.stderr
    assert run("ocr.py", pdfs, "--out", tmp_path / "whole").returncode == 0
    assert made.all_but_seconds(out) == made.all_but_seconds(tmp_path / "whole")


def test_a_second_run_on_the_same_output_is_an_error(run, made, tmp_path):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [made.long])
    out = tmp_path / "out"
    assert made.start_and_kill("ocr.py", [tmp_path / "pdfs", "--out", out], (out / "parts" / "run.lock").exists)
    with only_run(out):
        done = run("ocr.py", tmp_path / "pdfs", "--out", out)
    assert (done.returncode, "another process is working" in done.stderr) == (2, True)
    done = run("ocr.py", tmp_path / "pdfs", "--out", out, "--timeout", 99)
    assert (done.returncode, "different arguments" in done.stderr) == (2, True)
    assert run("ocr.py", tmp_path / "pdfs", "--out", out).returncode == 0


def test_a_full_disk_ends_the_run_with_one_sentence_and_it_can_be_resumed(run, made, tmp_path, monkeypatch):
    made.text_pdf(tmp_path / "pdfs" / "a.pdf", [f"{made.long} {i}" for i in range(3)])
    add = pdf_journal.Journal.add

    def full(journal, record):
        if record.get("page") == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(journal, record)

    with monkeypatch.context() as patch:
        patch.setattr(pdf_journal.Journal, "add", full)
        done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert (done.returncode, "no space left on the disk" in done.stderr) == (1, True)
    done = run("ocr.py", tmp_path / "pdfs", "--out", tmp_path / "out")
    assert (done.returncode, "1 pages of the others were done before" in done.stdout) == (0, True)


def test_a_terminal_shows_a_bar_and_a_log_gets_lines(monkeypatch, capsys, tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def show(stream):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(ocr_processes, "LOG_EVERY_SECONDS", -1.0)
        journals = [pdf_journal.Journal(name, tmp_path / name) for name in ("a.pdf", "b.pdf")]
        display = ocr_processes.Display(journals, 0, 2)
        display.count(0, {"opened": 2})
        display.count(0, {"page": 1, "method": "ocr"})
        display.count(0, {"page": 2, "reason": "broken"})
        display.bar.refresh()
        display.close()
        return capsys.readouterr().out

    terminal = Terminal()
    assert show(terminal) == ""
    assert "2/4" in terminal.getvalue() and "0/2 PDFs, 1 failed" in terminal.getvalue()
    assert "2 pages read" in (lines := show(io.StringIO())) and "1 failed" in lines
