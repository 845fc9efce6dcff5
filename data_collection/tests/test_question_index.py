"""Contexts that exam records go without are looked for with their questions, listed as such, and decide the output."""

import json
import subprocess
import sys

import pytest

from corpus.corpus_lists import cut_text
from decontamination.contamination_report import found_questions
from decontamination.found_questions import Finder
from decontamination.question_index import build_index, read_benchmarks
from mmedbench_questions import question_id

ASKED = {
    "question": "Снижается ли ферритин при истощении запасов железа?",
    "options": {"A": "да", "B": "нет"},
    "answer_idx": "A",
}
OTHER = {"question": "Бывает ли анемия у беременных?", "options": {"A": "да", "B": "нет"}, "answer_idx": "A"}
ABSTRACT = (
    "Железодефицитная анемия развивается постепенно. Сначала истощаются запасы железа в костном мозге, и в "
    "сыворотке падает концентрация ферритина. Затем уменьшается насыщение трансферрина, эритроциты становятся "
    "мельче и бледнее, и лишь после этого снижается гемоглобин. Лечение препаратами железа продолжают ещё "
    "несколько месяцев после нормализации показателей крови."
)
SECOND = (
    "Подагра проявляется внезапными приступами боли в суставах, чаще всего в основании большого пальца стопы. "
    "Причиной служат кристаллы моноурата натрия, которые откладываются при высокой концентрации мочевой "
    "кислоты. Приступ снимают колхицином или противовоспалительными средствами, а затем снижают уровень уратов."
)
NAME = "left_out_contexts.jsonl"


def line(question: dict, context: str | None = ABSTRACT, **more) -> dict:
    return {
        "id": question_id(question),
        "language": "ru",
        "split": "Test",
        "source": "RuMedDaNet",
        "context": context,
        **more,
    }


@pytest.fixture
def bench(made, tmp_path):
    """A benchmark of two questions with a file of contexts beside Test/ (None: without one); returns Test/."""

    def make(name: str, contexts: list | None):
        folder = made.jsonl(tmp_path / name / "Test" / "Russian.jsonl", [ASKED, OTHER]).parent
        if contexts is not None:
            made.jsonl(tmp_path / name / NAME, contexts)
        return folder

    return make


@pytest.fixture
def documents(made, tmp_path):
    def make(*texts: str):
        return made.finished_books(tmp_path / "documents", "ru", list(texts))

    return make


