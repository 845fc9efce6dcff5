"""The run of `websites.py` and `existing_corpora.py`: units of work for processes and shards, gone on with, published.

Each unit becomes a folder of `OUT/parts/`; when all are there, whoever ends last moves their files to their places and
writes failures.jsonl, left_out.jsonl and, last, manifest.json.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from cleaning.boilerplate_lines import BOILERPLATE_FOLDER
from cleaning.clean_text import CLEANING_STEPS, clean
from executor.filter_run import keep_pandas_out
from executor.run_folder import close_run, one_at_a_time, only_run, open_run
from executor.units import parse_shard
from executor.workers import do_units
from filtering.filter_summary import count_repeated_ids
from filtering.keyword_match import LANGUAGES
from filtering.language import DETECTORS, detect_language
from run_record import (
    InputError,
    describe_files,
    finished_record,
    provenance,
    read_json,
    sha256_of_file,
    write_json,
    write_text,
)
from web.collected_documents import LEFT_OUT, known_languages, write_unit

FORMAT_VERSION = 1
# A text of each script whose languages a model tells apart: what is loaded for it once, the processes share.
WARM_UP = (
    ("en", "The patient was seen by the physician, who found that the fever was gone and the cough was better."),
    ("ru", "Пациент осмотрен врачом, температура нормальная, кашель уменьшился, состояние удовлетворительное."),
    ("ar", "فحص الطبيب المريض ووجد أن الحمى قد زالت وأن السعال أصبح أخف مما كان عليه في الأيام الماضية."),
)


class Work(NamedTuple):
    """What a command wants done."""

    stage: str
    arguments: dict  # decide the output, with languages, detector, skip_steps
    inputs: dict  # what tells this input from another
    modified: dict  # {file: time of its last change, ns}
    units: list  # what one process does at a time
    sizes: list[int]  # bytes of each unit, about
    read: Callable[[object, dict], Iterator]  # unit, arguments -> Found, LeftOut, Broken
    describe: Callable[[object], str]
    warm_up: Callable[[], object] = lambda: None  # loads what the processes then share


def add_common_flags(add: Callable) -> None:
    """The flags that both commands have."""
    add("--out", type=Path, required=True, help="folder to write (made if missing)")
    add(
        "--languages",
        nargs="+",
        choices=LANGUAGES,
        default=[],
        metavar="ISO",
        help=f"keep documents in these only, of {', '.join(LANGUAGES)} (default: all eight)",
    )
    add("--licence", default="", help="licence of the documents that state none (default: none is written)")
    add(
        "--detector",
        choices=DETECTORS,
        default=DETECTORS[0],
        help="what tells the language of a text (default: %(default)s)",
    )
    add(
        "--skip-steps",
        nargs="*",
        choices=CLEANING_STEPS,
        default=[],
        metavar="STEP",
        help=f"steps of cleaning to leave out, of {', '.join(CLEANING_STEPS)} (default: none)",
    )
    add(
        "--unit-mb",
        type=int,
        default=256,
        help="about so much input, MB (10^6 bytes), one process takes at a time; what a kill costs at most, and the "
        "cut between output files (default: %(default)s)",
    )
    add(
        "--shard",
        type=parse_shard,
        metavar="i/n",
        help="do only the i-th of n shares of the units, i from 0 to n-1 (or from 1 to n)",
    )
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes, one unit each (default: one per CPU core, %(default)s here)",
    )
    add("--recipe", type=Path, help="YAML file of these flags; the command line wins")
    add(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="check input and settings, print the plan, write nothing",
    )


def common_arguments(args: argparse.Namespace) -> tuple[dict, dict]:
    """(arguments, inputs) that the common flags decide. Errors: InputError for numbers under 1."""
    for name in ("workers", "unit_mb"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1 is needed")
    inputs: dict = {}
    if "boilerplate_lines" not in args.skip_steps:
        inputs["boilerplate"] = {path.stem: sha256_of_file(path) for path in sorted(BOILERPLATE_FOLDER.glob("*.txt"))}
    if args.detector != "none":
        inputs["detector"] = f"{args.detector} {importlib.metadata.version(args.detector)}"
    arguments = {
        "languages": known_languages(args.languages),
        "licence": args.licence.strip(),
        "detector": args.detector,
        "skip_steps": sorted(set(args.skip_steps)),
        "unit_mb": args.unit_mb,
    }
    return arguments, inputs


def run_collection(work: Work, args: argparse.Namespace, argv: list[str] | None) -> int:
    """The whole command after its plan; returns its exit code."""
    keep_pandas_out()
    signal.signal(signal.SIGTERM, _terminated)
    own = [u for u in range(len(work.units)) if args.shard is None or u % args.shard[1] == args.shard[0]]
    for name, value in {"out": args.out, **work.arguments, "workers": args.workers}.items():
        print(f"{name}: {value}")
    print(
        f"{len(work.units)} units, {sum(work.sizes) / 1e6:.1f} MB"
        + (f"; of this shard {len(own)}" if args.shard else "")
    )
    if args.dry_run:
        for unit in work.units:
            print(f"would read {work.describe(unit)}")
        return 0
    manifest_path = args.out / "manifest.json"
    if manifest := finished_record(manifest_path, work.arguments, work.inputs):
        return _reuse(args.out, manifest)
    with contextlib.ExitStack() as held:
        try:
            parts = open_run(args.out, work.arguments, work.inputs | {"modified": work.modified})
            held.enter_context(only_run(args.out, args.shard))
        except (InputError, FileNotFoundError):
            if not manifest_path.exists():
                raise
        if not manifest_path.exists():
            _do_units(work, own, parts, args.workers)
        if manifest := finished_record(manifest_path, work.arguments, work.inputs):  # another shard has ended meanwhile
            held.close()
            return _reuse(args.out, manifest)
        missing = [u for u in range(len(work.units)) if not (parts / f"{u:05d}" / "done.json").exists()]
        if missing:
            print(
                f"{len(work.units) - len(missing)} of {len(work.units)} units are done; the other shards do the "
                "rest, and the last to end writes the manifest"
            )
            return 3 if any(read_json(parts / f"{u:05d}" / "done.json")["failures"] for u in own) else 0
        with one_at_a_time(args.out):
            manifest = read_json(manifest_path) if manifest_path.exists() else _finish(work, args.out, parts, argv)
    close_run(args.out)
    return _report(manifest)


def _terminated(signal_number: int, frame: object) -> None:
    print("terminated; the same command goes on from what is finished", flush=True)
    raise SystemExit(128 + signal_number)


def _reuse(out: Path, manifest: dict) -> int:
    print(f"{out} is finished already and made from this input: reused")
    close_run(out)
    return _report(manifest)


def _do_units(work: Work, own: list[int], parts: Path, workers: int) -> None:
    """Do those of a run's (or shard's) units that are not done yet."""
    from tqdm import tqdm

    waiting = [u for u in own if not (parts / f"{u:05d}" / "done.json").exists()]
    if len(waiting) < len(own):
        print(f"{len(own) - len(waiting)} of {len(own)} units were done before")
    if not waiting:
        return
    for language, text in WARM_UP:
        detect_language(text, work.arguments["detector"])
        clean(text, language, work.arguments["skip_steps"])
    work.warm_up()
    tasks = {u: (work.read, work.units[u], parts / f"{u:05d}", work.arguments) for u in waiting}
    with (
        tqdm(total=sum(work.sizes[u] for u in waiting), unit="B", unit_scale=True, disable=None) as bar,
        closing(do_units(_do_unit, tasks, workers, apart=True)) as results,
    ):
        for number, (u, (kept, read)) in enumerate(results, 1):
            bar.update(work.sizes[u])
            if bar.disable:
                print(f"{number}/{len(waiting)} {work.describe(work.units[u])}: {kept} of {read} kept", flush=True)


def _do_unit(read: Callable, unit: object, folder: Path, arguments: dict) -> tuple[int, int]:
    counts = write_unit(read(unit, arguments), folder, arguments)["counts"].values()
    return sum(row["kept"] for row in counts), sum(row["read"] for row in counts)


def _finish(work: Work, out: Path, parts: Path, argv: list[str] | None) -> dict:
    """Move what the units wrote to its place, write the lists and, last, the manifest; returns that."""
    units = [read_json(parts / f"{u:05d}" / "done.json") for u in range(len(work.units))]
    failures = [failure for unit in units for failure in unit["failures"]]
    counts: dict[str, dict] = {}
    cleaning: dict[str, dict] = {}
    for unit in units:
        for language, row in unit["counts"].items():
            _add(counts.setdefault(language, {}), row)
        for language, steps in unit["cleaning"].items():
            for step, row in steps.items():
                _add(cleaning.setdefault(language, {}).setdefault(step, {}), row)
    if not sum(row["kept"] for row in counts.values()) and failures:
        shutil.rmtree(parts)
        first = failures[0]
        raise InputError(f"no document could be kept; the first failure: {first['file']}: {first['reason']}")
    files = _publish(out, parts, units)
    write_text(out / "failures.jsonl", "".join(json.dumps(f, ensure_ascii=False) + "\n" for f in failures))
    aside = parts / LEFT_OUT
    with open(aside, "wb") as together:
        for u in range(len(units)):
            with open(parts / f"{u:05d}" / LEFT_OUT, "rb") as one:
                shutil.copyfileobj(one, together)
        together.flush()
        os.fsync(together.fileno())
    aside.replace(out / LEFT_OUT)
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": work.stage,
        "arguments": work.arguments,
        "inputs": work.inputs,
        "counts": dict(sorted(counts.items())),
        "cleaning": dict(sorted(cleaning.items())),
        "relabelled": sum(unit["relabelled"] for unit in units),
        "repeated_ids": count_repeated_ids(out, files),
        "failures": len(failures),
        "files": files | describe_files(out, [out / "failures.jsonl", out / LEFT_OUT]),
        "parent": None,
        "provenance": provenance(argv),
    }
    write_json(out / "manifest.json", manifest)
    return manifest


def _add(into: dict, row: dict) -> None:
    for key, value in row.items():
        into[key] = into.get(key, 0) + value


def _publish(out: Path, parts: Path, units: list[dict]) -> dict[str, dict]:
    """Move the units' parquet files, numbered in their order; repeatable after a kill in between."""
    numbers: dict[str, int] = {}
    files = {}
    for u, unit in enumerate(units):
        for name, facts in unit["outputs"].items():
            number = numbers[name] = numbers.get(name, -1) + 1
            here, there = parts / f"{u:05d}" / f"{name}.parquet", out / name / f"part-{number:05d}.parquet"
            if here.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                here.replace(there)
            elif not there.exists():
                raise InputError(f"{there} has vanished; delete {out} and run again")
            files[there.relative_to(out).as_posix()] = {"bytes": facts["bytes"], "sha256": facts["sha256"]}
    return dict(sorted(files.items()))


def _report(manifest: dict) -> int:
    """Print what was kept and left out; returns the exit code."""
    for language, row in manifest["counts"].items():
        others = [
            f"{reason} {count}"
            for reason, count in sorted(row.items())
            if reason not in ("read", "kept", "kept_characters") and count
        ]
        print(
            f"{language}: {row['kept']} of {row['read']} kept, {row['kept_characters']} characters"
            + (f"; {', '.join(others)}" if others else "")
        )
    if manifest["relabelled"]:
        print(f"in another language than declared, and kept under their own: {manifest['relabelled']}")
    if repeated := sum(manifest["repeated_ids"].values()):
        print(f"kept with an id that an earlier one has: {repeated}")
    if manifest["failures"]:
        print(f"could not be read: {manifest['failures']}; see failures.jsonl")
    return 3 if manifest["failures"] else 0
