"""What the names of folders and files say of the documents in them: language, and kind of source.

`zh/`, `Chinese/`, `medical_book_zh/` and `zh.jsonl` say Chinese; of two names that disagree the inner one is heard. A
name's single words are heard too, but two letters count as a language's code only as its first or last word
(`livres_de_medecine` is not German). Example:

    python -c "import folder_labels as f; print(f.language_of('MMedC.zip/books/Chinese/1.txt'))"
"""

import re

from language_codes import LANGUAGES

ENGLISH_NAMES = {
    "english": "en",
    "chinese": "zh",
    "japanese": "ja",
    "french": "fr",
    "russian": "ru",
    "spanish": "es",
    "german": "de",
    "arabic": "ar",
}
OTHER_CODES = {
    "eng": "en",
    "zho": "zh",
    "chi": "zh",
    "cn": "zh",
    "jpn": "ja",
    "jp": "ja",
    "fra": "fr",
    "fre": "fr",
    "rus": "ru",
    "spa": "es",
    "deu": "de",
    "ger": "de",
    "ara": "ar",
}
CODES = {code: code for code in LANGUAGES} | OTHER_CODES
SOURCE_WORDS = {
    "textbook": "textbook",
    "textbooks": "textbook",
    "book": "textbook",
    "books": "textbook",
    "website": "website",
    "websites": "website",
    "site": "website",
    "sites": "website",
    "culturax": "web",
    "cultural": "web",
    "filtered": "web",
    "existing": "existing",
    "opensource": "existing",
    "small": "existing",
}


def language_of(path: str) -> str:
    """ISO 639-1 of the eight, or "" where no name of the path says one. path: with "/", the file last."""
    for name in reversed(path.lower().split("/")):
        stem = name.split(".")[0]
        words = [word for word in re.split(r"[_\-\s()]+", stem) if word]
        named = {ENGLISH_NAMES[word] for word in words if word in ENGLISH_NAMES}
        named = named or {CODES[word] for word in words[:1] + words[-1:] if word in CODES}
        if len(named) == 1:
            return named.pop()
    return ""


def source_of(path: str) -> str:
    """One of the corpus's kinds of source, or "" where no folder of the path says one."""
    for name in reversed(path.lower().split("/")[:-1]):
        words = re.split(r"[_\-\s.()]+", name)
        named = {SOURCE_WORDS[word] for word in words if word in SOURCE_WORDS}
        if len(named) == 1:
            return named.pop()
    return ""


def language_of_tag(tag: str) -> str:
    """ISO 639-1 of a language tag as pages declare it (`pt-BR`, `zh_Hans`), also outside the eight; or ""."""
    code = re.split(r"[-_;, ]", tag.strip().lower())[0]
    code = CODES.get(code) or ENGLISH_NAMES.get(code, code)
    return code if re.fullmatch("[a-z]{2}", code) else ""
