"""Asking an endpoint: every question as requests, sent at once within a budget, each answered at most once.

Reads and writes <out>/requests.sqlite (api_ledger.py), <out>/requests.json (what it holds, for a person), and with
--shard the predictions of each shard. Predictions are made from the ledger in the data's order, so that a run that was
killed ends with the same bytes.
"""

import argparse
import hashlib
import json
import math
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from endpoint.api_arguments import read_key
from endpoint.api_client import Endpoint, Gate, Request, Stopped
from endpoint.api_ledger import Budget, Ledger, answers_elsewhere
from endpoint.api_report import UNANSWERED, print_spent
from endpoint.vllm_server import vllm_server
from evaluation.generate_answers import place_of, read_partials
from evaluation.variants import count_variants, gather, render_with_examples, turn
from local_model.local_model import served_by
from mmedbench_questions import answer_letters
from prompt_folder import Prompt, PromptError
from run_record import InputError, write_json, write_text


@dataclass
class Item:
    """One question, or one variant of it: its prediction so far, and the requests that answer it."""

    row: dict
    options: dict[str, str]
    requests: list[Request] = field(default_factory=list)


def request_of(
    args: argparse.Namespace, question: str, text: str, variant: int, stop: list[str], wants: str, files: dict
) -> Request:
    """The request that gives a prompt to the endpoint; files: of the served model, where they are known."""
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
    # A model that was trained anew under the same name has answered nothing yet, also where a ledger is shared.
    server = [args.api_base, *(part for part in (files, args.vllm_arguments) if part)]
    known = json.dumps([*server, args.api_mode, sample, body], sort_keys=True, ensure_ascii=False)
    return Request(hashlib.sha256(known.encode()).hexdigest(), question, body, wants)


def make_items(prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace) -> list[Item]:
    """One item a question and variant, in the data's order. Errors: InputError when the prompt does not fit."""
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
                # The text of an option after the prompt is as likely as both together less the prompt alone.
                texts = [text, *(text + option for option in shown["options"].values())] if wants == "total" else [text]
                requests = [request_of(args, name, asked, variant, prompt.stop, wants, files) for asked in texts]
                items.append(Item(row, shown["options"], requests))
    return items


def fill_row(item: Item, replies: list[dict], stop: list[str]) -> dict:
    """The prediction of an item whose requests were all answered."""
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
    """{letter: log-probability of the tokens that read as it, such as "B" and " B"}; letters not seen are left out."""
    table = {}
    for letter in letters:
        shares = [math.exp(value) for token, value in top.items() if token.strip() == letter]
        if sum(shares) > 0:
            table[letter] = round(math.log(sum(shares)), 6)
    return table


LONGEST_BACKOFF_S = 60.0
MOST_IN_A_ROW = 10  # questions without an answer, one after the other, before the run stops
PROGRESS_S = 30.0  # between two lines of progress where no terminal shows a bar


