"""The tables of leaderboard.md, reported and reproduced, each number with n and interval."""

import math

from leaderboard_pages.leaderboard_rows import (
    LANGUAGES,
    PAPER,
    README,
    Cell,
    Row,
    accuracy_rows,
    details_of,
    number,
    read_reported,
    share_cell,
    size_text,
    test_sizes,
)
from leaderboard_pages.page_text import (
    DIFFERS,
    Z95,
    escape,
    is_share,
    macro_percent,
    table,
    two,
    wilson_percent,
    with_interval,
)
from leaderboard_pages.submitted_results import is_benchmark, is_newest, row_key
from mmedbench_questions import LANGUAGE_FILES

SHOWN_METRICS = ("BLEU-1", "ROUGE-1")


def newest(results: list[dict]) -> list[dict]:
    """Of each row the result by the newest metric version."""
    return [result for result in results if is_newest(result, results)]


def in_order(keys) -> list[str]:
    """Languages in the page's order, then benchmarks by name."""
    order = list(LANGUAGE_FILES)
    return sorted(keys, key=lambda key: (order.index(key) if key in order else len(order), key))


def mean_text(scores: dict[str, dict]) -> str:
    """The plain mean of scores with its interval and how many they are."""
    mean = macro_percent([(100 * s["right"] / s["n"], s["n"]) for s in scores.values()])
    return f"{with_interval(*mean)}, n={sum(s['n'] for s in scores.values())}"


def score_text(score: dict) -> str:
    """A score with its interval and n."""
    cell = share_cell(score["right"], score["n"])
    return f"{with_interval(cell.accuracy, cell.low, cell.high)}, n={cell.n}"


def our_rationale_table(results: list[dict], mark: str) -> list[str]:
    """Rationale similarity of our rows, in per cent, each with the number of rationales scored; [] without any."""
    rows = []
    for result in (r for r in newest(results) if r.get("rationales")):
        found = result["rationales"]
        for metric in SHOWN_METRICS:
            cells = [
                f"{two(s[metric])}, n={s['n']}"
                if (s := found["scores"].get(code)) and s.get(metric) is not None
                else "-"
                for code in LANGUAGE_FILES
            ]
            mean = found["macro"].get(metric)
            on = " and ".join(sorted({str(s.get("on", "?")) for s in found["scores"].values()}))
            rows.append(
                [
                    escape(result["model"]["name"]),
                    escape(result["setting"]),
                    metric,
                    *cells,
                    "-" if mean is None else two(mean),
                    escape(on),
                    str(sum(s.get("empty", 0) for s in found["scores"].values())),
                    f"{found['metric_version']}, {escape(found.get('mode', '-'))}",
                ]
            )
    header = [
        f"model ({mark})",
        "setting",
        "metric",
        *LANGUAGE_FILES,
        "average",
        "rationales",
        "empty",
        "metric version, mode",
    ]
    return [f"### Rationale similarity ({mark})", "", *table(header, rows)] if rows else []


def benchmark_table(results: list[dict], mark: str) -> list[str]:
    """Our rows on the English benchmarks, one line per benchmark; [] without any."""
    rows = []
    for result in (r for r in newest(results) if is_benchmark(r)):
        first = [escape(result["model"]["name"]), escape(result["setting"]), escape(result["model"]["training"])]
        scores = result["scores"]
        rows += [
            [*first, escape(key), score_text(scores[key]), str(scores[key]["unparsed"])] for key in in_order(scores)
        ]
        rows.append(
            [*first, f"average of {len(scores)}", mean_text(scores), str(sum(s["unparsed"] for s in scores.values()))]
        )
    header = [f"model ({mark})", "setting", "training", "benchmark", "accuracy", "unparsed"]
    return [f"### English benchmarks ({mark})", "", *table(header, rows)] if rows else []


