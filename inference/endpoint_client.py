"""A client for an OpenAI-compatible endpoint: requests, retries, rate limits, and reading the answers.

This file is carried by several stages, byte-identical; edit one copy and run `bash slurm/sync_copies.sh PATH`.

Every request goes through a ledger (endpoint_ledger.py). A complete answer is kept whatever it contains, because it is
paid. Retried are requests that the server turned away (408, 409, 425, 429, 5xx), connections that failed, and responses
that are not valid answers; a request that timed out may be paid, so retrying it is the caller's choice. An error that
no further request would fix (key, address, model name) ends the run. Redirects are not followed: they would carry the
key.
"""

import email.utils
import json
import math
import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from endpoint_ledger import Ledger
from run_record import InputError

MAX_TOKEN_COUNT = 1 << 31  # of one answer; a larger count is invalid
MIN_LOGPROB = -9999.0  # what servers write for minus infinity
MAX_BACKOFF_S = 60.0
MAX_FAILURES_IN_A_ROW = 10  # unanswered questions in a row before the run stops
MAX_ANSWER_BYTES = 1 << 26
PROGRESS_S = 30.0  # between two progress lines without a terminal
RETRIED_STATUS = (408, 409, 425, 429)
DENIED_STATUS = {
    401: "the endpoint refuses the key",
    402: "the account has no credit",
    403: "the endpoint refuses access",
    404: "the endpoint has no such address or model (an address usually ends in /v1)",
    405: "the address does not accept questions (it usually ends in /v1)",
}
REFUSAL_CODES = ("content_filter", "content_policy_violation")  # in a 400: the question or the answer was filtered
WEB_PAGE = "the endpoint answers with a web page, perhaps a login, instead of JSON; the address usually ends in /v1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def count(text: str) -> int:
    """For argparse: 0, 1, 2, ..."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def whole_number(text: str) -> int:
    """For argparse: 1, 2, ..."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def amount(text: str) -> float:
    """For argparse: a finite number, 0 or greater."""
    if not 0 <= float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


def check_address(url: str, flag: str) -> None:
    """Errors: InputError if the URL is invalid or contains a secret, which the message does not repeat."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        raise InputError(f"{flag} is not a valid address; expected http://host:port/v1 or https://host/v1") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(f"{flag}: leave user, password and query out; the key is read from the environment")
    if not valid:
        raise InputError(f"{flag} {url}: expected http://host:port/v1 or https://host/v1")
    if url.rstrip("/").endswith("/completions"):
        raise InputError(f"{flag} {url}: give the part before /completions or /chat/completions")


def check_key_variable(name: str, flag: str) -> None:
    """Errors: InputError if the flag's value looks like a key instead of the name of an environment variable."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise InputError(f"{flag} takes the NAME of an environment variable in capitals, never the key itself")


