"""filter.py at size: kills at any moment, shards, two runs at once, full disks, bounded memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pyarrow
import pyarrow.parquet
import pytest

KEYS = ("counts", "cleaning", "files", "inputs", "arguments", "input_sha256", "repeated_ids")


def start(made, arguments: list) -> subprocess.Popen:
    command = [sys.executable, made.stage / "filter.py", *arguments]
    return subprocess.Popen(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Two parquet files of many row groups, JSON lines and text files: about 4 MB of text, some of it medical."""
    folder = tmp_path_factory.mktemp("many")
    medical = (
        "The patient came to the hospital with fever, cough and chest pain. The physician suspected pneumonia, "
        "ordered a chest radiograph and blood tests, and began antibiotic treatment at once. "
    )
    general = "The train to the coast leaves at nine, and the ticket office opens an hour before. " * 8
    rows = [
        {"text": f"{general} {i}" if i % 10 else f"{medical} {i}", "id": None if i % 7 == 0 else f"d{i}", "n": i}
        for i in range(2000)
    ]
    (folder / "en").mkdir()
    for name in ("a", "b"):
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / "en" / f"{name}.parquet", row_group_size=200)
    with open(folder / "en" / "c.jsonl", "w", encoding="utf-8") as lines:
        for i, row in enumerate(rows):
            lines.write(json.dumps(row | ({"late": i} if i > 1500 else {})) + "\n")
    for i in range(30):
        (folder / "en" / f"{i:02d}.txt").write_text(medical if i % 3 == 0 else general, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """What an undisturbed run writes, and the flags of it."""
    from filter import main

    out = tmp_path_factory.mktemp("whole") / "out"
    flags = ["--unit-mb", "1", "--keep-rejected", "--keep-scores"]
    assert main([str(many), "--out", str(out), *flags]) == 0
    return out, flags


def assert_same(made, out, whole) -> None:
    assert made.files(out) == made.files(whole)
    first, second = made.manifest(out), made.manifest(whole)
    assert {k: first[k] for k in KEYS} == {k: second[k] for k in KEYS}


def test_every_kind_of_file_is_read_and_every_document_has_an_id(many, whole, made):
    out, _ = whole
    manifest = made.manifest(out)
    assert manifest["counts"]["en"]["read"] == 6030
    assert manifest["counts"]["en"]["kept"] == 610
    names = sorted(name for name in manifest["files"] if name.startswith("en/"))
    kept = [row for name in names for row in made.table(out / name)]
    ids = {row["id"] for row in kept}
    assert {"00.txt", "en/a.parquet#0"} & ids == {"en/a.parquet#0"}
    assert {"en/00.txt", "en/c.jsonl#70", "d10"} <= ids
    assert manifest["repeated_ids"] == {"en": 2 * sum(i % 7 != 0 for i in range(0, 2000, 10))}
    assert [row["late"] for row in kept if row.get("late")][:2] == [1510, 1520]
    scores = [row for name in manifest["files"] if name.startswith("scores/") for row in made.table(out / name)]
    assert len(scores) == 6030
    assert sum(row["reason"] == "kept" for row in scores) == 610
    assert {(row["file"], row["row"]) for row in scores if row["file"] == "en/b.parquet"} == {
        ("en/b.parquet", i) for i in range(2000)
    }
    assert set(manifest["input_sha256"]) == {p.relative_to(many).as_posix() for p in many.rglob("*") if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_runs_killed_at_random_moments_are_byte_identical_to_an_uninterrupted_one(many, whole, made, tmp_path, workers):
    random.seed(workers)
    arguments = [many, "--out", tmp_path / "out", *whole[1], "--workers", workers]
    killed = 0
    for _ in range(4):
        process = start(made, arguments)
        while process.poll() is None and not (tmp_path / "out" / "parts" / "plan.json").exists():
            time.sleep(0.005)
        time.sleep(random.uniform(0, 1.5))  # from before the processes begin to the moving of what they made
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert killed
    process = start(made, arguments)
    assert process.wait(120) == 0, process.stderr.read()
    assert_same(made, tmp_path / "out", whole[0])


@pytest.mark.slow
def test_parallel_shards_write_the_output_of_one_run_and_the_last_the_manifest(many, whole, made, tmp_path):
    arguments = [many, "--out", tmp_path / "out", *whole[1], "--workers", 1]
    shards = [start(made, [*arguments, "--shard", f"{i}/3"]) for i in range(3)]
    for shard in shards:
        _, errors = shard.communicate(timeout=120)
        assert shard.returncode == 0, errors
    assert_same(made, tmp_path / "out", whole[0])
    assert not (tmp_path / "out" / "parts").exists()


def test_a_shard_alone_leaves_the_rest_to_the_others(many, whole, run, made, tmp_path):
    arguments = [many, "--out", tmp_path / "out", *whole[1]]
    done = run("filter.py", *arguments, "--shard", "1/2")
    assert done.returncode == 0, done.stderr
    assert "the last to end writes the output" in done.stdout
    assert not (tmp_path / "out" / "manifest.json").exists()
    again = run("filter.py", *arguments)
    assert (again.returncode, "3 of 6 units were done before" in again.stdout) == (0, True), again.stdout
    assert_same(made, tmp_path / "out", whole[0])
    for wrong in ("2", "3/2", "a/b", "0/0", "-1/2"):
        assert run("filter.py", *arguments, f"--shard={wrong}").returncode == 2


def test_a_second_run_on_one_output_is_an_error(many, whole, run, tmp_path):
    from executor.run_folder import only_run

    out = tmp_path / "out"
    assert run("filter.py", many, "--out", out, *whole[1], "--shard", "0/2").returncode == 0
    for held, asked, message in (
        (None, [], "another process is working"),
        (None, ["--shard", "1/2"], "another process is working"),
        ((1, 2), [], "another process is working"),
        ((1, 2), ["--shard", "1/2"], "another process is working"),
        ((1, 2), ["--shard", "1/3"], "another number of shards"),
    ):
        with only_run(out, held):
            done = run("filter.py", many, "--out", out, *whole[1], *asked)
        assert (done.returncode, message in done.stderr) == (2, True), (held, asked, done.stderr)
    assert run("filter.py", many, "--out", out, *whole[1], "--shard", "1/2").returncode == 0
    assert (out / "manifest.json").exists()


@pytest.mark.parametrize("shard", [None, (0, 2)])
def test_a_run_is_closed_by_the_last_to_leave_it(tmp_path, shard):
    from executor.run_folder import close_run, only_run, open_run

    for inside in (True, False):
        open_run(tmp_path / "out", {}, {})
        with only_run(tmp_path / "out", shard):
            if inside:
                close_run(tmp_path / "out")
        close_run(tmp_path / "out")
        assert not (tmp_path / "out" / "parts").exists()
    open_run(tmp_path / "out", {}, {})
    with only_run(tmp_path / "out", (0, 2)):
        with only_run(tmp_path / "out", (1, 2)):
            close_run(tmp_path / "out")
        assert (tmp_path / "out" / "parts").exists()
    close_run(tmp_path / "out")
    assert not (tmp_path / "out" / "parts").exists()


@pytest.mark.parametrize("moment", ["open_run", "only_run", "filter_units"])
def test_a_shard_that_begins_while_another_publishes_takes_what_that_made(
    many, whole, run, made, tmp_path, monkeypatch, moment
):
    import filter as command
    from executor import sharded_run

    module = command if moment == "filter_units" else sharded_run
    arguments = [many, "--out", tmp_path / "out", *whole[1], "--workers", 1]
    assert run("filter.py", *arguments, "--shard", "0/2").returncode == 0
    true = getattr(module, moment)

    def late(*given):
        monkeypatch.undo()
        assert run("filter.py", *arguments, "--shard", "1/2").returncode == 0
        return true(*given)

    monkeypatch.setattr(module, moment, late)
    done = run("filter.py", *arguments, "--shard", "0/2")
    assert (done.returncode, "reused" in done.stdout) == (0, True), done.stderr
    assert_same(made, tmp_path / "out", whole[0])
    assert not (tmp_path / "out" / "parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_at_once_with_a_sentence_and_can_be_resumed(many, whole, made, tmp_path, sent, code):
    out = tmp_path / "out"
    arguments = [many, "--out", out, *whole[1], "--workers", 2]
    process = start(made, arguments)
    while process.poll() is None and not list(out.glob("parts/*/done.json")):
        time.sleep(0.005)
    process.send_signal(sent)
    printed, errors = process.communicate(timeout=20)
    assert process.returncode == code, errors
    assert "run the same command again" in printed + errors
    assert "Traceback" not in errors
    process = start(made, arguments)
    assert process.wait(120) == 0
    assert_same(made, out, whole[0])


def test_a_full_disk_is_one_sentence_and_the_run_can_be_resumed(many, whole, run, made, tmp_path, monkeypatch):
    arguments = [many, "--out", tmp_path / "out", *whole[1]]
    write = pyarrow.parquet.ParquetWriter.write_table
    calls = []

    def full(self, *given, **options):
        calls.append(1)
        if len(calls) > 3:  # in each process
            raise OSError(28, "No space left on device")
        return write(self, *given, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", full)
    done = run("filter.py", *arguments)
    assert (done.returncode, "no space left on the disk" in done.stderr) == (1, True), done.stderr
    monkeypatch.undo()
    assert run("filter.py", *arguments).returncode == 0
    assert_same(made, tmp_path / "out", whole[0])


PEAK = """
import resource, sys
sys.argv = ["filter.py", *sys.argv[1:]]
from filter import main
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "jsonl.gz"])
def test_a_process_stays_under_500_megabytes_on_one_huge_row_group(made, tmp_path, kind):
    import gzip

    general = "The train to the coast leaves at nine, and the ticket office opens an hour before. " * 40
    path = tmp_path / f"en.{kind}"
    if kind == "parquet":
        texts = pyarrow.array([f"{i} {general} {i}" for i in range(250_000)], pyarrow.large_string())  # 840 MB
        table = pyarrow.table({"text": texts, "url": [f"https://example.org/{i}" for i in range(250_000)]})
        pyarrow.parquet.write_table(table, path, row_group_size=250_000, compression="zstd", use_dictionary=False)
        assert pyarrow.parquet.ParquetFile(path).num_row_groups == 1
        del texts, table
    else:
        with gzip.open(path, "wt", compresslevel=1) as lines:
            for i in range(150_000):
                lines.write(json.dumps({"text": f"{i} {general}"}) + "\n")
    environment = os.environ | {"PYTHONPATH": str(made.stage)}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path, "--out", tmp_path / "out", "--workers", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split("peak ")[1]) < 500
