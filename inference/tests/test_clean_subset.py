"""Accuracy on the questions not found in the corpus: joined by id, beside the whole, through eval.py and compare.py."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import compare
import eval as evaluation
import html_report
from mmedbench_questions import read_split
from run_record import InputError, read_json


@pytest.fixture(scope="module")
def run(checkpoint, test_folder, tmp_path_factory) -> list[str]:
    """The command of a finished run, its data and its result folder among the arguments."""
    out = tmp_path_factory.mktemp("results") / "run"
    command = ["--model", str(checkpoint), "--data", str(test_folder), "--mode", "letter-logprob", "--out", str(out)]
    assert evaluation.main(command) == 0
    return command


@pytest.fixture
def scored_again(run, tmp_path):
    """The command on a copy of the finished run, so that no test sees another's scores."""
    shutil.copytree(run[-1], tmp_path / "run")
    return [*run[:-1], str(tmp_path / "run"), "--score-only"]


@pytest.fixture
def write_report(test_folder, tmp_path):
    """A report that finds the given numbers of English questions with their coverage, and one Chinese question."""

    def write(coverages: dict[int, float], folder: Path | None = None, **manifest) -> Path:
        folder = folder or tmp_path / "contamination"
        folder.mkdir(exist_ok=True)
        split = read_split(test_folder)
        found = [("en", split["English"][number]["id"], value) for number, value in coverages.items()]
        found.append(("zh", split["Chinese"][0]["id"], 1))
        lines = [
            {"question_id": name, "language": language, "coverage": value, "documents": ["web/1"], "mode": "report"}
            for language, name, value in found
        ]
        (folder / "contamination.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write


def test_clean_questions_are_scored_beside_all_of_them(scored_again, write_report, capsys):
    out = Path(scored_again[-2])
    whole = read_json(out / "result.json")
    report = write_report({0: 0.5, 3: 0.9, 4: 0.49})
    assert evaluation.main([*scored_again, "--contamination", str(report)]) == 0
    result = read_json(out / "result.json")
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]
    hits = {key: [r["letters"] == r["gold"] for r in rows if r["key"] == key] for key in ("en", "zh", "ru")}
    clean = {"en": [hit for n, hit in enumerate(hits["en"]) if n not in (0, 3)], "zh": hits["zh"][1:], "ru": hits["ru"]}
    for key, mine in clean.items():
        found = result["clean"]["scores"][key]
        assert (found["n"], found["right"]) == (len(mine), sum(mine))
        assert found["accuracy"] == pytest.approx(100 * sum(mine) / len(mine), abs=0.01)
        assert found["ci95"][0] <= found["accuracy"] <= found["ci95"][1]
        assert found["contaminated"] == len(hits[key]) - len(mine)
        assert found["contaminated_right"] == sum(hits[key]) - sum(mine)
    shares = [sum(mine) / len(mine) for mine in clean.values()]
    assert result["clean"]["macro"]["accuracy"] == pytest.approx(100 * sum(shares) / 3, abs=0.01)
    assert result["clean"]["micro"]["n"] == 22 - 3
    assert (result["scores"], result["macro"]) == (whole["scores"], whole["macro"]), "the whole stays what it was"
    assert "not found in the corpus (coverage under 0.5)" in capsys.readouterr().out
    assert evaluation.main([*scored_again, "--contamination", str(report), "--contamination-coverage", "0"]) == 0
    assert read_json(out / "result.json")["clean"]["scores"]["en"]["n"] == 6
    assert evaluation.main(scored_again) == 0
    assert (
        read_json(out / "result.json")["clean"] is None
        and "contaminated" not in (out / "predictions.jsonl").read_text()
    )


def test_a_language_without_a_clean_question_is_in_no_average(scored_again, write_report):
    report = write_report(dict.fromkeys(range(9), 1.0))
    assert evaluation.main([*scored_again, "--contamination", str(report)]) == 0
    clean = read_json(Path(scored_again[-2]) / "result.json")["clean"]
    assert clean["scores"]["en"]["n"] == 0 and clean["scores"]["en"]["accuracy"] is None
    assert clean["macro"]["languages"] == 2


