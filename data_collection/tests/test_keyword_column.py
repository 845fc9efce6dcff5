"""keyword_column.py against the plain definition: equal scores on real, generated and hostile columns."""

import itertools
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filtering import keyword_column
from filtering.keyword_lists import RULES, load_keywords
from filtering.keyword_match import load_matcher
from language_codes import LANGUAGES
from run_record import InputError

STAGE = Path(__file__).resolve().parents[1]

# Keywords that overlap, nest, repeat themselves, span words, and hold letters that change when folded.
KEYWORDS = {
    "en": [
        "a",
        "aa",
        "aba",
        "ababa",
        "=ab",
        "-ba",
        "*bab",
        "ab a",
        "=a ab",
        "ab ab ab",
        "straße",
        "st",
        "σοφος",
        "ισ",
        "istanbul",
        "x-ray",
        "e",
        "l'eau",
        "*ss",
        "_b",
        "aaaaaaaaaaaa",
        "ab ababab",
        "naïve",
        "ﬁx",
        "ij",
        "=rs",
        "=f",
        "-es",
    ],
    "zh": [
        "肺",
        "肺炎",
        "炎",
        "炎肺",
        "ct",
        "b超",
        "x 線",
        "covid-19",
        "1a",
        "ハ",
        "バ",
        "ｶﾞﾝ",
        "パパパ",
        "aa",
        "が",
        "m",
        "超x",
        "線肺",
    ],
    "ar": ["علاج", "=سكر", "دم", "ضغط الدم", "-ات", "*مرض", "الم", "ب", "لا"],
}
LETTERS = {
    "en": [
        "a",
        "b",
        "A",
        "s",
        "S",
        "ß",
        "ẞ",
        "ſ",
        "t",
        "r",
        "e",
        "E",
        "x",
        "i",
        "I",
        "İ",
        "ı",
        "σ",
        "ς",
        "Σ",
        "ο",
        "φ",
        "é",
        "e\u0301",
        "ï",
        "\u0301",
        "\u0345",
        "ﬁ",
        "ﬀ",
        "ĳ",
        "K",
        "Å",
        "ａ",
        "Ｂ",
        "𝐚",
        "²",
        "_",
        "1",
        "ab",
        "ababa",
        "aba",
        "stanbul",
        "straße",
        "STRASSE",
        "naı",
        "l",
        "eau",
        "\u00ad",
        "\u200d",
        "\ufeff",
    ],
    "zh": [
        "肺",
        "炎",
        "c",
        "t",
        "C",
        "Ｔ",
        "b",
        "超",
        "線",
        "x",
        "1",
        "9",
        "covid",
        "ハ",
        "ハ\u3099",
        "ﾊﾞ",
        "ﾊ",
        "ﾞ",
        "\u3099",
        "\u309a",
        "パ",
        "ガ",
        "ン",
        "が",
        "か",
        "㎎",
        "㈱",
        "K",
        "a",
        "𠀀",
        "肺\ufe00",
        "⼀",
        "㍍",
    ],
    "ar": [
        "و",
        "ب",
        "ال",
        "ل",
        "ك",
        "ف",
        "علاج",
        "ع",
        "لا",
        "ﻻ",
        "ﷺ",
        "ﻼ",
        "سكر",
        "سكرة",
        "ى",
        "ي",
        "ة",
        "ه",
        "أ",
        "ا",
        "\u0654",
        "مرض",
        "دم",
        "الدم",
        "ضغط",
        "ات",
        "م",
        "\u064e",
        "\u0651",
        "ـ",
        "١",
        "a",
    ],
}
# fmt: off
SEPARATORS = [" ", "  ", "\n", "\t", "\x00", "\x0b", "\x1c", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u200b",
              "\u3000", "-", ".", "’", "'", "…", "½", "，", "、", "·", "\U0001f600", "\U000e0001", "\uffff"]
# fmt: on


