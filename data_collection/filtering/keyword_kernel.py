"""The compiled matcher: one pass over the UTF-8 bytes of many documents, with the tables of `keyword_column.py`.

Gives exactly the scores of the plain definition in `keyword_match.py`; works on Arrow's buffers without creating
strings. numba compiles it at the first use (cached beside this file, or in the user's cache if that is not writable).

Positions are bytes. A place in a text is (position of a code point, index in the sequence it folds to): the index is 0
except in sequences such as ss for sharp s. The bytes must be valid UTF-8; this is not checked here.
"""

import numba
import numpy

# Constants are defined here and not in keyword_column.py, because a change of this file invalidates numba's cache.
# Symbols: see `keyword_column.py`.
SKIP, BOUNDARY, OTHER, FIRST_LETTER = 0, 1, 2, 3
LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"  # in zh and ja the first symbols from FIRST_LETTER on, in this order
SPACE = FIRST_LETTER  # rule `published`: the plain space, which long keywords contain; other white space is a BOUNDARY
# Flags of a keyword.
WHOLE, LATIN_LEFT, LATIN_RIGHT, INSIDE, PROCLITIC, TOKEN = 1, 2, 4, 8, 16, 32
PUBLISHED, WORDS, ANYWHERE = 0, 1, 2  # ways to count
PROCLITIC_BASE = 1 << 15  # proclitics (at most 4 letters) as numbers to this base
CODE_POINTS = 0x110000
# Symbols are 16 bits wide: some 12,000 go to sequences.
MAX_LETTERS, FIRST_SEQUENCE = 50_000, 53_000
LATIN_LETTERS_END, LATIN_END = FIRST_LETTER + 26, FIRST_LETTER + 36
START, SPAN, LENGTH, KEYWORD, END = range(5)  # columns of a candidate: start, words, letters, keyword, end
COLUMNS = 5
LETTERS, WORDS_OF, FLAGS = range(3)  # columns of Automaton.keywords
# Columns of a lane (a document being scanned): number, position, end, state, characters and hits so far.
DOCUMENT, AT, UP_TO, STATE, CHARACTERS, HITS = range(6)
HITS_AT_ONCE, MAX_SEQUENCE = 4096, 8  # a sequence has at most 7 letters


def compiled(function):
    """numba's njit with a cache; without one if no cache folder is writable."""
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
def branchless_code_point(data, at, ascii_end):
    """`code_point`, but it branches on ASCII only below `ascii_end`; may read one byte more than it needs.

    With ascii_end 0x80 the processor predicts whether ASCII follows, nearly always correctly in Latin scripts. In
    scripts of two bytes per letter (Arabic, Cyrillic) every space is mispredicted; computing both cases is cheaper.
    """
    first = numpy.uint32(data[at])
    if first < ascii_end:
        return first, at + 1
    if first < 0xE0:
        longer = numpy.int64(first) >> 7  # 0 for ASCII, else 1
        return (first & (0x7F >> 2 * longer)) << 6 * longer | (data[at + 1] & (0x3F * longer)), at + 1 + longer
    return code_point(data, at)


@compiled
def previous(data, at):
    """The position of the code point before `at`."""
    at -= 1
    while data[at] & 0xC0 == 0x80:
        at -= 1
    return at


@compiled
def width(symbol_of, symbol):
    """Number of characters that a code point's symbol folds to."""
    if symbol < FIRST_SEQUENCE:
        return numpy.int64(symbol != SKIP)
    return numpy.int64(symbol_of[CODE_POINTS + 8 * (symbol - FIRST_SEQUENCE)])


