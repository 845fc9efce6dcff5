import json
from pathlib import Path

import pytest

from prompt_folder import Prompt
from run_record import InputError
from sft_data.examples import IGNORED, ExampleCounts, ExampleText, show_example
from sft_data.training_data import build_instruction_examples, read_turns

OURS = Path(__file__).parents[1] / "prompts/mmedbench"
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{{ '<|turn_end|>' if m['role'] == 'assistant' else '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ONE_TURN = [
    {"instruction": "Name a vitamin.", "input": "", "output": "Vitamin C."},
    {"messages": [{"role": "user", "content": "Name a vitamin."}, {"role": "assistant", "content": "Vitamin C."}]},
    {"conversations": [{"from": "human", "value": "Name a vitamin."}, {"from": "gpt", "value": "Vitamin C."}], "id": 7},
]
TWO_TURNS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "No."},
    ]
}


@pytest.fixture
def tokenizer(model_of):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_of())


@pytest.fixture
def build(tokenizer):
    def run(*paths: Path, longest: int = 500, chat: bool = False):
        prompt, counts = Prompt(OURS), ExampleCounts()
        prompt.chat_template, tokenizer.chat_template = chat, CHAT if chat else None
        return build_instruction_examples(
            list(paths), ExampleText(tokenizer, prompt), longest, counts
        ), counts.as_dict()

    return run


@pytest.fixture
def write(tmp_path):
    def run(records: list, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path.write_text("[" + ",\n".join(lines) + "]" if name.endswith(".json") else "\n".join(lines) + "\n")
        return path

    return run


@pytest.mark.parametrize("record", ONE_TURN, ids=["instruction", "messages", "conversations"])
@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_the_three_formats_give_the_same_example(record, name, build, write, tokenizer):
    (example,), counts = build(write([record], name))
    assert show_example(example, tokenizer) == (
        "### Instruction:\nName a vitamin.\n\n### Response:\n⟦Vitamin C.<|end|>⟧"
    )
    assert (example["kind"], counts) == ("instruction", {"instructions": {"-": 1}})


def test_an_input_stands_under_its_instruction(build, write, tokenizer):
    (example,), _ = build(write([{"instruction": "Translate.", "input": "fièvre", "output": "fever"}]))
    assert "Translate.\n\n### Input:\nfièvre\n\n### Response:\n⟦fever<|end|>⟧" in show_example(example, tokenizer)


def test_the_loss_counts_every_turn_of_the_assistant_and_no_other(build, write, tokenizer):
    (example,), _ = build(write([TWO_TURNS]))
    assert show_example(example, tokenizer) == (
        "Be brief.\n\n### Instruction:\nOne?\n\n### Response:\n⟦Yes.<|end|>⟧"
        "### Instruction:\nTwo?\n\n### Response:\n⟦No.<|end|>⟧"
    )
    assert all(label in (IGNORED, token) for token, label in zip(example["input_ids"], example["labels"], strict=True))


def test_a_conversation_goes_through_the_chat_template_where_the_prompt_does(build, write, tokenizer):
    (example,), _ = build(write([TWO_TURNS]), chat=True)
    assert show_example(example, tokenizer) == (
        "<system>Be brief.\n<user>One?\n<assistant>⟦Yes.<|turn_end|>⟧\n<user>Two?\n<assistant>⟦No.<|turn_end|>⟧"
    )


def test_what_is_too_long_loses_late_turns_or_the_middle_of_its_prompt_but_no_answer(build, write, tokenizer):
    (whole,), _ = build(write([TWO_TURNS]))
    (short,), counts = build(write([TWO_TURNS]), longest=len(whole["input_ids"]) - 1)
    assert show_example(short, tokenizer).endswith("⟦Yes.<|end|>⟧") and "Two" not in show_example(short, tokenizer)
    assert counts["instruction: later turns left off"] == {"-": 1}
    long = {"instruction": "word " * 300, "output": "The answer."}
    (example,), counts = build(write([long]), longest=100)
    assert len(example["input_ids"]) == 100 and show_example(example, tokenizer).endswith("⟦The answer.<|end|>⟧")
    assert counts["instruction: prompt shortened"] == {"-": 1}


def test_what_teaches_nothing_is_left_out_and_counted(build, write):
    empty = {"instruction": "Why?", "output": "  "}
    huge = {"instruction": "Why?", "output": "because " * 400}
    examples, counts = build(write([ONE_TURN[0], empty, ONE_TURN[1], huge]))
    assert len(examples) == 1
    assert counts == {
        "instructions": {"-": 4},
        "dropped: instruction with an empty answer": {"-": 1},
        "dropped: instruction that occurs twice": {"-": 1},
        "instruction: dropped: completion too long": {"-": 1},
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"instruction": "cut off', r"data\.jsonl:2: not JSON"),
        ({"prompt": "Q", "response": "A"}, r"data\.jsonl:2: keys prompt, response are of no known format"),
        ({"instruction": "Q", "output": 7}, r"data\.jsonl:2: output: expected a text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"data\.jsonl:2: messages\[0\]: role 'tool' is none of"),
        ({"messages": "x"}, r"data\.jsonl:2: messages: expected a list"),
        ({"messages": [{"role": "user", "content": "x"}]}, r"data\.jsonl:2: no turn of the assistant"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, r"data\.jsonl:2: turns of assistant; expected user"),
        ("[1]", r"data\.jsonl:2: expected a JSON object"),
    ],
)
def test_a_bad_record_is_named_with_its_line(record, message, build, write):
    with pytest.raises(InputError, match=message):
        build(write([ONE_TURN[0], record]))


def test_many_bad_records_are_counted_and_the_first_named(build, write):
    with pytest.raises(InputError, match=r"data\.json:2: .*data\.json:6: .*; 9 bad records in all; correct or remove"):
        build(write([ONE_TURN[0], *[{"x": 1}] * 9], "data.json"))


def test_an_empty_or_missing_file_is_named(tmp_path, build):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"empty\.jsonl contains no record"):
        build(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match=r"cannot read the instruction file .*none\.json"):
        build(tmp_path / "none.json")
    assert list(read_turns_of(tmp_path, ONE_TURN)) == [1, 2, 3]


def read_turns_of(folder: Path, records: list):
    path = folder / "array.json"
    path.write_text("[\n" + ",\n".join(map(json.dumps, records)) + "\n]")
    return (line - 1 for line, _ in read_turns(path))
