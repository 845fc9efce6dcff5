"""What is built from a finished run: the submission folder, and the page in a real browser."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import eval as evaluation
import export_submission
import html_report
from evaluation.result_folder import read_finished_run
from run_record import InputError

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
CHROMEDRIVER = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"


@pytest.fixture(scope="module")
def runs(checkpoint, tmp_path_factory) -> tuple[Path, Path]:
    """Result folders of form answer and form rationale over three languages, with unpleasant texts in them."""
    root = tmp_path_factory.mktemp("exports")
    data = root / "MMedBench/Test"
    data.mkdir(parents=True)
    questions = {
        "English.jsonl": (f'Which is "right", {{}}?\n{EVIL}', {"A": f"1 {EVIL}", "B": "2"}),
        "Arabic.jsonl": ("أي فيتامين يذوب في الدهون، {}؟", {"A": "فيتامين A", "B": "فيتامين C"}),
        "Chinese.jsonl": ("缺乏维生素C会引起什么，{}？", {"A": "坏血病", "B": "脚气病"}),
    }
    for name, (question, options) in questions.items():
        rows = [
            {
                "question": question.format(n),
                "options": options,
                "answer_idx": "A,B" if n == 1 else "A",
                "rationale": f"Because {n}. {EVIL}",
                "human_checked": True,
                "human_check_passed": n != 0,
            }
            for n in range(3)
        ]
        (data / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    folders = root / "answers", root / "rationales"
    for folder, form in zip(folders, ("answer", "rationale"), strict=True):
        command = ["--model", str(checkpoint), "--data", str(data), "--form", form, "--out", str(folder)]
        assert evaluation.main([*command, "--max-new-tokens", "12"]) == 0
    return folders


def test_the_submission_passes_the_benchmarks_own_check(runs, tmp_path, capsys):
    out = tmp_path / "submission"
    assert export_submission.main([str(runs[0]), "--rationales", str(runs[1]), "--out", str(out)]) == 0
    assert "9 answers and 6 rationales in 3 languages" in capsys.readouterr().out
    done = subprocess.run(
        [sys.executable, ROOT / "mmedbench/check_submission.py", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "0 problems" in done.stdout, done.stdout + done.stderr
    assert export_submission.main([str(runs[0]), "--out", str(tmp_path / "answers")]) == 0
    done = subprocess.run(
        [sys.executable, ROOT / "mmedbench/check_submission.py", tmp_path / "answers"], capture_output=True, check=False
    )
    assert done.returncode == 0


def test_a_folder_with_something_else_or_another_runs_result_is_not_written_over(runs, tmp_path):
    out = tmp_path / "submission"
    with pytest.raises(InputError, match=r"contains something else \(\.lock\)"):
        export_submission.main([str(runs[0]), "--out", str(runs[0])])
    assert export_submission.main([str(runs[0]), "--out", str(out)]) == 0
    assert export_submission.main([str(runs[0]), "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    (out / "result.json").write_text(json.dumps(result | {"inputs": {"model": "other"}}))
    with pytest.raises(InputError, match="contains the result of another run"):
        export_submission.main([str(runs[0]), "--out", str(out)])


def test_the_model_input_is_the_prompt_that_was_asked(runs):
    run = read_finished_run(runs[0])
    row = run.rows[0]
    assert run.model_input(row) == run.prompt.render(run.question(row), "answer")


def test_other_data_or_another_prompt_than_the_runs_own_are_refused(runs, make_prompt, test_folder, tmp_path):
    with pytest.raises(InputError, match="is not the test set that was answered"):
        html_report.main([str(runs[0]), "--data", str(test_folder)])
    other = make_prompt(tmp_path / "prompt", r"(?:\A|rationale ends\n)\s*([A-Z](?:,[A-Z])*)\s*\Z(?:)")
    with pytest.raises(InputError, match="is not the prompt that was used"):
        html_report.main([str(runs[0]), "--prompt", str(other)])
    with pytest.raises(InputError, match="has no rationales"):
        export_submission.main([str(runs[0]), "--rationales", str(runs[0])])
    with pytest.raises(InputError, match=r"has no result\.json"):
        html_report.main([str(tmp_path)])


def test_the_page_escapes_everything(runs, tmp_path):
    assert html_report.main([str(runs[1]), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("<script>") == 1 and "<img" not in page
    assert page.count("<article") == 9 and "&lt;script&gt;window.evil" in page


@pytest.mark.slow
def test_a_person_filters_the_page_in_a_browser(runs, tmp_path):
    selenium = pytest.importorskip("selenium.webdriver", reason="the package selenium is not installed")
    from selenium.webdriver.support.ui import Select

    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("no chromium and chromedriver here (Debian packages chromium and chromium-driver)")
    html_report.main([str(runs[1]), "--out", str(tmp_path / "page.html")])
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(CHROMEDRIVER))
    try:
        driver.get((tmp_path / "page.html").as_uri())
        count = driver.find_element("id", "count")
        assert count.text == "9 of 9 questions"
        Select(driver.find_element("id", "language")).select_by_value("ar")
        assert count.text == "3 of 9 questions"
        Select(driver.find_element("id", "outcome")).select_by_value("several")
        assert count.text == "1 of 9 questions"
        Select(driver.find_element("id", "language")).select_by_value("")
        driver.find_element("id", "words").send_keys("维生素")
        assert count.text == "1 of 9 questions"
        assert driver.execute_script("return window.evil") is None
    finally:
        driver.quit()