def test_a_left_out_context_is_found_by_the_benchmark_alone(run, made, bench, documents, tmp_path):
    text = f"{made.medical['ru']} {ABSTRACT} {made.medical['ru']}"
    folder = documents(text, made.general["ru"])
    test = bench("b", [line(ASKED), line(OTHER, None, problem="blank"), line(OTHER | {"question": "?!"})])
    out = tmp_path / "out"
    done = run("decontaminate.py", folder, "--benchmark", test, "--mode", "cut", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "1 of these questions in b/left_out_contexts.jsonl, which has 1 more without a text" in done.stdout
    [found] = made.lines(out / "contamination.jsonl")
    assert (found["question_id"], found["found_by"], found["coverage"]) == (question_id(ASKED), "context", 1.0)
    [decision] = made.lines(out / "decisions.jsonl")
    [[start, end]] = decision["spans"]
    assert text[start:end] == ABSTRACT
    manifest = made.manifest(out)
    assert list(manifest["benchmark"]) == ["Test/Russian.jsonl"]  # what inference compares with the test set
    [(sha256, facts)] = manifest["left_out_contexts"].items()
    assert manifest["arguments"]["left_out_contexts"] == [sha256]
    assert (facts["contexts"], facts["without_text"]) == (1, 1)
    assert manifest["table"][0]["context"] == 1
    assert run("check_contamination.py", out).returncode == 0


def test_without_the_file_the_context_is_unknown_and_the_plan_says_so(run, made, bench, documents, tmp_path):
    done = run("decontaminate.py", documents(ABSTRACT), "--benchmark", bench("b", None), "--out", tmp_path / "out")
    assert "left-out contexts: no left_out_contexts.jsonl beside the benchmarks" in done.stdout
    assert made.lines(tmp_path / "out" / "contamination.jsonl") == []


def test_other_contexts_are_another_run(run, bench, documents, tmp_path):
    folder, test, out = documents(ABSTRACT), bench("b", [line(ASKED)]), tmp_path / "out"
    assert run("decontaminate.py", folder, "--benchmark", test, "--out", out).returncode == 0
    (test.parent / NAME).unlink()
    done = run("decontaminate.py", folder, "--benchmark", test, "--out", out)
    assert (done.returncode, "(left_out_contexts)" in done.stderr) == (2, True), done.stderr


def test_a_question_with_two_contexts_is_found_by_either_and_both_are_cut(bench):
    questions = read_benchmarks([bench("b", [line(ASKED), line(ASKED, SECOND)])]).questions
    finder = Finder(build_index(questions))
    for text in (ABSTRACT, SECOND):
        assert [one.found_by for one in finder.find(text)] == ["context"]
    both = f"Введение. {ABSTRACT} Глава вторая. {SECOND} Конец."
    spans = finder.passages(both, finder.find(both))
    assert cut_text(both, spans).split() == ["Введение.", "Глава", "вторая.", "Конец."]


def test_found_by_context_means_that_nothing_else_of_the_question_was_found(bench, run, made, documents, tmp_path):
    folder = documents(ABSTRACT, f"{made.medical['ru']} {ASKED['question']} Да или нет?")
    test = bench("b", [line(ASKED)])
    assert run("decontaminate.py", folder, "--benchmark", test, "--out", tmp_path / "out").returncode == 0
    [found] = made.lines(tmp_path / "out" / "contamination.jsonl")
    assert (found["found_by"], found["documents"]) == ("stem", 2)
    match = {"question_id": "q", "language": "ru", "document": "d", "found_by": "context", "coverage": 1.0}
    [best] = found_questions([match, match | {"document": "e", "found_by": "stem", "coverage": 0.8}], "report")
    assert (best["found_by"], best["coverage"]) == ("stem", 0.8)


def test_questions_as_documents_are_without_left_out_contexts(run, made, bench, tmp_path):
    """A model is trained on records, and these go without."""
    train = made.jsonl(tmp_path / "b" / "Train" / "Russian.jsonl", [OTHER]).parent
    test = bench("c", [line(ASKED)])
    made.jsonl(tmp_path / "b" / NAME, [line(OTHER, split="Train")])
    done = run("decontaminate.py", "--benchmark-as-documents", train, "--benchmark", test, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert made.lines(tmp_path / "out" / "matches.jsonl") == []


def test_a_field_of_that_name_in_a_record_is_ignored(bench, made):
    test = bench("b", None)
    made.jsonl(test / "Russian.jsonl", [ASKED | {"left_out_contexts": [ABSTRACT]}])
    assert Finder(build_index(read_benchmarks([test]).questions)).find(ABSTRACT) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ('{"context": "x"}', "id: None is not 16 hex digits"),
        (json.dumps({"id": "0" * 16}), "context: missing"),
        (json.dumps(line(ASKED, " ")), "context: expected a text"),
        (json.dumps(line(ASKED, "a\ud800")), "context: half a character"),
        ('{"id": "0000000000000000", "context": null, "context": "x"}', "not JSON as expected"),
    ],
)
def test_a_broken_line_is_named_and_nothing_written(run, bench, documents, tmp_path, bad, said):
    test = bench("b", [line(ASKED)])
    with open(test.parent / NAME, "a", encoding="utf-8") as file:
        file.write(bad + "\n")
    done = run("decontaminate.py", documents(ABSTRACT), "--benchmark", test, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert f"{NAME}:2: {said}" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_among_the_questions_is_refused_with_its_right_place(run, made, bench, documents, tmp_path):
    test = bench("b", None)
    made.jsonl(test / NAME, [line(ASKED)])
    done = run("decontaminate.py", documents(ABSTRACT), "--benchmark", test, "--out", tmp_path / "out")
    assert (done.returncode, "its place is beside that folder" in done.stderr) == (2, True)


def test_what_prepare_writes_is_read(run, made, documents, tmp_path):
    raw = {"context": ABSTRACT, "question": ASKED["question"], "answer": "да", "pairID": "1"}
    made.jsonl(tmp_path / "exams" / "rumeddanet_ru" / "test_v1.jsonl", [raw])
    done = subprocess.run(
        [sys.executable, made.root / "mmedbench" / "prepare.py", tmp_path / "exams", "--out", tmp_path / "bench"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done = run(
        "decontaminate.py", documents(ABSTRACT), "--benchmark", tmp_path / "bench" / "Test", "--out", tmp_path / "out"
    )
    assert [found["found_by"] for found in made.lines(tmp_path / "out" / "contamination.jsonl")] == ["context"]
