"""Reports on an endpoint: the requests so far, the `endpoint` part of result.json, failures.jsonl."""

import argparse
import json
from collections import Counter
from pathlib import Path

from endpoint_ledger import Budget
from run_record import write_text

CUT_OFF_WARNING = 0.05  # warn if this share of answers is cut off at --max-new-tokens
UNANSWERED = {
    "gave_up": "no answer after all tries",
    "rejected": "the endpoint rejected the question",
    "timed_out": "no complete answer within --timeout; perhaps paid",
    "interrupted": "interrupted by a kill; perhaps paid",
    "budget_spent": "the budget does not allow another request",
    "stopped": "the run was stopped before this question",
}
NO_ANSWER = {
    "refused": "the model or its filter refused",
    "empty": "the answer is empty",
    "no_letter": "no letter among the most likely first tokens",
}


def print_spent(summary: dict) -> None:
    """Print the requests in the ledger and their cost so far."""
    cost = "no prices given" if summary["us_dollars"] is None else f"{summary['us_dollars']:.4f} US dollars"
    print(
        f"requests so far: {json.dumps(summary['outcomes'])}; {summary['input_tokens']} input and "
        f"{summary['output_tokens']} output tokens, {cost}"
    )
    if summary["interrupted"]:
        print(f"interrupted by a kill, perhaps paid: {', '.join(summary['interrupted'])}")


def every_answer(rows: list[dict]) -> list[dict]:
    """One row per answer: those of each prediction, or of each of its variants, with the question."""
    shared = ("key", "number", "id")
    return [
        {k: row[k] for k in shared} | ({"variant": n} if "variants" in row else {}) | answer
        for row in rows
        for n, answer in enumerate(row.get("variants", [row]))
    ]


def describe_endpoint(rows: list[dict], args: argparse.Namespace) -> dict:
    """The `endpoint` part of a result; from the predictions only, so an interrupted run gives the same."""
    answers = every_answer(rows)
    replies = [answer["reply"] for answer in answers if "reply" in answer]
    used = [reply["usage"] for reply in replies if reply["usage"]]
    taken, written = (sum(counts[place] for counts in used) for place in (0, 1))
    cost = Budget(None, None, args.price_input, args.price_output).cost(taken, written)
    outcomes = Counter(
        answer.get("failure")
        or ("cut_off" if answer["reply"]["finish"] == "length" and "output" in answer else "answered")
        for answer in answers
    )
    return {
        "base": args.api_base,
        "api_mode": args.api_mode,
        "reported_models": dict(sorted(Counter(reply["model"] for reply in replies).items())),
        "fingerprints": dict(sorted(Counter(reply["fingerprint"] for reply in replies).items())),
        "sampling": {
            "temperature": args.temperature if args.samples > 1 else 0.0,
            "max_tokens": args.max_new_tokens if args.mode == "generate" else 1,
            "fields": args.request_fields or {},
        },
        "outcomes": dict(sorted(outcomes.items())),
        "unanswered": sum(outcomes[reason] for reason in UNANSWERED),
        "usage": {
            "input_tokens": taken,
            "output_tokens": written,
            "answers_without_counts": len(replies) - len(used),
            "us_dollars": None if cost is None else round(cost, 6),
        },
    }


def write_failures(rows: list[dict], out: Path) -> None:
    """failures.jsonl: every missing or empty answer; an empty file if there are none."""
    names = ("key", "number", "variant", "id", "failure", "detail", "output")
    failed = [answer for answer in every_answer(rows) if "failure" in answer]
    lines = [{name: answer[name] for name in names if answer.get(name) not in (None, "")} for answer in failed]
    write_text(out / "failures.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def print_failures(rows: list[dict], endpoint: dict) -> None:
    """Print the number of missing or empty answers by reason, with an example."""
    outcomes, total = endpoint["outcomes"], sum(endpoint["outcomes"].values())
    for reason, meaning in (UNANSWERED | NO_ANSWER).items():
        if outcomes.get(reason):
            failed = [answer for answer in every_answer(rows) if answer.get("failure") == reason]
            example = f", such as: {failed[0]['detail']}" if failed[0].get("detail") else ""
            print(f"{reason}: {outcomes[reason]} of {total} ({meaning}; counted as wrong){example}")
    if outcomes.get("cut_off", 0) > CUT_OFF_WARNING * total:
        print(f"{outcomes['cut_off']} of {total} answers were cut off at --max-new-tokens; increase it")
    if endpoint["unanswered"]:
        print(f"{endpoint['unanswered']} unanswered (failures.jsonl); run the same command again to repeat them")
