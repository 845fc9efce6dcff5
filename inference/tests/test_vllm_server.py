"""`--vllm` starts the server that it names and ends it; a small script stands in for vLLM, which needs a GPU."""

import json
import socket
import sys
from pathlib import Path

import pytest

import eval as evaluation
from run_record import InputError, read_json

SERVER = """#!{python}
import http.server, json, os, subprocess, sys
assert sys.argv[1:4] == ["serve", "chatty", "--served-model-name"], sys.argv
port = int(sys.argv[sys.argv.index("--port") + 1])
if "--fail" in sys.argv:
    sys.exit("no GPU here")
child = subprocess.Popen(["sleep", "600"])
open({pids!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments): pass
    def do_GET(self):
        self.send(b"[]")
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        choice = {{"message": {{"content": "A"}}, "finish_reason": "stop"}}
        self.send(json.dumps({{"model": "chatty", "choices": [choice]}}).encode())
    def send(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def served(prompt_folder, test_folder, tmp_path, monkeypatch):
    """Run eval.py with a stand-in for vLLM: (run, its base, the file with the process ids)."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    script, pids = tmp_path / "vllm", tmp_path / "pids"
    script.write_text(SERVER.format(python=sys.executable, pids=str(pids)))
    script.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}/v1"

    def run(*flags: str) -> int:
        command = ["--model", "chatty", "--api-base", base, "--vllm", str(script), "--prompt", str(prompt_folder)]
        return evaluation.main([*command, "--data", str(test_folder), "--out", str(tmp_path / "out"), *flags])

    return run, base, pids


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_server_is_started_asked_and_ended_with_what_it_started(served, tmp_path, capsys):
    run, _, pids = served
    assert run() == 0
    assert read_json(tmp_path / "out/result.json")["endpoint"]["reported_models"] == {"chatty": 22}
    assert "sending requests without one" in capsys.readouterr().out
    assert [is_running(int(pid)) for pid in pids.read_text().split()] == [False, False]
    pids.unlink()
    assert run() == 0 and not pids.exists(), "a complete run needs no server"
    with pytest.raises(InputError, match=r"different arguments \(vllm_arguments\)"):
        run("--vllm-arguments=--quantization fp8")  # answers of a rounded model are another run's


def test_a_server_that_fails_is_told_with_its_last_words(served, tmp_path):
    run, _, _ = served
    with pytest.raises(InputError, match=r"exited with 1; the last line of .*vllm\.log: no GPU here"):
        run("--vllm-arguments=--fail")
    assert json.loads((tmp_path / "out/requests.json").read_text())["requests"] == 0


def test_a_server_that_is_there_already_is_not_started_over(served, model_server):
    run, _, pids = served
    with pytest.raises(InputError, match="a server already runs at"):
        run("--api-base", model_server.base)
    assert not pids.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--api-base", "http://far.away:8000/v1"), "on this machine"),
        (("--api-base", "http://localhost/v1"), "on this machine"),
        (("--vllm", "nowhere/vllm"), "is not a command"),
        (("--vllm-arguments=--api-key very-secret",), "the local server needs none"),
    ],
)
def test_a_server_that_cannot_be_meant_is_refused(served, flags, message):
    with pytest.raises(InputError, match=message):
        served[0](*flags)


def test_an_adapter_is_merged_before_it_is_served(served, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"merge it with finetune/merge\.py"):
        served[0]("--model", str(tmp_path / "adapter"))
