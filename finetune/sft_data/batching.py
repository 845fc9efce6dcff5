"""Batches of examples of similar length, or packed into rows, in an order determined by the seed and the epoch.

Every optimizer step has exactly `batch_size` examples, drawn at random from the whole epoch, so that a step's mixture
does not drift with length. A step is laid out as batch_size / micro_batch_size micro-batches:

padded  examples of nearly one length side by side; the micro-batches of a step are random ones, sorted by length
        within it, so that ranks which work at the same time have alike much to do
packed  each micro-batch is one row with its examples in a row, none of them seeing another (`pack`); the examples of
        a step are dealt out so that its rows are of nearly one length

Neither the number of ranks nor a resumption changes a step: micro-batch i of the run is in step
i // (batch_size / micro_batch_size), whoever computes it.
"""

import math
import random

from run_record import InputError
from sft_data.example_mixture import Draw, Mixture
from sft_data.examples import IGNORED

# Lengths are blurred by up to this share before examples are sorted by them: the same examples would be together in
# every epoch otherwise. Costs about half of it in padding.
BLUR = 0.02


class MicroBatches:
    """All micro-batches of a run, in order: the Trainer's dataset, one item a micro-batch (a list of examples)."""

    def __init__(self, mixture: Mixture, epochs: float, batch_size: int, micro_batch_size: int, packing: bool):
        """Errors: InputError when the batch is not a multiple of the micro-batch."""
        if batch_size % micro_batch_size:
            raise InputError(f"--batch-size {batch_size} is not a multiple of --micro-batch-size {micro_batch_size}")
        self.mixture, self.packing = mixture, packing
        self.plan = plan_run(mixture, epochs, batch_size, micro_batch_size, packing)
        self.steps = len(self.plan) // (batch_size // micro_batch_size)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> list[dict]:
        return [self.mixture.example(draw) for draw in self.plan[number]]

    def shortest(self, count: int) -> list[dict]:
        """The run's shortest examples."""
        draws = sorted((draw for draws in self.plan for draw in draws), key=lambda draw: draw.length)
        return [self.mixture.example(draw) for draw in draws[:count]]

    def padding(self) -> float:
        """Share of the run's positions that hold padding (by the lengths before options are shuffled)."""
        if self.packing:
            return 0.0
        useful = sum(draw.length for draws in self.plan for draw in draws)
        return 1 - useful / sum(len(draws) * max(draw.length for draw in draws) for draws in self.plan)


def plan_run(
    mixture: Mixture, epochs: float, batch_size: int, micro_batch_size: int, packing: bool
) -> list[list[Draw]]:
    """Every micro-batch of the run. What an epoch leaves over for a whole step goes into the next; the last step is
    filled from one epoch more."""
    arrange = pack_steps if packing else pad_steps
    left_over, plan = [], []
    for epoch in range(math.ceil(epochs)):
        drawn = mixture.draw(epoch)
        drawn = left_over + drawn[: math.ceil(len(drawn) * min(1.0, epochs - epoch))]
        whole = len(drawn) // batch_size * batch_size
        plan += arrange(drawn[:whole], batch_size, micro_batch_size, random.Random(f"{mixture.seed} {epoch} steps"))
        left_over = drawn[whole:]
    further = math.ceil(epochs)
    while left_over and len(left_over) < batch_size:
        left_over += mixture.draw(further)
        further += 1
    plan += arrange(left_over[:batch_size], batch_size, micro_batch_size, random.Random(f"{mixture.seed} last"))
    if plan and not packing:
        # The longest goes first: a model that is too large for the memory is reported so at once.
        longest = max(range(len(plan)), key=lambda number: plan[number][-1].length)
        plan[0], plan[longest] = plan[longest], plan[0]
    return plan


def pad_steps(drawn: list[Draw], batch_size: int, micro_batch_size: int, chance: random.Random) -> list[list[Draw]]:
    """Micro-batches of examples of nearly one length, each sorted by it; each step's in order of length."""
    keys = {id(draw): draw.length * (1 + BLUR * chance.random()) for draw in drawn}
    ordered = sorted(drawn, key=lambda draw: keys[id(draw)])
    micro_batches = [
        sorted(ordered[start : start + micro_batch_size], key=lambda draw: draw.length)
        for start in range(0, len(ordered), micro_batch_size)
    ]
    chance.shuffle(micro_batches)
    in_step = batch_size // micro_batch_size
    steps = [micro_batches[start : start + in_step] for start in range(0, len(micro_batches), in_step)]
    return [draws for step in steps for draws in sorted(step, key=lambda draws: -draws[-1].length)]