def version_table(results: list[dict], mark: str) -> list[str]:
    """Rows that were scored by several metric versions, side by side; [] where none was."""
    rows: dict[tuple, dict[int, dict]] = {}
    for result in results:
        rows.setdefault(row_key(result), {})[result["metric_version"]] = result
    several = {key: mine for key, mine in rows.items() if len(mine) > 1}
    if not several:
        return []
    versions = sorted({version for mine in several.values() for version in mine})
    lines = []
    for (name, setting, _), mine in several.items():
        keys = in_order({key for result in mine.values() for key in result["scores"]})
        for key in [*keys, None]:
            cells = []
            for version in versions:
                scores = mine[version]["scores"] if version in mine else {}
                if key is None:
                    cells.append(mean_text(scores) if scores else "-")
                else:
                    cells.append(score_text(scores[key]) if key in scores else "-")
            lines.append([escape(name), escape(setting), "average" if key is None else escape(key), *cells])
    header = [f"model ({mark})", "setting", "language", *(f"metric version {version}" for version in versions)]
    return [
        f"### The same rows by older metric versions ({mark})",
        "",
        "A corrected metric is a new version; scores by older versions are kept. The tables above show the newest.",
        "",
        *table(header, lines),
    ]


def answer_table(results: list[dict], mark: str) -> list[str]:
    """How each model answered: unparsed answers, most frequent letter, accuracy where clean."""
    rows = []
    for result in newest(results):
        clean = ((result.get("clean") or {}).get("scores")) or {}
        for key in in_order(result["scores"]):
            score = result["scores"][key]
            letters = score["predicted_letters"]
            total = sum(letters.values())
            most = max(sorted(letters), key=letters.get, default=None)
            share = f"{escape(most)} {100 * letters[most] / total:.1f} %" if total else "-"
            known = clean.get(key)
            rows.append(
                [
                    escape(result["model"]["name"]),
                    escape(result["setting"]),
                    escape(key),
                    str(score["n"]),
                    str(score["right"]),
                    str(score["unparsed"]),
                    share,
                    "not known" if known is None else score_text(known) if known["n"] else "no question is clean",
                ]
            )
    header = [
        f"model ({mark})",
        "setting",
        "language",
        "n",
        "right",
        "unparsed",
        "most predicted letter",
        "accuracy where clean",
    ]
    return (
        [
            f"### How they answered ({mark})",
            "",
            "An unparsed answer does not follow the prompt's format and counts as wrong. *Clean* questions were not",
            "found in the training corpus; this is known if a contamination report was given.",
            "",
            *table(header, rows),
        ]
        if rows
        else []
    )


def making_table(results: list[dict], mark: str) -> list[str]:
    """Provenance of each result, of older metric versions too: model, data, prompt, commit, date, machine, command."""
    rows, names = [], []
    for result in results:
        details = details_of(result)
        names = [name for name in details if name not in ("setting", "clean accuracy") and not name.startswith("asked")]
        kind = "English benchmarks" if is_benchmark(result) else "MMedBench"
        kept = "yes" if result.get("predictions") else "no"
        cells = [
            f"<code>{escape(details[name])}</code>" if name == "command" else escape(details[name]) for name in names
        ]
        if "asked by" in details:
            cells[-1] += (
                f", answers asked for {escape(details['asked at'])} at {escape(details['asked with'])} by "
                f"<code>{escape(details['asked by'])}</code>"
            )
        rows.append([escape(result["model"]["name"]), escape(result["setting"]), kind, *cells, kept])
    header = [f"model ({mark})", "setting", "questions", *names, "predictions kept"]
    return [f"### Provenance ({mark})", "", *table(header, rows)] if rows else []


METRICS = {"BLEU-1": ("bleu1", "bleu1_avg"), "ROUGE-1": ("rouge1", "rouge1_avg")}


