"""Count the tokens of a corpus by language and source with a Hugging Face tokenizer.

Reads a `tokenizer.json` (a file, a folder with one) or whatever transformers' AutoTokenizer opens: a folder, a name on
the hub. Special tokens are not counted; a text over a million characters is counted in pieces of that, cut at line ends
where there are some.
"""

import hashlib
from pathlib import Path

from run_record import InputError

BATCH_CHARACTERS = 2_000_000
PIECE_CHARACTERS = 1_000_000


class TokenCounter:
    """Counts in batches. `facts`: {name, sha256}: what tells one tokenizer from another."""

    def __init__(self, name: str):
        self.tokenizer = _load(name)
        content = self.tokenizer.to_str().encode("utf-8")
        self.facts = {
            "name": Path(name).resolve().name if Path(name).exists() else name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        self.waiting: list[tuple[tuple[str, str], str]] = []
        self.waiting_characters = 0
        self.tokens: dict[tuple[str, str], int] = {}

    def add(self, key: tuple[str, str], text: str) -> None:
        """key: (language, source)."""
        for piece in pieces_of(text):
            self.waiting.append((key, piece))
            self.waiting_characters += len(piece)
            if self.waiting_characters >= BATCH_CHARACTERS:
                self._count()

    def _count(self) -> None:
        encoded = self.tokenizer.encode_batch_fast([text for _, text in self.waiting], add_special_tokens=False)
        for (key, _), encoding in zip(self.waiting, encoded, strict=True):
            self.tokens[key] = self.tokens.get(key, 0) + len(encoding)
        self.waiting, self.waiting_characters = [], 0

    def counts(self) -> dict[str, dict[str, int]]:
        """{language: {source: tokens}} of all that was added."""
        self._count()
        result: dict[str, dict[str, int]] = {}
        for (language, source), tokens in sorted(self.tokens.items()):
            result.setdefault(language, {})[source] = tokens
        return result


def pieces_of(text: str) -> list[str]:
    """The text in pieces of at most PIECE_CHARACTERS, cut behind a line end where there is one in the last half."""
    pieces = []
    while len(text) > PIECE_CHARACTERS:
        end = text.rfind("\n", PIECE_CHARACTERS // 2, PIECE_CHARACTERS) + 1 or PIECE_CHARACTERS
        pieces.append(text[:end])
        text = text[end:]
    return [*pieces, text]


def _load(name: str):
    """A tokenizers.Tokenizer that neither cuts nor pads. Errors: InputError with what was looked for."""
    import tokenizers

    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(name).backend_tokenizer
    except Exception as error:  # tokenizers raises plain Exception for a file that is none, transformers many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--tokenizer {name}: no tokenizer ({reason}); give a tokenizer.json, a folder with one, or a "
            "name on the hub"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
