"""model_card.py: scores of real runs go into the card of the model that was evaluated, and into no other."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import eval as evaluation
import model_card
from run_record import InputError, read_json, write_json


@pytest.fixture(scope="module")
def evaluated(checkpoint, test_folder, tmp_path_factory) -> tuple[Path, Path, Path]:
    """(model with a card, its results by generation, its results by letters with worked limits)."""
    home = tmp_path_factory.mktemp("somebody")
    model = shutil.copytree(checkpoint, home / "model")
    # A card as pretrain/ and finetune/ write it: the marks of the scores, and the line of the weights' licence.
    (model / "README.md").write_text(
        "---\nlicense: other\nlicense_name: unknown\nlanguage:\n- en\ntags:\n- medical\n---\n\n# model\n\n"
        "## Scores\n\n<!-- scores: begin -->\nNone yet.\n<!-- scores: end -->\n\n"
        "## Limits\n\n- **Languages.** Trained on en; any other is untested.\n\n"
        "## Licences\n\n- **These weights**: unknown (`--weights-licence` was not given), so ask before any use.\n",
        "utf-8",
    )
    flags = ["--model", str(model), "--data", str(test_folder), "--out"]
    assert evaluation.main([*flags, str(home / "generated")]) == 0
    assert evaluation.main([*flags, str(home / "letters"), "--mode", "letter-logprob", "--limit", "5"]) == 0
    return model, home / "generated", home / "letters"


def put(model: Path, *more: str) -> ModelCard:
    assert model_card.main([*more, "--model", str(model)]) == 0
    return ModelCard.load(model / "README.md")


def test_scores_stand_with_n_interval_setting_mode_and_prompt(evaluated):
    model, generated, letters = evaluated
    before = (model / "README.md").read_text("utf-8")
    card = put(model, str(generated), str(letters))
    for folder in (generated, letters):
        result = read_json(folder / "result.json")
        for key, s in result["scores"].items():
            low, high = s["ci95"]
            assert f"| {key} | {s['n']} | {s['right']} | {s['accuracy']:.2f} | {low:.2f} to {high:.2f} |" in card.text
        micro = result["micro"]
        assert f"| all questions | {micro['n']} | {micro['right']} | {micro['accuracy']:.2f} |" in card.text
    asked = f"setting zero-shot; mode generate; form answer; prompt test 1 (SHA-256 {result['prompt']['sha256'][:12]})"
    assert asked in card.text and "mode letter-logprob" in card.text and "limit 5" in card.text
    assert "### MMedBench/Test: 22 questions" in card.text and "Not evaluated yet" not in card.text
    assert str(model.parent) not in card.content
    again = put(model, str(letters))
    assert "mode generate" not in again.text, "the section is written again"
    outside = [
        text.split(model_card.SCORES_BEGIN)[0] + text.split(model_card.SCORES_END)[1]
        for text in (before, again.content)
    ]
    assert outside[0] == outside[1], "only the scores may change"


def test_an_answer_of_one_letter_only_is_called_collapsed(evaluated, tmp_path):
    model, generated, _ = evaluated
    folder = shutil.copytree(generated, tmp_path / "one letter")
    result = read_json(folder / "result.json")
    result["scores"]["ru"]["predicted_letters"] = {"A": 19, "B": 1}
    result["scores"]["en"]["predicted_letters"] = {"A": 10, "B": 9}
    write_json(folder / "result.json", result)
    text = put(model, str(folder)).text
    assert "**Collapsed** onto one letter in ru (A: 95 % of 20 letters): these accuracies" in text


def test_the_licence_and_the_data_can_be_named_later(evaluated):
    card = put(evaluated[0], "--weights-licence", "llama3", "--data-names", "org/MMedBench: x")
    assert card.data.license == "llama3" and "license_name" not in card.data.to_dict()
    assert card.data.datasets == ["org/MMedBench: x"] and card.data.language == ["en"]
    assert "- **These weights**: llama3." in card.text


def test_runs_and_cards_that_do_not_belong_together_are_refused(evaluated, checkpoint, tmp_path):
    model, generated, _ = evaluated
    before = (model / "README.md").read_bytes()
    other = shutil.copytree(model, tmp_path / "other")
    (other / "run.json").write_text(json.dumps({"stage": "other"}))
    with pytest.raises(InputError, match="is a run of another model than"):
        model_card.main([str(generated), "--model", str(other)])
    (other / "run.json").unlink()
    (other / "README.md").write_text("---\nlicense: mit\n---\n# Model Card for Model ID\n")
    with pytest.raises(InputError, match="has no place for scores"):
        model_card.main([str(generated), "--model", str(other)])
    with pytest.raises(InputError, match="has no model card"):
        model_card.main([str(generated), "--model", str(checkpoint)])
    with pytest.raises(InputError, match=r"has no result\.json"):
        model_card.main([str(tmp_path), "--model", str(model)])
    with pytest.raises(InputError, match="nothing to put"):
        model_card.main(["--model", str(model)])
    assert (model / "README.md").read_bytes() == before


def test_a_language_without_a_rationale_that_counts_has_a_dash():
    row = {"n": 0, "on": "human-checked", "BLEU-1": None, "ROUGE-1": None, "ROUGE-L": None}
    found = {"metrics": ["BLEU-1", "ROUGE-1", "ROUGE-L"], "mode": "default", "scores": {"en": row}}
    assert "| en | 0 | human-checked | - | - | - |" in model_card.rationale_lines(found)
