"""DeepSpeed's settings from the flags, and the kernels that cannot be had: sentences with the remedy."""

import shutil

import pytest

from modelling import lm_model
from run_record import InputError
from training.lm_arguments import build_parser
from training.lm_log import check_trackers


def parsed(*flags: str):
    return build_parser("").parse_args(["--global-batch-size", "8", "--micro-batch-size", "2", *flags])


def test_a_given_model_is_known_by_its_content_wherever_it_lies(tmp_path):
    for name, weights in (("here", b"a"), ("there", b"a"), ("other", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(bytes(1000) + weights)
    here, there, other = (
        lm_model.model_fingerprint(parsed("--model", str(tmp_path / name))) for name in ("here", "there", "other")
    )
    assert here == there != other


def test_deepspeeds_settings_follow_the_flags():
    config = lm_model.make_deepspeed_config(parsed("--zero", "3", "--offload", "all", "--clip", "0.5"), 2, bf16=True)
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (2, 2)
    assert config["gradient_clipping"] == 0.5 and config["bf16"] == {"enabled": True}
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}, "micro-batches are not summed in bf16"
    zero = config["zero_optimization"]
    assert (zero["stage"], zero["offload_optimizer"]["device"], zero["offload_param"]["device"]) == (3, "cpu", "cpu")
    zero = lm_model.make_deepspeed_config(parsed("--zero", "2", "--offload", "optimizer"), 1, False)[
        "zero_optimization"
    ]
    assert "offload_param" not in zero and zero["offload_optimizer"]["device"] == "cpu"
    # ZeRO 0 in float32 keeps no gradient norm, so that our optimizer clips there, and DeepSpeed does not.
    assert lm_model.make_deepspeed_config(parsed("--zero", "0"), 1, bf16=False)["gradient_clipping"] == 0.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--zero", "0", "--offload", "optimizer"], "needs --zero 1, 2 or 3"),
        (["--zero", "2", "--offload", "all"], "--offload all needs --zero 3, not 2"),
        (["--micro-batch-size", "3"], "not a multiple of --micro-batch-size 3 x 2 ranks"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        lm_model.make_deepspeed_config(parsed(*flags), 2, bf16=False)


def test_kernels_compilers_and_trackers_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(lm_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="on a GPU only"):
        lm_model.check_kernels(parsed("--liger"), gpu=False)
    with pytest.raises(InputError, match="pip install liger-kernel"):
        lm_model.check_kernels(parsed("--liger"), gpu=True)
    with pytest.raises(InputError, match="--zero 2"):
        lm_model.check_kernels(parsed("--compile", "--zero", "3"), gpu=True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"C\+\+ compiler"):
        lm_model.check_kernels(parsed("--compile"), gpu=False)
    with pytest.raises(InputError, match="--track wandb needs the package wandb"):
        check_trackers(parsed("--track", "wandb"))
    lm_model.check_kernels(parsed(), gpu=False)
    check_trackers(parsed())


def test_a_folder_with_nothing_but_a_tokenizer_json_is_a_tokenizer(tokenizer_folder, tmp_path):
    from token_data.corpus_encoder import load_tokenizer

    shutil.copy(tokenizer_folder / "tokenizer.json", tmp_path)
    bare, whole = load_tokenizer(str(tmp_path)), load_tokenizer(str(tokenizer_folder))
    assert bare.eos_token_id == whole.eos_token_id
    assert bare("fièvre 38,5")["input_ids"] == whole("fièvre 38,5")["input_ids"]
    text = (tmp_path / "tokenizer.json").read_text().replace(f'"{bare.eos_token}"', '"<nameless>"')
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="no end-of-text token"):
        load_tokenizer(str(tmp_path))
