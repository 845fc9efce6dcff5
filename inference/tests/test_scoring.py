"""Scores made again from saved answers: the parsing rule, and rationales on the questions that count."""

import json

import pytest

import eval as evaluation
from evaluation.scoring import question_of, rationale_scores, read_letters
from prompt_folder import Prompt
from run_record import InputError, read_json

RECORD = {"id": "q", "language": "en", "options": {"A": "Fever", "B": "Cough"}, "answer_idx": "B"}


def test_policy_reads_what_strict_counts_as_unparsed(prompt_folder):
    prompt = Prompt(prompt_folder)
    for output, strict, policy in (
        ("B", ["B"], ["B"]),
        ("The answer is B.", None, ["B"]),
        ("I cannot answer.", None, None),
    ):
        assert read_letters({"output": output}, RECORD, prompt, "strict")["letters"] == strict
        assert read_letters({"output": output}, RECORD, prompt, "policy")["letters"] == policy
    assert read_letters({"output": "I cannot answer."}, RECORD, prompt, "policy")["status"] == "refused"


def test_rationales_count_on_human_checked_questions_where_the_key_is_present(prompt_folder):
    prompt = Prompt(prompt_folder)
    records = [
        RECORD | {"id": str(n), "rationale": "Cough is seen.", "human_check_passed": passed}
        for n, passed in enumerate((True, False, None))
    ]
    outputs = ("Cough is seen.\nrationale ends\nB", "Nonsense\nrationale ends\nB", "")
    rows = [{"key": "en", "number": n, "id": str(n), "output": output} for n, output in enumerate(outputs)]
    found = rationale_scores(rows, {"en": records}, prompt, "default", "strict")["scores"]["en"]
    assert (found["on"], found["n"], found["questions"]) == ("human-checked", 1, 3)
    assert found["BLEU-1"] == pytest.approx(100)
    unchecked = [{k: v for k, v in r.items() if k != "human_check_passed"} for r in records]
    default = rationale_scores(rows, {"en": unchecked}, prompt, "default", "strict")["scores"]["en"]
    paper = rationale_scores(rows, {"en": unchecked}, prompt, "paper", "strict")["scores"]["en"]
    assert (default["on"], default["n"], default["empty"], paper["n"]) == ("all", 3, 1, 2)
    assert default["BLEU-1"] == pytest.approx(100 / 3, abs=0.01) and paper["BLEU-1"] == pytest.approx(50)
    without = [RECORD | {"id": str(n)} for n in range(3)]
    assert rationale_scores(rows, {"en": without}, prompt, "paper", "strict") is None


def test_marks_that_say_false_of_everything_mean_that_nobody_checked(prompt_folder):
    prompt = Prompt(prompt_folder)
    rows = [{"key": "en", "number": n, "id": str(n), "output": "Cough.\nrationale ends\nB"} for n in range(3)]

    def scores(*marks: dict) -> dict:
        records = [RECORD | {"id": str(n), "rationale": "Cough."} | mark for n, mark in enumerate(marks)]
        found = rationale_scores(rows, {"en": records}, prompt, "default", "strict")["scores"]["en"]
        return {name: found[name] for name in ("on", "n", "questions")}

    unchecked = {"human_checked": False, "human_check_passed": False}
    failed, passed = unchecked | {"human_checked": True}, {"human_checked": True, "human_check_passed": True}
    assert scores(unchecked, unchecked, unchecked) == {"on": "all", "n": 3, "questions": 3}
    assert scores(unchecked, failed, passed) == {"on": "human-checked", "n": 1, "questions": 3}
    assert scores(unchecked, failed, failed) == {"on": "human-checked", "n": 0, "questions": 3}
    with pytest.raises(InputError, match="human_check_passed: 'False' is neither true nor false"):
        scores(unchecked, unchecked, {"human_check_passed": "False"})


def test_answers_to_another_test_set_are_refused():
    with pytest.raises(InputError, match="does not have there"):
        question_of({"key": "en", "number": 0, "id": "other"}, {"en": [RECORD]})


def test_a_foreign_prompt_is_read_by_the_policy_and_scoring_again_asks_nothing(
    checkpoint, test_folder, prompt_folder, tmp_path, monkeypatch
):
    data = tmp_path / "Test"
    data.mkdir()
    for path in test_folder.glob("*.jsonl"):
        lines = [json.loads(line) | {"rationale": "Because it is."} for line in path.read_text("utf-8").splitlines()]
        (data / path.name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out"
    command = ["--model", str(checkpoint), "--data", str(data), "--out", str(out), "--form", "rationale"]
    command += ["--max-new-tokens", "24"]
    assert evaluation.main(command) == 0
    strict = read_json(out / "result.json")
    assert strict["scoring"] == {"parse": "strict", "rationale_mode": "default"}
    assert strict["rationales"]["scores"]["zh"]["tokenizer"] == "jieba.cut"
    assert strict["rationales"]["scores"]["en"]["n"] == strict["scores"]["en"]["n"] == 9
    monkeypatch.setattr(evaluation, "ask", None)  # would fail if anything were asked
    assert evaluation.main([*command, "--parse", "policy", "--rationale-mode", "paper"]) == 0
    policy = read_json(out / "result.json")
    assert policy["scoring"] == {"parse": "policy", "rationale_mode": "paper"}
    assert sum(s["unparsed"] for s in policy["scores"].values()) < sum(s["unparsed"] for s in strict["scores"].values())
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert {"option text", "letters", "announced"} & {row["status"] for row in rows}


def test_of_several_samples_the_rationale_that_led_to_the_answer_is_scored(prompt_folder):
    record = RECORD | {"rationale": "Cough is seen."}
    texts = ("Fever\nrationale ends\nA", "Cough is seen.\nrationale ends\nB", "Cough\nrationale ends\nB")
    row = {"key": "en", "number": 0, "id": "q", "letters": ["B"], "variants": [{"output": text} for text in texts]}
    found = rationale_scores([row], {"en": [record]}, Prompt(prompt_folder), "default", "strict")["scores"]["en"]
    assert found["BLEU-1"] == pytest.approx(100)
