"""plan.py through its command line: figures that can be worked out by hand, recipes, stores, and its sentences."""

import argparse
import json
from pathlib import Path

import pytest
import yaml

import plan
from planning.flops import CARDS, find_card
from run_record import InputError, read_json

ROOT = Path(__file__).parents[2]
SHAPES = sorted((ROOT / "pretrain/recipes/shapes").glob("*.yaml"))
TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 256,
}


@pytest.fixture
def tiny(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def flags(tiny: Path, *more: str) -> list[str]:
    return [
        "--init-config",
        str(tiny),
        "--card",
        "H100 80GB",
        "--sequence-length",
        "128",
        "--tokens",
        "1e9",
        "--no-alternatives",
        *more,
    ]


def planned(tmp_path: Path, *argv: str) -> dict:
    assert plan.main([*argv, "--json", str(tmp_path / "plan.json")]) == 0
    return read_json(tmp_path / "plan.json")


def test_time_follows_from_the_peak_the_share_and_the_tokens(tiny, tmp_path, capsys):
    found = planned(tmp_path, *flags(tiny, "--nodes", "2", "--mfu", "0.5"))
    assert found["gpus"] == 16 and found["flops_per_token"] == pytest.approx(
        6 * found["parameters"]["active"] + 12 * 3 * 64 * 128
    )
    speed = 0.5 * 16 * 989e12 / found["flops_per_token"]
    assert found["tokens_per_second"] == pytest.approx(speed)
    assert found["days"] == pytest.approx(1e9 / speed / 86400)
    assert found["gpu_hours"] == pytest.approx(16 * 1e9 / speed / 3600)
    printed = capsys.readouterr().out
    assert f"{found['parameters']['total']:,} parameters" in printed and "2 x 8 H100 SXM" in printed


def test_the_parts_add_up_and_zero_divides_what_it_should(tiny, tmp_path):
    found = {zero: planned(tmp_path, *flags(tiny, "--zero", str(zero))) for zero in (0, 1, 2, 3)}
    total = found[0]["parameters"]["total"]
    for zero, memory in ((zero, one["memory"]) for zero, one in found.items()):
        share = -(-total // 8)
        assert memory["weights"] >= (2 * total if zero < 3 else 2 * share)
        # bf16; ZeRO 2 and 3 sum them in float32
        assert memory["gradients"] == pytest.approx(2 * total if zero < 2 else 4 * share, rel=0.01)
        assert memory["optimizer"] == pytest.approx(12 * (total if zero < 1 else share), rel=0.01)
        parts = (
            "weights",
            "gathered",
            "gradients",
            "optimizer",
            "buffers",
            "activations_saved",
            "head_saved",
            "passing",
        )
        assert sum(memory[part] for part in parts) == memory["forward_and_backward"]
        assert memory["needed"] == max(memory["forward_and_backward"], memory["optimizer_step"])


@pytest.mark.slow
def test_seventy_billion_parameters_need_more_than_one_node_and_the_table_says_what_fits(tmp_path, capsys):
    shape = ["--shape", "pretrain/recipes/shapes/llama3_1_70b.yaml", "--card", "A100 80GB", "--tokens", "25.5e9"]
    one = planned(tmp_path, *shape, "--gpus", "8", "--zero", "3", "--gradient-checkpointing", "--no-alternatives")
    assert one["parameters"]["total"] == 70_553_706_496 and not one["memory"]["fits"]
    assert "DOES NOT FIT" in capsys.readouterr().out
    many = planned(tmp_path, *shape, "--nodes", "8", "--zero", "3", "--gradient-checkpointing")
    assert many["memory"]["fits"]
    stages = {(o["zero"], o["gradient_checkpointing"], o["micro_batch_size"]): o["fits"] for o in many["alternatives"]}
    assert stages[3, True, 1] and not stages[1, False, 1] and len(stages) == 24
    assert "least work that fits: --zero 3" in capsys.readouterr().out


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_every_shape_has_the_size_that_its_first_line_says(path):
    from planning.flops import count_parameters, empty_model

    args = argparse.Namespace(model=None, init_config=None, shape=path, sequence_length=2048, trust_remote_code=False)
    count = count_parameters(empty_model(plan.load_config(args)))
    assert f"{count.total:,} parameters" in path.read_text().splitlines()[0]


def test_the_disk_holds_every_checkpoint_and_model_that_stays(tiny, tmp_path):
    batch = ["--global-batch-size", "8", "--tokens", str(100 * 8 * 128)]  # 100 steps
    found = planned(
        tmp_path,
        *flags(tiny, *batch, "--keep", "2", "--save-every", "10", "--keep-every", "25", "--export-every", "30"),
    )
    total, disk = found["parameters"]["total"], found["disk"]
    assert (disk["checkpoint"], disk["model"]) == (12 * total, 2 * total), "float32 weights and two moments, in all"
    assert (disk["stay"], disk["exports"]) == (2, 3), "of steps 25 to 100 two are saved; exports at 30, 60, 90"
    assert disk["run"] == (2 + 1 + 2) * 12 * total + (1 + 3) * 2 * total
    assert found["seconds_per_step"] == pytest.approx(8 * 128 / found["tokens_per_second"])


def test_a_recipe_of_train_lm_serves_the_plan(tmp_path):
    recipe = ["--recipe", "pretrain/recipes/llama3_8b.yaml", "--shape", "pretrain/recipes/shapes/llama3_8b.yaml"]
    found = planned(tmp_path, *recipe, "--card", "A100 80GB", "--tokens", "1e9", "--no-alternatives")
    assert found["parameters"]["total"] == 8_030_261_248


def test_tokens_come_from_a_store_and_the_vocabulary_too(store_folder, tiny, tmp_path):
    tiny.write_text(yaml.safe_dump({key: value for key, value in TINY.items() if key != "vocab_size"}))
    argv = [
        str(store_folder),
        "--init-config",
        str(tiny),
        "--card",
        "L40S",
        "--sequence-length",
        "64",
        "--no-alternatives",
    ]
    found = planned(tmp_path, *argv, "--epochs", "3")
    shards = read_json(store_folder / "manifest.json")["shards"].values()
    assert found["tokens"] == 3 * sum(shard["tokens"] for shard in shards)
    assert found["parameters"]["output"] == 448 * 64  # a vocabulary of 400, up to a multiple of 64
    assert planned(tmp_path, *argv, "--steps", "7")["tokens"] == 7 * 512 * 64


def test_a_corpus_that_is_not_tokenised_needs_a_rate(tiny, tmp_path):
    (tmp_path / "corpus").mkdir()
    counts = {"counts": {"en": {"web": {"documents": 1, "characters": 4000, "shards": 1}}}}
    (tmp_path / "corpus/manifest.json").write_text(json.dumps(counts))
    argv = [str(tmp_path / "corpus"), "--init-config", str(tiny), "--card", "L40S", "--sequence-length", "64"]
    with pytest.raises(InputError, match=r"4,000 characters .* give --tokens-per-character"):
        plan.main([*argv, "--no-alternatives"])
    found = planned(tmp_path, *argv, "--no-alternatives", "--tokens-per-character", "0.25")
    assert found["tokens"] == 1000


def test_a_measured_speed_takes_the_place_of_the_stated_share(tiny, tmp_path):
    lines = [{"step": n, "tokens_per_second": speed} for n, speed in enumerate([10, 20, 4e7, 5e7, 6e7, 5e7])]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = planned(tmp_path, *flags(tiny, "--metrics", str(tmp_path / "metrics.jsonl")))
    assert found["tokens_per_second"] == 5e7
    assert found["mfu"] == pytest.approx(5e7 * found["flops_per_token"] / (8 * 989e12))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--card", "Voodoo 2"], "--card Voodoo 2 is not in the table; known are B200, "),
        (["--tokens", "0"], "--tokens 0: give a number above 0"),
        (["--mfu", "1.2"], "--mfu 1.2: a share of the peak lies above 0 and at most at 1"),
        (["--mfu", "0"], "--mfu 0.0: a share"),
        (["--gpus", "0"], "--gpus 0: give a number above 0"),
        (["--margin", "1"], "--margin 1.0: a share of the memory"),
        (["--micro-batch-size", "3"], "--global-batch-size 512 is not a multiple of --micro-batch-size 3 x 8 ranks"),
        (["--sequence-length", "512"], "--sequence-length 512 is over the model's limit of 256 tokens"),
        (["--metrics", "nowhere.jsonl"], "nowhere.jsonl: no metrics.jsonl of a run"),
        (["--model", "too"], "give --model (a folder or hub name), --init-config or --shape"),
        (["--shape", "nowhere.yaml"], "nowhere.yaml gives no model configuration"),
    ],
)
def test_a_bad_setting_is_refused_in_a_sentence(tiny, more, message):
    with pytest.raises(InputError) as refusal:
        plan.main(flags(tiny, *more))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden_size: 64\n", "expected model_type and its fields"),
        ("model_type: unheard_of\nvocab_size: 8\n", "gives no model configuration"),
        ("model_type: [llama\n", "gives no model configuration"),
        ("model_type: t5\nvocab_size: 64\n", "t5"),
        ("model_type: llama\nhidden_size: 64\n", "names no vocab_size; give --vocab-size"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused_in_a_sentence(tiny, text, message):
    tiny.write_text(text)
    with pytest.raises(InputError) as refusal:
        plan.main(["no/store", *flags(tiny)])
    assert str(tiny) in str(refusal.value) or "t5" in str(refusal.value)
    assert message in str(refusal.value)


def test_metrics_that_say_more_than_the_cards_can_are_of_other_cards(tiny, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"tokens_per_second": 1e14}\n')
    with pytest.raises(InputError, match="of the peak: other cards"):
        plan.main(flags(tiny, "--metrics", str(tmp_path / "metrics.jsonl")))


def test_dry_run_writes_nothing_and_every_card_can_be_planned_for(tiny, tmp_path):
    assert plan.main(flags(tiny, "--dry-run", "--json", str(tmp_path / "no.json"))) == 0
    assert not (tmp_path / "no.json").exists()
    assert {plan.choose_card(card.name) for card in CARDS} == set(CARDS) and find_card("h100 pcie").name == "H100 PCIe"
