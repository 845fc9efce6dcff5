"""contamination_match.py: what counts as a question found; the compiled search finds the same places."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decontamination import contamination_kernel as kernel
from decontamination import contamination_match as match
from decontamination import question_index
from filtering.text_folding import folding_table

CODE = st.text(st.sampled_from("abcdeé1２ＡßﬁǅЖж_ .,،؟　\n\u00ad\u0301頻度ｶﾞガ病。Ⅳ½ﷺ\U00020000"), max_size=40)


def compiled_tokens(text: str, way: str) -> list[tuple[int, int]]:
    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32)
    return kernel.tokens_of(codes, *folding_table("bounded"), way == match.CHARACTERS)


@pytest.mark.parametrize(
    ("text", "way", "expected"),
    [
        ("Fièvre, 39,5 °C!", match.WORDS, ["fievre", "39", "5", "c"]),
        ("ＣＴ　scan", match.WORDS, ["ct", "scan"]),
        ("MRI検査", match.WORDS, ["mri", "検", "査"]),
        ("MRI 検査", match.CHARACTERS, ["m", "r", "i", "検", "査"]),
        ("ｶﾞﾝ", match.CHARACTERS, ["カ", "\u3099", "ン"]),
        ("مُسْتَشْفَى", match.WORDS, ["مستشفي"]),
    ],
)
def test_tokens_are_folded_words_or_characters(text, way, expected):
    found = match.tokens(text, way)
    assert [token.text for token in found] == expected
    assert all(token.end > token.start for token in found)


@settings(max_examples=300, deadline=None)
@given(CODE, st.sampled_from([match.WORDS, match.CHARACTERS]))
def test_the_compiled_tokens_stand_where_the_plain_ones_do_and_are_equal_where_these_are(text, way):
    plain = match.tokens(text, way)
    hashes, first, last = compiled_tokens(text, way)
    assert [(t.start, t.end) for t in plain] == list(zip(first.tolist(), last.tolist(), strict=True))
    pairs = {(t.text, h) for t, h in zip(plain, hashes.tolist(), strict=True)}
    assert len(pairs) == len({t.text for t in plain}) == len(set(hashes.tolist()))


WORD = st.sampled_from([f"w{i}" for i in range(9)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(WORD, min_size=1, max_size=9), st.lists(WORD, min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    st.lists(WORD, max_size=60),
    st.data(),
)
def test_the_compiled_search_finds_the_places_of_the_definition(asked, words, data):
    for stem, _ in asked:  # plants pieces of the questions
        at = data.draw(st.integers(0, len(words)))
        words[at:at] = stem[data.draw(st.integers(0, 3)) :]
    questions = [
        {"id": str(q), "language": "en", "question": " ".join(stem), "options": {"A": " ".join(option), "B": "w1"}}
        for q, (stem, option) in enumerate(asked)
    ]
    side = question_index.build_index(questions).sides[match.WORDS]
    sequences, units = [], {}
    for u, (q, kind) in enumerate(zip(side.question.tolist(), side.kind.tolist(), strict=True)):
        text = question_index.parts_of(questions[q])[u - side.first_unit[q]][1]
        units[u] = match.Unit(q, kind, tuple(text.split()), tuple(side.content_of(u).tolist()))
        sequences.append((q, units[u].tokens))
    distinct = match.distinct_grams(sequences, match.WORDS)
    searched = {u: unit for u, unit in units.items() if side.least[u] < question_index.NEVER}
    expected = match.find_places(words, searched, {u: int(side.least[u]) for u in searched}, distinct, match.WORDS)
    hashes = question_index.tokens_in(" ".join(words), match.WORDS)[0]
    space = numpy.zeros(len(side.kind), numpy.int64), numpy.zeros(20, numpy.int64)
    for _ in range(2):  # the work space is left clean
        found = kernel.find_places(
            hashes,
            3,
            side.bits,
            side.keys,
            side.slots,
            side.starts,
            side.post_unit,
            side.post_position,
            side.offsets,
            side.content,
            side.least,
            *space,
        )
        assert {int(place[kernel.UNIT]): tuple(place[:5].tolist()) for place in found} == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(WORD, max_size=6), st.lists(WORD, max_size=12), st.sampled_from([match.WORDS, match.CHARACTERS]), st.data()
)
def test_the_compiled_coverage_near_a_place_is_that_of_the_definition(unit, block, way, data):
    number = {f"w{i}": i + 1 for i in range(9)}
    arrays = [numpy.array([number[word] for word in words], numpy.uint64) for words in (unit, block)]
    content = data.draw(st.lists(st.booleans(), min_size=len(unit), max_size=len(unit)))
    found = kernel.covered_near(arrays[0], numpy.array(content, bool), arrays[1], match.NEAR_GRAM[way])
    assert tuple(set(numpy.flatnonzero(mask).tolist()) for mask in found) == match.covered_near(
        unit, content, block, way
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("thiamine", "thiamine", True),
        ("thiamine", "thiamime", True),
        ("thiamine", "thiamin", True),
        ("thiamine", "thaimine", True),
        ("thiamine", "tyrosine", False),
        ("hyperkalemia", "hypokalemia", False),
        ("iron", "zinc", False),
        ("100", "101", False),
        ("vein", "vena", False),
    ],
)
def test_words_are_nearly_equal_up_to_one_typing_error(one, other, equal):
    assert match.nearly_equal(one, other) == match.nearly_equal(other, one) == equal


def test_grams_of_many_questions_are_no_content():
    many = [
        {
            "id": str(i),
            "language": "en",
            "options": {"A": f"drug{i}", "B": f"other{i}"},
            "question": f"Baseline fever protocol applies. Marker{i} sign{i} organ{i} test{i}",
        }
        for i in range(70)
    ]
    side = question_index.build_index(many).sides[match.WORDS]
    assert side.content_of(0).tolist() == [False, False, True, True, True, True, True, True]
