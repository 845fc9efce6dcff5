"""Every recipe parses with train.py's own parser, says what its comments say, and fits the models of the table."""

import re
from pathlib import Path

import pytest

from run_record import parse_arguments
from sft_training.finetune_arguments import build_parser

RECIPES = Path(__file__).parents[1] / "recipes"
TABLE = re.findall(r"^\| (.+?) \| `(.+?)` \| (\w+) \| `(\w+\.yaml)` \|$", (RECIPES / "README.md").read_text(), re.M)


def parse(name: str, *argv: str):
    return parse_arguments(build_parser("recipes"), ["--recipe", str(RECIPES / name), *argv])


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.yaml")))
def test_every_recipe_parses_stands_in_the_readme_and_yields_to_the_command_line(name):
    assert parse(name).epochs >= 1
    assert parse(name, "--epochs", "0.5").epochs == 0.5
    assert f"`{name}`" in (RECIPES / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("full_published.yaml", {"lora": False, "epochs": 5.0, "learning_rate": 1e-6}),
        ("lora_published.yaml", {"lora": True, "epochs": 3.0, "learning_rate": 2e-5, "lora_rank": 16}),
        ("lora_bloomz.yaml", {"lora": True, "epochs": 3.0, "learning_rate": 2e-5, "lora_rank": 16}),
    ],
)
def test_the_published_hyper_parameters_are_as_reported(name, published):
    common = {
        "batch_size": 128,
        "weight_decay": 0.0,
        "warmup_share": 0.03,
        "validation_questions": 0,
        "forms": ["answer", "rationale"],
    }
    args = vars(parse(name))
    assert {key: args[key] for key in common | published} == common | published
    if args["lora"]:
        assert args["lora_dropout"] == 0.05


def test_the_table_names_the_papers_models_each_once():
    assert len(TABLE) == len({model for _, model, _, _ in TABLE}) == 17
    for name in (
        "InternLM 7B",
        "InternLM 2 7B",
        "Llama 2 7B",
        "Llama 3 8B",
        "Llama 3.1 70B",
        "BLOOMZ 7B1",
        "MEDITRON 7B",
    ):
        assert name in {row[0] for row in TABLE}


def test_the_readme_s_commands_have_flags_that_exist_and_recipes_that_are_there():
    commands = re.findall(r"^(?:python|bash) finetune/\S+ (.*)$", (RECIPES / "README.md").read_text(), re.M)
    assert len(commands) == 2
    for command in commands:
        args = parse_arguments(build_parser("recipes"), command.split())
        assert (RECIPES / args.recipe.name).exists()


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
WIDE = {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize(("layout", "recipe"), sorted({(layout, recipe) for _, _, layout, recipe in TABLE}))
def test_a_recipe_s_adapter_finds_its_targets_in_every_layer(layout, recipe):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from sft_training.base_model import add_adapter

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(layout, **SMALL | (WIDE if layout != "bloom" else {}))
        )
    adapted = add_adapter(model, parse(recipe))
    targets = {name.split(".lora_A")[0] for name, _ in adapted.named_parameters() if ".lora_A" in name}
    wanted = {"lora_published.yaml": 2, "lora_bloomz.yaml": 1, "lora_current.yaml": 7}[recipe]
    assert len(targets) == wanted * SMALL["num_hidden_layers"]
    assert not any("lm_head" in name for name in targets)
