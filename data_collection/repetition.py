"""Tell repetitive text by the shares of repeated lines and word sequences (Rae et al. 2021, Gopher, table A1).

https://arxiv.org/abs/2112.11446. Shares are of the characters of words, white space left out. Chinese and Japanese have
no spaces between words: there a word is taken as two characters. Example:

    python -c "import repetition; print(repetition.is_repetitive('Buy now. ' * 30, 'en'))"
"""

from collections import Counter
from collections.abc import Sequence

UNSPACED = ("zh", "ja")
CHARACTERS_PER_WORD = 2  # of zh and ja
# Limits: twice the published ones for lines (0.30, 0.20) and the most frequent sequences (0.20, 0.18, 0.16), four times
# for repeated sequences (0.15 to 0.10). The published ones would leave out 3.7 % of the medical documents that
# check_cleaning.py reads: leaflets and guidelines name the same drug, and warn with the same words, again and again.
MAX_DUPLICATE_LINES = 0.60  # share of the lines that repeat an earlier one
MAX_DUPLICATE_LINE_CHARACTERS = 0.40
MAX_TOP_SHARE = {2: 0.40, 3: 0.36, 4: 0.32}  # characters in the most frequent sequence of n words
MAX_DUPLICATE_SHARE = {5: 0.60, 6: 0.56, 7: 0.52, 8: 0.48, 9: 0.44, 10: 0.40}  # characters in repeated sequences


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
    """Whether word sequences repeat more than the limits allow."""
    words: Sequence[str] = text.split()
    scale = 1
    if language in UNSPACED:
        words, scale = "".join(words), CHARACTERS_PER_WORD
    total = sum(map(len, words))
    return _has_top_sequence(words, scale, total) or _has_repeated_sequences(words, scale, total)


def _sequences(words: Sequence[str], length: int) -> list:
    """All runs of `length` words; of a string, all its substrings of that length."""
    if isinstance(words, str):
        return [words[i : i + length] for i in range(len(words) - length + 1)]
    return list(zip(*(words[i:] for i in range(length)), strict=False))


def _has_top_sequence(words: Sequence[str], scale: int, total: int) -> bool:
    # A sequence that often needs a word that often: most texts are done with after counting single words.
    heaviest = max((count * len(word) for word, count in Counter(words).items()), default=0)
    for n, limit in MAX_TOP_SHARE.items():
        if heaviest * n * scale <= limit * total:
            continue
        counts = Counter(_sequences(words, n * scale))
        if any(count > 1 and count * sum(map(len, sequence)) > limit * total for sequence, count in counts.items()):
            return True
    return False


def _has_repeated_sequences(words: Sequence[str], scale: int, total: int) -> bool:
    # A repeated sequence holds no word for the first time: new words alone may settle it.
    if sum(map(len, set(words))) >= (1 - min(MAX_DUPLICATE_SHARE.values())) * total:
        return False
    for n, limit in MAX_DUPLICATE_SHARE.items():
        share = _repeated_share(words, n * scale, total)
        if share > limit:
            return True
        if share <= min(MAX_DUPLICATE_SHARE.values()):
            return False  # longer sequences are repeated less
    return False


def _repeated_share(words: Sequence[str], length: int, total: int) -> float:
    """Share of the characters that lie in a second or later occurrence of a sequence, each counted once."""
    sequences = _sequences(words, length)
    if len(set(sequences)) == len(sequences):
        return 0.0
    seen: set = set()
    covered = end = 0
    for i, sequence in enumerate(sequences):
        if sequence in seen:
            covered += sum(map(len, words[max(i, end) : i + length]))
            end = i + length
        else:
            seen.add(sequence)
    return covered / total
