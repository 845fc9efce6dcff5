"""Maintain leaderboard.md: add a result of inference/eval.py, render the page, check that it is up to date.

Reads   mmedbench/results/*.json (one file per model, setting and metric version), the predictions beside them, and
        mmedbench/reported/*.csv
Writes  add: the result and, if there is a predictions.jsonl, a small copy of it in --results; render: --out and
        the pictures; with --html an HTML page. `render --check` writes nothing and exits 1 if a page, a picture or
        a recomputed score differs.

    python mmedbench/leaderboard.py add results/finetuned/result.json
    python mmedbench/leaderboard.py render --results mmedbench/results --out leaderboard.md --check
"""

import argparse
import itertools
import json
import os
from pathlib import Path

from leaderboard_pages import leaderboard_html, leaderboard_pictures, leaderboard_tables
from leaderboard_pages.leaderboard_rows import accuracy_rows
from leaderboard_pages.result_predictions import ENDINGS, differences, find_predictions, packed, read_predictions
from leaderboard_pages.submitted_results import check_result, file_name, read_results, result_key
from run_record import InputError, read_json, run_command, sha256_of_file, write_json, write_text


def describe_training(result: dict) -> str | None:
    """The training data of a result's model; None if its checkpoint is missing or has changed.

    Reads run.json of the checkpoint, whose SHA-256 is in the result, and run.json of its base.
    """
    folder = Path(str(result["model"].get("path") or ""))
    known = (result.get("inputs") or {}).get("model")
    path = folder / "run.json"
    if not path.is_file() or not isinstance(known, dict) or known.get("run.json") != sha256_of_file(path):
        return None
    run = read_json(path)
    try:
        parts = [_tuning(run)] if str(run.get("stage")).startswith("finetune/") else []
        base = folder / run["base_from_here"] / "run.json" if run.get("base_from_here") else path
        if base.is_file():
            pretrained = read_json(base)
            if pretrained.get("stage") == "pretrain/train_lm.py":
                parts.append(
                    f"pretrained on {pretrained['tokens_seen']:,} tokens in "
                    f"{', '.join(sorted(pretrained['card']['languages']))}"
                )
    except (KeyError, TypeError, ValueError, AttributeError, InputError):
        return None  # a record of another version: --training-data is needed
    return "; ".join(parts) or None


def _tuning(run: dict) -> str:
    questions = run["counts"]["questions"]
    each = ", ".join(f"{language} {count:,}" for language, count in sorted(questions.items()))
    return (
        f"{' and '.join(run['card']['data_names'])}: {sum(questions.values()):,} questions ({each}), "
        f"{run['examples']:,} examples"
    )


RESULTS = Path(__file__).resolve().parent / "results"


def complete(result: dict, options: argparse.Namespace) -> None:
    """Add to a result what its run does not record: name in the table, training data, whether it is a machinery check.

    Errors: InputError if the training data of a trained model are unknown.
    """
    if options.name is not None and isinstance(result.get("model"), dict):
        result["model"]["name"] = options.name
    check_result(result, options.result)
    before = result.get("leaderboard", {})
    data = options.training_data or before.get("training_data") or describe_training(result)
    if data is None and result["model"]["training"] == "none":
        data = "nothing here"
    if data is None:
        raise InputError(
            f"{options.result}: its checkpoint at {result['model'].get('path')} is missing or has changed, so its "
            "training data are unknown; give --training-data TEXT"
        )
    result["leaderboard"] = {
        "training_data": data,
        "machinery_check": before.get("machinery_check", False)
        if options.machinery_check is None
        else options.machinery_check,
    }
    check_result(result, options.result)


def counted_again(result: dict, options: argparse.Namespace) -> bytes | None:
    """The compressed predictions, None without any. Errors: InputError if the result has other scores."""
    path = options.predictions or find_predictions(options.result)
    if path is None and (options.result.parent / "predictions.jsonl").is_file():
        path = options.result.parent / "predictions.jsonl"
    if path is None:
        return None
    scored = (result.get("files") or {}).get("predictions.jsonl") or {}
    if path.name == "predictions.jsonl" and scored.get("sha256") not in (None, sha256_of_file(path)):
        raise InputError(
            f"{path} is not the file that {options.result} was scored from; give that file, or "
            "score again with inference/eval.py --score-only"
        )
    rows = read_predictions(path)
    problems = differences(result, options.result, rows, path)
    if problems:
        raise InputError("\n  ".join([f"{options.result} contradicts its predictions:", *problems]))
    return packed(rows)


