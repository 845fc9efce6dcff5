"""Models that are odd, damaged or too large: each trains, or ends in a sentence that says what to do."""

import argparse
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

import merge
import train
from run_record import InputError, is_disk_full, read_json, sha256_of_file
from sft_training.base_model import model_fingerprint
from sft_training.supervised_training import memory_advice


@pytest.fixture
def model(model_of, tmp_path) -> Path:
    return shutil.copytree(model_of(), tmp_path / "model")


def command(model: Path, benchmark: Path, out: Path, *more: str) -> list[str]:
    return [
        "--model",
        str(model),
        "--data",
        str(benchmark / "Train"),
        "--out",
        str(out),
        "--batch-size",
        "8",
        "--micro-batch-size",
        "8",
        "--max-length",
        "400",
        "--epochs",
        "0.3",
        "--learning-rate",
        "1e-2",
        *more,
    ]


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_no_padding_and_no_opening_token_and_tied_embeddings_of_an_odd_number_train(model, benchmark, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=307,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.pad_token_id is None and tokenizer.bos_token_id is None and len(tokenizer) != 307
    for name, more in (("full", []), ("lora", ["--lora", "--merge"])):
        assert train.main(command(model, benchmark, tmp_path / name, *more)) == 0
    assert "lm_head" not in " ".join(read_json(tmp_path / "lora/adapter_config.json")["target_modules"])
    for path in (tmp_path / "full", tmp_path / "lora/merged"):
        loaded = AutoModelForCausalLM.from_pretrained(path)
        assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
        assert loaded.lm_head.weight.shape == (307, 32)


def test_an_adapter_is_added_to_a_bfloat16_base_in_float32(model, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    base, name = load_file(model / "model.safetensors"), "model.layers.0.mlp.up_proj"
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["up_proj"], init_lora_weights=False),
    )
    for key, tensor in adapted.state_dict().items():
        if "lora_" in key:
            tensor.mul_(0.01)  # an update that bfloat16 would mostly round away
    adapted.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter/prompt").mkdir()
    record = {"base": str(model), "arguments": {}, "training": "lora"}
    (tmp_path / "adapter/run.json").write_text(json.dumps(record))
    low, high = (
        load_file(tmp_path / "adapter/adapter_model.safetensors")[f"base_model.model.{name}.lora_{x}.weight"]
        for x in "AB"
    )
    exact = base[f"{name}.weight"].float() + 2 * high @ low
    assert merge.main([str(tmp_path / "adapter")]) == 0
    merged = load_file(tmp_path / "adapter/merged/model.safetensors")[f"{name}.weight"]
    assert merged.dtype == torch.float32 and torch.allclose(merged, exact, atol=0, rtol=1e-6)
    assert not torch.equal(merged, exact.bfloat16().float())
    halved = tmp_path / "halved"
    assert merge.main([str(tmp_path / "adapter"), "--out", str(halved), "--dtype", "bfloat16"]) == 0
    assert load_file(halved / "model.safetensors")[f"{name}.weight"].equal(merged.bfloat16())
    assert read_json(halved / "config.json")["dtype"] == "bfloat16"


