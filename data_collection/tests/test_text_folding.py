"""text_folding.py: what becomes equal, what stays different, and the same in the compiled matcher's table."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filtering.text_folding import CODE_POINTS, fold, folding_table, lower


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Hôpital, ŒDÈME", "hopital  œdeme"),
        ("STRASSE straße", "strasse strasse"),
        ("İstanbul ısı", "istanbul ısı"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
        ("ＣＴ ﾊﾞﾝｸﾞ", "ct ハ\u3099ンク\u3099"),
        ("ёлка й", "елка и"),
        ("الحُمّى والحرارة", "الحمي والحراره"),
        ("ﻻ ﷺ", "لا  "),
        ("car\u00addio\u200d\ufeff", "cardio"),
        ("a_b-c…½", "a_b c  "),
        ("\x00\n\u3000", "   "),
    ],
)
def test_folding(text, folded):
    assert fold(text) == folded


@given(st.text())
def test_composed_and_decomposed_texts_fold_alike(text):
    assert fold(text) == fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text))


def test_voiced_and_unvoiced_kana_stay_different():
    assert len({fold(kana) for kana in "ハバパ"}) == 3


def becomes(table, code: int) -> str:
    single = int(table.single[code])
    if single >= -1:
        return chr(single) if single >= 0 else ""
    begin, end = table.starts[-2 - single], table.starts[-1 - single]
    return "".join(map(chr, table.parts[begin:end]))


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("rule", "function"), [("bounded", fold), ("published", lower)])
def test_the_table_says_the_same_of_every_code_point(rule, function, step):
    table = folding_table(rule)
    wrong = [
        code
        for code in range(0, CODE_POINTS, step)
        if not 0xD800 <= code < 0xE000 and becomes(table, code) != function(chr(code))
    ]
    assert wrong == []