def add_result(options: argparse.Namespace) -> int:
    """Check a result and copy it into the leaderboard's folder. Errors: InputError with the reason."""
    result = read_json(options.result)
    complete(result, options)
    predictions = counted_again(result, options)
    target = options.results / file_name(result)
    beside = target.with_name(target.stem + ENDINGS[0])
    kept = beside.read_bytes() if beside.exists() else None
    if target.exists() and read_json(target) == json.loads(json.dumps(result)) and kept == predictions:
        print(f"{target} already contains this result")
        return 0
    others = {result_key(other) for other in read_results(options.results)} if options.results.exists() else set()
    if target.exists() and result_key(read_json(target)) != result_key(result):
        raise InputError(f"{target} contains the result of another model or setting; rename it, or use another --name")
    if result_key(result) in others and not options.replace:
        name, setting, _, version = result_key(result)
        raise InputError(
            f"{target} contains another result of {name!r} ({setting}, metric version {version}); "
            "give --replace, or another --name"
        )
    said = "with its predictions" if predictions else "without predictions: its scores cannot be recomputed"
    if options.dry_run:
        print(f"dry run: would write {target}, {said}")
        return 0
    options.results.mkdir(parents=True, exist_ok=True)
    target.with_name(target.stem + ENDINGS[1]).unlink(missing_ok=True)
    if predictions is None:
        beside.unlink(missing_ok=True)
    else:
        write_bytes(beside, predictions)
    write_json(target, result)
    print(f"added {target}, {said}; now run `python mmedbench/leaderboard.py render`")
    return 0


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary name, then rename."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def render_page(options: argparse.Namespace) -> int:
    """Write the pages, or with --check compare them with the files. Returns 1 if something differs."""
    results = read_results(options.results)
    counted = sum(result["predictions"] is not None for result in results)
    print(f"{len(results)} results in {options.results}, {counted} with predictions, whose scores were recomputed")
    problems = [line for result in results for line in result["differences"]]
    if problems:
        print("\n".join(problems))
        return 1
    rows, folder = accuracy_rows(results), pictures_folder(options)
    shown = leaderboard_pictures.picture_lines(rows, folder, options.out) if folder else []
    pages = {options.out: leaderboard_tables.render(results, shown)}
    if options.html is not None:
        pages[options.html] = leaderboard_html.page(rows)
    if options.check:
        differ = [line for path, text in pages.items() for line in difference(path, text)]
        differ += leaderboard_pictures.problems(rows, folder) if folder else []
        print(
            "\n".join([*differ, "to update, run `python mmedbench/leaderboard.py render`"])
            if differ
            else f"{', '.join(map(str, pages))} {'are' if len(pages) > 1 else 'is'} up to date"
        )
        return 1 if differ else 0
    if folder:
        print("\n".join(leaderboard_pictures.write_pictures(rows, folder)))
    for path, text in pages.items():
        write_text(path, text)
        print(f"wrote {path}")
    return 0


def pictures_folder(options: argparse.Namespace) -> Path | None:
    """The folder of the pictures; None with --no-pictures."""
    if options.no_pictures:
        return None
    beside = options.out.parent
    return options.pictures or (beside / "mmedbench" if (beside / "mmedbench").is_dir() else beside) / "pictures"


def difference(path: Path, text: str) -> list[str]:
    """A message naming the first line of a page that is out of date, or []."""
    try:
        found = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); run `python mmedbench/leaderboard.py render`") from None
    pairs = enumerate(itertools.zip_longest(found.split("\n"), text.split("\n")), start=1)
    lines = [number for number, (ours, wanted) in pairs if ours != wanted]
    return [f"{path}:{lines[0]}: differs from what the results give"] if lines else []


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", allow_abbrev=False, help="check a result and copy it into --results")
    add.add_argument("result", type=Path, metavar="RESULT.json", help="result.json of inference/eval.py")
    add.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: mmedbench/results")
    add.add_argument("--name", help="name in the table (default: the result's model.name)")
    add.add_argument(
        "--training-data",
        metavar="TEXT",
        help="what the model was trained on (default: from the run.json of its checkpoint, if it is here)",
    )
    add.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="answers of the model; scores are recomputed from them (default: predictions.jsonl beside RESULT.json)",
    )
    add.add_argument(
        "--machinery-check",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="list a tiny test model in a separate, unranked table (default: as the result says, else no)",
    )
    add.add_argument(
        "--replace",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="overwrite a result of the same model, setting and metric version (default: refuse)",
    )
    add.add_argument("--dry-run", action="store_true", help="check only, write nothing")
    add.set_defaults(run=add_result)
    page = commands.add_parser("render", allow_abbrev=False, help="write leaderboard.md from the results")
    page.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: mmedbench/results")
    page.add_argument("--out", type=Path, default=Path("leaderboard.md"), help="page to write (default: %(default)s)")
    where = page.add_mutually_exclusive_group()
    where.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder of the pictures (default: mmedbench/pictures beside --out, or pictures if mmedbench does not "
        "exist there)",
    )
    where.add_argument("--no-pictures", action="store_true", help="write the page without pictures")
    page.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a self-contained HTML page with sorting and filters"
    )
    page.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page or picture is not current")
    page.set_defaults(run=render_page)
    options = parser.parse_args(argv)
    return options.run(options)


if __name__ == "__main__":
    run_command(main)
