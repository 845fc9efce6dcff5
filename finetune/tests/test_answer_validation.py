"""Questions held out of the train set, what is measured on them, and what follows from it."""

import argparse
import json
import shutil

import pytest

import train
from mmedbench_questions import read_questions
from prompt_folder import Prompt
from run_record import InputError, read_json, sha256_of_file, write_json
from sft_data.batching import PadOnTheRight
from sft_data.examples import ExampleText
from sft_training.answer_validation import hold_out, validate, validation_examples
from sft_training.supervised_training import better


def question(language: str, number: int, text: str = "Question {}?") -> dict:
    return {"language": language, "question": text.format(number), "options": {"A": "x", "B": "y"}, "id": str(number)}


def test_of_each_language_so_many_are_held_out_but_at_most_a_share():
    questions = [question("en", n) for n in range(1000)] + [question("fr", n) for n in range(100)]
    questions += [question("ru", n) for n in range(3)]
    training, held_out = hold_out(questions, 40, 0.1, seed=0)
    counts = {code: sum(q["language"] == code for q in held_out) for code in ("en", "fr", "ru")}
    assert counts == {"en": 40, "fr": 10, "ru": 0}
    assert len(training) + len(held_out) == len(questions)
    turned = hold_out(questions[::-1], 40, 0.1, seed=0)[1]
    assert {(q["language"], q["id"]) for q in turned} == {(q["language"], q["id"]) for q in held_out}
    assert hold_out(questions, 40, 0.1, seed=1)[1] != held_out


