"""Sort the units of build_corpus.py in processes; a bar where a person watches, else a line a unit."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from corpus_inputs import Unit
from corpus_record import InputError
from corpus_sorting import Sorting, sort_unit
from unfinished_run import die_with_parent

_sorting: Sorting  # in a worker


def unit_file(parts: Path, unit: int) -> Path:
    """Where a unit's records go; it is done when the index beside it (.json) is there."""
    return parts / "units" / f"{unit:05d}.jsonl"


def is_done(parts: Path, unit: int) -> bool:
    return unit_file(parts, unit).with_suffix(".json").exists()


def sort_units(own: dict[int, Unit], parts: Path, sorting: Sorting, workers: int) -> None:
    """Sort those of a run's (or shard's) units that are not done yet.

    Errors: InputError where a process was ended from outside, and for what a unit raises; what is done stays.
    """
    waiting = {u: unit for u, unit in own.items() if not is_done(parts, u)}
    if len(waiting) < len(own):
        print(f"{len(own) - len(waiting)} of {len(own)} units were done before")
    if not waiting:
        return
    from tqdm import tqdm

    with tqdm(total=len(waiting), unit="unit", disable=None) as bar:
        for number, (u, facts) in enumerate(_results(waiting, parts, sorting, min(workers, len(waiting))), 1):
            bar.update()
            if bar.disable:
                print(f"{number}/{len(waiting)} {waiting[u].folder.name}/{waiting[u].file}: {facts['documents']} "
                      f"documents, {facts['text_bytes'] / 1e6:.1f} MB", flush=True)


def _results(waiting: dict[int, Unit], parts: Path, sorting: Sorting, workers: int) -> Iterator[tuple[int, dict]]:
    if workers == 1:
        yield from ((u, sort_unit(sorting, unit, unit_file(parts, u))) for u, unit in waiting.items())
        return
    # Forked: the processes inherit the lists, which are read once and not copied.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _begin_worker, (sorting,))
    try:
        jobs = {pool.submit(_work, unit, unit_file(parts, u)): u for u, unit in waiting.items()}
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    except BrokenProcessPool:
        raise InputError("a sorting process was ended from outside (no memory left?); run the same command with fewer "
                         "--workers: it goes on from what is done") from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(sorting: Sorting) -> None:
    global _sorting
    _sorting = sorting
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()


def _work(unit: Unit, path: Path) -> dict:
    return sort_unit(_sorting, unit, path)
