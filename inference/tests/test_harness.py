"""Exported task folders: what is in them, and (slow) that the harnesses answer and score as eval.py does."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

import eval as evaluation
import export_harness
from evaluation.scoring import read_letters
from mmedbench_questions import read_split
from prompt_folder import Prompt
from run_record import InputError, read_json

STAGE = Path(__file__).parents[1]
HARD = [json.loads(line) for line in (Path(__file__).parent / "hard_answers.jsonl").read_text("utf-8").splitlines()]
# What a harness needs beside the project's own packages; measured in November 2026, see the README.
HARNESSES = {
    "lm_eval": ["lm-eval==0.4.13"],
}


def export(checkpoint: Path, data: Path, out: Path, *flags: str) -> dict:
    command = ["--model", str(checkpoint), "--data", str(data), "--out", str(out), *flags]
    assert export_harness.main(command) == 0
    return read_json(out / "manifest.json") if (out / "manifest.json").exists() else {}


def rows_of(out: Path, key: str) -> list[dict]:
    return [json.loads(line) for line in (out / f"data/{key}.jsonl").read_text("utf-8").splitlines()]


def load_scoring(folder: Path):
    spec = importlib.util.spec_from_file_location("exported_scoring", folder / "harness_scoring.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(checkpoint, test_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tasks") / "harness"
    manifest = export(checkpoint, test_folder, out, "--parse", "policy", "--max-new-tokens", "24")
    assert manifest["questions"] == {"zh": 6, "en": 9, "ru": 7} and manifest["cut"] == 0
    return out


def test_the_stored_prompts_are_those_that_eval_asks(checkpoint, test_folder, exported):
    prompt = Prompt(checkpoint / "prompt")
    records = read_split(test_folder)["English"]
    rows = rows_of(exported, "en")
    assert [row["prompt"] for row in rows] == [prompt.render(record, "answer") for record in records]
    assert [(row["id"], row["gold"]) for row in rows] == [(record["id"], record["answer_idx"]) for record in records]


def test_every_key_has_a_task_of_each_kind_and_the_groups_name_them(exported):
    groups = {
        name: yaml.safe_load((exported / f"{name}.yaml").read_text()) for name in ("mmedbench", "mmedbench_letters")
    }
    for name, group in groups.items():
        assert group["task"] == [f"{name}_{key}" for key in ("zh", "en", "ru")]
        assert all((exported / f"{task}.yaml").exists() for task in group["task"])
    task = (exported / "mmedbench_ru.yaml").read_text()
    assert '"max_gen_toks": 24' in task and "!function harness_scoring.score_generated" in task


def test_the_exported_scoring_reads_answers_as_ours_does(checkpoint, test_folder, exported, tmp_path):
    """In a process of its own that sees nothing of this stage, as a harness does."""
    script = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('s', {str(exported / 'harness_scoring.py')!r})\n"
        "s = importlib.util.module_from_spec(spec); spec.loader.exec_module(s)\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps(s.read_generated(*json.loads(line))))\n"
    )
    docs = [{"letters": list(a["options"]), "option_texts": list(a["options"].values())} for a in HARD]
    lines = "".join(json.dumps([doc, a["output"]]) + "\n" for doc, a in zip(docs, HARD, strict=True))
    done = subprocess.run([sys.executable, "-I", "-c", script], input=lines, capture_output=True, text=True, check=True)
    prompt = Prompt(checkpoint / "prompt")
    ours = [read_letters({"output": a["output"]}, {"options": a["options"]}, prompt, "policy")["letters"] for a in HARD]
    assert [json.loads(line) for line in done.stdout.splitlines()] == ours
    assert sum(letters is not None for letters in ours) > 150

    strict = export(checkpoint, test_folder, tmp_path / "strict")
    assert "answers.py" not in strict["files"]
    scoring = load_scoring(tmp_path / "strict")
    for text, letters in (("A,C", ["A", "C"]), (" B", ["B"]), ("The answer is B", None), ("", None)):
        assert scoring.read_generated(docs[0], text) == letters
    assert scoring.score_generated({"gold": "A,C"}, ["C,A"]) == {"exact_set": 1.0, "unparsed": 0.0}
    assert scoring.score_generated({"gold": "A,C"}, ["A"]) == {"exact_set": 0.0, "unparsed": 0.0}
    assert scoring.score_generated({"gold": "A,C"}, ["?"]) == {"exact_set": 0.0, "unparsed": 1.0}
    one = {"letters": ["A", "B"], "gold": "B"}
    assert scoring.score_letters(one, [(-2.0, False), (-1.0, True)]) == {"exact_set": 1.0}


def test_a_letter_stands_where_the_model_learned_it_whatever_the_tokenizer(checkpoint, test_folder, tmp_path):
    """A tokenizer that opens every text with a space needs one between prompt and letter."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    model = shutil.copytree(checkpoint, tmp_path / "model")
    characters = sorted({c for path in test_folder.glob("*.jsonl") for c in path.read_text("utf-8")} | set("▁\nABCD.:"))
    vocabulary = {"<end>": 0, "<unk>": 1} | {c: i + 2 for i, c in enumerate(characters)}
    vocabulary |= {f"▁{letter}": len(vocabulary) + i for i, letter in enumerate("ABCD")}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", c) for c in "ABCD"], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Replace("▁", " ")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(model)
    manifest = export(model, test_folder, tmp_path / "out")
    assert read_json(tmp_path / "out/settings.json")["delimiter"] == " "
    assert manifest["letters_tokenized_differently"] == 0
    assert 'target_delimiter: " "' in (tmp_path / "out/mmedbench_letters_en.yaml").read_text()


