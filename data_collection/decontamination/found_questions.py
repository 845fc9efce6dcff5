"""The exam questions in a document, the passages to cut, and the search of one unit of documents.

Places of single units come from `contamination_kernel.py`; here it is decided which questions are there
(`contamination_match.py` says when) and how far their passages reach.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy

from decontamination.contamination_kernel import (
    COVERED,
    FIRST,
    LAST,
    UNIT,
    UNIT_FIRST,
    UNIT_LAST,
    covered_near,
    find_places,
    has_cjk,
    missing_from,
    possible_content,
)
from decontamination.contamination_match import (
    CHARACTERS,
    CONTEXT,
    GRAM,
    MIN_ALONE,
    MIN_TOGETHER,
    NEAR_GRAM,
    RATIONALE,
    SHORT,
    needed,
    slack,
    tokens,
    whole_share,
)
from decontamination.question_index import Index, parts_of, tokens_in
from executor.workers import run_units
from mmedbench_questions import read_questions
from readers.corpus_inputs import Unit, read_unit
from run_record import write_json

MAX_CUTS = 50  # rounds of cutting and searching again; what still contains a question then is dropped


class Found(NamedTuple):
    """A question in a document: its number, by what it was found, the share of that which is covered (0 to 1), and the
    passage: characters [start, end) of the text as it came."""

    question: int
    found_by: str
    coverage: float
    start: int
    end: int


class Finder:
    """Searches documents for the questions of an index."""

    def __init__(self, index: Index):
        self.index = index
        self._space = {
            way: (
                numpy.zeros(len(side.kind), numpy.int64),
                numpy.zeros(int(numpy.diff(side.offsets).max()), numpy.int64),
            )
            for way, side in index.sides.items()
        }

    def find(self, text: str) -> list[Found]:
        """The questions that are in a text, in order of their numbers."""
        found = []
        for way, side in self.index.sides.items():
            if way == CHARACTERS and not has_cjk(
                numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32)
            ):
                continue
            hashes, starts, ends = tokens_in(text, way)
            places = find_places(
                hashes,
                GRAM[way],
                side.bits,
                side.keys,
                side.slots,
                side.starts,
                side.post_unit,
                side.post_position,
                side.offsets,
                side.content,
                side.least,
                *self._space[way],
            )
            by_question = defaultdict(dict)
            for place in places:
                by_question[int(side.question[place[UNIT]])][int(place[UNIT])] = place
            document = _Document(text, (hashes, starts, ends), self.index, way)
            for question, of_one in by_question.items():
                if judged := document.judge(question, of_one):
                    found_by, coverage, first, last = judged
                    start, end = _with_marks(text, int(starts[first]), int(ends[last]))
                    found.append(Found(question, found_by, coverage, start, end))
        return sorted(found)

    def passages(self, text: str, found: list[Found]) -> list[list[int]] | None:
        """Spans [start, end) that together hold every question, and the rest none; None: hardly anything would stay."""
        stays, rest = numpy.ones(len(text), bool), text
        for _ in range(MAX_CUTS):
            if not found:
                break
            place = numpy.flatnonzero(stays)
            for one in found:
                stays[place[one.start] : place[one.end - 1] + 1] = False
            rest = "".join(c for c, kept in zip(text, stays, strict=True) if kept)
            found = self.find(rest)
        if found or not any(c.isalnum() for c in rest):
            return None
        edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([True], stays, [True]))))
        return edges.reshape(-1, 2).tolist()


class _Document:
    """The tokens (hashes, starts, ends) of a document in one way, as a question is judged by them."""

    def __init__(self, text: str, read: tuple, index: Index, way: str):
        self.text, self.way, self.index, self.side = text, way, index, index.sides[way]
        self.hashes, self.starts, self.ends = read

    def judge(self, question: int, places: dict[int, numpy.ndarray]) -> tuple[str, float, int, int] | None:
        """(found by, coverage, first token, last token) of a question whose units cover these places."""
        side = self.side
        units = side.units_of(question)
        stem = units[0]
        options = range(stem + 1, stem + 1 + len(self.index.questions[question]["options"]))
        contexts = [u for u in places if side.kind[u] == CONTEXT]
        if stem in places and (coverage := self._stem_coverage(question, stem, places[stem])):
            first, last = self._ends(places[stem])
            _, _, end = self._options(question, options, last + 1, last + 1 + self._room(options), 1)
            found_by, last = "stem", max(last, end)
        elif together := self._together(question, stem, options, places):
            found_by = "stem and options"
            coverage, first, last = together
        elif contexts:
            context = max(contexts, key=lambda u: (places[u][COVERED] / side.amount[u], -u))
            first, last = self._ends(places[context])
            return "context", float(places[context][COVERED] / side.amount[context]), first, last
        else:
            return None
        for u in units:
            if side.kind[u] == RATIONALE:
                last = max(last, self._rationale_end(u, last))
        return found_by, float(coverage), first, last

    def _stem_coverage(self, question: int, stem: int, place: numpy.ndarray) -> float:
        """The share of the stem that is here; 0 where it is not found without its options."""
        content = int(self.side.amount[stem])
        if content < MIN_ALONE[self.way]:
            return 0.0
        if content >= SHORT[self.way]:
            return float(place[COVERED] / content) if place[COVERED] >= needed(content) else 0.0
        hashes = self.side.tokens(stem)
        room = slack(len(hashes))
        low = max(0, int(place[FIRST]) - int(place[UNIT_FIRST]) - room)
        high = min(len(self.hashes), int(place[LAST]) + len(hashes) - int(place[UNIT_LAST]) + room)
        if missing_from(hashes, self.hashes[low:high]).sum() > self.side.unequal[stem]:
            return 0.0
        words = tokens(self.index.questions[question]["question"], self.way)
        return whole_share([t.text for t in words], self._words(low, high), self.way)

    def _room(self, units: range) -> int:
        """How many tokens may hold these units, their letters and some words between them."""
        size = int(self.side.offsets[units.stop] - self.side.offsets[units.start])
        return size + size // 2 + 3 * len(units) + 5

    def _ends(self, place: numpy.ndarray) -> tuple[int, int]:
        """The first and last token of a place, the unit's ends that are there in no distinct gram included."""
        unit, first, last = self.side.tokens(place[UNIT]), int(place[FIRST]), int(place[LAST])
        begin, end = first - int(place[UNIT_FIRST]), last - int(place[UNIT_LAST])
        for p in range(max(0, -begin), int(place[UNIT_FIRST])):
            if self.hashes[begin + p] == unit[p]:
                first = begin + p
                break
        for p in range(min(len(unit), len(self.hashes) - end) - 1, int(place[UNIT_LAST]), -1):
            if self.hashes[end + p] == unit[p]:
                last = end + p
                break
        return first, last

    def _options(self, question: int, options: range, low: int, high: int, least: int) -> tuple[int, int, int]:
        """(content covered by tokens [low, high), first and last token that covers it); no ends where little is.

        An option that stands whole (`whole_share`) is covered, typing errors or not. least: content below which the
        answer does not matter; 0 comes back then.
        """
        low = max(0, low)
        block = self.hashes[low:high]
        side, in_options = self.side, int(self.side.amount[options.start : options.stop].sum())
        if len(block) == 0:
            return 0, high, -1
        possible = possible_content(
            options.start, options.stop, side.offsets, side.hashes, side.content, side.amount, side.unequal, block
        )
        if possible == 0 or possible < least or 2 * possible < in_options:
            return 0, high, -1
        covered, places, passage = 0, numpy.zeros(len(block), bool), None
        for u, (_, text) in zip(options, sorted(self.index.questions[question]["options"].items()), strict=True):
            ours, theirs = covered_near(side.tokens(u), side.content_of(u), block, NEAR_GRAM[self.way])
            places |= theirs
            if not ours.all() and missing_from(side.tokens(u), block).sum() <= side.unequal[u]:
                passage = passage or self._words(low, low + len(block))
                if whole_share([t.text for t in tokens(text, self.way)], passage, self.way):
                    ours[:] = True
            covered += int((ours & side.content_of(u)).sum())
        if not places.any() or 2 * covered < in_options:
            return covered, high, -1
        where = numpy.flatnonzero(places)
        return covered, low + int(where[0]), low + int(where[-1])

    def _words(self, low: int, high: int) -> list[str]:
        """The texts of tokens [low, high)."""
        return [t.text for t in tokens(self.text[self.starts[low] : self.ends[high - 1]], self.way)]

    def _together(self, question: int, stem: int, options: range, places: dict) -> tuple[float, int, int] | None:
        """(coverage, first token, last token) where stem and options are covered together near one place."""
        side = self.side
        in_stem, in_options = int(side.amount[stem]), int(side.amount[options.start : options.stop].sum())
        enough = needed(in_stem + in_options)
        if in_stem + in_options < MIN_TOGETHER[self.way] or in_options == 0:
            return None
        room = self._room(options)
        if stem in places:
            first, last = self._ends(places[stem])
            of_stem = int(places[stem][COVERED])
            of_options, _, end = self._options(question, options, last + 1, last + 1 + room, enough - of_stem)
            last = max(last, end)
        else:
            leads = [u for u in options if u in places]
            if not leads:
                return None
            lead = max(leads, key=lambda u: (int(places[u][COVERED]), -u))
            first, last = self._ends(places[lead])
            of_options, begin, end = self._options(question, options, first - room, last + 1 + room, enough - in_stem)
            first, last = min(first, begin), max(last, end)
            low = max(0, first - self._room(range(stem, stem + 1)))
            ours, theirs = covered_near(
                side.tokens(stem), side.content_of(stem), self.hashes[low:first], NEAR_GRAM[self.way]
            )
            of_stem = int((ours & side.content_of(stem)).sum())
            if theirs.any():
                first = low + int(numpy.flatnonzero(theirs)[0])
        if 2 * of_stem < in_stem or 2 * of_options < in_options or of_stem + of_options < enough:
            return None
        return (of_stem + of_options) / (in_stem + in_options), first, last

    def _rationale_end(self, unit: int, last: int) -> int:
        """The last token of the rationale where it follows token `last`, else -1."""
        block = self.hashes[last + 1 : last + 1 + self._room(range(unit, unit + 1))]
        ours, theirs = covered_near(self.side.tokens(unit), self.side.content_of(unit), block, NEAR_GRAM[self.way])
        covered = int(ours.sum())
        return last + 1 + int(numpy.flatnonzero(theirs)[-1]) if covered and covered >= needed(len(ours)) else -1


