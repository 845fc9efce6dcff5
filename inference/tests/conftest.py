"""A tiny random checkpoint with a prompt of its own, and a small test set, made once."""

import http.server
import json
import re
import threading
import time
from pathlib import Path

import pytest

PROMPT_TEXT = (
    "{{ question }}\n{% for letter, text in options.items() %}{{ letter }}. {{ text }}\n{% endfor %}{{ form }}:\n"
)
TARGET_TEXT = '{% if form == "rationale" %}{{ rationale }}\nrationale ends\n{% endif %}{{ answer_idx }}'


def write_prompt(folder: Path, pattern: str = r"(?:\A|rationale ends\n)\s*([A-Z](?:,[A-Z])*)\s*\Z") -> Path:
    """A prompt folder that is not the project's own, so that nothing depends on ours."""
    from jinja2 import Environment

    folder.mkdir(parents=True)
    (folder / "prompt.jinja").write_text(PROMPT_TEXT)
    (folder / "target.jinja").write_text(TARGET_TEXT)
    record = {"question": "Q?", "options": {"A": "x", "B": "y"}, "answer_idx": "A,B", "rationale": "R."}
    examples = [
        {
            "form": form,
            "record": record,
            "prompt": Environment().from_string(PROMPT_TEXT).render(form=form, **record),
            "target": Environment().from_string(TARGET_TEXT).render(form=form, **record),
        }
        for form in ("answer", "rationale")
    ]
    settings = {"name": "test", "version": 1, "answer_pattern": pattern, "stop": [], "worked_examples": examples}
    (folder / "prompt.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def prompt_folder(tmp_path_factory) -> Path:
    return write_prompt(tmp_path_factory.mktemp("prompts") / "prompt")


@pytest.fixture(scope="session")
def make_prompt():
    return write_prompt


@pytest.fixture(scope="session")
def test_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "MMedBench" / "Test"
    folder.mkdir(parents=True)
    files = (
        ("English.jsonl", "Which is right, number {}? " + "A long case. ", 9),
        ("Russian.jsonl", "Верно ли это, номер {}?", 7),
        ("Chinese.jsonl", "哪个正确，第{}题？", 6),
    )
    for name, text, count in files:
        lines = []
        for number in range(count):
            question = text.format(number) * (1 + number % 4)
            options = {"A": "yes", "B": "no"} if name == "Russian.jsonl" else {"A": "1", "B": "2", "C": "3", "D": "4"}
            answer = "A,C" if name == "English.jsonl" and number == 4 else "AB"[number % 2]
            lines.append(
                json.dumps({"question": question, "options": options, "answer_idx": answer}, ensure_ascii=False)
            )
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, prompt_folder) -> Path:
    """A random two-layer Llama with wide weights, so that its answers differ from question to question."""
    import shutil

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={"<|end|>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("model") / "tiny"
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.4,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    shutil.copytree(prompt_folder, folder / "prompt")
    return folder


BREAKS = ("hang-up", "half", "drip")


class ModelServer:
    """An OpenAI-compatible server on loopback that answers as configured, and the log of what it was asked.

    faults: {question: what comes of its 1st, 2nd ... request}: a text; {"text", "finish", "refusal", "delay", "usage",
    "logprobs"}; or {"status", "body", "type", "headers"}; or one of BREAKS. Then, and elsewhere, `brain(body)`.
    """

    def __init__(self):
        self.faults: dict[str, list] = {}
        self.brain, self.delay_s = (lambda body: "A"), 0.0
        self.requests: list[dict] = []
        self.at_once, self.most_at_once = 0, 0
        self.lock = threading.Lock()
        handler = type("Handler", (ModelHandler,), {"server_side": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.base = f"http://127.0.0.1:{self._server.server_port}/v1"

    def asked(self) -> list[str]:
        return [request["question"] for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class ModelHandler(http.server.BaseHTTPRequestHandler):
    """POST /v1/chat/completions and /v1/completions."""

    protocol_version = "HTTP/1.1"
    server_side: ModelServer

    def log_message(self, *arguments) -> None:
        """Nothing to the terminal."""

    def do_GET(self) -> None:  # http.server's name; /v1/models
        self.send(200, b"{}", "application/json", {})

    def do_POST(self) -> None:  # http.server's name
        server = self.server_side
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        question = "".join(re.findall(r"(?:number|номер|第) ?\d+", prompt.replace("Example", ""))[-1:])
        with server.lock:
            left = server.faults.get(question, [])
            answer = left.pop(0) if left else None
            server.requests.append(
                {
                    "question": question,
                    "headers": self.headers,
                    "body": body,
                    "path": self.path,
                    "began": time.monotonic(),
                }
            )
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            answer = server.brain(body) if answer is None else answer
            answer = {"text": answer} if isinstance(answer, str) and answer not in BREAKS else answer
            time.sleep(answer.get("delay", server.delay_s) if isinstance(answer, dict) else 0)
            self.reply(body, answer)
        except OSError:
            pass  # the client has gone
        finally:
            with server.lock:
                server.at_once -= 1

    def reply(self, body: dict, answer) -> None:
        if answer == "hang-up":
            self.close_connection = True
            return
        if answer == "drip":
            self.send(200, b"", "application/json", {}, 100)
            for _ in range(50):
                self.wfile.write(b" ")
                time.sleep(0.1)
            return
        if isinstance(answer, dict) and "status" in answer:
            kind = answer.get("type", "application/json")
            self.send(answer["status"], answer.get("body", "{}").encode(), kind, answer.get("headers", {}))
            return
        said = {"text": "A"} if answer == "half" else answer
        choice = {"index": 0, "finish_reason": said.get("finish", "stop")}
        if self.path.endswith("/chat/completions"):
            choice["message"] = {"role": "assistant", "content": said.get("text"), "refusal": said.get("refusal")}
        else:
            choice["text"] = said.get("text")
        choice["logprobs"] = said.get("logprobs")
        usage = said.get("usage", {"prompt_tokens": 100, "completion_tokens": 2})
        value = {"model": f"{body['model']}-0613", "system_fingerprint": "fp_1", "choices": [choice], "usage": usage}
        whole = json.dumps(value).encode()
        self.send(200, whole[:40] if answer == "half" else whole, "application/json", {}, len(whole))

    def send(self, status: int, body: bytes, kind: str, headers: dict, length: int | None = None) -> None:
        self.send_response(status)
        sizes = {"Content-Type": kind, "Content-Length": length or len(body)}
        for name, value in (sizes | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None and length != len(body)


@pytest.fixture
def model_server():
    server = ModelServer()
    yield server
    server.close()
