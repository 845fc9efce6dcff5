"""What the bench_*.py scripts share: their common flags, texts, timed commands and JSON results."""

import argparse
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from language_codes import LANGUAGES
from run_record import InputError, provenance, write_json

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1")


class Run(NamedTuple):
    """Wall and CPU seconds of one command, including its child processes."""

    wall_s: float
    cpu_s: float


def add_bench_flags(
    add: Callable, rounds: int, languages: tuple[str, ...] = LANGUAGES, core: bool = True, need_input: bool = True
) -> None:
    """Add the input folder, --languages, --rounds, --seed, --json, --recipe and, if one core is measured, --core."""
    nargs = None if need_input else "?"
    add("input", nargs=nargs, type=Path, help="folder of <iso>.parquet files with columns text and label")
    add(
        "--languages",
        nargs="+",
        choices=languages,
        default=list(languages),
        metavar="ISO",
        help="languages to measure (default: all eight)",
    )
    add("--rounds", type=int, default=rounds, help="number of speed measurements (default: %(default)s)")
    if core:
        add("--core", type=int, default=min(os.sched_getaffinity(0)), help="CPU core to run on (default: %(default)s)")
    add("--seed", type=int, default=0, help="random seed for choosing documents (default: %(default)s)")
    add("--json", type=Path, help="JSON file for all measurements")
    add("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")


def require_languages(args: argparse.Namespace) -> None:
    """InputError if the input folder has no file for one of --languages."""
    for language in args.languages:
        if not (args.input / f"{language}.parquet").is_file():
            raise InputError(f"{args.input} contains no {language}.parquet; remove {language} from --languages")


def use_one_core(core: int) -> None:
    """Pin this process, and the commands that it starts, to one core and one thread per library."""
    os.sched_setaffinity(0, {core})
    os.environ.update(ONE_THREAD)


def timed(command: list, environment: dict[str, str] | None = None, exit_codes: tuple[int, ...] = (0,)) -> Run:
    """Run a command to its end. Errors: InputError with the end of its output for any other exit code."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=subprocess.STDOUT, env=os.environ | (environment or {})
        )
        _, status, usage = os.wait4(process.pid, 0)  # usage includes the children that the process waited for
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in exit_codes:
            output.seek(0)
            message = output.read().decode("utf-8", "replace").strip()[-1000:]
            raise InputError(f"{' '.join(map(str, command))}\nexited with {process.returncode}:\n{message}")
    return Run(wall_s, usage.ru_utime + usage.ru_stime)


def write_results(args: argparse.Namespace, argv: list[str] | None, results: dict) -> None:
    """Write the results with arguments and provenance to --json, if given."""
    if args.json:
        arguments = {key: str(value) for key, value in vars(args).items()}
        write_json(args.json, {"arguments": arguments, **results, "provenance": provenance(argv)})


def recombined(pool: list[str], rng: random.Random) -> str:
    """A new document: the first half of one text and the second half of another."""
    return first_half(rng.choice(pool)) + second_half(rng.choice(pool))


def first_half(text: str) -> str:
    return text[: _middle(text)]


def second_half(text: str) -> str:
    return text[_middle(text) :]


def _middle(text: str) -> int:
    """The position after the first line end or space in the second half of a text; the exact half if there is none."""
    half = len(text) // 2
    return next((i + 1 for mark in "\n " if (i := text.find(mark, half)) >= 0), half)
