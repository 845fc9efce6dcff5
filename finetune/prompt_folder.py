"""A prompt folder: record -> prompt, record -> completion, model output -> answer.

This file is carried by several stages, byte-identical; edit one copy and run `bash slurm/sync_copies.sh PATH`.

prompt.jinja   record and form -> the prompt
target.jinja   record and form -> the expected completion
prompt.json    name, version, answer_pattern, stop strings, worked examples with their rendered texts; optional
               chat_template: true if the prompt is wrapped in the tokenizer's chat template

Forms: "answer" (the letters alone), "rationale" (reasons first). Fine-tuning copies the folder into the checkpoint and
evaluation reads it from there, so both use one prompt.
"""

import hashlib
import json
import re
from pathlib import Path

FORMS = ("answer", "rationale")
FILES = ("prompt.jinja", "target.jinja", "prompt.json")


class PromptError(ValueError):
    """An invalid prompt folder. The message names the file and what is wrong."""


class Prompt:
    """A validated prompt folder: its worked examples render byte for byte and parse to their own answers."""

    def __init__(self, folder: Path):
        """Errors: PromptError for a missing or invalid file, or a worked example that does not render or parse."""
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # Sandboxed, undefined names are errors: a prompt comes with a checkpoint, which may be untrusted.
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)
        self.folder = folder
        try:
            texts = {name: (folder / name).read_text(encoding="utf-8") for name in FILES}
            self.settings = json.loads(texts["prompt.json"])
            if not isinstance(self.settings, dict):
                raise ValueError("prompt.json is not a JSON object")
            if not isinstance(self.settings["answer_pattern"], str):
                raise ValueError("prompt.json: answer_pattern is not a string")
            self._prompt = environment.from_string(texts["prompt.jinja"])
            self._target = environment.from_string(texts["target.jinja"])
            self.pattern = re.compile(self.settings["answer_pattern"])
            if not self.pattern.groups:
                raise ValueError("prompt.json: answer_pattern has no group (...) around the letters")
            self.name, self.version, self.stop = (self.settings[key] for key in ("name", "version", "stop"))
            self.chat_template = self.settings.get("chat_template", False) is True
        except OSError as error:
            raise PromptError(f"{error.filename} cannot be read; a prompt folder has {', '.join(FILES)}") from None
        except (ValueError, KeyError, re.error, TemplateError) as error:
            raise PromptError(f"{folder}: {type(error).__name__} {error}") from None
        self.sha256 = hashlib.sha256("\0".join(texts[name] for name in FILES).encode()).hexdigest()
        self._prove()

    def render(self, record: dict, form: str) -> str:
        """The prompt of a record. Errors: PromptError if the template cannot render the record."""
        return self._fill(self._prompt, record, form)

    def target(self, record: dict, form: str) -> str:
        """The expected completion of a record in this form."""
        return self._fill(self._target, record, form)

    def parse(self, text: str) -> list[str] | None:
        """The letters of a completion, sorted; None if answer_pattern does not match. Strict on purpose."""
        match = self.pattern.search(text)
        return sorted({letter.strip() for letter in match.group(1).split(",")}) if match and match.group(1) else None

    def _fill(self, template, record: dict, form: str) -> str:
        from jinja2 import TemplateError

        fields = {"context": "", "rationale": ""} | {key: value for key, value in record.items() if value is not None}
        try:
            return template.render(form=form, **fields)
        except TemplateError as error:
            raise PromptError(
                f"{self.folder}: the template cannot render question {record.get('id', '')} ({error})"
            ) from None

    def _prove(self) -> None:
        examples = self.settings.get("worked_examples", [])
        for number, example in enumerate(examples if isinstance(examples, list) else [examples], start=1):
            whole = isinstance(example, dict) and all(
                isinstance(example.get(k), str) for k in ("form", "prompt", "target")
            )
            record = example.get("record") if whole else None
            if not isinstance(record, dict) or not isinstance(record.get("answer_idx"), str):
                raise PromptError(
                    f"{self.folder}/prompt.json: worked example {number} needs form, prompt, target and a record with "
                    "answer_idx"
                )
        if {example["form"] for example in examples} != set(FORMS):
            raise PromptError(f"{self.folder}/prompt.json: worked_examples must show each form ({', '.join(FORMS)})")
        for number, example in enumerate(examples, start=1):
            record, form = example["record"], example["form"]
            for part, text in (("prompt", self.render(record, form)), ("target", self.target(record, form))):
                if text != example[part]:
                    raise PromptError(
                        f"{self.folder}/prompt.json: worked example {number} no longer renders to its {part}"
                    )
            if self.parse(example["target"]) != record["answer_idx"].split(","):
                raise PromptError(
                    f"{self.folder}/prompt.json: worked example {number} does not parse to its own answer"
                )


def encode_prompt(tokenizer, text: str, chat_template: bool = False) -> list[int]:
    """Token ids of a prompt as the model sees it: with the tokenizer's opening token, if any, and no end token.

    chat_template: wrap the text as a user turn, up to the start of the assistant turn.
    Errors: PromptError if the tokenizer has no chat template or the template rejects the chat.
    """
    if chat_template:
        return tokenizer(render_chat(tokenizer, text), add_special_tokens=False)["input_ids"]
    ids = tokenizer(text)["input_ids"]
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


def render_chat(tokenizer, text: str, answer: str | None = None) -> str:
    """A user turn in the tokenizer's chat template, up to the start of the answer, or with the answer as a turn."""
    chat = [{"role": "user", "content": text}]
    if answer is not None:
        chat.append({"role": "assistant", "content": answer})
    return render_turns(tokenizer, chat, answer is None)


def render_turns(tokenizer, chat: list[dict], open_answer: bool) -> str:
    """Turns {role, content} in the tokenizer's chat template; open_answer appends the start of an assistant turn.

    Templates may insert today's date or start a reasoning block. The date is fixed and reasoning is off, so training
    and an evaluation months later see the same ids. Errors: PromptError.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise PromptError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template; omit --chat-template, or use the "
            "chat or instruct version of the model"
        )
    try:
        return tokenizer.apply_chat_template(
            chat,
            tokenize=False,
            add_generation_prompt=open_answer,
            enable_thinking=False,
            date_string="01 Jan 2024",
            # A macro in the template overrides the clock that the library provides.
            chat_template="{% macro strftime_now(_) %}01 Jan 2024{% endmacro %}" + tokenizer.get_chat_template(),
        )
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in chat)
        raise PromptError(f"the chat template of {tokenizer.name_or_path} rejects turns of {roles} ({error})") from None


def end_token(tokenizer, chat_template: bool = False) -> int:
    """The id that ends an answer: the tokenizer's end token, or with a chat template the one that ends a turn."""
    if not chat_template:
        return tokenizer.eos_token_id
    mark = "ANSWER"
    after = render_chat(tokenizer, "", mark).rpartition(mark)[2]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {*tokenizer.all_special_ids}
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((token for token in ids if token in special), tokenizer.eos_token_id)


def encode_completion(tokenizer, text: str) -> list[int]:
    """Token ids of a completion, encoded separately from its prompt, both in training and in evaluation."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def shorten_prompt(ids: list[int], longest: int) -> list[int]:
    """At most `longest` ids. The excess is cut left of the middle, which keeps the instruction at the start and the
    options at the end. If more must go than lies left of the middle, a quarter of the result is from the start."""
    over = len(ids) - longest
    if over <= 0:
        return ids
    start = max(len(ids) // 2 - over, longest // 4)
    return ids[:start] + ids[start + over :]
