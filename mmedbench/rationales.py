"""Write rationales to a benchmark's questions with any OpenAI-compatible endpoint, within a budget, paying once.

Reads   a folder in MMedBench's layout (FORMAT.md), a prompt (prompts/rationale.jinja), the key of the endpoint from the
        environment (OPENAI_API_KEY, or --key-variable).
Writes  --out: rationales.jsonl ({id, language, rationale, model}, for `prepare.py --rationales`), failures.jsonl (every
        question without one, and why), manifest.json last; and ledger.sqlite, every request and answer there ever was.

    python mmedbench/rationales.py data/MMedBench --model NAME --dry-run
    python mmedbench/rationales.py data/MMedBench --model NAME --out data/rationales --max-requests 500

The questions go out with their right answer, in their own language. A run that was killed, or is started again, asks
nothing that was answered before. Exit 3: some questions are left without a rationale (budget, failures).
"""

import argparse
import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mmedbench_questions import LANGUAGE_FILES
from rationale_writing.rationale_jobs import FAILURES, choose, failure, plan_jobs, print_estimate, read_questions
from rationale_writing.rationale_ledger import Answer, Budget, Ledger
from rationale_writing.rationale_prompt import PROMPT, RationalePrompt
from rationale_writing.rationale_requests import Endpoint, Gate, Job, Patience, Stopped, explain
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
PROGRESS_S = 30.0  # between two lines of progress where no terminal shows a bar
ASK_AGAIN = ("unanswered", "unusable")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("data", type=Path, metavar="BENCHMARK", help="folder with Train/ Dev/ Test/")
    add("--out", type=Path, default=Path("data/rationales"), help="folder to make or go on with (default: %(default)s)")
    add("--recipe", type=Path, help="flat YAML file of these flags")
    add("--model", required=True, help="the model's name at the endpoint")
    add("--base-url", help="the endpoint, such as http://127.0.0.1:8000/v1 (default: OPENAI_BASE_URL, else OpenAI's)")
    add(
        "--key-variable",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable that holds the key; keys are read from nowhere else (default: %(default)s)",
    )
    add("--prompt", type=Path, default=PROMPT, help="Jinja file (default: mmedbench/prompts/rationale.jinja)")
    add("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all there are")
    add("--languages", nargs="+", choices=list(LANGUAGE_FILES), help="ISO codes (default: all there are)")
    add("--limit", type=whole_number, metavar="N", help="questions per language at most, the first ones")
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
        help="ask again, though it may be paid twice: `unanswered` (timed out, or killed on its way), `unusable` "
        "(empty, cut off, in another language)",
    )
    add(
        "--max-requests",
        type=whole_number,
        metavar="N",
        help="requests in all, retries and earlier runs with this ledger included",
    )
    add("--max-cost", type=amount, metavar="USD", help="US dollars in all, in the same way; needs both prices")
    add("--price-input", type=amount, metavar="USD", help="US dollars for a million input tokens")
    add("--price-output", type=amount, metavar="USD", help="US dollars for a million output tokens")
    add("--concurrency", type=whole_number, default=4, metavar="N", help="requests at a time (default: %(default)s)")
    add(
        "--max-tokens",
        type=whole_number,
        default=1024,
        metavar="N",
        help="tokens of an answer at most (default: %(default)s)",
    )
    add(
        "--token-limit-field",
        choices=("max_tokens", "max_completion_tokens"),
        default="max_tokens",
        help="what the endpoint calls that limit (default: %(default)s)",
    )
    add("--temperature", type=amount, help="default: the server's")
    add(
        "--timeout",
        type=amount,
        default=600.0,
        metavar="S",
        help="seconds to wait for an answer (default: %(default)s)",
    )
    add("--retries", type=count, default=5, metavar="N", help="tries after the first (default: %(default)s)")
    add(
        "--backoff",
        type=amount,
        default=1.0,
        metavar="S",
        help="seconds before the first retry, doubled each time (default: %(default)s)",
    )
    add(
        "--longest-wait",
        type=amount,
        default=600.0,
        metavar="S",
        help="a Retry-After beyond so many seconds ends the run (default: %(default)s)",
    )
    add("--cache", type=Path, metavar="FILE", help="the ledger (default: OUT/ledger.sqlite)")
    add("--dry-run", action="store_true", help="read, count, estimate, print one prompt; ask and write nothing")
    return parser


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


