"""A model that brings its own Python code: trained further, exported, averaged, and loaded from the exports alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import average_checkpoints
import export_model
from run_record import InputError, read_json

ROOT = Path(__file__).parents[2]
CONFIGURATION = """from transformers import LlamaConfig


class OwnConfig(LlamaConfig):
    model_type = "own_model"
"""
# With a relative import and a weight that the library's class does not have: only this code makes its logits.
SCALE = "SCALE = 3.0\n"
MODEL = """import torch
from transformers import LlamaForCausalLM

from .configuration_own import OwnConfig
from .scale_own import SCALE


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.louder = torch.nn.Parameter(torch.ones(1))

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, **rest):
        found = super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **rest
        )
        found.logits = found.logits * self.louder * SCALE
        return found
"""


@pytest.fixture(scope="module")
def base(tokenizer_folder, tmp_path_factory) -> Path:
    """A published folder of such a model."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = shutil.copytree(tokenizer_folder, tmp_path_factory.mktemp("base") / "own")
    (folder / "run.json").unlink()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=448, max_position_embeddings=64, **sizes))
    llama.save_pretrained(folder)
    weights = {name: value.clone() for name, value in llama.state_dict().items()} | {"louder": torch.ones(1)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = read_json(folder / "config.json") | {
        "model_type": "own_model",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name, text in (("configuration_own", CONFIGURATION), ("modeling_own", MODEL), ("scale_own", SCALE)):
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.slow
def test_a_model_with_its_own_code_is_trained_exported_and_averaged(base, store_folder, tmp_path):
    out = tmp_path / "trained"
    done = subprocess.run(
        [
            sys.executable,
            "pretrain/train_lm.py",
            str(store_folder),
            "--model",
            str(base),
            "--out",
            str(out),
            "--steps",
            "2",
            "--sequence-length",
            "32",
            "--global-batch-size",
            "4",
            "--micro-batch-size",
            "4",
            "--save-every",
            "1",
            "--validation-documents",
            "2",
            "--trust-remote-code",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    with pytest.raises(InputError, match=r"brings Python code of its own.*--trust-remote-code"):
        export_model.main([str(out), "--step", "1", "--out", str(tmp_path / "refused")])
    assert not (tmp_path / "refused/config.json").exists()
    exported, mean = tmp_path / "exported", tmp_path / "mean"
    assert export_model.main([str(out), "--step", "2", "--out", str(exported), "--trust-remote-code"]) == 0
    assert average_checkpoints.main([str(out), "--last", "2", "--out", str(mean), "--trust-remote-code"]) == 0
    shutil.rmtree(base)  # the exports must need nothing of it

    from transformers import AutoModelForCausalLM

    for folder in (out, exported, mean):
        names = {"configuration_own.py", "modeling_own.py", "scale_own.py", "README.md"}
        assert names <= {path.name for path in folder.iterdir()}
        model = AutoModelForCausalLM.from_pretrained(folder, **{"trust_remote_code": bool(folder)})
        assert type(model).__name__ == "OwnModel" and "louder" in dict(model.named_parameters())
    assert (out / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()


def test_a_model_that_the_library_knows_is_exported_without_a_pointer_to_code(tokenizer_folder, tmp_path):
    """Published folders often name code of their own beside what the library has by now; it is not needed then."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=448, auto_map={"AutoConfig": "org/name--old.OldConfig"}, **sizes))
    export_model.save_model_description(model, AutoTokenizer.from_pretrained(tokenizer_folder), tmp_path)
    assert "auto_map" not in read_json(tmp_path / "config.json") and not list(tmp_path.glob("*.py"))
    export_model.refuse_untrusted_code(tmp_path, False)
