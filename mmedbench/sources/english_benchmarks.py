"""The English benchmarks of the paper beside MMedBench: MedQA, MedMCQA, PubMedQA and six medical MMLU subjects.

They go to `English_benchmarks/`, one file a benchmark: MedQA.jsonl (the US test questions of MMedBench, again),
MedMCQA.jsonl (its dev split: the test split has no public key), PubMedQA.jsonl (with the abstract in `context`),
MMLU_<subject>.jsonl. The record is MMedBench's.
"""

from collections.abc import Iterator
from pathlib import Path

from mmedbench_questions import LETTERS
from run_record import InputError
from sources.exam_rules import Entry, make_entry
from sources.find_sources import PUBMEDQA_TEST_IDS as TEST_IDS
from sources.raw_files import csv_rows, exam_entries, field, json_lines, json_value

DECISIONS = ["yes", "no", "maybe"]


def read_medmcqa(path: Path) -> Iterator[Entry]:
    """MedMCQA: lines {question, opa, opb, opc, opd, cop (1-based), exp}; always one right letter.

    (`choice_type` "multi" speaks of the question's style, not of several answers; `exp` is not a rationale of
    MMedBench's kind and is left out.)
    """
    return exam_entries(json_lines(path, mark_damage=True), _medmcqa_entry)


def _medmcqa_entry(where: str, record: dict) -> Entry:
    options = [field(record, name, str, where) for name in ("opa", "opb", "opc", "opd")]
    key = field(record, "cop", int, where)
    right = [LETTERS[key - 1]] if 1 <= key <= len(options) else [str(key)]
    return make_entry(where, field(record, "question", str, where), options, right, single=True)


def read_pubmedqa(path: Path) -> Iterator[Entry]:
    """PubMedQA: {pmid: {QUESTION, CONTEXTS [...], final_decision}} and, beside it, the list of the test's pmids.

    The abstract's paragraphs become `context`, one a line. Errors: InputError when the list of ids is missing or
    does not fit.
    """
    questions, ids = json_value(path), json_value(path.with_name(TEST_IDS))
    if not isinstance(questions, dict) or not isinstance(ids, dict):
        raise InputError(f"{path}: expected an object by pmid here and in {TEST_IDS}")
    for pmid, decision in ids.items():
        where = f"{path}: pmid {pmid}"
        if pmid not in questions:
            raise InputError(f"{where} stands in {TEST_IDS} only; take both files from one release")
        record = questions[pmid]
        key = field(record, "final_decision", str, where).strip().lower()
        if key != str(decision).strip().lower():
            raise InputError(f"{where}: final_decision is {key!r}, but {decision!r} in {TEST_IDS}")
        context = "\n".join(field(record, "CONTEXTS", list, where))
        right = [LETTERS[DECISIONS.index(key)]] if key in DECISIONS else [key]
        yield make_entry(where, field(record, "QUESTION", str, where), DECISIONS, right, single=True, context=context)


def read_mmlu(path: Path) -> Iterator[Entry]:
    """MMLU: CSV without a header: question, four options, letter."""
    for where, row in csv_rows(path):
        if len(row) != 6:
            raise InputError(f"{where}: expected question, four options and a letter, found {len(row)} cells")
        yield make_entry(where, row[0], row[1:5], [row[5].strip().upper()] if row[5].strip() else [], single=True)
