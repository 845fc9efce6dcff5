"""Checkpoints that are whole or count for nothing."""

import json

import pytest

from sft_training.run_folder import forget_metrics_after, mark_complete, newest_checkpoint


@pytest.fixture
def folder(tmp_path):
    for step in (3, 6, 9):
        (tmp_path / f"checkpoint-{step}/global_step").mkdir(parents=True)
        (tmp_path / f"checkpoint-{step}/global_step/rank_0.pt").write_bytes(b"12345")
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    for step in (3, 6):
        mark_complete(tmp_path, step, keep=5)
    return tmp_path


def test_a_checkpoint_cut_off_in_its_save_is_passed_over(folder, capsys):
    assert newest_checkpoint(folder) == str(folder / "checkpoint-6")
    assert not (folder / "checkpoint-9").exists()
    assert "checkpoint-9 is skipped and removed: it was cut off in its save" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"), [(b"1234", "another size"), (b"12354", "other content"), (None, "is missing")]
)
def test_the_one_before_a_damaged_checkpoint_is_taken(folder, content, message, capsys):
    damaged = folder / "checkpoint-6/global_step/rank_0.pt"
    damaged.write_bytes(content) if content else damaged.unlink()
    assert newest_checkpoint(folder) == str(folder / "checkpoint-3")
    assert message in capsys.readouterr().out


def test_old_checkpoints_go_only_when_the_new_one_is_complete(folder):
    assert len(list(folder.glob("checkpoint-*"))) == 3
    mark_complete(folder, 9, keep=2)
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-9"]


def test_steps_that_are_done_again_leave_the_metrics(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in (0, 3, 4)) + '{"step": 5, "lo')
    forget_metrics_after(metrics, 3)
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [0, 3]
