"""eval.py through its command line and its files, on a tiny random model."""

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


def run(checkpoint: Path, data: Path, out: Path, *more: str) -> dict:
    assert evaluation.main(["--model", str(checkpoint), "--data", str(data), "--out", str(out), *more]) == 0
    return read_json(out / "result.json")


def predictions(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(checkpoint, test_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("results") / "run"
    run(checkpoint, test_folder, out, "--batch-size", "4")
    return out


def test_a_result_says_n_interval_prompt_and_origin(finished):
    result = read_json(finished / "result.json")
    assert {key: score["n"] for key, score in result["scores"].items()} == {"zh": 6, "en": 9, "ru": 7}
    assert result["micro"]["n"] == 22 and result["macro"]["languages"] == 3
    assert result["setting"] == "zero-shot" and result["prompt"]["name"] == "test"
    assert result["provenance"]["command"] and result["files"]["predictions.jsonl"]["sha256"]
    rows = predictions(finished)
    assert [(r["key"], r["number"]) for r in rows] == [
        (k, n) for k, c in (("zh", 6), ("en", 9), ("ru", 7)) for n in range(c)
    ]
    assert len({row["output"] for row in rows}) > 5, "the model must answer differently, or the next tests show nothing"


def test_batches_answer_as_one_by_one(checkpoint, test_folder, finished, tmp_path):
    run(checkpoint, test_folder, tmp_path / "one", "--batch-size", "1")
    run(checkpoint, test_folder, tmp_path / "all", "--batch-size", "64")
    outputs = [[row["output"] for row in predictions(out)] for out in (finished, tmp_path / "one", tmp_path / "all")]
    assert outputs[0] == outputs[1] == outputs[2]


def test_greedy_generation_equals_a_plain_argmax_loop(checkpoint, test_folder, finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mmedbench_questions import read_questions
    from prompt_folder import Prompt

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(checkpoint).eval(),
        AutoTokenizer.from_pretrained(checkpoint),
    )
    prompt = Prompt(checkpoint / "prompt")
    rows = {(row["key"], row["number"]): row for row in predictions(finished)}
    for number, record in enumerate(read_questions(test_folder / "English.jsonl")[:4]):
        ids = tokenizer(prompt.render(record, "answer"))["input_ids"]
        start = len(ids)
        while len(ids) < start + 16:
            with torch.no_grad():
                following = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if following == tokenizer.eos_token_id:
                break
            ids.append(following)
        assert rows["en", number]["output"] == tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_letter_log_probabilities_equal_a_plain_forward_pass(checkpoint, test_folder, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mmedbench_questions import read_questions
    from prompt_folder import Prompt

    run(checkpoint, test_folder, tmp_path / "out", "--mode", "letter-logprob", "--batch-size", "5")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(checkpoint).eval(),
        AutoTokenizer.from_pretrained(checkpoint),
    )
    prompt = Prompt(checkpoint / "prompt")
    rows = {(row["key"], row["number"]): row for row in predictions(tmp_path / "out")}
    for number, record in enumerate(read_questions(test_folder / "Russian.jsonl")):
        ids = tokenizer(prompt.render(record, "answer"), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids).logits[0, -1], -1)
        wanted = {letter: float(logprobs[tokenizer.convert_tokens_to_ids(letter)]) for letter in record["options"]}
        row = rows["ru", number]
        assert row["letter_logprobs"] == pytest.approx(wanted, abs=1e-4)
        assert row["letters"] == [max(wanted, key=wanted.get)]


def test_a_run_cut_off_in_a_line_asks_only_what_is_missing(checkpoint, test_folder, finished, tmp_path, monkeypatch):
    from local_model import local_model

    lines = (finished / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    by_place = {(row["key"], row["number"]): line for line in lines for row in [json.loads(line)]}
    asked = []
    original = local_model.generate

    def spy(loaded, prompts, *rest):
        asked.append(len(prompts))
        return original(loaded, prompts, *rest)

    monkeypatch.setattr(local_model, "generate", spy)
    fresh = tmp_path / "fresh"
    run(checkpoint, test_folder, fresh, "--batch-size", "4")
    assert sum(asked) == 22
    # As a kill leaves it: two whole batches (longest first) and a line cut in two.
    batches = planned_batches(checkpoint, test_folder)
    done = [place for batch in batches[:2] for place in batch]
    for name in ("result.json", "predictions.jsonl"):
        (fresh / name).unlink()
    torn = "".join(by_place[place] for place in done) + by_place[batches[2][0]][:30]
    (fresh / "predictions.partial.jsonl").write_text(torn, encoding="utf-8")
    asked.clear()
    run(checkpoint, test_folder, fresh, "--batch-size", "4")
    assert sum(asked) == 22 - len(done)
    assert (fresh / "predictions.jsonl").read_bytes() == (finished / "predictions.jsonl").read_bytes()
    assert not (fresh / "predictions.partial.jsonl").exists()


def planned_batches(checkpoint: Path, test_folder: Path) -> list[list[tuple[str, int]]]:
    from transformers import AutoTokenizer

    from evaluation.generate_answers import plan_batches
    from mmedbench_questions import LANGUAGE_FILES, read_split
    from prompt_folder import Prompt, encode_prompt

    tokenizer, prompt = AutoTokenizer.from_pretrained(checkpoint), Prompt(checkpoint / "prompt")
    codes = {Path(name).stem: code for code, name in LANGUAGE_FILES.items()}
    questions = [
        {"key": codes[stem], "number": number, "ids": encode_prompt(tokenizer, prompt.render(record, "answer"))}
        for stem, records in read_split(test_folder).items()
        for number, record in enumerate(records)
    ]
    return [[(q["key"], q["number"]) for q in batch] for batch in plan_batches(questions, 4)]


@pytest.mark.slow
def test_a_run_killed_at_any_time_ends_with_the_same_bytes(checkpoint, test_folder, tmp_path):
    data = tmp_path / "MMedBench/Test"
    data.mkdir(parents=True)
    lines = (test_folder / "English.jsonl").read_text().splitlines()
    (data / "English.jsonl").write_text("\n".join(line.replace("?", f"? {i}", 1) for i in range(40) for line in lines))
    command = [
        sys.executable,
        str(STAGE / "eval.py"),
        "--model",
        str(checkpoint),
        "--data",
        str(data),
        "--batch-size",
        "4",
    ]
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True, capture_output=True)
    partial, seen = tmp_path / "cut/predictions.partial.jsonl", 0
    for _ in range(3):
        process = subprocess.Popen(
            [*command, "--out", tmp_path / "cut"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and (not partial.exists() or partial.stat().st_size <= seen + 2000):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        seen = partial.stat().st_size if partial.exists() else 0
    assert seen > 0 and not (tmp_path / "cut/result.json").exists(), "the run ended before it could be killed"
    subprocess.run([*command, "--out", tmp_path / "cut"], check=True, capture_output=True)
    assert (tmp_path / "cut/predictions.jsonl").read_bytes() == (tmp_path / "whole/predictions.jsonl").read_bytes()


def test_a_complete_run_is_reused_and_never_mixed_with_another(checkpoint, test_folder, tmp_path, capsys):
    out = tmp_path / "run"
    first = run(checkpoint, test_folder, out)
    assert run(checkpoint, test_folder, out) == first
    assert "is reused" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"different arguments \(max_new_tokens\)"):
        run(checkpoint, test_folder, out, "--max-new-tokens", "8")
    changed = tmp_path / "MMedBench/Test"
    shutil.copytree(test_folder, changed)
    (changed / "Russian.jsonl").unlink()
    with pytest.raises(InputError, match=r"different inputs \(data\)"):
        run(checkpoint, changed, out)


def test_scoring_again_reads_the_letters_from_the_outputs(checkpoint, test_folder, tmp_path):
    out = tmp_path / "run"
    first = run(checkpoint, test_folder, out)
    rows = predictions(out)
    for row in rows:
        row["output"], row["letters"] = ",".join(row["gold"]), None
    (out / "predictions.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    again = run(checkpoint, test_folder, out, "--score-only")
    assert again["micro"]["accuracy"] == 100.0 and first["micro"]["accuracy"] < 50


def test_a_prompt_longer_than_the_model_is_shortened_and_counted(checkpoint, tmp_path):
    data = tmp_path / "MMedBench/Test"
    data.mkdir(parents=True)
    record = {"question": "word " * 300, "options": {"A": "x", "B": "y"}, "answer_idx": "A"}
    (data / "English.jsonl").write_text(json.dumps(record))
    result = run(checkpoint, data, tmp_path / "out")
    assert result["prompts_shortened"] == 1 and result["micro"]["n"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "nowhere/at/all"}, "brings no prompt"),
        ({"--data": "nowhere"}, r"mmedbench/prepare\.py"),
        ({"--languages": "ar"}, "no question in ar"),
        ({"--mode": "letter-logprob", "--form": "rationale"}, "use --form answer"),
        ({"--max-new-tokens": "500"}, "leaves no room"),
        ({"--prompt": "nowhere"}, "brings no prompt"),
    ],
)
def test_bad_input_ends_with_a_sentence(checkpoint, test_folder, tmp_path, change, message):
    flags = {"--model": str(checkpoint), "--data": str(test_folder), "--out": str(tmp_path / "out")} | change
    with pytest.raises(InputError, match=message):
        evaluation.main([part for pair in flags.items() for part in pair])
    assert not (tmp_path / "out/result.json").exists()


