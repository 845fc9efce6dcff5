"""What Slurm knows about jobs: queued, ended, run time and GPUs.

Reads   squeue, scontrol, sacct where the cluster has accounting; where Slurm has forgotten a job, the start and end
        lines that the job scripts write into its log
Example in_queue("tiny"); past_runs(read_jobs(Path("results/tiny/pipeline")))
"""

import re
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline_jobs.pipeline_recipe import STAGES

ENDED_WELL = "COMPLETED"
SECONDS = 60  # the longest a command of Slurm may take


class SlurmError(Exception):
    """A command of Slurm failed; the message has its own words."""


@dataclass
class Queued:
    """A job or array task in the queue. index: "" outside arrays; elapsed, left: as squeue writes them."""

    job: str
    index: str
    name: str
    state: str
    reason: str
    elapsed: str
    left: str
    nodes: str


@dataclass
class Past:
    """What is known of a job or array task. spans: begin and end of its runs, seconds since 1970; source: who says so;
    unended: runs in the log that were cut off without an end line, so that they are not among the spans."""

    state: str
    spans: list[tuple[float, float]]
    gpus: int
    runs: int
    source: str
    unended: int = 0

    @property
    def seconds(self) -> float:
        return sum(end - begin for begin, end in self.spans)


def ask(*words: str, tolerate: bool = False) -> str | None:
    """A command's output. tolerate: None where it fails. Errors: SlurmError."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
    except FileNotFoundError:
        said = f"there is no {words[0]} here; this works on a cluster's login node"
    except subprocess.TimeoutExpired:
        said = f"{words[0]} has not answered for {SECONDS} s; is Slurm's controller up?"
    else:
        if done.returncode == 0:
            return done.stdout
        said = " ".join((done.stderr or done.stdout).split()) or f"{words[0]} ended with exit code {done.returncode}"
    if tolerate:
        return None
    raise SlurmError(said)


def in_queue(name: str) -> list[Queued]:
    """The jobs of the run `name` that wait or run, submitted from this folder."""
    rows = ask("squeue", "--me", "-h", "-r", "-o", "%F|%K|%j|%T|%r|%M|%L|%N|%Z").splitlines()
    titles = {f"{name}-{step}" for step in (*STAGES, "signatures")}  # a run NAME-x has jobs NAME-x-STAGE
    found = []
    for row in rows:
        job, index, title, state, reason, elapsed, left, nodes, folder = row.split("|", 8)
        if title in titles and Path(folder).resolve() == Path.cwd():
            found.append(Queued(job, "" if index == "N/A" else index, title, state, reason, elapsed, left, nodes))
    return found


def past_runs(entries: list[dict]) -> dict[tuple[str, str], Past]:
    """{(job, index): what is known} of submissions as jobs.jsonl has them."""
    found: dict[tuple[str, str], Past] = {}
    if not entries:
        return found
    accounted = _from_sacct([entry["job"] for entry in entries])
    for entry in entries:
        remembered = _from_scontrol(entry["job"]) if entry["job"] not in {job for job, _ in accounted} else {}
        for index in entry["indexes"]:
            key = (entry["job"], index)
            logged = _from_log(log_of(entry, index), entry["gpus"])
            if key in accounted:
                found[key] = accounted[key]
            elif key in remembered:
                found[key] = _joined(remembered[key], logged)
            elif logged:
                found[key] = logged
    return found


def is_failed(run: Past) -> bool:
    """Whether a task that ran, or never got to, did not end well (it may be in the queue again)."""
    return not run.state.startswith((ENDED_WELL, "PENDING", "RUNNING", "COMPLETING", "REQUEUE", "SUSPENDED", "UNKNOWN"))


def lost_tasks(entry: dict, queued: list[Queued], past: dict[tuple[str, str], Past]) -> list[str]:
    """Tasks of an array in the queue that are neither there nor ended well. One that is cancelled before it begins
    leaves no trace in Slurm."""
    there = {task.index for task in queued if task.job == entry["job"]}
    ended_well = {index for (job, index), run in past.items() if job == entry["job"] and run.state == ENDED_WELL}
    return [index for index in entry["indexes"] if index not in there and index not in ended_well]


def log_of(entry: dict, index: str) -> Path:
    """The log of a job or array task."""
    return Path(entry["log"].replace("%j", entry["job"]).replace("%A", entry["job"]).replace("%a", index))


def _joined(known: Past, logged: Past | None) -> Past:
    """Slurm remembers the last run alone; the runs before it, of a job that was queued again, are in the log."""
    if known.runs <= 1 or logged is None:
        return known
    before = [span for span in logged.spans if not known.spans or span[1] <= known.spans[0][0] + 1]
    return Past(
        known.state,
        before + known.spans,
        known.gpus,
        known.runs,
        "scontrol, log",
        known.runs - len(before) - len(known.spans),
    )


def _from_sacct(jobs: list[str]) -> dict[tuple[str, str], Past]:
    """Of a cluster with accounting; every run of a job that was queued again is a row (--duplicates)."""
    rows = ask(
        "sacct",
        "-X",
        "-n",
        "-P",
        "--duplicates",
        "-j",
        ",".join(jobs),
        "-o",
        "JobID,State,Start,End,AllocTRES",
        tolerate=True,
    )
    found: dict[tuple[str, str], Past] = {}
    for row in (rows or "").splitlines():
        name, state, start, end, tres = row.split("|")
        job, _, index = name.partition("_")
        if "[" in index:  # the tasks of an array that have not begun
            continue
        had = found.get((job, index), Past("", [], 0, 0, ""))
        found[job, index] = Past(
            state.split()[0], had.spans + _span(start, end), max(_gpus(tres), had.gpus), had.runs + 1, "sacct"
        )
    return found


def _from_scontrol(job: str) -> dict[tuple[str, str], Past]:
    """Of jobs that the controller still remembers (MinJobAge, five minutes by default)."""
    found = {}
    for line in (ask("scontrol", "show", "job", "-o", job, tolerate=True) or "").splitlines():
        facts: dict[str, str] = {}
        for word in line.split():
            key, equals, value = word.partition("=")
            if equals:
                facts.setdefault(key, value)
        if "JobState" not in facts:
            continue
        began = facts.get("NodeList") not in (None, "", "(null)")  # what is cancelled before it begins has a start too
        running = facts["JobState"] in ("RUNNING", "COMPLETING", "SUSPENDED")
        spans = _span(facts["StartTime"], "Unknown" if running else facts["EndTime"]) if began else []
        nodes = int(re.match(r"\d+", facts.get("NumNodes", "1"))[0])
        gpus = _gpus(facts.get("TRES", "")) or _gpus(facts.get("TresPerNode", "")) * nodes
        runs = int(facts["Restarts"]) + bool(spans)
        for index in _indexes(facts.get("ArrayTaskId", "")):
            found[job, index] = Past(facts["JobState"], spans, gpus, runs, "scontrol")
    return found


def _indexes(text: str) -> list[str]:
    """Indexes of 3, or of tasks that have not begun, given together: 0-2,5 or 0-7%2. Empty without an array."""
    found: list[str] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += [str(number) for number in range(int(first), int(last) + 1)] if last else [first]
    return found


def _span(start: str, end: str) -> list[tuple[float, float]]:
    """Of Slurm's times, which are local; what has not ended lasts until now."""
    try:
        begin = datetime.fromisoformat(start).timestamp()
    except ValueError:  # Unknown, None: it has not begun
        return []
    try:
        return [(begin, datetime.fromisoformat(end).timestamp())]
    except ValueError:
        return [(begin, time.time())]


def _from_log(log: Path, gpus: int) -> Past | None:
    """From the lines `start TIME ...` and `end TIME  exit code N` (or `queued again`) of the job scripts."""
    if not log.is_file():
        return None
    spans, runs, began, state = [], 0, None, "UNKNOWN"
    pattern = re.compile(r"^(start|end) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z(?:.*exit code (\d+))?")
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = pattern.match(line)
        if match is None:
            continue
        when = datetime.fromisoformat(f"{match[2]}+00:00").timestamp()
        if match[1] == "start":
            runs, began, state = runs + 1, when, "UNKNOWN"
        elif began is not None:
            spans.append((began, when))
            began = None
            ended = {None: "REQUEUED", "0": ENDED_WELL}  # no exit code: the job asked to be queued again
            state = ended.get(match[3], f"FAILED (exit code {match[3]})")
    return Past(state, spans, gpus, runs, "log", runs - len(spans)) if runs else None


def _gpus(tres: str) -> int:
    """GPUs in `cpu=8,gres/gpu=8,...` or `gres:gpu:a100:8`."""
    match = re.search(r"gres/gpu=(\d+)", tres) or re.search(r"gpu(?::[A-Za-z][\w.-]*)?:(\d+)", tres)
    return int(match[1]) if match else 0
