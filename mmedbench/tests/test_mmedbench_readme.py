"""README.md: each of its commands runs, its rules are the code's, the files it names are there."""

import json
import re
import shlex
import shutil

import pytest

from sources.exam_rules import REASONS


def blocks(text: str) -> list[list[str]]:
    return [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.strip().splitlines()
    ]


@pytest.fixture
def readme(raw) -> str:
    return (raw.stage / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_readme_runs_in_its_order(readme, raw, run, result, endpoint, tmp_path, monkeypatch):
    shutil.copytree(raw.stage / "sample", tmp_path / "mmedbench" / "sample")
    shutil.copy(raw.stage / "topics.yaml", tmp_path / "mmedbench")
    arabic = raw.lines(raw.stage / "sample" / "tables" / "mle_arabic.jsonl")
    endpoint.answers = {record["question"]: ["لأن هذا هو الصحيح."] for record in arabic}
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
    monkeypatch.setenv("OPENAI_API_KEY", "for the test")
    (tmp_path / "results" / "finetuned").mkdir(parents=True)
    (tmp_path / "results" / "finetuned" / "result.json").write_text(json.dumps(result()), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("leaderboard.RESULTS", tmp_path / "mmedbench" / "results")
    commands = blocks(readme)
    assert len(commands) == 11
    for program, script, *arguments in commands:
        assert program == "python"
        assert script.startswith("mmedbench/")
        done = run(script.removeprefix("mmedbench/"), *arguments)
        assert done.returncode == 0, (script, arguments, done.stdout, done.stderr)
    assert (tmp_path / "data" / "MMedBench" / "manifest.json").is_file()
    assert "tiny" in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    for split in ("Train", "Dev", "Test"):
        for language in ("German", "Arabic"):
            records = raw.lines(tmp_path / "data" / "explained" / split / f"{language}.jsonl")
            assert all(record["rationale"] for record in records)


def test_the_readme_states_every_rule_as_the_code_does(readme):
    stated = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", readme, re.MULTILINE))
    assert stated == REASONS


def test_the_readme_names_every_script_and_only_files_that_exist(readme, raw):
    named = set(re.findall(r"`(\w+\.py)`", readme))
    scripts = {path.name for path in raw.stage.glob("*.py") if 'if __name__ == "__main__":' in path.read_text("utf-8")}
    assert scripts <= named <= {path.name for path in (*raw.stage.glob("*.py"), *raw.stage.glob("*/*.py"))}
    for folder in ("reported", "results", "sample"):
        assert f"`{folder}/`" in readme
        assert (raw.stage / folder).is_dir()


@pytest.mark.parametrize(
    "script",
    ["prepare.py", "check.py", "leaderboard.py", "benchmark_statistics.py", "rationales.py", "check_submission.py"],
)
def test_every_command_answers_help_and_refuses_unknown_and_shortened_flags(run, script):
    assert run(script, "--help").returncode == 0
    assert run(script, "x", "--hel").returncode == 2