@pytest.fixture(scope="module")
def matchers(tmp_path_factory):
    """{(language, rule): matcher} of the lists above."""
    folder = tmp_path_factory.mktemp("keywords")
    for language, keywords in KEYWORDS.items():
        (folder / f"{language}.txt").write_text("\n".join(keywords), encoding="utf-8")
    return {(language, rule): load_matcher(language, rule, folder) for language in KEYWORDS for rule in RULES}


def assert_equal_to_the_definition(matcher, texts: list, column=None) -> None:
    distinct, density = matcher.score_column(pyarrow.array(texts, pyarrow.string()) if column is None else column)
    expected = [tuple(matcher.score(text or "")) for text in texts]
    assert list(zip(distinct.tolist(), density.tolist(), strict=True)) == expected


def documents(language: str):
    """Letters, separators, and the words of keywords with runs of separators (or nothing) between them."""
    letters, gaps = st.sampled_from(LETTERS[language]), st.lists(st.sampled_from(SEPARATORS), max_size=3).map("".join)
    words = [word for keyword in KEYWORDS[language] for word in keyword.lstrip("=-*").split(" ")]
    phrases = [keyword.lstrip("=").split(" ") for keyword in KEYWORDS[language] if " " in keyword]
    spaced = st.tuples(st.sampled_from(phrases), gaps).map(lambda both: both[1].join(both[0]))
    pieces = letters | letters | st.sampled_from(words) | gaps | gaps | spaced
    return st.lists(pieces, max_size=20).map("".join)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("language", KEYWORDS)
def test_generated_texts_count_as_defined(matchers, language, rule):
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(documents(language) | st.text(max_size=20) | st.none(), max_size=12))
    def check(texts):
        assert_equal_to_the_definition(matchers[language, rule], texts)

    check()


@pytest.mark.parametrize("language", KEYWORDS)
def test_composed_and_decomposed_texts_score_the_same(matchers, language):
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(documents(language) | st.text(max_size=20))
    def check(text):
        forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]
        distinct, density = matchers[language, "bounded"].score_column(pyarrow.array(forms))
        assert len(set(distinct)) == len(set(density)) == 1

    check()


@pytest.mark.parametrize("table_bytes", [0, keyword_column.MAX_TABLE_BYTES])
@pytest.mark.parametrize("language", KEYWORDS)
def test_generated_lists_count_as_defined_with_a_table_and_without(tmp_path, monkeypatch, language, table_bytes):
    """table_bytes 0: as with very large lists."""
    monkeypatch.setattr(keyword_column, "MAX_TABLE_BYTES", table_bytes)
    terms = st.lists(st.sampled_from(LETTERS[language] + [" "]), min_size=1, max_size=5).map("".join)
    written = st.builds(str.__add__, st.sampled_from(["", "", "=", "-", "*"]), terms)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(written, min_size=1, max_size=12), st.lists(documents(language), min_size=1, max_size=8))
    def check(keywords, texts):
        (tmp_path / f"{language}.txt").write_text("\n".join(keywords), encoding="utf-8")
        try:
            both = [load_matcher(language, rule, tmp_path) for rule in RULES]
        except InputError:
            return  # a repeated or blank keyword
        for matcher in both:
            assert_equal_to_the_definition(matcher, texts)

    check()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "text",
    [
        "ab " * 30_000,
        "ß" * 30_000,
        "a" * 30_000,
        "ab a-" * 9_000,
        "\u0301" * 30_000,
        "é" * 30_000,
        "肺炎" * 30_000,
        "超x  線肺" * 100,
        "arß aﬁ es eß" * 100,
        "x" * 20_000 + "bab" * 3_000,
        " " * 30_000,
        "ﬁx" * 20_000,
        "a\u0301" * 20_000,
    ],
    ids=lambda text: f"{text[:6]!a}",
)
def test_long_and_crowded_texts_count_as_defined(matchers, text, rule):
    for language in KEYWORDS:
        assert_equal_to_the_definition(matchers[language, rule], ["", text, "ab"])


