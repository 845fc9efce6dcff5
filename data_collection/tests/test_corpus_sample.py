"""The sample corpus: the parquet files say what the texts say, the PDFs are what their manifest calls them."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pypdfium2
import pytest

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
LANGUAGES = ["en", "zh", "ja", "fr", "ru", "es"]
BYTES_OF_PDFS_AT_MOST = 800_000


def texts_of(name: str) -> list[str]:
    """The documents of a text file, without their header lines, read apart from the generator."""
    blocks = (SAMPLE / "texts" / name).read_text(encoding="utf-8").strip().split("\n---\n")
    return [re.sub(r"\A((file|language): .*\n)*slug: .*\n", "", block) for block in blocks]


def foreign_text_of(language: str) -> str:
    blocks = (SAMPLE / "texts" / "foreign.txt").read_text(encoding="utf-8").strip().split("\n---\n")
    places = [block.startswith(f"file: {language}\n") for block in blocks]
    assert sum(places) == 1
    return texts_of("foreign.txt")[places.index(True)]


def rows_of(language: str) -> list[dict]:
    return pq.read_table(SAMPLE / "web" / f"{language}.parquet").to_pylist()


def manifest_rows() -> list[dict]:
    with open(SAMPLE / "pdfs" / "manifest.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("language", LANGUAGES)
def test_parquet_holds_the_texts_then_the_foreign_one_then_a_copy(language):
    rows = rows_of(language)
    medical = texts_of(f"{language}_medical.txt")
    expected = [*medical, *texts_of(f"{language}_general.txt"), foreign_text_of(language), medical[0]]
    assert [row["text"] for row in rows] == expected
    assert {row["source"] for row in rows} == {"web"}
    assert all(row["url"].startswith(f"https://example.org/{language}/") for row in rows)
    assert len({row["url"] for row in rows}) == len(rows)
    assert len({row["text"] for row in rows}) == len(rows) - 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_lengths_are_those_of_real_short_documents(language):
    least, most = (150, 700) if language in ("zh", "ja") else (300, 1500)
    for row in rows_of(language)[:24]:
        assert least <= len(row["text"]) <= most, row["url"]


def test_generator_makes_the_same_tables_again(tmp_path):
    subprocess.run(
        [sys.executable, SAMPLE / "make_corpus_sample.py", "--out", tmp_path], check=True, capture_output=True
    )
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == sorted(f"{language}.parquet" for language in LANGUAGES)
    for language in LANGUAGES:
        made = pq.read_table(tmp_path / "web" / f"{language}.parquet")
        assert made.equals(pq.read_table(SAMPLE / "web" / f"{language}.parquet")), language


def test_generator_dry_run_writes_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, SAMPLE / "make_corpus_sample.py", "--out", tmp_path, "--dry-run"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "dry run" in done.stdout
    assert not list(tmp_path.iterdir())


def test_generator_names_the_document_that_has_no_slug(tmp_path):
    for folder in ("sample", "sample/texts"):
        (tmp_path / folder).mkdir()
    shutil.copy(SAMPLE.parent / "run_record.py", tmp_path)
    shutil.copy(SAMPLE / "make_corpus_sample.py", tmp_path / "sample")
    for path in (SAMPLE / "texts").glob("*.txt"):
        shutil.copy(path, tmp_path / "sample" / "texts")
    damaged = tmp_path / "sample" / "texts" / "fr_general.txt"
    damaged.write_text(damaged.read_text(encoding="utf-8").replace("slug: logiciel-libre\n", ""), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "sample" / "make_corpus_sample.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "fr_general.txt" in done.stderr
    assert "slug" in done.stderr


def test_pdfs_have_the_pages_and_the_text_layers_of_their_kind():
    texts = {"fr_asthme.pdf": "fr_asthme", "en_mixed.pdf": "en_mixed"}
    for row in manifest_rows():
        path = SAMPLE / "pdfs" / row["file"]
        if row["kind"] == "broken":
            with pytest.raises(pypdfium2.PdfiumError):
                pypdfium2.PdfDocument(path)
            continue
        document = pypdfium2.PdfDocument(path)
        layers = ["".join(page.get_textpage().get_text_range().split()) for page in document]
        document.close()
        filled = [bool(layer) for layer in layers]
        assert filled == {"text": [True, True], "mixed": [True, False], "scanned": [False] * len(filled)}[row["kind"]]
        if row["file"] in texts:
            truth = texts_of(f"pdf_{texts[row['file']]}.txt")
            for layer, page in zip(layers, truth, strict=True):
                assert layer in ("", "".join(page.split())), row["file"]


def test_manifest_names_every_pdf_and_they_are_small():
    files = sorted((SAMPLE / "pdfs").glob("*.pdf"))
    assert [row["file"] for row in manifest_rows()] == [path.name for path in files]
    assert sum(path.stat().st_size for path in files) < BYTES_OF_PDFS_AT_MOST


def test_counts_in_the_readme_are_those_of_the_files():
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\w\w) \| (\d+) \| (\d+) \| (\d+) \| 1 \| 1 \|$", text, flags=re.MULTILINE)
    counted = [
        (
            language,
            len(rows_of(language)),
            len(texts_of(f"{language}_medical.txt")),
            len(texts_of(f"{language}_general.txt")),
        )
        for language in LANGUAGES
    ]
    assert [(language, *map(int, numbers)) for language, *numbers in table] == counted
    stated = re.findall(r"^\| `(\S+\.pdf)` \| (\w\w) \| (\w+) \| (\d) \|$", text, flags=re.MULTILINE)
    for (file, language, kind, pages), row in zip(stated, manifest_rows(), strict=True):
        assert (file, language, kind) == (row["file"], row["language"], row["kind"])
        if kind != "broken":
            document = pypdfium2.PdfDocument(SAMPLE / "pdfs" / file)
            assert len(document) == int(pages)
            document.close()
