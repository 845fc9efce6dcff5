"""The loop for plain caches against transformers' generate(), over tiny random models of many families."""

import dataclasses

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from local_model import decode_loop, local_model
from local_model.local_model import StopWatch, draw_tokens, uniform_draws

SMALL = {
    "vocab_size": 257,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 8,
    "initializer_range": 0.4,
    "max_position_embeddings": 256,
}
# Family: (its own settings, whether the loop takes it).
FAMILIES = {
    "llama": ({}, True),
    "qwen2": ({}, True),
    "qwen3": ({}, True),
    "gemma": ({}, True),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4}, True),
    "gpt_neox": ({}, True),
    "mistral": ({"sliding_window": None}, True),
    "mixtral": ({"num_local_experts": 2, "sliding_window": None}, True),
    "phi": ({}, True),
    "bloom": ({"n_layer": 2, "n_head": 4}, False),  # takes no positions
    "gemma3_text": ({"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}, False),
    "mamba": ({"state_size": 4}, False),
}


def make_loaded(family: str, checkpoint, **changes) -> local_model.LoadedModel:
    torch.manual_seed(3)
    tokens = {"eos_token_id": 0, "bos_token_id": None, "pad_token_id": None}
    config = AutoConfig.for_model(family, **(SMALL | tokens | FAMILIES[family][0] | changes))
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # wide weights, so that answers differ and no two logits are close
        for weights in model.parameters():
            if weights.dim() > 1 and weights.std() < 0.2 and family != "mamba":
                weights.normal_(0, 0.4)
    model.generation_config.pad_token_id = 0
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.pad_token = tokenizer.eos_token
    return local_model.LoadedModel(model, tokenizer, {}, 256)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Of 1 to 40 tokens, in no order."""
    generator = torch.Generator().manual_seed(5)
    lengths = [7, 40, 1, 12, 33, 3, 21, 12]
    return [torch.randint(1, 257, (length,), generator=generator).tolist() for length in lengths]


def one_by_one(loaded, prompts, count, stop=(), ends=(0,)) -> list[str]:
    loaded = dataclasses.replace(loaded, own_loop=False)
    return [local_model.generate(loaded, [prompt], count, list(stop), list(ends))[0] for prompt in prompts]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_those_of_transformers_one_by_one(family, checkpoint, prompts, monkeypatch):
    loaded = make_loaded(family, checkpoint)
    ends = [0, 40, 41, 42, 43]  # so that rows end at different times, and some leave the batch
    wanted = one_by_one(loaded, prompts, 24, ends=ends)
    monkeypatch.setattr(local_model, "CPU_CELLS", 60)
    assert local_model.generate(loaded, prompts, 24, [], ends) == wanted
    assert loaded.own_loop == FAMILIES[family][1]
    assert len(set(wanted)) > 4, "the model must answer differently, or this shows nothing"


def test_rows_that_end_leave_the_batch_and_little_memory_makes_several(checkpoint, prompts, monkeypatch):
    loaded = make_loaded("llama", checkpoint)
    wanted = one_by_one(loaded, prompts, 24, ends=[0, *range(32, 48)])
    sizes, original = [], loaded.model.forward

    def spy(input_ids, **rest):
        sizes.append(tuple(input_ids.shape))
        return original(input_ids=input_ids, **rest)

    monkeypatch.setattr(decode_loop, "fits", lambda model: True)  # which reads the signature that the spy hides
    monkeypatch.setattr(loaded.model, "forward", spy)
    assert local_model.generate(loaded, prompts, 24, [], [0, *range(32, 48)]) == wanted
    rows = [size[0] for size in sizes if size[1] == 1]
    assert sizes[0] == (8, 40) and max(rows) == 8 and min(rows) < 5
    sizes.clear()
    monkeypatch.setattr(local_model, "CPU_CELLS", 40)
    monkeypatch.setattr(decode_loop, "CACHE_BYTES", 3 * (40 + 24) * 2 * 2 * 2 * 8 * 4)
    assert local_model.generate(loaded, prompts, 24, [], [0, *range(32, 48)]) == wanted
    assert max(size[0] for size in sizes if size[1] == 1) <= 5, "three of the longest, five of the shorter"


def test_whatever_memory_holds_before_it_is_written_reaches_no_answer(checkpoint, prompts, monkeypatch):
    loaded = make_loaded("llama", checkpoint)
    wanted, original = one_by_one(loaded, prompts, 12), torch.Tensor.new_empty
    monkeypatch.setattr(local_model, "CPU_CELLS", 60)  # several chunks, so that some are padded to the longest
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *shape: original(*shape).fill_(torch.nan))
    assert local_model.generate(loaded, prompts, 12, [], [0]) == wanted and loaded.own_loop


def test_a_generation_config_with_rules_of_its_own_is_left_to_transformers(checkpoint, prompts):
    loaded = make_loaded("llama", checkpoint)
    plain = local_model.generate(loaded, prompts, 24, [], [0])
    loaded.model.generation_config.repetition_penalty = 1.8
    ruled = one_by_one(loaded, prompts, 24)
    assert local_model.generate(loaded, prompts, 24, [], [0]) == ruled != plain
    assert not loaded.own_loop


@pytest.mark.parametrize("stop", [["e"], ["\n\n", "Q:"], ["é"], ["th", "a"]])
def test_stop_strings_end_an_answer_where_transformers_ends_it(stop, checkpoint, prompts, monkeypatch):
    loaded = make_loaded("llama", checkpoint)
    spied, original = [], StopWatch.stopped
    monkeypatch.setattr(
        StopWatch, "stopped", lambda self, prompt, tokens: spied.append(original(self, prompt, tokens)) or spied[-1]
    )
    wanted = one_by_one(loaded, prompts, 60, stop)
    assert local_model.generate(loaded, prompts, 60, stop, [0]) == wanted and loaded.own_loop
    assert any(spied) == (wanted != one_by_one(loaded, prompts, 60))


def test_a_stop_string_counts_when_it_ends_in_the_last_token_even_if_it_began_in_the_prompt(checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    watch = StopWatch(tokenizer, ["\n\n", "。"])

    def ids(text):
        return tokenizer(text)["input_ids"]

    assert watch.stopped(ids("A:\n"), ids("\n"))
    assert not watch.stopped(ids("A:\n\n"), ids("x"))
    assert watch.stopped(ids("A:\n\n"), ids("\n"))
    assert [watch.stopped([5], ids("x。")[:n]) for n in (1, 2, 3, 4)] == [False, False, False, True]


def test_samples_depend_on_the_names_and_not_on_the_batch(checkpoint, prompts):
    """In the loop and in transformers' generate, one by one and together."""
    loaded = make_loaded("llama", checkpoint)
    names = [f"0 en {number} 0" for number in range(len(prompts))]
    together = local_model.generate(loaded, prompts, 12, [], [0], 1.5, names)
    assert loaded.own_loop
    alone = [local_model.generate(loaded, [p], 12, [], [0], 1.5, [n])[0] for p, n in zip(prompts, names, strict=True)]
    loaded.own_loop = False
    transformers = local_model.generate(loaded, prompts[::-1], 12, [], [0], 1.5, names[::-1])[::-1]
    assert together == alone == transformers
    same = local_model.generate(loaded, [prompts[0]] * 6, 12, [], [0], 1.5, names[:6])
    assert len(set(same)) == 6, "one prompt under six names"


def test_draws_follow_the_probabilities():
    logits = torch.tensor([0.0, 2.0, 1.0, -torch.inf]).expand(20_000, 4)
    counts = draw_tokens(logits, 0.8, uniform_draws(["a name"], 20_000)[0]).bincount(minlength=4) / 20_000
    # 20,000 draws: a standard deviation of at most 0.0036.
    assert counts.tolist() == pytest.approx(torch.softmax(logits[0] / 0.8, -1).tolist(), abs=0.015)
    ends = draw_tokens(logits[:2], 1.0, torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64))
    assert ends.tolist() == [0, 2] and draw_tokens(logits[:1].flip(1), 1.0, torch.zeros(1)).tolist() == [1]
