"""demo.sh in a fresh copy of the project: killed, resumed, reused; and every command in the READMEs.

These take minutes, so all but the first few are marked slow.
"""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from slurm_cluster import copy_of_the_project

ROOT = Path(__file__).resolve().parents[2]
# Documents whose commands are run here, in this order; the other stages' tests run those of their own documents.
DOCUMENTS = ["README.md", "pretrain/README.md", "finetune/README.md", "inference/README.md"]
# Run by other tests, or the test runner itself.
ELSEWHERE = re.compile(r"^(git clone|cd |bash (demo|test|setup)\.sh|bash slurm/|sbatch |export )|\bDIR\b")


def commands(document: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text("utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project's files as in a fresh clone, with this environment's .venv."""
    target = copy_of_the_project(tmp_path_factory.mktemp("clone") / "project")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=target, check=True)
    subprocess.run([*git, "add", "-A"], cwd=target, check=True)
    subprocess.run([*git, "commit", "-qm", "copy"], cwd=target, check=True)
    return target


def demo(copy: Path, *arguments: str, code: int = 0, seconds: int = 1500) -> str:
    done = subprocess.run(
        ["bash", "demo.sh", *arguments],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--exams", "nowhere"], "nowhere is not a folder"),
        (["--exams"], "--exams needs a value"),
        (["--exam", "x"], "unknown argument --exam"),
        (["--name", "../up"], "is not a valid folder name"),
    ],
)
def test_demo_refuses_what_it_cannot_use_before_it_does_anything(arguments, message):
    assert message in demo(ROOT, *arguments, code=2, seconds=20)


def test_demo_explains_itself():
    assert "bash demo.sh --exams DIR" in demo(ROOT, "--help", seconds=20)


def test_demo_stops_with_the_stages_own_sentence_on_an_empty_folder(copy, tmp_path):
    (tmp_path / "pdfs").mkdir()
    output = demo(copy, "--pdfs", str(tmp_path / "pdfs"), "--name", "empty", code=2, seconds=60)
    assert "'books' stopped with exit code 2" in output and str(tmp_path / "pdfs") in output
    assert not (copy / "data/empty/books/manifest.json").exists()


def test_every_documented_command_names_a_script_and_flags_that_exist():
    results = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/RESULTS.md"))
    for document in DOCUMENTS + results:
        for command in commands(document):
            for script in re.findall(r"\b[\w/]+\.(?:py|sh)\b", command):
                assert (ROOT / script).exists(), f"{document}: {command}"
            words = command.split()
            if words[0] in ("python", "torchrun") and "/" in command:
                script = next(word for word in words if word.endswith(".py"))
                text = "\n".join(
                    p.read_text("utf-8") for p in (ROOT / script).parent.rglob("*.py") if "tests" not in p.parts
                )
                for flag in re.findall(r"(?<= )--([a-z-]+)", command.split(script)[1]):
                    assert f'"--{flag}"' in text, f"{document}: {command}: --{flag}"


def kill_everything(process: subprocess.Popen, marker: str) -> None:
    """SIGKILL to the run and to all processes that it started, found by their working directory."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str((path / "cwd").readlink()) == marker and int(path.name) != os.getpid():
                os.kill(int(path.name), signal.SIGKILL)
        except OSError:
            continue


@pytest.mark.slow
def test_demo_killed_at_several_stages_finishes_reuses_and_leaves_the_tree_clean(copy):
    results = copy / "results/demo"
    # Each file appears while its stage is running; the run is killed then and started again.
    moments = [
        "data/demo/books/parts",
        "data/demo/tokens/making.json",
        "checkpoints/demo/pretrained/training/checkpoints/step-*/complete.json",
        "checkpoints/demo/finetuned/training/checkpoint-*/complete.json",
    ]
    for moment in moments:
        process = subprocess.Popen(
            ["bash", "demo.sh"],
            cwd=copy,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 600
        while not list(copy.glob(moment)):
            assert process.poll() is None and time.monotonic() < deadline, moment
            time.sleep(0.05)
        kill_everything(process, str(copy))
    output = demo(copy)
    assert "resumed from" in output
    stages = [json.loads(line) for line in (results / "stages.jsonl").read_text().splitlines()]
    names = "books filter corpus tokenizer tokens pretraining benchmark fine-tuning evaluation leaderboard"
    assert [stage["stage"] for stage in stages] == names.split()
    assert stages[0]["failures"] is True, "the broken PDF of the sample must be reported"
    result = json.loads((results / "evaluation/result.json").read_text())
    assert set(result["scores"]) == {"en", "zh", "ja", "fr", "ru", "es"}
    n, unparsed = result["micro"]["n"], sum(score["unparsed"] for score in result["scores"].values())
    assert 1 - unparsed / n >= 0.95, f"{unparsed} of {n} answers out of the format"
    assert "tiny (demo)" in (results / "leaderboard.md").read_text()
    assert result["model"]["training"] == "lora" and result["setting"] == "fine-tuned"

    before = (results / "evaluation/result.json").read_bytes()
    began = time.monotonic()
    again = demo(copy)
    assert again.count("reused") >= 8 and (results / "evaluation/result.json").read_bytes() == before
    assert time.monotonic() - began < 120
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True, check=True
    ).stdout
    assert status == ""


@pytest.mark.slow
def test_every_command_of_the_readmes_runs(copy):
    environment = os.environ | {"PATH": f"{copy / '.venv/bin'}:{os.environ['PATH']}", "RANKS_PER_NODE": "2"}
    seen = set()
    for document in DOCUMENTS:
        for command in commands(document):
            if ELSEWHERE.search(command) or command in seen:
                continue
            seen.add(command)
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
                stdin=subprocess.DEVNULL,
            )
            # 3: the sample contains a broken PDF, which ocr.py lists.
            fine = (0, 3) if "ocr.py" in command else (0,)
            assert done.returncode in fine, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert len(seen) >= 12
