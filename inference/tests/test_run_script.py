"""inference/run.sh on a CPU: several processes answer as one does; killed, stopped, queued again, badly asked."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eval as evaluation
from run_record import read_json

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job_name(tmp_path):
    """A name for the job, whose logs under logs/ are removed again."""
    name = f"test-{os.getpid()}-{tmp_path.name[-20:]}"
    yield name
    for path in (ROOT / "logs").glob(f"{name}-*"):
        path.unlink()


@pytest.fixture(scope="module")
def many(test_folder, tmp_path_factory) -> Path:
    """A test set that takes some seconds."""
    data = tmp_path_factory.mktemp("many") / "MMedBench/Test"
    data.mkdir(parents=True)
    lines = (test_folder / "English.jsonl").read_text().splitlines()
    (data / "English.jsonl").write_text("\n".join(line.replace("?", f"? {i}", 1) for i in range(30) for line in lines))
    return data


def start(model, data, out, job_name: str, *more: str, **environment: str) -> subprocess.Popen:
    command = ["bash", "inference/run.sh", "--model", str(model), "--data", str(data), "--out", str(out), *more]
    own = {"PYTHON": sys.executable, "RANKS_PER_NODE": "2", "SLURM_JOB_NAME": job_name, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | own | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == code, output
    return output


def processes_with(*words: str) -> list[int]:
    """Processes that have all these words in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(path.parent.name))
    return found


def wait_for(condition, seconds: float = 240):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)
    return found


def test_bad_input_is_told_once_and_ends_with_2(tmp_path, test_folder, job_name):
    output = finish(start("nowhere/at/all", test_folder, tmp_path / "out", job_name), code=2)
    assert output.count("brings no prompt") == 1 and "exit code 2" in output and not (tmp_path / "out").exists()
    wrong = finish(start("x", test_folder, tmp_path / "out", job_name, RANKS_PER_NODE="two"), code=2)
    assert "RANKS_PER_NODE is two" in wrong


@pytest.mark.slow
def test_two_processes_end_with_what_one_says(checkpoint, test_folder, tmp_path, job_name):
    output = finish(start(checkpoint, test_folder, tmp_path / "two", job_name, "--batch-size", "4"))
    flags = ["--model", str(checkpoint), "--data", str(test_folder), "--batch-size", "4"]
    assert evaluation.main([*flags, "--out", str(tmp_path / "one")]) == 0
    one, two = (read_json(tmp_path / name / "result.json") for name in ("one", "two"))
    assert (tmp_path / "one/predictions.jsonl").read_bytes() == (tmp_path / "two/predictions.jsonl").read_bytes()
    assert {k: v for k, v in one.items() if k != "provenance"} == {k: v for k, v in two.items() if k != "provenance"}
    assert "all questions: " in output and "exit code 0" in output
    logs = sorted((ROOT / "logs").glob(f"{job_name}-*"))
    assert [path.name.rpartition("-")[2] for path in logs] == ["0.log", "1.log"]
    assert not list((tmp_path / "two").glob("predictions.partial*"))


@pytest.mark.slow
def test_a_killed_process_is_told_and_the_same_command_asks_the_rest(checkpoint, many, tmp_path, job_name):
    out = tmp_path / "out"
    process = start(checkpoint, many, out, job_name, "--batch-size", "4")
    partial = out / "predictions.partial-1-of-2.jsonl"
    wait_for(lambda: partial.exists() and partial.stat().st_size > 2000)
    (victim,) = processes_with(str(out), "1/2")
    os.kill(victim, signal.SIGKILL)
    output = finish(process, code=137)
    assert "shard 1 of 2 ended with exit code 137" in output and "the same command asks the rest" in output
    assert not (out / "result.json").exists()
    saved = {(r["key"], r["number"]) for r in map(json.loads, partial.read_text().splitlines()[:-1])}
    assert 0 < len(saved) < 134
    done = (out / "predictions.partial-0-of-2.jsonl").read_text().count("\n")
    assert done == 136, "the other process must have continued to its end"
    finish(start(checkpoint, many, out, job_name, "--batch-size", "4"))
    assert read_json(out / "result.json")["micro"]["n"] == 270


STUBS = {
    # Two "nodes" are two processes here, each told its number; TERM is passed on as srun does.
    "srun": """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do SLURM_NODEID=$node "$@" & pids+=($!); done
trap 'kill -TERM "${pids[@]}"' TERM
code=0
for pid in "${pids[@]}"; do
  while :; do wait "$pid" && one=0 || one=$?; kill -0 "$pid" 2> /dev/null || break; done
  ((one == 0)) || code=$one
done
exit "$code"
""",
    "scontrol": """#!/usr/bin/env bash
echo "scontrol $*" >> "$STUB_LOG"
echo "JobId=77 Restarts=${SLURM_RESTART_COUNT:-0}"
""",
}


@pytest.mark.slow
def test_two_nodes_share_the_work_and_are_queued_again_when_time_is_up(checkpoint, many, tmp_path, job_name):
    for name, text in STUBS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    slurm = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NUM_NODES": "2",
        "RANKS_PER_NODE": "1",
        "STUB_LOG": str(tmp_path / "log"),
        "REQUEUE_SECONDS": "0",
        "NODE_CHECK": "0",
    }
    out = tmp_path / "out"
    process = start(checkpoint, many, out, job_name, "--batch-size", "4", **slurm)
    partials = [out / f"predictions.partial-{i}-of-2.jsonl" for i in (0, 1)]
    wait_for(lambda: all(path.exists() and path.stat().st_size > 1000 for path in partials))
    process.send_signal(signal.SIGUSR1)
    output = finish(process, code=1)
    assert "asking Slurm to queue job 77 again" in output
    assert (tmp_path / "log").read_text().splitlines()[-1] == "scontrol requeue 77"
    assert not (out / "result.json").exists() and not processes_with(str(out))
    last = slurm | {"SLURM_RESTART_COUNT": "1", "MAX_RESTARTS": "1"}
    assert "end " in finish(start(checkpoint, many, out, job_name, "--batch-size", "4", **last))
    assert read_json(out / "result.json")["micro"]["n"] == 270
