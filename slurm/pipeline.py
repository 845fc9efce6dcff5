"""Submit the complete run to Slurm, from PDFs to the leaderboard: one job per stage, with dependencies.

Reads   a recipe (slurm/recipes/, pipeline_recipe.py says what may be in it), the records on the disk, the queue
Writes  results/NAME/pipeline/jobs.jsonl; its jobs write data/NAME, checkpoints/NAME, results/NAME, logs in logs/NAME,
        and last results/NAME/run.json: wall time and GPU-hours of each stage

A stage whose record is there is complete. Asked again, the same command submits what is neither complete nor in the
queue, so it resumes after anything. A job that fails ends those that wait for it. One submission that Slurm refuses
withdraws those before it. Examples, from the project's root (pipeline.sh finds it):

    bash slurm/pipeline.sh --recipe slurm/recipes/tiny.yaml --dry-run
    bash slurm/pipeline.sh --recipe slurm/recipes/tiny.yaml
    bash slurm/pipeline.sh --recipe slurm/recipes/tiny.yaml --status
"""

import argparse
import contextlib
import fcntl
import os
import shlex
import signal
import sys
from pathlib import Path

from pipeline_jobs.pipeline_recipe import Recipe, RecipeError, read_recipe
from pipeline_jobs.pipeline_slurm import Queued, SlurmError, ask, in_queue, lost_tasks, past_runs
from pipeline_jobs.pipeline_status import (
    cost,
    last_words,
    live_parts,
    missing_parts,
    newest_commands,
    read_jobs,
    stale_parts,
    status_rows,
    write_cost,
)
from pipeline_jobs.pipeline_steps import Step, plan_steps
from pipeline_jobs.pipeline_submission import Submission, arrange, check_flags, check_inputs, sbatch, submit_all


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="YAML of the run, such as slurm/recipes/tiny.yaml")
    add(
        "--from",
        dest="start",
        metavar="STAGE",
        default="",
        help="first stage to run; the outputs of earlier stages must exist, their inputs are not checked",
    )
    add = parser.add_mutually_exclusive_group().add_argument
    add(
        "--dry-run",
        action="store_true",
        help="validate everything, print the graph and the sbatch lines; submit and write nothing",
    )
    add(
        "--status",
        action="store_true",
        help="print what is done, running, waiting or failed, with logs, time left and GPU-hours",
    )
    add(
        "--cost",
        action="store_true",
        help="print wall time and GPU-hours of each stage so far and write them to run.json",
    )
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _terminated)
    recipe = read_recipe(args.recipe)
    steps = plan_steps(recipe)
    if args.start not in ("", *(step.name for step in steps)):
        raise RecipeError(f"--from {args.start}: no such stage; this recipe has {', '.join(s.name for s in steps)}")
    if args.start and (args.status or args.cost):
        raise RecipeError("--from belongs to a submission or its --dry-run; --status and --cost tell of every stage")
    work = Path("results") / recipe.name / "pipeline"
    if args.status:
        return show_status(recipe, steps, work)
    if args.cost:
        show_cost(write_cost(recipe, cost(steps, read_jobs(work)), work.parent / "run.json")["steps"])
        return 0
    if not args.start:
        check_inputs(recipe)
    check_flags(recipe, steps)
    if args.dry_run:
        return dry_run(recipe, steps, args.start, work)
    with alone(work):
        return submit(recipe, steps, args.start, work)


def _terminated(signal_number: int, frame: object) -> None:
    raise SystemExit(128 + signal_number)


