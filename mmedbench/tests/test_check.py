"""check.py and FORMAT.md: every problem of every line is named, and the document's examples are what it says."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import check
from mmedbench_questions import RecordError, check_record, question_id
from run_record import InputError

GOOD = {"question": "Q", "options": {"A": "1", "B": "2"}, "answer_idx": "A"}


def put(folder, name, *lines):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_bytes(("\n".join(texts) + "\n").encode("utf-8", "surrogatepass"))
    return path


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{", "record"),
        ("[]", "record"),
        ('{"question": "Q", "question": "R"}', "record"),
        ({**GOOD, "question": " "}, "question"),
        ({**GOOD, "question": 3}, "question"),
        ({**GOOD, "options": ["1", "2"]}, "options"),
        ({**GOOD, "options": {"A": "1", "C": "2"}}, "options"),
        ({**GOOD, "options": {"B": "1", "A": "2"}}, "options"),
        ({**GOOD, "options": {"A": "1"}}, "options"),
        ({**GOOD, "options": {"A": "1", "B": ""}}, "options.B"),
        ({**GOOD, "answer_idx": "C"}, "answer_idx"),
        ({**GOOD, "answer_idx": "B,A"}, "answer_idx"),
        ({**GOOD, "answer_idx": "A,A"}, "answer_idx"),
        ({**GOOD, "answer_idx": ["A"]}, "answer_idx"),
        ({**GOOD, "answer_idx": ""}, "answer_idx"),
        ({**GOOD, "rationale": 1}, "rationale"),
        ({**GOOD, "human_checked": "yes"}, "human_checked"),
        ({**GOOD, "id": "0" * 16}, "id"),
        ({**GOOD, "language": "fr"}, "language"),
        ({**GOOD, "rationale": "a\x00b"}, "rationale"),
        ('{"question": "\\ud800", "options": {"A": "1", "B": "2"}, "answer_idx": "A"}', "question"),
    ],
)
def test_a_broken_line_is_named_by_file_line_and_field(tmp_path, run, line, field):
    path = put(tmp_path, "Test/English.jsonl", GOOD, line)
    done = run("check.py", tmp_path)
    assert done.returncode == 1
    assert f"{path}:2: {field}: " in done.stdout
    assert f"{path}:1:" not in done.stdout


def test_every_problem_is_printed_not_only_the_first(tmp_path, run):
    put(tmp_path, "Test/English.jsonl", {"question": "", "answer_idx": "A", "human_checked": 1}, {**GOOD, "id": "x"})
    done = run("check.py", tmp_path)
    assert re.findall(r":(\d+): (\w+): ", done.stdout) == [
        ("1", "question"),
        ("1", "options"),
        ("1", "human_checked"),
        ("2", "id"),
    ]
    assert "4 problems" in done.stdout


def test_a_sound_folder_a_sound_split_and_a_sound_file_pass_with_bom_crlf_and_twins(tmp_path, run):
    path = put(tmp_path, "Test/English.jsonl", GOOD, GOOD, {**GOOD, "id": question_id(GOOD), "language": "en"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    for place in (tmp_path, path.parent, path):
        done = run("check.py", place)
        assert done.returncode == 0, done.stdout
        assert "3 records, 0 problems, 2 duplicate ids" in done.stdout


def test_questions_in_train_and_test_are_noted(tmp_path, run):
    for split in ("Train", "Test"):
        put(tmp_path, f"{split}/English.jsonl", GOOD)
    done = run("check.py", tmp_path)
    assert (done.returncode, "1 ids are in Train and in Test" in done.stdout) == (0, True)


def test_empty_files_bad_bytes_and_unknown_languages_are_problems(tmp_path, run):
    put(tmp_path, "Test/English.jsonl").write_bytes(b"")
    put(tmp_path, "Test/Korean.jsonl", GOOD)
    put(tmp_path, "Test/French.jsonl").write_bytes(b'{"question": "\xe9"}\n')
    done = run("check.py", tmp_path)
    assert done.returncode == 1
    for text in (
        "English.jsonl:1: record: the file contains no",
        "Korean.jsonl:1: language: ",
        "French.jsonl:1: record",
    ):
        assert text in done.stdout


def test_nothing_to_check_exits_2(tmp_path, run):
    for place in (tmp_path, tmp_path / "nowhere"):
        assert run("check.py", place).returncode == 2
    with pytest.raises(InputError, match="contains no"):
        check.files_to_check(tmp_path)


texts = st.one_of(st.text(max_size=3), st.just("x"))
letters = st.sampled_from(["A", "B", "C", "D", "a"])
values = st.one_of(texts, st.none(), st.integers(), st.lists(texts, max_size=2))
records = st.fixed_dictionaries(
    {},
    optional={
        "question": values,
        "answer_idx": st.one_of(values, st.sampled_from(["A", "B", "A,B", "B,A", "C"])),
        "options": st.one_of(values, st.dictionaries(letters, st.one_of(values, texts), max_size=4)),
        "rationale": values,
        "context": values,
    },
)


@given(records)
@settings(max_examples=300, deadline=None)
def test_whatever_the_shared_reader_refuses_the_checker_names(record):
    try:
        check_record(record)
    except RecordError:
        assert list(check.record_problems(record, None))


def test_the_examples_of_the_format_document_are_valid_and_invalid_as_it_says(tmp_path, run, raw):
    text = (raw.stage / "FORMAT.md").read_text(encoding="utf-8")
    examples = re.findall(r"```jsonl (\w+)\n(.*?)\n```", text, re.DOTALL)
    assert [kind for kind, _ in examples] == ["valid", "answer_idx", "options", "id"]
    for kind, line in examples:
        path = put(tmp_path, f"{kind}/English.jsonl", line)
        done = run("check.py", path.parent)
        assert done.returncode == (0 if kind == "valid" else 1), done.stdout
        assert re.findall(r":1: ([\w.]+): ", done.stdout) == ([] if kind == "valid" else [kind])


def test_the_id_recipe_of_the_format_document_gives_the_same_ids_in_other_words():
    """FORMAT.md's four steps, written again without the stage's code."""
    import hashlib
    import unicodedata

    record = {"question": " Ｑ １ \n ß\u3000?", "options": {"A": "É\t", "B": 'a "b" \\'}, "context": "ﬁ\x01"}

    def flat(text):
        return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

    def quoted(text):
        return '"' + flat(text).replace("\\", "\\\\").replace('"', '\\"').replace("\x01", "\\u0001") + '"'

    options = ",".join(f'["{letter}",{quoted(text)}]' for letter, text in record["options"].items())
    compact = f"[{quoted(record['question'])},[{options}],{quoted(record['context'])}]"
    assert question_id(record) == hashlib.sha256(compact.encode()).hexdigest()[:16]


def test_what_cannot_be_read_is_a_problem_of_its_file_and_the_others_are_checked(tmp_path, run, raw):
    (tmp_path / "Test" / "French.jsonl").mkdir(parents=True)
    (tmp_path / "Test" / "Chinese.jsonl").symlink_to("nowhere")
    (tmp_path / "Test" / "Spanish.jsonl").write_text(raw.jsonl(raw.medqa()), encoding="utf-8")
    done = run("check.py", tmp_path)
    assert done.returncode == 1
    assert "French.jsonl:1: record: the file cannot be read (Is a directory)" in done.stdout
    assert "Chinese.jsonl:1: record: the file cannot be read (No such file" in done.stdout
    assert "Spanish.jsonl: 1 records, 0 problems" in done.stdout
