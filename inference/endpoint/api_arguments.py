"""The flags of an OpenAI-compatible endpoint (`eval.py --api-base`), and what must hold between them."""

import argparse
import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from endpoint.vllm_server import check_vllm
from local_model.local_model import served_by
from run_record import InputError, read_json

DEFAULTS = {
    "api_base": None,
    "api_mode": None,
    "api_key_env": "OPENAI_API_KEY",
    "request_fields": None,
    "top_logprobs": 20,
    "concurrency": 8,
    "timeout": 600.0,
    "retries": 5,
    "backoff": 1.0,
    "longest_wait": 600.0,
    "max_requests": None,
    "max_cost": None,
    "price_input": None,
    "price_output": None,
    "cache": None,
    "ask_again": True,
    "vllm": None,
    "vllm_arguments": None,
}
# These change what is asked, or what answers (a server may be started with another precision or chat template). Of the
# others, the address is part of the model's fingerprint (`endpoint_fingerprint`).
DECISIVE = ("api_mode", "request_fields", "top_logprobs", "vllm_arguments")
# Fields by which some servers take a key; it would stand in the record of the run.
SECRETS = {"api_key", "api-key", "apikey", "authorization", "password", "secret", "token"}
OURS = {"model", "messages", "prompt", "n", "stream", "echo", "logprobs", "top_logprobs"}
# Foreign chat models say more than a letter; those that think first need --max-new-tokens in the thousands.
MAX_NEW_TOKENS = {"answer": 256, "rationale": 1024}


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, in a group of their own."""
    group = parser.add_argument_group("endpoint", "an OpenAI-compatible server in place of a local model")

    def add(flag: str, **more) -> None:
        group.add_argument(flag, default=DEFAULTS[flag[2:].replace("-", "_")], **more)

    add("--api-base", metavar="URL", help="such as http://localhost:8000/v1; --model is then the name of its model")
    add(
        "--api-mode",
        choices=("chat", "completions"),
        help="chat: the prompt is a user's turn; completions: it is continued as it stands (default: chat, but "
        "completions for a checkpoint's own prompt that was trained so)",
    )
    add("--api-key-env", metavar="NAME", help="environment variable with the key; unset: no key (default %(default)s)")
    add(
        "--request-fields",
        type=json_object,
        metavar="JSON",
        help='more fields of a request; null leaves one out: \'{"reasoning_effort": "low", "temperature": null}\'',
    )
    add("--top-logprobs", type=whole_number, metavar="N", help="letter-logprob: tokens asked for (default %(default)s)")
    add("--concurrency", type=whole_number, metavar="N", help="requests at a time (default %(default)s)")
    add("--timeout", type=amount, metavar="S", help="seconds to wait for a whole answer (default %(default)s)")
    add("--retries", type=count, metavar="N", help="tries after the first (default %(default)s)")
    add(
        "--backoff", type=amount, metavar="S", help="seconds before the first retry, doubled then (default %(default)s)"
    )
    add("--longest-wait", type=amount, metavar="S", help="longest Retry-After obeyed, seconds (default %(default)s)")
    add("--max-requests", type=whole_number, metavar="N", help="requests in all, retries and earlier tries included")
    add("--max-cost", type=amount, metavar="USD", help="US dollars in all, in the same way; needs both prices")
    add("--price-input", type=amount, metavar="USD", help="US dollars for a million input tokens")
    add("--price-output", type=amount, metavar="USD", help="US dollars for a million output tokens")
    add("--cache", type=Path, metavar="FILE", help="ledger of requests and answers (default OUT/requests.sqlite)")
    add(
        "--ask-again",
        action=argparse.BooleanOptionalAction,
        help="ask again what timed out or was cut off by a kill, though it may be paid twice (default: yes)",
    )
    add("--vllm", metavar="PATH", help="vLLM's command in an environment of its own: serve --model at --api-base first")
    add(
        "--vllm-arguments", metavar="TEXT", help="more of `vllm serve`, such as --vllm-arguments='--max-model-len 4096'"
    )


def json_object(text: str) -> dict:
    """For argparse: a JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


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
    """For argparse: a number that is not negative."""
    if not 0 <= float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


