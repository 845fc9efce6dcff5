"""workers.py: tasks here or in processes, errors as they are, a lost process as a sentence."""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from executor.workers import do_units
from run_record import InputError


def square(number: int) -> tuple[int, int]:
    if number == 13:
        raise ValueError("thirteen")
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number, os.getpid()


@pytest.mark.parametrize(("workers", "apart", "here"), [(1, False, True), (1, True, False), (2, False, False)])
def test_every_task_is_done_once_here_or_in_a_process(workers, apart, here):
    results = dict(do_units(square, {f"{i}": (i,) for i in range(5)}, workers, apart))
    assert {key: value for key, (value, _) in results.items()} == {"0": 0, "1": 1, "2": 4, "3": 9, "4": 16}
    assert ({process for _, process in results.values()} == {os.getpid()}) is here


def test_no_task_needs_no_process():
    assert list(do_units(square, {}, 4, apart=True)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(workers):
    with pytest.raises(ValueError, match="thirteen"):
        list(do_units(square, {i: (i,) for i in (1, 13)}, workers))


def test_a_process_ended_from_outside_is_a_sentence():
    with pytest.raises(InputError, match="worker process was killed"):
        list(do_units(square, {i: (i,) for i in (1, 99)}, 2))


def test_closing_it_early_leaves_no_process():
    with closing(do_units(square, {i: (i,) for i in range(8)}, 2)) as results:
        next(results)
    assert multiprocessing.active_children() == []


CLOSED_EARLY = """
import signal, sys
from contextlib import closing
from executor.workers import do_units
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as the commands do
for _ in range(250):
    with closing(do_units(pow, {i: (i, 2) for i in range(8)}, 2)) as results:
        next(results)
"""


def test_processes_that_have_hardly_begun_are_ended_too():
    # A process still had the command's handler for SIGTERM, lost the signal, and was waited for without end.
    subprocess.run([sys.executable, "-c", CLOSED_EARLY], cwd=Path(__file__).parents[1], check=True, timeout=60)
