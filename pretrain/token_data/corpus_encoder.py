"""Texts to token ids through the tokenizers library: the reference encoder; tokenizers and their fingerprints.

Text is text: where a document contains the letters of a special token, such as "<|endoftext|>", they are encoded as
letters. No page of a corpus can place a control token, and the end-of-text token marks ends of documents only.
"""

from pathlib import Path

import numpy as np

from run_record import InputError

END_OF_TEXT = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|end|>", "[EOS]")


def load_tokenizer(name: str, trust_remote_code: bool = False):
    """A tokenizer with an end-of-text token. Errors: InputError saying what is missing."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no tokenizer at {name}: {str(error).splitlines()[0]}; pretrain/train_tokenizer.py makes one, "
            "or name a Hugging Face model"
        ) from None
    if tokenizer.eos_token_id is None:
        # A bare tokenizer.json names no roles; the end of a text goes by few names.
        tokenizer.eos_token = next((name for name in END_OF_TEXT if name in tokenizer.get_vocab()), None)
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer {name} has no end-of-text token (by its settings, or named "
            f"{', '.join(END_OF_TEXT)}); documents could not be told apart"
        )
    return tokenizer


def tokenizer_fingerprint(tokenizer) -> str:
    """SHA-256 (hex) of the vocabulary, the special tokens and the ids of a probe in eight languages.

    Two tokenizers with one fingerprint give the same ids on ordinary text; file dates and paths do not count.
    """
    import hashlib
    import json

    probe = "Fever 38.5 °C; fièvre, fiebre, Fieber, лихорадка, 发热, 発熱する, حمى\n\t 12 mg/kg"
    value = [
        sorted(tokenizer.get_vocab().items()),
        sorted(map(str, tokenizer.all_special_tokens)),
        tokenizer(probe, add_special_tokens=False)["input_ids"],
    ]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class LibraryEncoder:
    """The Hugging Face tokenizer of a folder: batches of texts to ids, and ids with their places in the text."""

    def __init__(self, folder: Path, dtype: str, trust_remote_code: bool = False):
        """dtype: of the ids that `encode` returns, "<u2" or "<u4"."""
        self.tokenizer = load_tokenizer(str(folder), trust_remote_code)
        self.dtype, self.end_of_text = np.dtype(dtype), self.tokenizer.eos_token_id
        self.backend = None
        if getattr(self.tokenizer, "is_fast", False):
            from tokenizers import Tokenizer

            # A copy, so that what is set here changes no tokenizer that is used elsewhere.
            self.backend = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
            self.backend.no_truncation()
            self.backend.no_padding()
            self.backend.encode_special_tokens = True
            # It adds special tokens, which are not wanted, and trims white space off the tokens' places.
            self.backend.post_processor = None

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, without any special token."""
        if self.backend is not None:
            return [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]
        return self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts end to end, each with its end-of-text token; tokens of each, int64)."""
        rows = [[*ids, self.end_of_text] for ids in self.ids(texts)]
        counts = np.asarray([len(row) for row in rows], np.int64)
        return np.fromiter((token for row in rows for token in row), self.dtype, int(counts.sum())), counts

    def encode_with_places(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(ids without end-of-text [tokens], characters [tokens, 2] that each comes from, as [start, end)).

        Errors: InputError for a tokenizer that does not know its tokens' places.
        """
        if self.backend is None:
            raise InputError(
                f"the tokenizer {type(self.tokenizer).__name__} cannot say which characters per token comes from, "
                "which loss_spans need; use one with a tokenizer.json"
            )
        encoding = self.backend.encode(text, add_special_tokens=False)
        return np.asarray(encoding.ids, self.dtype), np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
