"""build_corpus.py: what goes into the corpus and what is omitted, its bytes, and that common readers open it."""

import hashlib
import json

import pytest

from build_corpus import choose
from readers.corpus_format import document_id
from readers.corpus_inputs import read_records


@pytest.fixture
def books(tmp_path, made):
    """A finished output of ocr.py, made by hand: what build_corpus.py reads of it."""

    def make(name: str, documents: list[dict], stage: str = "data_collection/ocr.py"):
        folder = tmp_path / name
        rows = [{"id": document_id(d["text"]), "source": "textbook", "pages": 1, **d} for d in documents]
        path = made.jsonl(folder / "documents.jsonl", rows)
        facts = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        manifest = {
            "format_version": 1,
            "stage": stage,
            "arguments": {},
            "files": {"documents.jsonl": facts},
            "counts": {},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return make


def test_density_above_one_by_nested_keywords_of_the_published_rule_is_one_in_the_corpus(run, made, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "zh.txt").write_text("肺炎\n肺\n炎\n患者\n患\n者\n", encoding="utf-8")
    text = "".join(f"肺炎患者{i}肺炎" for i in range(40))
    made.jsonl(tmp_path / "zh.jsonl", [{"text": text}])
    done = run(
        "filter.py",
        tmp_path / "zh.jsonl",
        "--out",
        tmp_path / "filtered",
        "--rule",
        "published",
        "--language",
        "zh",
        "--keywords",
        tmp_path / "lists",
        "--skip-steps",
        "too_repetitive",
    )
    assert done.returncode == 0, done.stderr
    assert made.table(tmp_path / "filtered/zh/part-00000.parquet")[0]["density"] > 1
    assert run("build_corpus.py", tmp_path / "filtered", "--out", tmp_path / "corpus").returncode == 0
    assert run("check_corpus.py", tmp_path / "corpus").returncode == 0


@pytest.fixture
def filtered(run, made, tmp_path):
    """A finished output of filter.py on web text of two languages; one English text comes twice."""
    web = tmp_path / "web_text"
    made.parquet(
        web / "en.parquet",
        [
            {"text": made.medical["en"], "url": "https://example.org/b"},
            {"text": made.medical["en"].upper() + " \n", "url": "https://example.org/a"},
            {"text": made.medical["en"] + " Then he went home.", "url": None},
        ],
    )
    made.parquet(web / "zh.parquet", [{"text": made.medical["zh"], "url": "https://example.org/zh", "license": "CC0"}])
    assert run("filter.py", web, "--out", tmp_path / "filtered").returncode == 0
    return tmp_path / "filtered"


def test_web_text_and_books_become_one_corpus_without_exact_duplicates(run, made, filtered, books, tmp_path):
    ocr = books(
        "ocr",
        [
            {"text": made.medical["en"], "language": "en", "origin": "b/book.pdf"},
            {"text": made.medical["ru"], "language": "ru", "origin": "ru.pdf"},
            {"text": "Olá", "language": "pt", "origin": "pt.pdf"},
        ],
    )
    done = run("build_corpus.py", filtered, ocr, "--out", tmp_path / "corpus", "--licence", "unstated")
    assert done.returncode == 0, done.stderr
    corpus = tmp_path / "corpus"
    (book,) = made.table(corpus / "en" / "textbook" / "part-00000.parquet")
    assert book == {
        "id": document_id(made.medical["en"]),
        "text": made.medical["en"],
        "language": "en",
        "source": "textbook",
        "origin": "b/book.pdf",
        "licence": "unstated",
        "distinct_keywords": None,
        "density": None,
    }
    (web,) = made.table(corpus / "en" / "web" / "part-00000.parquet")
    assert web["origin"] == "en.parquet#2"  # no address: the file and row it came from
    (chinese,) = made.table(corpus / "zh" / "web" / "part-00000.parquet")
    assert (chinese["licence"], chinese["origin"]) == ("CC0", "https://example.org/zh")
    assert chinese["distinct_keywords"] >= 5
    removed = made.lines(corpus / "removed.jsonl")
    assert sorted((r["reason"], r["origin"], r.get("kept_origin")) for r in removed) == [
        ("exact duplicate", "https://example.org/a", "b/book.pdf"),
        ("exact duplicate", "https://example.org/b", "b/book.pdf"),
        ("language is none of the eight", "pt.pdf", None),
    ]
    manifest = made.manifest(corpus)
    assert manifest["stage"] == "data_collection/build_corpus.py"
    assert manifest["removed"] == {"exact duplicate": 2, "language is none of the eight": 1}
    assert manifest["counts"]["ru"] == {
        "textbook": {"documents": 1, "characters": len(made.medical["ru"]), "shards": 1}
    }
    assert sorted(manifest["parent"]) == sorted(
        hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() for folder in (filtered, ocr)
    )
    card = (corpus / "README.md").read_text(encoding="utf-8")
    assert f"| Russian (ru) | textbook | 1 | {len(made.medical['ru'])} | not counted | 1 |" in card
    assert "3 documents were omitted" in card
    assert run("check_corpus.py", corpus).returncode == 0


def test_the_bytes_do_not_depend_on_order_or_place_of_the_inputs(run, made, filtered, books, tmp_path, monkeypatch):
    ocr = books(
        "ocr", [{"text": f"{made.medical['en']} {i}", "language": "en", "origin": f"{i}.pdf"} for i in range(50)]
    )
    assert run("build_corpus.py", filtered, ocr, "--out", tmp_path / "one").returncode == 0
    ocr.rename(tmp_path / "elsewhere")
    monkeypatch.setattr("corpus.corpus_sorting.BUCKET_BYTES", 1000)  # many buckets instead of one
    assert run("build_corpus.py", tmp_path / "elsewhere", filtered, "--out", tmp_path / "two").returncode == 0
    assert made.files(tmp_path / "one") == made.files(tmp_path / "two")
    ids = [row["id"] for row in made.table(tmp_path / "one" / "en" / "textbook" / "part-00000.parquet")]
    assert ids == sorted(ids)


def test_shards_are_bounded_and_every_reader_opens_them(run, made, books, tmp_path, monkeypatch):
    text = made.medical["ru"] * 2000  # 0.6 MB
    ocr = books("ocr", [{"text": f"{i} {text}", "language": "ru", "origin": f"{i}.pdf"} for i in range(5)])
    done = run("build_corpus.py", ocr, "--out", tmp_path / "corpus", "--shard-mb", 1)
    assert done.returncode == 0, done.stderr
    shards = sorted((tmp_path / "corpus").glob("ru/textbook/*.parquet"))
    assert [s.name for s in shards] == [f"part-{i:05d}.parquet" for i in range(5)]
    assert made.manifest(tmp_path / "corpus")["counts"]["ru"]["textbook"]["shards"] == 5
    assert run("check_corpus.py", tmp_path / "corpus").returncode == 0
    import pandas

    assert len(pandas.read_parquet(tmp_path / "corpus" / "ru")) == 5
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "corpus" / "*" / "*" / "*.parquet"), **options)
    assert loaded.num_rows == 5
    assert loaded.column_names[:3] == ["id", "text", "language"]
    # The dataset card's own configurations.
    assert datasets.load_dataset(str(tmp_path / "corpus"), "ru", **options).num_rows == 5
    assert datasets.load_dataset(str(tmp_path / "corpus"), **options).num_rows == 5


