"""The body of an endpoint's answer: what is kept of it, and how log-probabilities are read from it."""

import math

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
