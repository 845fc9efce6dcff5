"""Selects the questions that rationales.py asks, skips those that the ledger answers, and estimates the cost.

Reads a folder in MMedBench's layout (FORMAT.md).
"""

import argparse
from collections import Counter, defaultdict
from dataclasses import dataclass

from endpoint_client import Request
from endpoint_ledger import Budget, Ledger
from mmedbench_questions import LANGUAGE_FILES, RecordError, read_split
from rationale_writing.rationale_prompt import UNUSABLE, RationalePrompt, content_key, judge
from run_record import InputError
from sources.find_sources import SPLITS

FAILURES = {
    **UNUSABLE,
    "gave_up": "all tries failed; the next run tries again",
    "refused": "the server refused this question; the next run asks again",
    "timed_out": "no answer within --timeout; it may have been paid, so only --ask-again unanswered asks again",
    "interrupted": "in flight when a run was killed; it may have been paid, so only --ask-again unanswered asks again",
    "budget_spent": "the budget does not allow another request",
    "stopped": "the run was stopped before this question",
    "two_keys": "copies of this question have different answers in the benchmark; correct it first",
}
LIKELY_OUTPUT_TOKENS = (
    300  # a rationale of one or two paragraphs; only for the estimate, while the ledger has no answers
)
LIKELY_BYTES_PER_TOKEN = 3.5  # between Latin scripts (about 4) and the others (about 3); only for the estimate


@dataclass(frozen=True)
class Job:
    """One question to explain, and the request for it."""

    question_id: str
    language: str
    request: Request

    @property
    def key(self) -> str:
        return self.request.key


def read_questions(options: argparse.Namespace) -> list[dict]:
    """The benchmark's questions in reading order. Errors: InputError naming file and line."""
    languages = options.languages or list(LANGUAGE_FILES)
    records, found = [], []
    for split in SPLITS:
        if split not in options.splits or not (options.data / split).is_dir():
            continue
        found.append(split)
        try:
            for questions in read_split(options.data / split).values():
                records += [record for record in questions if record["language"] in languages]
        except RecordError as error:
            raise InputError(str(error)) from None
    if not found:
        raise InputError(
            f"{options.data} contains none of {', '.join(options.splits)}; make it with mmedbench/prepare.py"
        )
    return sorted(records, key=lambda record: list(LANGUAGE_FILES).index(record["language"]))


def plan_jobs(
    options: argparse.Namespace, records: list[dict], prompt: RationalePrompt
) -> tuple[list[Job], list[dict]]:
    """(one job per question to explain, failures): copies are asked once, contradicting copies not at all.

    Errors: InputError if the prompt does not fit a question.
    """
    answers, jobs, taken = defaultdict(set), {}, Counter()
    settings = {options.token_limit_field: options.max_tokens}
    if options.temperature is not None:
        settings["temperature"] = options.temperature
    for record in records:
        answers[record["id"]].add(record["answer_idx"])
        if (record.get("rationale") and not options.rewrite) or record["id"] in jobs:
            continue
        if options.limit is None or taken[record["language"]] < options.limit:
            taken[record["language"]] += 1
            messages = prompt.messages(record)
            key = content_key(options.model, options.temperature, record["id"], messages)
            body = {"messages": messages, "model": options.model, **settings}
            jobs[record["id"]] = Job(record["id"], record["language"], Request(key, record["id"], body))
    clashing = [failure(job, "two_keys") for job in jobs.values() if len(answers[job.question_id]) > 1]
    return [job for job in jobs.values() if len(answers[job.question_id]) == 1], clashing


def failure(job: Job, reason: str, detail: str = "") -> dict:
    """A line of failures.jsonl."""
    return {"id": job.question_id, "language": job.language, "reason": reason, "detail": detail or FAILURES[reason]}


def choose(jobs: list[Job], ledger: Ledger, again: list[str]) -> tuple[list[Job], dict[str, dict], list[dict]]:
    """(jobs to ask, replies in the ledger by key, failures): questions that the ledger answers are not asked."""
    known, abandoned = ledger.answers(), ledger.abandoned()
    to_ask, replies, failures = [], {}, []
    for job in jobs:
        reply = known.get(job.key)
        if reply and not ("unusable" in again and judge(reply, job.language)[1]):
            replies[job.key] = reply
        elif not reply and job.key in abandoned and "unanswered" not in again:
            failures.append(failure(job, abandoned[job.key]))
        else:
            to_ask.append(job)
    return to_ask, replies, failures


def print_estimate(options: argparse.Namespace, jobs: list[Job], ledger: Ledger | None, budget: Budget) -> None:
    """Print the likely and the maximum tokens and cost of the run."""
    usages = [reply["usage"] for reply in (ledger.answers() if ledger else {}).values()]
    written = [options.max_tokens if usage is None else usage[1] for usage in usages]
    output = round(sum(written) / len(written)) if written else min(LIKELY_OUTPUT_TOKENS, options.max_tokens)
    input_bytes = sum(job.request.max_tokens()[0] for job in jobs)
    likely = (round(input_bytes / LIKELY_BYTES_PER_TOKEN), output * len(jobs))
    for name, (taken, given) in (("likely", likely), ("at most", (input_bytes, options.max_tokens * len(jobs)))):
        cost = budget.cost(taken, given)
        price = "no prices given" if cost is None else f"{cost:.4f} US dollars"
        print(
            f"estimate, {name}: {len(jobs)} requests without retries, {taken} input and {given} output tokens, {price}"
        )
    print(
        f"(likely: {LIKELY_BYTES_PER_TOKEN} bytes per token; {output} tokens per answer, "
        f"{'the mean of the ledger' if written else 'a guess'})"
    )
