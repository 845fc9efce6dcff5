"""When a document contains an exam question: the plain definition.

Letters and digits alone are compared, folded as `text_folding.fold` does (case, width, composition, accents). A
question is compared by words, or by characters where at least 30 % of its letters are Chinese or Japanese; a document
is read in the way of the question, whatever language it is declared in. A gram is three words, or five characters, in
a row.

Content are the tokens of a unit (stem, option, context, rationale) that are no exam word (`exam_words/`: "which", "of",
"following", "correct") and are in a gram of at most MAX_QUESTIONS questions. A place of a document covers a unit's
token when one of its grams is there; a place is a band of diagonals: grams that come in the unit's order, with at
most `slack` tokens put in or omitted. A question is found by

    stem               three quarters of its content is covered; a stem of little content (under SHORT, MIN_ALONE at
                       least) must be there whole: `whole_share`
    context            three quarters of the context's, where that has LONG_CONTENT at least
    stem and options   three quarters of stem and options together, half of the stem's, half of the options', near one
                       place; options in any order; where the stem is short or generic the options lead to the place

The rationale never tells (it may quote a textbook), but where it follows it belongs to the passage. This file finds
places slowly; `contamination_kernel.py` finds the same ones.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

from filtering.text_folding import fold

WORDS, CHARACTERS = "words", "characters"
GRAM = {WORDS: 3, CHARACTERS: 5}  # tokens
NEAR_GRAM = {WORDS: 2, CHARACTERS: 3}  # tokens, where a place is known and the options are looked for around it
MAX_QUESTIONS = 64  # a gram of more questions than this is a turn of phrase, or a fact that many ask for
ENOUGH = (3, 4)  # the share of content that must be covered
MIN_ALONE = {WORDS: 4, CHARACTERS: 10}  # content of a stem that can be found without its options
SHORT = {WORDS: 12, CHARACTERS: 30}  # a stem of less content must be there whole: one word may change the fact
MIN_LOOKED_AT = {WORDS: 3, CHARACTERS: 5}  # content that must be covered at least, with half of it, to look closer
MIN_TOGETHER = {WORDS: 5, CHARACTERS: 10}  # content of stem and options together
LONG_CONTENT = {WORDS: 20, CHARACTERS: 40}  # of a context
CJK_SHARE = 0.3
STEM, OPTION, CONTEXT, RATIONALE = range(4)
# Kana, ideographs with their extensions, iteration marks, voicing marks; halves are folded to these.
CJK = (
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3347F),
)


class Token(NamedTuple):
    """A folded word or character, and where it stands: characters [start, end) of the text as it came."""

    text: str
    start: int
    end: int


class Unit(NamedTuple):
    """A part of a question: which question, which kind, its tokens' texts, whether each is content."""

    question: int
    kind: int
    tokens: tuple[str, ...]
    content: tuple[bool, ...]


class Place(NamedTuple):
    """Where a document covers a unit: content tokens covered, first and last token of the document, and the tokens of
    the unit these two are."""

    covered: int
    first: int
    last: int
    unit_first: int
    unit_last: int


def is_cjk(character: str) -> bool:
    code = ord(character)
    return code >= CJK[0][0] and any(low <= code <= high for low, high in CJK)


def tokens(text: str, way: str) -> list[Token]:
    """The tokens of a text: words (a Chinese or Japanese character is one of its own), or single characters."""
    found: list[Token] = []
    word, start, end = "", 0, 0
    for i, character in enumerate(text):
        for folded in fold(character):
            alone = way == CHARACTERS or is_cjk(folded)
            if word and (alone or folded in " _"):
                found.append(Token(word, start, end))
                word = ""
            if folded in " _":
                continue
            if alone:
                found.append(Token(folded, i, i + 1))
                continue
            start, end, word = start if word else i, i + 1, word + folded
    return [*found, Token(word, start, end)] if word else found


def way_of(question: dict) -> str:
    """Whether a question is compared by words or by characters."""
    if max(map(max, (question["question"], *question["options"].values()))) < chr(CJK[0][0]):
        return WORDS
    letters = [c for text in (question["question"], *question["options"].values()) for c in fold(text) if c not in " _"]
    return CHARACTERS if letters and sum(map(is_cjk, letters)) >= CJK_SHARE * len(letters) else WORDS


def grams(sequence: tuple[str, ...], way: str) -> list[tuple[str, ...]]:
    """The grams that begin at each token; none of a sequence shorter than one."""
    n = GRAM[way]
    return [sequence[i : i + n] for i in range(len(sequence) - n + 1)]


