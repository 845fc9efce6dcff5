"""The prompt for a rationale, the ledger key of its answer, and the checks that an answer must pass.

The prompt is a Jinja file (`prompts/rationale.jinja`, or --prompt) with the fields question, options, answer (letters),
context, language, language_name. It is rendered in a sandbox; an unknown name is an error.
"""

import hashlib
import json
import re
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, answer_letters
from run_record import InputError
from sources.exam_rules import broken_text

PROMPT = Path(__file__).resolve().parents[1] / "prompts" / "rationale.jinja"
# Letters of the script of each language. Languages in Latin script cannot be distinguished by script; the two reviewers
# check that.
SCRIPTS = {
    "zh": r"[\u3400-\u9fff]",
    "ja": r"[\u3040-\u30ff\u3400-\u9fff]",
    "ru": r"[\u0400-\u04ff]",
    "ar": r"[\u0600-\u06ff]",
    **dict.fromkeys(("en", "fr", "es", "de"), r"[A-Za-z\u00c0-\u024f]"),
}
SCRIPT_SHARE = 0.4  # of all letters: names of drugs and genes are in Latin script in every language
UNUSABLE = {
    "empty_text": "the answer contains no text",
    "cut_off": "the answer reached --max-tokens before its end",
    "damaged_text": "the answer contains a NUL character or an unpaired surrogate",
    "markup": "the answer is an HTML page, not a rationale",
    "other_language": "most of the answer is not in the script of the question's language",
    "withheld": "the model or the server's filter refused to answer",
}


class RationalePrompt:
    """A prompt file, read once."""

    def __init__(self, path: Path):
        """Errors: InputError if the file cannot be read or is not a template."""
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        try:
            text = path.read_text(encoding="utf-8-sig")
            environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False)
            self._template = environment.from_string(text)
        except OSError as error:
            raise InputError(f"--prompt {path}: {error.strerror}; give a Jinja file") from None
        except (TemplateError, UnicodeDecodeError) as error:
            raise InputError(f"--prompt {path}:{getattr(error, 'lineno', 1)}: not a Jinja template ({error})") from None
        self.path, self.sha256 = path, hashlib.sha256(text.encode("utf-8")).hexdigest()

    def messages(self, record: dict) -> list[dict[str, str]]:
        """The chat messages of one question. Errors: InputError if the template does not fit the record."""
        from jinja2 import TemplateError

        language = record["language"]
        try:
            text = self._template.render(
                question=record["question"],
                options=record["options"],
                answer=answer_letters(record),
                context=record.get("context") or "",
                language=language,
                language_name=LANGUAGE_FILES[language].removesuffix(".jsonl"),
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InputError(f"--prompt {self.path}: does not fit question {record['id']} ({error})") from None
        return [{"role": "user", "content": text}]


def content_key(model: str, temperature: float | None, question_id: str, messages: list[dict[str, str]]) -> str:
    """The SHA-256 (hex) of model, temperature, question id and messages; the server's address is not part of it.

    The id is included for prompts that omit a part of the question, so that no two questions share a key.
    """
    value = json.dumps([model, temperature, question_id, messages], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(value.encode("utf-8")).hexdigest()


def clean_text(text: str) -> str:
    """The rationale in an answer: stripped, without the reasoning that some servers leave in front of it."""
    return re.sub(r"^\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()


def why_unusable(text: str, finish_reason: str, language: str) -> str:
    """A key of UNUSABLE, or "" for a cleaned text that is usable as a rationale."""
    if finish_reason == "content_filter":
        return "withheld"
    if finish_reason == "length" or text.startswith("<think>"):
        return "cut_off"
    if not text:
        return "empty_text"
    if broken_text(text):
        return "damaged_text"
    if re.match(r"<(!doctype|html|head|body)\b", text, re.IGNORECASE):
        return "markup"
    letters = sum(character.isalpha() for character in text)
    own = len(re.findall(SCRIPTS[language], text))
    return "other_language" if own < SCRIPT_SHARE * letters or not letters else ""


def judge(reply: dict, language: str) -> tuple[str, str]:
    """(rationale, key of UNUSABLE or "") of a reply as endpoint_client.read_reply returns it."""
    text = clean_text(reply["text"])
    if reply.get("damaged") and reply["finish"] not in ("content_filter", "length"):
        return text, "damaged_text"
    return text, why_unusable(text, "content_filter" if reply["refused"] else reply["finish"], language)
