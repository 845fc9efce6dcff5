"""Which questions rationales.py asks, which it need not ask, and what asking them would cost.

Reads a folder in MMedBench's layout (FORMAT.md) and what the ledger knows.
"""

import argparse
from collections import Counter, defaultdict

from mmedbench_questions import LANGUAGE_FILES, RecordError, read_split
from rationale_writing.rationale_ledger import Answer, Budget, Ledger
from rationale_writing.rationale_prompt import UNUSABLE, RationalePrompt, content_key, most_tokens
from rationale_writing.rationale_requests import Job
from run_record import InputError
from sources.find_sources import SPLITS

FAILURES = {
    **UNUSABLE,
    "gave_up": "every try failed; the next run tries again",
    "refused": "the server refused this question; the next run asks again",
    "timed_out": "no answer within --timeout; it may have been paid, so only --ask-again unanswered asks again",
    "interrupted": "on its way when a run was killed; it may have been paid, so only --ask-again unanswered asks again",
    "budget_spent": "the budget does not allow another request",
    "stopped": "the run was stopped before this question",
    "two_keys": "copies of this question have different answers in the benchmark; correct it first",
}
LIKELY_OUTPUT_TOKENS = 300  # a rationale of one or two paragraphs; only for the estimate, until the ledger knows better
LIKELY_BYTES_A_TOKEN = 3.5  # between Latin scripts (about 4) and the others (about 3); only for the estimate


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
        raise InputError(f"{options.data} holds none of {', '.join(options.splits)}; make it with mmedbench/prepare.py")
    return sorted(records, key=lambda record: list(LANGUAGE_FILES).index(record["language"]))


def plan_jobs(
    options: argparse.Namespace, records: list[dict], prompt: RationalePrompt
) -> tuple[list[Job], list[dict]]:
    """(one job for each question to explain, failures): copies are asked once, contradicting copies not at all."""
    answers, jobs, taken = defaultdict(set), {}, Counter()
    for record in records:
        answers[record["id"]].add(record["answer_idx"])
        if (record.get("rationale") and not options.rewrite) or record["id"] in jobs:
            continue
        if options.limit is None or taken[record["language"]] < options.limit:
            taken[record["language"]] += 1
            messages = prompt.messages(record)
            key = content_key(options.model, options.temperature, record["id"], messages)
            jobs[record["id"]] = Job(key, record["id"], record["language"], messages)
    clashing = [failure(job, "two_keys") for job in jobs.values() if len(answers[job.question_id]) > 1]
    return [job for job in jobs.values() if len(answers[job.question_id]) == 1], clashing


def failure(job: Job, reason: str, detail: str = "") -> dict:
    """A line of failures.jsonl."""
    return {"id": job.question_id, "language": job.language, "reason": reason, "detail": detail or FAILURES[reason]}


def choose(jobs: list[Job], ledger: Ledger, again: list[str]) -> tuple[list[Job], dict[str, Answer], list[dict]]:
    """(jobs to ask, answers there are by key, failures): what the ledger knows is not asked."""
    known, open_ones = ledger.answers(), ledger.left_open()
    to_ask, answers, failures = [], {}, []
    for job in jobs:
        answer = known.get(job.key)
        if answer and not (answer.unusable and "unusable" in again):
            answers[job.key] = answer
        elif not answer and job.key in open_ones and "unanswered" not in again:
            failures.append(failure(job, open_ones[job.key]))
        else:
            to_ask.append(job)
    return to_ask, answers, failures


def print_estimate(options: argparse.Namespace, jobs: list[Job], ledger: Ledger | None, budget: Budget) -> None:
    """What the run would take: the most it can be, and what is likely."""
    given = [answer.output_tokens for answer in (ledger.answers() if ledger else {}).values()]
    output = round(sum(given) / len(given)) if given else min(LIKELY_OUTPUT_TOKENS, options.max_tokens)
    sizes = [most_tokens(job.messages) for job in jobs]
    likely = (round(sum(sizes) / LIKELY_BYTES_A_TOKEN), output * len(jobs))
    most = (sum(sizes), options.max_tokens * len(jobs))
    for name, (taken, written) in (("likely", likely), ("at most", most)):
        cost = budget.cost(taken, written)
        price = "no prices given" if cost is None else f"{cost:.4f} US dollars"
        print(
            f"estimate, {name}: {len(jobs)} requests without retries, {taken} input and {written} output tokens, "
            f"{price}"
        )
    print(
        f"(likely: {LIKELY_BYTES_A_TOKEN} bytes a token; {output} tokens an answer, "
        f"{'the mean of the ledger' if given else 'a guess'})"
    )
