"""Measure the filter on labelled documents: recall, false-positive rate and the resulting precision.

Reads parquet or JSON lines with a text column and a label column ("medical" or anything else) and, where there is one,
a source column. Prints tables by language; by language and side: tuning (the sources of `tuning_sources.json`, on which
keywords and thresholds were chosen) or held out (all others); and by source; then the languages that miss a target,
with the sources that confuse the filter. --out writes the same numbers as JSON. The language of a file is determined as
`filter.py` does. --grid prints recall and false positives of the keyword rule over many thresholds instead, on the
tuning side only. Examples:

    python data_collection/check_filter.py ../shared/data/filter_text
    python data_collection/check_filter.py ../shared/data/filter_text --grid
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filtering.filter_document import PASSED, RULE_REASONS, THRESHOLDS_FILE, DocumentFilter
from filtering.filter_unit import declared_language
from filtering.keyword_lists import KEYWORD_FOLDER, RULES
from language_codes import LANGUAGES
from readers.document_files import column_names, list_document_files, read_batches
from run_record import InputError, parse_arguments, read_json, run_command, write_json

Z_95 = 1.959964  # the normal distribution's 97.5 % point
TUNING_SOURCES = Path(__file__).parent / "tuning_sources.json"
TARGET_RECALL, TARGET_FALSE_POSITIVES = 0.90, 0.005
MEDICAL_SHARES = (0.01, 0.05, 0.50)  # of all documents read: for the precision that follows
SIDES = ("tuning", "held out")
GRID_KEYWORDS = range(2, 9)
GRID_DENSITIES = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.10)
HEADER = """| {} | recall | 95 % | n medical | false-positive rate | 95 % | n general |
|---|---:|---|---:|---:|---|---:|"""


class Judged(NamedTuple):
    """One labelled document and what the filter said of it."""

    language: str  # ISO 639-1, "auto" where the file does not say
    source: str  # up to its first colon; "" without a source column
    side: str  # one of SIDES; "" without a source column
    medical: bool
    kept: bool  # by the rule alone with --no-all-steps
    distinct: int
    density: float


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def precision_at(recall: float, false_positive_rate: float, medical_share: float) -> float | None:
    """Share of medical documents among the kept ones (Bayes' rule); None where nothing would be kept."""
    good, bad = recall * medical_share, false_positive_rate * (1 - medical_share)
    return good / (good + bad) if good + bad else None


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="a labelled parquet or JSON lines file, or a folder of them")
    parser.add_argument("--rule", choices=RULES, default="bounded", help="keyword rule (default: %(default)s)")
    parser.add_argument(
        "--language",
        choices=("auto", *LANGUAGES),
        default="auto",
        help="language of the documents; auto: from the file or folder name (default: %(default)s)",
    )
    parser.add_argument(
        "--all-steps",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="include language identification and cleaning, as in filter.py; --no-all-steps: keyword rule only"
        " (default: all)",
    )
    parser.add_argument(
        "--grid",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="print recall and false positives for a grid of thresholds, on the tuning sources only",
    )
    parser.add_argument("--text-column", default="text", help="column with the text (default: %(default)s)")
    parser.add_argument("--label-column", default="label", help="column with the label (default: %(default)s)")
    parser.add_argument(
        "--medical-label", default="medical", help="the label of medical documents (default: %(default)s)"
    )
    parser.add_argument(
        "--source-column",
        default="source",
        help="column with the source, up to its first colon; without it there are no tables by source "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tuning-sources",
        type=Path,
        default=TUNING_SOURCES,
        help="JSON file with the prefixes of the tuning sources",
    )
    parser.add_argument("--keywords", type=Path, default=KEYWORD_FOLDER, help="folder of <iso>.txt keyword lists")
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS_FILE, help="JSON of thresholds")
    parser.add_argument("--out", type=Path, help="JSON output file (overwritten)")
    parser.add_argument("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    judged = list(judge_all(args))
    print(f"rule {args.rule}, {'all steps' if args.all_steps and not args.grid else 'keyword rule alone'}")
    if args.grid:
        grids = {
            language: print_grid(language, group)
            for language, group in grouped([d for d in judged if d.side != "held out"], lambda d: d.language)
        }
        numbers = {"rule": args.rule, "grid": grids}
    else:
        numbers = {"rule": args.rule, "all_steps": args.all_steps, **report(judged)}
    if args.out:
        write_json(args.out, numbers)
    return 0


def judge_all(args: argparse.Namespace) -> Iterator[Judged]:
    """Every document of the input, judged."""
    judge = DocumentFilter(args.rule, args.keywords, args.thresholds)
    tuning = load_tuning_sources(args.tuning_sources)
    for path in list_document_files(args.input):
        names = column_names(path)
        if missing := [n for n in (args.text_column, args.label_column) if n not in names]:
            raise InputError(f"{path}: no column {', '.join(missing)}; it has {', '.join(names)}")
        declared = declared_language(path, args.language)
        for batch in read_batches(path):
            labels = batch.column(args.label_column).to_pylist()
            known = args.source_column in names
            sources = batch.column(args.source_column).to_pylist() if known else [None] * len(labels)
            texts = text_column(batch, args.text_column, path)
            judgements = judge_texts(judge, texts, declared, args.all_steps and not args.grid)
            for label, source, judgement in zip(labels, sources, judgements, strict=True):
                yield Judged(
                    declared or "auto",
                    str(source or "").split(":")[0],
                    SIDES[not str(source).startswith(tuning)] if known else "",
                    label == args.medical_label,
                    *judgement,
                )


def text_column(batch, name: str, path: Path):
    """The column as Arrow strings. Errors: InputError where it contains something else."""
    import pyarrow

    column = batch.column(name)
    kind = column.type.value_type if pyarrow.types.is_dictionary(column.type) else column.type
    if str(kind) not in ("string", "large_string", "string_view", "null"):
        raise InputError(f"{path}: column {name!r} holds {kind}, not text; name the right one with --text-column")
    return column.cast(pyarrow.large_string())


def judge_texts(judge: DocumentFilter, texts, declared: str, all_steps: bool) -> Iterator[tuple[bool, int, float]]:
    """(kept, distinct keywords, density) of each text of an Arrow column, as filter.py decides.

    declared: ISO 639-1, or "" where each text's language is to be found; all_steps: language and cleaning count too.
    """
    if not declared:
        for decision in (judge.decide(text, "") for text in texts.to_pylist()):
            passed = decision.reason == "kept" if all_steps else decision.reason not in RULE_REASONS
            yield passed, decision.distinct, decision.density
        return
    scores = (column.tolist() for column in judge.decide_column(texts, declared))
    for text, code, distinct, density in zip(texts.to_pylist(), *scores, strict=True):
        kept = code == PASSED
        if kept and all_steps:
            kept = judge.finish(text, declared, distinct, density).reason == "kept"
        yield kept, distinct, density


def load_tuning_sources(path: Path) -> tuple[str, ...]:
    """The beginnings of the tuning side's sources. Errors: InputError where the file is not such a list."""
    table = read_json(path)
    sources = table.get("tuning") if isinstance(table, dict) else None
    if not isinstance(sources, list) or not all(isinstance(s, str) and s for s in sources):
        raise InputError(f'{path}: needs {{"tuning": ["owner/repository", ...]}}, a list of sources')
    return tuple(sources)


def grouped(judged: list[Judged], key) -> list[tuple[str, list[Judged]]]:
    """(value of key, documents), in the languages' order, then the alphabet's."""
    groups: dict[str, list[Judged]] = {}
    for document in judged:
        groups.setdefault(key(document), []).append(document)
    return sorted(groups.items())


def report(judged: list[Judged]) -> dict:
    """Print the tables; returns {languages, sides, sources, misses} with the same numbers."""
    languages = print_table("language", grouped(judged, lambda d: d.language))
    print_precision(languages)
    numbers = {"languages": languages}
    if any(d.side for d in judged):
        numbers["sides"] = print_table("side", grouped(judged, lambda d: f"{d.language} {d.side}"))
        numbers["sources"] = print_table(
            "source", grouped(judged, lambda d: f"{d.language} {d.side}: {d.source or '(none)'}")
        )
    numbers["misses"] = print_misses(numbers)
    return numbers


def print_table(name: str, groups: list[tuple[str, list[Judged]]]) -> dict:
    """Print a line per group; returns {group: summary}."""
    rows = {group: summary(documents) for group, documents in groups}
    print("\n" + HEADER.format(name))
    for group, row in rows.items():
        print(
            f"| {group} | {shown(row['recall'])} | {row['medical']} "
            f"| {shown(row['false_positive_rate'])} | {row['general']} |"
        )
    return rows


def summary(documents: list[Judged]) -> dict:
    """Counts, recall and false-positive rate with their intervals and the precision that follows, in shares.

    A rate is None where there is no document to count.
    """
    counts = Counter((d.medical, d.kept) for d in documents)
    result: dict = {}
    for kind, name, medical in (("medical", "recall", True), ("general", "false_positive_rate", False)):
        kept, n = counts[medical, True], counts[medical, True] + counts[medical, False]
        low, high = wilson_interval(kept, n)
        result[kind] = n
        result[name] = {"share": kept / n, "low": low, "high": high, "kept": kept} if n else None
    if result["recall"] and result["false_positive_rate"]:
        recall, rate = result["recall"]["share"], result["false_positive_rate"]["share"]
        result["precision"] = {str(share): precision_at(recall, rate, share) for share in MEDICAL_SHARES}
    return result


def shown(rate: dict | None) -> str:
    """Two table cells: the share in per cent, and its interval."""
    if rate is None:
        return "- | -"
    return f"{100 * rate['share']:.1f} % | {100 * rate['low']:.1f} to {100 * rate['high']:.1f}"


def print_precision(rows: dict) -> None:
    """The precision that follows from the measured rates, and from the upper end of the false positives' interval."""
    print("\nPrecision that follows, with the measured false-positive rate (and with the upper end of its interval):\n")
    print("| language | " + " | ".join(f"{100 * share:.0f} % medical" for share in MEDICAL_SHARES) + " |")
    print("|---|" + "---:|" * len(MEDICAL_SHARES))
    for language, row in rows.items():
        recall, rate = row["recall"], row["false_positive_rate"]
        if not recall or not rate:
            continue
        cells = []
        for share in MEDICAL_SHARES:
            likely, least = (precision_at(recall["share"], rate[end], share) for end in ("share", "high"))
            cells.append("-" if likely is None else f"{100 * likely:.1f} % ({100 * least:.1f} %)")
        print(f"| {language} | " + " | ".join(cells) + " |")


def print_misses(numbers: dict) -> list[dict]:
    """Print and return what misses a target, each with its worst sources."""
    misses = []
    for group, row in {**numbers["languages"], **numbers.get("sides", {})}.items():
        for name, kind, bad in (
            ("recall", "medical", lambda r: r["share"] < TARGET_RECALL),
            ("false_positive_rate", "general", lambda r: r["share"] > TARGET_FALSE_POSITIVES),
        ):
            if not row[name] or not bad(row[name]):
                continue
            within = {s: r for s, r in numbers.get("sources", {}).items() if s.startswith(group) and r[name]}
            wrong = {s: r[kind] - r[name]["kept"] if kind == "medical" else r[name]["kept"] for s, r in within.items()}
            worst = [
                f"{s.split(': ', 1)[1]} {wrong[s]} of {within[s][kind]}"
                for s in sorted(wrong, key=lambda s: (-wrong[s], s))
                if wrong[s]
            ]
            misses.append({"group": group, "target": name, "share": row[name]["share"], "sources": worst})
    print(f"\nTargets: recall {TARGET_RECALL:.2f}, false-positive rate {100 * TARGET_FALSE_POSITIVES:.1f} %")
    for miss in misses:
        print(
            f"{miss['group']}: {miss['target'].replace('_', ' ')} {100 * miss['share']:.1f} %; "
            f"judged wrongly: {', '.join(miss['sources'][:4]) or 'no sources known'}"
        )
    if not misses:
        print("every language meets both")
    return misses


def print_grid(language: str, documents: list[Judged]) -> dict:
    """Recall in per cent and the number of false positives for each pair of thresholds; returns {pair: numbers}."""
    medical, general = ([d for d in documents if d.medical is kind] for kind in (True, False))
    print(
        f"\n{language}: recall in per cent / false positives, of {len(medical)} medical and {len(general)} general "
        "documents"
    )
    print("| density | " + " | ".join(f"{n} keywords" for n in GRID_KEYWORDS) + " |")
    print("|---|" + "---:|" * len(GRID_KEYWORDS))
    cells: dict = {}
    for density in GRID_DENSITIES:
        line = []
        for least in GRID_KEYWORDS:
            found, false = (
                sum(d.distinct >= least and d.density >= density for d in kind) for kind in (medical, general)
            )
            recall = found / len(medical) if medical else None
            cells[f"{least} {density}"] = {"recall": recall, "false_positives": false}
            line.append(f"{'-' if recall is None else f'{100 * recall:.1f}'} / {false}")
        print(f"| {density:.2f} | " + " | ".join(line) + " |")
    return cells


if __name__ == "__main__":
    run_command(main)
