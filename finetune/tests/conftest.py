"""Tiny random models, a small train set and a small test set, made once."""

import json
from pathlib import Path

import pytest

QUESTIONS = {
    "English.jsonl": (
        "Which vitamin prevents scurvy, variant {}?",
        ["Vitamin A", "Vitamin C", "Vitamin D", "Vitamin K"],
    ),
    "French.jsonl": ("Quelle vitamine prévient le scorbut, variante {} ?", ["A", "C", "D", "E", "K"]),
    "Russian.jsonl": ("Витамин C предупреждает цингу, вариант {}?", ["да", "нет"]),
    "Chinese.jsonl": ("哪种维生素可以预防坏血病，变体{}？", ["维生素A", "维生素C", "维生素D", "维生素K"]),
}


def write_split(folder: Path, first: int, count: int, rationale: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, (question, options) in QUESTIONS.items():
        with open(folder / name, "w", encoding="utf-8") as file:
            for number in range(first, first + count):
                letters = dict(zip("ABCDE", options, strict=False))
                answer = "ABCDE"[number % len(options)]
                if name == "French.jsonl" and number % 3 == 0:
                    answer = "B,D"
                record = {
                    "question": question.format(number),
                    "options": letters,
                    "answer_idx": answer,
                    "rationale": f"Because of reason {number}." if rationale else "",
                }
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "MMedBench"
    write_split(folder / "Train", 0, 8)
    write_split(folder / "Test", 6, 4)  # two of each language's eight are in both
    return folder


def make_model(folder: Path, kind: str = "llama") -> Path:
    """A random two-layer model with a byte-level tokenizer of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>", "<|turn_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([question for question, _ in QUESTIONS.values()], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")  # without a padding token
    sizes = {
        "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
        "qwen2": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        "mistral": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
        },
        "qwen3": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "tie_word_embeddings": True,
        },
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=len(fast), eos_token_id=0, bos_token_id=0, pad_token_id=None, **sizes[kind]
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_of(tmp_path_factory):
    made = {}

    def get(kind: str = "llama") -> Path:
        if kind not in made:
            made[kind] = make_model(tmp_path_factory.mktemp("model") / kind, kind)
        return made[kind]

    return get
