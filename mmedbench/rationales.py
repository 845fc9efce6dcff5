"""Write rationales to a benchmark's questions with any OpenAI-compatible endpoint, within a budget, paying once.

Reads   a folder in MMedBench's layout (FORMAT.md), a prompt (prompts/rationale.jinja), the key of the endpoint from the
        environment (OPENAI_API_KEY, or --key-variable).
Writes  --out: rationales.jsonl ({id, language, rationale, model}, for `prepare.py --rationales`), failures.jsonl (every
        question without one, and why), manifest.json last; and ledger.sqlite, every request and answer.

    python mmedbench/rationales.py data/MMedBench --model NAME --dry-run
    python mmedbench/rationales.py data/MMedBench --model NAME --out data/rationales --max-requests 500

Each question is sent with its right answer, in its own language. Rerun an interrupted command to resume it; answered
questions are not asked again. Exit 3: some questions have no rationale (budget, failures).
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from endpoint_client import (
    Client,
    Endpoint,
    RetryPolicy,
    amount,
    check_address,
    check_key_variable,
    count,
    read_key,
    sigterm_as_ctrl_c,
    whole_number,
)
from endpoint_ledger import Budget, Ledger
from mmedbench_questions import LANGUAGE_FILES
from rationale_writing.rationale_jobs import FAILURES, Job, choose, failure, plan_jobs, print_estimate, read_questions
from rationale_writing.rationale_prompt import PROMPT, RationalePrompt, judge
from run_record import (
    InputError,
    describe_files,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
    write_text,
)
from sources.find_sources import SPLITS

FORMAT_VERSION = 1
OPENAI_URL = "https://api.openai.com/v1"
ASK_AGAIN = ("unanswered", "unusable")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("data", type=Path, metavar="BENCHMARK", help="folder with Train/ Dev/ Test/")
    add(
        "--out",
        type=Path,
        default=Path("data/rationales"),
        help="output folder, new or of an earlier run to resume (default: %(default)s)",
    )
    add("--recipe", type=Path, help="flat YAML file of these flags")
    add("--model", required=True, help="the model's name at the endpoint")
    add("--base-url", help="the endpoint, such as http://127.0.0.1:8000/v1 (default: OPENAI_BASE_URL, else OpenAI's)")
    add(
        "--key-variable",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable with the API key; it is read from nowhere else (default: %(default)s)",
    )
    add("--prompt", type=Path, default=PROMPT, help="Jinja file (default: mmedbench/prompts/rationale.jinja)")
    add("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="splits to explain (default: all present)")
    add(
        "--languages",
        nargs="+",
        choices=list(LANGUAGE_FILES),
        help="ISO codes of the languages to explain (default: all present)",
    )
    add("--limit", type=whole_number, metavar="N", help="explain only the first N questions per language")
    add(
        "--rewrite",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also explain questions that have a rationale (default: no)",
    )
    add(
        "--ask-again",
        nargs="+",
        choices=ASK_AGAIN,
        default=[],
        help="repeat requests, although they may be paid twice: `unanswered` (timed out or interrupted), `unusable` "
        "(empty, cut off, in another language)",
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
    add("--concurrency", type=whole_number, default=4, metavar="N", help="parallel requests (default: %(default)s)")
    add(
        "--max-tokens",
        type=whole_number,
        default=1024,
        metavar="N",
        help="maximum number of tokens per answer (default: %(default)s)",
    )
    add(
        "--token-limit-field",
        choices=("max_tokens", "max_completion_tokens"),
        default="max_tokens",
        help="name of that limit in the endpoint's requests (default: %(default)s)",
    )
    add("--temperature", type=amount, help="sampling temperature (default: the server's)")
    add(
        "--timeout",
        type=amount,
        default=600.0,
        metavar="S",
        help="seconds to wait for an answer (default: %(default)s)",
    )
    add("--retries", type=count, default=5, metavar="N", help="retries after the first try (default: %(default)s)")
    add(
        "--backoff",
        type=amount,
        default=1.0,
        metavar="S",
        help="seconds before the first retry, doubled for each further one (default: %(default)s)",
    )
    add(
        "--longest-wait",
        type=amount,
        default=600.0,
        metavar="S",
        help="a longer Retry-After, in seconds, ends the run (default: %(default)s)",
    )
    add("--cache", type=Path, metavar="FILE", help="the ledger (default: OUT/ledger.sqlite)")
    add("--dry-run", action="store_true", help="read, count, estimate, print one prompt; send and write nothing")
    return parser


def check_settings(options: argparse.Namespace) -> None:
    """Errors: InputError for contradicting settings, spending without a limit, or a setting with a secret in it."""
    check_key_variable(options.key_variable, "--key-variable")
    options.base_url = options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    check_address(options.base_url, "--base-url")
    options.base_url = options.base_url.rstrip("/")
    prices = (options.price_input, options.price_output)
    if options.max_cost is not None and None in prices:
        raise InputError("--max-cost needs --price-input and --price-output (US dollars per million tokens)")
    if options.max_requests is None and options.max_cost is None and not options.dry_run:
        raise InputError("requests cost money: give --max-requests or --max-cost (and see --dry-run for an estimate)")


def write_outputs(
    options: argparse.Namespace, jobs: list[Job], usable: dict[str, tuple[str, str]], failures: list[dict], record: dict
) -> None:
    """Write rationales.jsonl and failures.jsonl in the benchmark's order, manifest.json last.

    usable: {key: (rationale, model)}.
    """
    out = options.out
    (out / "manifest.json").unlink(missing_ok=True)
    lines = [
        {
            "id": job.question_id,
            "language": job.language,
            "rationale": usable[job.key][0],
            "model": usable[job.key][1],
        }
        for job in jobs
        if job.key in usable
    ]
    for name, rows in (("rationales.jsonl", lines), ("failures.jsonl", failures)):
        write_text(out / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    record["files"] = describe_files(out, [out / "rationales.jsonl", out / "failures.jsonl"])
    write_json(out / "manifest.json", {"format_version": FORMAT_VERSION, "stage": "mmedbench/rationales.py", **record})


def check_output(out: Path, arguments: dict) -> None:
    """Errors: InputError if --out contains rationales of another model or prompt, or other files."""
    if out.is_file():
        raise InputError(f"--out {out} is a file; give a new folder")
    if (out / "manifest.json").exists():
        had = read_json(out / "manifest.json").get("arguments") or {}
        other = sorted(name for name in arguments if had.get(name) != arguments[name])
        if other:
            raise InputError(
                f"{out} contains rationales made with different arguments ({', '.join(other)}); give another --out "
                "(and --cache, to share a ledger)"
            )
    elif out.is_dir():
        ours = ("rationales.jsonl", "failures.jsonl")
        others = [p.name for p in out.iterdir() if p.name not in ours and not p.name.startswith((".", "ledger.sqlite"))]
        if others:
            raise InputError(f"{out} contains other files ({', '.join(sorted(others)[:3])}); give another --out")


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(build_parser(), argv)
    check_settings(options)
    print("arguments: " + ", ".join(f"{name}={value}" for name, value in vars(options).items()))
    options.command_line = sys.argv[1:] if argv is None else argv
    prompt = RationalePrompt(options.prompt)
    records = read_questions(options)
    jobs, clashes = plan_jobs(options, records, prompt)
    for language, n in Counter(job.language for job in jobs).items():
        print(f"{language}: {n} questions to explain of {sum(r['language'] == language for r in records)}")
    if not jobs and not clashes:
        raise InputError(f"no question of {options.data} lacks a rationale (--rewrite explains them anyway)")
    arguments = {
        "model": options.model,
        "temperature": options.temperature,
        "prompt_sha256": prompt.sha256,
        "rewrite": options.rewrite,
    }
    check_output(options.out, arguments)
    budget = Budget(options.max_requests, options.max_cost, options.price_input, options.price_output)
    cache = options.cache or options.out / "ledger.sqlite"
    if options.dry_run and not cache.exists():
        print_plan(options, jobs, None, budget)
        return 0
    ledger = Ledger(cache, budget, read_only=options.dry_run)
    try:
        if options.dry_run:
            print_plan(options, choose(jobs, ledger, options.ask_again)[0], ledger, budget)
            return 0
        return run(options, jobs, clashes, ledger, arguments)
    finally:
        ledger.close()


def print_plan(options: argparse.Namespace, to_ask: list[Job], ledger: Ledger | None, budget: Budget) -> None:
    """Print the report of a dry run: one prompt and the estimate."""
    if to_ask:
        print(f"one prompt:\n---\n{to_ask[0].request.body['messages'][0]['content']}\n---")
    print_estimate(options, to_ask, ledger, budget)
    print("dry run: nothing was sent, nothing was written")


def ask(options: argparse.Namespace, jobs: list[Job], ledger: Ledger) -> tuple[dict[str, dict], list[dict], str]:
    """(replies by key, failures, why the run stopped early or ""). Errors: InputError if the server denies access."""
    key = read_key(options.key_variable)
    if key is None:
        raise InputError(
            f"the environment variable {options.key_variable} is not set; put the endpoint's key there (any text for "
            "your own server that needs none)"
        )
    endpoint = Endpoint(options.base_url, True, key, options.timeout, options.concurrency)
    policy = RetryPolicy(options.retries, options.backoff, options.longest_wait, retry_timed_out=False)
    client = Client(endpoint, ledger, policy)
    try:
        with sigterm_as_ctrl_c():
            replies, unanswered = client.ask_all([job.request for job in jobs], options.concurrency)
    finally:
        endpoint.close()
    if client.gate.kind == "denied":
        raise InputError(
            f"{client.gate.reason}; check --model, --base-url and the key in {options.key_variable}. Answers received "
            "so far are kept"
        )
    failures = []
    for job in jobs:
        if job.key in unanswered:
            reason, detail = unanswered[job.key]
            failures.append(failure(job, "refused" if reason == "rejected" else reason, detail))
    return replies, failures, client.gate.reason


def run(options: argparse.Namespace, jobs: list[Job], clashes: list[dict], ledger: Ledger, arguments: dict) -> int:
    """Ask the open questions, write all outputs, report."""
    before = ledger.last_number()
    to_ask, replies, failures = choose(jobs, ledger, options.ask_again)
    print(f"{len(replies)} answers are in the ledger, {len(to_ask)} questions to ask")
    stopped = ""
    if to_ask:
        print_estimate(options, to_ask, ledger, ledger.budget)
        fresh, failed, stopped = ask(options, to_ask, ledger)
        replies, failures = replies | fresh, failures + failed
    usable = {}
    for job in jobs:
        if job.key in replies:
            text, unusable = judge(replies[job.key], job.language)
            if unusable:
                failures.append(failure(job, unusable))
            else:
                usable[job.key] = (text, replies[job.key]["model"] or options.model)
    order = {job.question_id: n for n, job in enumerate(jobs)}
    failures = sorted([*clashes, *failures], key=lambda row: order.get(row["id"], -1))
    reasons = dict(sorted(Counter(row["reason"] for row in failures).items()))
    requests = {"this_run": ledger.summary(before), "ledger": ledger.summary()}
    written_for = Counter(job.language for job in jobs if job.key in usable)
    manifest = options.data / "manifest.json"
    record = {
        "arguments": arguments,
        "inputs": {
            "questions": describe_files(
                options.data,
                sorted(path for split in options.splits for path in (options.data / split).glob("*.jsonl")),
            )
        },
        "counts": {"rationales": dict(written_for), "failures": reasons},
        "requests": {name: part["outcomes"] for name, part in requests.items()},
        "tokens": {
            name: {
                "input": part["input_tokens"],
                "output": part["output_tokens"],
                "us_dollars": part["us_dollars"],
            }
            for name, part in requests.items()
        },
        "stopped": stopped,
        "parent": sha256_of_file(manifest) if manifest.is_file() else None,
        "provenance": provenance(options.command_line),
    }
    write_outputs(options, jobs, usable, failures, record)
    print(
        f"requests: {json.dumps(record['requests']['this_run'])}; with earlier runs "
        f"{json.dumps(record['requests']['ledger'])}"
    )
    for name, row in record["tokens"].items():
        price = "no prices given" if row["us_dollars"] is None else f"{row['us_dollars']:.4f} US dollars"
        print(f"{name.replace('_', ' ')}: {row['input']} input and {row['output']} output tokens, {price}")
    for reason, n in reasons.items():
        print(f"without a rationale: {n}, {reason} ({FAILURES[reason]})")
    if stopped:
        print(f"stopped: {stopped}")
    print(f"wrote {sum(written_for.values())} rationales to {options.out / 'rationales.jsonl'}")
    return 3 if failures else 0


if __name__ == "__main__":
    run_command(main)