def check_endpoint(args: argparse.Namespace) -> None:
    """Errors: InputError for flags without effect, contradictions, or an address with a secret in it.

    What might be a secret is not repeated in the message.
    """
    if args.api_base is None:
        given = [name for name, default in DEFAULTS.items() if getattr(args, name) != default]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} goes with --api-base, the address of an endpoint")
        return
    try:
        parts = urlsplit(args.api_base)
        named = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        raise InputError("--api-base is no address; expected http://host:port/v1 or https://host/v1") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("--api-base: leave user, password and query out; the key comes from the environment")
    if not named:
        raise InputError(f"--api-base {args.api_base}: expected http://host:port/v1 or https://host/v1")
    args.api_base = args.api_base.rstrip("/")
    if args.api_base.endswith("/completions"):
        raise InputError(f"--api-base {args.api_base}: give what stands before /completions or /chat/completions")
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", args.api_key_env):
        raise InputError("--api-key-env takes the NAME of an environment variable in capitals, never the key itself")
    if args.chat_template is not None or args.trust_remote_code:
        raise InputError("--chat-template and --trust-remote-code are for local models; an endpoint has --api-mode")
    if args.mode == "option-logprob" and args.api_mode == "chat":
        raise InputError(
            "a chat endpoint cannot tell how likely an option's text is; use --api-mode completions on a "
            "server that echoes the prompt's log-probabilities, such as vLLM"
        )
    if args.vllm_arguments is not None and args.vllm is None:
        raise InputError("--vllm-arguments goes with --vllm")
    if args.vllm is not None:
        check_vllm(args)
    if args.max_cost is not None and None in (args.price_input, args.price_output):
        raise InputError("--max-cost needs --price-input and --price-output (US dollars for a million tokens)")
    if SECRETS & {name.lower() for name in args.request_fields or {}}:
        raise InputError("--request-fields: a key comes from the environment (--api-key-env), never from a flag")
    ours = sorted(OURS & set(args.request_fields or {}))
    if ours:
        raise InputError(f"--request-fields: {ours[0]} is set by this command")


def choose_api_mode(args: argparse.Namespace, own: bool, chat_prompt: bool) -> None:
    """Fill in --api-mode: a prompt that its model was trained on is sent as it was trained, any other as a chat.

    own: the prompt came with the checkpoint; chat_prompt: that prompt goes through a chat template.
    """
    if args.api_mode is None:
        args.api_mode = "completions" if args.mode == "option-logprob" or (own and not chat_prompt) else "chat"
    if args.mode == "option-logprob" and own and chat_prompt:
        raise InputError(
            "this checkpoint's prompt is a chat, and a chat endpoint cannot tell how likely an option's "
            "text is; evaluate it as a local model"
        )


def read_key(variable: str) -> str | None:
    """The key, None where the variable is unset. Errors: InputError when it cannot be sent in a header."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or (key and not key.isprintable()):
        raise InputError(f"the key in {variable} holds characters that no HTTP header can carry")
    return key or None


def endpoint_fingerprint(args: argparse.Namespace) -> dict:
    """What an endpoint's model is known by: address and name, and its files where the name is a model's folder."""
    return {"endpoint": args.api_base, "model": args.model} | served_by(args.model)


def endpoint_facts(args: argparse.Namespace) -> dict:
    """What a result says of the model; a server tells neither its size nor its training."""
    folder = Path(args.model)
    run = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    return {
        "name": folder.resolve().name if folder.is_dir() else args.model,
        "path": args.model,
        "parameters": None,
        "base": run.get("base"),
        "training": run.get("training") or "none",
    }
