"""Tell the language of a text: by its script where that decides, else by a detector that works offline.

Kana make a text Japanese, Chinese characters without them Chinese, Hangul Korean, and so on. Latin, Cyrillic and Arabic
letters serve many languages: py3langid (the default) or langdetect, both from files in their packages, tell these.
Answers are ISO 639-1 codes, also of languages outside the eight of the corpus (a Portuguese page is "pt", not "es");
"und" where the text has too few letters to tell. Example:

    python -c "import language; print(language.detect_language('Пациент жалуется на головную боль.'))"
"""

import unicodedata
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

UNDETERMINED = "und"
DETECTORS = ("py3langid", "langdetect", "none")  # the first is the default; none: nothing is detected
MINIMUM_LETTERS = 20  # under this many letters (CJK characters count double) no answer is given
CLEAR_SHARE = 0.85  # of the letters in one script; from here on other scripts do not make the answer less sure
KANA_SHARE = 0.05  # Japanese prose holds over a third kana; Chinese none but a quoted name
# A long text is told from windows spread over it: (windows, characters each). A page's menu, a listing or an English
# abstract then fills one of them only. 4 x 100 made fewer errors than 400 in a row, at the same price.
SCRIPT_WINDOWS = (4, 150)
LETTER_WINDOWS = {"py3langid": (4, 100), "langdetect": (1, 1200)}

# (first, last) code points and the script they belong to; letters elsewhere are told by their Unicode name.
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
# Windows-1252 holds Latin letters and signs, and one letter of no script: the circumflex U+02C6.
CIRCUMFLEX = "\u02c6".encode("cp1252")
CP1252_SIGNS = bytes(b for b in range(256) if not bytes([b]).decode("cp1252", "replace").isalpha())
# What py3langid may answer, by script: the languages that the web holds some of. Its dialects of Chinese and its
# pidgins and minor Romance languages took texts away from the eight.
CANDIDATES = {
    "Latin": "en fr es de pt it ca gl oc ro la nl af sv da no nn fi et lv lt pl cs sk sl hr bs sq hu tr az uz id ms jv "
    "tl vi sw eu ga cy br mt is fo eo ht so ha yo ig zu xh rw mg ku lb fy gd",
    "Cyrillic": "ru uk bg be mk sr kk ky mn tg tt ba uz az",
    "Arabic": "ar arz ary fa ur ps ug",
}
# py3langid's score of each of the eight is raised by this much (nats, added to its log prior): documents come as one of
# them. 100 characters of Spanish are then found to be Spanish in 98.4 % instead of 95.7 %, and none of the sample's
# sentences in neighbouring languages is taken for one of the eight.
PRIOR_OF_THE_EIGHT = 6.0
SAME_LANGUAGE = {"arz": "ar", "ary": "ar"}  # Egyptian and Moroccan Arabic


class Detected(NamedTuple):
    code: str  # ISO 639-1, or "und"
    probability: float  # the detector's (1 where the script decides), lowered where another script has many letters


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
    try:
        raw = text.encode("cp1252")
    except UnicodeEncodeError:
        raw = CIRCUMFLEX
    if CIRCUMFLEX not in raw:  # Latin letters, signs and digits only, as most texts in en fr es de are: counted at once
        letters = len(raw.translate(None, CP1252_SIGNS))
        return Counter(Latin=letters) if letters else scripts
    for character, count in Counter(text).items():
        if script := script_of(character):
            scripts[script] += count * (2 if script in ("Han", "Kana", "Hangul") else 1)
    return scripts


def language_by_script(text: str) -> tuple[str, str]:
    """(script, language): the leading script, and the language where that alone decides, else ""."""
    return _leading_script(text)[:2]


def _leading_script(text: str) -> tuple[str, str, float]:
    """(script, language or "", 1.0 or less where other scripts are frequent); ("", "und", 0.0) for too few letters."""
    scripts = count_scripts(windows(text, *SCRIPT_WINDOWS))
    kana = scripts.pop("Kana", 0)
    scripts["Han"] += kana
    letters = sum(scripts.values())
    if letters < MINIMUM_LETTERS:
        return "", UNDETERMINED, 0.0
    script = max(sorted(scripts), key=scripts.__getitem__)
    share = min(1.0, scripts[script] / letters / CLEAR_SHARE)
    if script == "Han":
        return script, "ja" if kana >= KANA_SHARE * scripts["Han"] else "zh", share
    return script, ONE_LANGUAGE_SCRIPTS.get(script, ""), share


def detect_language(text: str, detector: str = DETECTORS[0]) -> Detected:
    """The text's language and how sure that is. The same text always gives the same answer.

    detector: one of DETECTORS, asked where the script leaves several languages; "none" always answers ("und", 0.0). A
    Russian text with more Latin than Cyrillic letters may be taken for another language, but never surely: the
    script's share lowers the probability.
    """
    if detector == "none":
        return Detected(UNDETERMINED, 0.0)
    script, code, share = _leading_script(text)
    if code:
        return Detected(code, round(share, 4))
    if script not in SCRIPTS_OF:
        return Detected(UNDETERMINED, 0.0)
    sample = windows(text, *LETTER_WINDOWS[detector])
    code, probability = _ask_langdetect(sample) if detector == "langdetect" else _scored_languages(script).best(sample)
    return Detected(code, round(probability * share, 4))


def windows(text: str, count: int, width: int) -> str:
    """`count` pieces of `width` characters, spread evenly over the text (one piece: its middle); a short text whole."""
    if len(text) <= count * width:
        return text
    if count == 1:
        start = (len(text) - width) // 2
        return text[start : start + width]
    last = len(text) - width
    return " ".join(text[start : start + width] for start in (last * i // (count - 1) for i in range(count)))


@cache
def _scored_languages(script: str):
    """py3langid's model, cut down to the languages that are written in the script."""
    from filtering.language_scores import ScoredLanguages  # compiled code: loaded when first needed

    candidates = CANDIDATES[script].split()
    raised = [code for code in candidates if SAME_LANGUAGE.get(code, code) in SCRIPTS_OF[script]]
    return ScoredLanguages(candidates, SAME_LANGUAGE, dict.fromkeys(raised, PRIOR_OF_THE_EIGHT))


def _ask_langdetect(text: str) -> tuple[str, float]:
    import langdetect
    from langdetect.lang_detect_exception import LangDetectException

    langdetect.DetectorFactory.seed = 0  # unseeded, about 3 % of short texts change their answer from run to run
    try:
        best = langdetect.detect_langs(text)[0]
    except LangDetectException:
        return UNDETERMINED, 0.0
    return best.lang.split("-")[0], best.prob
