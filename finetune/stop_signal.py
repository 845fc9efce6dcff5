"""USR1 and TERM as a wish to stop at the next step. Imported before anything slow, which a warning must not kill."""

import signal

_asked = False


def _ask(_signal, _frame) -> None:
    global _asked
    _asked = True


def listen() -> None:
    """Take USR1 and TERM as the wish from now on."""
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, _ask)


def asked() -> bool:
    """Whether one has come."""
    return _asked
