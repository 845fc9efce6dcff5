"""build_corpus.py by units: the same corpus whatever the workers, shards, unit sizes and kills; what is refused."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.corpus_sorting import SegmentFile, Segments, read_bucket
from executor.run_folder import only_run
from readers.corpus_format import document_id

EXISTING, OCR = "data_collection/existing_corpora.py", "data_collection/ocr.py"
SMALL = ["--unit-mb", 1]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finish(folder: Path, stage: str, name: str, **manifest) -> Path:
    """Give the folder a manifest, as its stage does."""
    facts = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}}
    whole = {"format_version": 1, "stage": stage, "arguments": {}, "files": facts, "counts": {}, **manifest}
    (folder / "manifest.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def inputs(made, tmp_path_factory):
    """Arguments: 6 MB in two folders, with equal documents, other languages, loss spans, and documents to cut."""
    base = tmp_path_factory.mktemp("inputs")
    dice = random.Random(5)
    books, rows = [], []
    for number in range(1500):
        code = dice.choice(sorted(made.medical))
        text = f"{made.medical[code]} {number} " + made.long * dice.randrange(4)
        books.append({"id": "", "text": text, "language": code, "source": "textbook", "origin": f"{number}.pdf"})
        spans = [[0, 3]] if number % 9 == 0 else None
        rows.append(
            {
                "text": text + " At home.",
                "language": code if number % 50 else "pt",
                "origin": f"w{number}",
                "source": dice.choice(["web", "website"]),
                "licence": None,
                "loss_spans": spans,
            }
        )
        if number % 3 == 0:
            rows.append(rows[-1] | {"text": rows[-1]["text"].upper() if number % 6 else text, "loss_spans": None})
    made.jsonl(base / "books" / "documents.jsonl", books)
    finish(base / "books", OCR, "documents.jsonl")
    (base / "web" / "en").mkdir(parents=True)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), base / "web" / "en" / "part-00000.parquet", row_group_size=200
    )
    finish(base / "web", EXISTING, "en/part-00000.parquet")
    decisions = [
        {
            "id": document_id(row["text"]),
            "action": "cut",
            "questions": ["q"],
            "spans": [[4, min(len(row["text"]), dice.choice([9, 150]))]],
        }
        for row in rows[::10]
    ]
    made.jsonl(base / "lists" / "decisions.jsonl", list({d["id"]: d for d in decisions}.values()))
    finish(
        base / "lists",
        "data_collection/decontaminate.py",
        "decisions.jsonl",
        arguments={"mode": "cut"},
        inputs={sha256(base / "books" / "manifest.json"): OCR, sha256(base / "web" / "manifest.json"): EXISTING},
    )
    return [base / "books", base / "web", "--contamination", base / "lists"]


@pytest.fixture(scope="module")
def contents(made):
    """What a corpus holds: all of its files, and of its manifest all but who made it."""

    def read(corpus: Path) -> tuple[dict, dict]:
        assert not (corpus / "parts").exists()
        return made.files(corpus), {k: v for k, v in made.manifest(corpus).items() if k != "provenance"}

    return read


@pytest.fixture(scope="module")
def wanted(inputs, made, contents, tmp_path_factory):
    """The contents of the corpus built from one unit a file by one process."""
    out = tmp_path_factory.mktemp("wanted") / "corpus"
    command = [sys.executable, made.stage / "build_corpus.py", *inputs, "--out", out, "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "units: 2\n" in done.stdout
    return contents(out)


def test_the_corpus_by_hand_has_what_this_file_is_about(wanted):
    files, manifest = wanted
    assert manifest["arguments"] == {"shard_mb": 256, "licence": "unknown"}  # nothing of units, workers, shards
    assert manifest["removed"]["exact duplicate"] > 400
    assert manifest["removed"]["language is none of the eight"] > 20
    assert manifest["cut"]["documents"] > 100
    assert len(files["cut.jsonl"].splitlines()) == manifest["cut"]["documents"]


@pytest.mark.parametrize(
    ("flags", "bucket_bytes"),
    [
        (["--workers", 2], 128_000_000),
        ([*SMALL, "--workers", 1], 100_000),
        ([*SMALL, "--workers", 2], 3000),
        (["--unit-mb", 2, "--workers", 2], 1_000_000),
    ],
)
def test_workers_unit_sizes_and_buckets_make_no_difference(
    run, inputs, wanted, contents, tmp_path, monkeypatch, flags, bucket_bytes
):
    monkeypatch.setattr("corpus.corpus_sorting.BUCKET_BYTES", bucket_bytes)
    done = run("build_corpus.py", inputs[1], inputs[0], *inputs[2:], "--out", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize("flags", [SMALL, [*SMALL, "--workers", 2], []])
def test_of_equal_documents_of_different_units_the_first_ones_text_stays_and_is_cut(run, made, tmp_path, flags):
    place = {"language": "en", "source": "web", "origin": "x"}
    asked = f"{made.long} Which drug is first?"
    texts = [
        "Fever and cough",
        asked,
        *(f"{number} {made.long * 600}" for number in range(6)),
        "FEVER and  cough",
        asked.upper(),
    ]
    rows = [{"text": text, **place, "loss_spans": None} for text in texts]
    rows.append({"text": "Rest in bed", **place, "loss_spans": [[0, 4]]})  # in the last unit only
    (tmp_path / "in" / "en").mkdir(parents=True)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "in" / "en" / "part-00000.parquet", row_group_size=2
    )
    folder = finish(tmp_path / "in", EXISTING, "en/part-00000.parquet")
    decision = {"id": document_id(asked), "action": "cut", "spans": [[len(made.long), len(asked)]], "questions": []}
    made.jsonl(tmp_path / "lists" / "decisions.jsonl", [decision])
    finish(
        tmp_path / "lists",
        "data_collection/decontaminate.py",
        "decisions.jsonl",
        arguments={"mode": "cut"},
        inputs={sha256(folder / "manifest.json"): EXISTING},
    )
    done = run("build_corpus.py", folder, "--contamination", tmp_path / "lists", "--out", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert ("units: 1\n" in done.stdout) == (not flags)
    found = {row["text"]: row["loss_spans"] for row in made.table(tmp_path / "out/en/web/part-00000.parquet")}
    assert {text for text in found if len(text) < 1000} == {"Fever and cough", made.long, "Rest in bed"}
    assert found["Rest in bed"] == [[0, 4]]
    assert [line["reason"] for line in made.lines(tmp_path / "out" / "removed.jsonl")] == ["exact duplicate"] * 2


def test_shards_in_any_order_make_the_corpus_of_one_run(run, inputs, wanted, contents, tmp_path):
    out = tmp_path / "out"
    for shard in ("2/3", "1/3", "2/3"):
        done = run("build_corpus.py", *inputs, "--out", out, *SMALL, "--workers", 2, "--shard", shard)
        assert (done.returncode, "the last to end writes the output" in done.stdout) == (0, True), done.stderr
        assert not (out / "manifest.json").exists()
    done = run("build_corpus.py", *inputs, "--out", out, *SMALL, "--workers", 1, "--shard", "0/3")
    assert done.returncode == 0, done.stderr
    assert contents(out) == wanted
    assert "reused" in run("build_corpus.py", *inputs, "--out", out, "--shard", "1/3").stdout


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("begun", ["units/00001.json", "corpus/removed.jsonl"])
def test_a_run_killed_while_it_sorts_or_writes_goes_on_to_the_same_bytes(
    run, made, inputs, wanted, contents, tmp_path, begun, workers
):
    out = tmp_path / "out"
    arguments = [*inputs, "--out", out, *SMALL, "--workers", workers]
    assert made.start_and_kill("build_corpus.py", arguments, (out / "parts" / begun).exists)
    assert not (out / "manifest.json").exists()
    done = run("build_corpus.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "units were done before" in done.stdout
    assert contents(out) == wanted


def test_a_unit_that_was_half_written_is_written_again(run, inputs, wanted, contents, tmp_path):
    out = tmp_path / "out"
    assert run("build_corpus.py", *inputs, "--out", out, *SMALL, "--shard", "0/2").returncode == 0
    (out / "parts" / "units" / "00002.json").unlink()
    (out / "parts" / "units" / "00002.jsonl").write_bytes(b'{"id": "half')
    done = run("build_corpus.py", *inputs, "--out", out, *SMALL)
    assert done.returncode == 0, done.stderr
    assert contents(out) == wanted


def test_a_second_run_at_work_is_refused_another_shard_is_not(run, inputs, tmp_path):
    out = tmp_path / "out"
    arguments = ["build_corpus.py", *inputs, "--out", out, *SMALL]
    assert run(*arguments, "--shard", "0/3").returncode == 0
    with only_run(out):
        for flags in ([], ["--shard", "1/3"]):
            done = run(*arguments, *flags)
            assert (done.returncode, "another process is working" in done.stderr) == (2, True), done.stderr
    with only_run(out, (1, 3)):
        for flags, message in (
            ([], "another process is working"),
            (["--shard", "1/3"], "another process is working"),
            (["--shard", "1/2"], "another number of shards"),
        ):
            done = run(*arguments, *flags)
            assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert run(*arguments, "--shard", "2/3").returncode == 0


def test_an_unfinished_run_in_other_units_is_refused_a_finished_one_reused(run, inputs, tmp_path):
    arguments = ["build_corpus.py", *inputs, "--out", tmp_path / "out"]
    assert run(*arguments, *SMALL, "--shard", "0/2").returncode == 0
    done = run(*arguments, "--unit-mb", 2)
    assert (done.returncode, "unfinished run with different arguments" in done.stderr) == (2, True), done.stderr
    assert run(*arguments, *SMALL).returncode == 0
    assert "reused" in run(*arguments, "--unit-mb", 2, "--workers", 2).stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "3/2"], "3/2: expected i/n"),
        (["--shard", "0/0"], "0/0: expected i/n"),
        (["--shard", "-1/2"], "expected"),
        (["--shard", "1"], "1: expected i/n"),
        (["--unit-mb", 0], "--unit-mb 0: must be at least"),
        (["--workers", 0], "--workers 0: must be at least"),
        (["--shard", "0/2", "--upload", "me/it"], "without --shard"),
    ],
)
def test_bad_values_of_units_shards_and_workers_are_named(run, inputs, tmp_path, monkeypatch, flags, message):
    monkeypatch.setenv("HF_TOKEN", "none")
    done = run("build_corpus.py", *inputs, "--out", tmp_path / "out", *flags)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_the_plan_says_the_units_and_writes_nothing(run, inputs, tmp_path):
    done = run("build_corpus.py", *inputs, "--out", tmp_path / "out", *SMALL, "--shard", "0/2", "--dry-run")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("units: ")]
    assert "of which shard 0/2 sorts" in line
    assert not (tmp_path / "out").exists()


def test_a_process_that_is_ended_from_outside_is_named_and_the_same_command_goes_on(
    run, inputs, wanted, contents, tmp_path, monkeypatch
):
    def end(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    arguments = ["build_corpus.py", *inputs, "--out", tmp_path / "out", *SMALL, "--workers", 2]
    monkeypatch.setattr("corpus.corpus_sorting.sort_unit", end)
    done = run(*arguments)
    assert (done.returncode, "fewer --workers" in done.stderr) == (2, True), done.stderr
    monkeypatch.undo()
    assert run(*arguments).returncode == 0
    assert contents(tmp_path / "out") == wanted


def test_what_is_wrong_in_a_document_is_said_by_a_worker_too(run, inputs, tmp_path):
    (tmp_path / "bad" / "en").mkdir(parents=True)
    rows = [{"text": "Fever", "language": "en", "source": "web", "origin": "x", "loss_spans": [[5, 90]]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "bad" / "en" / "part-00000.parquet")
    finish(tmp_path / "bad", EXISTING, "en/part-00000.parquet")
    done = run("build_corpus.py", inputs[0], tmp_path / "bad", "--out", tmp_path / "out", "--workers", 2)
    assert (done.returncode, "row 0: loss_spans holds [5, 90]" in done.stderr) == (2, True), done.stderr


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.text(st.characters(), max_size=12)), max_size=30))
def test_any_text_comes_back_from_its_bucket_in_the_order_of_files_and_records(records):
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            segments = Segments(4)
            for file, segment, text in records:
                if file == number:
                    segments.add(segment, {"text": text, "density": 0.1})
            segments.write(Path(folder) / f"{number}.jsonl", {"documents": 7})
            files.append(SegmentFile(Path(folder) / f"{number}.jsonl"))
        for bucket in range(4):
            found = [record["text"] for record in read_bucket(files, bucket)]
            assert found == [t for _, segment, t in sorted(records, key=lambda r: r[0]) if segment == bucket]
    assert files[0].facts == {"documents": 7}
