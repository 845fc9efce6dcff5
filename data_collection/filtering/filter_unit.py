"""Filter one unit of work (a part of a parquet file, a JSON lines file, some text files) in one process.

The unit's folder is written under a temporary name and renamed; an interrupted unit is done again. Its content depends
on the input and the settings only, so that a resumed run is byte-identical to an uninterrupted one.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from filtering.filter_document import CODES, PASSED, REASONS, Decision, DocumentFilter, NotUtf8
from filtering.filter_output import ADDED, Outputs, has_loss_spans, joined, with_ids
from filtering.language import UNDETERMINED, Detected, detect_language
from language_codes import LANGUAGES
from readers.document_chunks import Chunk, Span, open_lines, read_chunks, readable_strings, valid_texts
from readers.document_files import InputFile, document_stem, file_errors, open_parquet
from run_record import InputError, sha256_of_file, write_json

LANGUAGE_NAMES = (*LANGUAGES, UNDETERMINED)
MAX_FAILURES_LISTED = 100  # per unit; the rest are counted


class Unit(NamedTuple):
    """What one process filters at a time."""

    files: tuple[InputFile, ...]  # one, or several text files
    span: Span  # row groups of the file, or (0, 0) for all of it
    language: str  # declared, or ""
    id_as_text: bool  # the column `id` is text, or is written as text because some rows have none
    hash_input: bool  # whether to compute the file's SHA-256 (once per file)
    input_bytes: int  # approximate stored size


class Verdict(NamedTuple):
    """The decisions on the rows of a chunk, as numpy arrays of its length."""

    codes: object  # uint8: see filter_document.CODES
    distinct: object  # int32
    density: object  # float64
    languages: object  # uint8: indices into LANGUAGE_NAMES
    found: dict  # {row: Detected or Decision} of rows with a detected language


def declared_language(path: Path, setting: str) -> str:
    """The file's language by the setting, its name or the nearest folder's name; "" if none of them gives one."""
    if setting != "auto":
        return setting
    names = (document_stem(path), *reversed(path.parent.parts))
    return next((name for name in names if name in LANGUAGES), "")


def document_filter(settings: dict) -> DocumentFilter:
    names = ("rule", "keywords", "thresholds", "detector", "skip_steps", "relabel")
    return DocumentFilter(*(settings[name] for name in names))


def filter_unit(unit: Unit, folder: Path, settings: dict, progress: Callable[[int, int, int, int], None]) -> dict:
    """Write `folder/<iso>.parquet`, `folder/other_language/<iso>.parquet`, ... and `folder/done.json`; returns that.

    Of a file that is damaged part-way the rows before the damage are used, and done.json lists it among the failures.
    progress: called with (bytes of input, bytes of text, documents, kept documents) since the call before.
    """
    aside = folder.with_name(folder.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    work = _UnitWork(unit, aside, settings)
    names = [file.name for file in unit.files]
    digests = {}
    try:
        for file in unit.files if unit.hash_input else ():
            with contextlib.suppress(OSError):  # reading it reports the error
                digests[file.name] = sha256_of_file(Path(file.place))
        for chunk in read_chunks(list(unit.files), unit.span, settings["text_column"], work.columns, work.unreadable):
            read, kept = work.tally["read"], work.tally["kept"]
            work.add(chunk)
            progress(chunk.input_bytes, chunk.texts.nbytes, work.tally["read"] - read, work.tally["kept"] - kept)
    except InputError as error:
        work.failures.append({"file": names[0], "reason": str(error)})
    done = work.close() | {"files": names, "input_sha256": digests}
    write_json(aside / "done.json", done)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return done


class _UnitWork:
    """Decides on a unit's chunks, passes the rows to the outputs and counts."""

    def __init__(self, unit: Unit, folder: Path, settings: dict):
        self.unit, self.settings = unit, settings
        self.filter = document_filter(settings)
        self.outputs = Outputs(folder)
        self.counts: dict[str, dict] = {}
        self.changes: dict[str, dict] = {}
        self.tally = {"read": 0, "kept": 0, "relabelled": 0, "text_bytes": 0}
        self.failures: list[dict] = []
        self.bad_lines = 0
        wanted = [] if unit.language else ["language"]
        wanted += ["distinct_keywords", "density", "characters"] if settings["from_scores"] else []
        self.columns = (*wanted, "id") if settings["keep_scores"] else tuple(wanted)

    def unreadable(self, reason: str) -> None:
        """Count a line or a text file that cannot be read; the first ones are listed."""
        self.bad_lines += 1
        self._count(self.unit.language or UNDETERMINED, "unreadable", 1)
        if self.bad_lines <= MAX_FAILURES_LISTED:
            self.failures.append({"file": reason.split(":")[0], "reason": reason})

    def _count(self, language: str, reason: str, documents: int, characters: int = 0) -> None:
        row = self.counts.setdefault(language, dict.fromkeys((*REASONS, "read", "kept_characters"), 0))
        row[reason] += documents
        row["read"] += documents
        row["kept_characters"] += characters
        self.tally["read"] += documents

    def add(self, chunk: Chunk) -> None:
        import numpy as np

        self.tally["text_bytes"] += chunk.texts.nbytes
        chunk = chunk if self.unit.language else valid_texts(chunk)
        try:
            verdict = self._apply_rule(chunk)
        except NotUtf8:
            chunk = valid_texts(chunk)
            verdict = self._apply_rule(chunk)
        verdict.codes[list(chunk.not_text)] = CODES["not_text"]
        passed = np.flatnonzero(verdict.codes == PASSED)
        if len(passed):
            self._finish(chunk, verdict, passed.tolist())
        for language in np.unique(verdict.languages):
            codes = verdict.codes[verdict.languages == language]
            for code, documents in enumerate(np.bincount(codes, minlength=len(REASONS)).tolist()):
                if documents and code != PASSED:
                    self._count(LANGUAGE_NAMES[language], REASONS[code], documents)
        self._write_asides(chunk, verdict)

    def _apply_rule(self, chunk: Chunk) -> Verdict:
        """The keyword rule on every row of a chunk, language by language."""
        import numpy as np
        import pyarrow

        rows = len(chunk.texts)
        verdict = Verdict(*(np.zeros(rows, kind) for kind in (np.uint8, np.int32, np.float64, np.uint8)), {})
        results = verdict.codes, verdict.distinct, verdict.density
        scores = None
        if self.settings["from_scores"]:
            scores = (_numbers(chunk, "distinct_keywords", np.int32), _numbers(chunk, "density", np.float64))
        if self.unit.language:
            found = self.filter.decide_column(chunk.texts, self.unit.language, scores)
            for result, values in zip(results, found, strict=True):
                result[:] = values
            verdict.languages[:] = LANGUAGE_NAMES.index(self.unit.language)
            return verdict
        names = self._languages(chunk, verdict)
        for language in sorted(set(names)):
            places = np.array([i for i, name in enumerate(names) if name == language])
            verdict.languages[places] = LANGUAGE_NAMES.index(language)
            if language == UNDETERMINED:
                verdict.codes[places] = [_code_without_language(chunk.texts[int(i)].as_py()) for i in places]
                continue
            chosen = scores and tuple(values[places] for values in scores)
            found = self.filter.decide_column(chunk.texts.take(pyarrow.array(places)), language, chosen)
            for result, values in zip(results, found, strict=True):
                result[places] = values
        return verdict

    def _languages(self, chunk: Chunk, verdict: Verdict) -> list[str]:
        """Each row's language: the column `language`, else detected; "und" if it is not one of the eight."""
        rows = len(chunk.texts)
        given = chunk.columns.get("language")
        names = [_iso(value) for value in ([None] * rows if given is None else readable_strings(given).to_pylist())]
        for place, name in enumerate(names):
            if name == "":
                text = chunk.texts[place].as_py()
                found = detect_language(text, self.filter.detector) if text and text.strip() else None
                names[place] = found.code if found and found.code in LANGUAGES else UNDETERMINED
                if found:
                    verdict.found[place] = found
        return names

    def _finish(self, chunk: Chunk, verdict: Verdict, places: list[int]) -> None:
        """Check the language of the rows that passed the rule, clean them, and write the kept ones."""
        import pyarrow

        texts = chunk.texts.take(pyarrow.array(places)).to_pylist()
        kept: dict[str, list[tuple[int, str]]] = {}  # {language: [(row, cleaned text)]}
        for place, text in zip(places, texts, strict=True):
            language = LANGUAGE_NAMES[verdict.languages[place]]
            scores = int(verdict.distinct[place]), float(verdict.density[place])
            decision = self.filter.finish(text, language, *scores, verdict.found.get(place))
            verdict.found[place] = decision
            verdict.codes[place] = CODES[decision.reason]
            if decision.language != language:
                self.tally["relabelled"] += 1
                verdict.languages[place] = LANGUAGE_NAMES.index(decision.language)
                verdict.distinct[place], verdict.density[place] = decision.distinct, decision.density
            if decision.reason == "kept":
                self._count(decision.language, "kept", 1, len(decision.text))
                self.tally["kept"] += 1
                steps = self.changes.setdefault(decision.language, {}) if decision.changes else {}
                for step, changes in decision.changes.items():
                    row = steps.setdefault(step, {"documents": 0, "changes": 0})
                    row["documents"] += 1
                    row["changes"] += changes
                kept.setdefault(decision.language, []).append((place, decision.text))
        for name, rows in kept.items():
            self._write_rows(name, chunk, verdict, [place for place, _ in rows], [text for _, text in rows])

    def _write_asides(self, chunk: Chunk, verdict: Verdict) -> None:
        """Write documents in other languages and, if the settings ask for them, rejected documents and scores."""
        import numpy as np

        other = verdict.codes == CODES["other_language"]
        asides = {"other_language": other}
        if self.settings["keep_rejected"]:
            asides["rejected"] = ~other & (verdict.codes != PASSED)
        for kind, chosen in asides.items():
            for language in np.unique(verdict.languages[chosen]):
                places = np.flatnonzero(chosen & (verdict.languages == language)).tolist()
                self._write_rows(f"{kind}/{LANGUAGE_NAMES[language]}", chunk, verdict, places)
        if self.settings["keep_scores"]:
            self.outputs.add("scores", _scores_table(chunk, verdict, self.unit.files[0].name))

    def _write_rows(
        self, name: str, chunk: Chunk, verdict: Verdict, places: list[int], cleaned: list[str] | None = None
    ) -> None:
        """cleaned: the texts to write; by default the original ones, with the column `reason`."""
        first = self.unit.files[0].name
        ids = [f"{first}#{chunk.first_row + place}" for place in places]
        others = chunk.rows(places)
        if cleaned is not None and any(marked := has_loss_spans(others, len(places))):
            cleaned = [
                chunk.texts[place].as_py() if keep else text
                for place, keep, text in zip(places, marked, cleaned, strict=True)
            ]
        table = _rows_table(chunk, verdict, places, cleaned, self.settings["text_column"], self.settings["rule"])
        if others is not None:
            others = others.drop_columns([column for column in ADDED if column in others.column_names])
        others = with_ids(others, ids, self.unit.id_as_text)
        self.outputs.add(name, joined(table, others).replace_schema_metadata(None))

    def close(self) -> dict:
        """Finish the files; returns the content of done.json."""
        if (more := self.bad_lines - MAX_FAILURES_LISTED) > 0:
            reason = f"{more} more lines or files cannot be read"
            self.failures.append({"file": self.unit.files[0].name, "reason": reason})
        return self.tally | {
            "counts": self.counts,
            "cleaning": self.changes,
            "failures": self.failures,
            "outputs": self.outputs.close(),
        }