def test_runs_are_compared_and_read_without_contaminated_questions(scored_again, write_report, tmp_path, capsys):
    out = scored_again[-2]
    with pytest.raises(InputError, match=r"predictions\.jsonl:1 does not say .* score the run again"):
        compare.main([out, out, "--clean"])
    assert evaluation.main([*scored_again, "--contamination", str(write_report({0: 1.0}))]) == 0
    capsys.readouterr()
    assert compare.main([out, out, "--clean"]) == 0
    assert "20 questions are in both runs, those found in the corpus omitted" in capsys.readouterr().out
    other = tmp_path / "other"
    shutil.copytree(out, other)
    again = [*scored_again[:-2], str(other), "--score-only", "--contamination", str(write_report({1: 1.0}))]
    assert evaluation.main(again) == 0
    with pytest.raises(InputError, match="different contamination reports"):
        compare.main([out, str(other), "--clean"])
    assert html_report.main([out, "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("found in the corpus</small>") == 2 and 'value="contaminated"' in page


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":1: not JSON"),
        ("[]", ":1: expected a JSON object"),
        ({"coverage": None}, ":1: coverage: missing"),
        ({"coverage": True}, ":1: coverage: missing"),
        ({"coverage": 1.2}, ":1: coverage: 1.2 is not a share"),
        ({"coverage": float("nan")}, ":1: coverage: nan is not a share"),
        ({"language": "xx"}, ":1: language: 'xx' is none of"),
        ({"documents": "web/1"}, ":1: documents: missing or of another kind"),
        ({"question_id": "0123456789abcdef"}, ":1: no question of .* has this id"),
    ],
)
def test_a_broken_report_is_refused_with_its_line(scored_again, write_report, line, message):
    report = write_report({0: 1.0})
    path = report / "contamination.jsonl"
    first, *rest = path.read_text().splitlines()
    broken = line if isinstance(line, str) else json.dumps(json.loads(first) | line)
    path.write_text("\n".join([broken, *rest]) + "\n")
    with pytest.raises(InputError, match=rf"contamination\.jsonl{message}"):
        evaluation.main([*scored_again, "--contamination", str(report)])


def test_a_half_made_or_foreign_report_is_refused(scored_again, write_report, test_folder):
    def refusal(report: Path, *flags: str) -> str:
        with pytest.raises(InputError) as error:
            evaluation.main([*scored_again, "--contamination", str(report), *flags])
        return str(error.value)

    report = write_report({0: 1.0})
    assert "expected a share between 0 and 1" in refusal(report, "--contamination-coverage", "1.5")
    path = report / "contamination.jsonl"
    line = path.read_text().splitlines()[0]
    path.write_text(f"{line}\n{line}\n")
    assert "contamination.jsonl:2: question_id: is on line 1 already" in refusal(report)
    path.write_text("")
    assert "does not say which benchmark was searched" in refusal(report)
    (report / "manifest.json").unlink()
    assert "incomplete" in refusal(report)
    other = {name.name: {"sha256": "0" * 64} for name in test_folder.glob("*.jsonl")}
    assert "report of another benchmark" in refusal(write_report({0: 1.0}, benchmark=other))
    assert "is not the file" in refusal(write_report({0: 1.0}, files={"contamination.jsonl": {"sha256": "0" * 64}}))


def test_a_manifest_that_lists_the_test_set_may_name_questions_of_other_splits_too(
    scored_again, write_report, test_folder
):
    listed = {
        f"Test/{path.name}": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in test_folder.glob("*.jsonl")
    }
    report = write_report({0: 1.0}, benchmark=listed)
    path = report / "contamination.jsonl"
    line = json.loads(path.read_text().splitlines()[0]) | {"question_id": "0123456789abcdef"}
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    assert evaluation.main([*scored_again, "--contamination", str(report)]) == 0
    assert read_json(Path(scored_again[-2]) / "result.json")["clean"]["micro"]["n"] == 20