@compiled
def part(symbol_of, symbol, index):
    """The letter at an index of the sequence that a code point folds to."""
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
    """The letter after a place; BOUNDARY at the end of the text."""
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
    """Start (position, index) of the keyword of `letters` letters that ends at a place, and its length."""
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

    memory: [2] the last argument and result, so that a long word is walked only once.
    """
    first, here = at, at
    while here > begin:
        here = previous(data, here)
        symbol = symbol_at(symbol_of, data, here)[0]
        if symbol == BOUNDARY:
            break
        if here <= memory[0]:  # calls come in the order in which keywords end: the same word
            first = memory[1]
            break
        if symbol != SKIP:
            first = here
    memory[0], memory[1] = at, first
    return first


@compiled
def after_proclitic(symbol_of, proclitics, data, at, index, begin):
    """(whether only an Arabic article, preposition or conjunction precedes a place in its word, start of the word)."""
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
    """(end, letters) of this many words, starting with the one that begins at `at`."""
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
    """Write the keyword that ends at a place to row; returns whether it matches there."""
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
    """Whether candidate i precedes j: starts earlier; has more words; has more letters; is earlier in the list."""
    if found[i, START] != found[j, START]:
        return found[i, START] < found[j, START]
    if found[i, SPAN] != found[j, SPAN]:
        return found[i, SPAN] > found[j, SPAN]
    if found[i, LENGTH] != found[j, LENGTH]:
        return found[i, LENGTH] > found[j, LENGTH]
    return found[i, KEYWORD] < found[j, KEYWORD]


@compiled
def resolve(way, symbol_of, data, end, found, n, seen, stamp):
    """(distinct keywords, characters covered) of a document's candidates, counting each position once."""
    for i in range(1, n):  # insertion sort: they are nearly in order
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
    """The next state if there is no table."""
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
def scan(a, data, lane, hits):
    """Scan a lane's text to its end, or until `hits` is full.

    hits: the places where keywords end, [position, index, characters so far, hit state].
    """
    table, symbol_of, dense = a.table, a.symbol_of, a.dense
    edge_starts, edge_symbols, edge_states = a.edge_starts, a.edge_symbols, a.edge_states
    fallback, root_row = a.fallback, a.root_row
    first_hit = numpy.uint32(a.first_hit * (a.symbols if dense else 1))
    at, end, state, characters, n = lane[AT], lane[UP_TO], numpy.uint32(lane[STATE]), lane[CHARACTERS], lane[HITS]
    while at < end and n < HITS_AT_ONCE - MAX_SEQUENCE:
        code, after = code_point(data, at)
        symbol = symbol_of[code]
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
        at = after
    lane[AT], lane[STATE], lane[CHARACTERS], lane[HITS] = at, state, characters, n


@compiled
def scan_two(table, symbol_of, first_hit, data, ascii_end, one, two, hits1, hits2):
    """`scan` two lanes alternately until one is done (except for the data's last byte); returns which, 0 or 1.

    Each step waits for the table lookup of the previous one; the other lane's step uses that time. The code is
    duplicated because numba makes a function that returns the numbers of one step 20 times slower.
    """
    at1, state1, characters1, n1 = one[AT], numpy.uint32(one[STATE]), one[CHARACTERS], one[HITS]
    at2, state2, characters2, n2 = two[AT], numpy.uint32(two[STATE]), two[CHARACTERS], two[HITS]
    # branchless_code_point may read one byte too many: never beyond the data.
    end1, end2 = min(one[UP_TO], len(data) - 1), min(two[UP_TO], len(data) - 1)
    full = HITS_AT_ONCE - MAX_SEQUENCE
    while at1 < end1 and at2 < end2 and n1 < full and n2 < full:
        code1, after1 = branchless_code_point(data, at1, ascii_end)
        code2, after2 = branchless_code_point(data, at2, ascii_end)
        symbol1, symbol2 = symbol_of[code1], symbol_of[code2]
        if symbol1 < FIRST_SEQUENCE:
            state1 = table[state1 + symbol1]
            characters1 += symbol1 != SKIP
            if state1 >= first_hit and symbol1 != SKIP:
                hits1[n1, 0], hits1[n1, 1], hits1[n1, 2], hits1[n1, 3] = at1, 0, characters1, state1
                n1 += 1
        else:
            for index in range(width(symbol_of, numpy.int64(symbol1))):
                state1 = table[state1 + numpy.uint16(part(symbol_of, numpy.int64(symbol1), index))]
                characters1 += 1
                if state1 >= first_hit:
                    hits1[n1, 0], hits1[n1, 1], hits1[n1, 2], hits1[n1, 3] = at1, index, characters1, state1
                    n1 += 1
        if symbol2 < FIRST_SEQUENCE:
            state2 = table[state2 + symbol2]
            characters2 += symbol2 != SKIP
            if state2 >= first_hit and symbol2 != SKIP:
                hits2[n2, 0], hits2[n2, 1], hits2[n2, 2], hits2[n2, 3] = at2, 0, characters2, state2
                n2 += 1
        else:
            for index in range(width(symbol_of, numpy.int64(symbol2))):
                state2 = table[state2 + numpy.uint16(part(symbol_of, numpy.int64(symbol2), index))]
                characters2 += 1
                if state2 >= first_hit:
                    hits2[n2, 0], hits2[n2, 1], hits2[n2, 2], hits2[n2, 3] = at2, index, characters2, state2
                    n2 += 1
        at1, at2 = after1, after2
    one[AT], one[STATE], one[CHARACTERS], one[HITS] = at1, state1, characters1, n1
    two[AT], two[STATE], two[CHARACTERS], two[HITS] = at2, state2, characters2, n2
    return numpy.int64(at1 < end1 and n1 < full)