def test_a_chat_prompt_is_stored_rendered_and_ends_at_the_turns_end(checkpoint, test_folder, tmp_path):
    from transformers import AutoTokenizer

    model = shutil.copytree(checkpoint, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|turn|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    tokenizer.save_pretrained(model)
    export(model, test_folder, tmp_path / "out", "--chat-template")
    plain = Prompt(checkpoint / "prompt").render(read_split(test_folder)["Russian"][0], "answer")
    assert rows_of(tmp_path / "out", "ru")[0]["prompt"] == f"[user] {plain}<|turn|>[assistant] "
    assert read_json(tmp_path / "out/settings.json")["until"] == ["<|turn|>"]
    assert "add_bos_token=False" in (tmp_path / "out/README.md").read_text()


def test_worked_examples_and_long_prompts_are_stored_and_counted(checkpoint, test_folder, tmp_path, capsys):
    data = tmp_path / "MMedBench"
    shutil.copytree(test_folder, data / "Test")
    (data / "Train").mkdir()
    train = [{"question": f"Пример {i}?", "options": {"A": "да", "B": "нет"}, "answer_idx": "B"} for i in range(14)]
    (data / "Train/Russian.jsonl").write_text("".join(json.dumps(r) + "\n" for r in train))
    manifest = export(
        checkpoint, data / "Test", tmp_path / "out", "--few-shot", "14", "--languages", "ru", "--limit", "2"
    )
    assert [row["prompt"].count("Пример") for row in rows_of(tmp_path / "out", "ru")] == [14, 14]
    assert manifest["cut"] == 2 and "2 prompts are longer than the model" in capsys.readouterr().out


def test_a_finished_folder_is_reused_and_nothing_is_written_over(checkpoint, test_folder, exported, tmp_path, capsys):
    same = ("--parse", "policy", "--max-new-tokens", "24")
    export(checkpoint, test_folder, exported, *same)
    assert "is reused" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"different arguments \(limit\)"):
        export(checkpoint, test_folder, exported, *same, "--limit", "3")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(InputError, match="contains something else"):
        export(checkpoint, test_folder, tmp_path / "mine")
    export(checkpoint, test_folder, tmp_path / "dry", "--dry-run")
    assert not (tmp_path / "dry").exists()


