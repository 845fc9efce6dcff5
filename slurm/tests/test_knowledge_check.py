"""The knowledge check: what it concludes, what it refuses, and, slow, that it passes and that breakage is caught."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import knowledge_breakage
from synthetic_facts.knowledge_verdict import conclude, letters_bound

ROOT = Path(__file__).resolve().parents[2]


def row(right: int, n: int = 288, unparsed: int = 0) -> dict:
    return {"n": n, "right": right, "accuracy": 100 * right / n, "ci95": [0, 100], "unparsed": unparsed}


def arm(asked: int, known: int = 140, after: int = 288, before: int = 72, letters: int = 280, tokenised: int = 1990):
    return {
        "documents": {"written": 2000, "left out": 10, "tokenised": tokenised},
        "cloze before": row(before),
        "cloze after": row(after),
        "cloze tuned": row(after),
        "steps": 800,
        "known": row(known, 144, unparsed=144 - known),
        "asked": row(asked),
        "letters": {"n": 288, "right": letters},
    }


def against(points: float, p: float = 1e-9) -> dict:
    return {"difference": points, "p": p}


CASES = [
    ({"target": arm(250), "control": arm(75, after=70)}, against(60.8), "passed", "60.8 points above"),
    ({"target": arm(80), "control": arm(75, after=70)}, against(1.7, 0.6), "failed", "do not reach the score"),
    ({"target": arm(130), "control": arm(75, after=70)}, against(19.1), "failed", "do not reach the score"),
    ({"target": arm(250), "control": arm(120, after=70)}, against(45.1), "failed", "the facts, answers 41.7"),
    ({"target": arm(250, after=270), "control": arm(75)}, against(60.8), "failed", "did not reach the model"),
    ({"target": arm(250, before=200), "control": arm(75)}, against(60.8), "failed", "leaked into the base corpus"),
    ({"target": arm(250, tokenised=1000), "control": arm(75)}, against(60.8), "failed", "990 of 2,000 documents"),
    ({"target": arm(80, known=100), "control": arm(75)}, against(1.7, 0.6), "inconclusive", "69.4 % of the questions"),
    ({"target": arm(80), "control": arm(75, known=40)}, against(1.7, 0.6), "inconclusive", "seed 0, control"),
    ({"target": arm(80, letters=150), "control": arm(75)}, against(1.7, 0.6), "inconclusive", "letters are not bound"),
]


@pytest.mark.parametrize(("arms", "compared", "verdict", "reason"), CASES, ids=[case[3] for case in CASES])
def test_the_verdict_and_its_reason(arms, compared, verdict, reason):
    found, reasons = conclude({0: arms}, {0: compared})
    assert found == verdict and any(reason in why for why in reasons), reasons


def test_one_bad_seed_of_three_is_not_outvoted():
    good, bad = {"target": arm(250), "control": arm(75, after=70)}, {"target": arm(80), "control": arm(75, after=70)}
    verdict, reasons = conclude({0: good, 1: bad, 2: good}, {0: against(60.8), 1: against(1.7, 0.6), 2: against(60.8)})
    assert verdict == "failed" and len(reasons) == 1 and "seed 1" in reasons[0]


def test_without_both_arms_nothing_is_judged():
    assert conclude({0: {"half": arm(160), "target": arm(250)}}, {})[0] == "reported"


def check(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        ["bash", "slurm/knowledge_check.sh", *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHON": sys.executable},
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_a_dry_run_prints_every_command_and_writes_nothing(tmp_path):
    arms = ["none", "target", "control", "wrong", "half", "french", "parallel"]
    printed = check("--out", str(tmp_path / "x"), "--seeds", "4", "--arms", *arms, "--dry-run")
    assert not (tmp_path / "x").exists()
    for stage in (
        "data_collection/existing_corpora.py",
        "data_collection/build_corpus.py",
        "pretrain/train_tokenizer.py",
        "pretrain/tokenize_corpus.py",
        "pretrain/train_lm.py",
        "finetune/train.py",
        "inference/eval.py",
    ):
        assert f"python {stage} " in printed
    assert printed.count("python finetune/train.py ") == len(arms)
    for line in printed.splitlines():
        assert (ROOT / line.split()[1]).is_file(), line


def test_bad_input_is_a_sentence(tmp_path):
    (tmp_path / "settings.json").write_text('{"medicines": 1}')
    assert "is of a check of another size" in check("--out", str(tmp_path), "--smoke", code=2)
    assert "--workers is 1 or more" in check("--out", str(tmp_path), "--workers", "0", code=2)
    assert "invalid choice: 'targets'" in check("--out", str(tmp_path), "--arms", "targets", code=2)


def test_every_way_to_break_the_pipeline_still_fits_the_code(tmp_path):
    for name, way in knowledge_breakage.WAYS.items():
        for file, old, _ in way.edits:
            assert (ROOT / file).read_text("utf-8").count(old) == 1, (name, file)


def test_only_a_check_that_passed_can_be_broken(tmp_path):
    (tmp_path / "result.json").write_text('{"verdict": "failed"}')
    done = subprocess.run(
        [sys.executable, "slurm/knowledge_breakage.py", tmp_path], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 2 and "is not a check that passed" in done.stderr


@pytest.fixture(scope="module")
def passed(tmp_path_factory) -> Path:
    """A finished smoke check, killed on its way while a model was trained."""
    out = tmp_path_factory.mktemp("knowledge") / "check"
    command = ["bash", "slurm/knowledge_check.sh", "--out", str(out), "--smoke"]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHON": sys.executable},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    while not (out / "seed-0/models/base/training/metrics.jsonl").exists():
        assert running.poll() is None
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (out / "result.json").exists()
    assert "passed: after pretraining" in check("--out", str(out), "--smoke")
    return out


@pytest.mark.slow
def test_the_facts_of_the_corpus_reach_the_model_and_a_second_run_reuses_everything(passed):
    result = json.loads((passed / "result.json").read_text("utf-8"))
    found = result["measured"]["0"]["target"]
    assert found["cloze before"]["accuracy"] < 45 < 95 <= found["cloze after"]["accuracy"]
    assert found["documents"]["tokenised"] + found["documents"]["left out"] == found["documents"]["written"] > 0
    assert (passed / "knowledge.png").stat().st_size > 10_000 and "**passed**" in (passed / "report.md").read_text()
    weights = passed / "seed-0/models/target/model.safetensors"
    before = weights.stat().st_mtime_ns
    assert "passed" in check("--out", str(passed), "--smoke")
    assert weights.stat().st_mtime_ns == before


@pytest.mark.slow
def test_breakage_is_caught_for_the_right_reason(passed, tmp_path):
    ways = ["labels", "rate", "tokenizer", "refused", "shard"]
    command = [sys.executable, "slurm/knowledge_breakage.py", passed, "--ways", *ways, "--out", tmp_path / "table.json"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert [line["way"] for line in table if line["caught"]] == ways


def test_a_letter_is_bound_where_it_is_that_of_the_option_in_the_rationale(tmp_path):
    (tmp_path / "Test").mkdir()
    question = {"options": {"A": "liver", "B": "brain", "C": "colon", "D": "heart"}}
    (tmp_path / "Test/asked.jsonl").write_text(json.dumps(question) + "\n")
    said = [
        ("the brain Answer: B", ["B"]),
        ("the brain Answer: C", ["C"]),
        ("the thymus Answer: A", ["A"]),
        ("the liver", None),
    ]
    rows = [{"key": "asked", "number": 0, "output": f"It is {text}", "letters": letters} for text, letters in said]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert letters_bound(tmp_path, tmp_path / "Test") == {"n": 2, "right": 1}