def distinct_grams(sequences: list[tuple[int, tuple[str, ...]]], way: str, most: int = MAX_QUESTIONS) -> set:
    """The grams of (question, tokens) pairs that are in at most this many questions."""
    counts = Counter(gram for gram, _ in {(gram, q) for q, tokens in sequences for gram in grams(tokens, way)})
    return {gram for gram, questions in counts.items() if questions <= most}


def slack(unit_tokens: int) -> int:
    """How many tokens may be put in or omitted within a place."""
    return 5 + unit_tokens // 4


def needed(content: int) -> int:
    """The least tokens that are enough of so much content."""
    return -(-content * ENOUGH[0] // ENOUGH[1])


def least_covered(kind: int, content: int, way: str) -> int | None:
    """The content of a unit that must be covered for its place to be looked at; None: it leads nowhere."""
    if content == 0 or kind == RATIONALE or (kind == CONTEXT and content < LONG_CONTENT[way]):
        return None
    if kind in (STEM, OPTION):
        return max(-(-content // 2), min(content, MIN_LOOKED_AT[way]))
    return needed(content)


def nearly_equal(one: str, other: str) -> bool:
    """Equal but for one letter put in, omitted, exchanged, or two swapped; words of four letters and more."""
    if one == other:
        return True
    if min(len(one), len(other)) < 4 or abs(len(one) - len(other)) > 1 or not (one.isalpha() and other.isalpha()):
        return False
    first = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[first:], other[first:]
    return (
        one[1:] == other
        or one == other[1:]
        or one[1:] == other[1:]
        or (one[:2] == other[1::-1] and one[2:] == other[2:])
    )


def most_missing(size: int, way: str) -> int:
    """How many of this many tokens may be missing where a stem or option stands whole; a wrong character is one."""
    return size // 20 if way == WORDS else max(size // 10, int(size >= 6))


def most_unequal(size: int, way: str) -> int:
    """How many tokens may be missing or, of words, have a typing error."""
    return most_missing(size, way) + (1 + size // 6 if way == WORDS and size > 1 else 0)


def whole_share(stem: list[str], passage: list[str], way: str) -> float:
    """The share of a stem's tokens that are in the passage in their order (longest common subsequence); 0 where too
    many are missing for the stem to be there whole."""
    if sum(token not in set(passage) for token in stem) > most_unequal(len(stem), way):
        return 0.0
    row = [0] * (len(passage) + 1)
    for token in stem:
        before = row
        row = [0]
        for i, other in enumerate(passage):
            alike = token == other or (way == WORDS and nearly_equal(token, other))
            row.append(max(before[i] + 1, before[i + 1]) if alike else max(before[i + 1], row[i]))
    return row[-1] / len(stem) if row[-1] >= len(stem) - most_missing(len(stem), way) else 0.0


def find_places(
    document: list[str], units: dict[int, Unit], least: dict[int, int], distinct: set, way: str
) -> dict[int, Place]:
    """{unit: its best place} where at least `least` content tokens of it are covered.

    Of all bands [diagonal - slack, diagonal] the first with the most covered. Only distinct grams count.
    """
    n = GRAM[way]
    where = defaultdict(list)
    for i, gram in enumerate(grams(tuple(document), way)):
        if gram in distinct:
            where[gram].append(i)
    found = {}
    for number, unit in units.items():
        hits = [(i - p, i, p) for p, gram in enumerate(grams(unit.tokens, way)) for i in where.get(gram, ())]
        best = None
        for diagonal in sorted({d for d, _, _ in hits}):
            band = [hit for hit in hits if diagonal - slack(len(unit.tokens)) <= hit[0] <= diagonal]
            covered = sum(unit.content[t] for t in {p + k for _, _, p in band for k in range(n)})
            if best is None or covered > best.covered:
                first, last = min((i, p) for _, i, p in band), max((i, p) for _, i, p in band)
                best = Place(covered, first[0], last[0] + n - 1, first[1], last[1] + n - 1)
        if best is not None and best.covered >= least[number]:
            found[number] = best
    return found


def covered_near(unit: list, content: list[bool], block: list, way: str) -> tuple[set[int], set[int]]:
    """(tokens of the unit, tokens of the block) that are in grams of both in which there is some content.

    A short unit is one gram as a whole.
    """
    n = min(NEAR_GRAM[way], len(unit))
    ours, theirs = set(), set()
    for p in range(len(unit) - n + 1):
        for i in range(len(block) - n + 1):
            if any(content[p : p + n]) and unit[p : p + n] == block[i : i + n]:
                ours.update(range(p, p + n))
                theirs.update(range(i, i + n))
    return ours, theirs
