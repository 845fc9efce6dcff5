"""Score a whole Arrow column with the compiled matcher, on the column's own buffers.

Used through `keyword_match.load_matcher(...).score_column(texts)`. The first use on a machine compiles (about ten
seconds, said on the screen); after that the compiled code comes from numba's cache.
"""

import sys
import threading

import numpy
import pyarrow

from filtering.keyword_automaton import build_automaton
from filtering.keyword_match import NOT_TEXT, Keyword

PATIENCE_S = 1.5  # loading the compiled code takes less
TWO_BYTE_LETTERS = ("ar", "ru")  # read without guessing, see `keyword_kernel.code_point_without_guess`


class ColumnScorer:
    def __init__(self, language: str, rule: str, keywords: list[Keyword]):
        self.automaton = build_automaton(language, rule, keywords)
        self._score_documents, self._is_utf8 = _load_kernel(self.automaton)
        self._ascii_end = numpy.uint32(0 if language in TWO_BYTE_LETTERS else 0x80)

    def score(self, texts) -> tuple[numpy.ndarray, numpy.ndarray]:
        """(distinct int32, density float64); see Matcher.score_column."""
        if isinstance(texts, pyarrow.ChunkedArray):
            parts = [self.score(chunk) for chunk in texts.chunks] or [_zeros(0)]
            return tuple(numpy.concatenate(arrays) for arrays in zip(*parts, strict=True))
        kind = texts.type
        if pyarrow.types.is_dictionary(kind):
            return self._score_dictionary(texts)
        if pyarrow.types.is_null(kind):
            return _zeros(len(texts))
        if pyarrow.types.is_string_view(kind):
            texts = texts.cast(pyarrow.large_string())
        elif not pyarrow.types.is_string(kind) and not pyarrow.types.is_large_string(kind):
            raise TypeError(f"a column of text is needed, not of {kind}")
        return self._score_strings(texts)

    def _score_dictionary(self, texts) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Each different text once; a null row has no entry."""
        distinct, density = self.score(texts.dictionary)
        rows = texts.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False).astype(numpy.int64)
        return numpy.append(distinct, numpy.int32(0))[rows], numpy.append(density, 0.0)[rows]

    def _score_strings(self, texts) -> tuple[numpy.ndarray, numpy.ndarray]:
        distinct, density = _zeros(len(texts))
        if not len(texts):
            return distinct, density
        data, begins, ends = _documents(texts)
        refused = self._not_utf8(data, begins, ends)
        ends[refused] = begins[refused]
        self._score_documents(self.automaton, data, begins, ends, self._ascii_end, distinct, density)
        distinct[refused] = NOT_TEXT.distinct
        return distinct, density

    def _not_utf8(self, data, begins, ends) -> list[int]:
        """The rows that are not valid UTF-8 (parquet files may hold such; nobody checks when they are read)."""
        some = begins < ends
        if not some.any():
            return []
        first, last = begins[some][0], ends[some][-1]
        edges = numpy.concatenate([begins[some], ends[some]])
        if self._is_utf8(data, first, last) and not (data[edges[edges < last]] & 0xC0 == 0x80).any():
            return []  # all is valid, also between the texts, and no text begins or ends inside a character
        return [
            row
            for row, (begin, end) in enumerate(zip(begins, ends, strict=True))
            if not self._is_utf8(data, begin, end)
        ]


def _zeros(rows: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    return numpy.zeros(rows, numpy.int32), numpy.zeros(rows, numpy.float64)


def _documents(texts) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """(bytes, begins, ends) of a string or large_string array; null rows are empty."""
    _, offsets, values = texts.buffers()
    width = numpy.int64 if pyarrow.types.is_large_string(texts.type) else numpy.int32
    bounds = numpy.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1].astype(numpy.int64)
    data = numpy.frombuffer(values, numpy.uint8) if values is not None and values.size else numpy.zeros(1, numpy.uint8)
    data.setflags(write=False)  # as Arrow's buffers are, most of them: one compiled version serves all
    begins, ends = bounds[:-1].copy(), bounds[1:].copy()
    if texts.null_count:
        missing = texts.is_null().to_numpy(zero_copy_only=False)
        ends[missing] = begins[missing]
    return data, begins, ends


def _load_kernel(automaton):
    """The compiled functions, tried on an empty column; says so if it has to be compiled, which takes a while."""
    notice = threading.Timer(
        PATIENCE_S,
        print,
        ("compiling the keyword matcher (once per machine, about 10 s)",),
        {"file": sys.stderr, "flush": True},
    )
    notice.start()
    try:
        from filtering.keyword_kernel import is_utf8, score_documents

        data, begins, ends = _documents(pyarrow.array([], pyarrow.string()))
        is_utf8(data, numpy.int64(0), numpy.int64(0))
        score_documents(automaton, data, begins, ends, numpy.uint32(0), *_zeros(0))
    finally:
        notice.cancel()
    return score_documents, is_utf8