def rationale_tables() -> list[str]:
    """BLEU-1 and ROUGE-1 by language, averages recomputed; of models without public cells the average alone."""
    by_model: dict[str, dict[str, dict[str, str]]] = {}
    for line in read_reported("rationale_reported"):
        by_model.setdefault(line["model"], {})[line["language"]] = line
    lines = [
        "## Reported: rationale similarity",
        "",
        f"Reported; source: {README}. Per cent.",
        "Measured on the rationales that passed the human check, 1,136 over all languages; how many in each is",
        "not published, so there is no interval and no rank.",
        "",
    ]
    for title, (metric, average) in METRICS.items():
        rows = []
        for model, cells in by_model.items():
            values = [float(cells[code][metric]) for code in LANGUAGES]
            mean, printed = sum(values) / len(values), float(cells["avg_as_printed"][metric])
            rows.append(
                (
                    -mean,
                    [
                        escape(model),
                        *map(two, values),
                        two(mean),
                        two(printed) if abs(mean - printed) >= 0.011 else "-",
                    ],
                )
            )
        for line in read_reported("rationale_averages_reported"):
            if (printed := number(line[average])) is not None:
                rows.append((-printed, [escape(line["model"]), *"-" * len(LANGUAGES), f"{two(printed)} §", "-"]))
        header = ["model (reported)", *LANGUAGES, "average", DIFFERS]
        lines += [f"### {title} (reported)", "", *table(header, [row for _, row in sorted(rows)])]
    return [*lines, "§ As printed: the cells of this model are not public, so the average cannot be recomputed.", ""]


def english_tables() -> list[str]:
    """Accuracy on the English benchmarks with intervals; the average is the plain mean over all nine."""
    benchmarks = read_reported("english_benchmark_sizes")
    sizes, rows = {line["column"]: int(line["test"]) for line in benchmarks}, []
    for line in read_reported("english_benchmarks_reported"):
        cells = {column: value for column in sizes if (value := number(line[column])) is not None}
        shown = {
            column: with_interval(
                value, *wilson_percent(value, sizes[column]), "" if is_share(value, sizes[column], 1) else " ‡"
            )
            for column, value in cells.items()
        }
        mean, printed = macro_percent([(cells[c], sizes[c]) for c in cells]), number(line["avg_as_printed"])
        whole = len(cells) == len(sizes)
        rows.append(
            (
                not whole,
                -mean[0],
                [
                    escape(line["model"]),
                    line["size"],
                    *(shown.get(column, "-") for column in sizes),
                    with_interval(*mean) if whole else "-",
                    two(printed) if printed is not None and abs(mean[0] - printed) >= 0.011 else "-",
                ],
            )
        )
    header = [
        "model (reported)",
        "size",
        *(f"{line['benchmark']} (n={int(line['test'])})" for line in benchmarks),
        "average",
        DIFFERS,
    ]
    return [
        "## Reported: English benchmarks",
        "",
        f"Reported; source: {README}. Cells are printed with one decimal.",
        "n is the size of the set that `prepare.py --english-benchmarks` builds: the public test set; of MedMCQA,",
        "whose test set has no public key, the dev set. The sources do not say theirs.",
        "",
        *table(header, [row for *_, row in sorted(rows)]),
        "‡ No k of n gives this figure: its denominator is unknown, and its interval is computed as if it were n.",
        "",
    ]


def widest_half() -> float:
    """Half the widest 95 % interval that a mean over the released six languages can have, in points: p = 1/2 in all."""
    sizes = test_sizes().values()
    return 100 * Z95 * math.sqrt(sum(0.25 / n for n in sizes)) / len(sizes)


