"""AdamW with skippable steps, parameter groups, and the learning-rate schedule.

DeepSpeed reduces, clips and clears gradients in buffers of its own, which differ by ZeRO stage; only the update itself
is torch's in every stage. A step is therefore skipped there: DeepSpeed goes through its motions with all buffers, and
the weights, the moments and the step counter stay as they were.
"""

import argparse
import math

import torch


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


class SkippableAdamW(torch.optim.AdamW):
    """torch's AdamW with `hold`: while it is true, `step` changes nothing.

    clip: with DeepSpeed's ZeRO 0 in float32, which keeps no gradient norm, this optimizer clips; 0: it does not.
    norm: the gradient norm before clipping of the last step, where this optimizer clips.
    """

    hold = False
    clip = 0.0
    norm: float | None = None

    @torch.no_grad()
    def step(self, closure=None):
        if self.clip:
            parameters = [p for group in self.param_groups for p in group["params"]]
            self.norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.clip))
            if not math.isfinite(self.norm):
                return None
        if self.hold:
            return None
        return super().step(closure)


def make_optimizer(args: argparse.Namespace, model, own_clip: bool) -> SkippableAdamW:
    """AdamW with weight decay on matrices only (biases and norms have none). eps of the GPT-3 family, 1e-8."""
    # Under ZeRO 3 a parameter's true shape is its ds_shape.
    matrices = [p for p in model.parameters() if len(getattr(p, "ds_shape", p.shape)) > 1]
    known = {id(p) for p in matrices}
    groups = [
        {"params": matrices, "weight_decay": args.weight_decay},
        {"params": [p for p in model.parameters() if id(p) not in known], "weight_decay": 0.0},
    ]
    # fused: one pass over the memory instead of about ten, on a GPU and on a CPU (also for states kept there).
    optimizer = SkippableAdamW(
        [group for group in groups if group["params"]],
        lr=args.learning_rate,
        betas=(0.9, args.beta2),
        eps=1e-8,
        fused=True,
    )
    # An endless limit measures the norm and clips nothing.
    optimizer.clip = (args.clip or math.inf) if own_clip else 0.0
    return optimizer
