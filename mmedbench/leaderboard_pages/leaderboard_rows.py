"""Rows of the leaderboard: reported and reproduced accuracies in one form, with ranks and ties.

for row in accuracy_rows(read_results(Path("mmedbench/results"))):
    print(row.rank, row.model, row.average.accuracy, row.average.low, row.average.high)
"""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from leaderboard_pages.page_text import Z95, is_share, macro_percent, wilson_percent, with_interval
from leaderboard_pages.submitted_results import file_name, is_benchmark, is_newest
from mmedbench_questions import LANGUAGE_FILES
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


Question = tuple[str, str, int]  # key, question id, how many of this id came before
Share = tuple[float, int]  # accuracy in per cent, n
ALPHA = 0.05
EXACT_SUMS = 20_000  # this many different sums are enumerated; beyond, the normal distribution is as good


def z_better(a: Mapping[str, Share], b: Mapping[str, Share]) -> bool:
    """Whether the mean over a's keys is significantly above that over b's, as independent binomials."""

    def moments(cells: Mapping[str, Share]) -> tuple[float, float]:
        shares = [(accuracy / 100, n) for accuracy, n in cells.values()]
        return sum(p for p, _ in shares) / len(shares), sum(p * (1 - p) / n for p, n in shares) / len(shares) ** 2

    (mean_a, variance_a), (mean_b, variance_b) = moments(a), moments(b)
    return mean_a - mean_b > Z95 * math.sqrt(variance_a + variance_b)


def paired_p(a: Mapping[Question, bool], b: Mapping[Question, bool]) -> tuple[float, float]:
    """(difference of the means over languages in points, two-sided p) of two runs over the same questions.

    Under the null hypothesis, a question that only one run answers correctly is equally likely to be either's. The sum
    over languages of (only a - only b) / n is a sum of fair coins, enumerated while it has few distinct values and
    approximated by a normal distribution beyond. With one language this is McNemar's exact test (Psychometrika 12:153,
    1947).
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
    """[(rank, how, indices of the rows tied with it)] of rows over the same questions.

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


@dataclass(frozen=True)
class Cell:
    """An accuracy with its 95 % interval, all in per cent and unrounded, out of n questions.

    exact: some k of n gives it; comparable: measured on the released test split.
    """

    accuracy: float
    low: float
    high: float
    n: int
    exact: bool = True
    comparable: bool = True


@dataclass(frozen=True)
class Row:
    """A model in a setting. `average` is the plain mean over its languages (the six released ones where it has all).

    key: stable, of letters, digits, dots and dashes; kind: "reported" or "reproduced"; setting: "fine-tuned" or
    "zero-shot"; rank: among rows of the same setting and questions, None for a check of the machinery and where no
    other row is of these questions; rank_how: "paired", "unpaired", "partly paired", or "" without a rank; ties: models
    without a significant difference from this one.
    """

    key: str
    kind: str
    model: str
    size_billion: float | None
    base: str | None
    training: str
    setting: str
    mmedc: bool | None
    cells: dict[str, Cell]
    average: Cell | None
    rank: int | None = None
    rank_how: str = ""
    printed_average: float | None = None
    is_check: bool = False
    source: str = ""
    details: dict[str, str] = field(default_factory=dict)
    ties: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The model and, where known, its size: two rows may have one name."""
        return self.model if self.size_billion is None else f"{self.model} ({size_text(self.size_billion)})"


def size_text(billion: float | None) -> str:
    """Parameters for a reader: 7B, 1.8B, 2.3M; a dash if unknown."""
    if billion is None:
        return "-"
    return f"{billion:.3g}B" if billion >= 0.1 else f"{billion * 1000:.3g}M"


def share_cell(right: int, n: int, comparable: bool = True) -> Cell:
    """The cell of this many right out of n, with Wilson's interval."""
    accuracy = 100 * right / n
    return Cell(accuracy, *wilson_percent(accuracy, n), n, True, comparable)


def mean_cell(cells: list[Cell]) -> Cell | None:
    """The plain mean with its interval; n is the questions of all. None of nothing."""
    if not cells:
        return None
    return Cell(
        *macro_percent([(cell.accuracy, cell.n) for cell in cells]),
        sum(cell.n for cell in cells),
        all(cell.exact for cell in cells),
        all(cell.comparable for cell in cells),
    )


def reported_rows() -> list[Row]:
    """The published rows, in the file's order, without ranks."""
    sizes, rows = test_sizes(), []
    for line in read_reported("accuracy_reported"):
        cells = {}
        for code in LANGUAGES:
            accuracy, n = float(line[code]), sizes[code]
            cells[code] = Cell(accuracy, *wilson_percent(accuracy, n), n, is_share(accuracy, n))
        setting = {"trainset": "fine-tuned"}.get(line["setting"], line["setting"])
        slug = re.sub(r"[^a-z0-9.]+", "-", f"{line['model']} {line['size']}".lower()).strip("-")
        rows.append(
            Row(
                f"reported-{slug}-{setting}",
                "reported",
                line["model"],
                billions(line["size"]),
                None,
                "not stated" if setting == "fine-tuned" else "none",
                setting,
                line["pretrained_on_mmedc"] == "yes",
                cells,
                mean_cell(list(cells.values())),
                printed_average=number(line["avg_as_printed"]),
                source=README,
                details={"year": line["year"]} if line["year"] else {},
            )
        )
    return rows


