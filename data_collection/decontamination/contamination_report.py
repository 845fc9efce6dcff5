"""The lists and the table that decontaminate.py writes (FORMAT.md)."""

import csv
import io
import json
from collections import Counter, defaultdict
from pathlib import Path

from decontamination.contamination_match import MAX_QUESTIONS
from decontamination.question_index import Benchmarks, Index
from run_record import describe_files, provenance, read_json, write_json, write_text

STAGE = "data_collection/decontaminate.py"
FORMAT_VERSION = 1
FOUND_BY = ("stem", "stem and options", "context")
MODES = ("report", "drop", "cut")
COLUMNS = ("file", "language", "questions", "found", *FOUND_BY, "only_with_options", "too_short")


def finish(
    out: Path,
    results: list[Path],
    benchmarks: Benchmarks,
    index: Index,
    arguments: dict,
    inputs: dict,
    argv: list[str] | None,
) -> dict:
    """Write the lists of all units' results and, last, the manifest; returns that."""
    units = [read_json(path) for path in results]
    # A document that came in twice is one: its id stands for its text.
    matches = {(m["document"], m["question_id"]): m for unit in reversed(units) for m in reversed(unit["matches"])}
    matches = [matches[key] for key in sorted(matches)]
    decisions = {d["id"]: d for unit in reversed(units) for d in reversed(unit["decisions"])}
    found = found_questions(matches, arguments["mode"])
    table = contamination_table(benchmarks, index, {line["question_id"]: line for line in found})
    written = {"matches.jsonl": _lines(matches), "contamination.jsonl": _lines(found), "contamination.csv": _csv(table)}
    if arguments["mode"] != "report":
        written["decisions.jsonl"] = _lines(decisions[name] for name in sorted(decisions))
    for name, text in written.items():
        write_text(out / name, text)
    documents, flagged = (sum((Counter(unit[key]) for unit in units), Counter()) for key in ("documents", "flagged"))
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": STAGE,
        "arguments": arguments,
        "inputs": inputs,
        "benchmark": benchmarks.files,
        "left_out_contexts": benchmarks.contexts,
        "table": table,
        "counts": {iso: {"documents": documents[iso], "with_questions": flagged[iso]} for iso in sorted(documents)},
        "bytes": sum(unit["bytes"] for unit in units),
        "left_out_as_duplicates": sum(u["left_out"] for u in units),
        "questions_found": len(found),
        "matches": len(matches),
        "decisions": dict(sorted(Counter(d["action"] for d in decisions.values()).items())),
        "gram_in_questions_at_most": MAX_QUESTIONS,
        "files": describe_files(out, [out / name for name in written]),
        "parent": list(inputs),
        "provenance": provenance(argv),
    }
    write_json(out / "manifest.json", manifest)
    return manifest


def found_questions(matches: list[dict], mode: str) -> list[dict]:
    """The lines of contamination.jsonl, in order of question: of each the match that covers most.

    A match by its context alone is second to any other, so that "context" says: nothing else of it was found.
    """
    by_question = defaultdict(list)
    for match in matches:
        by_question[match["question_id"]].append(match)
    lines = []
    for name in sorted(by_question):
        best = max(by_question[name], key=lambda m: (m["found_by"] != "context", m["coverage"]))
        lines.append(
            {
                "question_id": name,
                "language": best["language"],
                "coverage": best["coverage"],
                "documents": len({m["document"] for m in by_question[name]}),
                "mode": mode,
                "found_by": best["found_by"],
            }
        )
    return lines


def contamination_table(benchmarks: Benchmarks, index: Index, found: dict[str, dict]) -> list[dict]:
    """A row per benchmark file and language: how many of its questions were found, how, and how many cannot be."""
    rows: dict[tuple[str, str], Counter] = {}
    for question, how in zip(benchmarks.questions, index.searchable(), strict=True):
        for name in benchmarks.places[question["id"]]:
            row = rows.setdefault((name, question["language"]), Counter())
            row["questions"] += 1
            row["only_with_options"] += how == "with options"
            row["too_short"] += how == "never"
            if line := found.get(question["id"]):
                row["found"] += 1
                row[line["found_by"]] += 1
    return [
        {"file": name, "language": language, **{column: row[column] for column in COLUMNS[2:]}}
        for (name, language), row in sorted(rows.items())
    ]


def report(manifest: dict) -> int:
    """Print the table as Markdown and the documents by language; returns the exit code."""
    print(
        "| benchmark | language | questions | found | by stem | with options | by context | only with options | "
        "too short |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in manifest["table"]:
        share = f"{row['found']} ({100 * row['found'] / row['questions']:.1f} %)"
        cells = [row["file"], row["language"], row["questions"], share, *(row[c] for c in COLUMNS[4:])]
        print("| " + " | ".join(map(str, cells)) + " |")
    for language, row in manifest["counts"].items():
        print(f"{language}: {row['with_questions']} of {row['documents']} documents hold questions")
    if manifest["left_out_as_duplicates"]:
        print(f"omitted as near duplicates: {manifest['left_out_as_duplicates']} documents")
    for action, count in manifest["decisions"].items():
        print(f"to {action}: {count} documents")
    return 0


def _lines(values) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _csv(table: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
