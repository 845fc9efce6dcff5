"""Write the folder of a submission: the four CSV files of the public guide, and result.json.

Reads   a result folder of inference/eval.py (form answer), the test set and the prompt that it used; for the rationale
        files of a second result folder (form rationale) of the same model
Writes  <out>: multi_choice_results.csv, rationale_results.csv, accuracy_metric.csv, rationale_similarity_metric.csv,
        result.json (mmedbench/SUBMITTING.md describes them; mmedbench/check_submission.py checks them)
Example python inference/export_submission.py results/finetuned --out results/submission

rationale_results.csv contains the questions whose rationale passed the human check; where no question says so, all that
have a rationale, and a line says it.
"""

import argparse
import csv
import io
from pathlib import Path

from evaluation.result_folder import FinishedRun, read_finished_run
from evaluation.scoring import rationales_that_count, written_rationale
from metrics.rationale_scores import METRICS
from mmedbench_questions import LANGUAGE_FILES
from run_record import InputError, parse_arguments, read_json, run_command, write_text

NAMES = {code: Path(name).stem for code, name in LANGUAGE_FILES.items()}
FILES = (
    "multi_choice_results.csv",
    "rationale_results.csv",
    "accuracy_metric.csv",
    "rationale_similarity_metric.csv",
    "result.json",
)
COLUMNS = ["Language", "ModelInput", "ModelOutput", "GT_Answer"]


def csv_text(rows: list[list[str]]) -> str:
    """Rows as CSV, UTF-8 text; a cell may hold commas, quotes and line breaks."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def answers_table(run: FinishedRun) -> list[list[str]]:
    """multi_choice_results.csv: a row a test question."""
    rows = [[NAMES[row["key"]], run.model_input(row), run.model_output(row), ",".join(row["gold"])] for row in run.rows]
    return [COLUMNS, *rows]


def rationales_table(run: FinishedRun) -> tuple[list[list[str]], bool]:
    """(rationale_results.csv, whether the questions say which rationales passed the human check)."""
    rows, said = [], False
    for key, records in run.test.items():
        checked, counted = rationales_that_count(records)
        said = said or checked
        for row in (row for row in run.rows if row["key"] == key):
            record = run.question(row)
            if record.get("rationale") and row["number"] in counted:
                written = written_rationale(run.model_output(row), run.prompt)
                rows.append([NAMES[key], run.model_input(row), written, record["rationale"]])
    return [COLUMNS, *rows], said


def accuracy_table(result: dict) -> list[list[str]]:
    """accuracy_metric.csv: a column a language and the plain mean, one row, per cent."""
    names = [NAMES[key] for key in result["scores"]]
    values = [f"{score['accuracy']:.2f}" for score in result["scores"].values()]
    return [[*names, "Average"], [*values, f"{result['macro']['accuracy']:.2f}"]]


def similarity_table(result: dict | None) -> list[list[str]]:
    """rationale_similarity_metric.csv: a row per metric, a column a language; the header alone without rationales."""
    found = (result or {}).get("rationales")
    if not found:
        return [["Metric"]]
    scored = {key: score for key, score in found["scores"].items() if score["n"]}
    rows = [[metric, *(f"{score[metric]:.2f}" for score in scored.values())] for metric in METRICS]
    return [["Metric", *(NAMES[key] for key in scored)], *rows]


def check_out(out: Path, run: FinishedRun) -> None:
    """Errors: InputError when the folder contains something else, or the result of another model."""
    if not out.exists():
        return
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    other = [name for name in names if name not in FILES]
    if other or not out.is_dir():
        raise InputError(f"{out} contains something else ({other[0]}); give an empty or a new folder as --out")
    if "result.json" in names and read_json(out / "result.json")["inputs"] != run.result["inputs"]:
        raise InputError(f"{out} contains the result of another run; use another --out, or delete that folder")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("results", type=Path, help="result folder of form answer")
    parser.add_argument("--rationales", type=Path, help="result folder of form rationale (default: none are sent)")
    parser.add_argument("--out", type=Path, default=Path("results/submission"), help="folder (default %(default)s)")
    parser.add_argument("--data", type=Path, help="test split (default: where the run found it)")
    parser.add_argument("--prompt", type=Path, help="prompt folder (default: where the run found it)")
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="read everything, print the counts, write nothing")
    args = parse_arguments(parser, argv)
    run = read_finished_run(args.results, args.data, args.prompt)
    english = [key for key in run.test if key not in NAMES]
    if english:
        raise InputError(f"{args.results} answers {', '.join(english)}, which the submission has no place for")
    written, table = None, [COLUMNS]
    if args.rationales:
        written = read_finished_run(args.rationales, args.data, args.prompt)
        if written.result["prompt"]["form"] != "rationale":
            raise InputError(f"{args.rationales} has no rationales; make them with inference/eval.py --form rationale")
        if written.result["inputs"]["model"] != run.result["inputs"]["model"]:
            raise InputError(f"{args.rationales} and {args.results} are of different models")
        table, said = rationales_table(written)
        if not said:
            print("no question says whether its rationale passed the human check: all rationales are written out")
    print(f"{len(run.rows)} answers and {len(table) - 1} rationales in {len(run.test)} languages")
    if args.dry_run:
        return 0
    check_out(args.out, run)
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "multi_choice_results.csv", csv_text(answers_table(run)))
    write_text(args.out / "rationale_results.csv", csv_text(table))
    write_text(args.out / "accuracy_metric.csv", csv_text(accuracy_table(run.result)))
    write_text(args.out / "rationale_similarity_metric.csv", csv_text(similarity_table(written and written.result)))
    write_text(args.out / "result.json", (args.results / "result.json").read_text(encoding="utf-8"))
    print(f"wrote {args.out}; check it with `python mmedbench/check_submission.py {args.out}`")
    return 0


if __name__ == "__main__":
    run_command(main)
