"""Ranks that say ties: 1 + the number of rows of the same setting and questions that are significantly better.

Two rows with predictions on the same questions are compared by a paired test: McNemar's, taken to the mean over
languages. Any other two by a two-sided z-test on their means as independent binomials, which is conservative, because
two models find the same questions easy. Both at 0.05. Each pair is tested alone: nothing is corrected for their number.
"""

import math
from collections.abc import Mapping

from leaderboard_pages.score_intervals import Z95

Question = tuple[str, str, int]  # key, question id, how many of this id came before
Share = tuple[float, int]  # accuracy in per cent, n
ALPHA = 0.05
EXACT_SUMS = 20_000  # so many different sums are enumerated; beyond, the normal distribution is as good


def z_better(a: Mapping[str, Share], b: Mapping[str, Share]) -> bool:
    """Whether the mean over a's keys is significantly above that over b's, as independent binomials."""

    def moments(cells: Mapping[str, Share]) -> tuple[float, float]:
        shares = [(accuracy / 100, n) for accuracy, n in cells.values()]
        return sum(p for p, _ in shares) / len(shares), sum(p * (1 - p) / n for p, n in shares) / len(shares) ** 2

    (mean_a, variance_a), (mean_b, variance_b) = moments(a), moments(b)
    return mean_a - mean_b > Z95 * math.sqrt(variance_a + variance_b)


def paired_p(a: Mapping[Question, bool], b: Mapping[Question, bool]) -> tuple[float, float]:
    """(difference of the means over languages in points, two-sided p) of two runs over the same questions.

    Where there is no difference, each question that only one of them has right is as likely either's. So the sum over
    languages of (only a - only b) / n is a sum of fair coins, whose distribution is enumerated while it has few values
    and normal beyond. With one language that is McNemar's exact test (Psychometrika 12:153, 1947).
    """
    counts: dict[str, list[int]] = {}
    for question, right in a.items():
        mine = counts.setdefault(question[0], [0, 0, 0])
        mine[0] += 1
        mine[1] += right and not b[question]
        mine[2] += b[question] and not right
    common = math.lcm(*(n for n, _, _ in counts.values()))  # whole numbers: equal sums are found equal
    found = sum((only_a - only_b) * (common // n) for n, only_a, only_b in counts.values())
    points = 100 * found / common / len(counts)
    sums: dict[int, float] | None = {0: 1.0}
    for n, only_a, only_b in counts.values():
        coins, step = only_a + only_b, common // n
        if sums is None or len(sums) * (coins + 1) > EXACT_SUMS:
            sums = None
            break
        more: dict[int, float] = {}
        for heads in range(coins + 1):
            chance = math.comb(coins, heads) / 2**coins
            for so_far, before in sums.items():
                at = so_far + (2 * heads - coins) * step
                more[at] = more.get(at, 0.0) + before * chance
        sums = more
    if sums is not None:
        return points, min(1.0, sum(chance for value, chance in sums.items() if abs(value) >= abs(found)))
    spread = math.sqrt(sum((only_a + only_b) * (common // n) ** 2 for n, only_a, only_b in counts.values()))
    return points, math.erfc(abs(found) / spread / math.sqrt(2))


def is_better(
    a: Mapping[str, Share],
    b: Mapping[str, Share],
    right_a: Mapping[Question, bool] | None,
    right_b: Mapping[Question, bool] | None,
) -> tuple[bool, bool]:
    """(a is significantly better than b, whether that was a paired test)."""
    if right_a and right_b and right_a.keys() == right_b.keys():
        points, p = paired_p(right_a, right_b)
        return points > 0 and p < ALPHA, True
    return z_better(a, b), False


def rank_rows(rows: list[tuple[Mapping[str, Share], Mapping[Question, bool] | None]]) -> list[tuple]:
    """[(rank, how, places of the rows that are not told apart from it)] of rows over the same questions.

    rows: (cells by language, {question: right} or None). how: "paired", "unpaired", or "partly paired".
    """
    compared = {
        (i, j): is_better(*(rows[i][0], rows[j][0]), rows[i][1], rows[j][1])
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j
    }
    ranks = []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        paired = {compared[j, i][1] for j in others}
        how = "" if not paired else "partly paired" if len(paired) == 2 else "paired" if True in paired else "unpaired"
        ties = [j for j in others if not compared[i, j][0] and not compared[j, i][0]]
        ranks.append((1 + sum(compared[j, i][0] for j in others), how, ties))
    return ranks