class Asker:
    """Workers' common ground: endpoint, ledger, patience, and how many questions in a row were left unanswered."""

    def __init__(self, args: argparse.Namespace, ledger: Ledger):
        self.args, self.ledger, self.gate = args, ledger, Gate()
        key = read_key(args.api_key_env)
        if key is None:
            print(f"no key in {args.api_key_env}: asking without one")
        self.endpoint = Endpoint(args.api_base, args.api_mode == "chat", key, args.timeout, args.concurrency)
        self._answered, self._in_a_row, self._lock = 0, 0, threading.Lock()

    def ask(self, request: Request) -> tuple[dict | None, str, str]:
        """(reply, "", ""), or (None, reason of UNANSWERED, detail), trying as often as is allowed."""
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
                    self.gate.stop(f"no connection to {self.args.api_base}: {detail}", denied=True)
                if self._in_a_row >= MOST_IN_A_ROW:
                    shown = f"{self._in_a_row} questions in a row without an answer; the last: {reason}, {detail}"
                    self.gate.stop(shown, denied=never)
        return reply, reason, detail

    def _try(self, request: Request) -> tuple[dict | None, str, str]:
        args, exchange = self.args, None
        for attempt in range(args.retries + 1):
            if attempt:
                # Jitter below a doubling bound: workers that failed together do not come back together.
                bound = min(LONGEST_BACKOFF_S, args.backoff * 2 ** (attempt - 1))
                self.gate.wait(random.uniform(bound / 2, bound))
            self.gate.wait()
            number = self.ledger.begin(request.key, request.question, *request.most_tokens())
            if number is None:
                return None, "budget_spent", ""
            exchange = self.endpoint.ask(request)
            self.ledger.end(number, request.key, exchange.outcome, exchange.detail, exchange.reply)
            if exchange.outcome == "answered":
                return exchange.reply, "", ""
            if exchange.outcome in ("denied", "useless"):
                self.gate.stop(exchange.detail, denied=True)
            if exchange.outcome == "rejected" or (exchange.outcome == "timed_out" and not args.ask_again):
                return None, exchange.outcome, exchange.detail
            if (wait := exchange.retry_after_s) is not None:
                if wait > args.longest_wait:
                    self.gate.stop(f"the server asks to wait {wait:.0f} s, longer than --longest-wait")
                self.gate.hold(wait)
        return None, "gave_up", f"{args.retries + 1} tries; the last: {exchange.outcome}, {exchange.detail}"


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """A scheduler's SIGTERM ends the run as Ctrl-C does: what is on its way is waited for and kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT itself may be ignored (a job with "&")
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def send_all(requests: list[Request], asker: Asker) -> tuple[dict[str, dict], dict[str, tuple[str, str]]]:
    """({key: reply}, {key: (reason, detail)} of those without one). Errors: InputError when nothing can be asked."""
    from tqdm import tqdm

    replies, failures, said = {}, {}, time.monotonic()
    with (
        ThreadPoolExecutor(asker.args.concurrency) as pool,
        tqdm(total=len(requests), unit="request", disable=None, file=sys.stderr) as bar,
    ):
        running = {pool.submit(asker.ask, request): request for request in requests}
        try:
            for done in as_completed(running):
                reply, reason, detail = done.result()
                if reply is not None:
                    replies[running[done].key] = reply
                else:
                    failures[running[done].key] = (reason, detail)
                bar.update()
                if bar.disable and time.monotonic() - said > PROGRESS_S:
                    said = time.monotonic()
                    print(f"{len(replies)} answers of {len(requests)}, {len(failures)} without one", flush=True)
        except BaseException:
            # Ctrl-C, a full disk, a fault: what is on its way may arrive and is kept, nothing new is sent.
            asker.gate.stop("interrupted")
            raise
    if asker.gate.denied:
        raise InputError(
            f"{asker.gate.reason}; check --api-base, --model and the key in {asker.args.api_key_env}. "
            "What was answered is kept"
        )
    return replies, failures


def print_plan(prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace) -> None:
    """How many requests a whole run sends, and what they cost at most."""
    requests = {request.key: request for item in make_items(prompt, test, shots, args) for request in item.requests}
    most = [request.most_tokens() for request in requests.values()]
    prices = Budget(None, None, args.price_input, args.price_output)
    cost = prices.cost(sum(taken for taken, _ in most), sum(written for _, written in most))
    shown = "no prices are given" if cost is None else f"at most {cost:.4f} US dollars, if a byte were a token"
    print(f"{len(requests)} requests to {args.api_base} ({args.api_mode}); {shown}")


def ask_endpoint(prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace) -> list[dict] | None:
    """All predictions in the data's order, unanswered questions among them (`failure`, `detail`).

    With --shard only this shard's questions are asked; None while other shards are not done.
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
        left = {} if args.ask_again else ledger.left_open()
        failures = {key: (outcome, UNANSWERED[outcome]) for key, outcome in left.items()}
        wanted = {request.key: request for item in mine for request in item.requests}
        to_ask = [request for key, request in wanted.items() if key not in replies and key not in failures]
        print(f"{len(wanted) - len(to_ask)} of {len(wanted)} requests are in the ledger, {len(to_ask)} to ask")
        if to_ask:
            asker = Asker(args, ledger)
            try:
                with sigterm_as_ctrl_c(), vllm_server(args) if args.vllm else nullcontext():
                    fresh, failed = send_all(to_ask, asker)
            finally:
                asker.endpoint.close()
                write_json(path.with_suffix(".json"), ledger.summary())
            replies, failures = replies | fresh, failures | failed
            if asker.gate.reason:
                print(f"stopped: {asker.gate.reason}")
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
    return together(rows, items, shard, args)


def together(rows: list[dict], items: list[Item], shard: str, args: argparse.Namespace) -> list[dict] | None:
    """The predictions of all shards in the data's order, None while some are not done."""
    if shard:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(args.out / f"predictions.partial{shard}.jsonl", lines)
        done = read_partials(args.out) | {place_of(row): row for row in rows}
        rows = [done[place] for item in items if (place := place_of(item.row)) in done]
        if len(rows) < len(items):
            print(f"this shard is done; {len(items) - len(rows)} answers of other shards are still missing")
            return None
    return gather(rows, args.circular or args.samples > 1)
