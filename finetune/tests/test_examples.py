import json
from collections import Counter
from pathlib import Path

import pytest

from mmedbench_questions import read_split
from prompt_folder import Prompt
from sft_data.examples import (
    ExampleCounts,
    ExampleText,
    build_examples,
    drop_duplicates,
    drop_test_questions,
    limit_per_language,
    reorder_options,
    show_example,
    with_fresh_options,
)

OURS = Path(__file__).parents[1] / "prompts/mmedbench"


@pytest.fixture
def tokenizer(model_of):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_of())


@pytest.fixture
def questions(benchmark):
    return [record for records in read_split(benchmark / "Train").values() for record in records]


def build(questions, tokenizer, longest=4096, forms=("answer", "rationale"), **options):
    counts = ExampleCounts()
    encoding = ExampleText(tokenizer, Prompt(OURS))
    return build_examples(questions, encoding, longest, list(forms), counts, **options), counts.as_dict()


def test_the_loss_counts_the_completion_and_its_end_and_nothing_else(questions, tokenizer):
    prompt = Prompt(OURS)
    examples, counts = build(questions, tokenizer)
    assert counts["examples: answer"] == counts["examples: rationale"] == dict.fromkeys(("en", "fr", "ru", "zh"), 8)
    for example, (record, form) in zip(
        examples, [(q, f) for q in questions for f in ("answer", "rationale")], strict=True
    ):
        counted = [i for i, label in zip(example["input_ids"], example["labels"], strict=True) if label != -100]
        assert [label for label in example["labels"] if label != -100] == counted
        assert counted[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(counted[:-1]) == prompt.target(record, form)
        assert tokenizer.decode(example["input_ids"][: -len(counted)]) == prompt.render(record, form)


def test_a_long_prompt_is_shortened_and_the_answer_never_cut(questions, tokenizer):
    whole, _ = build(questions, tokenizer)
    examples, counts = build(questions, tokenizer, longest=120)
    assert sum(counts["prompt shortened"].values()) > 0
    assert max(len(e["input_ids"]) for e in examples) == 120
    for long, short in zip(whole, examples, strict=True):
        assert [x for x in short["labels"] if x != -100] == [x for x in long["labels"] if x != -100]


def test_a_question_without_rationale_gives_one_example_and_is_counted(questions, tokenizer):
    examples, counts = build([q | {"rationale": ""} for q in questions], tokenizer)
    assert (len(examples), sum(counts["no rationale"].values())) == (32, 32)


def test_a_completion_without_room_is_dropped_and_counted(questions, tokenizer):
    examples, counts = build([questions[0] | {"rationale": "long " * 100}], tokenizer, longest=60)
    assert (len(examples), counts["dropped: completion too long"]) == (1, {"zh": 1})


def test_test_questions_are_dropped_whatever_their_punctuation_and_option_order(benchmark, questions):
    test = [record for records in read_split(benchmark / "Test").values() for record in records]
    disguised = [reorder_options(r | {"question": r["question"].upper().replace(",", " ,")}, "x") for r in test]
    counts = ExampleCounts()
    kept = drop_test_questions(questions, disguised, counts)
    assert counts.as_dict() == {"dropped: is in the test set": dict.fromkeys(("en", "fr", "ru", "zh"), 2)}
    assert len(kept) == len(questions) - 8


def test_the_options_survive_where_a_long_question_is_shortened(questions, tokenizer):
    long = questions[0] | {"language": "en", "question": "Long story. " * 300, "context": "Long abstract. " * 200}
    for example in build([long], tokenizer, longest=400)[0]:
        text = tokenizer.decode(example["input_ids"])
        assert len(example["input_ids"]) == 400 and text.startswith("Answer this medical exam question.")
        assert all(f"\n{letter}. {option}\n" in text for letter, option in long["options"].items())


def test_of_a_question_that_stands_twice_one_is_kept_the_one_with_a_rationale(questions):
    bare = questions[0] | {"rationale": ""}
    counts = ExampleCounts()
    kept = drop_duplicates([bare, *questions, dict(questions[1])], counts)
    assert [q["id"] for q in kept] == [q["id"] for q in questions] and kept[0]["rationale"]
    assert counts.as_dict() == {"dropped: occurs twice in the train set": {"zh": 2}}


def test_shuffled_options_are_fresh_by_seed_and_the_answer_moves_with_them(questions, tokenizer):
    encoding = ExampleText(tokenizer, Prompt(OURS))
    examples, _ = build(questions, tokenizer, shuffle_options=True)
    example = next(e for e in examples if e["language"] == "en" and e["kind"] == "rationale")
    right = example["question"]["options"][example["question"]["answer_idx"]]
    seen = set()
    for seed in map(str, range(20)):
        text = show_example(with_fresh_options(example, encoding, 4096, seed), tokenizer)
        letter = text.removesuffix("<|end|>⟧")[-1]
        assert f"\n{letter}. {right}\n" in text
        seen.add(text)
        assert show_example(with_fresh_options(example, encoding, 4096, seed), tokenizer) == text
    assert len(seen) > 5


def test_an_order_that_must_stay_stays_and_is_counted(questions, tokenizer):
    named = questions[0] | {"rationale": "Option B is wrong."}
    examples, counts = build([named], tokenizer, shuffle_options=True)
    assert ["question" in example for example in examples] == [True, False]
    assert counts["options named in the text, order kept: rationale"] == {"zh": 1}


def test_option_orders_multiply_the_form_answer_alone(questions, tokenizer):
    examples, counts = build(questions, tokenizer, option_orders=4)
    assert counts["examples: answer"]["en"] == 32 and counts["examples: rationale"]["en"] == 8
    assert build(questions, tokenizer, option_orders=4)[0] == examples, "the orders must not change between runs"


def test_a_limit_takes_the_same_questions_of_each_language_again(questions):
    chosen = limit_per_language(questions, 3, seed=1)
    assert Counter(q["language"] for q in chosen) == dict.fromkeys(("en", "fr", "ru", "zh"), 3)
    assert limit_per_language(questions, 3, seed=1) == chosen
    assert json.dumps(limit_per_language(questions, 3, seed=2)) != json.dumps(chosen)