def test_questions_that_ask_the_same_stay_together():
    questions = [question("en", n // 2, "Question {}?" if n % 2 else "question {} !") for n in range(100)]
    training, held_out = hold_out(questions, 10, 0.5, seed=0)
    assert len(held_out) == 20 and not {q["id"] for q in held_out} & {q["id"] for q in training}


@pytest.fixture(scope="module")
def model_and_examples(model_of, benchmark):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_of())
    tokenizer = AutoTokenizer.from_pretrained(model_of())
    questions = [q for path in sorted((benchmark / "Train").glob("*.jsonl")) for q in read_questions(path)]
    encoding = ExampleText(tokenizer, Prompt(train.build_parser("").parse_args([]).prompt))
    return model, tokenizer, questions, validation_examples(questions, encoding, 600, ["answer", "rationale"])


def test_loss_and_accuracy_equal_a_plain_forward_pass_question_by_question(model_and_examples):
    import torch

    model, tokenizer, questions, examples = model_and_examples
    scores = validate(model, examples, 5, PadOnTheRight(0), "cpu")
    prompt = Prompt(train.build_parser("").parse_args([]).prompt)
    losses, right, single = [], 0, 0
    for record in (q for q in questions if q["language"] == "fr"):
        for form in ("answer", "rationale"):
            before = tokenizer(prompt.render(record, form))["input_ids"]
            after = [*tokenizer(prompt.target(record, form))["input_ids"], tokenizer.eos_token_id]
            with torch.no_grad():
                logprobs = torch.log_softmax(model(torch.tensor([before + after])).logits[0].float(), -1)
            rows = logprobs[len(before) - 1 : -1]
            losses.append(-float(rows[torch.arange(len(after)), after].mean()))
            if form == "answer" and "," not in record["answer_idx"]:
                letters = {letter: float(rows[0, tokenizer(letter)["input_ids"][0]]) for letter in record["options"]}
                right += max(letters, key=letters.get) == record["answer_idx"]
                single += 1
    french = scores["languages"]["fr"]
    assert french["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert (french["n"], french["single"], french["accuracy"]) == (len(losses), single, 100 * right / single)
    assert scores["loss"] == pytest.approx(sum(row["loss"] for row in scores["languages"].values()) / 4)
    assert model.training is False, "the model is left as it was found"


COMMAND = [
    "--batch-size",
    "8",
    "--micro-batch-size",
    "4",
    "--max-length",
    "400",
    "--save-every",
    "50",
    "--log-every",
    "1",
    "--validation-share",
    "0.34",
    "--validate-every",
    "2",
]


@pytest.fixture(scope="module")
def diverged(model_of, benchmark, tmp_path_factory):
    """A run that soon gets worse, because its learning rate is absurd, and is asked to stop when it does."""
    out = tmp_path_factory.mktemp("diverged") / "out"
    command = [
        "--model",
        str(model_of()),
        "--data",
        str(benchmark / "Train"),
        "--out",
        str(out),
        *COMMAND,
        "--epochs",
        "9",
        "--learning-rate",
        "3",
        "--clip",
        "1000",
        "--early-stopping",
        "2",
        "--lora",
        "--merge",
    ]
    assert train.main(command) == 0
    return out


def test_the_best_weights_are_written_out_and_a_run_that_gets_no_better_stops(diverged, model_and_examples):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    rows = [json.loads(line) for line in (diverged / "training/metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["validation"]["loss"] for row in rows if "validation" in row}
    best = min((loss, step) for step, loss in losses.items() if step)[1]
    record = read_json(diverged / "run.json")
    assert record["stopped_early"] and record["steps"] == max(losses) == best + 4
    assert record["validation"]["best"]["step"] == best and record["validation"]["before"]["step"] == 0
    assert record["counts"]["held out for validation"] == dict.fromkeys(("en", "fr", "ru", "zh"), 2)
    assert record["examples"] == 2 * 4 * 4, "what is held out is not trained on"
    kept = diverged / f"training/best-{best}/adapter_model.safetensors"
    assert sha256_of_file(diverged / "adapter_model.safetensors") == sha256_of_file(kept)
    _, _, _, examples = model_and_examples
    base = AutoModelForCausalLM.from_pretrained(diverged / record["base_from_here"])
    adapted = PeftModel.from_pretrained(base, diverged).eval()
    merged = AutoModelForCausalLM.from_pretrained(diverged / "merged")
    ours, theirs = (validate(model, examples, 8, PadOnTheRight(0), "cpu") for model in (adapted, merged))
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)


def test_a_merged_model_is_reused_and_another_folder_is_not_written_over(diverged, tmp_path, capsys):
    import merge

    assert merge.main([str(diverged)]) == 0 and "is reused" in capsys.readouterr().out
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("x")
    for arguments, message in (
        ([diverged, "--out", tmp_path / "full"], "contains something else"),
        ([diverged, "--out", diverged], "the adapter's own folder"),
        ([diverged / "merged"], "is not a LoRA adapter"),
    ):
        with pytest.raises(InputError, match=message):
            merge.main([str(word) for word in arguments])
    moved = shutil.copytree(diverged, tmp_path / "far/away/adapter", ignore=shutil.ignore_patterns("merged"))
    write_json(moved / "run.json", read_json(moved / "run.json") | {"base": "gone"})
    with pytest.raises(InputError, match="the base model of"):
        merge.main([str(moved)])


def test_the_first_rank_decides_which_weights_are_the_best(tmp_path, monkeypatch):
    from sft_training import supervised_training

    args = argparse.Namespace(out=tmp_path, best_by="loss", validate_every=2)
    validation = supervised_training.Validation([], args)
    write_json(tmp_path / "training/best-2/validation.json", {"step": 2, "loss": 1.0, "accuracy": None})
    assert validation.best()["step"] == 2
    later = {"step": 6, "loss": 1.5, "accuracy": None}
    assert validation._compare(later) == (False, 2) and validation._compare(later | {"loss": 0.5}) == (True, 0)

    def broadcast(answer: list, src: int) -> None:
        assert answer == [None] and src == 0, "another rank has looked for itself"
        answer[0] = "the first rank's"

    other = argparse.Namespace(is_initialized=lambda: True, get_rank=lambda: 1, broadcast_object_list=broadcast)
    monkeypatch.setattr(supervised_training, "dist", other)
    assert validation.best() == "the first rank's"


def test_better_goes_by_loss_or_by_accuracy_and_then_loss():
    first, second = {"loss": 1.0, "accuracy": 40.0}, {"loss": 1.1, "accuracy": 50.0}
    assert better(first, second, "loss") and not better(first, second, "accuracy")
    assert better(first | {"accuracy": 50.0}, second, "accuracy")
    assert not better(first, first, "loss")


def test_early_stopping_without_anything_to_validate_is_refused(model_of, benchmark, tmp_path):
    command = ["--model", str(model_of()), "--data", str(benchmark / "Train"), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="--early-stopping needs validation"):
        train.main([*command, "--early-stopping", "2"])
