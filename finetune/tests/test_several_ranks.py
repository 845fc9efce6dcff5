"""Two ranks on a CPU: DeepSpeed's ZeRO ends where plain data parallelism does, and resumes after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from run_record import read_json, sha256_of_file

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def command(model: Path, benchmark: Path, out: Path, *more: str) -> list[str]:
    return [
        "bash",
        str(ROOT / "finetune/run.sh"),
        "--model",
        str(model),
        "--data",
        str(benchmark / "Train"),
        "--out",
        str(out),
        "--batch-size",
        "8",
        "--micro-batch-size",
        "2",
        "--max-length",
        "400",
        "--log-every",
        "1",
        "--learning-rate",
        "1e-2",
        "--epochs",
        "0.8",
        "--save-every",
        "1",
        "--validation-share",
        "0.34",
        "--validate-every",
        "2",
        "--lora-dropout",
        "0",
        *more,
    ]


def start(words: list[str]) -> subprocess.Popen:
    environment = os.environ | {"RANKS_PER_NODE": "2", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(words: list[str]) -> str:
    process = start(words)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output[-3000:]
    return output


SETTINGS = {
    "full-0": [],
    "full-2": ["--zero", "2"],
    "full-3": ["--zero", "3", "--gradient-checkpointing"],
    "lora-0": ["--lora"],
    "lora-3": ["--lora", "--zero", "3", "--merge"],
}


@pytest.fixture(scope="module")
def finished(model_of, benchmark, tmp_path_factory):
    """finished(name): the folder of a run with these settings, made when it is first asked for."""
    root = tmp_path_factory.mktemp("ranks")

    def get(name: str) -> Path:
        if not (root / name).exists():
            run(command(model_of(), benchmark, root / name, *SETTINGS[name]))
        return root / name

    return get


def kill_everything_that_names(folder: Path) -> None:
    """kill -9 to the script, torchrun and its ranks, which are sessions of their own; only they name this folder."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended by itself, or is not ours


@pytest.mark.parametrize(("name", "like"), [("full-2", "full-0"), ("full-3", "full-0"), ("lora-3", "lora-0")])
def test_deepspeed_ends_where_plain_data_parallelism_does(name, like, finished):
    import torch
    from safetensors.torch import load_file

    file = "adapter_model.safetensors" if "lora" in name else "model.safetensors"
    ours, plain = load_file(finished(name) / file), load_file(finished(like) / file)
    assert ours.keys() == plain.keys()
    for key, tensor in plain.items():
        assert torch.allclose(ours[key], tensor, atol=1e-4), key
    records = [read_json(finished(folder) / "run.json") for folder in (name, like)]
    assert records[0]["parameters"] == records[1]["parameters"]
    assert records[0]["parameters_trained"] == records[1]["parameters_trained"]
    losses = [record["validation"]["last"]["loss"] for record in records]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    accuracies = [record["validation"]["last"]["languages"]["en"]["single"] for record in records]
    assert accuracies == [2, 2], "each question is counted once, whichever rank looks at it"


def test_an_adapter_made_under_zero_3_is_merged(finished):
    from safetensors.torch import load_file

    merged = load_file(finished("lora-3") / "merged/model.safetensors")
    base = load_file(Path(read_json(finished("lora-3") / "run.json")["base"]) / "model.safetensors")
    assert {k: v.shape for k, v in merged.items()} == {k: v.shape for k, v in base.items()}


def test_ranks_killed_under_zero_3_go_on_past_a_damaged_checkpoint_to_the_same_weights(
    finished, model_of, benchmark, tmp_path
):
    words = command(model_of(), benchmark, tmp_path / "out", *SETTINGS["full-3"])
    killed = start(words)
    deadline = time.monotonic() + 300
    while not (tmp_path / "out/training/checkpoint-2/complete.json").exists():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    kill_everything_that_names(tmp_path / "out")
    killed.wait()
    assert not (tmp_path / "out/run.json").exists(), "the run ended before it could be killed"
    newest = max(tmp_path.glob("out/training/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shard = next(newest.rglob("*optim_states.pt"))
    shard.write_bytes(shard.read_bytes()[:1000])
    output = run(words)
    assert "is complete and is reused" not in output
    assert f"{newest} is skipped and removed" in output and "resumed from" in output
    ours, theirs = (folder / "model.safetensors" for folder in (tmp_path / "out", finished("full-3")))
    assert sha256_of_file(ours) == sha256_of_file(theirs)
    rows = [
        [json.loads(line) for line in (folder / "training/metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "out", finished("full-3"))
    ]
    assert [(r["step"], r.get("validation", r.get("loss"))) for r in rows[0]] == [
        (r["step"], r.get("validation", r.get("loss"))) for r in rows[1]
    ]
