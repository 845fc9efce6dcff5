import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_folder import FORMS, Prompt, PromptError, shorten_prompt

OURS = Path(__file__).parents[1] / "prompts/mmedbench"
LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")


@pytest.fixture
def prompt() -> Prompt:
    return Prompt(OURS)


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(OURS, tmp_path / "prompt")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", FORMS)
def test_the_prompt_fits_every_language_and_question_type(prompt, language, form):
    several = {"language": language, "question": "Q?", "options": dict.fromkeys("ABCDEFGH", "x"), "answer_idx": "B,H"}
    several["rationale"] = "Why."
    yes_no = {
        "language": language,
        "question": "Q?",
        "options": {"A": "да", "B": "нет"},
        "answer_idx": "A",
        "rationale": "W",
    }
    for record in (several, yes_no, yes_no | {"context": "An abstract."}):
        text = prompt.render(record, form)
        assert text.endswith("### Answer:\n" if form == "answer" else "### Rationale:\n")
        assert all(f"\n{letter}. {option}\n" in text for letter, option in record["options"].items())
        assert ("An abstract." in text) == ("context" in record)
        assert "treatment" not in text, "a prompt must not ask every question for a treatment"
        assert prompt.parse(prompt.target(record, form)) == record["answer_idx"].split(",")


def test_each_language_is_asked_in_its_own_words(prompt):
    record = {"question": "Q?", "options": {"A": "1", "B": "2"}, "answer_idx": "A"}
    firsts = {prompt.render(record | {"language": code}, form).split("\n")[0] for code in LANGUAGES for form in FORMS}
    assert len(firsts) == 16


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("B", ["B"]),
        (" B\n", ["B"]),
        ("A,C", ["A", "C"]),
        ("C, A", ["A", "C"]),
        ("It is so.\n\n### Answer:\nD", ["D"]),
        ("It is so.\n\n### Answer: A,B", ["A", "B"]),
        ("", None),
        ("b", None),
        ("B.", None),
        ("The answer is B", None),
        ("A B", None),
        ("A,", None),
        ("B\nB", None),
        ("### Answer:\nB\nbecause", None),
    ],
)
def test_the_answer_pattern_is_strict(prompt, text, letters):
    assert prompt.parse(text) == letters


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("prompt.jinja", "### Question", "### question", r"worked example 1 no longer renders to its prompt"),
        ("target.jinja", "### Answer:", "### Answer :", r"worked example 2 no longer renders to its target"),
        ("prompt.jinja", "{{ question }}", "{{ frage }}", r"'frage' is undefined"),
        ("prompt.jinja", "{{ question }}", "{{ question", r"TemplateSyntaxError"),
        ("prompt.jinja", "{{ question }}", "{{ question.__class__.__mro__ }}", r"unsafe|undefined"),
        ("prompt.json", '"version"', '"edition"', r"version"),
        ("prompt.json", '"answer_pattern": "', '"answer_pattern": "(', r"prompt"),
    ],
)
def test_a_prompt_that_does_not_hold_is_refused(copy, name, old, new, message):
    path = copy / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PromptError, match=message):
        Prompt(copy)


def without(key: str):
    """A change to prompt.json: its first worked example has lost this."""

    def change(settings: dict) -> dict:
        settings["worked_examples"][0].pop(key)
        return settings

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda settings: [settings], r"prompt\.json is not a JSON object"),
        (lambda settings: settings | {"answer_pattern": 5}, r"answer_pattern is not a string"),
        (lambda settings: settings | {"answer_pattern": "[A-Z]"}, r"answer_pattern has no group"),
        (lambda settings: settings | {"answer_pattern": "(x)?"}, r"does not parse to its own answer"),
        (lambda settings: settings | {"worked_examples": 5}, r"worked example 1 needs form"),
        (lambda settings: settings | {"worked_examples": ["x"]}, r"worked example 1 needs form"),
        (without("record"), r"worked example 1 needs form, prompt, target and a record"),
        (without("form"), r"worked example 1 needs form"),
    ],
)
def test_settings_of_another_shape_end_in_a_sentence(copy, change, message):
    path = copy / "prompt.json"
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(PromptError, match=message):
        Prompt(copy)


def test_a_prompt_whose_pattern_misses_its_own_answers_is_refused(copy):
    settings = json.loads((copy / "prompt.json").read_text(encoding="utf-8"))
    settings["answer_pattern"] = r"\A([A-D])\Z"
    (copy / "prompt.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(PromptError, match="does not parse to its own answer"):
        Prompt(copy)


def test_a_language_without_instruction_is_an_error_not_an_english_prompt(prompt):
    with pytest.raises(PromptError, match="cannot render question"):
        prompt.render(
            {"language": "it", "question": "Q?", "options": {"A": "1", "B": "2"}, "answer_idx": "A"}, "answer"
        )


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(PromptError, match=r"prompt\.jinja"):
        Prompt(tmp_path / "none")


@given(st.lists(st.integers(), max_size=60), st.integers(0, 70))
def test_shortening_keeps_beginning_and_end_and_the_length_asked_for(ids, longest):
    short = shorten_prompt(ids, longest)
    assert len(short) == min(len(ids), longest)
    head, tail = len(short) // 4, min(len(short) - len(short) // 4, len(ids) - len(ids) // 2)
    assert short[:head] == ids[:head]
    assert short[len(short) - tail :] == ids[len(ids) - tail :]


def test_shortening_cuts_left_of_the_middle():
    assert shorten_prompt(list(range(12)), 10) == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
