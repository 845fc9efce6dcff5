import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dataloading.packed_windows import PackedWindows
from modelling.lm_loss import backward_scale, summed_loss
from run_record import read_json, write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def windows(make_store, tmp_path_factory):
    """Eight windows, of which some have no counted label and one has many."""
    mask = [*[0] * 30, *[1] * 12, *[0, 0, 0, 1] * 7]
    store = make_store(tmp_path_factory.mktemp("store"), {"en": [9, 21, 12, 28]}, masks={"en": mask})
    return PackedWindows(store, store.documents, 8, seed=1)


def gradient(model, losses) -> np.ndarray:
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])


def test_micro_batches_summed_and_divided_once_weigh_each_counted_token_alike(model, windows):
    """Two ranks of four micro-batches of one window, as DeepSpeed would average them, against one batch of eight."""
    counts = [int((windows.batch(i, 1)["labels"] != -100).sum()) for i in range(8)]
    assert 0 in counts and len(set(counts)) > 2, counts
    whole, count = summed_loss(model, windows.batch(0, 8), "cpu")
    assert count == sum(counts) == windows.labels_in(0, 8)
    wanted = gradient(model, [whole / count])
    scale = backward_scale(windows.labels_in(0, 8), world=2, accumulation_steps=4)
    # DeepSpeed divides each loss by the accumulation steps, and averages the gradients of the ranks.
    parts = [summed_loss(model, windows.batch(i, 1), "cpu")[0] * scale / 4 / 2 for i in range(8)]
    assert np.abs(gradient(model, parts) - wanted).max() < 1e-6
    means = [
        nats / count / 8 for nats, count in (summed_loss(model, windows.batch(i, 1), "cpu") for i in range(8)) if count
    ]
    assert np.abs(gradient(model, means) - wanted).max() > 1e-3, "the check would not see a mean of means"


def test_windows_without_a_counted_label_move_nothing(model, windows):
    empty = next(i for i in range(8) if windows.labels_in(i, 1) == 0)
    nats, count = summed_loss(model, windows.batch(empty, 1), "cpu")
    assert (float(nats.detach()), count) == (0.0, 0)
    assert np.abs(gradient(model, [nats * backward_scale(0, 2, 4)])).max() == 0.0


@pytest.mark.slow
def test_two_ranks_of_micro_batch_one_train_as_one_rank_of_eight_on_masked_text(store_folder, tmp_path):
    import torch
    from safetensors.torch import load_file

    masked = shutil.copytree(store_folder, tmp_path / "tokens")
    manifest = read_json(masked / "manifest.json")
    generator = np.random.default_rng(0)
    for name, shard in manifest["shards"].items():
        # Long stretches: some windows count wholly, some not at all.
        mask = np.repeat(generator.integers(0, 2, shard["tokens"] // 40 + 1), 40)[: shard["tokens"]]
        mask.astype(np.uint8).tofile(masked / f"{name}.loss")
    write_json(masked / "manifest.json", manifest | {"loss_mask": True})
    (tmp_path / "model.yaml").write_text(
        "model_type: llama\nhidden_size: 32\nintermediate_size: 48\nnum_hidden_layers: 2\nnum_attention_heads: 4\n"
        "max_position_embeddings: 64\n"
    )
    weights = []
    for ranks, micro in ((2, 1), (1, 8)):
        out = tmp_path / f"ranks{ranks}"
        command = [str(masked), "--init-config", str(tmp_path / "model.yaml"), "--out", str(out), "--steps", "4"]
        command += ["--sequence-length", "32", "--global-batch-size", "8", "--micro-batch-size", str(micro)]
        done = subprocess.run(
            ["bash", "pretrain/run.sh", *command, "--learning-rate", "1e-3"],
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=False,
            env=os.environ | {"RANKS_PER_NODE": str(ranks), "PYTHON": sys.executable},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        weights.append(load_file(out / "model.safetensors"))
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5), name
