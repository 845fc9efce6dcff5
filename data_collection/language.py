"""Tell the language of a text: by its script where that decides, else by langdetect with a fixed seed.

Answers are ISO 639-1 codes, also of languages outside the eight of the corpus (a Portuguese page is "pt", not "es");
"und" where the text has too few letters to tell. Example:

    python -c "import language; print(language.detect_language('Пациент жалуется на головную боль.'))"
"""

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

UNDETERMINED = "und"
MINIMUM_LETTERS = 20  # under this many letters (CJK characters count double) no answer is given
SAMPLE_CHARACTERS = 1200  # langdetect reads this many from the middle of the text: measured equal to 3,000 in accuracy
KANA_SHARE = 0.05  # Japanese prose holds over a third kana; Chinese none but a quoted name

# (first, last) code points and the script they belong to; letters elsewhere are told by their Unicode name.
BLOCKS = (
    (0x0041, 0x024F, "Latin"), (0x1E00, 0x1EFF, "Latin"), (0x0400, 0x052F, "Cyrillic"), (0x0600, 0x077F, "Arabic"),
    (0xFB50, 0xFDFF, "Arabic"), (0xFE70, 0xFEFF, "Arabic"), (0x3041, 0x30FF, "Kana"), (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"), (0xF900, 0xFAFF, "Han"), (0x20000, 0x323AF, "Han"), (0xAC00, 0xD7A3, "Hangul"),
)
ONE_LANGUAGE_SCRIPTS = {"Hangul": "ko", "Greek": "el", "Hebrew": "he", "Thai": "th", "Georgian": "ka", "Armenian": "hy"}
SCRIPTS_OF = {"Latin": ("en", "fr", "es", "de"), "Cyrillic": ("ru",), "Arabic": ("ar",)}


DETECTORS = ("langdetect",)


class Detected(NamedTuple):
    code: str  # ISO 639-1, or "und"
    probability: float  # 1.0 where the script decides


@lru_cache(maxsize=20_000)
def script_of(character: str) -> str:
    """The script of one letter ("Latin", "Cyrillic", "Arabic", "Kana", "Han", ...); "" for anything but a letter."""
    if not character.isalpha():
        return ""
    point = ord(character)
    for first, last, script in BLOCKS:
        if first <= point <= last:
            return script
    return unicodedata.name(character, "OTHER").split()[0].title()


def count_scripts(text: str) -> Counter:
    """{script: letters}. Han, kana and Hangul count double: one character says about as much as two letters."""
    scripts: Counter = Counter()
    for character, count in Counter(text).items():
        if script := script_of(character):
            scripts[script] += count * (2 if script in ("Han", "Kana", "Hangul") else 1)
    return scripts


def language_by_script(text: str) -> tuple[str, str]:
    """(script, language): the leading script, and the language where that alone decides, else ""."""
    scripts = count_scripts(text)
    japanese_or_chinese = scripts["Han"] + scripts["Kana"]
    kana = scripts.pop("Kana", 0)
    scripts["Han"] = japanese_or_chinese
    if sum(scripts.values()) < MINIMUM_LETTERS:
        return "", UNDETERMINED
    script = max(sorted(scripts), key=scripts.__getitem__)
    if script == "Han":
        return script, "ja" if kana >= KANA_SHARE * japanese_or_chinese else "zh"
    return script, ONE_LANGUAGE_SCRIPTS.get(script, "")


def detect_language(text: str, detector: str = DETECTORS[0]) -> Detected:
    """The text's language and how sure that is. The same text always gives the same answer."""
    script, code = language_by_script(text)
    if code:
        return Detected(code, 1.0 if code != UNDETERMINED else 0.0)
    if script not in SCRIPTS_OF:
        return Detected(UNDETERMINED, 0.0)
    return _detect_by_letters(_middle(text))


def _middle(text: str) -> str:
    start = max(0, (len(text) - SAMPLE_CHARACTERS) // 2)
    return text[start : start + SAMPLE_CHARACTERS]


def _detect_by_letters(text: str) -> Detected:
    import langdetect
    from langdetect.lang_detect_exception import LangDetectException

    langdetect.DetectorFactory.seed = 0  # unseeded, about 3 % of short texts change their answer from run to run
    try:
        best = langdetect.detect_langs(text)[0]
    except LangDetectException:
        return Detected(UNDETERMINED, 0.0)
    return Detected(best.lang.split("-")[0], round(best.prob, 4))