def _with_marks(text: str, start: int, end: int) -> tuple[int, int]:
    """A span with the punctuation that touches it."""
    while start > 0 and not (text[start - 1].isalnum() or text[start - 1].isspace()):
        start -= 1
    while end < len(text) and not (text[end].isalnum() or text[end].isspace()):
        end += 1
    return start, end


BENCHMARK_STAGE = "benchmark"  # questions in the place of documents
COVERAGE_DIGITS = 4


def benchmark_units(folder: Path) -> list[Unit]:
    """Each file of a benchmark's folder as a unit."""
    return [Unit(folder, path.name, 0, path.stat().st_size) for path in sorted(folder.glob("*.jsonl"))]


def read_documents(unit: Unit, manifest: dict) -> Iterator[dict]:
    """The documents of a unit: corpus records, or questions with all their parts."""
    if manifest["stage"] != BENCHMARK_STAGE:
        yield from read_unit(unit, manifest)
        return
    for question in read_questions(unit.folder / unit.file):
        # A model is trained on the record, which omits such contexts.
        text = "\n".join(part for _, part in parts_of(question | {"left_out_contexts": []}))
        yield {"id": question["id"], "text": text, "language": question["language"], "source": unit.file}


def read_duplicates(folder: Path | None) -> numpy.ndarray:
    """The ids (as numbers, sorted) of the documents that deduplicate.py removes."""
    if folder is None:
        return numpy.empty(0, numpy.uint64)
    import pyarrow.parquet

    ids = pyarrow.parquet.read_table(folder / "duplicates.parquet", columns=["id"])["id"].to_pylist()
    return numpy.array(sorted(int(name, 16) for name in ids), numpy.uint64)