@compiled
def score_documents(a, data, begins, ends, ascii_end, distinct, density):
    """Fill distinct (int32) and density (float64) of the documents data[begins[i]:ends[i]].

    ascii_end: see `branchless_code_point`. Two documents are scanned at once; when one ends, the next takes its lane.
    """
    symbol_of, hit_starts, hit_keywords, keywords, way = a.symbol_of, a.hit_starts, a.hit_keywords, a.keywords, a.way
    hits = numpy.empty((2, HITS_AT_ONCE, 4), numpy.int64)
    lanes = numpy.zeros((2, 6), numpy.int64)
    found = numpy.empty((1024, COLUMNS), numpy.int64)
    memory = numpy.empty(2, numpy.int64)
    seen = numpy.zeros(len(keywords), numpy.int64)
    free = numpy.zeros(len(keywords), numpy.int64)
    scale = a.symbols if a.dense else 1
    first_hit = numpy.uint32(a.first_hit * scale)
    which = 0
    for document in range(len(begins) + 1):
        if document < len(begins):
            lanes[which, DOCUMENT], lanes[which, AT], lanes[which, UP_TO] = document, begins[document], ends[document]
            lanes[which, STATE], lanes[which, CHARACTERS], lanes[which, HITS] = a.start * scale, 0, 0
        if document == 0:
            which = 1
            continue
        if document < len(begins) and a.dense:
            which = scan_two(a.table, symbol_of, first_hit, data, ascii_end, lanes[0], lanes[1], hits[0], hits[1])
        else:
            which = 1 - which
        # Evaluate that lane's document; the rest of its text (many hits, or the last document) is scanned alone.
        done, end = lanes[which, DOCUMENT], lanes[which, UP_TO]
        begin, stamp = begins[done], done + 1
        memory[:] = -1
        n = total = covered = 0
        while True:
            for h in range(lanes[which, HITS]):
                place, index, length = hits[which, h, 0], hits[which, h, 1], hits[which, h, 2]
                hit = hits[which, h, 3] // scale - a.first_hit
                for i in range(hit_starts[hit], hit_starts[hit + 1]):
                    keyword = numpy.int64(hit_keywords[i])
                    if way == PUBLISHED:
                        new, letters = count_published(
                            keywords, symbol_of, data, end, place, index, length, keyword, seen, free, stamp
                        )
                        total += new
                        covered += letters
                    else:
                        if n == len(found):
                            found = twice_as_long(found)
                        n += add_candidate(
                            way,
                            keywords,
                            a.proclitics,
                            symbol_of,
                            data,
                            begin,
                            end,
                            place,
                            index,
                            length,
                            keyword,
                            found[n],
                            memory,
                        )
            if lanes[which, AT] >= end:
                break
            lanes[which, HITS] = 0
            scan(a, data, lanes[which], hits[which])
        if way != PUBLISHED:
            total, covered = resolve(way, symbol_of, data, end, found, n, seen, stamp)
        characters = lanes[which, CHARACTERS]
        distinct[done] = total
        density[done] = covered / characters if characters else 0.0


@compiled
def breaks(third, second, last, byte):
    """Whether a byte cannot follow the three before it in UTF-8. Comparisons only: numba widens `&` to 64 bits."""
    continues = (byte >= 0x80) & (byte < 0xC0)
    awaited = (last >= 0xC0) | (second >= 0xE0) | (third >= 0xF0)
    return (
        (continues ^ awaited)
        | (byte == 0xC0)
        | (byte == 0xC1)
        | (byte > 0xF4)  # overlong; above U+10FFFF
        | ((last == 0xE0) & (byte < 0xA0))
        | ((last == 0xF0) & (byte < 0x90))  # overlong
        | ((last == 0xED) & (byte >= 0xA0))
        | ((last == 0xF4) & (byte >= 0x90))  # surrogates; above U+10FFFF
    )


@compiled
def is_utf8(data, begin, end):
    """Whether data[begin:end] is UTF-8 (table 3-7 of https://www.unicode.org/versions/Unicode15.0.0/ch03.pdf).

    Each byte is checked against the three before it without branches, so that LLVM processes 32 bytes at a time.
    """
    wrong, third, second, last = False, numpy.uint8(0), numpy.uint8(0), numpy.uint8(0)
    for at in range(begin, min(begin + 3, end)):
        wrong |= breaks(third, second, last, data[at])
        third, second, last = second, last, data[at]
    if end - begin > 3:
        a, b, c, d = data[begin : end - 3], data[begin + 1 : end - 2], data[begin + 2 : end - 1], data[begin + 3 : end]
        for i in range(len(d)):
            wrong |= breaks(a[i], b[i], c[i], d[i])
        third, second, last = data[end - 3], data[end - 2], data[end - 1]
    return not (wrong | breaks(third, second, last, numpy.uint8(0)))