def read_key(variable: str) -> str | None:
    """The key, or None if the variable is not set. Errors: InputError if it cannot be sent in a header."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or (key and not key.isprintable()):
        raise InputError(f"the key in {variable} contains characters that an HTTP header cannot carry")
    return key or None


class NoLogprobs(Exception):
    """The endpoint answers without the requested log-probabilities."""


def read_reply(value: dict, chat: bool, wants: str) -> dict:
    """The part of an answer that is kept: text, finish reason, whether it is a refusal, model, fingerprint, usage.

    Also `top` {token: log-probability in nats} or `total`, by Request.wants, and `damaged` (true) if the text had
    unpaired surrogates. usage: [input, output] tokens as reported by the server, or None. Errors: NoLogprobs; KeyError
    and similar for a response that is not a valid answer.
    """
    choice = value["choices"][0]
    text = choice["message"].get("content") if chat else choice["text"]
    if isinstance(text, list):  # some servers write parts
        text = "".join(part.get("text") or "" for part in text)
    if text is not None and not isinstance(text, str):
        raise TypeError("content is not text")
    refusal = choice["message"].get("refusal") if chat else None
    text = text or refusal or ""
    finish = str(choice.get("finish_reason") or "")
    usage = value.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    known = counts and all(type(count) is int and 0 <= count <= MAX_TOKEN_COUNT for count in counts)
    reply = {
        "text": encodable(text),
        "finish": encodable(finish),
        "refused": bool(refusal) or finish == "content_filter",
        "model": encodable(value.get("model") or ""),
        "fingerprint": encodable(value.get("system_fingerprint") or ""),
        "usage": counts if known else None,
    }
    if reply["text"] != text:
        reply["damaged"] = True
    if wants == "top" and not reply["refused"]:
        reply["top"] = read_top(choice.get("logprobs"), chat)
    if wants == "total":
        reply["total"] = read_total(choice.get("logprobs"), counts[1] if known else 1)
        reply["text"] = ""  # the prompt again
    return reply


def encodable(text: object) -> str:
    """Text without unpaired surrogates, which UTF-8 cannot encode."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def logprob(value: object) -> float:
    """A log-probability in nats. Errors: TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError("not a log-probability")
    return round(max(float(value), MIN_LOGPROB), 6)


def read_top(logprobs: object, chat: bool) -> dict[str, float]:
    """{token: log-probability} of the most likely first tokens; {} if the answer has no token."""
    positions = (logprobs or {}).get("content" if chat else "top_logprobs") if isinstance(logprobs, dict) else None
    if positions is None:
        raise NoLogprobs("the endpoint returns no log-probabilities; use --mode generate with it")
    if not positions:
        return {}
    first = positions[0]["top_logprobs"] if chat else positions[0]
    if not first:
        raise NoLogprobs("the endpoint returns no log-probabilities of other tokens; use --mode generate with it")
    pairs = [(entry["token"], entry["logprob"]) for entry in first] if chat else first.items()
    return {encodable(token): logprob(value) for token, value in pairs}


def read_total(logprobs: object, written: int) -> float:
    """The log-probability of the echoed prompt, without its first token, which has none.

    written: number of tokens that the server generated after the prompt; they come last and are not counted.
    """
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(values, list) or len(values) - written < 1 or values[0] is not None:
        raise NoLogprobs(
            "the endpoint does not echo the log-probabilities of the prompt, which --mode option-logprob "
            "needs; vLLM does, with --api-mode completions"
        )
    return round(sum(logprob(value) for value in values[1 : len(values) - written]), 6)


@dataclass(frozen=True)
class Request:
    """One request: its key in the ledger, the question it asks (for a person), its JSON body, what to read.

    wants: "text", "top" (log-probabilities of the first token) or "total" (log-probability of the prompt itself).
    """

    key: str
    question: str
    body: dict
    wants: str = "text"

    def max_tokens(self) -> tuple[int, int]:
        """The most input and output tokens it can use: a token is at least one byte, and 64 allow for chat markup."""
        prompts = [turn["content"] for turn in self.body.get("messages", ())] or [self.body.get("prompt", "")]
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 4096
        return sum(64 + len(text.encode("utf-8")) for text in prompts), int(limit)


@dataclass(frozen=True)
class Exchange:
    """The result of one request: an outcome of endpoint_ledger.OUTCOMES, and the reply if it was answered."""

    outcome: str
    detail: str = ""
    retry_after_s: float | None = None
    reply: dict | None = None


class Stopped(Exception):
    """The run was stopped and sends no further request; the message says why."""


class Gate:
    """Where all workers wait on a rate limit, and where a run is stopped."""

    def __init__(self):
        self._until, self._lock, self._stop = 0.0, threading.Lock(), threading.Event()
        self.reason = self.kind = ""

    def hold(self, seconds: float) -> None:
        """Send no request of any worker for so long: a rate limit applies to the key, not to the connection."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def stop(self, reason: str, kind: str = "stopped") -> None:
        """Send nothing more. kind: `denied` (by the server), `no_answer` (it never answered) or `stopped`."""
        with self._lock:
            if not self._stop.is_set():
                self.reason, self.kind = reason, kind
            self._stop.set()

    def wait(self, seconds: float = 0.0) -> None:
        """Wait so long, and until the gate is open. Errors: Stopped, at once, if the run is stopped."""
        ready = time.monotonic() + seconds
        while not self._stop.is_set():
            with self._lock:
                left = max(ready, self._until) - time.monotonic()
            if left <= 0:
                return
            self._stop.wait(left)
        raise Stopped(self.reason)


