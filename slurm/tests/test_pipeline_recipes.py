"""Recipes of the whole run, its graph and its costs, without a Slurm: --dry-run, or tools that say what we want."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "slurm/recipes").glob("*.yaml"))
INPUTS = "inputs: {web: data_collection/sample/web, exams: mmedbench/sample/exams, tokenizer: some/name}\n"


def pipeline(recipe: Path | str, *arguments: str, path: str = "/nonexistent", cwd: Path = ROOT) -> tuple[int, str]:
    """pipeline.py, where no Slurm is; (exit code, all it says)."""
    words = [sys.executable, "slurm/pipeline.py", "--recipe", str(recipe), *arguments]
    done = subprocess.run(words, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def written(tmp_path):
    """A recipe with this text, in a file called run.yaml."""

    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nfilter:\n  shard: 2\n", "run.yaml:3: unknown key 'shard'; filter may have shards"),
        ("name: a\nfilters: {}\n", "run.yaml:2: unknown key 'filters'"),
        ("name: a\npretraining: {shards: 2}\n", "run.yaml:2: unknown key 'shards'"),
        ("name: a\nname: b\n", "run.yaml:2: name occurs twice"),
        ("name: ../up\n", "run.yaml:1: name '../up' is not a folder name"),
        ("inputs: {}\n", "run.yaml:1: a recipe has a name"),
        ("name: [a\n", "run.yaml:2: no YAML"),
        ("- name\n", "run.yaml:1: a recipe takes lines of `key: value`"),
        ("name: a\nfilter: {shards: 0}\n", "shards is a whole number, 1 or more"),
        ("name: a\nfilter: {time: soon}\n", "time 'soon' is none of Slurm's"),
        ("name: a\nfilter: {sbatch: [--array=0-3]}\n", "--array=0-3 is not for a recipe"),
        ("name: a\nfilter: {sbatch: [--arr=0-3]}\n", "--arr=0-3 is not for a recipe"),  # sbatch takes beginnings
        ("name: a\nfilter: {sbatch: [-Jother]}\n", "-Jother is not for a recipe"),
        ("name: a\nfilter: {flags: {? [rule] : x}}\n", "run.yaml:2: a key of flags is one word"),
        ("name: a\nfilter: {sbatch: [mem=3]}\n", "sbatch takes a list of options"),
        ("name: a\nfinetuning: {models: {a/b: {}}}\n", "the model's name 'a/b' is not a folder name"),
        (
            f"name: a\n{INPUTS}filter: {{flags: {{rule: loose}}}}\n",
            "rule must be one of bounded, published, not 'loose'",
        ),
        (f"name: a\n{INPUTS}pretraining: {{flags: {{stepz: 3}}}}\n", "run.yaml:3: pretraining: train_lm.py: unknown"),
        (f"name: a\n{INPUTS}finetuning: {{models: {{x: {{epoch: 3}}}}}}\n", "finetuning, models, x: train.py: unknown"),
        (f"name: a\n{INPUTS}finetuning: {{flags: {{recipe: no.yaml}}}}\n", "cannot read the recipe no.yaml"),
        (f"name: a\n{INPUTS}tokens: {{flags: {{recipe: [x, y]}}}}\n", "the flag recipe takes one file, not ['x', 'y']"),
        (f"name: a\n{INPUTS}leaderboard: {{flags: {{machine: true}}}}\n", "leaderboard.py add has no flag --machine"),
        (f"name: a\n{INPUTS}filter: {{flags: {{out: x}}}}\n", "filter: out is not for a recipe"),
        (f"name: a\n{INPUTS}ocr: {{cpus: 2}}\n", "run.yaml:3: ocr has nothing to do"),
        (f"name: a\n{INPUTS}tokenizer: {{cpus: 2}}\n", "a tokenizer is needed"),
        ("name: a\ninputs: {web: nowhere, exams: x, tokenizer: y}\n", "run.yaml:2: web: nowhere does not exist"),
        ("name: a\ninputs: {web: slurm}\n", "inputs need exams"),
        ("name: a\ninputs: {web: slurm, corpus: slurm, exams: slurm, tokenizer: x}\n", "give one of the two"),
        ("name: a\ninputs: {corpus: slurm, exams: slurm, tokenizer: x}\n", "it is not a finished corpus"),
        ("name: a\ninputs: {exams: slurm}\n", "the model a needs a flag model"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_told_with_its_line(written, text, message):
    code, said = pipeline(written(text), "--dry-run")
    assert code == 2 and message in said, said
    assert "Traceback" not in said and len(said.strip().splitlines()) == 1


def test_an_unknown_recipe_and_an_unknown_stage_are_told(written):
    code, said = pipeline("slurm/recipes/nothing.yaml", "--dry-run")
    assert code == 2 and "cannot read the recipe" in said and "slurm/recipes/tiny.yaml" in said
    code, said = pipeline(ROOT / "slurm/recipes/tiny.yaml", "--dry-run", "--from", "training")
    assert code == 2 and "--from training: no such stage; this recipe has ocr, filter" in said


def test_a_stages_recipe_that_is_no_recipe_is_told(written, tmp_path):
    (tmp_path / "base.yaml").write_text("- steps\n")
    text = f"name: a\n{INPUTS}tokens: {{flags: {{recipe: {tmp_path}/base.yaml}}}}\n"
    code, said = pipeline(written(text), "--dry-run")
    assert code == 2 and said.endswith("base.yaml: a recipe is lines of `key: value`\n"), said


def test_a_reader_that_goes_away_is_not_told_that_nothing_is_submitted():
    words = [sys.executable, "-u", "slurm/pipeline.py", "--recipe", "slurm/recipes/tiny.yaml", "--dry-run"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | {"PATH": "/nonexistent"},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 1 and done.stderr == (
        "pipeline.sh: its output is not read any more; --status shows what is in the queue\n"
    )


def test_flags_that_would_have_no_effect_are_refused():
    for more, message in ((["--from=tokens"], "--from belongs to a submission"), (["--dry-run"], "not allowed with")):
        code, said = pipeline("slurm/recipes/tiny.yaml", "--status", *more)
        assert code == 2 and message in said, said


def test_from_a_stage_whose_input_is_missing_is_told(written):
    code, said = pipeline(written(f"name: a\n{INPUTS}"), "--dry-run", "--from", "tokens")
    assert code == 2 and "--from tokens: data/a/MMedC/manifest.json is missing, which corpus makes" in said


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project's commands with the inputs of all recipes, empty."""
    target = tmp_path_factory.mktemp("copy")
    for name in ("data_collection", "mmedbench", "pretrain", "finetune", "inference", "slurm"):
        (target / name).symlink_to(ROOT / name)
    for name in ("books", "web", "websites", "existing", "exams"):
        (target / "data/raw" / name).mkdir(parents=True)
    return target


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_every_recipe_passes_its_checks_and_names_its_jobs_without_a_slurm(copy, recipe):
    code, said = pipeline(recipe.relative_to(ROOT), "--dry-run", cwd=copy)
    assert code == 0, said
    lines = [line for line in said.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 12 and all("--kill-on-invalid-dep=yes" in line for line in lines)
    assert "not known: what is in the queue" in said
    assert not (copy / "results").exists() and not (copy / "logs").exists()


@pytest.mark.parametrize("document", ["README.md", "slurm/README.md"])
def test_every_pipeline_command_of_the_readmes_is_understood(copy, document):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines() if "slurm/pipeline.sh" in line]
    assert lines
    for _, script, *arguments in lines:
        assert (ROOT / script).exists() and arguments[0] == "--recipe"
        if "--status" not in arguments:  # that one asks Slurm; test_pipeline.py does
            code, said = pipeline(arguments[1], *{*arguments[2:], "--dry-run"}, cwd=copy)
            assert code == 0, said


