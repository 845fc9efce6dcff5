"""check_corpus.py: names the file, the row and the field of whatever breaks the contract; FORMAT.md's examples."""

import hashlib
import json
import re

import pyarrow
import pyarrow.parquet
import pytest

from readers.corpus_format import COLUMNS, arrow_schema, document_id


@pytest.fixture
def corpus(tmp_path, made):
    """Write a corpus of one shard from records, with a manifest that fits it; returns its folder."""

    def make(records: list[dict], schema=None, shard: str = "en/web/part-00000.parquet"):
        folder = tmp_path / "corpus"
        path = folder / shard
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records, schema=schema or arrow_schema()), path)
        language, source, _ = shard.split("/")
        characters = sum(len(r.get("text") or "") for r in records)
        counts = {language: {source: {"documents": len(records), "characters": characters, "shards": 1}}}
        write_manifest(folder, counts)
        return folder

    return make


def write_manifest(folder, counts):
    files = {
        p.relative_to(folder).as_posix(): {
            "bytes": p.stat().st_size,
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in folder.rglob("*.parquet")
    }
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "format_version": 1,
                "stage": "data_collection/build_corpus.py",
                "counts": counts,
                "files": files,
            }
        ),
        encoding="utf-8",
    )


def record(text="A text about a disease.", **other) -> dict:
    return {
        "id": document_id(text),
        "text": text,
        "language": "en",
        "source": "web",
        "origin": "https://example.org",
        "licence": "CC0",
        "distinct_keywords": 1,
        "density": 0.5,
    } | other


def test_the_examples_of_the_format_are_as_it_says(run, made, corpus):
    page = (made.stage / "FORMAT.md").read_text(encoding="utf-8")
    examples = re.findall(r"```jsonl (valid|invalid (\w+))\n(.*?)\n```", page, re.DOTALL)
    assert [kind for kind, _, _ in examples] == ["valid", "invalid id", "invalid density", "invalid language"]
    for kind, field, line in examples:
        done = run("check_corpus.py", corpus([json.loads(line)]))
        assert done.returncode == (0 if kind == "valid" else 2), done.stderr
        if field:
            assert f"en/web/part-00000.parquet row 0 field {field}: " in done.stderr


def test_the_format_names_every_column_with_its_type(made):
    page = (made.stage / "FORMAT.md").read_text(encoding="utf-8").split("# The filter's output")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| ([a-z]\w+) \|", page, re.MULTILINE)) == COLUMNS


def test_a_corpus_may_have_loss_spans_within_its_texts(run, corpus):
    for spans, wrong in (
        ([[0, 6], [7, 23]], ""),
        ([], ""),
        (None, ""),
        ([[0, 24]], "holds [0, 24], no [start, end)"),
        ([[3, 3]], "holds [3, 3]"),
        ([[1]], "holds [1]"),
    ):
        folder = corpus([record(loss_spans=spans)], arrow_schema(spans=True))
        done = run("check_corpus.py", folder)
        assert done.returncode == (2 if wrong else 0), (spans, done.stderr)
        assert not wrong or f"row 0 field loss_spans: {wrong}" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": " "}, "row 1 field text: is blank"),
        ({"text": None}, "row 1 field text: is null"),
        ({"id": None}, "row 1 field id: is null"),
        ({"id": "xyz"}, "row 1 field id: is 'xyz'; the text's id is"),
        (
            {"text": "Dose \uf0b3 5 \uf06dg"},
            "row 1 field text: holds the private-use character U+F0B3 at character 5 of",
        ),
        ({"text": "At \U0010fffd"}, "row 1 field text: holds the private-use character U+10FFFD at character 3 of"),
        ({"language": "fr"}, "row 1 field language: is 'fr' in the folder 'en'"),
        ({"source": "blog"}, "row 1 field source: is 'blog', none of textbook, website, existing, web"),
        ({"origin": ""}, "row 1 field origin: is blank"),
        ({"licence": None}, "row 1 field licence: is null"),
        ({"distinct_keywords": -1}, "row 1 field distinct_keywords: is -1, not a count"),
        ({"density": float("nan")}, "row 1 field density: is nan"),
    ],
)
def test_a_bad_record_is_named_with_file_row_and_field(run, corpus, change, message):
    rows = sorted([record("One."), record("Two."), record("Three.")], key=lambda r: r["id"])
    rows[1] |= change
    done = run("check_corpus.py", corpus(rows))
    assert done.returncode == 2
    assert f"en/web/part-00000.parquet {message}" in done.stderr


def test_order_and_repeated_ids_are_checked(run, corpus):
    rows = sorted([record("One."), record("Two.")], key=lambda r: r["id"])
    done = run("check_corpus.py", corpus(rows[::-1]))
    assert (done.returncode, "does not follow" in done.stderr) == (2, True)
    done = run("check_corpus.py", corpus([rows[0], rows[0]]))
    assert (done.returncode, "does not follow" in done.stderr) == (2, True)