def is_comparable(key: str, result: dict) -> bool:
    """True if a score is on the released test split of its language, by the manifest and by its size."""
    return result["data"]["released_split"].get(key) is True and result["scores"][key]["n"] == test_sizes().get(key)


def reproduced_row(result: dict) -> Row:
    """The row of one checked result of ours, without rank. Scores in the order of LANGUAGE_FILES."""
    scores, model = result["scores"], result["model"]
    cells = {
        code: share_cell(scores[code]["right"], scores[code]["n"], is_comparable(code, result))
        for code in LANGUAGE_FILES
        if code in scores
    }
    six = [cells[code] for code in LANGUAGES if code in cells and cells[code].comparable]
    parameters = model["parameters"]
    return Row(
        file_name(result).removesuffix(".json"),
        "reproduced",
        model["name"],
        None if parameters is None else parameters / 1e9,
        model.get("base"),
        model["training"],
        result["setting"],
        None,
        cells,
        mean_cell(six if len(six) == len(LANGUAGES) else list(cells.values())),
        is_check=result["leaderboard"]["machinery_check"],
        source="inference/eval.py",
        details=details_of(result),
    )


def details_of(result: dict) -> dict[str, str]:
    """What is needed to judge and reproduce a row: {name: text} in the order shown."""
    prompt, made = result["prompt"], result["provenance"]
    asked, unanswered = result.get("asked"), (result.get("endpoint") or {}).get("unanswered")
    scores = result["scores"].values()
    return {
        "parameters": "not published"
        if result["model"]["parameters"] is None
        else f"{result['model']['parameters']:,}",
        "base": result["model"].get("base") or "-",
        "training": result["model"]["training"],
        "training data": result["leaderboard"]["training_data"],
        "setting": result["setting"],
        "mode": result["mode"],
        "prompt": f"{prompt['name']} {prompt['version']}, {prompt['form']}, {prompt['sha256'][:12]}",
        "metric version": str(result["metric_version"]),
        "n": str(sum(score["n"] for score in scores)),
        "unparsed": str(sum(score["unparsed"] for score in scores))
        + (f" ({unanswered} never answered)" if unanswered else ""),
        "clean accuracy": clean_text(result),
        "commit": short_commit(made["commit"]),
        "date": made["finished_at"][:10],
        "machine": made["machine"],
        "command": made["command"],
    } | (
        {
            "asked by": asked["command"],
            "asked at": asked["finished_at"][:10],
            "asked with": short_commit(asked["commit"]),
        }
        if asked
        else {}
    )


def short_commit(commit: str) -> str:
    """Twelve digits, plus "+changes" if files were changed."""
    return commit.removesuffix("+changes")[:12] + ("+changes" if commit.endswith("+changes") else "")


def clean_text(result: dict) -> str:
    """The mean accuracy over questions that were not found in the training corpus; "not known" without a report."""
    clean = result.get("clean")
    if not clean:
        return "not known"
    shares = [(100 * s["right"] / s["n"], s["n"]) for s in clean["scores"].values() if s["n"]]
    if not shares:
        return "no question is clean"
    mean, low, high = macro_percent(shares)
    return f"{with_interval(mean, low, high)}, n={sum(n for _, n in shares)}, coverage under {clean['coverage']:g}"


def accuracy_rows(results: list[dict]) -> list[Row]:
    """Every row over MMedBench's languages, reported and ours, with ranks: the best mean first in each setting.

    results: what submitted_results.read_results gives. Of several metric versions of one row the newest counts.
    """
    mine = [result for result in results if not is_benchmark(result) and is_newest(result, results)]
    rows = [(row, None, None) for row in reported_rows()]
    rows += [(reproduced_row(result), result, result.get("predictions")) for result in mine]
    pools: dict[tuple, list[int]] = {}
    for place, (row, result, _) in enumerate(rows):
        if not row.is_check:
            pools.setdefault(_questions_of(row, result), []).append(place)
    ranked = {}
    for places in pools.values():
        if len(places) == 1:  # no other row has these questions
            continue
        used = [_used_cells(rows[place][0]) for place in places]
        right = [
            rows[place][2] and {q: hit for q, hit in rows[place][2].items() if q[0] in cells}
            for place, cells in zip(places, used, strict=True)
        ]
        for place, (rank, how, ties) in zip(places, rank_rows(list(zip(used, right, strict=True))), strict=True):
            names = tuple(rows[places[other]][0].label for other in ties)
            ranked[place] = replace(rows[place][0], rank=rank, rank_how=how, ties=names)
    found = [ranked.get(place, row) for place, (row, _, _) in enumerate(rows)]
    return sorted(found, key=lambda row: (row.setting, row.is_check, -row.average.accuracy, row.key))


def _used_cells(row: Row) -> dict[str, tuple[float, int]]:
    """The cells of the row's average: the six released languages if complete, else all."""
    six = {code: row.cells[code] for code in LANGUAGES if code in row.cells and row.cells[code].comparable}
    used = six if len(six) == len(LANGUAGES) else row.cells
    return {code: (cell.accuracy, cell.n) for code, cell in used.items()}


def _questions_of(row: Row, result: dict | None) -> tuple:
    """Equal for rows that are ranked together: setting, languages, and per language the released split or one file."""
    files = result["data"].get("files", {}) if result else {}

    def which(code: str) -> str:
        if row.cells[code].comparable:
            return "released"
        facts = files.get(LANGUAGE_FILES[code])
        return str(facts.get("sha256", row.key)) if isinstance(facts, dict) else row.key

    return row.setting, *((code, which(code)) for code in _used_cells(row))
