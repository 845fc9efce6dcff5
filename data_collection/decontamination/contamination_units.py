"""Search units of documents for exam questions, in processes of their own; what decontaminate.py does with each unit.

A unit's result is one JSON file, written whole: `documents`, `bytes`, `left_out`, `flagged` (by language), `matches`
and `decisions` as FORMAT.md says.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy

from decontamination.found_questions import Finder, Found
from decontamination.question_index import Index, parts_of
from executor.workers import run_units
from mmedbench_questions import read_questions
from readers.corpus_inputs import Unit, read_unit
from run_record import write_json

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
