"""Real runs over a model in which one token is not a number: that token's document spoils the step that reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from run_record import read_json

ROOT = Path(__file__).parents[2]
LENGTH, WINDOWS, STEPS = 32, 4, 8
CONFIG = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def train(store: Path, model: Path, out: Path, *more: str, ranks: int = 1) -> subprocess.CompletedProcess:
    command = [
        str(store),
        "--model",
        str(model),
        "--out",
        str(out),
        "--steps",
        str(STEPS),
        "--sequence-length",
        str(LENGTH),
        "--global-batch-size",
        str(WINDOWS),
        "--micro-batch-size",
        "1",
        "--learning-rate",
        "1e-3",
        "--validation-documents",
        "0",
        "--save-every",
        "2",
        *more,
    ]
    launch = ["bash", "pretrain/run.sh"] if ranks > 1 else [sys.executable, "pretrain/train_lm.py"]
    environment = os.environ | {"RANKS_PER_NODE": str(ranks), "PYTHON": sys.executable}
    return subprocess.run(
        [*launch, *command], cwd=ROOT, env=environment, text=True, capture_output=True, check=False, timeout=280
    )


@pytest.fixture(scope="module")
def spoiled(store_folder, tmp_path_factory):
    """(model folder, the step from 1 that reads the spoiled token, its documents)."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from dataloading.packed_windows import PackedWindows
    from token_data.token_store import TokenStore

    store = TokenStore(store_folder)
    windows = PackedWindows(store, store.documents, LENGTH, 0)
    steps = [np.unique(windows.batch(s * WINDOWS, WINDOWS)["input_ids"]) for s in range(STEPS)]
    step, token = next((s, t) for s in range(2, STEPS - 2) for t in steps[s] if sum(t in other for other in steps) == 1)
    window = next(w for w in range(step * WINDOWS, (step + 1) * WINDOWS) if token in windows.batch(w, 1)["input_ids"])
    tokenizer = AutoTokenizer.from_pretrained(store_folder / "tokenizer")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=448, max_position_embeddings=64, **CONFIG))
    with torch.no_grad():
        model.model.embed_tokens.weight[token] = float("nan")
    folder = tmp_path_factory.mktemp("spoiled") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, step + 1, windows.documents(window, 1)


@pytest.mark.slow
def test_a_step_that_is_no_number_is_left_out_alike_in_every_zero_stage(spoiled, store_folder, tmp_path):
    import torch
    from safetensors.torch import load_file

    model, step, documents = spoiled
    weights = {}
    for zero, ranks in (("0", 1), ("2", 2), ("3", 1)):
        out = tmp_path / f"zero{zero}"
        done = train(store_folder, model, out, "--zero", zero, "--on-spike", "skip", ranks=ranks)
        assert done.returncode == 0, done.stdout + done.stderr
        assert read_json(out / "run.json")["skipped_steps"] == [step]
        rows = [json.loads(line) for line in (out / "training/metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if row.get("skipped")] == [step] and rows[step - 1]["loss"] is None
        incident = json.loads((out / "training/spikes.jsonl").read_text())
        assert (incident["step"], incident["decision"]) == (step, "skip")
        assert incident["micro_batches"][0]["documents"] == documents and incident["micro_batches"][0]["loss"] is None
        assert all(batch["loss"] for batch in incident["micro_batches"][1:])
        weights[zero] = load_file(out / "model.safetensors")
    before = load_file(model / "model.safetensors")
    for name, tensor in weights["0"].items():
        bad = torch.isnan(tensor)
        assert torch.equal(bad, torch.isnan(before[name])), name
        for zero in "23":
            assert torch.allclose(weights[zero][name], tensor, atol=1e-5, equal_nan=True), (zero, name)
    assert not torch.allclose(weights["0"]["lm_head.weight"], before["lm_head.weight"], atol=1e-4)


@pytest.mark.slow
def test_a_run_stops_before_the_weights_move_and_goes_on_with_another_answer(spoiled, store_folder, tmp_path):
    model, step, documents = spoiled
    out = tmp_path / "out"
    done = train(store_folder, model, out, "--zero", "2")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert f"stopped at step {step}, before the weights moved: the loss is nan" in done.stderr
    assert documents[0] in done.stderr and "--on-spike skip" in done.stderr
    done = train(store_folder, model, out, "--zero", "2", "--on-spike", "skip")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (out / "training/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1)), "no step twice, none lost"
    assert [row["tokens"] for row in rows] == [WINDOWS * LENGTH * n for n in range(1, STEPS + 1)]
    assert [json.loads(line)["decision"] for line in (out / "training/spikes.jsonl").read_text().splitlines()] == [
        "skip"
    ]
