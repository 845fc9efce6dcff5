"""Tiny exams in every raw format, and a way to run the commands and read what they wrote."""

import contextlib
import email.utils
import http.server
import importlib
import io
import json
import os
import re
import subprocess
import threading
import time
import types
from pathlib import Path

import pytest

from run_record import run_command

STAGE = Path(__file__).resolve().parents[1]


def jsonl(*records: dict) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def medqa(question="Which one is right?", answer_idx="A", options=None, **more) -> dict:
    return {
        "question": question,
        "options": options or {"A": "this", "B": "that", "C": "neither", "D": "both"},
        "answer_idx": answer_idx,
        **more,
    }


def igakuqa(number=1, choices=("あ", "い", "う", "え", "お"), answer=("a",), points="1", **more) -> dict:
    return {
        "problem_id": f"112A{number}",
        "problem_text": f"正しいのはどれか。{number}",
        "choices": list(choices),
        "text_only": True,
        "answer": list(answer),
        "points": points,
        **more,
    }


def french(question="Laquelle ?", correct=("a",), count=None, **more) -> dict:
    return {
        "id": "x",
        "question": question,
        "answers": {letter: f"choix {letter}" for letter in "abcde"},
        "correct_answers": list(correct),
        "nbr_correct_answers": len(correct) if count is None else count,
        **more,
    }


def russian(question="Верно?", answer="да", **more) -> dict:
    return {"context": "Длинный текст.", "question": question, "answer": answer, "pairID": "1", **more}


def headqa(*records: dict) -> str:
    return json.dumps({"version": "1.0", "language": "es", "exams": {"Cuaderno": {"name": "C", "data": list(records)}}})


def spanish(question="¿Cuál?", ra="1", options=4, image="") -> dict:
    answers = [{"aid": n, "atext": f"opción {n}"} for n in range(1, options + 1)]
    return {"qid": "1", "qtext": question, "ra": ra, "answers": answers, "image": image}


def make_score(n=256, right=128, unparsed=3) -> dict:
    """Scores of one language as inference/eval.py writes them."""
    return {
        "n": n,
        "right": right,
        "accuracy": round(100 * right / n, 2),
        "ci95": [0.0, 100.0],
        "unparsed": unparsed,
        "predicted_letters": {"A": 9, "B": 3},
        "single": {"n": n, "right": right},
        "multiple": {"n": 0, "right": 0},
    }


def make_result(name="tiny", scores=None, setting="fine-tuned", released=(), **model) -> dict:
    """A result.json as inference/eval.py writes it; released: the languages of the released test split."""
    scores = scores or {"ru": make_score(), "ja": make_score(10, 5, 0)}
    mean = sum(100 * s["right"] / s["n"] for s in scores.values()) / len(scores)
    n, right = (sum(s[name] for s in scores.values()) for name in ("n", "right"))
    return {
        "format_version": 1,
        "stage": "inference/eval.py",
        "model": {
            "name": name,
            "path": "checkpoints/x",
            "parameters": 1234567,
            "base": "base",
            "training": "lora",
            **model,
        },
        "setting": setting,
        "mode": "generate",
        "metric_version": 1,
        "prompt": {"name": "mmedbench", "version": 1, "form": "answer", "sha256": "ab" * 32},
        "scores": scores,
        "macro": {"languages": len(scores), "accuracy": round(mean, 2), "ci95": [0, 100]},
        "micro": {"n": n, "right": right, "accuracy": round(100 * right / n, 2), "ci95": [0, 0]},
        "data": {
            "path": "data/MMedBench/Test",
            "released_split": {key: key in released for key in scores},
            "files": {},
        },
        "arguments": {},
        "inputs": {},
        "provenance": {
            "command": "python inference/eval.py --model x",
            "commit": "c" * 40,
            "versions": {},
            "machine": "Linux, 2 CPU cores",
            "finished_at": "2025-01-31T10:00:00Z",
        },
    }


