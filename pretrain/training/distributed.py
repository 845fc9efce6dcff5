"""The processes of a run: ranks, stop signals, and the lock that admits one writer per run.

Importing this module installs nothing; `watch_signals` does, and an entry calls it before its slow imports.
"""

import ctypes
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
import warnings
from pathlib import Path

from run_record import InputError, read_json, write_json

HEARTBEAT_SECONDS = 10.0


class RunLock:
    """The right to write to a run's folder: `claim` it on rank 0, `check` before publishing, `close` at the end."""

    def __init__(self, out: Path, heartbeat_seconds: float = HEARTBEAT_SECONDS):
        self.folder, self.seconds = out / "training", heartbeat_seconds
        self.owner = self.folder / "owner.json"
        self.token = uuid.uuid4().hex
        self._file, self._locked, self._stop = None, None, threading.Event()

    def claim(self) -> "RunLock":
        """Take the folder, or refuse: InputError when another run lives there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
        except (NotADirectoryError, FileExistsError, PermissionError) as error:
            raise InputError(f"--out {self.folder.parent} cannot be written ({error}); use another --out") from None
        had = read_json(self.owner) if self.owner.exists() else {}
        try:
            self._lock()
        except OSError as error:
            print(f"{self.folder}: no locks on this file system ({error}); the owner's record guards alone", flush=True)
        if self._is_earlier_start(had):
            print(f"taking over {self.folder.parent} from an earlier start of this job{self._whose()}", flush=True)
        elif self._locked is False:
            self._refuse(self._whose())
        # With the lock in hand, an owner on this machine is dead; one elsewhere is given time to show a heartbeat.
        elif had and not (self._locked and had.get("host") == socket.gethostname()):
            time.sleep(3 * self.seconds)
            if self.owner.exists() and read_json(self.owner).get("heartbeat") != had.get("heartbeat"):
                self._refuse(f"{self._whose()}; its heartbeat continues")
        self._beat()
        threading.Thread(target=self._keep_beating, daemon=True).start()
        return self

    def _lock(self) -> None:
        """_locked: True, False while another process contains the lock, None where there are no locks (OSError)."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locked = True
        except BlockingIOError:
            self._locked = False

    def _refuse(self, whose: str) -> None:
        self._file.close()
        raise InputError(
            f"another run is writing to {self.folder.parent}{whose}; wait for it, stop it, or use another --out"
        )

    def _is_earlier_start(self, had: dict) -> bool:
        job = os.environ.get("SLURM_JOB_ID")
        return bool(job) and had.get("job") == job and had.get("restart", 0) < _restart()

    def _whose(self) -> str:
        if not self.owner.exists():
            return ""
        had = read_json(self.owner)
        job = f", Slurm job {had['job']}" if had.get("job") else ""
        return f" ({had.get('host')}, process {had.get('process')}{job})"

    def _beat(self) -> None:
        write_json(
            self.owner,
            {
                "host": socket.gethostname(),
                "process": os.getpid(),
                "job": os.environ.get("SLURM_JOB_ID"),
                "restart": _restart(),
                "token": self.token,
                "heartbeat": time.time(),
            },
        )

    def _keep_beating(self) -> None:
        while not self._stop.wait(self.seconds):
            try:
                if self._holds():
                    self._beat()
                elif self.owner.exists():
                    os.kill(os.getpid(), signal.SIGTERM)  # the ranks stop at the next step; `check` says why
                    return
                if self._locked is False:
                    self._lock()  # which the run that was taken over lets go
            except OSError:
                continue  # a full or absent disk is reported by the next checkpoint, which stops the run

    def _holds(self) -> bool:
        return self.owner.exists() and read_json(self.owner).get("token") == self.token

    def check(self) -> None:
        """InputError when the folder is not ours any more."""
        if not self._holds():
            raise InputError(
                f"another run has taken over {self.folder.parent}{self._whose()}; this one stops and leaves it as it is"
            )

    def close(self) -> None:
        self._stop.set()
        if self._holds():
            self.owner.unlink()
        self._file.close()


def _restart() -> int:
    """How many times Slurm has queued this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
_asked: int | None = None


def watch_signals() -> None:
    """From now on USR1 and TERM are remembered, not died of: a job warned in its first seconds must live to save."""

    def remember(number, _frame) -> None:
        global _asked
        _asked = number

    for number in STOP_SIGNALS:
        signal.signal(number, remember)
    if "RANK" in os.environ and sys.platform == "linux":
        # When torchrun is killed, its ranks are asked to save and stop, instead of writing on without a master.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop_flags() -> list[float]:
    """For each of STOP_SIGNALS 1.0 where this rank was sent it; summed over the ranks they name the signal."""
    return [float(_asked == number) for number in STOP_SIGNALS]


def stop_name(flags: list[float]) -> str | None:
    """ "SIGUSR1", "SIGTERM" or None, from the flags of all ranks."""
    return next((signal.Signals(n).name for n, flag in zip(STOP_SIGNALS, flags, strict=True) if flag), None)


def join_ranks(gpu: bool) -> None:
    """Make the process group: torchrun's, or one of this process alone."""
    if not gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ:  # started by plain python, not by torchrun: a group of one, on a free port
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ |= {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
    # What torch and transformers announce of their own insides is not news for the person who watches the steps.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed|transformers")
    import deepspeed
    from transformers.utils import logging as transformers_logging

    # It warns of every optimizer that is not torch's own class; ours is that class with a switch.
    logging.getLogger("DeepSpeed").addFilter(lambda record: "untested optimizer" not in str(record.msg))
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    if not gpu:
        # DeepSpeed would compile a collective for CPU ranks at every first start, a minute behind a lock that a killed
        # process leaves for ever, and fail without a C++ compiler. gloo does the same work.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if gpu else "gloo", verbose=False)
