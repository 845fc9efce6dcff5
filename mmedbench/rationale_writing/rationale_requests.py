"""One question to an OpenAI-compatible endpoint: sent, tried again where that costs nothing twice, written down.

Tried again: what the server turned away (408, 409, 429, 5xx), a connection that was not made or that the server broke
off, and an answer that is no chat completion. Not tried again: a whole answer, whatever it says, because it is paid;
and a request that we gave up after --timeout, because the server may finish it and charge for it.
"""

import email.utils
import json
import random
import re
import threading
import time
from dataclasses import dataclass

from rationale_writing.rationale_ledger import Answer, Ledger
from rationale_writing.rationale_prompt import clean_text, most_tokens, why_unusable
from run_record import InputError

RETRIED_STATUS = (408, 409, 429)
DENIED_STATUS = (401, 402, 403, 404)
LONGEST_BACKOFF_S = 60.0
MAX_TOKENS_BELIEVED = 1 << 31  # in one answer; a larger count is no count


@dataclass(frozen=True)
class Job:
    """One question to explain: the cache's key and what is sent."""

    key: str
    question_id: str
    language: str
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Exchange:
    """What came of one request: an outcome of rationale_ledger.OUTCOMES and what is needed to go on."""

    outcome: str
    detail: str = ""
    retry_after_s: float | None = None
    text: str = ""
    finish_reason: str = ""
    served_model: str = ""
    usage: tuple[int, int] | None = None  # input and output tokens, as the server counts them


class Stopped(Exception):
    """No further request is sent; the message says why."""


class Gate:
    """Where all workers wait when the server asks for it, and where a run is stopped."""

    def __init__(self):
        self._until, self._lock, self._stop = 0.0, threading.Lock(), threading.Event()
        self.reason = ""

    def hold(self, seconds: float) -> None:
        """No request of any worker for so long: a rate limit is for the key, not for the connection."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def stop(self, reason: str) -> None:
        with self._lock:
            self.reason = self.reason or reason
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
    """A chat endpoint through the `openai` client, whose own retries are off: each would be a request uncounted."""

    def __init__(self, key: str, model: str, base_url: str | None, timeout_s: float, settings: dict):
        """settings: further fields of every request, such as max_tokens and temperature."""
        import openai

        self._openai, self._secret = openai, key
        self._settings = {"model": model, **settings}
        try:
            self._client = openai.OpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=timeout_s)
        except (openai.OpenAIError, ValueError, TypeError) as error:
            raise InputError(f"--base-url {base_url}: {self._shown(error)}") from None

    def _shown(self, error: object) -> str:
        """An error as a short line in which the key does not stand, whatever a server echoes."""
        text = " ".join(str(error).replace(self._secret, "[key]").split())
        return re.sub(r"\bsk-[\w*-]{4,}", "[key]", text)[:300]

    def ask(self, job: Job) -> Exchange:
        """Send the question once."""
        openai = self._openai
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                messages=job.messages, extra_headers={"Idempotency-Key": job.key}, **self._settings
            )
            return self._read(raw.http_response.text)
        except openai.APIStatusError as error:
            wait = retry_after_seconds(error.response.headers, time.time())
            detail, status = f"HTTP {error.status_code}: {self._shown(error.message)}", error.status_code
            if status in DENIED_STATUS or "insufficient_quota" in f"{error.code} {error.type}":
                return Exchange("denied", detail)
            if status in RETRIED_STATUS or status >= 500:
                return Exchange("busy", detail, wait)
            return Exchange("refused", detail)
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            if cause in ("ConnectError", "ConnectTimeout", "PoolTimeout"):
                return Exchange("unreachable", f"{cause}: {self._shown(error.__cause__)}")
            if isinstance(error, openai.APITimeoutError):
                return Exchange("timed_out", cause)
            return Exchange("broken", f"{cause}: {self._shown(error.__cause__)}")

    def _read(self, body: str) -> Exchange:
        """A body that came whole with a status of success."""
        try:
            value = json.loads(body)
            choice = value["choices"][0]
            text = choice["message"].get("content")
            text = "" if text is None else text
            usage = value.get("usage")
            usage = usage if isinstance(usage, dict) else {}
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            # An answer is paid, and is kept, whatever stands in place of its counts.
            known = all(type(count) is int and 0 <= count <= MAX_TOKENS_BELIEVED for count in counts)
            if not isinstance(text, str):
                raise TypeError("content is no text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            return Exchange("broken", f"no chat completion ({type(error).__name__}): {self._shown(body[:120])}")
        return Exchange(
            "answered",
            text=text,
            finish_reason=str(choice.get("finish_reason") or ""),
            served_model=str(value.get("model") or ""),
            usage=tuple(counts) if known else None,
        )


@dataclass(frozen=True)
class Patience:
    """How failures are borne: tries after the first, seconds of the first back-off, the longest wait obeyed (s)."""

    retries: int
    backoff_s: float
    longest_wait_s: float


def explain(
    job: Job, endpoint: Endpoint, ledger: Ledger, gate: Gate, patience: Patience, model: str, max_tokens: int
) -> tuple[Answer | None, str, str]:
    """Get one answer, trying as often as is allowed: (answer, "", ""), or (None, reason of FAILURES, detail).

    Errors: Stopped when the run ends before an answer came.
    """
    most, exchange = most_tokens(job.messages), None
    for attempt in range(patience.retries + 1):
        if attempt:
            # Full jitter below a doubling bound: workers that failed together do not come back together.
            bound = min(LONGEST_BACKOFF_S, patience.backoff_s * 2 ** (attempt - 1))
            gate.wait(max(random.uniform(bound / 2, bound), exchange.retry_after_s or 0.0))
        gate.wait()
        number = ledger.begin(job.key, model, most, max_tokens)
        if number is None:
            return None, "budget_spent", ""
        exchange = endpoint.ask(job)
        if exchange.outcome == "answered":
            text = clean_text(exchange.text)
            unusable = why_unusable(text, exchange.finish_reason, job.language)
            # Half a surrogate pair cannot be written down as UTF-8.
            text = text.encode("utf-8", "replace").decode("utf-8")
            answer = Answer(text, unusable, exchange.served_model, *(exchange.usage or (most, max_tokens)))
            ledger.end(number, job.key, "answered", answer=answer)
            return answer, "", ""
        ledger.end(number, job.key, exchange.outcome, exchange.detail)
        if exchange.outcome in ("timed_out", "refused"):
            return None, exchange.outcome, exchange.detail
        if exchange.outcome == "denied":
            gate.stop(f"denied: {exchange.detail}")
        if exchange.retry_after_s is not None:
            if exchange.retry_after_s > patience.longest_wait_s:
                gate.stop(f"the server asks to wait {exchange.retry_after_s:.0f} s, more than --longest-wait")
            gate.hold(exchange.retry_after_s)
    return None, "gave_up", f"{patience.retries + 1} tries; the last: {exchange.detail}"
