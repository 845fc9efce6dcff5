"""What a token costs and what a card can do, against hand-made sums and published figures."""

import pytest
from transformers import AutoConfig

from planning import flops
from planning.flops import count_parameters, empty_model, find_card, flops_per_token, mfu, peak_flops
from run_record import InputError

LLAMA_3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 500}


def config_of(**fields):
    return AutoConfig.for_model(**fields)


@pytest.mark.parametrize(
    ("device", "tera", "gib"),
    [
        ("NVIDIA A100-SXM4-40GB", 312, 40),
        ("NVIDIA A100 80GB PCIe", 312, 80),
        ("A100 80GB", 312, 80),
        ("NVIDIA A800-SXM4-80GB", 312, 80),
        ("NVIDIA H100 80GB HBM3", 989, 80),
        ("H100 80GB", 989, 80),
        ("NVIDIA H100 PCIe", 756, 80),
        ("NVIDIA H100 NVL", 835, 94),
        ("NVIDIA H200", 989, 141),
        ("NVIDIA GH200 480GB", 989, 96),
        ("NVIDIA B200", 2250, 180),
        ("NVIDIA L40S", 362.05, 48),
        ("NVIDIA L4", 121, 24),
        ("NVIDIA RTX A6000", 154.8, 48),
        ("NVIDIA RTX 6000 Ada Generation", 364.2, 48),
        ("NVIDIA GeForce RTX 4090", 165.2, 24),
        ("Tesla V100-SXM2-32GB", 125, 32),
        ("AMD Instinct MI250X", 191.5, 64),
        ("AMD Instinct MI300X", 1307.4, 192),
    ],
)
def test_names_that_drivers_give_lead_to_the_data_sheet(device, tera, gib):
    assert peak_flops(device) == pytest.approx(tera * 1e12)
    assert find_card(device).memory_gib == gib


@pytest.mark.parametrize(
    "device", ["cpu", "", "NVIDIA H200 MIG 1g.18gb", "NVIDIA GeForce RTX 4090 Laptop GPU", "A100", "NVIDIA GeForce 999"]
)
def test_a_card_that_is_not_in_the_table_has_no_peak(device):
    assert peak_flops(device) is None


def test_every_card_is_found_by_its_own_name_and_names_its_source():
    for card in flops.CARDS:
        assert find_card(card.name) is card
        assert len(card.source) > 10 and card.peak > 1e13


def test_llama_3_8b_has_its_published_size_and_cost():
    config = config_of(**LLAMA_3_8B)
    count = count_parameters(empty_model(config))
    assert count.total == 8_030_261_248  # as the hub counts meta-llama/Meta-Llama-3-8B
    assert count.input_embeddings == count.output == 128256 * 4096 and not count.tied
    assert count.input_embeddings + count.layers + count.output + count.rest == count.total
    assert count.active == count.total - 128256 * 4096
    assert flops_per_token(config, 2048) == 6 * count.active + 12 * 32 * 32 * 128 * 2048


@pytest.mark.parametrize(
    ("fields", "tied"),
    [
        (
            {"model_type": "qwen2", "intermediate_size": 128, "num_key_value_heads": 2, "tie_word_embeddings": True},
            True,
        ),
        ({"model_type": "mistral", "intermediate_size": 128, "num_key_value_heads": 2}, False),
        ({"model_type": "gpt_neox", "intermediate_size": 128}, False),
        ({"model_type": "bloom"}, True),
        ({"model_type": "gpt2"}, True),
    ],
)
def test_every_family_counts_the_output_projection_once_and_the_lookup_never(fields, tied):
    model = empty_model(config_of(**SMALL | fields))
    count = count_parameters(model)
    assert count.tied is tied and count.total == sum(p.numel() for p in model.parameters())
    positions = 1024 * 64 if fields["model_type"] == "gpt2" else 0
    assert count.active == count.total - positions - (0 if tied else 500 * 64)
    assert count.layers > 0 and 0 <= count.rest < 1000
    assert flops_per_token(model.config, 128, count) == 6 * count.active + 12 * 3 * 64 * 128


def test_of_a_mixture_of_experts_only_those_a_token_uses_are_counted():
    fields = SMALL | {"model_type": "mixtral", "intermediate_size": 96, "num_key_value_heads": 2}
    count = count_parameters(empty_model(config_of(**fields, num_local_experts=8, num_experts_per_tok=2)))
    experts = 3 * 8 * 3 * 64 * 96
    assert count.active == count.total - 500 * 64 - experts * 6 // 8


def test_a_sliding_window_bounds_what_a_position_can_look_at():
    fields = SMALL | {"model_type": "mistral", "intermediate_size": 128, "num_key_value_heads": 2}
    long = flops.attention_flops(config_of(**fields, sliding_window=None), 4096)
    assert long == 12 * 3 * 64 * 4096
    assert flops.attention_flops(config_of(**fields, sliding_window=1024), 4096) == long / 4


@pytest.mark.parametrize("fields", [{"model_type": "mamba"}, {"model_type": "t5"}])
def test_a_model_that_the_formula_does_not_fit_is_refused_in_a_sentence(fields):
    with pytest.raises(InputError, match=fields["model_type"]):
        flops_per_token(config_of(**fields), 128)


def test_mfu_is_the_share_of_the_cards_peaks():
    assert mfu(1000, 2e9, 1e12, 4) == pytest.approx(0.5)
    assert mfu(1000, 2e9, None, 4) is None
