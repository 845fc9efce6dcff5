"""filter.py: what it keeps, counts and rejects, and that a resumed run is byte-identical."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
import zstandard


@pytest.fixture
def web(tmp_path, made):
    """A folder of web text in three languages, with an address and a number per document."""
    for language in ("en", "fr", "zh"):
        rows = [
            {"text": made.medical[language], "url": f"https://example.org/{language}/1", "n": 1},
            {"text": made.general[language], "url": f"https://example.org/{language}/2", "n": 2},
        ]
        made.parquet(tmp_path / "web" / f"{language}.parquet", rows)
    return tmp_path / "web"


def test_medical_documents_are_kept_with_all_their_columns(run, made, web, tmp_path):
    done = run("filter.py", web, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for language in ("en", "fr", "zh"):
        (row,) = made.table(tmp_path / "out" / language / "part-00000.parquet")
        assert row["text"] == made.medical[language]
        assert (row["url"], row["n"]) == (f"https://example.org/{language}/1", 1)
        assert (row["rule"], row["language"]) == ("bounded", language)
        assert row["distinct_keywords"] >= 5
        assert 0.1 < row["density"] <= 1
    manifest = made.manifest(tmp_path / "out")
    assert manifest["stage"] == "data_collection/filter.py"
    assert {k: v for k, v in manifest["counts"]["en"].items() if v} == {
        "kept": 1,
        "too_few_keywords": 1,
        "read": 2,
        "kept_characters": len(made.medical["en"]),
    }
    assert set(manifest["files"]) == {
        "en/part-00000.parquet",
        "fr/part-00000.parquet",
        "zh/part-00000.parquet",
        "failures.jsonl",
    }
    assert not (tmp_path / "out" / "parts").exists()


def test_a_finished_run_is_reused_and_another_setting_is_an_error(run, web, tmp_path, made):
    assert run("filter.py", web, "--out", tmp_path / "out").returncode == 0
    before = made.files(tmp_path / "out")
    again = run("filter.py", web, "--out", tmp_path / "out", "--workers", 1)
    assert again.returncode == 0
    assert "reused" in again.stdout
    assert made.files(tmp_path / "out") == before
    other = run("filter.py", web, "--out", tmp_path / "out", "--rule", "published")
    assert other.returncode == 2
    assert "different arguments (rule)" in other.stderr
    made.parquet(web / "en.parquet", [{"text": "changed"}])
    changed = run("filter.py", web, "--out", tmp_path / "out")
    assert changed.returncode == 2
    assert "different inputs" in changed.stderr


def test_every_document_is_counted_under_one_reason(run, made, tmp_path):
    long_text = made.medical["en"] + " " + made.general["en"] * 40
    texts = [
        made.medical["en"],
        made.general["en"],
        long_text,
        made.medical["en"],
        None,
        "",
        " \n",
        made.medical["fr"] + " (asthma, insulin, biopsy)",
    ]
    made.parquet(tmp_path / "en.parquet", [{"text": t} for t in texts])
    done = run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "out", "--keep-rejected")
    assert done.returncode == 0, done.stderr
    counts = made.manifest(tmp_path / "out")["counts"]["en"]
    assert {k: v for k, v in counts.items() if v and k != "kept_characters"} == {
        "kept": 2,
        "too_few_keywords": 1,
        "low_density": 1,
        "other_language": 1,
        "null": 1,
        "empty": 2,
        "read": 8,
    }
    rejected = made.table(tmp_path / "out" / "rejected" / "en" / "part-00000.parquet")
    assert [row["reason"] for row in rejected] == ["too_few_keywords", "low_density", "null", "empty", "empty"]
    assert [row["text"] for row in rejected] == [texts[1], texts[2], None, "", " \n"]


def test_a_medical_document_in_another_language_is_set_aside(run, made, tmp_path):
    # Portuguese shares its medical stems with Spanish.
    text = (
        "O paciente foi levado ao hospital com dor abdominal, febre e vômitos. O médico solicitou uma tomografia e "
        "iniciou o tratamento com antibiótico; a cirurgia não foi necessária, e a infecção melhorou depois."
    )
    made.parquet(tmp_path / "es.parquet", [{"text": text}, {"text": made.medical["es"]}])
    assert run("filter.py", tmp_path / "es.parquet", "--out", tmp_path / "out").returncode == 0
    (row,) = made.table(tmp_path / "out" / "other_language" / "es" / "part-00000.parquet")
    assert (row["text"], row["detected_language"]) == (text, "pt")
    assert len(made.table(tmp_path / "out" / "es" / "part-00000.parquet")) == 1
    assert made.manifest(tmp_path / "out")["counts"]["es"]["other_language"] == 1


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("en.jsonl", bytes),
        ("en.jsonl.gz", gzip.compress),
        ("en.jsonl.zst", zstandard.compress),
    ],
)
def test_json_lines_are_read_plain_and_compressed_with_their_columns(run, made, tmp_path, name, pack):
    rows = [
        {"text": made.medical["en"], "id": 7, "score": 0.5, "tags": ["a"], "mixed": 1},
        {"text": made.medical["en"] + " Later.", "id": None, "mixed": "x"},
    ]
    (tmp_path / name).write_bytes(pack("".join(json.dumps(r) + "\n" for r in rows).encode()))
    done = run("filter.py", tmp_path / name, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    kept = made.table(tmp_path / "out" / "en" / "part-00000.parquet")
    assert [(r["id"], r["score"], r["tags"], r["mixed"]) for r in kept] == [
        ("7", 0.5, '["a"]', "1"),
        (f"{name}#1", None, None, "x"),
    ]


def test_the_language_comes_from_the_name_the_folder_the_column_or_detection(run, made, tmp_path):
    web = tmp_path / "web"
    made.parquet(web / "fr.parquet", [{"text": made.medical["fr"]}])
    made.parquet(web / "ru" / "part-00000.parquet", [{"text": made.medical["ru"]}])
    made.parquet(
        web / "by_column.parquet",
        [
            {"text": made.medical["en"], "language": "EN"},
            {"text": made.medical["zh"], "language": "zh-CN"},
            {"text": made.medical["de"], "language": None},
            {"text": made.medical["en"], "language": "pt"},
        ],
    )
    made.parquet(web / "mixed.parquet", [{"text": made.medical["ja"]}, {"text": made.medical["ar"]}])
    assert run("filter.py", web, "--out", tmp_path / "out").returncode == 0
    counts = made.manifest(tmp_path / "out")["counts"]
    assert {language: row["kept"] for language, row in counts.items()} == {
        "ar": 1,
        "de": 1,
        "en": 1,
        "fr": 1,
        "ja": 1,
        "ru": 1,
        "zh": 1,
        "und": 0,
    }
    assert counts["und"]["unknown_language"] == 1


def test_files_of_one_language_are_numbered_in_the_order_of_their_paths(run, made, tmp_path):
    for name in ("b", "a", "c"):
        made.parquet(tmp_path / "web" / "en" / f"{name}.parquet", [{"text": f"{made.medical['en']} {name}"}])
    assert run("filter.py", tmp_path / "web", "--out", tmp_path / "out", "--workers", 2).returncode == 0
    kept = [made.table(tmp_path / "out" / "en" / f"part-{i:05d}.parquet")[0]["text"][-1] for i in range(3)]
    assert kept == ["a", "b", "c"]


def test_damaged_inputs_are_listed_and_the_rest_is_done(run, made, tmp_path):
    web = tmp_path / "web"
    made.parquet(web / "en.parquet", [{"text": made.medical["en"]}])
    whole = made.parquet(web / "fr.parquet", [{"text": made.medical["fr"]}]).read_bytes()
    (web / "fr.parquet").write_bytes(whole[: len(whole) // 2])
    made.jsonl(web / "ru.jsonl", [{"text": made.medical["ru"]}, "{broken", "[1]", {"text": made.medical["ru"] + "!"}])
    (web / "zh.jsonl.gz").write_bytes(gzip.compress((json.dumps({"text": "x"}) + "\n").encode() * 9)[:-9])
    (web / "es.parquet").write_bytes(b"")
    done = run("filter.py", web, "--out", tmp_path / "out")
    assert done.returncode == 3, (done.stdout, done.stderr)
    failures = made.lines(tmp_path / "out" / "failures.jsonl")
    assert {f["file"] for f in failures} == {"es.parquet", "fr.parquet", "ru.jsonl", "zh.jsonl.gz"}
    reasons = " ".join(f["reason"] for f in failures)
    assert "ru.jsonl:2: not JSON" in reasons
    assert "ru.jsonl:3: not a JSON object" in reasons
    assert "fr.parquet: not a whole parquet file" in reasons
    assert "zh.jsonl.gz: damaged or cut short" in reasons
    counts = made.manifest(tmp_path / "out")["counts"]
    assert (counts["en"]["kept"], counts["ru"]["kept"]) == (1, 2)
    again = run("filter.py", web, "--out", tmp_path / "out")
    assert (again.returncode, "reused" in again.stdout) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text-column", "body"], "no column 'body'; it has text, url, n"),
        (["--text-column", "n"], "column 'n' is int64, not text"),
        (["--language", "it"], "invalid choice: 'it'"),
        (["--workers", "0"], "must be at least 1"),
        (["--rule", "loose"], "invalid choice: 'loose'"),
        (["--rul", "bounded"], "unrecognized arguments"),
        (["--recipe", "none.yaml"], "cannot read the recipe none.yaml"),
        (["--thresholds", "none.json"], "none.json is missing"),
        (["--keywords", "none"], "no keyword list none"),
    ],
)
def test_a_bad_setting_is_named_in_one_sentence(run, web, tmp_path, arguments, message):
    done = run("filter.py", web, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_input_that_is_missing_empty_or_contains_the_output_is_an_error(run, web, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, message in (
        (tmp_path / "gone", "does not exist"),
        (tmp_path / "empty", "contains no documents"),
        (__file__, "is none of .parquet"),
    ):
        done = run("filter.py", source, "--out", tmp_path / "out")
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    done = run("filter.py", web, "--out", web / "out")
    assert (done.returncode, "is inside the input" in done.stderr) == (2, True)


def test_a_folder_in_which_nothing_can_be_read_is_an_error_and_leaves_nothing(run, tmp_path):
    (tmp_path / "en.parquet").write_bytes(b"PAR1 nothing")
    done = run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no document could be read" in done.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "fr.jsonl").write_bytes('{"text": "été"}\n'.encode("latin-1") * 3)
    done = run("filter.py", tmp_path / "fr.jsonl", "--out", tmp_path / "out")
    assert (done.returncode, "fr.jsonl:1: not UTF-8 text" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_not_used_as_output(run, web, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep", encoding="utf-8")
    done = run("filter.py", web, "--out", tmp_path / "out")
    assert (done.returncode, "no manifest.json" in done.stderr) == (2, True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_dry_run_writes_nothing(run, web, tmp_path):
    done = run("filter.py", web, "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0
    assert "would read en.parquet" in done.stdout
    assert not (tmp_path / "out").exists()


def test_every_recipe_is_read(run, web, tmp_path, made):
    recipes = sorted((made.stage / "recipes").glob("*filter*.yaml"))
    assert recipes
    for recipe in recipes:
        done = run("filter.py", web, "--out", tmp_path / recipe.stem, "--recipe", recipe)
        assert done.returncode == 0, done.stderr
    assert made.manifest(tmp_path / "published_filter")["arguments"]["rule"] == "published"


def test_custom_keywords_and_thresholds_are_used(run, made, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "en.txt").write_text("train\nbicycl\n", encoding="utf-8")
    thresholds = json.loads((made.stage / "thresholds.json").read_text(encoding="utf-8"))
    thresholds["bounded"]["en"] = {"min_distinct_keywords": 2, "min_density": 0.01}
    (tmp_path / "thresholds.json").write_text(json.dumps(thresholds), encoding="utf-8")
    made.parquet(tmp_path / "en.parquet", [{"text": made.medical["en"]}, {"text": made.general["en"]}])
    done = run(
        "filter.py",
        tmp_path / "en.parquet",
        "--out",
        tmp_path / "out",
        "--language",
        "en",
        "--keywords",
        tmp_path / "lists",
        "--thresholds",
        tmp_path / "thresholds.json",
    )
    assert done.returncode == 0, done.stderr
    assert [r["text"] for r in made.table(tmp_path / "out/en/part-00000.parquet")] == [made.general["en"]]


def test_a_killed_run_resumes_and_is_byte_identical_to_an_uninterrupted_one(run, made, tmp_path):
    for i in range(5):
        rows = [{"text": f"{made.medical['en']} {i} {j}", "n": j} for j in range(100)]
        rows += [{"text": made.general["en"] * 9, "n": j} for j in range(1000)]
        made.parquet(tmp_path / "web" / "en" / f"{i}.parquet", rows)
    out = tmp_path / "out"
    arguments = [tmp_path / "web", "--out", out, "--workers", 2]
    assert made.start_and_kill("filter.py", arguments, lambda: (out / "parts" / "00001" / "done.json").exists())
    assert not (out / "manifest.json").exists()
    refused = run("filter.py", *arguments, "--keep-rejected")
    assert (refused.returncode, "unfinished run with different arguments" in refused.stderr) == (2, True)
    done = run("filter.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "resuming the unfinished run" in done.stdout
    assert run("filter.py", tmp_path / "web", "--out", tmp_path / "whole").returncode == 0
    assert made.files(out) == made.files(tmp_path / "whole")
    keys = ("counts", "files", "inputs", "arguments")
    first, second = made.manifest(out), made.manifest(tmp_path / "whole")
    assert {k: first[k] for k in keys} == {k: second[k] for k in keys}


def test_a_run_killed_while_moving_its_parts_finds_the_moved_ones(run, made, web, tmp_path, monkeypatch):
    monkeypatch.setattr("filter.write_json", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert run("filter.py", web, "--out", tmp_path / "out").returncode == 130
    monkeypatch.undo()
    assert (tmp_path / "out" / "en" / "part-00000.parquet").exists()
    assert run("filter.py", web, "--out", tmp_path / "out").returncode == 0
    assert run("filter.py", web, "--out", tmp_path / "whole").returncode == 0
    assert made.files(tmp_path / "out") == made.files(tmp_path / "whole")


def test_large_and_dictionary_text_columns_are_text(run, made, tmp_path):
    for i, kind in enumerate((pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))):
        column = pyarrow.array([made.medical["en"]]).cast(kind)
        path = tmp_path / str(i) / "en.parquet"
        path.parent.mkdir()
        pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
        assert run("filter.py", path, "--out", tmp_path / f"out{i}").returncode == 0
        assert made.manifest(tmp_path / f"out{i}")["counts"]["en"]["kept"] == 1


def test_an_unpaired_surrogate_in_json_is_not_text_and_does_not_stop_the_run(run, made, tmp_path):
    rows = [{"text": made.medical["en"] + " \ud83d"}, {"text": made.medical["en"], "\ud83d": "\ud83d", "id": "\ud83d"}]
    made.jsonl(tmp_path / "en.jsonl", rows)
    done = run("filter.py", tmp_path / "en.jsonl", "--out", tmp_path / "out", "--keep-scores", "--keep-rejected")
    assert done.returncode == 0, done.stderr
    counts = made.manifest(tmp_path / "out")["counts"]["en"]
    assert (counts["kept"], counts["not_text"]) == (1, 1)
    (row,) = made.table(tmp_path / "out/en/part-00000.parquet")
    assert (row["text"], row["?"], row["id"]) == (made.medical["en"], "?", "?")
    (row,) = made.table(tmp_path / "out/rejected/en/part-00000.parquet")
    assert row["text"] == made.medical["en"] + " ?"


@pytest.mark.parametrize(
    "ids",
    [
        pyarrow.array([[1], [2]]),
        pyarrow.array([{"a": 1}, None]),
        pyarrow.array([b"\xff", b"b"]),
        pyarrow.array([b"\xff", b"b"]).view(pyarrow.string()),
        pyarrow.array([1, 2], pyarrow.date32()),
        pyarrow.array(["a", None]).dictionary_encode(),
        pyarrow.array(["a", None], pyarrow.string_view()),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_of_every_type_are_written_as_text(run, made, tmp_path, ids):
    texts = [made.medical["en"], made.medical["en"] + " Later."]
    language = pyarrow.array([b"\xff", b"en"]).view(pyarrow.string())
    pyarrow.parquet.write_table(
        pyarrow.table({"text": texts, "id": ids, "language": language}), tmp_path / "some.parquet"
    )
    done = run("filter.py", tmp_path / "some.parquet", "--out", tmp_path / "out", "--keep-scores", "--keep-rejected")
    assert done.returncode == 0, done.stderr
    (row,) = made.table(tmp_path / "out/en/part-00000.parquet")
    expected = {"list<item: int64>": "[2]", "binary": "b", "string": "b", "date32[day]": "1970-01-03"}
    assert row["id"] == expected.get(str(ids.type), "some.parquet#1")
    assert made.manifest(tmp_path / "out")["counts"]["und"]["unknown_language"] == 1


def test_ids_of_json_lines_may_be_lists(run, made, tmp_path):
    made.jsonl(tmp_path / "en.jsonl", [{"text": made.medical["en"], "id": ["b", 1]}])
    assert run("filter.py", tmp_path / "en.jsonl", "--out", tmp_path / "out", "--keep-scores").returncode == 0
    kept, scored = (made.table(tmp_path / "out" / name / "part-00000.parquet")[0]["id"] for name in ("en", "scores"))
    assert kept == scored == '["b", 1]'


def test_two_columns_with_one_name_are_an_error(run, tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, ["text", "n", "n"])
    pyarrow.parquet.write_table(table, tmp_path / "en.parquet")
    done = run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "out")
    assert (done.returncode, "two columns are called 'n'" in done.stderr) == (2, True)


def test_linked_folders_are_read_and_unreadable_files_named(run, made, web, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "more").symlink_to(web)
    arguments = tmp_path / "links", "--out", tmp_path / "out", "--dry-run"
    assert "would read more/en.parquet" in run("filter.py", *arguments).stdout
    for make, message in (
        (lambda p: p.with_name("fr.jsonl").symlink_to("gone"), "fr.jsonl is a link to nothing"),
        (lambda p: p.with_name("up").symlink_to(p.parent.parent), "up links to a folder that it lies in"),
        (lambda p: p.with_name("en\udcff.jsonl").write_text("{}"), "en\\udcff.jsonl': a name that is not UTF-8"),
    ):
        folder = tmp_path / "links" / "bad"
        folder.mkdir()
        make(folder / "any")
        done = run("filter.py", *arguments)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        next(folder.iterdir()).unlink()
        folder.rmdir()


def test_a_folder_that_cannot_be_written_is_named(run, web, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("filter.py", web, "--out", tmp_path / "file" / "out")
    assert (done.returncode, "cannot write to" in done.stderr) == (2, True), done.stderr


def test_a_file_that_vanishes_after_the_plan_is_listed(run, made, web, tmp_path, monkeypatch):
    import filter as command

    made.jsonl(web / "ru.jsonl", [{"text": made.medical["ru"]}])
    true = command.filter_units

    def without_files(*arguments):
        for name in ("ru.jsonl", "fr.parquet"):
            (web / name).unlink()
        true(*arguments)

    monkeypatch.setattr("filter.filter_units", without_files)
    done = run("filter.py", web, "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert {f["file"] for f in made.lines(tmp_path / "out" / "failures.jsonl")} == {"ru.jsonl", "fr.parquet"}


def test_an_input_folder_named_after_a_language_declares_it(run, made, web, tmp_path):
    made.parquet(tmp_path / "fr" / "part-00000.parquet", [{"text": made.medical["en"]}])
    for source in (tmp_path / "fr", tmp_path / "fr" / "part-00000.parquet"):
        done = run("filter.py", source, "--out", tmp_path / "out", "--dry-run")
        assert "language: fr\n" in done.stdout
    web.rename(tmp_path / "ja")
    assert "language: auto\n" in run("filter.py", tmp_path / "ja", "--out", tmp_path / "out", "--dry-run").stdout


def test_boilerplate_lists_and_the_detectors_version_are_part_of_the_run(run, made, web, tmp_path, monkeypatch):
    assert run("filter.py", web, "--out", tmp_path / "out").returncode == 0
    assert made.manifest(tmp_path / "out")["inputs"]["detector"].startswith("py3langid ")
    with monkeypatch.context() as changed:
        changed.setattr("importlib.metadata.version", lambda name: "9")
        done = run("filter.py", web, "--out", tmp_path / "out")
        assert (done.returncode, "different inputs (detector)" in done.stderr) == (2, True)
    monkeypatch.setattr("filter.BOILERPLATE_FOLDER", tmp_path)
    done = run("filter.py", web, "--out", tmp_path / "out")
    assert (done.returncode, "different inputs (boilerplate)" in done.stderr) == (2, True)


def test_the_output_can_be_filtered_again_and_empty_files_contain_nothing(run, made, web, tmp_path):
    assert run("filter.py", web, "--out", tmp_path / "once").returncode == 0
    (tmp_path / "once" / "fr" / "more.jsonl").write_text("", encoding="utf-8")
    done = run("filter.py", tmp_path / "once", "--out", tmp_path / "twice")
    assert done.returncode == 0, done.stderr
    empty = run("filter.py", tmp_path / "once" / "fr" / "more.jsonl", "--out", tmp_path / "empty")
    assert (empty.returncode, "the input contains no documents" in empty.stdout) == (0, True)
    assert made.table(tmp_path / "twice/en/part-00000.parquet") == made.table(tmp_path / "once/en/part-00000.parquet")


def test_values_that_are_not_text_are_counted_and_kept_readable(run, made, tmp_path):
    texts = [made.medical["en"].encode(), b"caf\xe9 " + made.medical["en"].encode(), None, b"\xff\xfe"]
    column = pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())
    for name in ("en", "unnamed"):  # declared, and to be detected
        pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / f"{name}.parquet")
        done = run(
            "filter.py", tmp_path / f"{name}.parquet", "--out", tmp_path / name, "--keep-rejected", "--keep-scores"
        )
        assert done.returncode == 0, done.stderr
        counts = made.manifest(tmp_path / name)["counts"]
        total = {reason: sum(row[reason] for row in counts.values()) for reason in ("kept", "not_text", "null", "read")}
        assert total == {"kept": 1, "not_text": 2, "null": 1, "read": 4}
        files = sorted((tmp_path / name / "rejected").rglob("*.parquet"))
        rejected = [row for path in files for row in made.table(path)]
        assert [row["text"] for row in rejected if row["reason"] == "not_text"] == [
            "caf\ufffd " + made.medical["en"],
            "\ufffd\ufffd",
        ]


def test_json_lines_in_another_encoding_are_counted_and_the_first_are_listed(run, made, tmp_path):
    good = json.dumps({"text": made.medical["fr"]}, ensure_ascii=False)
    lines = [good.encode(), *[json.dumps({"text": "été " * 9}, ensure_ascii=False).encode("latin-1")] * 150]
    lines += [b'{"text": 7}', b'{"other": "x"}', b"\xef\xbb\xbf" + good.encode()]
    (tmp_path / "fr.jsonl").write_bytes(b"\n".join(lines))
    done = run("filter.py", tmp_path / "fr.jsonl", "--out", tmp_path / "out")
    assert done.returncode == 3, (done.stdout, done.stderr)
    counts = made.manifest(tmp_path / "out")["counts"]["fr"]
    assert {k: v for k, v in counts.items() if v and k != "kept_characters"} == {
        "kept": 1,
        "unreadable": 151,
        "not_text": 1,
        "null": 1,
        "read": 154,
    }
    failures = made.lines(tmp_path / "out" / "failures.jsonl")
    assert failures[0] == {
        "file": "fr.jsonl",
        "reason": "fr.jsonl:2: not UTF-8 text (invalid continuation byte at byte 11)",
    }
    assert failures[-1]["reason"] == "51 more lines or files cannot be read"
    assert len(failures) == 101


def test_text_files_are_documents_with_their_path_as_id(run, made, tmp_path):
    web = tmp_path / "web"
    for name, text in (
        ("fr/a/1.txt", made.medical["fr"]),
        ("fr/2.txt", made.general["fr"]),
        ("page.txt", made.medical["ru"]),
    ):
        (web / name).parent.mkdir(parents=True, exist_ok=True)
        (web / name).write_text(text, encoding="utf-8-sig")
    (web / "fr" / "3.txt").write_bytes("été".encode("latin-1"))
    done = run("filter.py", web, "--out", tmp_path / "out")
    assert done.returncode == 0, (done.stdout, done.stderr)
    (row,) = made.table(tmp_path / "out" / "fr" / "part-00000.parquet")
    assert (row["id"], row["text"]) == ("fr/a/1.txt", made.medical["fr"])
    assert [row["id"] for row in made.table(tmp_path / "out" / "ru" / "part-00000.parquet")] == ["page.txt"]
    assert made.manifest(tmp_path / "out")["counts"]["fr"]["not_text"] == 1


def test_ids_are_kept_or_filled_in_and_repeated_ones_counted(run, made, tmp_path):
    text = made.medical["en"]
    for name, ids in (("text", ["a", None, " ", "a"]), ("full", [3, 4, 5, 5]), ("gaps", [3, None, 5, 6])):
        made.parquet(tmp_path / name / "en.parquet", [{"text": f"{text} {i}", "id": i} for i in ids])
        assert run("filter.py", tmp_path / name, "--out", tmp_path / "out" / name).returncode == 0
    out = {
        name: [row["id"] for row in made.table(tmp_path / "out" / name / "en" / "part-00000.parquet")]
        for name in ("text", "full", "gaps")
    }
    assert out == {
        "text": ["a", "en.parquet#1", "en.parquet#2", "a"],
        "full": [3, 4, 5, 5],
        "gaps": ["3", "en.parquet#1", "5", "6"],
    }
    assert made.manifest(tmp_path / "out" / "text")["repeated_ids"] == {"en": 1}
    assert made.manifest(tmp_path / "out" / "gaps")["repeated_ids"] == {}


def test_a_document_in_another_of_the_eight_languages_is_relabelled_with_the_flag(run, made, tmp_path):
    german = (
        "Nach drei Tagen sank das Fieber, und die Blutwerte wurden besser. Der Arzt erklärte ihr, dass sie die "
        "Tabletten noch eine Woche lang nehmen und sich schonen soll; bei Atemnot soll sie sofort wiederkommen."
    )
    rows = [{"text": f"{made.medical['en']} {made.medical['de']} {german}"}]
    made.parquet(tmp_path / "en.parquet", rows)
    assert run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "aside").returncode == 0
    assert made.manifest(tmp_path / "aside")["counts"]["en"]["other_language"] == 1
    assert run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "moved", "--relabel").returncode == 0
    manifest = made.manifest(tmp_path / "moved")
    assert (manifest["counts"]["de"]["kept"], manifest["relabelled"]) == (1, 1)
    (row,) = made.table(tmp_path / "moved" / "de" / "part-00000.parquet")
    assert (row["language"], row["detected_language"]) == ("de", "de")


@pytest.fixture
def stricter(made, tmp_path):
    """A thresholds file in which English needs more keywords; its path, and a way to say how many."""

    def write(keywords: int, density: float):
        table = json.loads((made.stage / "thresholds.json").read_text(encoding="utf-8"))
        table["bounded"]["en"] = {"min_distinct_keywords": keywords, "min_density": density}
        path = tmp_path / f"thresholds-{keywords}-{density}.json"
        path.write_text(json.dumps(table), encoding="utf-8")
        return path

    return write


def test_other_thresholds_give_the_same_from_the_scores_as_from_the_text(run, made, stricter, tmp_path):
    texts = [
        " ".join(made.medical["en"].split()[:n]) + " " + made.general["en"] * k
        for n in (6, 12, 20, 26)
        for k in (0, 1, 2)
    ]
    made.parquet(tmp_path / "en.parquet", [{"text": t, "id": f"d{i}"} for i, t in enumerate(texts)])
    strict, loose = stricter(6, 0.2), stricter(2, 0.02)

    def kept(out, *arguments):
        done = run("filter.py", *arguments, "--out", tmp_path / out)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / out / "en").glob("*.parquet"))
        return {row["id"]: row for path in files for row in made.table(path)}

    first = kept("first", tmp_path / "en.parquet", "--keep-rejected")
    by_strict = kept("strict", tmp_path / "en.parquet", "--thresholds", strict)
    by_loose = kept("loose", tmp_path / "en.parquet", "--thresholds", loose)
    assert len(by_strict) < len(first) < len(by_loose)
    assert kept("again-strict", tmp_path / "first", "--from-scores", "--thresholds", strict) == by_strict
    assert kept("again-loose", tmp_path / "first", "--from-scores", "--thresholds", loose) == by_loose
    kept("plain", tmp_path / "en.parquet")
    assert kept("plain-strict", tmp_path / "plain", "--from-scores", "--thresholds", strict) == by_strict
    refused = run("filter.py", tmp_path / "plain", "--from-scores", "--thresholds", loose, "--out", tmp_path / "no")
    assert (refused.returncode, "looser than those of" in refused.stderr) == (2, True)
    other = run("filter.py", tmp_path / "plain", "--from-scores", "--rule", "published", "--out", tmp_path / "no")
    assert (other.returncode, "give --rule bounded" in other.stderr) == (2, True)
    none = run("filter.py", tmp_path / "en.parquet", "--from-scores", "--out", tmp_path / "no")
    assert (none.returncode, "no manifest.json" in none.stderr) == (2, True)


def test_exactly_one_input_is_required(run, web, tmp_path):
    for arguments in ([], [web, "--hub", "me/web"]):
        done = run("filter.py", *arguments, "--out", tmp_path / "out")
        assert (done.returncode, "one of the two" in done.stderr) == (2, True)


def test_other_columns_stay_beside_their_texts_in_a_row_group_of_many_batches(run, made, tmp_path, monkeypatch):
    medical = {3, 9, 10, 50, 51, 52, 99}
    rows = [
        {
            "text": f"{made.medical['en'] if i in medical else made.general['en']} {i}",
            "n": i,
            "tags": [str(i)],
            "more": {"of": i},
        }
        for i in range(120)
    ]
    made.parquet(tmp_path / "en.parquet", rows)
    monkeypatch.setattr("readers.document_chunks.MAX_ROWS", 10)
    done = run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "out", "--workers", 1)
    assert done.returncode == 0, done.stderr
    kept = made.table(tmp_path / "out" / "en" / "part-00000.parquet")
    assert {(row["text"].split()[-1], row["n"], row["tags"][0], row["more"]["of"], row["id"]) for row in kept} == {
        (str(i), i, str(i), i, f"en.parquet#{i}") for i in medical
    }


def test_row_groups_without_a_medical_document_are_read_for_their_text_alone(made, tmp_path, monkeypatch):
    from readers import document_chunks
    from readers.document_files import input_files

    made.parquet(tmp_path / "en.parquet", [{"text": "a", "n": 1}])
    table = pyarrow.parquet.read_table(tmp_path / "en.parquet")
    pyarrow.parquet.write_table(pyarrow.concat_tables([table] * 4), tmp_path / "en.parquet", row_group_size=1)
    asked = []
    read = pyarrow.parquet.ParquetFile.iter_batches

    def watched(self, *arguments, **options):
        asked.append(arguments[1:])
        return read(self, *arguments, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", watched)
    span = document_chunks.Span(0, 4)
    for chunk in document_chunks.parquet_chunks(input_files(tmp_path)[0], span, "text", ()):
        if chunk.first_row == 2:
            chunk.rows([0])
    assert [groups for groups, columns in asked if "n" in columns] == [[2]]
    assert [groups for groups, columns in asked if "text" in columns] == [[0], [1], [2], [3]]
