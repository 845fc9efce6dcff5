"""What a user may bring that does not fit: each ends in a sentence with the place, or is counted."""

import json
import shutil
from pathlib import Path

import pytest

import eval as evaluation
from run_record import InputError, read_json

GOOD = {"question": "Which?", "options": {"A": "x", "B": "y"}, "answer_idx": "A"}


def refused(model: Path, data: Path, out: Path, message: str, *more: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluation.main(["--model", str(model), "--data", str(data), "--out", str(out), *more])
    assert not out.exists(), "nothing may be written before the input is known to be good"


def test_a_checkpoint_without_a_prompt_needs_one_by_name(checkpoint, test_folder, prompt_folder, tmp_path):
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    shutil.rmtree(bare / "prompt")
    refused(bare, test_folder, tmp_path / "out", r"bare brings no prompt; name one with --prompt")
    flags = ["--model", str(bare), "--data", str(test_folder), "--out", str(tmp_path / "out"), "--limit", "1"]
    assert evaluation.main([*flags, "--prompt", str(prompt_folder)]) == 0
    assert read_json(tmp_path / "out/result.json")["setting"] == "zero-shot"


def test_a_prompt_that_was_edited_without_its_worked_examples_is_refused(checkpoint, test_folder, tmp_path):
    model = shutil.copytree(checkpoint, tmp_path / "model")
    template = model / "prompt/prompt.jinja"
    template.write_text(template.read_text() + " ")
    refused(model, test_folder, tmp_path / "out", r"prompt.*worked example")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Which?", "options"', r"English\.jsonl:2: not JSON"),
        (json.dumps(GOOD | {"answer_idx": "C"}), r"English\.jsonl:2: answer_idx"),
        (json.dumps({"question": "Which?"}), r"English\.jsonl:2: options: missing"),
        (json.dumps(GOOD | {"options": {"A": "x", "C": "y"}}), r"English\.jsonl:2: options: expected the letters A, B"),
        ("[1, 2]", r"English\.jsonl:2: expected a JSON object"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(checkpoint, tmp_path, line, message):
    data = tmp_path / "Test"
    data.mkdir()
    (data / "English.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n")
    refused(checkpoint, data, tmp_path / "out", message)


def test_a_language_without_questions_is_named(checkpoint, test_folder, tmp_path):
    data = shutil.copytree(test_folder, tmp_path / "Test")
    (data / "German.jsonl").write_text("")
    refused(checkpoint, data, tmp_path / "out", r"German\.jsonl contains no questions; remove the file or add some")
    (data / "German.jsonl").unlink()
    refused(checkpoint, data, tmp_path / "out", "no question in ar", "--languages", "ar")


@pytest.mark.parametrize("mode", ["generate", "letter-logprob", "option-logprob"])
def test_eight_options_beside_two_are_asked_and_scored(checkpoint, tmp_path, mode):
    data = tmp_path / "Test"
    data.mkdir()
    eight = GOOD | {"options": {letter: letter.lower() for letter in "ABCDEFGH"}, "answer_idx": "B,H"}
    lines = [GOOD, eight, eight | {"question": "And which?", "answer_idx": "H"}]
    (data / "English.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = ["--model", str(checkpoint), "--data", str(data), "--out", str(tmp_path / "out"), "--mode", mode]
    assert evaluation.main(flags) == 0
    score = read_json(tmp_path / "out/result.json")["scores"]["en"]
    assert {number: row["n"] for number, row in score["by_options"].items()} == {"2": 1, "8": 2}
    rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [row["options"] for row in rows] == ["AB", "ABCDEFGH", "ABCDEFGH"]
    if mode != "generate":
        assert [len(row[f"{mode.replace('-', '_')}s"]) for row in rows] == [2, 8, 8]


def test_a_tokenizer_without_padding_answers_in_batches_as_alone(checkpoint, test_folder, tmp_path):
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(checkpoint).pad_token is None
    flags = ["--model", str(checkpoint), "--data", str(test_folder), "--limit", "3"]
    for size in ("1", "9"):
        assert evaluation.main([*flags, "--batch-size", size, "--out", str(tmp_path / size)]) == 0
    assert (tmp_path / "1/predictions.jsonl").read_bytes() == (tmp_path / "9/predictions.jsonl").read_bytes()
