"""What is said of each step: a row in <out>/training/metrics.jsonl and a line for the person who watches."""

import argparse
import json
import time


class RunLog:
    """Rows and lines of one run, written by rank 0."""

    def __init__(self, args: argparse.Namespace, steps: int, rank: int):
        self.args, self.steps, self.rank = args, steps, rank
        self.tokens_per_step = args.global_batch_size * args.sequence_length
        self.path = args.out / "training" / "metrics.jsonl"

    def begin(self, start: int) -> None:
        """Called once, when the loop starts after `start` finished steps."""
        self.start, self.began = start, time.monotonic()

    def step(self, done: int, loss: float, rate: float, norm) -> None:
        """One finished step: loss in nats a token, learning rate, gradient norm before clipping (None: unknown)."""
        if self.rank != 0 or (done % self.args.log_every and done != self.steps):
            return
        speed = (done - self.start) * self.tokens_per_step / (time.monotonic() - self.began)
        left = (self.steps - done) * self.tokens_per_step / speed
        row = {
            "step": done,
            "loss": round(loss, 4),
            "learning_rate": rate,
            "gradient_norm": round(float(norm), 4) if norm is not None else None,
            "tokens_per_second": round(speed),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        shown = "-" if norm is None else f"{row['gradient_norm']:.2f}"
        print(
            f"step {done}/{self.steps}  loss {loss:.4f}  lr {rate:.2e}  grad norm {shown}  "
            f"{row['tokens_per_second']:,} tokens/s  left {int(left // 60)}:{int(left % 60):02d}",
            flush=True,
        )
