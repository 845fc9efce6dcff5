"""Evaluation through an endpoint: makes the requests of every question, sends them, turns the answers into predictions.

Reads and writes <out>/requests.sqlite (endpoint_ledger.py), <out>/requests.json (its summary, for a person), and with
--shard the predictions of each shard. Predictions are made from the ledger in the data's order, so an interrupted and
resumed run gives byte-identical predictions.
"""

import argparse
import hashlib
import json
import math
from contextlib import nullcontext
from dataclasses import dataclass, field

from endpoint.api_report import UNANSWERED, print_spent
from endpoint.vllm_server import vllm_server
from endpoint_client import Client, Endpoint, Request, RetryPolicy, read_key, sigterm_as_ctrl_c
from endpoint_ledger import Budget, Ledger, answers_elsewhere
from evaluation.generate_answers import place_of, read_partials
from evaluation.variants import count_variants, gather, render_with_examples, turn
from local_model.local_model import served_by
from mmedbench_questions import answer_letters
from prompt_folder import Prompt, PromptError
from run_record import InputError, write_json, write_text


@dataclass
class Item:
    """One question or one variant of it: its prediction so far, its options, and its requests."""

    row: dict
    options: dict[str, str]
    requests: list[Request] = field(default_factory=list)


def request_of(
    args: argparse.Namespace, question: str, text: str, variant: int, stop: list[str], wants: str, files: dict
) -> Request:
    """The request for one prompt; files: identity of the served model's files, {} if unknown."""
    chat = args.api_mode == "chat"
    body = {"model": args.model, "temperature": args.temperature if args.samples > 1 else 0.0}
    body |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    body["max_tokens"] = args.max_new_tokens if wants == "text" else 1
    if wants == "text" and stop:
        body["stop"] = stop
    if args.samples > 1:
        body["seed"] = args.seed + variant
    if wants == "top":
        body |= {"logprobs": True, "top_logprobs": args.top_logprobs} if chat else {"logprobs": args.top_logprobs}
    if wants == "total":
        body |= {"echo": True, "logprobs": 1}
    body |= args.request_fields or {}
    body = {name: value for name, value in body.items() if value is not None}
    sample = variant if args.samples > 1 else 0
    # The key contains the model's files: a retrained model of the same name must not get the old one's answers.
    server = [args.api_base, *(part for part in (files, args.vllm_arguments) if part)]
    known = json.dumps([*server, args.api_mode, sample, body], sort_keys=True, ensure_ascii=False)
    return Request(hashlib.sha256(known.encode()).hexdigest(), question, body, wants)


def make_items(prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace) -> list[Item]:
    """One item per question and variant, in the data's order. Errors: InputError if the prompt does not fit."""
    items = []
    several = args.circular or args.samples > 1
    files = served_by(args.model)
    for key, records in test.items():
        for number, record in enumerate(records):
            for variant in range(count_variants(record, args.circular, args.samples)):
                shown = turn(record, variant) if args.circular else record
                try:
                    text = render_with_examples(prompt, shown, args.form, shots.get(record["language"], []))
                except PromptError as error:
                    raise InputError(str(error)) from None
                row = {"key": key, "number": number} | ({"variant": variant} if several else {})
                row |= {"id": record["id"], "gold": answer_letters(record), "options": "".join(record["options"])}
                row |= {"shortened": False} | ({"examples_dropped": 0} if args.few_shot else {})
                name = f"{key} {number}" + (f" variant {variant}" if several else "")
                wants = {"generate": "text", "letter-logprob": "top", "option-logprob": "total"}[args.mode]
                # log P(option | prompt) = log P(prompt + option) - log P(prompt)
                texts = [text, *(text + option for option in shown["options"].values())] if wants == "total" else [text]
                requests = [request_of(args, name, asked, variant, prompt.stop, wants, files) for asked in texts]
                items.append(Item(row, shown["options"], requests))
    return items


def fill_row(item: Item, replies: list[dict], stop: list[str]) -> dict:
    """The prediction of an item from the replies to all its requests."""
    first = replies[0]
    used = [reply["usage"] for reply in replies]
    about = {
        "finish": first["finish"],
        "model": first["model"],
        "fingerprint": first["fingerprint"],
        "usage": [sum(counts) for counts in zip(*used, strict=True)] if all(used) else None,
    }
    if "total" in first:
        per_byte = {
            letter: round((reply["total"] - first["total"]) / max(1, len(text.encode("utf-8"))), 6)
            for (letter, text), reply in zip(item.options.items(), replies[1:], strict=True)
        }
        return item.row | {"option_logprobs": per_byte, "reply": about}
    if first["refused"]:
        return item.row | {"output": first["text"], "failure": "refused", "reply": about}
    if "top" in first:
        table = letter_table(first["top"], list(item.row["options"]))
        found = {"letter_logprobs": table} if table else {"output": "", "failure": "no_letter"}
        return item.row | found | {"reply": about}
    text = first["text"]
    for string in stop:
        text = text.split(string)[0]
    return item.row | {"output": text} | ({} if text.strip() else {"failure": "empty"}) | {"reply": about}


