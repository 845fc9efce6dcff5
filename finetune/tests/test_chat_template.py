"""Chat models: one encoding in training and in evaluation, recorded in the checkpoint's prompt folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train
from mmedbench_questions import read_questions
from prompt_folder import Prompt, encode_prompt, end_token
from run_record import InputError, read_json

ROOT = Path(__file__).parents[2]
# As instruct models have them: today's date in front, the assistant's turn with an end of its own.
TEMPLATE = (
    "Today is {{ strftime_now('%d %b %Y') }}.{% for m in messages %}<{{ m.role }}>{{ m.content }}<|turn_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
READ_AS_EVALUATION = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from mmedbench_questions import read_questions
from prompt_folder import Prompt, encode_prompt, end_token
folder, questions = map(Path, sys.argv[1:])
tokenizer, prompt = AutoTokenizer.from_pretrained(folder), Prompt(folder / "prompt")
ids = [encode_prompt(tokenizer, prompt.render(q, "answer"), prompt.chat_template) for q in read_questions(questions)]
print(json.dumps([ids, end_token(tokenizer, prompt.chat_template)]))
"""


@pytest.fixture(scope="module")
def chat_model(model_of, tmp_path_factory) -> Path:
    folder = shutil.copytree(model_of(), tmp_path_factory.mktemp("chat") / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def trained(chat_model, benchmark, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("chat") / "out"
    command = [
        "--model",
        str(chat_model),
        "--data",
        str(benchmark / "Train"),
        "--out",
        str(out),
        "--lora",
        "--chat-template",
        "--forms",
        "answer",
        "--batch-size",
        "24",
        "--epochs",
        "1",
    ]
    assert train.main(command) == 0
    return out


def test_evaluation_reads_the_same_ids_from_the_checkpoint_alone(trained, chat_model, benchmark):
    from transformers import AutoTokenizer

    file = benchmark / "Train/French.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", READ_AS_EVALUATION, trained, file],
        cwd=ROOT / "inference",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids, end = json.loads(done.stdout)
    assert read_json(trained / "prompt/prompt.json")["chat_template"] is True

    tokenizer, prompt = AutoTokenizer.from_pretrained(chat_model), Prompt(ROOT / "finetune/prompts/mmedbench")
    trained_on = [encode_prompt(tokenizer, prompt.render(q, "answer"), True) for q in read_questions(file)]
    assert ids == trained_on
    text = tokenizer.decode(ids[0])
    assert text.startswith("Today is 01 Jan 2024.<user>Répondez") and text.endswith("<|turn_end|>\n<assistant>")
    assert end == end_token(tokenizer, True) == tokenizer.convert_tokens_to_ids("<|turn_end|>")
    assert end_token(tokenizer, False) == tokenizer.eos_token_id != end


def test_a_tokenizer_without_a_template_is_refused_with_a_sentence(model_of, benchmark, tmp_path):
    command = ["--model", str(model_of()), "--data", str(benchmark / "Train"), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"has no chat template; omit --chat-template"):
        train.main([*command, "--chat-template", "--batch-size", "8"])


def test_a_template_that_refuses_the_chat_is_named(chat_model, benchmark, tmp_path):
    model = shutil.copytree(chat_model, tmp_path / "model")
    (model / "chat_template.jinja").write_text("{{ raise_exception('a system turn must come first') }}")
    command = ["--model", str(model), "--data", str(benchmark / "Train"), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="a system turn must come first"):
        train.main([*command, "--chat-template", "--batch-size", "8"])
