"""Recognise exams in a folder tree by their fields and file names; readers of the English benchmarks.

Folder names matter only for the released layout: files named by language in Train/, Dev/ or Test/, and the files of
English_benchmarks/ beside them. Tables with the columns of generic_source.py, and JSONL files with a language in their
name, are the generic source.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, LETTERS
from run_record import InputError
from sources.exam_rules import Entry, make_entry
from sources.generic_source import SPLIT_WORDS, canonical, language_of_name, source_name, table_delimiter
from sources.raw_files import csv_rows, exam_entries, field, json_lines, json_value, parse_json

SPLITS = ("Train", "Dev", "Test")
HEAD_BYTES = 1 << 22  # enough to see every field of the first records, one of 2 MB included

# family -> (file ending, the fields that only its records hold). A field counts as held when it is in quotes.
FAMILIES = {
    "igakuqa": (".jsonl", ("problem_id", "problem_text", "choices")),
    "rumeddanet": (".jsonl", ("pairID", "context", "question")),
    "medqa": (".jsonl", ("question", "options", "answer_idx")),
    "frenchmedmcqa": (".json", ("question", "answers", "correct_answers")),
    "headqa": (".json", ("exams", "qtext")),
    "medmcqa": (".json", ("opa", "opb", "opc", "opd", "cop")),
    "pubmedqa": (".json", ("QUESTION", "CONTEXTS", "final_decision")),
}
# Family -> (the name in `source`, language). MedQA's language is detected from the script: see `_medqa_language`.
EXAMS = {
    "igakuqa": ("IgakuQA", "ja"),
    "rumeddanet": ("RuMedDaNet", "ru"),
    "frenchmedmcqa": ("FrenchMedMCQA", "fr"),
    "headqa": ("HEAD-QA", "es"),
    "medmcqa": ("MedMCQA", "en"),
    "pubmedqa": ("PubMedQA", "en"),
    "mmlu": ("MMLU", "en"),
}
MEDQA = {"en": "MedQA (US)", "zh": "MedQA (Mainland China)"}
PUBMEDQA_TEST_IDS = "test_ground_truth.json"  # read together with PubMedQA's questions
BENCHMARK_FAMILIES = ("medmcqa", "pubmedqa", "mmlu", "benchmark")


@dataclass(frozen=True)
class SourceFile:
    """One recognised file; split is "" where the source has none (IgakuQA), split and language where its records say
    them (the generic source)."""

    path: Path
    family: str
    source: str
    language: str
    split: str


def find_sources(root: Path, only: Path | None = None) -> tuple[list[SourceFile], list[Path]]:
    """(recognised files in path order, other data files that were left alone); only: look at this one file of root.

    Errors: InputError if root is not a folder, a split is not determined, or two files claim one split of one exam.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give the folder that contains the exams (see mmedbench/README.md)")
    found, others = [], []
    for path in [only] if only else files_below(root):
        source = _layout_file(path, root) or _exam_file(path)
        if source and _is_medqa_twice(source):
            continue  # Test/English.jsonl holds these questions, and gives them to English_benchmarks/ again
        if source:
            found.append(source)
        elif path.suffix in (".json", ".jsonl", ".csv", ".tsv") and path.name != PUBMEDQA_TEST_IDS:
            others.append(path)
    claims = Counter((file.source, file.language, file.split) for file in found if file.split)
    for (name, language, split), count in sorted(claims.items()):
        if count > 1:
            files = [str(f.path) for f in found if (f.source, f.language, f.split) == (name, language, split)]
            raise InputError(
                f"{count} files claim the {split} questions of {name} ({language}): {', '.join(files)}; "
                "leave one of them"
            )
    return found, others


def files_below(root: Path) -> list[Path]:
    """Every file below root in path order, hidden ones omitted; links to folders are followed, each folder once."""
    seen, files = set(), []
    for folder, names, files_here in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        names[:] = sorted(name for name in names if not name.startswith(".")) if real not in seen else []
        files += [Path(folder) / name for name in files_here if not name.startswith(".")] if real not in seen else []
        seen.add(real)
    return sorted(path for path in files if path.is_file())


def split_of_name(path: Path) -> str:
    """Train, Dev or Test as the file's name says it, or ""."""
    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLIT_WORDS]
    return SPLIT_WORDS[words[-1]] if words else ""


def _layout_file(path: Path, root: Path) -> SourceFile | None:
    """A file of the released layout: <any folder>/Train/English.jsonl."""
    if path.suffix != ".jsonl" or path.parent.name not in (*SPLITS, "English_benchmarks") or path.parent == root:
        return None
    if path.parent.name == "English_benchmarks":
        return SourceFile(path, "benchmark", path.stem, "en", "English_benchmarks")
    language = {name: code for code, name in LANGUAGE_FILES.items()}.get(path.name)
    if language is None:
        raise InputError(
            f"{path}: in a {path.parent.name} folder files are named by language: {', '.join(LANGUAGE_FILES.values())}"
        )
    folder = path.parent.parent
    name = folder.name if folder != root else "MMedBench"
    return SourceFile(path, "layout", name, language, path.parent.name)


def _is_medqa_twice(source: SourceFile) -> bool:
    if (source.family, source.path.name) != ("benchmark", "MedQA.jsonl"):
        return False
    return (source.path.parent.parent / "Test" / "English.jsonl").is_file()


def _head(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES).decode("utf-8", errors="replace")


