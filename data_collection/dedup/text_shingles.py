"""The shingles of a text, as hashes: what near duplicates are measured by.

A shingle is five units in a row; a unit is a word, in Chinese and Japanese a character. Letters and digits count, after
NFKC and case folding; punctuation, symbols, vowel marks and joiners do not. Compiled at the first use. Example:

    python -c "import text_shingles as t; print(t.shingle_hashes(['Fever and cough for three days'], 'en'))"
"""

import functools
import unicodedata

import numpy

from filtering.keyword_kernel import compiled
from readers.text_identity import normalised_text

# Lee et al. 2022 (https://arxiv.org/abs/2107.06499) compare 5-grams at a Jaccard similarity of 0.8. An isolated change
# touches 5 of n shingles, so that 0.8 allows changes of one word in 45: one in a text of 300 characters (50 words), 17
# in one of 5,000. Of characters, as many as of words, since every character begins a shingle.
UNITS = 5
CHARACTER_LANGUAGES = ("zh", "ja")
SEPARATOR, LETTER, SKIPPED = 0, 1, 2
TATWEEL = 0x640  # stretches Arabic words
LAST_ASSIGNED = 0x33480  # above are only private use and variation selectors
# The multipliers of MurmurHash3's 64-bit finaliser (https://github.com/aappleby/smhasher), and two odd ones of our own.
MIX_1, MIX_2 = numpy.uint64(0xFF51AFD7ED558CCD), numpy.uint64(0xC4CEB9FE1A85EC53)
WORD_STEP, SHINGLE_STEP = numpy.uint64(0x9E3779B97F4A7C15), numpy.uint64(0xD6E8FEB86659FD93)
HALF, MIX_SHIFT, NOTHING = numpy.uint64(32), numpy.uint64(33), numpy.uint64(0)


def shingle_hashes(texts: list[str], language: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(hashes, ends) of texts in one language: text i has the distinct hashes [ends[i-1], ends[i]), ascending.

    hashes: uint32 (two shingles of a text of 1,000 are taken for one with a chance of 0.0001); ends: int64. A text of
    fewer than five units has one shingle of what is there; one without any unit has none.
    """
    normalised = [normalised_text(text) for text in texts]
    codes = numpy.frombuffer("".join(normalised).encode("utf-32-le", "surrogatepass"), "<u4")
    text_ends = numpy.cumsum([len(text) for text in normalised], dtype=numpy.int64)
    found = numpy.empty(len(codes) + len(texts), numpy.uint64)
    count = hash_texts(codes, text_ends, letter_kinds(), language in CHARACTER_LANGUAGES, found)
    found = found[:count]
    found.sort()  # by text, then by hash; numpy.unique takes five times as long
    found = found[numpy.append(True, found[1:] != found[:-1])[:count]]
    ends = numpy.searchsorted(found, numpy.arange(1, len(texts) + 1, dtype=numpy.uint64) << HALF)
    return found.astype(numpy.uint32), ends.astype(numpy.int64)


@functools.cache
def letter_kinds() -> numpy.ndarray:
    """For every code point SEPARATOR, LETTER or SKIPPED (uint8)."""
    kinds = numpy.array([character.isalnum() for character in map(chr, range(0x110000))], numpy.uint8)
    for code in range(LAST_ASSIGNED):
        if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me", "Cf"):
            kinds[code] = SKIPPED
    kinds[TATWEEL] = SKIPPED
    return kinds


@compiled
def mixed(value):
    value = (value ^ (value >> MIX_SHIFT)) * MIX_1
    value = (value ^ (value >> MIX_SHIFT)) * MIX_2
    return value ^ (value >> MIX_SHIFT)


@compiled
def shingle_of(ring, first, last):
    """The hash of the units [first, last), of which the ring holds the last five."""
    value = NOTHING
    for unit in range(first, last):
        value = (value + ring[unit % UNITS]) * SHINGLE_STEP
    return mixed(value) >> HALF


@compiled
def hash_texts(codes, ends, kinds, characters, found):
    """Write (number of the text, shingle's hash) in one uint64 for every shingle; returns how many.

    codes: code points of all texts; ends: where each ends; characters: whether each letter is a unit of its own.
    """
    ring = numpy.zeros(UNITS, numpy.uint64)
    count = at = 0
    for text in range(len(ends)):
        label = numpy.uint64(text) << HALF
        units = 0
        word = NOTHING
        inside = False
        while at <= ends[text]:
            kind = kinds[codes[at]] if at < ends[text] else SEPARATOR
            if at == ends[text] and not inside:
                break
            at += 1
            if kind == SKIPPED:
                continue
            if kind == LETTER:
                word = mixed((word + numpy.uint64(codes[at - 1])) * WORD_STEP)
                inside = True
                if not characters:
                    continue
            elif not inside:
                continue
            ring[units % UNITS] = word
            units += 1
            word = NOTHING
            inside = False
            if units >= UNITS:
                found[count] = label | shingle_of(ring, units - UNITS, units)
                count += 1
        at = ends[text]
        if 0 < units < UNITS:
            found[count] = label | shingle_of(ring, 0, units)
            count += 1
    return count
