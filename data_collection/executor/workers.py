"""Do units of work in processes of their own, which end with the run: what every command with --workers does.

The processes are forked, so they inherit the work and what it holds (tables, lists), and only tasks and results are
sent. Example:

    python -c "import unit_processes as u; print(dict(u.do_units(pow, {'a': (2, 3), 'b': (3, 2)}, workers=2)))"
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from executor.run_folder import die_with_parent
from run_record import InputError

_work: Callable  # in a worker


def do_units(work: Callable, tasks: dict, workers: int, apart: bool = False) -> Iterator[tuple]:
    """Yield (key, work(*arguments)) of tasks {key: arguments}, in the order in which they end.

    One worker does them in this process, unless apart: then a crash of a native library ends with a sentence too.
    Close the iterator (contextlib.closing) where its reader may be interrupted: that ends the processes. Errors:
    InputError where a process was ended from outside, and whatever a task raises.
    """
    workers = min(workers, len(tasks))
    if not tasks:
        return
    if workers == 1 and not apart:
        yield from ((key, work(*arguments)) for key, arguments in tasks.items())
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin_worker, (work,))
    try:
        jobs = {pool.submit(_do, arguments): key for key, arguments in tasks.items()}
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    except BrokenProcessPool:
        raise InputError(
            "a process was ended from outside (no memory left?); run the same command with fewer "
            "--workers: it goes on from what is done"
        ) from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # a SIGTERM may come while the process still has our handler, and be lost
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(work: Callable) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()


def _do(arguments: tuple):
    return _work(*arguments)
