"""Tables of figures that others published beside accuracy: rationales, English benchmarks, ablation, sizes."""

import math

from leaderboard_pages.page_text import DIFFERS, escape, table, two, with_interval
from leaderboard_pages.reported_figures import LANGUAGES, PAPER, README, number, read_reported, test_sizes
from leaderboard_pages.score_intervals import Z95, is_share, macro_percent, wilson_percent

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
