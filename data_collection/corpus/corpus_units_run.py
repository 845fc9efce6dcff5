"""Sort the units of build_corpus.py in processes; a bar where a person watches, else a line a unit."""

import functools
from pathlib import Path

from corpus.corpus_sorting import Sorting, sort_unit
from executor.workers import run_units
from readers.corpus_inputs import Unit


def unit_file(parts: Path, unit: int) -> Path:
    """Where a unit's records go; it is done when the index beside it (.json) is there."""
    return parts / "units" / f"{unit:05d}.jsonl"


def is_done(parts: Path, unit: int) -> bool:
    return unit_file(parts, unit).with_suffix(".json").exists()


def sort_units(waiting: dict[int, Unit], parts: Path, sorting: Sorting, workers: int) -> None:
    """Sort units in processes. Errors: see `executor.workers.run_units`."""

    def describe(u: int, facts: dict) -> str:
        size = f"{facts['documents']} documents, {facts['text_bytes'] / 1e6:.1f} MB"
        return f"{waiting[u].folder.name}/{waiting[u].file}: {size}"

    tasks = {u: (unit, unit_file(parts, u)) for u, unit in waiting.items()}
    run_units(functools.partial(sort_unit, sorting), tasks, workers, describe)
