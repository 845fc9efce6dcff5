"""Counts and picture of benchmark_statistics.py: by language and split, mean lengths, topics."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, answer_letters, normalise
from run_record import InputError
from sources.find_sources import SPLITS

# Okabe and Ito's colours, distinguishable with any colour vision.
SPLIT_COLOURS = {"Train": "#0072B2", "Dev": "#56B4E9", "Test": "#E69F00"}
PART_COLOURS = {"question": "#009E73", "option": "#CC79A7", "rationale": "#D55E00"}
PART_LABELS = {"question": "question", "option": "one option", "rationale": "rationale"}


def draw(rows: list[dict], unit: str, path: Path) -> None:
    """Write the PNG; rows: those of count_rows; unit: name of the Length shown."""
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
    figure.savefig(buffer, format="png", metadata={"Software": None})  # matplotlib's version would change the bytes
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(buffer.getvalue())
    aside.replace(path)


def _draw_questions(axes, rows: list[dict], languages: list[str]) -> None:
    """Bars of questions, with a dash at the published number if it fits on the axis, which is scaled to the bars."""
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


UNSPACED = ("zh", "ja")  # scripts that put no space between words
PARTS = ("question", "option", "rationale")


@dataclass(frozen=True)
class Length:
    """A unit of length: its name in the tables, texts -> lengths, and whether it needs spaces between words."""

    name: str
    measure: Callable[[list[str]], list[int]]
    spaced_only: bool = False


def length_units(tokenizer: str | None, count: Callable[[list[str]], list[int]] | None) -> list[Length]:
    """Tokens of the tokenizer named, or characters and words where there is none."""
    if count:
        return [Length(f"tokens of {tokenizer}", count)]
    return [
        Length("characters", lambda texts: [len(text) for text in texts]),
        Length("words between spaces", lambda texts: [len(text.split()) for text in texts], True),
    ]


def mean(values: list[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def count_rows(groups: dict[tuple[str, str], list[dict]], units: list[Length], published: dict) -> list[dict]:
    """One row per language and split.

    single, multiple: questions with one and with several right answers; option lengths are of one option, on average;
    rationale lengths are over the questions that have one. lengths: {unit: {part: mean or None}}.
    """
    rows = []
    order = list(LANGUAGE_FILES)
    for (language, split), records in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        texts = {
            "question": [record["question"] for record in records],
            "option": [text for record in records for text in record["options"].values()],
            "rationale": [record["rationale"] for record in records if record.get("rationale")],
        }
        options = [len(record["options"]) for record in records]
        multiple = sum(len(answer_letters(record)) > 1 for record in records)
        rows.append(
            {
                "language": language,
                "split": split,
                "questions": len(records),
                "published": published.get(language, {}).get(split),
                "single": len(records) - multiple,
                "multiple": multiple,
                "options_mean": mean(options),
                "options_least": min(options),
                "options_most": max(options),
                "with_rationale": len(texts["rationale"]),
                "lengths": {
                    unit.name: {
                        part: None
                        if (unit.spaced_only and language in UNSPACED) or not texts[part]
                        else mean(unit.measure(texts[part]))
                        for part in PARTS
                    }
                    for unit in units
                },
            }
        )
    return rows


def read_topics(path: Path) -> dict[str, dict[str, list[str]]]:
    """{topic: {language: [keywords]}}. Errors: InputError naming what is wrong."""
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--topics {path} cannot be read ({error})") from None
    if not isinstance(value, dict) or not value:
        raise InputError(f"--topics {path}: expected {{topic: {{language: [keywords]}}}}")
    for topic, languages in value.items():
        if not isinstance(languages, dict) or not set(languages) <= set(LANGUAGE_FILES):
            raise InputError(f"--topics {path}: {topic}: expected languages out of {', '.join(LANGUAGE_FILES)}")
        for language, keywords in languages.items():
            if not isinstance(keywords, list) or not all(isinstance(word, str) and word.strip() for word in keywords):
                raise InputError(f"--topics {path}: {topic}.{language}: expected a list of texts")
    return value


def topic_pattern(keywords: list[str], language: str) -> re.Pattern:
    """Matches a keyword in a normalised text: anywhere where words have no spaces, else at the beginning of a word, so
    that endings do not matter."""
    start = "" if language in UNSPACED else r"(?<!\w)"
    if language == "ar":  # the article, and the letters that are written onto a word
        start += "(?:و|ف|ب|ل|ك)?(?:ال|لل)?"
    return re.compile(start + "(?:" + "|".join(re.escape(normalise(word)) for word in keywords) + ")")


def topic_rows(groups: dict[tuple[str, str], list[dict]], topics: dict[str, dict[str, list[str]]]) -> list[dict]:
    """{topic, language, questions} over Train, Dev and Test, question and options searched; several topics may fit.

    The topic "none of these" counts the questions without any.
    """
    rows = []
    for language in [code for code in LANGUAGE_FILES if topics and any(key[0] == code for key in groups)]:
        patterns = {
            topic: topic_pattern(words[language], language) for topic, words in topics.items() if words.get(language)
        }
        counts = dict.fromkeys([*topics, "none of these"], 0)
        for record in (
            record for key, records in groups.items() if key[0] == language and key[1] in SPLITS for record in records
        ):
            text = normalise("\n".join([record["question"], *record["options"].values()]))
            found = [topic for topic, pattern in patterns.items() if pattern.search(text)]
            for topic in found or ["none of these"]:
                counts[topic] += 1
        rows += [{"topic": topic, "language": language, "questions": n} for topic, n in counts.items()]
    return rows


def statistics_markdown(rows: list[dict], units: list[Length], topics: list[dict], published: dict) -> str:
    """The tables of statistics.md."""
    lines = [
        "# Statistics of the benchmark",
        "",
        "Published: reported/mmedbench_counts.csv. Options: mean (least to "
        "most). An option's length is that of one option; a rationale's is over the questions that have one.",
        "",
    ]
    heads = [
        "language",
        "split",
        "questions",
        "published",
        "single",
        "multiple",
        "multiple %",
        "options",
        "with rationale",
    ]
    lines += table(
        heads,
        [
            [
                row["language"],
                row["split"],
                row["questions"],
                _shown(row["published"]),
                row["single"],
                row["multiple"],
                f"{100 * row['multiple'] / row['questions']:.1f}",
                f"{row['options_mean']:.2f} ({row['options_least']} to {row['options_most']})",
                row["with_rationale"],
            ]
            for row in rows
        ],
    )
    here = {(row["language"], row["split"]) for row in rows}
    absent = [
        f"{language} {split} {number}"
        for language, splits in published.items()
        for split, number in splits.items()
        if (language, split) not in here
    ]
    if absent:
        lines += ["", f"Published, but not here: {', '.join(absent)}."]
    for unit in units:
        lines += ["", f"## Mean lengths in {unit.name}", ""]
        lines += table(
            ["language", "split", *PARTS],
            [
                [row["language"], row["split"], *(_shown(row["lengths"][unit.name][part]) for part in PARTS)]
                for row in rows
            ],
        )
    if topics:
        languages = list(dict.fromkeys(row["language"] for row in topics))
        number = {(row["topic"], row["language"]): row["questions"] for row in topics}
        lines += [
            "",
            "## Topics by keywords",
            "",
            "Questions of Train, Dev and Test whose text or options hold a "
            "keyword; a question may have several topics.",
            "",
        ]
        lines += table(
            ["topic", *languages],
            [
                [topic, *(number[topic, language] for language in languages)]
                for topic in dict.fromkeys(row["topic"] for row in topics)
            ],
        )
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else str(value)


def table(heads: list[str], rows: list[list]) -> list[str]:
    """The lines of a Markdown table; a bar in a cell is escaped."""
    cells = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
