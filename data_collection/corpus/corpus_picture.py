"""The picture of a corpus's dataset card: its size per language and source, next to the reported sizes of MMedC.

Reads `reported_mmedc.csv`; writes a PNG whose bytes depend on the numbers and matplotlib's version only. Example:

    python -c "import corpus_picture as p; from pathlib import Path;
    p.draw_corpus({'en': {'web': {'characters': 5, 'documents': 1}}}, None, Path('corpus.png'))"
"""

import csv
from pathlib import Path

REPORTED_FILE = Path(__file__).parents[1] / "reported_mmedc.csv"
LANGUAGE_NAMES = {
    "en": "English",
    "zh": "Chinese",
    "ja": "Japanese",
    "fr": "French",
    "ru": "Russian",
    "es": "Spanish",
    "de": "German",
    "ar": "Arabic",
}
# Told apart also by those who do not tell red from green (Okabe and Ito, 2008), and by their brightness.
COLOURS = {"web": "#56b4e9", "textbook": "#0072b2", "website": "#e69f00", "existing": "#009e73"}
UNITS = ((1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1, ""))


def reported_tokens() -> dict[str, dict[str, float]]:
    """{language: {source: billions of tokens, "total": of all}} of the released MMedC, as reported."""
    with open(REPORTED_FILE, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {row.pop("language"): {source: float(value) for source, value in row.items()} for row in rows}


def draw_corpus(counts: dict, tokens: dict | None, path: Path) -> None:
    """Write the picture. counts: {language: {source: {characters, ...}}}; tokens: {language: {source: n}}, or None."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = tokens or {
        language: {source: row["characters"] for source, row in sources.items()} for language, sources in counts.items()
    }
    largest = max(sum(row.values()) for row in sizes.values())
    factor, unit = next((pair for pair in UNITS if largest >= pair[0]), UNITS[-1])
    own = {language: {source: size / factor for source, size in row.items()} for language, row in sizes.items()}
    figure = Figure(figsize=(10, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _bars(left, own, "this corpus", " ".join(filter(None, [unit, "tokens" if tokens else "characters"])))
    _bars(right, reported_tokens(), "MMedC as reported (Qiu et al. 2024)", "billion tokens")
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(COLOURS), frameon=False)
    # Without the library's name and version, which would be all that differs from one machine to the next.
    figure.savefig(path, format="png", metadata={"Software": None})


def _bars(axes, sizes: dict[str, dict[str, float]], title: str, label: str) -> None:
    """One bar a language, the most frequent kind of source first."""
    languages = [language for language in LANGUAGE_NAMES if language in sizes]
    ends = [0.0] * len(languages)
    for source, colour in COLOURS.items():
        widths = [sizes[language].get(source, 0) for language in languages]
        axes.barh(
            range(len(languages)), widths, left=ends, color=colour, label=source, edgecolor="white", linewidth=0.5
        )
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    axes.set_yticks(range(len(languages)), [LANGUAGE_NAMES[language] for language in languages])
    axes.invert_yaxis()
    for place, (language, end) in enumerate(zip(languages, ends, strict=True)):
        end = sizes[language].get("total", end)
        axes.annotate(f"{end:,.2f}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xlim(0, max(ends) * 1.15 or 1)
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
