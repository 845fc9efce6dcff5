"""build_corpus.py --upload: to a server on this machine that speaks as much of the hub as that takes."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_a_token_for_tests"


class Hub:
    """One data set repository, `me/corpus`. Large files go to its store, a commit names them."""

    def __init__(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.created: list[dict] = []
        self.store: dict[str, bytes] = {}  # large files by checksum
        self.files: dict[str, str] = {}  # path -> checksum, of the last commit
        self.commits: list[list[str]] = []
        self.puts: list[str] = []
        self.refuse_after: int | None = None  # this many large files are taken, then the disk is full
        self.tokens: set[str] = set()
        self.private = True

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/store/"):
            self.answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            self.hub.created.append(json.loads(body))
            self.answer(
                {"url": f"{self.hub.url}/datasets/me/corpus", "name": "me/corpus"},
                200 if len(self.hub.created) == 1 else 409,
            )
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            self.answer(
                {
                    "files": [
                        {
                            "path": f["path"],
                            "shouldIgnore": False,
                            "uploadMode": "lfs" if f["path"].endswith((".parquet", ".png")) else "regular",
                        }
                        for f in json.loads(body)["files"]
                    ]
                }
            )
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.answer({"transfer": "basic", "objects": [self.wanted(o) for o in json.loads(body)["objects"]]})
        elif path.endswith("/commit/main"):
            self.commit([json.loads(line) for line in body.decode().splitlines()])
        else:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def wanted(self, one: dict) -> dict:
        if one["oid"] in self.hub.store:
            return {"oid": one["oid"], "size": one["size"]}
        return {
            "oid": one["oid"],
            "size": one["size"],
            "actions": {"upload": {"href": f"{self.hub.url}/store/{one['oid']}", "header": {}}},
        }

    def commit(self, lines: list[dict]) -> None:
        import base64

        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                assert value["oid"] in self.hub.store
                self.hub.files[value["path"]] = value["oid"]
            elif line["key"] == "file":
                self.hub.files[value["path"]] = hashlib.sha256(base64.b64decode(value["content"])).hexdigest()
            elif line["key"] == "deletedFile":
                del self.hub.files[value["path"]]
        self.hub.commits.append(sorted(self.hub.files))
        self.answer(
            {
                "success": True,
                "commitOid": COMMIT,
                "hookOutput": "",
                "commitUrl": f"{self.hub.url}/datasets/me/corpus/commit/{COMMIT}",
            }
        )

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.refuse_after is not None and len(self.hub.puts) >= self.hub.refuse_after:
            self.answer({"error": "storage limit reached"}, 403)
            return
        name = self.path.rsplit("/", 1)[1]
        assert hashlib.sha256(body).hexdigest() == name
        self.hub.store[name] = body
        self.hub.puts.append(name)
        self.answer({})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if "/tree/" in path:
            self.answer([{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in sorted(self.hub.files)])
        else:
            self.answer(
                {
                    "id": "me/corpus",
                    "sha": COMMIT,
                    "siblings": [{"rfilename": n} for n in self.hub.files],
                    "private": self.hub.private,
                    "gated": False,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                }
            )

    def answer(self, value, status: int = 200, headers: dict | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        for name, said in sent.items():
            self.send_header(name, said)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def corpus(run, made, tmp_path):
    """(folder of documents, command line to make the corpus of it)."""
    made.jsonl(tmp_path / "docs.jsonl", [{"text": text, "language": iso} for iso, text in made.medical.items()])
    assert run("existing_corpora.py", tmp_path / "docs.jsonl", "--out", tmp_path / "docs").returncode == 0
    return [tmp_path / "docs", "--out", tmp_path / "corpus", "--upload", "me/corpus"]


def upload(made, hub: Hub, arguments: list, token: str = TOKEN, home=None) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home or "/nowhere"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, made.stage / "build_corpus.py", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_interrupted_upload_is_finished_by_the_same_command_and_sends_nothing_twice(made, corpus, tmp_path):
    with Hub() as hub:
        hub.refuse_after = 3
        done = upload(made, hub, [*corpus, "--private"], home=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "the same command sends what is missing" in done.stderr and TOKEN not in done.stderr + done.stdout
        assert (tmp_path / "corpus" / "manifest.json").exists()
        assert (len(hub.puts), hub.commits) == (3, [])
        hub.refuse_after = None
        # A file of an older corpus lies there: it must not stay beside the new ones.
        hub.files = {"xx/web/part-00000.parquet": "0", ".gitattributes": "0", "NOTES.md": "0"}
        done = upload(made, hub, [*corpus, "--private"], home=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"uploaded: {hub.url}/datasets/me/corpus/commit/{COMMIT}" in done.stdout
        assert len(hub.puts) == len(set(hub.puts)) == 9  # eight shards and the picture
        names = [*made.manifest(tmp_path / "corpus")["files"], "manifest.json"]
        assert hub.commits == [sorted([*names, ".gitattributes", "NOTES.md"])]
        for name in names:
            assert hub.files[name] == hashlib.sha256((tmp_path / "corpus" / name).read_bytes()).hexdigest()
        assert (hub.created[0]["visibility"], hub.created[0]["type"]) == ("private", "dataset")
        assert TOKEN not in "".join(p.read_text("utf-8") for p in (tmp_path / "corpus").glob("*.json*"))


def test_a_repository_with_other_data_is_refused_and_nothing_of_it_deleted(made, corpus, tmp_path):
    with Hub() as hub:
        hub.files = {"data/train-00000.parquet": "0", "README.md": "0"}
        done = upload(made, hub, corpus, home=tmp_path)
        assert (done.returncode, "data of another making (data/train-00000.parquet)" in done.stderr) == (2, True)
        assert not hub.puts and not hub.commits


def test_a_private_corpus_does_not_go_to_a_public_repository(made, corpus, tmp_path):
    with Hub() as hub:
        hub.private = False
        hub.created = [{}]  # it is there already
        done = upload(made, hub, [*corpus, "--private"], home=tmp_path)
        assert (done.returncode, "it is there already, and public" in done.stderr) == (2, True), done.stderr
        assert not hub.puts and not hub.commits


def test_without_a_token_or_with_a_wrong_one_nothing_is_sent(made, corpus, run, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hf_saved_by_another_program")
    with Hub() as hub:
        done = upload(made, hub, corpus, token="", home=tmp_path)
        assert (done.returncode, "set HF_TOKEN in the environment" in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "corpus").exists() and not hub.tokens
        done = upload(made, hub, corpus, token="hf_wrong", home=tmp_path)
        assert (done.returncode, "--upload me/corpus: not done" in done.stderr) == (2, True), done.stderr
        assert hub.tokens == {"Bearer hf_wrong"} and not hub.puts
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = run("build_corpus.py", corpus[0], "--out", tmp_path / "b", "--private")
    assert (done.returncode, "--private goes with --upload" in done.stderr) == (2, True)
    done = run("build_corpus.py", corpus[0], "--out", tmp_path / "b", "--upload", "a/b/c")
    assert (done.returncode, "--upload a/b/c" in done.stderr) == (2, True), done.stderr
