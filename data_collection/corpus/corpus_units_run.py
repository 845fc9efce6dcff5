"""Sort the units of build_corpus.py in processes; a bar where a person watches, else a line a unit."""

import functools
from contextlib import closing
from pathlib import Path

from corpus.corpus_sorting import Sorting, sort_unit
from executor.workers import do_units
from readers.corpus_inputs import Unit


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

    tasks = {u: (unit, unit_file(parts, u)) for u, unit in waiting.items()}
    with (
        tqdm(total=len(waiting), unit="unit", disable=None) as bar,
        closing(do_units(functools.partial(sort_unit, sorting), tasks, workers)) as results,
    ):
        for number, (u, facts) in enumerate(results, 1):
            bar.update()
            if bar.disable:
                print(
                    f"{number}/{len(waiting)} {waiting[u].folder.name}/{waiting[u].file}: {facts['documents']} "
                    f"documents, {facts['text_bytes'] / 1e6:.1f} MB",
                    flush=True,
                )
