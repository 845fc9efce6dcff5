"""Filter units in processes of their own, with a progress bar where a person watches, else a line a unit."""

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from executor.run_folder import die_with_parent
from filtering.filter_unit import Unit, document_filter, filter_unit
from run_record import InputError

LOOK_EVERY_SECONDS = 0.5
_progress = None  # in a worker: the counts that all of them add to


def run_units(units: dict[int, Unit], folders: dict[int, Path], settings: dict, workers: int, total_bytes: int) -> None:
    """Filter each unit into its folder. total_bytes: of input, for the bar's time left.

    Errors: InputError when a process was killed from outside; what a unit raises (a full disk, an unreachable hub)
    ends the run, and what is done stays.
    """
    from tqdm import tqdm

    document_filter(settings).warm_up(sorted({unit.language for unit in units.values()} - {""}))
    # Input bytes, text bytes, documents, kept documents: of all processes together.
    progress = multiprocessing.Array("q", 4)
    with (
        tqdm(total=total_bytes, unit="B", unit_scale=True, disable=None, smoothing=0.1) as bar,
        _pool(min(workers, len(units)), progress) as pool,
    ):
        waiting: dict[Future, int] = {pool.submit(_work, units[u], folders[u], settings): u for u in units}
        done_units = 0
        while waiting:
            done, _ = wait(waiting, timeout=LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
            _show(bar, list(progress))
            for job in done:
                unit = units[waiting.pop(job)]
                try:
                    counted = job.result()
                except BrokenProcessPool:
                    raise InputError(
                        "a filtering process was ended from outside (no memory left?); run the same "
                        "command with fewer --workers: it goes on from what is done"
                    ) from None
                done_units += 1
                if bar.disable:
                    print(
                        f"{done_units}/{len(units)} {describe(unit)}: {counted['kept']} of {counted['read']} "
                        f"documents kept, {counted['text_bytes'] / 1e6:.1f} MB of text",
                        flush=True,
                    )


def keep_pandas_out() -> None:
    """Let pyarrow find no pandas: it would import it for the first array made of a list, 0.2 s for nothing."""
    import pyarrow

    sys.meta_path.insert(0, _NoPandas)
    try:
        pyarrow.array([""])  # looks for it now, and never again
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def describe(unit: Unit) -> str:
    """Such as `en.parquet row groups 0 to 9`."""
    first = unit.files[0].name
    if len(unit.files) > 1:
        return f"{first} and {len(unit.files) - 1} more"
    if unit.span.last:
        return f"{first} row groups {unit.span.first} to {unit.span.last - 1}"
    return first


def _show(bar, counts: list[int]) -> None:
    stored, text, documents, kept = counts
    bar.n = min(stored, bar.total)
    seconds = bar.format_dict["elapsed"] or 1e-9
    bar.set_postfix_str(
        f"{text / 1e6 / seconds:.1f} MB/s of text, {100 * kept / max(1, documents):.2f} % kept", refresh=True
    )


@contextlib.contextmanager
def _pool(workers: int, progress) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are ended at once when anything stops the run."""
    pool = ProcessPoolExecutor(max_workers=workers, initializer=_begin_worker, initargs=(progress,))
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # a SIGTERM may come while the process still has our handler, and be lost
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _begin_worker(progress) -> None:
    global _progress
    _progress = progress
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()


def _work(unit: Unit, folder: Path, settings: dict) -> dict:
    def add(*counts: int) -> None:
        with _progress.get_lock():
            for i, count in enumerate(counts):
                _progress[i] += count

    return filter_unit(unit, folder, settings, add)
