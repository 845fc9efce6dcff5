"""Exact-set accuracy with n and intervals; on all questions, and on those not found in the training corpus.

Reads   a contamination report (data_collection writes it, inference/FORMAT.md says what is read here):
        contamination.jsonl, a line {question_id, language, coverage, documents, mode} for each question that was found,
        and manifest.json, which is written last
Example python inference/eval.py --model checkpoints/finetuned --score-only --contamination DIR

`coverage` is the share of the question that is in the corpus, 0 to 1. A question counts as contaminated from
--contamination-coverage on; one that the report does not name was not found.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, read_split
from run_record import InputError, describe_files, read_json, sha256_of_file

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson_interval(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of right/n as shares between 0 and 1. Errors: ValueError unless 0 <= right <= n, n > 0."""
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} right of {n} is not a share")
    p = right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def score_answers(predictions: list[dict]) -> dict:
    """Scores of one language or benchmark; accuracy and interval in per cent, to two decimals.

    predictions: {"gold": list of letters, "letters": list of letters or None where none could be read, "options": the
    question's letters as one string, optional "status" (answers.py)}. An answer with a letter that the question does
    not have keeps the format and is wrong; it is counted as not_an_option.
    """
    n = len(predictions)
    right = sum(p["letters"] == p["gold"] for p in predictions)
    low, high = wilson_interval(right, n)
    predicted = Counter(letter for p in predictions for letter in p["letters"] or ())

    def part(several: bool) -> dict:
        chosen = [p for p in predictions if (len(p["gold"]) > 1) == several]
        return {"n": len(chosen), "right": sum(p["letters"] == p["gold"] for p in chosen)}

    by_options: dict[str, dict] = {}
    for p in sorted(predictions, key=lambda p: len(p["options"])):
        row = by_options.setdefault(str(len(p["options"])), {"n": 0, "right": 0})
        row["n"] += 1
        row["right"] += p["letters"] == p["gold"]
    return {
        "n": n,
        "right": right,
        "accuracy": round(100 * right / n, 2),
        "ci95": [round(100 * low, 2), round(100 * high, 2)],
        "unparsed": sum(p["letters"] is None for p in predictions),
        "refused": sum(p.get("status") == "refused" for p in predictions),
        "not_an_option": sum(not set(p["letters"] or ()) <= set(p["options"]) for p in predictions),
        "predicted_letters": dict(sorted(predicted.items())),
        "single": part(False),
        "multiple": part(True),
        "by_options": by_options,
    }


def macro_average(scores: dict[str, dict]) -> dict:
    """The plain mean over languages, as the paper averages, with its 95 % interval, in per cent."""
    shares = [(s["right"] / s["n"], s["n"]) for s in scores.values()]
    mean = sum(p for p, _ in shares) / len(shares)
    half = Z95 * math.sqrt(sum(p * (1 - p) / n for p, n in shares)) / len(shares)
    return {
        "languages": len(shares),
        "accuracy": round(100 * mean, 2),
        "ci95": [round(100 * max(0.0, mean - half), 2), round(100 * min(1.0, mean + half), 2)],
    }


def group_averages(scores: dict[str, dict]) -> dict[str, dict]:
    """{"MMLU": the plain mean over its subjects}, as `macro_average`, where several of them were asked; else {}.

    The paper's table of English benchmarks has each subject as a column; its average is the plain mean over all
    columns, which is `macro_average` of all (58.03 for its first row, MedAlpaca).
    """
    subjects = {key: score for key, score in scores.items() if key.startswith("MMLU_")}
    return {"MMLU": macro_average(subjects)} if len(subjects) > 1 else {}


def micro_average(scores: dict[str, dict]) -> dict:
    """All questions in one pot, with Wilson's interval, in per cent."""
    n, right = sum(s["n"] for s in scores.values()), sum(s["right"] for s in scores.values())
    low, high = wilson_interval(right, n)
    return {
        "n": n,
        "right": right,
        "accuracy": round(100 * right / n, 2),
        "ci95": [round(100 * low, 2), round(100 * high, 2)],
    }


def score_table(scores: dict[str, dict], macro: dict, micro: dict) -> str:
    """The scores as aligned text lines, one per language, with n, interval, format and the letters' shares."""
    width = max(4, *map(len, scores))
    lines = [" " * width + "    n  right  accuracy %   95 % interval  in the format  letters predicted"]
    for name, s in scores.items():
        total = sum(s["predicted_letters"].values()) or 1
        letters = " ".join(f"{k} {100 * v / total:.0f}%" for k, v in s["predicted_letters"].items())
        lines.append(
            f"{name:{width}}{s['n']:>5}  {s['right']:>5}  {s['accuracy']:>10.2f}  {s['ci95'][0]:>6.2f} - "
            f"{s['ci95'][1]:>5.2f}  {100 * (1 - s['unparsed'] / s['n']):>11.1f} %  {letters or '-'}"
        )
    for name, s in scores.items():
        if circle := s.get("circular"):
            lines.append(
                f"{name:{width}} options turned: {circle['right_in_every_turn']} of {circle['n']} right in every turn, "
                f"{circle['same_answer_in_every_turn']} with one answer in every turn, "
                f"mean accuracy {circle['mean_accuracy_over_turns']:.2f} %"
            )
    lines += [
        f"mean of {g['languages']} {name} subjects: {g['accuracy']:.2f} % ({g['ci95'][0]:.2f} - {g['ci95'][1]:.2f})"
        for name, g in group_averages(scores).items()
    ]
    lines += [
        f"mean of {macro['languages']}: {macro['accuracy']:.2f} % ({macro['ci95'][0]:.2f} - {macro['ci95'][1]:.2f})",
        f"all questions: {micro['right']} of {micro['n']} = {micro['accuracy']:.2f} % "
        f"({micro['ci95'][0]:.2f} - {micro['ci95'][1]:.2f})",
    ]
    return "\n".join(lines)


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

    Errors: InputError for a report that is incomplete, changed, broken (with file:line), or of another benchmark. A
    manifest whose `benchmark` lists the searched files with their SHA-256 proves what was searched; without it every
    id must be one of the data's, and at least one must be there.
    """
    path = folder / "contamination.jsonl"
    if not (folder / "manifest.json").exists():
        raise InputError(
            f"{folder} has no manifest.json: no contamination report, or one that is incomplete; let "
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
            raise InputError(f"{where}: coverage: {row['coverage']} is not a share between 0 and 1")
        if row["question_id"] in found:
            first = found[row["question_id"]][0]
            raise InputError(f"{where}: question_id: is on line {first} already; leave one line per question")
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
    """Clean and whole accuracy side by side as aligned text lines, one per language."""
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
