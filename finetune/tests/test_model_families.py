"""Models of many families: which layers are adapted, and the way from random weights to an evaluated folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import train
from sft_training.base_model import linear_targets

ROOT = Path(__file__).parents[2]
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "bloom", "gpt_neox", "internlm2")
TARGETS = {
    "llama": "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj",
    "qwen3": "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj",
    "bloom": "query_key_value dense dense_h_to_4h dense_4h_to_h",
    "gpt_neox": "query_key_value dense dense_h_to_4h dense_4h_to_h",
    "gpt2": "c_attn c_proj c_fc",
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_linear_layer_but_the_output_is_found(kind):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=64))
    assert set(linear_targets(model)) == set(TARGETS[kind].split())


def make_internlm2(folder: Path) -> Path:
    """A random two-layer model in InternLM 2's published layout, converted by pretrain/convert_internlm.py."""
    import io

    import torch
    from safetensors.torch import save_file
    from sentencepiece import SentencePieceTrainer

    (folder / "published").mkdir(parents=True)
    hidden, between, key_value, vocabulary = 32, 48, 16, 320
    config = {
        "model_type": "internlm2",
        "hidden_size": hidden,
        "intermediate_size": between,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "bias": False,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "torch_dtype": "float32",
        "tie_word_embeddings": False,
    }
    shapes = {"model.tok_embeddings": (vocabulary, hidden), "output": (vocabulary, hidden), "model.norm": (hidden,)}
    for layer in range(2):
        shapes |= {
            f"model.layers.{layer}.{name}": shape
            for name, shape in {
                "attention.wqkv": (hidden + 2 * key_value, hidden),
                "attention.wo": (hidden, hidden),
                "feed_forward.w1": (between, hidden),
                "feed_forward.w2": (hidden, between),
                "feed_forward.w3": (between, hidden),
                "attention_norm": (hidden,),
                "ffn_norm": (hidden,),
            }.items()
        }
    chance = torch.Generator().manual_seed(0)
    tensors = {f"{name}.weight": torch.randn(shape, generator=chance) * 0.1 for name, shape in shapes.items()}
    save_file(tensors, folder / "published/model.safetensors")
    (folder / "published/config.json").write_text(json.dumps(config))
    (folder / "published/tokenizer_config.json").write_text("{}")
    pieces = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["fever cough heart liver " * 5] * 50),
        model_writer=pieces,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "published/tokenizer.model").write_bytes(pieces.getvalue())
    command = [sys.executable, ROOT / "pretrain/convert_internlm.py", folder / "published", "--out", folder / "llama"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder / "llama"


EVALUATE = """
import sys
from pathlib import Path
import eval as evaluation
data, *models = sys.argv[1:]
for model in models:
    for mode in ("generate", "letter-logprob"):
        out = Path(model).with_name(Path(model).name + "-" + mode)
        command = ["--model", model, "--data", data, "--out", str(out), "--mode", mode, "--limit", "3"]
        assert evaluation.main([*command, "--max-new-tokens", "4"]) == 0
"""


@pytest.fixture(scope="module")
def answered(model_of, benchmark, tmp_path_factory) -> Path:
    """Each family trained by LoRA, merged, and in full; then all evaluated by a process that has only the folders."""
    root = tmp_path_factory.mktemp("families")
    models = []
    for kind in FAMILIES:
        base = make_internlm2(root / "made") if kind == "internlm2" else model_of(kind)
        common = [
            "--model",
            str(base),
            "--data",
            str(benchmark / "Train"),
            "--batch-size",
            "8",
            "--max-length",
            "600",
            "--micro-batch-size",
            "8",
            "--epochs",
            "0.4",
            "--learning-rate",
            "1e-2",
        ]
        assert train.main([*common, "--out", str(root / kind / "lora"), "--lora", "--merge"]) == 0
        assert train.main([*common, "--out", str(root / kind / "full")]) == 0
        (root / kind / "lora/merged").rename(root / kind / "merged")
        models += [str(root / kind / name) for name in ("lora", "merged", "full")]
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, benchmark / "Test", *models],
        cwd=ROOT / "inference",
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return root


def predictions(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_trains_and_its_merged_model_answers_as_its_adapter(kind, answered):
    from safetensors.torch import load_file

    folder = answered / kind
    for mode in ("generate", "letter-logprob"):
        adapter, merged, full = (predictions(folder / f"{name}-{mode}") for name in ("lora", "merged", "full"))
        assert len(adapter) == len(merged) == len(full) == 12
        if mode == "generate":
            assert [row["output"] for row in adapter] == [row["output"] for row in merged]
        else:
            for ours, theirs in zip(adapter, merged, strict=True):
                assert ours["letter_logprobs"] == pytest.approx(theirs["letter_logprobs"], abs=1e-4)
            assert adapter != full
    result = json.loads((folder / "merged-generate/result.json").read_text())
    assert result["setting"] == "fine-tuned" and result["prompt"]["name"] == "mmedbench"
    base = load_file(Path(json.loads((folder / "full/run.json").read_text())["base"]) / "model.safetensors")
    after = load_file(folder / "full/model.safetensors")
    assert base.keys() == after.keys() and any(not base[name].equal(after[name]) for name in base)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_the_merged_weights_give_the_logits_of_the_adapter_beside_its_base(kind, answered):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    record = json.loads((answered / kind / "lora/run.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(record["base"])
    beside = PeftModel.from_pretrained(base, answered / kind / "lora").eval()
    merged = AutoModelForCausalLM.from_pretrained(answered / kind / "merged").eval()
    ids = torch.randint(3, 250, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with beside.disable_adapter():
            before = beside(ids).logits
        after, whole = beside(ids).logits, merged(ids).logits
    assert torch.allclose(after, whole, atol=1e-4) and not torch.allclose(before, after, atol=1e-3)


@pytest.mark.slow
def test_the_command_line_evaluates_what_the_command_line_trained(model_of, benchmark, tmp_path):
    common = ["--model", model_of(), "--data", benchmark / "Train", "--out", tmp_path / "out", "--epochs", "0.2"]
    for command in (
        ["finetune/train.py", "--lora", *common, "--batch-size", "8", "--micro-batch-size", "8"],
        [
            "inference/eval.py",
            "--model",
            tmp_path / "out",
            "--data",
            benchmark / "Test",
            "--out",
            tmp_path / "result",
            "--max-new-tokens",
            "4",
        ],
    ):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result/result.json").read_text())["micro"]["n"] == 16