def retry_after_seconds(headers, now: float) -> float | None:
    """Seconds requested by Retry-After: a number or a date as in RFC 9110; None if absent or unreadable."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) / scale
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after") or "").timestamp() - now)
    except (TypeError, ValueError):
        return None


class Endpoint:
    """A server, accessed over plain HTTP with httpx2.

    The `openai` package would add uncounted retries, follow redirects, and read a login page as an answer.
    """

    def __init__(self, base: str, chat: bool, key: str | None, timeout_s: float, concurrency: int):
        import httpx2

        self.base, self._http, self._secret, self._timeout_s, self._chat = base, httpx2, key, timeout_s, chat
        self._url = base + ("/chat/completions" if chat else "/completions")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # httpx2 limits the wait for each piece of a response; `_receive` limits the total time.
        self._client = httpx2.Client(
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=urlsplit(base).hostname not in LOOPBACK,  # a proxy cannot reach servers on this machine
            limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    def close(self) -> None:
        self._client.close()

    def _shown(self, value: object) -> str:
        """A server's message as one short line without the key."""
        text = str(value)
        if self._secret:
            text = text.replace(self._secret, "[key]")
        return re.sub(r"\bsk-[\w*-]{4,}", "[key]", " ".join(text.split()))[:300]

    def send(self, request: Request) -> Exchange:
        """Send the request once."""
        http = self._http
        try:
            status, headers, body = self._receive(request)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout, http.ProxyError) as error:
            return Exchange("unreachable", f"{type(error).__name__}: {self._shown(error)}")
        except (http.TimeoutException, TimeoutError):
            return Exchange("timed_out", f"no complete answer within {self._timeout_s:g} s")
        except (http.RequestError, http.InvalidURL) as error:
            return Exchange("broken", f"{type(error).__name__}: {self._shown(error)}")
        text = body.decode("utf-8", "replace")
        if self._secret:
            text = text.replace(self._secret, "[key]")  # in case the server echoes it
        return self._read(request, headers, text) if status == 200 else self._failed(status, headers, text)

    def _receive(self, request: Request) -> tuple[int, object, bytes]:
        """(status, headers, body). Errors: TimeoutError if it takes longer than --timeout in all; those of httpx2."""
        deadline = time.monotonic() + self._timeout_s
        body = bytearray()
        extra = {"Idempotency-Key": request.key}
        with self._client.stream("POST", self._url, json=request.body, headers=extra) as response:
            for piece in response.iter_bytes():
                body += piece
                if time.monotonic() > deadline or len(body) > MAX_ANSWER_BYTES:
                    raise TimeoutError
            return response.status_code, response.headers, bytes(body)

    def _failed(self, status: int, headers, text: str) -> Exchange:
        """The result of a status other than 200."""
        try:
            error = json.loads(text)
            error = error.get("error", error) if isinstance(error, dict) else {}
        except ValueError:
            error = {}
        error = error if isinstance(error, dict) else {"message": error}
        message = "a web page" if is_web_page(headers, text) else self._shown(error.get("message") or text)
        detail = f"HTTP {status}: {message}"
        codes = (str(error.get("code")), str(error.get("type")))
        if 300 <= status < 400:
            place = urlsplit(headers.get("location") or "")
            shown = self._shown(f"{place.scheme}://{place.hostname}{place.path}" if place.hostname else place.path)
            return Exchange(
                "denied",
                f"the endpoint redirects (HTTP {status} to {shown}); redirects are not followed because they would "
                "carry the key: use that address directly if it is right",
            )
        if "insufficient_quota" in codes:
            return Exchange("denied", f"the account has no credit ({detail})")
        if status in DENIED_STATUS:
            return Exchange("denied", f"{DENIED_STATUS[status]} ({detail})")
        if status == 400 and any(code in REFUSAL_CODES for code in codes):
            refusal = {"text": "", "finish": "content_filter", "refused": True, "model": "", "fingerprint": ""}
            return Exchange("answered", reply=refusal | {"usage": [0, 0]})
        if status in RETRIED_STATUS or status >= 500:
            return Exchange("busy", detail, retry_after_seconds(headers, time.time()))
        return Exchange("rejected", detail)

    def _read(self, request: Request, headers, text: str) -> Exchange:
        """The result of a complete response with status 200."""
        if is_web_page(headers, text):
            return Exchange("broken", WEB_PAGE)
        try:
            return Exchange("answered", reply=read_reply(json.loads(text), self._chat, request.wants))
        except NoLogprobs as error:
            return Exchange("useless", str(error))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            return Exchange("broken", f"not a valid answer ({type(error).__name__}): {self._shown(text[:120])}")


def is_web_page(headers, text: str) -> bool:
    """Whether a body is HTML, by its type or its first character."""
    return "html" in (headers.get("content-type") or "").lower() or text.lstrip()[:1] == "<"


@dataclass(frozen=True)
class RetryPolicy:
    """Retries after the first try, first back-off and longest accepted Retry-After (s), whether to retry time-outs."""

    retries: int
    backoff_s: float
    longest_wait_s: float
    retry_timed_out: bool


