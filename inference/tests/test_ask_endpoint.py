"""eval.py --api-base through its command line and files, against a real server on loopback that fails as it is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eval as evaluation
from run_record import InputError, read_json

STAGE = Path(__file__).parents[1]
SECRET = "sk-a-key-that-nobody-may-see"
QUICK = ("--backoff", "0.01", "--timeout", "5")


@pytest.fixture
def ask(model_server, prompt_folder, test_folder, tmp_path, monkeypatch):
    """Run eval.py on the server; returns (exit code, result.json or {}, predictions)."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)

    def run(*flags: str, out: str = "out", data: Path = test_folder) -> tuple[int, dict, list[dict]]:
        folder = tmp_path / out
        command = ["--model", "chatty", "--api-base", model_server.base, "--prompt", str(prompt_folder)]
        code = evaluation.main([*command, "--data", str(data), "--out", str(folder), *QUICK, *flags])
        result = read_json(folder / "result.json") if (folder / "result.json").exists() else {}
        return code, result, rows_of(folder / "predictions.jsonl")

    return run


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def test_a_chat_endpoint_is_asked_and_the_result_says_what_it_was(ask, model_server, tmp_path, capsys, monkeypatch):
    model_server.delay_s = 0.05
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a proxy that is not there, and not for this machine
    code, result, rows = ask("--concurrency", "4", "--price-input", "2.5", "--price-output", "10")
    assert code == 0 and len(model_server.requests) == 22 and model_server.most_at_once == 4
    assert [row["letters"] for row in rows] == [["A"]] * 22
    assert {key: score["n"] for key, score in result["scores"].items()} == {"zh": 6, "en": 9, "ru": 7}
    sent = model_server.requests[0]
    assert sent["path"] == "/v1/chat/completions" and sent["headers"]["authorization"] == f"Bearer {SECRET}"
    assert sent["body"]["temperature"] == 0 and sent["body"]["max_tokens"] == 256
    assert sent["body"]["messages"][0]["content"].endswith("answer:")
    said = result["endpoint"]
    assert said["base"] == model_server.base and said["reported_models"] == {"chatty-0613": 22}
    assert said["fingerprints"] == {"fp_1": 22} and said["outcomes"] == {"answered": 22}
    assert said["usage"] == {
        "input_tokens": 2200,
        "output_tokens": 44,
        "answers_without_counts": 0,
        "us_dollars": round((2200 * 2.5 + 44 * 10) / 1e6, 6),
    }
    assert result["model"]["name"] == "chatty" and result["setting"] == "zero-shot"
    assert read_json(tmp_path / "out/requests.json")["outcomes"] == {"answered": 22}
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    shown = capsys.readouterr()
    assert SECRET.encode() not in written and SECRET not in shown.out + shown.err

    assert ask("--concurrency", "4")[0] == 0 and len(model_server.requests) == 22, "a complete run is reused"
    model_server.close()
    assert ask("--score-only")[1]["endpoint"] == said


