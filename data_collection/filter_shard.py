"""Filter one file of documents into a folder of parquet files, streaming: the work of one process of `filter.py`."""

import shutil
from pathlib import Path

from corpus_record import InputError, write_json
from document_files import document_stem, read_batches
from filter_document import REASONS, Decision, DocumentFilter
from keyword_match import LANGUAGES


def declared_language(path: Path, setting: str) -> str:
    """The file's language by the setting, its name or its folder's name; "" where none of them says."""
    if setting != "auto":
        return setting
    return next((name for name in (document_stem(path), path.parent.name) if name in LANGUAGES), "")


def filter_one_file(path: Path, root: Path, folder: Path, settings: dict) -> dict:
    """Write `folder/<iso>.parquet`, `folder/other_language/<iso>.parquet`, ... and `folder/done.json`; returns that.

    The folder appears whole, by a rename. A file that is damaged part-way keeps what was read before the damage and
    is named in done.json's failures.
    """
    aside = folder.with_name(folder.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    name = path.relative_to(root).as_posix()
    failures: list[dict] = []
    sink = _Sink(aside, settings)
    judge = DocumentFilter(settings["rule"], settings["keywords"], settings["thresholds"])
    try:
        for batch in read_batches(path, lambda reason: failures.append({"file": name, "reason": reason})):
            _filter_batch(batch, path, judge, settings, sink)
    except InputError as error:
        failures.append({"file": name, "reason": str(error).replace(str(path), path.name)})
    finally:
        sink.close()
    done = {"file": name, "read": sink.read, "counts": sink.counts, "failures": failures,
            "outputs": sorted(sink.writers)}
    write_json(aside / "done.json", done)
    aside.rename(folder)
    return done


def _filter_batch(batch, path: Path, judge: DocumentFilter, settings: dict, sink: "_Sink") -> None:
    """Decide every row of a batch and hand the rows to the sink, grouped by where they go."""
    texts = batch.column(settings["text_column"])
    if not _is_text(texts.type):
        raise InputError(f"{path}: column {settings['text_column']!r} holds {texts.type}, not text")
    texts = texts.to_pylist()
    declared = declared_language(path, settings["language"])
    languages = [declared] * len(texts)
    if not declared and "language" in batch.schema.names:
        languages = [_iso(value) for value in batch.column("language").to_pylist()]
    decisions = [
        judge.decide(text, language) if language is not None
        else Decision("unknown_language", "und", 0, 0.0, "")
        for text, language in zip(texts, languages, strict=True)
    ]
    sink.add(batch, texts, decisions)


def _is_text(arrow_type) -> bool:
    import pyarrow

    if pyarrow.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    # A column of nulls only has no type of its own; its rows count as null.
    return str(arrow_type) in ("string", "large_string", "string_view", "null")


def _iso(value) -> str | None:
    """A value of the column `language`: an ISO code of the eight, "" for none given, None for another language."""
    code = str(value or "").strip().lower().replace("_", "-").split("-")[0]
    return code if code in LANGUAGES or not code else None


class _Sink:
    """Writers for kept, other-language and rejected rows, one per language, opened when first needed."""

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings
        self.writers: dict = {}
        self.counts: dict[str, dict] = {}
        self.read = 0

    def add(self, batch, texts: list, decisions: list[Decision]) -> None:
        goes_to: dict[str, list[int]] = {}
        for i, decision in enumerate(decisions):
            row = self.counts.setdefault(decision.language, dict.fromkeys((*REASONS, "read", "kept_characters"), 0))
            row[decision.reason] += 1
            row["read"] += 1
            self.read += 1
            if decision.reason == "kept":
                row["kept_characters"] += len(texts[i])
                goes_to.setdefault(decision.language, []).append(i)
            elif decision.reason == "other_language":
                goes_to.setdefault(f"other_language/{decision.language}", []).append(i)
            elif self.settings["keep_rejected"]:
                goes_to.setdefault(f"rejected/{decision.language}", []).append(i)
        for name, rows in goes_to.items():
            self._write(name, batch, rows, [decisions[i] for i in rows])

    def _write(self, name: str, batch, rows: list[int], decisions: list[Decision]) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_batches([batch]).take(rows)
        added = {
            "distinct_keywords": pyarrow.array([d.distinct for d in decisions], pyarrow.int32()),
            "density": pyarrow.array([d.density for d in decisions], pyarrow.float64()),
            "rule": pyarrow.array([self.settings["rule"]] * len(rows), pyarrow.string()),
            "language": pyarrow.array([d.language for d in decisions], pyarrow.string()),
        }
        if "/" in name:
            added["reason"] = pyarrow.array([d.reason for d in decisions], pyarrow.string())
            added["detected_language"] = pyarrow.array([d.detected for d in decisions], pyarrow.string())
        table = table.drop_columns([column for column in added if column in table.column_names])
        for column, values in added.items():
            table = table.append_column(column, values)
        table = table.replace_schema_metadata(None)
        if name not in self.writers:
            target = self.folder / f"{name}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            self.writers[name] = pyarrow.parquet.ParquetWriter(target, table.schema, compression="zstd")
        self.writers[name].write_table(table)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