@pytest.mark.parametrize("script", ["data_collection/run.sh", "slurm/cpu.sh"])
def test_the_readmes_jobs_of_the_data_stage_name_commands_that_exist(script):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "slurm/README.md").read_text(), flags=re.DOTALL)
    lines = [line.split() for block in blocks for line in block.splitlines() if f" {script} " in line]
    assert lines
    for words in lines:
        entry = words[words.index(script) + 1]
        path = ROOT / ("data_collection" if script.startswith("data") else "") / entry
        flags = [word for word in words[words.index(script) + 2 :] if word.startswith("--")]
        text = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=True).stdout
        assert [flag for flag in flags if f"{flag} " not in text] == []


def test_a_model_with_a_base_of_its_own_waits_for_no_pretraining(copy):
    _, said = pipeline("slurm/recipes/internlm2_7b.yaml", "--dry-run", cwd=copy)
    lines = {line.split("--array=")[1].split()[0]: line for line in said.splitlines() if "7b-finetuning " in line}
    assert "afterok:<benchmark>:<pretraining>" in lines["0-1"] and "afterok:<benchmark>'" in lines["2"]
    evaluations = [line for line in said.splitlines() if "7b-evaluation " in line]
    assert ["aftercorr:<finetuning-1>" in line for line in evaluations] == [True, False]


