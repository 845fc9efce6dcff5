"""decontaminate.py: planted questions are found in all eight languages, listed, and cut or dropped; nothing else is."""

import json
import os
import random
import re
import shutil

import pytest

import bench_decontaminate
from benchmark_helpers.planted_questions import KINDS, planted
from corpus.corpus_lists import cut_text
from decontamination.found_questions import Finder
from decontamination.question_index import build_index, read_benchmarks
from readers.corpus_format import document_id

GENERIC = {"options": {"A": "yes", "B": "no"}, "answer_idx": "A"}


@pytest.fixture(scope="module")
def sample():
    return read_benchmarks([bench_decontaminate.SAMPLE])


@pytest.fixture
def finished(made, tmp_path):
    def make(name: str, texts: list[str], language: str = "en"):
        return made.finished_books(tmp_path / name, language, texts)

    return make


@pytest.fixture
def benchmark(made, tmp_path):
    def make(name: str, rows: list):
        return made.jsonl(tmp_path / name / "English.jsonl", rows).parent

    return make


QUESTION = {
    "question": "Which nerve is compressed at the wrist in carpal tunnel syndrome?",
    "answer_idx": "B",
    "options": {"A": "The ulnar nerve", "B": "The median nerve", "C": "The radial nerve"},
    "rationale": "The median nerve passes under the flexor retinaculum together with the tendons.",
}
ASKED = "Which nerve is compressed at the wrist in carpal tunnel syndrome?"


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_question_is_found_in_every_language_and_gone_after_the_cut(sample, made, kind):
    index = build_index(sample.questions)
    finder, how, dice = Finder(index), index.searchable(), random.Random(3)
    languages = set()
    for q, question in enumerate(sample.questions):
        if kind == "without options" and how[q] != "alone":
            continue
        languages.add(question["language"])
        around = made.medical[question["language"]]
        text = f"{around}\n{planted(question, kind, dice)}\n{around}"
        found = finder.find(text)
        assert [one.question for one in found] == [q], (question["question"], kind)
        spans = finder.passages(text, found)
        rest = cut_text(text, spans)
        assert finder.find(rest) == []
        assert rest.startswith(around) and rest.endswith(around)
        assert len(rest) < len(text) - 0.6 * len(planted(question, kind, dice))
    assert len(languages) == 8


def test_no_text_without_a_question_is_flagged(sample, made):
    finder = Finder(build_index(sample.questions))
    assert [text for text in (*made.medical.values(), *made.general.values(), made.long) if finder.find(text)] == []


def test_generic_questions_are_found_with_their_options_only(benchmark):
    rows = [
        {
            "question": "Which of the following statements is true?",
            "answer_idx": "A",
            "options": {"A": "The spleen filters old red blood cells.", "B": "Bile is made in the gallbladder."},
        },
        {"question": "What is correct?", **GENERIC},
    ]
    index = build_index(read_benchmarks([benchmark("b", rows)]).questions)
    assert sorted(index.searchable()) == ["never", "with options"]
    finder = Finder(index)
    assert finder.find("Which of the following statements is true? What is correct? Yes, no.") == []
    both = (
        "Which of the following statements is true? Bile is made in the gallbladder; the spleen filters old red "
        "blood cells."
    )
    assert [one.found_by for one in finder.find(both)] == ["stem and options"]


def test_one_word_more_or_another_is_another_question(benchmark):
    finder = Finder(build_index(read_benchmarks([benchmark("b", [QUESTION])]).questions))
    assert finder.find(ASKED)
    assert not finder.find(ASKED.replace("wrist", "elbow"))
    assert not finder.find("The nerve compressed at the wrist in carpal tunnel syndrome is treated by a splint.")


def test_the_phrases_of_a_question_far_apart_or_in_another_order_are_not_the_question(benchmark, made):
    phrases = [
        "A woman with rheumatoid arthritis",
        "has taken methotrexate for seven years",
        "and now coughs without sputum",
        "while her chest radiograph shows",
        "diffuse interstitial shadows",
        "Which drug reaction explains these findings best?",
    ]
    question = {
        "question": " ".join(phrases),
        "answer_idx": "A",
        "options": {"A": "Pneumonitis from the drug", "B": "Bacterial pneumonia", "C": "Heart failure"},
    }
    finder = Finder(build_index(read_benchmarks([benchmark("b", [question])]).questions))
    assert finder.find(f"{made.long} {' '.join(phrases)} {made.long}")
    assert not finder.find(f" {made.long} ".join(phrases))
    assert not finder.find(" ".join(phrases[::-1]))


