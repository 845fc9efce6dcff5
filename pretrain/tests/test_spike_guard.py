import random

import pytest

from training.spike_guard import NEEDED, SpikeGuard


def warmed(on_spike: str = "skip", factor: float = 12.0, max_skips: int = 2) -> SpikeGuard:
    guard, generator = SpikeGuard(on_spike, factor, max_skips), random.Random(0)
    for step in range(1, 41):
        loss = round(3 + generator.gauss(0, 0.05), 4)
        assert guard.judge(loss) == ("apply", "")
        guard.remember(step, loss, skipped=False)
    return guard


@pytest.mark.parametrize(
    ("on_spike", "loss", "decision"),
    [
        ("stop", 5.0, "stop"),
        ("skip", 5.0, "skip"),
        ("warn", 5.0, "warn"),
        ("skip", 3.3, "apply"),
        ("skip", 1.0, "apply"),
        ("stop", float("nan"), "stop"),
        ("skip", float("inf"), "skip"),
        ("warn", float("nan"), "stop"),
    ],
)
def test_a_spike_is_answered_as_the_flag_says_and_no_number_is_never_applied(on_spike, loss, decision):
    assert warmed(on_spike).judge(loss)[0] == decision


def test_a_gradient_that_is_no_number_counts_and_factor_0_looks_for_nothing_else():
    assert warmed().judge(3.0, float("inf"))[0] == "skip"
    assert warmed(factor=0.0).judge(50.0) == ("apply", "")
    assert warmed(factor=0.0).judge(float("nan"))[0] == "skip"


def test_the_fast_fall_of_the_first_steps_and_a_very_quiet_loss_are_no_spikes():
    young = SpikeGuard("stop", 12.0, 5)
    for step in range(1, NEEDED):
        assert young.judge(9.0 + step)[0] == "apply"
        young.remember(step, 9.0 + step, skipped=False)
    quiet = SpikeGuard("stop", 12.0, 5)
    for step in range(1, 65):
        quiet.remember(step, 2.0, skipped=False)
    assert quiet.judge(2.05)[0] == "apply" and quiet.judge(2.2)[0] == "stop"


def test_skips_in_a_row_end_in_a_stop_and_are_remembered_over_a_resume():
    guard = warmed(max_skips=2)
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(guard.losses, 1)]
    for step in (41, 42):
        assert guard.judge(9.0)[0] == "skip"
        guard.remember(step, 9.0, skipped=True)
        rows.append({"step": step, "loss": 9.0, "skipped": True})
    assert guard.judge(9.0) == ("stop", guard.judge(9.0)[1]) and "after 2 skipped steps in a row" in guard.judge(9.0)[1]
    resumed = SpikeGuard("skip", 12.0, 2)
    resumed.recall(rows)
    assert (resumed.skipped, resumed.in_a_row, resumed.limit()) == ([41, 42], 2, guard.limit())
    guard.remember(43, 3.0, skipped=False)
    assert guard.in_a_row == 0
