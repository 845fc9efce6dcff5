import argparse

import pytest

from modelling.lm_optimizer import learning_rate


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("cosine", {0: 0.1, 9: 1.0, 10: 1.0, 54: 0.56, 99: 0.1}),
        ("wsd", {0: 0.1, 9: 1.0, 10: 1.0, 79: 1.0, 80: 0.955, 89: 0.55, 99: 0.1}),
        ("wsd sqrt", {79: 1.0, 80: 1 - 0.9 * 0.05**0.5, 99: 0.1}),
        ("constant", {0: 0.1, 9: 1.0, 99: 1.0}),
    ],
)
def test_the_learning_rate_warms_up_and_goes_the_schedules_way(schedule, rates):
    name, _, shape = schedule.partition(" ")
    args = argparse.Namespace(
        learning_rate=1.0,
        warmup_share=0.1,
        final_learning_rate_share=0.1,
        schedule=name,
        decay_share=0.2,
        decay_shape=shape or "linear",
    )
    for step, rate in rates.items():
        assert learning_rate(args, step, 100) == pytest.approx(rate, abs=0.01 if step == 54 else 1e-9), step


def test_every_schedule_stays_between_nothing_and_the_peak_whatever_the_number_of_steps():
    for name in ("cosine", "wsd", "constant"):
        args = argparse.Namespace(
            learning_rate=1.0,
            warmup_share=0.01,
            final_learning_rate_share=0.0,
            schedule=name,
            decay_share=1.0,
            decay_shape="sqrt",
        )
        for steps in (1, 2, 3, 50):
            assert all(0 <= learning_rate(args, step, steps) <= 1 for step in range(steps))
