"""Which raw exam questions become records, and the reasons for excluding others.

Every excluded record is counted and listed with its place and reason; nothing is guessed. README.md and the manifest
contain the texts of REASONS.
"""

from dataclasses import dataclass, field

from mmedbench_questions import LETTERS, check_record
from run_record import InputError

REASONS = {
    "no_choices": "asks for a number or a text, without options",
    "struck_from_scoring": "the examiners gave it no points, so its answer key is not reliable",
    "alternative_answers": 'the key accepts alternatives ("a or d"), which cannot be written as a set of letters',
    "empty_question": "the question text is blank",
    "blank_option": "an option is blank (its content was a picture or a lost table)",
    "fewer_than_two_options": "fewer than two options",
    "nul_character": "a text contains a NUL character or an unpaired surrogate: it is damaged",
    "no_answer": "the answer key is empty",
    "answer_outside_options": "the key names a letter or number that is not an option",
    "several_answers_in_a_single_answer_exam": "two right letters in a single-answer exam",
    "answer_text_disagrees": "the answer text is not that of the option that the key names",
    "ambiguous_answer": "the key is a letter and also the text of another option; `answer_idx` would decide",
    "answer_count_disagrees": "the number of right letters differs from the number in the record",
    "duplicate_key": "the record contains a key twice, so its value is ambiguous",
    "field_missing": "a required field is missing, such as the options",
    "wrong_type": "a field has the wrong type",
    "cells_disagree": "the row has more or fewer cells than the table has columns",
    "option_letters": "the option letters or numbers have a gap or a duplicate",
    "known_test_question": "a question of a --known-test folder, removed from Train or Dev",
    "duplicate": "another copy is kept (--remove-duplicates)",
}
# Reasons of damaged records, for which the exit code is 3.
DAMAGED = ("duplicate_key", "field_missing", "wrong_type", "cells_disagree", "option_letters")
LONG_QUESTION = 100_000  # characters; kept, and counted as `very_long_question`


@dataclass
class Entry:
    """One raw question: its place, and its record or the reason for its exclusion."""

    where: str  # path:line, or path: record N
    record: dict | None = None
    excluded: str = ""  # a key of REASONS when record is None
    detail: str = ""
    notes: tuple[str, ...] = ()  # counted in the manifest, such as "needs_an_image"
    source: str = ""
    language: str = ""
    split: str = ""
    released: bool = True  # the split is the source's own, not made here
    origin: dict = field(default_factory=dict)  # rationale and marks that came with the record
    left_out: dict = field(default_factory=dict)  # see context_left_out; empty where the record carries its context


def leave_out(where: str, reason: str, detail: str = "", text: str = "") -> Entry:
    """An excluded question; detail and the first words of the text help to find it."""
    assert reason in REASONS, reason
    line = " ".join(f"{detail} {text[:80]}".replace("\x00", "?").split())
    # An unpaired surrogate cannot be encoded as UTF-8.
    return Entry(where, excluded=reason, detail=line.encode("utf-8", "replace").decode("utf-8"))


def broken_text(*texts: str) -> bool:
    """True when a text contains a NUL or half a surrogate pair, which a UTF-8 file cannot contain."""
    return any("\x00" in text or any("\ud800" <= c <= "\udfff" for c in text) for text in texts)


def context_left_out(record: dict) -> dict:
    """{"context": text} of a raw record whose question omits it; null and a "problem" if it has none."""
    text, problem = record.get("context"), ""
    if text is None:
        problem = "absent"
    elif not isinstance(text, str):
        problem = f"not a text: {text!r:.40}"
    elif not text.strip():
        problem = "blank"
    elif broken_text(text):
        problem = "a NUL character or half a surrogate pair is in it"
    return {"context": None, "problem": problem} if problem else {"context": text}


def make_entry(
    where: str,
    question: str,
    options: list[str],
    right: list[str],
    *,
    single: bool,
    context: str = "",
    notes: tuple[str, ...] = (),
) -> Entry:
    """A question by the shared rules: options get the letters A, B, ... in their order.

    right: the key as letters "A", "B", ...; anything else counts as outside the options.
    single: the exam allows one right letter only.
    """
    if not options:
        return leave_out(where, "no_choices", f"key {', '.join(right)};", question)
    if len(options) > len(LETTERS):
        raise InputError(f"{where}: {len(options)} options are more than the {len(LETTERS)} letters there are")
    if broken_text(question, context, *options):
        return leave_out(where, "nul_character", "", question)
    if not question.strip():
        return leave_out(where, "empty_question")
    blank = [LETTERS[i] for i, text in enumerate(options) if not text.strip()]
    if blank:
        return leave_out(where, "blank_option", f"{', '.join(blank)};", question)
    if len(options) < 2:
        return leave_out(where, "fewer_than_two_options", "", question)
    letters = dict(zip(LETTERS, options, strict=False))
    answers = sorted(set(right))
    if not answers:
        return leave_out(where, "no_answer", "", question)
    if any(letter not in letters for letter in answers):
        return leave_out(where, "answer_outside_options", f"key {', '.join(answers)};", question)
    if single and len(answers) > 1:
        return leave_out(where, "several_answers_in_a_single_answer_exam", f"key {', '.join(answers)};", question)
    if len(question) > LONG_QUESTION:
        notes = (*notes, "very_long_question")
    record = {"question": question, "options": letters, "answer_idx": ",".join(answers)}
    if context:
        record["context"] = context
    return Entry(where, check_record(record), notes=notes)