def _rows_table(
    chunk: Chunk, verdict: Verdict, places: list[int], cleaned: list[str] | None, text_column: str, rule: str
):
    """The texts of some rows and the columns that the filter adds, as a pyarrow Table."""
    import pyarrow
    import pyarrow.compute as pc

    rows = pyarrow.array(places, pyarrow.int64())
    texts = chunk.texts.take(rows)
    characters = pc.fill_null(pc.utf8_length(texts), 0)
    if "characters" in chunk.columns:  # with --from-scores: of the original text
        characters = chunk.columns["characters"].take(rows)
    written = cleaned
    if cleaned is None:
        written = [chunk.not_text.get(p, t) for p, t in zip(places, texts.to_pylist(), strict=True)]
    found = [_detected(verdict.found.get(place)) for place in places]
    columns = {
        text_column: pyarrow.array(written, pyarrow.string()),
        "distinct_keywords": pyarrow.array(verdict.distinct[places]),
        "density": pyarrow.array(verdict.density[places]),
        "characters": characters.cast(pyarrow.int32()),
        "rule": pyarrow.array([rule] * len(places), pyarrow.string()),
        "language": pyarrow.array([LANGUAGE_NAMES[i] for i in verdict.languages[places]], pyarrow.string()),
        "detected_language": pyarrow.array([f.code for f in found], pyarrow.string()),
        "detected_probability": pyarrow.array([f.probability for f in found], pyarrow.float64()),
    }
    if cleaned is None:
        columns["reason"] = pyarrow.array([REASONS[code] for code in verdict.codes[places]], pyarrow.string())
    return pyarrow.table(columns)


