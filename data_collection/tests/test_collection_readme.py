"""README.md: its commands run, it names every script; the quality tables of RESULTS.md are those of their command."""

import re
import shlex
import shutil

import pytest

ENTRIES = [
    "filter.py",
    "check_filter.py",
    "check_cleaning.py",
    "ocr.py",
    "deduplicate.py",
    "build_corpus.py",
    "check_corpus.py",
    "websites.py",
    "existing_corpora.py",
    "decontaminate.py",
    "check_contamination.py",
    "make_corpus.py",
]
# The sample has something broken for each of these.
NAME_FAILURES = ("ocr.py", "websites.py", "existing_corpora.py", "make_corpus.py")


@pytest.fixture
def readme(made) -> str:
    return (made.stage / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    return [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.strip().splitlines()
    ]


@pytest.mark.usefixtures("tesseract")
def test_every_command_of_the_readme_runs_in_its_order(readme, made, run, tmp_path, monkeypatch):
    for folder in ("sample", "recipes"):
        shutil.copytree(made.stage / folder, tmp_path / "data_collection" / folder)
    shutil.copy(made.stage / "thresholds.json", tmp_path / "data_collection")
    monkeypatch.chdir(tmp_path)
    ran = []
    for program, script, *arguments in commands(readme):
        assert program == "python"
        name = script.removeprefix("data_collection/")
        ran.append(name)
        if arguments[0].startswith(("../shared", "DIR/")) or "--hub" in arguments:
            continue  # run by the next test, test_check_cleaning.py and test_filter_hub.py
        done = run(name, *arguments)
        assert done.returncode == (3 if name in NAME_FAILURES else 0), (script, done.stdout, done.stderr)
    assert set(ran) == set(ENTRIES)
    assert [f["document"] for f in made.lines(tmp_path / "data/ocr/failures.jsonl")] == ["broken.pdf"]
    counts = made.manifest(tmp_path / "data" / "MMedC")["counts"]
    assert set(counts) == {"en", "zh", "ja", "fr", "ru", "es"}
    assert {source for sources in counts.values() for source in sources} == {"web", "textbook"}
    everything = made.manifest(tmp_path / "data" / "MMedC_all")["counts"]
    assert {source for sources in everything.values() for source in sources} == {
        "web",
        "textbook",
        "website",
        "existing",
    }
    assert everything["ar"].keys() == {"website"}


@pytest.mark.slow
def test_the_tables_of_quality_are_what_their_command_prints(made, run, real_data):
    results = (made.stage / "RESULTS.md").read_text(encoding="utf-8")
    quality = results.split("## Filter: quality", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in quality.splitlines() if line.startswith("| ")]
    printed = run("check_filter.py", real_data / "filter_text").stdout.splitlines()
    assert [row for row in rows if row not in printed] == []
    assert [line for line in printed if line.startswith("| ") and line not in rows] == []


def test_the_readme_names_every_script_and_only_files_that_exist(readme, made):
    named = set(re.findall(r"\b(\w+\.py)\b", readme))
    scripts = {p.name for p in made.stage.glob("*.py") if 'if __name__ == "__main__":' in p.read_text("utf-8")}
    assert scripts <= named <= {path.name for path in (*made.stage.glob("*.py"), *made.stage.glob("*/*.py"))}
    for name in re.findall(r"`(\w+/)`", readme):
        assert (made.stage / name).is_dir() or (made.root / name).is_dir(), name


@pytest.mark.parametrize("script", ENTRIES)
def test_every_command_answers_help_and_refuses_unknown_and_shortened_flags(run, script):
    assert run(script, "--help").returncode == 0
    assert run(script, "x", "--hel").returncode == 2
