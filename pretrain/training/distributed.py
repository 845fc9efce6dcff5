"""The group of processes of one run, and the signals that ask it to stop.

Importing this module installs nothing; `watch_signals` does, and an entry calls it before its slow imports.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import warnings

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
