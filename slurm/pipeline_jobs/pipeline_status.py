"""How far a run is: of each part whether it is done, running, waiting or failed, its log, the time left; and its cost.

Reads   the records on the disk, jobs.jsonl, what Slurm knows of its jobs (pipeline_slurm.py), the jobs' logs
Writes  with `write_cost`, results/NAME/run.json: wall time and GPU-hours of each stage
"""

import contextlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

from pipeline_jobs.pipeline_missing import is_complete, newest_commands
from pipeline_jobs.pipeline_recipe import Recipe
from pipeline_jobs.pipeline_slurm import ENDED_WELL, Past, Queued, is_failed, log_of, lost_tasks, past_runs
from pipeline_jobs.pipeline_steps import Step


def status_rows(steps: list[Step], entries: list[dict], live: dict[str, list[Queued]]) -> list[list[str]]:
    """A row a part: what it is, its state, its job, the time left, its log."""
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
