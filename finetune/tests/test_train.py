"""train.py through its command line and its files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import train
from run_record import InputError, read_json, sha256_of_file
from sft_training import run_folder, supervised_training

STAGE = Path(__file__).parents[1]
SMALL = [
    "--batch-size",
    "8",
    "--micro-batch-size",
    "4",
    "--epochs",
    "1",
    "--max-length",
    "300",
    "--save-every",
    "3",
    "--log-every",
    "1",
    "--learning-rate",
    "1e-3",
]


def arguments(model: Path, benchmark: Path, out: Path, *more: str) -> list[str]:
    return ["--model", str(model), "--data", str(benchmark / "Train"), "--out", str(out), *SMALL, *more]


def start(command: list[str]) -> subprocess.Popen:
    # A session of its own, so that the kill reaches only this run.
    return subprocess.Popen(
        [sys.executable, str(STAGE / "train.py"), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def weights(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.glob("*.safetensors")}


@pytest.fixture(scope="module")
def adapter(model_of, benchmark, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("lora") / "adapter"
    assert train.main(arguments(model_of(), benchmark, out, "--lora")) == 0
    return out


def test_an_adapter_folder_is_complete_and_says_where_it_came_from(adapter, model_of, benchmark):
    assert {p.name for p in adapter.iterdir()} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "prompt",
        "run.json",
        "training",
    }
    record = read_json(adapter / "run.json")
    assert (adapter / record["base_from_here"]).resolve() == model_of().resolve()
    assert record["counts"]["dropped: is in the test set"] == dict.fromkeys(("en", "fr", "ru", "zh"), 2)
    assert record["examples"] == 2 * 24
    for name in ("prompt.jinja", "target.jinja", "prompt.json"):
        assert (adapter / "prompt" / name).read_bytes() == (STAGE / "prompts/mmedbench" / name).read_bytes()
    losses = [json.loads(line)["loss"] for line in (adapter / "training/metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 6 and losses[-1] < losses[0]


def test_a_complete_run_is_reused_and_other_arguments_refused(adapter, model_of, benchmark, capsys):
    before = weights(adapter)
    assert train.main(arguments(model_of(), benchmark, adapter, "--lora")) == 0
    assert "is reused" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"different arguments \(seed\)"):
        train.main(arguments(model_of(), benchmark, adapter, "--lora", "--seed", "1"))
    assert weights(adapter) == before


def test_another_rationale_for_the_same_questions_is_another_run(adapter, model_of, benchmark, tmp_path):
    changed = shutil.copytree(benchmark, tmp_path / "changed")
    path = changed / "Train/English.jsonl"
    path.write_text(path.read_text("utf-8").replace("Because of reason", "For the reason"), "utf-8")
    with pytest.raises(InputError, match=r"different inputs \(questions\)"):
        train.main(arguments(model_of(), changed, adapter, "--lora"))


def test_the_loss_per_example_weighs_short_and_long_completions_alike():
    import torch

    torch.manual_seed(0)
    logits, labels = torch.randn(2, 6, 11), torch.tensor([[-100, -100, 3, -100, -100, -100], [-100, 1, 2, 3, 4, 5]])

    class Outputs:
        pass

    outputs = Outputs()
    outputs.logits = logits
    logprobs = torch.log_softmax(logits, -1)
    short = -logprobs[0, 1, 3]
    long = -torch.stack([logprobs[1, t, t + 1] for t in range(5)]).mean()
    assert torch.allclose(supervised_training.make_loss_per_example(2)(outputs, labels), (short + long) / 2)


def test_a_process_alone_takes_one_gpu_of_several_and_says_so(tmp_path, capsys):
    from transformers import TrainingArguments

    settings = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    settings._n_gpu = 4  # as the library counts them; it would wrap the model in DataParallel
    assert supervised_training.use_one_gpu(settings, 4).n_gpu == 1 and settings.train_batch_size == 8
    assert "one GPU of 4 is used; `bash finetune/run.sh` takes all" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(model_of, benchmark, tmp_path, capsys):
    assert train.main(arguments(model_of(), benchmark, tmp_path / "out", "--lora", "--dry-run")) == 0
    assert "⟦" in capsys.readouterr().out and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "nowhere/at/all"}, r"pretrain/run\.sh"),
        ({"--data": "nowhere"}, r"mmedbench/prepare\.py"),
        ({"--prompt": "nowhere"}, r"prompt\.jinja"),
        ({"--batch-size": "6"}, r"not a multiple"),
        ({"--lora-targets": "no_such_layer"}, r"do not fit this model"),
        ({"--languages": "ar"}, r"no question left"),
    ],
)
def test_bad_input_ends_with_a_sentence_that_names_the_remedy(model_of, benchmark, tmp_path, change, message):
    command = arguments(model_of(), benchmark, tmp_path / "out", "--lora")
    for flag, value in change.items():
        command += [flag, value]
    with pytest.raises(InputError, match=message):
        train.main(command)
    assert not (tmp_path / "out/run.json").exists()


def test_an_adapter_or_a_half_made_model_is_refused_as_base(adapter, model_of, benchmark, tmp_path):
    with pytest.raises(InputError, match="is a LoRA adapter"):
        train.main(arguments(adapter, benchmark, tmp_path / "out"))
    half = shutil.copytree(model_of(), tmp_path / "half")
    (half / "training").mkdir()
    with pytest.raises(InputError, match="incomplete"):
        train.main(arguments(half, benchmark, tmp_path / "out"))


def test_a_broken_train_line_is_named(model_of, benchmark, tmp_path):
    data = shutil.copytree(benchmark, tmp_path / "MMedBench")
    with open(data / "Train/French.jsonl", "a") as file:
        file.write('{"question": "cut off')
    with pytest.raises(InputError, match=r"French\.jsonl:9: not JSON"):
        train.main(arguments(model_of(), data, tmp_path / "out", "--lora"))


def test_a_job_that_was_queued_again_waits_for_its_earlier_start(tmp_path, monkeypatch, capsys):
    held = run_folder.lock_run(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr("time.sleep", lambda _seconds: held.close())
    run_folder.lock_run(tmp_path).close()
    assert "waits until it has ended" in capsys.readouterr().out
    held = run_folder.lock_run(tmp_path)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(InputError, match="another run is writing"):
        run_folder.lock_run(tmp_path, patience_seconds=0.01)
    held.close()


def test_a_second_run_on_one_folder_is_refused(model_of, benchmark, tmp_path):
    lock = run_folder.lock_run(tmp_path / "out")
    with pytest.raises(InputError, match="another run is writing"):
        train.main(arguments(model_of(), benchmark, tmp_path / "out", "--lora"))
    lock.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(number, model_of, benchmark, tmp_path):
    validated = ("--validation-share", "0.34", "--validate-every", "2", "--learning-rate", "0.3")
    longer = ("--lora", "--epochs", "4", *validated)
    undisturbed = start(arguments(model_of(), benchmark, tmp_path / "a", *longer))
    assert undisturbed.wait(timeout=240) == 0
    stopped = start(arguments(model_of(), benchmark, tmp_path / "b", *longer))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "b/training").glob("checkpoint-*/complete.json")):
        assert time.monotonic() < deadline and stopped.poll() is None
        time.sleep(0.05)
    os.kill(stopped.pid, number)
    code = stopped.wait(timeout=120)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert not (tmp_path / "b/run.json").exists(), "the run ended before it could be stopped"
    again = start(arguments(model_of(), benchmark, tmp_path / "b", *longer))
    output = again.communicate(timeout=240)[0]
    assert again.returncode == 0 and "resumed from" in output, output
    assert weights(tmp_path / "b") == weights(tmp_path / "a")
    ours, theirs = (read_json(tmp_path / name / "run.json") for name in "ba")
    assert ours["validation"] == theirs["validation"] and ours["steps"] == theirs["steps"]


@pytest.mark.slow
@pytest.mark.parametrize("loss_per", ["token", "example"])
def test_two_ranks_end_at_the_weights_of_one(loss_per, model_of, benchmark, tmp_path):
    import torch
    from safetensors.torch import load_file

    # 48 examples in steps of 16: what a step holds must not depend on the number of ranks.
    more = ["--lora", "--lora-dropout", "0", "--batch-size", "16", "--epochs", "3", "--loss-per", loss_per]
    weights = []
    for ranks in ("1", "2"):
        command = ["bash", str(STAGE / "run.sh"), *arguments(model_of(), benchmark, tmp_path / ranks, *more)]
        environment = os.environ | {"RANKS_PER_NODE": ranks, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        losses = [json.loads(x)["loss"] for x in (tmp_path / ranks / "training/metrics.jsonl").read_text().splitlines()]
        weights.append((losses, load_file(tmp_path / ranks / "adapter_model.safetensors")))
    assert weights[0][0] == pytest.approx(weights[1][0], rel=1e-3)
    for name, tensor in weights[0][1].items():
        assert torch.allclose(tensor, weights[1][1][name], atol=1e-4), name


@pytest.fixture(scope="module")
def mixed(model_of, benchmark, tmp_path_factory):
    """A run with everything mixed in and its printed plan: (folder, output, command)."""
    folder = tmp_path_factory.mktemp("mixed")
    asked = {"instruction": "Name a vitamin.", "output": "Vitamin {}."}
    lines = [json.dumps(asked | {"output": asked["output"].format(letter)}) for letter in "ABCDEK"]
    (folder / "instructions.jsonl").write_text("\n".join(lines))
    texts = [json.dumps({"text": f"Le texte {n}.", "language": "fr"}) for n in range(9)]
    (folder / "text.jsonl").write_text("\n".join(texts))
    more = [
        "--instructions",
        str(folder / "instructions.jsonl"),
        "--instruction-share",
        "0.25",
        "--replay",
        str(folder / "text.jsonl"),
        "--replay-share",
        "0.1",
        "--form-shares",
        "rationale=0.5",
        "--language-weights",
        "fr=2",
        "ru=0.5",
        "--shuffle-options",
        "--packing",
        "--epochs",
        "2",
    ]
    command = arguments(model_of(), benchmark, folder / "out", *more)
    process = start(command)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    return folder / "out", output, command


def test_shares_and_weights_decide_what_an_epoch_holds(mixed):
    record = read_json(mixed[0] / "run.json")
    assert record["mixture"] == {
        "answer": {"en": 6, "fr": 12, "ru": 3, "zh": 6},
        "rationale": {"en": 3, "fr": 6, "ru": 2, "zh": 3},
        "instruction": {"-": 16},
        "replay": {"fr": 6},
    }
    assert record["examples"] == 63 and set(record["inputs"]) >= {"instructions", "replay"}
    steps = (mixed[0] / "training/metrics.jsonl").read_text().splitlines()
    assert len(steps) == 16, "126 examples of two epochs in steps of 8"
    assert json.loads(steps[-1])["loss"] < json.loads(steps[0])["loss"]


def test_one_example_of_each_kind_is_shown_with_its_mask(mixed):
    for kind in ("answer", "rationale", "instruction", "replay"):
        text = mixed[1].split(f"an example of the kind {kind}, the loss on what is in ⟦⟧:\n")[1]
        text = text.split("\nan example")[0]
        assert ("### " in text.split("⟦")[0]) == (kind != "replay") and "<|end|>⟧" in text, text
    assert "16 steps of 8 examples, 0.0% padding" in mixed[1]


def test_other_text_to_mix_in_is_another_run(mixed):
    path = mixed[0].parent / "text.jsonl"
    path.write_text(path.read_text() + "\n" + json.dumps({"text": "Plus."}))
    with pytest.raises(InputError, match=r"different inputs \(replay\)"):
        train.main(mixed[2])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--replay-share", "0.1"], "--replay-share without --replay"),
        (["--instruction-share", "0.1"], "--instruction-share without --instructions"),
        (["--packing", "--loss-per", "example"], "--packing knows no --loss-per example"),
        (["--forms", "answer", "--form-shares", "rationale=1"], "does not fit --forms answer"),
        (["--language-weights", "ja=2"], "names ja, of which there is no question"),
        (["--max-length", "10"], "raise it"),
    ],
)
def test_shares_without_effect_are_refused(more, message, model_of, benchmark, tmp_path):
    with pytest.raises(InputError, match=message):
        train.main(arguments(model_of(), benchmark, tmp_path / "out", *more))


def test_a_train_set_without_rationales_gives_the_form_answer_or_a_sentence(model_of, benchmark, tmp_path, capsys):
    bare = shutil.copytree(benchmark, tmp_path / "bare")
    for path in bare.rglob("*.jsonl"):
        path.write_text(re.sub(r'"rationale": ".*?"', '"rationale": ""', path.read_text("utf-8")), "utf-8")
    assert train.main(arguments(model_of(), bare, tmp_path / "out", "--dry-run")) == 0
    assert "no rationale: 24 (en 6, fr 6, ru 6, zh 6)" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no question of .* has a rationale, which --forms rationale needs"):
        train.main(arguments(model_of(), bare, tmp_path / "out", "--forms", "rationale"))
