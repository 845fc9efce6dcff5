"""The job scripts on a real Slurm: over two nodes, preempted, a node lost or cut off, set up wrongly, refused."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL_JOBS = ["pretrain/run.sh", "finetune/run.sh", "inference/run.sh"]
MODEL = """
model_type: llama
hidden_size: 32
intermediate_size: 48
num_hidden_layers: 2
num_attention_heads: 4
max_position_embeddings: 64
attention_dropout: 0.1
"""
WORDS = ("fever", "cough", "heart", "liver", "the", "of", "patient", "dose", "pain", "with", "blood", "sugar")


@pytest.mark.parametrize("script", MODEL_JOBS)
def test_job_scripts_source_their_set_up(script):
    text = (ROOT / script).read_text("utf-8")
    assert text.count('\nsource slurm/job_setup.sh "$@"\n') == 1
    defined = re.findall(r"^(\w+)\(\) \{", (ROOT / "slurm/job_setup.sh").read_text("utf-8"), re.M)
    assert len(defined) == 5 and not set(defined) & set(re.findall(r"^(\w+)\(\) \{", text, re.M))


def test_training_jobs_are_launched_alike():
    launch = [
        (ROOT / script).read_text("utf-8").split("# A torchrun that is asked to stop")[1]
        for script in ("pretrain/run.sh", "finetune/run.sh")
    ]
    assert launch[0] == launch[1]


def write_corpus(folder: Path) -> None:
    generator, shard = random.Random(0), folder / "en/web/part-00000.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [" ".join(generator.choices(WORDS, k=generator.randint(5, 60))) for _ in range(200)]
    shard.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": [f"{i:016x}" for i in range(len(texts))], "text": texts}), shard)
    facts = {"bytes": shard.stat().st_size, "sha256": hashlib.sha256(shard.read_bytes()).hexdigest()}
    manifest = {"format_version": 1, "files": {"en/web/part-00000.parquet": facts}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def work(project) -> Path:
    """The copy of the project with a tiny token store and the description of a two-layer model."""
    write_corpus(project / "data/MMedC")
    (project / "data/two_layers.yaml").write_text(MODEL)
    for command in (
        "train_tokenizer.py data/MMedC --vocab-size 400 --out data/tokenizer",
        "tokenize_corpus.py data/MMedC --tokenizer data/tokenizer --out data/tokens",
    ):
        done = subprocess.run(
            [".venv/bin/python", *f"pretrain/{command}".split()],
            cwd=project,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return project


class Job:
    """A pretraining job of the tiny model on the cluster's CPUs."""

    def __init__(self, cluster, work: Path, out: str, *options: str, steps: int = 300, **environment: str):
        self.cluster, self.work, self.out = cluster, work, work / "checkpoints" / out
        self.number = cluster.submit(
            "--gres=none",
            *options,
            "pretrain/run.sh",
            "data/tokens",
            "--init-config",
            "data/two_layers.yaml",
            "--out",
            f"checkpoints/{out}",
            "--steps",
            str(steps),
            "--save-every",
            "20",
            "--keep",
            "50",
            "--log-every",
            "20",
            "--sequence-length",
            "32",
            "--global-batch-size",
            "8",
            "--micro-batch-size",
            "2",
            "--learning-rate",
            "3e-3",
            cwd=work,
            **environment,
        )

    def until_step(self, step: int) -> None:
        done = self.out / f"training/checkpoints/step-{step:08d}/complete.json"
        self.until(lambda: done.exists() or self.has_ended(), f"checkpoint of step {step}")
        assert done.exists(), self.log()

    def until(self, condition, what: str) -> None:
        self.cluster.until(condition, 240, what, self.number)

    def has_ended(self) -> bool:
        return self.facts()["JobState"] not in ("PENDING", "RUNNING", "COMPLETING")

    def until_restart(self, count: int) -> None:
        self.until(
            lambda: self.facts()["Restarts"] == str(count) and self.facts()["JobState"] == "RUNNING",
            f"start {count} of the job",
        )

    def facts(self) -> dict:
        return self.cluster.job(self.number)

    def log(self) -> str:
        return self.cluster.log(self.number)

    def end(self) -> str:
        """The job's state at its end."""
        return self.cluster.wait(self.number, 300)["JobState"]

    def weights(self) -> str:
        return hashlib.sha256((self.out / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(shared_cluster, work) -> Job:
    """Two nodes, from the first step to the last."""
    job = Job(shared_cluster, work, "undisturbed", "--nodes=2")
    assert job.end() == "COMPLETED", job.log()
    return job


@pytest.mark.slow
def test_a_job_runs_over_two_nodes_and_says_where_and_what(undisturbed):
    log = undisturbed.log()
    assert "nodes 2 x 1 ranks  host node1" in log and "2 ranks on CPU" in log
    assert "nodes: node[1-2]" in log and re.search(r"Python 3\.\d+\.\d+, torch 2\.", log)
    assert re.findall(r"^node (node\d): 0 GPUs .*products right", log, flags=re.MULTILINE) == ["node1", "node2"]
    assert "all-reduce of 64 MiB over 2 nodes: right" in log
    assert "command: .venv/bin/python -m torch.distributed.run --nnodes=2" in log
    assert re.search(r"^end \S+  exit code 0  seconds \d+  GPU-hours 0\.000$", log, flags=re.MULTILINE)


@pytest.mark.slow
def test_preempted_twice_two_nodes_end_with_the_weights_of_the_undisturbed_run(undisturbed, cluster, work):
    job = Job(cluster, work, "preempted", "--nodes=2", NODE_CHECK="0")
    job.until_step(40)
    cluster.run("scancel", "--signal=USR1", "--batch", job.number)  # as when time is nearly up
    job.until_restart(1)
    assert "asking Slurm to queue job" in job.log()
    job.until(lambda: job.log().count("resumed from the checkpoint at step") == 1, "resumed run")
    urgent = cluster.submit("--partition=urgent", "--nodes=3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    job.until_restart(2)
    assert cluster.wait(urgent)["JobState"] == "COMPLETED"
    assert job.end() == "COMPLETED", job.log()
    assert job.log().count("resumed from the checkpoint at step") == 2
    assert job.weights() == undisturbed.weights()


@pytest.mark.slow
def test_a_lost_node_is_replaced_and_the_job_ends_right(undisturbed, make_cluster, work):
    # With Slurm's own patience, the ranks on the other node fail long before Slurm holds this one for lost.
    patient = make_cluster(nodes=3, slurmd_timeout=300)
    job = Job(patient, work, "lost", "--nodes=2", NODE_CHECK="0")
    job.until_step(40)
    assert job.facts()["NodeList"] == "node[1-2]"
    patient.kill_node("node2")
    job.until(lambda: job.facts()["Restarts"] == "1", "request to be queued again")
    assert "because node2 is lost: asking Slurm to queue" in job.log()
    patient.run("scontrol", "hold", job.number)
    patient.run("scontrol", "update", "nodename=node2", "state=down", "reason=lost")  # instead of 300 s
    job.until(lambda: job.facts()["JobState"] == "PENDING", "end of the first start")
    time.sleep(3)  # a start in the second in which a node ended the one before has a credential that was just revoked
    patient.run("scontrol", "release", job.number)
    job.until_restart(1)
    assert job.facts()["NodeList"] == "node[1,3]"
    assert job.end() == "COMPLETED", job.log()
    assert "resumed from the checkpoint" in job.log() and job.weights() == undisturbed.weights()


@pytest.mark.slow
def test_of_two_copies_of_a_run_one_writes_also_when_the_other_is_on_a_node_that_was_cut_off(cluster, work):
    job = Job(cluster, work, "orphan", steps=5000, NODE_CHECK="0")
    job.until_step(40)
    rival = Job(cluster, work, "orphan", steps=5000, NODE_CHECK="0")
    assert rival.end() == "FAILED" and f"Slurm job {job.number}" in rival.log(), rival.log()
    assert "another run is writing to checkpoints/orphan" in rival.log()
    node = job.facts()["NodeList"]
    daemon = int(cluster.on_node(node, "pgrep", "-ox", "slurmd").stdout)
    cluster.on_node(node, "kill", "-STOP", daemon)  # Slurm contains the node for lost, and the ranks go on
    copies = ["pgrep", "-f", "^[^ ]*python -u pretrain/train_lm.py"]
    job.until(lambda: "command: " in job.log().partition("restart 1")[2], "second copy")
    assert job.facts()["NodeList"] != node and cluster.on_node(node, *copies).stdout, "the first copy continues"
    job.until(lambda: "resumed from" in job.log(), "work of the second copy")
    assert "taking over checkpoints/orphan from an earlier start of this job" in job.log()
    job.until(lambda: not cluster.on_node(node, *copies).stdout, "end of the first copy")
    resumed = int(re.search(r"resumed from the checkpoint at step (\d+)", job.log()).group(1))
    job.until_step(resumed + 60)
    assert job.facts()["JobState"] == "RUNNING" and job.facts()["Restarts"] == "1"
    steps = [json.loads(line)["step"] for line in (job.out / "training/metrics.jsonl").read_text().splitlines()[:-1]]
    assert steps == list(range(1, len(steps) + 1))
    cluster.run("scancel", job.number)
    cluster.on_node(node, "kill", "-CONT", daemon)


@pytest.mark.slow
def test_wrong_set_ups_end_in_a_sentence_and_leave_no_job(cluster, work, tmp_path):
    (tmp_path / "logs").mkdir()
    warned = tmp_path / "python"  # Slurm's warning comes while the script still looks around
    warned.write_text(
        f'#!/bin/bash\nscancel --signal=USR1 --batch "$SLURM_JOB_ID"\nexec {work}/.venv/bin/python "$@"\n'
    )
    warned.chmod(0o755)
    free = cluster.on_node("node1", "df", "-Pk", work).stdout.split()[-3]
    cases = [  # folder, options, environment, exit code, sentence
        (tmp_path, [], {}, 2, f"{tmp_path} is not the project's root (no pretrain/train_lm.py)"),
        (work, [], {"PYTHON": "/nowhere/python"}, 2, "no Python at /nowhere/python that has the project's packages"),
        (work, [], {"PYTHON": "/bin/true", "SITE_FILE": "nowhere.sh"}, 2, "nowhere.sh: there is no such file"),
        (work, ["--gres=gpu:2"], {}, 2, "node node1 failed: sees 0 of 2 GPUs"),
        (work, [], {"MIN_FREE_GIB": str(int(free) // 2**20 + 9)}, 2, "make room, or give --out on another disk"),
        (work, [], {"MASTER_PORT": str(cluster.port), "NODE_CHECK": "0"}, 2, f"port {cluster.port} cannot be used"),
        (work, [], {"RANKS_PER_NODE": "two"}, 2, "RANKS_PER_NODE is two"),
        (work, [], {"PYTHON": str(warned)}, 1, "came before the work began"),
    ]
    jobs = [
        cluster.submit(
            "--gres=none",
            "--nodelist=node1",
            *options,
            ROOT / "pretrain/run.sh",
            "data/tokens",
            cwd=folder,
            **environment,
        )
        for folder, options, environment, _, _ in cases
    ]
    for job, (_, _, _, code, sentence) in zip(jobs, cases, strict=True):
        assert cluster.wait(job)["ExitCode"] == f"{code}:0", cluster.log(job)
        assert sentence in cluster.log(job), cluster.log(job)
    assert cluster.queue() == []


@pytest.mark.slow
def test_a_node_that_fails_the_check_is_named_and_can_be_left_out(cluster, work):
    hidden = work / "checkpoints/hidden"
    hidden.mkdir(parents=True)
    cluster.on_node("node2", "mount", "-t", "tmpfs", "none", hidden)  # another disk than the other nodes'
    try:
        failed = Job(cluster, work, "hidden/run", "--nodes=2", "--exclude=node3")
        assert failed.end() == "FAILED"
        log = failed.log()
        assert "node node2 failed: does not see" in log and "--exclude=node2" in log, log
        assert not (hidden / "run").exists() and not list(hidden.iterdir())
        again = Job(cluster, work, "hidden/run", "--nodes=2", "--exclude=node2", steps=20)
        assert again.end() == "COMPLETED" and again.facts()["NodeList"] == "node[1,3]", again.log()
    finally:
        cluster.on_node("node2", "umount", hidden)


@pytest.mark.slow
def test_a_full_disk_ends_the_job_with_a_sentence_and_the_checkpoints_whole(cluster, work):
    small = work / "checkpoints/small"
    small.mkdir(parents=True)
    cluster.on_node("node1", "mount", "-t", "tmpfs", "-o", "size=2500k", "none", small)
    try:
        job = Job(cluster, work, "small/run", "--nodelist=node1", MIN_FREE_GIB="0", NODE_CHECK="0")
        assert job.end() == "FAILED" and job.facts()["Restarts"] == "0"
        assert "could not be written and counts for nothing; those from before are whole" in job.log()
        assert "is not queued again; run the same command to resume from the last checkpoint" in job.log()
        saved = cluster.on_node("node1", "ls", small / "run/training/checkpoints").stdout.split()
        assert saved[0] == "step-00000020" and cluster.queue() == []
    finally:
        cluster.on_node("node1", "umount", small)


@pytest.mark.slow
def test_a_cancelled_step_and_a_job_that_fails_by_itself_are_not_queued_again(cluster, work):
    cancelled = Job(cluster, work, "cancelled", NODE_CHECK="0", steps=3000)
    own = Job(cluster, work, "own-reasons", "--nodes=2", NODE_CHECK="0", steps=3000)
    for job in (cancelled, own):
        job.until_step(20)
    cluster.run("scancel", f"{cancelled.number}.0")
    node = own.facts()["BatchHost"]
    rank = next(
        pid
        for pid in cluster.on_node(node, "pgrep", "-f", "train_lm.py").stdout.split()
        if b"own-reasons" in cluster.on_node(node, "cat", f"/proc/{pid}/cmdline").stdout.encode()
        and "LOCAL_RANK=0" in cluster.on_node(node, "cat", f"/proc/{pid}/environ").stdout
    )
    cluster.on_node(node, "kill", f"-{signal.SIGKILL.value}", rank)
    for job in (cancelled, own):
        assert job.end() == "FAILED" and job.facts()["Restarts"] == "0"
        assert "is not queued again; run the same command to resume from the last checkpoint" in job.log()
    assert cluster.queue() == []


@pytest.mark.slow
def test_a_job_is_queued_again_no_more_than_max_restarts_times(cluster, work):
    job = Job(cluster, work, "bounded", NODE_CHECK="0", steps=3000, MAX_RESTARTS="0")
    job.until_step(20)
    cluster.run("scancel", "--signal=USR1", "--batch", job.number)
    assert job.end() == "FAILED" and "is NOT queued again: it was 0 times, and MAX_RESTARTS is 0" in job.log()


@pytest.mark.slow
def test_site_settings_reach_sbatch_and_the_nodes(cluster, work, tmp_path):
    site = tmp_path / "site.sh"
    site.write_text(
        "partition=urgent\nsbatch_options=(--comment=ours)\ncontainer=(env INSIDE=yes)\nnetwork_interface=lo\n"
    )
    submit = ["bash", work / "slurm/submit.sh", "--parsable", "--gres=none", "pretrain/run.sh", "data/tokens"]
    (work / "logs").rename(work / "logs-before")  # submit.sh makes it
    done = cluster.run(*submit, "--help", cwd=tmp_path, SITE_FILE=str(site))
    assert done.returncode == 0, done.stderr
    facts = cluster.wait(done.stdout.strip())
    assert (facts["Partition"], facts["Comment"], facts["JobState"]) == ("urgent", "ours", "COMPLETED")
    assert "command: env INSIDE=yes .venv/bin/python -m torch.distributed.run" in cluster.log(done.stdout.strip())

    site.write_text("partition=nowhere\n")
    done = cluster.run(*submit, cwd=tmp_path, SITE_FILE=str(site))
    assert done.returncode == 1 and "invalid partition specified: nowhere" in done.stderr
    assert f"nothing was submitted; the site's settings ({site}) gave: --partition=nowhere" in done.stderr
    assert cluster.queue() == []


SITES = [
    ("partiton=gpu\n", "unknown setting partiton; the settings are: partition account"),
    ("modules=(cuda\n", "it stops with an error: "),
    ("account=$NOBODY_SET_THIS\n", "NOBODY_SET_THIS: unbound variable"),
    ("modul load cuda\n", "line 1: modul: command not found"),
    ("export SBATCH_PARTITION=gpu\n", "SBATCH_PARTITION: options of sbatch go into sbatch_options"),
    ("network_interface=ib77\n", "network_interface=ib77, but"),
    ("modules=(cuda/12)\n", "modules=(...), but"),
    ("container='apptainer exec'\n", "container is a list, each word by itself: container=(WORD WORD ...)"),
    ("modulez=()\n", "unknown setting modulez"),
    ("modules=()\nexit 3\n", "it stops with an error: exit code 3"),
    ("partition=gpu\r\n", "its lines end as on Windows"),
]


@pytest.mark.parametrize(("text", "sentence"), SITES, ids=[text.strip() for text, _ in SITES])
def test_a_typo_in_the_site_file_is_told(text, sentence, tmp_path):
    (tmp_path / "site.sh").write_text(text)
    clean = {key: value for key, value in os.environ.items() if "module" not in key.lower()}
    done = subprocess.run(
        ["bash", "pretrain/run.sh", "data/tokens"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=clean | {"SITE_FILE": str(tmp_path / "site.sh")},
        check=False,
    )
    assert done.returncode == 2 and f"{tmp_path}/site.sh: " in done.stderr and sentence in done.stderr


@pytest.mark.parametrize("script", [*MODEL_JOBS, "data_collection/run.sh filter.py", "slurm/cpu.sh x/prepare.py"])
def test_settings_that_are_no_number_are_told_before_the_work(script):
    for name in ("MAX_RESTARTS", "MIN_FREE_GIB", "MASTER_PORT") if script in MODEL_JOBS else ("MAX_RESTARTS",):
        for value in ("abc", "1.5", "08", "-1"):
            done = subprocess.run(
                ["bash", *script.split(), "--help"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                env=os.environ | {name: value},
                check=False,
            )
            message = f"{script.split()[0]}: {name} is {value}; it is a whole number, such as 12\n"
            assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


@pytest.mark.parametrize("script", MODEL_JOBS)
def test_an_out_below_a_folder_that_nothing_can_be_written_in_is_told(script):
    words = ["bash", script, "--dry-run", "--out", "/proc/self/new/folder"]
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"RANKS_PER_NODE": "1", "MIN_FREE_GIB": "0"},
        check=False,
    )
    assert done.returncode == 2 and "nothing can be written in /proc/" in done.stderr, done.stderr


def test_what_a_site_file_prints_is_no_output_of_sbatch(tmp_path):
    (tmp_path / "site.sh").write_text("echo welcome\nmodules=()\nexport HF_HOME=/x\ndeclare -xi COUNT=3\n")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 77\n")
    (tmp_path / "sbatch").chmod(0o755)
    ours = {"SITE_FILE": str(tmp_path / "site.sh"), "PATH": f"{tmp_path}:{os.environ['PATH']}", "container": "lxc"}
    done = subprocess.run(
        ["bash", "slurm/submit.sh", "--parsable", "pretrain/run.sh"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | ours,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "77\n" and "welcome" in done.stderr, done.stderr


def test_the_example_of_a_site_names_every_setting():
    known = re.search(r'site_known=" (.*) "', (ROOT / "slurm/read_site.sh").read_text()).group(1).split()
    example = re.findall(r"^(\w+)=", (ROOT / "slurm/site.example.sh").read_text(), flags=re.MULTILINE)
    assert sorted(example) == sorted(known)


@pytest.mark.slow
def test_slurm_accepts_every_job_script_on_eight_nodes_of_eight_gpus(make_cluster, work):
    large = make_cluster(nodes=8)
    scripts = [*MODEL_JOBS, "data_collection/run.sh", "slurm/cpu.sh"]
    for options, code in (([], 0), (["--array=0-3"], 0), (["--partition=nowhere"], 1)):
        for script in scripts:
            done = large.run("sbatch", "--test-only", *options, script, cwd=work)
            assert done.returncode == code, f"{script} {options}: {done.stderr}"
    for options, code in ((["--nodes=8", "--gres=gpu:8"], 0), (["--nodes=9"], 1), (["--gres=gpu:9"], 1)):
        for script in MODEL_JOBS:
            done = large.run("sbatch", "--test-only", *options, script, cwd=work)
            assert done.returncode == code, f"{script} {options}: {done.stderr}"
            assert code or ("node[1-8]" in done.stderr)
    assert large.queue() == []
