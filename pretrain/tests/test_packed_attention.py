"""Every attention gives a document the logits that it has alone; what cannot run here ends with a sentence."""

import argparse

import numpy as np
import pytest

from modelling.packed_attention import (
    attend_within_documents,
    attention_mask,
    choose_attention,
    document_bounds,
    model_inputs,
    register_document_attention,
)
from run_record import InputError

LENGTHS = ((7, 1, 9, 3), (12, 8), (20,))


def packed_batch(rows=LENGTHS, vocabulary: int = 64) -> dict:
    generator = np.random.default_rng(0)
    return {
        "input_ids": generator.integers(0, vocabulary, (len(rows), sum(rows[0]))),
        "position_ids": np.stack([np.concatenate([np.arange(n) for n in row]) for row in rows]),
        "documents": np.stack([np.repeat(np.arange(len(row)), row) for row in rows]).astype(np.int32),
    }


def make_model(attention: str, family: str = "llama", **fields):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    register_document_attention()
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
        **fields,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def logits_and_gradient(attention: str, batch: dict, **fields):
    import torch

    model = make_model(attention, **fields)
    logits = model(**model_inputs(attention, batch, "cpu", torch.float32)).logits
    logits = logits.reshape(*batch["input_ids"].shape, -1)
    logits.square().mean().backward()
    return logits.detach(), model.model.layers[0].self_attn.k_proj.weight.grad


@pytest.mark.parametrize("attention", ["documents", "sdpa", "eager"])
def test_a_documents_logits_are_those_that_it_has_alone(attention):
    import torch

    batch = packed_batch()
    logits, _ = logits_and_gradient(attention, batch)
    model = make_model("sdpa")
    for row, lengths in enumerate(LENGTHS):
        start = 0
        for length in lengths:
            ids = torch.tensor(batch["input_ids"][row : row + 1, start : start + length])
            alone = model(input_ids=ids, use_cache=False).logits[0]
            assert torch.allclose(logits[row, start : start + length], alone, atol=1e-5)
            start += length


@pytest.mark.parametrize(
    ("family", "fields"), [("llama", {}), ("mistral", {"sliding_window": 5}), ("qwen3", {"head_dim": 16})]
)
def test_flattened_rows_give_the_logits_and_gradients_of_masked_rows(family, fields):
    import torch

    batch = packed_batch()
    if fields.get("sliding_window"):
        # A mask that is given is taken as it is, so the window is written into it here.
        from modelling import packed_attention

        places = np.arange(20)
        near = torch.tensor(places[:, None] - places[None, :] < fields["sliding_window"])
        model = make_model("sdpa", family, **fields)
        mask = packed_attention.attention_mask(batch["documents"], "cpu") & near
        ids, positions = torch.tensor(batch["input_ids"]), torch.tensor(batch["position_ids"])
        wanted = model(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False).logits
        wanted.square().mean().backward()
        wanted = wanted.detach(), model.model.layers[0].self_attn.k_proj.weight.grad
    else:
        wanted = logits_and_gradient("sdpa", batch, family=family, **fields)
    found = logits_and_gradient("documents", batch, family=family, **fields)
    assert torch.allclose(found[0], wanted[0], atol=1e-5)
    assert torch.allclose(found[1], wanted[1], atol=1e-5)


def test_dropout_of_attention_scores_is_done_within_documents_too():
    """GPT-2 drops scores out (attn_pdrop), and its documents must still not see each other."""
    import torch

    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 8, 4).unbind()
    starts = torch.tensor([0, 5, 8], dtype=torch.int32)

    def attend(dropout, value):
        torch.manual_seed(1)
        return attend_within_documents(None, query, key, value, None, dropout, cu_seq_lens_q=starts, max_length_q=5)[0]

    other = value.clone()
    other[:, :, :5] = 7.0  # the first document's
    assert not torch.equal(attend(0.5, value), attend(0.0, value))
    assert torch.equal(attend(0.5, value)[:, 5:], attend(0.5, other)[:, 5:])


def test_what_flash_attention_is_given_says_where_documents_begin():
    import torch

    batch = packed_batch()
    inputs = model_inputs("flash_attention_2", batch, "cpu", torch.bfloat16)
    assert inputs["cu_seq_lens_q"].tolist() == [0, 7, 8, 17, 20, 32, 40, 60] == document_bounds(batch).tolist()
    assert inputs["cu_seq_lens_q"].dtype == torch.int32 and inputs["max_length_q"] == 20
    assert inputs["attention_mask"] is None and inputs["input_ids"].shape == (1, 60)
    assert inputs["position_ids"][0, 7:10].tolist() == [0, 0, 1]
    # Without documents each row is one, and a mask is the model's own affair.
    assert document_bounds(batch | {"documents": None}).tolist() == [0, 20, 40, 60]
    assert attention_mask(None, "cpu") is None


@pytest.mark.parametrize(
    ("wanted", "family", "message"),
    [
        ("flash_attention_2", "llama", "on a GPU in bf16 only"),
        ("flex_attention", "llama", "no backward pass on a CPU"),
        ("documents", "gemma2", "does not fit gemma2"),
    ],
)
def test_an_attention_that_cannot_run_here_is_refused(wanted, family, message):
    from transformers import AutoConfig

    from modelling.lm_model import model_class

    config = AutoConfig.for_model(family)
    with pytest.raises(InputError, match=message):
        choose_attention(argparse.Namespace(attn=wanted, compile=False), model_class(config), config, False, False)


def test_auto_takes_what_fits_the_model():
    from transformers import AutoConfig

    from modelling.lm_model import model_class

    def chosen(family, compile=False):
        config = AutoConfig.for_model(family)
        args = argparse.Namespace(attn="auto", compile=compile)
        return choose_attention(args, model_class(config), config, gpu=False, bf16=False)

    assert [chosen("llama"), chosen("llama", compile=True), chosen("qwen2")] == ["documents", "sdpa", "documents"]
    assert chosen("gemma2") in ("sdpa", "eager")
