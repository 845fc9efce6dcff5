"""Predictions beside a result: recomputed scores, differences by file and line, bad files refused, few bytes kept."""

import gzip
import json

import pytest

from leaderboard_pages.result_predictions import line_of, packed, read_predictions


def answers(key: str, marks: str) -> list[dict]:
    """Lines of predictions.jsonl, one a mark: 1 right, 0 wrong, - not parsed."""
    letters = {"1": ["A"], "0": ["B"], "-": None}
    return [
        {
            "key": key,
            "number": n,
            "id": f"{n:016x}",
            "gold": ["A"],
            "letters": letters[mark],
            "options": "AB",
            "output": "x\u2028y",
            "status": "format",
        }
        for n, mark in enumerate(marks)
    ]


@pytest.fixture
def entry(tmp_path, run, result):
    """A run's folder, built from marks by language, and the leaderboard's commands on it."""

    class Entry:
        results, page = tmp_path / "results", tmp_path / "leaderboard.md"

        def make(self, name="tiny", **marks):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            rows = [row for key, text in marks.items() for row in answers(key, text)]
            scores = {
                key: {
                    "n": len(text),
                    "right": text.count("1"),
                    "unparsed": text.count("-"),
                    "accuracy": round(100 * text.count("1") / len(text), 2),
                    "predicted_letters": {
                        letter: text.count(mark) for letter, mark in (("A", "1"), ("B", "0")) if mark in text
                    },
                }
                for key, text in marks.items()
            }
            value = result(name, scores)
            value["data"]["files"] = {"Russian.jsonl": {"sha256": "f"}, "English.jsonl": {"sha256": "e"}}
            (folder / "result.json").write_text(json.dumps(value, indent=1), encoding="utf-8")
            self.write(folder, rows)
            return folder

        def write(self, folder, rows):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / "predictions.jsonl").write_text(text, encoding="utf-8")

        def add(self, folder, *more):
            return run(
                "leaderboard.py",
                "add",
                folder / "result.json",
                "--results",
                self.results,
                "--training-data",
                "t",
                *more,
            )

        def render(self, *more):
            return run(
                "leaderboard.py", "render", "--results", self.results, "--out", self.page, "--no-pictures", *more
            )

        def stored(self, ending):
            (path,) = self.results.glob(f"*{ending}")
            return path

    return Entry()


def test_predictions_are_kept_small_without_texts_and_make_the_test_a_paired_one(entry):
    a, b = entry.make("a", ru="1" * 140 + "0" * 116), entry.make("b", ru="1" * 130 + "0" * 126)
    assert "with its predictions" in entry.add(a).stdout
    assert len(gzip.decompress(entry.stored(".predictions.jsonl.gz").read_bytes())) < 75 * 256
    assert b"output" not in gzip.decompress(entry.stored(".predictions.jsonl.gz").read_bytes())
    entry.add(b)
    assert "2 with predictions, whose scores were recomputed" in entry.render().stdout
    text = entry.page.read_text(encoding="utf-8")
    assert "| 1 paired | a |" in text
    assert "| 2 paired | b |" in text
    (b / "predictions.jsonl").unlink()
    assert "without predictions" in entry.add(b, "--replace").stdout
    entry.render()
    assert "| 1 = unpaired | b |" in entry.page.read_text(encoding="utf-8")
    assert len(list(entry.results.iterdir())) == 3


def test_packing_gives_the_same_bytes_each_time_and_loses_nothing_that_is_counted(entry):
    folder = entry.make(ru="10-", en="01")
    rows = read_predictions(folder / "predictions.jsonl")
    (folder / "again.predictions.jsonl.gz").write_bytes(packed(rows))
    assert read_predictions(folder / "again.predictions.jsonl.gz") == rows
    assert packed(rows) == packed(rows)
    assert [(row.key, row.line, row.letters) for row in rows][1:3] == [("ru", 2, ("B",)), ("ru", 3, None)]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("right", 2, "scores.ru.right: 2, but"),
        ("unparsed", 0, "scores.ru.unparsed: 0, but"),
        ("predicted_letters", {"B": 3}, "scores.ru.predicted_letters"),
    ],
)
def test_a_result_that_says_something_else_is_refused_by_add_and_named_by_check_with_file_and_line(
    entry, field, value, said
):
    folder = entry.make(ru="1100-")
    assert entry.add(folder).returncode == 0
    assert entry.render().returncode == 0
    stored = entry.stored(".json")
    wrong = json.loads(stored.read_text(encoding="utf-8"))
    wrong["scores"]["ru"][field] = value
    if field == "right":
        wrong["scores"]["ru"]["right"] = 3
        wrong["scores"]["ru"]["accuracy"] = wrong["macro"]["accuracy"] = 60.0
        wrong["micro"] |= {"right": 3, "accuracy": 60.0}
        said = said.replace("2", "3")
    text = json.dumps(wrong, indent=2)
    stored.write_text(text, encoding="utf-8")
    done = entry.render("--check")
    line = 1 + next(n for n, line in enumerate(text.split("\n")) if f'"{field}"' in line)
    assert done.returncode == 1
    assert f"{stored}:{line}: {said}" in done.stdout
    assert ".predictions.jsonl.gz:1 to 5 give" in done.stdout
    assert entry.render().returncode == 1  # no page of wrong numbers either
    (folder / "result.json").write_text(text, encoding="utf-8")
    done = entry.add(folder, "--name", "other")
    assert (done.returncode, "contradicts its predictions" in done.stderr, said in done.stderr) == (2, True, True)


