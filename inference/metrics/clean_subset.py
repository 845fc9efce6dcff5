"""Accuracy on the questions that were not found in the training corpus, beside the accuracy on all of them.

Reads   a contamination report (data_collection writes it, inference/FORMAT.md says what is read here):
        contamination.jsonl, a line {question_id, language, coverage, documents, mode} for each question that was found,
        and manifest.json, which is written last
Example python inference/eval.py --model checkpoints/finetuned --score-only --contamination DIR

`coverage` is the share of the question that stands in the corpus, 0 to 1. A question counts as contaminated from
--contamination-coverage on; one that the report does not name was not found.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from metrics.accuracy import macro_average, micro_average, wilson_interval
from mmedbench_questions import LANGUAGE_FILES, read_split
from run_record import InputError, describe_files, read_json, sha256_of_file

FIELDS = {"question_id": str, "language": str, "coverage": (int, float), "documents": (int, list), "mode": str}


@dataclass
class ContaminationReport:
    """coverage: {question id: its coverage}; sha256: of contamination.jsonl."""

    coverage: dict[str, float]
    sha256: str

    def holds(self, row: dict, threshold: float) -> bool:
        """Whether the question of a prediction is contaminated."""
        return self.coverage.get(row["id"], -1.0) >= threshold


def read_contamination(folder: Path, data: Path) -> ContaminationReport:
    """A finished report about the questions of the split `data`.

    Errors: InputError for a report that is half-made, changed, broken (with file:line), or of another benchmark. A
    manifest whose `benchmark` lists the searched files with their SHA-256 proves what was searched; without it every
    id must be one of the data's, and at least one must stand there.
    """
    path = folder / "contamination.jsonl"
    if not (folder / "manifest.json").exists():
        raise InputError(
            f"{folder} has no manifest.json: no contamination report, or one that is half-made; let "
            "data_collection/decontaminate.py finish it"
        )
    manifest = read_json(folder / "manifest.json")
    if not path.exists():
        raise InputError(f"{path} is missing; make the report again with data_collection/decontaminate.py")
    sha256 = sha256_of_file(path)
    said = _digest(manifest.get("files"), path.name)
    if said not in (None, sha256):
        raise InputError(f"{path} is not the file that {folder}/manifest.json was written for; make the report again")
    coverage = _read_lines(path)
    searched = manifest.get("benchmark")
    if isinstance(searched, dict):
        digests = {_digest(searched, name) for name in searched}
        for name, facts in describe_files(data, data.glob("*.jsonl")).items():
            if facts["sha256"] not in digests:
                raise InputError(
                    f"{folder} is a report of another benchmark: its manifest does not list {data / name} as it is "
                    "now; make a report of this test set"
                )
    else:
        known = {record["id"] for records in read_split(data).values() for record in records}
        strange = next((number for name, (number, _) in coverage.items() if name not in known), None)
        if strange is not None:
            raise InputError(f"{path}:{strange}: no question of {data} has this id; give the report of this test set")
        if not coverage:
            raise InputError(f"{path} names no question, and its manifest does not say which benchmark was searched")
    return ContaminationReport({name: value for name, (_, value) in coverage.items()}, sha256)


def _digest(files: object, name: str) -> str | None:
    """The SHA-256 that a manifest gives of a file; None where it gives none."""
    facts = files.get(name) if isinstance(files, dict) else None
    return facts.get("sha256") if isinstance(facts, dict) else None


def _read_lines(path: Path) -> dict[str, tuple[int, float]]:
    """{question id: (line, coverage)}. Errors: InputError with the line."""
    found: dict[str, tuple[int, float]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); see inference/FORMAT.md") from None
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line:
            break
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error}); see inference/FORMAT.md") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object; see inference/FORMAT.md")
        for field, kinds in FIELDS.items():
            if not isinstance(row.get(field), kinds) or isinstance(row[field], bool):
                raise InputError(f"{where}: {field}: missing or of another kind; see inference/FORMAT.md")
        if row["language"] not in LANGUAGE_FILES:
            raise InputError(f"{where}: language: {row['language']!r} is none of {', '.join(LANGUAGE_FILES)}")
        if math.isnan(row["coverage"]) or not 0 <= row["coverage"] <= 1:
            raise InputError(f"{where}: coverage: {row['coverage']} is no share between 0 and 1")
        if row["question_id"] in found:
            first = found[row["question_id"]][0]
            raise InputError(f"{where}: question_id: stands on line {first} already; leave one line a question")
        found[row["question_id"]] = number, float(row["coverage"])
    return found


def clean_scores(rows: list[dict]) -> dict:
    """{"scores": by key n, right, accuracy and interval of clean questions; "macro"; "micro"} of marked predictions.

    `contaminated` and `contaminated_right` count the others. Accuracy and interval are per cent, None where no question
    is clean; such a language is in neither average.
    """
    scores = {}
    for key in dict.fromkeys(row["key"] for row in rows):
        mine = [(row["contaminated"], row["letters"] == row["gold"]) for row in rows if row["key"] == key]
        n, right = sum(not bad for bad, _ in mine), sum(hit for bad, hit in mine if not bad)
        low, high = wilson_interval(right, n) if n else (None, None)
        scores[key] = {
            "n": n,
            "right": right,
            "accuracy": round(100 * right / n, 2) if n else None,
            "ci95": [round(100 * low, 2), round(100 * high, 2)] if n else None,
            "contaminated": len(mine) - n,
            "contaminated_right": sum(hit for bad, hit in mine if bad),
        }
    some = {key: s for key, s in scores.items() if s["n"]}
    averages = (macro_average(some), micro_average(some)) if some else (None, None)
    return {"scores": scores, "macro": averages[0], "micro": averages[1]}


def clean_table(clean: dict, whole: dict[str, dict]) -> str:
    """Clean and whole accuracy side by side as aligned text lines, one a language."""
    width = max(4, *map(len, whole))
    lines = [
        f"not found in the corpus (coverage under {clean['coverage']:g}):",
        " " * width + "clean n  right  accuracy %   95 % interval     all n  accuracy %  contaminated n  right",
    ]
    for key, s in clean["scores"].items():
        cells = f"{'-':>10}  {'-':>14}"
        if s["n"]:
            cells = f"{s['accuracy']:>10.2f}  {s['ci95'][0]:>6.2f} - {s['ci95'][1]:>5.2f}"
        lines.append(
            f"{key:{width}}{s['n']:>7}  {s['right']:>5}  {cells}  {whole[key]['n']:>8}  {whole[key]['accuracy']:>10.2f}"
            f"  {s['contaminated']:>14}  {s['contaminated_right']:>5}"
        )
    if clean["macro"]:
        macro, micro = clean["macro"], clean["micro"]
        lines += [
            f"mean of {macro['languages']}: {macro['accuracy']:.2f} % "
            f"({macro['ci95'][0]:.2f} - {macro['ci95'][1]:.2f})",
            f"all clean questions: {micro['right']} of {micro['n']} = {micro['accuracy']:.2f} % "
            f"({micro['ci95'][0]:.2f} - {micro['ci95'][1]:.2f})",
        ]
    return "\n".join(lines)
