"""prepare.py by its command line: every raw format, every pitfall, the splits, the joins, the record, the crashes."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mmedbench_questions import check_record, question_id
from sources import benchmark_report

KEPT, LEFT_OUT = "kept", "omitted"


def expect_ok(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# ---------------------------------------------------------------- the six formats and their pitfalls


def case_medqa(raw):
    return {
        "medqa/phrases_no_exclude_test.jsonl": raw.jsonl(
            raw.medqa("One", "B", answer="that", meta_info="step1"),
            raw.medqa("Two right letters", "A,C"),
            raw.medqa("Outside", "E"),
            raw.medqa("The text is another option's", "A", answer="that"),
            raw.medqa("No key", ""),
            raw.medqa("Blank option", "A", {"A": "x", "B": "  "}),
            raw.medqa(" ", "A"),
            raw.medqa("NUL\x00 inside", "A"),
            raw.medqa("One option", "A", {"A": "x"}),
        )
    }


def case_igakuqa(raw):
    return {
        "igaku/data/2018/112-A.jsonl": raw.jsonl(
            raw.igakuqa(1, answer=["e", "d"]),
            raw.igakuqa(2, choices=[], answer=["26"]),
            raw.igakuqa(3, answer=["a or d"]),
            raw.igakuqa(4, choices=[f"選択肢{n}" for n in range(8)], answer=["g"]),
            raw.igakuqa(5, points="0"),
            raw.igakuqa(6, text_only=False),
            raw.igakuqa(7, answer=["g"]),
            raw.igakuqa(8, choices=["\u3000", "い"], answer=["b"]),
        )
    }


def case_french(raw):
    return {
        "fr/test.json": json.dumps(
            [
                raw.french("Une", ["c"]),
                raw.french("Deux", ["b", "c"]),
                raw.french("Compte", ["a"], count=2),
                raw.french("Hors", ["f"]),
                raw.french("Aucune", []),
            ]
        )
    }


def case_russian(raw):
    return {
        "ru/test_v1.jsonl": raw.jsonl(
            raw.russian("Первый?"), raw.russian("Второй?", "нет"), raw.russian("Третий?", "может быть")
        )
    }


def case_spanish(raw):
    return {
        "es/test_HEAD.json": raw.headqa(
            raw.spanish("Una", "2"),
            raw.spanish("Con imagen", "3", image="./images/1.jpg"),
            raw.spanish("Cinco", "5", options=5),
            raw.spanish("Fuera", "5"),
            raw.spanish("Dos", "1,2"),
            raw.spanish("Sin clave", ""),
        )
    }


FORMATS = {
    "medqa": (
        case_medqa,
        "English",
        ["B"],
        [
            "several_answers_in_a_single_answer_exam",
            "answer_outside_options",
            "answer_text_disagrees",
            "no_answer",
            "blank_option",
            "empty_question",
            "nul_character",
            "fewer_than_two_options",
        ],
    ),
    "igakuqa": (
        case_igakuqa,
        "Japanese",
        ["A", "D,E", "G"],
        ["no_choices", "alternative_answers", "struck_from_scoring", "answer_outside_options", "blank_option"],
    ),
    "frenchmedmcqa": (
        case_french,
        "French",
        ["C", "B,C"],
        ["answer_count_disagrees", "answer_outside_options", "no_answer"],
    ),
    "rumeddanet": (case_russian, "Russian", ["A", "B"], ["answer_outside_options"]),
    "headqa": (
        case_spanish,
        "Spanish",
        ["B", "C", "E"],
        ["answer_outside_options", "several_answers_in_a_single_answer_exam", "no_answer"],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_exam_keeps_what_its_rules_keep_and_lists_the_rest_in_file_order(exams, raw, name):
    make, language, answers, reasons = FORMATS[name]
    for path, text in make(raw).items():
        exams.put(path, text)
    expect_ok(exams.prepare())
    records = [
        r
        for split in ("Train", "Dev", "Test")
        if (exams.out / split).exists()
        for r in exams.records(f"{split}/{language}.jsonl")
    ]
    kept = [record["answer_idx"] for record in records]
    assert (sorted(kept) if language == "Japanese" else kept) == answers
    assert [reason for _, reason in exams.excluded()] == reasons
    for record in records:
        assert list(check_record(record)) == [
            "id",
            "language",
            "source",
            "question",
            "options",
            "answer_idx",
            "rationale",
            "human_checked",
            "human_check_passed",
        ]
        assert record["id"] == question_id(record)
    sources = exams.manifest()["sources"]
    assert sum(sum(row["excluded"].values()) for row in sources.values()) == len(reasons)


def test_contexts_that_records_go_without_are_listed_and_bad_ones_named(exams, raw):
    rows = [
        raw.russian("Первый?", context="Анемия — снижение гемоглобина."),
        raw.russian("Второй?", context=" "),
        raw.russian("Третий?", context=["не текст"]),
        raw.russian("Четвёртый?", context="\ud800"),
        raw.russian("Пятый?"),
        raw.russian("Шестой?", "может быть"),
    ]
    del rows[4]["context"]
    exams.put("ru/test_v1.jsonl", "".join(json.dumps(row) + "\n" for row in rows))  # half a pair stays an escape
    exams.put("generic/Test/English.jsonl", raw.jsonl(raw.medqa("Is it?", context="It carries its context.")))
    expect_ok(exams.prepare())
    records, lines = exams.records("Test/Russian.jsonl"), exams.records("left_out_contexts.jsonl")
    assert [line["id"] for line in lines] == [record["id"] for record in records]
    assert [(line["context"], line.get("problem")) for line in lines] == [
        ("Анемия — снижение гемоглобина.", None),
        (None, "blank"),
        (None, "not a text: ['не текст']"),
        (None, "a NUL character or half a surrogate pair is in it"),
        (None, "absent"),
    ]
    assert {(line["language"], line["split"], line["source"]) for line in lines} == {("ru", "Test", "RuMedDaNet")}
    manifest = exams.manifest()
    assert manifest["sources"]["RuMedDaNet"]["notes"] == {"without_context": 4}
    assert "left_out_contexts.jsonl" in manifest["files"]
    assert not any("context" in record for record in records)


def test_excluded_questions_are_named_by_file_and_line_relative_to_the_sources(exams, raw):
    for path, text in {**case_igakuqa(raw), **case_french(raw)}.items():
        exams.put(path, text)
    expect_ok(exams.prepare())
    places = [where for where, _ in exams.excluded()]
    assert "igaku/data/2018/112-A.jsonl:2" in places
    assert "fr/test.json: record 3" in places


def test_questions_that_need_an_image_stay_and_are_counted(exams, raw):
    for path, text in {**case_igakuqa(raw), **case_spanish(raw)}.items():
        exams.put(path, text)
    expect_ok(exams.prepare())
    notes = {name: row["notes"] for name, row in exams.manifest()["sources"].items()}
    assert notes == {"IgakuQA": {"needs_an_image": 1}, "HEAD-QA": {"needs_an_image": 1}}


def test_russian_has_yes_and_no_as_options_and_no_context(exams, raw):
    exams.put("ru/test_v1.jsonl", raw.jsonl(raw.russian("Верно?", "нет")))
    expect_ok(exams.prepare())
    record = exams.records("Test/Russian.jsonl")[0]
    assert (record["options"], record["answer_idx"], "context" in record) == ({"A": "да", "B": "нет"}, "B", False)


def test_dev_files_go_to_dev_and_are_never_merged(exams, raw):
    for split in ("train", "dev", "test"):
        exams.put(f"ru/{split}_v1.jsonl", raw.jsonl(raw.russian(f"{split}?")))
    expect_ok(exams.prepare())
    for split in ("Train", "Dev", "Test"):
        assert [r["question"] for r in exams.records(f"{split}/Russian.jsonl")] == [f"{split.lower()}?"]


def test_medqa_is_told_apart_by_script_and_the_lone_mainland_file_is_its_test_split(exams, raw):
    chinese = raw.medqa("下列哪项正确（\u3000\u3000）。", "B", {"A": "这", "B": "那"})
    exams.put("a/MedQA-MCMLE.jsonl", raw.jsonl(chinese))
    exams.put("b/train.jsonl", raw.jsonl(raw.medqa("In English", "B")))
    expect_ok(exams.prepare())
    assert exams.records("Test/Chinese.jsonl")[0]["source"] == "MedQA (Mainland China)"
    assert exams.records("Train/English.jsonl")[0]["source"] == "MedQA (US)"


def test_texts_stay_as_they_are_but_for_the_line_ends_and_mark_of_the_file(exams, raw):
    question = "  Full\u3000width （\u3000\u3000） and a \u2028 line separator "
    text = raw.jsonl(raw.medqa(question, "A"), raw.medqa("x" * 2_000_000, "B")).replace("\n", "\r\n")
    exams.put("m/test.jsonl", b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    exams.put("n/test_v1.jsonl", raw.jsonl(raw.russian()))
    done = expect_ok(exams.prepare())
    assert [len(r["question"]) for r in exams.records("Test/English.jsonl")] == [len(question), 2_000_000]
    assert exams.manifest()["file_notes"] == {"byte_order_mark": ["m/test.jsonl"], "crlf_line_ends": ["m/test.jsonl"]}
    assert exams.manifest()["sources"]["MedQA (US)"]["notes"] == {"very_long_question": 1}
    assert "byte order mark in 1 files" in done.stdout
    assert exams.records("Test/English.jsonl")[0]["question"] == question


# ---------------------------------------------------------------- damaged files stop the run


def broken_files(raw):
    good = raw.jsonl(raw.medqa("Good"))
    return {
        "a broken line": ("m/test.jsonl", good + '{"question": "cut\n' + good, ":2: not JSON"),
        "a line that is not an object": ("m/test.jsonl", good + "[1]\n", ":2: expected a JSON object"),
        "bytes that are not UTF-8": ("m/test.jsonl", good.encode() + b'{"question": "\xe9"}\n', ":2: not UTF-8"),
        "a broken JSON file": ("f/test.json", json.dumps([raw.french()])[:-1], "f/test.json:1: not JSON"),
        "an exam that occurs twice": (
            "e/test_HEAD.json",
            '{"exams": {"a": {"data": []}, "a": {"data": []}}, "qtext": 1}',
            "the key 'a' occurs",
        ),
        "no split in the name": ("m/questions.jsonl", good, "neither train, dev nor test"),
        "a language unknown": ("g/Train/Korean.jsonl", good, "files are named by language"),
        "a third script": ("m/test.jsonl", raw.jsonl(raw.medqa("ما هو الصحيح؟ " * 9)), "say the language in its name"),
    }


DAMAGES = [
    "a broken line",
    "a line that is not an object",
    "bytes that are not UTF-8",
    "a broken JSON file",
    "an exam that occurs twice",
    "no split in the name",
    "a language unknown",
    "a third script",
]


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_ends_with_exit_2_and_a_sentence_that_names_the_place(exams, raw, what):
    assert sorted(broken_files(raw)) == sorted(DAMAGES)
    path, text, message = broken_files(raw)[what]
    exams.put(path, text)
    exams.put("ru/test_v1.jsonl", raw.jsonl(raw.russian()))
    done = exams.prepare()
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(exams.root) in done.stderr
    assert not exams.out.exists()


# ---------------------------------------------------------------- damaged records are omitted, counted and listed


def damaged_records(raw):
    good = raw.jsonl(raw.medqa("Good"))
    return {
        "a duplicate key": (
            "m/test.jsonl",
            good + good[:-2] + ', "answer_idx": "B"}\n',
            "m/test.jsonl:2",
            "duplicate_key",
            "the key 'answer_idx' occurs twice",
        ),
        "a duplicate option": (
            "m/test.jsonl",
            good + good.replace('"A": "this"', '"A": "this", "A": "that"'),
            "m/test.jsonl:2",
            "duplicate_key",
            "the key 'A' occurs twice",
        ),
        "a duplicate key in a list": (
            "f/test.json",
            json.dumps([raw.french()])[:-2] + ', "question": "Again"}]',
            "f/test.json: record 1",
            "duplicate_key",
            "the key 'question' occurs twice",
        ),
        "no options": (
            "m/test.jsonl",
            good + '{"question": "x", "answer_idx": "A"}\n',
            "m/test.jsonl:2",
            "field_missing",
            "options: missing",
        ),
        "no answer field": (
            "m/test.jsonl",
            good + '{"question": "x", "options": {"A": "1", "B": "2"}}\n',
            "m/test.jsonl:2",
            "field_missing",
            "answer_idx: missing",
        ),
        "a letter missing": (
            "m/test.jsonl",
            raw.jsonl(raw.medqa("x", "A", {"A": "1", "C": "2"})),
            "m/test.jsonl:1",
            "option_letters",
            "without a gap",
        ),
        "an aid that occurs twice": (
            "e/test_HEAD.json",
            raw.headqa(raw.spanish()).replace('"aid": 2', '"aid": 1'),
            "e/test_HEAD.json: Cuaderno, record 1",
            "option_letters",
            "one aid occurs twice",
        ),
        "a wrong type": (
            "m/test.jsonl",
            good + raw.jsonl(raw.medqa("x", ["A"])),
            "m/test.jsonl:2",
            "wrong_type",
            "answer_idx: expected a text",
        ),
        "a list entry that is not an object": (
            "f/test.json",
            json.dumps([raw.french(), 3]),
            "f/test.json: record 2",
            "wrong_type",
            "expected a JSON object",
        ),
        "a mark that is none": (
            "g/Test/English.jsonl",
            raw.jsonl(raw.medqa("x", human_checked="yes")),
            "g/Test/English.jsonl:1",
            "wrong_type",
            "human_checked: expected true or false",
        ),
        "a bare NUL": (
            "m/test.jsonl",
            good + good.replace("Good", "Go\x00od"),
            "m/test.jsonl:2",
            "nul_character",
            "a bare NUL",
        ),
        "an escaped NUL": (
            "m/test.jsonl",
            good + good.replace("Good", "Go\\u0000od"),
            "m/test.jsonl:2",
            "nul_character",
            "Go?od",
        ),
        "half a surrogate pair": (
            "m/test.jsonl",
            good + good.replace("Good", "Go\\ud800od"),
            "m/test.jsonl:2",
            "nul_character",
            "Go?od",
        ),
    }


RECORD_DAMAGES = [
    "a duplicate key",
    "a duplicate option",
    "a duplicate key in a list",
    "no options",
    "no answer field",
    "a letter missing",
    "an aid that occurs twice",
    "a wrong type",
    "a list entry that is not an object",
    "a mark that is none",
    "a bare NUL",
    "an escaped NUL",
    "half a surrogate pair",
]


@pytest.mark.parametrize("what", RECORD_DAMAGES)
def test_a_damaged_record_is_left_out_named_by_place_and_counted_and_the_others_stay(exams, raw, what):
    assert sorted(damaged_records(raw)) == sorted(RECORD_DAMAGES)
    path, text, where, reason, detail = damaged_records(raw)[what]
    exams.put(path, text)
    exams.put("ru/test_v1.jsonl", raw.jsonl(raw.russian()))
    for _ in range(2):  # the second run reuses the first's output and says the same
        done = exams.prepare()
        assert done.returncode == (0 if reason == "nul_character" else 3), done.stderr
    assert exams.excluded() == [(where, reason)]
    row = exams.records("excluded.jsonl")[0]
    assert detail in row["detail"]
    assert exams.manifest()["sources"][row["source"]]["excluded"] == {reason: 1}
    assert len(exams.records("Test/Russian.jsonl")) == 1
    assert ("1 damaged records" in done.stderr) == (reason != "nul_character")


def test_two_files_that_claim_one_split_are_refused(exams, raw):
    exams.put("US/test.jsonl", raw.jsonl(raw.medqa("five options")))
    exams.put("US/4_options/phrases_no_exclude_test.jsonl", raw.jsonl(raw.medqa("four options")))
    done = exams.prepare()
    assert done.returncode == 2
    assert "2 files claim the Test questions of MedQA (US)" in done.stderr


def test_a_folder_without_any_exam_and_a_missing_folder_are_refused(exams, run):
    exams.put("notes.json", "{}")
    done = exams.prepare()
    assert (done.returncode, "no exam is recognised" in done.stderr) == (2, True)
    done = run("prepare.py", exams.root / "nowhere", "--out", exams.out)
    assert (done.returncode, "is not a folder" in done.stderr) == (2, True)


# ---------------------------------------------------------------- the released layout and exams brought in by hand


def test_the_released_layout_loads_as_it_is_and_german_comes_in_by_the_same_door(exams, raw):
    released = {
        "question": "Q",
        "options": {"A": "1", "B": "2"},
        "answer_idx": "A,B",
        "rationale": "why",
        "human_checked": True,
        "human_check_passed": True,
    }
    exams.put("generic/Test/English.jsonl", raw.jsonl(released))
    exams.put("generic/Train/German.jsonl", raw.jsonl({**released, "question": "Frage?", "source": "Physikum"}))
    expect_ok(exams.prepare())
    test, train = exams.records("Test/English.jsonl")[0], exams.records("Train/German.jsonl")[0]
    assert {name: test[name] for name in released} == released
    assert (test["source"], train["source"], train["language"]) == ("generic", "Physikum", "de")


def test_its_own_output_is_a_source_that_gives_the_same_questions_again(exams, raw, run, tmp_path):
    for path, text in {**case_french(raw), **case_igakuqa(raw)}.items():
        exams.put(path, text)
    expect_ok(exams.prepare())
    expect_ok(run("prepare.py", exams.out, "--out", tmp_path / "again"))
    for path in sorted(exams.out.glob("*/*.jsonl")):
        assert (tmp_path / "again" / path.relative_to(exams.out)).read_bytes() == path.read_bytes()


# ---------------------------------------------------------------- known test questions and the Japanese split


def known_folder(tmp_path, raw, name, *records):
    folder = tmp_path / "known" / "Test"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(raw.jsonl(*records), encoding="utf-8")
    return folder.parent


def test_a_known_test_question_is_never_in_train_or_dev(exams, raw, tmp_path):
    for split in ("train", "dev", "test"):
        exams.put(f"m/{split}.jsonl", raw.jsonl(raw.medqa(f"own {split}"), raw.medqa("Known, to all!")))
    known = known_folder(
        tmp_path,
        raw,
        "English.jsonl",
        raw.medqa("known to ALL", "D", {"A": "both", "B": "neither", "C": "that", "D": "this"}),
    )
    done = expect_ok(exams.prepare("--known-test", known))
    assert [r["question"] for r in exams.records("Train/English.jsonl")] == ["own train"]
    assert [r["question"] for r in exams.records("Dev/English.jsonl")] == ["own dev"]
    assert len(exams.records("Test/English.jsonl")) == 2
    assert exams.manifest()["known_test"]["taken_out"] == 2
    assert [reason for _, reason in exams.excluded()] == ["known_test_question"] * 2
    assert "0 of 1 reproduced (0.0 %), 1 differ" in done.stdout


def test_japanese_is_split_here_with_the_known_questions_in_test_and_is_not_called_released(exams, raw, tmp_path):
    exams.put("j/data/2018/112-A.jsonl", raw.jsonl(*(raw.igakuqa(n) for n in range(100))))
    known = [
        {
            "question": f"正しいのはどれか。{n}",
            "options": dict(zip("ABCDE", "あいうえお", strict=True)),
            "answer_idx": "A",
        }
        for n in range(4)
    ]
    done = expect_ok(exams.prepare("--known-test", known_folder(tmp_path, raw, "Japanese.jsonl", *known)))
    splits = {split: {r["id"] for r in exams.records(f"{split}/Japanese.jsonl")} for split in ("Train", "Dev", "Test")}
    assert {split: len(ids) for split, ids in splits.items()} == {"Train": 80, "Dev": 10, "Test": 10}
    assert {question_id(r) for r in known} <= splits["Test"]
    assert exams.manifest()["released_split"] == {"ja": False}
    assert "4 of 4 reproduced (100.0 %)" in done.stdout


def test_the_japanese_split_depends_on_the_questions_and_not_on_their_order(exams, raw, run, tmp_path):
    exams.put("j/112-A.jsonl", raw.jsonl(*(raw.igakuqa(n) for n in range(50))))
    expect_ok(exams.prepare())
    other = tmp_path / "other"
    other.mkdir()
    (other / "112-A.jsonl").write_text(raw.jsonl(*(raw.igakuqa(n) for n in reversed(range(50)))), encoding="utf-8")
    expect_ok(run("prepare.py", other, "--out", tmp_path / "out2"))
    for split in ("Train", "Dev", "Test"):
        ids = [{r["id"] for r in raw.lines(out / split / "Japanese.jsonl")} for out in (exams.out, tmp_path / "out2")]
        assert ids[0] == ids[1]


def test_a_test_split_of_another_size_than_published_is_not_called_released(exams, raw):
    exams.put("ru/test_v1.jsonl", raw.jsonl(*(raw.russian(f"{n}?") for n in range(255))))
    expect_ok(exams.prepare())
    assert exams.manifest()["released_split"] == {"ru": False}
    shutil.rmtree(exams.out)
    exams.put("ru/test_v1.jsonl", raw.jsonl(*(raw.russian(f"{n}?") for n in range(256))))
    expect_ok(exams.prepare())
    assert exams.manifest()["released_split"] == {"ru": True}


def test_an_unusable_known_test_folder_is_refused(exams, raw, tmp_path):
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa()))
    done = exams.prepare("--known-test", tmp_path / "nowhere")
    assert (done.returncode, "--known-test" in done.stderr) == (2, True)


# ---------------------------------------------------------------- copies and rationales


def copies(exams, raw):
    same = raw.medqa("Same?", "A")
    exams.put("m/test.jsonl", raw.jsonl(same, raw.medqa("Other?"), same))
    exams.put("m/train.jsonl", raw.jsonl(raw.medqa("same", "A"), raw.medqa("Mine?"), raw.medqa("MINE", "B")))


def test_copies_are_reported_inside_and_across_splits_and_kept_by_default(exams, raw):
    copies(exams, raw)
    expect_ok(exams.prepare())
    assert len(exams.records("Test/English.jsonl")) == len(exams.records("Train/English.jsonl")) == 3
    groups = exams.records("duplicates.jsonl")
    assert sorted((len(g["places"]), g["same_answer"]) for g in groups) == [(2, False), (3, True)]
    assert exams.manifest()["duplicates"] == {
        "removed": 0,
        "groups": {"en: Train + Test": 1, "en: inside Train": 1, "en: inside Train, with different answers": 1},
    }


def test_remove_duplicates_keeps_one_copy_and_prefers_test(exams, raw):
    copies(exams, raw)
    expect_ok(exams.prepare("--remove-duplicates"))
    assert [r["question"] for r in exams.records("Test/English.jsonl")] == ["Same?", "Other?"]
    assert [r["question"] for r in exams.records("Train/English.jsonl")] == ["Mine?"]
    assert [reason for _, reason in exams.excluded()] == ["duplicate"] * 3


def test_remove_duplicates_takes_copies_of_an_english_benchmark_out_of_train_but_leaves_test_and_benchmarks(exams, raw):
    options = {"A": "1", "B": "2", "C": "3", "D": "4"}
    put_benchmarks(exams, raw)
    for split in ("train", "test"):
        exams.put(f"medqa/{split}.jsonl", raw.jsonl(raw.medqa("Q", "B", options), raw.medqa(f"US {split}")))
    expect_ok(exams.prepare("--remove-duplicates", "--english-benchmarks"))
    assert [r["question"] for r in exams.records("Train/English.jsonl")] == ["US train"]
    assert [r["question"] for r in exams.records("Test/English.jsonl")] == ["Q", "US test"]
    assert [r["question"] for r in exams.records("English_benchmarks/MedMCQA.jsonl")] == ["Q"]


def test_sources_behind_links_are_found_once_and_a_link_in_a_circle_does_no_harm(exams, raw, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "test_v1.jsonl").write_text(raw.jsonl(raw.russian()), encoding="utf-8")
    (exams.root / "ru").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(exams.root)
    expect_ok(exams.prepare())
    assert len(exams.records("Test/Russian.jsonl")) == 1


def test_rationales_join_by_id_and_the_unmatched_are_counted_and_named(exams, raw, tmp_path):
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa("Q1"), raw.medqa("Q2")))
    rationales = tmp_path / "rationales.jsonl"
    rationales.write_text(
        raw.jsonl(
            {"id": question_id(raw.medqa("Q1")), "rationale": "because", "human_checked": True},
            {"id": "0123456789abcdef", "rationale": "of nothing"},
        ),
        encoding="utf-8",
    )
    expect_ok(exams.prepare("--rationales", rationales))
    records = exams.records("Test/English.jsonl")
    assert [r["rationale"] for r in records] == ["because", ""]
    assert (records[0]["human_checked"], records[0]["human_check_passed"]) == (True, False)
    assert exams.manifest()["rationales"] == {"given": 2, "joined": 1, "unmatched": 1}
    assert exams.records("unmatched_rationales.jsonl") == [
        {"file": "rationales.jsonl", "record": 2, "id": "0123456789abcdef"}
    ]


def test_two_rationales_of_one_question_are_refused(exams, raw, tmp_path):
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa("Q1")))
    rationales = tmp_path / "r.jsonl"
    rationales.write_text(raw.jsonl({"id": "a", "rationale": "1"}, {"id": "a", "rationale": "2"}), encoding="utf-8")
    done = exams.prepare("--rationales", rationales)
    assert (done.returncode, f"{rationales}:2: a second rationale" in done.stderr) == (2, True)


# ---------------------------------------------------------------- English benchmarks


def put_benchmarks(exams, raw):
    medmcqa = {"question": "Q", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": 2, "exp": None}
    exams.put("medmcqa/dev.json", raw.jsonl(medmcqa, {**medmcqa, "question": "R", "cop": 5}))
    abstract = {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"}
    exams.put("pubmedqa/ori_pqal.json", json.dumps({"11": abstract, "12": abstract}))
    exams.put("pubmedqa/test_ground_truth.json", json.dumps({"12": "maybe"}))
    exams.put("mmlu/anatomy_test.csv", '"A ""quoted"" one, with\na line",1,2,3,4,D\nB,1,2,3,4,A\n')
    exams.put("medqa/test.jsonl", raw.jsonl(raw.medqa("US")))


def test_the_english_benchmarks_are_written_on_demand_with_the_abstract_as_context(exams, raw):
    put_benchmarks(exams, raw)
    expect_ok(exams.prepare("--english-benchmarks"))
    folder = exams.out / "English_benchmarks"
    assert sorted(p.name for p in folder.iterdir()) == [
        "MMLU_anatomy.jsonl",
        "MedMCQA.jsonl",
        "MedQA.jsonl",
        "PubMedQA.jsonl",
    ]
    pubmed = exams.records("English_benchmarks/PubMedQA.jsonl")
    assert [(r["context"], r["answer_idx"], r["options"]["C"]) for r in pubmed] == [("One.\nTwo.", "C", "maybe")]
    assert [r["answer_idx"] for r in exams.records("English_benchmarks/MMLU_anatomy.jsonl")] == ["D", "A"]
    assert [r["answer_idx"] for r in exams.records("English_benchmarks/MedMCQA.jsonl")] == ["B"]
    assert exams.excluded() == [("medmcqa/dev.json:2", "answer_outside_options")]
    assert exams.records("English_benchmarks/MedQA.jsonl") == exams.records("Test/English.jsonl")


def test_without_the_flag_no_benchmark_is_written_and_with_none_there_the_flag_is_refused(exams, raw):
    put_benchmarks(exams, raw)
    expect_ok(exams.prepare())
    assert not (exams.out / "English_benchmarks").exists()
    shutil.rmtree(exams.out)
    for name in ("medmcqa", "pubmedqa", "mmlu", "medqa"):
        shutil.rmtree(exams.root / name)
    exams.put("ru/test_v1.jsonl", raw.jsonl(raw.russian()))
    done = exams.prepare("--english-benchmarks")
    assert (done.returncode, "contains none of MedQA" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [(), ("--english-benchmarks",)])
def test_what_a_run_wrote_is_a_source_again_with_its_english_benchmarks(exams, raw, run, tmp_path, arguments):
    exams.put("us/test.jsonl", raw.jsonl(raw.medqa()))
    exams.put("mmlu/anatomy_test.csv", "Where is it?,here,there,up,down,D\n")
    assert exams.prepare("--english-benchmarks").returncode == 0
    odd = raw.jsonl({**exams.records("English_benchmarks/MMLU_anatomy.jsonl")[0], "source": "../../odd"})
    (exams.out / "English_benchmarks" / "Odd.jsonl").write_text(odd, encoding="utf-8")
    again = tmp_path / "again"
    done = run("prepare.py", exams.out, "--out", again, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    names = ["MMLU_anatomy.jsonl", "MedQA.jsonl"]
    for name in ["Test/English.jsonl", *(f"English_benchmarks/{name}" for name in names if arguments)]:
        assert (again / name).read_bytes() == (exams.out / name).read_bytes()
    written = sorted(path.name for path in again.glob("English_benchmarks/*"))
    assert written == ([*names, "Odd.jsonl"] if arguments else [])


# ---------------------------------------------------------------- the output as an artefact


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "manifest.json"
    }


def test_the_manifest_describes_every_file_and_a_second_run_reuses_it(exams, raw):
    for path, text in {**case_french(raw), **case_igakuqa(raw)}.items():
        exams.put(path, text)
    expect_ok(exams.prepare())
    before, manifest = tree(exams.out), exams.manifest()
    assert {name: row["sha256"] for name, row in manifest["files"].items()} == before
    assert {"format_version", "stage", "arguments", "inputs", "counts", "parent", "provenance"} <= manifest.keys()
    assert str(exams.root) not in json.dumps({k: v for k, v in manifest.items() if k != "provenance"})
    done = expect_ok(exams.prepare())
    assert "reused" in done.stdout
    assert (tree(exams.out), exams.manifest()) == (before, manifest)


def test_other_inputs_other_arguments_and_edited_files_are_not_mixed_in(exams, raw):
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa()))
    expect_ok(exams.prepare())
    done = exams.prepare("--remove-duplicates")
    assert (done.returncode, "different arguments" in done.stderr) == (2, True)
    (exams.out / "Test" / "English.jsonl").write_text("", encoding="utf-8")
    done = exams.prepare()
    assert (done.returncode, "was changed after it was made" in done.stderr) == (2, True)
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa("changed")))
    done = exams.prepare()
    assert (done.returncode, "different inputs" in done.stderr) == (2, True)


def test_a_folder_with_foreign_files_and_a_place_inside_the_sources_are_refused(exams, raw, run):
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa()))
    exams.out.mkdir()
    (exams.out / "thesis.txt").write_text("mine", encoding="utf-8")
    done = exams.prepare()
    assert (done.returncode, "no manifest.json" in done.stderr) == (2, True)
    done = run("prepare.py", exams.root, "--out", exams.root / "out")
    assert (done.returncode, "inside SOURCES" in done.stderr) == (2, True)


def test_a_dry_run_checks_and_reports_but_writes_nothing(exams, raw):
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa()))
    done = expect_ok(exams.prepare("--dry-run"))
    assert "dry run: would write 1 file" in done.stdout
    assert not exams.out.exists()


def test_a_recipe_gives_the_same_flags_and_an_unknown_key_is_refused(exams, raw, tmp_path):
    copies(exams, raw)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("remove_duplicates: true\n", encoding="utf-8")
    expect_ok(exams.prepare("--recipe", recipe))
    assert exams.manifest()["arguments"]["remove_duplicates"] is True
    recipe.write_text("remove_duplicate: true\n", encoding="utf-8")
    done = exams.prepare("--recipe", recipe)
    assert (done.returncode, "unknown key" in done.stderr) == (2, True)


@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.45, 0.6])
def test_a_run_killed_at_any_time_and_run_again_finishes_with_the_same_bytes(exams, raw, run, tmp_path, delay_s):
    exams.put("ru/train_v1.jsonl", raw.jsonl(*(raw.russian(f"{n}?") for n in range(6000))))
    exams.put("m/test.jsonl", raw.jsonl(raw.medqa()))
    command = [sys.executable, raw.stage / "prepare.py", exams.root, "--out", exams.out]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if exams.out.exists():
        assert (exams.out / "manifest.json").exists()
    expect_ok(exams.prepare())
    expect_ok(run("prepare.py", exams.root, "--out", tmp_path / "whole"))
    assert tree(exams.out) == tree(tmp_path / "whole")
    assert not exams.out.with_name("out.partial").exists()


def test_the_output_loads_with_datasets(exams, raw, tmp_path):
    datasets = pytest.importorskip("datasets")
    for path, text in {**case_french(raw), **case_spanish(raw), **case_igakuqa(raw)}.items():
        exams.put(path, text)
    exams.put("ru/train_v1.jsonl", raw.jsonl(raw.russian("Верно?")))
    put_benchmarks(exams, raw)
    expect_ok(exams.prepare("--english-benchmarks"))
    counts = {
        split: sum(len(exams.records(f"{split}/{p.name}")) for p in (exams.out / split).glob("*.jsonl"))
        for split in ("Train", "Dev", "Test")
        if (exams.out / split).exists()
    }
    names = {"Train": "train", "Dev": "validation", "Test": "test"}
    loaded = datasets.load_dataset(str(exams.out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {names[s]: n for s, n in counts.items()}
    french = datasets.load_dataset(str(exams.out), "fr", cache_dir=str(tmp_path / "cache"))["test"]
    assert [{k: v for k, v in row["options"].items() if v} for row in french] == [
        r["options"] for r in exams.records("Test/French.jsonl")
    ]
    benchmarks = datasets.load_dataset(str(exams.out), "english_benchmarks", cache_dir=str(tmp_path / "cache"))["test"]
    assert {row["context"] for row in benchmarks if row["source"] == "PubMedQA"} == {"One.\nTwo."}


def test_a_split_that_was_made_here_stays_so_when_the_output_is_read_again(exams, raw, run, tmp_path, monkeypatch):
    exams.put("ja/2018.jsonl", raw.jsonl(*(raw.igakuqa(n) for n in range(20))))
    expect_ok(exams.prepare())
    found = {row["split"]: row["found"] for row in exams.manifest()["counts"] if row["language"] == "ja"}
    counts = {"ja": {"Train": found["Train"], "Test": found["Test"]}}  # as many as were published, by chance
    monkeypatch.setattr(benchmark_report, "published_counts", lambda: counts)
    again = tmp_path / "again"
    expect_ok(run("prepare.py", exams.out, "--out", again))
    assert json.loads((again / "manifest.json").read_text(encoding="utf-8"))["released_split"] == {"ja": False}
    (exams.out / "manifest.json").write_text("[]", encoding="utf-8")  # somebody else's
    expect_ok(run("prepare.py", exams.out, "--out", tmp_path / "third"))


def test_files_that_are_no_exam_are_left_alone_by_name(exams, raw):
    exams.put("rumeddanet_ru/test_v1.jsonl", raw.jsonl(raw.russian()))
    exams.put("notes/unknown_columns.csv", "spalte,zeile\n1,2\n")
    done = exams.prepare()
    expect_ok(done)
    assert "unknown_columns.csv" in done.stdout
    assert exams.manifest()["left_alone"] == ["notes/unknown_columns.csv"]
