import pytest

from sft_data.examples import can_reorder, reorder_options

PLAIN = {"id": "x", "question": "Q?", "options": {"A": "iron", "B": "zinc", "C": "copper"}, "answer_idx": "A,C"}


@pytest.mark.parametrize("seed", range(6))
def test_reordered_options_keep_the_right_texts_right(seed):
    other = reorder_options(PLAIN, str(seed))
    assert list(other["options"]) == ["A", "B", "C"]
    assert {other["options"][letter] for letter in other["answer_idx"].split(",")} == {"iron", "copper"}
    assert other["answer_idx"].split(",") == sorted(other["answer_idx"].split(","))


@pytest.mark.parametrize(
    "option",
    [
        "All of the above",
        "Both A and C",
        "A, C",
        "Toutes les réponses",
        "Les deux propositions précédentes",
        "Todas las anteriores",
        "Все вышеперечисленное",
        "以上都是",
        "上記すべて",
        "Alle genannten",
        "جميع ما سبق",
    ],
)
def test_an_option_that_speaks_of_others_keeps_the_order(option):
    record = PLAIN | {"options": PLAIN["options"] | {"D": option}}
    assert not can_reorder(record, "answer") and not can_reorder(record, "rationale")


@pytest.mark.parametrize("option", ["Vitamin A", "Left anterior artery", "Tobramycin", "A", "да", "维生素A", "IgA"])
def test_an_option_with_a_letter_in_its_name_may_be_reordered(option):
    assert can_reorder(PLAIN | {"options": PLAIN["options"] | {"D": option}}, "answer")


@pytest.mark.parametrize(
    "rationale",
    [
        "Option B is wrong.",
        "B is wrong because of zinc.",
        "(b) is wrong",
        "因此选B。",
        "选项A正确",
        "選択肢1は誤り",
        "3番が正しい",
        "La réponse est claire.",
        "La primera opción es correcta.",
        "Первый вариант верен.",
        "Верно В.",
        "Antwort 2 ist falsch.",
        "الخيار الأول صحيح",
        "Vitamin C heals.",
    ],
)
def test_a_rationale_that_may_name_options_keeps_its_order(rationale):
    record = PLAIN | {"rationale": rationale}
    assert can_reorder(record, "answer") and not can_reorder(record, "rationale")


@pytest.mark.parametrize(
    "rationale", ["Iron and copper carry oxygen.", "铁和铜运输氧。", "Железо и медь переносят кислород."]
)
def test_a_rationale_that_names_no_option_may_be_reordered(rationale):
    assert can_reorder(PLAIN | {"rationale": rationale}, "rationale")
