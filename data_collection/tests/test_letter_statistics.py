"""A font with a wrong table is told from text by how often letters come."""

from collections import Counter

import pytest

from pdf.letter_statistics import has_usual_letters, reads_as_words


@pytest.mark.parametrize("language", ["en", "fr", "es", "de", "ru", "ar", "zh", "ja"])
def test_texts_of_the_eight_languages_have_their_letters(made, language):
    assert has_usual_letters(Counter(made.medical[language] * 5))


@pytest.mark.parametrize(
    ("language", "first", "count"),
    [
        ("en", "a", 26),
        ("de", "a", 26),
        ("ru", "а", 32),
        ("zh", "\u4e00", 20000),
    ],
)
def test_letters_that_stand_for_others_are_found_out(made, language, first, count):
    start = ord(first)
    moved = "".join(
        chr(start + (ord(c) - start + 7) % count) if 0 <= ord(c) - start < count else c
        for c in (made.medical[language] * 5).lower()
    )
    assert not has_usual_letters(Counter(moved))


def test_a_short_text_a_table_of_figures_and_codes_in_another_script_tell_nothing(made):
    assert has_usual_letters(Counter("xyz zxy"))
    assert has_usual_letters(Counter("12 34 5.6\n" * 100))
    assert has_usual_letters(Counter())
    assert has_usual_letters(Counter(made.medical["ru"] * 5 + " QXZ-WKJ" * 20))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The patient (aged 54) had a fever of 38.5, a cough and chest pain.", True),
        ("«Болит голова», сказал пациент, 25-30 дней.", True),
        ("患者因发热、咳嗽和胸痛来医院就诊。", True),
        ("l1| .~ i;J tbe ,,~ 'rn a~d _- |l !i ~~ e* pa|ient", False),
        ("", True),
    ],
)
def test_bad_recognition_is_told_by_its_pieces(text, words):
    assert reads_as_words(text) == words