@contextlib.contextmanager
def alone(work: Path):
    """Keep a second pipeline.sh of the same run out. Errors: RecipeError."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(f"another pipeline.sh is submitting this run ({work}/lock); wait for it") from None
        yield


def find_work(recipe: Recipe, steps: list[Step], start: str, work: Path, queued: list[Queued]):
    """(parts to make, parts in the queue, submissions, parts in the queue that Slurm would cancel)."""
    entries = read_jobs(work)
    wanted = missing_parts(steps, start, entries)
    live = live_parts(queued, entries)
    shared = [
        entry
        for entry in entries
        if len(entry["indexes"]) > len(entry["commands"])
        and any(task.job == entry["job"] for key in entry["commands"] for task in live.get(key, ()))
    ]
    past = past_runs(shared)
    failed = {key for entry in shared for key in entry["commands"] if lost_tasks(entry, live[key], past)}
    stale = stale_parts(wanted, live, failed)
    commands = newest_commands(entries)
    for part in wanted:
        if part.key in live and part.key not in stale and commands[part.key] != part.command:
            job = live[part.key][0].job
            raise RecipeError(
                f"{part.key} is in the queue with other settings (job {job}); take the old settings, or "
                f"scancel {job} and ask again"
            )
    kept = {key: tasks for key, tasks in live.items() if key not in stale}
    return wanted, live, arrange(recipe, steps, wanted, kept, failed, work), stale


def print_graph(steps: list[Step], wanted: list, live: dict, submissions: list[Submission]) -> None:
    """A line per part: what becomes of it, what it reads, its record."""
    again = {part.key for submission in submissions for part in submission.parts}
    shards = {step.parts[0].key: f" ({step.shards} tasks)" for step in steps if step.shards}
    rows = [["stage", "", "reads", "record"]]
    for step in steps:
        for part in step.parts:
            if part.key in again:
                what = "to submit" + shards.get(part.key, "")
            elif part in wanted:
                what = f"in the queue (job {live[part.key][0].job})"
            else:
                what = "complete" if part.record.exists() else "not needed any more"
            rows.append([part.key, what, ", ".join(part.reads) or "inputs", str(part.record)])
    print_table(rows)


def print_table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def dry_run(recipe: Recipe, steps: list[Step], start: str, work: Path) -> int:
    queued, unknown = [], ""
    try:
        queued = in_queue(recipe.name)
    except SlurmError as error:
        unknown = str(error)
    wanted, live, submissions, _ = find_work(recipe, steps, start, work, queued)
    print_graph(steps, wanted, live, submissions)
    names = {submission.name: f"<{submission.name}>" for submission in submissions}
    for submission in submissions:
        print(f"\n$ bash slurm/submit.sh {shlex.join(submission.line(names))}")
        for index, part in zip(submission.indexes, submission.parts, strict=False):
            if submission.step.over_models:
                print(f"  task {index}: {shlex.join(part.command)}")
    if unknown:
        print(f"\nnot known: what is in the queue, and whether Slurm would take these jobs ({unknown})")
        return 0
    for submission in submissions:
        try:
            sbatch([*submission.words, *submission.command], "--test-only")
        except SlurmError as error:
            raise SlurmError(f"{submission.name} would be refused: {error}") from None
    print(f"\nSlurm would take {'these jobs' if submissions else 'nothing: there is nothing to submit'}")
    return 0


def submit(recipe: Recipe, steps: list[Step], start: str, work: Path) -> int:
    wanted, live, submissions, stale = find_work(recipe, steps, start, work, in_queue(recipe.name))
    if stale:
        old = sorted({task.job for key in stale for task in live[key]}, key=int)
        print(f"cancelled, because what they wait for has failed: {', '.join(old)}")
        ask("scancel", *old)
    jobs = submit_all(submissions, work)
    print_graph(steps, wanted, live, submissions)
    for submission in submissions:
        print(f"{submission.name}: job {jobs[submission.name]}")
    if not submissions:
        print("nothing to submit: " + ("all that is missing is in the queue" if wanted else "all is complete"))
    print(f"how far it is: bash slurm/pipeline.sh --recipe {shlex.quote(str(recipe.path))} --status")
    return 0


def show_status(recipe: Recipe, steps: list[Step], work: Path) -> int:
    entries = read_jobs(work)
    rows = status_rows(steps, entries, live_parts(in_queue(recipe.name), entries))
    print_table(rows)
    for row in rows[1:]:
        if row[1].startswith(("failed", "stopped", "ended")) and (said := last_words(row[4])):
            print(f"\n{row[0]}: {said}")
    print()
    show_cost(cost(steps, entries))
    return 0


def show_cost(found: dict[str, dict]) -> None:
    if not found:
        print("no job has run yet")
        return
    rows = [["stage", "wall seconds", "job seconds", "GPU-hours", "runs", "by"]]
    for name, row in found.items():
        rows.append(
            [
                name,
                f"{row['wall_seconds']:,.0f}",
                f"{row['job_seconds']:,.0f}",
                f"{row['gpu_hours']:,.2f}",
                str(row["runs"]),
                ", ".join(row["source"]),
            ]
        )
    print_table(rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RecipeError, SlurmError) as error:
        print(f"pipeline.sh: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the jobs may be submitted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at the end fails again
        print("pipeline.sh: its output is not read any more; --status shows what is in the queue", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"pipeline.sh: {error}; nothing is left in the queue of what was being submitted", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("pipeline.sh: interrupted; ask again with the same command", file=sys.stderr)
        sys.exit(130)
