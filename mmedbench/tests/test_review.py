"""review.py on the command line: sample, links, agreement and kappa, verdicts, the way back into the benchmark."""

import json
import random
import sqlite3
import subprocess
import sys

import pytest

from review_desk.review_agreement import cohens_kappa, verdict
from review_desk.review_sample import sample_rationales
from review_desk.review_store import Answer, ReviewStore

FILES = {"en": "English", "zh": "Chinese", "ar": "Arabic"}


def record(number: int, language: str = "en", **more) -> dict:
    return {
        "question": f"{language}: which one, {number}?",
        "options": {"A": "this", "B": "that"},
        "answer_idx": "A",
        "rationale": f"It is A for reason {number}.",
        "human_checked": False,
        "human_check_passed": False,
        **more,
    }


@pytest.fixture
def benchmark(tmp_path, raw):
    """A folder in the released layout: six rationales in English, four in Chinese; no manifest, as the hub has none."""
    folder = tmp_path / "MMedBench"
    for language, number in (("en", 6), ("zh", 4)):
        (folder / "Test").mkdir(parents=True, exist_ok=True)
        records = [record(n, language) for n in range(number)]
        (folder / "Test" / f"{FILES[language]}.jsonl").write_text(raw.jsonl(*records), encoding="utf-8")
    return folder


@pytest.fixture
def make(benchmark, tmp_path, run):
    """Makes a review with review.py and returns the open store."""

    def make_review(*arguments, folder=benchmark):
        done = run(
            "review.py",
            "make",
            folder,
            "--db",
            tmp_path / "r.sqlite",
            "--reviewers",
            "anna",
            "ben",
            "--referee",
            "chen",
            *arguments,
        )
        assert done.returncode == 0, done.stderr
        return ReviewStore(tmp_path / "r.sqlite")

    return make_review


def judge(store: ReviewStore, who: str, item, word: str, note: str = "") -> None:
    """word: y or n for each criterion, - for not judged."""
    values = [{"y": True, "n": False, "-": None}[letter] for letter in word]
    person = next(person for person in store.people if person.name == who)
    store.save(item, person, Answer(*values, note=note))


def columns(store: ReviewStore, language: str, anna: str, ben: str, chen: str = "") -> None:
    """Judge a language's items in order: words such as "yy yn"."""
    for who, words in (("anna", anna), ("ben", ben), ("chen", chen)):
        for item, word in zip(store.items[language], words.split(), strict=False):
            judge(store, who, item, word)


# The sample


def test_the_sample_is_the_same_for_the_same_seed_whatever_the_order_of_the_lines(benchmark, raw):
    first, _ = sample_rationales(benchmark, ["Test"], 3, 7)
    path = benchmark / "Test" / "English.jsonl"
    path.write_text(raw.jsonl(*reversed(raw.lines(path))), encoding="utf-8")
    again, _ = sample_rationales(benchmark, ["Test"], 3, 7)
    other, _ = sample_rationales(benchmark, ["Test"], 3, 8)
    assert first == again
    assert [item["key"] for item in first] != [item["key"] for item in other]
    assert [(item["language"], item["position"]) for item in first] == [(c, n) for c in ("en", "zh") for n in (1, 2, 3)]


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(benchmark):
    small, large = (sample_rationales(benchmark, ["Test"], number, 0)[0] for number in (2, 6))
    assert [i for i in small if i["language"] == "en"] == [i for i in large if i["language"] == "en"][:2]


def test_only_questions_with_a_rationale_are_drawn_and_copies_once(benchmark, raw):
    path = benchmark / "Test" / "English.jsonl"
    path.write_text(
        raw.jsonl(record(1), record(1), record(2, rationale=" "), record(3, rationale=""), record(4)), encoding="utf-8"
    )
    items, counts = sample_rationales(benchmark, ["Test"], 200, 0)
    assert counts["en"] == {"questions": 5, "with_rationale": 3, "sampled": 2}
    assert len([item for item in items if item["language"] == "en"]) == 2


