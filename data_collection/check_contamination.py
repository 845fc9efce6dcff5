"""Validate an output of decontaminate.py: checksums and every line of contamination.jsonl (FORMAT.md).

Example:

    python data_collection/check_contamination.py data/contamination
"""

import argparse
import json
import math
from pathlib import Path

from decontamination.contamination_report import FOUND_BY, MODES
from language_codes import LANGUAGES
from run_record import InputError, parse_arguments, read_json, run_command, sha256_of_file


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", type=Path, help="an output of decontaminate.py")
    parser.add_argument("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    folder = parse_arguments(build_parser(), argv).input
    if not (folder / "manifest.json").exists():
        raise InputError(f"{folder} has no manifest.json: it is incomplete; run decontaminate.py again")
    print(f"{folder}: {check_folder(folder)} questions, every line as FORMAT.md says")
    return 0


def check_contamination(line: object) -> str | None:
    """What is wrong with a line of contamination.jsonl ("field: ..."), or None. Its contract is FORMAT.md's."""
    if not isinstance(line, dict):
        return "expected a JSON object"
    name, coverage, documents = line.get("question_id"), line.get("coverage"), line.get("documents")
    if not isinstance(name, str) or len(name) != 16 or set(name) - set("0123456789abcdef"):
        return f"question_id: {name!r} is not 16 hex digits"
    if line.get("language") not in LANGUAGES:
        return f"language: {line.get('language')!r} is none of {', '.join(LANGUAGES)}"
    if (
        isinstance(coverage, bool)
        or not isinstance(coverage, int | float)
        or math.isnan(coverage)
        or not (0 < coverage <= 1)
    ):
        return f"coverage: {coverage!r} is not a share above 0 and up to 1"
    if isinstance(documents, bool) or not isinstance(documents, int) or documents < 1:
        return f"documents: {documents!r} is not a number from 1 on"
    if line.get("mode") not in MODES:
        return f"mode: {line.get('mode')!r} is none of {', '.join(MODES)}"
    if line.get("found_by") not in FOUND_BY:
        return f"found_by: {line.get('found_by')!r} is none of {', '.join(FOUND_BY)}"
    return None


def check_folder(folder: Path) -> int:
    """The questions a finished report names. Errors: InputError with file and line for what breaks the contract."""
    manifest = read_json(folder / "manifest.json")
    for name, facts in manifest.get("files", {}).items():
        if not (folder / name).exists() or sha256_of_file(folder / name) != facts["sha256"]:
            raise InputError(f"{folder / name} is not the file its manifest describes; run decontaminate.py again")
    path, seen = folder / "contamination.jsonl", {}
    for number, text in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON ({error}); see data_collection/FORMAT.md") from None
        wrong = check_contamination(line)
        if wrong is None and line["question_id"] in seen:
            wrong = f"question_id: is on line {seen[line['question_id']]} already"
        if wrong:
            raise InputError(f"{path}:{number}: {wrong}; see data_collection/FORMAT.md")
        seen[line["question_id"]] = number
    return len(seen)


if __name__ == "__main__":
    run_command(main)
