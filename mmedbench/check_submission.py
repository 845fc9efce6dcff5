"""Validate the folder of a submission: four CSV files and result.json, and that they agree.

Reads   a folder with multi_choice_results.csv, rationale_results.csv, accuracy_metric.csv,
        rationale_similarity_metric.csv (the public submission guide's) and result.json. SUBMITTING.md describes them.
Writes  nothing. Problems are printed as file:row: what is wrong.

    python mmedbench/check_submission.py results/submission

Exit 0: no problem; 1: there are problems; 2: a file is missing or cannot be read at all.
"""

import argparse
from collections import Counter
from pathlib import Path

from leaderboard_pages.submitted_results import check_result
from mmedbench_questions import LANGUAGE_FILES, LETTERS
from run_record import InputError, parse_arguments, read_json, run_command
from sources.raw_files import csv_rows

LANGUAGES = {name.removesuffix(".jsonl"): code for code, name in LANGUAGE_FILES.items()}
COLUMNS = ["Language", "ModelInput", "ModelOutput", "GT_Answer"]
METRICS = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"]
ANSWERS, RATIONALES = "multi_choice_results.csv", "rationale_results.csv"
ACCURACY, SIMILARITY = "accuracy_metric.csv", "rationale_similarity_metric.csv"
ROUNDING = 0.051  # metrics are given with one or two decimals


def check_rows(path: Path) -> tuple[list[str], Counter]:
    """(problems, rows by ISO code) of a file of model outputs. Errors: InputError when it is not CSV."""
    rows = list(csv_rows(path))
    if not rows or rows[0][1] != COLUMNS:
        return [f"{path}:1: expected the columns {', '.join(COLUMNS)}"], Counter()
    problems, counts = [], Counter()
    for where, row in rows[1:]:
        if len(row) != len(COLUMNS):
            problems.append(f"{where}: {len(row)} cells under {len(COLUMNS)} columns")
            continue
        language, asked, _, truth = row
        if language not in LANGUAGES:
            problems.append(f"{where}: Language: {language!r} is not one of {', '.join(LANGUAGES)}")
            continue
        counts[LANGUAGES[language]] += 1
        if not asked.strip():
            problems.append(f"{where}: ModelInput: blank")
        letters = truth.split(",")
        if path.name == ANSWERS and (letters != sorted(set(letters)) or not set(letters) <= set(LETTERS)):
            problems.append(f'{where}: GT_Answer: {truth!r:.60} is not a list of letters such as "A" or "A,C"')
        elif not truth.strip():
            problems.append(f"{where}: GT_Answer: blank")
    return problems, counts


def percent(cell: str, where: str, what: str, problems: list[str]) -> float | None:
    """A number of 0 to 100, or None and a problem."""
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        problems.append(f"{where}: {what}: {cell!r:.60} is not a number of 0 to 100")
        return None
    return value


def check_accuracy(path: Path, scores: dict) -> list[str]:
    """Problems of accuracy_metric.csv, its numbers against result.json's included."""
    rows, problems = list(csv_rows(path)), []
    if len(rows) != 2 or len(rows[0][1]) != len(rows[1][1]):
        return [f"{path}:1: expected a row of languages and a row of numbers"]
    (top, names), (where, cells) = rows
    for name, cell in zip(names, cells, strict=True):
        value = percent(cell, where, name, problems)
        if name not in LANGUAGES and name != "Average":
            problems.append(f"{top}: {name!r:.60} is not one of {', '.join(LANGUAGES)}, Average")
        elif value is not None and LANGUAGES.get(name) in scores:
            row = scores[LANGUAGES[name]]
            if abs(value - 100 * row["right"] / row["n"]) > ROUNDING:
                problems.append(f"{where}: {name}: {cell}, but result.json has {row['right']} right of {row['n']}")
    return problems + _other_languages(path, {LANGUAGES[name] for name in names if name in LANGUAGES}, set(scores))


def check_similarity(path: Path, counts: Counter) -> list[str]:
    """Problems of rationale_similarity_metric.csv, whose languages are those of the rationales."""
    rows, problems = list(csv_rows(path)), []
    if not rows:
        return [f"{path}:1: expected Metric and the languages"]
    top, names = rows[0]
    wrong = [name for name in names[1:] if name not in LANGUAGES and name != "Average"]
    if names[0] != "Metric" or wrong:
        problems.append(
            f"{top}: expected Metric and then languages out of {', '.join(LANGUAGES)}, found {', '.join(names)}"
        )
    found = [row[0] for _, row in rows[1:]]
    if found != (METRICS if counts else found and METRICS):
        problems.append(f"{path}:2: expected the rows {', '.join(METRICS)}, found {', '.join(found) or 'none'}")
    for where, row in rows[1:]:
        if len(row) != len(names):
            problems.append(f"{where}: {len(row)} cells under {len(names)} columns")
            continue
        for name, cell in zip(names[1:], row[1:], strict=True):
            percent(cell, where, name, problems)
    here = {LANGUAGES[name] for name in names[1:] if name in LANGUAGES}
    return problems + (_other_languages(path, here, set(counts)) if counts else [])


def _other_languages(path: Path, here: set[str], wanted: set[str]) -> list[str]:
    wanted = wanted & set(LANGUAGE_FILES)
    return [
        f"{path}:1: {code}: {'missing' if code in wanted else 'not expected'}; expected are "
        f"{', '.join(sorted(wanted)) or 'no languages'}"
        for code in sorted(here ^ wanted)
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the four CSV files and result.json")
    folder = parse_arguments(parser, argv).folder
    missing = [
        name for name in (ANSWERS, RATIONALES, ACCURACY, SIMILARITY, "result.json") if not (folder / name).is_file()
    ]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}; see mmedbench/SUBMITTING.md")
    scores = check_result(read_json(folder / "result.json"), folder / "result.json")["scores"]
    problems, answers = check_rows(folder / ANSWERS)
    for code in sorted(set(scores) | set(answers)):
        n = scores.get(code, {}).get("n", 0)
        if answers[code] != n:
            problems.append(f"{folder / ANSWERS}: {code}: {answers[code]} rows, but result.json has n = {n}")
    more, rationales = check_rows(folder / RATIONALES)
    problems += more
    for code in sorted(rationales):
        if rationales[code] > answers[code]:
            problems.append(
                f"{folder / RATIONALES}: {code}: {rationales[code]} rows, more than the {answers[code]} questions"
            )
    problems += check_accuracy(folder / ACCURACY, scores) + check_similarity(folder / SIMILARITY, rationales)
    for line in problems:
        print(line)
    print(
        f"{sum(answers.values())} answers and {sum(rationales.values())} rationales in {len(answers)} languages, "
        f"{len(problems)} problems" + (", see mmedbench/SUBMITTING.md" if problems else "")
    )
    return 1 if problems else 0


if __name__ == "__main__":
    run_command(main)
