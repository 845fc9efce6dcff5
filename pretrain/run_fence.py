"""One writer a run, on one machine and over a cluster's file system.

<out>/training/.lock        held with flock while the run lives; it goes with the process, also when it is killed
<out>/training/owner.json   host, process, Slurm job, a token, and a heartbeat that changes every few seconds

Over a network file system a lock may hold on one node only, so the owner's record is looked at as well: when it is of
another machine and its heartbeat still changes, that run lives. Before a checkpoint is made current the token is read
again: a run whose folder another job has taken over ends without touching anything.
"""

import fcntl
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from pretrain_record import InputError, read_json, write_json

HEARTBEAT_SECONDS = 10.0


class RunFence:
    """The right to write to a run's folder: `claim` it on rank 0, `check` before publishing, `close` at the end."""

    def __init__(self, out: Path, heartbeat_seconds: float = HEARTBEAT_SECONDS):
        self.folder, self.seconds = out / "training", heartbeat_seconds
        self.owner = self.folder / "owner.json"
        self.token = uuid.uuid4().hex
        self._file, self._stop = None, threading.Event()

    def claim(self) -> "RunFence":
        """Take the folder, or refuse: InputError when another run lives there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.folder / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
        locked = True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(
                f"another run is writing to {self.folder.parent}{self._whose()}; wait for it, stop it, or give "
                "another --out"
            ) from None
        except OSError as error:
            locked = False
            print(f"{self.folder}: no locks on this file system ({error}); the owner's record guards alone", flush=True)
        if self.owner.exists():
            had = read_json(self.owner)
            # With the lock in hand, an owner on this machine is dead; one elsewhere is given time to show a heartbeat.
            if not (locked and had.get("host") == socket.gethostname()):
                time.sleep(3 * self.seconds)
                if self.owner.exists() and read_json(self.owner).get("heartbeat") != had.get("heartbeat"):
                    self._file.close()
                    raise InputError(
                        f"another run is writing to {self.folder.parent}{self._whose()}; its heartbeat goes on; wait "
                        "for it, stop it, or give another --out"
                    )
        self._beat()
        threading.Thread(target=self._keep_beating, daemon=True).start()
        return self

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
                "token": self.token,
                "heartbeat": time.time(),
            },
        )

    def _keep_beating(self) -> None:
        while not self._stop.wait(self.seconds):
            try:
                if self._holds():
                    self._beat()
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
