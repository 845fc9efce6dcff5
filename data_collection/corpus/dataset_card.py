"""The README.md of a corpus: a dataset card with the hub's YAML header, tables and a picture."""

import csv
import hashlib
import html
from collections import Counter
from pathlib import Path

from run_record import InputError

BATCH_CHARACTERS = 2_000_000
PIECE_CHARACTERS = 1_000_000


class TokenCounter:
    """Counts in batches. `facts`: {name, sha256}: what tells one tokenizer from another."""

    def __init__(self, name: str):
        self.tokenizer = _load(name)
        content = self.tokenizer.to_str().encode("utf-8")
        self.facts = {
            "name": Path(name).resolve().name if Path(name).exists() else name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        self.waiting: list[tuple[tuple[str, str], str]] = []
        self.waiting_characters = 0
        self.tokens: dict[tuple[str, str], int] = {}

    def add(self, key: tuple[str, str], text: str) -> None:
        """key: (language, source)."""
        for piece in pieces_of(text):
            self.waiting.append((key, piece))
            self.waiting_characters += len(piece)
            if self.waiting_characters >= BATCH_CHARACTERS:
                self._count()

    def _count(self) -> None:
        encoded = self.tokenizer.encode_batch_fast([text for _, text in self.waiting], add_special_tokens=False)
        for (key, _), encoding in zip(self.waiting, encoded, strict=True):
            self.tokens[key] = self.tokens.get(key, 0) + len(encoding)
        self.waiting, self.waiting_characters = [], 0

    def counts(self) -> dict[str, dict[str, int]]:
        """{language: {source: tokens}} of all that was added."""
        self._count()
        result: dict[str, dict[str, int]] = {}
        for (language, source), tokens in sorted(self.tokens.items()):
            result.setdefault(language, {})[source] = tokens
        return result


def pieces_of(text: str) -> list[str]:
    """The text in pieces of at most PIECE_CHARACTERS, cut behind a line end where there is one in the last half."""
    pieces = []
    while len(text) > PIECE_CHARACTERS:
        end = text.rfind("\n", PIECE_CHARACTERS // 2, PIECE_CHARACTERS) + 1 or PIECE_CHARACTERS
        pieces.append(text[:end])
        text = text[end:]
    return [*pieces, text]


def _load(name: str):
    """A tokenizers.Tokenizer that neither cuts nor pads. Errors: InputError with what was looked for."""
    import tokenizers

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(name).backend_tokenizer
    except Exception as error:  # tokenizers raises plain Exception for a file that is none, transformers many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--tokenizer {name}: no tokenizer ({reason}); give a tokenizer.json, a folder with one, or a "
            "name on the hub"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


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
        "corpus was made; `removed.jsonl` lists every document omitted, with the reason.",
        "",
    ]
    lines += [
        *_table(counts, tokens),
        "",
        _tokenizer_line(tokenizer),
        "",
        "![Size per language and source, next to the reported sizes of MMedC](corpus.png)",
        "",
        f"{sum(removed.values()):,} documents were omitted.",
        "",
    ]
    lines += [f"- {count:,}: {harmless_cell(reason)}" for reason, count in removed.items()] + [""] * bool(removed)
    if cut and cut["documents"]:
        lines += [
            f"{cut['documents']:,} documents lost passages that are in exam questions, {cut['characters']:,} "
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
    return f"Tokens by the tokenizer {name} (SHA-256 {sha256[:16]}), special ones omitted."


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
