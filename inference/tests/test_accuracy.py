import pytest

from metrics.accuracy import (
    group_averages,
    macro_average,
    micro_average,
    score_answers,
    score_table,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # R's binom package, binom.wilson(x, n), to four places.
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 3, 0.0615, 0.7923),
        (466, 932, 0.4680, 0.5320),
    ],
)
def test_wilson_intervals_equal_known_ones(right, n, low, high):
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("right", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_no_interval_without_a_share(right, n):
    with pytest.raises(ValueError, match="is not a share"):
        wilson_interval(right, n)


def rows(*answers, gold=("B",), options="ABCD"):
    return [{"gold": list(gold), "letters": None if a is None else list(a), "options": options} for a in answers]


def test_only_the_exact_set_is_right_and_nothing_is_left_out():
    scores = score_answers(
        [*rows("B", "A", None, "BC"), *rows("AC", "A", "ACD", gold="AC"), *rows("D", gold="B", options="AB")]
    )
    assert (scores["n"], scores["right"], scores["unparsed"], scores["not_an_option"]) == (8, 2, 1, 1)
    assert scores["accuracy"] == 25.0
    assert scores["single"] == {"n": 5, "right": 1} and scores["multiple"] == {"n": 3, "right": 1}
    assert scores["predicted_letters"] == {"A": 4, "B": 2, "C": 3, "D": 2}


def test_averages_over_languages_and_over_questions_differ_as_they_should():
    scores = {"en": score_answers(rows(*"BBBB")), "ru": score_answers(rows(*"BAAAAAAAAA"))}
    assert macro_average(scores)["accuracy"] == 55.0
    assert micro_average(scores)["accuracy"] == pytest.approx(100 * 5 / 14, abs=0.01)
    # en has no variance, ru p = 0.1 and n = 10: half width 1.96 * sqrt(0.09 / 10) / 2
    low, high = macro_average(scores)["ci95"]
    assert (high - low) / 2 == pytest.approx(100 * 1.96 * (0.009**0.5) / 2, abs=0.01)


def test_the_english_benchmarks_average_as_the_papers_table_with_its_six_subjects():
    """MedAlpaca's row as published: nine columns, printed average 58.03."""
    published = {
        "MedQA": 41.7,
        "MedMCQA": 37.5,
        "PubMedQA": 72.8,
        "MMLU_clinical_knowledge": 57.4,
        "MMLU_medical_genetics": 69.0,
        "MMLU_anatomy": 57.0,
        "MMLU_professional_medicine": 67.3,
        "MMLU_college_biology": 65.3,
        "MMLU_college_medicine": 54.3,
    }
    right = {name: round(10 * share) for name, share in published.items()}
    scores = {name: score_answers(rows(*"B" * n, *"A" * (1000 - n))) for name, n in right.items()}
    assert macro_average(scores)["accuracy"] == 58.03
    subjects = group_averages(scores)["MMLU"]
    assert (subjects["languages"], subjects["accuracy"]) == (6, 61.72)
    assert group_averages({"en": scores["MedQA"], "MMLU_anatomy": scores["MMLU_anatomy"]}) == {}
    table = score_table(scores, macro_average(scores), micro_average(scores))
    assert "mean of 6 MMLU subjects: 61.72 %" in table and "mean of 9: 58.03 %" in table
    places = {line.index("%", 20) if "letters" in line else line.rindex(" - ") for line in table.splitlines()[1:10]}
    assert len(places) == 1, "the columns must be under each other, however long the names"
