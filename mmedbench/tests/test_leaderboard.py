"""leaderboard.py: results checked before they enter, reported rows true to their cells, the page whole and current."""

import csv
import hashlib
import json
import re

import pytest

from leaderboard_pages.leaderboard_rows import LANGUAGES, REPORTED
from leaderboard_pages.page_text import escape, is_share, macro_percent, wilson_percent


@pytest.fixture
def board(tmp_path, run):
    """add(result) and render() on a folder of results of its own."""

    class Board:
        results, page = tmp_path / "results", tmp_path / "leaderboard.md"

        def add(self, value, *more):
            path = tmp_path / "result.json"
            path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
            return run(
                "leaderboard.py", "add", path, "--results", self.results, "--training-data", "its train split", *more
            )

        def render(self, *more):
            return run(
                "leaderboard.py", "render", "--results", self.results, "--out", self.page, "--no-pictures", *more
            )

        def text(self):
            assert self.render().returncode == 0
            return self.page.read_text(encoding="utf-8")

    (tmp_path / "results").mkdir()
    return Board()


def part(text: str, title: str) -> str:
    """What is under the headings that hold `title`, up to the next heading."""
    return "\n".join(piece for piece in re.split(r"^(?=#)", text, flags=re.MULTILINE) if title in piece.split("\n")[0])