def test_splits_are_drawn_from_together_when_asked(benchmark, raw, make):
    (benchmark / "Train").mkdir()
    (benchmark / "Train" / "Arabic.jsonl").write_text(raw.jsonl(record(9, "ar")), encoding="utf-8")
    assert set(make("--split", "Test", "Train").items) == {"en", "zh", "ar"}


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda folder: folder.rename(folder.with_name("MMedBench.old")), "is not a folder"),
        (lambda folder: folder.joinpath("Test").rename(folder / "Dev"), "--split"),
        (lambda folder: folder.joinpath("Test/English.jsonl").write_text('{"question": "?"}\n'), "English.jsonl:1"),
        (
            lambda folder: folder.joinpath("manifest.json").write_text(
                json.dumps({"files": {"Test/English.jsonl": {"sha256": "0"}}})
            ),
            "was changed after",
        ),
    ],
)
def test_a_benchmark_that_is_missing_broken_or_changed_is_refused(benchmark, run, tmp_path, change, said):
    change(benchmark)
    done = run("review.py", "make", benchmark, "--db", tmp_path / "r.sqlite", "--reviewers", "a", "b")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert not (tmp_path / "r.sqlite").exists()


def test_a_half_written_benchmark_and_one_without_rationales_are_refused(benchmark, run, raw, tmp_path):
    partial = benchmark.rename(benchmark.with_name("X.partial"))
    done = run("review.py", "make", partial, "--db", tmp_path / "r", "--reviewers", "a", "b")
    assert (done.returncode, "is incomplete" in done.stderr) == (2, True)
    bare = tmp_path / "bare" / "Test"
    bare.mkdir(parents=True)
    (bare / "English.jsonl").write_text(raw.jsonl(record(1, rationale="")), encoding="utf-8")
    done = run("review.py", "make", bare.parent, "--db", tmp_path / "r", "--reviewers", "a", "b")
    assert (done.returncode, "rationales.py" in done.stderr) == (2, True)


# Making and opening


def test_make_prints_one_link_a_person_and_the_file_holds_none_of_the_tokens(benchmark, run, tmp_path):
    db = tmp_path / "r.sqlite"
    done = run("review.py", "make", benchmark, "--db", db, "--reviewers", "anna", "ben", "--referee", "chen")
    links = {line.split()[0]: line.split("/r/")[1].strip("/") for line in done.stdout.splitlines() if "/r/" in line}
    assert list(links) == ["anna", "ben", "chen"]
    assert len(set(links.values())) == 3 and min(map(len, links.values())) >= 43  # 256 bits
    store = ReviewStore(db)
    assert [store.person_of(token).name for token in links.values()] == ["anna", "ben", "chen"]
    assert all(token.encode() not in db.read_bytes() for token in links.values())
    assert db.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("token", ["", "anna", "A" * 43, "é", "' OR 1=1 --"])
def test_a_wrong_token_is_nobody(make, token):
    assert make().person_of(token) is None


def test_a_new_link_ends_the_old_one_and_keeps_the_answers(make, run, tmp_path):
    store = make()
    judge(store, "anna", store.items["en"][0], "yy")
    tokens = []
    for _ in range(2):
        done = run("review.py", "link", tmp_path / "r.sqlite", "--person", "anna")
        tokens.append(done.stdout.split("/r/")[1].strip().strip("/"))
    assert store.person_of(tokens[0]) is None
    assert store.answers(store.person_of(tokens[1]))[store.items["en"][0].id] == Answer(True, True)
    assert run("review.py", "link", tmp_path / "r.sqlite", "--person", "dora").returncode == 2


