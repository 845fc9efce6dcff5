"""The whole run on a real Slurm: by one command, after failures, after bad input; and the arrays of the data stage.

Jobs that need not run are held, so that what is in the queue can be looked at.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
# The sample, cut down to what shows that a stage has run.
QUICK = """\
name: quick
inputs: {pdfs: pdfs, web: data_collection/sample/web, exams: mmedbench/sample/exams}
ocr: {shards: 2, cpus: 1, time: 10}
filter: {shards: 2, cpus: 1, time: 10}
duplicates: {shards: 2, cpus: 1, time: 10}
contamination: {shards: 2, cpus: 1, time: 10}
corpus: {cpus: 1, time: 10}
benchmark: {cpus: 1, time: 10}
tokenizer: {cpus: 1, time: 10, flags: {vocab-size: 1000}}
tokens: {cpus: 1, time: 10}
pretraining:
  gpus: 0
  time: 30
  flags: {recipe: pretrain/recipes/tiny.yaml, steps: 2, global-batch-size: 4, validation-documents: 1}
finetuning:
  gpus: 2
  time: 30
  flags: {recipe: finetune/recipes/tiny.yaml, epochs: 1, limit: 2, max-length: 256}
  models:
    all: {}
    en: {languages: [en]}
evaluation: {gpus: 1, time: 30, flags: {limit: 1}}
leaderboard: {cpus: 1, time: 10, flags: {machinery-check: true}}
"""
# Nothing of this runs: the first stages are held, the others wait for them.
HELD = """\
name: held
inputs: {web: data_collection/sample/web, exams: mmedbench/sample/exams, tokenizer: none}
filter: {shards: 2, sbatch: [--hold]}
benchmark: {sbatch: [--hold]}
"""


@pytest.fixture
def ask(cluster, project):
    """ask("recipe's text", "--status"): pipeline.sh in the copy of the project; (exit code, all it says)."""

    def asked(recipe: str, *arguments: str, **environment: str) -> tuple[int, str]:
        (project / "run.yaml").write_text(recipe)
        # One CPU process a job in place of the pretended GPUs, and no check of the nodes.
        few = {"RANKS_PER_NODE": "1", "NODE_CHECK": "0", "OMP_NUM_THREADS": "1"} | environment
        done = cluster.run("bash", "slurm/pipeline.sh", "--recipe", "run.yaml", *arguments, cwd=project, **few)
        return done.returncode, done.stdout + done.stderr

    yield asked
    for name in ("data", "results", "checkpoints", "logs"):
        for folder in (project / name).glob("held*"):
            shutil.rmtree(folder)


def submitted(project: Path, name: str) -> list[dict]:
    """The lines of jobs.jsonl."""
    path = project / f"results/{name}/pipeline/jobs.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states(said: str) -> dict[str, str]:
    """{part: its line} of --status."""
    return {line.split()[0]: line for line in said.split("\n\n")[0].splitlines()[1:]}


def test_the_whole_run_goes_through_by_one_command_and_again_after_a_job_failed(cluster, project, ask):
    (project / "pdfs").mkdir()
    for name in ("en_mixed.pdf", "broken.pdf"):  # one that cannot be read: the stage ends with 3, the run continues
        shutil.copy(project / "data_collection/sample/pdfs" / name, project / "pdfs")
    (project / "checkpoints").mkdir()
    (project / "checkpoints/quick").write_text("in the way")
    code, said = ask(QUICK)
    assert code == 0 and "leaderboard: job " in said, said
    first = submitted(project, "quick")
    nodes = ",".join(cluster.node_states())  # on a busy machine a job could fail before the second question is answered
    cluster.run("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")
    code, said = ask(QUICK)
    cluster.run("scontrol", "update", f"nodename={nodes}", "state=resume")
    assert code == 0 and "all that is missing is in the queue" in said and submitted(project, "quick") == first
    cluster.until(lambda: not cluster.queue(), 400, "end of the first run", first[9]["job"])

    code, said = ask(QUICK, "--status")
    now = states(said)
    done = ["ocr", "filter", "benchmark", "signatures", "duplicates", "contamination", "corpus", "tokenizer", "tokens"]
    assert [key for key, line in now.items() if " done " in line] == done, said
    assert "failed: FAILED" in now["pretraining"] and "failed: CANCELLED" in now["leaderboard"], said
    assert "checkpoints/quick" in said.split("\n\n")[1], "the failed job's last words"

    made = {path: path.stat().st_mtime_ns for path in (project / "data/quick").rglob("*") if path.is_file()}
    (project / "checkpoints/quick").unlink()
    code, said = ask(QUICK)
    again = submitted(project, "quick")[len(first) :]
    assert [entry["step"] for entry in again] == ["pretraining", "finetuning", "evaluation", "leaderboard"], said
    cluster.until(lambda: not cluster.queue(), 400, "end of the second run", again[0]["job"])
    code, said = ask(QUICK, "--status")
    assert all(" done " in line for line in states(said).values()), said
    assert made == {path: path.stat().st_mtime_ns for path in made}, "what was complete was made again"
    page = (project / "results/quick/leaderboard.md").read_text()
    assert "all (quick)" in page and "en (quick)" in page
    record = json.loads((project / "checkpoints/quick/finetuned/en/run.json").read_text())
    assert record["arguments"]["languages"] == ["en"]

    code, said = ask(QUICK)
    assert code == 0 and "nothing to submit: all is complete" in said
    run = json.loads((project / "results/quick/run.json").read_text())
    assert set(run["steps"]) == {*done, "pretraining", "finetuning", "evaluation", "leaderboard"}
    tuning = run["steps"]["finetuning"]
    assert tuning["runs"] == 2 and tuning["wall_seconds"] <= tuning["job_seconds"]
    assert tuning["gpu_hours"] == pytest.approx(2 * tuning["job_seconds"] / 3600, abs=1e-4)
    assert run["total"]["gpu_hours"] > 0 == run["steps"]["corpus"]["gpu_hours"]

    code, said = ask(QUICK.replace("vocab-size: 1000", "vocab-size: 900"))
    assert code == 0, "what is complete and read by no stage that is to run needs no look"
    (project / "data/quick/tokens/manifest.json").unlink()
    (project / "checkpoints/quick/pretrained/run.json").unlink()
    shutil.rmtree(project / "results/quick/evaluation/en")
    shutil.rmtree(project / "checkpoints/quick/finetuned/en")
    code, said = ask(QUICK.replace("vocab-size: 1000", "vocab-size: 900"))
    assert code == 2 and "tokenizer is complete, but was made by another command" in said, said
    assert not cluster.queue()


def test_a_step_that_is_cancelled_ends_those_behind_it(cluster, project, ask):
    assert ask(HELD)[0] == 0
    jobs = {entry["step"]: entry["job"] for entry in submitted(project, "held")}
    assert "waits for" in states(ask(HELD, "--status")[1])["filter"]
    cluster.run("scancel", jobs["filter"])
    left = ["held-benchmark"]
    cluster.until(lambda: [line.split()[1] for line in cluster.queue()] == left, 60, "end of those behind it")
    _, said = ask(HELD, "--status")
    assert "failed: CANCELLED" in states(said)["filter"] and "failed: CANCELLED" in states(said)["tokens"], said


def test_jobs_that_wait_for_a_cancelled_one_are_submitted_again_with_it(cluster, project, ask):
    recipe = HELD + "finetuning: {sbatch: [--hold]}\n"  # of held jobs Slurm does not look at what they wait for
    assert ask(recipe)[0] == 0
    first = {entry["step"]: entry["job"] for entry in submitted(project, "held")}
    assert len(cluster.queue()) == len(first)
    cluster.run("scancel", first["benchmark"])
    code, said = ask(recipe)
    assert code == 0, said
    newest = {entry["step"]: entry["job"] for entry in submitted(project, "held")}
    assert {step for step in newest if newest[step] != first[step]} == {
        "benchmark",
        "finetuning",
        "evaluation",
        "leaderboard",
    }
    cluster.until(lambda: len(cluster.queue()) == len(newest), 30, "one job a stage")
    assert sorted(line.split()[1] for line in cluster.queue()) == sorted(f"held-{step}" for step in newest)


def test_an_array_with_a_lost_task_is_submitted_again_behind_the_tasks_that_still_run(cluster, project, ask):
    assert ask(HELD)[0] == 0
    array = submitted(project, "held")[0]["job"]
    cluster.run("scancel", f"{array}_1")
    cluster.until(lambda: sum("held-filter" in line for line in cluster.queue()) == 1, 20, "one task")
    assert "1 lost" in states(ask(HELD, "--status")[1])["filter"]
    code, said = ask(HELD)
    assert code == 0, said
    new = next(entry for entry in reversed(submitted(project, "held")) if entry.get("step") == "filter")
    assert new["job"] != array and f"--dependency=afterany:{array}" in new["sbatch"]
    corpus = next(entry for entry in reversed(submitted(project, "held")) if entry.get("step") == "corpus")
    assert f"--dependency=afterok:{new['job']}" in corpus["sbatch"]


@pytest.mark.parametrize("where", ["filter", "tokens"])
def test_a_partition_that_does_not_exist_is_told_and_leaves_no_job(cluster, project, ask, where):
    recipe = (
        HELD + f"{where}: {{sbatch: [--partition=nowhere]}}\n"
        if where != "filter"
        else HELD.replace("[--hold]", "[--partition=nowhere]", 1)
    )
    code, said = ask(recipe, "--dry-run")
    assert code == 2 and f"{where} would be refused" in said and "nvalid partition" in said, said
    code, said = ask(recipe)
    assert code == 2 and f"{where} could not be submitted" in said and "nvalid partition" in said, said
    cluster.until(lambda: not cluster.queue(), 20, "empty queue")
    assert "not submitted" in states(ask(recipe, "--status")[1])["filter"]


def test_a_typo_in_the_sites_settings_is_told_and_leaves_no_job(cluster, project, ask):
    (project / "typo.sh").write_text("#!/usr/bin/env bash\npartitoin=main\n")
    code, said = ask(HELD, SITE_FILE="typo.sh")
    assert code == 2 and "typo.sh: unknown setting partitoin" in said
    assert not cluster.queue() and not submitted(project, "held")
    (project / "site.sh").write_text("#!/usr/bin/env bash\npartition=nowhere\n")
    code, said = ask(HELD, SITE_FILE="site.sh")
    assert code == 2 and "nvalid partition" in said and "--partition=nowhere" in said
    assert not cluster.queue()


def test_a_full_disk_is_told_and_leaves_no_job(cluster, project, ask):
    work = project / "results/held"
    work.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", work], check=True)
    try:
        (work / "pipeline").mkdir()
        with pytest.raises(OSError), open(work / "full", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        code, said = ask(HELD)
        assert code == 1 and "No space left on device" in said and "Traceback" not in said, said
        cluster.until(lambda: not cluster.queue(), 20, "empty queue")
    finally:
        subprocess.run(["umount", work], check=True)


def test_a_pipeline_that_is_terminated_while_it_submits_leaves_no_job(cluster, project, ask):
    (project / "run.yaml").write_text(HELD)
    slow = project / "slow"
    slow.mkdir()
    (slow / "sbatch").write_text(f'#!/bin/sh\nsleep 0.5\nexec {shutil.which("sbatch")} "$@"\n')
    (slow / "sbatch").chmod(0o755)
    environment = cluster.environment | {"PATH": f"{slow}:{cluster.environment['PATH']}"}
    process = subprocess.Popen(
        ["bash", "slurm/pipeline.sh", "--recipe", "run.yaml"],
        cwd=project,
        text=True,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    cluster.until(lambda: len(submitted(project, "held")) >= 2, 60, "two jobs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM, process.stdout.read()
    cluster.until(lambda: not cluster.queue(), 20, "empty queue")
    assert "withdrawn" in submitted(project, "held")[-1]


def test_a_second_pipeline_of_the_same_run_is_kept_out_and_other_settings_are_refused(cluster, project, ask):
    assert ask(HELD.replace("name: held", "name: held-too"))[0] == 0
    assert ask(HELD)[0] == 0, "a run whose name begins alike is another one"
    code, said = ask(HELD + "tokens: {flags: {encoder: library}}\n")
    assert code == 2 and "tokens is in the queue with other settings" in said
    locks = "import fcntl, time; file = open('results/held/pipeline/lock', 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
    locks += "print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", locks], cwd=project, stdout=subprocess.PIPE) as other:
        other.stdout.read(1)
        code, said = ask(HELD)
        other.kill()
    assert code == 2 and "another pipeline.sh is submitting this run" in said


def test_a_full_size_recipe_would_be_taken_by_a_cluster_of_eight_nodes(make_cluster, project):
    cluster = make_cluster(nodes=8)
    for name in ("books", "web", "websites", "existing", "exams"):
        (project / "data/raw" / name).mkdir(parents=True)
    words = ("bash", "slurm/pipeline.sh", "--recipe", "slurm/recipes/internlm2_7b.yaml", "--dry-run")
    done = cluster.run(*words, cwd=project)
    assert done.returncode == 0 and "Slurm would take these jobs" in done.stdout, done.stdout + done.stderr
    assert not cluster.queue()


# The arrays of the data stage


@pytest.fixture(scope="module")
def web(project) -> Path:
    """Eight files of web text, each some seconds of the filter's work: the sample again and again under other ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = project / "web"
    folder.mkdir()
    for number in range(8):
        language = ("en", "fr", "es", "ru")[number % 4]
        texts = pq.read_table(project / f"data_collection/sample/web/{language}.parquet").column("text").to_pylist()
        many = [f"{text}\n\n{number} {i}" for i in range(60) for text in texts]
        (folder / f"{number}").mkdir()
        pq.write_table(pa.table({"text": many}), folder / f"{number}" / f"{language}.parquet")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """{file: sha256} of all but the records, which carry the time and the command."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def test_an_array_of_eight_filter_shards_with_two_killed_gives_the_same_corpus(cluster, project, web):
    job = ("--cpus-per-task=1", "data_collection/run.sh", "filter.py", "web", "--out", "data/array")
    array = cluster.submit("--array=0-7", *job, cwd=project, REQUEUE_SECONDS="10")

    def is_at_work(task: int) -> bool:
        facts = next((f for f in cluster.jobs(f"{array}_{task}")), {})
        log = Path(facts.get("StdOut", "")) if facts.get("JobState") == "RUNNING" else None
        return bool(log and log.is_file() and "command: " in log.read_text())

    for task in (2, 5):
        cluster.until(lambda task=task: is_at_work(task), 90, f"task {task} at work", array)
        cluster.run("scancel", "--signal=KILL", "--full", f"{array}_{task}")
    cluster.until(lambda: is_at_work(6), 90, "task 6 at work", array)
    cluster.run("scancel", "--signal=USR1", "--batch", f"{array}_6")  # its time is nearly up
    cluster.wait(array)
    ended = {facts["ArrayTaskId"]: facts for facts in cluster.jobs(array)}
    assert {task for task, facts in ended.items() if facts["JobState"] != "COMPLETED"} == {"2", "5"}, ended
    assert ended["6"]["Restarts"] == "1"
    assert not (project / "data/array/manifest.json").exists()
    rest = cluster.submit("--array=2,5", *job, cwd=project, SHARDS="8")
    cluster.wait(rest)
    assert (project / "data/array/manifest.json").exists(), cluster.log(rest)

    python = project / ".venv/bin/python"
    subprocess.run([python, "data_collection/filter.py", "web", "--out", "data/whole"], cwd=project, check=True)
    for name in ("array", "whole"):
        subprocess.run(
            [python, "data_collection/build_corpus.py", f"data/{name}", "--out", f"data/MMedC_{name}"],
            cwd=project,
            check=True,
        )
    assert contents(project / "data/MMedC_array") == contents(project / "data/MMedC_whole") != {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--array=0,2", "data_collection/run.sh", "filter.py", "web"], "task 0 is not a share of 2"),
        (["--array=0-1", "data_collection/run.sh", "check_corpus.py", "x"], "check_corpus.py has no --shard"),
        (["data_collection/run.sh", "filtre.py"], "'filtre.py' is not a command of data_collection/"),
        (["slurm/cpu.sh", "mmedbench/prepare.py", "x", "then"], "no command is behind the last 'then'"),
        (["slurm/cpu.sh", "--help"], "'--help' is not a command"),
        (["slurm/cpu.sh", "mmedbench/prepare.py", "nowhere", "then", "mmedbench/leaderboard.py", "render"], "nowhere"),
    ],
)
def test_a_data_or_cpu_job_that_cannot_be_meant_ends_at_once_with_a_sentence(cluster, project, words, message):
    job = cluster.submit(*words, cwd=project)
    facts = cluster.wait(job, 60)
    assert facts["ExitCode"] == "2:0" and message in cluster.log(job)
    assert "render" not in cluster.log(job)


def test_a_cpu_job_whose_time_is_nearly_up_is_queued_again_but_not_for_ever(cluster, project):
    (project / "work").mkdir()
    (project / "work/slow.py").write_text(
        "import sys, time\nprint('at work', flush=True)\ntime.sleep(float(sys.argv[1]))\n"
    )
    job = cluster.submit(
        "slurm/cpu.sh",
        "work/slow.py",
        "0",
        "then",
        "work/slow.py",
        "60",
        cwd=project,
        MAX_RESTARTS="1",
        REQUEUE_SECONDS="10",
    )
    for run in (1, 2):
        cluster.until(lambda run=run: cluster.log(job).count("at work") == 2 * run, 60, f"run {run} at work", job)
        cluster.run("scancel", "--signal=USR1", "--batch", job)
    facts = cluster.wait(job, 60)
    assert facts["Restarts"] == "1" and facts["JobState"] == "FAILED"
    assert "MAX_RESTARTS is 1; submit the same command to go on" in cluster.log(job)