def _detected(found: Detected | Decision | None) -> Detected:
    if found is None:
        return Detected("", 0.0)
    return Detected(found.detected, found.probability) if isinstance(found, Decision) else found


def _scores_table(chunk: Chunk, verdict: Verdict, file: str):
    """One row per row of a chunk: its id if the input has one, file, row number and scores."""
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc

    def named(codes, names: tuple[str, ...]):
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes, pyarrow.int32()), pyarrow.array(list(names)))

    rows = len(chunk.texts)
    ids = chunk.columns.get("id")
    return pyarrow.table(
        {
            "id": pyarrow.nulls(rows, pyarrow.string()) if ids is None else readable_strings(ids),
            "file": pyarrow.array([file] * rows, pyarrow.string()).dictionary_encode(),
            "row": pyarrow.array(np.arange(chunk.first_row, chunk.first_row + rows)),
            "language": named(verdict.languages, LANGUAGE_NAMES),
            "reason": named(verdict.codes, REASONS),
            "distinct_keywords": pyarrow.array(verdict.distinct),
            "density": pyarrow.array(verdict.density),
            "characters": pc.fill_null(pc.utf8_length(chunk.texts), 0).cast(pyarrow.int32()),
        }
    )


def _numbers(chunk: Chunk, name: str, kind):
    import numpy as np
    import pyarrow.compute as pc

    if name not in chunk.columns:
        raise InputError(f"no column {name!r}; --from-scores reads an output of filter.py")
    return np.asarray(pc.fill_null(chunk.columns[name], 0)).astype(kind)


