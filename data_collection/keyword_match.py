"""Count a language's medical keywords in a text, by the published rule or by ours.

Reads `keywords/<iso>.txt`: one keyword a line, `#` begins a comment. How a keyword is written says where it may stand
(rule `bounded`; the rule `published` sees the bare letters):

    cardio      begins a word, any ending: cardiology, cardiovascular
    blood press the same for several words; any spaces, hyphens or line ends between them
    =flu        the whole word
    -itis       ends a word: arthritis
    *krankheit  anywhere inside a word: Herzkrankheiten
    (zh, ja)    any place in the text; a keyword of Latin letters only between characters that are not Latin

Example:

    python -c "import keyword_match as k; print(k.load_matcher('en', 'bounded').score('Chronic arthritis'))"
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corpus_record import InputError

if TYPE_CHECKING:
    import numpy

LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")
RULES = ("bounded", "published")
KEYWORD_FOLDER = Path(__file__).parent / "keywords"
UNSPACED = ("zh", "ja")  # written without spaces between words
MARKS = {"=": "whole", "-": "ending", "*": "inside"}
CACHED_WORDS = 400_000  # words remembered per matcher: about 60 MB; emptied when full

# Arabic writes conjunctions, prepositions and the article as part of the word: w-b-al-marad "and with the illness".
PROCLITICS = tuple(
    sorted({a + b for a in ("", "و", "ف") for b in ("", "ب", "ك", "ل", "ال", "بال", "كال", "لل")}, key=len)
)
# Vowel signs and the lengthening stroke are optional in Arabic writing, and four pairs of letters are interchanged.
ARABIC_FOLD = str.maketrans({**dict.fromkeys([*range(0x064B, 0x0653), 0x0670, 0x0640]), **dict(zip(
    map(ord, "أإآٱىة"), "ااااي" + "ه", strict=True))})

WORD = re.compile(r"\w+")


class Keyword(NamedTuple):
    text: str  # normalised for matching
    place: str  # start, whole, ending or inside


class Score(NamedTuple):
    distinct: int  # different keywords found
    density: float  # share of the text's characters inside keywords (or, spaced languages, inside their words)


def normalise_for_matching(text: str, language: str) -> str:
    """Compatibility forms (NFKC) and case folded; for matching only, the text itself is kept as it came."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return text.translate(ARABIC_FOLD) if language == "ar" else text


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
        text = " ".join(WORD.findall(normalise_for_matching(bare, language)))
        if not text:
            raise InputError(f"{path}:{number}: a blank keyword; it would match everywhere: remove the line")
        if text in seen:
            raise InputError(f"{path}:{number}: {bare!r} repeats line {seen[text]}; each keyword counts once")
        seen[text] = number
        keywords.append(Keyword(text, MARKS.get(written[0], "start")))
    if not keywords:
        raise InputError(f"{path}: no keywords in this file")
    return keywords


def load_matcher(language: str, rule: str, folder: Path = KEYWORD_FOLDER) -> "Matcher":
    """A matcher with `.score(text) -> Score` for one language and rule."""
    keywords = load_keywords(language, folder)
    if rule == "published":
        return PublishedMatcher(language, keywords)
    if rule == "bounded":
        return UnspacedMatcher(language, keywords) if language in UNSPACED else BoundedMatcher(language, keywords)
    raise InputError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")


class _ColumnMatcher:
    """What the matchers share: a whole Arrow column at once."""

    def score_column(self, texts) -> "tuple[numpy.ndarray, numpy.ndarray]":
        """(distinct int32, density float64) of every text of an Arrow string column; (0, 0.0) for null and empty."""
        import numpy

        scores = [self.score(text or "") for text in texts.to_pylist()]
        return (numpy.array([s.distinct for s in scores], numpy.int32),
                numpy.array([s.density for s in scores], numpy.float64))


