"""Validate a run before submission, and submit the sbatch lines of its missing parts: all of them or none.

Writes  results/NAME/pipeline/jobs.jsonl, and there, of an array over models, the recipe of each task
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pipeline_jobs.pipeline_recipe import Recipe, RecipeError
from pipeline_jobs.pipeline_slurm import Queued, SlurmError, ask
from pipeline_jobs.pipeline_steps import Part, Step, models_of


@dataclass
class Submission:
    """One sbatch. after: (kind of dependency, a job's number or the name of a submission of this call)."""

    name: str
    step: Step
    parts: list[Part]
    indexes: list[int]  # of the array's tasks; empty: no array
    words: list[str]  # options of sbatch, without the dependency
    command: list[str]  # the job script and its arguments
    after: list[tuple[str, str]] = field(default_factory=list)

    def line(self, jobs: dict[str, str]) -> list[str]:
        """The words behind `bash slurm/submit.sh`. jobs: {submission's name: its job's number}."""
        waits: dict[str, list[str]] = {}
        for kind, job in dict.fromkeys(self.after):
            waits.setdefault(kind, []).append(jobs.get(job, job))
        given = ",".join(f"{kind}:{':'.join(names)}" for kind, names in waits.items())
        return ["--parsable", *self.words, *([f"--dependency={given}"] if given else []), *self.command]


# What to submit


def arrange(
    recipe: Recipe, steps: list[Step], wanted: list[Part], live: dict[str, list[Queued]], failed: set[str], work: Path
) -> list[Submission]:
    """The submissions that make the wanted parts, in order. live: parts in the queue, not to be submitted again;
    failed: of them the shared ones of which a task has failed: submitted again, behind the tasks that still run."""
    made: list[Submission] = []
    maker: dict[str, Submission] = {}
    for step in steps:
        groups: dict[tuple, list[Part]] = {}
        for part in step.parts:
            if part not in wanted or (part.key in live and part.key not in failed):
                continue
            after = [pair for key in part.reads for pair in _waits_for(step, key, live, maker)]
            if part.key in failed:
                after += [("afterany", job) for job in dict.fromkeys(task.job for task in live[part.key])]
            groups.setdefault(tuple(after), []).append(part)
        for number, (after, parts) in enumerate(groups.items(), 1):
            name = step.name if len(groups) == 1 else f"{step.name}-{number}"
            made.append(_submission(recipe, name, step, parts, work))
            made[-1].after = list(after)
            maker |= dict.fromkeys((part.key for part in parts), made[-1])
    return made


def _waits_for(step: Step, key: str, live: dict[str, list[Queued]], maker: dict[str, Submission]) -> list[tuple]:
    if key in maker:
        by_model = step.over_models and maker[key].step.over_models  # task by task
        return [("aftercorr" if by_model else "afterok", maker[key].name)]
    # Of a job in the queue each task by itself: another model of its array may have failed.
    return [("afterok", f"{task.job}_{task.index}" if "/" in key else task.job) for task in live.get(key, ())]


def _submission(recipe: Recipe, name: str, step: Step, parts: list[Part], work: Path) -> Submission:
    section, numbers = recipe.section(step.stage), recipe.section(step.stage).numbers
    indexes = list(range(step.shards))
    command = [step.script, *parts[0].command]
    if step.over_models:
        indexes = [step.parts.index(part) for part in parts]
        command = [step.script, "--recipe", str(work / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}-%a.yaml")]
    title = f"{recipe.name}-{step.name}"
    words = [
        "--kill-on-invalid-dep=yes",
        f"--job-name={title}",
        f"--output=logs/{recipe.name}/{step.name}-{'%A_%a' if indexes else '%j'}.out",
    ]
    if indexes:
        at_once = f"%{numbers['at_once']}" if "at_once" in numbers else ""
        words.append(f"--array={_ranges(indexes)}{at_once}")
    options = {"nodes": "--nodes={}", "gpus": "--gres=gpu:{}", "cpus": "--cpus-per-task={}"}
    words += [options[key].format(value) for key, value in numbers.items() if key in options]
    words += [f"--time={section.time}"] * bool(section.time) + section.sbatch
    return Submission(name, step, parts, indexes, words, command)


def _ranges(indexes: list[int]) -> str:
    """Such as 0-7 or 0,2-3."""
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


# Submitting


def _note(work: Path, entry: dict) -> None:
    with open(work / "jobs.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def submit_all(submissions: list[Submission], work: Path) -> dict[str, str]:
    """Submit them in order; returns {name: job}. When one is refused, or this is interrupted, all are withdrawn.

    Errors: SlurmError with Slurm's own words; OSError.
    """
    jobs: dict[str, str] = {}
    work.mkdir(parents=True, exist_ok=True)
    try:
        for submission in submissions:
            _write_recipes(submission)
            Path(_option(submission, "--output")).parent.mkdir(parents=True, exist_ok=True)
            jobs[submission.name] = sbatch(submission.line(jobs))
            _note(work, _entry(submission, jobs))
    except BaseException as error:
        if jobs:
            ask("scancel", *jobs.values())
            with contextlib.suppress(OSError):  # a full disk may be what brought us here
                _note(work, {"withdrawn": list(jobs.values())})
        if isinstance(error, SlurmError):
            withdrawn = f"; withdrawn: {', '.join(jobs.values())}" if jobs else ""
            raise SlurmError(f"{submission.name} could not be submitted: {error}{withdrawn}; no job is left") from None
        raise
    return jobs


def sbatch(words: list[str], *before: str) -> str:
    """Submit with the site's settings (slurm/submit.sh); the job's number. Errors: SlurmError."""
    done = subprocess.run(["bash", "slurm/submit.sh", *before, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SlurmError(" ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}")
    return done.stdout.strip().partition(";")[0]


def _option(submission: Submission, name: str) -> str:
    return next(word.partition("=")[2] for word in submission.words if word.startswith(f"{name}="))


def _entry(submission: Submission, jobs: dict[str, str]) -> dict:
    """The line of jobs.jsonl."""
    shared = submission.parts[0].key
    by_index = {str(i): part.key for i, part in zip(submission.indexes, submission.parts, strict=False)}
    if submission.step.shards:
        by_index = {str(i): shared for i in submission.indexes}
    nodes, gpus = requested(submission)
    return {
        "job": jobs[submission.name],
        "step": submission.step.name,
        "indexes": by_index or {"": shared},
        "commands": {part.key: part.command for part in submission.parts},
        "log": _option(submission, "--output"),
        "nodes": nodes,
        "gpus": gpus,
        "sbatch": submission.line(jobs),
        "submitted_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def requested(submission: Submission) -> tuple[int, int]:
    """(nodes, GPUs of all of them) asked for: by the recipe, else by the job script's own #SBATCH lines."""
    script = Path(submission.step.script).read_text(encoding="utf-8")
    words = re.findall(r"^#SBATCH (\S+)", script, flags=re.MULTILINE) + submission.words
    nodes = [int(word[8:]) for word in words if re.fullmatch(r"--nodes=\d+", word)][-1]
    gpus = [int(match[1]) for word in words if (match := re.search(r"^--gres=gpu(?::[A-Za-z]\w*)?:(\d+)", word))]
    return nodes, nodes * (gpus[-1] if gpus else 0)


def _write_recipes(submission: Submission) -> None:
    """Of an array over models: each task's flags, as the recipe that its job reads."""
    if not submission.step.over_models:
        return
    for index, part in zip(submission.indexes, submission.parts, strict=True):
        path = Path(submission.command[2].replace("%a", str(index)))
        path.write_text(yaml.safe_dump(with_base(part.flags), allow_unicode=True, sort_keys=False), encoding="utf-8")


def with_base(flags: dict) -> dict:
    """Flags, behind those of the stage's own recipe that they name. Errors: RecipeError where it cannot be read."""
    if "recipe" not in flags:
        return flags
    if not isinstance(flags["recipe"], str):
        raise RecipeError(f"the flag recipe takes one file, not {flags['recipe']}")
    try:
        base = yaml.safe_load(Path(flags["recipe"]).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot read the recipe {flags['recipe']}: {error}") from None
    if not isinstance(base, dict):
        raise RecipeError(f"{flags['recipe']}: a recipe is lines of `key: value`")
    base = {str(key).replace("_", "-"): value for key, value in base.items()}
    return base | {key: value for key, value in flags.items() if key != "recipe"}


FOLDERS = ("pdfs", "web", "websites", "existing", "corpus", "exams", "benchmark")
SETTLED = ("out", "shard", "dry-run", "help")  # pipeline.sh gives them, or they would end a stage incomplete


def check_inputs(recipe: Recipe) -> None:
    """Errors: RecipeError for an input that is not there."""
    for key in FOLDERS:
        path = Path(recipe.inputs.get(key, "."))
        if not path.exists():
            raise RecipeError(f"{recipe.path}:{recipe.lines[key]}: {key}: {path} does not exist")
    if "corpus" in recipe.inputs and not (Path(recipe.inputs["corpus"]) / "manifest.json").exists():
        raise RecipeError(
            f"{recipe.path}:{recipe.lines['corpus']}: corpus: {recipe.inputs['corpus']} has no "
            "manifest.json: it is not a finished corpus of build_corpus.py"
        )
    for split in ("Train", "Test") if "benchmark" in recipe.inputs else ():
        if not (Path(recipe.inputs["benchmark"]) / split).is_dir():
            raise RecipeError(
                f"{recipe.path}:{recipe.lines['benchmark']}: benchmark: no folder {split} in "
                f"{recipe.inputs['benchmark']}"
            )


def check_flags(recipe: Recipe, steps: list[Step]) -> None:
    """Errors: RecipeError for a flag that the stage's command does not have, or a value that it does not take."""
    models = models_of(recipe)
    for step in steps:
        section = recipe.section(step.stage)
        given = {step.name: section.flags}
        if step.stage == "finetuning":
            given |= {f"finetuning, models, {name}": section.flags | own for name, own in models.items()}
        for where, flags in given.items():
            for name in flags:
                if name in SETTLED:
                    raise RecipeError(
                        f"{recipe.path}:{section.line}: {where}: {name} is not for a recipe: "
                        "pipeline.sh gives it; take it out"
                    )
            if flags:
                told = _leaderboard(flags) if step.stage == "leaderboard" else _asked(step.entry, flags)
                if told:
                    raise RecipeError(f"{recipe.path}:{section.line}: {where}: {told}")


def _asked(entry: str, flags: dict) -> str:
    """What the stage's command says against these flags, as its recipe; empty: nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flags.yaml"
        values = dict(with_base(flags))
        for name in ("rationales", "known-test"):  # on the command line one value, in a recipe a list
            if isinstance(values.get(name), str):
                values[name] = [values[name]]
        path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, entry, "--recipe", path, "--help"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return ""
        last = ([line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"])[-1]
        return last.replace(f"{path}: ", "").replace(str(path), "its flags")


def _leaderboard(flags: dict) -> str:
    """The same of `leaderboard.py add`, which takes no recipe."""
    text = subprocess.run(
        [sys.executable, "mmedbench/leaderboard.py", "add", "--help"], capture_output=True, text=True, check=False
    ).stdout
    unknown = [name for name in flags if f"--{name} " not in f"{text.replace(',', ' ')} ".replace("\n", " ")]
    return f"leaderboard.py add has no flag --{unknown[0]}" if unknown else ""
