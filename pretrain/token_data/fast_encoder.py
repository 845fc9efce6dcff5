"""Byte-level BPE through tiktoken: the ids of the tokenizers library, verified, several times faster.

Both split a text by a regular expression and merge bytes inside the pieces. That the merges are equal is verified here.
The cutting goes by the classes of characters, letters or digits or white space, and the two may know different
versions of Unicode; so each character is compared before the first document that holds it is encoded. Documents that
tiktoken does not treat as the library does go through the library, and the ids of a store depend on neither.
"""

import importlib.metadata
import json
import random
import unicodedata
from dataclasses import dataclass

import numpy as np

from token_data.corpus_encoder import LibraryEncoder
from token_data.corpus_reader import Shard, iterate_batches

# The pattern of the library's ByteLevel pre-tokenizer, as GPT-2 has it.
BYTE_LEVEL = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same behind a Digits pre-tokenizer, which cuts every digit out first: white space before one ends there.
DIGITS_BYTE_LEVEL = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
UNMADE = 1 << 32  # above every rank


class Unsuitable(Exception):
    """Why a tokenizer cannot go through tiktoken, as the end of a sentence."""


@dataclass
class FastPlan:
    """What tiktoken needs, and which documents it must not have."""

    pattern: str
    ranks: dict[bytes, int]  # rank of a token's bytes: the 256 bytes, then what the merges make, in their order
    ids: np.ndarray  # int64 [ranks]: the library's id of each rank
    pairs: dict[bytes, set[tuple[bytes, bytes]]]  # what is merged to make a token
    pre_tokenizer: dict  # as in the JSON
    nfc: bool  # the library brings texts into Unicode's form C first
    hard_strings: list[str]  # documents with one of these are for the library


def byte_letters() -> dict[str, int]:
    """{character: byte} of the byte-level alphabet: printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def plan_fast_encoder(definition: str) -> FastPlan:
    """How tiktoken does the work of a tokenizer, given its JSON. Errors: Unsuitable with the reason."""
    value = json.loads(definition)
    model = value["model"]
    if model.get("type") != "BPE":
        raise Unsuitable(f"its model is {model.get('type')}, not BPE")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise Unsuitable(f"its model has {key}")
    pattern, nfc = read_pattern(value.get("pre_tokenizer")), reads_form_c(value.get("normalizer"))
    letters = byte_letters()

    def to_bytes(token: str) -> bytes | None:
        return bytes(letters[c] for c in token) if all(c in letters for c in token) else None

    vocabulary, missing = model["vocab"], [letter for letter in letters if letter not in model["vocab"]]
    if missing:
        raise Unsuitable(f"its vocabulary lacks {len(missing)} of the 256 bytes")
    ranks = {bytes([byte]): byte for byte in range(256)}
    ids = [0] * 256
    for letter, byte in letters.items():
        ids[byte] = vocabulary[letter]
    pairs: dict[bytes, set[tuple[bytes, bytes]]] = {}
    before = None
    for merge in model["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        parts = (to_bytes(left), to_bytes(right))
        if None in parts or left + right not in vocabulary:
            raise Unsuitable(f"its merge {merge!r} is not of bytes, or makes no entry of the vocabulary")
        token = parts[0] + parts[1]
        if token not in ranks:
            ranks[token] = len(ids)
            ids.append(vocabulary[left + right])
        elif token != before:
            raise Unsuitable(f"it makes {left + right!r} by two merges of different rank")
        pairs.setdefault(token, set()).add(parts)
        before = token
    strings = hard_strings(value, nfc)
    if model.get("ignore_merges"):  # then an entry is found whole, whether or not merges make it
        unmade = [token for token in map(to_bytes, vocabulary) if token and token not in ranks]
        strings += [token.decode("utf-8", "replace") for token in unmade]
        if len(unmade) > 64 or any("\ufffd" in string for string in strings):
            raise Unsuitable(f"{len(unmade)} entries of its vocabulary are made by no merge")
    return FastPlan(pattern, ranks, np.asarray(ids, np.int64), pairs, value["pre_tokenizer"], nfc, strings)


def read_pattern(pre_tokenizer: dict | None) -> str:
    """The one regular expression that does what the pre-tokenizer does."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer] if pre_tokenizer else [])
    kinds = [step["type"] for step in steps]
    if not kinds or kinds[-1] != "ByteLevel":
        raise Unsuitable("its pre-tokenizer is not byte-level")
    last = steps[-1]
    if last.get("add_prefix_space"):
        raise Unsuitable("it puts a space before each text")
    if kinds == ["ByteLevel"] and last.get("use_regex", True):
        return BYTE_LEVEL
    if kinds == ["Digits", "ByteLevel"] and last.get("use_regex", True) and steps[0].get("individual_digits"):
        return DIGITS_BYTE_LEVEL
    if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
        split = steps[0]
        if split.get("behavior") == "Isolated" and not split.get("invert") and "Regex" in split["pattern"]:
            return split["pattern"]["Regex"]
    raise Unsuitable(f"its pre-tokenizer, {' then '.join(kinds)}, is of no known arrangement")


