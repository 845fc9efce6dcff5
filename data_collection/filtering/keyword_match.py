"""Count a language's medical keywords in a text, by the published rule or by ours.

How a keyword is written in `keywords/<iso>.txt` says where it matches (rule `bounded`; the rule `published` ignores the
marks):

    cardio      begins a word, any ending: cardiology, cardiovascular
    blood press the same for several words; any spaces, hyphens or line ends between them
    =flu        the whole word (or words)
    -itis       ends a word: arthritis
    *krankheit  anywhere inside a word: Herzkrankheiten
    (zh, ja)    anywhere in the text; Latin letters or digits at its ends do not touch another Latin letter

Rule `bounded` works on the folded text (`text_folding.fold`). Languages with spaces: a word is a run of letters,
digits and underscores. At each word one keyword counts: the one with most words, then most characters, then the first
in the list. It covers complete words, inflection included; matching resumes after them. Chinese and Japanese: the same
at each character, and a keyword covers its own characters. Density: covered characters / all characters.

This module is the plain definition; `score_column` gives the same numbers from the compiled matcher
(`keyword_column.py`, `keyword_kernel.py`), a hundred times faster.
"""

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from filtering.keyword_lists import (
    KEYWORD_FOLDER,
    LATIN_END,
    LATIN_START,
    NOT_TEXT,
    PROCLITICS,
    RULES,
    UNSPACED,
    Keyword,
    Score,
    is_long,
    load_keywords,
)
from filtering.text_folding import fold, lower
from run_record import InputError

if TYPE_CHECKING:
    import numpy

CACHED_WORDS = 400_000  # words remembered per matcher: about 60 MB; emptied when full
WORD = re.compile(r"\w+")


def load_matcher(language: str, rule: str, folder: Path = KEYWORD_FOLDER) -> "Matcher":
    """A matcher for one language and rule, with `.score(text) -> Score` and `.score_column(Arrow strings)`."""
    keywords = load_keywords(language, folder)
    if rule == "published":
        return PublishedMatcher(language, keywords)
    if rule == "bounded":
        # Spellings that differ in accents only are one keyword, the first in the list.
        first: dict[str, Keyword] = {}
        for keyword in keywords:
            first.setdefault(keyword.text, keyword)
        keywords = list(first.values())
        return UnspacedMatcher(language, keywords) if language in UNSPACED else BoundedMatcher(language, keywords)
    raise InputError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")


class Matcher:
    """Shared by the rules: rejecting invalid Unicode, and scoring a column with the compiled matcher."""

    rule = ""

    def __init__(self, language: str, keywords: list[Keyword]):
        self.language, self.keywords = language, keywords
        self._compiled = None

    def score(self, text: str) -> Score:
        """Score one text in plain Python; for tests and single documents."""
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            return NOT_TEXT
        return self._score(text)

    def score_column(self, texts) -> "tuple[numpy.ndarray, numpy.ndarray]":
        """(distinct int32, density float64) of every text of an Arrow string column; (0, 0.0) for null and empty.

        texts: pyarrow Array or ChunkedArray of string, large_string, string_view, a dictionary of one, or null.
        Errors: TypeError for another type.
        """
        if self._compiled is None:
            from filtering.keyword_column import ColumnScorer

            self._compiled = ColumnScorer(self.language, self.rule, self.keywords)
        return self._compiled.score(texts)


class PublishedMatcher(Matcher):
    """The published statistics (Qiu et al. 2024): distinct keywords, and summed keyword length over text length.

    Long keywords (over 10 characters, or several words and over 5) and all zh and ja ones are counted as substrings
    (str.count), the rest as whole white-space tokens; lower case only, occurrences of nested keywords count each.
    """

    rule = "published"

    def __init__(self, language: str, keywords: list[Keyword]):
        super().__init__(language, keywords)
        self.long = [k.bare for k in keywords if is_long(k.bare, language)]
        self.short = {k.bare for k in keywords} - set(self.long)

    def _score(self, text: str) -> Score:
        lowered = lower(text)
        if not lowered:
            return Score(0, 0.0)
        tokens = Counter(lowered.split())
        found = {keyword: tokens[keyword] for keyword in self.short & tokens.keys()}
        found.update((keyword, count) for keyword in self.long if (count := lowered.count(keyword)))
        return Score(len(found), sum(len(keyword) * count for keyword, count in found.items()) / len(lowered))


