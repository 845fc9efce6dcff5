"""Decide which documents are medical text of the declared language, one by one or a column at a time.

Reads `thresholds.json` and `keywords/`. Every document gets one reason, counted in the manifest of `filter.py`:

    kept               medical by the rule, in the declared language, and clean enough
    too_few_keywords   fewer different keywords than min_distinct_keywords
    low_density        enough keywords, but they cover less of the text than min_density
    other_language     medical, but certainly in another language than declared
    empty, null        white space only, a missing text
    not_text           invalid UTF-8, or a JSON value that is not a string
    unreadable         a line that is not a JSON object
    unknown_language   none of the eight languages is declared or detected
    (CLEANING_REASONS) see clean_text.py

Order: the keyword rule on the original text; then, for documents that pass, language and cleaning.
`distinct_keywords` and `density` are those of the original text.
"""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cleaning.clean_text import CLEANING_REASONS, clean
from filtering.keyword_lists import KEYWORD_FOLDER, NOT_TEXT
from filtering.keyword_match import load_matcher
from filtering.language import DETECTORS, UNDETERMINED, Detected, detect_language
from language_codes import LANGUAGES
from run_record import InputError, read_json, sha256_of_file

RULE_REASONS = ("too_few_keywords", "low_density", "empty", "null", "not_text", "unreadable", "unknown_language")
REASONS = ("kept", *RULE_REASONS[:2], "other_language", *CLEANING_REASONS, *RULE_REASONS[2:])
CODES = {reason: code for code, reason in enumerate(REASONS)}
PASSED = CODES["kept"]  # in an array of codes before language and cleaning: passed the rule
THRESHOLDS_FILE = Path(__file__).parents[1] / "thresholds.json"
SURE = 0.9  # a detected language overrules the declared one from this probability on


class Decision(NamedTuple):
    reason: str  # one of REASONS
    language: str  # ISO 639-1: the declared (or detected) language; "und" with unknown_language
    distinct: int  # keywords in the original text
    density: float  # of the original text
    detected: str = ""  # the detected language of a text that passed the rule, else ""
    probability: float = 0.0  # of `detected`
    text: str = ""  # the cleaned text of a kept document
    changes: dict[str, int] = {}  # noqa: RUF012 (never modified) {cleaning step: changes}


class Thresholds(NamedTuple):
    min_distinct_keywords: int
    min_density: float  # share, 0 to 1


