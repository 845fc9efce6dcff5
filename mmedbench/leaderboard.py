"""Maintain leaderboard.md: add a result of inference/eval.py, render the page, check that it is up to date.

Reads   mmedbench/results/*.json (one file per model, setting and metric version), the predictions beside them, and
        mmedbench/reported/*.csv
Writes  add: the result and, where predictions.jsonl came along, a small copy of it in --results; render: --out,
        the pictures; with --html a page for the browser. `render --check` writes nothing and exits 1 when a page, a
        picture, or a score counted again, differs.

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
    """The training data of a result's model; None where its checkpoint is not here, or is another by now.

    Reads run.json of the checkpoint, which the result knows by its SHA-256, and that of the base beside it.
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
        return None  # a record of another version: the person who adds the row says it
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
    """Put to a result what its run does not say: its name in the table, training data, whether it is only a check.

    Errors: InputError where a trained model's data are unknown.
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
            f"{options.result}: its checkpoint is not at {result['model'].get('path')} as it was, so what "
            "it was trained on is unknown; give --training-data TEXT"
        )
    result["leaderboard"] = {
        "training_data": data,
        "machinery_check": before.get("machinery_check", False)
        if options.machinery_check is None
        else options.machinery_check,
    }
    check_result(result, options.result)


def counted_again(result: dict, options: argparse.Namespace) -> bytes | None:
    """The predictions that come along, packed, if they give the result's scores; None without. Errors: InputError."""
    path = options.predictions or find_predictions(options.result)
    if path is None and (options.result.parent / "predictions.jsonl").is_file():
        path = options.result.parent / "predictions.jsonl"
    if path is None:
        return None
    scored = (result.get("files") or {}).get("predictions.jsonl") or {}
    if path.name == "predictions.jsonl" and scored.get("sha256") not in (None, sha256_of_file(path)):
        raise InputError(
            f"{path} is not the file that {options.result} was scored from; give the one that is, or "
            "score it again with inference/eval.py --score-only"
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
        print(f"{target} holds this very result already")
        return 0
    others = {result_key(other) for other in read_results(options.results)} if options.results.exists() else set()
    if target.exists() and result_key(read_json(target)) != result_key(result):
        raise InputError(f"{target} contains the result of another model or setting; rename it, or use another --name")
    if result_key(result) in others and not options.replace:
        name, setting, _, version = result_key(result)
        raise InputError(
            f"{target} holds another result of {name!r} ({setting}, metric version {version}); "
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
    """Write a file whole: aside first, renamed last."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def render_page(options: argparse.Namespace) -> int:
    """Write the page, or compare it with what is there. Returns 1 when something differs from what it should be."""
    results = read_results(options.results)
    counted = sum(result["predictions"] is not None for result in results)
    print(f"{len(results)} results in {options.results}, {counted} with predictions, which were counted again")
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
            "\n".join([*differ, "to mend it run `python mmedbench/leaderboard.py render`"])
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
    """Where the pictures stand; None for a page without."""
    if options.no_pictures:
        return None
    beside = options.out.parent
    return options.pictures or (beside / "mmedbench" if (beside / "mmedbench").is_dir() else beside) / "pictures"


def difference(path: Path, text: str) -> list[str]:
    """A sentence naming the first line of a page that is not what it should be; nothing where there is none."""
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
        help="its answers, counted again and kept (default: predictions.jsonl beside the result)",
    )
    add.add_argument(
        "--machinery-check",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="a tiny model: is in a table apart, as a check of the machinery (default: as the result says, else no)",
    )
    add.add_argument(
        "--replace",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="take the place of a result of the same model, setting and metric version (default: refuse)",
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
        help="folder of the pictures (default: beside --out in mmedbench/pictures, or in pictures where "
        "there is no folder mmedbench)",
    )
    where.add_argument("--no-pictures", action="store_true", help="draw none, and show none on the page")
    page.add_argument("--html", type=Path, metavar="FILE", help="also write a page that sorts and filters (one file)")
    page.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page or picture is not current")
    page.set_defaults(run=render_page)
    options = parser.parse_args(argv)
    return options.run(options)


if __name__ == "__main__":
    run_command(main)