def test_every_bad_answer_is_a_counted_outcome(ask, model_server, tmp_path):
    bad = {"status": 500, "body": "<html>oops</html>", "type": "text/html"}
    model_server.faults = {
        "number 0": [{"status": 429, "headers": {"Retry-After": "1"}}, "A"],
        "number 1": ["hang-up", "half", {"status": 200, "body": '{"choices": []}'}, bad, "B"],
        "number 2": [{"refusal": "I will not."}],
        "number 3": [{"text": "B", "finish": "content_filter"}],
        "number 4": [{"text": "A,C and so on", "finish": "length"}],
        "number 5": [{"text": ""}],
        "number 6": [{"text": None, "usage": None}],
        "number 7": [{"status": 400, "body": '{"error": {"message": "filtered", "code": "content_filter"}}'}],
        "number 8": [{"status": 400, "body": json.dumps({"error": {"message": f"too long, {SECRET}"}})}],
    }
    began = time.monotonic()
    code, result, rows = ask("--languages", "en", "--concurrency", "2")
    assert code == 3 and time.monotonic() - began >= 1, "Retry-After is kept"
    assert result["endpoint"]["outcomes"] == {"answered": 2, "cut_off": 1, "empty": 2, "refused": 3, "rejected": 1}
    assert result["scores"]["en"]["n"] == 9 and result["scores"]["en"]["right"] == 3
    assert result["scores"]["en"]["refused"] == 3 and result["scores"]["en"]["unparsed"] == 7 - 1
    assert rows[2]["output"] == "I will not." and rows[3]["letters"] is None
    assert rows[4]["letters"] == ["A", "C"] and rows[4]["reply"]["finish"] == "length"
    failures = rows_of(tmp_path / "out/failures.jsonl")
    assert [(row["number"], row["failure"]) for row in failures] == [
        (2, "refused"),
        (3, "refused"),
        (5, "empty"),
        (6, "empty"),
        (7, "refused"),
        (8, "rejected"),
    ]
    assert failures[-1]["detail"] == "HTTP 400: too long, [key]"
    assert result["endpoint"]["usage"]["answers_without_counts"] == 1
    assert result["endpoint"]["usage"]["us_dollars"] is None
    ledger = read_json(tmp_path / "out/requests.json")["outcomes"]
    assert ledger == {"answered": 8, "broken": 3, "busy": 2, "rejected": 1}
    model_server.requests.clear()
    code, result, _ = ask("--languages", "en")
    assert code == 0 and model_server.asked() == ["number 8"] and result["endpoint"]["unanswered"] == 0
    assert rows_of(tmp_path / "out/failures.jsonl")[-1]["failure"] == "refused"


def test_a_rate_limit_holds_for_all_requests_and_a_key_that_is_sent_back_is_not_written_down(
    ask, model_server, tmp_path
):
    model_server.faults = {"number 0": [{"status": 429, "headers": {"Retry-After": "1"}}]}
    model_server.brain, model_server.delay_s = (lambda body: f"A, said {SECRET}"), 0.05
    assert ask("--languages", "en", "--concurrency", "2")[0] == 0
    times = sorted(request["began"] for request in model_server.requests)
    assert len(times) == 10 and times[3] - times[0] > 0.9, "two were on their way, and the third waited"
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert SECRET.encode() not in written and b"A, said [key]" in written


def test_an_answer_that_drips_ends_at_the_time_limit(ask, model_server):
    model_server.faults = {"number 0": ["drip"]}
    began = time.monotonic()
    code, result, _ = ask("--languages", "en", "--timeout", "0.5", "--no-ask-again")
    assert code == 3 and result["endpoint"]["outcomes"]["timed_out"] == 1 and time.monotonic() - began < 4


def test_a_question_that_times_out_is_asked_again_unless_that_is_forbidden(ask, model_server, tmp_path):
    slow = {"text": "A", "delay": 0.6}
    model_server.faults = {"number 0": [slow, slow], "number 1": [slow]}
    flags = ("--languages", "en", "--timeout", "0.3")
    code, result, _ = ask(*flags, "--no-ask-again", "--concurrency", "9")
    assert code == 3 and result["endpoint"]["outcomes"] == {"answered": 7, "timed_out": 2}
    ask(*flags, "--no-ask-again")
    assert len(model_server.requests) == 9
    code, result, _ = ask(*flags)
    assert code == 0 and sorted(model_server.asked()[9:]) == ["number 0", "number 0", "number 1"]
    assert read_json(tmp_path / "out/requests.json")["outcomes"] == {"answered": 9, "timed_out": 3}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 401, "body": f'{{"error": {{"message": "Incorrect key {SECRET}"}}}}'}, "refuses the key"),
        ({"status": 403, "body": "<html>no</html>"}, "refuses access .HTTP 403: a web page"),
        ({"status": 404, "body": '{"error": {"message": "no model chatty"}}'}, "no such address or model.*no model"),
        ({"status": 429, "body": '{"error": {"code": "insufficient_quota"}}'}, "no credit"),
        ({"status": 200, "body": "<!doctype html>Sign in", "type": "text/html"}, "web page"),
        (
            {"status": 302, "headers": {"Location": "https://else.where/login?next=secret"}},
            "302 to https://else.where/l",
        ),
        ({"status": 400, "body": '{"error": {"message": "use max_completion_tokens"}}'}, "use max_completion_tokens"),
    ],
)
def test_what_no_further_request_can_mend_ends_the_run_at_once(ask, model_server, tmp_path, capsys, answer, message):
    model_server.brain = lambda body: answer
    with pytest.raises(InputError, match=message) as caught:
        ask("--concurrency", "2")
    assert len(model_server.requests) <= 12 and not (tmp_path / "out/result.json").exists()
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    shown = capsys.readouterr()
    assert SECRET not in f"{caught.value}{shown.out}{shown.err}" and SECRET.encode() not in written


