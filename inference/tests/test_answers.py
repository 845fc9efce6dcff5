"""The parsing policy of free answers, on fixed difficult ones and on wild ones."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.answers import STATUSES, read_answer

HARD = [json.loads(line) for line in (Path(__file__).parent / "hard_answers.jsonl").read_text("utf-8").splitlines()]
OPTIONS = {"A": "Fever", "B": "Cough", "C": "Rash", "D": "Itch", "E": "Pain"}


@pytest.mark.parametrize("answer", HARD, ids=lambda a: f"{a['language']} {a['output'][:40]}")
def test_a_difficult_answer_reads_as_a_careful_person_reads_it(answer):
    assert read_answer(answer["output"], answer["options"]).letters == answer["letters"]


def test_there_are_twenty_difficult_answers_in_each_of_the_eight_languages():
    languages = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")
    assert all(sum(a["language"] == language for a in HARD) >= 20 for language in languages)


@given(st.sets(st.sampled_from("ABCDE"), min_size=1), st.sampled_from([", ", ",", " and ", "、", "", " "]))
def test_letters_alone_are_read_as_they_stand(letters, between):
    assert read_answer(between.join(sorted(letters)), OPTIONS).letters == sorted(letters)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
def test_any_text_has_a_reading(text):
    answer = read_answer(text, OPTIONS)
    assert answer.status in STATUSES and (answer.letters is None or set(answer.letters) <= set(OPTIONS))


PIECES = [
    *"ABCE",
    "F",
    "a",
    "А",
    "В",
    "Б",
    "ب",
    " ",
    "\n",
    ", ",
    ". ",
    ": ",
    "(",
    ")",
    "**",
    "not ",
    "wrong",
    "true",
    "×",
    "○",
    "answer ",
    "Answer: ",
    "the answer is ",
    "or ",
    "and ",
    "正解は",
    "选",
    "Ответ: ",
    "Antwort ",
    "but ",
    "Fever",
    "is ",
    "all are correct except ",
    "<think>",
    "</think>",
    "\\boxed{",
    "}",
    "I don't think ",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_of_the_words_of_answers_has_a_reading_among_the_options(text):
    answer = read_answer(text, OPTIONS)
    assert answer.status in STATUSES
    assert answer.letters is None or (set(answer.letters) <= set(OPTIONS) and answer.letters == sorted(answer.letters))
    assert (answer.letters is None) == (answer.status in ("refused", "unparsed"))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Answer: B", "announced"),
        ("B", "letters"),
        ("It is a rash.", "option text"),
        ("none", "none"),
        ("I cannot answer that.", "refused"),
        ("Perhaps.", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_the_status_says_how_it_was_read(text, status):
    assert read_answer(text, OPTIONS).status == status


@pytest.mark.parametrize(
    "piece",
    [
        "A, ",
        "A: true; ",
        "A\n",
        "the answer is ",
        "Answer: A and B are wrong. ",
        "A. ",
        "A: true\n",
        "I don't think A ",
        "all are correct except ",
        "\\boxed{A",
        "not A but ",
    ],
)
def test_a_long_text_is_read_in_time_that_grows_as_it_does(piece):
    def seconds(characters: int) -> float:
        start = time.process_time()
        read_answer((piece * characters)[:characters], OPTIONS)
        return time.process_time() - start

    # Ten times the text takes ten times the time; a reading that looks at every list again and again, a hundred times.
    assert seconds(20000) < 20 * seconds(2000) + 0.3
