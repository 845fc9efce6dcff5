"""Every recipe parses with train_lm.py's own parser, says what its comments say, and fits the model it names."""

import re
from pathlib import Path

import pytest
import yaml

from modelling.lm_model import make_deepspeed_config
from run_record import parse_arguments
from training.lm_arguments import build_parser

STAGE = Path(__file__).parents[1]
RECIPES = STAGE / "recipes"
# recipe, model, GPUs it was planned for: the table of the README.
TABLE = re.findall(r"^\| `(\w+\.yaml)` \| `(.+?)` \| .*\| (\d+) x .*\|$", (STAGE / "README.md").read_text(), re.M)
PUBLISHED = ("internlm_7b.yaml", "internlm2_1_8b.yaml", "internlm2_7b.yaml", "llama3_8b.yaml", "llama3_1_70b.yaml")
SHAPES = sorted((RECIPES / "shapes").glob("*.yaml"))
# max_position_embeddings by the published configurations.
LONGEST = {
    "internlm_7b.yaml": 2048,
    "internlm2_1_8b.yaml": 32768,
    "internlm2_7b.yaml": 32768,
    "llama3_8b.yaml": 8192,
    "llama3_1_70b.yaml": 131072,
    "qwen3_8b.yaml": 32768,
    "qwen2_5_7b.yaml": 131072,
    "mistral_7b.yaml": 32768,
}


def parse(name: str, *argv: str):
    return parse_arguments(build_parser("recipes"), ["--recipe", str(RECIPES / name), *argv])


def recipes() -> list[str]:
    """All but the files of --init-config, which hold a model_type."""
    return sorted(path.name for path in RECIPES.glob("*.yaml") if "model_type" not in yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_parses_names_one_start_and_yields_to_the_command_line(name):
    args = parse(name)
    assert (args.model is None) != (args.init_config is None)
    assert args.init_config is None or (STAGE.parent / args.init_config).exists()
    assert parse(name, "--learning-rate", "1e-4").learning_rate == 1e-4
    assert parse(name, "--no-bf16").bf16 is False


def test_the_readme_s_table_has_every_recipe_with_its_model_and_a_number_of_gpus_that_divides_the_batch():
    assert {name for name, _, _ in TABLE} == set(recipes()) - {"tiny.yaml"} == set(LONGEST)
    for name, model, gpus in TABLE:
        args = parse(name)
        assert args.model == model
        assert make_deepspeed_config(args, int(gpus), True)["gradient_accumulation_steps"] >= 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_hyper_parameters_are_as_reported(name):
    args = parse(name)
    reported = {
        "learning_rate": 2e-5,
        "warmup_share": 0.01,
        "weight_decay": 0.01,
        "clip": 1.0,
        "global_batch_size": 512,
        "beta2": 0.999,
        "schedule": "cosine",
        "bf16": True,
        "gradient_checkpointing": True,
        "keep": 2,
    }
    assert {key: getattr(args, key) for key in reported} == reported
    assert args.sequence_length == (8192 if name.startswith("llama3") else 2048)
    assert args.save_every == (20 if name.startswith("llama3") else 200), "published: 200; windows of 8192 take long"


@pytest.mark.parametrize("name", LONGEST)
def test_windows_are_within_the_model_s_limit_and_the_comment_names_the_model_s_tokenizer(name):
    args, text = parse(name), (RECIPES / name).read_text()
    assert args.sequence_length <= LONGEST[name]
    assert f"--tokenizer {args.model} " in text
    assert "Changed" in text or "No published run" in text


@pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.stem)
def test_a_shape_has_as_many_parameters_as_its_comment_says_and_its_recipe_s_limit(shape):
    from transformers import AutoConfig

    from planning.flops import empty_model

    text = shape.read_text()
    stated = int(re.search(r"([\d,]{9,}) parameters", text)[1].replace(",", ""))
    config = AutoConfig.for_model(**yaml.safe_load(text))
    assert sum(parameter.numel() for parameter in empty_model(config).parameters()) == stated
    assert config.max_position_embeddings == LONGEST.get(shape.name, config.max_position_embeddings)