def test_an_endpoint_that_is_not_there_is_said_to_be_out_of_reach(ask, model_server):
    model_server.close()
    with pytest.raises(
        InputError, match=r"no connection to http://127\.0\.0\.1:\d+/v1: 2 tries; the last: unreachable, ConnectError"
    ):
        ask("--retries", "1")


def test_a_server_that_dies_half_way_stops_the_run_and_what_was_answered_counts(ask, model_server):
    model_server.brain = lambda body: "A" if len(model_server.requests) <= 5 else {"status": 503}
    code, result, _ = ask("--retries", "1", "--concurrency", "1")
    assert code == 3 and result["endpoint"]["outcomes"] == {"answered": 5, "gave_up": 10, "stopped": 7}
    model_server.brain = lambda body: "A"
    assert ask()[1]["endpoint"]["outcomes"] == {"answered": 22}


def test_a_retry_after_that_is_too_long_ends_the_run(ask, model_server):
    model_server.faults = {"number 8": [{"status": 429, "headers": {"Retry-After": "4000"}}]}
    code, result, _ = ask("--concurrency", "1", "--longest-wait", "60")
    assert code == 3 and result["endpoint"]["unanswered"] == 22 - len(model_server.requests) + 1


@pytest.mark.parametrize(
    ("flags", "answered"),
    [
        (("--max-requests", "5"), 5),
        # A question's text is under 400 bytes: at a dollar a token, an answer costs 102 and a reservation up to 721.
        (("--max-cost", "1400", "--price-input", "1e6", "--price-output", "1e6"), None),
    ],
)
def test_a_budget_ends_the_run_and_holds_over_runs(ask, model_server, tmp_path, flags, answered):
    code, result, _ = ask(*flags, "--concurrency", "4")
    outcomes = result["endpoint"]["outcomes"]
    assert code == 3 and outcomes["answered"] + outcomes["budget_spent"] == 22
    assert outcomes["answered"] == len(model_server.requests) and outcomes["answered"] == (
        answered or outcomes["answered"]
    )
    if answered is None:
        assert 3 <= len(model_server.requests) <= 13
        assert read_json(tmp_path / "out/requests.json")["us_dollars"] == 102 * len(model_server.requests) <= 1400
    assert len(rows_of(tmp_path / "out/failures.jsonl")) == outcomes["budget_spent"]
    before = len(model_server.requests)
    ask(*flags)
    assert len(model_server.requests) == before, "the budget counts what was spent before"
    code, result, _ = ask()
    assert code == 0 and len(model_server.requests) == 22 and rows_of(tmp_path / "out/failures.jsonl") == []


def test_a_run_killed_half_way_asks_no_answered_question_again_and_ends_with_the_same_bytes(
    model_server, prompt_folder, test_folder, tmp_path
):
    model_server.brain = lambda body: "ABCD"[len(body["messages"][0]["content"]) % 4]
    command = [
        sys.executable,
        STAGE / "eval.py",
        "--model",
        "chatty",
        "--api-base",
        model_server.base,
        "--prompt",
        prompt_folder,
        "--data",
        test_folder,
        *QUICK,
        "--concurrency",
        "3",
        "--out",
    ]
    environment = os.environ | {"OPENAI_API_KEY": SECRET}
    model_server.delay_s = 0.15
    process = subprocess.Popen(
        [*map(str, command), str(tmp_path / "cut")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(model_server.requests) < 10:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)
    model_server.delay_s, before = 0.0, model_server.asked()
    assert len(before) < 22 and not (tmp_path / "cut/result.json").exists()
    done = subprocess.run([*command, tmp_path / "cut"], env=environment, capture_output=True, text=True, check=True)
    again = model_server.asked()[len(before) :]
    summary = read_json(tmp_path / "cut/requests.json")
    assert 1 <= len(summary["interrupted"]) <= 3 and "interrupted by a kill" in done.stdout
    # One that is written down may not have left yet when the kill comes.
    assert 22 <= len(model_server.requests) <= 22 + len(summary["interrupted"]) == summary["requests"]
    assert len(set(before) & set(again)) <= len(summary["interrupted"])
    subprocess.run([*command, tmp_path / "whole"], env=environment, capture_output=True, check=True)
    cut, whole = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("cut", "whole"))
    assert cut == whole
    cut, whole = (read_json(tmp_path / name / "result.json") for name in ("cut", "whole"))
    for result in (cut, whole):
        del result["provenance"]
    assert cut == whole


