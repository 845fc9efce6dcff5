"""95 % intervals of accuracies in per cent: Wilson's for one language, the normal one for a mean over languages."""

import math

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
