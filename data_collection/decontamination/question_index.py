"""The index of exam questions: their parts as tokens, which tokens count as content, n-gram tables.

Reads the benchmarks' files (`mmedbench_questions.py`, `question_index.py`) and the exam words of each language
(`exam_words/<iso>.txt`: words, in zh and ja phrases, that say nothing of what is asked).
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy

from decontamination.contamination_kernel import fill_table, grams_of, tokens_of
from decontamination.contamination_match import (
    CHARACTERS,
    CONTEXT,
    GRAM,
    MAX_QUESTIONS,
    MIN_ALONE,
    MIN_TOGETHER,
    OPTION,
    RATIONALE,
    STEM,
    WORDS,
    least_covered,
    most_unequal,
    way_of,
)
from filtering.text_folding import fold, folding_table
from mmedbench_questions import RecordError, read_split, unique_keys
from run_record import InputError, sha256_of_file

NAME = "left_out_contexts.jsonl"


class ContextFile(NamedTuple):
    """A file of contexts: path, SHA-256, and (question id, context or None) of each line."""

    path: Path
    sha256: str
    lines: list[tuple[str, str | None]]

    def used(self, ids: set[str]) -> list[tuple[str, str]]:
        """(id, context) of these questions."""
        return [(name, context) for name, context in self.lines if name in ids and context is not None]

    def facts(self, ids: set[str]) -> dict:
        """What the manifest says of it: how many contexts it gives to these questions, and of how many it has none."""
        missing = sum(name in ids and context is None for name, context in self.lines)
        return {
            "file": f"{self.path.parent.name}/{NAME}",
            "bytes": self.path.stat().st_size,
            "contexts": len(self.used(ids)),
            "without_text": missing,
        }


def read_contexts(folders: list[Path]) -> list[ContextFile]:
    """The files beside these folders of questions, each once, in order of their checksums.

    Errors: InputError with file and line for a broken one; for one inside a folder, where all files hold questions.
    """
    found = {}
    for folder in folders:
        if (folder / NAME).exists():
            raise InputError(f"{folder / NAME} stands among files of questions; its place is beside that folder")
        path = folder.resolve().parent / NAME
        if path.is_file():
            sha256 = sha256_of_file(path)
            found[sha256] = ContextFile(path, sha256, _lines_of(path))
    return [found[sha256] for sha256 in sorted(found)]


def _lines_of(path: Path) -> list[tuple[str, str | None]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); see mmedbench/FORMAT.md") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=unique_keys)
            wrong = _wrong(value)
        except (json.JSONDecodeError, RecursionError, RecordError) as error:
            wrong = f"not JSON as expected ({error})"
        if wrong:
            raise InputError(f"{path}:{number}: {wrong}; see mmedbench/FORMAT.md, or make the benchmark again")
        found.append((value["id"], value["context"]))
    return found


def _wrong(value: object) -> str | None:
    """What is wrong with a line ("field: ..."), or None."""
    if not isinstance(value, dict):
        return "expected a JSON object"
    name = value.get("id")
    if not isinstance(name, str) or len(name) != 16 or set(name) - set("0123456789abcdef"):
        return f"id: {name!r} is not 16 hex digits"
    if "context" not in value:
        return "context: missing"
    context = value["context"]
    if context is not None and (not isinstance(context, str) or not context.strip()):
        return "context: expected a text that is not blank, or null"
    if context and any("\ud800" <= c <= "\udfff" for c in context):
        return "context: half a character (a lone surrogate) is in it"
    return None


WORD_FOLDER = Path(__file__).parents[1] / "exam_words"
NEVER = numpy.int64(1) << 62


class Benchmarks(NamedTuple):
    """questions: records, one an id, in order of id, each with its `left_out_contexts`; files: {name: {"sha256",
    "bytes"}}; places: {id: [names]}; contexts: {SHA-256: facts} of the files these came from."""

    questions: list[dict]
    files: dict[str, dict]
    places: dict[str, list[str]]
    contexts: dict[str, dict]


class Side(NamedTuple):
    """The units of the questions that are compared in one way. Units of a question are together, in order of kind."""

    question: numpy.ndarray  # [units] int32: its question's number
    kind: numpy.ndarray  # [units] int8
    offsets: numpy.ndarray  # [units + 1] int64: where its tokens begin
    hashes: numpy.ndarray  # [tokens] uint64
    content: numpy.ndarray  # [tokens] bool
    amount: numpy.ndarray  # [units] int64: content tokens
    least: numpy.ndarray  # [units] int64: content that must be covered for a place to be looked at, or NEVER
    unequal: numpy.ndarray  # [units] int64: contamination_match.most_unequal of it
    bits: numpy.ndarray  # table of distinct grams, see contamination_kernel.find_places
    keys: numpy.ndarray
    slots: numpy.ndarray
    starts: numpy.ndarray
    post_unit: numpy.ndarray
    post_position: numpy.ndarray
    first_unit: dict[int, int]  # {question: its stem}

    def tokens(self, unit: int) -> numpy.ndarray:
        return self.hashes[self.offsets[unit] : self.offsets[unit + 1]]

    def content_of(self, unit: int) -> numpy.ndarray:
        return self.content[self.offsets[unit] : self.offsets[unit + 1]]

    def units_of(self, question: int) -> range:
        first = self.first_unit[question]
        return range(first, int(numpy.searchsorted(self.question, question, side="right")))


class Index(NamedTuple):
    """sides: {way: Side}, only ways that some question needs; questions: as given; ways: [questions]."""

    questions: list[dict]
    ways: list[str]
    sides: dict[str, Side]

    def searchable(self) -> list[str]:
        """Of each question how it can be found: "alone" (stem or context), "with options" only, "never" (too short)."""
        return [_searchable(self.sides[way], way, q) for q, way in enumerate(self.ways)]


def read_benchmarks(folders: list[Path]) -> Benchmarks:
    """The questions of folders such as MMedBench/Test. Errors: InputError with file and line for a broken one."""
    questions: dict[str, dict] = {}
    files: dict[str, dict] = {}
    places: dict[str, list[str]] = {}
    context_files = read_contexts(folders)
    for folder in folders:
        if (folder / "Test").is_dir():
            raise InputError(f"{folder} is a whole benchmark; give one of its folders, such as {folder / 'Test'}")
        try:
            split = read_split(folder)
        except RecordError as error:
            raise InputError(str(error)) from None
        for stem, records in split.items():
            path = folder / f"{stem}.jsonl"
            name = f"{folder.resolve().name}/{path.name}"
            if name in files:
                raise InputError(f"{folder}: another folder of that name has a {path.name} too; rename one of the two")
            files[name] = {"sha256": sha256_of_file(path), "bytes": path.stat().st_size}
            for record in records:
                questions.setdefault(record["id"], record | {"left_out_contexts": []})
                if name not in places.setdefault(record["id"], []):
                    places[record["id"]].append(name)
    contexts = {}
    for file in context_files:
        contexts[file.sha256] = file.facts(set(questions))
        for name, context in file.used(set(questions)):
            questions[name]["left_out_contexts"].append(context)
    ordered = [questions[name] for name in sorted(questions)]
    return Benchmarks(ordered, dict(sorted(files.items())), places, contexts)


def build_index(questions: list[dict]) -> Index:
    """The index of questions; about 0.1 ms per question."""
    ways = [way_of(question) for question in questions]
    sides = {
        way: _build_side(questions, [q for q, w in enumerate(ways) if w == way], way)
        for way in (WORDS, CHARACTERS)
        if way in ways
    }
    return Index(questions, ways, sides)


def tokens_in(text: str, way: str) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """(hashes, starts, ends) of the tokens of a text."""
    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32)
    return tokens_of(codes, *_table(), way == CHARACTERS)


@cache
def _table() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    return tuple(folding_table("bounded"))


def parts_of(question: dict) -> list[tuple[int, str]]:
    """(kind, text) of each unit of a question."""
    parts = [(STEM, question["question"])] + [(OPTION, text) for _, text in sorted(question["options"].items())]
    contexts = [question.get("context"), *question.get("left_out_contexts", ())]
    return parts + [
        (kind, text)
        for kind, text in (*((CONTEXT, text) for text in contexts), (RATIONALE, question.get("rationale")))
        if text
    ]


def _build_side(questions: list[dict], chosen: list[int], way: str) -> Side:
    units = [(q, kind, text) for q in chosen for kind, text in parts_of(questions[q])]
    question = numpy.array([q for q, _, _ in units], numpy.int32)
    kind = numpy.array([k for _, k, _ in units], numpy.int8)
    hashes = [tokens_in(text, way)[0] for _, _, text in units]
    offsets = numpy.zeros(len(units) + 1, numpy.int64)
    numpy.cumsum([len(h) for h in hashes], out=offsets[1:])
    tokens, n = numpy.concatenate(hashes), GRAM[way]
    grams, unit, position = grams_of(tokens, offsets, n)
    distinct = _distinct(grams, question[unit], kind[unit] != RATIONALE)
    languages = [questions[q]["language"] for q, _, _ in units]
    content = _covered(offsets, unit[distinct], position[distinct], n)
    content &= ~_exam_words_among(tokens, [text for _, _, text in units], languages, offsets, way)
    amount = numpy.diff(numpy.concatenate(([0], numpy.cumsum(content)))[offsets])
    least = numpy.full(len(units), NEVER)
    stem_alone = {}
    for u, (q, k, _) in enumerate(units):
        if k == STEM:
            stem_alone[q] = amount[u] >= MIN_ALONE[way]
        if k == OPTION and stem_alone[q]:
            continue  # the stem leads to the place
        if (enough := least_covered(k, int(amount[u]), way)) and offsets[u + 1] - offsets[u] >= n:
            least[u] = enough
    unequal = numpy.array([most_unequal(int(size), way) for size in numpy.diff(offsets)], numpy.int64)
    posted = distinct & (least[unit] < NEVER)
    return Side(
        question,
        kind,
        offsets,
        tokens,
        content,
        amount,
        least,
        unequal,
        *_table_of(grams[posted], unit[posted], position[posted]),
        {q: u for u, (q, k, _) in enumerate(units) if k == STEM},
    )


def _distinct(grams: numpy.ndarray, question: numpy.ndarray, counted: numpy.ndarray) -> numpy.ndarray:
    """[grams] bool: whether a gram is in the counted parts of at most MAX_QUESTIONS questions."""
    order = numpy.lexsort((question[counted], grams[counted]))
    values, asked = grams[counted][order], question[counted][order]
    new = numpy.ones(len(values), bool)
    new[1:] = (values[1:] != values[:-1]) | (asked[1:] != asked[:-1])
    distinct, questions = numpy.unique(values[new], return_counts=True)
    common = distinct[questions > MAX_QUESTIONS]
    return ~numpy.isin(grams, common)


def _covered(offsets: numpy.ndarray, unit: numpy.ndarray, position: numpy.ndarray, n: int) -> numpy.ndarray:
    """[tokens] bool: whether a token is in one of these grams; tokens of units shorter than a gram do."""
    covered = numpy.repeat(numpy.diff(offsets) < n, numpy.diff(offsets))
    for k in range(n):
        covered[offsets[unit] + position + k] = True
    return covered


def _table_of(grams: numpy.ndarray, unit: numpy.ndarray, position: numpy.ndarray) -> tuple:
    """(bits, keys, slots, starts, post_unit, post_position) of the grams to be looked for."""
    order = numpy.lexsort((position, unit, grams))
    values, first = numpy.unique(grams[order], return_index=True)
    size = 1 << max(4, int(2 * len(values)).bit_length())
    keys, slots = numpy.zeros(size, numpy.uint64), numpy.zeros(size, numpy.int32)
    bits = numpy.zeros(size // 8, numpy.uint64)  # 8 to 32 bits a gram
    fill_table(bits, keys, slots, values)
    return bits, keys, slots, numpy.append(first, len(order)).astype(numpy.int64), unit[order], position[order]


def _exam_words_among(
    tokens: numpy.ndarray, texts: list[str], languages: list[str], offsets: numpy.ndarray, way: str
) -> numpy.ndarray:
    """[tokens] bool: whether a token of the units' texts is an exam word, or in an exam phrase, of its language."""
    mask = numpy.zeros(len(tokens), bool)
    of_token = numpy.repeat(numpy.array(languages), numpy.diff(offsets))
    if way == WORDS:
        for language in set(languages):
            words = numpy.concatenate([tokens_in(word, way)[0] for word in exam_words(language)])
            mine = of_token == language
            mask[mine] = numpy.isin(tokens[mine], words)
        return mask
    patterns = {}
    for language in set(languages):
        phrases = sorted(set(map(_letters, exam_words(language))), key=lambda phrase: (-len(phrase), phrase))
        patterns[language] = re.compile("|".join(map(re.escape, phrases)))
    for text, language, begin in zip(texts, languages, offsets[:-1], strict=True):
        for phrase in patterns[language].finditer(_letters(text)):
            mask[begin + phrase.start() : begin + phrase.end()] = True
    return mask


def exam_words(language: str) -> list[str]:
    """The words or phrases of exam_words/<language>.txt; a line that begins with # is a comment."""
    lines = (WORD_FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split()]


def _letters(text: str) -> str:
    return fold(text).replace(" ", "").replace("_", "")


def _searchable(side: Side, way: str, question: int) -> str:
    units = side.units_of(question)
    alone = side.amount[units[0]] >= MIN_ALONE[way]
    if alone or any(side.kind[u] == CONTEXT and side.least[u] < NEVER for u in units):
        return "alone"
    together = sum(int(side.amount[u]) for u in units if side.kind[u] in (STEM, OPTION))
    leads = any(side.least[u] < NEVER for u in units)
    return "with options" if leads and together >= MIN_TOGETHER[way] else "never"
