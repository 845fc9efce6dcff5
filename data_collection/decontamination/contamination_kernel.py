"""Compiled twins of `find_places` and `covered_near` in `contamination_match.py`: question tokens in a document.

Texts come as code points (uint32, one a character); tokens are 64-bit hashes, so that two different ones are taken for
one with a chance of some 2**-64 a pair. numba compiles at the first use and keeps the result beside this file.
"""

import numba
import numpy

from decontamination.contamination_match import CJK

FNV_OFFSET, FNV_PRIME = numpy.uint64(0xCBF29CE484222325), numpy.uint64(0x100000001B3)
MIX_1, MIX_2 = numpy.uint64(0xBF58476D1CE4E5B9), numpy.uint64(0x94D049BB133111EB)  # of splitmix64
GRAM_FACTOR = numpy.uint64(0x9E3779B97F4A7C15)
CJK_RANGES = numpy.array(CJK, numpy.int64)
SPACE, UNDERSCORE = 32, 95
FIRST_CJK = CJK[0][0]
DIAGONALS = numpy.int64(1) << 40  # more than tokens in any document
COVERED, FIRST, LAST, UNIT_FIRST, UNIT_LAST, UNIT = range(6)  # columns of places


def compiled(function):
    """numba's njit with a cache; without one where no folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(nogil=True)(function)


@compiled
def mixed(value):
    value = (value ^ (value >> numpy.uint64(30))) * MIX_1
    value = (value ^ (value >> numpy.uint64(27))) * MIX_2
    return value ^ (value >> numpy.uint64(31))


@compiled
def is_cjk(code):
    if code < FIRST_CJK:
        return False
    inside = False
    for k in range(len(CJK_RANGES)):
        inside |= CJK_RANGES[k, 0] <= code <= CJK_RANGES[k, 1]
    return inside


@compiled
def has_cjk(codes):
    """Whether a text may hold Chinese or Japanese (half-width kana included)."""
    return len(codes) > 0 and codes.max() >= FIRST_CJK


@compiled
def tokens_of(codes, single, starts, parts, by_characters):
    """(hash, start, end) of each token of a text, as contamination_match.tokens. Tables: text_folding.folding_table."""
    room = 0
    for code in codes:
        folded = single[code]
        room += 1 if folded >= -1 else starts[-1 - folded] - starts[-2 - folded]
    hashes = numpy.empty(room, numpy.uint64)
    first, last = numpy.empty(room, numpy.int64), numpy.empty(room, numpy.int64)
    count, word, inside, begin, end = 0, FNV_OFFSET, False, 0, 0
    for i in range(len(codes)):
        folded = numpy.int64(single[codes[i]])
        if folded == -1:
            continue
        low, high = (0, 1) if folded >= 0 else (starts[-2 - folded], starts[-1 - folded])
        for k in range(low, high):
            letter = folded if folded >= 0 else numpy.int64(parts[k])
            space = letter in (SPACE, UNDERSCORE)
            alone = by_characters or is_cjk(letter)
            if inside and (space or alone):
                hashes[count], first[count], last[count] = mixed(word), begin, end
                count += 1
                inside, word = False, FNV_OFFSET
            if space:
                continue
            if alone:
                hashes[count] = mixed((FNV_OFFSET ^ numpy.uint64(letter)) * FNV_PRIME)
                first[count], last[count] = i, i + 1
                count += 1
                continue
            if not inside:
                begin, inside = i, True
            end = i + 1
            word = (word ^ numpy.uint64(letter)) * FNV_PRIME
    if inside:
        hashes[count], first[count], last[count] = mixed(word), begin, end
        count += 1
    return hashes[:count], first[:count], last[:count]


@compiled
def gram_at(hashes, at, n):
    """The hash of the n tokens from `at` on; never 0, which is an empty slot."""
    value = numpy.uint64(n)
    for k in range(at, at + n):
        value = mixed(value * GRAM_FACTOR + hashes[k])
    return value | numpy.uint64(1)


@compiled
def grams_of(hashes, offsets, n):
    """(gram, unit, position) of every gram of units whose tokens stand at [offsets[u], offsets[u + 1])."""
    room = 0
    for u in range(len(offsets) - 1):
        room += max(0, offsets[u + 1] - offsets[u] - n + 1)
    values, unit = numpy.empty(room, numpy.uint64), numpy.empty(room, numpy.int32)
    position = numpy.empty(room, numpy.int32)
    count = 0
    for u in range(len(offsets) - 1):
        for at in range(offsets[u], offsets[u + 1] - n + 1):
            values[count], unit[count], position[count] = gram_at(hashes, at, n), u, at - offsets[u]
            count += 1
    return values, unit, position


@compiled
def bit_of(value, bits):
    """The place of a gram in the bit map; from other bits than its slot in the table."""
    return (value >> numpy.uint64(24)) & numpy.uint64(64 * len(bits) - 1)


@compiled
def fill_table(bits, keys, slots, values):
    """Put each value with its index into an open-addressing table whose size is a power of two, and into a bit map.

    The bit map is small enough for the processor's cache: nearly all grams of ordinary text are decided by it.
    """
    mask = numpy.uint64(len(keys) - 1)
    for i in range(len(values)):
        bit = bit_of(values[i], bits)
        bits[bit >> numpy.uint64(6)] |= numpy.uint64(1) << (bit & numpy.uint64(63))
        slot = (values[i] >> numpy.uint64(1)) & mask
        while keys[slot] != 0:
            slot = (slot + numpy.uint64(1)) & mask
        keys[slot], slots[slot] = values[i], i


@compiled
def cover(offsets, content, unit, position, n, counts, step):
    """Add (step 1) or take away (step -1) a gram of a unit; returns by how much the covered content changes."""
    changed = 0
    for k in range(position, position + n):
        before = counts[k]
        counts[k] += step
        if content[offsets[unit] + k] and (before == 0 or counts[k] == 0):
            changed += step
    return changed


@compiled
def best_place(hits, low, high, n, offsets, content, counts, place):
    """Write the best place of the unit whose hits [unit, diagonal, position] stand at [low, high) to `place`."""
    unit = hits[low, 0]
    slack = 5 + (offsets[unit + 1] - offsets[unit]) // 4
    covered, tail, best, best_tail, best_head = 0, low, -1, low, low
    for head in range(low, high):
        covered += cover(offsets, content, unit, hits[head, 2], n, counts, 1)
        if head + 1 < high and hits[head + 1, 1] == hits[head, 1]:
            continue
        while hits[tail, 1] < hits[head, 1] - slack:
            covered += cover(offsets, content, unit, hits[tail, 2], n, counts, -1)
            tail += 1
        if covered > best:
            best, best_tail, best_head = covered, tail, head
    for k in range(tail, high):
        cover(offsets, content, unit, hits[k, 2], n, counts, -1)
    place[COVERED], place[UNIT] = best, unit
    place[FIRST], place[LAST] = DIAGONALS, -1
    for k in range(best_tail, best_head + 1):
        at, position = hits[k, 1] + hits[k, 2], hits[k, 2]
        if at < place[FIRST] or (at == place[FIRST] and position < place[UNIT_FIRST]):
            place[FIRST], place[UNIT_FIRST] = at, position
        if at + n - 1 > place[LAST] or (at + n - 1 == place[LAST] and position + n - 1 > place[UNIT_LAST]):
            place[LAST], place[UNIT_LAST] = at + n - 1, position + n - 1


@compiled
def find_places(
    hashes, n, bits, keys, slots, starts, post_unit, post_position, offsets, content, least, hit_counts, counts
):
    """The places [found, 6] of a document's tokens, as contamination_match.find_places; in order of units.

    bits, keys, slots: table of distinct grams; starts: [grams + 1] where each one's (post_unit, post_position) begin;
    offsets, content: tokens of the units; least: [units] tokens that must be covered. hit_counts [units] and counts
    [tokens of the longest unit] are work space, all 0, and are left so.
    """
    grams = max(0, len(hashes) - n + 1)
    of_gram = numpy.empty(grams, numpy.int64)
    mask = numpy.uint64(len(keys) - 1)
    for i in range(grams):
        value = gram_at(hashes, i, n)
        bit = bit_of(value, bits)
        of_gram[i] = -1
        if bits[bit >> numpy.uint64(6)] >> (bit & numpy.uint64(63)) & numpy.uint64(1) == 0:
            continue
        slot = (value >> numpy.uint64(1)) & mask
        while keys[slot] != 0 and keys[slot] != value:
            slot = (slot + numpy.uint64(1)) & mask
        of_gram[i] = slots[slot] if keys[slot] == value else -1
        if of_gram[i] >= 0:
            for k in range(starts[of_gram[i]], starts[of_gram[i] + 1]):
                hit_counts[post_unit[k]] += 1
    # A gram covers n tokens at most: units with too few hits cannot be covered enough.
    kept = 0
    for i in range(grams):
        if of_gram[i] >= 0:
            for k in range(starts[of_gram[i]], starts[of_gram[i] + 1]):
                kept += hit_counts[post_unit[k]] * n >= least[post_unit[k]]
    order, hits = numpy.empty(kept, numpy.int64), numpy.empty((kept, 3), numpy.int64)
    kept = 0
    for i in range(grams):
        if of_gram[i] >= 0:
            for k in range(starts[of_gram[i]], starts[of_gram[i] + 1]):
                unit = numpy.int64(post_unit[k])
                if hit_counts[unit] * n >= least[unit]:
                    hits[kept, 0], hits[kept, 1], hits[kept, 2] = unit, i - post_position[k], post_position[k]
                    order[kept] = (unit << 32) + hits[kept, 1] + (1 << 31)
                    kept += 1
    for i in range(grams):
        if of_gram[i] >= 0:
            for k in range(starts[of_gram[i]], starts[of_gram[i] + 1]):
                hit_counts[post_unit[k]] = 0
    hits = hits[numpy.argsort(order, kind="mergesort")]
    places, found, low = numpy.empty((16, 6), numpy.int64), 0, 0
    while low < kept:
        high = low + 1
        while high < kept and hits[high, 0] == hits[low, 0]:
            high += 1
        if found == len(places):
            places = numpy.concatenate((places, numpy.empty_like(places)))
        best_place(hits, low, high, n, offsets, content, counts, places[found])
        if places[found, COVERED] >= least[hits[low, 0]]:
            found += 1
        low = high
    return places[:found]


@compiled
def covered_near(unit, content, block, n):
    """[tokens of the unit] and of the block: bool, as contamination_match.covered_near; n: NEAR_GRAM of the way."""
    ours, theirs = numpy.zeros(len(unit), numpy.bool_), numpy.zeros(len(block), numpy.bool_)
    n = min(n, len(unit))
    if n == 0:
        return ours, theirs
    for p in range(len(unit) - n + 1):
        if not content[p : p + n].any():
            continue
        for i in range(len(block) - n + 1):
            k = 0
            while k < n and unit[p + k] == block[i + k]:
                k += 1
            if k == n:
                ours[p : p + n] = True
                theirs[i : i + n] = True
    return ours, theirs


@compiled
def missing_from(unit, block):
    """[tokens of the unit] bool: whether a token stands nowhere in the block."""
    missing = numpy.ones(len(unit), numpy.bool_)
    for p in range(len(unit)):
        for value in block:
            if value == unit[p]:
                missing[p] = False
                break
    return missing


@compiled
def possible_content(first, last, offsets, hashes, content, amount, unequal, block):
    """No less content than a block can cover of units [first, last): the equal tokens'; all, where few are missing."""
    possible = 0
    for u in range(first, last):
        missing = missing_from(hashes[offsets[u] : offsets[u + 1]], block)
        if missing.sum() <= unequal[u]:
            possible += amount[u]
        else:
            possible += (content[offsets[u] : offsets[u + 1]] & ~missing).sum()
    return possible