def _first_fields(head: str) -> set[str]:
    """The fields of the first line's record; none where it cannot be read (its reader will say why)."""
    try:
        record = parse_json(head.removeprefix("\ufeff").lstrip().split("\n", 1)[0])
    except ValueError:
        return set()
    return set(record) if isinstance(record, dict) else set()


def _exam_file(path: Path) -> SourceFile | None:
    """A file of one of the exams in its raw format, by the fields in its first 4 MiB."""
    if path.suffix in (".csv", ".tsv"):
        if table_delimiter(_head(path)):
            return SourceFile(path, "generic", source_name(path), "", "")
        named = path.suffix == ".csv" and path.stem.endswith("_test")
        looks = named and re.search(r',"?[A-D]"?\r?$', _head(path), re.MULTILINE)
        return SourceFile(path, "mmlu", f"MMLU {path.stem.removesuffix('_test')}", "en", "Test") if looks else None
    if path.suffix not in (".json", ".jsonl"):
        return None
    head = _head(path)
    for family, (ending, names) in FAMILIES.items():
        if path.suffix != ending or not all(f'"{name}"' in head for name in names):
            continue
        if family == "medqa" and ("language" in _first_fields(head) or language_of_name(path) not in ("", *MEDQA)):
            break  # MedQA's fields, and more, or in another language: somebody's own exam
        language = _medqa_language(path, head) if family == "medqa" else EXAMS[family][1]
        source = MEDQA[language] if family == "medqa" else EXAMS[family][0]
        # PubMedQA's file contains every split and a list beside it names the test; IgakuQA has no split at all.
        split = {"igakuqa": "", "pubmedqa": "Test"}.get(family, split_of_name(path))
        if not split and path.stem == "MedQA-MCMLE":
            split = "Test"  # the mainland test split, under the name it circulates by
        if not split and family != "igakuqa":
            raise InputError(
                f"{path} holds {source} questions, but its name says neither train, dev nor test; "
                "rename it, for example to test" + path.suffix
            )
        if family in BENCHMARK_FAMILIES and split != {"medmcqa": "Dev"}.get(family, "Test"):
            return None
        return SourceFile(path, family, source, language, split)
    fields = {canonical(name) for name in _first_fields(head)} if path.suffix == ".jsonl" else set()
    if "question" in fields and fields & {"answer", "answer_idx"} and fields & {"A", "options"}:
        return SourceFile(path, "generic", source_name(path), "", "")
    return None


def _medqa_language(path: Path, head: str) -> str:
    """MedQA's files look alike: Chinese characters distinguish the mainland exam from the US one.

    Errors: InputError for a third script, which is neither.
    """
    if len(re.findall(r"[\u0400-\u04ff\u0600-\u06ff\u3040-\u30ff]", head)) > len(head) / 20:
        raise InputError(
            f"{path} has MedQA's fields, but neither English nor Chinese text; say the language in its "
            f"name, for example {path.stem}_ar{path.suffix}"
        )
    return "zh" if len(re.findall(r"[\u4e00-\u9fff]", head)) > len(head) / 20 else "en"


DECISIONS = ["yes", "no", "maybe"]


def read_medmcqa(path: Path) -> Iterator[Entry]:
    """MedMCQA: lines {question, opa, opb, opc, opd, cop (1-based), exp}; always one right letter.

    (`choice_type` "multi" speaks of the question's style, not of several answers; `exp` is not a rationale of
    MMedBench's kind and is omitted.)
    """
    return exam_entries(json_lines(path, mark_damage=True), _medmcqa_entry)


def _medmcqa_entry(where: str, record: dict) -> Entry:
    options = [field(record, name, str, where) for name in ("opa", "opb", "opc", "opd")]
    key = field(record, "cop", int, where)
    right = [LETTERS[key - 1]] if 1 <= key <= len(options) else [str(key)]
    return make_entry(where, field(record, "question", str, where), options, right, single=True)


def read_pubmedqa(path: Path) -> Iterator[Entry]:
    """PubMedQA: {pmid: {QUESTION, CONTEXTS [...], final_decision}} and, beside it, the list of the test's pmids.

    The abstract's paragraphs become `context`, one per line. Errors: InputError when the list of ids is missing or
    does not fit.
    """
    questions, ids = json_value(path), json_value(path.with_name(PUBMEDQA_TEST_IDS))
    if not isinstance(questions, dict) or not isinstance(ids, dict):
        raise InputError(f"{path}: expected an object by pmid here and in {PUBMEDQA_TEST_IDS}")
    for pmid, decision in ids.items():
        where = f"{path}: pmid {pmid}"
        if pmid not in questions:
            raise InputError(f"{where} is in {PUBMEDQA_TEST_IDS} only; take both files from one release")
        record = questions[pmid]
        key = field(record, "final_decision", str, where).strip().lower()
        if key != str(decision).strip().lower():
            raise InputError(f"{where}: final_decision is {key!r}, but {decision!r} in {PUBMEDQA_TEST_IDS}")
        context = "\n".join(field(record, "CONTEXTS", list, where))
        right = [LETTERS[DECISIONS.index(key)]] if key in DECISIONS else [key]
        yield make_entry(where, field(record, "QUESTION", str, where), DECISIONS, right, single=True, context=context)


def read_mmlu(path: Path) -> Iterator[Entry]:
    """MMLU: CSV without a header: question, four options, letter."""
    for where, row in csv_rows(path):
        if len(row) != 6:
            raise InputError(f"{where}: expected question, four options and a letter, found {len(row)} cells")
        yield make_entry(where, row[0], row[1:5], [row[5].strip().upper()] if row[5].strip() else [], single=True)