def ablation_table() -> list[str]:
    """What the corpus gives: average accuracy and rationale similarity by base model and corpus."""
    half = widest_half()
    rows = [
        [
            escape(line["base_model"]),
            escape(line["corpus"]),
            with_interval(float(line["accuracy"]), float(line["accuracy"]) - half, float(line["accuracy"]) + half),
            *(two(float(line[name])) if line[name] else "-" for name in ("bleu1", "rouge1")),
        ]
        for line in read_reported("ablation_reported")
    ]
    return [
        "## Reported: ablation of the corpus",
        "",
        f"Reported; source: {PAPER}, table 4.",
        "Only averages are published, so they are as printed, and the interval is the widest that an average over",
        f"these test sets can have: {two(half)} points to either side.",
        "",
        *table(
            [
                "base model (reported)",
                "pretrained further on",
                f"accuracy (n={sum(test_sizes().values())})",
                "BLEU-1",
                "ROUGE-1",
            ],
            rows,
        ),
    ]


def sizes_table() -> list[str]:
    """Questions of the released benchmark."""
    rows = [
        [line["language"], escape(line["source"] or "-"), f"{int(line['train']):,}", f"{int(line['test']):,}"]
        for line in read_reported("mmedbench_counts")
    ]
    return [
        "## Reported: questions of MMedBench",
        "",
        f"Reported; source: {PAPER}, and the public dataset card.",
        "",
        *table(["language", "exam", "train", "test (n)"], rows),
    ]


INTRODUCTION = """# Leaderboard

Generated by `python mmedbench/leaderboard.py render`; do not edit by hand. Research use; no score is medical
advice.

**Reported** rows are published figures with their source; they were not measured here. **Reproduced** rows were scored
with this project's `inference/eval.py`, here or by the submitter; their files are in `mmedbench/results/`.

A question counts as right when the set of letters is exactly right. Numbers are per cent, with the 95 % interval in
brackets: Wilson's for a language, the normal one for the average, which is the plain mean over languages, recomputed
from the cells. Fine-tuned and zero-shot rows are different settings and are in different tables.

**Rank** is 1 + the number of rows of the same setting that are significantly better (two-sided, 0.05, each pair alone).
Rows without a significant difference are *tied*; "=" marks a rank with ties. If both rows have predictions on the same
questions, the test is paired: McNemar's, extended to the mean over languages. Otherwise it is a z-test on the two
averages as independent binomials, marked *unpaired*: conservative, because both models answered the same questions.
Our rows are ranked together with the reported rows if they answered the released split.
"""
DENOMINATOR = (
    "‡ No k of n gives this figure: its denominator is unknown, and its interval is computed as if it\nwere n."
)
OTHER_SPLIT = (
    "† Not the released test split (another size, or a split made here, as for Japanese, which has no\n"
    "official one): shown, but in no average or rank that is compared with the reported rows."
)
SETTINGS = {"fine-tuned": "Fine-tuned on MMedBench's train split", "zero-shot": "Zero-shot"}


def cell_text(cell: Cell | None, with_n: bool = False) -> str:
    """A cell with its interval and its marks; a dash where there is none."""
    if cell is None:
        return "-"
    mark = ("" if cell.exact else " ‡") + ("" if cell.comparable else " †")
    return with_interval(cell.accuracy, cell.low, cell.high, mark) + (f", n={cell.n}" if with_n else "")


def rank_text(row: Row) -> str:
    """The rank and how it was tested; "=" marks a tie."""
    if row.rank is None:
        return "-"
    return f"{row.rank}{' =' if row.ties else ''}" + (f" {row.rank_how}" if row.rank_how else "")


