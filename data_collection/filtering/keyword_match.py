"""Count a language's medical keywords in a text, by the published rule or by ours.

Reads `keywords/<iso>.txt`: one keyword a line, `#` begins a comment. How a keyword is written says where it may stand
(rule `bounded`; the rule `published` sees the bare letters):

    cardio      begins a word, any ending: cardiology, cardiovascular
    blood press the same for several words; any spaces, hyphens or line ends between them
    =flu        the whole word (or words)
    -itis       ends a word: arthritis
    *krankheit  anywhere inside a word: Herzkrankheiten
    (zh, ja)    any place in the text; Latin letters or digits at its ends touch no further Latin letter

Rule `bounded` works on the folded text (`text_folding.fold`). Languages with spaces: a word is a run of letters,
digits and underscores. At each word the keyword of most words, then of most characters, then first in the list counts
once; it covers its words whole, inflection included, and what it covers is not looked at again. Chinese and Japanese:
the same at each character, and a keyword covers its own characters. Density: characters covered by all characters.

This module is the plain definition; `score_column` gives the same numbers from the compiled matcher
(`keyword_kernel.py`), a hundred times faster. Example:

    python -c "import keyword_match as k; print(k.load_matcher('en', 'bounded').score('Chronic arthritis'))"
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filtering.text_folding import fold, lower
from run_record import InputError

if TYPE_CHECKING:
    import numpy

LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")
RULES = ("bounded", "published")
KEYWORD_FOLDER = Path(__file__).parents[1] / "keywords"
UNSPACED = ("zh", "ja")  # written without spaces between words
MARKS = {"=": "whole", "-": "ending", "*": "inside"}
CACHED_WORDS = 400_000  # words remembered per matcher: about 60 MB; emptied when full

# Arabic writes conjunctions, prepositions and the article as part of the word: w-b-al-marad "and with the illness".
PROCLITICS = tuple(
    sorted({a + b for a in ("", "و", "ف") for b in ("", "ب", "ك", "ل", "ال", "بال", "كال", "لل")}, key=len)
)

WORD = re.compile(r"\w+")
LATIN_START, LATIN_END = re.compile("[a-z0-9]"), re.compile(".*[a-z0-9]$")


class Keyword(NamedTuple):
    text: str  # folded, for the rule `bounded`
    place: str  # start, whole, ending or inside
    bare: str  # lower case, without its mark, for the rule `published`: there, other accents are another keyword


class Score(NamedTuple):
    distinct: int  # different keywords found; -1: the text is not valid Unicode (half a surrogate pair, broken UTF-8)
    density: float  # share of the text's characters inside keywords (or, spaced languages, inside their words)


NOT_TEXT = Score(-1, 0.0)


def load_keywords(language: str, folder: Path = KEYWORD_FOLDER) -> list[Keyword]:
    """The keywords of `folder/<language>.txt`. Errors: InputError with path:line for a blank or repeated keyword."""
    path = Path(folder) / f"{language}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"no keyword list {path}; add one, or choose among {', '.join(LANGUAGES)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None
    seen: dict[str, int] = {}
    keywords = []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        written = line.split("#", 1)[0].strip()
        bare = written[1:].strip() if written[:1] in MARKS else written
        text = " ".join(fold(bare).split())
        if not text:
            raise InputError(f"{path}:{number}: a blank keyword; it would match everywhere: remove the line")
        spelling = " ".join(lower(bare).split())
        if spelling in seen:
            raise InputError(f"{path}:{number}: {bare!r} repeats line {seen[spelling]}; each keyword counts once")
        place = MARKS.get(written[0], "start")
        if " " in text and place in ("ending", "inside"):
            raise InputError(f"{path}:{number}: {written!r}: a keyword of several words takes no mark but =")
        seen[spelling] = number
        keywords.append(Keyword(text, place, spelling))
    if not keywords:
        raise InputError(f"{path}: no keywords in this file")
    return keywords


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


def is_long(keyword: str, language: str) -> bool:
    """Whether the published rule looks for a keyword (lower case) as a substring, not as a token."""
    return language in UNSPACED or len(keyword) > 10 or (len(keyword) > 5 and " " in keyword)


class Matcher:
    """What the rules share: refusing what is no text, and the compiled way through a whole column."""

    rule = ""

    def __init__(self, language: str, keywords: list[Keyword]):
        self.language, self.keywords = language, keywords
        self._compiled = None

    def score(self, text: str) -> Score:
        """One text. Plain Python: for tests and single documents."""
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
    """Our rule for languages with spaces, word by word; remembers each word's answer.

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
        self.cache = _Remembered(self._look_up)

    def _score(self, text: str) -> Score:
        folded = fold(text)
        words = WORD.findall(folded)
        answers = self.cache
        hits = [i for i, answer in enumerate(map(answers.__getitem__, words)) if answer]
        distinct: set[str] = set()
        covered = end = 0
        for i in hits:
            if i < end:
                continue  # inside the phrase before: counted once
            keyword, length = self._match_at(words, i, answers[words[i]])
            if keyword:
                distinct.add(keyword)
                end = i + length
                covered += sum(map(len, words[i:end]))
        return Score(len(distinct), covered / len(folded) if folded else 0.0)

    def _match_at(self, words: list[str], i: int, answer: tuple[str, list]) -> tuple[str, int]:
        """The keyword that begins at word i, and how many words it spans; ("", 0) for none."""
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
        """The higher one counts: more words, more characters, earlier in the list."""
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
        """ "ct" must not be found in "doctor", nor "x線" in "max線"."""
        left = r"(?<![a-z0-9])" if LATIN_START.match(keyword) else ""
        right = r"(?![a-z])" if LATIN_END.match(keyword) else ""
        return left + re.escape(keyword).replace(r"\ ", " +") + right


class _Remembered(dict):
    """A dictionary that works out what it does not know yet, and starts afresh when it has grown too large."""

    def __init__(self, work_out: Callable):
        super().__init__()
        self.work_out = work_out

    def __missing__(self, word: str):
        if len(self) >= CACHED_WORDS:
            self.clear()
        answer = self[word] = self.work_out(word)
        return answer
