"""SIGUSR1 and SIGTERM set a flag to stop at the next step. Imported first, so that no signal is lost."""

import ctypes
import os
import signal
import sys

_asked = False


def _ask(_signal, _frame) -> None:
    global _asked
    _asked = True


def listen() -> None:
    """Take USR1 and TERM as the wish from now on."""
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, _ask)
    if "RANK" in os.environ and sys.platform == "linux":
        # When torchrun is killed, its ranks are asked to save and stop, instead of writing on without a master.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def asked() -> bool:
    """Whether one has come."""
    return _asked