def test_half_made_altered_and_foreign_inputs_are_refused(run, made, filtered, books, tmp_path):
    out = tmp_path / "corpus"
    (tmp_path / "half").mkdir()
    foreign = books("foreign", [], stage="pretrain/tokenize_corpus.py")
    altered = books("altered", [{"text": "Text", "language": "en", "origin": "x"}])
    made.jsonl(altered / "documents.jsonl", [{"text": "Other"}])
    for inputs, message in (
        ([tmp_path / "half"], "has no manifest.json: it is incomplete"),
        ([tmp_path / "gone"], "is not a folder"),
        ([foreign], "made by 'pretrain/tokenize_corpus.py'; expected one of data_collection/filter.py"),
        ([altered], "is not the file its manifest describes"),
        ([filtered, filtered], "is given twice"),
        ([filtered, "--shard-mb", "0"], "--shard-mb 0: must be at least 1"),
        ([filtered, "--licence", " "], "--licence is blank"),
        ([books("nothing", [{"text": "x", "language": "und", "origin": "x"}])], "nothing to build"),
    ):
        done = run("build_corpus.py", *inputs, "--out", out)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert not (out / "manifest.json").exists()


def test_a_second_run_is_reused_another_is_refused_a_dry_run_writes_nothing(run, made, filtered, books, tmp_path):
    out = tmp_path / "corpus"
    assert run("build_corpus.py", filtered, "--out", out, "--dry-run").returncode == 0
    assert not out.exists()
    assert run("build_corpus.py", filtered, "--out", out).returncode == 0
    before = made.files(out)
    again = run("build_corpus.py", filtered, "--out", out)
    assert (again.returncode, "reused" in again.stdout) == (0, True)
    assert made.files(out) == before
    more = books("ocr", [{"text": "Text", "language": "en", "origin": "x"}])
    done = run("build_corpus.py", filtered, more, "--out", out)
    assert (done.returncode, "different inputs" in done.stderr) == (2, True)


