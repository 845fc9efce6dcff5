"""rationales.py against a real HTTP server on loopback: answers, every kind of failure, budget, kills, secrets."""

import contextlib
import email.utils
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from endpoint_client import retry_after_seconds
from endpoint_ledger import OUTCOMES, Budget, Ledger
from mmedbench_questions import question_id
from rationale_writing.rationale_jobs import FAILURES
from rationale_writing.rationale_prompt import UNUSABLE, why_unusable

KEY = "sk-test-SECRET-0123456789abcdef"
QUICK = ("--backoff", "0.01", "--max-requests", "1000")
TEXTS = {
    "en": "Because this is so.",
    "zh": "因为这样才对。",
    "ja": "これが正しいためです。",
    "ru": "Потому что это верно.",
    "ar": "لأن هذا صحيح",
    "fr": "Parce que.",
    "es": "Porque sí.",
    "de": "Weil es so ist.",
}
FILES = {
    "en": "English",
    "zh": "Chinese",
    "ja": "Japanese",
    "ru": "Russian",
    "ar": "Arabic",
    "fr": "French",
    "es": "Spanish",
    "de": "German",
}


class Bench:
    """A small benchmark, the endpoint, and the command run on them."""

    def __init__(self, root, endpoint, raw, run, environment):
        self.root, self.endpoint, self.raw, self.run = root, endpoint, raw, run
        self.data, self.out = root / "bench", root / "out"
        environment.setenv("OPENAI_API_KEY", KEY)
        environment.setenv("OPENAI_BASE_URL", endpoint.url)

    def put(self, *questions: str, language="en", split="Test", **more):
        path = self.data / split / f"{FILES[language]}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(self.raw.jsonl(*(self.raw.medqa(text, **more) for text in questions)))

    def ask(self, *arguments, quick=QUICK):
        return self.run("rationales.py", self.data, "--model", "m", "--out", self.out, *quick, *arguments)

    def rationales(self):
        return self.raw.lines(self.out / "rationales.jsonl")

    def failures(self):
        return {row["id"]: row["reason"] for row in self.raw.lines(self.out / "failures.jsonl")}

    def manifest(self):
        return json.loads((self.out / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def bench(tmp_path, endpoint, raw, run, monkeypatch):
    return Bench(tmp_path, endpoint, raw, run, monkeypatch)


def qid(raw, text, **more):
    return question_id(raw.medqa(text, **more))


# ---------------------------------------------------------------- what is asked and what is written


def test_each_question_is_asked_once_with_its_key_in_its_language_and_the_answers_join(bench, run):
    for language, text in TEXTS.items():
        bench.put(f"{language} one", answer_idx="A,B", language=language)
        bench.endpoint.answers[f"{language} one"] = [text]
    done = bench.ask()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["language"]: row["rationale"] for row in bench.rationales()} == TEXTS
    assert sorted(bench.endpoint.questions()) == sorted(f"{language} one" for language in TEXTS)
    for request in bench.endpoint.requests:
        prompt = request["body"]["messages"][0]["content"]
        assert "Right answers, by the key: A, B" in prompt
        assert "A. this\nB. that" in prompt
        assert request["headers"]["authorization"] == f"Bearer {KEY}"
        assert request["body"]["max_tokens"] == 1024
        assert re.fullmatch("[0-9a-f]{64}", request["headers"]["idempotency-key"])
        assert "temperature" not in request["body"]
    wishes = {r["question"]: r["body"]["messages"][0]["content"].rsplit("\n", 1)[1] for r in bench.endpoint.requests}
    assert wishes["zh one"].endswith("Chinese. 请用简体中文书写。")
    assert wishes["ar one"].endswith("Arabic. اكتب باللغة العربية.")
    joined = run(
        "prepare.py",
        bench.data.parent / "bench",
        "--out",
        bench.root / "joined",
        "--rationales",
        bench.out / "rationales.jsonl",
    )
    assert joined.returncode == 0, joined.stderr
    assert "8 given, 8 joined, 0 of no question here" in joined.stdout


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(bench):
    bench.put("one", "two")
    assert bench.ask().returncode == 0
    before = {name: (bench.out / name).read_bytes() for name in ("rationales.jsonl", "failures.jsonl")}
    done = bench.ask()
    assert (done.returncode, "0 questions to ask" in done.stdout) == (0, True)
    assert len(bench.endpoint.requests) == 2
    assert {name: (bench.out / name).read_bytes() for name in before} == before


def test_the_cache_goes_by_content_so_an_edited_question_another_model_or_prompt_is_asked(bench, tmp_path):
    bench.put("one")
    assert bench.ask().returncode == 0
    bench.put("one, edited")
    assert bench.ask().returncode == 0
    prompt = tmp_path / "mine.jinja"
    prompt.write_text("Explain in {{ language_name }}: <q>{{ question }}</q> {{ options }} {{ answer }}", "utf-8")
    refused = bench.ask("--prompt", prompt)
    assert (refused.returncode, "different arguments (prompt_sha256)" in refused.stderr) == (2, True)
    other = bench.root / "other"
    done = bench.run(
        "rationales.py",
        bench.data,
        "--model",
        "m",
        "--out",
        other,
        "--prompt",
        prompt,
        "--cache",
        bench.out / "ledger.sqlite",
        *QUICK,
    )
    assert done.returncode == 0, done.stderr
    assert len(bench.endpoint.requests) == 4


def test_questions_with_a_rationale_are_left_alone_unless_rewrite_is_given(bench):
    bench.put("has one", rationale="yes")
    bench.put("has none")
    assert bench.ask().returncode == 0
    assert bench.endpoint.questions() == ["has none"]
    done = bench.run("rationales.py", bench.data, "--model", "m", "--out", bench.root / "b", "--rewrite", *QUICK)
    assert done.returncode == 0
    assert Counter(bench.endpoint.questions()) == {"has none": 2, "has one": 1}


def test_copies_are_asked_once_and_copies_with_different_keys_not_at_all(bench, raw):
    bench.put("twin", "twin", "odd")
    bench.put("TWIN ", split="Train")  # the same id: capitals and spaces do not count
    bench.put("odd", answer_idx="B", split="Train")
    done = bench.ask()
    assert done.returncode == 3
    assert len(bench.endpoint.requests) == len(bench.rationales()) == 1
    assert bench.rationales()[0]["id"] == qid(raw, "twin")
    assert bench.failures() == {qid(raw, "odd"): "two_keys"}


def test_progress_is_a_line_now_and_then_where_no_terminal_shows_it(bench, monkeypatch):
    monkeypatch.setattr("endpoint_client.PROGRESS_S", 0.0)
    bench.put("one", "two")
    assert "1 answers of 2, 0 failures\n2 answers of 2, 0 failures\n" in bench.ask().stdout


def test_a_prompt_that_leaves_the_options_out_still_asks_each_question(bench, tmp_path):
    prompt = tmp_path / "short.jinja"
    prompt.write_text("<q>{{ question }}</q>", encoding="utf-8")
    bench.put("same words", "same words", options={"A": "1", "B": "2"})
    bench.put("same words", options={"A": "3", "B": "4"})
    assert bench.ask("--prompt", prompt).returncode == 0
    assert len(bench.endpoint.requests) == len(bench.rationales()) == 2


def test_languages_splits_and_limit_choose_the_questions(bench):
    for language in ("en", "fr"):
        bench.put("a", "b", language=language, options={"A": language, "B": "x"})
        bench.put("c", language=language, split="Train", options={"A": language, "B": "x"})
    bench.endpoint.default = TEXTS["fr"]
    assert bench.ask("--languages", "fr", "--splits", "Test", "--limit", "1").returncode == 0
    assert bench.endpoint.questions() == ["a"]
    assert [row["language"] for row in bench.rationales()] == ["fr"]


def test_temperature_the_limits_field_and_thoughts_in_front_of_an_answer(bench):
    bench.put("one")
    bench.endpoint.answers["one"] = ["<think>hm,\nwhat?</think>\n\nSo it is."]
    assert (
        bench.ask(
            "--temperature", "0.5", "--max-tokens", "77", "--token-limit-field", "max_completion_tokens"
        ).returncode
        == 0
    )
    body = bench.endpoint.requests[0]["body"]
    assert (body["temperature"], body["max_completion_tokens"], "max_tokens" in body) == (0.5, 77, False)
    assert bench.rationales()[0]["rationale"] == "So it is."


# ---------------------------------------------------------------- a bad server

BAD = {
    "busy with a date": "429-date",
    "busy": "429",
    "a fault": "500",
    "broken off in the body": "break",
    "broken off before it": "hang-up",
    "HTML with status 200": "html",
    "half of a JSON": "half",
    "JSON without choices": "odd",
    "content that is a list": "list",
    "overloaded": "503",
}


@pytest.mark.parametrize("what", BAD)
def test_what_the_server_did_not_answer_is_tried_again_and_then_stands_once(bench, what):
    bench.put("shaky", "sound")
    bench.endpoint.answers["shaky"] = [{"bad": BAD[what]}, {"bad": BAD[what]}, "In the end it answers."]
    done = bench.ask()
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.rationales()[0]["rationale"] == "In the end it answers."
    assert Counter(bench.endpoint.questions()) == {"shaky": 3, "sound": 1}
    assert sum(bench.manifest()["requests"]["this_run"].values()) == 4


def test_no_request_of_any_worker_goes_out_before_retry_after_has_passed(bench):
    bench.put(*(f"q{n}" for n in range(8)))
    bench.endpoint.answers["q0"] = [{"bad": "429", "retry_after": "1"}, "Now it does."]
    bench.endpoint.delay_s = 0.05
    assert bench.ask("--concurrency", "2").returncode == 0
    refused = next(r["ended"] for r in bench.endpoint.requests if r["status"] == 429)
    later = [r["began"] - refused for r in bench.endpoint.requests if r["began"] > refused + 0.1]
    # The other worker may have been past the gate already; nobody else goes.
    assert len([wait for wait in later if wait < 0.95]) <= 1
    assert len(later) >= 6


def test_a_retry_after_beyond_the_longest_wait_ends_the_run_and_the_next_goes_on(bench):
    bench.put("q0", "q1")
    bench.endpoint.answers["q0"] = [{"bad": "429", "retry_after": "7200"}]
    done = bench.ask("--concurrency", "1")
    assert (done.returncode, "asks to wait 7200 s" in done.stdout) == (3, True)
    assert set(bench.failures().values()) == {"stopped"}
    assert bench.ask().returncode == 0
    assert len(bench.rationales()) == 2


@pytest.mark.parametrize(("value", "seconds"), [("3", 3.0), ("0.5", 0.5), ("soon", None), ("", None), ("-1", None)])
def test_retry_after_is_read_as_seconds_or_date(value, seconds):
    assert retry_after_seconds({"retry-after": value}, 0.0) == seconds
    now = 1_700_000_000
    date = email.utils.formatdate(now + 30, usegmt=True)
    assert retry_after_seconds({"retry-after": date}, now) == 30
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "9"}, now) == 1.5


