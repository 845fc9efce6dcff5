"""The compiled matcher: one pass over the UTF-8 bytes of many documents, by the tables of `keyword_automaton.py`.

Gives exactly the numbers of the plain definition in `keyword_match.py`; works on Arrow's buffers, makes no strings.
numba compiles it at the first use (cached beside this file, or in the user's cache where that is not writable).

Positions are bytes. A place inside a text is (position of a code point, index in the sequence it stands for): the
second is 0 but for such as sharp s (ss). The bytes must be valid UTF-8: nothing is checked here.
"""

import numba
import numpy

# Numbers stand here and not in keyword_automaton.py, because a change of this file is what renews numba's cache.
# Symbols, which `keyword_automaton.py` explains.
SKIP, BOUNDARY, OTHER, FIRST_LETTER = 0, 1, 2, 3
LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"  # in zh and ja the first letters: FIRST_LETTER and on, in this order
SPACE = FIRST_LETTER  # rule `published`: the plain space, which long keywords hold; other white space is a BOUNDARY
# Flags of a keyword.
WHOLE, LATIN_LEFT, LATIN_RIGHT, INSIDE, PROCLITIC, TOKEN = 1, 2, 4, 8, 16, 32
PUBLISHED, WORDS, ANYWHERE = 0, 1, 2  # ways to count
PROCLITIC_BASE = 1 << 15  # proclitics (at most 4 letters) as numbers of this base
CODE_POINTS = 0x110000
# Symbols are 16 bits wide: some 12,000 go to sequences.
MAX_LETTERS, FIRST_SEQUENCE = 50_000, 53_000
LATIN_LETTERS_END, LATIN_END = FIRST_LETTER + 26, FIRST_LETTER + 36
START, SPAN, LENGTH, KEYWORD, END = range(5)  # columns of a candidate: where, how many words, letters, which, up to
COLUMNS = 5
LETTERS, WORDS_OF, FLAGS = range(3)  # columns of Automaton.keywords


