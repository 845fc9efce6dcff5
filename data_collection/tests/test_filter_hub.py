"""filter.py --hub: a data set streamed from a server on this machine that speaks as much of the hub as that takes."""

import gzip
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow.parquet
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves `folder` as the data set `name` while open (a context). `requests`: (method, path, range) so far."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.requests: list[tuple[str, str, str | None]] = []
        self.fail_next = 0  # this many of the next requests for files are answered 503
        self.fail_from = ""  # every request for this file is answered 503
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def entries(self) -> list[dict]:
        files = [p for p in sorted(self.folder.rglob("*")) if p.is_file()]
        return [
            {"type": "file", "path": p.relative_to(self.folder).as_posix(), "size": p.stat().st_size, "oid": "0" * 40}
            for p in files
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        path, api = unquote(urlsplit(self.path).path), f"/api/datasets/{self.hub.name}"
        if path == api or (path.startswith(f"{api}/revision/") and path.rsplit("/", 1)[1] in ("main", COMMIT)):
            siblings = [{"rfilename": e["path"]} for e in self.hub.entries()]
            self.answer(
                {
                    "id": self.hub.name,
                    "sha": COMMIT,
                    "siblings": siblings,
                    "private": False,
                    "gated": False,
                    "tags": [],
                    "downloads": 0,
                    "disabled": False,
                }
            )
        elif path.startswith(f"{api}/revision/"):
            self.answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            self.answer(self.tree(path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")))
        elif path == f"{api}/paths-info/{COMMIT}":
            text = body.decode()
            wanted = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            self.answer([e for e in self.hub.entries() if e["path"] in wanted])
        elif path.startswith(f"/datasets/{self.hub.name}/resolve/"):
            self.content(path.split("/", 6)[6] if path.split("/")[5] in (COMMIT, "main") else "")
        else:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_POST = do_GET

    def tree(self, below: str) -> list[dict]:
        recursive = "recursive=true" in self.path.lower()
        found = {}
        for entry in self.hub.entries():
            if below and not entry["path"].startswith(below + "/"):
                continue
            rest = entry["path"][len(below) + 1 if below else 0 :]
            for i, part in enumerate(rest.split("/")[:-1]):
                folder = "/".join(filter(None, [below, *rest.split("/")[:i], part]))
                if recursive or i == 0:
                    found[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            if recursive or "/" not in rest:
                found[entry["path"]] = entry
        return list(found.values())

    def content(self, name: str) -> None:
        file = self.hub.folder / name
        if not name or not file.is_file():
            self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET" and (self.hub.fail_next or name.endswith(self.hub.fail_from or "no file")):
            self.hub.fail_next = max(0, self.hub.fail_next - 1)
            self.answer({"error": "busy"}, 503)
            return
        whole = file.read_bytes()
        first, last = 0, len(whole) - 1
        status = 200
        if asked := self.headers.get("Range"):
            first, last = (int(n) for n in asked.removeprefix("bytes=").split("-"))
            status = 206
        self.send(whole[first : last + 1], status, {"Accept-Ranges": "bytes"}, len(whole))

    def answer(self, value, status: int = 200, headers: dict | None = None) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def send(self, content: bytes, status: int, headers: dict, whole: int | None = None) -> None:
        self.send_response(status)
        sent = {
            "Content-Length": str(len(content) if self.command != "HEAD" else whole or len(content)),
            "ETag": '"0"',
            "X-Repo-Commit": COMMIT,
            **headers,
        }
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


CARD = """---
configs:
- config_name: fr
  data_files: fr/*.parquet
- config_name: lines
  data_files: lines/*.json.gz
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The sample's French documents as a data set: two parquet files of small row groups, and JSON lines."""
    folder = tmp_path_factory.mktemp("hub")
    table = pyarrow.parquet.read_table(Path(__file__).parents[1] / "sample" / "web" / "fr.parquet")
    for name in ("fr", "lines"):
        (folder / name).mkdir()
    pyarrow.parquet.write_table(table.slice(0, 13), folder / "fr" / "fr_part_00000.parquet", row_group_size=5)
    pyarrow.parquet.write_table(table.slice(13), folder / "fr" / "fr_part_00001.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    (folder / "lines" / "fr.json.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    with HubServer(folder, "me/web") as server:
        yield server


@pytest.fixture
def run_on_hub(hub, made, tmp_path):
    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), **environment}
        env.pop("HF_HUB_OFFLINE", None)
        hub.requests.clear()
        command = [sys.executable, made.stage / "filter.py", "--hub", "me/web", *arguments]
        return subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_a_hub_data_set_is_filtered_as_the_same_files_here_are(run_on_hub, hub, run, made, tmp_path):
    hub.fail_next = 2
    done = run_on_hub("--config", "fr", "--out", tmp_path / "out")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"me/web at commit {COMMIT}" in done.stdout
    here = tmp_path / "here"
    shutil.copytree(hub.folder / "fr", here / "fr")
    assert run("filter.py", here, "--out", tmp_path / "local").returncode == 0
    assert made.files(tmp_path / "out") == made.files(tmp_path / "local")
    inputs = made.manifest(tmp_path / "out")["inputs"]
    assert inputs["hub"] == {"name": "me/web", "config": "fr", "split": "train", "commit": COMMIT}
    assert set(inputs["files"]) == {"fr/fr_part_00000.parquet", "fr/fr_part_00001.parquet"}


@pytest.mark.slow
def test_a_hub_that_stops_answering_ends_the_run_and_the_same_command_goes_on(run_on_hub, hub, made, tmp_path):
    arguments = ("--config", "lines", "--language", "fr", "--out", tmp_path / "out")
    hub.fail_from = "fr.json.gz"
    stopped = run_on_hub(*arguments, HUB_RETRIES="1")
    hub.fail_from = ""
    assert stopped.returncode == 2
    assert "the hub does not answer" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = run_on_hub(*arguments)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert made.manifest(tmp_path / "out")["counts"]["fr"]["kept"] == 13
    ids = [row["id"] for row in made.table(tmp_path / "out" / "fr" / "part-00000.parquet")]
    assert ids[0] == "lines/fr.json.gz#0"


def test_the_plan_fetches_a_little_of_each_file(tmp_path, monkeypatch):
    """Thousands of files are planned by every shard."""
    from filtering.filter_unit import plan_units
    from readers.document_files import InputFile

    texts = pyarrow.array([os.urandom(50_000).hex() for _ in range(50)])
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", compression="none")
    (tmp_path / "b.jsonl").write_text((json.dumps({"text": "x" * 500}) + "\n") * 10_000, encoding="utf-8")
    fetched = []

    def fetch(address: str, first: int, last: int) -> bytes:
        fetched.append(last - first)
        return (tmp_path / address.rsplit("/", 1)[1]).read_bytes()[first:last]

    monkeypatch.setattr("readers.document_files.fetch", fetch)
    files = [InputFile(p.name, f"https://hub/{p.name}", p.stat().st_size) for p in sorted(tmp_path.iterdir())]
    assert min(file.size for file in files) > 5_000_000
    assert len(plan_units(files, "en", "text", 10**9)) == 2
    assert 0 < sum(fetched) < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "it"], "'it' not found"),
        (["--config", "fr", "--split", "test"], "--split test: me/web has train"),
        (["--revision", "old"], "no such branch, tag or commit"),
        (["--hub", "me/none"], "no such data set"),
        (["--config", "fr", "--from-scores"], "--from-scores reads a folder"),
    ],
)
def test_what_the_hub_does_not_have_is_named(run_on_hub, tmp_path, arguments, message):
    done = run_on_hub("--out", tmp_path / "out", *arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