def test_a_changed_answer_and_an_answer_that_is_missing_are_found(entry):
    folder = entry.make(ru="1100-", en="10")
    entry.add(folder)
    packed_file = entry.stored(".predictions.jsonl.gz")
    lines = gzip.decompress(packed_file.read_bytes()).decode().split("\n")
    packed_file.write_bytes(
        gzip.compress("\n".join([lines[0].replace('"letters":["A"]', '"letters":["C"]'), *lines[1:]]).encode())
    )
    assert "scores.ru.right: 2, but" in entry.render("--check").stdout
    packed_file.write_bytes(gzip.compress("\n".join(lines[1:]).encode()))
    assert "scores.ru.n: 5, but" in entry.render("--check").stdout
    packed_file.write_bytes(gzip.compress("\n".join(lines[:5]).encode()))
    assert ".predictions.jsonl.gz:1: contains no answer in en, of which" in entry.render("--check").stdout
    packed_file.write_bytes(gzip.compress("\n".join([*lines, lines[0].replace('"ru"', '"de"')]).encode()))
    assert ":8: not a prediction" in entry.render("--check").stderr  # the blank line
    packed_file.write_bytes(gzip.compress("\n".join([*lines[:-1], lines[0].replace('"ru"', '"de"')]).encode()))
    assert ".predictions.jsonl.gz:8: 'de' is not a language of" in entry.render("--check").stdout


def test_clean_accuracy_is_counted_again_where_the_answers_say_what_was_found(entry):
    folder = entry.make(ru="1100")
    value = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    rows = [row | {"contaminated": n == 0} for n, row in enumerate(answers("ru", "1100"))]
    entry.write(folder, rows)
    clean = {"n": 3, "right": 1, "accuracy": 33.33, "ci95": None, "contaminated": 1, "contaminated_right": 1}
    value["clean"] = {"sha256": "0", "coverage": 0.5, "macro": None, "micro": None, "scores": {"ru": clean}}
    (folder / "result.json").write_text(json.dumps(value), encoding="utf-8")
    assert entry.add(folder).returncode == 0
    entry.write(folder, [row | {"contaminated": n > 1} for n, row in enumerate(rows)])
    done = entry.add(folder, "--name", "other")
    assert (done.returncode, "clean.scores.ru.n: 3, but" in done.stderr) == (2, True)


def test_predictions_of_another_scoring_are_refused_by_their_checksum(entry):
    folder = entry.make(ru="1100")
    value = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    value["files"] = {"predictions.jsonl": {"bytes": 1, "sha256": "0" * 64}}
    (folder / "result.json").write_text(json.dumps(value), encoding="utf-8")
    done = entry.add(folder)
    assert (done.returncode, "is not the file that" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "null",
        "7",
        "{",
        '{"key": "ru"}',
        '{"key":"ru","id":"1","gold":[],"letters":null}',
        '{"key":"ru","id":"1","gold":["A"],"letters":["B","A"]}',
        '{"key":"ru","id":"1","gold":["A"],"letters":"A"}',
        '{"key":"ru","id":"1","gold":["A"],"letters":[["A"]]}',
        '{"key":"ru","id":"1","gold":["a"],"letters":[]}',
        '{"key":7,"id":"1","gold":["A"],"letters":[]}',
        '{"key":"ru","id":"1","gold":["A"],"letters":[],"contaminated":1}',
        '{"key":"ru","id":"1","gold":["A"],"letters":["<b>"]}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_prediction_is_named(entry, line):
    folder = entry.make(ru="11")
    path = folder / "predictions.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    done = entry.add(folder)
    assert (done.returncode, "predictions.jsonl:3: not a prediction" in done.stderr) == (2, True), done.stderr
    assert not entry.results.exists() or not list(entry.results.iterdir())


def test_damaged_enormous_doubled_and_lone_predictions_are_refused(entry, monkeypatch):
    entry.add(entry.make(ru="1100"))
    packed_file = entry.stored(".predictions.jsonl.gz")
    whole = packed_file.read_bytes()
    for damaged in (whole[:-20], whole[:30] + b"xxxx" + whole[34:], b"\x1f\x8b", b"\xff\xfe\n"):
        packed_file.write_bytes(damaged)
        done = entry.render()
        assert (done.returncode, packed_file.name in done.stderr) == (2, True), damaged
    packed_file.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setattr("leaderboard_pages.result_predictions.LARGEST", 100)
        assert "unpacks to more than" in entry.render().stderr
    packed_file.with_suffix("").write_bytes(b"")
    assert "are both predictions of" in entry.render().stderr
    packed_file.with_suffix("").rename(entry.results / "lone.predictions.jsonl")
    assert "belongs to no result" in entry.render().stderr


def test_line_of_finds_a_field_below_its_parents():
    text = '{\n "n": 1,\n "scores": {\n  "en": {\n   "n": 2},\n  "ru": {\n   "right": 1,\n   "n": 3}}}'
    assert [line_of(text, path) for path in ("n", "scores.en.n", "scores.ru.n", "scores.ru.gone")] == [2, 5, 8, 6]