def test_a_question_that_fails_every_time_is_listed_and_asked_again_by_the_next_run(bench, raw):
    bench.put("never", "fine")
    bench.endpoint.answers["never"] = [{"bad": "500"}] * 3
    done = bench.ask("--retries", "2")
    assert done.returncode == 3
    assert bench.failures() == {qid(raw, "never"): "gave_up"}
    assert "HTTP 500" in (bench.out / "failures.jsonl").read_text("utf-8")
    assert [row["id"] for row in bench.rationales()] == [qid(raw, "fine")]
    assert bench.ask("--retries", "2").returncode == 0
    assert Counter(bench.endpoint.questions()) == {"never": 4, "fine": 1}


UNUSABLE_ANSWERS = {
    "empty_text": [""],
    "cut_off": [{"text": "It begins but", "finish": "length"}],
    "damaged_text": ["a\x00b"],
    "markup": ["<!DOCTYPE html><html><body>Sign in</body></html>"],
    "other_language": ["答案是甲，因为这样才对。"],
    "withheld": [{"text": "", "finish": "content_filter"}],
}


@pytest.mark.parametrize("reason", UNUSABLE_ANSWERS)
def test_an_answer_that_is_no_rationale_is_paid_named_and_not_asked_again_unless_told(bench, reason):
    assert set(UNUSABLE_ANSWERS) == set(UNUSABLE)
    bench.put("one")
    bench.endpoint.answers["one"] = UNUSABLE_ANSWERS[reason]
    for _ in range(2):
        done = bench.ask()
        assert done.returncode == 3
        assert list(bench.failures().values()) == [reason]
        assert f"without a rationale: 1, {reason}" in done.stdout
    assert len(bench.endpoint.requests) == 1
    assert bench.ask("--ask-again", "unusable").returncode == 0
    assert len(bench.rationales()) == 1


