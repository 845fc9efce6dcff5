"""The status of a run: which parts are done, running, waiting, failed or missing; logs, time left, cost.

Reads   the records on the disk, jobs.jsonl, what Slurm knows of its jobs (pipeline_slurm.py), the jobs' logs
Writes  with `write_cost`, results/NAME/run.json: wall time and GPU-hours of each stage
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

from pipeline_jobs.pipeline_recipe import Recipe, RecipeError
from pipeline_jobs.pipeline_slurm import ENDED_WELL, Past, Queued, is_failed, log_of, lost_tasks, past_runs
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
    """{part's key: its tasks in the queue}. Errors: RecipeError for a job of this run that is not recorded."""
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
    """Parts in the queue that wait for one which is to be submitted again: Slurm would cancel them."""
    again = {part.key for part in wanted if part.key not in live or part.key in failed}
    stale: list[str] = []
    for part in wanted:  # each is behind those that it reads
        waits = all(task.state == "PENDING" for task in live.get(part.key, ()))
        if part.key in live and waits and any(key in again or key in stale for key in part.reads):
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
    """The parts to make: not complete, and read by one that is to be made (what is not read any more may be deleted).

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


def status_rows(steps: list[Step], entries: list[dict], live: dict[str, list[Queued]]) -> list[list[str]]:
    """A row per part: what it is, its state, its job, the time left, its log."""
    parts = {part.key: part for step in steps for part in step.parts}
    commands, past = newest_commands(entries), past_runs(entries)
    newest = {key: entry for entry in entries for key in entry["commands"]}
    steps_of = {entry["step"]: entry for entry in entries}
    rows = [["stage", "state", "job", "left", "log"]]
    for step in steps:
        for part in step.parts:
            entry = steps_of.get(step.name) if not step.over_models else newest.get(part.key)
            tasks, job, log = live.get(part.key, []), "-", "-"
            ran: dict[str, Past] = {}
            if entry:
                indexes = [index for index, key in entry["indexes"].items() if key == part.key]
                job = entry["job"] + (f"_{indexes[0]}" if step.over_models else "")
                log = str(log_of(entry, indexes[0] if len(indexes) == 1 else "*"))
                ran = {index: past[entry["job"], index] for index in indexes if (entry["job"], index) in past}
            if is_complete(part, parts, commands):
                rows.append([part.key, "done", job, "-", log])
            elif tasks:
                lost = len(lost_tasks(entry, tasks, past)) if step.shards else 0
                rows.append([part.key, _live_state(tasks, lost), job, _time_left(tasks, log), log])
            elif entry:
                ended_well = len(ran) == len(indexes) and all(run.state == ENDED_WELL for run in ran.values())
                # The signatures have no record of their own: the duplicates, which read them, write it.
                handed_on = any(part.key in other.reads and other.record == part.record for other in parts.values())
                state = "done" if handed_on and ended_well else _ended_state(ran, part.record)
                rows.append([part.key, state, job, "-", log])
            else:
                rows.append([part.key, "not submitted", "-", "-", "-"])
    return rows


def _live_state(tasks: list[Queued], lost: int) -> str:
    running = [task for task in tasks if task.state != "PENDING"]
    told = f"; {lost} lost" if lost else ""
    if running and len(tasks) > 1:
        return f"running {len(running)} of {len(tasks)} tasks left, on {_nodes(running)}{told}"
    if running:
        return f"running for {running[0].elapsed} on {_nodes(running)}{told}"
    reasons = {"Dependency": "those before it", "Resources": "a free node", "Priority": "its turn"}
    return f"waits for {reasons.get(tasks[0].reason, tasks[0].reason)}{told}"


def _nodes(tasks: list[Queued]) -> str:
    return ",".join(sorted({task.nodes for task in tasks if task.nodes})) or "a node"


def _ended_state(ran: dict[str, Past], record: Path) -> str:
    """Of a part that is neither complete nor in the queue."""
    failed = {index: run for index, run in ran.items() if is_failed(run)}
    if failed:
        index, run = next(iter(failed.items()))
        which = f" (task {index}" + (f" and {len(failed) - 1} more)" if len(failed) > 1 else ")") if index else ""
        return f"failed: {run.state}{which}{'' if run.spans else ' before it began'}"
    if any(run.state == "UNKNOWN" for run in ran.values()) or not ran:
        return "stopped: no longer in the queue"
    return f"ended without {record}"


def _time_left(tasks: list[Queued], log: str) -> str:
    """What the stage itself says in its log, else what Slurm leaves the job at most."""
    running = [task for task in tasks if task.state != "PENDING"]
    if not running:
        return "-"
    if "*" not in log and Path(log).is_file():
        for line in reversed(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()):
            if match := re.search(r"step (\d+/\d+) .*\bleft (\S+(?: d \S+)?)", line):
                return f"{match[2]} (step {match[1]})"
    return f"at most {running[0].left}" if running[0].left not in ("UNLIMITED", "NOT_SET", "INVALID") else "-"


def last_words(log: str) -> str:
    """Why a part failed, by its log: the first sentence of a command, or error, since its start; else the last line."""
    lines: list[str] = []
    for path in sorted(Path().glob(log)) if log != "-" else ():
        run = path.read_text(encoding="utf-8", errors="replace").rpartition("\nstart ")[2]
        lines += [re.sub(r"^\[rank\d+\]: ", "", line) for line in run.splitlines()[1:] if line.strip()]
    lines = [line for line in lines if not line.startswith(("end ", "command: "))]
    sentences = (line for line in lines if re.match(r"[\w/]+\.(py|sh): |[\w.]*(Error|Exception): ", line))
    return next(sentences, lines[-1] if lines else "")


# What it cost


def cost(steps: list[Step], entries: list[dict]) -> dict[str, dict]:
    """{step: {"wall_seconds": in which a job of it ran, "job_seconds": of all its jobs, "gpu_hours", ...}}."""
    found: dict[str, dict] = {}
    past = past_runs(entries)
    for step in steps:
        runs = {
            key: run
            for entry in entries
            if entry["step"] == step.name
            for index in entry["indexes"]
            if (run := past.get(key := (entry["job"], index)))
        }
        if not runs:
            continue
        wall, last = 0.0, 0.0
        for begin, end in sorted(span for run in runs.values() for span in run.spans):
            wall, last = wall + max(0.0, end - max(begin, last)), max(end, last)
        found[step.name] = {
            "jobs": sorted({job for job, _ in runs}, key=int),
            "runs": sum(run.runs for run in runs.values()),
            "wall_seconds": round(wall, 1),
            "job_seconds": round(sum(run.seconds for run in runs.values()), 1),
            "gpu_hours": round(sum(run.seconds * run.gpus for run in runs.values()) / 3600, 4),
            "runs_cut_off_and_not_counted": sum(run.unended for run in runs.values()),
            "source": sorted({run.source for run in runs.values()}),
        }
    return found


def write_cost(recipe: Recipe, found: dict[str, dict], path: Path) -> dict:
    """Write results/NAME/run.json, whole; returns it."""
    commit = ""
    with contextlib.suppress(FileNotFoundError):  # no git on this node
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        commit = asked.stdout.strip()
    total = {key: round(sum(row[key] for row in found.values()), 4) for key in ("job_seconds", "gpu_hours")}
    record = {
        "format_version": 1,
        "stage": "slurm/pipeline.sh",
        "name": recipe.name,
        "recipe": str(recipe.path),
        "recipe_text": recipe.path.read_text(encoding="utf-8"),
        "commit": commit or "unknown",
        "steps": found,
        "total": total,
        "written_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)
    return record