def reads_form_c(normalizer: dict | None) -> bool:
    steps = (normalizer or {}).get("normalizers", [normalizer] if normalizer else [])
    kinds = {step["type"] for step in steps}
    if kinds - {"NFC"}:
        raise Unsuitable(f"its normalizer, {', '.join(sorted(kinds))}, changes texts")
    return bool(kinds)


def hard_strings(value: dict, nfc: bool) -> list[str]:
    """Added tokens that are found in texts: all but the special ones, whose letters are text (corpus_encoder.py)."""
    found = {token["content"] for token in value.get("added_tokens", []) if not token["special"]}
    if nfc:
        found |= {unicodedata.normalize("NFC", string) for string in found}
    # One that stands inside another finds both.
    return sorted(string for string in found if not any(other in string for other in found if other != string))


def prove_merges(plan: FastPlan) -> None:
    """Show that merging by rank alone makes every token as the library's list of pairs does.

    tiktoken merges two neighbours if what they make is a token at all; the library, only if the pair is on its list.
    If every token, made from its own bytes by rank alone, ends in a listed pair, then tiktoken merges no other pair
    in any text: inside a text a token's bytes merge as they do alone, because nothing merged across their border.
    Errors: Unsuitable naming a token for which that does not hold.
    """
    for token in plan.pairs:
        parts = merge_by_rank(token, plan.ranks)
        if len(parts) != 2 or tuple(parts) not in plan.pairs[token]:
            raise Unsuitable(f"its token {token.decode('utf-8', 'replace')!r} is made in another order by rank alone")


