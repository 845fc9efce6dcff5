"""leaderboard.py: results checked before they enter, reported rows true to their cells, the page whole and current."""

import csv
import json
import re

import pytest

from leaderboard_tables import LANGUAGES, escape
from score_intervals import is_share, macro_percent, wilson_percent


@pytest.fixture
def board(tmp_path, run):
    """add(result) and render() on a folder of results of its own."""
    class Board:
        results, page = tmp_path / "results", tmp_path / "leaderboard.md"

        def add(self, value, *more):
            path = tmp_path / "result.json"
            path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
            return run("leaderboard.py", "add", path, "--results", self.results, *more)

        def render(self, *more):
            return run("leaderboard.py", "render", "--results", self.results, "--out", self.page, *more)

        def text(self):
            assert self.render().returncode == 0
            return self.page.read_text(encoding="utf-8")

    (tmp_path / "results").mkdir()
    return Board()


def rows_of(text: str, first: str) -> list[list[str]]:
    """Cells of the table rows whose first cell is `first`."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.split("\n") if line[:1] == "|"]
    return [row for row in rows if row[0] == first]


# ---------------------------------------------------------------- the page in the repository, and the reported rows

def test_the_leaderboard_in_the_repository_is_what_its_results_give(run, raw):
    page = raw.stage.parent / "leaderboard.md"
    done = run("leaderboard.py", "render", "--results", raw.stage / "results", "--out", page, "--check")
    assert done.returncode == 0, done.stdout


def test_every_reported_cell_stands_in_the_page_as_it_was_reported(board, raw):
    text = board.text()
    with open(raw.stage / "reported" / "accuracy_reported.csv", encoding="utf-8", newline="") as file:
        reported = list(csv.DictReader(file))
    assert len(reported) == 20
    for row in reported:
        shown = [cells for cells in rows_of(text, row["model"]) if cells[1] == row["size"]]
        assert len(shown) == 1
        cells = [float(cell.split()[0]) for cell in shown[0][3:9]]
        assert cells == [float(row[code]) for code in LANGUAGES]
        mean = sum(cells) / 6
        assert float(shown[0][9].split()[0]) == pytest.approx(mean, abs=0.0051)
        differs = abs(float(row["avg_as_printed"]) - mean) > 0.011
        assert (shown[0][10] == f"average printed as {float(row['avg_as_printed']):.2f}") == differs


def test_zero_shot_and_fine_tuned_rows_are_apart_and_averages_are_recomputed(board):
    tuned, zero = board.text().split("### Zero-shot")
    assert "| GPT-4 |" not in tuned
    assert "| Llama 3 |" not in zero
    assert rows_of(zero, "GPT-4")[0][9] == "75.31 (73.8–76.8)"
    assert rows_of(zero, "GPT-4")[0][10] == "average printed as 74.27"
    assert rows_of(tuned, "MMed-Llama 3")[0][9].startswith("67.75 (66.1–69.4")


def test_cells_that_are_no_k_of_n_bear_a_footnote_and_no_others(board):
    marked = {(row[0], code) for line in board.text().split("\n") if "‡ (" in line
              for row in [[c.strip() for c in line.strip("|").split(" | ")]]
              for code, cell in zip(LANGUAGES, row[3:9], strict=True) if "‡" in cell}
    assert marked == {("GPT-4", "ja"), ("GPT-4", "ru"), ("Llama 2", "es"), ("MedAlpaca", "ja"),
                      *(("GPT-3.5", code) for code in ("en", "zh", "ja", "ru", "es"))}


@pytest.mark.parametrize(("accuracy", "n", "low", "high"), [
    (50.0, 10, 23.659, 76.341), (0.0, 20, 0.0, 16.113), (100.0, 20, 83.887, 100.0), (61.81, 199, 54.89, 68.28)])
def test_wilson_intervals_agree_with_values_worked_out_by_hand(accuracy, n, low, high):
    assert wilson_percent(accuracy, n) == pytest.approx((low, high), abs=0.01)


def test_the_mean_is_plain_and_its_interval_that_of_independent_binomials():
    mean, low, high = macro_percent([(50.0, 100), (50.0, 100)])
    assert (mean, high - mean) == pytest.approx((50.0, 1.96 * 100 * (0.25 / 200) ** 0.5), abs=0.01)
    assert mean - low == pytest.approx(high - mean)


def test_is_share_knows_fractions():
    assert is_share(61.81, 199)
    assert not is_share(72.91, 199)


# ---------------------------------------------------------------- our rows

def test_a_result_is_added_and_shown_with_all_that_a_reader_needs(board, result):
    done = board.add(result())
    assert done.returncode == 0, done.stderr
    assert [p.name for p in board.results.iterdir()] == ["tiny--fine-tuned.json"]
    text = board.text()
    reported, ours = text.split("## Reproduced\n")
    assert "tiny" not in reported
    for needed in ("50.00 † (43.9–56.1), n=256", "n=10", "| 256 | 128 | 3 | A 75.0 % |", "1,234,567", "lora",
                   "mmedbench 1, answer, abababababab", "cccccccccccc", "2025-01-31", "Linux, 2 CPU cores",
                   "<code>python inference/eval.py --model x</code>"):
        assert needed in ours, needed


def test_japanese_of_a_split_made_here_is_shown_and_marked_but_in_no_comparable_average(board, result, score):
    sizes = {"en": 1273, "zh": 3426, "ja": 199, "fr": 622, "ru": 256, "es": 2742}
    scores = {code: score(n, n // 2, 0) for code, n in sizes.items()}
    board.add(result("all released", scores, released=LANGUAGES))
    board.add(result("ja made here", scores, released=[c for c in LANGUAGES if c != "ja"]))
    board.add(result("other size", {**scores, "ja": score(198, 99, 0)}, released=LANGUAGES))
    text = board.text()
    rows = {name: rows_of(text, name)[0] for name in ("all released", "ja made here", "other size")}
    assert (rows["all released"][-1][:3], rows["ja made here"][-1], rows["other size"][-1]) == ("49.", "-", "-")
    assert [("†" in cell) for cell in rows["ja made here"][2:8]] == [False, False, True, False, False, False]
    assert "of 6" in rows["ja made here"][-2]


def test_settings_and_english_benchmarks_of_one_model_are_files_and_tables_of_their_own(board, result, score):
    board.add(result())
    board.add(result(setting="zero-shot"))
    board.add(result(scores={"MedQA": score(1273, 400), "PubMedQA": score(500, 300)}))
    assert len(list(board.results.iterdir())) == 3
    text = board.text()
    for title in ("### Reproduced, fine-tuned", "### Reproduced, zero-shot", "### Reproduced, English benchmarks"):
        assert title in text


def broken_results():
    def change(path, value):
        def apply(r):
            *steps, last = path.split(".")
            for step in steps:
                r = r[step]
            if value is KeyError:
                del r[last]
            else:
                r[last] = value
        return apply

    return {
        "without n": (change("scores.ru.n", KeyError), "n: missing"),
        "n of zero": (change("scores.ru.n", 0), "impossible"),
        "more right than n": (change("scores.ru.right", 257), "257 right of n = 256"),
        "an accuracy that is no k/n": (change("scores.ru.accuracy", 50.2), "50.2 is not 128 of 256"),
        "an accuracy that is no number": (change("scores.ru.accuracy", float("nan")), "is not 128 of 256"),
        "more unparsed than wrong": (change("scores.ru.unparsed", 129), "unparsed"),
        "letters that are no counts": (change("scores.ru.predicted_letters", {"A": "9"}), "predicted_letters"),
        "a mean of something else": (change("macro.accuracy", 51.0), "not the mean"),
        "no scores": (change("scores", {}), "holds no language"),
        "another format": (change("format_version", 2), "format_version"),
        "no prompt": (change("prompt", KeyError), "prompt.name: missing"),
        "no commit": (change("provenance.commit", KeyError), "provenance.commit: missing"),
        "no command": (change("provenance.command", " "), "provenance.command"),
        "a date that is none": (change("provenance.finished_at", "yesterday"), "finished_at"),
        "an unknown setting": (change("setting", "best"), "'best' is none of"),
        "fine-tuned without training": (change("model.training", "none"), "model.training is none"),
        "a name without letters": (change("model.name", "\n "), "model.name"),
        "an endless name": (change("model.name", "x" * 101), "longer than 100"),
        "no number of parameters": (change("model.parameters", True), "model.parameters"),
        "languages and benchmarks mixed": (change("scores.MedQA", {}), "make two"),
    }


@pytest.mark.parametrize("what", list(broken_results()))
def test_a_result_that_lacks_or_contradicts_something_is_refused_with_the_reason(board, what, result):
    change, message = broken_results()[what]
    value = result()
    change(value)
    done = board.add(value)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert list(board.results.iterdir()) == []


def test_a_result_that_is_no_json_is_refused_by_add_and_in_the_folder_by_render(board):
    done = board.add("{")
    assert (done.returncode, "result.json:1: not JSON" in done.stderr) == (2, True)
    (board.results / "bad.json").write_text("{}", encoding="utf-8")
    done = board.render()
    assert (done.returncode, "bad.json: format_version" in done.stderr) == (2, True)


def test_the_same_result_twice_is_no_matter_and_another_of_its_key_needs_replace(board, result, score):
    board.add(result())
    assert "already" in board.add(result()).stdout
    other = result(scores={"ru": score(256, 130)})
    done = board.add(other)
    assert (done.returncode, "give --replace, or another --name" in done.stderr) == (2, True)
    assert board.add(other, "--name", "tiny, seed 2").returncode == 0
    assert board.add(other, "--replace").returncode == 0
    assert len(list(board.results.iterdir())) == 2
    copied = board.results / "copy.json"
    copied.write_text(json.dumps(other), encoding="utf-8")
    done = board.render()
    assert (done.returncode, "are both results of 'tiny'" in done.stderr) == (2, True)


def test_a_dry_run_adds_nothing(board, result):
    assert "would write" in board.add(result(), "--dry-run").stdout
    assert list(board.results.iterdir()) == []


# ---------------------------------------------------------------- escaping

EVIL = ["a | b", "a\nb", "<script>alert(1)</script>", "**bold** _it_ `code`", "[x](http://example.org)", "![i](y)",
        "x\u202eevil", "&lt;b&gt;", "C:\\n | x\\", "模型 | <b>", "\x00nul", "a\u2028b", "www.example.org", "# head"]


@pytest.mark.parametrize("name", EVIL)
def test_a_models_name_breaks_neither_table_nor_page(board, name, result):
    plain, evil = result("harmless"), result(name)
    board.add(plain)
    expected = board.text()
    (board.results / "harmless--fine-tuned.json").unlink()
    evil["provenance"]["command"] = evil["provenance"]["machine"] = evil["model"]["base"] = name
    assert board.add(evil).returncode == 0
    found = board.text()
    assert found.count("\n") == expected.count("\n")
    pipes = [[line.count("|") for line in text.split("\n")] for text in (expected, found)]
    assert pipes[0] == pipes[1]
    assert not re.search(r"<(?!/?code>)[a-z/]|(?<!\\)\]\(|://|\u202e|\x00", found)


def test_escaping_keeps_plain_names_in_every_script_as_they_are():
    for name in ("MMed-Llama 3 (8B)", "InternLM2-7B", "模型", "модель", "نموذج"):
        assert escape(name) == name


def test_names_that_look_alike_get_files_of_their_own(board, result):
    for name in ("a b", "a_b", "a/b", "模型", "模式", "../../x"):
        assert board.add(result(name)).returncode == 0
    assert len(list(board.results.iterdir())) == 6


# ---------------------------------------------------------------- render --check

def test_check_passes_on_a_fresh_page_and_fails_on_a_changed_digit(board, result):
    board.add(result())
    text = board.text()
    assert board.render("--check").returncode == 0
    for old, new in (("80.60", "80.61"), ("n=256", "n=257"), ("50.00 †", "60.00 †")):
        board.page.write_text(text.replace(old, new, 1), encoding="utf-8")
        done = board.render("--check")
        assert done.returncode == 1
        line = text[: text.index(old)].count("\n") + 1
        assert f"leaderboard.md:{line}: differs" in done.stdout
    board.page.write_text(text + "\n", encoding="utf-8")
    assert board.render("--check").returncode == 1
    assert board.page.read_text(encoding="utf-8") == text + "\n"


def test_check_without_a_page_or_without_results_says_what_to_run(board, run, tmp_path):
    done = board.render("--check")
    assert (done.returncode, "leaderboard.py render" in done.stderr) == (2, True)
    done = run("leaderboard.py", "render", "--results", tmp_path / "nowhere", "--out", board.page)
    assert (done.returncode, "leaderboard.py add" in done.stderr) == (2, True)
