"""Score an Arrow column of texts with the compiled matcher, on the column's own buffers.

Used through `keyword_match.load_matcher(...).score_column(texts)`. The first use on a machine compiles (about ten
seconds, with a message); after that the compiled code comes from numba's cache.

`build_automaton` builds the tables that the matcher (`keyword_kernel.py`) walks: an Aho-Corasick automaton over symbols
(Aho and Corasick, "Efficient string matching", Communications of the ACM 18(6), 1975). `text_folding` maps each code
point of a text to one symbol or a sequence of them: SKIP (nothing: a mark), BOUNDARY (not a letter), OTHER (a letter
of no keyword) or the symbol of one letter. A run of boundaries counts as one. A keyword that begins a word begins with
a BOUNDARY. What a pattern cannot express (a boundary behind it, Latin neighbours, Arabic proclitics) is a flag, which
the matcher checks where the keyword ends.
"""

import sys
import threading
from collections import deque
from typing import NamedTuple

import numpy
import pyarrow

from filtering import keyword_kernel as kernel
from filtering.keyword_lists import LATIN_END, LATIN_START, NOT_TEXT, PROCLITICS, UNSPACED, Keyword, is_long
from filtering.text_folding import folding_table
from run_record import InputError

NOTICE_AFTER_S = 1.5  # loading the compiled code takes less
TWO_BYTE_LETTERS = ("ar", "ru")  # see `keyword_kernel.branchless_code_point`
MAX_TABLE_BYTES = 64 << 20  # a larger table of transitions is replaced by lists, several times slower


class ColumnScorer:
    def __init__(self, language: str, rule: str, keywords: list[Keyword]):
        self.automaton = build_automaton(language, rule, keywords)
        _load_kernel(self.automaton)
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
            raise TypeError(f"expected a column of text, not of {kind}")
        return self._score_strings(texts)

    def _score_dictionary(self, texts) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Score each distinct text once; null rows have no entry."""
        distinct, density = self.score(texts.dictionary)
        rows = texts.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False).astype(numpy.int64)
        return numpy.append(distinct, numpy.int32(0))[rows], numpy.append(density, 0.0)[rows]

    def _score_strings(self, texts) -> tuple[numpy.ndarray, numpy.ndarray]:
        distinct, density = _zeros(len(texts))
        if not len(texts):
            return distinct, density
        data, begins, ends = _documents(texts)
        invalid = _not_utf8(data, begins, ends)
        ends[invalid] = begins[invalid]
        kernel.score_documents(self.automaton, data, begins, ends, self._ascii_end, distinct, density)
        distinct[invalid] = NOT_TEXT.distinct
        return distinct, density


def _not_utf8(data, begins, ends) -> list[int]:
    """The rows that are not valid UTF-8; reading a parquet file does not check that."""
    some = begins < ends
    if not some.any():
        return []
    first, last = begins[some][0], ends[some][-1]
    edges = numpy.concatenate([begins[some], ends[some]])
    if kernel.is_utf8(data, first, last) and not (data[edges[edges < last]] & 0xC0 == 0x80).any():
        return []  # everything is valid, and no text begins or ends inside a character
    return [
        row for row, (begin, end) in enumerate(zip(begins, ends, strict=True)) if not kernel.is_utf8(data, begin, end)
    ]


def _zeros(rows: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    return numpy.zeros(rows, numpy.int32), numpy.zeros(rows, numpy.float64)


def _documents(texts) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """(bytes, begins, ends) of a string or large_string array; null rows are empty."""
    _, offsets, values = texts.buffers()
    width = numpy.int64 if pyarrow.types.is_large_string(texts.type) else numpy.int32
    bounds = numpy.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1].astype(numpy.int64)
    data = numpy.frombuffer(values, numpy.uint8) if values is not None and values.size else numpy.zeros(1, numpy.uint8)
    data.setflags(write=False)  # like most Arrow buffers, so that one compiled version serves all
    begins, ends = bounds[:-1].copy(), bounds[1:].copy()
    if texts.null_count:
        missing = texts.is_null().to_numpy(zero_copy_only=False)
        ends[missing] = begins[missing]
    return data, begins, ends


def _load_kernel(automaton) -> None:
    """Load or compile the kernel by calls on an empty column; prints a notice if that takes long."""
    message = "compiling the keyword matcher (once per machine, about 10 s)"
    notice = threading.Timer(NOTICE_AFTER_S, print, [message], {"file": sys.stderr, "flush": True})
    notice.start()
    try:
        data, begins, ends = _documents(pyarrow.array([], pyarrow.string()))
        kernel.is_utf8(data, numpy.int64(0), numpy.int64(0))
        kernel.score_documents(automaton, data, begins, ends, numpy.uint32(0), *_zeros(0))
    finally:
        notice.cancel()


class Automaton(NamedTuple):
    """Arrays and numbers that the matcher reads. State numbers are rows, except in `table`."""

    way: int  # PUBLISHED, WORDS or ANYWHERE of the kernel
    symbols: int  # number of symbols
    symbol_of: numpy.ndarray  # uint16 [CODE_POINTS + ...]: of each code point; FIRST_SEQUENCE + i: the i-th sequence,
    # whose length (at most 7) is at CODE_POINTS + 8 i, followed by its symbols
    start: int  # state at the beginning of a text
    first_hit: int  # in states from this one on at least one keyword ends
    dense: bool
    table: numpy.ndarray  # uint32 [states * symbols] if dense: next state times symbols
    edge_starts: numpy.ndarray  # int32 [states + 1] if not dense: edges of a state, by symbol
    edge_symbols: numpy.ndarray  # uint16
    edge_states: numpy.ndarray  # uint32
    fallback: numpy.ndarray  # uint32 [states]: state to continue with if there is no edge
    root_row: numpy.ndarray  # uint32 [symbols]
    hit_starts: numpy.ndarray  # int32 [hit states + 1]
    hit_keywords: numpy.ndarray  # int32
    keywords: numpy.ndarray  # int64 [keywords, 3]: characters (without spaces under `bounded`), words, flags
    proclitics: numpy.ndarray  # int64


def build_automaton(language: str, rule: str, keywords: list[Keyword]) -> Automaton:
    """The automaton of one list; 0.1 to 0.2 s for the project's lists. Errors: InputError for too many characters."""
    alphabet = {letter: i for i, letter in enumerate(_letters(language, rule, keywords), kernel.FIRST_LETTER)}
    if len(alphabet) > kernel.MAX_LETTERS:
        raise InputError(
            f"the {language} keywords have {len(alphabet)} different characters, over {kernel.MAX_LETTERS}"
        )
    symbols = kernel.FIRST_LETTER + len(alphabet)
    patterns, flags = _patterns(language, rule, keywords, alphabet)
    texts = [k.bare if rule == "published" else k.text for k in keywords]
    proclitics = [
        sum(alphabet[c] * kernel.PROCLITIC_BASE**i for i, c in enumerate(reversed(p)))
        for p in PROCLITICS
        if p and language == "ar" and rule == "bounded"
    ]
    return Automaton(
        way=kernel.PUBLISHED if rule == "published" else kernel.ANYWHERE if language in UNSPACED else kernel.WORDS,
        symbols=symbols,
        symbol_of=_symbols_of_code_points(rule, alphabet),
        **_states(patterns, symbols, runs=rule == "bounded"),
        keywords=numpy.array(
            [
                (len(t if rule == "published" else t.replace(" ", "")), t.count(" ") + 1, flag)
                for t, flag in zip(texts, flags, strict=True)
            ],
            numpy.int64,
        ),
        proclitics=numpy.array(proclitics, numpy.int64),
    )


