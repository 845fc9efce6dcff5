import json
from collections import Counter
from pathlib import Path

import pytest

from example_text import ExampleText
from examples import (
    ExampleCounts,
    build_examples,
    drop_test_questions,
    limit_per_language,
)
from option_order import reorder_options
from prompt_file import Prompt
from train_questions import read_split

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
    assert counts.as_dict() == {"dropped: stands in the test set": dict.fromkeys(("en", "fr", "ru", "zh"), 2)}
    assert len(kept) == len(questions) - 8


def test_reordered_options_keep_the_right_texts_right(questions, tokenizer):
    for record in questions:
        for seed in range(5):
            other = reorder_options(record, str(seed))
            assert sorted(other["options"].values()) == sorted(record["options"].values())
            right = {record["options"][letter] for letter in record["answer_idx"].split(",")}
            assert {other["options"][letter] for letter in other["answer_idx"].split(",")} == right
            assert other["answer_idx"] == ",".join(sorted(other["answer_idx"].split(",")))
    examples, counts = build(questions, tokenizer, option_orders=4)
    assert counts["examples: answer"]["en"] == 32 and counts["examples: rationale"]["en"] == 8
    assert build(questions, tokenizer, option_orders=4)[0] == examples, "the orders must not change between runs"


def test_a_limit_takes_the_same_questions_of_each_language_again(questions):
    chosen = limit_per_language(questions, 3, seed=1)
    assert Counter(q["language"] for q in chosen) == dict.fromkeys(("en", "fr", "ru", "zh"), 3)
    assert limit_per_language(questions, 3, seed=1) == chosen
    assert json.dumps(limit_per_language(questions, 3, seed=2)) != json.dumps(chosen)
