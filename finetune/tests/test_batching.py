import random
from array import array
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from run_record import InputError
from sft_data.batching import MicroBatchCollator, MicroBatches, PadOnTheRight, make_packing_guard, pack, prove_packing
from sft_data.example_mixture import make_mixture, question_pools


def mixture_of(lengths: list[int], seed: int = 0):
    examples = [
        {
            "input_ids": array("i", [5] * n),
            "labels": array("i", [-100] * (n - 1) + [5]),
            "kind": "answer",
            "language": "fr",
        }
        for n in lengths
    ]
    return make_mixture(question_pools(examples, {}, {}), {}, {}, None, 10**6, seed)


def long_tailed(count: int) -> list[int]:
    chance = random.Random(0)
    return [int(min(2000, 20 + chance.lognormvariate(5, 0.6))) for _ in range(count)]


def steps_of(batches: MicroBatches, per_step: int) -> list[list[int]]:
    plan = [[draw.index for draw in draws] for draws in batches.plan]
    return [[x for row in plan[i : i + per_step] for x in row] for i in range(0, len(plan), per_step)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(2, 300), min_size=1, max_size=60),
    st.sampled_from([(8, 2), (8, 8), (6, 3), (5, 1)]),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_step_has_its_examples_and_every_epoch_all_of_them(lengths, sizes, epochs, packing):
    batch, micro = sizes
    batches = MicroBatches(mixture_of(lengths), epochs, batch, micro, packing)
    steps = steps_of(batches, batch // micro)
    assert len(steps) == batches.steps == -(-epochs * len(lengths) // batch)
    assert all(len(step) == batch for step in steps)
    counts = Counter(index for step in steps for index in step)
    assert set(counts) == set(range(len(lengths))) and min(counts.values()) >= epochs
    assert sum(counts.values()) - epochs * len(lengths) < batch


def test_a_part_of_an_epoch_is_that_part():
    assert MicroBatches(mixture_of([9] * 100), 0.5, 10, 5, False).steps == 5
    assert MicroBatches(mixture_of([9] * 100), 2.5, 10, 5, False).steps == 25


@pytest.mark.parametrize("micro", [4, 32])
def test_padding_stays_under_five_per_cent_where_shuffled_batches_have_many_times_as_much(micro):
    lengths = long_tailed(8000)
    batches = MicroBatches(mixture_of(lengths), 1, 32, micro, False)
    random.Random(1).shuffle(lengths)
    shuffled = [lengths[i : i + 32] for i in range(0, len(lengths), 32)]
    wasted = 1 - sum(lengths) / sum(len(b) * max(b) for b in shuffled)
    assert batches.padding() < 0.05 < 0.4 < wasted
    # What is collated is what was counted.
    for number in range(0, len(batches), 16):
        assert PadOnTheRight(0)(batches[number])["input_ids"].numel() == micro * batches.plan[number][-1].length


def test_the_order_is_one_of_seed_and_epoch_and_no_curriculum():
    lengths = long_tailed(800)
    first = MicroBatches(mixture_of(lengths), 2, 32, 4, False)
    assert MicroBatches(mixture_of(lengths), 2, 32, 4, False).plan == first.plan
    assert MicroBatches(mixture_of(lengths, seed=1), 2, 32, 4, False).plan != first.plan
    steps = steps_of(first, 8)
    assert len({frozenset(step) for step in steps}) == len(steps) == 50, "each epoch has steps of its own"
    means = [sum(lengths[i] for i in step) / 32 for step in steps]
    halves = [sum(means[i:j]) / (j - i) for i, j in ((1, 25), (25, 50))]
    assert abs(halves[0] / halves[1] - 1) < 0.1, "short and long ones come all along"


def test_the_longest_example_comes_first_so_that_a_full_memory_is_seen_at_once():
    lengths = long_tailed(500)
    plan = MicroBatches(mixture_of(lengths), 1, 32, 4, False).plan
    assert max(draw.length for draw in plan[0]) == max(lengths)


def test_packed_rows_of_a_step_are_of_nearly_one_length():
    batches = MicroBatches(mixture_of(long_tailed(600)), 1, 128, 16, True)
    for start in range(0, len(batches.plan), 8):
        rows = [sum(draw.length for draw in row) for row in batches.plan[start : start + 8]]
        assert max(rows) < 1.1 * min(rows)
    assert batches.padding() == 0.0


def test_a_batch_that_is_no_multiple_of_the_micro_batch_is_refused():
    with pytest.raises(InputError, match="not a multiple"):
        MicroBatches(mixture_of([5]), 1, 6, 4, False)


def test_padding_is_masked_and_not_learned():
    short, long = {"input_ids": array("i", [4]), "labels": [4]}, {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}
    batch = MicroBatchCollator(9, packing=False)([[long, short]])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 2, 3], [4, -100, -100]]


def load(folder):
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    for parameter in model.parameters():  # a fresh model's outputs are so small that a leak would hide in them
        parameter.data.mul_(3)
    return model.eval()


def random_examples() -> list[dict]:
    chance = random.Random(0)
    made = []
    for length in (7, 12, 5, 20):
        ids = array("i", [chance.randrange(3, 250) for _ in range(length)])
        made.append({"input_ids": ids, "labels": array("i", [-100] * 3) + ids[3:]})
    return made


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral"])
def test_the_loss_of_an_example_in_a_pack_is_its_loss_alone(kind, model_of):
    import torch

    model, examples = load(model_of(kind)), random_examples()

    def losses(batch) -> list:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with torch.no_grad():
            logits = model(**inputs, use_cache=False).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits, batch["labels"][0, 1:], ignore_index=-100, reduction="none")

    together = losses(pack(examples))
    start = 0
    for example in examples:
        alone, length = losses(pack([example])), len(example["input_ids"])
        assert torch.allclose(together[start : start + length - 1], alone, atol=1e-5)
        assert float(together[start + length - 1 : start + length].sum()) == 0.0, (
            "no example predicts the next one's start"
        )
        start += length
    prove_packing(model, examples)


def test_float32_weights_that_compute_in_bfloat16_are_proved_as_16_bits(model_of):
    import torch

    model, examples = load(model_of("llama")), random_examples()
    arguments = SimpleNamespace(bf16=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        make_packing_guard(examples).on_train_begin(arguments, None, None, model=model)
        with pytest.raises(InputError, match="see each other"):
            prove_packing(model, examples)
    with pytest.raises(InputError, match="omit --packing"):
        prove_packing(load(model_of("bloom")), examples, half=True)


def test_a_model_in_which_packed_examples_see_each_other_is_refused(model_of, monkeypatch):
    from sft_data import batching

    with pytest.raises(InputError, match="omit --packing"):
        prove_packing(load(model_of("bloom")), random_examples())

    model = load(model_of("llama"))
    open_mask = {"attention_mask": pack(random_examples())["attention_mask"] | True}
    monkeypatch.setattr(batching, "pack", lambda examples: pack(examples) | open_mask)
    with pytest.raises(InputError, match="see each other"):
        prove_packing(model, random_examples())
