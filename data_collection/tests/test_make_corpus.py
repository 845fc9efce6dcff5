"""make_corpus.py: raw folders to a checked corpus by one command, resumed at any step, its report."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

ADVICE = (
    "Migraine is a headache that comes in attacks and lasts from a few hours to three days. Many patients feel sick "
    "and cannot bear light or noise. A doctor makes the diagnosis from the history and examines the nervous system. "
    "Rest in a dark room helps, and a drug against pain taken early works best. Those who have attacks often can take "
    "a medicine every day to prevent them. A sudden headache worse than any before belongs in a hospital at once."
)
FOUND = "A 30-year-old woman with a swollen red knee and a fever of 39 degrees: which examination comes first?"


def run_alone(made, *arguments) -> subprocess.CompletedProcess:
    """The command in a process of its own, so that what its steps print is seen too."""
    return subprocess.run(
        [sys.executable, made.stage / "make_corpus.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def put_raw(made, folder, contaminated: bool = True):
    """Raw inputs of every kind: web text with copies and one exam question, a PDF and a broken one, pages, notes."""
    web = [
        {"text": f"{text} Day {i} of the stay was without complications.", "url": f"https://example.org/{code}/{i}"}
        for code, text in made.medical.items()
        for i in range(2)
    ]
    if contaminated:
        web.append({"text": made.medical["en"] + "\n\n" + FOUND + "\n\n" + ADVICE, "url": "https://example.org/exam"})
    general = {"text": made.general["en"], "url": "https://example.org/train"}
    made.jsonl(folder / "web" / "pages.jsonl", [*web, web[0], general])
    made.text_pdf(folder / "books" / "book.pdf", [made.long, made.medical["en"]])
    (folder / "books" / "broken.pdf").write_bytes(b"%PDF-1.4 no more than that")
    html = f"<html lang=en><body><article><p>{ADVICE}</p><p>{made.medical['en']}</p></article></body></html>"
    (folder / "websites").mkdir()
    (folder / "websites" / "fever.html").write_text(html, encoding="utf-8")
    made.jsonl(folder / "existing" / "fr.jsonl", [{"text": made.medical["fr"] + " Il est rentré chez lui."}])
    return folder


def put_text(made, raw):
    made.jsonl(raw / "web" / "a.jsonl", [{"text": made.medical["en"]}])


def put_benchmark(made, folder):
    options = {"A": "Puncture of the joint", "B": "Radiograph of the chest", "C": "Count of leucocytes", "D": "Rest"}
    made.jsonl(
        folder / "English.jsonl",
        [
            {
                "question": FOUND,
                "options": options,
                "answer_idx": "A",
                "rationale": "Septic arthritis is looked for by puncture of the joint.",
            }
        ],
    )
    return folder


def contents(folder) -> dict[str, str]:
    """{file: checksum} of all that a run makes, but for the records of when and how long."""
    timed = ("manifest.json", "run.json", "seconds.json", "report.md", "pages.jsonl")
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in timed and p.suffix != ".journal"
    }


@pytest.fixture(scope="module")
def chain(made, tmp_path_factory):
    """(raw inputs, benchmark, flags, a finished output, what the run printed)."""
    base = tmp_path_factory.mktemp("chain")
    raw, benchmark = put_raw(made, base / "raw"), put_benchmark(made, base / "benchmark")
    flags = [raw, "--benchmark", benchmark, "--workers", 1]
    done = run_alone(made, *flags, "--out", base / "out")
    assert done.returncode == 3, done.stderr  # the broken PDF
    return raw, benchmark, flags, base / "out", done.stdout


@pytest.mark.usefixtures("tesseract")
def test_the_corpus_holds_every_kind_without_copies_and_without_the_exam_question(chain, made):
    _, _, _, out, printed = chain
    counts = made.manifest(out / "MMedC")["counts"]
    assert {source for sources in counts.values() for source in sources} == {"web", "textbook", "website", "existing"}
    texts = [row["text"] for path in (out / "MMedC").glob("*/*/*.parquet") for row in made.table(path)]
    assert not [text for text in texts if FOUND in text]
    assert [text for text in texts if text.endswith(ADVICE)]  # the rest of that document stays
    assert made.manifest(out / "contamination")["questions_found"] == 1
    assert "broken.pdf" in (out / "books" / "failures.jsonl").read_text()
    assert "books: some inputs could not be read" in printed


@pytest.mark.usefixtures("tesseract")
def test_the_report_says_what_became_of_every_document(chain, made):
    _, _, _, out, printed = chain
    report = (out / "report.md").read_text(encoding="utf-8")
    assert report in printed
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in report.splitlines()
        if line.startswith("| ")
    }
    assert ("all", "19", "18", "too_few_keywords 1") in rows
    assert [row[2:4] for row in rows if row[0].endswith("English.jsonl")] == [("1", "1")]
    assert [row for row in rows if row[:2] == ("fr", "existing")]
    assert "Cut: 1 documents lost" in report
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["steps_with_failures"] == ["books"]
    assert set(record["seconds"]) == {
        "web",
        "books",
        "websites",
        "existing",
        "duplicates",
        "contamination",
        "MMedC",
        "check",
    }


@pytest.mark.usefixtures("tesseract")
def test_a_finished_chain_is_reused_and_another_mode_refused(chain, made):
    _, _, flags, out, _ = chain
    before = contents(out)
    again = run_alone(made, *flags, "--out", out)
    assert (again.returncode, again.stdout.count("reused")) == (3, 7), again.stderr
    assert contents(out) == before
    other = run_alone(made, *flags, "--out", out, "--mode", "drop")
    assert other.returncode == 2
    assert "step contamination stopped (2)" in other.stderr


@pytest.mark.usefixtures("tesseract")
def test_a_book_that_is_added_is_read_alone_and_what_was_made_of_the_books_is_refused(chain, made, tmp_path):
    raw, benchmark, _, whole, _ = chain
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(whole, tmp_path / "out")
    made.text_pdf(tmp_path / "raw" / "books" / "new.pdf", [made.long.replace("antibiotics", "insulin")])
    flags = [tmp_path / "raw", "--benchmark", benchmark, "--workers", 1, "--out", tmp_path / "out"]
    done = run_alone(made, *flags)
    assert (done.returncode, "1 new or changed, 0 removed" in done.stdout) == (2, True), done.stderr
    assert f"{tmp_path / 'out' / 'duplicates'} contains a run with different" in done.stderr
    assert not (tmp_path / "out" / "run.json").exists()
    for name in ("duplicates", "contamination", "MMedC"):
        shutil.rmtree(tmp_path / "out" / name)
    assert run_alone(made, *flags).returncode == 3
    texts = [row["text"] for path in (tmp_path / "out" / "MMedC").glob("*/*/*.parquet") for row in made.table(path)]
    assert [text for text in texts if "insulin" in text]


@pytest.mark.slow
@pytest.mark.usefixtures("tesseract")
def test_a_chain_killed_in_any_step_ends_with_the_same_bytes(chain, made, tmp_path):
    """Killed as soon as a step's folder is there: in the middle of it, or right behind it."""
    _, _, flags, whole, _ = chain
    killed = []
    for step in ("web", "books", "websites", "existing", "duplicates", "contamination", "MMedC"):
        command = [sys.executable, made.stage / "make_corpus.py", *map(str, flags), "--out", tmp_path / "out"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (tmp_path / "out" / step).exists():
            time.sleep(0.01)
        if process.poll() is None:
            killed.append(step)
            process.kill()  # it alone: its step must not go on without it
        process.wait()
    assert len(killed) >= 5, killed
    done = run_alone(made, *flags, "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize(
    ("make", "flags", "message"),
    [
        (lambda made, raw: None, [], "is not a folder"),
        (lambda made, raw: raw.mkdir(), [], "is empty; give a folder"),
        (lambda made, raw: (raw / "web").mkdir(parents=True), [], "web is empty, or no folder"),
        (lambda made, raw: made.jsonl(raw / "pages.jsonl", [{"text": "x"}]), [], "pages.jsonl: not a recognised input"),
        (
            lambda made, raw: (put_text(made, raw), (raw / "books").symlink_to("nowhere")),
            [],
            "books is empty, or no folder",
        ),
        (lambda made, raw: put_text(made, raw), ["--benchmark", "nowhere"], "nowhere: no folder"),
        (lambda made, raw: put_text(made, raw), ["--workers", 0], "at least 1"),
        (lambda made, raw: put_text(made, raw), ["--recipes", "nowhere"], "is not a folder"),
    ],
)
def test_bad_inputs_are_named_before_anything_runs(made, run, tmp_path, make, flags, message):
    make(made, tmp_path / "raw")
    done = run("make_corpus.py", tmp_path / "raw", "--out", tmp_path / "out", *flags)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_the_commands_with_their_recipes_and_writes_nothing(made, run, tmp_path):
    raw = put_raw(made, tmp_path / "raw")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "filter.yaml").write_text("rule: published\n")
    done = run("make_corpus.py", raw, "--out", tmp_path / "out", "--recipes", recipes, "--dry-run")
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert [line.split()[2].split("/")[1] for line in commands] == [
        "filter.py",
        "ocr.py",
        "websites.py",
        "existing_corpora.py",
        "deduplicate.py",
        "build_corpus.py",
        "check_corpus.py",
    ]
    assert f"--recipe {recipes / 'filter.yaml'}" in commands[0]
    assert not (tmp_path / "out").exists()
    (recipes / "build_corpus.yaml").write_text("licence: CC0-1.0\n")
    done = run("make_corpus.py", raw, "--out", tmp_path / "out", "--recipes", recipes, "--dry-run")
    assert (done.returncode, "build_corpus.yaml: licence is not for the recipe" in done.stderr) == (2, True)
    (recipes / "filters.yaml").write_text("")
    done = run("make_corpus.py", raw, "--out", tmp_path / "out", "--recipes", recipes, "--dry-run")
    assert (done.returncode, "no step of that name" in done.stderr) == (2, True)


def test_names_of_benchmarks_stay_text_in_the_report():
    from corpus.chain_report import _contamination

    row = {"file": "a|b/<i>x_y.jsonl", "language": "en", "questions": 1, "found": 0}
    lines = _contamination({"table": [row], "arguments": {"mode": "cut"}, "counts": {}})
    assert "| a\\|b/&lt;i&gt;x\\_y.jsonl | en | 1 | 0 | 0.0 % |" in lines


def test_a_step_that_fails_stops_the_chain_and_is_named(made, tmp_path):
    made.jsonl(tmp_path / "raw" / "web" / "a.jsonl", [{"other": "no text here"}])
    done = run_alone(made, tmp_path / "raw", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "step web stopped (2)" in done.stderr
    assert not (tmp_path / "out" / "run.json").exists()


def test_an_interruption_ends_it_with_a_sentence(made, tmp_path):
    put_text(made, tmp_path / "raw")
    command = [sys.executable, made.stage / "make_corpus.py", tmp_path / "raw", "--out", tmp_path / "out"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while process.poll() is None and not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1]
    assert process.returncode == 130
    assert "make_corpus.py: interrupted; run the same command again" in message
