"""keyword_match.py: which words match by the two rules, how often they count, errors in keyword lists."""

import pytest

from filtering.keyword_lists import RULES, load_keywords
from filtering.keyword_match import load_matcher
from language_codes import LANGUAGES
from run_record import InputError


def matcher(tmp_path, language: str, *keywords: str, rule: str = "bounded"):
    (tmp_path / f"{language}.txt").write_text("# a list\n" + "\n".join(keywords) + "\n", encoding="utf-8")
    return load_matcher(language, rule, tmp_path)


@pytest.mark.parametrize(
    ("language", "keyword", "text", "found"),
    [
        ("en", "cardio", "cardiology", 1),
        ("en", "cardio", "Cardiovascular,", 1),
        ("en", "cardio", "myocardio", 0),  # a word boundary on the left
        ("en", "=flu", "flu.", 1),
        ("en", "=flu", "fluent influence flux", 0),
        ("en", "-itis", "arthritis", 1),
        ("en", "-itis", "British citisens", 0),
        ("de", "*krankheit", "Herzkrankheiten", 1),
        ("en", "blood press", "blood\n pressures", 1),
        ("en", "blood press", "blood-pressure", 1),
        ("en", "blood press", "blood of pressmen", 0),
        ("fr", "hôpita", "l'hôpital", 1),
        ("fr", "hôpita", "l'ho\u0302pital", 1),  # decomposed accents
        ("fr", "œdème", "ŒDÈMES", 1),
        ("ru", "инфекц", "инфекционными", 1),
        ("ar", "علاج", "وبالعلاج", 1),  # and-by-the-treatment
        ("ar", "علاج", "عِلَاج", 1),  # with vowel signs
        ("ar", "=سكري", "سكريبت", 0),  # script, not diabetic
        ("zh", "肺炎", "社区获得性肺炎患者", 1),
        ("zh", "ct", "行CT检查", 1),
        ("zh", "ct", "doctor说", 0),
        ("ja", "ＭＲＩ", "頭部MRIで", 1),  # full-width letters
    ],
)
def test_the_bounded_rule_matches_at_word_boundaries(tmp_path, language, keyword, text, found):
    score = matcher(tmp_path, language, keyword).score(text)
    assert score.distinct == found
    assert (score.density > 0) == bool(found)


def test_overlapping_keywords_count_once_and_the_longest_wins(tmp_path):
    score = matcher(tmp_path, "en", "cell", "stem cell", "stem").score("stem cells")
    assert score.distinct == 1
    assert score.density == pytest.approx(len("stemcells") / len("stem cells"))
    score = matcher(tmp_path, "zh", "肺", "肺炎", "炎").score("肺炎")
    assert score == (1, 1.0)


def test_an_inflected_word_counts_with_its_complete_length(tmp_path):
    score = matcher(tmp_path, "ru", "инфекц").score("инфекциями тут")
    assert score == (1, len("инфекциями") / len("инфекциями тут"))


@pytest.mark.parametrize(
    ("language", "keywords", "text", "distinct", "density"),
    [
        # Short keywords are whole white-space tokens, long ones substrings, each occurrence counted with its length.
        ("en", ["cell", "stem cell"], "stem cell line", 2, (4 + 9) / 14),
        ("en", ["cell"], "cells, cell, (cell)", 0, 0),
        ("en", ["cardiovascular"], "Noncardiovasculars", 1, 14 / 18),
        ("zh", ["肺炎", "肺"], "肺炎肺", 2, (2 + 2) / 3),
        ("en", ["cell"], "cell cell", 1, 8 / 9),
    ],
)
def test_the_published_rule_counts_as_published(tmp_path, language, keywords, text, distinct, density):
    score = matcher(tmp_path, language, *keywords, rule="published").score(text)
    assert score.distinct == distinct
    assert score.density == pytest.approx(density)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("text", ["", " ", "\n", "...", "😀", "\x00", "́", "a" * 100_000])
def test_odd_texts_score_without_an_error(tmp_path, rule, text):
    for language in ("en", "zh", "ar"):
        assert matcher(tmp_path, language, "cardio", rule=rule).score(text) == (0, 0.0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["fever", "cough", "Fever"], "en.txt:4: 'Fever' repeats line 2"),
        (["fever", "*fever"], "en.txt:3: 'fever' repeats line 2"),
        (["fever", "", "cough"], "en.txt:3: a blank keyword"),
        (["fever", "=", "cough"], "en.txt:3: a blank keyword"),
        (["# only comments"], "en.txt: no keywords"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path, lines, message):
    with pytest.raises(InputError, match="(?s)" + message.replace("*", r"\*")):
        matcher(tmp_path, "en", *lines)


def test_a_missing_list_and_an_unknown_rule_are_errors(tmp_path):
    with pytest.raises(InputError, match=r"no keyword list .*it\.txt"):
        load_keywords("it", tmp_path)
    with pytest.raises(InputError, match="choose one of bounded, published"):
        load_matcher("en", "strict")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_a_list_that_separates_medical_from_general_text(language, made):
    assert len(load_keywords(language)) >= 200
    score = load_matcher(language, "bounded").score(made.medical[language])
    assert score.distinct >= 5
    assert score.density > 0.1
    if language in made.general:
        assert load_matcher(language, "bounded").score(made.general[language]).distinct == 0


def test_scores_do_not_depend_on_the_size_of_the_word_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("filtering.keyword_match.CACHED_WORDS", 3)
    score = matcher(tmp_path, "en", "blood press", "cardio").score("one two three blood pressure four five cardiology")
    assert score.distinct == 2