class Client:
    """What all workers share: endpoint, ledger, gate, and the number of unanswered questions in a row."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, policy: RetryPolicy):
        self.endpoint, self.ledger, self.policy, self.gate = endpoint, ledger, policy, Gate()
        self._answered, self._in_a_row, self._lock = 0, 0, threading.Lock()

    def ask(self, request: Request) -> tuple[dict | None, str, str]:
        """(reply, "", ""), or (None, reason, detail) after all allowed tries.

        reason: rejected, timed_out, gave_up, budget_spent or stopped.
        """
        try:
            reply, reason, detail = self._try(request)
        except Stopped as stopped:
            return None, "stopped", str(stopped)
        with self._lock:
            if reply is not None:
                self._answered, self._in_a_row = self._answered + 1, 0
            elif reason != "budget_spent":
                self._in_a_row += 1
                never = not self._answered
                if never and "unreachable" in detail:
                    self.gate.stop(f"no connection to {self.endpoint.base}: {detail}", "no_answer")
                if never and WEB_PAGE in detail:
                    self.gate.stop(detail, "no_answer")
                if self._in_a_row >= MAX_FAILURES_IN_A_ROW:
                    shown = f"{self._in_a_row} questions in a row without an answer; the last: {reason}, {detail}"
                    self.gate.stop(shown, "no_answer" if never else "stopped")
        return reply, reason, detail

    def _try(self, request: Request) -> tuple[dict | None, str, str]:
        policy, exchange = self.policy, None
        for attempt in range(policy.retries + 1):
            if attempt:
                # Jitter below a doubling bound: workers that failed together do not retry together.
                bound = min(MAX_BACKOFF_S, policy.backoff_s * 2 ** (attempt - 1))
                self.gate.wait(random.uniform(bound / 2, bound))
            self.gate.wait()
            number = self.ledger.begin(request.key, request.question, *request.max_tokens())
            if number is None:
                return None, "budget_spent", ""
            exchange = self.endpoint.send(request)
            self.ledger.end(number, request.key, exchange.outcome, exchange.detail, exchange.reply)
            if exchange.outcome == "answered":
                return exchange.reply, "", ""
            if exchange.outcome in ("denied", "useless"):
                self.gate.stop(exchange.detail, "denied")
            if exchange.outcome == "rejected" or (exchange.outcome == "timed_out" and not policy.retry_timed_out):
                return None, exchange.outcome, exchange.detail
            if (wait := exchange.retry_after_s) is not None:
                if wait > policy.longest_wait_s:
                    self.gate.stop(f"the server asks to wait {wait:.0f} s, longer than --longest-wait")
                self.gate.hold(wait)
        return None, "gave_up", f"{policy.retries + 1} tries; the last: {exchange.outcome}, {exchange.detail}"

    def ask_all(self, requests: list[Request], concurrency: int) -> tuple[dict[str, dict], dict[str, tuple[str, str]]]:
        """({key: reply}, {key: (reason, detail)} of those without one); what stopped the run is in `gate`.

        Errors: InputError if the ledger cannot be written.
        """
        from tqdm import tqdm

        replies, failures, printed = {}, {}, time.monotonic()
        with ThreadPoolExecutor(concurrency) as pool, tqdm(total=len(requests), unit="request", disable=None) as bar:
            running = {pool.submit(self.ask, request): request for request in requests}
            try:
                for done in as_completed(running):
                    reply, reason, detail = done.result()
                    if reply is not None:
                        replies[running[done].key] = reply
                    else:
                        failures[running[done].key] = (reason, detail)
                    bar.update()
                    if bar.disable and time.monotonic() - printed > PROGRESS_S:
                        printed = time.monotonic()
                        print(f"{len(replies)} answers of {len(requests)}, {len(failures)} failures", flush=True)
            except BaseException as error:
                # Ctrl-C, a full disk, a bug: answers in flight may still arrive and are kept, nothing new is sent.
                self.gate.stop("interrupted")
                if isinstance(error, sqlite3.Error):
                    raise InputError(
                        f"the ledger {self.ledger.path} cannot be written ({error}); check the disk and run the same "
                        "command again: answers received before are kept"
                    ) from None
                raise
        return replies, failures


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Handle a scheduler's SIGTERM like Ctrl-C: wait for the requests in flight and keep their answers."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT itself may be ignored (a job with "&")
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