class Exams:
    """A folder of sources under test, and prepare.py run on it."""

    def __init__(self, root: Path):
        self.root, self.out = root / "sources", root / "out"
        self.root.mkdir()

    def put(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path

    def prepare(self, *arguments: object) -> subprocess.CompletedProcess:
        return run_script("prepare.py", self.root, "--out", self.out, *arguments)

    def records(self, name: str) -> list[dict]:
        return read_lines(self.out / name)

    def excluded(self) -> list[tuple[str, str]]:
        return [(row["where"], row["reason"]) for row in self.records("excluded.jsonl")]

    def manifest(self) -> dict:
        return json.loads((self.out / "manifest.json").read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run one of the stage's commands as a user does, but in this process, which saves a start each time."""
    main = importlib.import_module(script.removesuffix(".py")).main
    argv, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command(lambda: main(argv))
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess([script, *argv], code, out.getvalue(), err.getvalue())


@pytest.fixture
def exams(tmp_path: Path) -> Exams:
    return Exams(tmp_path)


@pytest.fixture
def run():
    return run_script


@pytest.fixture
def raw():
    """The makers of raw records, by name."""
    return types.SimpleNamespace(
        jsonl=jsonl,
        medqa=medqa,
        igakuqa=igakuqa,
        french=french,
        russian=russian,
        headqa=headqa,
        spanish=spanish,
        lines=read_lines,
        stage=STAGE,
    )


@pytest.fixture
def score():
    return make_score


@pytest.fixture
def result():
    return make_result


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real exams; the test is skipped where it is absent."""
    path = Path(os.environ.get("MMED_TEST_DATA", STAGE.parent.parent / "shared" / "data"))
    if not (path / "sources").is_dir():
        pytest.skip(f"no real exams at {path} (set MMED_TEST_DATA)")
    return path


class ChatEndpoint:
    """An OpenAI-compatible server on loopback that fails as configured, and the log of what it was asked.

    answers: {question: what comes of its 1st, 2nd ... request}: a text, {"text", "finish", "delay"} or {"bad": kind};
    afterwards, and for other questions, `default`.
    """

    def __init__(self):
        self.answers: dict[str, list] = {}
        self.default, self.delay_s, self.usage = "It is so because it is so.", 0.0, (100, 50)
        self.requests: list[dict] = []
        self._lock = threading.Lock()
        handler = type("Handler", (ChatHandler,), {"endpoint": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def questions(self) -> list[str]:
        return [request["question"] for request in self.requests]

    def take(self, headers: dict, body: dict) -> tuple[dict, dict]:
        """Log a request; returns its line of the log and what is to come of it."""
        prompt = body["messages"][0]["content"]
        question = re.search(r"Question:\n(.*)\n|<q>(.*)</q>", prompt)
        question = question[1] or question[2]
        with self._lock:
            left = self.answers.get(question, [])
            answer = left.pop(0) if left else self.default
            line = {"question": question, "headers": headers, "body": body, "status": None, "began": time.monotonic()}
            self.requests.append(line)
        return line, {"text": answer} if isinstance(answer, str) else answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class ChatHandler(http.server.BaseHTTPRequestHandler):
    """POST /v1/chat/completions."""

    protocol_version = "HTTP/1.1"
    endpoint: ChatEndpoint

    def log_message(self, *arguments) -> None:
        """Nothing to the terminal."""

    def do_POST(self) -> None:  # http.server's name
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        line, answer = self.endpoint.take({k.lower(): v for k, v in self.headers.items()}, body)
        time.sleep(answer.get("delay", self.endpoint.delay_s))
        try:
            self.reply(line, answer)
        except OSError:
            line["status"] = "the client has gone"
        line["ended"] = time.monotonic()

    def reply(self, line: dict, answer: dict) -> None:
        message = {"role": "assistant", "content": answer.get("text")}
        value = {
            "id": "x",
            "object": "chat.completion",
            "model": "served-m",
            "created": 1,
            "choices": [{"index": 0, "message": message, "finish_reason": answer.get("finish", "stop")}],
        }
        if self.endpoint.usage:
            usage = self.endpoint.usage
            counted = isinstance(usage, tuple)
            value["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True)) if counted else usage
        whole, kind, more = json.dumps(value).encode(), answer.get("bad"), {}
        key = self.headers["authorization"]
        if kind is None:
            return self.send(line, 200, whole)
        if kind == "hang-up":
            line["status"] = kind
            self.close_connection = True
            return None
        if kind == "break":
            line["status"] = kind
            self.close_connection = True
            self.send_head(200, len(whole))
            self.wfile.write(whole[:40])
            return None
        if kind.startswith("429"):
            moment = email.utils.formatdate(time.time() + 1, usegmt=True)
            more = {"Retry-After": moment if kind == "429-date" else answer.get("retry_after", "0")}
        bodies = {
            "html": b"<html><body>Please sign in</body></html>",
            "half": whole[:60],
            "odd": b'{"choices": []}',
            "list": whole.replace(b'"content": null', b'"content": [1]'),
            "echo-500": f"what is {key}?".encode(),
            "echo-400": json.dumps({"error": {"message": f"bad {key}", "type": "x"}}).encode(),
            "401": json.dumps({"error": {"message": f"Incorrect API key: {key}"}}).encode(),
            "quota": b'{"error": {"message": "no credit", "code": "insufficient_quota"}}',
        }
        status = {"html": 200, "half": 200, "odd": 200, "list": 200, "quota": 429}.get(kind) or int(
            kind[-3:] if kind.startswith("echo") else kind[:3]
        )
        return self.send(
            line,
            status,
            bodies.get(kind, b'{"error": {"message": "not now"}}'),
            more,
            "text/html" if kind == "html" else "application/json",
        )

    def send(self, line: dict, status: int, body: bytes, headers: dict | None = None, kind="application/json") -> None:
        self.send_head(status, len(body), headers, kind)
        self.wfile.write(body)
        line["status"] = status

    def send_head(self, status: int, length: int, headers: dict | None = None, kind="application/json") -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": length, **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()


@pytest.fixture
def endpoint():
    server = ChatEndpoint()
    yield server
    server.close()
