"""existing_corpora.py: other corpora become documents; what is broken, foreign or unsafe is named and counted."""

import gzip
import json
import stat
import struct
import zipfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web.collected_documents import language_of, language_of_tag, source_of
from web.existing_documents import _pieces


def documents(out, made) -> dict[str, dict]:
    return {row["origin"]: row for file in sorted(out.glob("*/*.parquet")) for row in made.table(file)}


def put_zip(path, members: dict[str, bytes], **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def reasons(out, made) -> dict[str, int]:
    total: dict[str, int] = {}
    for row in made.manifest(out)["counts"].values():
        for reason, count in row.items():
            total[reason] = total.get(reason, 0) + count
    return {reason: count for reason, count in total.items() if reason not in ("read", "kept", "kept_characters")}


def test_the_samples_corpora_are_taken_in_and_what_is_wrong_in_them_is_named(run, made, tmp_path):
    done = run("existing_corpora.py", made.stage / "sample" / "existing", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    found = documents(tmp_path / "out", made)
    assert {origin: (row["language"], row["source"]) for origin, row in found.items()} == {
        "en-1": ("en", "existing"),
        "en-2": ("en", "existing"),
        "fr-1": ("fr", "existing"),
        "existing/text/Chinese/books/jiazhuangxian.txt": ("zh", "textbook"),
        "existing/text/Japanese/haien.txt": ("ja", "existing"),
    }
    assert [f["file"] for f in made.lines(tmp_path / "out" / "failures.jsonl")] == [
        "existing/notes.jsonl:4",
        "existing/text/de/leer.txt",
    ]
    manifest = made.manifest(tmp_path / "out")
    assert reasons(tmp_path / "out", made) == {"broken_line": 1, "no_documents": 1, "other_language": 1}
    assert manifest["counts"]["pt"]["other_language"] == 1
    assert manifest["repeated_ids"] == {"en": 1}
    assert manifest["counts"]["en"]["kept"] == 3  # both of one id: build_corpus.py compares texts
    assert "kept with an id that an earlier one has: 1" in done.stdout
    done = run("build_corpus.py", tmp_path / "out", "--out", tmp_path / "corpus", "--licence", "CC0-1.0")
    assert done.returncode == 0, done.stderr
    assert run("check_corpus.py", tmp_path / "corpus").returncode == 0


def test_all_kinds_of_files_give_the_same_documents(run, made, tmp_path):
    rows = [
        {"id": f"d{i}", "text": made.medical[language], "language": language, "license": "CC0-1.0"}
        for i, language in enumerate(made.medical)
    ]
    lines = made.jsonl(tmp_path / "a" / "x.jsonl", rows).read_bytes()
    made.parquet(tmp_path / "b" / "x.parquet", rows)
    for folder, content in (
        ("c/x.jsonl.gz", gzip.compress(lines)),
        ("d/x.jsonl.zst", zstandard.ZstdCompressor().compress(lines)),
    ):
        (tmp_path / folder).parent.mkdir()
        (tmp_path / folder).write_bytes(content)
    put_zip(tmp_path / "e" / "x.zip", {"in/x.jsonl": lines})
    results = []
    for folder in "abcde":
        done = run("existing_corpora.py", tmp_path / folder, "--out", tmp_path / f"out_{folder}")
        assert done.returncode == 0, done.stderr
        results.append(
            {
                name: (row["language"], row["text"], row["licence"])
                for name, row in documents(tmp_path / f"out_{folder}", made).items()
            }
        )
    assert results[0] == {row["id"]: (row["language"], row["text"], "CC0-1.0") for row in rows}
    assert all(result == results[0] for result in results)


def test_the_released_corpus_is_read_from_its_zip_without_unpacking(run, made, tmp_path):
    archive = put_zip(
        tmp_path / "MMedC.zip",
        {
            "MMedC/medical_books/Chinese/a.txt": made.medical["zh"].encode(),
            "MMedC/websites/French/b.txt": made.medical["fr"].encode(),
            "MMedC/cultural_filtered_data_used/English/c.txt": made.medical["en"].encode(),
            "MMedC/cultural/Russian/d.txt": made.medical["ru"].encode(),
            "MMedC/small_scale/es.txt": made.medical["es"].encode(),
            "MMedC/readme.md": b"text",
        },
    )
    done = run("existing_corpora.py", archive, "--licence", "CC-BY-NC-SA-4.0", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = documents(tmp_path / "out", made)
    assert {
        name.removeprefix("MMedC.zip/MMedC/"): (row["language"], row["source"], row["licence"])
        for name, row in found.items()
    } == {
        name: (language, source, "CC-BY-NC-SA-4.0")
        for name, language, source in (
            ("medical_books/Chinese/a.txt", "zh", "textbook"),
            ("websites/French/b.txt", "fr", "website"),
            ("cultural/Russian/d.txt", "ru", "web"),
            ("small_scale/es.txt", "es", "existing"),
        )
    }
    assert reasons(tmp_path / "out", made) == {"skipped_folder": 1, "no_document_file": 1}
    assert {p.name for p in tmp_path.iterdir()} == {"MMedC.zip", "out"}
    done = run("existing_corpora.py", archive, "--skip-folders", "--no-source-from-folders", "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert {row["source"] for row in documents(tmp_path / "all", made).values()} == {"existing"}
    assert len(documents(tmp_path / "all", made)) == 5


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../a.txt", "leaves the archive's folder"),
        ("a/../../b.txt", "leaves the archive's folder"),
        ("/etc/a.txt", "leaves the archive's folder"),
        ("C:/a.txt", "leaves the archive's folder"),
        ("a\\..\\b.txt", "leaves the archive's folder"),
        ("a//b.txt", "leaves the archive's folder"),
        (link("a.txt"), "is a link"),
    ],
)
def test_archives_whose_paths_escape_are_refused_whole(run, tmp_path, made, name, sentence):
    archive = put_zip(tmp_path / "a.zip", {"good.txt": made.medical["en"].encode()})
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(name, "text")
    done = run("existing_corpora.py", archive, "--out", tmp_path / "out")
    assert (done.returncode, sentence in done.stderr, "refused whole" in done.stderr) == (2, True, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_zip_bombs_are_refused(run, tmp_path, made):
    put_zip(tmp_path / "packed.zip", {"a.txt": b"a" * 20_000_000})
    done = run("existing_corpora.py", tmp_path / "packed.zip", "--out", tmp_path / "out")
    assert (done.returncode, "a zip bomb" in done.stderr) == (2, True), done.stderr
    # Two names for one member's bytes, and a third, so that together they say more than the file holds.
    import random

    noise = random.Random(1).randbytes(20_000)
    content = put_zip(tmp_path / "shared.zip", {"a.txt": noise, "b.txt": b"b", "c.txt": b"c"}).read_bytes()
    with zipfile.ZipFile(tmp_path / "shared.zip") as archive:
        first = archive.getinfo("a.txt")
    shared = bytearray(content)
    for name in (b"b.txt", b"c.txt"):
        entry = shared.rindex(name) - 46
        struct.pack_into("<III", shared, entry + 16, first.CRC, first.compress_size, first.file_size)
        struct.pack_into("<I", shared, entry + 42, 0)
    (tmp_path / "shared.zip").write_bytes(shared)
    done = run("existing_corpora.py", tmp_path / "shared.zip", "--out", tmp_path / "out")
    assert (done.returncode, "share their bytes" in done.stderr) == (2, True), done.stderr


def test_a_member_that_lies_about_itself_is_damaged_and_others_are_read(run, tmp_path, made):
    members = {
        "en/a.txt": made.medical["en"].encode(),
        "fr/b.txt": made.medical["fr"].encode(),
        "ru/c.txt": b"",
        "de/d.txt": made.medical["de"].encode(),
    }
    archive = put_zip(tmp_path / "a.zip", members, compression=zipfile.ZIP_STORED)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(made.medical["en"].encode(), made.medical["en"].upper().encode(), 1))
    with zipfile.ZipFile(archive, "a") as more:
        more.mkdir("empty")
    done = run("existing_corpora.py", archive, "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert set(documents(tmp_path / "out", made)) == {"a.zip/fr/b.txt", "a.zip/de/d.txt"}
    failures = {f["file"]: f["reason"] for f in made.lines(tmp_path / "out" / "failures.jsonl")}
    assert failures.keys() == {"a.zip/en/a.txt", "a.zip/ru/c.txt"}
    assert "CRC" in failures["a.zip/en/a.txt"] and "empty" in failures["a.zip/ru/c.txt"]


def test_text_files_are_split_as_asked_and_lines_are_named_from_one(run, made, tmp_path):
    (tmp_path / "in").mkdir()
    text = f"{made.medical['en']}\nSecond line of it.\n \n\n{made.medical['en'].upper()} Twice.\n"
    (tmp_path / "in" / "en.txt").write_bytes(text.encode() + b"\n" + b"\xff\xfe broken\n")
    pieces = ["in/en.txt#1", "in/en.txt#5"]
    for split, kept, broken in (
        ("document", [], ""),
        ("blank-lines", pieces, "in/en.txt:7"),
        ("lines", pieces, "in/en.txt:7"),
    ):
        done = run("existing_corpora.py", tmp_path / "in", "--split", split, "--out", tmp_path / split)
        if not kept:
            assert (done.returncode, "not utf-8" in done.stderr) == (2, True), done.stderr
            continue
        assert done.returncode == 3, done.stderr
        assert sorted(documents(tmp_path / split, made)) == kept
        assert [f["file"] for f in made.lines(tmp_path / split / "failures.jsonl")] == [broken]
    assert "Second line" in documents(tmp_path / "blank-lines", made)["in/en.txt#1"]["text"]
    assert made.manifest(tmp_path / "lines")["counts"]["en"]["too_short"] == 1
    assert run("existing_corpora.py", tmp_path / "in", "--encoding", "cp1252", "--out", tmp_path / "c").returncode == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.sampled_from([b"", b" ", b"word", b"longer than that", b"\r"]), max_size=12), st.booleans())
def test_pieces_between_blank_lines_lose_and_repeat_nothing(lines, ends):
    import io

    content = b"\n".join(lines) + b"\n" * ends
    pieces = list(_pieces(io.BytesIO(content), "blank-lines", 1000))
    assert b"".join(piece for _, piece in pieces).split() == content.split()
    for number, piece in pieces:
        assert content.split(b"\n")[number - 1] == piece.split(b"\n")[0]
    for most in (3, 8):
        short = list(_pieces(io.BytesIO(content), "blank-lines", most))
        assert [number for number, _ in short] == [number for number, _ in pieces]
        assert [p for _, p in short] == [p if len(p) <= most else None for _, p in pieces]


def test_every_wrong_line_and_row_is_named_and_the_rest_is_kept(run, made, tmp_path):
    good = made.medical["en"]
    made.jsonl(
        tmp_path / "in" / "en.jsonl",
        [
            {"text": good},
            "[1]",
            {"text": None},
            {"title": "x"},
            {"text": 5},
            "{",
            "",
            {"text": "  "},
            {"text": good + " Again.", "loss_spans": [[0, 3]]},
            {"text": good, "loss_spans": [[5, 3]]},
            {"text": good + " x", "loss_spans": "[[1, 2]]"},
            {"text": good, "loss_spans": "no"},
            {"text": "x" * 2_000_000},
            {"text": good + " Ende.", "source": "textbook", "language": "English"},
        ],
    )
    done = run("existing_corpora.py", tmp_path / "in", "--out", tmp_path / "out", "--document-mb", 1)
    assert done.returncode == 3, done.stderr
    assert [f["file"] for f in made.lines(tmp_path / "out" / "failures.jsonl")] == [
        f"in/en.jsonl{end}" for end in (":2", ":3", ":4", ":5", ":6", "#10", ":12", ":13")
    ]
    found = documents(tmp_path / "out", made)
    assert {name: (row["source"], row["loss_spans"]) for name, row in found.items()} == {
        "in/en.jsonl#1": ("existing", None),
        "in/en.jsonl#9": ("existing", [[0, 3]]),
        "in/en.jsonl#11": ("existing", [[1, 2]]),
        "in/en.jsonl#14": ("textbook", None),
    }
    assert reasons(tmp_path / "out", made) == {
        "broken_line": 2,
        "no_text": 3,
        "empty": 1,
        "wrong_loss_spans": 2,
        "too_large": 1,
    }
    assert run("build_corpus.py", tmp_path / "out", "--out", tmp_path / "corpus").returncode == 0
    spans = [row.get("loss_spans") for row in made.table(tmp_path / "corpus/en/existing/part-00000.parquet")]
    assert [[0, 3]] in spans


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "language", "loss_spans", "id"]), inner, max_size=4)
    ),
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["text", "id", "language", "licence", "source", "loss_spans"]), ANYTHING, max_size=5
        )
        | ANYTHING,
        max_size=8,
    )
)
def test_no_line_of_json_ends_the_reading(tmp_path, rows):
    from readers.document_files import InputFile
    from web.collected_documents import write_unit
    from web.existing_documents import ExistingUnit, read_unit

    path = tmp_path / "en.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "1" * 5000 + "\n", encoding="utf-8")
    arguments = {
        "text_column": "text",
        "language": "",
        "source": "existing",
        "licence": "",
        "document_mb": 1,
        "skip_folders": [],
        "languages": ["en", "fr"],
        "detector": "py3langid",
        "skip_steps": ["too_short"],
    }
    unit = ExistingUnit("", (InputFile("en.jsonl", str(path), path.stat().st_size),), 0, 0)
    done = write_unit(read_unit(unit, arguments), tmp_path / "unit", arguments)
    assert sum(row["read"] for row in done["counts"].values()) == len(rows) + 1
    kept = sum(row["kept"] for row in done["counts"].values())
    assert kept == sum(facts["rows"] for facts in done["outputs"].values())