def check_settings(options: argparse.Namespace) -> None:
    """Errors: InputError for settings that contradict each other, cost without a limit, or would leak a secret."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", options.key_variable):
        raise InputError("--key-variable takes the NAME of an environment variable in capitals, never the key itself")
    url = options.base_url or os.environ.get("OPENAI_BASE_URL") or ""
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise InputError("--base-url: leave user, password and query out; the key comes from the environment")
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise InputError(f"--base-url {url}: expected http://host/v1 or https://host/v1")
    prices = (options.price_input, options.price_output)
    if options.max_cost is not None and None in prices:
        raise InputError("--max-cost needs --price-input and --price-output (US dollars for a million tokens)")
    if options.max_requests is None and options.max_cost is None and not options.dry_run:
        raise InputError("requests cost money: give --max-requests or --max-cost (and see --dry-run for an estimate)")


def ask_all(options: argparse.Namespace, jobs: list[Job], ledger: Ledger) -> tuple[dict[str, Answer], list[dict], str]:
    """(answers by key, failures, why the run stopped early or ""). Errors: InputError when the server denies access."""
    from tqdm import tqdm

    settings = {options.token_limit_field: options.max_tokens}
    if options.temperature is not None:
        settings["temperature"] = options.temperature
    endpoint = Endpoint(read_key(options.key_variable), options.model, options.base_url, options.timeout, settings)
    gate, patience = Gate(), Patience(options.retries, options.backoff, options.longest_wait)
    answers, failures = {}, []
    said = time.monotonic()
    with ThreadPoolExecutor(options.concurrency) as pool, tqdm(total=len(jobs), unit="question", disable=None) as bar:
        running = {
            pool.submit(explain, job, endpoint, ledger, gate, patience, options.model, options.max_tokens): job
            for job in jobs
        }
        try:
            for done in as_completed(running):
                job = running[done]
                try:
                    answer, reason, detail = done.result()
                except Stopped as stopped:
                    answer, reason, detail = None, "stopped", str(stopped)
                if answer:
                    answers[job.key] = answer
                else:
                    failures.append(failure(job, reason, detail))
                bar.update()
                if bar.disable and time.monotonic() - said > PROGRESS_S:
                    said = time.monotonic()
                    print(f"{len(answers)} answers of {len(jobs)}, {len(failures)} failures", flush=True)
        except BaseException:
            # Ctrl-C, a full disk, a fault: what is on its way may arrive and is kept, nothing new is sent.
            gate.stop("interrupted")
            raise
    if gate.reason.startswith("denied"):
        raise InputError(
            f"{gate.reason}; correct --model, --base-url or the key in {options.key_variable}. What was "
            "answered before is kept"
        )
    return answers, failures, gate.reason


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """A scheduler's SIGTERM ends the run as Ctrl-C does: what is on its way is waited for and kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT itself may be ignored (a job with "&")
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def read_key(variable: str) -> str:
    """The key. Errors: InputError when the variable is unset or cannot be sent in a header."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"the environment variable {variable} is not set; put the endpoint's key there (any text for "
            "a server of your own that asks for none)"
        )
    if not key.isascii() or not key.isprintable():
        raise InputError(f"the key in {variable} holds characters that no HTTP header can carry")
    return key


def write_outputs(
    options: argparse.Namespace, jobs: list[Job], answers: dict[str, Answer], failures: list[dict], record: dict
) -> None:
    """rationales.jsonl and failures.jsonl in the benchmark's order, manifest.json last."""
    out = options.out
    (out / "manifest.json").unlink(missing_ok=True)
    lines = [
        {
            "id": job.question_id,
            "language": job.language,
            "rationale": answers[job.key].rationale,
            "model": answers[job.key].served_model or options.model,
        }
        for job in jobs
        if job.key in answers
    ]
    for name, rows in (("rationales.jsonl", lines), ("failures.jsonl", failures)):
        write_text(out / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    record["files"] = describe_files(out, [out / "rationales.jsonl", out / "failures.jsonl"])
    write_json(out / "manifest.json", {"format_version": FORMAT_VERSION, "stage": "mmedbench/rationales.py", **record})


def check_output(out: Path, arguments: dict) -> None:
    """Errors: InputError when --out holds the rationales of another model or prompt, or something else."""
    if out.is_file():
        raise InputError(f"--out {out} is a file; give a folder to make")
    if (out / "manifest.json").exists():
        had = read_json(out / "manifest.json").get("arguments") or {}
        other = sorted(name for name in arguments if had.get(name) != arguments[name])
        if other:
            raise InputError(
                f"{out} holds rationales of another making ({', '.join(other)}); give another --out (and "
                "--cache, to share a ledger)"
            )
    elif out.is_dir():
        ours = ("rationales.jsonl", "failures.jsonl")
        others = [p.name for p in out.iterdir() if p.name not in ours and not p.name.startswith((".", "ledger.sqlite"))]
        if others:
            raise InputError(f"{out} holds other files ({', '.join(sorted(others)[:3])}); give another --out")


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
        raise InputError(f"no question of {options.data} lacks a rationale (--rewrite explains them all the same)")
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
    except sqlite3.Error as error:
        raise InputError(
            f"the ledger {cache} cannot be written ({error}); see to the disk and run the same command "
            "again: what was answered before is kept"
        ) from None
    finally:
        ledger.close()


def print_plan(options: argparse.Namespace, to_ask: list[Job], ledger: Ledger | None, budget: Budget) -> None:
    """What a dry run shows."""
    if to_ask:
        print(f"one prompt:\n---\n{to_ask[0].messages[0]['content']}\n---")
    print_estimate(options, to_ask, ledger, budget)
    print("dry run: nothing was asked, nothing was written")


def run(options: argparse.Namespace, jobs: list[Job], clashes: list[dict], ledger: Ledger, arguments: dict) -> int:
    """Ask what is to be asked, write everything, report."""
    before = ledger.last_number()
    to_ask, answers, failures = choose(jobs, ledger, options.ask_again)
    print(f"{len(answers)} answers are in the ledger, {len(to_ask)} questions to ask")
    stopped = ""
    if to_ask:
        print_estimate(options, to_ask, ledger, ledger.budget)
        with sigterm_as_ctrl_c():
            fresh, failed, stopped = ask_all(options, to_ask, ledger)
        answers, failures = answers | fresh, failures + failed
    place = {job.key: (job, n) for n, job in enumerate(jobs)}
    failures += [failure(place[key][0], answer.unusable) for key, answer in answers.items() if answer.unusable]
    order = {job.question_id: n for n, job in enumerate(jobs)}
    failures = sorted([*clashes, *failures], key=lambda row: order.get(row["id"], -1))
    usable = {key: answer for key, answer in answers.items() if not answer.unusable}
    reasons = dict(sorted(Counter(row["reason"] for row in failures).items()))
    taken, written, cost = ledger.tokens(before)
    all_taken, all_written, all_cost = ledger.tokens()
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
        "requests": {"this_run": ledger.outcomes(before), "ledger": ledger.outcomes()},
        "tokens": {
            "this_run": {"input": taken, "output": written, "us_dollars": cost},
            "ledger": {"input": all_taken, "output": all_written, "us_dollars": all_cost},
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
