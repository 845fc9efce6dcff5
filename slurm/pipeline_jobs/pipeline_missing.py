"""Which parts of the run are missing: not complete, and not in the queue.

Reads   the records on the disk, the queue, results/NAME/pipeline/jobs.jsonl (a line a job that was submitted)
"""

import json
import re
import shlex
from pathlib import Path

from pipeline_jobs.pipeline_recipe import RecipeError
from pipeline_jobs.pipeline_slurm import Queued
from pipeline_jobs.pipeline_steps import Part, Step


def read_jobs(work: Path) -> list[dict]:
    """The submissions so far, oldest first, without those that were withdrawn. Errors: RecipeError for a bad line."""
    path, found = work / "jobs.jsonl", []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            entry = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError):
            entry = None
        if not isinstance(entry, dict) or not {"withdrawn", "job"} & set(entry):
            raise RecipeError(f"{path}:{number}: no line of a job; take it out (a kill may have cut it off)")
        if "withdrawn" in entry:
            found = [had for had in found if had["job"] not in entry["withdrawn"]]
        else:
            found.append(entry)
    return found


def live_parts(queued: list[Queued], entries: list[dict]) -> dict[str, list[Queued]]:
    """{part's key: its tasks in the queue}. Errors: RecipeError for a job of this run that nobody noted."""
    noted = {entry["job"]: entry for entry in entries}
    live: dict[str, list[Queued]] = {}
    lost: dict[str, str] = {}
    for task in queued:
        if task.reason == "DependencyNeverSatisfied":  # Slurm is about to cancel it
            continue
        if task.job not in noted:
            lost[task.job] = task.name
            continue
        entry = noted[task.job]
        live.setdefault(entry["indexes"].get(task.index) or next(iter(entry["commands"])), []).append(task)
    if lost:
        names = ", ".join(f"job {job} ({name})" for job, name in lost.items())
        raise RecipeError(
            f"in the queue, but not in jobs.jsonl (a kill while they were submitted?): {names}; "
            f"scancel {' '.join(lost)}, and ask again"
        )
    return live


def stale_parts(wanted: list[Part], live: dict[str, list[Queued]], failed: set[str]) -> list[str]:
    """Parts in the queue that wait for one which is to be submitted anew: Slurm would cancel them."""
    anew = {part.key for part in wanted if part.key not in live or part.key in failed}
    stale: list[str] = []
    for part in wanted:  # each stands behind those that it reads
        waits = all(task.state == "PENDING" for task in live.get(part.key, ()))
        if part.key in live and waits and any(key in anew or key in stale for key in part.reads):
            stale.append(part.key)
    return stale


def is_complete(part: Part, parts: dict[str, Part], commands: dict[str, list[str]]) -> bool:
    """Whether a part's record is there; the leaderboard's must also be newer than what it shows, and of these models.

    commands: of the newest submission of each part.
    """
    if not part.record.exists():
        return False
    if part.key != "leaderboard":
        return True
    results = [parts[key].record for key in part.reads]
    newer = all(path.exists() and path.stat().st_mtime <= part.record.stat().st_mtime for path in results)
    return newer and commands.get(part.key, part.command) == part.command


def newest_commands(entries: list[dict]) -> dict[str, list[str]]:
    """{part's key: the command of its newest submission}."""
    return {key: command for entry in entries for key, command in entry["commands"].items()}


def missing_parts(steps: list[Step], start: str, entries: list[dict]) -> list[Part]:
    """The parts to make: not complete, and read by one that is to be made (what nobody reads any more may be deleted).

    start: name of the first step that may run. Errors: RecipeError for what such a step reads and does not find, and
    for a part that is complete, but was made by another command.
    """
    parts = {part.key: part for step in steps for part in step.parts}
    commands = newest_commands(entries)
    wanted: list[Part] = []
    before = [step.name for step in steps].index(start) if start else 0
    for number, step in reversed(list(enumerate(steps))):
        for part in step.parts:
            if step.name != "leaderboard" and not any(part.key in reader.reads for reader in wanted):
                continue
            if is_complete(part, parts, commands):
                if _settings(commands.get(part.key, part.command)) != _settings(part.command):
                    raise RecipeError(
                        f"{part.key} is complete, but was made by another command; to make it again delete "
                        f"{part.record.parent}, to keep it take the old settings\n  made by  "
                        f"{shlex.join(commands[part.key])}\n  wanted   {shlex.join(part.command)}"
                    )
            elif number < before:
                raise RecipeError(
                    f"--from {start}: {part.record} is missing, which {step.name} makes and a later "
                    f"stage reads; leave --from out to make it, or give --from {step.name}"
                )
            else:
                wanted.insert(0, part)
    return wanted


def _settings(command: list[str]) -> list[str]:
    """A command without what does not change its output."""
    return shlex.split(re.sub(r" --workers \d+", "", shlex.join(command)))
