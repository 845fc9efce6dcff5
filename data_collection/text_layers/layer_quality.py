"""Whether a page's text is right: a text layer may look like text and have other letters than the page shows.

Layers go wrong in these ways: the font has no Unicode values (other letters, all shifted), the wrong ones (Cyrillic as
Latin), private-use characters, or another program recognised the page with the wrong language. Each sign below is
cheap; a layer with one is compared with what recognition reads (`ocr_document.py`).
"""

import re
import unicodedata
from collections import Counter
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise

import numpy

from filtering.keyword_kernel import compiled
from filtering.language import main_script, script_of

# A page counts as scanned below this: published for whole documents (Qiu et al. 2024), applied here to each page.
MIN_ALPHANUMERIC_SHARE = 0.5
# Ours: a larger share of U+FFFD, private-use and control characters means a font without a character map.
MAX_BROKEN_SHARE = 0.05
# Ours: private-use characters in running text are letters or digits that the font does not name.
MAX_PRIVATE = 3
# Ours: words in fonts without Unicode values are wrong unless they are few (bullets, formulas) or read as words.
MAX_UNMAPPED, MIN_UNMAPPED_LETTERS = 10, 40
MIN_UNMAPPED_FUNCTION_SHARE = 0.15  # of these words; running text has more, ciphered words none
LEADERS = re.compile(r"([.·…_‧・-])(?:\s?\1){3,}")  # of contents and forms
# Ours: letters such as "Ïàöèåíò" are Cyrillic read through the wrong table; the most accented of the eight languages,
# French, has about 4 % accented letters.
MAX_ACCENTED_SHARE = 0.4

# The letters (Chinese: characters) most frequent in the corpus's languages of each script: more than half of any text.
FREQUENT = {
    "Latin": frozenset("eainrsto"),
    "Cyrillic": frozenset("оеаинтср"),
    "Arabic": frozenset("اليمونرت"),
    "Han": frozenset(
        "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她"
        "里后日本者能用分病性治疗症于血法成作方部多发行同体所与等高心及理主见及"
    ),
}
# Of pieces of 1,500 characters of web text the thousandth lowest share of frequent letters was .497 (fr), .496 (ru),
# .491 (ar), .057 (zh), .085 (ja); an alphabet shifted by some letters has .2 to .35.
MIN_FREQUENT_SHARE = {"Latin": 0.42, "Cyrillic": 0.40, "Arabic": 0.38, "Han": 0.04}
MIN_LETTERS = 150  # fewer show nothing
WORD = re.compile(r"[(\[{\"'«“‘„]*(?:[^\W\d_]{2,}(?:['’-][^\W\d_]+)*|\d+(?:[.,:/-]\d+)*%?)-?[)\]}\"'»”’.,;:!?]*")
MIN_WORD_SHARE = 0.6  # of the pieces between white space, in text recognised by another program

