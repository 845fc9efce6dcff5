"""Compare two runs question by question: exact McNemar test and paired bootstrap, by language and overall.

Reads   two result folders of inference/eval.py (predictions.jsonl, result.json)
Writes  a table; with --out the same figures as JSON
Example python inference/compare.py results/a results/b

The difference is the second run's accuracy less the first one's, in points. Its interval is the 2.5th to 97.5th
percentile of a paired bootstrap: questions are drawn again within each language, both runs' answers together. p is
McNemar's exact test: of the questions that only one of the two has right, is the split like a fair coin's? "sees" is
the smallest true difference that a test set of this size finds at p < 0.05 in 80 % of cases, given how often these two
disagree: (1.96 + 0.84) x sqrt(share that only one has right / n) (Connor, Biometrics 43:207, 1987, for large n).
"""

import argparse
import json
import math
from pathlib import Path

from evaluation.result_folder import check_predictions
from run_record import InputError, parse_arguments, provenance, read_json, run_command, sha256_of_file, write_json

Z_SEES = 1.959964 + 0.841621  # two-sided 0.05 and power 0.80


Question = tuple[str, str, int]


def read_run(folder: Path, clean: bool = False) -> tuple[dict, dict[Question, bool], dict[Question, list[str]]]:
    """(result.json, {(key, question id, how many of this id came before): right}, the same: gold). Errors: InputError.

    clean: omit the questions that the run's contamination report found in the corpus.
    """
    for name in ("result.json", "predictions.jsonl"):
        if not (folder / name).exists():
            raise InputError(f"{folder} has no {name}; give the folder of a finished run of inference/eval.py")
    right: dict[Question, bool] = {}
    gold: dict[Question, list[str]] = {}
    seen: dict[tuple[str, str], int] = {}
    # Not splitlines: an answer may hold one of Unicode's other line separators.
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            name = row["key"], row["id"]
            correct = row["letters"] == row["gold"]
            contaminated = row.get("contaminated")
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{folder}/predictions.jsonl:{number}: no prediction of inference/eval.py") from None
        if clean and contaminated is None:
            raise InputError(
                f"{folder}/predictions.jsonl:{number} does not say whether its question is contaminated; score the run "
                "again with inference/eval.py --score-only --contamination DIR"
            )
        if not (clean and contaminated):
            right[*name, seen.get(name, 0)] = correct
            gold[*name, seen.get(name, 0)] = row["gold"]
        seen[name] = seen.get(name, 0) + 1
    result = read_json(folder / "result.json")
    check_predictions(result, folder)
    return result, right, gold


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p that a fair coin splits only_a + only_b questions at least as unevenly."""
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**n)


def compare_key(pairs: list[tuple[bool, bool]]) -> dict:
    """Counts and figures of one language: n, right in each, right in only one, difference in points, p, sees."""
    n = len(pairs)
    only_a, only_b = (sum(1 for a, b in pairs if (a, b) == which) for which in ((True, False), (False, True)))
    return {
        "n": n,
        "right_a": sum(a for a, _ in pairs),
        "right_b": sum(b for _, b in pairs),
        "only_a": only_a,
        "only_b": only_b,
        "difference": round(100 * (only_b - only_a) / n, 2),
        "p": mcnemar(only_a, only_b),
        "sees": round(100 * Z_SEES * math.sqrt((only_a + only_b) / n / n), 2),
    }


def bootstrap(rows: dict[str, dict], draws: int, seed: int) -> dict[str, list[float]]:
    """95 % intervals in points: of each language's difference, of their plain mean ("macro") and of all ("micro").

    Drawing n questions with return is drawing how many of them only one run has right: a multinomial.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    gained = {}
    for key, row in rows.items():
        shares = [row["only_a"] / row["n"], row["only_b"] / row["n"]]
        drawn = generator.multinomial(row["n"], [*shares, 1 - sum(shares)], size=draws)
        gained[key] = drawn[:, 1] - drawn[:, 0]
    points = {key: 100 * gained[key] / row["n"] for key, row in rows.items()}
    points["macro"] = sum(points[key] for key in rows) / len(rows)
    points["micro"] = 100 * sum(gained.values()) / sum(row["n"] for row in rows.values())
    return {key: [round(float(x), 2) for x in np.percentile(values, [2.5, 97.5])] for key, values in points.items()}