def test_half_a_surrogate_pair_in_an_answer_is_named_and_breaks_nothing(bench):
    bench.put("one")
    bench.endpoint.answers["one"] = ["half \ud83d of it"]
    assert bench.ask().returncode == 3
    assert list(bench.failures().values()) == ["damaged_text"]


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("アセトアミノフェンが正しい。", "ja", ""),
        ("Paracetamol is right.", "ja", "other_language"),
        ("对乙酰氨基酚 (paracetamol) 是正确的，因为它安全。", "zh", ""),
        ("Это ACE ингибитор, он верен.", "ru", ""),
        ("12 + 3 = 15", "en", "other_language"),
        ("Ça va de soi.", "fr", ""),
        ("هذا هو الصحيح (IgA).", "ar", ""),
    ],
)
def test_the_script_of_an_answer_is_that_of_the_question(text, language, reason):
    assert why_unusable(text, "stop", language) == reason


def test_a_request_that_timed_out_may_be_paid_and_is_asked_again_only_when_told(bench):
    bench.put("slow", "fast")
    bench.endpoint.answers["slow"] = [{"text": "Late.", "delay": 2.0}]
    for _ in range(2):
        assert bench.ask("--timeout", "0.8").returncode == 3
        assert list(bench.failures().values()) == ["timed_out"]
    assert Counter(bench.endpoint.questions()) == {"slow": 1, "fast": 1}
    assert bench.ask("--ask-again", "unanswered").returncode == 0
    assert Counter(bench.endpoint.questions()) == {"slow": 2, "fast": 1}


