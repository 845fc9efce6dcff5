"""Loss spikes and NaN or infinite values: detected before the weights are updated, and logged.

Every rank has the same guard and sees the same all-reduced loss, so all decide alike. What it remembers (the
losses of the last steps, the steps that were skipped) is read back from metrics.jsonl when a run is resumed.
"""

import math
import statistics
from collections import deque

WINDOW = 64  # steps that a loss is compared with
NEEDED = 16  # of them, before anything is called a spike: a run's first steps fall fast
# A quiet loss must not make every ripple a spike: its deviation counts as this share of the median at least.
QUIET_SHARE = 0.005


class SpikeGuard:
    """What to do with a step, by its loss: "apply", "skip", "warn" or "stop"."""

    def __init__(self, on_spike: str, factor: float, max_skips: int):
        """factor: deviations over the median; 0: spikes are not looked for, only losses that are no numbers."""
        self.on_spike, self.factor, self.max_skips = on_spike, factor, max_skips
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.skipped: list[int] = []
        self.in_a_row = 0

    def limit(self) -> float:
        """The loss above which a step counts as a spike: median + factor x 1.4826 x median absolute deviation.

        1.4826 makes the median absolute deviation that of a normal distribution (Rousseeuw & Croux 1993,
        https://doi.org/10.1080/01621459.1993.10476408); both medians ignore the spikes before.
        """
        if self.factor <= 0 or len(self.losses) < NEEDED:
            return math.inf
        median = statistics.median(self.losses)
        deviation = 1.4826 * statistics.median(abs(loss - median) for loss in self.losses)
        return median + self.factor * max(deviation, QUIET_SHARE * abs(median))

    def judge(self, loss: float, norm: float | None = None) -> tuple[str, str]:
        """(what to do, why) of a step with this loss in nats per token and, once known, this gradient norm.

        A NaN or infinite value is never applied: `warn` stops there, since the weights would be lost.
        """
        if not math.isfinite(loss):
            why = f"the loss is {loss}"
        elif norm is not None and not math.isfinite(norm):
            why = "the gradient is not a number or overflows"
        elif loss > self.limit():
            why = f"the loss {loss:.4f} is a spike (over {self.limit():.4f}, by the last {len(self.losses)} steps)"
            if self.on_spike == "warn":
                return "warn", why
        else:
            return "apply", ""
        if self.on_spike != "skip":
            return "stop", why
        if self.in_a_row >= self.max_skips:
            return "stop", f"{why}, after {self.in_a_row} skipped steps in a row"
        return "skip", why

    def remember(self, step: int, loss: float | None, skipped: bool) -> None:
        """A finished step (from 1); loss as metrics.jsonl has it, so that a resumed run judges alike."""
        if skipped:
            self.skipped.append(step)
            self.in_a_row += 1
            return
        self.in_a_row = 0
        if loss is not None:
            self.losses.append(loss)

    def recall(self, rows: list[dict]) -> None:
        """Take up the memory from the rows of metrics.jsonl."""
        for row in rows:
            self.remember(row["step"], row["loss"], row.get("skipped", False))