def _code_without_language(text: str | None) -> int:
    return CODES["null" if text is None else "unknown_language" if text.strip() else "empty"]


def _iso(value) -> str:
    """A value of the column `language`: an ISO code of the eight, "" if missing, "und" for another language."""
    code = str(value or "").strip().lower().replace("_", "-").split("-")[0]
    return code if code in LANGUAGES or not code else UNDETERMINED


def is_text(arrow_type) -> bool:
    import pyarrow

    if pyarrow.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    # A column of nulls only has the type null; its rows count as null.
    return str(arrow_type) in ("string", "large_string", "string_view", "null")


def is_number(arrow_type) -> bool:
    """Whether ids of this type are written unchanged; others (text, bytes, lists) are written as text."""
    import pyarrow

    return pyarrow.types.is_integer(arrow_type) or pyarrow.types.is_floating(arrow_type)


PARALLEL_FILES = 16
MIN_TEXT_FILE_BYTES = 1000  # size at which smaller text files are counted, to bound the files of a unit


def plan_units(files: list[InputFile], language: str, text_column: str, unit_bytes: int) -> list[Unit]:
    """The units of all files, in order. Errors: InputError for a file without the text column."""

    def plan(file: InputFile) -> list[Unit]:
        declared = declared_language(Path(file.name), language)
        if file.name.endswith(".txt"):
            return [Unit((file,), Span(0, 0), declared, True, True, max(MIN_TEXT_FILE_BYTES, file.size))]
        if file.name.endswith(".parquet"):
            return _parquet_units(file, declared, text_column, unit_bytes)
        _check_first_line(file, text_column)
        return [Unit((file,), Span(0, 0), declared, True, not file.on_hub, file.size)]

    with ThreadPoolExecutor(PARALLEL_FILES) as pool:  # on the hub most of the time is waiting
        return list(_texts_together([unit for units in pool.map(plan, files) for unit in units], unit_bytes))