def test_a_question_that_the_server_refuses_is_listed_with_its_words_and_the_others_go_on(bench, raw):
    bench.put("too long", "fine")
    bench.endpoint.answers["too long"] = [{"bad": "400"}] * 2
    assert bench.ask().returncode == 3
    assert bench.failures() == {qid(raw, "too long"): "refused"}
    assert Counter(bench.endpoint.questions()) == {"too long": 1, "fine": 1}


@pytest.mark.parametrize(
    ("status", "message"),
    [("401", "refuses the key (HTTP 401"), ("404", "no such address or model"), ("quota", "no credit (HTTP 429")],
)
def test_a_server_that_denies_access_ends_the_run_with_one_sentence_and_without_the_key(bench, status, message):
    bench.put(*(f"q{n}" for n in range(20)))
    bench.endpoint.answers |= {f"q{n}": [{"bad": status}] * 9 for n in range(20)}
    done = bench.ask()
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert len(bench.endpoint.requests) <= 4


def test_no_server_at_all_is_tried_and_named(bench, raw, monkeypatch):
    bench.put("one")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    done = bench.ask("--retries", "1")
    assert done.returncode == 3
    assert bench.failures() == {qid(raw, "one"): "gave_up"}
    assert bench.manifest()["requests"]["this_run"] == {"unreachable": 2}


# ---------------------------------------------------------------- the budget


