"""One document of `websites.py` or `existing_corpora.py`: language, cleaning, writing, counting; folder labels.

What a reader finds is a `Found`, a `LeftOut` (read, and no document; its reason is counted) or a `Broken` (should have
been a document and cannot be read: counted, and listed in failures.jsonl). The language is the declared one unless the
detector is sure of another (`filter_document.SURE`); with none declared, the detected one.
"""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cleaning.clean_text import clean
from filtering.filter_document import SURE
from filtering.filter_output import Outputs
from filtering.language import UNDETERMINED, detect_language
from language_codes import LANGUAGES
from readers.corpus_format import LOSS_SPANS, span_problem
from run_record import write_json

ENGLISH_NAMES = {
    "english": "en",
    "chinese": "zh",
    "japanese": "ja",
    "french": "fr",
    "russian": "ru",
    "spanish": "es",
    "german": "de",
    "arabic": "ar",
}
OTHER_CODES = {
    "eng": "en",
    "zho": "zh",
    "chi": "zh",
    "cn": "zh",
    "jpn": "ja",
    "jp": "ja",
    "fra": "fr",
    "fre": "fr",
    "rus": "ru",
    "spa": "es",
    "deu": "de",
    "ger": "de",
    "ara": "ar",
}
CODES = {code: code for code in LANGUAGES} | OTHER_CODES
SOURCE_WORDS = {
    "textbook": "textbook",
    "textbooks": "textbook",
    "book": "textbook",
    "books": "textbook",
    "website": "website",
    "websites": "website",
    "site": "website",
    "sites": "website",
    "culturax": "web",
    "cultural": "web",
    "filtered": "web",
    "existing": "existing",
    "opensource": "existing",
    "small": "existing",
}


def language_of(path: str) -> str:
    """ISO 639-1 of the eight, or "" where no name of the path says one. path: with "/", the file last."""
    for name in reversed(path.lower().split("/")):
        stem = name.split(".")[0]
        words = [word for word in re.split(r"[_\-\s()]+", stem) if word]
        named = {ENGLISH_NAMES[word] for word in words if word in ENGLISH_NAMES}
        named = named or {CODES[word] for word in words[:1] + words[-1:] if word in CODES}
        if len(named) == 1:
            return named.pop()
    return ""


def source_of(path: str) -> str:
    """One of the corpus's kinds of source, or "" where no folder of the path says one."""
    for name in reversed(path.lower().split("/")[:-1]):
        words = re.split(r"[_\-\s.()]+", name)
        named = {SOURCE_WORDS[word] for word in words if word in SOURCE_WORDS}
        if len(named) == 1:
            return named.pop()
    return ""


def language_of_tag(tag: str) -> str:
    """ISO 639-1 of a language tag as pages declare it (`pt-BR`, `zh_Hans`), also outside the eight; or ""."""
    code = re.split(r"[-_;, ]", tag.strip().lower())[0]
    code = CODES.get(code) or ENGLISH_NAMES.get(code, code)
    return code if re.fullmatch("[a-z]{2}", code) else ""


FAILURES_LISTED = 1000  # a unit; the rest are counted
WAITING_CHARACTERS = 2_000_000  # of one language, gathered before they are handed to the parquet writer
COLUMNS = ("id", "text", "language", "source", "origin", "licence", "detected_language")
LEFT_OUT = "left_out.jsonl"


class Found(NamedTuple):
    """A document as it was found."""

    text: str
    id: str
    origin: str
    source: str  # one of corpus_format.SOURCES
    language: str  # declared, or ""
    licence: str  # "" where none is stated
    spans: list | None = None  # [start, end) characters on which loss is taken; such a text is not cleaned


class LeftOut(NamedTuple):
    """Something that was read and is not a document of this collection."""

    origin: str
    reason: str
    language: str = ""


class Broken(NamedTuple):
    """Something that cannot be read. where: path:line, or the member or record."""

    where: str
    reason: str
    sentence: str


