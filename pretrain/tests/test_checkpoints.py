"""Checkpoints and the fence with a plain torch model (DeepSpeed's stages: test_resume.py)."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from checkpointing.checkpoint_reader import (
    CheckpointReader,
    complete_checkpoints,
    damaged_files,
    fitting_micro_batch,
    step_folder,
)
from checkpointing.checkpoints import Checkpoints
from checkpointing.tensor_files import HashedFile, write_hashed
from run_record import InputError, read_json, sha256_of_file, write_json
from training.distributed import RunLock

STAGE = Path(__file__).parents[1]


def make_engine(width: int = 5):
    """A model and AdamW behind the few names of DeepSpeed's engine that a checkpoint uses; no ZeRO."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2))
    return SimpleNamespace(
        module=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.01),
        zero_optimization_stage=lambda: 0,
        gradient_accumulation_steps=lambda: 1,
        train_batch_size=lambda: 4,
    )


def train(engine, steps: int = 1) -> None:
    for _ in range(steps):
        loss = torch.nn.functional.dropout(engine.module(torch.randn(4, 3)), 0.5).square().sum()
        loss.backward()
        engine.optimizer.step()
        engine.optimizer.zero_grad()


pytestmark = pytest.mark.usefixtures("group_of_one")


@pytest.fixture
def engine():
    return make_engine()


def flip(path: Path) -> None:
    """Damage one byte in the middle, as a failing disk does."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["in the step", "in the background"])
def test_what_is_saved_goes_on_bit_for_bit_with_its_moments_buffers_and_random_numbers(engine, asynchronous, tmp_path):
    random.seed(3)
    random.gauss()
    np.random.seed(4)
    np.random.standard_normal()
    train(engine, 3)
    kept = Checkpoints(engine, tmp_path, {"seed": 0}, keep=2, asynchronous=asynchronous)
    kept.save(3, {"skipped": [2]})
    drawn = (random.gauss(), np.random.standard_normal())
    train(engine, 4)  # what a save in the background must not see
    kept.finish()
    wanted = {name: value.clone() for name, value in engine.module.state_dict().items()}

    other = make_engine()
    assert Checkpoints(other, tmp_path, {"seed": 0}, keep=2).resume() == (3, {"skipped": [2]})
    assert (random.gauss(), np.random.standard_normal()) == drawn
    train(other, 4)
    for name, value in other.module.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_a_background_save_counts_once_every_rank_has_written_and_not_before(engine, tmp_path, monkeypatch):
    gate, begun = threading.Event(), threading.Event()
    write = HashedFile.write

    def held(file, data):
        begun.set()
        assert gate.wait(20)
        write(file, data)

    monkeypatch.setattr(HashedFile, "write", held)
    kept = Checkpoints(engine, tmp_path, {}, keep=2, asynchronous=True)
    train(engine)
    kept.save(1)
    assert begun.wait(20)
    kept.poll()
    assert complete_checkpoints(tmp_path) == []
    gate.set()
    kept.save(2)  # waits for the one in flight: at most one
    assert complete_checkpoints(tmp_path) == [1]
    kept.finish()
    assert complete_checkpoints(tmp_path) == [1, 2] and not list(tmp_path.glob("checkpoints/.step-*"))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["in the step", "in the background"])
def test_a_full_disk_in_a_save_is_a_sentence_and_the_one_before_stays(engine, asynchronous, tmp_path, monkeypatch):
    train(engine)
    Checkpoints(engine, tmp_path, {}, keep=1).save(1)
    write = HashedFile.write

    def full(file, data):
        write(file, memoryview(data)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(HashedFile, "write", full)
    kept = Checkpoints(engine, tmp_path, {}, keep=1, asynchronous=asynchronous)
    with pytest.raises(SystemExit, match=r"step 2 could not be written.*make room.*No space left"):
        kept.save(2)
        kept._flight[2].exception()  # in the background the failure is reported at the end of a later step
        kept.poll()
    assert complete_checkpoints(tmp_path) == [1] and damaged_files(step_folder(tmp_path, 1)) == []
    monkeypatch.undo()
    Checkpoints(engine, tmp_path, {}, keep=1).save(2)
    assert complete_checkpoints(tmp_path) == [2] and not list(tmp_path.glob("checkpoints/.step-*"))


KILLED = """
import importlib.util, os, signal, sys, tempfile
from pathlib import Path
import torch.distributed as dist
from checkpointing import checkpoints
spec = importlib.util.spec_from_file_location("own_tests", sys.argv[1])
own = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own)
dist.init_process_group("gloo", store=dist.FileStore(tempfile.mkdtemp() + "/store", 1), rank=0, world_size=1)
engine, out, when = own.make_engine(), Path(sys.argv[2]), sys.argv[3]
kept = own.Checkpoints(engine, out, {}, keep=1)
own.train(engine)
kept.save(1)
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if when == "in a file":
    write = own.HashedFile.write
    own.HashedFile.write = lambda file, data: (write(file, memoryview(data)[:60]), die())
