"""Export of a checkpoint, and the mean of several, on a run of two checkpoints made without DeepSpeed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import average_checkpoints
import export_model
from checkpointing.checkpoint_reader import CheckpointReader, step_folder
from checkpointing.checkpoints import Checkpoints
from run_record import InputError, read_json, sha256_of_file

pytestmark = pytest.mark.usefixtures("group_of_one")


def make_run(out: Path, tokenizer_folder: Path, **fields) -> dict:
    """A run's folder with checkpoints at steps 1 and 2; returns {step: the model's state then}."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 448, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes | {"num_attention_heads": 2, "use_cache": False} | fields))
    engine = SimpleNamespace(
        module=model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.01), zero_optimization_stage=lambda: 0
    )
    export_model.save_model_description(
        model, AutoTokenizer.from_pretrained(tokenizer_folder), out / "training" / "model"
    )
    kept, states = Checkpoints(engine, out / "training", {"seed": 0}, keep=2), {}
    for step in (1, 2):
        model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
        engine.optimizer.step()
        kept.save(step)
        states[step] = {name: value.clone() for name, value in model.state_dict().items()}
    return states


@pytest.fixture(scope="module")
def made(tokenizer_folder, tmp_path_factory, group_of_one):
    out = tmp_path_factory.mktemp("run") / "pretrained"
    return out, make_run(out, tokenizer_folder)


@pytest.mark.parametrize("tied", [False, True], ids=["two matrices", "tied"])
@pytest.mark.parametrize(("dtype", "shard"), [("float32", "5"), ("bfloat16", "0.00001")], ids=["whole", "in shards"])
def test_a_checkpoint_is_exported_offline_and_loads(tied, dtype, shard, tokenizer_folder, tmp_path, capsys):
    state = make_run(tmp_path / "run", tokenizer_folder, tie_word_embeddings=tied)[1]
    out = tmp_path / "out"
    command = [
        str(tmp_path / "run"),
        "--step",
        "1",
        "--out",
        str(out),
        "--dtype",
        dtype,
        "--max-shard-gigabytes",
        shard,
    ]
    assert export_model.main(command) == 0
    assert "largest difference of a logit 0" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == getattr(torch, dtype) and model.config.use_cache
    assert (out / "model.safetensors.index.json").exists() is (shard != "5")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name
    expected = AutoTokenizer.from_pretrained(tokenizer_folder)("fièvre")["input_ids"]
    assert AutoTokenizer.from_pretrained(out)("fièvre")["input_ids"] == expected
    record = read_json(out / "run.json")
    assert record["step"] == 1 and record["training"] == {"seed": 0} and record["dtype"] == dtype
    files = {p.name for p in out.iterdir()} - {"run.json", "README.md"}
    assert {name: sha256_of_file(out / name) for name in files} == {n: f["sha256"] for n, f in record["files"].items()}
    assert export_model.main(command) == 0 and "is reused" in capsys.readouterr().out


