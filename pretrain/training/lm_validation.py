"""Validation on held-out documents by language and source: at the start, every --validate-every steps, at the end.

Writes  <out>/training/validation.jsonl: a line per step and group ("fr/web", "fr", "replay"): loss (nats per token),
        perplexity, bits_per_byte (comparable across tokenizers), documents, tokens predicted
"""

import argparse
import json
import math

import numpy as np

from dataloading.packed_windows import collate
from modelling.lm_loss import summed_loss
from run_record import write_text
from token_data.token_store import Documents, TokenStore

HeldOut = dict[str, tuple[TokenStore, Documents]]


def validation_batches(store: TokenStore, documents: Documents, length: int, rows: int):
    """Batches of held-out documents, one per row, each from its start and cut at `length` + 1 tokens, short ones first.

    Yields (batch as `lm_loss.summed_loss` takes it, UTF-8 bytes of the text that its labels cover, by share of tokens).
    """
    order = np.argsort(documents.tokens, kind="stable")
    for first in range(0, len(order), rows):
        windows, covered = [], 0.0
        for document in order[first : first + rows]:
            place = int(documents.shard[document]), int(documents.number[document])
            whole = int(documents.tokens[document])
            stop = min(whole, length + 1)
            counted = store.read_mask(*place, 0, stop)
            counted[0] = False
            windows.append((store.read(*place, 0, stop).astype(np.int64), np.zeros(stop, np.int32), counted))
            covered += float(documents.utf8_bytes[document]) * int(counted.sum()) / whole
        yield collate(windows, store.end_of_text), covered


def figures(nats: float, tokens: float, utf8_bytes: float, documents: int) -> dict:
    """What a line of validation.jsonl says of a group, from the sums over its documents."""
    return {
        "loss": round(nats / tokens, 4),
        "perplexity": round(math.exp(min(700.0, nats / tokens)), 3),
        "bits_per_byte": round(nats / math.log(2) / utf8_bytes, 4),
        "documents": documents,
        "tokens": int(tokens),
    }


def validate(engine, held_out: HeldOut, args: argparse.Namespace) -> dict[str, dict]:
    """{"fr": figures, "fr/web": figures, "replay": figures}: the batches of all groups dealt out over the ranks."""
    import torch
    import torch.distributed as dist

    engine.eval()
    rank, world = dist.get_rank(), dist.get_world_size()
    batches = [
        (number, batch, utf8_bytes)
        for number, (store, documents) in enumerate(held_out.values())
        for batch, utf8_bytes in validation_batches(store, documents, args.sequence_length, args.micro_batch_size)
    ]
    sums = torch.zeros(max(1, len(held_out)), 3, dtype=torch.float64, device=engine.device)
    # Under ZeRO 3 each forward pass is a collective, so every rank runs equally many.
    for turn in range(math.ceil(len(batches) / world)):
        index = turn * world + rank
        group, batch, utf8_bytes = batches[min(index, len(batches) - 1)]
        with torch.no_grad():
            nats, count = summed_loss(engine, batch, engine.device)
        if index < len(batches):
            sums[group] += torch.stack([nats.double(), *sums.new_tensor([count, utf8_bytes])])
    dist.all_reduce(sums)
    engine.train()
    return roll_up({name: (*row, len(held_out[name][1])) for name, row in zip(held_out, sums.tolist(), strict=False)})


def roll_up(sums: dict[str, tuple]) -> dict[str, dict]:
    """Figures of every group and of every language, from (nats, tokens, bytes, documents) of the groups."""
    totals: dict[str, tuple] = {}
    for name, row in sums.items():
        for key in dict.fromkeys((name.split("/")[0], name)):
            totals[key] = tuple(a + b for a, b in zip(totals.get(key, (0, 0, 0, 0)), row, strict=True))
    # A group whose documents have no label that counts (one token each, or all masked) has no figures.
    return {name: figures(*row) for name, row in sorted(totals.items()) if row[1] > 0}


