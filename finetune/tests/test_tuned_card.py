"""The model card of a fine-tuned adapter, of a full model and of a merged one: figures and header as in run.json."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import merge
import train
from run_record import read_json, write_json

SMALL = [
    "--batch-size",
    "8",
    "--micro-batch-size",
    "4",
    "--epochs",
    "1",
    "--max-length",
    "300",
    "--limit",
    "3",
    "--learning-rate",
    "1e-3",
    "--validation-questions",
    "1",
    "--validation-share",
    "0.5",
]


@pytest.fixture(scope="module")
def tuned(model_of, benchmark, tmp_path_factory) -> Path:
    """A LoRA adapter on a base that says of itself where it comes from."""
    import shutil

    base = shutil.copytree(model_of(), tmp_path_factory.mktemp("base") / "home-of-somebody")
    write_json(base / "run.json", {"card": {"base_hub": "org/published", "weights_licence": "llama3"}})
    out = tmp_path_factory.mktemp("lora") / "adapter"
    flags = ["--model", str(base), "--data", str(benchmark / "Train"), "--out", str(out), "--lora", "--weights-licence"]
    assert train.main([*flags, "cc-by-nc-4.0", *SMALL]) == 0
    return out


def test_the_card_of_an_adapter_says_what_run_json_says_and_is_not_the_librarys(tuned, benchmark):
    card, record = ModelCard.load(tuned / "README.md"), read_json(tuned / "run.json")
    assert card.data.license == "cc-by-nc-4.0" and card.data.base_model == "org/published"
    assert card.data.language == ["en", "fr", "ru", "zh"] and card.data.library_name == "peft"
    assert card.data.datasets == ["MMedBench"] and {"medical", "lora"} <= set(card.data.tags)
    mixture, counts = record["mixture"], record["counts"]
    for code in card.data.language:
        cells = [counts["questions"][code], counts["dropped: is in the test set"][code]]
        row = next(line for line in card.text.splitlines() if line.startswith(f"| {code} |"))
        assert row.startswith(f"| {code} | {cells[0]} | {cells[1]} |")
        assert row.endswith(f"| {mixture['answer'][code]} | {mixture['rationale'][code]} |")
    assert f"| steps | {record['steps']} |" in card.text and "| learning\\_rate | 0.001 |" in card.text
    assert f"| last | {record['validation']['last']['step']} | en |" in card.text
    assert record["provenance"]["commit"] in card.text and "llama3; those terms hold" in card.text
    for words in (
        "Not for clinical use",
        "not medical advice",
        "No safety evaluation",
        "Not evaluated yet",
        "Apache-2",
    ):
        assert words in card.text
    assert "More Information Needed" not in card.content
    assert str(tuned.parent) not in card.content and str(benchmark.parent) not in card.content
    assert "README.md" not in record["files"], "scores are put into the card later"


def test_a_merged_model_inherits_the_cards_facts(tuned, tmp_path):
    assert merge.main([str(tuned), "--out", str(tmp_path / "merged")]) == 0
    card = ModelCard.load(tmp_path / "merged/README.md")
    assert (card.data.license, card.data.base_model) == ("cc-by-nc-4.0", "org/published")
    assert card.data.library_name == "transformers" and card.data.language == ["en", "fr", "ru", "zh"]
    assert "# merged" in card.text and "added into its base" in card.text
    assert merge.main([str(tuned), "--out", str(tmp_path / "other"), "--weights-licence", "mit"]) == 0
    assert ModelCard.load(tmp_path / "other/README.md").data.license == "mit"


def test_a_model_tuned_in_full_without_validation_has_a_card_too(model_of, benchmark, tmp_path):
    flags = ["--model", str(model_of()), "--data", str(benchmark / "Train"), "--out", str(tmp_path / "full")]
    assert train.main([*flags, *SMALL, "--languages", "zh", "--validation-questions", "0"]) == 0
    card = ModelCard.load(tmp_path / "full/README.md")
    assert card.data.language == ["zh"] and "multilingual" not in card.data.tags
    assert (card.data.license, card.data.license_name, card.data.base_model) == ("other", "unknown", None)
    assert "a model tuned in full" in card.text and "held out of the train set, in nats" not in card.text