class BoundedMatcher(Matcher):
    """Our rule for languages with spaces, word by word; caches the result per word.

    A matched word counts with its whole length in the density, so that an inflected form weighs as much as the base.
    """

    rule = "bounded"

    def __init__(self, language: str, keywords: list[Keyword]):
        super().__init__(language, keywords)
        self.order = {k.text: -i for i, k in enumerate(keywords)}
        single = [k for k in keywords if " " not in k.text]
        self.whole = {k.text for k in single if k.place == "whole"}
        self.starts = {k.text for k in single if k.place == "start"}
        self.lengths = sorted({len(t) for t in self.starts}, reverse=True)
        self.endings = tuple(k.text for k in single if k.place == "ending")
        self.inside = [k.text for k in single if k.place == "inside"]
        self.phrases: dict[str, list[tuple[list[str], str]]] = {}  # first word -> [(all words, place)]
        for keyword in keywords:
            if " " in keyword.text:
                words = keyword.text.split(" ")
                self.phrases.setdefault(words[0], []).append((words, keyword.place))
        self.look_up = lru_cache(CACHED_WORDS)(self._look_up)

    def _score(self, text: str) -> Score:
        folded = fold(text)
        words = WORD.findall(folded)
        answers = list(map(self.look_up, words))
        distinct: set[str] = set()
        covered = end = 0
        for i, answer in enumerate(answers):
            if not answer or i < end:  # no keyword, or inside the previous phrase
                continue
            keyword, length = self._match_at(words, i, answer)
            if keyword:
                distinct.add(keyword)
                end = i + length
                covered += sum(map(len, words[i:end]))
        return Score(len(distinct), covered / len(folded) if folded else 0.0)

    def _match_at(self, words: list[str], i: int, answer: tuple[str, list]) -> tuple[str, int]:
        """(keyword that begins at word i, number of its words); ("", 0) for none."""
        single, phrases = answer
        for phrase, place in phrases:
            *middle, last = words[i + 1 : i + len(phrase)] or [""]
            if middle == phrase[1:-1] and (last == phrase[-1] or (place == "start" and last.startswith(phrase[-1]))):
                return " ".join(phrase), len(phrase)
        return single, 1 if single else 0

    def _look_up(self, word: str) -> tuple[str, list] | None:
        bare_forms = [word]
        if self.language == "ar":
            bare_forms += [word[len(p) :] for p in PROCLITICS if p and word.startswith(p)]
        phrases = [phrase for bare in bare_forms for phrase in self.phrases.get(bare, ())]
        phrases.sort(key=lambda phrase: self._rank(" ".join(phrase[0])), reverse=True)
        found = [e for e in self.endings if word.endswith(e)] + [t for t in self.inside if t in word]
        for bare in bare_forms:
            found += [bare] if bare in self.whole else []
            found += [bare[:n] for n in self.lengths if bare[:n] in self.starts]
        single = max(found, key=self._rank, default="")
        return (single, phrases) if single or phrases else None

    def _rank(self, keyword: str) -> tuple[int, int, int]:
        """The highest counts: most words, then most characters, then first in the list."""
        return keyword.count(" "), len(keyword), self.order[keyword]


class UnspacedMatcher(Matcher):
    """Our rule for zh and ja: keywords anywhere, leftmost and longest first, overlaps counted once."""

    rule = "bounded"

    def __init__(self, language: str, keywords: list[Keyword]):
        super().__init__(language, keywords)
        texts = sorted((k.text for k in keywords), key=lambda t: -len(t.replace(" ", "")))  # then in the list's order
        self.pattern = re.compile("|".join(map(self._expression, texts)))

    def _score(self, text: str) -> Score:
        folded = fold(text)
        found = Counter(re.sub(" +", " ", match) for match in self.pattern.findall(folded))
        covered = sum(len(keyword.replace(" ", "")) * n for keyword, n in found.items())
        return Score(len(found), covered / len(folded) if folded else 0.0)

    @staticmethod
    def _expression(keyword: str) -> str:
        left = r"(?<![a-z0-9])" if LATIN_START.match(keyword) else ""
        right = r"(?![a-z])" if LATIN_END.match(keyword) else ""
        return left + re.escape(keyword).replace(r"\ ", " +") + right