def _letters(language: str, rule: str, keywords: list[Keyword]) -> list[str]:
    """Every character with its own symbol."""
    if rule == "published":
        return list(dict.fromkeys([" ", *"".join(k.bare for k in keywords)]))
    first = kernel.LATIN if language in UNSPACED else "".join(PROCLITICS) if language == "ar" else ""
    return list(dict.fromkeys(first + "".join(k.text for k in keywords).replace(" ", "")))


def _symbols_of_code_points(rule: str, alphabet: dict[str, int]) -> numpy.ndarray:
    """Automaton.symbol_of."""
    folding = folding_table(rule)
    of_character = numpy.full(kernel.CODE_POINTS, kernel.OTHER, numpy.uint16)
    of_character[[c for c in range(0x3001) if chr(c).isspace()]] = kernel.BOUNDARY  # folded texts have only U+0020
    for letter, number in alphabet.items():
        of_character[ord(letter)] = number
    lengths = numpy.diff(folding.starts)
    symbol_of = numpy.full(kernel.CODE_POINTS + 8 * len(lengths), kernel.SKIP, numpy.uint16)
    one, several = folding.single >= 0, folding.single < -1
    symbol_of[: kernel.CODE_POINTS][one] = of_character[folding.single[one]]
    symbol_of[: kernel.CODE_POINTS][several] = kernel.FIRST_SEQUENCE - 2 - folding.single[several]
    sequences = symbol_of[kernel.CODE_POINTS :].reshape(-1, 8)
    sequences[:, 0] = lengths
    for i in range(int(lengths.max())):
        longer = lengths > i
        sequences[longer, i + 1] = of_character[folding.parts[folding.starts[:-1][longer] + i]]
    return symbol_of


