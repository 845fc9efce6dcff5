"""Tables of our results beside accuracy: rationales, English benchmarks, metric versions, answers, what made them."""

from leaderboard_pages.leaderboard_rows import details_of, share_cell
from leaderboard_pages.page_text import escape, table, two, with_interval
from leaderboard_pages.score_intervals import macro_percent
from leaderboard_pages.submitted_results import is_benchmark, is_newest, row_key
from mmedbench_questions import LANGUAGE_FILES

SHOWN_METRICS = ("BLEU-1", "ROUGE-1")


def newest(results: list[dict]) -> list[dict]:
    """Of each row the result by the newest metric version."""
    return [result for result in results if is_newest(result, results)]


def in_order(keys) -> list[str]:
    """Languages in the page's order, then benchmarks by name."""
    order = list(LANGUAGE_FILES)
    return sorted(keys, key=lambda key: (order.index(key) if key in order else len(order), key))


def mean_text(scores: dict[str, dict]) -> str:
    """The plain mean of scores with its interval and how many they are."""
    mean = macro_percent([(100 * s["right"] / s["n"], s["n"]) for s in scores.values()])
    return f"{with_interval(*mean)}, n={sum(s['n'] for s in scores.values())}"


def score_text(score: dict) -> str:
    """A score with its interval and n."""
    cell = share_cell(score["right"], score["n"])
    return f"{with_interval(cell.accuracy, cell.low, cell.high)}, n={cell.n}"


def our_rationale_table(results: list[dict], mark: str) -> list[str]:
    """Rationale similarity of our rows, in per cent, each with the number of rationales scored; [] without any."""
    rows = []
    for result in (r for r in newest(results) if r.get("rationales")):
        found = result["rationales"]
        for metric in SHOWN_METRICS:
            cells = [
                f"{two(s[metric])}, n={s['n']}"
                if (s := found["scores"].get(code)) and s.get(metric) is not None
                else "-"
                for code in LANGUAGE_FILES
            ]
            mean = found["macro"].get(metric)
            on = " and ".join(sorted({str(s.get("on", "?")) for s in found["scores"].values()}))
            rows.append(
                [
                    escape(result["model"]["name"]),
                    escape(result["setting"]),
                    metric,
                    *cells,
                    "-" if mean is None else two(mean),
                    escape(on),
                    str(sum(s.get("empty", 0) for s in found["scores"].values())),
                    f"{found['metric_version']}, {escape(found.get('mode', '-'))}",
                ]
            )
    header = [
        f"model ({mark})",
        "setting",
        "metric",
        *LANGUAGE_FILES,
        "average",
        "rationales",
        "empty",
        "metric version, mode",
    ]
    return [f"### Rationale similarity ({mark})", "", *table(header, rows)] if rows else []


def benchmark_table(results: list[dict], mark: str) -> list[str]:
    """Our rows on the English benchmarks, a line a benchmark; [] without any."""
    rows = []
    for result in (r for r in newest(results) if is_benchmark(r)):
        first = [escape(result["model"]["name"]), escape(result["setting"]), escape(result["model"]["training"])]
        scores = result["scores"]
        rows += [
            [*first, escape(key), score_text(scores[key]), str(scores[key]["unparsed"])] for key in in_order(scores)
        ]
        rows.append(
            [*first, f"average of {len(scores)}", mean_text(scores), str(sum(s["unparsed"] for s in scores.values()))]
        )
    header = [f"model ({mark})", "setting", "training", "benchmark", "accuracy", "unparsed"]
    return [f"### English benchmarks ({mark})", "", *table(header, rows)] if rows else []


def version_table(results: list[dict], mark: str) -> list[str]:
    """Rows that were scored by several metric versions, side by side; [] where none was."""
    rows: dict[tuple, dict[int, dict]] = {}
    for result in results:
        rows.setdefault(row_key(result), {})[result["metric_version"]] = result
    several = {key: mine for key, mine in rows.items() if len(mine) > 1}
    if not several:
        return []
    versions = sorted({version for mine in several.values() for version in mine})
    lines = []
    for (name, setting, _), mine in several.items():
        keys = in_order({key for result in mine.values() for key in result["scores"]})
        for key in [*keys, None]:
            cells = []
            for version in versions:
                scores = mine[version]["scores"] if version in mine else {}
                if key is None:
                    cells.append(mean_text(scores) if scores else "-")
                else:
                    cells.append(score_text(scores[key]) if key in scores else "-")
            lines.append([escape(name), escape(setting), "average" if key is None else escape(key), *cells])
    header = [f"model ({mark})", "setting", "language", *(f"metric version {version}" for version in versions)]
    return [
        f"### The same rows by older metric versions ({mark})",
        "",
        "A corrected metric makes a new version; what an older one gave stays. The tables above hold the newest.",
        "",
        *table(header, lines),
    ]


def answer_table(results: list[dict], mark: str) -> list[str]:
    """How each model answered: unparsed answers, how lopsided its letters are, accuracy where clean."""
    rows = []
    for result in newest(results):
        clean = ((result.get("clean") or {}).get("scores")) or {}
        for key in in_order(result["scores"]):
            score = result["scores"][key]
            letters = score["predicted_letters"]
            total = sum(letters.values())
            most = max(sorted(letters), key=letters.get, default=None)
            share = f"{escape(most)} {100 * letters[most] / total:.1f} %" if total else "-"
            known = clean.get(key)
            rows.append(
                [
                    escape(result["model"]["name"]),
                    escape(result["setting"]),
                    escape(key),
                    str(score["n"]),
                    str(score["right"]),
                    str(score["unparsed"]),
                    share,
                    "not known" if known is None else score_text(known) if known["n"] else "no question is clean",
                ]
            )
    header = [
        f"model ({mark})",
        "setting",
        "language",
        "n",
        "right",
        "unparsed",
        "most predicted letter",
        "accuracy where clean",
    ]
    return (
        [
            f"### How they answered ({mark})",
            "",
            "An unparsed answer did not keep the prompt's format and counts as wrong. *Clean* are questions that were",
            "not found in the training corpus; known where a contamination report was given.",
            "",
            *table(header, rows),
        ]
        if rows
        else []
    )


def making_table(results: list[dict], mark: str) -> list[str]:
    """What made each result, old metric versions too: model, data, prompt, metric, commit, date, machine, command."""
    rows, names = [], []
    for result in results:
        details = details_of(result)
        names = [name for name in details if name not in ("setting", "clean accuracy") and not name.startswith("asked")]
        kind = "English benchmarks" if is_benchmark(result) else "MMedBench"
        kept = "yes" if result.get("predictions") else "no"
        cells = [
            f"<code>{escape(details[name])}</code>" if name == "command" else escape(details[name]) for name in names
        ]
        if "asked by" in details:
            cells[-1] += (
                f", answers asked for {escape(details['asked at'])} at {escape(details['asked with'])} by "
                f"<code>{escape(details['asked by'])}</code>"
            )
        rows.append([escape(result["model"]["name"]), escape(result["setting"]), kind, *cells, kept])
    header = [f"model ({mark})", "setting", "questions", *names, "predictions kept"]
    return [f"### What made them ({mark})", "", *table(header, rows)] if rows else []
