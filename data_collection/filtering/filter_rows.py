"""Tables of a chunk's rows as `filter.py` writes them: documents with what was decided, and scores without texts."""

from typing import NamedTuple

from filtering.filter_document import REASONS, Decision
from filtering.keyword_match import LANGUAGES
from filtering.language import UNDETERMINED, Detected
from readers.document_chunks import Chunk, readable_strings

LANGUAGE_NAMES = (*LANGUAGES, UNDETERMINED)


class Verdict(NamedTuple):
    """What is decided of the rows of a chunk, as numpy arrays of its length."""

    codes: object  # uint8: see filter_document.CODES
    distinct: object  # int32
    density: object  # float64
    languages: object  # uint8: places in LANGUAGE_NAMES
    found: dict  # {row: Detected or Decision}, where the language of the text was told


def rows_table(
    chunk: Chunk, verdict: Verdict, places: list[int], cleaned: list[str] | None, text_column: str, rule: str
):
    """The texts of some rows and the columns that the filter adds, as a pyarrow Table.

    cleaned: the texts to write; without them those that came, and the column `reason`.
    """
    import pyarrow
    import pyarrow.compute as pc

    rows = pyarrow.array(places, pyarrow.int64())
    texts = chunk.texts.take(rows)
    characters = pc.fill_null(pc.utf8_length(texts), 0)
    if "characters" in chunk.columns:
        characters = chunk.columns["characters"].take(rows)  # of the text as it first came, with --from-scores
    if cleaned is None:
        readable = chunk.not_text
        cleaned_or_raw = [readable.get(p, t) for p, t in zip(places, texts.to_pylist(), strict=True)]
    else:
        cleaned_or_raw = cleaned
    found = [_found(verdict.found.get(place)) for place in places]
    columns = {
        text_column: pyarrow.array(cleaned_or_raw, pyarrow.string()),
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


def _found(found: Detected | Decision | None) -> Detected:
    if found is None:
        return Detected("", 0.0)
    return Detected(found.detected, found.probability) if isinstance(found, Decision) else found


def scores_table(chunk: Chunk, verdict: Verdict, file: str):
    """A row for every row of a chunk: its id where the input has one, file and row, and what was measured."""
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc

    rows = len(chunk.texts)
    ids = chunk.columns.get("id")
    return pyarrow.table(
        {
            "id": pyarrow.nulls(rows, pyarrow.string()) if ids is None else readable_strings(ids),
            "file": pyarrow.array([file] * rows, pyarrow.string()).dictionary_encode(),
            "row": pyarrow.array(np.arange(chunk.first_row, chunk.first_row + rows)),
            "language": _named(verdict.languages, LANGUAGE_NAMES),
            "reason": _named(verdict.codes, REASONS),
            "distinct_keywords": pyarrow.array(verdict.distinct),
            "density": pyarrow.array(verdict.density),
            "characters": pc.fill_null(pc.utf8_length(chunk.texts), 0).cast(pyarrow.int32()),
        }
    )


def _named(codes, names: tuple[str, ...]):
    import pyarrow

    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes, pyarrow.int32()), pyarrow.array(list(names)))