@pytest.mark.slow
def test_a_run_that_is_told_to_end_waits_for_what_is_on_its_way(model_server, prompt_folder, test_folder, tmp_path):
    command = [
        sys.executable,
        STAGE / "eval.py",
        "--model",
        "chatty",
        "--api-base",
        model_server.base,
        "--prompt",
        prompt_folder,
        "--data",
        test_folder,
        "--concurrency",
        "3",
        "--out",
        tmp_path / "out",
    ]
    model_server.delay_s = 0.3
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(model_server.requests) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and "interrupted" in said
    summary = read_json(tmp_path / "out/requests.json")
    assert summary["outcomes"] == {"answered": len(model_server.requests)} and len(model_server.requests) < 22
    assert subprocess.run(command, check=True, capture_output=True) and len(model_server.requests) == 22


def test_two_shards_end_as_one_run(ask, model_server, tmp_path, capsys):
    model_server.brain = lambda body: "ABCD"[len(body["messages"][0]["content"]) % 4]
    ask(out="one")
    assert ask("--shard", "1/2")[1] == {} and "other shards are still missing" in capsys.readouterr().out
    assert ask("--shard", "0/2")[0] == 0 and len(model_server.requests) == 44
    one, two = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("one", "out"))
    assert one == two and not list((tmp_path / "out").glob("*partial*"))
    (tmp_path / "out/result.json").unlink()
    ask()
    assert len(model_server.requests) == 44, "dealt out otherwise, the shards' answers still hold"


def test_samples_are_requests_of_their_own_and_may_fail_one_by_one(ask, model_server):
    model_server.brain = lambda body: "AAB"[body.get("seed", 7) - 7]
    model_server.faults = {"номер 0": [{"refusal": "no"}]}
    flags = ("--samples", "3", "--seed", "7", "--languages", "ru", "--concurrency", "1")
    code, result, rows = ask(*flags, "--request-fields", '{"reasoning_effort": "low"}')
    assert code == 0 and len(model_server.requests) == 21 and result["endpoint"]["outcomes"]["refused"] == 1
    body = model_server.requests[0]["body"]
    assert body["temperature"] == 0.7 and body["reasoning_effort"] == "low"
    assert rows[1]["letters"] == ["A"] and rows[1]["agreement"] == 0.6667
    assert rows[0]["variants"][0]["failure"] == "refused" and rows[0]["letters"] == ["A"]
    ask(*flags, "--request-fields", '{"seed": null}', out="unseeded")
    assert len(model_server.requests) == 42, "samples are requests of their own without a seed too"


def test_options_are_turned_and_examples_shown_as_for_a_local_model(ask, model_server, test_folder, tmp_path):
    data = tmp_path / "MMedBench"
    shutil.copytree(test_folder, data / "Test")
    (data / "Train").mkdir()
    record = {"question": "Example?", "options": {"A": "yes", "B": "no"}, "answer_idx": "B"}
    (data / "Train/Russian.jsonl").write_text(json.dumps(record))
    flags = ("--few-shot", "1", "--circular", "--languages", "ru")
    code, result, rows = ask(*flags, data=data / "Test")
    assert code == 0 and result["scores"]["ru"]["circular"]["n"] == 7 and len(model_server.requests) == 14
    prompt = model_server.requests[0]["body"]["messages"][0]["content"]
    assert prompt.startswith("Example?") and "answer:B\n\n" in prompt
    assert [row["turns"] for row in rows] == [[["A"], ["B"]]] * 7


