"""Mask e-mail addresses and telephone numbers: `<EMAIL>`, `<PHONE>`.

A number is a telephone number by its international form (+49 30 ...), by a word before it (Tel., 电话, هاتف) or by a
national form that nothing else has (a shape such as 555-123-4567, 01 42 34 56 78, 8 (495) 123-45-67, 03-1234-5678).
Doses, dates, ICD codes, PMIDs, DOIs, ISSNs, laboratory values and exam numbers stay: where a shape is shared, the
number stays. Digits may be ASCII, full-width, Arabic or Persian. Example:

    python -c "import mask_contacts as m; print(m.mask_phones('Tel. 030 1234567, PMID 31986264', 'de'))"
"""

import re

EMAIL_MASK, PHONE_MASK = "<EMAIL>", "<PHONE>"

LOCAL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
MAX_LOCAL = 64  # characters before the @ (RFC 5321)

DIGITS = "0-9０-９٠-٩۰-۹"
DASHES = "\u2010\u2011\u2012\u2013\u2212\uff0dー"
# The longest row of digits with up to three separators between: at least 7 digits. Whole rows are judged, so that a
# masked number does not change what its neighbours are.
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
    # Words that announce a number, in the eight languages; not "cell" and "celular", which medicine has otherwise.
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
# A number before one of these is a dose or a count, whatever its shape (in Chinese "unit" is a workplace, too).
UNIT = re.compile(
    r"[ \u00a0]?(?:(?:mg|[µμ]g|mcg|kg|g|ng|ml|[µμ]l|dl|IU|UI|IE|units|unités|unidades|Einheiten|"
    r"mmol|cells|reads|copies|bp|мг|мкг|кг|мл|ЕД|МЕ|клет\w+|ملغ|مل)(?!\w)|毫克|微克|毫升|単位)",
    re.IGNORECASE,
)
LOOK_BACK = 32  # characters before a row in which its announcement may stand

# Written with ASCII digits and "-" for any dash. Each is a whole row.
SHAPES = re.compile(
    r"(?:1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{4}"  # North America
    r"|0[1-9](?:[ .-]\d\d){4}"  # France
    r"|\(?0[1-9]\d{1,4}\)?(?: / |[ /])\d{3,8}(?: \d{2,5}){0,3}(?:-\d{1,4})?|0[1-9]\d{1,3}-\d{5,8}"  # Germany, Britain
    r"|[78][ -]?\(?[3489]\d\d\)?[ -]?\d{3}[ -]\d\d[ -]\d\d|\([3489]\d\d\) ?\d{3}-\d\d-\d\d"  # Russia
    r"|8-800-\d{3}-\d{4}|[48]00-\d{3,4}-\d{3,4}"  # free of charge: Russia, China
    r"|0\d{1,4}(?:-\d{1,4}-|\(\d{1,4}\))\d{3,4}|0\d{2,3}-\d{7,8}"  # Japan, China
)
LEADING_ZERO_DIGITS = range(9, 13)  # a shape that begins with 0 has this many digits; 8 are an ISSN or a date
SHAPES_OF = {
    "es": re.compile(r"[6-9]\d\d(?: \d\d){3}|9\d \d{3} \d\d \d\d"),
    "zh": re.compile(r"1[3-9]\d[- ]?\d{4}[- ]?\d{4}|0\d{2,3}\d{8}"),
    "ru": re.compile(r"89\d{9}"),
    "ar": re.compile(r"01[0125]\d{8}|05\d{8}|00[1-9]\d{10,12}"),
}


def mask_emails(text: str) -> tuple[str, int]:
    """(text with <EMAIL> for every address, how many)."""
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
    """(text with <PHONE> for every telephone number, how many); language: ISO 639-1, for the forms of one country."""
    pieces, done = [], 0
    for row in ROW.finditer(text):
        start = _start_of_phone(text, row.start(), row.end(), language)
        if start >= done:
            pieces += [text[done:start], PHONE_MASK]
            done = row.end()
    return "".join([*pieces, text[done:]]), len(pieces) // 2


def _start_of_phone(text: str, start: int, end: int, language: str) -> int:
    """Where the telephone number of a row of digits begins (its "+" or "(" included); -1 where the row is none."""
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
    """Whether a number beside this character is part of a word or code (A123...); Chinese and kana do not join."""
    return (character.isalpha() and not "\u3040" <= character <= "\u9fff") or character == "_"
