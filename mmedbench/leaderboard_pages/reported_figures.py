"""The figures that others published: mmedbench/reported/*.csv. reported/README.md says where each comes from."""

import csv
from pathlib import Path

from run_record import InputError

REPORTED = Path(__file__).resolve().parents[1] / "reported"
LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es")  # of the released MMedBench, in the papers' order
PAPER = (
    "Qiu et al., *Towards building multilingual language model for medicine*, Nature Communications 15:8384 "
    "(2024), arXiv 2402.13963"
)
README = f"{PAPER}, and its public README"


def read_reported(name: str) -> list[dict[str, str]]:
    """Rows of reported/<name>.csv, every cell a text. Errors: InputError for a file that is missing or cut."""
    path = REPORTED / f"{name}.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} ({error}); take the file from the repository again") from None
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(
                f"{path}:{number}: more or fewer cells than the header has; take the file from the repository again"
            )
    return rows


def test_sizes() -> dict[str, int]:
    """{"en": 1273, ...}: questions of the released test split."""
    return {
        row["language"]: int(row["test"]) for row in read_reported("mmedbench_counts") if row["language"] in LANGUAGES
    }


def number(text: str) -> float | None:
    """A cell's number; None where it is empty or a dash."""
    return float(text) if text.strip() not in ("", "-") else None


def billions(size: str) -> float | None:
    """Parameters in billions of a size as printed, such as 1.8B; None for a dash."""
    return number(size.removesuffix("B"))