def rows_of(text: str, name: str, column: int = 1) -> list[list[str]]:
    """Cells of the table rows that name a model: in the second column of accuracy tables, the first of others."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.split("\n") if line[:1] == "|"]
    return [row for row in rows if row[column : column + 1] == [name]]


# ---------------------------------------------------------------- the page in the repository, and the reported rows


def test_the_leaderboard_in_the_repository_is_what_its_results_give(run, raw):
    page = raw.stage.parent / "leaderboard.md"
    done = run("leaderboard.py", "render", "--results", raw.stage / "results", "--out", page, "--check")
    assert done.returncode == 0, done.stdout


def reported(name: str) -> list[dict]:
    with open(REPORTED / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_reported_files_are_the_facts_as_they_were_handed_over(raw):
    facts = raw.stage.parents[1] / "shared" / "facts"
    if not facts.is_dir():
        pytest.skip(f"no facts at {facts}")
    for name in ("accuracy", "rationale", "rationale_averages", "english_benchmarks", "ablation"):
        assert (REPORTED / f"{name}_reported.csv").read_bytes() == (facts / f"{name}_reported.csv").read_bytes()


def test_every_reported_accuracy_stands_in_the_page_with_its_average_worked_out(board):
    text = part(board.text(), "split (reported)") + part(board.text(), "Zero-shot (reported)")
    assert len(reported("accuracy_reported")) == 20
    assert text.count("| printed average, where it is more than 0.01 off |") == 2  # InternLM: 45.66 against 45.67
    for row in reported("accuracy_reported"):
        shown = [cells for cells in rows_of(text, row["model"]) if cells[2] == row["size"]]
        assert len(shown) == 1
        cells = [float(cell.split()[0]) for cell in shown[0][5:11]]
        assert cells == [float(row[code]) for code in LANGUAGES]
        mean = sum(cells) / 6
        assert float(shown[0][11].split()[0]) == pytest.approx(mean, abs=0.0051)
        differs = abs(float(row["avg_as_printed"]) - mean) > 0.011
        assert (shown[0][12] == f"{float(row['avg_as_printed']):.2f}") == differs


def test_every_reported_rationale_score_stands_in_the_page_and_averages_without_cells_are_marked(board):
    text = board.text()
    for metric, title in (("bleu1", "BLEU-1"), ("rouge1", "ROUGE-1")):
        table = part(text, f"### {title} (reported)")
        for row in reported("rationale_reported"):
            (shown,) = rows_of(table, row["model"], 0)
            if row["language"] in LANGUAGES:
                assert float(shown[1 + LANGUAGES.index(row["language"])]) == float(row[metric])
            else:
                assert float(shown[7]) == pytest.approx(float(row[metric]), abs=0.0101)
        for row in reported("rationale_averages_reported"):
            found = rows_of(table, row["model"], 0)
            assert [cells[7] for cells in found] == ([f"{row[f'{metric}_avg']} §"] if row[f"{metric}_avg"] else [])


def test_every_reported_english_benchmark_and_ablation_stands_in_the_page(board):
    text = board.text()
    table, columns = part(text, "English benchmarks"), [row["column"] for row in reported("english_benchmark_sizes")]
    assert len(reported("english_benchmarks_reported")) == 8
    for row in reported("english_benchmarks_reported"):
        (shown,) = [cells for cells in rows_of(table, row["model"], 0) if cells[1] == row["size"]]
        for column, cell in zip(columns, shown[2:11], strict=True):
            assert (cell == "-") if not row[column] else float(cell.split()[0]) == float(row[column])
    assert rows_of(table, "Mistral", 0)[0][11:] == ["62.86 (60.8–64.9)", "62.97"]  # not what is printed
    assert rows_of(table, "PMC-LLaMA", 0)[0][11:] == ["-", "-"]
    assert "80.10 ‡" in table  # no k of 500 questions gives 80.1
    ablation = part(text, "ablation")
    assert len(reported("ablation_reported")) == 15
    for row in reported("ablation_reported"):
        cells = [c for c in rows_of(ablation, row["base_model"], 0) if c[1] == row["corpus"]]
        assert [(c[2].split()[0], *c[3:]) for c in cells] == [
            (f"{float(row['accuracy']):.2f}", row["bleu1"] or "-", row["rouge1"] or "-")
        ]
    for row in reported("mmedbench_counts"):
        assert f"{int(row['test']):,}" in part(text, "questions of MMedBench")


def test_every_reported_table_says_reported_and_names_its_source(board):
    text = board.text().split("## Reproduced")[0]
    pieces = [piece for piece in re.split(r"^## ", text, flags=re.MULTILINE)[1:] if "|---|" in piece]
    assert len(pieces) == 5
    for piece in pieces:
        assert piece.startswith("Reported: ")
        assert "source: Qiu et al." in piece


def test_zero_shot_and_fine_tuned_rows_are_apart_and_averages_are_recomputed(board):
    text = board.text()
    tuned, zero = part(text, "split (reported)"), part(text, "Zero-shot (reported)")
    assert rows_of(tuned, "GPT-4") == rows_of(zero, "Llama 3") == []
    assert rows_of(zero, "GPT-4")[0][11:13] == ["75.31 (73.8–76.8)", "74.27"]
    assert rows_of(tuned, "MMed-Llama 3")[0][11].startswith("67.75 (66.1–69.4")


def test_ties_are_said_as_ties_and_ranks_count_only_what_is_significantly_better(board):
    tuned = part(board.text(), "split (reported)")
    first, second = rows_of(tuned, "MMed-Llama 3")[0], rows_of(tuned, "MMedLM 2")[0]
    assert (first[0], second[0]) == ("2 = unpaired", "2 = unpaired")  # 67.75 against 67.30
    assert (first[13], second[13]) == ("MMedLM 2 (7B)", "MMed-Llama 3 (8B)")
    assert rows_of(tuned, "MMed-Llama 3.1")[0][0] == "1 unpaired"
    assert rows_of(tuned, "Llama 3")[0][0].startswith("4 ")


def test_cells_that_are_no_k_of_n_bear_a_footnote_and_no_others(board):
    text = board.text().split("## Reported: rationale")[0]
    marked = {
        (row[1], code)
        for line in text.split("\n")
        if "‡ (" in line
        for row in [[c.strip() for c in line.strip("|").split(" | ")]]
        for code, cell in zip(LANGUAGES, row[5:11], strict=True)
        if "‡" in cell
    }
    assert marked == {
        ("GPT-4", "ja"),
        ("GPT-4", "ru"),
        ("Llama 2", "es"),
        ("MedAlpaca", "ja"),
        *(("GPT-3.5", code) for code in ("en", "zh", "ja", "ru", "es")),
    }
    assert "denominator is unknown" in text


@pytest.mark.parametrize(
    ("accuracy", "n", "low", "high"),
    [(50.0, 10, 23.659, 76.341), (0.0, 20, 0.0, 16.113), (100.0, 20, 83.887, 100.0), (61.81, 199, 54.89, 68.28)],
)
def test_wilson_intervals_agree_with_values_worked_out_by_hand(accuracy, n, low, high):
    assert wilson_percent(accuracy, n) == pytest.approx((low, high), abs=0.01)


def test_the_mean_is_plain_and_its_interval_that_of_independent_binomials():
    mean, low, high = macro_percent([(50.0, 100), (50.0, 100)])
    assert (mean, high - mean) == pytest.approx((50.0, 1.96 * 100 * (0.25 / 200) ** 0.5), abs=0.01)
    assert mean - low == pytest.approx(high - mean)


def test_is_share_knows_fractions():
    assert is_share(61.81, 199)
    assert not is_share(72.91, 199)
    assert is_share(80.2, 500, 1)
    assert not is_share(80.1, 500, 1)


# ---------------------------------------------------------------- our rows


def test_a_result_is_added_and_shown_with_all_that_a_reader_needs(board, result):
    done = board.add(result())
    assert done.returncode == 0, done.stderr
    assert [p.name for p in board.results.iterdir()] == ["tiny--fine-tuned--metric-1.json"]
    text = board.text()
    reported, ours = text.split("## Reproduced\n")
    assert "tiny" not in reported
    for needed in (
        "50.00 † (43.9–56.1), n=256",
        "n=10",
        "| 256 | 128 | 3 | A 75.0 % |",
        "1,234,567",
        "lora",
        "mmedbench 1, answer, abababababab",
        "cccccccccccc",
        "2025-01-31",
        "Linux, 2 CPU cores",
        "its train split",
        "not known",
        "<code>python inference/eval.py --model x</code>",
    ):
        assert needed in ours, needed


def test_japanese_of_a_split_made_here_is_shown_and_marked_but_in_no_comparable_average(board, result, score):
    sizes = {"en": 1273, "zh": 3426, "ja": 199, "fr": 622, "ru": 256, "es": 2742}
    scores = {code: score(n, n // 2, 0) for code, n in sizes.items()}
    board.add(result("all released", scores, released=LANGUAGES))
    board.add(result("ja made here", scores, released=[c for c in LANGUAGES if c != "ja"]))
    board.add(result("other size", {**scores, "ja": score(198, 99, 0)}, released=LANGUAGES))
    text = board.text()
    rows = {name: rows_of(text, name)[0] for name in ("all released", "ja made here", "other size")}
    assert [rows[name][13] for name in rows] == ["the released 6", "6", "6"]
    assert [rows[name][0] for name in rows] == ["9 = unpaired", "-", "-"]  # alone on its questions: no rank
    assert rows["all released"][16] == "MEDITRON (7B); MMedLM 2 (1.8B)"
    assert rows_of(part(text, "split (reported)"), "MMedLM 2")[1][13] == "all released (1.23M)"
    assert [("†" in cell) for cell in rows["ja made here"][4:10]] == [False, False, True, False, False, False]


def test_settings_and_english_benchmarks_of_one_model_are_files_and_tables_of_their_own(board, result, score):
    board.add(result())
    board.add(result(setting="zero-shot"))
    board.add(result(scores={"MedQA": score(1273, 400), "PubMedQA": score(500, 300)}))
    assert len(list(board.results.iterdir())) == 3
    text = board.text()
    for title in ("split (reproduced)", "Zero-shot (reproduced)", "English benchmarks (reproduced)"):
        assert part(text, title)
    assert "31.42 (28.9–34.0), n=1273" in part(text, "English benchmarks (reproduced)")
    assert "45.71 (43.2–48.2), n=1773" in part(text, "English benchmarks (reproduced)")


def test_a_check_of_the_machinery_stands_apart_and_takes_no_part_in_ranks(board, result, score):
    sizes = {row["language"]: int(row["test"]) for row in reported("mmedbench_counts")}
    board.add(
        result("perfect", {code: score(sizes[code], sizes[code], 0) for code in LANGUAGES}, released=LANGUAGES),
        "--machinery-check",
    )
    ranked, check = board.text().split("## Check of the machinery")
    assert "perfect" not in ranked
    assert "not a claim about medicine" in check
    assert rows_of(check, "perfect")[0][0] == "-"
    assert rows_of(ranked, "MMed-Llama 3.1")[0][0] == "1 unpaired"


def test_the_mark_of_a_machinery_check_stays_until_it_is_taken_back(board, result):
    def mark(*more):
        assert board.add(json.dumps(value), "--replace", *more).returncode == 0
        return json.loads(file.read_text(encoding="utf-8"))["leaderboard"]["machinery_check"]

    value, file = result(), board.results / "tiny--fine-tuned--metric-1.json"
    assert [mark(), mark("--machinery-check")] == [False, True]
    value = json.loads(file.read_text(encoding="utf-8"))
    assert [mark(), mark("--no-machinery-check")] == [True, False]


def test_a_corrected_metric_is_a_new_column_and_the_old_one_stays(board, result, score):
    assert board.add(result(scores={"ru": score(256, 128)})).returncode == 0
    newer = result(scores={"ru": score(256, 192)}) | {"metric_version": 2}
    done = board.add(newer)
    assert (done.returncode, len(list(board.results.iterdir()))) == (0, 2), done.stderr
    text = board.text()
    assert len(rows_of(part(text, "split (reproduced)"), "tiny")) == 1
    assert "75.00" in part(text, "split (reproduced)")
    assert "50.00" not in part(text, "split (reproduced)")
    (shown,) = [row for row in rows_of(part(text, "older metric"), "tiny", 0) if row[2] == "ru"]
    assert [cell.split()[0] for cell in shown[3:]] == ["50.00", "75.00"]
    assert len(rows_of(part(text, "Provenance"), "tiny", 0)) == 2


def test_rationale_scores_and_clean_accuracy_of_ours_are_shown_with_their_n(board, result, score):
    value = result(scores={"ru": score(256, 128), "ja": score(10, 5, 0)})
    metrics = {"BLEU-1": 30.0, "ROUGE-1": 20.0}
    value["rationales"] = {
        "metric_version": 3,
        "mode": "default",
        "metrics": list(metrics),
        "bert_score": None,
        "scores": {
            "ru": {
                "on": "human-checked",
                "questions": 256,
                "n": 40,
                "empty": 2,
                "no_reference": 0,
                "tokenizer": "x",
                **metrics,
            }
        },
        "macro": metrics,
    }
    value["clean"] = {
        "sha256": "0",
        "coverage": 0.5,
        "macro": None,
        "micro": None,
        "scores": {
            "ru": {
                "n": 200,
                "right": 80,
                "accuracy": 40.0,
                "ci95": [0, 1],
                "contaminated": 56,
                "contaminated_right": 48,
            },
            "ja": {"n": 0, "right": 0, "accuracy": None, "ci95": None, "contaminated": 10, "contaminated_right": 5},
        },
    }
    assert board.add(value).returncode == 0
    text = board.text()
    assert "| BLEU-1 | - | - | - | - | 30.00, n=40 | - | - | - | 30.00 | human-checked | 2 |" in text
    assert "40.00 (33.2–46.8), n=200, coverage under 0.5" in rows_of(text, "tiny")[0]
    assert "no question is clean" in part(text, "How they answered")


def test_an_endpoint_that_tells_no_size_and_answers_by_the_options_text_are_accepted(board, result):
    value = result("served", setting="zero-shot", parameters=None, training="none", base=None)
    value["endpoint"] = {"base": "x", "api_mode": "chat", "unanswered": 2}
    value["asked"] = {"command": "python inference/ask.py", "commit": "d" * 40, "finished_at": "2025-01-30T"}
    assert board.add(value).returncode == 0
    assert board.add(result("by text") | {"mode": "option-logprob"}).returncode == 0
    text = board.text()
    assert rows_of(text, "served")[0][2] == "-"
    assert rows_of(text, "served")[0][14] == "3 (2 never answered)"
    assert "not published" in part(text, "Provenance")
    assert ", answers asked for 2025-01-30 at dddddddddddd by <code>python inference/ask.py" in text
    assert "option-logprob" in part(text, "Provenance")


def test_training_data_must_be_said_unless_the_checkpoint_or_the_result_says_it(run, tmp_path, result, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, value = tmp_path / "result.json", result()
    add = ("leaderboard.py", "add", path, "--results", tmp_path / "results")
    path.write_text(json.dumps(value), encoding="utf-8")
    done = run(*add)
    assert (done.returncode, "give --training-data TEXT" in done.stderr) == (2, True)
    folder = tmp_path / "checkpoints" / "x"
    folder.mkdir(parents=True)
    record = {
        "stage": "finetune/train.py",
        "counts": {"questions": {"ru": 7, "en": 1200}},
        "examples": 2414,
        "card": {"data_names": ["MMedBench"]},
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    value["inputs"]["model"] = {"run.json": "0" * 64}
    path.write_text(json.dumps(value), encoding="utf-8")
    assert run(*add).returncode == 2  # that run.json is of another checkpoint
    value["inputs"]["model"] = {"run.json": hashlib.sha256((folder / "run.json").read_bytes()).hexdigest()}
    path.write_text(json.dumps(value), encoding="utf-8")
    assert run(*add).returncode == 0
    (stored,) = (tmp_path / "results").iterdir()
    said = json.loads(stored.read_text(encoding="utf-8"))["leaderboard"]
    assert said == {
        "training_data": "MMedBench: 1,207 questions (en 1,200, ru 7), 2,414 examples",
        "machinery_check": False,
    }
    folder.rename(tmp_path / "gone")
    assert "already" in run("leaderboard.py", "add", stored, "--results", tmp_path / "results").stdout


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
        "an accuracy that is not a k/n": (change("scores.ru.accuracy", 50.2), "50.2 is not 128 of 256"),
        "an accuracy that is not a number": (change("scores.ru.accuracy", float("nan")), "is not 128 of 256"),
        "more unparsed than wrong": (change("scores.ru.unparsed", 129), "unparsed"),
        "letters that are no counts": (change("scores.ru.predicted_letters", {"A": "9"}), "predicted_letters"),
        "a mean of something else": (change("macro.accuracy", 51.0), "not the mean"),
        "no scores": (change("scores", {}), "contains no language"),
        "another format": (change("format_version", 2), "format_version"),
        "no prompt": (change("prompt", KeyError), "prompt.name: missing"),
        "no commit": (change("provenance.commit", KeyError), "provenance.commit: missing"),
        "no command": (change("provenance.command", " "), "provenance.command"),
        "a date that is none": (change("provenance.finished_at", "yesterday"), "finished_at"),
        "an unknown setting": (change("setting", "best"), "'best' is not one of"),
        "fine-tuned without training": (change("model.training", "none"), "model.training is none"),
        "a name without letters": (change("model.name", "\n "), "model.name"),
        "an endless name": (change("model.name", "x" * 101), "longer than 100"),
        "no number of parameters": (change("model.parameters", True), "model.parameters"),
        "languages and benchmarks mixed": (change("scores.MedQA", {}), "make two"),
        "no size without an endpoint": (change("model.parameters", None), "model.parameters"),
        "no size and an empty endpoint": (
            lambda r: r.update(endpoint=None, model=r["model"] | {"parameters": None}),
            "model.parameters",
        ),
        "an endpoint that is a text": (change("endpoint", "x"), "endpoint: 'x' has the wrong type"),
        "inputs that are a list": (change("inputs", [1]), "inputs: [1] has the wrong type"),
        "files of the data that are a list": (change("data.files", [1]), "data.files: [1] has the wrong type"),
        "an average over all questions of something else": (
            change("micro", {"n": 266, "right": 134, "accuracy": 50.38}),
            "micro: 134 right of n = 266 is not the sum",
        ),
        "an average over all that is not a k/n": (change("micro.accuracy", 51.0), "micro.accuracy: 51.0 is not 133 of"),
        "half of a character": (change("provenance.command", "x\ud800"), "contains what a JSON file in UTF-8 cannot"),
        "an infinity in a free field": (change("arguments.x", float("inf")), "contains what a JSON file"),
        "more parameters than there can be": (change("model.parameters", 10**400), "model.parameters"),
        "an unknown mode": (change("mode", "guess"), "'guess' is not one of"),
        "a metric version of zero": (change("metric_version", 0), "metric_version"),
        "an unknown key": (change("note", "best ever"), "'note' is not a field"),
        "an unknown key of the model": (change("model.licence", "MIT"), "'model.licence' is not a field"),
        "an unknown key of a score": (change("scores.ru.bonus", 1), "'scores.ru.bonus' is not a field"),
        "an unknown key of the command": (change("provenance.host", "x"), "'provenance.host' is not a field"),
        "a model that is none": (change("model", "tiny"), "model.name: missing"),
        "scores that are a list": (change("scores", [1]), "scores"),
        "clean questions that are too many": (
            change(
                "clean",
                {
                    "coverage": 0.5,
                    "scores": {
                        "ru": {"n": 257, "right": 128, "accuracy": 49.81, "contaminated": 0, "contaminated_right": 0}
                    },
                },
            ),
            "clean.scores.ru",
        ),
        "rationales that are too many": (
            change("rationales", {"metric_version": 3, "scores": {"ru": {"n": 257}}, "macro": {}}),
            "n = 257 rationales",
        ),
        "empty rationales that are no count": (
            change("rationales", {"metric_version": 3, "scores": {"ru": {"n": 9, "empty": "2"}}, "macro": {}}),
            "empty: '2' has the wrong type",
        ),
        "a rationale score over 100": (
            change("rationales", {"metric_version": 3, "scores": {"ru": {"n": 9, "BLEU-1": 101}}, "macro": {}}),
            "BLEU-1: 101 is not per cent",
        ),
        "a rationale mean of something else": (
            change(
                "rationales", {"metric_version": 3, "scores": {"ru": {"n": 9, "BLEU-1": 10}}, "macro": {"BLEU-1": 11}}
            ),
            "rationales.macro.BLEU-1",
        ),
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
    copied.write_bytes((board.results / "tiny--fine-tuned--metric-1.json").read_bytes())
    done = board.render()
    assert (done.returncode, "are both results of 'tiny'" in done.stderr) == (2, True)


def test_a_dry_run_adds_nothing(board, result):
    board.results.rmdir()
    assert "would write" in board.add(result(), "--dry-run").stdout
    assert not board.results.exists()
    board.results.mkdir()
    assert "would write" in board.add(result(), "--dry-run").stdout
    assert list(board.results.iterdir()) == []


# ---------------------------------------------------------------- escaping

EVIL = [
    "a | b",
    "a\nb",
    "<script>alert(1)</script>",
    "**bold** _it_ `code`",
    "[x](http://example.org)",
    "![i](y)",
    "x\u202eevil",
    "&lt;b&gt;",
    "C:\\n | x\\",
    "模型 | <b>",
    "\x00nul",
    "a\u2028b",
    "www.example.org",
    "# head",
]


@pytest.mark.parametrize("name", EVIL)
def test_a_models_name_breaks_neither_table_nor_page(board, name, result):
    plain, evil = result("harmless"), result(name)
    board.add(plain)
    expected = board.text()
    (board.results / "harmless--fine-tuned--metric-1.json").unlink()
    evil["provenance"]["command"] = evil["provenance"]["machine"] = evil["model"]["base"] = name
    done = board.add(evil, "--training-data", name)
    if re.search(r"[\n|<>\x00\u2028]|&lt;", name):
        assert (done.returncode, "model.name: contains" in done.stderr) == (2, True), done.stderr
        assert not list(board.results.glob("*.json"))
        done = board.add(evil, "--training-data", name, "--name", "a name")
    assert done.returncode == 0, done.stderr
    found = board.text()
    assert found.count("\n") == expected.count("\n")
    pipes = [[line.count("|") for line in text.split("\n")] for text in (expected, found)]
    assert pipes[0] == pipes[1]
    assert not re.search(r"<(?!/?code>)[a-z/]|(?<!\\)\]\(|://|\u202e|\x00", found)


def test_escaping_keeps_plain_names_in_every_script_as_they_are():
    for name in ("MMed-Llama 3 (8B)", "InternLM2-7B", "模型", "модель", "نموذج"):
        assert escape(name) == name


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a | b", "a &#124; b"),
        ("https://x.org", "https&#58;//x.org"),
        ("www.x.org", "www&#46;x.org"),
        ("# a", "\\# a"),
        ("&#124; <b>", "&amp;\\#124; &lt;b&gt;"),
        ("a\\|b", "a\\\\&#124;b"),
        (" \ufffe\n", "-"),
    ],
)
def test_escaped_text_reads_as_it_was_written(name, written):
    assert escape(name) == written


def test_names_that_look_alike_get_files_of_their_own(board, result):
    for name in ("a b", "a_b", "a/b", "模型", "模式", "../../x", "tiny", "Tiny", "TINY"):
        assert board.add(result(name)).returncode == 0
    assert len({path.name.lower() for path in board.results.iterdir()}) == 9
    file = board.results / "tiny--fine-tuned--metric-1.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"setting": "zero-shot"}))  # by hand: not its name
    done = board.add(result("tiny"), "--replace")
    assert (done.returncode, "contains the result of another model" in done.stderr) == (2, True)


# ---------------------------------------------------------------- render --check


def test_check_passes_on_a_fresh_page_and_fails_on_a_changed_digit(board, result):
    board.add(result())
    text = board.text()
    assert board.render("--check").returncode == 0
    for old, new in (
        ("80.60", "80.61"),
        ("n=256", "n=257"),
        ("50.00 †", "60.00 †"),
        ("54.79", "54.78"),
        ("62.86", "62.96"),
        ("67.30 (65.5", "67.31 (65.5"),
        ("2 = unpaired", "1 = unpaired"),
    ):
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
