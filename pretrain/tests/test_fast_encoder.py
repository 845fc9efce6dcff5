import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from token_data.corpus_encoder import LibraryEncoder
from token_data.fast_encoder import (
    NASTY,
    FastEncoder,
    Unsuitable,
    choose_encoder,
    compare,
    merge_by_rank,
    plan_fast_encoder,
    prove_merges,
)

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTES_ONLY = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
# The patterns that the Llama 3 and Qwen 2 tokenizers publish in their tokenizer.json.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
TEXTS = [
    *NASTY * 3,
    *("the patient's heart and the liver " * 4, "лихорадка и кашель у больного " * 4, "发热咳嗽心脏肝的" * 9),
]


def split_on(pattern: str):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES_ONLY])


ARRANGEMENTS = {
    "GPT-2": (BYTE_LEVEL, None),
    "Llama 3": (split_on(LLAMA3), None),
    "Qwen 2": (split_on(QWEN2), normalizers.NFC()),
    "ours": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL]), None),
}


def make_tokenizer(folder, pre_tokenizer, normalizer=None, added=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<|im_start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    return LibraryEncoder(folder, "<u4")


@pytest.fixture(scope="module", params=ARRANGEMENTS)
def both(request, tmp_path_factory):
    """(the library's encoder, the fast one) of an arrangement, with an added token that is found in texts."""
    library = make_tokenizer(tmp_path_factory.mktemp("t"), *ARRANGEMENTS[request.param], added=["<think>"])
    choice = choose_encoder(library, [], fast=True)
    assert choice.name == "tiktoken", choice.why
    return library, FastEncoder(choice.plan, library)


# Letters, digits, marks, white space, emoji, and characters newer than some tables of Unicode.
LETTERS = "aZéßſ'sтﬁ发ギｶ각 1٣½²\t\n\r\u0301\u0327\u00a0\u200b\u3000💊\u200d🏽.!<|>\U00011de0\U0001fae8\u0897\u1e4ec"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.text(LETTERS, max_size=30), st.text(max_size=20).filter(str.isprintable)), max_size=4))
def test_both_encoders_give_the_same_ids_for_any_text(both, texts):
    library, fast = both
    for one, other in zip(library.encode(texts), fast.encode(texts), strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


def test_special_tokens_are_letters_and_added_tokens_are_found_on_both_sides(both):
    library, fast = both
    texts = ["a <|im_start|> b<|endoftext|>", "a<think> b", "<thin k>"]
    ids, counts = fast.encode(texts)
    assert np.array_equal(ids, library.encode(texts)[0]) and counts.sum() == len(ids)
    assert (ids == library.end_of_text).sum() == len(texts)
    assert library.tokenizer.convert_tokens_to_ids("<think>") in ids
    assert library.tokenizer.convert_tokens_to_ids("<|im_start|>") not in ids
    assert fast.takes(texts) == [True, False, True]


def test_a_text_outside_form_c_goes_through_a_library_that_normalises(tmp_path):
    library = make_tokenizer(tmp_path, *ARRANGEMENTS["Qwen 2"])
    fast = FastEncoder(choose_encoder(library, [], fast=True).plan, library)
    assert fast.takes(["fie\u0300vre", "fièvre", "fever", "\U0010fffe"]) == [False, True, True, False]


def test_a_character_that_the_two_class_differently_goes_through_the_library(both):
    _, fast = both
    fast.characters.state[0x2603], fast.characters.settled[0x2603] = 2, False
    assert fast.takes(["a snowman \u2603", "none", "å"]) == [False, True, True]
    fast.characters.state[0x2603] = 0
    assert fast.takes(["a snowman \u2603"]) == [True]


def test_characters_are_compared_by_the_borders_around_them(both, monkeypatch):
    """A tiktoken that takes the snowman for a letter is found out."""
    _, fast = both
    proof = fast.characters
    right = proof.tiktoken
    from token_data.fast_encoder import border_ranks, make_tiktoken

    pattern = fast.plan.pattern.replace(r"\p{L}", r"\p{L}\u2603")
    pattern = pattern.replace(r"?\p{L}\u2603+", r"?[\p{L}\u2603]+")
    monkeypatch.setattr(proof, "tiktoken", make_tiktoken(pattern, border_ranks(), {"<|endoftext|>": 1 << 20}))
    proof.state[0x2603], proof.settled[0x2603] = 0, False
    assert not proof.all_equal("\u2603")
    monkeypatch.setattr(proof, "tiktoken", right)
    proof.state[0x2603], proof.settled[0x2603] = 0, False
    assert proof.all_equal("\u2603")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v["model"].update(type="Unigram"), "Unigram, not BPE"),
        (lambda v: v["model"].update(dropout=0.1), "dropout"),
        (lambda v: v["model"].update(byte_fallback=True), "byte_fallback"),
        (lambda v: v.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda v: v.update(pre_tokenizer={"type": "Whitespace"}), "not byte-level"),
        (lambda v: v["pre_tokenizer"].update(add_prefix_space=True), "space before each text"),
        (lambda v: v["pre_tokenizer"].update(use_regex=False), "no known arrangement"),
        (lambda v: v["model"]["vocab"].pop("Ā"), "lacks 1 of the 256 bytes"),
        (lambda v: v["model"]["merges"].reverse(), "made in another order|different rank"),
    ],
)
def test_what_tiktoken_cannot_do_is_left_to_the_library_with_the_reason(tmp_path, change, reason):
    library = make_tokenizer(tmp_path, BYTE_LEVEL)
    value = json.loads(library.backend.to_str())
    change(value)
    with pytest.raises(Unsuitable, match=reason):
        prove_merges(plan_fast_encoder(json.dumps(value)))


def test_merges_that_rank_alone_would_do_otherwise_are_found():
    """ "abc" is listed as a + bc, but by rank alone ab comes first and then ab + c, which is not listed."""
    letters = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    vocabulary = letters | {"ab": 256, "bc": 257, "abc": 258}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b"), ("b", "c"), ("a", "bc")]))
    tokenizer.pre_tokenizer = BYTE_LEVEL
    assert tokenizer.encode("abc").ids == [256, letters["c"]]
    plan = plan_fast_encoder(tokenizer.to_str())
    assert merge_by_rank(b"abc", plan.ranks) == [b"ab", b"c"]
    with pytest.raises(Unsuitable, match="'abc'"):
        prove_merges(plan)


def test_other_ids_on_any_text_are_shown(both, monkeypatch):
    library, fast = both
    monkeypatch.setattr(fast, "table", np.roll(fast.table, 1))
    with pytest.raises(Unsuitable, match="other ids for 'fever'"):
        compare(fast, library, ["", "fever"])
