"""Few-shot prompts, option texts by log-probability, samples, turned options, shards, and too little memory."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eval as evaluation
from evaluation.variants import majority, turn, turn_back
from run_record import InputError, read_json


def run(checkpoint: Path, data: Path, out: Path, *flags: str) -> dict:
    command = ["--model", str(checkpoint), "--data", str(data), "--out", str(out), "--max-new-tokens", "6", *flags]
    assert evaluation.main(command) == 0
    return read_json(out / "result.json") if (out / "result.json").exists() else {}


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]


def test_option_texts_have_the_probability_of_a_plain_forward_pass(checkpoint, test_folder, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mmedbench_questions import read_questions
    from prompt_folder import Prompt

    run(checkpoint, test_folder, tmp_path / "out", "--mode", "option-logprob", "--languages", "ru", "--batch-size", "3")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    prompt, rows = Prompt(checkpoint / "prompt"), rows_of(tmp_path / "out")
    for row, record in zip(rows, read_questions(test_folder / "Russian.jsonl"), strict=True):
        for letter, text in record["options"].items():
            before = tokenizer(prompt.render(record, "answer"))["input_ids"]
            after = tokenizer(text)["input_ids"]
            with torch.no_grad():
                logprobs = torch.log_softmax(model(torch.tensor([before + after])).logits[0].float(), -1)
            total = sum(float(logprobs[len(before) + i - 1, token]) for i, token in enumerate(after))
            assert row["option_logprobs"][letter] == pytest.approx(total / len(text.encode()), abs=2e-4)
        assert row["letters"] == [max(row["option_logprobs"], key=row["option_logprobs"].get)]


@given(st.integers(2, 8), st.integers(0, 9), st.data())
def test_an_answer_by_its_text_is_the_same_in_every_turn(count, turns, data):
    letters = "ABCDEFGH"[:count]
    record = {"options": {letter: f"text {letter}" for letter in letters}}
    wanted = data.draw(st.sets(st.sampled_from(letters), min_size=1))
    shown = turn(record, turns)["options"]
    given_letters = [letter for letter, text in shown.items() if text[-1] in wanted]
    assert turn_back(given_letters, letters, turns) == sorted(wanted)


def test_turned_options_are_asked_and_counted(checkpoint, test_folder, tmp_path):
    result = run(checkpoint, test_folder, tmp_path / "out", "--circular", "--mode", "letter-logprob")
    plain = run(checkpoint, test_folder, tmp_path / "plain", "--mode", "letter-logprob")
    assert result["micro"] == plain["micro"], "the answer that counts is that of the question as it stands"
    rows = rows_of(tmp_path / "out")
    assert all(len(row["turns"]) == len(row["options"]) for row in rows)
    zh = [row for row in rows if row["key"] == "zh"]
    circle = result["scores"]["zh"]["circular"]
    assert circle["n"] == 6
    assert circle["right_in_every_turn"] == sum(all(t == row["gold"] for t in row["turns"]) for row in zh)


def test_samples_vote_and_are_drawn_alike_again(checkpoint, test_folder, tmp_path):
    flags = ("--samples", "3", "--temperature", "1.5", "--languages", "ru", "--parse", "policy")
    run(checkpoint, test_folder, tmp_path / "a", *flags)
    run(checkpoint, test_folder, tmp_path / "b", *flags)
    run(checkpoint, test_folder, tmp_path / "c", *flags, "--seed", "1")
    run(checkpoint, test_folder, tmp_path / "d", *flags, "--batch-size", "4")
    a, b, c, d = (rows_of(tmp_path / name) for name in "abcd")
    assert a == b == d and a != c, "the seed decides, the batches do not"
    assert all(len(row["variants"]) == 3 for row in a)
    assert any(len({v["output"] for v in row["variants"]}) > 1 for row in a)
    assert majority([["A"], ["B"], None, ["B"]]) == (["B"], 0.5)
    assert majority([["B"], ["A"]]) == (["B"], 0.5) and majority([None]) == (None, 0.0)


def test_few_shot_examples_come_from_the_train_set_and_give_way_to_the_question(
    checkpoint, test_folder, tmp_path, capsys
):
    data = tmp_path / "MMedBench"
    shutil.copytree(test_folder, data / "Test")
    (data / "Train").mkdir()
    line = (test_folder / "Russian.jsonl").read_text("utf-8").splitlines()[0]
    record = json.loads(line)
    texts = list(record["options"].values())  # the same question, its options the other way round: another id
    turned = record | {"options": dict(zip("AB", texts[::-1], strict=True)), "answer_idx": "B"}
    train = [{"question": f"Пример {i}?", "options": {"A": "да", "B": "нет"}, "answer_idx": "B"} for i in range(3)]
    text = (
        line
        + "\n"
        + json.dumps(turned, ensure_ascii=False)
        + "\n"
        + "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in train)
    )
    (data / "Train/Russian.jsonl").write_text(text, "utf-8")
    flags = ("--few-shot", "3", "--languages", "ru")
    run(checkpoint, data / "Test", tmp_path / "out", *flags)
    shown = capsys.readouterr().out
    assert shown.count("Пример") == 3 and "answer:B\n\n" in shown
    assert all(row["examples_dropped"] >= 0 for row in rows_of(tmp_path / "out"))
    with pytest.raises(InputError, match="has 3 usable questions in ru, fewer than --few-shot 4"):
        run(checkpoint, data / "Test", tmp_path / "other", "--few-shot", "4", "--languages", "ru")
    with pytest.raises(InputError, match="usable questions in en"):
        run(checkpoint, data / "Test", tmp_path / "other", "--few-shot", "1", "--languages", "en")


def test_two_shards_end_with_the_bytes_of_one_run(checkpoint, test_folder, tmp_path, capsys):
    run(checkpoint, test_folder, tmp_path / "one", "--batch-size", "4")
    assert run(checkpoint, test_folder, tmp_path / "two", "--batch-size", "4", "--shard", "1/2") == {}
    assert "answers of other shards are still missing" in capsys.readouterr().out
    run(checkpoint, test_folder, tmp_path / "two", "--batch-size", "4", "--shard", "0/2")
    one, two = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two and not list((tmp_path / "two").glob("*partial*"))


def test_too_little_memory_halves_the_batches_and_changes_no_answer(
    checkpoint, test_folder, tmp_path, monkeypatch, capsys
):
    import torch

    from local_model import local_model

    run(checkpoint, test_folder, tmp_path / "whole")
    original, asked = local_model.generate, []

    def small(loaded, prompts, *rest):
        asked.append(len(prompts))
        if len(prompts) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return original(loaded, prompts, *rest)

    monkeypatch.setattr(local_model, "generate", small)
    run(checkpoint, test_folder, tmp_path / "halved")
    whole, halved = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("whole", "halved"))
    assert whole == halved and "halved" in capsys.readouterr().out
    assert asked[0] == 22 and max(asked[2:]) <= 11

    def none(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(local_model, "generate", none)
    with pytest.raises(InputError, match=r"a single question of .* does not fit in memory"):
        run(checkpoint, test_folder, tmp_path / "none")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--samples", "3", "--circular"), "--samples goes with"),
        (("--samples", "3", "--temperature", "0"), "--samples goes with"),
        (("--mode", "option-logprob", "--form", "rationale"), "use --form answer"),
        (("--few-shot-data", "x"), "--few-shot takes"),
        (("--batch-size", "0"), "expected 1 or more"),
        (("--limit", "-1"), "expected 1 or more"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(checkpoint, test_folder, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        run(checkpoint, test_folder, tmp_path / "out", *flags)