def _texts_together(units: list[Unit], unit_bytes: int) -> Iterator[Unit]:
    """Group consecutive text files of one language into units of up to unit_bytes."""
    waiting: list[Unit] = []

    def together() -> Unit:
        files = tuple(unit.files[0] for unit in waiting)
        return waiting[0]._replace(files=files, input_bytes=sum(unit.input_bytes for unit in waiting))

    for unit in units:
        is_text_file = unit.files[0].name.endswith(".txt")
        if waiting and (
            not is_text_file
            or unit.language != waiting[0].language
            or sum(u.input_bytes for u in waiting) >= unit_bytes
        ):
            yield together()
            waiting = []
        if is_text_file:
            waiting.append(unit)
        else:
            yield unit
    if waiting:
        yield together()


def _parquet_units(file: InputFile, declared: str, text_column: str, unit_bytes: int) -> list[Unit]:
    try:
        parquet = open_parquet(file)
    except InputError:
        # Listed in failures.jsonl when it is read.
        return [Unit((file,), Span(0, 0), declared, False, False, file.size)]
    schema, facts = parquet.schema_arrow, parquet.metadata
    _check_columns(file.name, schema.names, text_column)
    if not is_text(schema.field(text_column).type):
        raise InputError(
            f"{file.name}: column {text_column!r} is {schema.field(text_column).type}, not text; choose another one "
            "with --text-column"
        )
    as_text = "id" not in schema.names or not is_number(schema.field("id").type)
    spans, first, text, stored = [], 0, 0, 0
    for group in range(facts.num_row_groups):
        row_group = facts.row_group(group)
        columns = {row_group.column(i).path_in_schema: row_group.column(i) for i in range(facts.num_columns)}
        text += columns[text_column].total_uncompressed_size
        stored += sum(column.total_compressed_size for column in columns.values())
        statistics = columns["id"].statistics if "id" in columns else None
        as_text = as_text or statistics is None or not statistics.has_null_count or statistics.null_count > 0
        if text >= unit_bytes or group == facts.num_row_groups - 1:
            spans.append((Span(first, group + 1), stored))
            first, text, stored = group + 1, 0, 0
    return [
        Unit((file,), span, declared, as_text, span.first == 0 and not file.on_hub, size)
        for span, size in spans or [(Span(0, 0), file.size)]
    ]


def _check_first_line(file: InputFile, text_column: str) -> None:
    """InputError if the first line is a JSON object without the text column; other errors are reported on reading."""
    try:
        with open_lines(file, glance=True) as (lines, _), file_errors(file.name):
            first = next((line for line in iter(lines.readline, b"") if line.strip()), b"{}")
        row = json.loads(first.decode("utf-8-sig"))
    except (InputError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return
    if isinstance(row, dict) and row:
        _check_columns(file.name, list(row), text_column)


def _check_columns(name: str, columns: list[str], text_column: str) -> None:
    if twice := next((column for i, column in enumerate(columns) if column in columns[:i]), None):
        raise InputError(f"{name}: two columns are called {twice!r}; rename one")
    if text_column not in columns:
        raise InputError(
            f"{name}: no column {text_column!r}; it has {', '.join(columns) or 'none'}; choose one with --text-column"
        )


def describe_unit(unit: Unit) -> str:
    """For example `en.parquet row groups 0 to 9`."""
    first = unit.files[0].name
    if len(unit.files) > 1:
        return f"{first} and {len(unit.files) - 1} more"
    if unit.span.last:
        return f"{first} row groups {unit.span.first} to {unit.span.last - 1}"
    return first
