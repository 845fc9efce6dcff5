from array import array
from collections import Counter

import pytest

from run_record import InputError
from sft_data.example_mixture import make_mixture, question_pools


def example(kind: str, language: str, number: int) -> dict:
    return {
        "input_ids": array("i", [number] * 3),
        "labels": array("i", [-100, 1, 2]),
        "kind": kind,
        "language": language,
    }


def examples(**sizes: int) -> list[dict]:
    """examples(answer_fr=4) -> four French ones of the form answer."""
    return [example(*name.split("_"), number) for name, size in sizes.items() for number in range(size)]


def mixture(sizes, forms=(), languages=(), others=None, shares=None, seed=0):
    pools = question_pools(examples(**sizes), dict(forms), dict(languages))
    return make_mixture(pools, others or {}, shares or {}, None, 99, seed)


def drawn(mixed, epoch: int) -> list[tuple]:
    return [(mixed.pools[d.pool].kind, mixed.pools[d.pool].language, d.index) for d in mixed.draw(epoch)]


def test_by_default_every_example_comes_once_an_epoch_in_another_order_each_time():
    mixed = mixture({"answer_fr": 5, "rationale_fr": 3, "answer_ru": 4})
    epochs = [drawn(mixed, epoch) for epoch in range(3)]
    assert all(len(set(epoch)) == len(epoch) == 12 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert drawn(mixture({"answer_fr": 5, "rationale_fr": 3, "answer_ru": 4}), 1) == epochs[1]
    assert drawn(mixture({"answer_fr": 5, "rationale_fr": 3, "answer_ru": 4}, seed=1), 1) != epochs[1]


def test_shares_of_forms_and_weights_of_languages_multiply():
    mixed = mixture(
        {"answer_fr": 10, "rationale_fr": 10, "answer_ru": 10, "rationale_ru": 10},
        forms={"rationale": 0.5},
        languages={"fr": 2, "ru": 0.3},
    )
    assert mixed.as_dict() == {"answer": {"fr": 20, "ru": 3}, "rationale": {"fr": 10, "ru": 2}}
    assert mixed.per_epoch == 35 and len(mixed.draw(0)) == 35


def test_half_a_language_is_another_half_in_the_next_epoch_and_twice_is_all_twice():
    half = mixture({"answer_fr": 10}, languages={"fr": 0.5})
    assert {index for epoch in (0, 1) for *_, index in drawn(half, epoch)} == set(range(10))
    twice = mixture({"answer_fr": 10}, languages={"fr": 2})
    assert set(Counter(drawn(twice, 0)).values()) == {2}


def test_a_language_with_three_questions_is_never_rounded_away_and_zero_leaves_it_out():
    assert mixture({"answer_fr": 3}, languages={"fr": 0.01}).as_dict() == {"answer": {"fr": 1}}
    assert mixture({"answer_fr": 3, "answer_ru": 3}, languages={"fr": 0}).as_dict() == {"answer": {"ru": 3}}


def test_instructions_and_replay_have_their_share_of_the_examples():
    others = {"instruction": examples(**{"instruction_-": 7}), "replay": examples(replay_fr=30, replay_ru=10)}
    mixed = mixture({"answer_fr": 70}, others=others, shares={"instruction": 0.2, "replay": 0.1})
    assert mixed.as_dict() == {"answer": {"fr": 70}, "instruction": {"-": 20}, "replay": {"fr": 8, "ru": 2}}
    table = "\n".join(mixed.table())
    assert "examples per epoch" in table and "70.0%" in table


def test_the_table_says_how_many_tokens_the_loss_counts():
    heads, row = mixture({"answer_fr": 4}).table()
    assert heads.split() == ["examples", "per", "epoch", "fr", "all", "tokens", "learned", "share"]
    assert row.split() == ["answer", "4", "4", "12", "8", "100.0%"]


def test_weights_without_effect_are_refused():
    with pytest.raises(InputError, match="names ru, of which there is no question; there are fr"):
        mixture({"answer_fr": 4}, languages={"ru": 2})
    with pytest.raises(InputError, match="no question is left"):
        mixture({"answer_fr": 4}, languages={"fr": 0})
