"""The report and the dataset card of prepare.py: counts against the published ones, exclusions, copies."""

import csv
from collections import Counter
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, LETTERS, content_key
from run_record import InputError, read_json
from sources.exam_rules import REASONS, Entry
from sources.find_sources import SPLITS

SPLIT_NAMES = {"Train": "train", "Dev": "validation", "Test": "test"}
LICENCES = {
    "MedQA (US)": "MIT",
    "MedQA (Mainland China)": "MIT",
    "IgakuQA": "not stated",
    "FrenchMedMCQA": "Apache-2.0",
    "RuMedDaNet": "Apache-2.0",
    "HEAD-QA": "MIT",
    "MedMCQA": "MIT",
    "PubMedQA": "MIT",
    "MMLU": "MIT",
}


def write_card(files: dict[str, list[dict]], sources: dict[str, str], notes: list[str]) -> str:
    """The card's text.

    files: {"Train/English.jsonl": records, ...}, benchmarks included; sources: {name: language}; notes: sentences.
    """
    options = max((len(record["options"]) for records in files.values() for record in records), default=2)
    languages = [code for code, name in LANGUAGE_FILES.items() if any(p.endswith("/" + name) for p in files)]
    lines = ["---", "license: other", "language:", *(f"- {code}" for code in languages)]
    lines += ["task_categories:", "- question-answering", "- multiple-choice", "tags:", "- medical", "configs:"]
    lines += ["- config_name: default", "  default: true", "  data_files:"]
    for folder, split in SPLIT_NAMES.items():
        if any(path.startswith(folder + "/") for path in files):
            lines += [f"  - split: {split}", f"    path: {folder}/*.jsonl"]
    for code in languages:
        lines += [f"- config_name: {code}", "  data_files:"]
        for folder in SPLIT_NAMES:
            if f"{folder}/{LANGUAGE_FILES[code]}" in files:
                lines += [f"  - split: {SPLIT_NAMES[folder]}", f"    path: {folder}/{LANGUAGE_FILES[code]}"]
    benchmarks = sorted(p for p in files if p.startswith("English_benchmarks/"))
    if benchmarks:
        lines += ["- config_name: english_benchmarks", "  data_files:"]
        lines += ["  - split: test", "    path: English_benchmarks/*.jsonl"]
    lines += ["dataset_info:"]
    for name in ["default", *languages, *(["english_benchmarks"] if benchmarks else [])]:
        lines += [f"- config_name: {name}", *_features(options, name == "english_benchmarks")]
    lines += ["---", "", "# MMedBench, built from its sources", ""]
    lines += [
        "Multiple-choice questions of medical exams, in the layout of the released MMedBench. One record per line:",
        'id, language, source, question, options, answer_idx ("A" or "A,C"), rationale (empty where there is',
        "none), human_checked, human_check_passed; `context` only where a question needs one.",
        "",
    ]
    lines += ["| file | questions | with rationale |", "|---|---|---|"]
    for path, records in sorted(files.items()):
        lines.append(f"| {path} | {len(records)} | {sum(bool(record['rationale']) for record in records)} |")
    lines += ["", "| source | language | licence |", "|---|---|---|"]
    for name, language in sorted(sources.items()):
        licence = LICENCES.get("MMLU" if name.startswith("MMLU ") else name, "see its owner")
        lines.append(f"| {name} | {language} | {licence} |")
    lines += ["", *(f"- {note}" for note in notes), ""]
    lines += [
        "Excluded questions and the reasons are in excluded.jsonl, copies of a question in duplicates.jsonl, counts,",
        "arguments and checksums in manifest.json.",
        "",
    ]
    return "\n".join(lines)


def _features(options: int, context: bool) -> list[str]:
    """The types of a record's fields; missing option letters load as null."""
    lines = ["  features:"]
    texts = ["id", "language", "source", "question"]
    lines += [line for name in texts for line in (f"  - name: {name}", "    dtype: string")]
    lines += ["  - name: options", "    struct:"]
    lines += [line for letter in LETTERS[:options] for line in (f"    - name: {letter}", "      dtype: string")]
    texts = ["answer_idx", "rationale", *(["context"] if context else [])]
    lines += [line for name in texts for line in (f"  - name: {name}", "    dtype: string")]
    marks = ["human_checked", "human_check_passed"]
    return lines + [line for name in marks for line in (f"  - name: {name}", "    dtype: bool")]


MADE_HERE = "the split is made here, not the released one"
COUNTS = Path(__file__).resolve().parents[1] / "reported" / "mmedbench_counts.csv"


def published_counts() -> dict[str, dict[str, int]]:
    """{"en": {"Train": 10178, "Test": 1273}, ...} of the released benchmark (reported/README.md)."""
    with open(COUNTS, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["language"] != "total"]
    return {row["language"]: {"Train": int(row["train"]), "Test": int(row["test"])} for row in rows}


def _difference(found: int, published: int | None) -> str:
    if published is None:
        return ""
    if found == published:
        return "as published"
    return f"{abs(found - published)} {'fewer' if found < published else 'more'} than published"


def languages_split_here(folder: Path) -> set[str]:
    """Languages split by an earlier run, from its manifest; empty for any other folder."""
    try:
        rows = read_json(folder / "manifest.json").get("counts")
    except (InputError, OSError):
        return set()
    rows = rows if isinstance(rows, list) else []
    return {row.get("language") for row in rows if isinstance(row, dict) and MADE_HERE in str(row.get("note"))}