def test_making_the_same_again_is_reused_and_another_is_refused(benchmark, make, run, tmp_path):
    store = make("--sample", "3")
    judge(store, "anna", store.items["en"][0], "yn")
    common = (
        "review.py",
        "make",
        benchmark,
        "--db",
        tmp_path / "r.sqlite",
        "--reviewers",
        "anna",
        "ben",
        "--referee",
        "chen",
        "--sample",
    )
    again, other = run(*common, "3"), run(*common, "4")
    assert (again.returncode, "reused" in again.stdout, "/r/" in again.stdout) == (0, True, False)
    assert (other.returncode, "another --db" in other.stderr) == (2, True)
    assert store.answers(store.people[0])[store.items["en"][0].id] == Answer(True, False)


def test_a_dry_run_counts_and_writes_nothing(benchmark, run, tmp_path):
    done = run("review.py", "make", benchmark, "--db", tmp_path / "r", "--reviewers", "a", "b", "--dry-run")
    assert (done.returncode, "10 rationales" in done.stdout) == (0, True)
    assert not (tmp_path / "r").exists()


def test_the_log_of_an_earlier_database_is_not_taken_for_the_new_one_s(benchmark, run, tmp_path):
    (tmp_path / "r-wal").write_bytes(b"x")
    done = run("review.py", "make", benchmark, "--db", tmp_path / "r", "--reviewers", "a", "b")
    assert (done.returncode, "r-wal already exists" in done.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.glob("*r*")) == ["r-wal"]


@pytest.mark.parametrize("people", [("anna", "anna"), ("anna", " "), ("anna", "chen")])
def test_the_people_must_be_different_and_have_names(benchmark, run, tmp_path, people):
    done = run("review.py", "make", benchmark, "--db", tmp_path / "r", "--reviewers", *people, "--referee", "chen")
    assert (done.returncode, "different people" in done.stderr) == (2, True)


def test_a_file_that_is_no_review_is_refused(run, tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at " * 9)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE x (y)").connection.close()
    for name in ("text", "other", "missing"):
        done = run("review.py", "report", tmp_path / name)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), name
    assert not (tmp_path / "missing").exists()


def test_the_database_writes_ahead_and_fully_and_keeps_every_version(make, tmp_path):
    store = make()
    item = store.items["en"][0]
    for word in ("y-", "y-", "yn", "yy"):
        judge(store, "anna", item, word)
    assert store._rows("PRAGMA journal_mode") == [("wal",)]
    assert store._rows("PRAGMA synchronous") == [(2,)]  # FULL
    history = sqlite3.connect(tmp_path / "r.sqlite").execute("SELECT supports, correct FROM answers ORDER BY id")
    assert history.fetchall() == [(1, None), (1, 0), (1, 1)]
    assert store.answers(store.people[0]) == {item.id: Answer(True, True)}


def test_an_answer_is_there_after_kill_9_right_after_it_was_saved(make, tmp_path, raw):
    store = make()
    store.close()
    script = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom review_desk.review_store import Answer, ReviewStore\n"
        "store = ReviewStore(Path(sys.argv[1]))\n"
        "store.save(store.items['zh'][1], store.people[1], Answer(True, False, '备注'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "r.sqlite"], cwd=raw.stage, check=False)
    assert done.returncode == -9
    store = ReviewStore(tmp_path / "r.sqlite")
    assert store.answers(store.people[1]) == {store.items["zh"][1].id: Answer(True, False, "备注")}


# Verdicts


@pytest.mark.parametrize(
    "first, second, referee, expected",
    [
        ("--", "--", "--", (None, None, "", False)),
        ("yy", "y-", "--", (None, None, "", False)),
        ("yy", "yy", "--", (True, True, "", True)),
        ("yy", "yy", "nn", (True, True, "", True)),  # the referee cannot overrule an agreement
        ("nn", "nn", "--", (False, False, "", False)),
        ("yy", "yn", "--", (True, None, "correct", False)),
        ("yy", "yn", "-y", (True, True, "correct", True)),
        ("yy", "yn", "-n", (True, False, "correct", False)),
        ("ny", "yn", "y-", (True, None, "supports correct", False)),
        ("ny", "yn", "yy", (True, True, "supports correct", True)),
    ],
)
def test_the_verdict_is_what_both_say_or_what_the_referee_says(first, second, referee, expected):
    letters = {"y": True, "n": False, "-": None}
    said = [Answer(*(letters[letter] for letter in word)) for word in (first, second, referee)]
    found = verdict(*said)
    assert (*found.values.values(), " ".join(found.conflicts), found.passed) == expected