def letter_table(top: dict[str, float], letters: list[str]) -> dict[str, float]:
    """{letter: log-probability of its tokens, such as "B" and " B"}, without letters that are not in `top`."""
    table = {}
    for letter in letters:
        shares = [math.exp(value) for token, value in top.items() if token.strip() == letter]
        if sum(shares) > 0:
            table[letter] = round(math.log(sum(shares)), 6)
    return table


def print_plan(prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace) -> None:
    """Print the number of requests of a complete run and their maximum cost."""
    requests = {request.key: request for item in make_items(prompt, test, shots, args) for request in item.requests}
    limits = [request.max_tokens() for request in requests.values()]
    prices = Budget(None, None, args.price_input, args.price_output)
    cost = prices.cost(sum(taken for taken, _ in limits), sum(written for _, written in limits))
    shown = "no prices are given" if cost is None else f"at most {cost:.4f} US dollars (one token per byte)"
    print(f"{len(requests)} requests to {args.api_base} ({args.api_mode}); {shown}")


def ask_endpoint(prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace) -> list[dict] | None:
    """All predictions in the data's order, including unanswered questions (`failure`, `detail`).

    With --shard only this shard's questions are asked; None until all shards are done. Errors: InputError if no
    question was answered or the endpoint denies access.
    """
    items = make_items(prompt, test, shots, args)
    index, shards = args.shard or (0, 1)
    mine = items[index::shards]
    shard = f"-{index}-of-{shards}" if args.shard else ""
    path = args.cache or args.out / f"requests{shard}.sqlite"
    budget = Budget(args.max_requests, args.max_cost, args.price_input, args.price_output)
    ledger = Ledger(path, budget)
    try:
        replies = answers_elsewhere(args.out, path) | ledger.answers()
        left = {} if args.ask_again else ledger.abandoned()
        failures = {key: (outcome, UNANSWERED[outcome]) for key, outcome in left.items()}
        wanted = {request.key: request for item in mine for request in item.requests}
        to_ask = [request for key, request in wanted.items() if key not in replies and key not in failures]
        print(f"{len(wanted) - len(to_ask)} of {len(wanted)} requests are in the ledger, {len(to_ask)} to ask")
        if to_ask:
            key = read_key(args.api_key_env)
            if key is None:
                print(f"no key in {args.api_key_env}: sending requests without one")
            endpoint = Endpoint(args.api_base, args.api_mode == "chat", key, args.timeout, args.concurrency)
            client = Client(
                endpoint, ledger, RetryPolicy(args.retries, args.backoff, args.longest_wait, args.ask_again)
            )
            try:
                with sigterm_as_ctrl_c(), vllm_server(args) if args.vllm else nullcontext():
                    fresh, failed = client.ask_all(to_ask, args.concurrency)
            finally:
                endpoint.close()
                write_json(path.with_suffix(".json"), ledger.summary())
            if client.gate.kind in ("denied", "no_answer"):
                raise InputError(
                    f"{client.gate.reason}; check --api-base, --model and the key in {args.api_key_env}. "
                    "Answers received so far are kept"
                )
            replies, failures = replies | fresh, failures | failed
            if client.gate.reason:
                print(f"stopped: {client.gate.reason}")
        else:
            write_json(path.with_suffix(".json"), ledger.summary())
        print_spent(ledger.summary())
    finally:
        ledger.close()
    rows = []
    for item in mine:
        missing = [failures[request.key] for request in item.requests if request.key not in replies]
        if missing:
            rows.append(item.row | {"output": "", "failure": missing[0][0], "detail": missing[0][1]})
        else:
            rows.append(fill_row(item, [replies[request.key] for request in item.requests], prompt.stop))
    if rows and all(row.get("failure") in UNANSWERED for row in rows):
        row = rows[0]
        raise InputError(f"no question was answered; the first: {UNANSWERED[row['failure']]}. {row['detail']}")
    return combine_shards(rows, items, shard, args)


def combine_shards(rows: list[dict], items: list[Item], shard: str, args: argparse.Namespace) -> list[dict] | None:
    """The predictions of all shards in the data's order, None until all are done."""
    if shard:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(args.out / f"predictions.partial{shard}.jsonl", lines)
        done = read_partials(args.out) | {place_of(row): row for row in rows}
        rows = [done[place] for item in items if (place := place_of(item.row)) in done]
        if len(rows) < len(items):
            print(f"this shard is done; {len(items) - len(rows)} answers of other shards are still missing")
            return None
    return gather(rows, args.circular or args.samples > 1)