class PublishedMatcher(_ColumnMatcher):
    """The published statistics (Qiu et al. 2024): distinct keywords, and summed keyword length over text length.

    Long keywords (over 10 characters, or several words and over 5) and all zh and ja ones are counted as substrings,
    the rest as whole white-space tokens; lower case only, occurrences of nested keywords count each.
    """

    def __init__(self, language: str, keywords: list[Keyword]):
        texts = [keyword.text for keyword in keywords]
        self.long = [t for t in texts if language in UNSPACED or len(t) > 10 or (len(t) > 5 and " " in t)]
        self.short = set(texts) - set(self.long)

    def score(self, text: str) -> Score:
        lowered = text.lower()
        if not lowered:
            return Score(0, 0.0)
        tokens = Counter(lowered.split())
        found = {keyword: tokens[keyword] for keyword in self.short & tokens.keys()}
        found.update((keyword, count) for keyword in self.long if (count := lowered.count(keyword)))
        return Score(len(found), sum(len(keyword) * count for keyword, count in found.items()) / len(lowered))


class BoundedMatcher(_ColumnMatcher):
    """Our rule for languages with spaces: a word boundary on the left, any ending on the right, overlaps counted once.

    Works word by word (longest keyword first) and remembers each word's answer. A matched word counts with its whole
    length in the density, so that an inflected form weighs as much as the base form.
    """

    def __init__(self, language: str, keywords: list[Keyword]):
        self.language = language
        single = [k for k in keywords if " " not in k.text]
        self.whole = {k.text for k in single if k.place == "whole"}
        self.starts = {k.text for k in single if k.place == "start"}
        self.lengths = sorted({len(t) for t in self.starts}, reverse=True)
        self.endings = sorted((k.text for k in single if k.place == "ending"), key=len, reverse=True)
        self.inside = sorted((k.text for k in single if k.place == "inside"), key=len, reverse=True)
        self.phrases: dict[str, list[list[str]]] = {}
        for keyword in sorted((k.text for k in keywords if " " in k.text), key=len, reverse=True):
            self.phrases.setdefault(keyword.split()[0], []).append(keyword.split())
        self.cache = _Remembered(self._look_up)

    def score(self, text: str) -> Score:
        text = normalise_for_matching(text, self.language)
        words = WORD.findall(text)
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
        return Score(len(distinct), covered / len(text) if text else 0.0)

    def _match_at(self, words: list[str], i: int, answer: tuple[str, list[list[str]]]) -> tuple[str, int]:
        """The keyword that begins at word i, and how many words it spans (longest first); ("", 0) for none."""
        single, phrases = answer
        for phrase in phrases:
            follow = words[i + 1 : i + len(phrase)]
            if follow[:-1] == phrase[1:-1] and follow and len(follow) == len(phrase) - 1 \
                    and follow[-1].startswith(phrase[-1]):
                return " ".join(phrase), len(phrase)
        return single, 1 if single else 0

    def _look_up(self, word: str) -> tuple[str, list[list[str]]] | None:
        bare_forms = [word]
        if self.language == "ar":
            bare_forms += [word[len(p):] for p in PROCLITICS if p and word.startswith(p)]
        phrases = [phrase for bare in bare_forms for phrase in self.phrases.get(bare, ())]
        single = max((self._single(bare) for bare in bare_forms), key=len)
        return (single, phrases) if single or phrases else None

    def _single(self, word: str) -> str:
        """The longest keyword that covers this one word, or an empty string."""
        found = word if word in self.whole else ""
        for length in self.lengths:
            if len(word) >= length and word[:length] in self.starts:
                found = max(found, word[:length], key=len)
                break
        found = max(found, next((e for e in self.endings if word.endswith(e)), ""), key=len)
        return max(found, next((t for t in self.inside if t in word), ""), key=len)


class UnspacedMatcher(_ColumnMatcher):
    """Our rule for zh and ja: keywords anywhere, leftmost and longest first, overlaps counted once."""

    def __init__(self, language: str, keywords: list[Keyword]):
        self.language = language
        texts = sorted((k.text for k in keywords), key=lambda t: (-len(t), t))
        latin = r"(?<![a-z0-9]){}(?![a-z])"  # "ct" must not be found in "doctor"
        self.pattern = re.compile("|".join(latin.format(re.escape(t)) if t.isascii() else t for t in texts))

    def score(self, text: str) -> Score:
        text = normalise_for_matching(text, self.language)
        found = Counter(self.pattern.findall(text))
        return Score(len(found), sum(len(k) * n for k, n in found.items()) / len(text) if text else 0.0)


Matcher = PublishedMatcher | BoundedMatcher | UnspacedMatcher


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
