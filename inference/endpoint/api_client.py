"""One request to an OpenAI-compatible endpoint, and what came of it.

An answer that came whole is an answer, whatever it says, because it is paid. What no further request would change (the
key, the address, the model's name, a login page) is `denied` and ends the run; redirects are not followed, because the
key would go with them.
"""

import email.utils
import json
import math
import re
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

MOST_TOKENS_BELIEVED = 1 << 31  # in one answer; a larger count is no count
LEAST_LOGPROB = -9999.0  # what servers write for minus infinity


class NoLogprobs(Exception):
    """The endpoint answers, but not with the log-probabilities that this way of asking needs."""


def read_reply(value: dict, chat: bool, wants: str) -> dict:
    """What is kept of an answer: text, finish reason, whether it is a refusal, model, fingerprint, usage.

    Further `top` {token: log-probability in nats} or `total`, by Request.wants. usage: [input, output] tokens as the
    server counts them, or None. Errors: NoLogprobs; KeyError and the like for what is no answer of the protocol.
    """
    choice = value["choices"][0]
    text = choice["message"].get("content") if chat else choice["text"]
    if isinstance(text, list):  # some servers write parts
        text = "".join(part.get("text") or "" for part in text)
    if text is not None and not isinstance(text, str):
        raise TypeError("content is no text")
    refusal = choice["message"].get("refusal") if chat else None
    finish = str(choice.get("finish_reason") or "")
    usage = value.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    known = counts and all(type(count) is int and 0 <= count <= MOST_TOKENS_BELIEVED for count in counts)
    reply = {
        "text": plain(text or refusal or ""),
        "finish": plain(finish),
        "refused": bool(refusal) or finish == "content_filter",
        "model": plain(value.get("model") or ""),
        "fingerprint": plain(value.get("system_fingerprint") or ""),
        "usage": counts if known else None,
    }
    if wants == "top" and not reply["refused"]:
        reply["top"] = read_top(choice.get("logprobs"), chat)
    if wants == "total":
        reply["total"] = read_total(choice.get("logprobs"), counts[1] if known else 1)
        reply["text"] = ""  # the prompt again
    return reply


def plain(text: object) -> str:
    """Text without halves of surrogate pairs, which cannot be written down as UTF-8."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def logprob(value: object) -> float:
    """A log-probability in nats. Errors: TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError("no log-probability")
    return round(max(float(value), LEAST_LOGPROB), 6)


def read_top(logprobs: object, chat: bool) -> dict[str, float]:
    """{token: log-probability} of the likeliest first tokens; {} where the answer has no token at all."""
    places = (logprobs or {}).get("content" if chat else "top_logprobs") if isinstance(logprobs, dict) else None
    if places is None:
        raise NoLogprobs("the endpoint gives no log-probabilities; use --mode generate with it")
    if not places:
        return {}
    first = places[0]["top_logprobs"] if chat else places[0]
    if not first:
        raise NoLogprobs("the endpoint gives no log-probabilities of other tokens; use --mode generate with it")
    pairs = [(entry["token"], entry["logprob"]) for entry in first] if chat else first.items()
    return {plain(token): logprob(value) for token, value in pairs}


def read_total(logprobs: object, written: int) -> float:
    """The log-probability of the echoed prompt, without its first token, which has none.

    written: tokens that the server wrote after the prompt; they come last and do not count.
    """
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(values, list) or len(values) - written < 1 or values[0] is not None:
        raise NoLogprobs(
            "the endpoint does not echo the log-probabilities of the prompt, which --mode option-logprob "
            "needs; vLLM does, with --api-mode completions"
        )
    return round(sum(logprob(value) for value in values[1 : len(values) - written]), 6)


RETRIED_STATUS = (408, 409, 425, 429)
DENIED_STATUS = {
    401: "the endpoint refuses the key",
    402: "the account has no credit",
    403: "the endpoint refuses access",
    404: "the endpoint knows no such address or model (an address mostly ends in /v1)",
    405: "the address takes no questions (it mostly ends in /v1)",
}
REFUSAL_CODES = ("content_filter", "content_policy_violation")  # in a 400: the question, or the answer, was filtered
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_BYTES = 1 << 26  # of an answer


@dataclass(frozen=True)
class Request:
    """One request: what it is known by, which question it asks (for a person), its fields, and what it is to tell.

    wants: "text", "top" (log-probabilities of the first token) or "total" (log-probability of the prompt itself).
    """

    key: str
    question: str
    body: dict
    wants: str

    def most_tokens(self) -> tuple[int, int]:
        """The most input and output tokens that it can use: a token is a byte at least."""
        asked = self.body.get("messages") or self.body.get("prompt")
        room = self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 4096
        return len(json.dumps(asked, ensure_ascii=False).encode()) + 64, int(room)


@dataclass(frozen=True)
class Exchange:
    """What came of one request: an outcome of api_ledger.OUTCOMES and what is needed to go on."""

    outcome: str
    detail: str = ""
    retry_after_s: float | None = None
    reply: dict | None = None


class Stopped(Exception):
    """No further request is sent; the message says why."""


