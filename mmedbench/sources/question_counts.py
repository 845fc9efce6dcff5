"""The numbers of benchmark_statistics.py: counts by language and split, mean lengths, topics, and their tables."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, answer_letters, normalise
from run_record import InputError
from sources.find_sources import SPLITS

UNSPACED = ("zh", "ja")  # scripts that put no space between words
PARTS = ("question", "option", "rationale")


@dataclass(frozen=True)
class Length:
    """A way to measure texts: its name as the tables say it, and texts -> lengths; None where it says nothing."""

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
    """One row a language and split.

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
