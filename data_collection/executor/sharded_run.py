"""The steps of every command that runs sharded work, and its flags.

A run is reused if it is finished, resumed if it is unfinished, and refused if it has other arguments or inputs; a
command that can reuse results for single inputs renews its output for other inputs. Shards share one output folder; the
last to end publishes. `OUT/parts` contains what is done so far (run_folder.py);
`OUT/manifest.json` is written last.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from executor.run_folder import PLAN, close_run, one_at_a_time, only_run, open_run, plan_of
from run_record import InputError, finished_record, read_json


class Unfinished(NamedTuple):
    """Other shards still have work to do: what this process reports and exits with."""

    message: str
    exit_code: int = 0


def add_run_flags(
    add: Callable, unit_mb: int | None = None, shares: str = "units", unit_help: str = "", shard_help: str = ""
) -> None:
    """Add --unit-mb (with a default, in MB), --shard, --workers, --recipe and --dry-run to a parser."""
    if unit_mb is not None:
        add(
            "--unit-mb",
            type=int,
            default=unit_mb,
            help="size of a unit of work, about this many MB (10^6 bytes) of text; at most this much per process is "
            f"redone after an interruption{unit_help} (default: %(default)s)",
        )
    add(
        "--shard",
        type=parse_shard,
        metavar="i/n",
        help=f"do only every n-th of the {shares}, from number i on; i from 0 to n-1{shard_help}",
    )
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="number of processes (default: one per CPU core, %(default)s here)",
    )
    add("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    add(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="validate input and settings, print the plan, write nothing",
    )


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of "i/n", i from 0 to n-1: unit u belongs to shard u modulo n."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()) or int(index) >= int(count):
        raise argparse.ArgumentTypeError(f"{text}: expected i/n with i from 0 to n-1, such as 0/4 to 3/4")
    return int(index), int(count)


def require_at_least(args: argparse.Namespace, **minima: float) -> None:
    """InputError if a numeric flag is below its minimum, such as require_at_least(args, workers=1)."""
    for name, minimum in minima.items():
        if getattr(args, name) < minimum:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least {minimum}")


def own_units(units: list, shard: tuple[int, int] | None) -> dict[int, object]:
    """{number: unit} of the units of this shard (of all units if there is none)."""
    index, count = shard or (0, 1)
    return {u: unit for u, unit in enumerate(units) if u % count == index}


def not_done(own: dict, is_done: Callable[[object], bool]) -> dict:
    """The units of `own` without a result; prints how many were done before."""
    waiting = {key: unit for key, unit in own.items() if not is_done(key)}
    if len(waiting) < len(own):
        print(f"{len(own) - len(waiting)} of {len(own)} units were done before")
    return waiting


def others_missing(done: int, total: int, what: str = "units", exit_code: int = 0) -> Unfinished | None:
    """None if everything is done, else what to report."""
    if done == total:
        return None
    return Unfinished(
        f"{done} of {total} {what} are done; the other shards do the rest, and the last to end writes the output",
        exit_code,
    )


def run_sharded(
    out: Path,
    shard: tuple[int, int] | None,
    arguments: dict,
    inputs: dict,
    work: Callable[[Path], Unfinished | None],
    finish: Callable[[Path], dict],
    report: Callable[[dict], int],
    resume_only: tuple[dict, dict] = ({}, {}),
    renew: Callable[[dict], None] | None = None,
) -> int:
    """Reuse, resume or do a run; returns the exit code.

    arguments, inputs: determine the output; recorded in the manifest.
    work(parts): does this shard's units; returns an Unfinished if other shards still have some to do.
    finish(parts): writes the output and, last, the manifest, which it returns; one process at a time.
    report(manifest): prints the result; returns the exit code.
    resume_only: further (arguments, inputs) that must not change while a run is unfinished, such as unit sizes.
    renew(record): called before anything is written if `out` contains a manifest or plan with other inputs, which it
        may refuse; the finished output stays until finish() replaces it. None: other inputs are refused.
    Errors: InputError if `out` contains another run, or another process is working on the same shard.
    """
    manifest_path, planned = out / "manifest.json", (arguments | resume_only[0], inputs | resume_only[1])

    def finished() -> dict | None:
        return _finished_record(manifest_path, arguments, inputs, renew is not None)

    if manifest := finished():
        print(f"{out} is complete and was made from the same inputs: reused")
        close_run(out)
        return report(manifest)
    if renew:
        for path, own in ((manifest_path, inputs), (out / "parts" / PLAN, planned[1])):
            if path.exists() and (record := read_json(path)).get("inputs") != plan_of({}, own)["inputs"]:
                renew(record)
                break
    manifest = None
    with contextlib.ExitStack() as held:
        try:
            parts = open_run(out, *planned, renew is not None)
            held.enter_context(only_run(out, shard))
            if read_json(parts / PLAN) != plan_of(*planned):
                raise InputError(f"another process has begun in {out} with other inputs; run the same command again")
        except (InputError, FileNotFoundError):
            if not finished():  # else another shard has just finished the run
                raise
        else:
            unfinished = None if finished() else work(parts)
            if unfinished and not finished():
                print(unfinished.message)
                return unfinished.exit_code
            with one_at_a_time(out):
                if not finished():
                    manifest = finish(parts)
    close_run(out)
    if manifest is None:
        manifest = finished()
        print(f"{out} was completed by another shard: reused")
    return report(manifest)


def _finished_record(path: Path, arguments: dict, inputs: dict, renewable: bool) -> dict | None:
    """The record of the finished run; None without one, and for one with other inputs if the output is renewable."""
    try:
        return finished_record(path, arguments, inputs)
    except InputError:
        if not renewable:
            raise
    try:
        record = read_json(path)
    except InputError:
        if path.exists():
            raise
        return None  # another process is replacing it
    finished_record(path, arguments, record.get("inputs"))  # other arguments are refused all the same
    return None


def exit_on_sigterm() -> None:
    """On SIGTERM exit with 143 after ending the workers; the run can be resumed."""

    def terminated(number: int, frame: object) -> None:
        print(f"{Path(sys.argv[0]).name}: terminated; run the same command again to resume", flush=True)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, terminated)