# Kappa


def table(cells: dict) -> list[tuple]:
    return [pair for pair, number in cells.items() for _ in range(number)]


@pytest.mark.parametrize(
    "pairs, expected",
    [
        # By hand: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, so 0.2 / 0.5.
        (table({("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}), 0.4),
        # The 3 x 3 table of Fleiss, Statistical Methods for Rates and Proportions (kappa 0.676).
        (table({(0, 0): 75, (0, 1): 1, (0, 2): 4, (1, 0): 5, (1, 1): 4, (1, 2): 1, (2, 2): 10}), 0.6764705882),
        ([(True, True), (False, False)], 1.0),
        ([(True, False), (False, True)], -1.0),
        ([(True, True), (True, False)], 0.0),  # one rater uses one category only
        ([(True, False)] * 3, 0.0),  # each rater uses one category, and never the same
    ],
)
def test_kappa_is_what_its_definition_gives(pairs, expected):
    assert cohens_kappa(pairs)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "pairs, kappa",
    [
        ([(True, True), (False, False)] * 20, 1.0),
        ([(True, True), (True, False)] * 20, 0.0),
        ([(True, False)] * 3, 0.0),
    ],
)
def test_where_the_standard_error_is_0_kappa_has_no_interval(pairs, kappa):
    assert cohens_kappa(pairs) == (kappa, None, None)


@pytest.mark.parametrize("pairs", [[], [(True, True)], [(False, False)] * 50])
def test_kappa_is_not_defined_without_pairs_or_with_one_category_in_all(pairs):
    assert cohens_kappa(pairs) == (None, None, None)


def test_kappas_interval_is_that_of_fleiss_cohen_and_everitt():
    pairs = table({(0, 0): 75, (0, 1): 1, (0, 2): 4, (1, 0): 5, (1, 1): 4, (1, 2): 1, (2, 2): 10})
    _, low, high = cohens_kappa(pairs)
    # What statsmodels 0.15.0 gives for this table, worked out once beside 1,000 random ones.
    assert (low, high) == pytest.approx((0.5045759581, 0.8483652184), abs=1e-9)


def test_kappas_interval_covers_the_kappa_of_a_known_population():
    chance, inside = random.Random(5), 0
    for _ in range(300):
        pairs = chance.choices([(1, 1), (1, 0), (0, 1), (0, 0)], [60, 10, 10, 20], k=200)
        _, low, high = cohens_kappa(pairs)
        inside += low <= (0.8 - 0.58) / (1 - 0.58) <= high
    assert 0.91 <= inside / 300 <= 0.98


# The report


def test_the_report_gives_kappa_with_n_by_language_and_criterion_from_the_reviewers_alone(make, run, tmp_path):
    store = make()
    columns(store, "en", "yy yy yn nn yy y-", "yy yn yn nn ny yy", "nn -y nn nn y-")
    done = run("review.py", "report", tmp_path / "r.sqlite", "--out", tmp_path / "report.json")
    assert done.returncode == 0
    assert "en: 6 rationales; anna judged 5, ben 6, both 5; 2 conflicts, 0 open; 5 settled, 3 passed" in done.stdout
    said = json.loads((tmp_path / "report.json").read_text())["agreement"]
    assert said["en"]["criteria"]["supports"] | {"ci95": 0} == {
        "n": 5,
        "equal": 4,
        "yes": [4, 3],
        "kappa": round((0.8 - 0.56) / 0.44, 4),
        "ci95": 0,
    }
    assert said["en"]["criteria"]["correct"]["kappa"] == round((0.8 - 0.48) / 0.52, 4)
    assert said["zh"]["criteria"]["correct"] == {"n": 0, "equal": 0, "yes": [0, 0], "kappa": None, "ci95": None}
    assert said["all"]["both"] == 5
    assert "nothing judged by both yet" in done.stdout


def test_the_report_says_why_kappa_is_not_defined(make, run, tmp_path):
    store = make()
    columns(store, "zh", "yy yn yy yn", "yy yn yy yn")
    lines = run("review.py", "report", tmp_path / "r.sqlite").stdout.splitlines()
    rows = {tuple(line.split()[:2]): line for line in lines}
    assert "100.0 %       -  not defined: both always gave the same" in rows["zh", "supports"]
    assert rows["zh", "correct"].split()[2:6] == ["4", "100.0", "%", "1.00"]
    assert rows["zh", "correct"].endswith("none: standard error 0")


# The way back


@pytest.fixture
def export(benchmark, run, tmp_path):
    def export_review(*arguments, data=benchmark, out="checked"):
        return run("review.py", "export", tmp_path / "r.sqlite", "--data", data, "--out", tmp_path / out, *arguments)

    return export_review


def marks(raw, folder) -> dict:
    return {r["question"]: (r["human_checked"], r["human_check_passed"]) for r in raw.lines(folder)}


def test_settled_judgements_go_back_and_everything_else_stays_as_it_is(make, export, benchmark, raw, run, tmp_path):
    (benchmark / "Test" / "Arabic.jsonl").write_bytes(
        b'\xef\xbb\xbf{"question":"\\u0623\\u064a?","options":{"A":"1","B":"2"},  "answer_idx":"A"}\r\n\r\n'
    )
    store = make()
    columns(store, "en", "yy yn yy nn y- yy", "yy yn yn nn yy ny", "-- -- -y")  # the last conflict stays open
    done = export()
    assert done.returncode == 0, done.stderr
    found = marks(raw, tmp_path / "checked" / "Test" / "English.jsonl")
    asked = [item.record["question"] for item in store.items["en"]]
    assert [found[question] for question in asked] == [
        (True, True),
        (True, False),
        (True, True),
        (True, False),
        (False, False),
        (False, False),
    ]
    for name in ("Test/Chinese.jsonl", "Test/Arabic.jsonl"):
        assert (tmp_path / "checked" / name).read_bytes() == (benchmark / name).read_bytes()
    assert run("check.py", tmp_path / "checked").returncode == 0
    rows = raw.lines(tmp_path / "checked" / "human_check.jsonl")
    assert rows[2] == {
        "id": store.items["en"][2].record["id"],
        "language": "en",
        "reviewer_1": {"supports": True, "correct": True},
        "reviewer_2": {"supports": True, "correct": False},
        "referee": {"supports": None, "correct": True},
        "verdict": {"supports": True, "correct": True, "passed": True},
    }
    assert len(rows) == 4 and "referee" not in rows[0]


def test_a_record_keeps_its_fields_its_line_ends_and_its_byte_order_mark(make, export, benchmark, raw, tmp_path):
    path = benchmark / "Test" / "Chinese.jsonl"
    plain = {"human_check_passed": False, **record(1, "zh"), "extra": {"x": [1.5, None, "\u2028"]}}
    del plain["human_checked"]
    path.write_bytes(b"\xef\xbb\xbf" + raw.jsonl(plain).replace("\n", "\r\n").encode())
    store = make()
    columns(store, "zh", "yy", "yy")
    assert export().returncode == 0
    data = (tmp_path / "checked" / "Test" / "Chinese.jsonl").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf{") and data.endswith(b"}\r\n")
    written = json.loads(data.decode("utf-8-sig"))
    assert list(written) == [*plain, "human_checked"]
    assert written == {**plain, "human_checked": True, "human_check_passed": True}


def test_every_copy_of_a_judged_rationale_is_marked_and_no_other(make, export, benchmark, raw, tmp_path):
    others = [record(1), record(1, answer_idx="B"), record(1, rationale="Another one.")]
    (benchmark / "Train").mkdir()
    (benchmark / "Train" / "English.jsonl").write_text(raw.jsonl(*others), encoding="utf-8")
    (benchmark / "English_benchmarks").mkdir()
    (benchmark / "English_benchmarks" / "MedQA.jsonl").write_text(raw.jsonl(record(1)), encoding="utf-8")
    store = make()
    columns(store, "en", "yy " * 6, "yy " * 6)
    assert export().returncode == 0
    found = [r["human_checked"] for r in raw.lines(tmp_path / "checked" / "Train" / "English.jsonl")]
    assert found == [True, False, False]
    assert raw.lines(tmp_path / "checked" / "English_benchmarks" / "MedQA.jsonl")[0]["human_check_passed"]


def test_the_manifest_comes_from_the_parent_and_says_what_was_judged(exams, raw, run, make, tmp_path):
    exams.put("medqa/test.jsonl", raw.jsonl(*(raw.medqa(f"Which one, {n}?") for n in range(3))))
    exams.prepare()
    lines = [{"id": r["id"], "rationale": "Because."} for r in exams.records("Test/English.jsonl")]
    exams.put("../rationales.jsonl", raw.jsonl(*lines))
    run("prepare.py", exams.root, "--out", tmp_path / "b", "--rationales", tmp_path / "rationales.jsonl")
    store = make(folder=tmp_path / "b")
    columns(store, "en", "yy yn", "yy yn")
    done = run("review.py", "export", tmp_path / "r.sqlite", "--data", tmp_path / "b", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    parent, manifest = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("b", "c"))
    assert manifest["stage"] == "mmedbench/review.py"
    assert len(manifest["parent"]) == 64
    assert manifest["released_split"] == parent["released_split"]
    assert manifest["review"]["counts"]["en"]["settled"] == 2
    assert set(manifest["files"]) == {*parent["files"], "human_check.jsonl"}
    assert run("check.py", tmp_path / "c").returncode == 0
    card = (tmp_path / "c" / "README.md").read_text(encoding="utf-8")
    assert card.startswith((tmp_path / "b" / "README.md").read_text(encoding="utf-8"))
    assert "| en | 2 | 1 |" in card
    # An export of an export replaces the section, and the benchmark's own reader takes the folder.
    again = run("review.py", "export", tmp_path / "r.sqlite", "--data", tmp_path / "c", "--out", tmp_path / "d")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "d" / "README.md").read_text(encoding="utf-8") == card


def test_the_same_export_is_reused_and_one_with_more_answers_is_refused(make, export, tmp_path):
    store = make()
    columns(store, "en", "yy", "yy")
    assert export().returncode == 0
    before = (tmp_path / "checked" / "manifest.json").read_bytes()
    assert "reused" in export().stdout
    assert (tmp_path / "checked" / "manifest.json").read_bytes() == before
    columns(store, "en", "yy yy", "yy yy")
    done = export()
    assert (done.returncode, "another --out" in done.stderr) == (2, True)
    assert (tmp_path / "checked" / "manifest.json").read_bytes() == before


def test_a_rationale_edited_since_is_listed_and_left_unmarked(make, export, benchmark, raw, tmp_path):
    store = make()
    columns(store, "en", "yy yy", "yy yy")
    gone = store.items["en"][0].record["question"]
    path = benchmark / "Test" / "English.jsonl"
    path.write_text(
        raw.jsonl(*({**r, "rationale": "New."} if r["question"] == gone else r for r in raw.lines(path))),
        encoding="utf-8",
    )
    for done in (export(), export()):  # the reused one says so too
        assert done.returncode == 3
    listed = raw.lines(tmp_path / "checked" / "failures.jsonl")
    assert [row["id"] for row in listed] == [store.items["en"][0].record["id"]]
    assert marks(raw, tmp_path / "checked" / "Test" / "English.jsonl")[gone] == (False, False)


def test_an_export_into_the_wrong_place_or_from_the_wrong_benchmark_is_refused(make, export, benchmark, raw, tmp_path):
    store = make()
    columns(store, "en", "yy", "yy")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    other = tmp_path / "other" / "Test"
    other.mkdir(parents=True)
    (other / "English.jsonl").write_text(raw.jsonl(record(77)), encoding="utf-8")
    cases = [
        ({"out": "full"}, "not an empty folder"),
        ({"out": "MMedBench/inside"}, "lies inside"),
        ({"data": other.parent}, "drawn from"),
        ({"data": tmp_path / "none"}, "is not a folder"),
    ]
    for arguments, said in cases:
        done = export(**arguments)
        assert (done.returncode, said in done.stderr) == (2, True), (arguments, done.stderr)
    path = benchmark / "Test" / "English.jsonl"
    path.write_text(path.read_text() + '{"question": 1}\n')
    done = export()
    assert (done.returncode, f"{path}:7: options: missing" in done.stderr) == (2, True)
    assert not (tmp_path / "checked").exists()


def test_an_export_killed_halfway_leaves_nothing_that_looks_whole_and_finishes_next_time(make, export, tmp_path):
    store = make()
    columns(store, "en", "yy", "yy")
    left = tmp_path / "checked.partial"
    left.mkdir()
    (left / "junk").write_text("half")
    assert export("--dry-run").returncode == 0
    assert not (tmp_path / "checked").exists()
    assert export().returncode == 0
    assert not left.exists() and not (tmp_path / "checked" / "junk").exists()


@pytest.mark.parametrize("flags, present", [([], False), (["--notes"], True)])
def test_notes_leave_the_database_only_when_asked(make, export, tmp_path, flags, present):
    store = make()
    for who in ("anna", "ben"):
        judge(store, who, store.items["en"][0], "yy", f"a private word of {who}")
    assert export(*flags).returncode == 0
    texts = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "checked").rglob("*") if p.is_file())
    assert ("a private word of ben" in texts) is present


