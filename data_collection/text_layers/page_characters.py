"""All characters of a PDF page with their boxes and fonts, and the words and pieces of lines that they form.

pdfium answers one question about one character per call. From Python 3,000 calls take 3 ms, compiled (numba) 0.03 ms;
so the loop over the characters is compiled, and everything below works on exact positions: spaces where the file has
none, raised figures (10⁹/L), accents drawn over letters, gaps between cells and columns.

Coordinates: points (1/72 inch) of the page as viewers show it, x to the right and y upwards, up to a shift. The height
of a character is that of its font's line, about 1.1 times the font size.
"""

import ctypes
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy
from numba import types
from numba.extending import intrinsic

from filtering.keyword_kernel import compiled
from text_layers.symbol_fonts import PICTURES, SYMBOL_CODES, symbol_text

MAX_POINTS = 20_000  # a larger character or page is a broken file's
SAME_WORD, SPACE, NEW_LINE = 0, 1, 2  # what is before a character
# Shares of the characters' height.
MIN_OVERLAP = 0.45  # vertically: less is another line; raised and lowered figures have more
WORD_GAP = 0.13  # beyond the line's usual gap between letters: a space (poppler: 0.1 of the font size, mupdf: 0.2)
NO_GAP = 0.03  # pdfium writes a space over a smaller gap where it mistakes the width of an accent or ligature
CJK_GAP = 0.8  # between Chinese or Japanese characters, which have no spaces: another cell or column
PIECE_GAP = 0.7  # between words: wider than the widest space of justified lines is rare; a cell, column or tab
MAX_RAISED_HEIGHT, MIN_RAISE, MIN_RAISE_SAME_SIZE, MAX_RAISED_GAP = 0.85, 0.12, 0.3, 0.3  # of the base's height
MAX_OBJECTS, MAX_IN_FORMS, MAX_DEPTH = 20_000, 2_000, 3  # of a page's drawn objects, inside forms, of forms in forms