def compiled(function):
    """numba's njit with a cache; without one where no folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(nogil=True, error_model="numpy")(function)


@compiled
def code_point(data, at):
    """(code point, position of the next) of the UTF-8 sequence that begins at `at`."""
    first = numpy.uint32(data[at])
    if first < 0x80:
        return first, at + 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (data[at + 1] & 0x3F), at + 2
    if first < 0xF0:
        return (first & 0xF) << 12 | (data[at + 1] & 0x3F) << 6 | (data[at + 2] & 0x3F), at + 3
    return (
        (first & 0x7) << 18 | (data[at + 1] & 0x3F) << 12 | (data[at + 2] & 0x3F) << 6 | (data[at + 3] & 0x3F)
    ), at + 4


@compiled
def previous(data, at):
    """The position of the code point before `at`."""
    at -= 1
    while data[at] & 0xC0 == 0x80:
        at -= 1
    return at


@compiled
def width(symbol_of, symbol):
    """How many characters a symbol of a code point stands for."""
    if symbol < FIRST_SEQUENCE:
        return numpy.int64(symbol != SKIP)
    return numpy.int64(symbol_of[CODE_POINTS + 8 * (symbol - FIRST_SEQUENCE)])


@compiled
def part(symbol_of, symbol, index):
    """The letter at an index of what a code point stands for."""
    if symbol < FIRST_SEQUENCE:
        return symbol
    return numpy.int64(symbol_of[CODE_POINTS + 8 * (symbol - FIRST_SEQUENCE) + 1 + index])


@compiled
def symbol_at(symbol_of, data, at):
    """(symbol, position of the next code point)."""
    code, after = code_point(data, at)
    return numpy.int64(symbol_of[code]), after


@compiled
def letter_after(symbol_of, data, at, index, end):
    """The letter that follows a place; BOUNDARY at the end of the text."""
    symbol, after = symbol_at(symbol_of, data, at)
    if index + 1 < width(symbol_of, symbol):
        return part(symbol_of, symbol, index + 1)
    while after < end:
        symbol, after = symbol_at(symbol_of, data, after)
        if symbol != SKIP:
            return part(symbol_of, symbol, 0)
    return BOUNDARY


@compiled
def letter_before(symbol_of, data, at, index, begin):
    """The letter before a place; BOUNDARY at the beginning of the text."""
    if index > 0:
        return part(symbol_of, symbol_at(symbol_of, data, at)[0], index - 1)
    while at > begin:
        at = previous(data, at)
        symbol = symbol_at(symbol_of, data, at)[0]
        if symbol != SKIP:
            return part(symbol_of, symbol, width(symbol_of, symbol) - 1)
    return BOUNDARY


@compiled
def go_back(symbol_of, data, at, index, letters):
    """The place where a keyword of so many letters begins that ends at a place, and its length in characters."""
    available, length = index + 1, 0
    while letters > available:
        letters -= available
        length += available
        at = previous(data, at)
        symbol = symbol_at(symbol_of, data, at)[0]
        available = width(symbol_of, symbol)
        if symbol == BOUNDARY:  # between the words of a keyword
            available = 0
            length += 1
    return at, available - letters, length + letters


@compiled
def word_start(symbol_of, data, at, begin, memory):
    """The position of the first code point of the word around `at`.

    memory: [2] the last question and its answer, so that a long word is walked only once.
    """
    first, here = at, at
    while here > begin:
        here = previous(data, here)
        symbol = symbol_at(symbol_of, data, here)[0]
        if symbol == BOUNDARY:
            break
        if here <= memory[0]:  # questions come in the order of where keywords end: the same word
            first = memory[1]
            break
        if symbol != SKIP:
            first = here
    memory[0], memory[1] = at, first
    return first


@compiled
def after_proclitic(symbol_of, proclitics, data, at, index, begin):
    """(whether only an Arabic article, preposition or conjunction stands before a place; the start of its word)."""
    code, scale, count, first = 0, 1, 0, at
    symbol = symbol_at(symbol_of, data, at)[0]
    while True:
        while index > 0:
            index -= 1
            count += 1
            if count > 4:
                return False, first
            code += scale * part(symbol_of, symbol, index)
            scale *= PROCLITIC_BASE
        if at == begin:
            break
        at = previous(data, at)
        symbol = symbol_at(symbol_of, data, at)[0]
        if symbol == BOUNDARY:
            break
        index = width(symbol_of, symbol)
        if index > 0:
            first = at
    if count == 0:
        return True, first
    for proclitic in proclitics:
        if proclitic == code:
            return True, first
    return False, first


@compiled
def cover_words(symbol_of, data, at, end, words):
    """(end, letters) of so many words from the word that begins at `at`."""
    letters, inside = 0, True
    while at < end:
        symbol, after = symbol_at(symbol_of, data, at)
        if symbol == BOUNDARY:
            words -= inside
            inside = False
            if words == 0:
                break
        elif symbol != SKIP:
            inside = True
            letters += width(symbol_of, symbol)
        at = after
    return at, letters


@compiled
def add_candidate(way, keywords, proclitics, symbol_of, data, begin, end, at, index, characters, keyword, row, memory):
    """Write the keyword that ends at a place to row; returns whether it may stand there."""
    letters, words, flags = keywords[keyword, LETTERS], keywords[keyword, WORDS_OF], keywords[keyword, FLAGS]
    if flags & (WHOLE | LATIN_RIGHT):
        follows = letter_after(symbol_of, data, at, index, end)
        if flags & WHOLE and follows != BOUNDARY:
            return False
        if flags & LATIN_RIGHT and FIRST_LETTER <= follows < LATIN_LETTERS_END:
            return False
    at, index, length = go_back(symbol_of, data, at, index, letters)
    if flags & LATIN_LEFT and FIRST_LETTER <= letter_before(symbol_of, data, at, index, begin) < LATIN_END:
        return False
    if flags & PROCLITIC:
        fits, at = after_proclitic(symbol_of, proclitics, data, at, index, begin)
        if not fits:
            return False
    elif flags & INSIDE:
        at = word_start(symbol_of, data, at, begin, memory)
    row[START] = characters - length if way == ANYWHERE else at
    row[SPAN] = words if way == WORDS else 1
    row[LENGTH] = letters
    row[KEYWORD] = keyword
    row[END] = characters
    return True


@compiled
def comes_before(found, i, j):
    """Whether candidate i goes before j: the earlier; of more words; of more letters; earlier in the list."""
    if found[i, START] != found[j, START]:
        return found[i, START] < found[j, START]
    if found[i, SPAN] != found[j, SPAN]:
        return found[i, SPAN] > found[j, SPAN]
    if found[i, LENGTH] != found[j, LENGTH]:
        return found[i, LENGTH] > found[j, LENGTH]
    return found[i, KEYWORD] < found[j, KEYWORD]


@compiled
def settle(way, symbol_of, data, end, found, n, seen, stamp):
    """(distinct keywords, characters covered) of a document's candidates, each place counted once."""
    for i in range(1, n):  # sorts by insertion: they come nearly in order
        j = i
        while j > 0 and comes_before(found, j, j - 1):
            for column in range(COLUMNS):
                found[j, column], found[j - 1, column] = found[j - 1, column], found[j, column]
            j -= 1
    distinct, covered, free = 0, 0, 0
    for i in range(n):
        if found[i, START] < free:
            continue
        if way == ANYWHERE:
            free = found[i, END]
            covered += found[i, LENGTH]
        else:
            free, letters = cover_words(symbol_of, data, found[i, START], end, found[i, SPAN])
            covered += letters
        if seen[found[i, KEYWORD]] != stamp:
            seen[found[i, KEYWORD]] = stamp
            distinct += 1
    return distinct, covered


