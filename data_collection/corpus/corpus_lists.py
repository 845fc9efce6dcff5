"""Removal lists for the corpus: near duplicates (`deduplicate.py`) and exam questions (`decontaminate.py`).

Both are keyed by the id of a document's text as it comes in. A list made from other inputs is refused. A cut document
gets the id of its new text.
"""

import json
from pathlib import Path

from cleaning.clean_text import CLEANING_STEPS, clean
from readers.corpus_format import LOSS_SPANS, document_id, span_problem
from readers.corpus_inputs import STAGES
from run_record import InputError, read_json, sha256_of_file

DEDUPLICATE, DECONTAMINATE = "data_collection/deduplicate.py", "data_collection/decontaminate.py"
MAKER = {DEDUPLICATE: "deduplicate.py", DECONTAMINATE: "decontaminate.py"}
LENGTH_ONLY = tuple(step for step in CLEANING_STEPS if step != "too_short")


class Lists:
    """What becomes of a document by its id: nothing, removal, or a cut. Without folders: nothing."""

    def __init__(self, duplicates: Path | None, contamination: Path | None, inputs: dict[str, str]):
        """inputs: {SHA-256 of an input's manifest: its stage}, as the lists' manifests must have them too."""
        self.manifests: dict[str, str] = {}  # {SHA-256 of a list's manifest: its stage}
        self._ids = self._kept = None
        self._decisions: dict[str, dict] = {}
        self.mode = ""
        if duplicates is not None:
            self._open(duplicates, DEDUPLICATE, inputs)
            self._read_duplicates(duplicates / "duplicates.parquet")
        if contamination is not None:
            manifest = self._open(contamination, DECONTAMINATE, inputs)
            self.mode = manifest.get("arguments", {}).get("mode", "")
            made_with = manifest.get("arguments", {}).get("duplicates")
            if made_with and (duplicates is None or made_with != sha256_of_file(duplicates / "duplicates.parquet")):
                raise InputError(
                    f"{contamination} skipped what another list of duplicates removes; give that as "
                    "--duplicates, or run decontaminate.py again"
                )
            self._read_decisions(contamination / "decisions.jsonl", "decisions.jsonl" in manifest.get("files", {}))

    def _open(self, folder: Path, stage: str, inputs: dict[str, str]) -> dict:
        path = folder / "manifest.json"
        if not path.exists():
            raise InputError(
                f"{folder} has no manifest.json: no list, or an incomplete one; run {MAKER[stage]} to its end"
            )
        manifest = read_json(path)
        if manifest.get("stage") != stage:
            raise InputError(f"{path}: made by {manifest.get('stage')!r}; expected {stage!r}")
        for name, facts in manifest.get("files", {}).items():
            file = folder / name
            if not file.exists() or file.stat().st_size != facts["bytes"] or sha256_of_file(file) != facts["sha256"]:
                raise InputError(f"{file} is not the file its manifest describes; make {folder} again")
        made_from = manifest.get("inputs") or {}
        if {sha: made_by for sha, made_by in made_from.items() if made_by in STAGES} != inputs:
            raise InputError(
                f"{folder} was made from other inputs than these; run {MAKER[stage]} on exactly the "
                "folders that are given here"
            )
        self.manifests[sha256_of_file(path)] = stage
        return manifest

    def _read_duplicates(self, path: Path) -> None:
        """Sorted numbers, 16 bytes a listed document, whatever the corpus's size."""
        import numpy as np
        import pyarrow
        import pyarrow.parquet

        pieces = []
        try:
            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=["id", "kept_id"]):
                numbers = [[int(i, 16) for i in column.to_pylist()] for column in batch.columns]
                pieces.append(np.array(numbers, np.uint64))
        except (OSError, ValueError, TypeError, KeyError, pyarrow.ArrowException) as error:
            raise InputError(f"{path}: no list of duplicates ({' '.join(str(error).split())[:200]})") from None
        self._ids, self._kept = np.concatenate(pieces, axis=1) if pieces else np.empty((2, 0), np.uint64)
        if (self._ids[1:] <= self._ids[:-1]).any():
            raise InputError(f"{path}: ids are not in ascending order; make it again with deduplicate.py")

    def _read_decisions(self, path: Path, expected: bool) -> None:
        if not path.exists():
            if expected or self.mode != "report":
                raise InputError(f"{path} is missing; make it again with decontaminate.py")
            return
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    decision = json.loads(line)
                    wrong = decision["action"] not in ("drop", "cut") or not isinstance(decision["id"], str)
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise InputError(f"{path}:{number}: no decision ({error}); make it again") from None
                if wrong or (decision["action"] == "cut" and not decision.get("spans")):
                    raise InputError(
                        f"{path}:{number}: action {decision['action']!r} with spans "
                        f"{decision.get('spans')}; expected drop, or cut with spans"
                    )
                self._decisions[decision["id"]] = decision

    def removal(self, document: str) -> dict:
        """{"reason", ...} for a document that goes, by its id; {} for one that stays or is cut."""
        import numpy as np

        if self._ids is not None and len(self._ids):
            place = int(np.searchsorted(self._ids, np.uint64(int(document, 16))))
            if place < len(self._ids) and int(self._ids[place]) == int(document, 16):
                return {"reason": "near duplicate", "kept_id": f"{int(self._kept[place]):016x}"}
        decision = self._decisions.get(document)
        if decision and decision["action"] == "drop":
            return {"reason": "contaminated", "questions": decision.get("questions", [])}
        return {}

    def cut(self, document: str) -> dict | None:
        """The decision of a document that is to be cut, else None."""
        decision = self._decisions.get(document)
        return decision if decision and decision["action"] == "cut" else None


def cut_record(record: dict, decision: dict) -> dict:
    """The record without the spans, under the id of its new text; or with a `reason`: it cannot stay so.

    Loss spans outside the cut move with their text. Errors: InputError for spans that do not fit the text.
    """
    text, spans = record["text"], sorted(map(list, decision["spans"]))
    if wrong := span_problem(spans, text):
        raise InputError(
            f"the decision on document {record['id']} ({record['origin']}) {wrong}: the list is of "
            "another text; run decontaminate.py again"
        )
    questions = {"questions": decision.get("questions", [])}
    shorter = cut_text(text, spans)
    loss = record.get(LOSS_SPANS)
    if loss is not None:
        if any(start < last and first < end for start, end in spans for first, last in loss):
            return record | questions | {"reason": "contaminated: the cut meets its loss spans"}
        loss = [[_moved(place, spans) for place in span] for span in loss]
    reason = ""
    if not shorter.strip():
        reason = "contaminated: nothing is left after the cut"
    elif clean(shorter, record["language"], LENGTH_ONLY).reason:
        reason = "contaminated: too short after the cut"
    if reason:
        return record | questions | {"reason": reason}
    further = {} if loss is None else {LOSS_SPANS: loss}
    return record | further | {"id": document_id(shorter), "text": shorter}


def cut_text(text: str, spans: list[list[int]]) -> str:
    """The text without the spans [start, end), in characters; they may overlap, and are sorted."""
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at : max(at, start)])
        at = max(at, end)
    return "".join([*pieces, text[at:]])


def _moved(place: int, spans: list[list[int]]) -> int:
    """Where a character outside the spans stands after the cut."""
    gone, at = 0, 0
    for start, end in spans:
        if start >= place:
            break
        gone += max(0, min(end, place) - max(at, start))
        at = max(at, end)
    return place - gone
