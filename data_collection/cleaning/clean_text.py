"""Clean one document of web text: the repaired text with counts of changes, or the reason to reject it.

Steps, in this order; each may be skipped by name. The first six change the text, the others check the result:

    mojibake                UTF-8 that was read as Latin-1, Windows-1252 or -1251 repaired; rejected if still broken
    control_characters      control, invisible and private-use characters removed, all line ends "\\n"
    mask_emails             <EMAIL> for e-mail addresses
    mask_phones             <PHONE> for telephone numbers
    boilerplate_lines       lines about cookies, log-in, menus, sharing removed
    repeated_lines          later copies of long lines removed
    replacement_characters  too many U+FFFD (lost characters)
    too_short               too few letters
    symbol_heavy            too few letters among the characters, or a "#" or "..." every ten words
    too_repetitive          repeated lines or word sequences beyond the limits of Rae et al. 2021

Cleaning a cleaned text changes nothing.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from cleaning.boilerplate_lines import drop_boilerplate, drop_repeated_lines, has_repeated_lines
from cleaning.mask_contacts import mask_emails, mask_phones
from cleaning.mojibake import is_broken, is_suspect, repair_mojibake

CHANGES = ("mojibake", "control_characters", "mask_emails", "mask_phones", "boilerplate_lines", "repeated_lines")
CLEANING_REASONS = (
    "lone_surrogates",
    "mojibake",
    "replacement_characters",
    "too_short",
    "symbol_heavy",
    "too_repetitive",
)  # why a document is rejected
CLEANING_STEPS = (*CHANGES, *CLEANING_REASONS[2:])  # lone surrogates cannot be written, so that check cannot be skipped

MAX_REPLACEMENT_SHARE = 0.005  # U+FFFD among the characters: one in 200, about one in 30 words
MIN_LETTERS = 60  # Chinese, kana and Hangul count double: some ten words
MIN_LETTER_SHARE = 0.5  # letters among all characters except white space
MAX_SYMBOLS_PER_WORD = 0.1  # of "#", and of "...": Rae et al. 2021, table A1
MAX_ROUNDS = 4  # of repair; text that was encoded wrongly more often is rejected as mojibake

LINE_END = re.compile("[\r\x0b\x0c\x85\u2028\u2029](?:(?<=\r)\n)?")
# Control characters, soft hyphens, zero-width spaces, direction marks, language tags, noncharacters, private-use
# characters (icon fonts). The joiners U+200C and U+200D stay: Persian, Indian scripts and emoji need them.
UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f\ue000-\uf8ff\U000f0000-\U0010ffff]"
)
CHANGED = re.compile(f"{LINE_END.pattern[: LINE_END.pattern.index(']')]}{UNWANTED.pattern[1:]}")  # either of the two
UNWANTED_ASCII = bytes([*range(9), *range(0x0B, 0x20), 0x7F])  # includes the line ends to change

# Kinds of characters by the first byte of their UTF-8 form: Letter, Wide (Chinese, kana, Hangul), Symbol or digit.
# Spaces and continuation bytes are ignored. C2, E2, EE and EF begin mostly symbols, F0 emoji.
KIND = bytes(
    ord("L") if (b < 0x80 and chr(b).isalpha()) or 0xC3 <= b <= 0xE1 else ord("W") if 0xE3 <= b <= 0xED else ord("S")
    for b in range(256)
)
NO_KIND = bytes([*b" \n\t\r", *range(0x80, 0xC0)])


class Cleaned(NamedTuple):
    text: str  # of a rejected document: as far as it was cleaned
    reason: str  # "" if the document is kept, else one of CLEANING_REASONS
    changes: dict[str, int]  # {step: number of changes}, only steps that changed something


def clean(text: str, language: str, skip: Collection[str] = ()) -> Cleaned:
    """The cleaned text. language: one of the eight ISO 639-1 codes; skip: some of CLEANING_STEPS."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return Cleaned(text, "lone_surrogates", {})
    changes: dict[str, int] = {}
    text, readable = _repair(text, skip, changes)
    if not readable:
        return Cleaned(text, "mojibake", changes)
    if "mask_emails" not in skip:
        text = _count(changes, "mask_emails", *mask_emails(text))
    if "mask_phones" not in skip:
        text = _count(changes, "mask_phones", *mask_phones(text, language))
    repeats = "too_repetitive" not in skip and has_repeated_lines(text.split("\n"))
    if "boilerplate_lines" not in skip:
        text = _count(changes, "boilerplate_lines", *drop_boilerplate(text, language))
    if "repeated_lines" not in skip:
        text = _count(changes, "repeated_lines", *drop_repeated_lines(text))
    return Cleaned(text, _judge(text, language, skip, repeats), changes)


def _repair(text: str, skip: Collection[str], changes: dict[str, int]) -> tuple[str, bool]:
    """(repaired text, whether it is readable now). Repeated, because a repair may uncover another layer."""
    for _ in range(MAX_ROUNDS):
        before = text
        suspect = "mojibake" not in skip and is_suspect(text)
        if suspect:
            text = _count(changes, "mojibake", *repair_mojibake(text))
        if "control_characters" not in skip:
            text = _count(changes, "control_characters", *remove_control_characters(text))
        if text == before:
            return text, not (suspect and is_broken(text))
    return text, False


def _count(changes: dict[str, int], step: str, text: str, count: int) -> str:
    if count:
        changes[step] = changes.get(step, 0) + count
    return text


def remove_control_characters(text: str) -> tuple[str, int]:
    """(text, characters removed and line ends changed)."""
    if text.isascii():
        raw = text.encode("ascii")
        changed = len(raw.translate(None, UNWANTED_ASCII)) < len(raw)
    else:
        changed = CHANGED.search(text)
    if not changed:
        return text, 0
    text, ends = LINE_END.subn("\n", text)
    text, removed = UNWANTED.subn("", text)
    return text, ends + removed


def _judge(text: str, language: str, skip: Collection[str], repeats: bool) -> str:
    """The reason to reject a document, or ""."""
    if "replacement_characters" not in skip and text.count("\ufffd") > MAX_REPLACEMENT_SHARE * len(text):
        return "replacement_characters"
    if "too_short" in skip and "symbol_heavy" in skip:
        kinds, letters, wide = b"", 0, 0
    else:
        raw = text.encode("utf-8")
        kinds = raw.translate(KIND, NO_KIND)
        wide = kinds.count(b"W") - raw.count(b"\xe3\x80")  # U+3000 to U+303F are Chinese and Japanese punctuation
        letters = kinds.count(b"L") + wide
    if "too_short" not in skip and letters + wide < MIN_LETTERS:
        return "too_short"
    if "symbol_heavy" not in skip:
        signs = max(text.count("#"), text.count("…") + text.count("..."))
        if letters < MIN_LETTER_SHARE * len(kinds):
            return "symbol_heavy"
        if signs and signs > MAX_SYMBOLS_PER_WORD * (len(text.split()) + wide / 2):
            return "symbol_heavy"
    if "too_repetitive" not in skip:
        from cleaning.repetition import is_repetitive  # compiled code, loaded when first needed

        if repeats or is_repetitive(text, language):
            return "too_repetitive"
    return ""