@compiled
def count_published(keywords, symbol_of, data, end, at, index, characters, keyword, seen, free, stamp):
    """(1 if the keyword is new to the document, its characters if it counts here) for the published rule."""
    letters = keywords[keyword, LETTERS]
    if keywords[keyword, FLAGS] & TOKEN:
        follows = letter_after(symbol_of, data, at, index, end)
        if follows != BOUNDARY and follows != SPACE:
            return 0, 0
    elif seen[keyword] == stamp and characters - letters < free[keyword]:
        return 0, 0  # overlaps itself
    new = seen[keyword] != stamp
    seen[keyword] = stamp
    free[keyword] = characters
    return numpy.int64(new), letters


@compiled
def twice_as_long(found):
    longer = numpy.empty((2 * len(found), COLUMNS), numpy.int64)
    for row in range(len(found)):
        for column in range(COLUMNS):
            longer[row, column] = found[row, column]
    return longer


@compiled
def look_up(edge_starts, edge_symbols, edge_states, fallback, root_row, state, symbol):
    """The next state, where there is no table."""
    while state != 0:
        low, high = edge_starts[state], edge_starts[state + 1]
        while low < high:
            middle = (low + high) // 2
            if edge_symbols[middle] < symbol:
                low = middle + 1
            else:
                high = middle
        if low < edge_starts[state + 1] and edge_symbols[low] == symbol:
            return edge_states[low]
        state = fallback[state]
    return root_row[symbol]


@compiled
def scan(a, data, at, end, state, hits):
    """Walk a text from `at`; writes where keywords end to hits: [place (2 numbers), characters so far, hit state].

    Returns (n hits, position reached, state, characters): the end of the text, or earlier if `hits` is full.
    """
    table, symbol_of, dense = a.table, a.symbol_of, a.dense
    edge_starts, edge_symbols, edge_states, fallback, root_row = (
        a.edge_starts, a.edge_symbols, a.edge_states, a.fallback, a.root_row)  # fmt: skip
    first_hit = numpy.uint32(a.first_hit * (a.symbols if dense else 1))
    n, characters, full = 0, 0, len(hits) - 8  # a sequence has at most 7 letters
    while at < end:
        code, after = code_point(data, at)
        symbol = symbol_of[code]
        if symbol < FIRST_SEQUENCE:
            if dense:
                state = table[state + symbol]
            elif symbol != SKIP:
                state = look_up(edge_starts, edge_symbols, edge_states, fallback, root_row, state, symbol)
            characters += symbol != SKIP
            if state >= first_hit and symbol != SKIP:
                hits[n, 0], hits[n, 1], hits[n, 2], hits[n, 3] = at, 0, characters, state
                n += 1
                if n >= full:
                    at = after
                    break
        else:
            for index in range(width(symbol_of, numpy.int64(symbol))):
                letter = numpy.uint16(part(symbol_of, numpy.int64(symbol), index))
                if dense:
                    state = table[state + letter]
                else:
                    state = look_up(edge_starts, edge_symbols, edge_states, fallback, root_row, state, letter)
                characters += 1
                if state >= first_hit:
                    hits[n, 0], hits[n, 1], hits[n, 2], hits[n, 3] = at, index, characters, state
                    n += 1
            if n >= full:
                at = after
                break
        at = after
    return n, at, state, characters


@compiled
def score_documents(a, data, begins, ends, distinct, density):
    """Fill distinct (int32) and density (float64) of the documents data[begins[i]:ends[i]]."""
    symbol_of, hit_starts, hit_keywords, keywords, way = a.symbol_of, a.hit_starts, a.hit_keywords, a.keywords, a.way
    hits = numpy.empty((4096, 4), numpy.int64)
    found = numpy.empty((1024, COLUMNS), numpy.int64)
    memory = numpy.empty(2, numpy.int64)
    seen = numpy.zeros(len(keywords), numpy.int64)
    free = numpy.zeros(len(keywords), numpy.int64)
    scale = a.symbols if a.dense else 1
    for document in range(len(begins)):
        begin, end, stamp = begins[document], ends[document], document + 1
        memory[:] = -1
        state, characters, n, total, covered, at = numpy.uint32(a.start * scale), 0, 0, 0, 0, begin
        while at < end:
            n_hits, at, state, more = scan(a, data, at, end, state, hits)
            for h in range(n_hits):
                place, index, length = hits[h, 0], hits[h, 1], characters + hits[h, 2]
                hit = hits[h, 3] // scale - a.first_hit
                for i in range(hit_starts[hit], hit_starts[hit + 1]):
                    keyword = numpy.int64(hit_keywords[i])
                    if way == PUBLISHED:
                        new, letters = count_published(keywords, symbol_of, data, end, place, index, length, keyword,
                                                       seen, free, stamp)  # fmt: skip
                        total += new
                        covered += letters
                    else:
                        if n == len(found):
                            found = twice_as_long(found)
                        n += add_candidate(way, keywords, a.proclitics, symbol_of, data, begin, end, place, index,
                                           length, keyword, found[n], memory)  # fmt: skip
            characters += more
        if way != PUBLISHED:
            total, covered = settle(way, symbol_of, data, end, found, n, seen, stamp)
        distinct[document] = total
        density[document] = covered / characters if characters else 0.0
