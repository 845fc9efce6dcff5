import pytest

from accuracy import macro_average, micro_average, score_answers, wilson_interval


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
    with pytest.raises(ValueError, match="is no share"):
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