def search_units(
    work: dict[int, tuple[Unit, dict, Path]], index: Index, mode: str, duplicates: numpy.ndarray, workers: int
) -> None:
    """Search each (unit, its manifest, file for its result). Errors: see `executor.workers.run_units`."""
    if not work:
        return
    finder = Finder(index)
    finder.find("compiles the search, 検索")

    def describe(u: int, result: dict) -> str:
        unit, flagged = work[u][0], sum(result["flagged"].values())
        documents = f"{flagged} of {sum(result['documents'].values())} documents contain questions"
        return f"{unit.folder.name}/{unit.file}: {documents}, {result['bytes'] / 1e6:.1f} MB"

    run_units(functools.partial(search_unit, finder, mode, duplicates), work, workers, describe)


def search_unit(finder: Finder, mode: str, duplicates: numpy.ndarray, unit: Unit, manifest: dict, result: Path) -> dict:
    """Search a unit, write its result and return it."""
    documents, flagged, left_out, size = Counter(), Counter(), 0, 0
    matches, decisions = [], []
    for document in read_documents(unit, manifest):
        if len(duplicates) and _holds(duplicates, int(document["id"], 16)):
            left_out += 1
            continue
        documents[document["language"]] += 1
        size += len(document["text"].encode("utf-8", "replace"))
        found = finder.find(document["text"])
        if not found:
            continue
        flagged[document["language"]] += 1
        questions = finder.index.questions
        matches += [match_of(document, questions[one.question], one) for one in found]
        if mode != "report":
            decisions.append(decide(finder, mode, document, found))
    done = {
        "documents": dict(documents),
        "bytes": size,
        "left_out": left_out,
        "flagged": dict(flagged),
        "matches": matches,
        "decisions": decisions,
    }
    write_json(result, done)
    return done


def match_of(document: dict, question: dict, found: Found) -> dict:
    """A line of matches.jsonl."""
    return {
        "document": document["id"],
        "question_id": question["id"],
        "language": question["language"],
        "document_language": document["language"],
        "source": document["source"],
        "found_by": found.found_by,
        "span": [found.start, found.end],
        "coverage": round(found.coverage, COVERAGE_DIGITS),
    }


def decide(finder: Finder, mode: str, document: dict, found: list[Found]) -> dict:
    """A line of decisions.jsonl."""
    questions = sorted(finder.index.questions[one.question]["id"] for one in found)
    spans = finder.passages(document["text"], found) if mode == "cut" else None
    return {
        "id": document["id"],
        "action": "drop" if spans is None else "cut",
        "spans": spans or [],
        "questions": questions,
    }


def _holds(numbers: numpy.ndarray, number: int) -> bool:
    place = numpy.searchsorted(numbers, numpy.uint64(number))
    return place < len(numbers) and numbers[place] == number