TEXTS = [
    "Chronic arthritis and fever.",
    None,
    "",
    "fièvre e\u0301pide\u0301mie",
    "肺炎 CT",
    "\x00",
    "cancer" * 40,
    None,
]


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array(TEXTS),
        pyarrow.array(TEXTS, pyarrow.large_string()),
        pyarrow.array(TEXTS, pyarrow.string_view()),
        pyarrow.array(["before, cancer", *TEXTS, "é"]).slice(1, len(TEXTS)),
        pyarrow.array(["é", *TEXTS, "cancer"], pyarrow.large_string()).slice(1, len(TEXTS)),
        pyarrow.array(TEXTS).dictionary_encode(),
        pyarrow.array(["cancer", *TEXTS]).dictionary_encode().slice(1),
        pyarrow.DictionaryArray.from_arrays(list(range(len(TEXTS))), pyarrow.array(TEXTS)),
        pyarrow.chunked_array([TEXTS[:3], [], TEXTS[3:]], pyarrow.string()),
        pyarrow.chunked_array([pyarrow.array(TEXTS).dictionary_encode()]),
    ],
    ids=lambda column: f"{column.type} {type(column).__name__} {getattr(column, 'offset', '')}",
)
def test_every_kind_of_arrow_column_is_read(column):
    for language in ("en", "fr", "zh"):
        assert_equal_to_the_definition(load_matcher(language, "bounded"), TEXTS, column)


def test_columns_without_text_score_zero_and_other_types_are_errors():
    matcher = load_matcher("en", "bounded")
    for column in (pyarrow.nulls(3), pyarrow.nulls(3, pyarrow.string()), pyarrow.array(["", "", ""])):
        assert [list(scores) for scores in matcher.score_column(column)] == [[0, 0, 0], [0.0, 0.0, 0.0]]
    for kind in (pyarrow.string(), pyarrow.null(), pyarrow.large_string()):
        assert [len(scores) for scores in matcher.score_column(pyarrow.chunked_array([], kind))] == [0, 0]
        assert [len(scores) for scores in matcher.score_column(pyarrow.array([], kind))] == [0, 0]
    with pytest.raises(TypeError, match="expected a column of text, not of int64"):
        matcher.score_column(pyarrow.array([1]))


@pytest.mark.parametrize("bad", [b"fever \xff", b"\xc3", b"\xed\xa0\x80 fever", b"\xf0\x9f\x98", b"\xc0\xaf", b"\x80"])
def test_invalid_utf8_scores_minus_one_and_its_neighbours_are_scored(bad):
    good = b"fever and cough"
    column = pyarrow.array([good, bad, b"", bad, good, None]).view(pyarrow.string())
    distinct, density = load_matcher("en", "bounded").score_column(column)
    assert distinct.tolist() == [2, -1, 0, -1, 2, 0]
    assert density.tolist() == [density[0], 0, 0, 0, density[0], 0]


def test_a_text_cut_inside_a_character_does_not_read_into_the_next_document():
    whole = "é肺😀é".encode()
    for cut in range(len(whole) + 1):
        column = pyarrow.array([whole[:cut], whole[cut:], b"fever"]).view(pyarrow.string())
        distinct, _ = load_matcher("en", "bounded").score_column(column)
        valid = [int(not is_utf8(part)) * -1 for part in (whole[:cut], whole[cut:])]
        assert distinct.tolist() == [*valid, 1]


def test_a_text_cut_inside_a_character_is_invalid_even_if_a_null_row_completes_it():
    offsets, missing = pyarrow.py_buffer(numpy.array([0, 7, 8, 13], numpy.int32)), pyarrow.py_buffer(b"\x05")
    text = pyarrow.py_buffer("fever é".encode() + b"fever")
    column = pyarrow.Array.from_buffers(pyarrow.string(), 3, [missing, offsets, text])
    assert load_matcher("en", "bounded").score_column(column)[0].tolist() == [-1, 0, 1]


