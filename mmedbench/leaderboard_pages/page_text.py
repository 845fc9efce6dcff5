"""Markdown of the leaderboard: escaped cells, tables, numbers with intervals.

Everything that comes from a result file is escaped by `escape`: a model's name can break neither table nor page.
"""

import math
import re
import unicodedata

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson_percent(accuracy: float, n: int) -> tuple[float, float]:
    """Wilson's score interval (E. B. Wilson, JASA 22, 1927) of an accuracy in per cent out of n questions."""
    p, z = accuracy / 100, Z95
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def macro_percent(cells: list[tuple[float, int]]) -> tuple[float, float, float]:
    """(mean, low, high) of [(accuracy in per cent, n)]: the plain mean over languages, as the paper averages.

    Languages are independent samples, so the mean's variance is the sum of p(1-p)/n over the square of their number.
    """
    mean = sum(accuracy for accuracy, _ in cells) / len(cells)
    variance = sum((a / 100) * (1 - a / 100) / n for a, n in cells) / len(cells) ** 2
    half = 100 * Z95 * math.sqrt(variance)
    return mean, max(0.0, mean - half), min(100.0, mean + half)


def is_share(accuracy: float, n: int, decimals: int = 2) -> bool:
    """True when some k out of n, rounded to this many decimals, is this accuracy in per cent."""
    near, half = round(accuracy * n / 100), 0.5 * 10**-decimals + 1e-9
    return any(abs(100 * k / n - accuracy) <= half for k in (near - 1, near, near + 1) if 0 <= k <= n)


# Rounding of the cells and of the average can change a printed average by a hundredth; that is not a difference.
DIFFERS = "printed average, where it is more than 0.01 off"


def flat(text: object) -> str:
    """The text on one line, without what XML cannot contain (control characters, surrogates) and direction marks."""
    kinds = {"Cc", "Cs", "Zl", "Zp"}
    others = "\ufffe\uffff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return " ".join("".join(" " if unicodedata.category(c) in kinds or c in others else c for c in str(text)).split())


def escape(text: object) -> str:
    """Text for one Markdown table cell: no line break, no pipe, no HTML, no Markdown, no control character."""
    line = flat(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]~!#$@])", r"\\\1", line)  # before the entities that contain a #
    return line.replace("|", "&#124;").replace("://", "&#58;//").replace("www.", "www&#46;") or "-"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; cells are escaped already."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def two(number: float) -> str:
    """Two decimals, rounded half up as the paper rounds (45.665 is not a binary number)."""
    return f"{number + 1e-9:.2f}"


def with_interval(accuracy: float, low: float, high: float, mark: str = "") -> str:
    """67.75 (66.1–69.4)."""
    return f"{two(accuracy)}{mark} ({low:.1f}–{high:.1f})"
