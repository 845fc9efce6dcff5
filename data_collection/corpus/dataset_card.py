"""The corpus's README.md: a dataset card with the hub's YAML header and tables of what is in it."""

import html
from collections import Counter

from corpus.corpus_picture import LANGUAGE_NAMES, reported_tokens

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
LICENCES_SHOWN = 30


def dataset_card(
    counts: dict,
    removed: dict[str, int],
    licences: Counter,
    tokens: dict | None = None,
    tokenizer: dict | None = None,
    cut: dict | None = None,
) -> str:
    """Markdown text.

    counts: {language: {source: {"documents", "characters", "shards"}}}; removed: {reason: documents}; licences:
    documents of each licence; tokens: {language: {source: tokens}} by `tokenizer` {"name", "sha256"}; cut:
    {"documents", "characters"} that lost a passage.
    """
    lines = [
        *_header(counts),
        "",
        "# A medical corpus in several languages",
        "",
        "Made by `data_collection/build_corpus.py`. Each record holds `id`, `text`, `language` (ISO 639-1),",
        "`source` (web, textbook, website, existing), `origin`, `licence`, `distinct_keywords` and `density`",
        "(the last two null where no keyword filter was passed). `manifest.json` has the checksums and how the",
        "corpus was made; `removed.jsonl` lists every document left out, with the reason.",
        "",
    ]
    lines += [
        *_table(counts, tokens),
        "",
        _tokenizer_line(tokenizer),
        "",
        "![Size per language and source, next to the reported sizes of MMedC](corpus.png)",
        "",
        f"{sum(removed.values()):,} documents were left out.",
        "",
    ]
    lines += [f"- {count:,}: {harmless_cell(reason)}" for reason, count in removed.items()] + [""] * bool(removed)
    if cut and cut["documents"]:
        lines += [
            f"{cut['documents']:,} documents lost passages that stand in exam questions, {cut['characters']:,} "
            "characters together; `cut.jsonl` lists them.",
            "",
        ]
    lines += [
        *_reported_table(),
        "",
        "## Licences",
        "",
        "Each document keeps the licence it came with.",
        "",
        "| licence | documents |",
        "|---|---:|",
    ]
    shown = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    lines += [f"| {harmless_cell(name)} | {count:,} |" for name, count in shown[:LICENCES_SHOWN]]
    if len(shown) > LICENCES_SHOWN:
        rest = sum(count for _, count in shown[LICENCES_SHOWN:])
        lines.append(f"| {len(shown) - LICENCES_SHOWN} others | {rest:,} |")
    return "\n".join(lines) + "\n"


def _header(counts: dict) -> list[str]:
    """The hub's YAML header: a configuration a language, and one of all."""
    documents = sum(row["documents"] for sources in counts.values() for row in sources.values())
    size = next((name for limit, name in SIZES if documents < limit), "n>1B")
    lines = [
        "---",
        "license: other",
        "language:",
        *(f"- {language}" for language in counts),
        "task_categories:",
        "- text-generation",
        "tags:",
        "- medical",
        "size_categories:",
        f"- {size}",
        "configs:",
        "- config_name: default",
        "  data_files: '*/*/*.parquet'",
    ]
    for language in counts:
        lines += [f"- config_name: {language}", f"  data_files: '{language}/*/*.parquet'"]
    return [*lines, "---"]


def _table(counts: dict, tokens: dict | None) -> list[str]:
    def of(language: str, source: str) -> str:
        return f"{tokens.get(language, {}).get(source, 0):,}" if tokens else "not counted"

    lines = ["| language | source | documents | characters | tokens | shards |", "|---|---|---:|---:|---:|---:|"]
    total: Counter = Counter()
    for language, sources in counts.items():
        for source, row in sources.items():
            total.update(row)
            lines.append(
                f"| {LANGUAGE_NAMES[language]} ({language}) | {source} | {row['documents']:,} | "
                f"{row['characters']:,} | {of(language, source)} | {row['shards']} |"
            )
    every = f"{sum(sum(row.values()) for row in tokens.values()):,}" if tokens else "not counted"
    return [*lines, f"| all | | {total['documents']:,} | {total['characters']:,} | {every} | {total['shards']} |"]


def _tokenizer_line(tokenizer: dict | None) -> str:
    if tokenizer is None:
        return "Tokens were not counted: no `--tokenizer` was given."
    name, sha256 = harmless_cell(tokenizer["name"]), tokenizer["sha256"]
    return f"Tokens by the tokenizer {name} (SHA-256 {sha256[:16]}), special ones left out."


def _reported_table() -> list[str]:
    reported = reported_tokens()
    lines = [
        "## MMedC as reported",
        "",
        "Billions of tokens, by another tokenizer. Source: Qiu et al., Nature Communications 15:8384, 2024.",
        "",
        "| language | web | textbook | website | existing | all |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for language, row in reported.items():
        cells = [f"{row[source]:.2f}" for source in ("web", "textbook", "website", "existing")]
        lines.append(f"| {LANGUAGE_NAMES[language]} ({language}) | {' | '.join(cells)} | {row['total']:.2f} |")
    return lines


def harmless_cell(text: str) -> str:
    """Text from outside, made harmless in a Markdown table."""
    text = " ".join(text.split())[:100]
    return "".join("\\" + c if c in "\\|`*_[]#!~" else c for c in html.escape(text, quote=False))