def _patterns(language: str, rule: str, keywords: list[Keyword], alphabet: dict[str, int]):
    """([(symbols, keyword number)], flags of each keyword)."""
    patterns, flags = [], []
    for number, keyword in enumerate(keywords):
        if rule == "published":
            body = tuple(alphabet[c] for c in keyword.bare)
            token = not is_long(keyword.bare, language)
            heads = ((kernel.BOUNDARY,), (kernel.SPACE,)) if token else ((),)
            if token and " " in keyword.bare:
                heads = ()  # short, but of two words: no single token equals it
            flag = kernel.TOKEN if token else 0
        else:
            body = tuple(kernel.BOUNDARY if c == " " else alphabet[c] for c in keyword.text)
            heads = ((),)
            if language in UNSPACED:
                flag = (
                    bool(LATIN_START.match(keyword.text)) * kernel.LATIN_LEFT
                    | bool(LATIN_END.match(keyword.text)) * kernel.LATIN_RIGHT
                )
            else:
                flag = kernel.WHOLE if keyword.place in ("whole", "ending") else 0
                if keyword.place in ("inside", "ending"):
                    flag |= kernel.INSIDE
                else:
                    heads = ((kernel.BOUNDARY,),)
                    if language == "ar":  # the last letters of proclitics: fewer positions to check
                        flag |= kernel.PROCLITIC
                        heads += tuple((alphabet[c],) for c in sorted({p[-1] for p in PROCLITICS if p}))
        patterns += [((*head, *body), number) for head in heads]
        flags.append(flag)
    return patterns, flags


def _states(patterns: list[tuple[tuple[int, ...], int]], symbols: int, runs: bool) -> dict:
    """The fields of Automaton that describe states. runs: whether a run of boundaries counts as one."""
    children: list[dict[int, int]] = [{}]
    ends: list[list[int]] = [[]]
    for pattern, number in patterns:
        node = 0
        for symbol in pattern:
            if symbol not in children[node]:
                children[node][symbol] = len(children)
                children.append({})
                ends.append([])
            node = children[node][symbol]
        ends[node].append(number)
    order, fail = _fallbacks(children, ends, runs)
    hits = sorted(node for node in order if ends[node])
    number_of = numpy.zeros(len(children), numpy.uint32)
    number_of[[node for node in order if not ends[node]] + hits] = numpy.arange(len(children))
    dense = len(children) * symbols * 4 <= MAX_TABLE_BYTES
    counts = [len(ends[node]) for node in hits]
    root_row = numpy.zeros(symbols, numpy.uint32)
    for symbol, child in children[0].items():
        root_row[symbol] = number_of[child]
    return {
        "start": int(number_of[children[0].get(kernel.BOUNDARY, 0)]),
        "first_hit": len(children) - len(hits),
        "dense": dense,
        **(_table(children, fail, order, number_of, symbols) if dense else _edges(children, fail, number_of)),
        "root_row": root_row,
        "hit_starts": numpy.cumsum([0, *counts], dtype=numpy.int32),
        "hit_keywords": numpy.array([k for node in hits for k in ends[node]], numpy.int32),
    }


def _fallbacks(children: list[dict[int, int]], ends: list[list[int]], runs: bool) -> tuple[list[int], list[int]]:
    """(nodes in breadth-first order, the longest suffix of each that is a node).

    Adds the keywords that end as suffixes to `ends`, and the loops of boundaries to `children`.
    """
    order, fail, loops = [0], [0] * len(children), []
    waiting = deque([0])
    while waiting:
        node = waiting.popleft()
        for symbol, child in list(children[node].items()):
            suffix = fail[node]
            while node and symbol not in children[suffix] and suffix:
                suffix = fail[suffix]
            fail[child] = children[suffix].get(symbol, 0) if node else 0
            ends[child] = ends[child] + ends[fail[child]]
            if runs and symbol == kernel.BOUNDARY:
                loops.append(child)
            order.append(child)
            waiting.append(child)
    for node in loops:
        children[node][kernel.BOUNDARY] = node
    return order, fail


def _table(children, fail, order, number_of, symbols: int) -> dict:
    rows = numpy.zeros((len(children), symbols), numpy.uint32)  # by node
    for node in order:
        if node:
            rows[node] = rows[fail[node]]
        for symbol, child in children[node].items():
            rows[node, symbol] = child
        rows[node, kernel.SKIP] = node
    table = numpy.empty_like(rows)
    table[number_of] = number_of[rows] * numpy.uint32(symbols)
    return {
        "table": table.reshape(-1),
        "edge_starts": numpy.zeros(1, numpy.int32),
        "edge_symbols": numpy.zeros(1, numpy.uint16),
        "edge_states": numpy.zeros(1, numpy.uint32),
        "fallback": numpy.zeros(1, numpy.uint32),
    }


def _edges(children, fail, number_of) -> dict:
    node_of = numpy.argsort(number_of).tolist()
    edges = [sorted(children[node].items()) for node in node_of]
    return {
        "table": numpy.zeros(1, numpy.uint32),
        "edge_starts": numpy.cumsum([0, *map(len, edges)], dtype=numpy.int32),
        "edge_symbols": numpy.array([symbol for row in edges for symbol, _ in row], numpy.uint16),
        "edge_states": number_of[[child for row in edges for _, child in row]],
        "fallback": number_of[[fail[node] for node in node_of]],
    }