def load_thresholds(rule: str, path: Path = THRESHOLDS_FILE) -> dict[str, Thresholds]:
    """{language: Thresholds} of one rule. Errors: InputError for a missing rule, language or number."""
    table = read_json(path).get(rule)
    if not isinstance(table, dict):
        raise InputError(f"{path}: no thresholds for the rule {rule!r}")
    thresholds = {}
    for language in LANGUAGES:
        try:
            row = table[language]
            thresholds[language] = Thresholds(int(row["min_distinct_keywords"]), float(row["min_density"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: {rule} {language} needs min_distinct_keywords and min_density ({error})"
            ) from None
    return thresholds


@lru_cache(maxsize=2 * len(LANGUAGES))
def _loaded(language: str, rule: str, folder: Path, digest: str):
    """The matcher of a keyword file of that SHA-256."""
    return load_matcher(language, rule, folder)


class NotUtf8(Exception):
    """A column contains texts that are not valid UTF-8."""


class DocumentFilter:
    """One rule with its keyword lists and thresholds; matchers are loaded when first needed."""

    def __init__(
        self,
        rule: str,
        keyword_folder: Path = KEYWORD_FOLDER,
        thresholds_file: Path = THRESHOLDS_FILE,
        detector: str = DETECTORS[0],
        skip_steps: Collection[str] = (),
        relabel: bool = False,
    ):
        self.rule = rule
        self.keyword_folder = keyword_folder
        self.thresholds = load_thresholds(rule, thresholds_file)
        self.detector, self.skip_steps, self.relabel = detector, frozenset(skip_steps), relabel
        self.matchers: dict = {}

    def matcher(self, language: str):
        if language not in self.matchers:
            digest = sha256_of_file(self.keyword_folder / f"{language}.txt")
            self.matchers[language] = _loaded(language, self.rule, self.keyword_folder, digest)
        return self.matchers[language]

    def warm_up(self, languages: Collection[str]) -> None:
        """Load matchers and detector, so that forked processes share them."""
        import pyarrow

        for language in languages:
            self.matcher(language).score_column(pyarrow.array([""]))
        detect_language("The language of this text does not matter.", self.detector)

    def decide(self, text: str | None, declared: str) -> Decision:
        """One document, every step. declared: an ISO code of the eight, or "" to detect it."""
        if text is None:
            return Decision("null", declared or UNDETERMINED, 0, 0.0)
        if not text.strip():
            return Decision("empty", declared or UNDETERMINED, 0, 0.0)
        found = None if declared else detect_language(text, self.detector)
        language = declared or found.code
        if language not in LANGUAGES:
            return Decision("unknown_language", UNDETERMINED, 0, 0.0, language)
        distinct, density = self.matcher(language).score(text)
        if distinct == NOT_TEXT.distinct:
            return Decision("not_text", language, 0, 0.0)
        if reason := self._fails(distinct, density, language):
            return Decision(reason, language, distinct, density)
        return self.finish(text, language, distinct, density, found)

    def _fails(self, distinct: int, density: float, language: str) -> str:
        limits = self.thresholds[language]
        if distinct < limits.min_distinct_keywords:
            return "too_few_keywords"
        return "low_density" if density < limits.min_density else ""

    def decide_column(self, texts, language: str, scores: tuple | None = None) -> tuple:
        """The rule on a column: (codes uint8, distinct int32, density float64), numpy arrays of its length.

        texts: a pyarrow string or large_string Array. language: one of the eight. scores: (distinct, density) arrays
        to use instead of matching. A code is PASSED or that of a reason (see CODES).
        Errors: NotUtf8 if a text is not valid UTF-8; replace those by null and call again.
        """
        import numpy as np
        import pyarrow.compute as pc

        distinct, density = scores or self.matcher(language).score_column(texts)
        if NOT_TEXT.distinct in distinct:
            raise NotUtf8
        limits = self.thresholds[language]
        codes = np.where(density >= limits.min_density, PASSED, CODES["low_density"]).astype(np.uint8)
        codes[distinct < limits.min_distinct_keywords] = CODES["too_few_keywords"]
        blank = pc.or_(pc.utf8_is_space(texts), pc.equal(pc.binary_length(texts), 0)).fill_null(False)
        codes[blank.to_numpy(zero_copy_only=False)] = CODES["empty"]
        if texts.null_count:
            codes[texts.is_null().to_numpy(zero_copy_only=False)] = CODES["null"]
        return codes, distinct, density

    def finish(
        self, text: str, language: str, distinct: int, density: float, found: Detected | None = None
    ) -> Decision:
        """Language and cleaning of a text that passed the rule. found: its language, if it was detected before."""
        if found is None:
            found = detect_language(text, self.detector)
            if found.code not in (language, UNDETERMINED) and found.probability >= SURE:
                own = self._rescore(text, found.code) if self.relabel else None
                if own is None:
                    return Decision("other_language", language, distinct, density, *found)
                (distinct, density), language = own, found.code
        cleaned = clean(text, language, self.skip_steps)
        return Decision(cleaned.reason or "kept", language, distinct, density, *found, cleaned.text, cleaned.changes)

    def _rescore(self, text: str, language: str):
        """The score by another language's list, or None if there is no list or the text does not pass."""
        if language not in LANGUAGES:
            return None
        score = self.matcher(language).score(text)
        return None if self._fails(*score, language) else score
