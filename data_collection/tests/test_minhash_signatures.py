"""minhash_signatures.py and exact_duplicates.normalised_text: the same as their plain definitions, on any text."""

import random
import unicodedata

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark_helpers.duplicate_measurements import near_copy, true_similarity, units_of_text
from dedup.minhash_signatures import shingle_hashes
from readers.corpus_format import normalised_text

TRICKY = [
    "ﾊﾞﾋﾟ",
    "，（：１　ＡＢＣ！",
    "カ゛が",
    "e\u0301",
    "ß ẞ ﬁ",
    "Ⅷ ① ½",
    "كِتَابٌ كتـــاب",
    "soft\u00adhyphen",
    "İı",
    "\ud800",
    "１\u0301",
    "　\u0301a",
    "𝒜𝟙",
    "가각",
    "。",
    "。\u3099",
    "う。゛",
    "a_b",
    "10 mg/l",
]
texts = st.text() | st.lists(st.sampled_from(TRICKY) | st.text(max_size=4)).map("".join)


@given(texts)
def test_the_quick_way_to_normalise_is_the_definition(text):
    for one in (text, text + "。", f"。{text}，。{text}"):
        assert normalised_text(one) == " ".join(unicodedata.normalize("NFKC", one).casefold().split())


def similarity_by_hashes(one: str, other: str, language: str) -> float:
    hashes, ends = shingle_hashes([one, other], language)
    first, second = set(hashes[: ends[0]].tolist()), set(hashes[ends[0] :].tolist())
    assert (len(first), len(second)) == (ends[0], ends[1] - ends[0]), "a shingle occurs twice"
    return len(first & second) / max(1, len(first | second))


@settings(deadline=None)  # the first compiles
@given(texts, texts, st.sampled_from(["en", "zh", "ar"]))
def test_similarity_by_hashes_is_that_of_the_plain_definition(one, other, language):
    for pair in ((one, other), (one, one + " " + other), (one + " x y z " + other, one + " x y z")):
        assert similarity_by_hashes(*pair, language) == true_similarity(*pair, language)


@pytest.mark.parametrize("language", ["en", "zh", "ja", "fr", "ru", "es", "de", "ar"])
def test_planted_copies_have_the_similarity_that_the_plain_definition_measures(language, made):
    text, other = made.medical[language] * 3 + " 1 2 3 4 5 6 7", made.medical["en"]
    for wanted in (0.9, 0.6):
        copy = near_copy(text, other, language, wanted, wanted > 0.7, random.Random(1))
        measured = true_similarity(text, copy, language)
        assert 0.05 < measured < 1
        assert similarity_by_hashes(text, copy, language) == measured


@settings(deadline=None)
@given(st.lists(texts, max_size=8), st.sampled_from(["en", "ja"]))
def test_a_texts_shingles_do_not_depend_on_the_texts_beside_it(many, language):
    hashes, ends = shingle_hashes(many, language)
    assert len(ends) == len(many)
    for text, begin, end in zip(many, [0, *ends.tolist()], ends, strict=False):
        alone, _ = shingle_hashes([text], language)
        assert numpy.array_equal(hashes[begin:end], alone)
        assert numpy.all(alone[1:] > alone[:-1])


@pytest.mark.parametrize(
    ("text", "language", "units"),
    [
        ("Fever, cough: 3 days!", "en", ["fever", "cough", "3", "days"]),
        ("كِتَابٌ كتـــاب", "ar", ["كتاب", "كتاب"]),
        ("患者，发热 38℃", "zh", ["患", "者", "发", "热", "3", "8", "c"]),
        ("... !!", "en", []),
    ],
)
def test_punctuation_vowel_marks_and_stretching_are_no_units(text, language, units):
    assert units_of_text(text, language) == units
    assert len(shingle_hashes([text], language)[0]) == (max(1, len(units) - 4) if units else 0)