def compare_counts(entries: list[Entry]) -> tuple[list[dict], dict[str, bool]]:
    """(rows language, split, found, published, note; {language: Test is the released split}).

    A Test split counts as the released one when its source made it (not `assign_hashed_splits`) and its number of
    questions is the published one.
    """
    kept = Counter((e.language, e.split) for e in entries if e.record)
    made_here = {e.language for e in entries if e.record and e.split == "Test" and not e.released}
    published, rows, released = published_counts(), [], {}
    for language in LANGUAGE_FILES:
        for split in SPLITS:
            found, wanted = kept[language, split], published.get(language, {}).get(split)
            if not found and wanted is None:
                continue
            note = _difference(found, wanted)
            if not found:
                note = "no source here"
            elif language in made_here and wanted is not None:
                note += f"; {MADE_HERE}"
            rows.append({"language": language, "split": split, "found": found, "published": wanted, "note": note})
            if split == "Test" and found:
                released[language] = found == wanted and language not in made_here
    return rows, released


def known_report(known: list[tuple[Path, list[dict]]], entries: list[Entry]) -> list[dict]:
    """How many known test questions are in Test with the same question, options and answer, by folder, language."""
    tests = {content_key(e.record): e.record for e in entries if e.record and e.split == "Test"}
    languages = {e.language for e in entries}
    rows = []
    for folder, records in known:
        for language in [code for code in LANGUAGE_FILES if any(r["language"] == code for r in records)]:
            row = {
                "folder": folder.name,
                "language": language,
                "questions": 0,
                "reproduced": 0,
                "differing": 0,
                "absent": 0,
                "source_here": language in languages,
            }
            for record in (r for r in records if r["language"] == language):
                ours = tests.get(content_key(record))
                same = ours and all(ours[name] == record[name] for name in ("question", "options", "answer_idx"))
                row["questions"] += 1
                row["reproduced" if same else "differing" if ours else "absent"] += 1
            rows.append(row)
    return rows


def file_notes(root: Path, paths: list[Path]) -> dict[str, list[str]]:
    """{"byte_order_mark", "crlf_line_ends": files below root}: read like any other file, but worth knowing of."""
    notes: dict[str, list[str]] = {}
    for path in paths:
        data = path.read_bytes()
        for name, here in (("byte_order_mark", data.startswith(b"\xef\xbb\xbf")), ("crlf_line_ends", b"\r\n" in data)):
            if here:
                notes.setdefault(name, []).append(path.relative_to(root).as_posix())
    return notes


def source_counts(entries: list[Entry]) -> dict[str, dict]:
    """{source: {read, kept by split, excluded by reason, notes}}."""
    counts: dict[str, dict] = {}
    for entry in entries:
        row = counts.setdefault(entry.source, {"read": 0, "kept": {}, "excluded": {}, "notes": {}})
        row["read"] += 1
        kind, key = ("kept", entry.split) if entry.record else ("excluded", entry.excluded)
        row[kind][key] = row[kind].get(key, 0) + 1
        for note in entry.notes if entry.record else ():
            row["notes"][note] = row["notes"].get(note, 0) + 1
    return dict(sorted(counts.items()))


def why_none(entries: list[Entry]) -> str:
    """The commonest reason and its place, for a run that kept no question."""
    reasons = [entry.excluded for entry in entries if entry.excluded]
    if not reasons:
        return "for there was none"
    reason = max(sorted(set(reasons)), key=reasons.count)
    return f"most often for {reason} ({next(e.where for e in entries if e.excluded == reason)})"


def print_report(report: dict) -> None:
    """The tables that a person reads at the end of a run, from the manifest."""
    print(f"\n{'language':<9}{'split':<7}{'found':>7}{'published':>11}  note")
    for row in report["counts"]:
        published = "-" if row["published"] is None else row["published"]
        print(f"{row['language']:<9}{row['split']:<7}{row['found']:>7}{published:>11}  {row['note']}")
    for name, row in report["sources"].items():
        kept = ", ".join(f"{split} {n}" for split, n in row["kept"].items())
        print(
            f"{name}: read {row['read']}; kept {kept or 'none'}"
            + "".join(f"; {note.replace('_', ' ')} {n}" for note, n in row["notes"].items())
        )
        for reason, n in row["excluded"].items():
            print(f"  omitted {n}: {reason} ({REASONS[reason]})")
    for note, files in report["file_notes"].items():
        print(
            f"{note.replace('_', ' ')} in {len(files)} files, read as if there were none: {', '.join(files[:3])}"
            + (" ..." if len(files) > 3 else "")
        )
    for where, n in report["duplicates"]["groups"].items():
        print(f"copies, {where}: {n} questions")
    if report["duplicates"]["removed"]:
        print(f"copies removed: {report['duplicates']['removed']}")
    for row in report["known_test"]["reproduced"]:
        share = 100 * row["reproduced"] / row["questions"]
        print(
            f"known test {row['folder']} {row['language']}: {row['reproduced']} of {row['questions']} reproduced "
            f"({share:.1f} %), {row['differing']} differ, {row['absent']} absent"
            + ("" if row["source_here"] else " (no source of this language here)")
        )
    if report["known_test"]["questions"]:
        known = report["known_test"]
        print(f"known test: {known['moved_to_test']} moved to Test, {known['taken_out']} taken out of Train and Dev")
    if report["rationales"]["given"]:
        print(
            "rationales: {given} given, {joined} joined, {unmatched} of no question here".format(**report["rationales"])
        )
