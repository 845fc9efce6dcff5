"""What `websites.py` and `existing_corpora.py` share: flags, the run, publishing the output.

Each unit becomes a folder of `OUT/parts/`; when all are there, whoever ends last moves their files to their places and
writes failures.jsonl, left_out.jsonl and, last, manifest.json.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cleaning.boilerplate_lines import BOILERPLATE_FOLDER
from cleaning.clean_text import CLEANING_STEPS, clean
from executor.sharded_run import (
    Unfinished,
    add_run_flags,
    exit_on_sigterm,
    not_done,
    others_missing,
    own_units,
    require_at_least,
    run_sharded,
)
from executor.workers import run_units
from filtering.filter_output import count_repeated_ids
from filtering.language import DETECTORS, detect_language
from language_codes import LANGUAGES
from run_record import (
    InputError,
    describe_files,
    provenance,
    read_json,
    sha256_of_file,
    write_json,
    write_text,
)
from web.collected_documents import LEFT_OUT, known_languages, write_unit

FORMAT_VERSION = 1
# A text of each script whose languages a model distinguishes: what is loaded for it once, the processes share.
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
    add("--out", type=Path, required=True, help="output folder (created if missing)")
    add(
        "--languages",
        nargs="+",
        choices=LANGUAGES,
        default=[],
        metavar="ISO",
        help=f"keep documents in these only, of {', '.join(LANGUAGES)} (default: all eight)",
    )
    add("--licence", default="", help="licence of documents without one (default: none)")
    add(
        "--detector",
        choices=DETECTORS,
        default=DETECTORS[0],
        help="language detector (default: %(default)s)",
    )
    add(
        "--skip-steps",
        nargs="*",
        choices=CLEANING_STEPS,
        default=[],
        metavar="STEP",
        help=f"steps of cleaning to omit, of {', '.join(CLEANING_STEPS)} (default: none)",
    )
    add_run_flags(add, unit_mb=256, unit_help="; also the cut between output files")


def common_arguments(args: argparse.Namespace) -> tuple[dict, dict]:
    """(arguments, inputs) that the common flags decide. Errors: InputError for numbers under 1."""
    require_at_least(args, workers=1, unit_mb=1)
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
    exit_on_sigterm()
    own = own_units(work.units, args.shard)
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

    def do(parts: Path) -> Unfinished | None:
        _do_units(work, own, parts, args.workers)
        failed = any(_read_done(parts, u)["failures"] for u in own)
        done = sum(_is_done(parts, u) for u in range(len(work.units)))
        return others_missing(done, len(work.units), exit_code=3 * failed)

    return run_sharded(
        args.out,
        args.shard,
        work.arguments,
        work.inputs,
        do,
        lambda parts: _finish(work, args.out, parts, argv),
        _report,
        resume_only=({}, {"modified": work.modified}),
    )


def _is_done(parts: Path, unit: int) -> bool:
    return (parts / f"{unit:05d}" / "done.json").exists()


def _read_done(parts: Path, unit: int) -> dict:
    return read_json(parts / f"{unit:05d}" / "done.json")


def _do_units(work: Work, own: dict, parts: Path, workers: int) -> None:
    """Do the units of this run (or shard) that are not done yet."""
    waiting = not_done(own, lambda u: _is_done(parts, u))
    if not waiting:
        return
    for language, text in WARM_UP:
        detect_language(text, work.arguments["detector"])
        clean(text, language, work.arguments["skip_steps"])
    work.warm_up()
    run_units(
        _do_unit,
        {u: (work.read, unit, parts / f"{u:05d}", work.arguments) for u, unit in waiting.items()},
        workers,
        lambda u, result: f"{work.describe(waiting[u])}: {result[0]} of {result[1]} kept",
        sizes={u: work.sizes[u] for u in waiting},
        apart=True,
    )


def _do_unit(read: Callable, unit: object, folder: Path, arguments: dict) -> tuple[int, int]:
    counts = write_unit(read(unit, arguments), folder, arguments)["counts"].values()
    return sum(row["kept"] for row in counts), sum(row["read"] for row in counts)


def _finish(work: Work, out: Path, parts: Path, argv: list[str] | None) -> dict:
    """Move what the units wrote to its place, write the lists and, last, the manifest; returns that."""
    units = [_read_done(parts, u) for u in range(len(work.units))]
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
    """Print what was kept and omitted; returns the exit code."""
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
