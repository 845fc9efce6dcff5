"""Tell repetitive text by the shares of repeated lines and word sequences, as Rae et al. 2021 (Gopher), table A1.

https://arxiv.org/abs/2112.11446. Shares are of the characters of words, white space left out. Chinese and Japanese have
no spaces between words: there a word is taken as two characters. Example:

    python -c "import repetition; print(repetition.is_repetitive('Buy now. ' * 30, 'en'))"
"""

import numba
import numpy

UNSPACED = ("zh", "ja")
CHARACTERS_PER_WORD = 2  # of zh and ja
# Limits: twice the published ones for lines (0.30, 0.20) and the most frequent sequences (0.20, 0.18, 0.16), four times
# for repeated sequences (0.15 to 0.10). The published ones would leave out 3.7 % of the medical documents that
# check_cleaning.py reads: leaflets and guidelines name the same drug, and warn with the same words, again and again.
MAX_DUPLICATE_LINES = 0.60  # share of the lines that repeat an earlier one
MAX_DUPLICATE_LINE_CHARACTERS = 0.40
MAX_TOP_SHARE = {2: 0.40, 3: 0.36, 4: 0.32}  # characters in the most frequent sequence of n words
MAX_REPEATED_SHARE = {5: 0.60, 6: 0.56, 7: 0.52, 8: 0.48, 9: 0.44, 10: 0.40}  # in later copies of sequences of n words


def has_repeated_lines(lines: list[str]) -> bool:
    """Whether too many lines, or too much of the text, repeat earlier lines. Blank lines do not count."""
    lines = [stripped for line in lines if (stripped := line.strip())]
    distinct = set(lines)
    if len(distinct) == len(lines):
        return False
    if len(lines) - len(distinct) > MAX_DUPLICATE_LINES * len(lines):
        return True
    characters = sum(map(len, lines))
    return characters - sum(map(len, distinct)) > MAX_DUPLICATE_LINE_CHARACTERS * characters


def is_repetitive(text: str, language: str) -> bool:
    """Whether sequences of words (in zh and ja: of characters) repeat more than the limits allow."""
    unspaced = language in UNSPACED
    scale = CHARACTERS_PER_WORD if unspaced else 1
    words, lengths = _words(numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32), unspaced)
    total = lengths.sum()
    for n, limit in MAX_TOP_SHARE.items():
        if top_characters(words, lengths, n * scale) > limit * total:
            return True
    for n, limit in MAX_REPEATED_SHARE.items():
        repeated = repeated_characters(words, lengths, n * scale)
        if repeated > limit * total:
            return True
        if repeated <= min(MAX_REPEATED_SHARE.values()) * total:
            return False  # longer sequences are repeated less
    return False


@numba.njit(cache=True)
def _words(points, unspaced):
    """(hash, characters) of every word of the code points (uint32); unspaced: of every character but white space."""
    words = numpy.empty(len(points), numpy.uint64)
    lengths = numpy.empty(len(points), numpy.int64)
    count = length = 0
    value = numpy.uint64(0)
    for i in range(len(points) + 1):
        point = points[i] if i < len(points) else numpy.uint32(32)
        space = (
            point == 32 or 9 <= point <= 13 or 28 <= point <= 31 or point == 0x85 or point == 0xA0
            or point == 0x1680 or 0x2000 <= point <= 0x200A or point == 0x2028 or point == 0x2029
            or point == 0x202F or point == 0x205F or point == 0x3000
        )  # fmt: skip
        if not space:
            value = _mix(value, numpy.uint64(point))
            length += 1
        if length and (space or unspaced):
            words[count], lengths[count] = value, length
            count += 1
            value, length = numpy.uint64(0), 0
    return words[:count], lengths[:count]


@numba.njit(cache=True)
def _mix(value, more):
    """A 64-bit hash of a hash and a number: the finishing steps of splitmix64 (Steele et al. 2014)."""
    value = value * numpy.uint64(31) + more + numpy.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return value ^ (value >> numpy.uint64(31))


@numba.njit(cache=True)
def _occurrences(words, n):
    """For every sequence of n words, by its place: how often it has come up to here, itself included (int64).

    0 where it overlaps its own occurrence before: a row of ten dashes is five times two dashes, not nine.
    """
    places = max(0, len(words) - n + 1)
    result = numpy.empty(places, numpy.int64)
    slots = 16
    while slots < 2 * places:
        slots *= 2
    keys = numpy.zeros(slots, numpy.uint64)
    counts = numpy.zeros(slots, numpy.int64)
    ends = numpy.zeros(slots, numpy.int64)
    last_slot = numpy.uint64(slots - 1)
    for i in range(places):
        key = numpy.uint64(0)
        for word in words[i : i + n]:
            key = _mix(key, word)
        key |= numpy.uint64(1)  # 0 is an empty slot
        slot = (key >> numpy.uint64(20)) & last_slot
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + numpy.uint64(1)) & last_slot
        keys[slot] = key
        result[i] = 0
        if i >= ends[slot]:
            counts[slot] += 1
            ends[slot] = i + n
            result[i] = counts[slot]
    return result


@numba.njit(cache=True)
def top_characters(words, lengths, n):
    """Characters in all occurrences of the sequence of n words that takes most; 0 where none comes twice."""
    most = 0
    occurrences = _occurrences(words, n)
    for i in range(len(occurrences)):
        if occurrences[i] > 1:
            most = max(most, occurrences[i] * lengths[i : i + n].sum())
    return most


@numba.njit(cache=True)
def repeated_characters(words, lengths, n):
    """Characters in second and later occurrences of sequences of n words, each character counted once."""
    covered = end = 0
    occurrences = _occurrences(words, n)
    for i in range(len(occurrences)):
        if occurrences[i] > 1:
            covered += lengths[max(i, end) : i + n].sum()
            end = i + n
    return covered