def test_a_chat_endpoint_tells_the_likeliest_letter(ask, model_server):
    def brain(body):
        assert body["logprobs"] is True and body["top_logprobs"] == 20 and body["max_tokens"] == 1
        top = [{"token": t, "logprob": p} for t, p in ((" B", -1.0), ("The", -0.5), ("A", -0.9), ("B", -2.0))]
        return {"text": "The", "logprobs": {"content": [{"token": "The", "logprob": -0.5, "top_logprobs": top}]}}

    model_server.brain = brain
    none = {"text": "x", "logprobs": {"content": [{"top_logprobs": [{"token": "x", "logprob": -9e99}]}]}}
    model_server.faults = {"number 0": [none]}
    code, result, rows = ask("--mode", "letter-logprob", "--languages", "en")
    assert code == 0 and rows[1]["letters"] == ["B"], "what reads as the letter counts together"
    assert rows[1]["letter_logprobs"] == {"A": -0.9, "B": pytest.approx(-0.686738, abs=1e-5)}
    assert rows[0]["failure"] == "no_letter" and result["endpoint"]["outcomes"]["no_letter"] == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--mode", "letter-logprob"),
        ("--mode", "letter-logprob", "--api-mode", "completions"),
        ("--mode", "option-logprob"),
    ],
)
def test_an_endpoint_without_log_probabilities_is_refused_with_a_sentence(ask, flags, tmp_path):
    with pytest.raises(InputError, match="log-probabilities"):
        ask(*flags, "--concurrency", "1")
    assert read_json(tmp_path / "out/requests.json")["outcomes"] == {"useless": 1}


@pytest.fixture(scope="module")
def model_behind(checkpoint):
    """The tiny model as an endpoint's brain: completions with stop, logprobs and echo, as vLLM has them."""
    import threading

    import torch

    from local_model.local_model import generate, load_model

    loaded, lock = load_model(str(checkpoint)), threading.Lock()

    def brain(body: dict) -> dict:
        ids = loaded.tokenizer(body["prompt"])["input_ids"]
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1}
        with lock, torch.inference_mode():
            if "logprobs" not in body:
                end = [loaded.tokenizer.eos_token_id]
                return {
                    "text": generate(loaded, [ids], body["max_tokens"], body.get("stop", []), end)[0],
                    "usage": usage,
                }
            table = torch.log_softmax(loaded.model(torch.tensor([ids])).logits[0].float(), -1)
        best = table[-1].topk(257)
        top = {
            loaded.tokenizer.decode([i]): p for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        }
        told = [None, *(float(table[place, token]) for place, token in enumerate(ids[1:]))] if body.get("echo") else []
        return {
            "text": "x",
            "usage": usage,
            "logprobs": {"token_logprobs": [*told, float(best.values[0])], "top_logprobs": [top]},
        }

    return brain