def worsened(rows: list[dict], threshold: float) -> list[dict]:
    """Every time a language or the replay set was worse than its best until then by more than `threshold`.

    rows: lines of validation.jsonl in the order of their steps; threshold: relative bits per byte.
    """
    best: dict[str, dict] = {}
    found = []
    for row in rows:
        group = row["group"]
        if "/" in group:
            continue
        known = best.setdefault(group, row)
        if row["bits_per_byte"] > known["bits_per_byte"] * (1 + threshold):
            found.append(
                {
                    "step": row["step"],
                    "group": group,
                    "bits_per_byte": row["bits_per_byte"],
                    "best": known["bits_per_byte"],
                    "best_step": known["step"],
                }
            )
        if row["bits_per_byte"] < known["bits_per_byte"]:
            best[group] = row
    return found


class Validation:
    """The figures of one run, step by step. Steps that a resumed run has on file are read, not computed again."""

    def __init__(self, engine, held_out: HeldOut, args: argparse.Namespace, start: int):
        """start: the step that the run resumes from; lines of later steps, left by a killed run, are made again."""
        import torch.distributed as dist

        self.engine, self.held_out, self.args = engine, held_out, args
        self.path = args.out / "training" / "validation.jsonl"
        self.first = dist.get_rank() == 0
        rows = []
        if self.first and self.path.exists():
            rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        # The ranks agree on what is on file, or some would compute and wait for those that do not.
        shared = [[row for row in rows if row["step"] <= start]]
        dist.broadcast_object_list(shared, src=0)
        self.rows: list[dict] = shared[0]

    def due(self, step: int) -> bool:
        return self.args.validate_every > 0 and step % self.args.validate_every == 0

    def on_file(self, step: int) -> dict[str, dict]:
        """{group: figures} of a step; empty when it was not validated."""
        return {
            row["group"]: {key: value for key, value in row.items() if key not in ("step", "group")}
            for row in self.rows
            if row["step"] == step
        }

    def at(self, step: int) -> dict[str, dict]:
        """{group: figures} now, after `step` steps; all ranks call it. Written before it returns."""
        if not self.on_file(step):
            scores = validate(self.engine, self.held_out, self.args)
            self.rows += [{"step": step, "group": group} | row for group, row in scores.items()]
            if self.first:
                write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        if self.first and step:
            self.print_table(step)
        return self.on_file(step)

    def print_table(self, step: int) -> None:
        """A line per language (and the replay set), and a warning for each that has become worse."""
        start = self.on_file(0)
        print(f"validation at step {step:<8} loss  perplexity  bits/byte  since start  documents  tokens")
        for name, row in self.on_file(step).items():
            if "/" in name:
                continue
            change = 100 * (row["bits_per_byte"] / start[name]["bits_per_byte"] - 1) if name in start else math.nan
            print(
                f"  {name:21} {row['loss']:7.4f} {row['perplexity']:11.2f} {row['bits_per_byte']:10.4f} "
                f"{change:+10.1f} % {row['documents']:10,} {row['tokens']:7,}"
            )
        for warning in self.warnings():
            if warning["step"] == step:
                worse = 100 * (warning["bits_per_byte"] / warning["best"] - 1)
                print(
                    f"warning: held-out {warning['group']} is {worse:.1f} % worse than at its best: bits per byte "
                    f"{warning['bits_per_byte']:.4f}, {warning['best']:.4f} at step {warning['best_step']}"
                )
        print(end="", flush=True)

    def warnings(self) -> list[dict]:
        return worsened(self.rows, self.args.validation_warning)

    def record(self, last: int) -> dict:
        """What run.json says: before and after by language, by group (with the replay set), and the warnings."""
        before, after = self.on_file(0), self.on_file(last)

        def languages(scores: dict) -> dict:
            return {name: row for name, row in scores.items() if "/" not in name and name != "replay"}

        def groups(scores: dict) -> dict:
            return {name: row for name, row in scores.items() if "/" in name or name == "replay"}

        return {
            "before": languages(before),
            "after": languages(after),
            "groups": {"before": groups(before), "after": groups(after)},
            "warnings": self.warnings(),
        }


def print_validation(when: str, scores: dict[str, dict]) -> None:
    cells = [f"{name} {s['bits_per_byte']:.3f} (n {s['documents']})" for name, s in scores.items() if "/" not in name]
    print(f"{when}: bits per byte on held-out documents: {', '.join(cells) or 'none held out'}", flush=True)
