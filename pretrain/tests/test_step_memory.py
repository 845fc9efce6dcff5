"""The traced activations against those that a real pass of the whole model saves and holds, on this machine."""

import argparse

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from modelling.lm_loss import summed_loss
from modelling.lm_model import model_class
from modelling.packed_attention import choose_attention, register_document_attention
from planning.step_memory import Activations, measure_pass, sample_batch, trace_activations
from run_record import InputError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}
QWEN2 = LLAMA | {"model_type": "qwen2", "tie_word_embeddings": True}
MISTRAL = LLAMA | {"model_type": "mistral", "num_key_value_heads": 1, "num_hidden_layers": 5}
NEOX = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"} | {"model_type": "gpt_neox"}
# Without dropout of attention scores: torch does that on a CPU by another kernel than a tensor without memory shows.
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 500, "attn_pdrop": 0.0}
GEMMA2 = LLAMA | {"model_type": "gemma2", "head_dim": 16, "num_hidden_layers": 6}
ONE_LAYER = LLAMA | {"num_hidden_layers": 1}


def real_pass(config, bf16: bool, micro: int, length: int, checkpointing: bool, attention: str) -> tuple[int, int]:
    torch.manual_seed(0)
    register_document_attention()
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    return measure_pass(model, sample_batch(500, micro, length), checkpointing, summed_loss, "cpu")


QUICK = [
    (LLAMA, False, 2, 64, False),
    (LLAMA, True, 4, 48, True),
    (QWEN2, True, 1, 96, False),
    (NEOX, False, 3, 32, True),
]
SLOW = [
    (shape, bf16, micro, length, checkpointing)
    for shape, bf16, micro, length in [
        (LLAMA, True, 1, 128),
        (QWEN2, False, 5, 64),
        (MISTRAL, True, 2, 64),
        (MISTRAL, False, 1, 200),
        (NEOX, True, 2, 64),
        (GPT2, False, 2, 64),
        (GEMMA2, True, 2, 48),
        (ONE_LAYER, False, 2, 64),
    ]
    for checkpointing in (False, True)
]


@pytest.mark.parametrize(
    ("shape", "bf16", "micro", "length", "checkpointing"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else str(value),
)
def test_the_trace_is_within_a_tenth_of_what_a_pass_saves_and_holds(shape, bf16, micro, length, checkpointing):
    config = AutoConfig.for_model(**shape)
    attention = choose_attention(
        argparse.Namespace(attn="auto", compile=False), model_class(config), config, False, bf16
    )
    traced = trace_activations(config, bf16, micro, length, checkpointing, attention, False)
    saved, peak = real_pass(config, bf16, micro, length, checkpointing, attention)
    assert traced.saved == pytest.approx(saved, rel=0.1)
    assert traced.peak == pytest.approx(peak, rel=0.1)
    assert 0 < traced.head < traced.saved <= traced.peak


def test_checkpointing_keeps_one_hidden_state_a_layer():
    config = AutoConfig.for_model(**LLAMA)
    kept = trace_activations(config, True, 2, 64, True, "documents", False)
    assert kept.saved - kept.head == 7 * 2 * 64 * 64 * 2


def test_a_gpus_flash_attention_keeps_neither_a_mask_nor_repeated_keys():
    config = AutoConfig.for_model(**LLAMA)
    names = ("documents", "sdpa", "eager")
    found = {name: trace_activations(config, True, 2, 64, False, name, True) for name in names}
    layer = {kernel: (a.saved - a.head) // 7 for kernel, a in found.items()}
    keys_and_values, mask = 2 * 2 * 64 * 64 * 2, 2 * 64 * 64 * 2
    assert layer["sdpa"] - layer["documents"] == keys_and_values // 2 + mask
    assert layer["eager"] - layer["documents"] > 2 * 4 * 64 * 64 * (4 + 2)  # the scores in float32, the shares in bf16


def test_a_model_that_cannot_run_a_step_is_refused_in_a_sentence():
    bloom = AutoConfig.for_model("bloom", hidden_size=64, n_layer=2, n_head=4, vocab_size=500)
    with pytest.raises(InputError, match="this bloom cannot be traced"):
        trace_activations(bloom, True, 1, 32, False, "eager", False)


def test_a_model_of_seventy_billion_parameters_is_traced_without_its_memory():
    shape = {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    }
    traced = trace_activations(AutoConfig.for_model("llama", **shape), True, 1, 2048, True, "documents", True)
    assert isinstance(traced, Activations)
    assert traced.saved - traced.head == 80 * 2048 * 8192 * 2
