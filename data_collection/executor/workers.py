"""One pool for all commands with --workers: units of work in forked processes that end with the run.

The processes inherit the work function and what it refers to (tables, lists), so only tasks and results are sent.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from executor.run_folder import die_with_parent
from run_record import InputError

WATCH_SECONDS = 0.5

_work: Callable  # in a worker
_counters = None  # in a worker: counts that all of them add to


def run_units(
    work: Callable,
    tasks: dict,
    workers: int,
    describe: Callable[[object, object], str],
    sizes: dict | None = None,
    watch: Callable | None = None,
    counters: int = 0,
    apart: bool = False,
) -> None:
    """Run work(*arguments) of all tasks {key: arguments}, with a progress bar on a terminal, else one line per task.

    describe(key, result): the text of a line. sizes {key: bytes}: what the bar counts (default: tasks).
    watch(bar, counts): called twice a second to update the bar from the shared counters. For the rest see `do_units`.
    """
    from tqdm import tqdm

    measure = {"total": sum(sizes[key] for key in tasks), "unit": "B", "unit_scale": True} if sizes else {}
    with (
        tqdm(**{"total": len(tasks), "unit": "unit", "disable": None} | measure) as bar,
        closing(do_units(work, tasks, workers, apart, counters, watch and (lambda c: watch(bar, c)))) as results,
    ):
        for number, (key, result) in enumerate(results, 1):
            if watch is None:
                bar.update(sizes[key] if sizes else 1)
            if bar.disable:
                print(f"{number}/{len(tasks)} {describe(key, result)}", flush=True)


def do_units(
    work: Callable,
    tasks: dict,
    workers: int,
    apart: bool = False,
    counters: int = 0,
    watch: Callable[[list[int]], None] | None = None,
) -> Iterator[tuple]:
    """Yield (key, work(*arguments)) of tasks {key: arguments}, in the order in which they end.

    A single worker runs in this process, unless apart=True: then a crash of a native library ends in an error message
    too. counters: number of counters shared by the workers (see `add_counts`); watch gets their values twice a second.
    Close the iterator (contextlib.closing) if its consumer may be interrupted: that ends the processes.
    Errors: InputError if a process was killed from outside, and whatever a task raises.
    """
    workers = min(workers, len(tasks))
    if not tasks:
        return
    if workers == 1 and not apart:
        yield from ((key, work(*arguments)) for key, arguments in tasks.items())
        return
    context = multiprocessing.get_context("fork")
    shared = context.Array("q", counters) if counters else None
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (work, shared))
    try:
        waiting = {pool.submit(_do, arguments): key for key, arguments in tasks.items()}
        while waiting:
            done, _ = wait(waiting, timeout=WATCH_SECONDS if watch else None, return_when=FIRST_COMPLETED)
            if watch:
                watch(list(shared))
            for job in done:
                yield waiting.pop(job), job.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed (out of memory?); run the same command with fewer --workers to resume"
        ) from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # SIGTERM can be lost while the process still has our handler
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def add_counts(*counts: int) -> None:
    """Called in a worker: add to the shared counters of `do_units`."""
    with _counters.get_lock():
        for i, count in enumerate(counts):
            _counters[i] += count


def _begin_worker(work: Callable, shared) -> None:
    global _work, _counters
    _work, _counters = work, shared
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()


def _do(arguments: tuple):
    return _work(*arguments)
