"""Build the corpus from a folder of raw inputs by one command: every step from PDFs and web text to MMedC.

Reads   FOLDER/web, FOLDER/books, FOLDER/websites, FOLDER/existing, as many of them as are there
Writes  OUT/web, OUT/books, ...        what filter.py, ocr.py, websites.py and existing_corpora.py make of them
        OUT/duplicates, OUT/contamination   the lists of deduplicate.py and, with --benchmark, of decontaminate.py
        OUT/MMedC                      the corpus (build_corpus.py), checked (check_corpus.py)
        OUT/report.md, OUT/run.json    documents in and out by reason, contamination, seconds; run.json last

Each step is one command, printed before it runs; flags of single steps are in recipes (--recipes DIR: filter.yaml,
ocr.yaml, ...). Rerun the same command to resume an interrupted run, in the middle of a step too. Example:

    python data_collection/make_corpus.py data/raw --benchmark data/MMedBench/Test --mode cut --out data/corpus
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from corpus.chain_report import read_manifests, report_of
from executor.run_folder import end_with_parent, refuse_nesting
from run_record import InputError, parse_arguments, provenance, read_json, run_command, write_json, write_text

HERE = Path(__file__).resolve().parent
SOURCES = {"web": "filter.py", "books": "ocr.py", "websites": "websites.py", "existing": "existing_corpora.py"}
LISTS = ("duplicates", "contamination")
CORPUS = "MMedC"
MODES = ("report", "drop", "cut")
DONE_WITH_FAILURES = 3


class Step(NamedTuple):
    """One command of the chain. name: its folder below OUT."""

    name: str
    script: str
    arguments: list[str]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("input", type=Path, help=f"a folder that holds any of the folders {', '.join(SOURCES)}")
    add("--out", type=Path, required=True, help="output folder (created if missing)")
    add(
        "--benchmark",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of exam questions to look for, such as data/MMedBench/Test (default: no decontamination)",
    )
    add(
        "--mode",
        choices=MODES,
        default="cut",
        help="documents with exam questions: report: list only; drop: remove the document; cut: remove the "
        "passage (default: %(default)s)",
    )
    add("--tokenizer", metavar="PATH_OR_NAME", help="count tokens with it for the dataset card")
    add("--licence", default="unknown", help="licence of documents without one (default: %(default)s)")
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="number of processes per step (default: one per CPU core, %(default)s here)",
    )
    add(
        "--recipes",
        type=Path,
        metavar="DIR",
        help="folder of recipe files for single steps, any of filter.yaml, ocr.yaml, websites.yaml, "
        "existing_corpora.yaml, deduplicate.yaml, decontaminate.yaml, build_corpus.yaml",
    )
    add("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    add(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="check the inputs, print the commands, write nothing",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    kinds = find_inputs(args)
    steps = plan(args, kinds)
    for step in steps:
        print(f"$ {shown(step)}")
    if args.dry_run:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "run.json").unlink(missing_ok=True)
    failed = [step.name for step in steps if run_step(step, args.out, steps) == DONE_WITH_FAILURES]
    manifests = read_manifests(args.out, [step.name for step in steps if step.script != "check_corpus.py"])
    seconds = seconds_so_far(args.out)
    text = report_of(manifests, seconds)
    write_text(args.out / "report.md", text)
    write_json(
        args.out / "run.json",
        {
            "format_version": 1,
            "stage": "data_collection/make_corpus.py",
            "commands": [shown(step) for step in steps],
            "seconds": seconds,
            "steps_with_failures": failed,
            "counts": manifests[CORPUS]["counts"],
            "removed": manifests[CORPUS]["removed"],
            "provenance": provenance(argv),
        },
    )
    print(text)
    for name in failed:
        print(f"{name}: some inputs could not be read; see {args.out / name / 'failures.jsonl'}")
    return DONE_WITH_FAILURES if failed else 0


def find_inputs(args: argparse.Namespace) -> list[str]:
    """Which kinds of input the folder holds. Errors: InputError for none, and for anything else."""
    if not args.input.is_dir():
        raise InputError(f"{args.input} is not a folder; give one that holds any of the folders {', '.join(SOURCES)}")
    refuse_nesting(args.input, args.out)
    strange = sorted(
        path.name for path in args.input.iterdir() if path.name not in SOURCES and not path.name.startswith(".")
    )
    if strange:
        raise InputError(
            f"{args.input / strange[0]}: not a recognised input; expected one of the folders "
            f"{', '.join(SOURCES)} there, or take it away"
        )
    kinds = [kind for kind in SOURCES if os.path.lexists(args.input / kind)]  # a link to nothing is to be named too
    if not kinds:
        raise InputError(f"{args.input} is empty; give a folder that holds any of the folders {', '.join(SOURCES)}")
    for kind in kinds:
        if not (args.input / kind).is_dir() or not any((args.input / kind).iterdir()):
            raise InputError(f"{args.input / kind} is empty, or no folder; fill it, or take it away")
    for folder in args.benchmark or ():
        if not folder.is_dir():
            raise InputError(f"--benchmark {folder}: no folder; give one of questions, such as data/MMedBench/Test")
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: at least 1 is needed")
    known = {
        Path(script).stem for script in (*SOURCES.values(), "deduplicate.py", "decontaminate.py", "build_corpus.py")
    }
    if args.recipes and not args.recipes.is_dir():
        raise InputError(f"--recipes {args.recipes} is not a folder")
    for path in sorted(args.recipes.iterdir()) if args.recipes else ():
        if path.stem not in known or path.suffix != ".yaml":
            raise InputError(f"{path}: no step of that name; known are {', '.join(sorted(f'{k}.yaml' for k in known))}")
    return kinds


def plan(args: argparse.Namespace, kinds: list[str]) -> list[Step]:
    """The commands, in their order."""
    out = args.out
    workers = ["--workers", str(args.workers)]
    steps = [_step(args, kind, SOURCES[kind], [str(args.input / kind), *workers]) for kind in kinds]
    folders = [str(out / kind) for kind in kinds]
    steps.append(_step(args, "duplicates", "deduplicate.py", [*folders, *workers]))
    lists = ["--duplicates", str(out / "duplicates")]
    if args.benchmark:
        steps.append(
            _step(
                args,
                "contamination",
                "decontaminate.py",
                [*folders, "--benchmark", *map(str, args.benchmark), "--mode", args.mode, *lists, *workers],
            )
        )
        lists += ["--contamination", str(out / "contamination")]
    tokenizer = ["--tokenizer", args.tokenizer] if args.tokenizer else []
    steps.append(
        _step(args, CORPUS, "build_corpus.py", [*folders, *lists, "--licence", args.licence, *tokenizer, *workers])
    )
    for step in steps:
        _refuse_settled_keys(step)
    return [*steps, Step("check", "check_corpus.py", [str(out / CORPUS)])]


def _step(args: argparse.Namespace, name: str, script: str, arguments: list[str]) -> Step:
    recipe = args.recipes / f"{Path(script).stem}.yaml" if args.recipes else None
    given = ["--recipe", str(recipe)] if recipe and recipe.exists() else []
    return Step(name, script, [*arguments, "--out", str(args.out / name), *given])


def _refuse_settled_keys(step: Step) -> None:
    """InputError for a recipe with flags that this command gives, which would win, or that end a step incomplete."""
    if "--recipe" not in step.arguments:
        return
    import yaml

    path = Path(step.arguments[step.arguments.index("--recipe") + 1])
    settled = {flag[2:] for flag in step.arguments if flag.startswith("--")} | {"shard", "dry-run"}
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the recipe {path}: {error}") from None
    for key in keys if isinstance(keys, dict) else ():  # what else is wrong the step says
        if str(key).replace("_", "-") in settled:
            raise InputError(f"{path}: {key} is not for the recipe of a step: make_corpus.py gives it; take it out")


def shown(step: Step) -> str:
    """A step's command as one types it from the project's root."""
    return shlex.join(["python", f"data_collection/{step.script}", *step.arguments])


def run_step(step: Step, out: Path, steps: list[Step]) -> int:
    """Run one command to its end; returns 0, or 3 where some of its inputs failed. Errors: SystemExit for others."""
    print(f"\n== {steps.index(step) + 1} of {len(steps)}: {step.name}\n$ {shown(step)}", flush=True)
    is_made_already = (out / step.name / "manifest.json").exists()
    begun = time.monotonic()
    code = subprocess.run(
        [sys.executable, HERE / step.script, *step.arguments], check=False, preexec_fn=end_with_parent
    ).returncode
    if code not in (0, DONE_WITH_FAILURES):
        print(
            f"make_corpus.py: step {step.name} stopped ({code}); what it says above names the remedy, and the same "
            "command resumes from here",
            file=sys.stderr,
        )
        raise SystemExit(code if code > 0 else 1)
    if not is_made_already:  # what is reused took its time before
        seconds = seconds_so_far(out)
        seconds[step.name] = round(time.monotonic() - begun, 1)
        write_json(out / "seconds.json", seconds)
    return code


def seconds_so_far(out: Path) -> dict[str, float]:
    """{step: wall seconds of the run that finished it}."""
    return read_json(out / "seconds.json") if (out / "seconds.json").exists() else {}


if __name__ == "__main__":
    run_command(main)
