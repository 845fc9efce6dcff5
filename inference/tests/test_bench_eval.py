"""bench_eval.py through its command line: all sides answer alike, and the table says what was measured."""

import json
from pathlib import Path

import pytest

import bench_eval
from evaluation import generate_answers
from run_record import InputError, read_json


def bench(checkpoint: Path, data: Path, *flags: str) -> int:
    command = ["--model", str(checkpoint), "--data", str(data), "--limit", "3", "--rounds", "1", "--batch-size", "4"]
    return bench_eval.main([*command, "--max-new-tokens", "6", *flags])


def test_batches_and_one_by_one_are_timed_on_the_same_answers(checkpoint, test_folder, tmp_path, capsys):
    assert bench(checkpoint, test_folder, "--out", str(tmp_path / "bench.json")) == 0
    result = read_json(tmp_path / "bench.json")
    assert result["questions"] == 9 and set(result["sides"]) == {"eval.py", "one by one", "batches of 1"}
    assert all(side["equal_answers"] == 9 and side["cpu_seconds"]["lowest"] > 0 for side in result["sides"].values())
    assert all(result["sides"]["eval.py"]["times_eval"][clock]["median"] == 1 for clock in ("wall", "cpu"))
    assert "one by one" in capsys.readouterr().out


def test_another_answer_is_counted_as_not_equal():
    rounds = {
        name: [
            {
                "cpu": seconds,
                "wall": 2 * seconds if name == "one by one" else seconds,
                "answers": [["en", 0, "A"], ["en", 1, second]],
            }
        ]
        for name, seconds, second in (("eval.py", 2.0, "B"), ("one by one", 6.0, "C"))
    }
    sides = bench_eval.summarise(rounds)["sides"]
    assert sides["one by one"]["equal_answers"] == 1
    assert {clock: ratio["median"] for clock, ratio in sides["one by one"]["times_eval"].items()} == {
        "wall": 6,
        "cpu": 3,
    }
    assert sides["eval.py"]["questions_per_second"] == 1


def test_a_shape_is_filled_and_asked_with_the_models_tokenizer(checkpoint, test_folder, tmp_path, capsys):
    shape = tmp_path / "shape"
    shape.mkdir()
    config = json.loads((checkpoint / "config.json").read_text()) | {"num_hidden_layers": 1, "vocab_size": 100}
    (shape / "config.json").write_text(json.dumps(config))
    assert bench(checkpoint, test_folder, "--shape", str(shape)) == 0
    assert "9/9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--rounds", "0"), "expected 1 or more"),
        (("--shape", "nowhere"), "no config at --shape"),
        (("--harness-python", "nowhere/python"), "cannot be run"),
        (("--harness-python", "/bin/false"), "stopped: no message"),
        (("--max-new-tokens", "500"), "leaves no room"),
    ],
)
def test_bad_input_ends_with_a_sentence(checkpoint, test_folder, flags, message):
    with pytest.raises(InputError, match=message):
        bench(checkpoint, test_folder, *flags)


@pytest.mark.parametrize(
    ("device", "mode", "sizes"),
    [
        ("cpu", "letter-logprob", [2] * 8),
        ("cpu", "generate", [16]),  # which reads its prompts in parts by itself (test_decode_loop.py)
        ("cuda", "letter-logprob", [16]),
    ],
)
def test_on_a_cpu_a_batch_of_many_tokens_is_asked_in_parts(monkeypatch, device, mode, sizes):
    asked = []
    monkeypatch.setattr(
        generate_answers, "answer_batch", lambda loaded, prompt, batch, args: asked.append(len(batch)) or batch
    )
    batch = [{"ids": [0] * 1000}] * 16
    assert generate_answers.MemoryLimit(device, mode).answer(None, None, batch, None) == batch
    assert asked == sizes
