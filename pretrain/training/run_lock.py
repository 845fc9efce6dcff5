"""One writer a run, on one machine and over a cluster's file system.

<out>/training/.lock        held with flock while the run lives; it goes with the process, also when it is killed
<out>/training/owner.json   host, process, Slurm job, a token, and a heartbeat that changes every few seconds

Over a network file system a lock may hold on one node only, so the owner's record is looked at as well: when it is of
another machine and its heartbeat still changes, that run lives. Before a checkpoint is made current the token is read
again: a run whose folder another job has taken over ends without touching anything.

A job that Slurm has queued again takes the folder over from its own earlier start, which Slurm holds for dead: on a
node that was lost, but only cut off, it may go on. Its heartbeat finds the other token, and asks its ranks to stop.
"""

import fcntl
import os
import signal
import socket
import threading
import time
import uuid
from pathlib import Path

from run_record import InputError, read_json, write_json

HEARTBEAT_SECONDS = 10.0


class RunFence:
    """The right to write to a run's folder: `claim` it on rank 0, `check` before publishing, `close` at the end."""

    def __init__(self, out: Path, heartbeat_seconds: float = HEARTBEAT_SECONDS):
        self.folder, self.seconds = out / "training", heartbeat_seconds
        self.owner = self.folder / "owner.json"
        self.token = uuid.uuid4().hex
        self._file, self._locked, self._stop = None, None, threading.Event()

    def claim(self) -> "RunFence":
        """Take the folder, or refuse: InputError when another run lives there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
        except (NotADirectoryError, FileExistsError, PermissionError) as error:
            raise InputError(f"--out {self.folder.parent} cannot be written ({error}); give another --out") from None
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
        """_locked: True, False while another process holds the lock, None where there are no locks (OSError)."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locked = True
        except BlockingIOError:
            self._locked = False

    def _refuse(self, whose: str) -> None:
        self._file.close()
        raise InputError(
            f"another run is writing to {self.folder.parent}{whose}; wait for it, stop it, or give another --out"
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
                continue  # a full or absent disk is told by the next checkpoint, which stops the run

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