# Short words that most sentences of a language contain; spelled alike in several languages they count for each.
FUNCTION_WORDS = {
    "en": "the of and to in is a for with as by or that are be on this from at not an was which were may can have has "
    "it if these when but than should their no will you your been more all other also such one we our who do",
    "fr": "de la le les et des en du un une est à dans que pour par sur au avec ou sont plus ce qui il ne pas aux se "
    "cette être d l qu a été comme on peut ces si son sa ses leur elle nous mais n entre chez",
    "es": "de la el en y los que las se del un una con por para es no al o su como a lo más son entre ha puede sin "
    "sobre este esta también ser desde hasta pero cuando si e muy fue años le sus nos",
    "de": "der die und in den von zu mit des das ist bei ein eine auf für als oder im nicht dem sind werden wird auch "
    "einer sich nach durch an aus es einem einen wenn eines zur zum kann hat dass wie so nur über vor sie er ich",
    "ru": "и в на с при не по для или у из от к как что это до а также может за его о их после более то но без только "
    "если все так быть они он является бы под между которые который этого мы",
    "ar": "من في على إلى أو أن التي عن مع هذا هذه الذي كان كما ما لا قد بين هو هي لم يتم عند بعد قبل كل ذلك تم يمكن "
    "وفي ومن وهو وهي أي إذا حيث غير حتى ثم لكن إن كانت فإن خلال دون وقد وعلى بها به لها له",
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
LATIN = ("en", "fr", "es", "de")
SAMPLE = 200  # characters
MIN_TIMES = 2.0  # as many short words of another language; some words are in several lists
LANGUAGES_OF_SCRIPT = {"Latin": LATIN, "Cyrillic": ("ru",), "Arabic": ("ar",)}
LETTER_RUN = re.compile(r"[^\W\d_]+")
MIN_WORDS = 50  # of a page; fewer show nothing
MIN_PROVEN_WORDS = 20  # of a text, to show its language
# Of 3,603 medical documents of the first set the hundredth lowest share was .22 (en), .31 (fr), .23 (es), .13 (de),
# .10 (ru), .02 (ar, where lists of questions have none); Russian read as Latin letters has .06, shifted letters have 0.
MIN_FUNCTION_SHARE = {"Latin": 0.08, "Cyrillic": 0.04, "Arabic": 0.05}

# Ink that the layer does not cover: connected dark areas of the size of letters, on a picture at INK_DPI.
INK_DPI = 100
LETTER_HEIGHTS, LETTER_WIDTHS = (4, 26), (2, 40)  # pixels
MAX_UNCOVERED = 40  # such areas on a page with few letters: fewer are marks, labels, dust
MAX_UNCOVERED_SHARE = 0.4  # of all such areas where the layer has many letters
MIN_FOUND_AGAIN = 0.6  # of the layer's words in the recognised text: the layer is right
MIN_MORE = 1.5  # times the layer's letters: recognition reads a part of the page that the layer lacks
MIN_VOTE_SHARE = 0.6  # of the places of a private-use character at which recognition reads the same
SURE = 75.0  # confidence of recognised text that replaces a readable layer


def alphanumeric(text: str) -> int:
    """Number of letters and digits of any script in the text."""
    return sum(map(str.isalnum, text))


def is_readable(text: str) -> bool:
    """Whether a text layer is plausible: few broken and private-use characters, usual letter frequencies."""
    shown = Counter(text)
    for mark in (" ", "\n", "\t", "\u3000", "\u00ad"):
        shown.pop(mark, 0)
    if not (total := shown.total()):
        return False
    plain = accented = private = broken = 0
    for c, count in shown.items():
        if c < "\x80":
            plain += count * c.isalpha()
            broken += count * (c < " ")
        elif "\u3040" <= c <= "\u9fff":
            continue
        elif c.isalpha():
            accented += count * (script_of(c) == "Latin")
        elif is_private(c):
            private += count
        elif c == "\ufffd" or unicodedata.category(c) in ("Cn", "Cc"):
            broken += count
    if accented > MAX_ACCENTED_SHARE * (plain + accented):
        return False
    return private <= MAX_PRIVATE and private + broken <= MAX_BROKEN_SHARE * total and has_usual_letters(shown)


def is_mostly_alphanumeric(text: str) -> bool:
    """Whether at least MIN_ALPHANUMERIC_SHARE of a text, without leaders and white space, are letters and digits."""
    text = LEADERS.sub("", text)
    return alphanumeric(text) >= MIN_ALPHANUMERIC_SHARE * sum(map(len, text.split()))


def has_ciphered_words(unmapped: str) -> bool:
    """Whether words in fonts without Unicode values are not words. unmapped: `Layer.unmapped`."""
    words = tuple(word for word in words_of(unmapped) if len(word) > 1)
    if len(words) <= MAX_UNMAPPED or function_share(words)[0] >= MIN_UNMAPPED_FUNCTION_SHARE:
        return False
    return not has_usual_letters(Counter("".join(words)), MIN_UNMAPPED_LETTERS)  # labels of a chart have no short words


def is_private(character: str) -> bool:
    """Whether a character is one of Unicode's private-use characters, which mean nothing outside their font."""
    return "\ue000" <= character <= "\uf8ff" or character >= "\U000f0000"


def has_usual_letters(characters: Counter, minimum: int = MIN_LETTERS) -> bool:
    """characters: {character: count}. False if the main script has `minimum` letters and too few frequent ones.

    Then each letter stands for another, because the font has a wrong character table: "Wkh sdwlhqw zdv vhhq".
    """
    letters: Counter = Counter()
    frequent: Counter = Counter()
    for character, count in characters.items():
        if "\u3400" <= character <= "\u9fff":
            script = "Han"
        else:
            script = script_of(character)
        if script in FREQUENT:
            letters[script] += count
            if (character if script == "Han" else character.lower()) in FREQUENT[script]:
                frequent[script] += count
    if not letters:
        return True
    script, count = letters.most_common(1)[0]  # codes and addresses in another script may have any letters
    return count < minimum or frequent[script] >= MIN_FREQUENT_SHARE[script] * count


def reads_as_words(text: str) -> bool:
    """Whether most pieces of a text are words or figures; always true of Chinese and Japanese (without spaces)."""
    pieces = text.split()
    if sum("\u3040" <= c <= "\u9fff" for c in text) > len(pieces):
        return True
    return sum(WORD.fullmatch(piece) is not None for piece in pieces) >= MIN_WORD_SHARE * len(pieces)


@lru_cache(maxsize=4)
def words_of(text: str) -> tuple[str, ...]:
    """The runs of letters of a text, in small letters."""
    return tuple(LETTER_RUN.findall(text.lower()))


@lru_cache(maxsize=4)
def function_share(words: tuple[str, ...]) -> tuple[float, str]:
    """(share of the short words of the best language among the words of the main script, that script).

    words: of `words_of`. (1.0, script) for scripts without such lists, such as Chinese.
    """
    counts, scripts = Counter(words), Counter()
    for letter, count in Counter(word[0] for word in words).items():
        scripts[script_of(letter)] += count
    script, total = scripts.most_common(1)[0] if words else ("", 0)
    languages = LANGUAGES_OF_SCRIPT.get(script)
    if not languages:
        return 1.0, script
    found = (sum(counts[word] for word in counts.keys() & FUNCTION_WORDS[language]) for language in languages)
    return max(found) / total, script


def has_function_words(text: str, minimum: int = MIN_WORDS) -> bool:
    """Whether a text contains the short words of some language of its script; True under `minimum` words."""
    words = words_of(text)
    if len(words) < minimum:
        return True
    share, script = function_share(words)
    return share >= MIN_FUNCTION_SHARE.get(script, 0.0)


def reads_as_language(text: str) -> bool:
    """Whether a text shows that it is in a language: short words of it, or enough Chinese or Japanese characters."""
    words = words_of(text)
    share, script = function_share(words)
    if script in MIN_FUNCTION_SHARE:
        return len(words) >= MIN_PROVEN_WORDS and share >= MIN_FUNCTION_SHARE[script]
    cjk = sum("\u3040" <= c <= "\u9fff" for c in text)
    return cjk >= MIN_PROVEN_WORDS and cjk >= 0.5 * sum(map(len, text.split())) and has_usual_letters(Counter(text))


script_of_text = lru_cache(maxsize=4)(main_script)


def shows_another_language(text: str, language: str) -> bool:
    """Whether a text shows that it is in another language than the given one: by its script, or its short words."""
    if language == "ja" and sum("\u3040" <= c <= "\u9fff" for c in text[:SAMPLE]) > 0.5 * SAMPLE:
        return False  # a Japanese page without kana may be a list
    script, code, share = script_of_text(text)
    if language == "zh" and code == "ja":
        return True
    scripts = {"zh": "Han", "ja": "Han", "ru": "Cyrillic", "ar": "Arabic"}
    if script != scripts.get(language, "Latin"):
        return bool(script) and share == 1.0 and reads_as_language(text)
    words = words_of(text) if script == "Latin" else ()
    if len(words) < MIN_WORDS:
        return False
    counts = Counter(words)
    found = {code: sum(counts[word] for word in counts.keys() & FUNCTION_WORDS[code]) for code in LATIN}
    return (
        max(found.values()) >= MIN_FUNCTION_SHARE["Latin"] * len(words)
        and max(found.values()) > MIN_TIMES * (found[language])
    )


def decoded(layer: str, recognised: str) -> str:
    """The layer with its private-use characters replaced by what recognition reads in their places.

    Unchanged if the two texts do not agree on what one of these characters is.
    """
    matcher = SequenceMatcher(None, layer, recognised, autojunk=False)
    votes: dict[str, Counter] = {}
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "replace" and b - a == d - c:
            for private, read in zip(layer[a:b], recognised[c:d], strict=True):
                if is_private(private) and read.isalnum():
                    votes.setdefault(private, Counter())[read] += 1
    table = {}
    for private in {c for c in layer if is_private(c)}:
        best = votes.get(private, Counter()).most_common(1)
        if best and best[0][1] >= MIN_VOTE_SHARE * votes[private].total():
            table[ord(private)] = best[0][0]
    text = layer.translate(table)
    return layer if any(map(is_private, text)) else text


def found_again(layer: str, recognised: str) -> float:
    """The share of the layer's words (Chinese and Japanese: pairs of characters) that the recognised text contains."""
    wanted, found = _units(layer), _units(recognised)
    return sum((wanted & found).values()) / max(1, wanted.total())


def _units(text: str) -> Counter:
    text = unicodedata.normalize("NFKC", text).casefold()
    if sum("\u3040" <= c <= "\u9fff" for c in text) > len(text.split()):
        letters = "".join(c for c in text if c.isalnum())
        return Counter(map("".join, pairwise(letters)))
    return Counter(re.findall(r"\w+", text))


def uncovered_letters(picture, boxes) -> tuple[int, int]:
    """(dark areas of the size of letters outside the boxes, all such areas) of a grey picture at INK_DPI.

    boxes: (n, 4) left, top, right, bottom in pixels of the picture.
    """
    grey = numpy.asarray(picture, numpy.int16)
    paper = int(numpy.percentile(grey, 80))
    areas = _dark_areas(grey < paper - max(40, (paper - int(grey.min())) * 0.4))
    height, width = areas[:, 3] - areas[:, 1] + 1, areas[:, 2] - areas[:, 0] + 1
    areas = areas[
        (height >= LETTER_HEIGHTS[0])
        & (height <= LETTER_HEIGHTS[1])
        & (width >= LETTER_WIDTHS[0])
        & (width <= LETTER_WIDTHS[1])
    ]
    covered = numpy.zeros((grey.shape[0] + 1, grey.shape[1] + 1), numpy.bool_)
    for left, top, right, bottom in numpy.asarray(boxes, numpy.float64).reshape(-1, 4):
        pad = 0.3 * (bottom - top)
        covered[max(0, int(top - pad)) : int(bottom + pad) + 1, max(0, int(left - pad)) : int(right + pad) + 1] = True
    middle_x, middle_y = (areas[:, 0] + areas[:, 2]) // 2, (areas[:, 1] + areas[:, 3]) // 2
    return int((~covered[middle_y, middle_x]).sum()), len(areas)


@compiled
def _dark_areas(dark):
    """Boxes (n, 4) left, top, right, bottom of the connected dark areas (eight neighbours)."""
    rows, columns = dark.shape
    label = numpy.zeros((rows, columns), numpy.int32)
    boxes = numpy.empty((rows * columns // 4 + 1, 4), numpy.int32)
    stack = numpy.empty((rows * columns + 1, 2), numpy.int32)
    count = 0
    for r in range(rows):
        for c in range(columns):
            if not dark[r, c] or label[r, c]:
                continue
            left = right = c
            top = bottom = r
            size = 1
            stack[0, 0], stack[0, 1] = r, c
            label[r, c] = 1
            while size:
                size -= 1
                y, x = stack[size, 0], stack[size, 1]
                left, right = min(left, x), max(right, x)
                bottom = max(bottom, y)
                for i in range(max(0, y - 1), min(rows, y + 2)):
                    for j in range(max(0, x - 1), min(columns, x + 2)):
                        if dark[i, j] and not label[i, j]:
                            label[i, j] = 1
                            stack[size, 0], stack[size, 1] = i, j
                            size += 1
            boxes[count] = left, top, right, bottom
            count += 1
    return boxes[:count]
