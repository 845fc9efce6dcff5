"""The flags of an OpenAI-compatible endpoint (`eval.py --api-base`) and their validation."""

import argparse
import json
from pathlib import Path

from endpoint.vllm_server import check_vllm
from endpoint_client import amount, check_address, check_key_variable, count, whole_number
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
# These flags change the requests, or the model that answers (precision or chat template of a started server). The
# address is part of the model's fingerprint (`endpoint_fingerprint`).
DECISIVE = ("api_mode", "request_fields", "top_logprobs", "vllm_arguments")
# Fields in which some servers accept a key; it would be written to the record of the run.
SECRETS = {"api_key", "api-key", "apikey", "authorization", "password", "secret", "token"}
OURS = {"model", "messages", "prompt", "n", "stream", "echo", "logprobs", "top_logprobs"}
# Chat models write more than a letter; reasoning models need --max-new-tokens in the thousands.
MAX_NEW_TOKENS = {"answer": 256, "rationale": 1024}


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags as one group."""
    group = parser.add_argument_group("endpoint", "use an OpenAI-compatible server instead of a local model")

    def add(flag: str, **more) -> None:
        group.add_argument(flag, default=DEFAULTS[flag[2:].replace("-", "_")], **more)

    add(
        "--api-base",
        metavar="URL",
        help="its address, such as http://localhost:8000/v1; --model is then the name of a model there",
    )
    add(
        "--api-mode",
        choices=("chat", "completions"),
        help="chat: send the prompt as a user message; completions: as plain text to continue (default: chat; "
        "completions for a checkpoint that was trained with a plain-text prompt)",
    )
    add(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the API key; not set: no key (default %(default)s)",
    )
    add(
        "--request-fields",
        type=json_object,
        metavar="JSON",
        help="JSON fields added to each request; null omits a field, such as "
        '{"reasoning_effort": "low", "temperature": null}',
    )
    add("--top-logprobs", type=whole_number, metavar="N", help="letter-logprob: number of tokens (default %(default)s)")
    add("--concurrency", type=whole_number, metavar="N", help="parallel requests (default %(default)s)")
    add("--timeout", type=amount, metavar="S", help="seconds to wait for a complete answer (default %(default)s)")
    add("--retries", type=count, metavar="N", help="retries after the first try (default %(default)s)")
    add(
        "--backoff",
        type=amount,
        metavar="S",
        help="seconds before the first retry, doubled for each further one (default %(default)s)",
    )
    add(
        "--longest-wait",
        type=amount,
        metavar="S",
        help="a longer Retry-After, in seconds, ends the run (default %(default)s)",
    )
    add(
        "--max-requests",
        type=whole_number,
        metavar="N",
        help="limit on all requests, including retries and earlier runs with this ledger",
    )
    add("--max-cost", type=amount, metavar="USD", help="limit on the total cost, in the same way; needs both prices")
    add("--price-input", type=amount, metavar="USD", help="US dollars per million input tokens")
    add("--price-output", type=amount, metavar="USD", help="US dollars per million output tokens")
    add("--cache", type=Path, metavar="FILE", help="ledger of requests and answers (default OUT/requests.sqlite)")
    add(
        "--ask-again",
        action=argparse.BooleanOptionalAction,
        help="repeat requests that timed out or were interrupted, although they may be paid twice (default: yes)",
    )
    add(
        "--vllm",
        metavar="PATH",
        help="path of the vllm command in its own environment; starts a server for --model at --api-base",
    )
    add(
        "--vllm-arguments",
        metavar="TEXT",
        help="arguments added to `vllm serve`, such as --vllm-arguments='--max-model-len 4096'",
    )


def json_object(text: str) -> dict:
    """For argparse: a JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def check_endpoint(args: argparse.Namespace) -> None:
    """Errors: InputError for flags without effect, contradictions, or an address with a secret in it.

    Possible secrets are not repeated in the message.
    """
    if args.api_base is None:
        given = [name for name, default in DEFAULTS.items() if getattr(args, name) != default]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} needs --api-base, the address of an endpoint")
        return
    check_address(args.api_base, "--api-base")
    args.api_base = args.api_base.rstrip("/")
    check_key_variable(args.api_key_env, "--api-key-env")
    if args.chat_template is not None or args.trust_remote_code:
        raise InputError("--chat-template and --trust-remote-code are for local models; an endpoint has --api-mode")
    if args.mode == "option-logprob" and args.api_mode == "chat":
        raise InputError(
            "a chat endpoint does not return the likelihood of an option's text; use --api-mode completions on a "
            "server that echoes the prompt's log-probabilities, such as vLLM"
        )
    if args.vllm_arguments is not None and args.vllm is None:
        raise InputError("--vllm-arguments needs --vllm")
    if args.vllm is not None:
        check_vllm(args)
    if args.max_cost is not None and None in (args.price_input, args.price_output):
        raise InputError("--max-cost needs --price-input and --price-output (US dollars per million tokens)")
    if SECRETS & {name.lower() for name in args.request_fields or {}}:
        raise InputError("--request-fields: the key is read from the environment (--api-key-env), never from a flag")
    ours = sorted(OURS & set(args.request_fields or {}))
    if ours:
        raise InputError(f"--request-fields: {ours[0]} is set by this command")


def choose_api_mode(args: argparse.Namespace, own: bool, chat_prompt: bool) -> None:
    """Set --api-mode if not given: a checkpoint's own prompt is sent as in training, any other as a chat.

    own: the prompt is from the checkpoint; chat_prompt: it uses a chat template.
    """
    if args.api_mode is None:
        args.api_mode = "completions" if args.mode == "option-logprob" or (own and not chat_prompt) else "chat"
    if args.mode == "option-logprob" and own and chat_prompt:
        raise InputError(
            "this checkpoint's prompt is a chat, and a chat endpoint does not return the likelihood of an option's "
            "text; evaluate it as a local model"
        )


def endpoint_fingerprint(args: argparse.Namespace) -> dict:
    """Identity of an endpoint's model: address, name, and its files if the name is a model folder."""
    return {"endpoint": args.api_base, "model": args.model} | served_by(args.model)


def endpoint_facts(args: argparse.Namespace) -> dict:
    """The model's part of a result; a server reports neither its size nor its training."""
    folder = Path(args.model)
    run = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    return {
        "name": folder.resolve().name if folder.is_dir() else args.model,
        "path": args.model,
        "parameters": None,
        "base": run.get("base"),
        "training": run.get("training") or "none",
    }
