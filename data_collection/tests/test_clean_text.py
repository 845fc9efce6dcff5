"""clean_text.py: each step and reason, idempotence, any string, linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleaning.clean_text import CHANGES, CLEANING_REASONS, CLEANING_STEPS, clean

LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_good_document_is_unchanged(made, language):
    text = made.medical[language]
    assert clean(text, language) == (text, "", {})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_change_is_made_and_counted(made, language):
    good = made.medical[language]
    menu = "Mail: a.b@example.org +49 30 1234567\nSign in"
    dirty = f"\ufeff{good[:20]}\x00\u200b{good[20:]}\uf0b7\U00100003\r\n{menu}\n{made.general['en']}â€™\n{good}"
    cleaned = clean(dirty, language)
    assert cleaned.text == f"{good}\nMail: <EMAIL> <PHONE>\n{made.general['en']}’"
    assert cleaned.reason == ""
    assert cleaned.changes == {
        "mojibake": 1,
        "control_characters": 6,
        "mask_emails": 1,
        "mask_phones": 1,
        "boilerplate_lines": 1,
        "repeated_lines": 1,
    }
    assert clean(dirty, language, skip=CLEANING_STEPS) == (dirty, "", {})
    for step in CHANGES:
        assert step not in clean(dirty, language, skip=(step,)).changes


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_reason_is_given_and_each_step_can_be_skipped(made, language):
    good = made.medical[language]
    bad = {
        "mojibake": good + "lâ€?homme nâ€?a pas dâ€?ami",
        "replacement_characters": good + "\ufffd" * 9,
        "too_short": good[:12],
        "symbol_heavy": good + " ".join(str(i**5) for i in range(2, 99)),
        "too_repetitive": good * 20,
    }
    for reason, text in bad.items():
        assert clean(text, language).reason == reason
        assert clean(text, language, skip=(reason,)).reason == ""
    assert clean(good + "\ud800", language).reason == "lone_surrogates"
    assert set(bad) | {"lone_surrogates"} == set(CLEANING_REASONS)


def test_joiners_and_line_ends_that_belong_to_text_stay():
    persian = "می‌روم به بیمارستان برای درمان بیماری قلبی و دیدن پزشک متخصص قلب و عروق\n\n\tدر شهر 👩‍⚕️"
    assert clean(persian, "ar") == (persian, "", {})


PIECES = st.sampled_from(
    [
        "Ã©",
        "â€™",
        "Ã",
        "Â",
        "â€",
        "\x80",
        "\xa0",
        "é",
        "ï»¿",
        "ï»",
        "¿",
        "Ãƒ",
        "Â©",
        "Ð²",
        "Ð¾Ð½Ð°",
        "Р",
        "С",
        "Р°",
        "РїР°С†",
        "вЂ",
        "™",
        "\ufeff",
        "\u200b",
        "\x00",
        "\r",
        "\n",
        "\r\n",
        "\x85",
        "\xad",
        " ",
        "+49",
        "030",
        "1234567",
        "-",
        "(",
        ")",
        "555-123-4567",
        "Tel. ",
        "电话",
        "٠١٢٣٤٥٦٧٨",
        "０１２",
        "@",
        "a.b",
        "example.org",
        "<PHONE>",
        "<EMAIL>",
        "Home",
        "Sign in",
        "cookies",
        "Share this",
        "#",
        "…",
        "The patient came to the hospital with fever and cough and was seen by a physician there.",
        "患者因发热来医院就诊",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60)), st.sampled_from(LANGUAGES))
def test_cleaning_a_cleaned_text_changes_nothing(text, language):
    judges = set(CLEANING_REASONS) - {"mojibake"}
    once = clean(text, language, skip=judges)
    if not once.reason:
        assert clean(once.text, language, skip=judges) == (once.text, "", {})
    once = clean(text * 5, language)
    if not once.reason:
        assert clean(once.text, language) == (once.text, "", {})


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=[]), max_size=80), st.sampled_from(LANGUAGES))
def test_any_string_is_handled(text, language):
    cleaned = clean(text, language)
    assert cleaned.reason in ("", *CLEANING_REASONS)
    assert set(cleaned.changes) <= set(CHANGES)
    assert all(count > 0 for count in cleaned.changes.values())


OFTEN_SLOW = ["a", "1-", "ÃƒÂ", "a@", "Home\n"]
ALSO = [
    "word ",
    "1",
    "1 ",
    "+",
    "(",
    "Ã",
    "Ã©",
    "â",
    "â€",
    "РС",
    "Р°",
    "@",
    "a.",
    "a@b.",
    "\r",
    "\x00",
    "…",
    "病",
    "cookies ",
    "Tel ",
    "ف",
]


@pytest.mark.parametrize("piece", [*OFTEN_SLOW, *(pytest.param(piece, marks=pytest.mark.slow) for piece in ALSO)])
def test_a_line_of_a_megabyte_is_cleaned_quickly(piece):
    text = piece * (1_000_000 // len(piece))
    clean(piece * 10, "en")  # the compiled code is loaded
    began = time.process_time()
    clean(text, "en")
    assert time.process_time() - began < 10  # what grows with the square of the length takes hours
