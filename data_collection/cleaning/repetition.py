"""Detect repetitive text by the shares of repeated word sequences, as Rae et al. 2021 (Gopher), table A1.

https://arxiv.org/abs/2112.11446. Shares are of the characters of words, without white space. Chinese and Japanese have
no spaces between words: two characters count as a word. Words and sequences are compared by 64-bit hashes in compiled
code (numba); a test compares it with plain counting.
"""

import numba
import numpy

UNSPACED = ("zh", "ja")
CHARACTERS_PER_WORD = 2  # in zh and ja
# Limits: twice the published ones for the most frequent sequences (0.20, 0.18, 0.16), four times for repeated sequences
# (0.15 to 0.10). The published ones and those for lines would reject 3.7 % of the medical documents that
# check_cleaning.py reads: leaflets and guidelines repeat the name of a drug and the words of a warning.
MAX_TOP_SHARE = {2: 0.40, 3: 0.36, 4: 0.32}  # characters in the most frequent sequence of n words
MAX_REPEATED_SHARE = {5: 0.60, 6: 0.56, 7: 0.52, 8: 0.48, 9: 0.44, 10: 0.40}  # in later copies of sequences of n words


def is_repetitive(text: str, language: str) -> bool:
    """Whether sequences of words (in zh and ja: of characters) repeat more often than the limits allow."""
    unspaced = language in UNSPACED
    scale = CHARACTERS_PER_WORD if unspaced else 1
    words, lengths = find_words(text, unspaced)
    total = lengths.sum()
    for n, limit in MAX_TOP_SHARE.items():
        if top_characters(words, lengths, n * scale) > limit * total:
            return True
    for n, limit in MAX_REPEATED_SHARE.items():
        repeated = repeated_characters(words, lengths, n * scale)
        if repeated > limit * total:
            return True
        if repeated <= min(MAX_REPEATED_SHARE.values()) * total:
            return False  # longer sequences repeat less
    return False


def compiled(function):
    """numba's njit with a cache; without one if no cache folder is writable."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(nogil=True)(function)


def find_words(text: str, unspaced: bool) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(hash (uint64), characters (int64)) of every word; unspaced: of every character except white space."""
    return _words(numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), numpy.uint32), unspaced)


@compiled
def _words(points, unspaced):
    words = numpy.empty(len(points), numpy.uint64)
    lengths = numpy.empty(len(points), numpy.int64)
    count = length = 0
    value = numpy.uint64(0)
    for i in range(len(points) + 1):
        point = points[i] if i < len(points) else numpy.uint32(32)
        space = (
            point == 32
            or 9 <= point <= 13
            or 28 <= point <= 31
            or point == 0x85
            or point == 0xA0
            or point == 0x1680
            or 0x2000 <= point <= 0x200A
            or point == 0x2028
            or point == 0x2029
            or point == 0x202F
            or point == 0x205F
            or point == 0x3000
        )
        if not space:
            value = _mix(value, numpy.uint64(point))
            length += 1
        if length and (space or unspaced):
            words[count], lengths[count] = value, length
            count += 1
            value, length = numpy.uint64(0), 0
    return words[:count], lengths[:count]


@compiled
def _mix(value, more):
    """A 64-bit hash of a hash and a number: the finishing steps of splitmix64 (Steele et al. 2014)."""
    value = value * numpy.uint64(31) + more + numpy.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return value ^ (value >> numpy.uint64(31))


@compiled
def _occurrences(words, n):
    """For the sequence of n words at each position: its number of occurrences so far, this one included (int64).

    0 if it overlaps its previous occurrence: a row of ten dashes is five times two dashes, not nine.
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
    # The polynomial rolling hash of Rabin and Karp (1987).
    base, power, rolled = numpy.uint64(0x9E3779B97F4A7C15), numpy.uint64(1), numpy.uint64(0)
    for word in words[:n]:
        rolled = rolled * base + word
        power *= base
    for i in range(places):
        if i:
            rolled = rolled * base + words[i + n - 1] - power * words[i - 1]
        key = _mix(numpy.uint64(0), rolled) | numpy.uint64(1)  # 0 is an empty slot
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


@compiled
def top_characters(words, lengths, n):
    """Characters in all occurrences of the sequence of n words that covers most; 0 if none occurs twice."""
    most = 0
    occurrences = _occurrences(words, n)
    for i in range(len(occurrences)):
        if occurrences[i] > 1:
            most = max(most, occurrences[i] * lengths[i : i + n].sum())
    return most


@compiled
def repeated_characters(words, lengths, n):
    """Characters in second and later occurrences of sequences of n words, each character counted once."""
    covered = end = 0
    occurrences = _occurrences(words, n)
    for i in range(len(occurrences)):
        if occurrences[i] > 1:
            covered += lengths[max(i, end) : i + n].sum()
            end = i + n
    return covered
