"""Contexts that exam records go without, such as the abstracts of RuMedDaNet: what of these questions stands in texts.

Reads `left_out_contexts.jsonl`, which `mmedbench/prepare.py` writes beside Train, Dev and Test (mmedbench/FORMAT.md):
lines {id, language, split, source, context}; context is null where the source gives none. Example:

    python -c "import question_contexts as c; from pathlib import Path;
    print(c.read_contexts([Path('data/MMedBench/Test')])[0].used({'5b0e4c8f0f6d3a12'}))"
"""

import json
from pathlib import Path
from typing import NamedTuple

from mmedbench_questions import RecordError, unique_keys
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
        return "context: half a character (a lone surrogate) stands in it"
    return None
