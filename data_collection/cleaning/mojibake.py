"""Repair UTF-8 that was read as Latin-1, Windows-1252 or Windows-1251 ("cÅ“ur", "â€™", "РїР°С†"), if it is certain.

Characters are repaired if they encode to valid UTF-8 and do not occur in normal text: the French "déjà »" with a
no-break space before the quote is also the bytes of a Chinese character.
"""

import re

MAX_BROKEN_SHARE = 0.005  # of the characters; with more that look broken after repair the document is rejected
MIN_BROKEN = 3


def _byte_table(encoding: str) -> dict[str, int]:
    """{character: UTF-8 continuation byte (0x80 to 0xBF)} in Latin-1 and in the encoding."""
    table = {}
    for byte in range(0x80, 0xC0):
        table[chr(byte)] = byte
        try:
            table[bytes([byte]).decode(encoding)] = byte
        except UnicodeDecodeError:
            continue  # undefined in the code page, which uses the C1 control character
    return table


WESTERN, CYRILLIC = _byte_table("cp1252"), _byte_table("cp1251")
NEXT, NEXT_CYRILLIC = ("[" + re.escape("".join(table)) + "]" for table in (WESTERN, CYRILLIC))
# A run of adjacent sequences; possessive, so that a long line costs one pass.
RUN = re.compile(f"(?:[\xc2-\xdf]{NEXT}|[\xe0-\xef]{NEXT}{NEXT}|[\xf0-\xf4]{NEXT}{NEXT}{NEXT})++")
RUN_CYRILLIC = re.compile(f"(?:[РС]{NEXT_CYRILLIC}){{3,}}+")
PUNCTUATION_CYRILLIC = re.compile(f"вЂ{NEXT_CYRILLIC}|в„[–ў]")
ANY_CYRILLIC = re.compile(f"(?<![а-яА-Я])(?:[РС]{NEXT_CYRILLIC})++(?![а-яА-Я])")
LOST_SPACE = re.compile("Ã (?=[ ,.;:!?)»\n]|$)|Ã(?= )")
# Not used by any language: first bytes whose second byte was lost or changed.
BROKEN = re.compile("[âïÃÂÐÑв](?:(?<=â)€|(?<=ï)¿½|(?<=[ÃÂ])[?\xa0-\xbf]|(?<=[ÐÑ])[?\x80-\xbf]|(?<=в)Ђ)")
# Most texts need only this search for a first byte before a second one. A lost byte becomes "?".
SUSPECT = re.compile(f"[\xc2-\xf4РСв](?:{NEXT}|{NEXT_CYRILLIC}|[?])")


def is_suspect(text: str) -> bool:
    """Whether anything may be wrongly decoded; if not, the two functions below find nothing."""
    return not text.isascii() and SUSPECT.search(text) is not None


def repair_mojibake(text: str) -> tuple[str, int]:
    """(text, characters repaired): one layer of wrong decoding undone."""
    if not is_suspect(text):
        return text, 0
    text, count = _replace(RUN, text, _western)
    if count:  # then also what is uncertain alone: short words in other alphabets, "Ã" before a lost space
        text, short_words = _replace(RUN, text, _western_letters)
        text, graves = LOST_SPACE.subn("à", text)
        count += short_words + graves
    text, punctuation = _replace(PUNCTUATION_CYRILLIC, text, _cyrillic)
    text, letters = _replace(RUN_CYRILLIC, text, _cyrillic)
    if letters:  # short words of the same text, such as "и" and "в"
        text, more = _replace(ANY_CYRILLIC, text, _cyrillic)
        letters += more
    return text, count + punctuation + letters


def is_broken(text: str) -> bool:
    """Whether too much of the document looks wrongly decoded and cannot be repaired."""
    if not is_suspect(text):
        return False
    found = len(BROKEN.findall(text))
    return found >= MIN_BROKEN and found > MAX_BROKEN_SHARE * len(text)


def _replace(pattern: re.Pattern, text: str, decode) -> tuple[str, int]:
    """(text with every match replaced by decode(match) if that is not None, number of characters decoded)."""
    repaired = 0

    def change(match: re.Match) -> str:
        nonlocal repaired
        decoded = decode(match)
        if decoded is None:
            return match[0]
        repaired += len(decoded)
        return decoded

    return pattern.sub(change, text), repaired


def _western(match: re.Match) -> str | None:
    decoded = _western_letters(match, any_script=True)
    if decoded is None or len(decoded) >= 3:
        return decoded
    text, end = match.string, match.end()
    beside = text[max(0, match.start() - 1) : match.start()] + text[end : end + 1]
    in_word = any(c.islower() for c in beside)
    return decoded if all(_certain(c, in_word) for c in decoded) else None


def _western_letters(match: re.Match, any_script: bool = False) -> str | None:
    """The decoded run; None if it is not UTF-8 or contains other than Greek, Cyrillic, Hebrew, Arabic letters."""
    try:
        decoded = bytes(WESTERN.get(c) or ord(c) for c in match[0]).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return decoded if any_script or all("\u0370" <= c <= "\u06ff" and c.isalpha() for c in decoded) else None


def _certain(character: str, in_word: bool) -> bool:
    """Whether one or two sequences that decode to this character alone prove wrong decoding."""
    if character <= "\xff":
        return True  # "Ã" or "Â" before a sign
    if "\u0100" <= character <= "\u017f":
        return in_word and character.isalpha()  # "cÅ“ur", but not the letter in quotes: "Å“"
    return (
        "\u0391" <= character <= "\u03c9"  # Greek
        or "\u2000" <= character <= "\u22ff"  # dashes, quotes, currency, arrows, mathematics
        or "\u2500" <= character <= "\u27bf"
        or "\ufb00" <= character <= "\ufb06"
        or "\uff00" <= character <= "\uffef"
        or character in "\ufeff\ufffd"
        or "\U0001f000" <= character <= "\U0001faff"
    )


def _cyrillic(match: re.Match) -> str | None:
    lead = {"Р": 0xD0, "С": 0xD1, "в": 0xE2}
    try:
        return bytes(lead.get(c) or CYRILLIC[c] for c in match[0]).decode("utf-8")
    except (UnicodeDecodeError, KeyError):
        return None
