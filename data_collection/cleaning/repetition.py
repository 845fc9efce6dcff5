"""Tell repetitive text by the shares of repeated lines and word sequences, as Rae et al. 2021 (Gopher), table A1.

https://arxiv.org/abs/2112.11446. Shares are of the characters of words, white space left out. Chinese and Japanese have
no spaces between words: there a word is taken as two characters. Example:

    python -c "import repetition; print(repetition.is_repetitive('Buy now. ' * 30, 'en'))"
"""

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
    from cleaning.repetition_counts import (  # compiled: loaded when first needed
        find_words,
        repeated_characters,
        top_characters,
    )

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
            return False  # longer sequences are repeated less
    return False
