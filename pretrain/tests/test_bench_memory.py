"""The estimate of each part against one real step of DeepSpeed on two ranks, by ZeRO stage and precision."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Wide enough that a matrix is over ZeRO 3's 100,000 elements, below which nothing is divided.
SHAPE = """model_type: llama
hidden_size: 256
intermediate_size: 512
num_hidden_layers: 3
num_attention_heads: 4
num_key_value_heads: 2
vocab_size: 1000
max_position_embeddings: 256
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zero", "precision", "more"),
    [
        ("0", "--bf16", ["--gradient-checkpointing"]),
        ("1", "--bf16", []),
        ("2", "--bf16", ["--gradient-checkpointing"]),
        ("3", "--bf16", []),
        ("3", "--no-bf16", []),
    ],
)
def test_every_part_is_within_a_tenth_of_what_a_step_on_two_ranks_holds(tmp_path, zero, precision, more):
    shape, out = tmp_path / "shape.yaml", tmp_path / "m.json"
    shape.write_text(SHAPE)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "pretrain/bench_memory.py",
        "--init-config",
        str(shape),
        "--sequence-length",
        "64",
        "--micro-batch-size",
        "2",
        "--zero",
        zero,
        precision,
        "--json",
        str(out),
        *more,
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(out.read_text())
    assert set(rows) == {"weights", "gradients", "optimizer state", "saved for backward", "peak of a pass"}
    for name, row in rows.items():
        assert row["measured"] > 0
        assert row["estimated"] == pytest.approx(row["measured"], rel=0.1), name