def test_halves_of_characters_and_bytes_that_are_no_text_cost_their_row_only(run, made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "in").mkdir()
    good = made.medical["en"]
    (tmp_path / "in" / "en.jsonl").write_text(
        f'{{"text": "{good} \\ud800", "loss_spans": [[0, 3]]}}\n{{"text": "{good} \\udc00"}}\n{{"text": "{good}"}}\n'
    )
    texts = pyarrow.array([good.encode() + b" A", b"\xff\xfe", good.encode() + b" B"], pyarrow.binary())
    buffers = texts.buffers()
    texts = pyarrow.StringArray.from_buffers(3, buffers[1], buffers[2])
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "in" / "fr.parquet")
    done = run("existing_corpora.py", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert set(documents(tmp_path / "out", made)) == {"in/en.jsonl#3", "in/fr.parquet#0", "in/fr.parquet#2"}
    assert made.lines(tmp_path / "out" / "failures.jsonl") == [
        {"file": "in/fr.parquet row 1", "reason": "holds bytes that are no UTF-8"}
    ]
    assert reasons(tmp_path / "out", made) == {"broken_encoding": 1, "lone_surrogates": 2}


def test_spans_and_times_that_python_cannot_read_cost_their_row_at_most(run, made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    good = made.medical["en"]
    made.jsonl(
        tmp_path / "in" / "en.jsonl",
        [
            {"text": good, "loss_spans": "[" * 100_000},
            {"text": good, "loss_spans": f"[[0, {'9' * 5000}]]"},
            {"text": good},
        ],
    )
    times = pyarrow.array([1234567890123456789], pyarrow.timestamp("ns"))
    pyarrow.parquet.write_table(pyarrow.table({"text": [good], "id": times}), tmp_path / "in" / "fr.parquet")
    done = run("existing_corpora.py", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert reasons(tmp_path / "out", made) == {"wrong_loss_spans": 2}
    assert set(documents(tmp_path / "out", made)) == {"in/en.jsonl#3", "2009-02-13 23:31:30.123456789"}


def test_half_written_and_empty_files_are_named_and_the_others_kept(run, made, tmp_path):
    whole = made.parquet(tmp_path / "in" / "en" / "a.parquet", [{"text": made.medical["en"]}])
    (tmp_path / "in" / "en" / "b.parquet").write_bytes(whole.read_bytes()[:-20])
    made.parquet(tmp_path / "in" / "en" / "empty.parquet", [{"text": "x"}])
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "in" / "en" / "empty.parquet"
    )
    lines = made.jsonl(
        tmp_path / "x.jsonl", [{"text": made.medical["fr"]}] * 1 + [{"text": made.long + str(i)} for i in range(200)]
    )
    (tmp_path / "in" / "c.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes())[:-30])
    (tmp_path / "in" / "d.txt").write_bytes(b"")
    done = run("existing_corpora.py", tmp_path / "in", "--out", tmp_path / "out", "--skip-steps", "too_repetitive")
    assert done.returncode == 3, done.stderr
    assert {f["file"] for f in made.lines(tmp_path / "out" / "failures.jsonl")} == {
        "in/en/b.parquet",
        "in/en/empty.parquet",
        "in/c.jsonl.gz",
        "in/d.txt",
    }
    found = documents(tmp_path / "out", made)
    assert {"in/en/a.parquet#0", "in/c.jsonl.gz#1"} <= set(found)
    assert reasons(tmp_path / "out", made) == {"damaged_file": 2, "no_documents": 2}


def test_cleaning_is_on_counted_and_each_step_can_be_skipped(run, made, tmp_path):
    made.jsonl(tmp_path / "en.jsonl", [{"text": made.medical["en"] + " Write to a.person@example.org."}])
    assert run("existing_corpora.py", tmp_path / "en.jsonl", "--out", tmp_path / "a").returncode == 0
    assert "<EMAIL>" in documents(tmp_path / "a", made)["en.jsonl#1"]["text"]
    assert made.manifest(tmp_path / "a")["cleaning"] == {"en": {"mask_emails": {"documents": 1, "changes": 1}}}
    done = run("existing_corpora.py", tmp_path / "en.jsonl", "--out", tmp_path / "b", "--skip-steps", "mask_emails")
    assert done.returncode == 0, done.stderr
    assert "a.person@" in documents(tmp_path / "b", made)["en.jsonl#1"]["text"]


def test_units_shards_and_workers_do_not_change_the_documents(run, made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": f"{made.medical['en']} Case {i}.", "id": f"r{i}"} for i in range(60)]
    (tmp_path / "in").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in" / "en.parquet", row_group_size=10)
    arguments = (tmp_path / "in", "--unit-mb", 1)
    from web.existing_documents import plan_units

    assert run("existing_corpora.py", *arguments, "--out", tmp_path / "one").returncode == 0
    import existing_corpora

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(existing_corpora, "plan_units", lambda files, size, column: plan_units(files, 3000, column))
        for shard in ("0/2", "1/2"):
            done = run("existing_corpora.py", *arguments, "--out", tmp_path / "two", "--shard", shard, "--workers", 2)
            assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "two" / "en").glob("*.parquet"))) >= 3
    assert documents(tmp_path / "one", made) == documents(tmp_path / "two", made)
    assert list(documents(tmp_path / "two", made)) == [f"r{i}" for i in range(60)]


def test_bad_input_and_settings_are_refused_with_a_sentence(run, made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.doc").write_text("x")
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    made.parquet(tmp_path / "t" / "en.parquet", [{"body": "x", "number": 1}])
    twice = tmp_path / "twice.parquet"
    pyarrow.parquet.write_table(pyarrow.table([["x"], ["y"]], names=["text", "text"]), twice)
    good = made.jsonl(tmp_path / "x" / "en.jsonl", [{"text": made.medical["en"]}])
    made.jsonl(tmp_path / "y" / "en.jsonl", [{"text": made.medical["en"]}])
    for arguments, message in (
        ([tmp_path / "gone"], "does not exist"),
        ([tmp_path / "empty"], "is empty"),
        ([good, tmp_path / "empty"], "empty is empty"),
        ([tmp_path / "other"], "no documents; expected files"),
        ([tmp_path / "a.zip"], "not a whole zip"),
        ([good, tmp_path / "y" / "en.jsonl"], "two inputs are called en.jsonl"),
        ([tmp_path / "t"], "no column 'text'; it has body, number"),
        ([tmp_path / "t", "--text-column", "number"], "is not text"),
        ([good, "--encoding", "klingon"], "no encoding of texts"),
        ([good, "--encoding", "rot13"], "no encoding of texts"),
        ([good, "--encoding", "utf-16", "--split", "lines"], "does not go with --split lines"),
        ([twice], "2 columns are called 'text'"),
        ([good, "--document-mb", 0], "--document-mb 0"),
    ):
        done = run("existing_corpora.py", *arguments, "--out", tmp_path / "out")
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "language", "source"),
    [
        ("MMedC.zip/Chinese/1.txt", "zh", ""),
        ("a/zh/b/en.txt", "en", ""),
        ("books_de/x.txt", "de", "textbook"),
        ("livres_de_medecine/x.txt", "", ""),
        ("corpus/jp/x.txt", "ja", ""),
        ("x/French_books/1.txt", "fr", "textbook"),
        ("MedC/English-German/x.txt", "", ""),
        ("spanish.jsonl", "es", ""),
        ("x/1.txt", "", ""),
        ("filtered/ru/a.txt", "ru", "web"),
        ("web sites/ar.txt", "ar", "website"),
    ],
)
def test_folders_and_files_say_language_and_source_only_where_they_do(path, language, source):
    assert (language_of(path), source_of(path)) == (language, source)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("pt-BR", "pt"),
        ("zh_Hans", "zh"),
        ("EN", "en"),
        ("jpn", "ja"),
        ("", ""),
        ("x-default", ""),
        ("English", "en"),
        ("fr, en", "fr"),
    ],
)
def test_language_tags_become_codes(tag, code):
    assert language_of_tag(tag) == code


def test_the_samples_corpora_hold_what_the_readme_of_the_sample_says(made):
    text = (made.stage / "sample" / "existing" / "notes.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for number, line in enumerate(text.splitlines(), 1) if number != 4]
    assert [row["language"] for row in rows] == ["en", "en", "fr", "en", "pt"]
