"""The learning rate as a function of the step alone, so that a resumed run needs no state for it.

cosine    warm-up, then half a cosine to the final share (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983)
wsd       warm-up, stable at the peak, then a decay over the last steps (MiniCPM, Hu et al. 2024,
          https://arxiv.org/abs/2404.06395); linear, or 1 - sqrt, which ends a little lower (Hägele et al. 2024,
          https://arxiv.org/abs/2405.18392)
constant  warm-up, then the peak to the end
"""

import argparse
import math


def learning_rate(args: argparse.Namespace, step: int, steps: int) -> float:
    """Rate of step `step` (from 0) of `steps`. The last step has the final share of the peak, but for `constant`."""
    warmup = max(1, round(steps * args.warmup_share))
    if step < warmup:
        return args.learning_rate * (step + 1) / warmup
    left = 1.0
    if args.schedule == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, steps)))
    elif args.schedule == "wsd":
        decay = max(1, round(steps * args.decay_share))
        progress = _progress(step, max(warmup, steps - decay) - 1, steps)
        left = 1 - (math.sqrt(progress) if args.decay_shape == "sqrt" else progress)
    final = args.final_learning_rate_share
    return args.learning_rate * (final + (1 - final) * left)


def _progress(step: int, first: int, steps: int) -> float:
    """From 0 at step `first` (and before) to 1 at the last of `steps`."""
    return min(1.0, max(0.0, (step - first) / max(1, steps - 1 - first)))