def test_complete_stages_are_not_submitted_and_what_nobody_reads_any_more_may_be_gone(copy, written):
    recipe = written(
        f"name: half\n{INPUTS}".replace("data_collection/sample/web", "data/raw/web").replace(
            "mmedbench/sample/exams", "data/raw/exams"
        )
    )
    for record in ("data/half/MMedBench/manifest.json", "data/half/tokens/manifest.json"):
        (copy / record).parent.mkdir(parents=True)
        (copy / record).write_text("{}")
    code, said = pipeline(recipe, "--dry-run", cwd=copy)
    states = {line.split()[0]: line for line in said.splitlines() if "  " in line and not line.startswith("$")}
    assert code == 0 and "complete" in states["tokens"] and "not needed any more" in states["corpus"]
    lines = [line for line in said.splitlines() if line.startswith("$ ")]
    assert [line.split("--job-name=half-")[1].split()[0] for line in lines] == [
        "pretraining",
        "finetuning",
        "evaluation",
        "leaderboard",
    ]
    assert "--dependency" not in lines[0]


SQUEUE = "#!/bin/sh\nexit 0\n"
SACCT = """#!/bin/sh
echo '71_0|COMPLETED|2026-01-01T00:00:00|2026-01-01T01:00:00|billing=8,cpu=8,gres/gpu=8,mem=10G,node=1'
echo '71_1|PREEMPTED|2026-01-01T00:00:00|2026-01-01T00:30:00|billing=8,cpu=8,gres/gpu=8,mem=10G,node=1'
echo '71_1|FAILED|2026-01-01T01:00:00|2026-01-01T02:00:00|billing=8,cpu=8,gres/gpu=8,mem=10G,node=1'
echo '71_[2-3]|PENDING|Unknown|Unknown|'
"""


