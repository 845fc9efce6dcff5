"""Mask e-mail addresses and telephone numbers: `<EMAIL>`, `<PHONE>`.

A number is a telephone number if it has the international form (+49 30 ...), a word before it (Tel., 电话, هاتف) or a
national form that is used for nothing else (555-123-4567, 01 42 34 56 78, 8 (495) 123-45-67, 03-1234-5678). Ambiguous
numbers stay: doses, dates, ICD codes, PMIDs, DOIs, ISSNs, laboratory values, exam numbers. Digits may be ASCII,
full-width, Arabic or Persian.
"""

import re

EMAIL_MASK, PHONE_MASK = "<EMAIL>", "<PHONE>"

LOCAL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
MAX_LOCAL = 64  # characters before the @ (RFC 5321)

DIGITS = "0-9０-９٠-٩۰-۹"
DASHES = "\u2010\u2011\u2012\u2013\u2212\uff0dー"
# The longest row of at least 7 digits with up to three separators between. Complete rows are classified, so that a
# masked number does not affect its neighbours.
ROW = re.compile(rf"[{DIGITS}](?:[ \u00a0.()（）/{DASHES}-]{{0,3}}[{DIGITS}]){{6,}}+")
PLAIN = str.maketrans(
    {
        **dict.fromkeys(DASHES, "-"),
        "（": "(",
        "）": ")",
        "\u00a0": " ",
        **{chr(zero + i): str(i) for zero in (0xFF10, 0x660, 0x6F0) for i in range(10)},
    }
)
DATE = re.compile(r"(?:\d{4}[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./ ]\d\d?[-./ ]\d{4})(?:[ ./-].*)?")

BEFORE = (
    # Words before a telephone number, in the eight languages; not "cell" and "celular", which are medical words.
    r"tel|phone|telephone|call|fax|mobile|hotline|whatsapp|tél|téléphone|appelez le|appeler le|"
    r"teléfono|telefono|tfno|móvil|llame al|llamar al|telefon|telefonnummer|rufnummer|mobil|handy|"
    r"тел|телефон|телефону|факс|моб|звоните|"
    r"电话|電話|手机|手機|热线|熱線|传真|拨打|致电|電話番号|携帯|ファックス|お問い合わせ|"
    r"هاتف|الهاتف|تلفون|تليفون|جوال|الجوال|موبايل|فاكس|واتساب"
)
ANNOUNCED = re.compile(
    rf"(?<![^\W\u3040-\u30ff\u3400-\u9fff])(?:{BEFORE})(?: ?(?:no|nr|number|numéro|номер))?"
    r"[\s.:：=(（+＋-]{0,4}$",
    re.IGNORECASE,
)
UNITS = ("%", "°", "‰", "*", "=")
# A number before one of these is a dose or a count (but in Chinese "unit" is also a workplace).
UNIT = re.compile(
    r"[ \u00a0]?(?:(?:mg|[µμ]g|mcg|kg|g|ng|ml|[µμ]l|dl|IU|UI|IE|units|unités|unidades|Einheiten|"
    r"mmol|cells|reads|copies|bp|мг|мкг|кг|мл|ЕД|МЕ|клет\w+|ملغ|مل)(?!\w)|毫克|微克|毫升|単位)",
    re.IGNORECASE,
)
LOOK_BACK = 32  # characters before a row that are searched for such a word

# With ASCII digits and "-" for any dash. Each matches a complete row.
SHAPES = re.compile(
    r"(?:1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{4}"  # North America
    r"|0[1-9](?:[ .-]\d\d){4}"  # France
    r"|\(?0[1-9]\d{1,4}\)?(?: / |[ /])\d{3,8}(?: \d{2,5}){0,3}(?:-\d{1,4})?|0[1-9]\d{1,3}-\d{5,8}"  # Germany, Britain
    r"|[78][ -]?\(?[3489]\d\d\)?[ -]?\d{3}[ -]\d\d[ -]\d\d|\([3489]\d\d\) ?\d{3}-\d\d-\d\d"  # Russia
    r"|8-800-\d{3}-\d{4}|[48]00-\d{3,4}-\d{3,4}"  # toll-free: Russia, China
    r"|0\d{1,4}(?:-\d{1,4}-|\(\d{1,4}\))\d{3,4}|0\d{2,3}-\d{7,8}"  # Japan, China
)
LEADING_ZERO_DIGITS = range(9, 13)  # of shapes that begin with 0; 8 digits are an ISSN or a date
SHAPES_OF = {
    "es": re.compile(r"[6-9]\d\d(?: \d\d){3}|9\d \d{3} \d\d \d\d"),
    "zh": re.compile(r"1[3-9]\d[- ]?\d{4}[- ]?\d{4}|0\d{2,3}\d{8}"),
    "ru": re.compile(r"89\d{9}"),
    "ar": re.compile(r"01[0125]\d{8}|05\d{8}|00[1-9]\d{10,12}"),
}


def mask_emails(text: str) -> tuple[str, int]:
    """(text with <EMAIL> for every address, number of addresses)."""
    if "@" not in text and "＠" not in text:
        return text, 0
    pieces, done = [], 0
    for at in re.finditer("[@＠]", text):
        start = at.start()
        while start > max(done, at.start() - MAX_LOCAL) and text[start - 1] in LOCAL_CHARACTERS:
            start -= 1
        domain = DOMAIN.match(text, at.end())
        if start == at.start() or not domain:
            continue
        pieces += [text[done:start], EMAIL_MASK]
        done = domain.end()
    return "".join([*pieces, text[done:]]), len(pieces) // 2


def mask_phones(text: str, language: str) -> tuple[str, int]:
    """(text with <PHONE> for every telephone number, their number). language: ISO 639-1, for national forms."""
    pieces, done = [], 0
    for row in ROW.finditer(text):
        start = _start_of_phone(text, row.start(), row.end(), language)
        if start >= done:
            pieces += [text[done:start], PHONE_MASK]
            done = row.end()
    return "".join([*pieces, text[done:]]), len(pieces) // 2


def _start_of_phone(text: str, start: int, end: int, language: str) -> int:
    """Start of the telephone number in a row of digits, "+" or "(" included; -1 if the row is not one."""
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    if _joined(after) or after in UNITS or (after in (",", ":", "٫") and text[end + 1 : end + 2].isdigit()):
        return -1
    if UNIT.match(text, end):
        return -1
    row = text[start:end].translate(PLAIN)
    if before in ("(", "（") and ")" in row:
        start, row = start - 1, "(" + row
        before = text[start - 1 : start] if start else ""
    digits = sum(map(str.isdigit, row))
    if before in ("+", "＋"):
        outer = text[start - 2 : start - 1] if start > 1 else ""
        if 8 <= digits <= 15 and row[0] != "0" and not _joined(outer) and not outer.isdigit():
            return start - 2 if outer in ("(", "（") and ")" in row else start - 1
        return -1
    if digits <= 15 and not DATE.fullmatch(row) and ANNOUNCED.search(text[max(0, start - LOOK_BACK) : start]):
        return start
    if _joined(before) or before in tuple(".,-/\\#$€£¥=*^~_№<>:&"):
        return -1
    own = SHAPES_OF.get(language)
    if own and own.fullmatch(row):
        return start
    if SHAPES.fullmatch(row) and (row.lstrip("(")[0] != "0" or digits in LEADING_ZERO_DIGITS):
        return start
    return -1


def _joined(character: str) -> bool:
    """Whether a number next to this character is part of a word or code (A123...); not next to Chinese or kana."""
    return (character.isalpha() and not "\u3040" <= character <= "\u9fff") or character == "_"