def test_max_requests_counts_retries_and_earlier_runs_and_is_never_exceeded(bench):
    bench.put(*(f"q{n}" for n in range(30)))
    bench.endpoint.answers |= {f"q{n}": [{"bad": "500"}, "Well then."] for n in range(0, 30, 2)}
    for most in (7, 7, 19):
        done = bench.ask("--concurrency", "8", quick=("--backoff", "0.01", "--max-requests", most))
        assert done.returncode == 3
        assert len(bench.endpoint.requests) == most
        assert set(bench.failures().values()) == {"budget_spent"}
    assert bench.ask("--concurrency", "8").returncode == 0
    assert len(bench.rationales()) == 30


@pytest.mark.parametrize("concurrency", [1, 16])
def test_max_cost_is_never_exceeded_however_many_requests_run_at_once(bench, concurrency):
    bench.put(*(f"q{n}" for n in range(60)))
    bench.endpoint.delay_s = 0.005
    bench.endpoint.usage = (300, 100)
    bench.endpoint.answers |= {f"q{n}": [{"bad": "break"}, "Well then."] for n in range(0, 60, 10)}
    # An answer costs 300 * 1 + 100 * 4 = 700 millionths of a dollar; at most it could cost about 5500.
    budget = ("--price-input", "1", "--price-output", "4", "--max-cost", "0.03", "--backoff", "0.01")
    done = bench.ask("--concurrency", concurrency, quick=budget)
    assert done.returncode == 3
    cost = bench.manifest()["tokens"]["ledger"]["us_dollars"]
    assert 0.02 < cost <= 0.03
    answered = [r for r in bench.endpoint.requests if r["status"] == 200]
    assert len(answered) * 700e-6 <= 0.03
    again = len(bench.endpoint.requests)
    assert bench.ask(quick=budget).returncode == 3
    assert bench.manifest()["tokens"]["ledger"]["us_dollars"] <= 0.03
    assert len(bench.endpoint.requests) - again <= 1


@pytest.mark.parametrize("usage", [None, [1, 2], "many", (10**30, 5), (5, True), (-1, 5), (5.5, 5)])
def test_an_answer_without_a_readable_token_count_is_kept_and_charged_at_the_most_it_can_have_used(bench, usage):
    bench.put("one")
    bench.endpoint.usage = usage
    assert bench.ask("--price-input", "1", "--price-output", "4", "--max-tokens", "100").returncode == 0
    row = bench.manifest()["tokens"]["this_run"]
    prompt = bench.endpoint.requests[0]["body"]["messages"][0]["content"]
    assert (row["input"], row["output"]) == (len(prompt.encode()) + 64, 100)
    assert row["us_dollars"] == pytest.approx((row["input"] + 400) / 1e6)
    assert len(bench.endpoint.requests) == 1


