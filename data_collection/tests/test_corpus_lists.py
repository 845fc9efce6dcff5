"""build_corpus.py with the lists of deduplicate.py and decontaminate.py: what goes, what is cut, what is refused."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.corpus_lists import _moved, cut_record, cut_text
from readers.corpus_format import document_id

DEDUPLICATE, DECONTAMINATE = "data_collection/deduplicate.py", "data_collection/decontaminate.py"


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finish(folder, stage: str, inputs: dict, arguments: dict, names: list[str]):
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}
    manifest = {"format_version": 1, "stage": stage, "arguments": arguments, "inputs": inputs, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def stages_of(*folders) -> dict:
    return {
        sha256(f / "manifest.json"): json.loads((f / "manifest.json").read_text(encoding="utf-8"))["stage"]
        for f in folders
    }


@pytest.fixture
def texts(made):
    return [
        made.medical["en"],
        made.medical["en"] + " He went home after three days.",
        made.medical["en"] + " Which drug is given first? Amoxicillin.",
        made.medical["fr"],
        "Which drug is given first in pneumonia of adults? Amoxicillin, in most countries, for at least five days.",
    ]


@pytest.fixture
def corpus_input(run, made, tmp_path, texts):
    rows = [{"text": text, "id": f"d{i}"} for i, text in enumerate(texts)]
    made.jsonl(tmp_path / "docs.jsonl", rows)
    assert run("existing_corpora.py", tmp_path / "docs.jsonl", "--out", tmp_path / "docs").returncode == 0
    return tmp_path / "docs"


@pytest.fixture
def lists(made, tmp_path):
    """Makers of both lists for some inputs."""

    def duplicates(pairs: list[tuple[str, str]], *inputs, name: str = "duplicates"):
        (tmp_path / name).mkdir(exist_ok=True)
        rows = sorted(
            (
                {
                    "id": a,
                    "kept_id": b,
                    "cluster": b,
                    "language": "en",
                    "source": "existing",
                    "origin": "x",
                    "similarity": 0.9,
                    "reason": "near duplicate",
                }
                for a, b in pairs
            ),
            key=lambda row: row["id"],
        )
        made.parquet(tmp_path / name / "duplicates.parquet", rows or [{"id": "", "kept_id": ""}])
        return finish(tmp_path / name, DEDUPLICATE, stages_of(*inputs), {}, ["duplicates.parquet"])

    def contamination(decisions: list, *inputs, mode: str = "cut", made_with=None, name: str = "contamination"):
        (tmp_path / name).mkdir(exist_ok=True)
        names = []
        if mode != "report":
            made.jsonl(tmp_path / name / "decisions.jsonl", decisions)
            names = ["decisions.jsonl"]
        arguments = {"mode": mode, "duplicates": made_with}
        return finish(tmp_path / name, DECONTAMINATE, stages_of(*inputs), arguments, names)

    return duplicates, contamination


def removed(corpus, made) -> dict[str, dict]:
    return {line["origin"]: line for line in made.lines(corpus / "removed.jsonl")}


def test_listed_documents_go_and_passages_are_cut_each_with_its_reason(run, made, tmp_path, texts, corpus_input, lists):
    ids = [document_id(text) for text in texts]
    start = texts[2].index(" Which")
    duplicates = lists[0]([(ids[1], ids[0])], corpus_input)
    contamination = lists[1](
        [
            {"id": ids[2], "action": "cut", "spans": [[start, len(texts[2])]], "questions": ["q1"]},
            {"id": ids[3], "action": "drop", "spans": [], "questions": ["q2", "q3"]},
            {"id": ids[4], "action": "cut", "spans": [[5, len(texts[4])]], "questions": ["q1"]},
        ],
        corpus_input,
        made_with=sha256(duplicates / "duplicates.parquet"),
    )
    done = run(
        "build_corpus.py",
        corpus_input,
        "--duplicates",
        duplicates,
        "--contamination",
        contamination,
        "--out",
        tmp_path / "corpus",
    )
    assert done.returncode == 0, done.stderr
    corpus = tmp_path / "corpus"
    # The cut text equals document 0: one of the two stays.
    (row,) = made.table(corpus / "en" / "existing" / "part-00000.parquet")
    assert (row["id"], row["text"]) == (ids[0], texts[0])
    gone = removed(corpus, made)
    assert gone["d1"] == {
        "id": ids[1],
        "language": "en",
        "source": "existing",
        "origin": "d1",
        "reason": "near duplicate",
        "kept_id": ids[0],
    }
    assert (gone["d2"]["reason"], gone["d2"]["kept_origin"], gone["d2"]["id"]) == ("exact duplicate", "d0", ids[0])
    assert (gone["d3"]["reason"], gone["d3"]["questions"]) == ("contaminated", ["q2", "q3"])
    assert (gone["d4"]["reason"], gone["d4"]["questions"]) == ("contaminated: too short after the cut", ["q1"])
    assert made.lines(corpus / "cut.jsonl") == [
        {
            "id": ids[0],
            "id_before": ids[2],
            "language": "en",
            "source": "existing",
            "origin": "d2",
            "characters": len(texts[2]) - start,
            "questions": ["q1"],
        }
    ]
    manifest = made.manifest(corpus)
    assert manifest["cut"] == {"documents": 1, "characters": len(texts[2]) - start}
    assert manifest["removed"] == {
        "contaminated": 1,
        "contaminated: too short after the cut": 1,
        "exact duplicate": 1,
        "near duplicate": 1,
    }
    assert set(manifest["inputs"].values()) == {"data_collection/existing_corpora.py", DEDUPLICATE, DECONTAMINATE}
    assert sorted(manifest["parent"]) == sorted(manifest["inputs"])
    card = (corpus / "README.md").read_text(encoding="utf-8")
    assert "1 documents lost passages" in card and "- 1: near duplicate" in card
    assert run("check_corpus.py", corpus).returncode == 0
    assert (
        "reused"
        in run(
            "build_corpus.py",
            corpus_input,
            "--duplicates",
            duplicates,
            "--contamination",
            contamination,
            "--out",
            corpus,
        ).stdout
    )


def test_every_document_that_came_in_is_in_the_corpus_or_in_the_list_of_removed(
    run, made, tmp_path, texts, corpus_input, lists
):
    ids = [document_id(text) for text in texts]
    contamination = lists[1](
        [
            {"id": ids[2], "action": "cut", "spans": [[0, 11]], "questions": []},
            {"id": ids[3], "action": "cut", "spans": [[0, len(texts[3])]], "questions": []},
        ],
        corpus_input,
    )
    assert (
        run("build_corpus.py", corpus_input, "--contamination", contamination, "--out", tmp_path / "corpus").returncode
        == 0
    )
    kept = [row["origin"] for file in (tmp_path / "corpus").glob("*/*/*.parquet") for row in made.table(file)]
    assert sorted([*kept, *removed(tmp_path / "corpus", made)]) == [f"d{i}" for i in range(5)]
    assert removed(tmp_path / "corpus", made)["d3"]["reason"] == "contaminated: nothing is left after the cut"
    assert len(made.lines(tmp_path / "corpus" / "cut.jsonl")) == 1


def test_of_several_documents_with_one_id_the_best_known_stays_cut(run, made, tmp_path, lists):
    text = made.medical["en"] + " Which drug is given first? Amoxicillin."
    made.jsonl(tmp_path / "a.jsonl", [{"text": text, "id": "a"}])
    made.jsonl(tmp_path / "b.jsonl", [{"text": text.replace(" ", "  ").upper(), "id": "b", "source": "textbook"}])
    for name in "ab":
        assert run("existing_corpora.py", tmp_path / f"{name}.jsonl", "--out", tmp_path / name).returncode == 0
    folders = sorted([tmp_path / "a", tmp_path / "b"], key=lambda folder: sha256(folder / "manifest.json"))
    decided = made.table(folders[0] / "en" / "part-00000.parquet")[0]["text"]  # as decontaminate.py reads them
    at = decided.upper().index("WHICH")
    contamination = lists[1](
        [{"id": document_id(text), "action": "cut", "spans": [[at, len(decided)]], "questions": ["q"]}], *folders
    )
    for order in (folders, folders[::-1]):
        done = run("build_corpus.py", *order, "--contamination", contamination, "--out", tmp_path / "corpus")
        assert done.returncode == 0, done.stderr
    (row,) = made.table(tmp_path / "corpus" / "en" / "textbook" / "part-00000.parquet")
    assert (row["origin"], row["text"]) == ("b", decided[:at])
    assert [line["reason"] for line in made.lines(tmp_path / "corpus" / "removed.jsonl")] == ["exact duplicate"]


def test_a_corpus_read_again_gives_the_same_bytes(run, made, tmp_path, corpus_input):
    made.jsonl(tmp_path / "en.jsonl", [{"text": made.medical["en"] + " Again.", "loss_spans": [[4, 11]]}])
    assert run("existing_corpora.py", tmp_path / "en.jsonl", "--out", tmp_path / "spans").returncode == 0
    done = run("build_corpus.py", corpus_input, tmp_path / "spans", "--out", tmp_path / "one", "--licence", "CC0-1.0")
    assert done.returncode == 0, done.stderr
    assert run("build_corpus.py", tmp_path / "one", "--out", tmp_path / "two").returncode == 0
    one, two = made.files(tmp_path / "one"), made.files(tmp_path / "two")
    assert one == two
    assert len([name for name in one if name.endswith(".parquet")]) == 2


def test_lists_of_other_inputs_and_half_made_altered_or_foreign_ones_are_refused(
    run, made, tmp_path, texts, corpus_input, lists
):
    make_duplicates, make_contamination = lists
    ids = [document_id(text) for text in texts]
    good = make_duplicates([(ids[1], ids[0])], corpus_input)
    other = make_duplicates([(ids[1], ids[0])], good, name="other")
    (tmp_path / "half").mkdir()
    altered = make_duplicates([(ids[1], ids[0])], corpus_input, name="altered")
    made.parquet(altered / "duplicates.parquet", [{"id": ids[0], "kept_id": ids[1]}])
    no_ids = make_duplicates([("not hexadecimal", ids[0])], corpus_input, name="no_ids")
    twice = make_duplicates([(ids[1], ids[0]), (ids[1], ids[2])], corpus_input, name="twice")

    def decisions(name, lines, **options):
        return make_contamination(lines, corpus_input, name=name, **options)

    drop = {"id": ids[0], "action": "drop", "spans": [], "questions": []}
    too_far = {"id": ids[0], "action": "cut", "spans": [[0, 10_000]], "questions": []}
    for arguments, message in (
        (["--duplicates", other], "was made from other inputs than these"),
        (["--duplicates", tmp_path / "half"], "has no manifest.json"),
        (["--duplicates", altered], "is not the file its manifest describes"),
        (["--duplicates", no_ids], "no list of duplicates"),
        (["--duplicates", twice], "not in ascending order"),
        (["--duplicates", decisions("c0", [drop])], "expected 'data_collection/deduplicate.py'"),
        (["--contamination", good], "expected 'data_collection/decontaminate.py'"),
        (["--contamination", decisions("c1", [drop, "{"])], "decisions.jsonl:2: no decision"),
        (["--contamination", decisions("c2", [drop | {"action": "keep"}])], "decisions.jsonl:1: action 'keep'"),
        (["--contamination", decisions("c3", [drop | {"action": "cut"}])], "decisions.jsonl:1: action 'cut'"),
        (["--contamination", decisions("c4", [too_far])], "no [start, end) within"),
        (
            ["--contamination", decisions("c5", [drop], made_with=sha256(good / "duplicates.parquet"))],
            "another list of duplicates",
        ),
        (
            [
                "--contamination",
                decisions("c6", [drop], made_with=sha256(good / "duplicates.parquet")),
                "--duplicates",
                make_duplicates([(ids[2], ids[0])], corpus_input, name="d2"),
            ],
            "another list of duplicates",
        ),
    ):
        done = run("build_corpus.py", corpus_input, *arguments, "--out", tmp_path / "corpus")
        assert (done.returncode, message in done.stderr) == (2, True), (message, done.stderr)
        assert not (tmp_path / "corpus" / "manifest.json").exists()


def test_a_report_changes_nothing_and_says_so(run, made, tmp_path, corpus_input, lists):
    report = lists[1]([], corpus_input, mode="report")
    done = run("build_corpus.py", corpus_input, "--contamination", report, "--out", tmp_path / "one")
    assert (done.returncode, "it changes no document" in done.stdout) == (0, True), done.stderr
    assert run("build_corpus.py", corpus_input, "--out", tmp_path / "two").returncode == 0
    one, two = made.files(tmp_path / "one"), made.files(tmp_path / "two")
    assert one.pop("cut.jsonl") == b""
    assert one == two


def test_loss_spans_move_with_their_text_and_a_cut_through_them_removes_the_document():
    text = "Q: " + "What is given first in severe anaphylaxis of an adult person? " * 2 + "A: adrenaline by injection."
    at = text.index("adrenaline")
    record = {
        "id": document_id(text),
        "text": text,
        "language": "en",
        "source": "web",
        "origin": "x",
        "licence": "y",
        "loss_spans": [[at, at + 10]],
    }
    first = text.index(" What is given first in severe anaphylaxis", 10)
    after = cut_record(record, {"spans": [[first, first + 5], [at + 12, at + 14]], "questions": ["q"]})
    ((start, end),) = after["loss_spans"]
    assert (after["text"][start:end], after["id"]) == ("adrenaline", document_id(after["text"]))
    gone = cut_record(record, {"spans": [[at + 9, at + 12]], "questions": ["q"]})
    assert gone["reason"] == "contaminated: the cut meets its loss spans"


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=5))
def test_a_cut_takes_exactly_the_characters_of_its_spans(text, places):
    spans = sorted([start, min(len(text), start + length)] for start, length in places if start < len(text))
    gone = {place for start, end in spans for place in range(start, end)}
    assert cut_text(text, spans) == "".join(c for place, c in enumerate(text) if place not in gone)
    for place in set(range(len(text) + 1)) - gone:
        assert _moved(place, spans) == sum(p not in gone for p in range(place))
