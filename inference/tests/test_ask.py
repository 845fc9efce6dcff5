"""ask.py: one question through the prompt of the checkpoint, or a text as it is."""

import pytest

import ask
from run_record import InputError


def test_a_multiple_choice_question_is_answered_as_in_the_benchmark(checkpoint, capsys):
    question = ["Which is right?", "--option", "one", "--option", "two", "--model", str(checkpoint)]
    assert ask.main([*question, "--max-new-tokens", "8"]) == 0
    printed = capsys.readouterr().out
    assert "answer: " in printed and "not medical advice" in printed
    assert ask.main([*question, "--dry-run"]) == 0
    assert capsys.readouterr().out == "Which is right?\nA. one\nB. two\nanswer:\n"


def test_a_free_text_is_given_as_it_is_with_its_context(checkpoint, capsys):
    assert ask.main(["Et le foie ?", "--context", "Le cœur bat.", "--model", str(checkpoint), "--dry-run"]) == 0
    assert capsys.readouterr().out == "Le cœur bat.\n\nEt le foie ?\n"
    assert ask.main(["أين القلب؟", "--model", str(checkpoint), "--max-new-tokens", "4"]) == 0
    assert "not medical advice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([" "], "the question is empty"),
        (["Q?", "--option", "one"], "two to eight options"),
        (["Q?", "--option", "a", "--option", "b", "--model", "nowhere"], "brings no prompt"),
        (["Q?", "--model", "nowhere/at/all"], "no model at"),
        (["Q?", "--option", "one", "--option", " "], "an option is empty"),
        (["Q?", "--form", "rationale"], "goes with --option"),
        (["Q?", "--max-new-tokens", "0"], "expected 1 or more"),
        (["Q?", "--max-new-tokens", "100000"], "leaves no room"),
    ],
)
def test_bad_input_ends_with_a_sentence(checkpoint, flags, message):
    flags = flags if "--model" in flags else [*flags, "--model", str(checkpoint)]
    with pytest.raises(InputError, match=message):
        ask.main(flags)
