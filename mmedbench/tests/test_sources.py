"""The doors of prepare.py: zips (honest and not), the hub (a server on loopback), and exams that come as tables."""

import hashlib
import http.server
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import threading
import zipfile

import pytest

from mmedbench_questions import check_record
from sources import opened_sources

RELEASED = {
    "question": "Q",
    "options": {"A": "1", "B": "2"},
    "answer_idx": "A,B",
    "rationale": "why",
    "human_checked": True,
    "human_check_passed": False,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def released_files(raw, top="MMedBench/"):
    names = ("Train/English.jsonl", "Test/English.jsonl", "Train/Arabic.jsonl", "Test/Arabic.jsonl")
    return {top + name: raw.jsonl(*({**RELEASED, "question": f"{name}, {n}"} for n in range(3))) for name in names}


def put_zip(path, files):
    """A zip of {name, or a ZipInfo: text}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def benchmark(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob("*/*.jsonl"))}


# ---------------------------------------------------------------- zips


def test_a_zip_a_folder_with_the_zip_in_it_and_the_folder_unpacked_give_the_same_questions(tmp_path, raw, run):
    files = {
        **released_files(raw),
        "__MACOSX/MMedBench/Train/._English.jsonl": "x",
        "MMedBench/readme.txt": "x",
        "MMedBench/.DS_Store": "x",
    }
    files["./MMedBench/Test/Arabic.jsonl"] = files.pop("MMedBench/Test/Arabic.jsonl")
    archive = put_zip(tmp_path / "MMedBench.zip", files)
    with zipfile.ZipFile(archive) as opened:
        wanted = [name for name in files if name.lstrip("./").startswith("MMedBench/T")]
        opened.extractall(tmp_path / "unpacked", wanted)
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "README.md").write_text("card", encoding="utf-8")
    put_zip(tmp_path / "clone" / "MMedBench.zip", files)
    made = {}
    for source in (archive, tmp_path / "clone", tmp_path / "unpacked"):
        out = tmp_path / f"out-{source.stem}"
        done = run("prepare.py", source, "--out", out)
        assert done.returncode == 0, done.stderr
        made[source.name] = benchmark(out)
        assert "reused" in run("prepare.py", source, "--out", out).stdout
    assert made["MMedBench.zip"] == made["clone"] == made["unpacked"]
    assert sorted(made["clone"]) == [
        "Test/Arabic.jsonl",
        "Test/English.jsonl",
        "Train/Arabic.jsonl",
        "Train/English.jsonl",
    ]
    record = json.loads(made["clone"]["Test/Arabic.jsonl"].decode().splitlines()[0])
    assert ({name: record[name] for name in RELEASED if name != "question"}, record["language"]) == (
        {name: value for name, value in RELEASED.items() if name != "question"},
        "ar",
    )
    manifest = json.loads((tmp_path / "out-MMedBench" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"]["archives"]["MMedBench.zip"]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert "MMedBench/Test/English.jsonl" in manifest["inputs"]["sources"]


def special(name, mode):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (mode | 0o777) << 16
    return entry


BAD_ENTRIES = {
    "..": ("../evil.jsonl", "outside"),
    ".. inside": ("a/../../evil.jsonl", "outside"),
    "an absolute path": ("/tmp/evil.jsonl", "outside"),
    "a drive": ("C:evil.jsonl", "outside"),
    "backslashes": ("..\\evil.jsonl", "outside"),
    "a NUL": ("a.jsonl\x00/../x", "outside"),
    "a link": (special("link.jsonl", stat.S_IFLNK), "is a link"),
    "a link that is not a data file": (special("passwd", stat.S_IFLNK), "is a link"),
    "a device": (special("pipe.jsonl", stat.S_IFIFO), "is a link or a device"),
}


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_an_archive_with_an_entry_that_leads_outside_is_refused_and_nothing_is_written(tmp_path, raw, run, what):
    name, message = BAD_ENTRIES[what]
    entry = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name.split("\x00")[0])
    if isinstance(name, str):
        entry.filename = entry.orig_filename = name.replace("\x00", "!")
    archive = put_zip(tmp_path / "bad.zip", {**released_files(raw), entry: "/etc/passwd"})
    if "\x00" in str(name):
        archive.write_bytes(archive.read_bytes().replace(b"a.jsonl!", b"a.jsonl\x00"))
    before = sorted(tmp_path.rglob("*"))
    done = run("prepare.py", archive, "--out", tmp_path / "sub" / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert str(archive) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_an_empty_a_doubled_an_encrypted_and_a_huge_archive_are_refused(tmp_path, raw, run, monkeypatch):
    whole = put_zip(tmp_path / "whole.zip", released_files(raw)).read_bytes()
    flags = whole.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
    flags = flags.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "doubled.zip", "w") as archive:
        for _ in range(2):
            archive.writestr("Test/English.jsonl", raw.jsonl(RELEASED))
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.zip").write_bytes(whole[:70] + b"\xff\xff\xff" + whole[73:])
    (tmp_path / "locked.zip").write_bytes(flags)
    put_zip(tmp_path / "empty.zip", {"readme.txt": "x"})
    put_zip(tmp_path / "long.zip", {f"Test/{'x' * 300}.jsonl": "{}"})
    put_zip(tmp_path / "both.zip", {"Test/a.jsonl": "{}", "Test/a.jsonl/b.jsonl": "{}"})
    for name, message in (
        ("cut", "cannot be unpacked"),
        ("damaged", "cannot be unpacked"),
        ("locked", "is encrypted"),
        ("empty", "contains no data file"),
        ("doubled", "occurs twice"),
        ("long", "cannot be unpacked"),
        ("both", "cannot be unpacked"),
    ):
        done = run("prepare.py", tmp_path / f"{name}.zip", "--out", tmp_path / "out")
        assert (done.returncode, message in done.stderr) == (2, True), (name, done.stderr)
    monkeypatch.setattr(opened_sources, "MAX_BYTES", 100)
    done = run("prepare.py", tmp_path / "whole.zip", "--out", tmp_path / "out")
    assert (done.returncode, "more than 100" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_an_error_in_an_archive_names_the_archive_and_the_line(tmp_path, run):
    archive = put_zip(tmp_path / "b.zip", {"MMedBench/Test/English.jsonl": "\n{"})
    done = run("prepare.py", archive, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert f"{archive}/MMedBench/Test/English.jsonl:2: not JSON" in done.stderr


# ---------------------------------------------------------------- the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface_hub asks of the hub, for one dataset."""

    files: dict[str, bytes]
    asked: list[str]

    def log_message(self, *arguments) -> None:
        """Nothing to the terminal."""

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):  # http.server's name
        self.asked.append(self.path)
        here = "/api/datasets/Henrychur/MMedBench"
        if self.path.startswith((f"{here}/revision/main", f"{here}/revision/{COMMIT}")):
            return self.answer(200, json.dumps({"id": "Henrychur/MMedBench", "sha": COMMIT, "siblings": []}).encode())
        if self.path.startswith(f"{here}/revision/"):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if self.path.startswith(f"{here}/tree/{COMMIT}"):
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            return self.answer(200, json.dumps(rows).encode())
        start = f"/datasets/Henrychur/MMedBench/resolve/{COMMIT}/"
        name = self.path.removeprefix(start)
        if self.path.startswith(start) and name in self.files:
            data = self.files[name]
            return self.answer(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=COMMIT)
        return self.answer(404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path):
    """(files to serve, paths asked for, run prepare.py against it as a process of its own)."""
    handler = type("Handler", (Hub,), {"files": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hub-cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def prepare(stage, *arguments, **more):
        return subprocess.run(
            [sys.executable, stage / "prepare.py", *map(str, arguments)],
            env={**environment, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    yield handler.files, handler.asked, prepare
    server.shutdown()
    server.server_close()


def test_the_released_zip_comes_from_the_hub_and_its_commit_stands_in_the_manifest(hub, tmp_path, raw):
    files, asked, prepare = hub
    packed = put_zip(tmp_path / "packed.zip", released_files(raw)).read_bytes()
    files |= {"README.md": b"card", "MMedBench.zip": packed, ".gitattributes": b""}
    done = prepare(raw.stage, "--hub", "Henrychur/MMedBench", "--out", "made")
    assert done.returncode == 0, done.stderr
    assert sorted(benchmark(tmp_path / "made")) == [
        "Test/Arabic.jsonl",
        "Test/English.jsonl",
        "Train/Arabic.jsonl",
        "Train/English.jsonl",
    ]
    inputs = json.loads((tmp_path / "made" / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    assert (inputs["hub"], inputs["commit"]) == ("Henrychur/MMedBench", COMMIT)
    assert inputs["archives"]["MMedBench.zip"]["bytes"] == len(packed)
    assert not any("README" in path for path in asked)
    # Pinned to the commit, and with the network gone, the cache serves.
    asked.clear()
    again = prepare(
        raw.stage, "--hub", "Henrychur/MMedBench", "--revision", COMMIT, "--out", "made", HF_HUB_OFFLINE="1"
    )
    assert (again.returncode, "reused" in again.stdout) == (0, True), again.stderr
    assert asked == []


def test_the_commands_of_the_readme_for_the_released_files_run(hub, tmp_path, raw):
    files, _, prepare = hub
    files["MMedBench.zip"] = put_zip(tmp_path / "MMedBench.zip", released_files(raw)).read_bytes()
    text = (raw.stage / "README.md").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "--hub" in block)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert len(commands) == 2
    for program, script, *arguments in commands:
        assert (program, script) == ("python", "mmedbench/prepare.py")
        done = prepare(raw.stage, *arguments)
        assert done.returncode == 0, done.stderr
    made = [benchmark(tmp_path / "data" / name) for name in ("MMedBench_released", "MMedBench_unpacked")]
    assert made[0] == made[1] != {}


def test_plain_files_on_the_hub_load_as_they_are_and_what_is_not_there_is_named(hub, tmp_path, raw):
    files, _, prepare = hub
    files |= {name: text.encode() for name, text in released_files(raw, "").items()}
    done = prepare(raw.stage, "--hub", "Henrychur/MMedBench", "--out", "made")
    assert done.returncode == 0, done.stderr
    assert len(benchmark(tmp_path / "made")) == 4
    done = prepare(raw.stage, "--hub", "Henrychur/MMedBench", "--revision", "v9", "--out", "other")
    assert (done.returncode, "no such branch, tag or commit" in done.stderr) == (2, True), done.stderr
    done = prepare(raw.stage, "--hub", "Nobody/Nothing", "--out", "other")
    assert (done.returncode, "no such dataset" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "other").exists()


def test_sources_and_hub_are_given_one_at_a_time(tmp_path, run):
    for arguments in ((), (tmp_path, "--hub", "a/b")):
        done = run("prepare.py", *arguments, "--out", tmp_path / "out")
        assert (done.returncode, "one of the two" in done.stderr) == (2, True)


# ---------------------------------------------------------------- exams as tables

GERMAN = """\ufefffrage-nr;Question;A;B;C;D;E;Answer;Rationale;Context\r
1;Welches Vitamin ist fettlöslich?;Vitamin C;Vitamin D;;;;B;"Vitamin D löst sich in Fett;
Vitamin C in Wasser.";\r
2;"Welche sind Gerinnungsfaktoren ""im Blut""?";Fibrinogen;Albumin;Prothrombin;Insulin;Keratin;A, C;;Ein Laborwert.\r
3;Ohne Schlüssel?;ja;nein;;;;;;\r
4;Daneben?;ja;nein;;;;F;;\r
"""
ARABIC = [
    {
        "question": "أي فيتامين يذوب في الدهون؟",
        "options": ["فيتامين C", "فيتامين D"],
        "answer": "فيتامين D",
        "language": "ar",
        "split": "test",
        "rationale": "يذوب في الدهون.",
        "human_checked": True,
    },
    {
        "question": "ما هي عوامل التخثر؟",
        "option_a": "الفيبرينوجين",
        "option_b": "الألبومين",
        "option_c": "البروثرومبين",
        "answer": ["A", "C"],
        "language": "Arabic",
        "split": "train",
    },
    {
        "question": "أيها صحيح؟",
        "options": {"A": "نعم", "B": "لا"},
        "answer_idx": "A",
        "answer": "لا",
        "language": "ar",
        "split": "dev",
    },
]


def test_german_comes_in_as_a_csv_and_arabic_as_jsonl(exams, raw, run):
    exams.put("neu/physikum_de_test.csv", GERMAN)
    exams.put("neu/mle.jsonl", raw.jsonl(*ARABIC))
    done = exams.prepare()
    assert done.returncode == 0, done.stderr
    german = exams.records("Test/German.jsonl")
    assert [(r["answer_idx"], list(r["options"]), r["source"], r["language"]) for r in german] == [
        ("B", ["A", "B"], "physikum", "de"),
        ("A,C", list("ABCDE"), "physikum", "de"),
    ]
    assert german[0]["rationale"] == "Vitamin D löst sich in Fett;\nVitamin C in Wasser."
    assert (german[1]["question"], german[1]["context"]) == (
        'Welche sind Gerinnungsfaktoren "im Blut"?',
        "Ein Laborwert.",
    )
    test, train = exams.records("Test/Arabic.jsonl")[0], exams.records("Train/Arabic.jsonl")[0]
    assert (test["answer_idx"], test["human_checked"], test["source"]) == ("B", True, "mle")
    assert (train["answer_idx"], list(train["options"])) == ("A,C", ["A", "B", "C"])
    assert exams.excluded() == [
        ("neu/mle.jsonl:3", "answer_text_disagrees"),
        ("neu/physikum_de_test.csv:5", "no_answer"),
        ("neu/physikum_de_test.csv:6", "answer_outside_options"),
    ]
    assert all(check_record(record) for record in [*german, test, train])
    assert run("check.py", exams.out).returncode == 0


def test_the_tables_of_the_format_document_are_read_as_it_says(exams, raw):
    text = (raw.stage / "FORMAT.md").read_text(encoding="utf-8")
    examples = re.findall(r"```(?:csv|jsonl) (\S+\.\w+)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in examples] == ["physikum_de_test.csv", "mle.jsonl"]
    for name, content in examples:
        exams.put(name, content)
    done = exams.prepare()
    assert done.returncode == 0, done.stderr
    keys = {
        name: [record["answer_idx"] for record in exams.records(name)]
        for name in ("Test/German.jsonl", "Test/Arabic.jsonl", "Train/Arabic.jsonl")
    }
    assert keys == {"Test/German.jsonl": ["A", "A,C"], "Test/Arabic.jsonl": ["A"], "Train/Arabic.jsonl": ["A"]}
    assert exams.excluded() == []


def test_one_file_alone_is_a_source_too_and_its_neighbours_are_not(exams, run):
    path = exams.put("neu/German_test.csv", GERMAN)
    exams.put("neu/French_test.csv", "no,table\n")
    done = run("prepare.py", path, "--out", exams.out)
    assert done.returncode == 0, done.stderr
    assert [row["where"] for row in exams.records("excluded.jsonl")] == ["German_test.csv:5", "German_test.csv:6"]
    released = exams.put("rel/Test/English.jsonl", json.dumps(RELEASED) + "\n")
    done = run("prepare.py", released, "--out", exams.out.with_name("other"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "language", "split", "source"),
    [
        ("x/German/test.csv", "", "Test", "x"),
        ("x/Train/German.csv", "de", "Train", "x"),
        ("state-exam_AR.dev.tsv", "ar", "Dev", "state exam"),
        ("exam/fr_validation.csv", "fr", "Dev", "exam"),
    ],
)
def test_language_split_and_name_of_a_table_are_read_from_its_path(exams, name, language, split, source):
    sign = "\t" if name.endswith("tsv") else ","
    column = "" if language else f"{sign}language"
    cell = "" if language else f"{sign}de"
    exams.put(name, f"question{sign}A{sign}B{sign}answer{column}\nQ?{sign}yes{sign}no{sign}b{cell}\n")
    done = exams.prepare()
    assert done.returncode == 0, done.stderr
    file = {"ar": "Arabic", "fr": "French"}.get(language, "German")
    record = exams.records(f"{split}/{file}.jsonl")[0]
    assert (record["answer_idx"], record["source"]) == ("B", source)


@pytest.mark.parametrize(
    ("key", "answers"),
    [
        ("b", "B"),
        ("A,C", "A,C"),
        ("c; a", "A,C"),
        ("A C", "A,C"),
        ("AC", "A,C"),
        ("two", "B"),
        (["C", "A"], "A,C"),
        ("2", None),
        ("E", None),
        ("AX", None),
        ("a or b", None),
    ],
)
def test_an_answer_is_read_as_letters_or_the_options_text_and_never_as_a_number(exams, raw, key, answers):
    record = {"question": "Q", "A": "one", "B": "two", "C": "three", "D": "four", "answer": key}
    exams.put("de_test.jsonl", raw.jsonl({**record, "question": "sound", "answer": "A"}, record))
    done = exams.prepare()
    assert done.returncode == 0, done.stderr
    assert [r["answer_idx"] for r in exams.records("Test/German.jsonl")[1:]] == ([answers] if answers else [])
    assert [reason for _, reason in exams.excluded()] == ([] if answers else ["answer_outside_options"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("test.csv", "question,A,B,answer\nQ,1,2,A\n", "test.csv:2: language: neither in a column"),
        ("de.csv", "question,A,B,answer\nQ,1,2,A\n", "de.csv:2: split: neither in a column"),
        ("de_test.csv", "question,A,B,answer,language\nQ,1,2,A,ar\n", "but the file's name or folder says de"),
        ("de_test.csv", "question,A,B,answer,split\nQ,1,2,A,holdout\n", "'holdout' is not one of train"),
        ("de_test.csv", "question,A,option a,answer\nQ,1,2,A\n", "the column A occurs twice"),
        ("de_test.csv", 'question,A,B,answer\n"Q,1,2,A\n', "de_test.csv:2: not CSV"),
        ("de_test.csv", "question,A,B,answer\nQ,1\n", "were excluded"),
    ],
)
def test_a_table_that_cannot_be_placed_is_refused_with_file_and_line(exams, name, text, message):
    exams.put(name, text)
    done = exams.prepare()
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_damaged_rows_are_left_out_named_and_counted(exams):
    rows = ["Q1,1,2,3,A", "Q2,1,2,A", 'Q3,1,,3,"A"', "Q\x004,1,2,3,A", f"{'x' * 2_000_000},1,2,3,C", " ,1,2,3,A"]
    exams.put("de_test.csv", "question,A,B,C,answer\n" + "\n".join(rows) + "\n")
    done = exams.prepare()
    assert done.returncode == 3
    assert [len(r["question"]) for r in exams.records("Test/German.jsonl")] == [2, 2_000_000]
    assert exams.excluded() == [
        ("de_test.csv:3", "cells_disagree"),
        ("de_test.csv:4", "blank_option"),
        ("de_test.csv:5", "nul_character"),
        ("de_test.csv:7", "empty_question"),
    ]


def test_lines_with_medqas_fields_whose_name_says_german_are_no_medqa(exams, raw):
    exams.put("physikum_de_test.jsonl", raw.jsonl(raw.medqa("Was?", "B", answer="that")))
    done = exams.prepare()
    assert done.returncode == 0, done.stderr
    assert exams.records("Test/German.jsonl")[0]["source"] == "physikum"


def test_an_answer_that_is_a_letter_and_another_options_text_is_no_guess(exams, raw):
    groups = {"question": "Welche Blutgruppe?", "options": ["0", "A", "B", "AB"]}
    exams.put(
        "blut_de_test.jsonl",
        raw.jsonl(
            {**groups, "answer": "A"},
            {**groups, "answer": "AB"},
            {**groups, "answer": "0"},
            {**groups, "answer": "D"},
            {**groups, "answer": "", "answer_idx": "A"},
            {**groups, "answer": "A", "answer_idx": "B"},
            {**groups, "answer": "B", "answer_idx": "D"},
            {**groups, "options": ["A", "B", "C"], "answer": "B"},
        ),
    )
    assert exams.prepare().returncode == 0
    assert [record["answer_idx"] for record in exams.records("Test/German.jsonl")] == ["A", "D", "A", "B", "B"]
    assert [reason for _, reason in exams.excluded()] == [
        "ambiguous_answer",
        "ambiguous_answer",
        "answer_text_disagrees",
    ]
