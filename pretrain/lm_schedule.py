"""The learning rate as a function of the step."""

import argparse
import math


def learning_rate(args: argparse.Namespace, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine from the peak to `final_learning_rate_share` of it at the last step (from 0)."""
    warmup = max(1, round(steps * args.warmup_share))
    if step < warmup:
        return args.learning_rate * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    final = args.final_learning_rate_share
    return args.learning_rate * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)))