def compare(a: dict, b: dict, draws: int, seed: int) -> dict:
    """{"languages": {key: figures}, "macro", "micro"} of two runs' {question: right} over the same questions."""
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for question, right in a.items():
        pairs.setdefault(question[0], []).append((right, b[question]))
    rows = {key: compare_key(mine) for key, mine in pairs.items()}
    intervals = bootstrap(rows, draws, seed)
    for key, row in rows.items():
        row["ci95"] = intervals[key]
    whole = compare_key([pair for mine in pairs.values() for pair in mine])
    spread = math.sqrt(sum((row["only_a"] + row["only_b"]) / row["n"] ** 2 for row in rows.values())) / len(rows)
    macro = {
        "difference": round(sum(row["difference"] for row in rows.values()) / len(rows), 2),
        "ci95": intervals["macro"],
        "sees": round(100 * Z_SEES * spread, 2),
    }
    return {"languages": rows, "macro": macro, "micro": whole | {"ci95": intervals["micro"]}}


def table(found: dict, name_a: str, name_b: str) -> str:
    """The comparison as aligned text lines."""
    width = max(12, *map(len, found["languages"]))
    lines = [
        f"a: {name_a}",
        f"b: {name_b}",
        " " * width + "    n  a right  b right  only a  only b  b - a points      95 % interval   McNemar p   sees",
    ]
    for key, row in [*found["languages"].items(), ("all", found["micro"])]:
        lines.append(
            f"{key:{width}}{row['n']:>5}  {row['right_a']:>7}  {row['right_b']:>7}  {row['only_a']:>6}"
            f"  {row['only_b']:>6}  {row['difference']:>+12.2f}"
            f"  {row['ci95'][0]:>+8.2f} to {row['ci95'][1]:>+6.2f}  {row['p']:>10.4g}  {row['sees']:>5.2f}"
        )
    macro = found["macro"]
    low, high = macro["ci95"]
    verdict = "no difference is shown" if low <= 0 <= high else f"{'b' if low > 0 else 'a'} is better"
    lines.append(
        f"mean of {len(found['languages'])} languages: {macro['difference']:+.2f} points ({low:+.2f} to {high:+.2f}): "
        f"{verdict}; differences under {macro['sees']:.2f} points this test set would mostly miss"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("a", type=Path, help="result folder of the first run")
    parser.add_argument("b", type=Path, help="result folder of the second run")
    parser.add_argument(
        "--common",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="if the runs answered different questions, compare the common ones (default: error)",
    )
    parser.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="exclude questions that the runs' contamination report found in the corpus (default: all questions)",
    )
    parser.add_argument("--draws", type=int, default=10_000, help="number of bootstrap samples (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON output file")
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="read both runs, print how many questions they share")
    args = parse_arguments(parser, argv)
    if args.draws < 100:
        raise InputError(f"--draws {args.draws} is too few for a 95 % interval; give 100 or more")
    (result_a, a, gold_a), (result_b, b, gold_b) = read_run(args.a, args.clean), read_run(args.b, args.clean)
    if args.clean and result_a["scoring"]["contamination"] != result_b["scoring"]["contamination"]:
        raise InputError(
            f"{args.a} and {args.b} were scored with different contamination reports or coverages; score both again "
            "with the same"
        )
    common = [question for question in a if question in b]
    if not common:
        raise InputError(f"{args.a} and {args.b} answered no question in common")
    differ = [question for question in common if gold_a[question] != gold_b[question]]
    if differ:
        raise InputError(
            f"{args.a} and {args.b} were scored with different keys: {len(differ)} questions, such as "
            f"{' '.join(differ[0][:2])}; answer both on the same test set"
        )
    if len(common) < max(len(a), len(b)):
        missing = f"{len(a) - len(common)} questions are only in {args.a}, {len(b) - len(common)} only in {args.b}"
        if not args.common:
            raise InputError(f"{missing}; give --common to compare the {len(common)} that both answered")
        print(f"{missing}; omitted")
    print(f"{len(common)} questions are in both runs" + (", those found in the corpus omitted" if args.clean else ""))
    if args.dry_run:
        return 0
    found = compare({q: a[q] for q in common}, {q: b[q] for q in common}, args.draws, args.seed)
    names = [
        f"{result['model']['name']} ({result['mode']}, {result['prompt']['name']} {result['prompt']['form']})"
        for result in (result_a, result_b)
    ]
    print(table(found, *names))
    if args.out:
        runs = {"a": sha256_of_file(args.a / "result.json"), "b": sha256_of_file(args.b / "result.json")}
        settings = {"runs": runs, "clean": args.clean, "draws": args.draws}
        write_json(args.out, found | settings | {"provenance": provenance(argv)})
    return 0


if __name__ == "__main__":
    run_command(main)
