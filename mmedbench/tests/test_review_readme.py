"""README.md, "Review rationales": its commands run in their order, and its keys are those of the page."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from review_desk.review_app import KEYS


@pytest.fixture
def section(raw) -> str:
    return (raw.stage / "README.md").read_text(encoding="utf-8").split("\n## Review rationales\n")[1].split("\n## ")[0]


def test_the_review_s_commands_run_in_their_order(section, raw, run, tmp_path, monkeypatch):
    shutil.copytree(raw.stage / "sample", tmp_path / "mmedbench" / "sample")
    monkeypatch.chdir(tmp_path)
    sample = "mmedbench/sample"
    done = run("prepare.py", f"{sample}/exams", "--rationales", f"{sample}/rationales.jsonl", "--out", "data/MMedBench")
    assert done.returncode == 0
    commands = [shlex.split(line) for line in re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1].splitlines()]
    assert [command[2] for command in commands] == ["make", "serve", "report", "export"]
    for program, script, *arguments in commands:
        assert (program, script) == ("python", "mmedbench/review.py")
        if arguments[0] == "serve":
            serve = [sys.executable, raw.stage / "review.py", *arguments, "--port", "0"]
            with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
                assert any(line.startswith("serving on 127.0.0.1") for line in server.stdout)
                server.kill()
        else:
            done = run("review.py", *arguments)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "MMedBench_checked" / "manifest.json").is_file()
    link = re.search(r"`python mmedbench/review.py (link .*?)`", section)[1].replace("DB", "data/review.sqlite")
    assert run("review.py", *shlex.split(link)).returncode == 0


def test_the_section_names_the_page_s_keys_and_its_flags(section, run):
    digits = [digit for keys in KEYS.values() for digit in keys]
    assert "Keys {} {} and {} {} judge".format(*digits) in section
    helps = "".join(run("review.py", verb, "--help").stdout for verb in ("make", "serve", "link", "report", "export"))
    assert set(re.findall(r"--[a-z][a-z-]+", section)) <= set(re.findall(r"--[a-z][a-z-]+", helps))
