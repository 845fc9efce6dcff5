"""train_lm.py through pretrain/run.sh with two ranks, and its sentences."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import train_lm
from run_record import InputError, read_json, sha256_of_file

ROOT = Path(__file__).parents[2]
CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "attention_dropout": 0.1,  # so that a resumed run must go on with the random numbers too
}


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "two_layers.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in CONFIG.items()))
    return path


def flags(store: Path, config: Path, out: Path, *more: str) -> list[str]:
    return [
        str(store),
        "--init-config",
        str(config),
        "--out",
        str(out),
        "--steps",
        "8",
        "--sequence-length",
        "32",
        "--global-batch-size",
        "8",
        "--micro-batch-size",
        "2",
        "--learning-rate",
        "3e-3",
        "--save-every",
        "2",
        *more,
    ]


def start(command: list[str], ranks: int = 2, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        ["bash", "pretrain/run.sh", *command],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"RANKS_PER_NODE": str(ranks), "PYTHON": sys.executable} | environment,
        start_new_session=True,
    )


def plain_python(command: list[str]) -> subprocess.CompletedProcess:
    """One process, without the job script and without torchrun."""
    return subprocess.run(
        [sys.executable, "pretrain/train_lm.py", *command],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def trained(store_folder, config, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "pretrained"
    finish(start(flags(store_folder, config, out)))
    return out


def test_two_ranks_train_a_model_that_loads_and_has_learned(trained, store_folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    record = read_json(trained / "run.json")
    assert (record["steps"], record["world_size"], record["tokens_seen"]) == (8, 2, 8 * 8 * 32)
    assert record["validation"]["before"].keys() == {"en", "fr", "ru", "zh"}
    card = ModelCard.load(trained / "README.md")
    assert card.data.language == ["en", "fr", "ru", "zh"] and "| tokens seen | 2,048 |" in card.text
    fr = record["validation"]["after"]["fr"]
    assert f"| {fr['bits_per_byte']} |" in card.text and "Not for clinical use" in card.text
    for language, after in record["validation"]["after"].items():
        assert after["bits_per_byte"] < record["validation"]["before"][language]["bits_per_byte"]
    assert set(record["validation"]["groups"]["after"]) == {"en/textbook", "en/web", "fr/web", "ru/web", "zh/web"}
    lines = [json.loads(line) for line in (trained / "training/validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0] * 9 + [8] * 9
    rows = [json.loads(line) for line in (trained / "training/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 9)) and rows[-1]["loss"] < rows[0]["loss"]
    assert all(row["gradient_norm"] > 0 and row["memory_gib"] > 0 and row["mfu"] is None for row in rows)
    assert [row["tokens"] for row in rows] == [8 * 32 * step for step in range(1, 9)]
    assert rows[-1]["seconds"] > rows[0]["seconds"] > 0 and record["skipped_steps"] == []
    assert (trained / "training/loss.png").stat().st_size > 10_000 and (trained / "training/loss.svg").exists()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(trained), AutoTokenizer.from_pretrained(trained)
    assert model.config.use_cache and model.config.vocab_size % 64 == 0
    assert (
        tokenizer("fièvre")["input_ids"]
        == AutoTokenizer.from_pretrained(store_folder / "tokenizer")("fièvre")["input_ids"]
    )
    assert sorted(p.name for p in (trained / "training/checkpoints").glob("step-*")) == [
        "step-00000006",
        "step-00000008",
    ]


def test_a_complete_run_is_reused_and_other_arguments_refused(trained, store_folder, config, capsys):
    before = sha256_of_file(trained / "model.safetensors")
    assert train_lm.main(flags(store_folder, config, trained)) == 0
    assert "is reused" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"different arguments \(seed\)"):
        train_lm.main(flags(store_folder, config, trained, "--seed", "5"))
    assert sha256_of_file(trained / "model.safetensors") == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sequence-length", "65"], "over the model's limit of 64"),
        (["--global-batch-size", "7"], "not a multiple"),
        (["--sequence-length", "64", "--validation-documents", "0", "--model", "x"], "one of them"),
    ],
)
def test_settings_that_cannot_be_end_with_a_sentence(store_folder, config, tmp_path, more, message):
    done = plain_python(flags(store_folder, config, tmp_path / "out", *more))
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/run.json").exists()


@pytest.mark.parametrize("how", [3, "none"])
def test_a_job_that_slurm_queued_again_goes_on_from_its_newest_checkpoint(how, monkeypatch, capsys):
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert train_lm.resume_choice_now(how, 0) == how
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train_lm.resume_choice_now(how, 0) == "auto"
    assert f"--resume {how} is taken as auto" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flag",
    ["--steps", "--save-every", "--log-every", "--micro-batch-size", "--global-batch-size", "--sequence-length"],
)
def test_a_number_that_must_be_above_0_is_refused_where_it_is_not(flag, tmp_path, capsys):
    with pytest.raises(SystemExit) as refusal:
        train_lm.main([str(tmp_path), flag, "0"])
    assert refusal.value.code == 2 and f"argument {flag}: '0' is not a whole number above 0" in capsys.readouterr().err


def test_a_folder_that_holds_another_model_is_not_overwritten(store_folder, config, tmp_path):
    out = tmp_path / "published"
    out.mkdir()
    (out / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds another model"):
        train_lm.main(flags(store_folder, config, out))
    with pytest.raises(InputError, match="is the model that is to be trained further"):
        train_lm.main([str(store_folder), "--model", str(out), "--out", f"{tmp_path}/x/../published"])
    assert [path.name for path in out.iterdir()] == ["config.json"]


def test_a_store_of_another_tokenizer_is_refused(trained, corpus, tmp_path):
    import tokenize_corpus
    import train_tokenizer

    train_tokenizer.main([str(corpus), "--vocab-size", "380", "--out", str(tmp_path / "tokenizer")])
    tokenize_corpus.main([str(corpus), "--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "tokens")])
    command = [
        str(tmp_path / "tokens"),
        "--model",
        str(trained),
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "1",
        "--sequence-length",
        "32",
        "--global-batch-size",
        "2",
    ]
    done = plain_python(command)
    assert done.returncode == 2 and "made with another tokenizer" in done.stderr, done.stderr


def test_a_port_in_use_is_said_at_once(store_folder, config, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        output = finish(start(flags(store_folder, config, tmp_path / "out"), MASTER_PORT=port), code=2)
    assert f"port {port} cannot be used" in output


def test_the_job_script_refuses_a_wrong_folder(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "pretrain/run.sh"],
        env=os.environ | {"SLURM_SUBMIT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "is not the project's root" in done.stderr


def ranks_of(out: Path) -> list[int]:
    """Process ids of the training ranks that write to this folder (torchrun gives each a session of its own)."""
    pids = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "pretrain/train_lm.py" in command and str(out) in command and "torch.distributed.run" not in command:
            pids.append(int(path.name))
    return pids


def wait_for(condition, job: subprocess.Popen, seconds: float = 0.02) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline and job.poll() is None, (
            "the run ended too early" if job.poll() is not None else "late"
        )
        time.sleep(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGKILL in a save", "USR1", "TERM"])
def test_a_run_that_was_stopped_ends_with_the_weights_of_an_undisturbed_one(
    how, trained, store_folder, config, tmp_path
):
    out = tmp_path / "out"
    command = flags(store_folder, config, out)
    job = start(command)
    if how == "SIGKILL in a save":
        wait_for(lambda: (out / "training/checkpoints/.step-00000004.saving").exists(), job, seconds=0.0)
    else:
        wait_for(lambda: (out / "training/checkpoints/step-00000002/complete.json").exists(), job)
    if how.startswith("SIGKILL"):
        ranks = ranks_of(out)
        assert len(ranks) == 2
        os.killpg(job.pid, signal.SIGKILL)
        for pid in ranks:
            os.kill(pid, signal.SIGKILL)
        job.wait()
        deadline = time.monotonic() + 10
        while ranks_of(out) and time.monotonic() < deadline:
            time.sleep(0.02)
    else:
        os.kill(job.pid, signal.SIGUSR1 if how.startswith("USR1") else signal.SIGTERM)
        output = job.communicate(timeout=120)[0]
        assert job.returncode == 0 and "checkpoint saved" in output, output
        marker = read_json(out / "training/stopped.json")
        assert marker["signal"] == f"SIG{how}" and marker["step"] in range(2, 8) and marker["steps"] == 8
    assert ranks_of(out) == [], "no rank may be left behind"
    assert not (out / "run.json").exists(), "the run ended before it could be stopped"
    output = finish(start(command))
    assert "resumed from the checkpoint at step" in output
    assert sha256_of_file(out / "model.safetensors") == sha256_of_file(trained / "model.safetensors")
    assert not (out / "training/stopped.json").exists()
    losses = [
        [(row["step"], row["loss"]) for row in map(json.loads, (run / "training/metrics.jsonl").open())]
        for run in (out, trained)
    ]
    assert losses[0] == losses[1], "no step twice, none lost"


@pytest.mark.slow
def test_every_zero_stage_trains_a_given_model_alike(trained, store_folder, tmp_path):
    import torch
    from safetensors.torch import load_file

    weights = {}
    for zero in "0123":
        out = tmp_path / f"zero{zero}"
        command = [str(store_folder), "--model", str(trained), "--out", str(out), "--steps", "4", "--zero", zero]
        command += ["--sequence-length", "32", "--global-batch-size", "8", "--micro-batch-size", "2"]
        finish(start([*command, "--learning-rate", "1e-3"]))
        weights[zero] = load_file(out / "model.safetensors")
    start_weights = load_file(trained / "model.safetensors")
    for zero in "123":
        assert weights[zero].keys() == start_weights.keys()
        for name, tensor in weights[zero].items():
            assert torch.allclose(tensor, weights["0"][name], atol=1e-5), (zero, name)
    assert not torch.allclose(weights["0"]["lm_head.weight"], start_weights["lm_head.weight"], atol=1e-4)


@pytest.mark.slow
def test_a_trained_model_is_trained_further_with_gradient_checkpointing(trained, store_folder, tmp_path):
    command = [str(store_folder), "--model", str(trained), "--out", str(tmp_path / "out"), "--steps", "2"]
    command += [
        "--sequence-length",
        "32",
        "--global-batch-size",
        "4",
        "--micro-batch-size",
        "2",
        "--gradient-checkpointing",
    ]
    output = finish(start(command))
    before = read_json(tmp_path / "out/run.json")["validation"]["before"]
    assert before == read_json(trained / "run.json")["validation"]["after"], output


@pytest.mark.slow
def test_a_damaged_store_is_refused_by_every_rank(store_folder, config, tmp_path):
    damaged = shutil.copytree(store_folder, tmp_path / "tokens")
    (damaged / "manifest.json").unlink()
    output = finish(start(flags(damaged, config, tmp_path / "out")), code=1)
    assert "no token store, or one incomplete" in output