def test_cost_and_state_come_from_accounting_else_from_the_logs(copy, written):
    recipe = written(f"name: cost\n{INPUTS}finetuning: {{models: {{a: {{}}, b: {{}}}}}}\n")
    work, logs = copy / "results/cost/pipeline", copy / "logs/cost"
    work.mkdir(parents=True)
    logs.mkdir(parents=True)
    tuned = {
        "job": "71",
        "step": "finetuning",
        "indexes": {"0": "finetuning/a", "1": "finetuning/b"},
        "nodes": 1,
        "gpus": 8,
        "commands": {"finetuning/a": [], "finetuning/b": []},
        "log": "logs/cost/finetuning-%A_%a.out",
    }
    pretrained = {
        "job": "70",
        "step": "pretraining",
        "indexes": {"": "pretraining"},
        "nodes": 2,
        "gpus": 16,
        "commands": {"pretraining": []},
        "log": "logs/cost/pretraining-%j.out",
    }
    (work / "jobs.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in (pretrained, tuned)))
    (logs / "pretraining-70.out").write_text(
        "start 2026-01-01T00:00:00Z  job 70  restart 0\nend 2026-01-01T00:15:00Z  queued again  seconds 900\n"
        "start 2026-01-01T01:00:00Z  job 70  restart 1\n"  # its node was lost
        "start 2026-01-01T02:00:00Z  job 70  restart 2\nloss is not a number\nend 2026-01-01T02:45:00Z  exit code 1\n"
    )
    tools = copy / "tools"
    tools.mkdir()
    for name, text in {"squeue": SQUEUE, "sacct": SACCT, "scontrol": "#!/bin/sh\nexit 1\n"}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    code, said = pipeline(recipe, "--status", cwd=copy, path=path)
    states = {line.split()[0]: line for line in said.splitlines() if line.startswith(("pre", "fine"))}
    assert code == 0 and "failed: FAILED" in said
    assert "pretraining: loss is not a number" in said and "logs/cost/finetuning-71_1.out" in states["finetuning/b"]
    code, said = pipeline(recipe, "--cost", cwd=copy, path=path)
    steps = json.loads((copy / "results/cost/run.json").read_text())["steps"]
    assert steps["finetuning"] == {
        "jobs": ["71"],
        "runs": 3,
        "wall_seconds": 7200.0,
        "job_seconds": 9000.0,
        "gpu_hours": 20.0,
        "runs_cut_off_and_not_counted": 0,
        "source": ["sacct"],
    }
    assert steps["pretraining"]["source"] == ["log"] and steps["pretraining"]["wall_seconds"] == 3600.0
    assert (steps["pretraining"]["gpu_hours"], steps["pretraining"]["runs_cut_off_and_not_counted"]) == (16.0, 1)


SACCT_ODD = """\
echo '7|CANCELLED by 0|None|Unknown|'
echo '6_0|COMPLETED|2026-01-01T00:00:00|2026-01-01T01:00:00|'
echo '6_1|COMPLETED|2026-01-01T00:00:00|2026-01-01T01:00:00|'
echo '5_0|COMPLETED|2026-01-01T02:00:00|2026-01-01T03:00:00|'
echo '5_1|COMPLETED|2026-01-01T02:00:00|2026-01-01T03:00:00|'
"""


def test_what_slurm_has_of_a_run_is_told_where_jobs_were_lost_or_never_began(copy, written):
    recipe = written(f"name: odd\n{INPUTS}duplicates: {{shards: 2}}\n")
    work, tools = copy / "results/odd/pipeline", copy / "odd"
    for folder in (work, tools):
        folder.mkdir(parents=True)
    squeue = "".join(
        f"echo '{job}|N/A|odd-{step}|PENDING|None|0:00|1:00||{copy}'\n" for job, step in ((8, "filter"), (9, "tokens"))
    )
    for name, text in {"squeue": squeue, "sacct": SACCT_ODD, "scontrol": ""}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}")
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    code, said = pipeline(recipe, "--status", cwd=copy, path=path)
    assert code == 2 and "job 8 (odd-filter), job 9 (odd-tokens); scancel 8 9, and ask again" in said, said

    (tools / "squeue").write_text(SQUEUE)
    job = {
        "job": "7",
        "step": "filter",
        "indexes": {"": "filter"},
        "nodes": 1,
        "gpus": 0,
        "log": "logs/odd/7.out",
        "commands": {"filter": []},
    }
    for last, message in (
        (b"", "failed: CANCELLED before it began"),
        (b"[7]\n", "jobs.jsonl:2: no line of a job"),
        (b"\xff", "jobs.jsonl:2: no line of a job"),
    ):
        (work / "jobs.jsonl").write_bytes(json.dumps(job).encode() + b"\n" + last)
        assert message in pipeline(recipe, "--status", cwd=copy, path=path)[1]

    twice = [
        job | {"job": number, "step": step, "indexes": {"0": step, "1": step}, "commands": {step: []}}
        for number, step in (("6", "signatures"), ("5", "duplicates"))
    ]
    (work / "jobs.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in twice))
    said = pipeline(recipe, "--status", cwd=copy, path=path)[1]
    states = {line.split()[0]: line for line in said.split("\n\n")[0].splitlines()}
    assert states["signatures"].split()[1] == "done" and "ended without data/odd" in states["duplicates"], said