def test_an_id_in_two_sources_is_named_with_both_places(run, corpus, made):
    folder = corpus([record("One.")])
    corpus([record("One.", source="website")], shard="en/website/part-00000.parquet")
    one = {"documents": 1, "characters": 4, "shards": 1}
    write_manifest(folder, {"en": {"web": one, "website": one}})
    done = run("check_corpus.py", folder)
    assert (done.returncode, "is also in en/web/part-00000.parquet row 0" in done.stderr) == (2, True)


def test_columns_of_another_type_or_name_are_named(run, corpus):
    schema = arrow_schema().set(7, pyarrow.field("density", pyarrow.string()))
    done = run("check_corpus.py", corpus([record(density="0.5")], schema))
    assert (done.returncode, "en/web/part-00000.parquet: columns are" in done.stderr) == (2, True)


def test_missing_altered_and_additional_files_are_named(run, corpus):
    folder = corpus([record()])
    shard = folder / "en" / "web" / "part-00000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"?")
    done = run("check_corpus.py", folder)
    assert (done.returncode, "checksum differs" in done.stderr) == (2, True)
    shard.write_bytes(whole)
    (folder / "en" / "web" / "part-00001.parquet").write_bytes(whole)
    done = run("check_corpus.py", folder)
    assert (done.returncode, "part-00001.parquet: not in the manifest" in done.stderr) == (2, True)
    (folder / "en" / "web" / "part-00001.parquet").unlink()
    shard.unlink()
    done = run("check_corpus.py", folder)
    assert (done.returncode, "named in the manifest but missing" in done.stderr) == (2, True)


def test_a_manifest_that_is_missing_or_tells_of_something_else_is_refused(run, corpus, tmp_path):
    folder = corpus([record()])
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for change, message in (
        ({"stage": "x"}, "stage 'x'"),
        ({"format_version": 2}, "format_version 2"),
        ({"counts": {}}, "the shards hold"),
        ({"files": None}, "files is missing"),
    ):
        (folder / "manifest.json").write_text(json.dumps(manifest | change), encoding="utf-8")
        done = run("check_corpus.py", folder)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    (folder / "manifest.json").unlink()
    done = run("check_corpus.py", folder)
    assert (done.returncode, "no manifest.json" in done.stderr) == (2, True)
    done = run("check_corpus.py", tmp_path / "gone")
    assert (done.returncode, "is not a folder" in done.stderr) == (2, True)


@pytest.fixture
def listed(run, made, tmp_path):
    """Make a corpus with a list of removed documents, then change a file of it and its manifest as an editor would."""
    made.jsonl(tmp_path / "en.jsonl", [{"text": made.medical["en"]}, {"text": made.medical["en"].upper()}])
    assert run("existing_corpora.py", tmp_path / "en.jsonl", "--out", tmp_path / "docs").returncode == 0
    assert run("build_corpus.py", tmp_path / "docs", "--out", tmp_path / "corpus").returncode == 0
    folder = tmp_path / "corpus"

    def change(name: str, content: str, **facts):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if name:
            (folder / name).write_text(content, encoding="utf-8")
            digest = hashlib.sha256(content.encode()).hexdigest()
            manifest["files"][name] = {"bytes": len(content.encode()), "sha256": digest}
        (folder / "manifest.json").write_text(json.dumps(manifest | facts), encoding="utf-8")
        return folder

    return change


def test_the_lists_beside_the_texts_are_checked_too(run, made, listed):
    assert run("check_corpus.py", listed("", "")).returncode == 0
    (line,) = made.lines(listed("", "") / "removed.jsonl")
    for name, content, facts, message in (
        ("removed.jsonl", json.dumps(line) + "\nno\n", {}, "removed.jsonl:2: no object with id, language"),
        ("removed.jsonl", json.dumps(line | {"reason": 5}) + "\n", {}, "removed.jsonl:1 field reason: is 5"),
        ("removed.jsonl", "", {}, "manifest.json: removed is {'exact duplicate': 1}, removed.jsonl holds {}"),
        ("removed.jsonl", json.dumps(line) + "\n", {"tokens": {"en": {"web": 4}}}, "tokens of en web are 4"),
        ("cut.jsonl", '{"id": "x"}\n', {"tokens": {}}, "cut.jsonl:1: no object with id, id_before"),
        ("cut.jsonl", "", {"cut": {"documents": 1, "characters": 5}}, "cut.jsonl holds {}"),
    ):
        done = run("check_corpus.py", listed(name, content, **facts))
        assert (done.returncode, message in done.stderr) == (2, True), (message, done.stderr)
