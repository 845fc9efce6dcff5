"""What decides the answers is what a run is known by: anything else under the same --out is refused."""

import json
import shutil
from pathlib import Path

import pytest

import eval as evaluation
import html_report
from run_record import InputError

QUESTION = {"question": "Which?", "options": {"A": "x", "B": "y"}, "answer_idx": "A"}


def command(model: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ["--model", str(model), "--data", str(data), "--out", str(out), "--max-new-tokens", "2", *more]


def test_a_worked_example_with_another_answer_is_another_run(checkpoint, tmp_path):
    for split, count in (("Test", 2), ("Train", 3)):
        (tmp_path / split).mkdir()
        lines = [json.dumps(QUESTION | {"question": f"{split} {n}?"}) for n in range(count)]
        (tmp_path / split / "English.jsonl").write_text("\n".join(lines))
    asked = command(checkpoint, tmp_path / "Test", tmp_path / "out", "--few-shot", "2")
    assert evaluation.main(asked) == 0
    assert html_report.main([str(tmp_path / "out")]) == 0
    train = tmp_path / "Train/English.jsonl"
    train.write_text(train.read_text().replace('"answer_idx": "A"', '"answer_idx": "B"'))
    with pytest.raises(InputError, match=r"different inputs \(few_shot\)"):
        evaluation.main(asked)
    with pytest.raises(InputError, match="were shown as worked examples"):
        html_report.main([str(tmp_path / "out")])


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "chat_template.jinja"])
def test_a_foreign_model_with_other_settings_is_another_run(checkpoint, test_folder, tmp_path, name):
    model = shutil.copytree(checkpoint, tmp_path / "model")
    asked = command(model, test_folder, tmp_path / "out", "--limit", "1", "--languages", "ru")
    assert evaluation.main(asked) == 0
    path = model / name
    path.write_text((path.read_text() if path.exists() else "{{ messages }}") + "\n")
    with pytest.raises(InputError, match=r"different inputs \(model\)"):
        evaluation.main(asked)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--temperature", "0.2"), "--temperature does nothing without --samples over 1"),
        (("--samples", "3", "--temperature", "nan"), "--temperature over 0"),
        (("--rationale-mode", "paper"), "--rationale-mode does nothing without --form rationale"),
        (("--bert-layer", "3"), "--bert-layer does nothing without --bert-score"),
        (("--contamination-coverage", "0.9"), "does nothing without --contamination"),
        (("--api-base", "http://127.0.0.1:9/v1", "--batch-size", "3"), "does nothing without a local model"),
        (("--shard", "0/2", "--score-only"), "--score-only scores all"),
        (("--languages", "ru", "ar"), "no question in ar"),
    ],
)
def test_a_flag_without_effect_or_a_language_without_questions_is_said(
    checkpoint, test_folder, tmp_path, flags, message
):
    with pytest.raises(InputError, match=message):
        evaluation.main(command(checkpoint, test_folder, tmp_path / "out", *flags))
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_language_are_refused(checkpoint, test_folder, tmp_path):
    data = shutil.copytree(test_folder, tmp_path / "Test")
    (data / "en.jsonl").write_text(json.dumps(QUESTION | {"language": "en"}))
    with pytest.raises(InputError, match=r"English\.jsonl and en\.jsonl"):
        evaluation.main(command(checkpoint, data, tmp_path / "out"))
