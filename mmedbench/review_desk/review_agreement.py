"""Verdicts of two reviewers and a referee: conflicts, agreement, Cohen's kappa.

Reads   a review database (review_store.py). Writes nothing.

    kappa, low, high = cohens_kappa([(True, True), (True, False), (False, False)])
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard_pages.page_text import Z95
from review_desk.review_store import CRITERIA, Answer, Item, ReviewStore


@dataclass(frozen=True)
class Verdict:
    """State of one item: values by criterion (None: open), criteria in conflict, and whether it is complete."""

    values: dict[str, bool | None]
    conflicts: tuple[str, ...]  # criteria on which the two differ, settled or not
    both_judged: bool

    @property
    def settled(self) -> bool:
        return None not in self.values.values()

    @property
    def passed(self) -> bool:
        """A rationale passes when it meets both criteria."""
        return self.settled and all(self.values.values())


def verdict(first: Answer, second: Answer, referee: Answer) -> Verdict:
    """Where the two agree, their value; where they differ, the referee's value, None until there is one.

    The referee cannot overrule an agreement. An incomplete answer is ignored.
    """
    if not (first.complete and second.complete):
        return Verdict(dict.fromkeys(CRITERIA), (), False)
    values, conflicts = {}, []
    for name in CRITERIA:
        values[name] = getattr(first, name)
        if values[name] != getattr(second, name):
            conflicts.append(name)
            values[name] = getattr(referee, name)
    return Verdict(values, tuple(conflicts), True)


def verdicts(store: ReviewStore) -> dict[int, Verdict]:
    """{item id: verdict} for every sampled item."""
    first, second = (store.answers(person) for person in store.reviewers)
    referee = store.answers(store.referee) if store.referee else {}
    empty = Answer()
    return {
        item.id: verdict(first.get(item.id, empty), second.get(item.id, empty), referee.get(item.id, empty))
        for items in store.items.values()
        for item in items
    }


def cohens_kappa(pairs: Sequence[tuple]) -> tuple[float | None, float | None, float | None]:
    """(kappa, lower, upper bound of its 95 % interval) of the paired judgements of two raters.

    kappa = (p_o - p_e) / (1 - p_e): p_o is the share of pairs that are equal, p_e = sum over the categories of the
    product of the two raters' shares, which is the agreement expected from two raters who judge independently.
    Source: J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20
    (1960), 37-46. The interval is kappa +- 1.96 (Z95) standard errors, cut at -1 and 1, the large-sample standard error
    being that of J. L. Fleiss, J. Cohen, B. S. Everitt, "Large sample standard errors of kappa and weighted kappa",
    Psychological Bulletin 72 (1969), 323-327; it is unreliable below about 30 pairs.

    Edge cases: no pairs, or both raters use one and the same category throughout (p_e = 1, so 0/0): kappa is not
    defined, all three are None, and the raw agreement must be reported instead. Full agreement over two or more
    categories: 1. One rater uses a single category and the other does not: 0, whatever the raw agreement. In these
    last two, and wherever else the standard error is 0, there is no interval: both bounds are None.
    """
    n = len(pairs)
    cells = Counter(pairs)
    categories = sorted({value for pair in cells for value in pair})
    row = {c: sum(m for pair, m in cells.items() if pair[0] == c) / n for c in categories}
    column = {c: sum(m for pair, m in cells.items() if pair[1] == c) / n for c in categories}
    if len(categories) < 2:
        return None, None, None
    observed = sum(cells[c, c] for c in categories) / n
    expected = sum(row[c] * column[c] for c in categories)
    kappa = (observed - expected) / (1 - expected)
    equal = sum(cells[c, c] / n * ((1 - expected) - (row[c] + column[c]) * (1 - observed)) ** 2 for c in categories)
    unequal = (1 - observed) ** 2 * sum(m / n * (column[a] + row[b]) ** 2 for (a, b), m in cells.items() if a != b)
    rest = (observed * expected - 2 * expected + observed) ** 2
    error = math.sqrt(max(0.0, equal + unequal - rest) / n) / (1 - expected) ** 2
    if error < 1e-6:
        return kappa, None, None
    return kappa, max(-1.0, kappa - Z95 * error), min(1.0, kappa + Z95 * error)


def agreement(store: ReviewStore) -> dict[str, dict]:
    """{language, and "all": counts and, by criterion, n, raw agreement and kappa}.

    Only items that both reviewers have judged count, by their own answers, without the referee's.
    """
    first, second = (store.answers(person) for person in store.reviewers)
    found = verdicts(store)
    groups = dict(store.items)
    if len(groups) > 1:
        groups["all"] = [item for items in store.items.values() for item in items]
    return {language: _agreement_of(items, first, second, found) for language, items in groups.items()}


def _agreement_of(items: list[Item], first: dict, second: dict, found: dict[int, Verdict]) -> dict:
    both = [item.id for item in items if found[item.id].both_judged]
    row = {
        "items": len(items),
        "judged": [sum(answers.get(item.id, Answer()).complete for item in items) for answers in (first, second)],
        "both": len(both),
        "conflicts": sum(bool(found[i].conflicts) for i in both),
        "open_conflicts": sum(not found[i].settled for i in both),
        "settled": sum(found[i].settled for i in both),
        "passed": sum(found[i].passed for i in both),
        "criteria": {},
    }
    for name in CRITERIA:
        pairs = [(getattr(first[i], name), getattr(second[i], name)) for i in both]
        kappa, low, high = cohens_kappa(pairs)
        equal = sum(a == b for a, b in pairs)
        row["criteria"][name] = {
            "n": len(pairs),
            "equal": equal,
            "yes": [sum(a for a, _ in pairs), sum(b for _, b in pairs)],
            "kappa": kappa if kappa is None else round(kappa, 4),
            "ci95": None if low is None else [round(low, 4), round(high, 4)],
        }
    return row


def agreement_table(rows: dict[str, dict]) -> list[str]:
    """The report's lines: one per language and criterion."""

    def shown(value: float) -> str:
        return f"{round(value, 2) + 0:.2f}"  # never -0.00

    lines = [f"{'language':<9} {'criterion':<9} {'n':>5} {'agree':>7} {'kappa':>7}  95 % interval"]
    for language, row in rows.items():
        for name, found in row["criteria"].items():
            agree = f"{100 * found['equal'] / found['n']:.1f} %" if found["n"] else "-"
            if found["kappa"] is not None:
                kappa = shown(found["kappa"])
                interval = " to ".join(map(shown, found["ci95"])) if found["ci95"] else "none: standard error 0"
            elif found["n"]:
                kappa, interval = "-", "not defined: both always gave the same judgement"
            else:
                kappa, interval = "-", "nothing judged by both yet"
            lines.append(f"{language:<9} {name:<9} {found['n']:>5} {agree:>7} {kappa:>7}  {interval}")
    return lines
