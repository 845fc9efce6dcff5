"""A tiny random checkpoint with a prompt of its own, and a small test set, made once."""

import json
from pathlib import Path

import pytest

PROMPT_TEXT = (
    "{{ question }}\n{% for letter, text in options.items() %}{{ letter }}. {{ text }}\n{% endfor %}{{ form }}:\n"
)
TARGET_TEXT = '{% if form == "rationale" %}{{ rationale }}\nrationale ends\n{% endif %}{{ answer_idx }}'


def write_prompt(folder: Path, pattern: str = r"(?:\A|rationale ends\n)\s*([A-Z](?:,[A-Z])*)\s*\Z") -> Path:
    """A prompt folder that is not the project's own, so that nothing depends on ours."""
    from jinja2 import Environment

    folder.mkdir(parents=True)
    (folder / "prompt.jinja").write_text(PROMPT_TEXT)
    (folder / "target.jinja").write_text(TARGET_TEXT)
    record = {"question": "Q?", "options": {"A": "x", "B": "y"}, "answer_idx": "A,B", "rationale": "R."}
    examples = [
        {"form": form, "record": record, "prompt": Environment().from_string(PROMPT_TEXT).render(form=form, **record),
         "target": Environment().from_string(TARGET_TEXT).render(form=form, **record)}
        for form in ("answer", "rationale")
    ]  # fmt: skip
    settings = {"name": "test", "version": 1, "answer_pattern": pattern, "stop": [], "worked_examples": examples}
    (folder / "prompt.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def prompt_folder(tmp_path_factory) -> Path:
    return write_prompt(tmp_path_factory.mktemp("prompts") / "prompt")


@pytest.fixture(scope="session")
def make_prompt():
    return write_prompt


@pytest.fixture(scope="session")
def test_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "MMedBench" / "Test"
    folder.mkdir(parents=True)
    files = (
        ("English.jsonl", "Which is right, number {}? " + "A long case. ", 9),
        ("Russian.jsonl", "Верно ли это, номер {}?", 7),
        ("Chinese.jsonl", "哪个正确，第{}题？", 6),
    )
    for name, text, count in files:
        lines = []
        for number in range(count):
            question = text.format(number) * (1 + number % 4)
            options = {"A": "yes", "B": "no"} if name == "Russian.jsonl" else {"A": "1", "B": "2", "C": "3", "D": "4"}
            answer = "A,C" if name == "English.jsonl" and number == 4 else "AB"[number % 2]
            lines.append(
                json.dumps({"question": question, "options": options, "answer_idx": answer}, ensure_ascii=False)
            )
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, prompt_folder) -> Path:
    """A random two-layer Llama with wide weights, so that its answers differ from question to question."""
    import shutil

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={"<|end|>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("model") / "tiny"
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=257, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, initializer_range=0.4, eos_token_id=0, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    shutil.copytree(prompt_folder, folder / "prompt")
    return folder
