"""Markdown of the leaderboard: escaped cells, tables, numbers with intervals.

Everything that comes from a result file is escaped by `escape`: a model's name can break neither table nor page.
"""

import re
import unicodedata

# Two roundings, of the cells and of the average, can move a printed average by a hundredth: that is not a difference.
DIFFERS = "printed average, where it is more than 0.01 off"


def flat(text: object) -> str:
    """The text on one line, without what XML cannot hold (control characters, halves) and marks of direction."""
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
