"""The folder in which a run keeps what is done so far: `OUT/parts/`, with the plan it was begun with.

A killed run leaves it behind; the same command goes on from there, another command is refused. Whoever finishes
writes `manifest.json` and calls `close_run`.
"""

import contextlib
import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from run_record import InputError, is_disk_full, read_json, write_json

RUN_LOCK = "run.lock"  # held as long as a run is at work; by shards together
_held: list = []  # open files whose locks this process holds


def open_run(out: Path, arguments: dict, inputs: dict) -> Path:
    """Begin a run in `out`, or go on with one made from the same arguments and inputs; returns `out/parts`.

    Errors: InputError when `out` holds an unfinished run of another making, or files that are none of ours.
    """
    parts = out / "parts"
    plan = parts / "plan.json"
    wanted = json.loads(json.dumps({"arguments": arguments, "inputs": inputs}, default=str))
    if plan.exists():
        had = read_json(plan)
        if had != wanted:
            differing = sorted(k for k in wanted if had.get(k) != wanted[k])
            raise InputError(
                f"{out} holds an unfinished run made from other {' and '.join(differing)}; "
                "give another --out, or delete that folder"
            )
        print(f"going on with the unfinished run in {out}")
        return parts
    if out.is_dir() and any(entry != parts for entry in out.iterdir()):
        raise InputError(
            f"{out} holds files but no manifest.json: it is no finished output and no run to go on with; "
            "give another --out, or delete that folder"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out names a folder")
    try:
        write_json(plan, wanted)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InputError(f"nothing can be written to {out} ({error.strerror}); give another --out") from None
    return parts


def close_run(out: Path) -> None:
    """Remove what only an unfinished run needs (after the manifest is written; inside `only_run` or after it).

    Where another shard still holds it, that one removes it when it ends.
    """
    path = out / "parts" / RUN_LOCK
    with contextlib.ExitStack() as stack:
        held = next((file for file in _held if file.name == str(path)), None)
        with contextlib.suppress(FileNotFoundError):
            held = held or stack.enter_context(open(path, "r+", encoding="utf-8"))
            if not _lock(held, fcntl.LOCK_EX):
                return
        shutil.rmtree(out / "parts", ignore_errors=True)


@contextlib.contextmanager
def only_run(out: Path, shard: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold the unfinished run in `out` for this process alone, or for this shard (i, n) beside the others of n.

    The locks go with the process, also when it is killed. Errors: InputError where another run is at work;
    FileNotFoundError where another shard has just finished the run and removed its folder.
    """
    wanted = [(RUN_LOCK, fcntl.LOCK_SH if shard else fcntl.LOCK_EX)]
    if shard:
        wanted.append((f"shards-of-{shard[1]}.lock", fcntl.LOCK_SH))
        wanted.append((f"shard-{shard[0]}-of-{shard[1]}.lock", fcntl.LOCK_EX))
    with contextlib.ExitStack() as stack:
        for name, kind in wanted:
            file = stack.enter_context(open(str(out / "parts" / name), "a", encoding="utf-8"))
            _held.append(file)
            stack.callback(_held.remove, file)
            if not _lock(file, kind):
                raise InputError(f"another run is at work in {out}; wait for it, or give another --out")
        others = (p for p in (out / "parts").glob("shards-of-*.lock") if p.name != wanted[1][0]) if shard else ()
        for path in others:
            with open(path, "a", encoding="utf-8") as file:
                if not _lock(file, fcntl.LOCK_EX):
                    raise InputError(f"a run with another number of shards is at work in {out}; wait for it")
        yield


@contextlib.contextmanager
def one_at_a_time(out: Path) -> Iterator[None]:
    """Wait until no other process is in this block for the same `out`."""
    with open(out / "parts" / "publish.lock", "a", encoding="utf-8") as file:
        _lock(file, fcntl.LOCK_EX, wait=True)
        yield


def _lock(file, kind: int, wait: bool = False) -> bool:
    """Whether the lock was got; a file system that has no locks (some networks') gives every lock."""
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def refuse_nesting(source: Path, out: Path) -> None:
    """InputError when the output lies inside the input folder: a second run would read its own output."""
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise InputError(f"--out {out} lies inside the input {source}; give a folder outside it")


def die_with_parent() -> None:
    """Called in a worker process: end it at once when its parent is killed (Linux), so that no orphan writes on.

    It lets go of the parent's locks, which would else outlive the parent by a moment.
    An interrupt from the keyboard ends it without a traceback; the parent tells what happened.
    """
    import signal

    for file in _held:
        file.close()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def end_with_parent() -> None:
    """Called in a new process: the system kills it when its parent ends, however that ends (Linux)."""
    import ctypes
    import signal
    import sys

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
