"""The picture of benchmark_statistics.py: questions by language and split, and mean lengths by language.

All labels are in English, so that matplotlib's own font, DejaVu Sans, holds every character of them.
"""

import io
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES
from sources.find_sources import SPLITS

# Okabe and Ito's colours, which people with any colour vision can tell apart.
SPLIT_COLOURS = {"Train": "#0072B2", "Dev": "#56B4E9", "Test": "#E69F00"}
PART_COLOURS = {"question": "#009E73", "option": "#CC79A7", "rationale": "#D55E00"}
PART_LABELS = {"question": "question", "option": "one option", "rationale": "rationale"}


def draw(rows: list[dict], unit: str, path: Path) -> None:
    """Write the PNG, whole; rows and unit as question_counts.count_rows gives and names them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["split"] in SPLITS] or rows
    languages = [code for code in LANGUAGE_FILES if any(row["language"] == code for row in shown)]
    figure = Figure(figsize=(max(7.0, 1.6 * len(languages) + 2), 8.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    _draw_questions(above, shown, languages)
    _draw_lengths(below, shown, languages, unit)
    for axes in (above, below):
        axes.set_xticks(range(len(languages)), [LANGUAGE_FILES[code].removesuffix(".jsonl") for code in languages])
        axes.set_xlim(-0.5, len(languages) - 0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # whose version has no say in the bytes
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(buffer.getvalue())
    aside.replace(path)


def _draw_questions(axes, rows: list[dict], languages: list[str]) -> None:
    """Bars of questions, a dash at the published number where the axis, made for the bars, reaches it."""
    tallest = max(row["questions"] for row in rows)
    splits = [split for split in SPLIT_COLOURS if any(row["split"] == split for row in rows)] or sorted(
        {row["split"] for row in rows}
    )
    width, labelled = 0.8 / len(splits), False
    for number, split in enumerate(splits):
        places, heights = [], []
        for row in (row for row in rows if row["split"] == split):
            x = languages.index(row["language"]) - 0.4 + width * (number + 0.5)
            places.append(x)
            heights.append(row["questions"])
            if row["published"] is not None and row["published"] <= 1.1 * tallest:
                label = None if labelled else "published"
                axes.hlines(row["published"], x - width / 2, x + width / 2, colors="black", linewidth=2, label=label)
                labelled = True
        bars = axes.bar(places, heights, width * 0.92, label=split, color=SPLIT_COLOURS.get(split))
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.set_ylabel("questions")
    axes.set_title("Questions by language and split")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, 1.15 * tallest)


def _draw_lengths(axes, rows: list[dict], languages: list[str], unit: str) -> None:
    """Bars of mean lengths over all splits, weighted by the number of questions (of rationales)."""
    width = 0.8 / len(PART_COLOURS)
    for number, (part, colour) in enumerate(PART_COLOURS.items()):
        places, heights = [], []
        for place, language in enumerate(languages):
            means = []
            for row in (row for row in rows if row["language"] == language):
                weights = {
                    "question": row["questions"],
                    "option": row["questions"] * row["options_mean"],
                    "rationale": row["with_rationale"],
                }
                if row["lengths"][unit][part] is not None:
                    means.append((row["lengths"][unit][part], weights[part]))
            total = sum(weight for _, weight in means)
            if total:
                places.append(place - 0.4 + width * (number + 0.5))
                heights.append(sum(value * weight for value, weight in means) / total)
        if places:
            bars = axes.bar(places, heights, width * 0.92, label=PART_LABELS[part], color=colour)
            axes.bar_label(bars, fmt="{:.0f}", fontsize=7, padding=2)
    axes.set_ylabel(unit)
    axes.set_title(f"Mean lengths in {unit}")
    axes.margins(y=0.1)
