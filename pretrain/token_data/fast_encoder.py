"""Byte-level BPE through tiktoken: the ids that the tokenizers library gives, several times faster.

Both cut a text by a regular expression and merge bytes inside the pieces. The merging is proved equal (bpe_plan.py).
The cutting goes by the classes of characters, letters or digits or white space, and the two may know different
versions of Unicode; so each character is compared before the first document that holds it is encoded. Documents that
tiktoken does not treat as the library does go through the library, and the ids of a store depend on neither.
"""

import json
import unicodedata

import numpy as np

from token_data.bpe_plan import FastPlan, Unsuitable, byte_letters
from token_data.corpus_encoder import LibraryEncoder

UNKNOWN, EQUAL, DIFFERENT = 0, 1, 2
# What a character stands between, doubled, so that every border can be seen (see `border_ranks`).
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