@pytest.mark.parametrize("mode", ["generate", "letter-logprob", "option-logprob"])
def test_a_model_behind_an_endpoint_answers_as_on_this_machine(
    ask, model_server, model_behind, checkpoint, test_folder, tmp_path, mode
):
    model_server.brain = model_behind
    flags = ("--mode", mode, "--languages", "en", "ru", "--max-new-tokens", "16")
    there = ask(*flags, "--api-mode", "completions", "--model", str(checkpoint), "--top-logprobs", "257")[2]
    local = ["--model", str(checkpoint), "--data", str(test_folder), "--out", str(tmp_path / "local"), *flags]
    assert evaluation.main(local) == 0
    here = rows_of(tmp_path / "local/predictions.jsonl")
    for one, other in zip(here, there, strict=True):
        for name in ("output", "letters", "id", "gold"):
            assert one.get(name) == other.get(name)
        for name in ("letter_logprobs", "option_logprobs"):
            assert other.get(name) == (pytest.approx(one[name], abs=2e-4) if name in one else None)
    assert len({str(row["letters"]) for row in here}) > 1 or len({row["output"] for row in here}) > 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--api-base", "http://me:secret@host/v1"), "leave user, password"),
        (("--api-base", "host:8000"), "expected http"),
        (("--api-base", "http://host/v1/chat/completions"), "give the part before"),
        (("--api-key-env", SECRET), "NAME of an environment variable"),
        (("--mode", "option-logprob", "--api-mode", "chat"), "use --api-mode completions"),
        (("--max-cost", "3"), "needs --price-input"),
        (("--request-fields", '{"stream": true}'), "stream is set by this command"),
        (("--chat-template",), "are for local models"),
    ],
)
def test_settings_of_an_endpoint_that_cannot_be_are_refused(ask, tmp_path, flags, message):
    with pytest.raises(InputError, match=message) as caught:
        ask(*flags)
    assert "secret" not in str(caught.value).replace("a secret", "") and SECRET not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_endpoint_flags_without_an_endpoint_are_refused(checkpoint, test_folder, tmp_path):
    with pytest.raises(InputError, match="--concurrency needs --api-base"):
        evaluation.main(["--model", str(checkpoint), "--data", str(test_folder), "--concurrency", "3"])


def test_a_dry_run_counts_the_requests_and_sends_and_writes_nothing(ask, model_server, tmp_path, capsys):
    ask("--dry-run", "--samples", "2", "--price-input", "1", "--price-output", "1")
    assert "44 requests to http://127.0.0.1" in capsys.readouterr().out
    assert model_server.requests == [] and not (tmp_path / "out").exists()


def test_a_ledger_belongs_to_one_run_at_a_time_and_no_other_file_is_taken_for_one(ask, tmp_path):
    from endpoint_ledger import Budget, Ledger

    held = Ledger(tmp_path / "shared.sqlite", Budget())
    with pytest.raises(InputError, match="in use by another run"):
        ask("--cache", str(tmp_path / "shared.sqlite"))
    held.close()
    (tmp_path / "other.sqlite").write_text("no data base, and long enough to be looked at " * 30)
    with pytest.raises(InputError, match="is not a ledger"):
        ask("--cache", str(tmp_path / "other.sqlite"))


def test_answers_in_a_shared_cache_are_not_asked_again_elsewhere(ask, model_server, tmp_path):
    ask("--cache", str(tmp_path / "shared.sqlite"), "--limit", "3", out="few")
    assert len(model_server.requests) == 9
    assert ask("--cache", str(tmp_path / "shared.sqlite"))[0] == 0 and len(model_server.requests) == 22


def test_more_shards_than_questions_leave_some_with_nothing_to_do(ask, model_server):
    flags = ("--languages", "ru", "--limit", "2")
    for shard in ("0/4", "2/4", "3/4", "1/4"):
        code, result, _ = ask(*flags, "--shard", shard)
        assert code == 0
    assert result["micro"]["n"] == 2 and len(model_server.requests) == 2


def test_a_model_that_was_trained_anew_gets_no_answers_of_the_old_one(
    ask, model_server, checkpoint, prompt_folder, tmp_path
):
    model = shutil.copytree(checkpoint, tmp_path / "model")
    (model / "run.json").write_text('{"training": "full"}')
    flags = ("--model", str(model), "--limit", "1", "--languages", "ru", "--cache", str(tmp_path / "shared.sqlite"))
    ask(*flags, out="old")
    (model / "run.json").write_text('{"training": "full", "steps": 2}')
    with pytest.raises(InputError, match=r"different inputs \(model\)"):
        ask(*flags, out="old")
    assert ask(*flags, out="new")[1]["setting"] == "fine-tuned" and len(model_server.requests) == 2


@pytest.mark.parametrize("fields", ['{"api_key": "secret"}', '{"Authorization": "secret"}'])
def test_a_key_among_the_request_fields_is_refused_before_it_is_written_or_shown(ask, tmp_path, capsys, fields):
    with pytest.raises(InputError, match="the key is read from the environment"):
        ask("--request-fields", fields)
    shown = capsys.readouterr()
    assert "secret" not in shown.out + shown.err and not (tmp_path / "out").exists()
