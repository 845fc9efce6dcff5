"""The contents of an epoch: pools of one kind and language, each with its number of examples.

What an epoch draws is a function of the seed and the epoch alone. A pool of which an epoch takes a part goes through
all its examples before one comes again; a pool of which it takes more repeats, in a new order each time.
"""

import math
import random
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from run_record import InputError
from sft_data.examples import IGNORED, with_fresh_options


@dataclass(frozen=True)
class Pool:
    kind: str
    language: str
    examples: list[dict]
    per_epoch: int


@dataclass(frozen=True)
class Draw:
    """One example of one epoch: pool and place in it, how often it came before, its length in tokens."""

    pool: int
    index: int
    round: int
    length: int


def shuffled_rounds(total: int, first: int, count: int, seed: str) -> list[tuple[int, int]]:
    """(index, round) at the places first .. first + count of an endless row of shuffled passes over range(total)."""
    drawn, orders = [], {}
    for place in range(first, first + count):
        turn = place // total
        if turn not in orders:
            orders[turn] = list(range(total))
            random.Random(f"{seed} {turn}").shuffle(orders[turn])
        drawn.append((orders[turn][place % total], turn))
    return drawn


class Mixture:
    """The pools of a run."""

    def __init__(self, pools: list[Pool], encoding, longest: int, seed: int):
        self.pools, self.encoding, self.longest, self.seed = pools, encoding, longest, seed
        self.per_epoch = sum(pool.per_epoch for pool in pools)

    def draw(self, epoch: int) -> list[Draw]:
        """The epoch's examples in random order."""
        drawn = []
        for number, pool in enumerate(self.pools):
            seed = f"{self.seed} {pool.kind} {pool.language}"
            for index, turn in shuffled_rounds(len(pool.examples), epoch * pool.per_epoch, pool.per_epoch, seed):
                drawn.append(Draw(number, index, turn, len(pool.examples[index]["input_ids"])))
        random.Random(f"{self.seed} {epoch}").shuffle(drawn)
        return drawn

    def example(self, draw: Draw) -> dict:
        """The example, its options in the order of this round where they are shuffled."""
        example = self.pools[draw.pool].examples[draw.index]
        if "question" not in example:
            return example
        seed = f"{self.seed} {draw.round} {example['question']['id']} {example['kind']} {draw.index}"
        return with_fresh_options(example, self.encoding, self.longest, seed)

    def one_of_each_kind(self) -> list[dict]:
        """The first example of each kind, to be shown."""
        first: dict[str, dict] = {}
        for pool in self.pools:
            if pool.per_epoch:
                first.setdefault(pool.kind, pool.examples[0])
        return [first[kind] for kind in sorted(first)]

    def table(self) -> list[str]:
        """Lines of a table: examples per epoch by kind and language, tokens, and the share of the loss's tokens."""
        languages = sorted({pool.language for pool in self.pools})
        kinds = sorted({pool.kind for pool in self.pools})
        cells, tokens, learned = Counter(), Counter(), Counter()
        for pool in self.pools:
            cells[pool.kind, pool.language] = pool.per_epoch
            part = pool.per_epoch / len(pool.examples)
            tokens[pool.kind] += part * sum(len(example["input_ids"]) for example in pool.examples)
            learned[pool.kind] += part * sum(
                len(example["labels"]) - example["labels"].count(IGNORED) for example in pool.examples
            )
        heads = [*languages, "all", "tokens", "learned", "share"]
        lines = ["examples per epoch " + "".join(f"{head:>9}" for head in heads)]
        for kind in kinds:
            row = [cells[kind, language] for language in languages]
            row += [sum(row), round(tokens[kind]), round(learned[kind])]
            share = learned[kind] / max(1, sum(learned.values()))
            lines.append(f"{kind:18}" + "".join(f"{cell:9d}" for cell in row) + f"{share:9.1%}")
        return lines

    def as_dict(self) -> dict[str, dict[str, int]]:
        """{kind: {language: examples per epoch}} for the run's record."""
        table: dict[str, dict[str, int]] = {}
        for pool in self.pools:
            table.setdefault(pool.kind, {})[pool.language] = pool.per_epoch
        return table


def question_pools(
    examples: list[dict], form_shares: dict[str, float], language_weights: dict[str, float]
) -> list[Pool]:
    """A pool for each form and language.

    form_shares: share of the questions that come in a form each epoch; 2 is twice, 1 where nothing is said;
    language_weights: the same by language. Errors: InputError for a language without questions, or nothing left.
    """
    grouped = group(examples, lambda example: (example["kind"], example["language"]))
    languages = {language for _, language in grouped}
    if unknown := set(language_weights) - languages:
        raise InputError(
            f"--language-weights names {', '.join(sorted(unknown))}, of which there is no question; there are "
            f"{', '.join(sorted(languages))}"
        )
    pools = []
    for (kind, language), members in sorted(grouped.items()):
        weight = form_shares.get(kind, 1.0) * language_weights.get(language, 1.0)
        pools.append(Pool(kind, language, members, rounded(len(members) * Fraction(str(weight)))))
    if not any(pool.per_epoch for pool in pools):
        raise InputError("no question is left to train on; raise --form-shares or --language-weights above 0")
    return pools


def make_mixture(
    questions: list[Pool], others: dict[str, list[dict]], shares: dict[str, float], encoding, longest: int, seed: int
) -> Mixture:
    """The questions' pools with `shares` ({kind: share of an epoch's examples}) of the other kinds mixed in."""
    pools = list(questions)
    total = sum(pool.per_epoch for pool in questions) / (1 - sum(shares.values()))
    for kind, members in sorted(others.items()):
        pools += by_language(kind, members, max(1, round(total * shares[kind])))
    return Mixture([pool for pool in pools if pool.per_epoch], encoding, longest, seed)


def group(examples: list[dict], key) -> dict:
    grouped: dict = {}
    for example in examples:
        grouped.setdefault(key(example), []).append(example)
    return grouped


def rounded(number: Fraction) -> int:
    """To the nearest whole number, and never from something to nothing."""
    return max(math.floor(number + Fraction(1, 2)), 1 if number > 0 else 0)


def by_language(kind: str, members: list[dict], count: int) -> list[Pool]:
    """Pools of a kind by language, their examples per epoch adding up to `count` in proportion to their sizes."""
    grouped = group(members, lambda example: example["language"])
    pools, left, members_left = [], count, len(members)
    for language, those in sorted(grouped.items()):
        part = round(left * len(those) / members_left)
        pools.append(Pool(kind, language, those, part))
        left, members_left = left - part, members_left - len(those)
    return pools
