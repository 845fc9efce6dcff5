"""What can be wrong with a run and be seen before a job is submitted: inputs that are not there, flags no stage has.

A typo in the flags of fine-tuning would else show itself when weeks of pretraining are over. Every stage's own command
is asked, with --help, so that nothing is loaded.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from pipeline_jobs.pipeline_recipe import Recipe, RecipeError
from pipeline_jobs.pipeline_steps import Step, models_of
from pipeline_jobs.pipeline_submission import with_base

FOLDERS = ("pdfs", "web", "websites", "existing", "corpus", "exams", "benchmark")
SETTLED = ("out", "shard", "dry-run", "help")  # pipeline.sh gives them, or they would end a stage half-made


def check_inputs(recipe: Recipe) -> None:
    """Errors: RecipeError for an input that is not there."""
    for key in FOLDERS:
        path = Path(recipe.inputs.get(key, "."))
        if not path.exists():
            raise RecipeError(f"{recipe.path}:{recipe.lines[key]}: {key}: {path} does not exist")
    if "corpus" in recipe.inputs and not (Path(recipe.inputs["corpus"]) / "manifest.json").exists():
        raise RecipeError(
            f"{recipe.path}:{recipe.lines['corpus']}: corpus: {recipe.inputs['corpus']} has no "
            "manifest.json: it is no finished corpus of build_corpus.py"
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