# Spacing accents, which TeX draws over a letter as characters of their own, and the combining ones.
ACCENTS = dict(
    zip("´`ˆ˜¨˙˚¸ˇ˘¯˝˛", "\u0301\u0300\u0302\u0303\u0308\u0307\u030a\u0327\u030c\u0306\u0304\u030b\u0328", strict=True)
)
IS_ACCENT = numpy.zeros(0x300, numpy.bool_)
IS_ACCENT[[ord(c) for c in ACCENTS]] = True
DOTLESS = {"ı": "i", "ȷ": "j"}
RAISED = dict(zip("0123456789+-−–－", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁻", strict=True))


class Piece(NamedTuple):
    """Words of one line without a wide gap between them."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    row: int  # pieces of the same printed line, as the file draws it, have the same number
    invisible: bool  # drawn with text render mode 3
    font: int = 0  # equal numbers are one font; 0: several fonts

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def width(self) -> float:
        return self.right - self.left


class Characters(NamedTuple):
    """Arrays over a page's characters in pdfium's order, which is the file's but for the order inside lines."""

    codes: numpy.ndarray  # int32, Unicode
    boxes: numpy.ndarray  # float64 (n, 4): left, bottom, right, top; all 0 if pdfium has none
    base: numpy.ndarray  # float64: y of the base line
    generated: numpy.ndarray  # bool: a space or line end that pdfium adds
    unmapped: numpy.ndarray  # bool: the font has no Unicode value for the code
    invisible: numpy.ndarray  # bool
    fonts: numpy.ndarray  # int64: equal numbers are one font; 0: unknown


def _call(context, builder, signature, values):
    """Code for calling the C function at the address values[0] with the other values."""
    from llvmlite import ir

    function = ir.FunctionType(context.get_value_type(signature.return_type), [value.type for value in values[1:]])
    return builder.call(builder.inttoptr(values[0], function.as_pointer()), values[1:])


@intrinsic
def _number(typing, function, page, index):
    return types.int32(types.intp, types.intp, types.int32), _call


@intrinsic
def _object(typing, function, page, index):
    return types.intp(types.intp, types.intp, types.int32), _call


@intrinsic
def _fill(typing, function, page, index, pointer):
    return types.int32(types.intp, types.intp, types.int32, types.intp), _call


@intrinsic
def _fill_two(typing, function, page, index, pointer, second):
    return types.int32(types.intp, types.intp, types.int32, types.intp, types.intp), _call


@intrinsic
def _object_in_form(typing, function, item, index):
    return types.intp(types.intp, types.intp, types.intp), _call


@intrinsic
def _bounds(typing, function, item, left, bottom, right, top):
    return types.int32(types.intp, types.intp, types.intp, types.intp, types.intp, types.intp), _call


@intrinsic
def _number_of(typing, function, item):
    return types.int32(types.intp, types.intp), _call


@intrinsic
def _object_of(typing, function, item):
    return types.intp(types.intp, types.intp), _call


@lru_cache(maxsize=1)
def _functions() -> tuple[int, ...]:
    """Addresses of pdfium's functions."""
    import pypdfium2.raw as raw

    return tuple(
        ctypes.cast(function, ctypes.c_void_p).value
        for function in (
            raw.FPDFText_GetUnicode,
            raw.FPDFText_GetLooseCharBox,
            raw.FPDFText_GetCharOrigin,
            raw.FPDFText_IsGenerated,
            raw.FPDFText_HasUnicodeMapError,
            raw.FPDFText_GetTextObject,
            raw.FPDFTextObj_GetTextRenderMode,
            raw.FPDFTextObj_GetFont,
        )
    )


@compiled
def _read(functions, page, count):
    unicode_of, box_of, origin_of, is_generated, is_unmapped, object_of, mode_of, font_of = functions
    codes, boxes = numpy.zeros(count, numpy.int32), numpy.zeros((count, 4), numpy.float32)
    placed = numpy.zeros((count, 4), numpy.float64)
    origins = numpy.zeros((count, 2), numpy.float64)
    flags, fonts = numpy.zeros((count, 3), numpy.bool_), numpy.zeros(count, numpy.int64)
    box_at, origin_at = boxes.ctypes.data, origins.ctypes.data
    last_object = mode = font = 0
    for i in range(count):
        index = numpy.int32(i)
        codes[i] = _number(unicode_of, page, index)
        if not _fill(box_of, page, index, box_at + 16 * i):
            boxes[i] = 0
        _fill_two(origin_of, page, index, origin_at + 16 * i, origin_at + 16 * i + 8)
        left, top, right, bottom = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        if (  # not for NaN either
            abs(left) < MAX_POINTS
            and abs(top) < MAX_POINTS
            and abs(right) < MAX_POINTS
            and abs(bottom) < MAX_POINTS
            and abs(origins[i, 0]) < MAX_POINTS
            and abs(origins[i, 1]) < MAX_POINTS
        ):
            placed[i, 0], placed[i, 1], placed[i, 2], placed[i, 3] = left, bottom, right, top
        else:
            origins[i] = 0
        flags[i, 0] = _number(is_generated, page, index) == 1
        flags[i, 1] = _number(is_unmapped, page, index) == 1
        drawn = _object(object_of, page, index)
        if drawn != 0 and drawn != last_object:
            mode, font, last_object = _number_of(mode_of, drawn), _object_of(font_of, drawn), drawn
        flags[i, 2] = drawn != 0 and mode == 3  # PDF 32000-1:2008, table 106
        fonts[i] = font if drawn != 0 else 0
    return codes, placed, origins, flags, fonts


def read_characters(text_page, rotation: int = 0) -> Characters:
    """The characters of a pypdfium2 text page. rotation: degrees (0, 90, 180, 270) by which viewers rotate the page."""
    page = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    codes, boxes, origins, flags, fonts = _read(_functions(), page, max(0, text_page.count_chars()))
    base = origins[:, 1]
    if rotation:
        base = {90: -origins[:, 0], 180: -origins[:, 1], 270: origins[:, 0]}[rotation]
        boxes = rotated(boxes, rotation)
    return Characters(codes, boxes, base, flags[:, 0], flags[:, 1], flags[:, 2], fonts)


@compiled
def _objects(functions, page, count):
    object_of, kind_of, bounds_of, count_in_form, object_in_form = functions
    most = min(MAX_OBJECTS, count + MAX_IN_FORMS)
    kinds, depths = numpy.zeros(most, numpy.int32), numpy.zeros(most, numpy.int32)
    bounds, objects = numpy.zeros((most, 4), numpy.float32), numpy.zeros(most, numpy.int64)
    at, found = bounds.ctypes.data, min(count, most)
    for i in range(found):
        objects[i] = _object(object_of, page, numpy.int32(i))
    i = 0
    while i < found:
        drawn, edge = objects[i], at + 16 * i
        kinds[i] = _number_of(kind_of, drawn) if drawn != 0 else 0
        if kinds[i] >= 2 and not _bounds(bounds_of, drawn, edge, edge + 4, edge + 8, edge + 12):
            kinds[i] = 0
        if kinds[i] == 5 and depths[i] < MAX_DEPTH:
            for k in range(max(0, _number_of(count_in_form, drawn))):
                if found < most:
                    objects[found], depths[found] = _object_in_form(object_in_form, drawn, k), depths[i] + 1
                    found += 1
        i += 1
    return kinds[:found], bounds[:found], depths[:found]


def drawn_objects(page) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """(kinds: 2 path, 3 picture, 4 shading, 5 form; bounds (n, 4); depths) of a page's objects other than text.

    Bounds as displayed, like `Characters.boxes`; of objects inside forms (depth 1 and more) in the form's coordinates.
    """
    import pypdfium2.raw as raw

    functions = tuple(
        ctypes.cast(function, ctypes.c_void_p).value
        for function in (
            raw.FPDFPage_GetObject,
            raw.FPDFPageObj_GetType,
            raw.FPDFPageObj_GetBounds,
            raw.FPDFFormObj_CountObjects,
            raw.FPDFFormObj_GetObject,
        )
    )
    address = ctypes.cast(page.raw, ctypes.c_void_p).value
    kinds, bounds, depths = _objects(functions, address, max(0, raw.FPDFPage_CountObjects(page.raw)))
    shown = kinds >= 2
    return kinds[shown], rotated(bounds[shown], page.get_rotation()), depths[shown]


def rotated(boxes: numpy.ndarray, rotation: int) -> numpy.ndarray:
    """Boxes (n, 4) in file coordinates as the page is displayed, up to a shift."""
    boxes = numpy.asarray(boxes, numpy.float64)
    if not rotation:
        return boxes
    left, bottom, right, top = boxes.T
    turned = {
        90: (bottom, -right, top, -left),
        180: (-right, -top, -left, -bottom),
        270: (-top, left, -bottom, right),
    }[rotation]
    return numpy.stack(turned, 1)


@compiled
def _is_space(code):
    return code == 0x20 or code == 0x09 or code == 0xA0 or 0x2000 <= code <= 0x200B or code == 0x3000 or code == 0x202F


@compiled
def _is_cjk(code):
    return 0x2E80 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0xFF01 <= code <= 0xFF60


@compiled
def _is_right_to_left(code):
    return 0x590 <= code <= 0x8FF or 0xFB1D <= code <= 0xFDFF or 0xFE70 <= code <= 0xFEFF


@compiled
def _is_hyphen(code):
    return code == 0x02 or code == 0xFFFE or code == 0x2D or code == 0xAD


@compiled
def _raisable(code):
    return 0x30 <= code <= 0x39 or code == 0x2B or code == 0x2D or code == 0x2212 or code == 0x2013 or code == 0xFF0D


@compiled
def find_breaks(codes, boxes, base, generated, skipped):
    """(indices of the printed characters; what is before each: SAME_WORD, SPACE, NEW_LINE; whether each is raised).

    codes, boxes, base, generated: as in Characters. skipped: bool, characters to leave out.
    """
    count = len(codes)
    kept = numpy.empty(count, numpy.int64)
    breaks = numpy.zeros(count, numpy.int8)
    raised = numpy.zeros(count, numpy.bool_)
    gaps = numpy.zeros(count, numpy.float64)  # to the character before, as a share of the height
    spaced = numpy.zeros(
        count, numpy.int8
    )  # 0: no space between, 1: one that pdfium added, 2: one of the file, 3: a line end
    shifted = numpy.zeros(count, numpy.bool_)  # small letters above or below the line
    printed = 0
    before, line_end, space = -1, False, 0
    base_height = base_line = base_bottom = base_top = 0.0
    for i in range(count):
        code = codes[i]
        if code == 0x0D or code == 0x0A:
            line_end = True
            continue
        if _is_space(code):
            space = max(space, 1 if generated[i] else 2)
            continue
        if skipped[i] or (generated[i] and not _is_hyphen(code)):
            continue
        kept[printed] = i
        height = boxes[i, 3] - boxes[i, 1]
        new_line = before < 0
        if before >= 0:
            other = boxes[before, 3] - boxes[before, 1]
            smaller = min(height, other)
            if smaller <= 0:
                new_line = line_end
            else:
                shared = min(boxes[i, 3], boxes[before, 3]) - max(boxes[i, 1], boxes[before, 1])
                new_line = shared < MIN_OVERLAP * smaller
                if new_line and base_height > 0:  # a raised figure behind a lowered one
                    smaller_base = min(height, base_height)
                    shared = min(boxes[i, 3], base_top) - max(boxes[i, 1], base_bottom)
                    new_line = shared < MIN_OVERLAP * smaller_base or boxes[i, 0] > boxes[before, 2] + smaller_base
                gap = max(boxes[i, 0] - boxes[before, 2], boxes[before, 0] - boxes[i, 2])
                if new_line and not line_end:  # above or below each other without a line end: vertical writing
                    narrower = min(boxes[i, 2] - boxes[i, 0], boxes[before, 2] - boxes[before, 0])
                    rise = max(boxes[i, 1] - boxes[before, 3], boxes[before, 1] - boxes[i, 3])
                    new_line = gap > -0.5 * narrower or rise > smaller
                    gap = gap if new_line else rise
                gap /= smaller
                gaps[printed] = gap
                is_rtl = _is_right_to_left(code) or _is_right_to_left(codes[before])
                # A line end of pdfium counts if the next character is not right behind.
                forward = -0.5 < (boxes[i, 0] - boxes[before, 2]) / smaller < 2.0
                if line_end and (is_rtl or not forward):
                    new_line = True
        if new_line:
            breaks[printed] = NEW_LINE
        spaced[printed] = space if space or not line_end else 3
        small = height < MAX_RAISED_HEIGHT * base_height
        if not new_line and _raisable(code) and space < 2 and gaps[printed] < MAX_RAISED_GAP and base_height > 0:
            lift = (base[i] - base_line) / base_height
            raised[printed] = lift > (MIN_RAISE if small else MIN_RAISE_SAME_SIZE) and lift < 1.0
        shifted[printed] = small and not new_line and abs(base[i] - base_line) > 0.05 * base_height
        if new_line or not (raised[printed] or shifted[printed]):
            base_height, base_line, base_bottom, base_top = height, base[i], boxes[i, 1], boxes[i, 3]
        before, line_end, space = i, False, 0
        printed += 1
    _set_spaces(codes, boxes, kept, breaks, gaps, spaced, shifted, printed)
    return kept[:printed], breaks[:printed], raised[:printed]


@compiled
def _set_spaces(codes, boxes, kept, breaks, gaps, spaced, shifted, printed):
    """Set SPACE in breaks, line by line, from the gaps and the spaces in the file."""
    start = 0
    while start < printed:
        end = start + 1
        while end < printed and breaks[end] != NEW_LINE:
            end += 1
        inner = numpy.empty(end - start, numpy.float64)
        letters = 0
        for k in range(start + 1, end):
            if spaced[k] == 0:
                inner[letters] = gaps[k]
                letters += 1
        usual = 0.0
        if letters >= 4:
            usual = numpy.sort(inner[:letters])[letters // 2]
        for k in range(start + 1, end):
            code, other = codes[kept[k]], codes[kept[k - 1]]
            gap = gaps[k] - usual
            if _is_right_to_left(code) or _is_right_to_left(other):
                is_space = spaced[k] == 1 or spaced[k] == 2
            elif spaced[k] == 2:
                # A ligature of two letters has one box for both; the file's space behind it only fills its width.
                is_ligature = (
                    k > start + 1
                    and spaced[k - 1] == 0
                    and boxes[kept[k - 1], 0] == boxes[kept[k - 2], 0]
                    and boxes[kept[k - 1], 2] == boxes[kept[k - 2], 2]
                    and boxes[kept[k - 1], 2] > boxes[kept[k - 1], 0]
                )
                is_space = not (is_ligature and gaps[k] < NO_GAP)
            elif _is_cjk(code) and _is_cjk(other):
                is_space = gaps[k] > CJK_GAP
            elif spaced[k] == 1 or spaced[k] == 3:
                # In formulas pdfium and poppler write q with a raised r as "q r"; "1er" and "XIXe" are words.
                is_formula = (
                    shifted[k]
                    and code > 0x40
                    and other > 0x40
                    and (k == start + 1 or breaks[k - 1] != SAME_WORD)
                    and (k + 1 >= end or not shifted[k + 1])
                )
                is_space = gap > (NO_GAP if spaced[k] == 1 else WORD_GAP) or is_formula
            else:
                is_space = gap > WORD_GAP
            if is_space:
                breaks[k] = SPACE
        start = end


def in_logical_order(characters: Characters) -> numpy.ndarray:
    """The codes with lam before alef where both are one shape: pdfium reverses right-to-left text letter by letter."""
    codes, boxes = characters.codes, characters.boxes
    places = numpy.flatnonzero(codes[1:] == 0x644)
    if not len(places):
        return codes
    places = places[numpy.isin(codes[places], (0x622, 0x623, 0x625, 0x627))]
    places = places[(boxes[places] == boxes[places + 1]).all(1) & (boxes[places, 2] > boxes[places, 0])]
    codes = codes.copy()
    codes[places + 1], codes[places] = codes[places], 0x644
    return codes


def with_whole_characters(codes: numpy.ndarray) -> numpy.ndarray:
    """A copy of the codes with pairs of surrogates (𝐻 in formulas) as one code, followed by the second half."""
    codes = codes.copy()
    high = numpy.flatnonzero(
        (codes[:-1] >= 0xD800) & (codes[:-1] < 0xDC00) & (codes[1:] >= 0xDC00) & (codes[1:] < 0xE000)
    )
    codes[high] = 0x10000 + ((codes[high] - 0xD800) << 10) + (codes[high + 1] - 0xDC00)
    return codes


def place_accents(codes: numpy.ndarray, characters: Characters) -> numpy.ndarray:
    """bool array of the spacing accents that are drawn over a letter; in `codes` that letter gets its accent."""
    boxes = characters.boxes
    placed = numpy.zeros(len(codes), numpy.bool_)
    for i in numpy.flatnonzero(IS_ACCENT[numpy.minimum(codes, len(IS_ACCENT) - 1)]):
        left, bottom, right, top = boxes[i]
        middle = (left + right) / 2
        nearby = slice(max(0, i - 300), i + 300)
        over = (boxes[nearby, 0] < middle) & (middle < boxes[nearby, 2])
        over &= numpy.abs(characters.base[nearby] - characters.base[i]) < 0.5 * (top - bottom)
        for k in numpy.flatnonzero(over) + nearby.start:
            letter = DOTLESS.get(chr(codes[k]), chr(codes[k]))
            both = unicodedata.normalize("NFC", letter + ACCENTS[chr(codes[i])])
            if letter.isalpha() and len(both) == 1:
                placed[i], codes[k] = True, ord(both)
                break
    return placed


def font_names(fonts: numpy.ndarray) -> dict[int, str]:
    """{font: its base name} of the fonts of a page's characters."""
    import pypdfium2.raw as raw

    names = {}
    changes = numpy.flatnonzero(fonts[1:] != fonts[:-1]) + 1
    for font in {*fonts[changes].tolist(), *fonts[:1].tolist()} - {0}:
        name = ctypes.create_string_buffer(128)
        raw.FPDFFont_GetBaseFontName(ctypes.cast(font, raw.FPDF_FONT), name, len(name))
        names[font] = name.value.decode("utf-8", "replace")
    return names


def pieces_of(characters: Characters) -> list[Piece]:
    """The page's words in pdfium's order, joined to pieces of lines. Signs of symbol fonts become ordinary ones."""
    codes = with_whole_characters(in_logical_order(characters))
    skipped = place_accents(codes, characters)
    codes[(codes == 0x02) | (codes == 0xFFFE)] = ord("-")  # pdfium's marks of a hyphen at a line's end
    skipped |= (codes < 0x20) | (codes == 0xFFFF) | ((codes >= 0xD800) & (codes < 0xE000)) | (codes > 0x10FFFF)
    kept, breaks, raised = find_breaks(codes, characters.boxes, characters.base, characters.generated, skipped)
    if not len(kept):
        return []
    shown = codes[kept]
    for k in numpy.flatnonzero(raised):
        shown[k] = ord(RAISED[chr(shown[k])])
    _replace_symbols(shown, characters.fonts[kept])
    starts = numpy.flatnonzero(breaks != SAME_WORD)
    if not len(starts) or starts[0] != 0:
        starts = numpy.concatenate(([0], starts))
    boxes = characters.boxes[kept]
    has_box = (boxes[:, 2] > boxes[:, 0])[:, None]
    low, high = numpy.where(has_box, boxes[:, :2], numpy.inf), numpy.where(has_box, boxes[:, 2:], -numpy.inf)
    low, high = numpy.minimum.reduceat(low, starts), numpy.maximum.reduceat(high, starts)  # of each word
    new_line = breaks[starts] == NEW_LINE
    new_line[0] = True
    height = numpy.maximum(high[:, 1] - low[:, 1], 0.1)
    new_piece = new_line.copy()
    with numpy.errstate(invalid="ignore"):
        gap = numpy.maximum(low[1:, 0] - high[:-1, 0], low[:-1, 0] - high[1:, 0])
        new_piece[1:] |= gap > PIECE_GAP * numpy.minimum(height[1:], height[:-1])
    words = numpy.flatnonzero(new_piece)
    first = starts[words]  # of each piece, its first character
    # One string with a space before each word but the first.
    places = numpy.arange(len(shown))
    places[starts[1:]] += 1
    places = numpy.arange(len(shown)) + numpy.cumsum(places - numpy.arange(len(shown)))
    spaced = numpy.full(places[-1] + 1, 0x20, "<i4")
    spaced[places] = shown
    text = spaced.tobytes().decode("utf-32-le", "replace")
    last = numpy.append(first[1:], len(shown)) - 1
    fonts = characters.fonts[kept]
    same = numpy.minimum.reduceat(fonts, first) == numpy.maximum.reduceat(fonts, first)
    edges = numpy.hstack((numpy.minimum.reduceat(low, words), numpy.maximum.reduceat(high, words)))
    edges[~(edges[:, 2] > edges[:, 0])] = 0.0  # no box at all
    pieces, seen = [], set()
    for begin, end, box, row, is_hidden, font in zip(
        places[first].tolist(),
        places[last].tolist(),
        edges.tolist(),
        (numpy.cumsum(new_line)[words] - 1).tolist(),
        characters.invisible[kept[first]].tolist(),
        numpy.where(same, fonts[first], 0).tolist(),
        strict=True,
    ):
        content = text[begin : end + 1]
        key = (content, round(box[0]), round(box[1]))
        if key in seen and box[2] > box[0]:  # drawn twice, for a shadow or bold print
            continue
        seen.add(key)
        pieces.append(Piece(content, *box, row, is_hidden, font))
    return pieces


def _replace_symbols(shown: numpy.ndarray, fonts: numpy.ndarray) -> None:
    """Replace private-use characters, and all of fonts of pictures such as Wingdings, by ordinary ones, in place."""
    names = font_names(fonts)
    pictures = [font for font, name in names.items() if PICTURES.search(name)]
    symbols = (shown >= 0xE000) & (shown <= 0xF8FF)
    if pictures:
        symbols |= numpy.isin(fonts, pictures) & (shown > 0x20) & (shown <= 0xFF)
    for k in numpy.flatnonzero(symbols):
        code = int(shown[k])
        shown[k] = ord(symbol_text(chr(code if code > 0xFF else SYMBOL_CODES + code), names.get(int(fonts[k]), "")))


def unmapped_text(characters: Characters) -> str:
    """The words drawn with fonts that have no Unicode values for them, other text replaced by spaces."""
    printed = characters.unmapped & ~characters.generated & (characters.codes > 0x20) & (characters.codes < 0xD800)
    if not printed.any():
        return ""
    return numpy.where(printed, characters.codes, 0x20).astype("<i4").tobytes().decode("utf-32-le")