@pytest.mark.parametrize("broken_at", ["build_corpus.publish", "build_corpus.write_json", "build_corpus.dataset_card"])
def test_a_run_cut_off_anywhere_is_finished_by_the_same_command(run, made, filtered, tmp_path, monkeypatch, broken_at):
    def cut(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(broken_at, cut)
    assert run("build_corpus.py", filtered, "--out", tmp_path / "corpus").returncode == 130
    assert run("check_corpus.py", tmp_path / "corpus").returncode == 2
    monkeypatch.undo()
    assert run("build_corpus.py", filtered, "--out", tmp_path / "corpus").returncode == 0
    assert run("build_corpus.py", filtered, "--out", tmp_path / "whole").returncode == 0
    assert made.files(tmp_path / "corpus") == made.files(tmp_path / "whole")


def test_a_source_column_decides_the_kind_of_source_only_with_one_of_its_names(run, made, tmp_path):
    made.parquet(
        tmp_path / "en.parquet",
        [
            {"text": made.medical["en"] + " 1", "source": "website", "id": "x1"},
            {"text": made.medical["en"] + " 2", "source": "somebody/repository:file", "id": "x2"},
        ],
    )
    done = run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "f", "--source", "existing")
    assert done.returncode == 0
    records = list(read_records(tmp_path / "f", made.manifest(tmp_path / "f"), "unknown"))
    assert [(r["source"], r["origin"]) for r in records] == [
        ("website", "x1"),
        ("existing", "somebody/repository:file"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Fever and cough", "fever  and\ncough ", True),
        ("Ｆever", "fever", True),
        ("Straße", "STRASSE", True),
        ("e\u0301tat", "état", True),
        ("fever", "fevers", False),
        ("fever!", "fever", False),
    ],
)
def test_the_same_text_has_the_same_id_however_it_is_written(one, other, same):
    assert (document_id(one) == document_id(other)) == same


def test_of_equal_documents_the_first_kind_of_source_stays_then_the_first_origin():
    def record(source, origin):
        return {"id": "0" * 16, "text": "x", "language": "en", "source": source, "origin": origin}

    places = [("web", "a"), ("website", "z"), ("website", "b"), ("existing", "a")]
    kept, removed = choose([record(*place) for place in places])
    assert [(r["source"], r["origin"]) for r in kept] == [("website", "b")]
    assert [(r["source"], r["origin"]) for r in removed] == [("existing", "a"), ("web", "a"), ("website", "z")]
    assert all("text" not in r for r in removed)


def test_what_comes_from_outside_is_harmless_in_the_dataset_card(run, made, tmp_path):
    made.parquet(
        tmp_path / "en.parquet",
        [{"text": made.medical["en"], "licence": "<script>x's</script> | [a](b)\n# head", "url": "u"}],
    )
    assert run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "f").returncode == 0
    assert run("build_corpus.py", tmp_path / "f", "--out", tmp_path / "corpus").returncode == 0
    card = (tmp_path / "corpus" / "README.md").read_text(encoding="utf-8")
    assert "| &lt;script&gt;x's&lt;/script&gt; \\| \\[a\\](b) \\# head | 1 |" in card


def test_what_stands_in_columns_that_the_corpus_has_not_breaks_nothing(run, made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    notes = pyarrow.array([b"\xff\xfe"], pyarrow.binary()).buffers()
    table = pyarrow.table(
        {"text": [made.medical["en"]], "url": ["u"], "note": pyarrow.StringArray.from_buffers(1, notes[1], notes[2])}
    )
    pyarrow.parquet.write_table(table, tmp_path / "en.parquet")
    assert run("filter.py", tmp_path / "en.parquet", "--out", tmp_path / "filtered").returncode == 0
    done = run("build_corpus.py", tmp_path / "filtered", "--out", tmp_path / "corpus")
    assert done.returncode == 0, done.stderr
    assert made.table(tmp_path / "corpus/en/web/part-00000.parquet")[0]["origin"] == "u"


def test_loss_spans_of_the_input_reach_the_corpus_and_fit_its_text(run, made, tmp_path):
    text = "\u200b" + made.medical["en"]  # cleaning would take the first character away, and the offsets with it
    rows = [{"text": text, "loss_spans": [[1, 12]]}, {"text": made.medical["en"] + " Later.", "loss_spans": None}]
    made.parquet(tmp_path / "a" / "en" / "a.parquet", rows)
    made.jsonl(tmp_path / "a" / "en" / "b.jsonl", [{"text": text + " Again.", "loss_spans": [[0, 3], [5, 9]]}])
    made.parquet(tmp_path / "a" / "fr.parquet", [{"text": made.medical["fr"]}])
    assert run("filter.py", tmp_path / "a", "--out", tmp_path / "filtered").returncode == 0
    done = run("build_corpus.py", tmp_path / "filtered", "--out", tmp_path / "corpus")
    assert done.returncode == 0, done.stderr
    found = {row["text"]: row["loss_spans"] for row in made.table(tmp_path / "corpus/en/web/part-00000.parquet")}
    assert found == {text: [[1, 12]], made.medical["en"] + " Later.": None, text + " Again.": [[0, 3], [5, 9]]}
    assert made.table(tmp_path / "corpus/fr/web/part-00000.parquet")[0]["loss_spans"] is None
    checked = run("check_corpus.py", tmp_path / "corpus")
    assert checked.returncode == 0, checked.stderr
    made.parquet(tmp_path / "bad" / "en.parquet", [{"text": made.medical["en"], "loss_spans": [[5, 9000]]}])
    assert run("filter.py", tmp_path / "bad", "--out", tmp_path / "bad-filtered").returncode == 0
    done = run("build_corpus.py", tmp_path / "bad-filtered", "--out", tmp_path / "bad-corpus")
    assert (done.returncode, "row 0: loss_spans holds [5, 9000]" in done.stderr) == (2, True), done.stderr