def merge_by_rank(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The parts of `token` before the last merge: lowest rank first, leftmost first."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        rank, place = min((ranks.get(parts[i] + parts[i + 1], UNMADE), i) for i in range(len(parts) - 1))
        if rank == UNMADE:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


UNKNOWN, EQUAL, DIFFERENT = 0, 1, 2
# What a character is between, doubled, so that every border can be seen (see `border_ranks`).
SURROUNDINGS = ("aa", "11", "  ", "\n\n", "..", "''", "ss", "AA", "\r\r", "__")


class FastEncoder:
    """tiktoken where it is proved equal, the library for the other documents."""

    def __init__(self, plan: FastPlan, library: LibraryEncoder):
        """Errors: Unsuitable when tiktoken is not installed or cannot read the pattern."""
        self.plan, self.library = plan, library
        # tiktoken wants to know a special token; it is not allowed to find it, so its letters are text.
        self.first = len(plan.ranks)
        self.tiktoken = make_tiktoken(plan.pattern, plan.ranks, {"<|endoftext|>": self.first})
        # From tiktoken's numbers to the library's ids; the numbers from `first` on stand for the ids themselves.
        entries = max(int(plan.ids.max()), len(library.tokenizer) - 1) + 1
        self.table = np.concatenate([plan.ids, np.arange(entries)]).astype(library.dtype)
        self.end = np.uint32(self.first + library.end_of_text).tobytes()
        self.characters = CharacterProof(plan)

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts end to end, each with its end-of-text token; tokens of each, int64)."""
        pieces: list = []
        for text, takes in zip(texts, self.takes(texts), strict=True):
            # uint32 numbers, which become ids for the whole batch at once.
            pieces.append(self.through_tiktoken(text) if takes else self.through_library(text))
            pieces.append(self.end)
        counts = np.asarray([len(piece) for piece in pieces[::2]], np.int64) + 1
        return self.table.take(np.frombuffer(b"".join(pieces), np.uint32)), counts

    def encode_with_places(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        return self.library.encode_with_places(text)

    def through_tiktoken(self, text: str) -> np.ndarray:
        return self.tiktoken.encode_to_numpy(text, allowed_special=frozenset(), disallowed_special=())

    def through_library(self, text: str) -> np.ndarray:
        return np.asarray(self.library.ids([text])[0], np.uint32) + np.uint32(self.first)

    def takes(self, texts: list[str]) -> list[bool]:
        """For each text, whether tiktoken treats it as the library does.

        Not with an added token in it, not outside Unicode's form C if the library normalises to that, not with a
        character on which the two disagree.
        """
        takes = [True] * len(texts)
        for number, text in enumerate(texts):
            if self.plan.hard_strings and any(string in text for string in self.plan.hard_strings):
                takes[number] = False
            elif not text.isascii():
                normal = not self.plan.nfc or unicodedata.is_normalized("NFC", text)
                takes[number] = normal and self.characters.all_equal(text)
        return takes


def make_tiktoken(pattern: str, ranks: dict[bytes, int], special: dict[str, int]):
    """A tiktoken encoding. Errors: Unsuitable."""
    try:
        import tiktoken
    except ImportError:
        raise Unsuitable("tiktoken is not installed") from None
    try:
        return tiktoken.Encoding("corpus", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    except ValueError as error:
        raise Unsuitable(f"tiktoken cannot read its pattern ({str(error).splitlines()[0]})") from None


class CharacterProof:
    """Which characters tiktoken's regular expressions class as the library's do; found out as characters come up."""

    def __init__(self, plan: FastPlan):
        from tokenizers import Tokenizer

        self.nfc = plan.nfc
        ranks = border_ranks()
        letters = {byte: letter for letter, byte in byte_letters().items()}
        merges = [("".join(letters[b] for b in pair[:1]), letters[pair[1]]) for pair in ranks if len(pair) == 2]
        vocabulary = {"".join(letters[b] for b in token): rank for token, rank in ranks.items()}
        model = {"type": "BPE", "vocab": vocabulary, "merges": merges}
        self.library = Tokenizer.from_str(
            json.dumps({"version": "1.0", "model": model, "pre_tokenizer": plan.pre_tokenizer, "added_tokens": []})
        )
        self.tiktoken = make_tiktoken(plan.pattern, ranks, {"<|endoftext|>": len(ranks)})
        self.state = np.full(0x110000, UNKNOWN, np.uint8)
        # Of the units of UTF-16, for a quick look; a surrogate is none, and sends its text to the closer one.
        self.settled = np.zeros(0x10000, bool)
        self.compare(range(128))

    def all_equal(self, text: str) -> bool:
        """Whether every character of `text` is classed alike by the two."""
        if self.settled.take(np.frombuffer(text.encode("utf-16-le"), np.uint16)).all():
            return True
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        unknown = set(points[self.state.take(points) == UNKNOWN].tolist())
        if unknown:
            self.compare(sorted(unknown))
        return not (self.state.take(points) == DIFFERENT).any()

    def compare(self, points) -> None:
        """Cut texts around each character on both sides and write down whether the borders are the same.

        Letters without case that Unicode has had since its version 3.2 of 2002, most of all the Chinese ones, are
        letters to both and need no look.
        """
        old = [p for p in points if unicodedata.category(chr(p)) == unicodedata.ucd_3_2_0.category(chr(p)) == "Lo"]
        self.state[old] = EQUAL
        points = [point for point in points if self.state[point] == UNKNOWN]
        texts = ["".join(side + chr(point) for side in SURROUNDINGS) + chr(point) for point in points]
        there = self.library.encode_batch_fast(texts, add_special_tokens=False)
        for point, text, library in zip(points, texts, there, strict=True):
            equal = library.ids == self.tiktoken.encode_ordinary(text)
            if self.nfc and unicodedata.category(chr(point)) == "Cn":
                equal = False  # a character newer than Python's tables, which cannot say what form C does with it
            self.state[point] = EQUAL if equal else DIFFERENT
        self.settled = self.state[: len(self.settled)] == EQUAL


def border_ranks() -> dict[bytes, int]:
    """A vocabulary that shows borders: the bytes, and merges of the last byte of one character with the next's first.

    The rank decides: the border between a character and its surroundings merges first, if both are in one piece.
    """
    leads, lasts = range(0xC2, 0xF5), range(0x80, 0xC0)
    sides = sorted({ord(letter) for side in SURROUNDINGS for letter in side})
    pairs = [(a, b) for a in sides for b in leads] + [(a, b) for a in lasts for b in (*sides, *leads)]
    pairs += [(a, b) for a in range(128) for b in range(128)]
    ranks = {bytes([byte]): byte for byte in range(256)}
    return ranks | {bytes(pair): 256 + number for number, pair in enumerate(pairs)}


# Of each language and source; the library reads some megabytes of text a second.
SAMPLE_DOCUMENTS, SAMPLE_CHARACTERS = 100, 100_000

NASTY = [
    *("", " ", "\n", "\t", "\r\n", "\x00", "\u00a0", "\u3000", "\u2028\u2029", "\u0085", "\ufeff", "\ufffd"),
    *(" " * n for n in (2, 3, 7, 16, 81)),
    *("\n" * n + " " * m + "x" for n in (1, 2, 5) for m in (0, 1, 2)),
    *("a" + " " * n + "1" for n in (1, 2, 3)),
    *("0" * n for n in (1, 2, 3, 4, 10)),
    "tabs\t\tand  spaces \n\n  mixed \r\n \r\n end  ",
    "don't DON'T we'll WE'LL I'm i'd they've you're it's 'tis 's 'ſ ’s",
    "1,234.56 mg/dl 38.5°C ½ ² ³ ⅷ ٣٤٥ १२३ ３７ 一二三 〇 ㊿ 𝟘𝟙 x²y³ 10⁻³",
    "e\u0301 é E\u0302 o\u0308\u0304 q\u0307\u0323 q\u0323\u0307 \u1100\u1161\u11a8 각 \u212b Å \ufb01 ﬁ Ⅳ ①",
    "zero\u200bwidth\u200djoin\u200cnon\u2060word \u202eright to left\u202c soft\u00adhyphen",
    "💊 👩‍⚕️👨🏽‍⚕️ 🇫🇷🇯🇵 ❤️‍🩹 1️⃣ 🩺🩻🫀",
    "حُمَّى شَدِيدَة ١٢٫٥ ملغ؛ الأوعيةـــ",
    "हिन्दी में बुखार क्षत्रिय ไข้หวัดใหญ่ ភាសាខ្មែរ",
    "лёгкие и лёгкие, ё Ё ҐґІі; œdème cœur Œ ß ẞ ﬀ İi ıI ǅ ʼn",
    "发热、咳嗽。「頭痛」ｶﾞｷﾞ ガギ が か\u3099 ー〜～ 㐀𠀀𪛖",
    "…—–''\"\"«»‹›!!!???...---===###```$$$%%%^^^&&&***((()))",
    'https://example.org/a?b=c&d=%20#e_f-g <b>x</b> {"k": [1, 2]} C:\\n\\t \\u0041',
    "A" * 300 + "ab" * 200 + "аб" * 100 + "啊" * 200 + "!" * 300,
]


@dataclass(frozen=True)
class Choice:
    """Which encoder a store is made with, and why, as its manifest says."""

    name: str  # "tiktoken" or "tokenizers" or the class of a tokenizer that is neither
    why: str
    plan: FastPlan | None

    def record(self) -> dict:
        return {"name": self.name, "version": importlib.metadata.version(self.name), "why": self.why}


def choose_encoder(library: LibraryEncoder, corpus: list[Shard], fast: bool) -> Choice:
    """The proved fast encoder if `fast` and there is one, else the library."""
    name = "tokenizers" if library.backend is not None else "transformers"
    if not fast:
        return Choice(name, "it was asked for", None)
    if library.backend is None:
        return Choice(name, f"{type(library.tokenizer).__name__} is not a tokenizer of the tokenizers library", None)
    try:
        plan = plan_fast_encoder(library.backend.to_str())
        prove_merges(plan)
        encoder = FastEncoder(plan, library)
        documents = sample_corpus(corpus)
        probes = probe_texts(library, plan)
        compare(encoder, library, documents + probes)
    except Unsuitable as reason:
        return Choice(name, str(reason), None)
    share = sum(encoder.takes(documents)) / max(1, len(documents))
    why = (
        f"its ids equal the library's on {len(documents):,} documents of the corpus, of which it takes {share:.0%} "
        f"itself, and on {len(probes):,} probes"
    )
    return Choice("tiktoken", why, plan)


def sample_corpus(corpus: list[Shard]) -> list[str]:
    """Some documents of every language and source, from the first and the last shard of each."""
    texts: list[str] = []
    for group in sorted({(shard.language, shard.source) for shard in corpus}):
        shards = [shard for shard in corpus if (shard.language, shard.source) == group and shard.documents]
        for shard in dict.fromkeys((*shards[:1], *shards[-1:])):
            left = SAMPLE_CHARACTERS // 2
            for text in next(iterate_batches(shard, SAMPLE_DOCUMENTS // 2)).texts:
                texts.append(text[:left])
                left -= len(text)
                if left <= 0:
                    break
    return texts


def probe_texts(library: LibraryEncoder, plan: FastPlan) -> list[str]:
    """Nasty strings, the letters of every added token, and every entry of the vocabulary among others."""
    texts = list(NASTY)
    for token in json.loads(library.backend.to_str()).get("added_tokens", []):
        string = token["content"]
        texts += [string, f"a{string}b", f"a {string} {string}{string}\n"]
    entries = [token.decode("utf-8", "ignore") for token in plan.ranks]
    random.Random(0).shuffle(entries)
    for joint in ("", " ", "\n"):
        texts += [joint.join(entries[i : i + 200]) for i in range(0, len(entries), 200)]
    return texts


def compare(encoder: FastEncoder, library: LibraryEncoder, texts: list[str]) -> None:
    """Errors: Unsuitable showing the first text whose ids differ."""
    fast, counts = encoder.encode(texts)
    wanted, _ = library.encode(texts)
    if np.array_equal(fast, wanted):
        return
    for text, start, stop in zip(texts, np.cumsum(counts) - counts, np.cumsum(counts), strict=True):
        if fast[start : stop - 1].tolist() != library.ids([text])[0]:
            shown = text if len(text) <= 60 else text[:60] + "…"
            raise Unsuitable(f"tiktoken gives other ids for {shown!r}")
