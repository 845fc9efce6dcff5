"""What tiktoken needs to do the work of a byte-level BPE tokenizer of the tokenizers library, or why it cannot.

`plan_fast_encoder` reads the library's JSON; `prove_merges` shows that tiktoken's merging, which goes by the rank of
what a merge makes, is the library's, which goes by a list of pairs. fast_encoder.py uses the plan.
"""

import json
import unicodedata
from dataclasses import dataclass

import numpy as np

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