@pytest.mark.parametrize(("dtype", "flag"), [("bfloat16", "--no-bf16"), ("float32", "--bf16")])
def test_a_model_tuned_in_full_is_written_in_the_precision_of_its_base(dtype, flag, model, benchmark, tmp_path):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).save_pretrained(model)
    assert train.main(command(model, benchmark, tmp_path / "out", flag, "--validation-questions", "0")) == 0
    weights = load_file(tmp_path / "out/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {getattr(torch, dtype)}
    assert read_json(tmp_path / "out/config.json")["dtype"] == dtype
    assert any(not weights[key].equal(tensor) for key, tensor in load_file(model / "model.safetensors").items())


def test_two_models_of_one_config_are_two_inputs(model_of, tmp_path):
    first, second = model_of(), shutil.copytree(model_of(), tmp_path / "second")
    assert model_fingerprint(str(first)) == model_fingerprint(str(second)) != sha256_of_file(first / "config.json")
    weights = bytearray((second / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (second / "model.safetensors").write_bytes(weights)
    assert model_fingerprint(str(first)) != model_fingerprint(str(second))
    assert model_fingerprint("some/name") == "some/name"


def test_a_tokenizer_with_tokens_that_the_model_does_not_know_is_refused(model, benchmark, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<|never used|>"])
    tokenizer.save_pretrained(model)
    assert train.main(command(model, benchmark, tmp_path / "out", "--dry-run")) == 0
    tokenizer.add_tokens(["### Question"])
    tokenizer.save_pretrained(model)
    with pytest.raises(InputError, match=r"the token '### Question' with id 301, but the model has 300 embeddings"):
        train.main(command(model, benchmark, tmp_path / "out"))


def test_a_tokenizer_without_an_end_token_is_refused(model, benchmark, tmp_path):
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="has no end token that the model knows"):
        train.main(command(model, benchmark, tmp_path / "out"))


def test_weights_that_do_not_fit_or_are_damaged_are_named(model, benchmark, tmp_path):
    config = (model / "config.json").read_text()
    change(model / "config.json", intermediate_size=64)
    with pytest.raises(InputError, match=r"do not fit its config\.json"):
        train.main(command(model, benchmark, tmp_path / "out"))
    (model / "config.json").write_text(config)
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="no model at"):
        train.main(command(model, benchmark, tmp_path / "out"))
    (model / "model.safetensors").write_bytes(weights)
    assert train.main(command(model, benchmark, tmp_path / "out")) == 0, "a failed start leaves nothing in the way"


def test_a_generation_config_that_the_library_would_not_write_is_settled(model, benchmark, tmp_path):
    # As Llama 2's: a temperature without sampling.
    (model / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_p": 0.9, "eos_token_id": 0}))
    assert train.main(command(model, benchmark, tmp_path / "out")) == 0
    assert (tmp_path / "out/run.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--merge"], "it needs --lora or --qlora"),
        (["--qlora", "--zero", "2"], "omit --zero"),
        (["--validate-every", "0"], "--validate-every is a number of 1 or more"),
        (["--batch-size", "0"], "--batch-size is a number of 1 or more"),
        (["--micro-batch-size", "0"], "--micro-batch-size is a number of 1 or more"),
        (["--limit", "0"], "--limit is a number of 1 or more"),
        (["--epochs", "0"], "--epochs is above 0"),
        (["--epochs", "nan"], "--epochs is above 0"),
        (["--best-by", "accuracy", "--forms", "rationale"], "--best-by accuracy looks at the form answer"),
        (["--attn", "flash_attention_2"], "lacks what these flags need"),
    ],
)
def test_flags_that_contradict_each_other_or_the_machine_are_refused(more, message, model_of, benchmark, tmp_path):
    if more[0] == "--attn" and importlib.util.find_spec("flash_attn"):
        pytest.skip("this machine has flash attention")
    with pytest.raises(InputError, match=message):
        train.main(command(model_of(), benchmark, tmp_path / "out", *more))


def test_4_bits_without_the_library_are_refused_with_the_reason(model_of, benchmark, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "bitsandbytes" else found(name))
    with pytest.raises(InputError, match=r"needs the library bitsandbytes \(pip install bitsandbytes\)"):
        train.main(command(model_of(), benchmark, tmp_path / "out", "--qlora"))


@pytest.mark.slow
def test_qlora_trains_an_adapter_that_merges_into_the_whole_model(model_of, benchmark, tmp_path):
    pytest.importorskip("bitsandbytes", reason="optional: pip install bitsandbytes")
    from safetensors.torch import load_file

    assert train.main(command(model_of(), benchmark, tmp_path / "out", "--qlora", "--merge")) == 0
    record = read_json(tmp_path / "out/run.json")
    assert record["arguments"]["qlora"] and record["training"] == "lora"
    merged, base = (load_file(f / "model.safetensors") for f in (tmp_path / "out/merged", model_of()))
    assert {k: v.shape for k, v in merged.items()} == {k: v.shape for k, v in base.items()}
    assert record["parameters"] - record["parameters_trained"] == sum(v.numel() for v in base.values())


def flags(**changes) -> argparse.Namespace:
    values = {"micro_batch_size": 4, "max_length": 2048, "lora": False, "qlora": False, "zero": 0}
    return argparse.Namespace(**(values | {"gradient_checkpointing": False} | changes))


def test_out_of_memory_names_what_to_lower():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)  # what a CPU says
    for error in (caught.value, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError()):
        text = str(memory_advice(error, flags()))
        assert text.startswith("out of memory (") and "--micro-batch-size (now 4) or --max-length (now 2048)" in text
        assert "--gradient-checkpointing or --lora or --zero 3" in text
    text = str(memory_advice(MemoryError(), flags(micro_batch_size=1, lora=True, gradient_checkpointing=True, zero=3)))
    assert "lower --max-length (now 2048), or add --qlora;" in text
    assert memory_advice(RuntimeError("shapes do not match"), flags()) is None


def test_out_of_memory_in_training_ends_in_the_sentence(model_of, benchmark, tmp_path, monkeypatch):
    import torch

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(train, "load_base", full)
    with pytest.raises(InputError, match=r"out of memory .*20\.00 GiB.*: lower --micro-batch-size \(now 8\)"):
        train.main(command(model_of(), benchmark, tmp_path / "out"))


def test_a_full_disk_while_a_checkpoint_is_written_is_known_as_one(model_of, benchmark, tmp_path, monkeypatch):
    import safetensors.torch

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(OSError) as caught:
        train.main(command(model_of(), benchmark, tmp_path / "out"))
    assert is_disk_full(caught.value) and not (tmp_path / "out/run.json").exists()