if when == "before the mark":
    checkpoints.write_json = die
if when == "before the rename":
    checkpoints._flush_folder = die
if when == "before the old one goes":
    checkpoints._remove = die
kept.save(2)
"""


@pytest.mark.parametrize(
    ("when", "left"),
    [("in a file", [1]), ("before the mark", [1]), ("before the rename", [1]), ("before the old one goes", [1, 2])],
)
def test_killed_at_any_moment_of_a_save_a_whole_checkpoint_is_left(when, left, tmp_path):
    command = [sys.executable, "-c", KILLED, __file__, str(tmp_path), when]
    done = subprocess.run(command, cwd=STAGE, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert complete_checkpoints(tmp_path) == left
    assert Checkpoints(make_engine(), tmp_path, {}, keep=1).resume()[0] == left[-1]
    engine = make_engine()
    train(engine)
    Checkpoints(engine, tmp_path, {}, keep=1).save(3)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_the_newest_and_every_nth_checkpoint_stay(engine, tmp_path):
    train(engine)
    kept = Checkpoints(engine, tmp_path, {}, keep=2, keep_every=4)
    for step in range(1, 12):
        kept.save(step)
    assert complete_checkpoints(tmp_path) == [4, 8, 10, 11]


@pytest.mark.parametrize(
    ("damage", "message"),
    [(flip, "does not have its SHA-256"), (Path.unlink, "is missing"), (lambda p: os.truncate(p, 9), "has 9 bytes")],
    ids=["a bit", "the file", "its end"],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(engine, damage, message, tmp_path, capsys):
    train(engine)
    kept = Checkpoints(engine, tmp_path, {}, keep=3)
    for step in (1, 2):
        kept.save(step)
    damage(step_folder(tmp_path, 2) / "rank-00000.safetensors")
    with pytest.raises(InputError, match=f"step 2 is damaged: .*{message}"):
        kept.resume(2)
    assert kept.resume()[0] == 1
    out = capsys.readouterr().out
    assert message in out and "set aside as damaged-step-00000002" in out and "rank-00000.safetensors" in out
    damage(step_folder(tmp_path, 1) / "rank-00000.safetensors")
    with pytest.raises(InputError, match=r"every checkpoint in .* is damaged"):
        kept.resume()


@pytest.mark.parametrize(("text", "message"), [("", "not JSON"), ("{}", "names no files")])
def test_a_garbled_record_is_a_damaged_checkpoint(engine, text, message, tmp_path, capsys):
    train(engine)
    kept = Checkpoints(engine, tmp_path, {}, keep=3)
    for step in (1, 2):
        kept.save(step)
    (step_folder(tmp_path, 2) / "complete.json").write_text(text)
    assert kept.resume()[0] == 1 and message in capsys.readouterr().out


def test_resume_takes_none_or_a_step_and_sets_newer_ones_aside(engine, tmp_path, capsys):
    kept = Checkpoints(engine, tmp_path, {}, keep=3)
    assert kept.resume() == kept.resume("none") == (0, {})
    with pytest.raises(InputError, match="no complete checkpoint, so none at step 5"):
        kept.resume(5)
    train(engine)
    for step in (1, 2, 3):
        kept.save(step)
    with pytest.raises(InputError, match="has a checkpoint at step 3"):
        kept.resume("none")
    with pytest.raises(InputError, match=r"at step 5; it has \[1, 2, 3\]"):
        kept.resume(5)
    assert kept.resume(2)[0] == 2
    assert complete_checkpoints(tmp_path) == [1, 2] and "set-aside-step-00000003" in capsys.readouterr().out
    kept.save(3)
    assert kept.resume(2)[0] == 2, "going back again finds the name taken"
    assert complete_checkpoints(tmp_path) == [1, 2] and "set-aside-step-00000003.2" in capsys.readouterr().out


def test_a_checkpoint_of_another_precision_is_refused(engine, tmp_path):
    train(engine)
    Checkpoints(engine, tmp_path, {}, keep=1).save(1)
    engine.module.bfloat16()
    with pytest.raises(InputError, match="was trained in float32, this run would go on in bfloat16; give --no-bf16"):
        Checkpoints(engine, tmp_path, {}, keep=1).resume()


def test_a_checkpoint_of_another_model_or_run_is_refused(engine, tmp_path):
    train(engine)
    Checkpoints(engine, tmp_path, {"seed": 0}, keep=1).save(1)
    with pytest.raises(InputError, match=r"different arguments \(seed\)"):
        Checkpoints(engine, tmp_path, {"seed": 1}, keep=1).resume()
    with pytest.raises(
        InputError, match=r"another model: 5 parameters differ, such as 0.bias, \(5,\) there and \(6,\)"
    ):
        Checkpoints(make_engine(6), tmp_path, {"seed": 0}, keep=1).resume()
    write_json(step_folder(tmp_path, 1) / "complete.json", {"step": 1, "files": {}})
    with pytest.raises(InputError, match="expected format_version 1"):
        Checkpoints(engine, tmp_path, {"seed": 0}, keep=1).resume()


def test_a_run_that_was_taken_over_makes_no_checkpoint_current(engine, tmp_path):
    fence = RunLock(tmp_path).claim()
    train(engine)
    kept = Checkpoints(engine, tmp_path / "training", {}, keep=1, check_owner=fence.check)
    kept.save(1)
    write_json(fence.owner, read_json(fence.owner) | {"token": "another", "host": "node-7", "job": "42"})
    with pytest.raises(InputError, match=r"another run has taken over .*node-7.*Slurm job 42"):
        kept.save(2)
    assert complete_checkpoints(tmp_path / "training") == [1]
    fence.close()
    assert read_json(fence.owner)["token"] == "another", "the other's record stays"


def test_elements_that_no_file_holds_are_named(tmp_path):
    checkpoint = step_folder(tmp_path, 1)
    checkpoint.mkdir(parents=True)
    facts = write_hashed(
        checkpoint / "rank-00000.safetensors",
        {"weights/w": ("float32", (3,))},
        lambda _: torch.ones(3),
        {"starts": json.dumps({"w": 1})},
    )
    record = {"format_version": 1, "shapes": {"w": [4]}, "files": {"rank-00000.safetensors": facts}}
    write_json(checkpoint / "complete.json", record)
    assert CheckpointReader(checkpoint).read("weights", "w", 1, 3).tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="does not hold elements 0 to 4 of w"):
        CheckpointReader(checkpoint).weights("w")


def test_hashed_files_are_what_the_safetensors_library_reads(tmp_path):
    from safetensors.torch import load_file

    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).bfloat16(),
        "c": torch.empty(0),
        "d": torch.arange(4),
        "e": torch.tensor(2.5),
    }
    shapes = {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()}
    facts = write_hashed(tmp_path / "x", shapes, tensors.__getitem__, {"format": "pt"})
    assert facts == {"bytes": (tmp_path / "x").stat().st_size, "sha256": sha256_of_file(tmp_path / "x")}
    read = load_file(tmp_path / "x")
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], tensors[name]) for name in tensors)


HOLDER = """
import sys
from pathlib import Path
from training.distributed import RunLock
fence = RunLock(Path(sys.argv[1]), 0.05).claim()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file/out"):
        with pytest.raises(InputError, match=r"--out .*file.* cannot be written .*; use another --out"):
            RunLock(out).claim()