def test_a_request_whose_end_cannot_be_written_holds_up_no_other(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", Budget(None, 1e-6, 1.0, 1.0))
    first, numbers = ledger.begin("one", "m", 1, 0), []
    waiting = threading.Thread(target=lambda: numbers.append(ledger.begin("two", "m", 1, 0)), daemon=True)
    waiting.start()
    with pytest.raises(OverflowError):  # more than SQLite can hold, in the middle of the transaction
        ledger.end(first, "one", "answered", reply={"text": "so", "usage": [10**30, 0]})
    waiting.join(5)
    assert numbers == [None], "it waits for ever"
    assert ledger._base.in_transaction is False
    ledger.close()


def test_the_report_says_requests_tokens_and_cost_of_this_run_and_of_all(bench):
    bench.put("one")
    prices = ("--price-input", "2", "--price-output", "10")
    assert bench.ask(*prices).returncode == 0
    bench.put("two", "three")
    done = bench.ask(*prices)
    assert "this run: 200 input and 100 output tokens, 0.0014 US dollars" in done.stdout
    assert "ledger: 300 input and 150 output tokens, 0.0021 US dollars" in done.stdout
    assert bench.manifest()["requests"] == {"this_run": {"answered": 2}, "ledger": {"answered": 3}}


# ---------------------------------------------------------------- kills


def start(bench, *arguments):
    """The command as a process of its own."""
    command = [sys.executable, bench.raw.stage / "rationales.py", bench.data, "--model", "m", "--out", bench.out]
    return subprocess.Popen(
        [*command, *QUICK, *arguments], cwd=bench.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "answered", [17, pytest.param(3, marks=pytest.mark.slow), pytest.param(35, marks=pytest.mark.slow)]
)
def test_kill_9_in_the_middle_and_run_again_asks_no_question_twice(bench, answered):
    bench.put(*(f"q{n}" for n in range(40)))
    bench.endpoint.delay_s = 0.03
    process = start(bench, "--concurrency", "4")
    wait_for(lambda: sum(r["status"] == 200 for r in bench.endpoint.requests) >= answered)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = bench.ask()
    assert done.returncode in (0, 3), done.stderr
    assert max(Counter(bench.endpoint.questions()).values()) == 1
    sent, lost = len(bench.endpoint.requests), bench.failures()
    assert 40 - len(lost) <= sent <= 40
    assert set(lost.values()) <= {"interrupted"}
    assert len(lost) <= 4
    assert len(bench.rationales()) == 40 - len(lost)
    assert bench.ask("--ask-again", "unanswered").returncode == 0
    assert len(bench.rationales()) == 40
    assert len(bench.endpoint.requests) == sent + len(lost)


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_ctrl_c_and_sigterm_keep_what_was_on_its_way_and_the_next_run_finishes(bench, sent):
    bench.put(*(f"q{n}" for n in range(30)))
    bench.endpoint.delay_s = 0.05
    process = start(bench)
    wait_for(lambda: len(bench.endpoint.requests) >= 6)
    process.send_signal(sent)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "interrupted" in error
    assert bench.ask().returncode == 0
    assert Counter(bench.endpoint.questions()) == {f"q{n}": 1 for n in range(30)}


def test_a_disk_that_cannot_be_written_ends_the_run_with_a_sentence_and_loses_no_answer(bench, monkeypatch):
    bench.put("one", "two", "three")
    end, done_so_far = Ledger.end, []

    def full(self, *arguments, **more):
        done_so_far.append(1)
        if len(done_so_far) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        end(self, *arguments, **more)

    monkeypatch.setattr(Ledger, "end", full)
    done = bench.ask("--concurrency", "1")
    assert (done.returncode, "disk is full" in done.stderr) == (2, True)
    assert len(done.stderr.strip().splitlines()) == 1
    monkeypatch.undo()
    done = bench.run(
        "rationales.py",
        bench.data,
        "--model",
        "m",
        "--out",
        bench.out,
        "--base-url",
        bench.endpoint.url,
        "--key-variable",
        "HOME",
        *QUICK,
    )
    assert done.returncode == 3
    assert list(bench.failures().values()) == ["interrupted"]
    assert max(Counter(bench.endpoint.questions()).values()) == 1


def test_two_runs_on_one_ledger_at_a_time_are_refused(bench):
    bench.put("one")
    bench.endpoint.delay_s = 0.7
    process = start(bench)
    wait_for(lambda: bench.endpoint.requests)
    done = bench.ask()
    process.communicate(timeout=30)
    assert (done.returncode, "in use by another run" in done.stderr) == (2, True)
    assert len(bench.endpoint.requests) == 1


# ---------------------------------------------------------------- secrets, dry run, settings


def test_the_key_is_in_no_file_and_no_log_even_when_the_server_echoes_it_and_the_client_logs(bench):
    bench.put("one", "two")
    bench.endpoint.answers["one"] = [{"bad": "echo-500"}, "Well then."]
    bench.endpoint.answers["two"] = [{"bad": "echo-400"}]
    process = subprocess.run(
        [sys.executable, bench.raw.stage / "rationales.py", bench.data, "--model", "m", "--out", bench.out, *QUICK],
        env={**os.environ, "OPENAI_LOG": "debug"},
        cwd=bench.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 3, process.stderr
    assert KEY not in process.stdout + process.stderr
    for path in bench.root.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    assert "[key]" in (bench.out / "failures.jsonl").read_text("utf-8")
    with contextlib.closing(sqlite3.connect(bench.out / "ledger.sqlite")) as base:
        assert "[key]" in " ".join(row[0] for row in base.execute("SELECT detail FROM requests"))


def test_another_variable_may_hold_the_key_and_a_missing_one_is_named(bench, monkeypatch):
    bench.put("one")
    monkeypatch.setenv("MY_KEY", "other")
    assert bench.ask("--key-variable", "MY_KEY").returncode == 0
    assert bench.endpoint.requests[0]["headers"]["authorization"] == "Bearer other"
    monkeypatch.delenv("OPENAI_API_KEY")
    bench.put("two")
    done = bench.ask()
    assert (done.returncode, "OPENAI_API_KEY is not set" in done.stderr) == (2, True)


def test_a_dry_run_estimates_shows_one_prompt_asks_and_writes_nothing(bench, monkeypatch):
    bench.put("one", "two")
    monkeypatch.delenv("OPENAI_API_KEY")
    dry = ("--dry-run", "--price-input", "2", "--price-output", "10")
    done = bench.ask(*dry, quick=())
    assert done.returncode == 0, done.stderr
    assert "Question:\none\n" in done.stdout
    assert re.search(r"at most: 2 requests without retries, \d+ input and 2048 output tokens, 0\.02\d+ US", done.stdout)
    assert (bench.endpoint.requests, bench.out.exists()) == ([], False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert bench.ask().returncode == 0
    bench.put("three")
    before = {path.name: path.read_bytes() for path in bench.out.iterdir()}
    done = bench.ask(*dry, quick=())
    assert "likely: 1 requests" in done.stdout
    assert "50 tokens per answer, the mean of the ledger" in done.stdout
    assert {path.name: path.read_bytes() for path in bench.out.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --max-requests or --max-cost"),
        (("--max-cost", "1"), "needs --price-input"),
        (("--max-requests", "5", "--key-variable", KEY), "takes the NAME"),
        (("--max-requests", "5", "--base-url", f"http://user:{KEY}@host/v1"), "leave user, password"),
        (("--max-requests", "5", "--base-url", f"http://host/v1?key={KEY}"), "leave user, password"),
        (("--max-requests", "5", "--base-url", "host:8000"), "expected http"),
        (("--max-requests", "5", "--prompt", "nowhere.jinja"), "--prompt nowhere.jinja"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_a_sentence_that_holds_no_key(bench, arguments, message):
    bench.put("one")
    done = bench.ask(*arguments, quick=())
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert KEY not in done.stdout + done.stderr
    assert not bench.out.exists()


@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many"])
def test_a_budget_that_is_no_whole_number_is_refused(bench, value):
    bench.put("one")
    assert bench.ask(quick=("--max-requests", value)).returncode == 2


@pytest.mark.parametrize("template", ["{{ nonsense }}", "{% if %}", "{{ question.__class__.__mro__ }}"])
def test_a_prompt_that_misspells_a_name_or_leaves_its_sandbox_is_refused(bench, tmp_path, template):
    bench.put("one")
    path = tmp_path / "p.jinja"
    path.write_text(template, encoding="utf-8")
    done = bench.ask("--prompt", path)
    assert (done.returncode, str(path) in done.stderr) == (2, True)
    assert bench.endpoint.requests == []


def test_a_broken_benchmark_a_foreign_folder_and_a_file_that_is_no_ledger_are_refused(bench):
    bench.put("one")
    bench.out.mkdir()
    (bench.out / "thesis.txt").write_text("mine", encoding="utf-8")
    assert "contains other files" in bench.ask().stderr
    (bench.out / "thesis.txt").unlink()
    (bench.out / "ledger.sqlite").write_text("no database " * 99, encoding="utf-8")
    assert "is not a ledger" in bench.ask().stderr
    (bench.data / "Test" / "English.jsonl").write_text("{", encoding="utf-8")
    assert "English.jsonl:1: not JSON" in bench.ask().stderr
    assert bench.endpoint.requests == []


def test_every_outcome_and_reason_is_said_in_words():
    assert all(paid in ("yes", "no", "perhaps") and words for paid, words in OUTCOMES.values())
    assert all(FAILURES.values())
