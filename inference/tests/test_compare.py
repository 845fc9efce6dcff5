"""compare.py through its command line, on runs whose answers are known."""

import json
import random
from pathlib import Path

import pytest

import compare
from run_record import InputError


def write_run(folder: Path, right: dict[str, list[bool]], ids: dict[str, list[str]] | None = None) -> Path:
    folder.mkdir()
    rows = []
    for key, answers in right.items():
        for number, good in enumerate(answers):
            name = ids[key][number] if ids else f"{key}{number:014d}"
            rows.append(
                {
                    "key": key,
                    "number": number,
                    "id": name,
                    "gold": ["A"],
                    "letters": ["A"] if good else None,
                    "output": "a\u2028b",
                }
            )
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    facts = {"model": {"name": folder.name}, "mode": "generate", "prompt": {"name": "mmedbench", "form": "answer"}}
    (folder / "result.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def runs(tmp_path) -> list[str]:
    """en: 100 questions, a alone right on 10, b alone on 25, both on 40; ru: 50 questions, the same answers."""
    en_a = [True] * 50 + [False] * 50
    en_b = [True] * 40 + [False] * 10 + [True] * 25 + [False] * 25
    ru = [i % 2 == 0 for i in range(50)]
    return [
        str(write_run(tmp_path / "a", {"en": en_a, "ru": ru})),
        str(write_run(tmp_path / "b", {"en": en_b, "ru": ru})),
    ]


def test_known_runs_give_known_figures(runs, tmp_path, capsys):
    assert compare.main([*runs, "--out", str(tmp_path / "c.json")]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    en, ru = found["languages"]["en"], found["languages"]["ru"]
    assert (en["right_a"], en["right_b"], en["only_a"], en["only_b"], en["difference"]) == (50, 65, 10, 25, 15.0)
    assert en["p"] == pytest.approx(0.016674, abs=1e-6)  # R: binom.test(10, 35)
    assert en["sees"] == pytest.approx(100 * 2.801585 * 0.35**0.5 / 10, abs=0.01)
    assert ru["p"] == 1.0 and ru["ci95"] == [0.0, 0.0] and found["macro"]["difference"] == 7.5
    # The large-sample interval of a paired difference: 1.96 x sqrt(0.35 - 0.15^2) / 10 = 11.2 points.
    assert en["ci95"][0] == pytest.approx(15 - 11.2, abs=1.0) and en["ci95"][1] == pytest.approx(15 + 11.2, abs=1.0)
    printed = capsys.readouterr().out
    assert "150 questions are in both runs" in printed and "b is better" in printed


def test_a_run_against_itself_shows_no_difference(runs, capsys):
    assert compare.main([runs[0], runs[0]]) == 0
    assert "no difference is shown" in capsys.readouterr().out


def test_equally_good_models_are_called_different_in_about_one_case_of_twenty(tmp_path):
    generator, called = random.Random(3), 0
    for _ in range(200):
        a, b = ({("en", str(i), 0): generator.random() < 0.6 for i in range(300)} for _ in range(2))
        low, high = compare.compare(a, b, 1000, 0)["macro"]["ci95"]
        called += not low <= 0 <= high
    assert 2 <= called <= 20


def test_other_questions_are_refused_or_left_out_and_said(tmp_path, capsys):
    a = write_run(tmp_path / "a", {"en": [True, False, True]}, {"en": ["x", "y", "z"]})
    b = write_run(tmp_path / "b", {"en": [True, True]}, {"en": ["y", "w"]})
    with pytest.raises(InputError, match=r"2 questions are only in .* 1 only in .*--common to compare the 1"):
        compare.main([str(a), str(b)])
    assert compare.main([str(a), str(b), "--common"]) == 0
    assert "omitted" in capsys.readouterr().out
    c = write_run(tmp_path / "c", {"fr": [True]})
    with pytest.raises(InputError, match="no question in common"):
        compare.main([str(a), str(c)])


def test_copies_of_a_question_are_paired_in_their_order(tmp_path):
    a = write_run(tmp_path / "a", {"zh": [True, False]}, {"zh": ["same", "same"]})
    b = write_run(tmp_path / "b", {"zh": [True, True]}, {"zh": ["same", "same"]})
    assert compare.main([str(a), str(b), "--out", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["languages"]["zh"]["only_b"] == 1


def test_a_folder_that_is_no_run_and_a_broken_line_are_named(tmp_path, runs):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no result\.json"):
        compare.main([str(tmp_path / "empty"), runs[0]])
    (Path(runs[1]) / "predictions.jsonl").write_text('{"key": "en"}\n')
    with pytest.raises(InputError, match=r"predictions\.jsonl:1: no prediction"):
        compare.main(runs)


def test_runs_on_a_corrected_key_are_not_compared(runs, tmp_path):
    path = Path(runs[1]) / "predictions.jsonl"
    path.write_text(path.read_text().replace('"gold": ["A"]', '"gold": ["B"]', 1))
    with pytest.raises(InputError, match="different keys: 1 questions, such as en en0"):
        compare.main(runs)


def test_columns_hold_for_the_names_of_english_benchmarks(runs, tmp_path, capsys):
    name = "MMLU_professional_medicine"
    run = str(write_run(tmp_path / "long", {name: [True, False]}))
    assert compare.main([run, run]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if "a right" in line)
    row = next(line for line in lines if line.startswith(name))
    assert row[header.index("  n  a right") + 2] == "2"