def test_a_broken_or_empty_test_file_is_named(checkpoint, test_folder, tmp_path):
    data = shutil.copytree(test_folder, tmp_path / "MMedBench/Test")
    with open(data / "Russian.jsonl", "a") as file:
        file.write('{"question": "?", "options": {"A": "x", "B": "y"}, "answer_idx": "C"}\n')
    with pytest.raises(InputError, match=r"Russian\.jsonl:8: answer_idx"):
        evaluation.main(["--model", str(checkpoint), "--data", str(data), "--out", str(tmp_path / "out")])
    (data / "Russian.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"Russian\.jsonl contains no questions"):
        evaluation.main(["--model", str(checkpoint), "--data", str(data), "--out", str(tmp_path / "out")])


def test_a_checkpoint_whose_prompt_no_longer_renders_its_examples_is_refused(checkpoint, test_folder, tmp_path):
    changed = shutil.copytree(checkpoint, tmp_path / "model")
    with open(changed / "prompt/prompt.jinja", "a") as file:
        file.write(" ")
    with pytest.raises(InputError, match="no longer renders to its prompt"):
        evaluation.main(["--model", str(changed), "--data", str(test_folder), "--out", str(tmp_path / "out")])


def test_a_half_made_checkpoint_is_refused(checkpoint, test_folder, tmp_path):
    half = shutil.copytree(checkpoint, tmp_path / "model")
    (half / "training").mkdir()
    with pytest.raises(InputError, match="incomplete"):
        evaluation.main(["--model", str(half), "--data", str(test_folder), "--out", str(tmp_path / "out")])


def test_an_adapter_answers_as_its_merged_model_and_finds_its_base(checkpoint, prompt_folder, test_folder, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = shutil.copytree(checkpoint, tmp_path / "base")
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(adapter)
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    (adapter / "run.json").write_text(
        json.dumps({"base": "elsewhere", "base_from_here": "../base", "training": "lora"})
    )
    model.merge_and_unload().save_pretrained(merged)
    AutoTokenizer.from_pretrained(base).save_pretrained(merged)
    for folder in (adapter, merged):
        shutil.copytree(prompt_folder, folder / "prompt")
        run(folder, test_folder, tmp_path / f"result-{folder.name}")
    rows = [predictions(tmp_path / f"result-{name}") for name in ("adapter", "merged")]
    assert [row["output"] for row in rows[0]] == [row["output"] for row in rows[1]]
    assert read_json(tmp_path / "result-adapter/result.json")["setting"] == "fine-tuned"
    shutil.rmtree(base)
    with pytest.raises(InputError, match="base model of the adapter"):
        run(adapter, test_folder, tmp_path / "again")
