"""Resuming under DeepSpeed: with other numbers of ranks and other ZeRO stages, and after a full disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from checkpointing.checkpoint_reader import CheckpointReader, complete_checkpoints, damaged_files, step_folder
from run_record import read_json, sha256_of_file, write_json

ROOT = Path(__file__).parents[2]
MODEL = """
model_type: llama
hidden_size: 32
intermediate_size: 48
num_hidden_layers: 2
num_attention_heads: 4
max_position_embeddings: 64
"""
pytestmark = pytest.mark.slow


def launch(ranks: int, jobs: list[dict]) -> None:
    program = Path(__file__).with_name("zero_chain.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={ranks}",
            str(program),
            json.dumps(jobs),
        ],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
        env={"TORCH_EXTENSIONS_DIR": str(ROOT / ".venv/torch_extensions")}
        | os.environ
        | {"PYTHONPATH": str(ROOT / "pretrain"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout


def test_every_stage_reads_what_every_other_saved_on_two_ranks_and_on_one(tmp_path):
    """Saved on two ranks (a), read by one under the next stage and saved (b), read by two under the next (c)."""
    cases = [(zero, bf16) for bf16 in (False, True) for zero in range(4)]

    def folder(name: str, zero: int, bf16: bool) -> str:
        return str(tmp_path / f"{name}-{zero}-{bf16}")

    def jobs(load: str | None, save: str, later: int) -> list[dict]:
        return [
            {"zero": (z + later) % 4, "bf16": b, "load": load and folder(load, z, b), "save": folder(save, z, b)}
            for z, b in cases
        ]

    launch(2, jobs(None, "a", 0))
    launch(1, jobs("a", "b", 1))
    launch(2, jobs("b", "c", 2))
    for zero, bf16 in cases:
        first, *others = (CheckpointReader(step_folder(Path(folder(name, zero, bf16)), 2)) for name in "abc")
        assert [r.record["world_size"] for r in (first, *others)] == [2, 1, 2]
        for reader in others:
            assert reader.record["optimizer"] == first.record["optimizer"]
            for name, shape in first.shapes.items():
                for kind in ("weights", "exp_avg", "exp_avg_sq"):
                    count = torch.Size(shape).numel()
                    had = first.read(kind, name, 0, count)
                    assert had.abs().sum() > 0
                    assert torch.equal(reader.read(kind, name, 0, count), had), (zero, bf16, kind, name)


def run(store: Path, config: Path, out: Path, ranks: int, *more: str, limit_kib: int | None = None):
    """Train for 8 steps; limit_kib: no file may grow larger, as on a full disk."""
    command = [
        "bash",
        "pretrain/run.sh",
        str(store),
        "--init-config",
        str(config),
        "--out",
        str(out),
        "--steps",
        "8",
        "--sequence-length",
        "32",
        "--global-batch-size",
        "8",
        "--micro-batch-size",
        "2",
        "--learning-rate",
        "3e-3",
        "--save-every",
        "2",
        "--keep",
        "9",
        *more,
    ]
    if limit_kib:
        command = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "bash", *command]
    return subprocess.run(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
        env=os.environ | {"RANKS_PER_NODE": str(ranks), "PYTHON": sys.executable},
    )


def back_to(source: Path, out: Path, step: int) -> Path:
    """A copy of a finished run as it was after `step`."""
    shutil.copytree(source, out)
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    for later in complete_checkpoints(out / "training"):
        if later > step:
            shutil.rmtree(step_folder(out / "training", later))
    return out


def largest_difference(a: Path, b: Path) -> float:
    a, b = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def forget_the_optimizer(checkpoint: Path) -> None:
    """Moments and step count to zero, with checksums that hold: what a resume that loses them would do."""
    record = read_json(checkpoint / "complete.json")
    for name, facts in record["files"].items():
        with safe_open(checkpoint / name, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(checkpoint / name)
        for key, value in tensors.items():
            if key.startswith("exp_avg"):
                value.zero_()
        save_file(tensors, checkpoint / name, metadata=metadata)
        facts |= {"bytes": (checkpoint / name).stat().st_size, "sha256": sha256_of_file(checkpoint / name)}
    record["optimizer"]["scalars"] = {"step": 0}
    write_json(checkpoint / "complete.json", record)


def test_a_run_goes_on_with_other_ranks_and_stages_and_ends_as_the_undisturbed_one(store_folder, tmp_path):
    config = tmp_path / "model.yaml"
    config.write_text(MODEL)
    whole = tmp_path / "whole"
    done = run(store_folder, config, whole, 2, "--zero", "2", "--async-save", "--keep-every", "4")
    assert done.returncode == 0, done.stdout

    # 2 ranks -> 1 rank, ZeRO 2 -> 3, but first the disk is full in the next save.
    one = back_to(whole, tmp_path / "one", 4)
    done = run(store_folder, config, one, 1, "--zero", "3", limit_kib=300)
    # torchrun shows a traceback of its own; ours would name this file with a line.
    assert done.returncode == 1 and 'pretrain/train_lm.py", line' not in done.stdout, done.stdout
    assert "the checkpoint of step 6 could not be written" in done.stdout and "File too large" in done.stdout
    assert complete_checkpoints(one / "training") == [2, 4]
    assert damaged_files(step_folder(one / "training", 4)) == []
    done = run(store_folder, config, one, 1, "--zero", "3")
    assert "resumed from the checkpoint at step 4; 2 -> 1 ranks; ZeRO 2 -> 3" in done.stdout, done.stdout
    assert largest_difference(whole, one) < 1e-5

    # 1 rank -> 2 ranks, ZeRO 3 -> 1.
    two = back_to(one, tmp_path / "two", 6)
    done = run(store_folder, config, two, 2, "--zero", "1", "--offload", "optimizer")
    assert "resumed from the checkpoint at step 6; 1 -> 2 ranks; ZeRO 3 -> 1" in done.stdout, done.stdout
    assert largest_difference(whole, two) < 1e-5

    # The comparison sees an optimizer that has forgotten.
    fresh = back_to(whole, tmp_path / "fresh", 4)
    forget_the_optimizer(step_folder(fresh / "training", 4))
    done = run(store_folder, config, fresh, 1, "--zero", "0")
    assert "resumed from the checkpoint at step 4" in done.stdout, done.stdout
    assert largest_difference(whole, fresh) > 1e-4