def test_the_lists_say_where_a_question_stands_and_meet_the_readers_contract(run, made, finished, benchmark, tmp_path):
    planted_text = (
        f"Intro.  {QUESTION['question']}\nA) The radial nerve B) The median nerve C) The ulnar nerve\n"
        f"{QUESTION['rationale']} And so on."
    )
    folder = finished("in", [planted_text, made.long, planted_text.upper()])
    bench = benchmark("Test", [QUESTION, {"question": "Does aspirin inhibit platelets?", **GENERIC}])
    done = run("decontaminate.py", folder, "--benchmark", bench, "--mode", "cut", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "| Test/English.jsonl | en | 2 | 1 (50.0 %) | 1 |" in done.stdout
    [line], [match] = (made.lines(tmp_path / "out" / f"{name}.jsonl") for name in ("contamination", "matches"))
    question = read_benchmarks([bench]).questions
    name = next(q["id"] for q in question if q["question"] == QUESTION["question"])
    assert line == {
        "question_id": name,
        "language": "en",
        "coverage": 1.0,
        "documents": 1,
        "mode": "cut",
        "found_by": "stem",
    }
    assert match["document"] == document_id(planted_text)  # in capitals it is the same document
    start, end = match["span"]
    assert planted_text[start:end] == planted_text[8 : -len(" And so on.")]
    [decision] = made.lines(tmp_path / "out" / "decisions.jsonl")
    assert cut_text(planted_text, decision["spans"]) == "Intro.   And so on."
    assert decision["questions"] == [name]
    manifest = made.manifest(tmp_path / "out")
    import hashlib

    assert (
        manifest["benchmark"]["Test/English.jsonl"]["sha256"]
        == hashlib.sha256((bench / "English.jsonl").read_bytes()).hexdigest()
    )
    assert list(manifest["inputs"].values()) == ["data_collection/ocr.py"]
    assert run("check_contamination.py", tmp_path / "out").returncode == 0


def test_the_modes_decide_differently(run, made, finished, benchmark, tmp_path):
    folder, bench = finished("in", [f"{made.long} {ASKED} {made.long}", ASKED, made.long]), benchmark("b", [QUESTION])
    actions = {}
    for mode in ("report", "drop", "cut"):
        out = tmp_path / mode
        assert run("decontaminate.py", folder, "--benchmark", bench, "--mode", mode, "--out", out).returncode == 0
        path = out / "decisions.jsonl"
        actions[mode] = sorted(d["action"] for d in made.lines(path)) if path.exists() else None
    # Where only the question is in a document, there is nothing to keep.
    assert actions == {"report": None, "drop": ["drop", "drop"], "cut": ["cut", "drop"]}


def test_a_question_that_stands_twice_in_a_document_is_cut_twice(benchmark, made):
    finder = Finder(build_index(read_benchmarks([benchmark("b", [QUESTION])]).questions))
    text = f"{ASKED} {made.long} {ASKED.upper()} {made.long}"
    spans = finder.passages(text, finder.find(text))
    assert len(spans) == 2
    assert "CARPAL" not in cut_text(text, spans)


def test_documents_in_another_language_than_declared_are_searched_too(run, made, finished, tmp_path, sample):
    question = next(q for q in sample.questions if q["language"] == "ja" and len(q["question"]) > 60)
    folder = finished("in", [f"{made.long} {question['question']}"], "en")
    assert (
        run("decontaminate.py", folder, "--benchmark", bench_decontaminate.SAMPLE, "--out", tmp_path / "out").returncode
        == 0
    )
    [match] = made.lines(tmp_path / "out" / "matches.jsonl")
    assert (match["language"], match["document_language"]) == ("ja", "en")


def test_questions_of_test_that_stand_in_train_are_told(run, made, benchmark, tmp_path):
    other = {
        "question": "Which artery supplies the inferior wall of the left ventricle in most people?",
        "options": {"A": "The right coronary artery", "B": "The circumflex artery"},
        "answer_idx": "A",
    }
    train, test = benchmark("Train", [QUESTION | {"answer_idx": "A"}]), benchmark("Test", [QUESTION, other])
    done = run("decontaminate.py", "--benchmark-as-documents", train, "--benchmark", test, "--out", tmp_path / "out")
    assert "| Test/English.jsonl | en | 2 | 1 (50.0 %) |" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "Why?"', "English.jsonl:2: not JSON"),
        ('{"question": "Why?", "options": {"A": "x", "C": "y"}, "answer_idx": "A"}', "English.jsonl:2: options"),
        ('{"question": "Why?", "options": {"A": "x", "B": "y"}, "answer_idx": "D"}', "English.jsonl:2: answer_idx"),
    ],
)
def test_a_broken_line_of_a_benchmark_is_named_and_nothing_written(run, finished, benchmark, tmp_path, line, said):
    done = run(
        "decontaminate.py",
        finished("in", ["text"]),
        "--benchmark",
        benchmark("b", [QUESTION, line]),
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_half_made_inputs_changed_benchmarks_and_wrong_flags_are_refused(run, finished, benchmark, tmp_path):
    folder, bench, out = finished("in", [ASKED]), benchmark("b", [QUESTION]), tmp_path / "out"
    assert run("decontaminate.py", folder, "--benchmark", bench, "--out", out).returncode == 0
    again = run("decontaminate.py", folder, "--benchmark", bench, "--out", out)
    assert again.returncode == 0 and "reused" in again.stdout
    refusals = {
        "run with different arguments (mode)": (
            folder,
            "--benchmark",
            bench,
            "--mode",
            "drop",
            "--out",
            out,
        ),
        "given twice": (folder, folder, "--benchmark", bench, "--out", tmp_path / "o"),
        "one of the two": ("--benchmark", bench, "--out", tmp_path / "o"),
        "is inside the input": (folder, "--benchmark", bench, "--out", folder / "o"),
        "not an output of deduplicate.py": (
            folder,
            "--benchmark",
            bench,
            "--duplicates",
            folder,
            "--out",
            tmp_path / "o",
        ),
    }
    for said, arguments in refusals.items():
        done = run("decontaminate.py", *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), (said, done.stderr)
    (bench / "English.jsonl").write_text(json.dumps(QUESTION | {"question": ASKED + " Say so."}) + "\n")
    assert "(benchmark)" in run("decontaminate.py", folder, "--benchmark", bench, "--out", out).stderr
    (folder / "manifest.json").unlink()
    assert "incomplete" in run("decontaminate.py", folder, "--benchmark", bench, "--out", tmp_path / "p").stderr


def test_a_dry_run_writes_nothing(run, finished, benchmark, tmp_path):
    done = run(
        "decontaminate.py",
        finished("in", [ASKED]),
        "--benchmark",
        benchmark("b", [QUESTION]),
        "--out",
        tmp_path / "out",
        "--dry-run",
    )
    assert (done.returncode, "1 different questions" in done.stdout, (tmp_path / "out").exists()) == (0, True, False)


def test_what_deduplicate_removes_is_passed_over(run, made, finished, benchmark, tmp_path):
    base = f"{made.long} {ASKED} {made.long}"
    folder, bench = finished("in", [base, base + " The end."]), benchmark("b", [QUESTION])
    assert run("deduplicate.py", folder, "--out", tmp_path / "dup").returncode == 0
    out = tmp_path / "out"
    done = run("decontaminate.py", folder, "--benchmark", bench, "--duplicates", tmp_path / "dup", "--out", out)
    assert done.returncode == 0, done.stderr
    assert len(made.lines(out / "matches.jsonl")) == 1
    assert made.manifest(out)["left_out_as_duplicates"] == 1


def test_the_lists_are_the_same_whatever_the_workers_the_shards_the_order_and_a_kill(
    run, made, finished, benchmark, tmp_path
):
    texts = [f"Chapter {i}. {made.long} {ASKED if i % 3 == 0 else ''} Page {i}." for i in range(3000)]
    one, two, bench = finished("one", texts[:1500]), finished("two", texts[1500:]), benchmark("b", [QUESTION])
    flags = ["--benchmark", bench, "--mode", "cut", "--unit-mb", 1]
    whole, sharded, killed = (tmp_path / name for name in ("whole", "sharded", "killed"))
    assert run("decontaminate.py", one, two, *flags, "--out", whole, "--workers", 1).returncode == 0
    for shard in ("1/2", "0/2"):
        assert (
            run("decontaminate.py", two, one, *flags, "--out", sharded, "--workers", 2, "--shard", shard).returncode
            == 0
        )
    arguments = [one, two, *flags, "--out", killed, "--workers", 1]
    assert made.start_and_kill("decontaminate.py", arguments, lambda: list(killed.glob("parts/0*.json")))
    assert not (killed / "manifest.json").exists()
    done = run("decontaminate.py", *arguments)
    assert "units were done before" in done.stdout
    assert len(made.lines(whole / "decisions.jsonl")) == 1000
    assert made.files(whole) == made.files(sharded) == made.files(killed)


def test_the_examples_of_the_format_are_accepted_and_refused(run, made, finished, benchmark, tmp_path):
    page = (made.stage / "FORMAT.md").read_text(encoding="utf-8")
    examples = re.findall(r"```jsonl (valid|invalid) contamination ?(\w*)\n(.*?)\n```", page, re.DOTALL)
    assert [kind for kind, _, _ in examples] == ["valid", "invalid", "invalid", "invalid"]
    run(
        "decontaminate.py",
        finished("in", [ASKED]),
        "--benchmark",
        benchmark("b", [QUESTION]),
        "--out",
        tmp_path / "out",
    )
    for kind, field, line in examples:
        folder = shutil.copytree(tmp_path / "out", tmp_path / f"{kind}{field}")
        (folder / "contamination.jsonl").write_text(line + "\n")
        manifest = made.manifest(folder)
        del manifest["files"]["contamination.jsonl"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        done = run("check_contamination.py", folder)
        assert done.returncode == (0 if kind == "valid" else 2), done.stderr
        assert kind == "valid" or f"contamination.jsonl:1: {field}: " in done.stderr


@pytest.mark.slow
def test_exam_texts_of_the_real_documents_are_found(real_data, tmp_path, made):
    import subprocess
    import sys

    import pyarrow.parquet

    from decontamination.contamination_match import CHARACTERS, tokens

    done = subprocess.run(
        [
            sys.executable,
            made.root / "mmedbench" / "prepare.py",
            real_data / "sources",
            "--english-benchmarks",
            "--out",
            tmp_path / "bench",
        ],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    names = ("Train", "Dev", "Test", "English_benchmarks")
    folders = [tmp_path / "bench" / name for name in names if (tmp_path / "bench" / name).is_dir()]
    questions = read_benchmarks(folders).questions
    finder = Finder(build_index(questions))
    rows = pyarrow.parquet.read_table(real_data / "filter_text" / "ja.parquet").to_pylist()
    squeezed = ["".join(t.text for t in tokens(q["question"], CHARACTERS)) for q in questions if q["language"] == "ja"]
    contained = [
        row
        for row in rows
        if any(
            len(stem) > 40 and stem in text
            for text in ["".join(t.text for t in tokens(row["text"], CHARACTERS))]
            for stem in squeezed
        )
    ]
    assert len(contained) > 100
    assert [row["source"] for row in contained if not finder.find(row["text"])] == []
    igakuqa = [row for row in rows if "IgakuQA" in row["source"]]
    assert len(igakuqa) >= 253
    # The five others hold questions that prepare.py omits (no choices, struck from scoring, two keys).
    assert sum(bool(finder.find(row["text"])) for row in igakuqa) >= 248
    russian = pyarrow.parquet.read_table(real_data / "filter_text" / "ru.parquet").to_pylist()
    rumeddanet = [row["text"] for row in russian if "RuMedDaNet" in row["source"]]
    assert len(rumeddanet) >= 323
    assert [text[:40] for text in rumeddanet if not finder.find(text)] == []  # by their contexts
    general = [row for row in rows + russian if row["label"] == "general"]
    assert [row["source"] for row in general if finder.find(row["text"])] == []


@pytest.mark.slow
def test_the_contexts_of_the_real_test_set_are_found_with_no_further_flag(real_data, tmp_path, made, run):
    import subprocess
    import sys

    import pyarrow.parquet

    done = subprocess.run(
        [sys.executable, made.root / "mmedbench" / "prepare.py", real_data / "sources", "--out", tmp_path / "bench"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    rows = pyarrow.parquet.read_table(real_data / "filter_text" / "ru.parquet").to_pylist()
    made.finished_books(tmp_path / "in", "ru", [row["text"] for row in rows])
    done = run(
        "decontaminate.py",
        tmp_path / "in",
        "--benchmark",
        tmp_path / "bench" / "Test",
        "--out",
        tmp_path / "out",
        "--workers",
        1,
    )
    assert done.returncode == 0, done.stderr
    found = made.lines(tmp_path / "out" / "contamination.jsonl")
    assert len({m["document"] for m in made.lines(tmp_path / "out" / "matches.jsonl")}) >= 54
    assert sum(line["found_by"] == "context" for line in found) >= 50
