"""The Markdown report of `make_corpus.py`: what became of every document in each step.

Reads the steps' manifests; writes nothing. Used by `make_corpus.py`.
"""

from collections import Counter
from pathlib import Path

from corpus.dataset_card import harmless_cell
from run_record import read_json

SOURCE_STEPS = ("web", "websites", "existing")  # their manifests count documents by language and reason
NOT_REASONS = ("read", "kept", "kept_characters")


def read_manifests(out: Path, names: list[str]) -> dict[str, dict]:
    """{step: its manifest}."""
    return {name: read_json(out / name / "manifest.json") for name in names}


def report_of(manifests: dict[str, dict], seconds: dict[str, float]) -> str:
    """Markdown: documents in and out by reason, contamination by language, the corpus, seconds by step."""
    lines = ["# From raw inputs to the corpus", "", "Made by `data_collection/make_corpus.py`.", ""]
    for name in SOURCE_STEPS:
        if name in manifests:
            lines += _source(name, manifests[name]["counts"])
    if "books" in manifests:
        lines += _books(manifests["books"])
    lines += _duplicates(manifests["duplicates"])
    if "contamination" in manifests:
        lines += _contamination(manifests["contamination"])
    lines += _corpus(manifests["MMedC"])
    lines += ["## Seconds", "", *_table(("step", "seconds"), [[n, f"{s:,.1f}"] for n, s in seconds.items()])]
    return "\n".join(lines)


def _source(name: str, counts: dict) -> list[str]:
    rows = []
    total: Counter = Counter()
    for language, row in counts.items():
        total.update({key: value for key, value in row.items() if isinstance(value, int)})
        rows.append([language, f"{row['read']:,}", f"{row['kept']:,}", _reasons(row)])
    rows.append(["all", f"{total['read']:,}", f"{total['kept']:,}", _reasons(total)])
    return [f"## {name}", "", *_table(("language", "documents read", "kept", "omitted, by reason"), rows)]


def _reasons(row: dict) -> str:
    reasons = {key: count for key, count in row.items() if key not in NOT_REASONS and count and isinstance(count, int)}
    return ", ".join(f"{key} {count:,}" for key, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))) or "-"


def _books(manifest: dict) -> list[str]:
    pages = manifest["pages"]
    said = ", ".join(f"{method} {count:,}" for method, count in pages.items())
    facts = [
        ("PDFs", manifest["pdfs"]),
        ("documents with text", manifest["documents"]),
        ("failures listed", manifest["failures"]),
        ("pages dropped in front and behind", manifest["front_and_back_pages_dropped"]),
    ]
    rows = [
        [language, f"{row['documents']:,}", f"{row['pages']:,}", f"{row['characters']:,}"]
        for language, row in manifest["counts"].items()
    ]
    return [
        "## books",
        "",
        "; ".join(f"{name}: {count:,}" for name, count in facts) + f"; pages: {said}",
        "",
        *_table(("language", "documents", "pages", "characters"), rows),
    ]


def _duplicates(manifest: dict) -> list[str]:
    rows = [
        [
            language,
            f"{row['documents']:,}",
            f"{row['exact_duplicates']:,}",
            f"{row['near_duplicates']:,}",
            f"{row['clusters']:,}",
        ]
        for language, row in manifest["counts"].items()
    ]
    header = ("language", "documents", "exact duplicates", "near duplicates", "clusters")
    return [
        "## Duplicates",
        "",
        f"Near: Jaccard at least {manifest['arguments']['threshold']}.",
        "",
        *_table(header, rows),
    ]


def _contamination(manifest: dict) -> list[str]:
    rows = [
        [
            harmless_cell(row["file"]),
            row["language"],
            f"{row['questions']:,}",
            f"{row['found']:,}",
            f"{100 * row['found'] / max(1, row['questions']):.1f} %",
        ]
        for row in manifest["table"]
    ]
    documents = [
        [language, f"{row['documents']:,}", f"{row['with_questions']:,}"]
        for language, row in manifest["counts"].items()
    ]
    return [
        "## Contamination",
        "",
        f"Mode: {manifest['arguments']['mode']}.",
        "",
        *_table(("benchmark", "language", "questions", "found in the documents", "share"), rows),
        *_table(("language of the documents", "documents", "with questions"), documents),
    ]


def _corpus(manifest: dict) -> list[str]:
    rows = []
    tokens = manifest.get("tokens", {})
    for language, sources in manifest["counts"].items():
        for source, row in sources.items():
            count = tokens.get(language, {}).get(source)
            rows.append(
                [
                    language,
                    source,
                    f"{row['documents']:,}",
                    f"{row['characters']:,}",
                    "-" if count is None else f"{count:,}",
                ]
            )
    removed = [[reason, f"{count:,}"] for reason, count in manifest["removed"].items()]
    lines = ["## The corpus", "", *_table(("language", "source", "documents", "characters", "tokens"), rows)]
    if cut := manifest.get("cut"):
        lines += [f"Cut: {cut['documents']:,} documents lost {cut['characters']:,} characters.", ""]
    return [*lines, "Omitted when it was put together:", "", *_table(("reason", "documents"), removed or [["-", "0"]])]


def _table(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|---" * len(header) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