def reported_accuracy(rows: list[Row]) -> list[str]:
    """The published rows by setting, best recomputed average first."""
    sizes, lines = test_sizes(), []
    header = [
        "rank",
        "model (reported)",
        "size",
        "training",
        "MMedC",
        *(f"{c} (n={sizes[c]})" for c in LANGUAGES),
        f"average (n={sum(sizes.values())})",
        DIFFERS,
        "tied with",
    ]
    for setting, title in SETTINGS.items():
        cells = []
        for row in (r for r in rows if r.kind == "reported" and r.setting == setting):
            differs = row.printed_average is not None and abs(row.average.accuracy - row.printed_average) >= 0.011
            cells.append(
                [
                    rank_text(row),
                    escape(row.model),
                    size_text(row.size_billion),
                    escape(row.training),
                    "yes" if row.mmedc else "no",
                    *(cell_text(row.cells[code]) for code in LANGUAGES),
                    with_interval(row.average.accuracy, row.average.low, row.average.high),
                    two(row.printed_average) if differs else "-",
                    escape("; ".join(row.ties)),
                ]
            )
        lines += [f"### {title} (reported)", "", f"Reported; source: {README}.", "", *table(header, cells)]
    return [
        *lines,
        DENOMINATOR,
        "",
        "*Training* is full or lora; the sources of the reported rows do not state it.",
        "GPT-3.5's average is printed as 51.47 in one place and as 51.82 in another.",
        "",
    ]


def reproduced_accuracy(rows: list[Row], mark: str) -> list[str]:
    """Our rows of one kind: by language, each with its n."""
    lines = []
    for setting in SETTINGS:
        cells = [
            [
                rank_text(row),
                escape(row.model),
                size_text(row.size_billion),
                escape(row.training),
                *(cell_text(row.cells.get(code), True) for code in LANGUAGE_FILES),
                with_interval(row.average.accuracy, row.average.low, row.average.high) + f", n={row.average.n}",
                f"{len(row.cells)}" if not _is_six(row) else "the released 6",
                escape(row.details["unparsed"]),
                escape(row.details["clean accuracy"]),
                escape("; ".join(row.ties)),
            ]
            for row in rows
            if row.setting == setting
        ]
        if cells:
            header = [
                "rank",
                f"model ({mark})",
                "size",
                "training",
                *LANGUAGE_FILES,
                "average",
                "languages in it",
                "unparsed",
                "average where clean",
                "tied with",
            ]
            lines += [f"### {SETTINGS[setting]} ({mark})", "", *table(header, cells)]
    if any(not cell.comparable for row in rows for cell in row.cells.values()):
        lines += [OTHER_SPLIT, ""]
    return lines


def _is_six(row: Row) -> bool:
    return row.average.comparable and row.average.n == sum(test_sizes().values())


def our_tables(results: list[dict], rows: list[Row], mark: str = "reproduced") -> list[str]:
    """All tables of some of our results, whose rows are given; mark: the kind in each table's title."""
    return [
        *reproduced_accuracy(rows, mark),
        *our_rationale_table(results, mark),
        *benchmark_table(results, mark),
        *version_table(results, mark),
        *answer_table(results, mark),
        *making_table(results, mark),
    ]


def render(results: list[dict], pictures: list[str] | None = None) -> str:
    """The text of leaderboard.md; pictures: Markdown lines that show them."""
    rows = accuracy_rows(results)
    ours = [row for row in rows if row.kind == "reproduced"]
    claims = [result for result in results if not result["leaderboard"]["machinery_check"]]
    checks = [result for result in results if result["leaderboard"]["machinery_check"]]
    lines = [
        INTRODUCTION,
        *(pictures or []),
        "## Reported: accuracy",
        "",
        *reported_accuracy(rows),
        *rationale_tables(),
        *english_tables(),
        *ablation_table(),
        *sizes_table(),
        "## Reproduced",
        "",
    ]
    lines += our_tables(claims, [r for r in ours if not r.is_check]) or [
        "No model of useful size has been scored yet.",
        "",
    ]
    if checks:
        lines += [
            "## Check of the machinery",
            "",
            "A model of a few million parameters, trained for minutes on the project's own sample, can only",
            "guess. Its row shows that the pipeline runs from PDFs to this page; **it is not a claim about medicine**",
            "and has no rank.",
            "",
            *our_tables(checks, [r for r in ours if r.is_check], "check of the machinery"),
        ]
    return "\n".join(lines).rstrip() + "\n"