def test_the_newest_checkpoint_in_its_own_dtype_is_the_default(made, tmp_path):
    run, states = made
    assert export_model.main([str(run), "--out", str(tmp_path / "out")]) == 0
    weights = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(weights["lm_head.weight"], states[2]["lm_head.weight"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda reader, name: reader(name) * (1.5 if name == "lm_head.weight" else 1), "a logit differs by"),
        (lambda reader, name: reader(name) * float("nan"), "not numbers"),
    ],
    ids=["another weight", "no numbers"],
)
def test_a_model_that_does_not_come_back_as_it_was_is_not_published(made, harm, message, tmp_path, monkeypatch):
    write = export_model.write_model_weights
    monkeypatch.setattr(
        export_model,
        "write_model_weights",
        lambda folder, shapes, tensor, *rest: write(folder, shapes, lambda name: harm(tensor, name), *rest),
    )
    with pytest.raises(InputError, match=message):
        export_model.main([str(made[0]), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out/config.json").exists() and not (tmp_path / "out/run.json").exists()
    monkeypatch.undo()
    assert export_model.main([str(made[0]), "--out", str(tmp_path / "out")]) == 0


def test_exports_that_cannot_be_are_refused(made, tmp_path):
    run = shutil.copytree(made[0], tmp_path / "run")
    with pytest.raises(InputError, match=r"no complete checkpoint at step 7; it has \[1, 2\]"):
        export_model.main([str(run), "--step", "7", "--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match="holds another model"):
        export_model.main([str(run), "--out", str(run)])
    (step_folder(run / "training", 2) / "rank-00000.safetensors").unlink()
    with pytest.raises(InputError, match=r"step 2 is damaged: .* is missing"):
        export_model.main([str(run), "--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match=r"has no complete checkpoint; it has \[\]"):
        export_model.main([str(tmp_path), "--out", str(tmp_path / "out")])


def test_the_mean_of_two_checkpoints_is_the_arithmetic_mean(made, tmp_path, capsys):
    run, states = made
    out = tmp_path / "out"
    command = [str(run), "--last", "2", "--out", str(out)]
    assert average_checkpoints.main(command) == 0
    weights = load_file(out / "model.safetensors")
    assert weights.keys() == states[1].keys()
    for name, value in weights.items():
        assert torch.equal(value, (states[1][name] + states[2][name]) / 2), name
    assert not torch.equal(weights["lm_head.weight"], states[2]["lm_head.weight"])
    parents = read_json(out / "run.json")["parents"]
    assert [Path(parent["name"]).name for parent in parents] == ["step-00000001", "step-00000002"]
    assert average_checkpoints.main(command) == 0 and "is reused" in capsys.readouterr().out


def test_model_folders_are_averaged_too_in_fp32(made, tmp_path):
    run, states = made
    folders = []
    for step in (1, 2):
        folders.append(str(tmp_path / f"step{step}"))
        export_model.main([str(run), "--step", str(step), "--out", folders[-1], "--dtype", "bfloat16"])
    assert average_checkpoints.main([*folders, "--out", str(tmp_path / "out"), "--dtype", "float32"]) == 0
    mean = load_file(tmp_path / "out/model.safetensors")["lm_head.weight"]
    rounded = [states[step]["lm_head.weight"].bfloat16().float() for step in (1, 2)]
    assert torch.equal(mean, (rounded[0] + rounded[1]) / 2)


def test_models_that_have_no_mean_are_refused(made, tokenizer_folder, tmp_path):
    run, _ = made
    first, other = str(tmp_path / "first"), str(tmp_path / "other")
    export_model.main([str(run), "--step", "1", "--out", first])
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="one folder has no mean"):
        average_checkpoints.main([first, *out])
    with pytest.raises(InputError, match="has 2 complete checkpoints"):
        average_checkpoints.main([str(run), "--last", "3", *out])
    with pytest.raises(InputError, match="no complete checkpoint at step 9"):
        average_checkpoints.main([str(run), "--steps", "1", "9", *out])
    with pytest.raises(InputError, match="go with one run's folder"):
        average_checkpoints.main([first, first, "--last", "2", *out])

    shutil.copytree(first, other)
    words = json.loads((Path(other) / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    a, b = list(vocabulary)[-2:]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (Path(other) / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(InputError, match=r"other has another vocabulary than .*first"):
        average_checkpoints.main([first, other, *out])

    make_run(tmp_path / "wide", tokenizer_folder, intermediate_size=32)
    shutil.rmtree(other)
    export_model.main([str(tmp_path / "wide"), "--out", other])
    with pytest.raises(InputError, match=r"another architecture than .*\(intermediate_size\)"):
        average_checkpoints.main([first, other, *out])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_weight_too_few_is_refused_at_reloading(made, tmp_path):
    export_model.main([str(made[0]), "--out", str(tmp_path / "out")])
    weights = load_file(tmp_path / "out/model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "out/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"does not load as it was written: .*lm_head.weight"):
        export_model.check_by_reloading(tmp_path / "out", "float32", None)
    reader = CheckpointReader(step_folder(made[0] / "training", 2))
    assert tuple(reader.weights("lm_head.weight").shape) == (448, 16)