def pack_steps(drawn: list[Draw], batch_size: int, micro_batch_size: int, _chance: random.Random) -> list[list[Draw]]:
    """Rows of nearly equal length: each example of a step, the longest first, goes to the shortest row."""
    plan = []
    for start in range(0, len(drawn), batch_size):
        rows: list[list[Draw]] = [[] for _ in range(batch_size // micro_batch_size)]
        lengths = [0] * len(rows)
        for draw in sorted(drawn[start : start + batch_size], key=lambda draw: -draw.length):
            shortest = lengths.index(min(lengths))
            rows[shortest].append(draw)
            lengths[shortest] += draw.length
        plan += rows
    return plan


class PadOnTheRight:
    """Collate examples into a batch: input_ids, attention_mask, labels, int64 [examples, longest example]."""

    def __init__(self, pad_id: int):
        self.pad_id = pad_id

    def __call__(self, examples: list[dict]) -> dict:
        import torch

        length = max(len(example["input_ids"]) for example in examples)

        def rows(name: str, filler: int) -> "torch.Tensor":
            return torch.tensor([[*e[name], *[filler] * (length - len(e[name]))] for e in examples])

        mask = torch.tensor([[1] * len(e["input_ids"]) + [0] * (length - len(e["input_ids"])) for e in examples])
        return {"input_ids": rows("input_ids", self.pad_id), "attention_mask": mask, "labels": rows("labels", IGNORED)}


def pack(examples: list[dict]) -> dict:
    """Collate examples into one row in which none sees another.

    Returns input_ids, labels, position_ids (each example's from 0), int64 [1, T], and attention_mask, bool
    [1, 1, T, T], true where a position may look: at itself and before, within its example. The mask is explicit
    because a model that separates them by position ids alone leaks between examples as soon as a cache is on.
    """
    import torch

    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    of_example = torch.repeat_interleave(torch.arange(len(examples)), lengths)
    positions = torch.cat([torch.arange(length) for length in lengths])
    labels = torch.cat([torch.tensor([IGNORED, *example["labels"][1:]]) for example in examples])
    mask = (of_example[:, None] == of_example[None, :]).tril()
    return {
        "input_ids": torch.tensor([token for example in examples for token in example["input_ids"]])[None],
        "labels": labels[None],
        "position_ids": positions[None],
        "attention_mask": mask[None, None],
    }


class MicroBatchCollator:
    """The Trainer's collator: it is given one item, which is a micro-batch."""

    def __init__(self, pad_id: int, packing: bool):
        self.collate = pack if packing else PadOnTheRight(pad_id)

    def __call__(self, items: list[list[dict]]) -> dict:
        (examples,) = items
        return self.collate(examples)


def prove_packing(model, examples: list[dict], half: bool = False) -> None:
    """Compare the logits of examples in one row with those of each alone.

    half: the model computes in 16 bits though its weights may be float32 (autocast).

    Errors: InputError when they differ by more than rounding does: 0.1 % of the largest in float32, 5 % in half
    precision (bfloat16 keeps 8 bits: 0.4 % an operation).
    """
    import torch

    device = next(model.parameters()).device
    row = {name: tensor.to(device) for name, tensor in pack(examples).items() if name != "labels"}
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            together = model(**row, use_cache=False).logits[0].float()
            alone = torch.cat(
                [
                    model(input_ids=torch.tensor([[*example["input_ids"]]], device=device), use_cache=False).logits[0]
                    for example in examples
                ]
            ).float()
        half = half or next(model.parameters()).dtype != torch.float32
        allowed = 0.05 if half else 1e-3
        kept_apart = float((together - alone).abs().max()) <= allowed * float(alone.abs().max())
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        raise InputError(f"this model takes no packed rows ({str(error).splitlines()[0]}); omit --packing") from None
    finally:
        model.train(training)
    if not kept_apart:
        raise InputError("in this model the examples of a packed row see each other; omit --packing")


def make_packing_guard(examples: list[dict]):
    """A Trainer callback that proves packing once the model is where it will train."""
    from transformers import TrainerCallback

    class PackingGuard(TrainerCallback):
        def on_train_begin(self, args, _state, _control, model=None, **_):
            prove_packing(model, examples, args.bf16)

    return PackingGuard()
