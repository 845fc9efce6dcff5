"""Characters that fonts give private or rare codes: symbol fonts, Adobe's own codes, radicals for ideographs.

Private-use characters mean nothing outside their font: U+F0B3 is a box on a reader's screen, in the font Symbol it is
the sign of "at least".
"""

import re
import unicodedata

# Encoding of Adobe's font Symbol (PDF 32000-1:2008, annex D.5) from 0x20 and from 0xA0 on; a space: not used.
SYMBOL_LOW = " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_ αβχδεφγηιϕκλµνοπθρστυϖωξψζ{|}∼"
SYMBOL_HIGH = "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…│─↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ 〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭"
SYMBOL = {0x20 + i: c for i, c in enumerate(SYMBOL_LOW)} | {0xA0 + i: c for i, c in enumerate(SYMBOL_HIGH)}
# The signs of Wingdings that texts use; its other signs are pictures and become bullets.
WINGDINGS = dict(
    zip(
        (
            0x4A,
            0x6E,
            0x6F,
            0x71,
            0x72,
            0x75,
            0x76,
            0xA1,
            0xA7,
            0xA8,
            0xD8,
            0xDF,
            0xE0,
            0xE1,
            0xE2,
            0xE8,
            0xF0,
            0xFB,
            0xFC,
        ),
        "☺■□❑❒◆❖○▪◻➢←→↑↓➔⇨✗✓",
        strict=True,
    )
) | {0xFD: "☒", 0xFE: "☑", 0x9F: "•", 0x6C: "●"}
PICTURES = re.compile("wingdings|webdings|dingbats|awesome|icomoon|fontello|glyphicon|material.?icons", re.IGNORECASE)
SYMBOL_CODES, ADOBE_CODES = (
    0xF000,
    0xF700,
)  # first code of symbol fonts, of Adobe's old-style figures and small capitals
MARKS = {0xF8E8: "®", 0xF8E9: "©", 0xF8EA: "™", 0xF6D9: "©", 0xF6DA: "®", 0xF6DB: "™", 0xF6BE: "ȷ"}

# Unicode's Equivalent_Unified_Ideograph of the radicals U+2E80 to U+2EF3; those from U+2F00 on are in NFKC.
RADICALS = str.maketrans(
    "⺁⺂⺃⺄⺅⺆⺇⺈⺉⺊⺋⺌⺍⺎⺏⺐⺑⺒⺓⺔⺕⺖⺗⺘⺙⺛⺜⺝⺞⺟⺠⺡⺢⺣⺤⺥⺦⺧⺨⺩⺪⺫⺬⺭⺮⺯⺰⺱⺲⺳⺴⺵⺶⺷⺸⺹⺺⺻⺼⺽⺾⺿⻀⻁⻂⻃⻄⻅⻆⻇⻈⻉⻊⻋⻌⻍⻎⻏⻐⻑⻒⻓⻔⻕⻖⻗⻘⻙⻚⻛⻜⻝⻞⻟⻠⻡⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲⻳",
    "厂乛乚乙亻冂𠘨刀刂卜㔾小小兀尣尢𡯂巳幺彑彐忄心扌攵旡日月歺母民氵氺灬爫爫丬牛犭王𤴔目示礻𥫗糹纟罓罒㓁冗𦉫羊𦍌𦍋耂肀聿肉𦥑艹艹艹虎衤覀西见角𧢲讠贝𧾷车辶辶辶邑钅長镸长门𨸏阝雨青韦页风飞食𩙿飠饣𩠐马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀龟",
)
RADICALS |= {point: unicodedata.normalize("NFKC", chr(point)) for point in range(0x2F00, 0x2FD6)}


def symbol_text(character: str, font: str) -> str:
    """The ordinary character for a private-use one of a font; the same character if it is not known. font: its name."""
    code = ord(character)
    if code in MARKS:
        return MARKS[code]
    if ADOBE_CODES + 0x20 < code < ADOBE_CODES + 0x7F or ADOBE_CODES + 0xA1 <= code <= ADOBE_CODES + 0xFF:
        return chr(code - ADOBE_CODES)
    code -= SYMBOL_CODES
    if not 0x20 <= code <= 0xFF:
        return "•" if PICTURES.search(font) else character
    if "wingding" in font.lower():
        return WINGDINGS.get(code, "•")
    if PICTURES.search(font):
        return "•"
    # Other fonts with a symbol table have ordinary letters at their ASCII codes.
    if code < 0x7F and "symbol" not in font.lower():
        return chr(code)
    found = SYMBOL.get(code, " ")
    return character if found == " " and code != 0x20 else found
