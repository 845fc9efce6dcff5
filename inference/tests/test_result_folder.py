"""A result folder contains one run, scored by the present rule; what does not fit is said or refused."""

import fcntl
import json
import shutil
import threading
from pathlib import Path

import pytest

import compare
import eval as evaluation
import html_report
from run_record import InputError, read_json, write_json


@pytest.fixture(scope="module")
def tuned(checkpoint, tmp_path_factory) -> Path:
    """The tiny checkpoint as one that was fine-tuned on its prompt."""
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("tuned") / "tuned")
    write_json(folder / "run.json", {"training": "full"})
    return folder


@pytest.fixture(scope="module")
def answered(tuned, test_folder, tmp_path_factory) -> list[str]:
    """The command of a finished run; its result folder is the last argument."""
    command = ["--model", str(tuned), "--data", str(test_folder), "--max-new-tokens", "4"]
    command += ["--out", str(tmp_path_factory.mktemp("results") / "run")]
    assert evaluation.main(command) == 0
    return command


@pytest.fixture
def command(answered, tmp_path, monkeypatch) -> list[str]:
    """The command on a copy of the finished run; nothing can be asked."""
    monkeypatch.setattr(evaluation, "ask", None)
    shutil.copytree(answered[-1], tmp_path / "run")
    return [*answered[:-1], str(tmp_path / "run")]


def result_of(command: list[str]) -> dict:
    return read_json(Path(command[-1]) / "result.json")


def change(path: Path, **fields) -> None:
    write_json(path, read_json(path) | fields)


def test_scores_of_an_earlier_metric_version_are_made_again(command, capsys):
    change(Path(command[-1]) / "result.json", metric_version=1)
    assert evaluation.main(command) == 0
    assert result_of(command)["metric_version"] > 1 and "scored by metric version 1" in capsys.readouterr().out
    assert evaluation.main(command) == 0 and "is complete and is reused" in capsys.readouterr().out


def test_predictions_that_are_not_those_scored_are_scored_again_and_nowhere_taken_for_them(command, tmp_path):
    """As a kill while scoring again leaves them: the letters by the new rule, result.json by the old one."""
    path = Path(command[-1]) / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(json.dumps(row | {"letters": row["gold"]}) + "\n" for row in rows))
    for reader in (html_report.main, lambda folders: compare.main([*folders, *folders])):
        with pytest.raises(InputError, match=r"not the file that its result\.json was written for"):
            reader([command[-1]])
    assert evaluation.main(command) == 0
    assert compare.main([command[-1], command[-1]]) == 0


def test_scoring_again_keeps_the_setting_the_rule_and_who_asked_when_the_model_is_gone(command, tuned, prompt_folder):
    before = result_of(command)
    assert (before["setting"], before["scoring"]["parse"]) == ("fine-tuned", "strict")
    moved = tuned.rename(tuned.with_name("elsewhere"))
    try:
        again = [*command[:-2], "--prompt", str(prompt_folder), "--score-only", "--name", "Named", *command[-2:]]
        assert evaluation.main(again) == 0
    finally:
        moved.rename(tuned)
    after = result_of(command)
    assert (after["setting"], after["scoring"]["parse"]) == ("fine-tuned", "strict")
    assert after["asked"] == before["provenance"] and "--score-only" in after["provenance"]["command"]
    assert after["model"] == before["model"] | {"name": "Named"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{broken\n", r"predictions\.jsonl:1: no prediction"),
        ('{"key": "en"}\n', r":1: no prediction"),
        ("[]\n", ":1: no prediction"),
        (b"\xff\n", "cannot be read"),
        (None, "is missing|cannot be read"),
    ],
)
def test_broken_predictions_are_named_when_scored_again(command, text, message):
    path = Path(command[-1]) / "predictions.jsonl"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        evaluation.main([*command[:-2], "--score-only", *command[-2:]])


def test_scoring_again_what_never_ended_is_refused_and_writes_nothing(command, tmp_path):
    with pytest.raises(InputError, match="without --score-only first"):
        evaluation.main([*command[:-1], str(tmp_path / "new"), "--score-only"])
    assert not (tmp_path / "new").exists()
    (Path(command[-1]) / "result.json").unlink()
    with pytest.raises(InputError, match="without --score-only first"):
        evaluation.main([*command[:-2], "--score-only", *command[-2:]])


def test_the_page_finds_the_prompt_that_was_named_on_the_command_line(checkpoint, test_folder, prompt_folder, tmp_path):
    bare = shutil.copytree(checkpoint, tmp_path / "bare", ignore=shutil.ignore_patterns("prompt"))
    flags = ["--model", str(bare), "--data", str(test_folder), "--prompt", str(prompt_folder), "--limit", "1"]
    assert evaluation.main([*flags, "--max-new-tokens", "2", "--out", str(tmp_path / "out")]) == 0
    assert html_report.main([str(tmp_path / "out")]) == 0


def test_shards_that_score_again_do_so_one_after_the_other(command, capsys):
    out, before = Path(command[-1]), result_of(command)
    flags = [*command[:-2], "--parse", "policy", "--shard", "0/2", *command[-2:]]
    with open(out / ".lock-scoring", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(target=evaluation.main, args=(flags,))
        other.start()
        other.join(1)
        assert other.is_alive() and result_of(command) == before
    other.join(20)
    assert result_of(command)["scoring"]["parse"] == "policy"
