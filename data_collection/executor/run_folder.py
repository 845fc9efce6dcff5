"""The folder of an unfinished run: `OUT/parts/`, with the plan and the results so far; locks; closing it.

An interrupted run leaves it behind. The same command resumes it, another one is refused.
"""

import contextlib
import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from run_record import InputError, is_disk_full, read_json, write_json

PLAN = "plan.json"
RUN_LOCK = "run.lock"  # held while a run is working; shared by shards
_held: list = []  # open files whose locks this process holds


def open_run(out: Path, arguments: dict, inputs: dict, renewable: bool = False) -> Path:
    """Begin a run in `out`, or resume one with the same arguments and inputs; returns `out/parts`.

    renewable: `out` may contain a finished output with other inputs, or an unfinished run, which gets these inputs.
    Errors: InputError if `out` contains an unfinished run with different arguments or inputs, or foreign files.
    """
    parts = out / "parts"
    plan = parts / PLAN
    wanted = plan_of(arguments, inputs)
    if plan.exists():
        had = read_json(plan)
        if differing := sorted(k for k in wanted if had.get(k) != wanted[k]):
            if not renewable or differing != ["inputs"]:
                raise InputError(
                    f"{out} contains an unfinished run with different {' and '.join(differing)}; "
                    "use another --out, or delete that folder"
                )
            with open(parts / RUN_LOCK, "a", encoding="utf-8") as file:
                if not _lock(file, fcntl.LOCK_EX):
                    raise InputError(f"another process is working in {out}; wait for it, or use another --out")
                write_json(plan, wanted)
        print(f"resuming the unfinished run in {out}")
        return parts
    is_renewed = renewable and (out / "manifest.json").exists()
    if out.is_dir() and not is_renewed and any(entry != parts for entry in out.iterdir()):
        raise InputError(
            f"{out} is not empty and has no manifest.json: neither a finished nor a resumable run; "
            "use another --out, or delete that folder"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out must be a folder")
    try:
        write_json(plan, wanted)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InputError(f"cannot write to {out} ({error.strerror}); use another --out") from None
    return parts


def plan_of(arguments: dict, inputs: dict) -> dict:
    """What `parts/plan.json` contains for these arguments and inputs."""
    return json.loads(json.dumps({"arguments": arguments, "inputs": inputs}, default=str))


def close_run(out: Path) -> None:
    """Remove `out/parts` after the manifest is written; inside `only_run` or after it.

    If another shard still holds the run's lock, that one removes the folder when it ends.
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
    """Lock the unfinished run in `out` for this process, or for this shard (i, n) beside the other n-1.

    The locks end with the process, also if it is killed. Errors: InputError if another run holds them;
    FileNotFoundError if another shard has just finished the run and removed its folder.
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
                raise InputError(f"another process is working in {out}; wait for it, or use another --out")
        others = (p for p in (out / "parts").glob("shards-of-*.lock") if p.name != wanted[1][0]) if shard else ()
        for path in others:
            with open(path, "a", encoding="utf-8") as file:
                if not _lock(file, fcntl.LOCK_EX):
                    raise InputError(f"a run with another number of shards is working in {out}; wait for it")
        yield


@contextlib.contextmanager
def one_at_a_time(out: Path) -> Iterator[None]:
    """Wait until no other process is in this block for the same `out`."""
    with open(out / "parts" / "publish.lock", "a", encoding="utf-8") as file:
        _lock(file, fcntl.LOCK_EX, wait=True)
        yield


def _lock(file, kind: int, wait: bool = False) -> bool:
    """Whether the lock was acquired; always on file systems without locks (some network file systems)."""
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def refuse_nesting(source: Path, out: Path) -> None:
    """InputError if the output is inside the input folder: a second run would read its own output."""
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise InputError(f"--out {out} is inside the input {source}; use a folder outside it")


def die_with_parent() -> None:
    """Called in a worker process: end with the parent, also if that is killed (Linux), so that no orphan keeps writing.

    Also releases the inherited locks, which would briefly outlive the parent, and makes Ctrl-C end the worker without
    a traceback; the parent reports it.
    """
    import signal

    for file in _held:
        file.close()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def end_with_parent() -> None:
    """Called in a new process: the kernel kills it when its parent ends, for whatever reason (Linux)."""
    import ctypes
    import signal
    import sys

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