def test_a_second_run_on_one_folder_is_refused_until_the_first_is_gone(tmp_path):
    # Started in the stage, whose folder `python -c` then finds its modules in.
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=STAGE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"another run is writing to .*process {holder.pid}"):
        RunLock(tmp_path).claim()
    holder.kill()
    holder.wait()
    fence = RunLock(tmp_path).claim()  # the dead one left its record; the lock says that it is dead
    fence.close()
    assert not fence.owner.exists()


@pytest.mark.parametrize("locks", [True, False], ids=["a lock of this node alone", "no locks"])
def test_a_run_on_another_node_is_refused_while_its_heart_beats(locks, tmp_path, monkeypatch, capsys):
    other = RunLock(tmp_path, 0.05)
    other.folder.mkdir(parents=True)

    def beat() -> None:
        other._beat()
        write_json(other.owner, read_json(other.owner) | {"host": "node-7"})

    if not locks:
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))
    beat()
    monkeypatch.setattr("time.sleep", lambda _seconds: beat())
    with pytest.raises(InputError, match=r"another run is writing to .*node-7.*heartbeat continues"):
        RunLock(tmp_path, 0.05).claim()
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    RunLock(tmp_path, 0.05).claim().close()
    assert ("no locks on this file system" in capsys.readouterr().out) is not locks


def test_the_micro_batch_follows_the_ranks_only_where_a_run_goes_on(engine, tmp_path):
    assert fitting_micro_batch(tmp_path, 8, 8, 2) == 8, "a new run: what does not divide is an error"
    train(engine)
    Checkpoints(engine, tmp_path, {}, keep=1).save(1)
    assert fitting_micro_batch(tmp_path, 8, 3, 1) == 2, "the same ranks: an earlier restart may have changed them"
    assert [fitting_micro_batch(tmp_path, 24, 8, ranks) for ranks in (2, 4, 6, 5)] == [6, 6, 4, 8]