class Gate:
    """Where all workers wait when the server asks for it, and where a run is stopped."""

    def __init__(self):
        self._until, self._lock, self._stop = 0.0, threading.Lock(), threading.Event()
        self.reason, self.denied = "", False

    def hold(self, seconds: float) -> None:
        """No request of any worker for so long: a rate limit is for the key, not for the connection."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def stop(self, reason: str, denied: bool = False) -> None:
        """Send nothing more. denied: what was asked for cannot work, so that there is nothing to score."""
        with self._lock:
            if not self._stop.is_set():
                self.reason, self.denied = reason, denied
            self._stop.set()

    def wait(self, seconds: float = 0.0) -> None:
        """Wait so long, and until the gate is open. Errors: Stopped, at once, when the run is stopped."""
        ready = time.monotonic() + seconds
        while not self._stop.is_set():
            with self._lock:
                left = max(ready, self._until) - time.monotonic()
            if left <= 0:
                return
            self._stop.wait(left)
        raise Stopped(self.reason)


def retry_after_seconds(headers, now: float) -> float | None:
    """Seconds that Retry-After asks for: a number, or a date as in RFC 9110; None where it says nothing readable."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) / scale
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after") or "").timestamp() - now)
    except (TypeError, ValueError):
        return None


class Endpoint:
    """A server and how it is spoken to: plain HTTP by httpx2, the client under `openai` and `huggingface_hub`.

    The `openai` package would try again by itself, uncounted, follow redirects, and read a login page as an answer.
    """

    def __init__(self, base: str, chat: bool, key: str | None, timeout_s: float, concurrency: int):
        import httpx2

        self._http, self._secret, self._timeout_s, self._chat = httpx2, key, timeout_s, chat
        self._url = base + ("/chat/completions" if chat else "/completions")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A longer wait for one more piece is cut off by `_receive`, which sees the whole time.
        self._client = httpx2.Client(
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=urlsplit(base).hostname not in LOOPBACK,  # a proxy cannot reach this machine's own servers
            limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    def close(self) -> None:
        self._client.close()

    def _shown(self, value: object) -> str:
        """A server's words as a short line in which the key does not stand."""
        text = str(value)
        if self._secret:
            text = text.replace(self._secret, "[key]")
        return re.sub(r"\bsk-[\w*-]{4,}", "[key]", " ".join(text.split()))[:300]

    def ask(self, request: Request) -> Exchange:
        """Send the request once."""
        http = self._http
        try:
            status, headers, body = self._receive(request)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout, http.ProxyError) as error:
            return Exchange("unreachable", f"{type(error).__name__}: {self._shown(error)}")
        except (http.TimeoutException, TimeoutError):
            return Exchange("timed_out", f"no whole answer within {self._timeout_s:g} s")
        except (http.RequestError, http.InvalidURL) as error:
            return Exchange("broken", f"{type(error).__name__}: {self._shown(error)}")
        text = body.decode("utf-8", "replace")
        if self._secret:
            text = text.replace(self._secret, "[key]")  # whatever a server echoes
        if status == 200:
            return self._read(request, headers, text)
        return self._failed(status, headers, text)

    def _receive(self, request: Request) -> tuple[int, object, bytes]:
        """(status, headers, body). Errors: TimeoutError when the whole takes longer than --timeout; httpx2's own."""
        deadline = time.monotonic() + self._timeout_s
        body = bytearray()
        extra = {"Idempotency-Key": request.key}
        with self._client.stream("POST", self._url, json=request.body, headers=extra) as response:
            for piece in response.iter_bytes():
                body += piece
                if time.monotonic() > deadline or len(body) > MOST_BYTES:
                    raise TimeoutError
            return response.status_code, response.headers, bytes(body)

    def _failed(self, status: int, headers, text: str) -> Exchange:
        """A status other than 200."""
        try:
            error = json.loads(text)
            error = error.get("error", error) if isinstance(error, dict) else {}
        except ValueError:
            error = {}
        error = error if isinstance(error, dict) else {"message": error}
        words = "a web page" if is_web_page(headers, text) else self._shown(error.get("message") or text)
        detail = f"HTTP {status}: {words}"
        kinds = (str(error.get("code")), str(error.get("type")))
        if 300 <= status < 400:
            place = urlsplit(headers.get("location") or "")
            shown = self._shown(f"{place.scheme}://{place.hostname}{place.path}" if place.hostname else place.path)
            return Exchange(
                "denied",
                f"the endpoint sends elsewhere (HTTP {status} to {shown}); that is not followed, "
                "because the key would go with it: give it as --api-base if it is right",
            )
        if "insufficient_quota" in kinds:
            return Exchange("denied", f"the account has no credit ({detail})")
        if status in DENIED_STATUS:
            return Exchange("denied", f"{DENIED_STATUS[status]} ({detail})")
        if status == 400 and any(code in REFUSAL_CODES for code in kinds):
            return Exchange(
                "answered",
                reply={
                    "text": "",
                    "finish": "content_filter",
                    "refused": True,
                    "model": "",
                    "fingerprint": "",
                    "usage": [0, 0],
                },
            )
        if status in RETRIED_STATUS or status >= 500:
            return Exchange("busy", detail, retry_after_seconds(headers, time.time()))
        return Exchange("rejected", detail)

    def _read(self, request: Request, headers, text: str) -> Exchange:
        """A body that came whole with status 200."""
        if is_web_page(headers, text):
            return Exchange(
                "denied",
                "the endpoint answers with a web page, perhaps to sign in, and not with JSON; "
                "check --api-base, which mostly ends in /v1",
            )
        try:
            return Exchange("answered", reply=read_reply(json.loads(text), self._chat, request.wants))
        except NoLogprobs as error:
            return Exchange("useless", str(error))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            return Exchange(
                "broken", f"no answer as the protocol has it ({type(error).__name__}): {self._shown(text[:120])}"
            )


def is_web_page(headers, text: str) -> bool:
    """Whether a body is HTML, by its type or its first character."""
    return "html" in (headers.get("content-type") or "").lower() or text.lstrip()[:1] == "<"