def write_unit(found: Iterable[Found | LeftOut | Broken], folder: Path, settings: dict) -> dict:
    """Write `folder/<iso>.parquet`, `folder/left_out.jsonl` and `folder/done.json`; returns what the last says.

    settings: languages, detector, skip_steps. The folder appears whole, by a rename.
    """
    aside = folder.with_name(folder.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with open(aside / LEFT_OUT, "w", encoding="utf-8", newline="\n") as left_out:
        writer = _UnitWriter(aside, left_out, settings)
        for item in found:
            writer.add(item)
        done = writer.close()
    write_json(aside / "done.json", done)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return done


class _UnitWriter:
    def __init__(self, folder: Path, left_out, settings: dict):
        self.left_out, self.settings = left_out, settings
        self.outputs = Outputs(folder)
        self.waiting: dict[str, list[dict]] = {}
        self.counts: dict[str, dict] = {}
        self.changes: dict[str, dict] = {}
        self.failures: list[dict] = []
        self.broken = self.relabelled = 0

    def add(self, item: Found | LeftOut | Broken) -> None:
        if isinstance(item, Broken):
            self._count(UNDETERMINED, item.reason)
            self.broken += 1
            if self.broken <= FAILURES_LISTED:
                listed = {"file": item.where, "reason": item.sentence}
                self.failures.append({k: v.encode("utf-8", "replace").decode() for k, v in listed.items()})
        elif isinstance(item, LeftOut):
            self._leave_out(item.origin, item.reason, item.language or UNDETERMINED)
        else:
            self._add_document(item)

    def _add_document(self, document: Found) -> None:
        text = document.text
        if not text.strip():
            self._leave_out(document.origin, "empty", document.language or UNDETERMINED)
            return
        detected = detect_language(text, self.settings["detector"])
        sure = detected.code != UNDETERMINED and detected.probability >= SURE
        language = detected.code if sure else document.language or detected.code
        if language not in self.settings["languages"]:
            reason = "unknown_language" if language == UNDETERMINED else "other_language"
            self._leave_out(document.origin, reason, language)
            return
        if document.spans is None or _has_surrogates(text):  # halves of characters cannot be written: out
            cleaned = clean(text, language, self.settings["skip_steps"])
            if cleaned.reason:
                self._leave_out(document.origin, cleaned.reason, language)
                return
            text = cleaned.text
            for step, changes in cleaned.changes.items():
                row = self.changes.setdefault(language, {}).setdefault(step, {"documents": 0, "changes": 0})
                row["documents"] += 1
                row["changes"] += changes
        elif wrong := span_problem(document.spans, text):
            self.add(Broken(document.origin, "wrong_loss_spans", f"{LOSS_SPANS} {wrong}"))
            return
        self.relabelled += document.language not in ("", language)
        self._count(language, "kept", len(text))
        rows = self.waiting.setdefault(language, [])
        rows.append(
            {
                "id": document.id,
                "text": text,
                "language": language,
                "source": document.source,
                "origin": document.origin,
                "licence": document.licence or None,
                "detected_language": detected.code,
                "detected_probability": detected.probability,
                LOSS_SPANS: document.spans,
            }
        )
        if sum(len(row["text"]) for row in rows) >= WAITING_CHARACTERS or len(rows) >= 1000:
            self._flush(language)

    def _leave_out(self, origin: str, reason: str, language: str) -> None:
        self._count(language, reason)
        line = {"origin": origin, "reason": reason, "language": language}
        self.left_out.write(json.dumps(line) + "\n")

    def _count(self, language: str, reason: str, characters: int = 0) -> None:
        row = self.counts.setdefault(language, {"read": 0, "kept": 0, "kept_characters": 0})
        row["read"] += 1
        row[reason] = row.get(reason, 0) + 1
        row["kept_characters"] += characters

    def _flush(self, language: str) -> None:
        import pyarrow

        schema = pyarrow.schema(
            [
                *((name, pyarrow.string()) for name in COLUMNS),
                ("detected_probability", pyarrow.float64()),
                (LOSS_SPANS, pyarrow.list_(pyarrow.list_(pyarrow.int32()))),
            ]
        )
        self.outputs.add(language, pyarrow.Table.from_pylist(self.waiting.pop(language), schema=schema))

    def close(self) -> dict:
        """Finish the files; returns what done.json tells."""
        for language in list(self.waiting):
            self._flush(language)
        if self.broken > FAILURES_LISTED:
            more = f"{self.broken - FAILURES_LISTED} more cannot be read; the counts in manifest.json have them all"
            self.failures.append({"file": self.failures[-1]["file"], "reason": more})
        return {
            "counts": self.counts,
            "cleaning": self.changes,
            "relabelled": self.relabelled,
            "failures": self.failures,
            "outputs": self.outputs.close(),
        }


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def known_languages(names: list[str]) -> list[str]:
    """The languages asked for, in the order of the eight; all of them where none is named."""
    return [language for language in LANGUAGES if not names or language in names]