def test_the_export_s_bytes_depend_on_the_judgements_alone(make, export, tmp_path):
    store = make()
    columns(store, "en", "yy yn", "yy yy")
    columns(store, "en", "yy yn", "yy yn")
    assert export().returncode == export(out="again").returncode == 0
    for path in sorted((tmp_path / "checked").rglob("*.jsonl")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "checked")).read_bytes()


def test_real_released_records_without_marks_are_drawn_judged_and_marked(real_data, raw, run, tmp_path):
    data = real_data / "mmedbench_sample"
    run("review.py", "make", data, "--db", tmp_path / "r.sqlite", "--reviewers", "anna", "ben", "--sample", "5")
    store = ReviewStore(tmp_path / "r.sqlite")
    for language in store.items:
        columns(store, language, "yy yy yn yy yy", "yy yy yn yy yy")
    done = run("review.py", "export", tmp_path / "r.sqlite", "--data", data, "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    checked = [
        record
        for file in sorted((tmp_path / "c" / "Test").glob("*.jsonl"))
        for record in raw.lines(file)
        if record.get("human_checked")
    ]
    assert len(checked) == 5 * len(store.items) == 30
    assert sum(record["human_check_passed"] for record in checked) == 24
    assert run("check.py", tmp_path / "c").returncode == run("check.py", data).returncode


def test_a_review_without_a_referee_leaves_conflicts_open(benchmark, run, raw, tmp_path):
    run("review.py", "make", benchmark, "--db", tmp_path / "r.sqlite", "--reviewers", "anna", "ben")
    store = ReviewStore(tmp_path / "r.sqlite")
    columns(store, "en", "yy yy", "yy yn")
    done = run("review.py", "export", tmp_path / "r.sqlite", "--data", benchmark, "--out", tmp_path / "c")
    assert done.returncode == 0
    assert len(raw.lines(tmp_path / "c" / "human_check.jsonl")) == 1