def test_another_tokenizer_or_worked_example_is_another_folder(checkpoint, test_folder, tmp_path):
    model, data = shutil.copytree(checkpoint, tmp_path / "model"), tmp_path / "MMedBench"
    shutil.copytree(test_folder, data / "Test")
    (data / "Train").mkdir()
    train, record = data / "Train/Russian.jsonl", {"question": "?", "options": {"A": "x", "B": "y"}, "answer_idx": "A"}
    train.write_text(json.dumps(record))
    flags = (model, data / "Test", tmp_path / "out", "--few-shot", "1", "--languages", "ru")
    assert export(*flags) == export(*flags)
    train.write_text(json.dumps(record | {"answer_idx": "B"}))
    with pytest.raises(InputError, match=r"different inputs \(few_shot\)"):
        export(*flags)
    train.write_text(json.dumps(record))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(InputError, match=r"different inputs \(settings\)"):
        export(*flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--limit", "0"), "1 or more"),
        (("--max-new-tokens", "0"), "1 or more"),
        (("--few-shot-data", "x"), "--few-shot takes"),
        (("--languages", "ar"), "no question in ar"),
        (("--chat-template",), "has no chat template"),
    ],
)
def test_bad_input_ends_with_a_sentence(checkpoint, test_folder, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        export(checkpoint, test_folder, tmp_path / "out", *flags)


# The proofs: each harness, in an environment of its own, answers and scores as eval.py does.


def make_environment(name: str, tmp_path: Path) -> Path:
    """The python of an environment with a harness, over this one's packages, so that torch is the same and not twice.

    MMED_HARNESS_ENV names a folder where environments are kept for the next time (else they are made again: a minute).
    """
    keep = os.environ.get("MMED_HARNESS_ENV")
    folder = (Path(keep) if keep else tmp_path) / name
    python, mark = folder / "bin/python", folder / "complete"
    if not mark.exists() or mark.read_text() != str(HARNESSES[name]):
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        site = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        (site / "over.pth").write_text(sysconfig.get_path("purelib") + "\n")
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", *HARNESSES[name]], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"pip could not install {name}: {done.stderr.strip().splitlines()[-1]}")
        mark.write_text(str(HARNESSES[name]))
    return python


@pytest.fixture(scope="module")
def scored(checkpoint, test_folder, make_prompt, tmp_path_factory) -> dict:
    """A model, questions of which it gets some right, our answers in both modes, and the exported tasks.

    The tiny model writes noise, so the prompt's pattern takes any letter from A to H, and where the noise names options
    of the question these become the right answer of every second one.
    """
    place = tmp_path_factory.mktemp("scored")
    model = shutil.copytree(checkpoint, place / "model", ignore=shutil.ignore_patterns("prompt"))
    make_prompt(model / "prompt", pattern=r"([A-H](?:,[A-H])*)")
    config = read_json(model / "generation_config.json")
    (model / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": 0}))

    def ask(data: Path, out: Path, *flags: str) -> dict[str, list[dict]]:
        command = ["--model", str(model), "--data", str(data), "--out", str(out), "--batch-size", "5", *flags]
        assert evaluation.main(command) == 0
        rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]
        return {key: [row for row in rows if row["key"] == key] for key in ("zh", "en", "ru")}

    first = ask(test_folder, place / "first")
    data = place / "MMedBench/Test"
    data.mkdir(parents=True)
    for stem, key in (("English", "en"), ("Russian", "ru"), ("Chinese", "zh")):
        lines = []
        for row, record in zip(first[key], read_split(test_folder)[stem], strict=True):
            letters = [letter for letter in row["letters"] or [] if letter in record["options"]]
            if letters and letters == row["letters"] and row["number"] % 2:
                record["answer_idx"] = ",".join(letters)
            kept = {name: record[name] for name in ("question", "options", "answer_idx")}
            lines.append(json.dumps(kept, ensure_ascii=False) + "\n")
        (data / f"{stem}.jsonl").write_text("".join(lines), "utf-8")
    export(model, data, place / "harness")
    generated = ask(data, place / "generated")
    letters = ask(data, place / "letters", "--mode", "letter-logprob")
    right = {row["letters"] == row["gold"] for rows in generated.values() for row in rows}
    assert right == {True, False}, "the comparison needs right answers and wrong ones"
    results = {name: read_json(place / name / "result.json") for name in ("generated", "letters")}
    return {"place": place, "model": model, "mmedbench": generated, "mmedbench_letters": letters, "results": results}


def harness_environment(place: Path) -> dict[str, str]:
    return os.environ | {"HF_HOME": str(place / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@pytest.mark.slow
def test_lm_evaluation_harness_gives_our_answers_and_our_accuracy(scored, tmp_path):
    python, place = make_environment("lm_eval", tmp_path), scored["place"]
    command = [
        python.with_name("lm_eval"),
        "--include_path",
        place / "harness",
        "--tasks",
        "mmedbench,mmedbench_letters",
    ]
    command += [
        "--model",
        "hf",
        "--model_args",
        f"pretrained={scored['model']}",
        "--device",
        "cpu",
        "--batch_size",
        "4",
    ]
    command += ["--log_samples", "--output_path", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env=harness_environment(tmp_path), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = read_json(next((tmp_path / "out").rglob("results_*.json")))["results"]
    for task, mode in (("mmedbench", "generated"), ("mmedbench_letters", "letters")):
        ours = scored["results"][mode]
        for key, rows in scored[task].items():
            path = next((tmp_path / "out").rglob(f"samples_{task}_{key}_*.jsonl"))
            samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            samples = {sample["doc"]["number"]: sample for sample in samples}
            for row in rows:
                theirs = samples[row["number"]]
                assert theirs["doc"]["id"] == row["id"]
                assert theirs["exact_set"] == float(row["letters"] == row["gold"])
                if mode == "generated":
                    assert theirs["resps"][0][0] == row["output"]
                else:
                    pairs = {letter: float(r[0][0]) for letter, r in zip(row["options"], theirs["resps"], strict=True)}
                    assert pairs == pytest.approx(
                        {letter: x + newline_cost(pairs, row) for letter, x in row["letter_logprobs"].items()}, abs=1e-3
                    )
            assert 100 * results[f"{task}_{key}"]["exact_set,none"] == pytest.approx(
                ours["scores"][key]["accuracy"], abs=0.01
            )
        assert 100 * results[task]["exact_set,none"] == pytest.approx(ours["macro"]["accuracy"], abs=0.01)


def newline_cost(pairs: dict[str, float], row: dict) -> float:
    """lm_eval counts the prompt's last line feed to each letter: the same for every letter of a question."""
    return pairs["A"] - row["letter_logprobs"]["A"]
