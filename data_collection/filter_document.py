"""Decide whether one document is medical text of the declared language: yes, or a reason why not.

Reads `thresholds.json` and `keywords/`. The reasons are counted in the manifest of `filter.py`:

    kept               medical by the rule, and in the declared language
    too_few_keywords   fewer different keywords than min_distinct_keywords
    low_density        enough keywords, but they cover less of the text than min_density
    other_language     medical, but langdetect (or the script) is sure that it is in another language
    empty, null        a text without a character, a missing text
    unknown_language   none of the eight languages is declared, and none is detected
"""

from pathlib import Path
from typing import NamedTuple

from corpus_record import InputError, read_json
from keyword_match import KEYWORD_FOLDER, LANGUAGES, load_matcher
from language import UNDETERMINED, detect_language

REASONS = ("kept", "too_few_keywords", "low_density", "other_language", "empty", "null", "unknown_language")
THRESHOLDS_FILE = Path(__file__).parent / "thresholds.json"
SURE = 0.9  # a detected language overrules the declared one from this probability on


class Decision(NamedTuple):
    reason: str  # one of REASONS
    language: str  # ISO 639-1: the declared (or detected) language; "und" with unknown_language
    distinct: int
    density: float
    detected: str  # the language found in a text that passed the rule, else ""


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
            raise InputError(f"{path}: {rule} {language} needs min_distinct_keywords and min_density "
                             f"({error})") from None
    return thresholds


class DocumentFilter:
    """One rule with its keyword lists and thresholds; matchers are loaded when their language first comes."""

    def __init__(self, rule: str, keyword_folder: Path = KEYWORD_FOLDER, thresholds_file: Path = THRESHOLDS_FILE):
        self.rule = rule
        self.keyword_folder = keyword_folder
        self.thresholds = load_thresholds(rule, thresholds_file)
        self.matchers: dict = {}

    def decide(self, text: str | None, declared: str) -> Decision:
        """declared: an ISO code of the eight, or "" for "find out"."""
        if text is None:
            return Decision("null", declared or UNDETERMINED, 0, 0.0, "")
        if not text.strip():
            return Decision("empty", declared or UNDETERMINED, 0, 0.0, "")
        language = declared or detect_language(text).code
        if language not in LANGUAGES:
            return Decision("unknown_language", UNDETERMINED, 0, 0.0, language)
        if language not in self.matchers:
            self.matchers[language] = load_matcher(language, self.rule, self.keyword_folder)
        distinct, density = self.matchers[language].score(text)
        limits = self.thresholds[language]
        if distinct < limits.min_distinct_keywords:
            return Decision("too_few_keywords", language, distinct, density, "")
        if density < limits.min_density:
            return Decision("low_density", language, distinct, density, "")
        if not declared:
            return Decision("kept", language, distinct, density, language)
        detected = detect_language(text)
        other = detected.code not in (language, UNDETERMINED) and detected.probability >= SURE
        return Decision("other_language" if other else "kept", language, distinct, density, detected.code)
