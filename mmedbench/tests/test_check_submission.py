"""check_submission.py and SUBMITTING.md: the document's examples make a sound submission, and each fault is named."""

import json
import re
import shlex
import shutil

import pytest


@pytest.fixture
def guide(raw) -> str:
    return (raw.stage / "SUBMITTING.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, guide, result, score):
    """The examples of SUBMITTING.md as files, and the result.json that belongs to them."""
    folder = tmp_path / "results" / "submission"
    folder.mkdir(parents=True)
    for name, text in re.findall(r"```csv (\S+)\n(.*?)```", guide, re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")
    value = result(scores={"en": score(1, 1, 0), "fr": score(1, 0, 0)})
    (folder / "result.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_the_examples_of_the_guide_are_a_sound_submission(folder, run):
    assert len(list(folder.iterdir())) == 5
    done = run("check_submission.py", folder)
    assert (done.returncode, "2 answers and 1 rationales in 2 languages, 0 problems" in done.stdout) == (0, True), done


def test_the_commands_of_the_guide_run_in_their_order(folder, guide, raw, run, tmp_path, monkeypatch):
    shutil.copytree(raw.stage / "reported", tmp_path / "mmedbench" / "reported")
    (tmp_path / "mmedbench" / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("leaderboard.RESULTS", tmp_path / "mmedbench" / "results")
    commands = [shlex.split(line) for line in re.search(r"```sh\n(.*?)```", guide, re.DOTALL)[1].splitlines()]
    assert len(commands) == 3
    for program, script, *arguments in commands:
        assert program == "python"
        done = run(script.removeprefix("mmedbench/"), *arguments)
        assert done.returncode == 0, (script, done.stdout, done.stderr)
    assert "tiny" in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


ANSWERS, RATIONALES = "multi_choice_results.csv", "rationale_results.csv"
ACCURACY, SIMILARITY = "accuracy_metric.csv", "rationale_similarity_metric.csv"
FAULTS = {
    "another column": (ANSWERS, "GT_Answer\n", "Answer\n", f"{ANSWERS}:1: expected the columns"),
    "another language": (ANSWERS, "French,", "fr,", f"{ANSWERS}:3: Language: 'fr' is not one of"),
    "letters that are none": (ANSWERS, ',"A,C"\n', ',"C,A"\n', f"{ANSWERS}:2: GT_Answer"),
    "a cell too many": (ANSWERS, ",B,A\n", ",B,A,x\n", f"{ANSWERS}:3: 5 cells under 4 columns"),
    "a question too few": (ANSWERS, "French,", "English,", "fr: 0 rows, but result.json has n = 1"),
    "no gold rationale": (
        RATIONALES,
        '"A and D are stored in fatty tissue; C is not."',
        "",
        f"{RATIONALES}:2: GT_Answer",
    ),
    "an accuracy that is not the result's": (
        ACCURACY,
        "100.00",
        "99.00",
        "English: 99.00, but result.json has 1 right",
    ),
    "an accuracy that is not a number": (ACCURACY, "0.00\n", "high\n", f"{ACCURACY}:2: French: 'high' is not a number"),
    "a language without accuracy": (ACCURACY, "English,French\n100.00,0.00", "English\n100.00", "fr: missing"),
    "a metric missing": (SIMILARITY, "BLEU-3,20.00\n", "", f"{SIMILARITY}:2: expected the rows BLEU-1, BLEU-2, BLEU-3"),
    "a metric over 100": (SIMILARITY, "BLEU-3,20.00", "BLEU-3,200", "'200' is not a number of 0 to 100"),
    "a language without rationales": (SIMILARITY, "Metric,English", "Metric,French", "fr: not expected"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_is_named_by_file_and_row(folder, run, what):
    name, old, new, message = FAULTS[what]
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text[::-1].replace(old[::-1], new[::-1], 1)[::-1], encoding="utf-8")
    done = run("check_submission.py", folder)
    assert (done.returncode, message in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize("name", [ANSWERS, RATIONALES, ACCURACY, SIMILARITY, "result.json"])
def test_a_file_that_is_missing_is_named(folder, run, name):
    (folder / name).unlink()
    done = run("check_submission.py", folder)
    assert (done.returncode, f"lacks {name}" in done.stderr) == (2, True)


def test_a_model_without_rationales_sends_the_headers_alone_and_empty_files_are_no_headers(folder, run):
    (folder / RATIONALES).write_text("Language,ModelInput,ModelOutput,GT_Answer\n", encoding="utf-8")
    (folder / SIMILARITY).write_text("Metric\n", encoding="utf-8")
    assert run("check_submission.py", folder).returncode == 0
    for name in (ANSWERS, RATIONALES, ACCURACY, SIMILARITY):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text("", encoding="utf-8")
        done = run("check_submission.py", folder)
        assert (done.returncode, f"{name}:1: expected" in done.stdout) == (1, True)
        (folder / name).write_text(text, encoding="utf-8")


def test_a_result_that_contradicts_itself_is_refused(folder, run):
    value = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    value["scores"]["en"]["accuracy"] = 12
    (folder / "result.json").write_text(json.dumps(value), encoding="utf-8")
    done = run("check_submission.py", folder)
    assert (done.returncode, "scores.en.accuracy" in done.stderr) == (2, True)
