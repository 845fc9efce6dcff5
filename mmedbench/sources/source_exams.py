"""Readers of the six exams behind MMedBench, each in its own raw format. Each reader's
docstring shows the format; `exam_rules.py` decides which questions are kept. A reader yields one Entry per question, in
file order. A malformed record becomes an excluded Entry; a malformed file raises InputError.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from mmedbench_questions import LETTERS
from run_record import InputError
from sources.exam_rules import Entry, broken_text, context_left_out, leave_out, make_entry
from sources.raw_files import DamagedRecord, TwiceNamed, exam_entries, field, json_lines, json_value, text_list

# RuMedDaNet answers yes or no; the released benchmark writes these two options.
YES_NO_RUSSIAN = ["да", "нет"]


def option_texts(options: dict, where: str, name: str = "options") -> list[str]:
    """The texts of {"A": ..., "B": ...} (either case, any order) by letter. Errors: DamagedRecord on a gap."""
    texts = {str(letter).upper(): text for letter, text in options.items()}
    if len(texts) != len(options) or sorted(texts) != list(LETTERS[: len(texts)]):
        raise DamagedRecord(
            where, "option_letters", f"{name}: expected the letters A, B, ... without a gap, found {', '.join(options)}"
        )
    for letter, text in texts.items():
        if not isinstance(text, str):
            raise DamagedRecord(where, "wrong_type", f"{name}.{letter}: expected a text, found {text!r:.80}")
    return [texts[letter] for letter in sorted(texts)]


def read_medqa(path: Path) -> Iterator[Entry]:
    """MedQA (US and Mainland China): lines {question, options {"A": ...}, answer, answer_idx "D", ...}."""
    return exam_entries(json_lines(path, mark_damage=True), _medqa_entry)


def _medqa_entry(where: str, record: dict) -> Entry:
    question = field(record, "question", str, where)
    options = option_texts(field(record, "options", dict, where), where)
    right = [part.strip().upper() for part in field(record, "answer_idx", str, where).split(",") if part.strip()]
    entry = make_entry(where, question, options, right, single=True)
    if entry.record and "answer" in record:
        answer = field(record, "answer", str, where)
        if answer != entry.record["options"][entry.record["answer_idx"]]:
            entry = leave_out(where, "answer_text_disagrees", f"{right[0]} against {answer[:40]!r};", question)
    return entry


def read_igakuqa(path: Path) -> Iterator[Entry]:
    """IgakuQA: lines {problem_id "112A12", problem_text, choices [...], text_only, answer ["d", "e"], points "1"}.

    Questions that need an image stay, as in the released benchmark, where they have choices to answer with; they
    are counted as `needs_an_image`. Six or eight choices stay too, whose keys go up to "h".
    """
    return exam_entries(json_lines(path, mark_damage=True), _igakuqa_entry)


def _igakuqa_entry(where: str, record: dict) -> Entry:
    question = field(record, "problem_text", str, where)
    choices = text_list(record, "choices", where)
    answers = [unicodedata.normalize("NFKC", text).strip() for text in text_list(record, "answer", where)]
    if not choices:
        return make_entry(where, question, [], answers, single=False)
    if str(record.get("points")).strip() == "0":
        return leave_out(where, "struck_from_scoring", f"{record.get('problem_id')};", question)
    if any(re.search(r"\bor\b", text, re.IGNORECASE) for text in answers):
        return leave_out(where, "alternative_answers", f"key {', '.join(answers)};", question)
    notes = ("needs_an_image",) if record.get("text_only") is False else ()
    return make_entry(where, question, choices, [text.upper() for text in answers], single=False, notes=notes)


def read_frenchmedmcqa(path: Path) -> Iterator[Entry]:
    """FrenchMedMCQA: a list of {id, question, answers {"a": ...}, correct_answers ["b", "c"], nbr_correct_answers}."""
    value = json_value(path, mark_damage=True)
    if not isinstance(value, list):
        raise InputError(f"{path}: expected a list of questions, found {type(value).__name__}")
    records = ((f"{path}: record {number}", record) for number, record in enumerate(value, start=1))
    return exam_entries(records, _frenchmedmcqa_entry)


def _frenchmedmcqa_entry(where: str, record: dict) -> Entry:
    question = field(record, "question", str, where)
    options = option_texts(field(record, "answers", dict, where), where, "answers")
    right = [text.strip().upper() for text in text_list(record, "correct_answers", where)]
    entry = make_entry(where, question, options, right, single=False)
    stated = record.get("nbr_correct_answers")
    if entry.record and stated is not None and stated != len(set(right)):
        return leave_out(where, "answer_count_disagrees", f"{len(set(right))} letters, {stated} stated;", question)
    return entry


def read_rumeddanet(path: Path) -> Iterator[Entry]:
    """RuMedDaNet: lines {context, question, answer "да" or "нет", pairID}.

    The record omits the context and has the options да and нет, both as in the released benchmark; contexts
    that are missing or damaged are counted as `without_context`.
    """
    return exam_entries(json_lines(path, mark_damage=True), _rumeddanet_entry)


def _rumeddanet_entry(where: str, record: dict) -> Entry:
    question = field(record, "question", str, where)
    answer = field(record, "answer", str, where).strip().casefold()
    right = [LETTERS[YES_NO_RUSSIAN.index(answer)]] if answer in YES_NO_RUSSIAN else [answer] if answer else []
    left_out = context_left_out(record)
    notes = ("without_context",) if "problem" in left_out else ()
    entry = make_entry(where, question, YES_NO_RUSSIAN, right, single=True, notes=notes)
    entry.left_out = left_out
    return entry


def read_headqa(path: Path) -> Iterator[Entry]:
    """HEAD-QA: {exams: {name: {data: [{qid, qtext, ra "2", answers [{aid 1, atext}], image}]}}}.

    Questions with an image stay, as in the released benchmark, and are counted as `needs_an_image`.
    """
    return exam_entries(_headqa_records(path), _headqa_entry)


def _headqa_records(path: Path) -> Iterator[tuple[str, object]]:
    value = json_value(path, mark_damage=True)
    exams = field(value, "exams", dict, str(path))
    for outer in (value, exams, *exams.values()):
        if isinstance(outer, TwiceNamed):
            raise InputError(f"{path}: the key {outer.twice!r} occurs twice in one object; repair the file")
    for name, exam in exams.items():
        for number, record in enumerate(field(exam, "data", list, f"{path}: {name}"), start=1):
            yield f"{path}: {name}, record {number}", record


def _headqa_entry(where: str, record: dict) -> Entry:
    question = field(record, "qtext", str, where)
    answers = field(record, "answers", list, where)
    numbers = [str(field(answer, "aid", int, where)) for answer in answers]
    if len(set(numbers)) != len(numbers):
        raise DamagedRecord(where, "option_letters", f"answers: one aid occurs twice ({', '.join(numbers)})")
    options = [field(answer, "atext", str, where) for answer in answers]
    keys = [key.strip() for key in str(record.get("ra") or "").split(",") if key.strip()]
    right = [LETTERS[numbers.index(key)] if key in numbers else key for key in keys]
    notes = ("needs_an_image",) if record.get("image") else ()
    return make_entry(where, question, options, right, single=True, notes=notes)


def read_layout(path: Path) -> Iterator[Entry]:
    """The released layout (and any exam brought in by hand): lines {question, options, answer_idx "A" or "A,C"},
    with rationale, human_checked, human_check_passed, source, context where there are any. See FORMAT.md."""
    return exam_entries(json_lines(path, mark_damage=True), _layout_entry)


def _layout_entry(where: str, record: dict) -> Entry:
    question = field(record, "question", str, where)
    options = option_texts(field(record, "options", dict, where), where)
    right = [part.strip() for part in field(record, "answer_idx", str, where).split(",") if part.strip()]
    return entry_with_origin(where, record, question, options, right)


def entry_with_origin(where: str, record: dict, question: str, options: list[str], right: list[str]) -> Entry:
    """A question with what may be beside it: context, rationale, source, human_checked, human_check_passed."""
    texts = {name: record.get(name) or "" for name in ("context", "rationale", "source")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DamagedRecord(where, "wrong_type", f"{name}: expected a text, found {text!r:.80}")
    marks = {name: record.get(name) for name in ("human_checked", "human_check_passed")}
    for name, mark in marks.items():
        if mark is not None and not isinstance(mark, bool):
            raise DamagedRecord(where, "wrong_type", f"{name}: expected true or false, found {mark!r:.80}")
    entry = make_entry(where, question, options, right, single=False, context=texts["context"])
    if entry.record and broken_text(texts["rationale"], texts["source"]):
        entry = leave_out(where, "nul_character", "in the rationale or source;", question)
    entry.source = texts["source"]
    entry.origin = {"rationale": texts["rationale"], **{name: bool(mark) for name, mark in marks.items()}}
    return entry
