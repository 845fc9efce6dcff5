"""filter_document.py: a column gets the same decisions as its texts one by one."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from filtering.filter_document import CODES, PASSED, REASONS, DocumentFilter, NotUtf8
from language_codes import LANGUAGES


@pytest.mark.parametrize("rule", ["bounded", "published"])
def test_a_column_gets_the_reasons_of_its_texts(made, rule):
    judge = DocumentFilter(rule)
    for language in LANGUAGES:
        texts = [
            None,
            "",
            " \u3000\n",
            "\x1c",
            "\u200b",
            "x",
            *made.medical.values(),
            *made.general.values(),
            made.medical[language] + " x" * 900,
            "\u0130" * 3,
            "a\x00b",
        ]
        codes, distinct, density = judge.decide_column(pyarrow.array(texts, pyarrow.string()), language)
        for text, code, keywords, share in zip(texts, codes, distinct, density, strict=True):
            one = judge.decide(text, language)
            passed = one.reason not in ("too_few_keywords", "low_density", "empty", "null", "not_text")
            assert REASONS[code] == ("kept" if passed else one.reason), (language, text)
            if code != CODES["empty"] and passed:
                assert (keywords, share) == (one.distinct, pytest.approx(one.density)), (language, text)


def test_a_column_that_is_not_utf8_is_an_error():
    column = pyarrow.array([b"\xff fever"], pyarrow.binary()).view(pyarrow.string())
    with pytest.raises(NotUtf8):
        DocumentFilter("bounded").decide_column(column, "en")


def test_given_scores_replace_matching():
    judge = DocumentFilter("bounded")
    limits = judge.thresholds["en"]
    few, least = limits.min_distinct_keywords - 1, limits.min_density
    scores = np.array([few, few + 1, few + 1], np.int32), np.array([1.0, least, least - 1e-9])
    codes, *_ = judge.decide_column(pyarrow.array(["x"] * 3), "en", scores)
    assert codes.tolist() == [CODES["too_few_keywords"], PASSED, CODES["low_density"]]
