"""repetition.py: the compiled counts equal plain ones; spam is repetitive, medical text is not."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cleaning.repetition import find_words, is_repetitive, repeated_characters, top_characters


def plain_occurrences(words: list[str], n: int) -> list[tuple[int, int]]:
    """(index, occurrences so far) of sequences that do not overlap their previous occurrence."""
    counts, ends, found = Counter(), {}, []
    for i in range(len(words) - n + 1):
        sequence = tuple(words[i : i + n])
        if i >= ends.get(sequence, 0):
            counts[sequence] += 1
            ends[sequence] = i + n
            found.append((i, counts[sequence]))
    return found


def plain_top(words: list[str], n: int) -> int:
    found = plain_occurrences(words, n)
    return max((count * sum(map(len, words[i : i + n])) for i, count in found if count > 1), default=0)


def plain_repeated(words: list[str], n: int) -> int:
    covered = {place for i, count in plain_occurrences(words, n) if count > 1 for place in range(i, i + n)}
    return sum(len(words[i]) for i in covered)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab \n\u3000\xa0é病😀", max_size=80), st.booleans(), st.integers(1, 5))
def test_the_compiled_counts_equal_plain_ones(text, unspaced, n):
    words = list("".join(text.split())) if unspaced else text.split()
    hashes, lengths = find_words(text, unspaced)
    assert lengths.tolist() == [len(word) for word in words]
    assert top_characters(hashes, lengths, n) == plain_top(words, n)
    assert repeated_characters(hashes, lengths, n) == plain_repeated(words, n)


def test_every_white_space_of_python_separates_words():
    text = "x".join(chr(c) for c in range(0x3100) if chr(c).isspace())
    _, lengths = find_words(text, False)
    assert len(lengths) == len(text.split())


SPAM = {
    "en": "Buy cheap pills here now. ",
    "fr": "Achetez vos pilules ici. ",
    "es": "Compre aquí sus pastillas. ",
    "de": "Kaufen Sie hier Tabletten. ",
    "ru": "Купите таблетки здесь. ",
    "zh": "在这里购买便宜药片。",
    "ja": "ここで安い薬を買う。",
    "ar": "اشتر الأقراص من هنا. ",
}


@pytest.mark.parametrize("language", SPAM)
def test_spam_is_repetitive_and_prose_is_not(made, language):
    assert is_repetitive(SPAM[language] * 30, language)
    assert not is_repetitive(made.medical[language], language)
    assert not is_repetitive("", language)


def test_a_leaflet_that_names_its_drug_in_every_sentence_stays():
    text = (
        "Before you take Amoxicilline 500 mg tablets, tell your doctor of every allergy. "
        "Amoxicilline 500 mg tablets must not be taken with methotrexate. "
        "Swallow Amoxicilline 500 mg tablets whole, with a glass of water. "
        "If you have taken more Amoxicilline 500 mg tablets than you should, ask for help. "
        "If you have forgotten to take Amoxicilline 500 mg tablets, continue as before."
    )
    assert not is_repetitive(text, "en")
