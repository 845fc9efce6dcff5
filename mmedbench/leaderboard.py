"""Keep leaderboard.md: add a result of inference/eval.py, render the page, check that it is up to date.

Reads   mmedbench/results/*.json (one file a model and setting) and mmedbench/reported/*.csv
Writes  add: one file in --results; render: --out. `render --check` writes nothing and exits 1 when --out differs.

    python mmedbench/leaderboard.py add results/finetuned/result.json
    python mmedbench/leaderboard.py render --results mmedbench/results --out leaderboard.md --check
"""

import argparse
import itertools
import json
from pathlib import Path

import leaderboard_tables
from benchmark_record import InputError, read_json, run_command, write_json, write_text
from submitted_results import check_result, file_name, read_results, result_key

RESULTS = Path(__file__).resolve().parent / "results"


def add_result(options: argparse.Namespace) -> int:
    """Check a result and copy it into the leaderboard's folder. Errors: InputError with the reason."""
    result = read_json(options.result)
    if options.name is not None and isinstance(result.get("model"), dict):
        result["model"]["name"] = options.name
    check_result(result, options.result)
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / file_name(result)
    if target.exists() and read_json(target) == json.loads(json.dumps(result)):
        print(f"{target} holds this very result already")
        return 0
    others = {result_key(other) for other in read_results(options.results)}
    if result_key(result) in others and not options.replace:
        name, setting, _ = result_key(result)
        raise InputError(f"{target} holds another result of {name!r} ({setting}); give --replace, or another --name")
    if options.dry_run:
        print(f"dry run: would write {target}")
        return 0
    write_json(target, result)
    print(f"added {target}; now run `python mmedbench/leaderboard.py render`")
    return 0


def render_page(options: argparse.Namespace) -> int:
    """Write the page, or compare it with what stands there. Returns 1 when a check finds a difference."""
    results = read_results(options.results)
    text = leaderboard_tables.render(results)
    print(f"{len(results)} results in {options.results}")
    if not options.check:
        write_text(options.out, text)
        print(f"wrote {options.out}")
        return 0
    try:
        found = options.out.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {options.out} ({error}); run `python mmedbench/leaderboard.py render`") from None
    if found == text:
        print(f"{options.out} is up to date")
        return 0
    pairs = enumerate(itertools.zip_longest(found.split("\n"), text.split("\n")), start=1)
    line = next(number for number, (ours, wanted) in pairs if ours != wanted)
    print(f"{options.out}:{line}: differs from what the results give; run `python mmedbench/leaderboard.py render`")
    return 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", allow_abbrev=False, help="check a result and copy it into --results")
    add.add_argument("result", type=Path, metavar="RESULT.json", help="result.json of inference/eval.py")
    add.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: mmedbench/results")
    add.add_argument("--name", help="name in the table (default: the result's model.name)")
    add.add_argument("--replace", action=argparse.BooleanOptionalAction, default=False,
                     help="take the place of a result of the same model and setting (default: refuse)")
    add.add_argument("--dry-run", action="store_true", help="check only, write nothing")
    add.set_defaults(run=add_result)
    page = commands.add_parser("render", allow_abbrev=False, help="write leaderboard.md from the results")
    page.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: mmedbench/results")
    page.add_argument("--out", type=Path, default=Path("leaderboard.md"), help="page to write (default: %(default)s)")
    page.add_argument("--check", action="store_true", help="write nothing; exit 1 if --out is not what would be made")
    page.set_defaults(run=render_page)
    options = parser.parse_args(argv)
    return options.run(options)


if __name__ == "__main__":
    run_command(main)
