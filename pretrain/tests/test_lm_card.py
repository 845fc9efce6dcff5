"""The model card of exported and averaged models: its header and its figures are those of run.json."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import average_checkpoints
import export_model
from checkpointing.checkpoints import Checkpoints
from run_record import read_json, write_json
from training import lm_card

pytestmark = pytest.mark.usefixtures("group_of_one")


@pytest.fixture(scope="module")
def run(tokenizer_folder, store_folder, tmp_path_factory, group_of_one) -> Path:
    """A run's folder with checkpoints at steps 1 and 2, and what train_lm.py notes of its data."""
    out = tmp_path_factory.mktemp("home") / "pretrained"
    sizes = {"vocab_size": 448, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
    engine = SimpleNamespace(
        module=model, optimizer=torch.optim.AdamW(model.parameters()), zero_optimization_stage=lambda: 0
    )
    export_model.save_model_description(model, AutoTokenizer.from_pretrained(tokenizer_folder), out / "training/model")
    identity = {"seed": 0, "init_config": f"{tokenizer_folder}/two_layers.yaml", "inputs": {"tokens": "0"}}
    kept = Checkpoints(engine, out / "training", identity, keep=2)
    for step in (1, 2):
        model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
        engine.optimizer.step()
        kept.save(step)
    args = argparse.Namespace(
        data=store_folder, replay=store_folder, model="some/base", weights_licence="llama3", data_names=None
    )
    write_json(out / "training/card.json", lm_card.training_facts(args))
    rows = [{"step": 1, "tokens": 1000}, {"step": 2, "tokens": 2000}]
    (out / "training/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def test_the_card_of_an_export_says_what_run_json_says(run, store_folder, tmp_path):
    out = tmp_path / "exported"
    assert export_model.main([str(run), "--step", "1", "--out", str(out), "--data-names", "MMedC"]) == 0
    card, record = ModelCard.load(out / "README.md"), read_json(out / "run.json")
    assert card.data.license == "llama3" and card.data.base_model == "some/base" and card.data.datasets == ["MMedC"]
    assert card.data.language == ["en", "fr", "ru", "zh"] == list(record["card"]["languages"])
    assert card.data.pipeline_tag == "text-generation" and "medical" in card.data.tags
    shards = read_json(store_folder / "manifest.json")["shards"].values()
    for code, row in record["card"]["languages"].items():
        assert row["tokens"] == sum(s["tokens"] for s in shards if s["language"] == code)
        assert f"| {code} | {row['documents']:,} | {row['tokens']:,} |" in card.text
    assert record["tokens_seen"] == 1000 and "| tokens seen | 1,000 |" in card.text and "| step | 1 |" in card.text
    assert "general text in en, fr, ru, zh" in card.text and record["provenance"]["commit"] in card.text
    for words in (
        "Not for clinical use",
        "not medical advice",
        "No safety evaluation",
        "Apache-2",
        "Not evaluated yet",
    ):
        assert words in card.text
    assert "two\\_layers.yaml" in card.text, "a path is its last part"
    assert str(tmp_path) not in card.content and str(Path(run).parent) not in card.content


def test_the_card_of_a_mean_names_its_parents_number_and_languages(run, tmp_path):
    out = tmp_path / "mean"
    assert average_checkpoints.main([str(run), "--last", "2", "--out", str(out), "--weights-licence", "My own"]) == 0
    card = ModelCard.load(out / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "my-own")
    assert "| parents averaged | 2 |" in card.text and card.data.language == ["en", "fr", "ru", "zh"]
    for step in ("1", "2"):
        export_model.main([str(run), "--step", step, "--out", str(tmp_path / f"step{step}")])
    folders = [str(tmp_path / "step1"), str(tmp_path / "step2")]
    assert average_checkpoints.main([*folders, "--out", str(tmp_path / "of_folders")]) == 0
    again = ModelCard.load(tmp_path / "of_folders/README.md")
    assert again.data.language == ["en", "fr", "ru", "zh"] and again.data.license == "llama3"


def test_a_run_without_notes_of_its_data_gets_a_card_that_says_so(run, tmp_path):
    (run / "training/card.json").rename(tmp_path / "card.json")
    try:
        assert export_model.main([str(run), "--out", str(tmp_path / "out")]) == 0
    finally:
        (tmp_path / "card.json").rename(run / "training/card.json")
    card = ModelCard.load(tmp_path / "out/README.md")
    assert (card.data.license, card.data.license_name, card.data.language) == ("other", "unknown", None)
    assert "training data is not recorded" in card.text and "ask before any use" in card.text


def test_names_from_outside_break_neither_header_nor_tables(run, tmp_path):
    evil = "a: b | # <script>alert(1)</script> [x](http://evil)"
    out = tmp_path / "no: yes | *x*"
    assert export_model.main([str(run), "--out", str(out), "--weights-licence", evil, "--data-names", evil, "no"]) == 0
    card = ModelCard.load(out / "README.md")
    assert card.data.datasets == [evil, "no"] and card.data.license == "other"
    assert "<script>" not in card.text and "x](" not in card.text and "# no: yes \\| \\*x\\*" in card.text


def test_a_licence_of_two_lines_is_refused(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_model.main([str(run), "--out", str(tmp_path / "out"), "--weights-licence", "a\nb"])
    assert "--weights-licence" in capsys.readouterr().err
