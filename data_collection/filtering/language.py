"""Detect the language of a text: from its script if only one language uses it, else with an offline detector.

Kana make a text Japanese, Chinese characters without kana Chinese, Hangul Korean, and so on. Many languages use Latin,
Cyrillic and Arabic letters; py3langid (the default) or langdetect distinguish them with models from their packages.
Results are ISO 639-1 codes, also of languages outside the eight of the corpus (a Portuguese page is "pt", not "es");
"und" if the text has too few letters.
"""

import unicodedata
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

UNDETERMINED = "und"
DETECTORS = ("py3langid", "langdetect", "none")  # the first is the default; none: no detection
MIN_LETTERS = 20  # in shorter texts no language is detected; CJK characters count double
CLEAR_SHARE = 0.85  # of the letters in one script, above which other scripts do not lower the probability
KANA_SHARE = 0.05  # Japanese prose is more than a third kana; Chinese has kana only in a quoted name
# The language of a long text is detected from windows spread over it: (windows, characters each). A menu, a listing or
# an English abstract then fills one of them only. 4 x 100 made fewer errors than 400 in a row, in the same time.
SCRIPT_WINDOWS = (4, 150)
LETTER_WINDOWS = {"py3langid": (4, 100), "langdetect": (1, 1200)}

# (first, last) code point and script; other letters are classified by their Unicode name.
BLOCKS = (
    (0x0041, 0x024F, "Latin"),
    (0x1E00, 0x1EFF, "Latin"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0600, 0x077F, "Arabic"),
    (0xFB50, 0xFDFF, "Arabic"),
    (0xFE70, 0xFEFF, "Arabic"),
    (0x3041, 0x30FF, "Kana"),
    (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"),
    (0xF900, 0xFAFF, "Han"),
    (0x20000, 0x323AF, "Han"),
    (0xAC00, 0xD7A3, "Hangul"),
)
ONE_LANGUAGE_SCRIPTS = {"Hangul": "ko", "Greek": "el", "Hebrew": "he", "Thai": "th", "Georgian": "ka", "Armenian": "hy"}
SCRIPTS_OF = {"Latin": ("en", "fr", "es", "de"), "Cyrillic": ("ru",), "Arabic": ("ar",)}
# Windows-1252 contains Latin letters, symbols, and one letter without a script: the circumflex U+02C6.
CIRCUMFLEX = "\u02c6".encode("cp1252")
CP1252_SIGNS = bytes(b for b in range(256) if not bytes([b]).decode("cp1252", "replace").isalpha())
# The languages that py3langid may return, by script: those with texts on the web. Its pidgins and minor Romance
# languages were mistaken for the eight.
CANDIDATES = {
    "Latin": "en fr es de pt it ca gl oc ro la nl af sv da no nn fi et lv lt pl cs sk sl hr bs sq hu tr az uz id ms jv "
    "tl vi sw eu ga cy br mt is fo eo ht so ha yo ig zu xh rw mg ku lb fy gd",
    "Cyrillic": "ru uk bg be mk sr kk ky mn tg tt ba uz az",
    "Arabic": "ar arz ary fa ur ps ug",
}
# Added to py3langid's log prior of each of the eight languages, in nats: most documents are in one of them. 100
# characters of Spanish are then detected as Spanish in 98.4 % instead of 95.7 %, and none of the sample's sentences in
# neighbouring languages is mistaken for one of the eight.
PRIOR_OF_THE_EIGHT = 6.0
SAME_LANGUAGE = {"arz": "ar", "ary": "ar"}  # Egyptian and Moroccan Arabic


class Detected(NamedTuple):
    code: str  # ISO 639-1, or "und"
    probability: float  # the detector's (1 if the script decides), lowered if another script has many letters


@lru_cache(maxsize=20_000)
def script_of(character: str) -> str:
    """The script of one letter ("Latin", "Cyrillic", "Arabic", "Kana", "Han", ...); "" for other characters."""
    if not character.isalpha():
        return ""
    point = ord(character)
    for first, last, script in BLOCKS:
        if first <= point <= last:
            return script
    return unicodedata.name(character, "OTHER").split()[0].title()


def count_scripts(text: str) -> Counter:
    """{script: letters}. Han, kana and Hangul count double: one character carries about as much as two letters."""
    scripts: Counter = Counter()
    try:
        raw = text.encode("cp1252")
    except UnicodeEncodeError:
        raw = CIRCUMFLEX
    if (
        CIRCUMFLEX not in raw
    ):  # Latin letters, symbols and digits only, as in most texts in en fr es de: counted at once
        letters = len(raw.translate(None, CP1252_SIGNS))
        return Counter(Latin=letters) if letters else scripts
    for character, count in Counter(text).items():
        if script := script_of(character):
            scripts[script] += count * (2 if script in ("Han", "Kana", "Hangul") else 1)
    return scripts


def main_script(text: str) -> tuple[str, str, float]:
    """(main script, language or "", at most 1.0 and less with other scripts); ("", "und", 0.0) for too few letters."""
    scripts = count_scripts(windows(text, *SCRIPT_WINDOWS))
    kana = scripts.pop("Kana", 0)
    scripts["Han"] += kana
    letters = sum(scripts.values())
    if letters < MIN_LETTERS:
        return "", UNDETERMINED, 0.0
    script = max(sorted(scripts), key=scripts.__getitem__)
    share = min(1.0, scripts[script] / letters / CLEAR_SHARE)
    if script == "Han":
        return script, "ja" if kana >= KANA_SHARE * scripts["Han"] else "zh", share
    return script, ONE_LANGUAGE_SCRIPTS.get(script, ""), share


def detect_language(text: str, detector: str = DETECTORS[0]) -> Detected:
    """The text's language and its probability; deterministic.

    detector: one of DETECTORS, used if several languages use the script; "none" always returns ("und", 0.0). A Russian
    text with more Latin than Cyrillic letters may be misdetected, but with a low probability, because the share of the
    main script lowers it.
    """
    if detector == "none":
        return Detected(UNDETERMINED, 0.0)
    script, code, share = main_script(text)
    if code:
        return Detected(code, round(share, 4))
    if script not in SCRIPTS_OF:
        return Detected(UNDETERMINED, 0.0)
    sample = windows(text, *LETTER_WINDOWS[detector])
    code, probability = _langdetect(sample) if detector == "langdetect" else _scored_languages(script).best(sample)
    return Detected(code, round(probability * share, 4))


def windows(text: str, count: int, width: int) -> str:
    """`count` pieces of `width` characters, spread evenly over the text (one: its middle); all of a short text."""
    if len(text) <= count * width:
        return text
    if count == 1:
        start = (len(text) - width) // 2
        return text[start : start + width]
    last = len(text) - width
    return " ".join(text[start : start + width] for start in (last * i // (count - 1) for i in range(count)))


@cache
def _scored_languages(script: str):
    """py3langid's model, restricted to the languages of the script."""
    from filtering.language_scores import ScoredLanguages  # compiled code, loaded when first needed

    candidates = CANDIDATES[script].split()
    raised = [code for code in candidates if SAME_LANGUAGE.get(code, code) in SCRIPTS_OF[script]]
    return ScoredLanguages(candidates, SAME_LANGUAGE, dict.fromkeys(raised, PRIOR_OF_THE_EIGHT))


def _langdetect(text: str) -> tuple[str, float]:
    import langdetect
    from langdetect.lang_detect_exception import LangDetectException

    langdetect.DetectorFactory.seed = 0  # unseeded, the result of about 3 % of short texts changes from run to run
    try:
        best = langdetect.detect_langs(text)[0]
    except LangDetectException:
        return UNDETERMINED, 0.0
    return best.lang.split("-")[0], best.prob
