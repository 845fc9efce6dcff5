"""The corpus's README.md: a dataset card with the hub's YAML header and a table of what is in it."""

import html
from collections import Counter

NAMES = {"en": "English", "zh": "Chinese", "ja": "Japanese", "fr": "French", "ru": "Russian", "es": "Spanish",
         "de": "German", "ar": "Arabic"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))
LICENCES_SHOWN = 30


def dataset_card(counts: dict, removed: int, licences: Counter) -> str:
    """Markdown text.

    counts: {language: {source: {"documents", "characters", "shards"}}}; licences: documents of each licence.
    """
    documents = sum(row["documents"] for sources in counts.values() for row in sources.values())
    size = next((name for limit, name in SIZES if documents < limit), "n>1B")
    lines = ["---", "license: other", "language:", *(f"- {language}" for language in counts),
             "task_categories:", "- text-generation", "tags:", "- medical", "size_categories:",
             f"- {size}", "configs:", "- config_name: default", "  data_files: '*/*/*.parquet'"]
    for language in counts:
        lines += [f"- config_name: {language}", f"  data_files: '{language}/*/*.parquet'"]
    lines += ["---", "", "# A medical corpus in several languages", "",
              "Made by `data_collection/build_corpus.py`. Each record holds `id`, `text`, `language` (ISO 639-1),",
              "`source` (web, textbook, website, existing), `origin`, `licence`, `distinct_keywords` and `density`",
              "(the last two null where no keyword filter was passed). `manifest.json` has the checksums and how the",
              "corpus was made; `removed.jsonl` lists every document left out, with the reason.", "",
              "| language | source | documents | characters | shards |", "|---|---|---:|---:|---:|"]
    total: Counter = Counter()
    for language, sources in counts.items():
        for source, row in sources.items():
            total.update(row)
            lines.append(f"| {NAMES[language]} ({language}) | {source} | {row['documents']:,} | "
                         f"{row['characters']:,} | {row['shards']} |")
    lines += [f"| all | | {total['documents']:,} | {total['characters']:,} | {total['shards']} |", "",
              f"{removed:,} documents were left out.", "", "## Licences", "",
              "Each document keeps the licence it came with.", "", "| licence | documents |", "|---|---:|"]
    shown = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    lines += [f"| {_cell(name)} | {count:,} |" for name, count in shown[:LICENCES_SHOWN]]
    if len(shown) > LICENCES_SHOWN:
        rest = sum(count for _, count in shown[LICENCES_SHOWN:])
        lines.append(f"| {len(shown) - LICENCES_SHOWN} others | {rest:,} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text from outside, made harmless in a Markdown table."""
    text = " ".join(text.split())[:100]
    return "".join("\\" + c if c in "\\|`*_[]#!~" else c for c in html.escape(text))