def test_bytes_are_utf8_where_python_can_decode_them():
    """All that can follow one another: every pair and, of the bytes at which a rule begins, every four."""
    from filtering.keyword_kernel import is_utf8 as compiled

    edges = b"\x00\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc2\xdf\xe0\xe1\xed\xee\xf0\xf1\xf4\xf5\xff"
    pairs = [bytes(pair) for pair in itertools.product(range(256), repeat=2)]
    fours = [bytes(four) for four in itertools.product(edges, repeat=4)]
    for parts in (pairs, fours, [b"a" * 40 + four for four in fours[::7]]):
        data = numpy.frombuffer(b"".join(parts), numpy.uint8)
        data.setflags(write=False)
        size = len(parts[0])
        found = [compiled(data, i * size, i * size + size) for i in range(len(parts))]
        assert found == [is_utf8(part) for part in parts]


def is_utf8(part: bytes) -> bool:
    return part == part.decode("utf-8", "ignore").encode()


@pytest.mark.parametrize("rule", RULES)
def test_an_unpaired_surrogate_scores_minus_one(rule):
    assert load_matcher("en", rule).score("fever \ud83d and cough") == (-1, 0.0)


def real_column(folder: Path, language: str):
    return pyarrow.parquet.read_table(folder / "filter_text" / f"{language}.parquet").column("text")


@pytest.mark.parametrize("language", LANGUAGES)
def test_real_documents_score_as_defined(real_data, language):
    texts = real_column(real_data, language).to_pylist()[::25]
    texts += [unicodedata.normalize("NFD", text) for text in texts[::5]]
    for rule in RULES:
        assert_equal_to_the_definition(load_matcher(language, rule), texts)


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_all_real_documents_score_as_defined(real_data, language):
    column = real_column(real_data, language)
    for rule in RULES:
        assert_equal_to_the_definition(load_matcher(language, rule), column.to_pylist(), column)


def test_a_large_custom_list_is_matched_without_a_table(tmp_path):
    """20,000 keywords of 4,000 different characters: a table would take more than a gigabyte."""
    characters = [chr(0x4E00 + i) for i in range(4000)]
    keywords = [characters[i % 4000] + characters[i * 7 % 3989] + characters[i * 13 % 3967] for i in range(20_000)]
    keywords = list(dict.fromkeys(keywords))
    (tmp_path / "zh.txt").write_text("\n".join(keywords), encoding="utf-8")
    matcher = load_matcher("zh", "published", tmp_path)
    column = pyarrow.array(["".join(keywords[:500]), "".join(characters[:300]), keywords[7] * 2])
    distinct, density = matcher.score_column(column)
    assert distinct.tolist() == [matcher.score(text).distinct for text in column.to_pylist()]
    assert len(matcher._compiled.automaton.table) == 1
    assert density[2] >= 1


@pytest.mark.slow
def test_the_first_run_says_that_it_compiles_and_works_where_the_code_cannot_be_written(tmp_path):
    """The stage's modules in a folder whose __pycache__ cannot be made: numba's cache goes to the user's folder."""
    stage = tmp_path / "stage"
    stage.mkdir()
    for path in STAGE.glob("*.py"):
        shutil.copy(path, stage)
    for folder in ("filtering", "keywords"):
        shutil.copytree(STAGE / folder, stage / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (stage / "filtering" / "__pycache__").write_text("in the way")
    code = (
        "from filtering.keyword_match import load_matcher; import pyarrow; "
        "print(load_matcher('en', 'bounded').score_column(pyarrow.array(['fever'])))"
    )
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": ""}
    runs = [
        subprocess.run(
            [sys.executable, "-B", "-c", code], cwd=stage, env=home, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert ["compiling" in run.stderr for run in runs] == [True, False]
    assert runs[0].stdout == runs[1].stdout
    assert list((tmp_path / "cache").rglob("*.nbi"))


def test_the_projects_own_lists_build_a_table(tmp_path):
    for language in LANGUAGES:
        automaton = keyword_column.build_automaton(language, "bounded", load_keywords(language))
        assert automaton.dense
