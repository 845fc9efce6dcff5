"""Exam questions inserted into a text in the variants found on the web, for tests and bench_decontaminate.py."""

import random
import unicodedata
from functools import cache

from decontamination.contamination_match import is_cjk

KINDS = (
    "verbatim",
    "re-spaced",
    "other width",
    "other punctuation",
    "options in another order",
    "without options",
    "a typo every 50 characters",
)
TYPO_EVERY = 50  # characters
SPACES = ("  ", "\n", "\t", "\u00a0", " \u3000", "\r\n ")
MARKS = (" - ", "; ", " ", " / ", "… ", "] ", " « ")


def planted(question: dict, kind: str, dice: random.Random) -> str:
    """The question as text: the stem, then one option per line, changed as `kind` says."""
    options = [text for _, text in sorted(question["options"].items())]
    if kind == "options in another order":
        options = options[::-1] if len(options) == 2 else dice.sample(options, len(options))
    lines = [question["question"]]
    if kind != "without options":
        lines += [f"{letter}. {text}" for letter, text in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", options, strict=False)]
    text = "\n".join(lines)
    if kind == "re-spaced":
        return _respaced(text, dice)
    if kind == "other width":
        return "".join(other_width().get(c, c) for c in text)
    if kind == "other punctuation":
        return "".join(dice.choice(MARKS) if unicodedata.category(c)[0] == "P" else c for c in text)
    return _mistyped(text, dice) if kind.startswith("a typo") else text


def _respaced(text: str, dice: random.Random) -> str:
    """Other white space between words; between Chinese and Japanese characters some where there was none."""
    spaced = []
    for character in text:
        spaced.append(dice.choice(SPACES) if character.isspace() else character)
        if is_cjk(character) and dice.random() < 0.3:
            spaced.append(" ")
    return "".join(spaced)


def _mistyped(text: str, dice: random.Random) -> str:
    """Every 50th character another letter of the same text; where that is none, the next letter."""
    characters, at = list(text), TYPO_EVERY - 1
    while at < len(text):
        place = next((i for i in range(at, len(text)) if text[i].isalpha()), None)
        if place is None:
            break
        others = sorted(
            {
                c
                for c in text
                if c.isalpha() and c.casefold() != text[place].casefold() and is_cjk(c) == is_cjk(text[place])
            }
        )
        characters[place] = dice.choice(others) if others else ""
        at += TYPO_EVERY
    return "".join(characters)


@cache
def other_width() -> dict[str, str]:
    """Full width for ASCII, half width for kana, presentation forms for Arabic: what NFKC takes back."""
    forms: dict[str, str] = {}
    for code in (*range(0xFF01, 0xFF5F), *range(0xFF65, 0xFFA0), *range(0xFE80, 0xFEF5)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1:
            forms.setdefault(plain, chr(code))
    for mark, half in (("\u3099", "\uff9e"), ("\u309a", "\uff9f")):  # voiced kana are two half-width ones
        for code in range(0x30A1, 0x30FB):
            bare = unicodedata.normalize("NFD", chr(code))
            if len(bare) == 2 and bare[1] == mark and bare[0] in forms:
                forms[chr(code)] = forms[bare[0]] + half
    return forms
