"""The README.md of a prepared benchmark: what is in it and, in its YAML header, how `datasets` loads it."""

from mmedbench_questions import LANGUAGE_FILES, LETTERS

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
    folders = {folder: sorted(p for p in files if p.startswith(folder + "/")) for folder in SPLIT_NAMES}
    configs = {"default": list(folders)}
    for name in configs:
        lines += [f"- config_name: {name}", "  default: true", "  data_files:"]
        for folder in configs[name]:
            if folders[folder]:
                lines += [f"  - split: {SPLIT_NAMES[folder]}", f"    path: {folder}/*.jsonl"]
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
        "Multiple-choice questions of medical exams, in the layout of the released MMedBench. One record a line:",
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
        "What was left out, and why, stands in excluded.jsonl; copies of a question in duplicates.jsonl; the",
        "counts of both, the arguments and the checksums in manifest.json.",
        "",
    ]
    return "\n".join(lines)


def _features(options: int, context: bool) -> list[str]:
    """The record's types: letters that a question does not have load as null."""
    lines = ["  features:"]
    texts = ["id", "language", "source", "question"]
    lines += [line for name in texts for line in (f"  - name: {name}", "    dtype: string")]
    lines += ["  - name: options", "    struct:"]
    lines += [line for letter in LETTERS[:options] for line in (f"    - name: {letter}", "      dtype: string")]
    texts = ["answer_idx", "rationale", *(["context"] if context else [])]
    lines += [line for name in texts for line in (f"  - name: {name}", "    dtype: string")]
    marks = ["human_checked", "human_check_passed"]
    return lines + [line for name in marks for line in (f"  - name: {name}", "    dtype: bool")]
