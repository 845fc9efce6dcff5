"""Questions as requests to an endpoint, and its replies as predictions."""

import argparse
import hashlib
import json
import math
from dataclasses import dataclass, field

from endpoint.api_client import Request
from evaluation.few_shot import render_with_examples
from evaluation.variants import count_variants, turn
from local_model.model_identity import served_by
from mmedbench_questions import answer_letters
from prompt_folder import Prompt, PromptError
from run_record import InputError


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
