"""A sentencepiece BPE model as a tokenizers-library tokenizer with verified equal ids.

Reads   tokenizer.model, and of tokenizer_config.json the special and added tokens and the chat template

InternLM's tokenizers come as sentencepiece models with code of their own. The rules below are sentencepiece's:
https://github.com/google/sentencepiece/blob/master/src/bpe_model.cc (the pair with the best score is merged first) and
its ModelProto (what the normaliser adds, which pieces are never split). InternLM's own conversion keeps the same two
facts: the prefix as the model says it, and bytes for what the vocabulary lacks.
"""

import random
import re
from pathlib import Path

from run_record import InputError, read_json

SPACE = "▁"  # sentencepiece's sign for a space
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # piece types of sentencepiece's ModelProto
PROBES = [
    "",
    " ",
    " leading, two  spaces,   three and trailing ",
    "\ttabs\t\tand\nlines\r\n\n\n",
    "Fever 38.5 °C, 5 mg/kg q.i.d.; p<0.001 (95% CI 1.2–3.4)",
    "fièvre aiguë, œdème",
    "Señor, ¿fiebre?",
    "Fieber, Übelkeit, Größe",
    "лихорадка и кашель",
    "发热、咳嗽。血压120/80",
    "発熱と咳がある。カルテ",
    "حمى شديدة",
    "💊👩‍⚕️🩺",
    "e\u0301 \u200b \ufeff \u00a0 \u3000 \u0001",
    "<0x41> [UNUSED_TOKEN_1] ▁literal▁▁signs",
    "aaaaaaaaaaaaaaaaa ----------------- ................ 000000000000000",
    *(" " * n + "x" for n in range(2, 40)),
    *("\n" * n for n in range(1, 10)),
]
RANDOM_PROBES = 4000


class SentencePieceModel:
    """A tokenizer.model as it is: its pieces, its rules, its encoder. Errors: InputError for what we cannot keep."""

    def __init__(self, path: Path):
        from google.protobuf.message import DecodeError
        from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

        if not path.is_file():
            raise InputError(f"{path} is missing; download it with the model, its tokenizer is made from it")
        proto = sentencepiece_model_pb2.ModelProto()
        try:
            proto.ParseFromString(path.read_bytes())
        except DecodeError as error:
            raise InputError(f"{path}: no sentencepiece model ({error})") from None
        rules, trainer = proto.normalizer_spec, proto.trainer_spec
        unlike = {
            "it is not a BPE model": trainer.model_type != 2,
            "it rewrites characters": bool(rules.precompiled_charsmap),
            "it removes spaces": rules.remove_extra_whitespaces,
            "it keeps spaces unmarked": not rules.escape_whitespaces,
            "it puts the sign for a space behind a word": trainer.treat_whitespace_as_suffix,
            "it has unused pieces": any(piece.type == UNUSED for piece in proto.pieces),
        }
        if any(unlike.values()):
            what = "; ".join(reason for reason, found in unlike.items() if found)
            raise InputError(f"{path}: cannot be converted exactly: {what}. InternLM's own models have nothing of it")
        self.path, self.pieces = path, [(piece.piece, piece.score, piece.type) for piece in proto.pieces]
        self.dummy_prefix, self.byte_fallback = rules.add_dummy_prefix, trainer.byte_fallback
        self.processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
        proto.normalizer_spec.add_dummy_prefix = False
        self.without_prefix = SentencePieceProcessor(model_proto=proto.SerializeToString())

    def of_type(self, kind: int) -> list[str]:
        return [piece for piece, _, its in self.pieces if its == kind]


def convert_tokenizer(folder: Path):
    """A PreTrainedTokenizerFast with the ids of `folder`/tokenizer.model, proved. Errors: InputError."""
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    model = SentencePieceModel(folder / "tokenizer.model")
    settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    added = _added_tokens(folder, settings, len(model.pieces))
    backend = _backend(model, {token_id: fields["content"] for token_id, fields in added.items()})
    special = {
        role: _content(settings.get(role)) or default
        for role, default in {
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "</s>",
        }.items()
    }
    for role, token in special.items():
        if backend.token_to_id(token) is None:
            raise InputError(f"{folder}: its {role} {token!r} stands neither in tokenizer.model nor among added tokens")
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in dict.fromkeys(special.values())])
    for token_id, fields in sorted(added.items()):
        token = AddedToken(
            fields["content"],
            normalized=False,
            **{key: bool(fields.get(key)) for key in ("special", "lstrip", "rstrip", "single_word")},
        )
        (backend.add_special_tokens if token.special else backend.add_tokens)([token])
        if backend.token_to_id(token.content) != token_id:
            raise InputError(f"{folder}: the added token {token.content!r} has id {token_id}, with ids missing before")
    if settings.get("add_bos_token", True):
        bos = special["bos_token"]
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, padding_side="left", **special
    )
    if settings.get("chat_template"):
        tokenizer.chat_template = settings["chat_template"]
    return tokenizer


def prove_tokenizer(tokenizer, folder: Path) -> int:
    """The strings on which the tokenizer gives the ids and the text of `folder`/tokenizer.model.

    Each piece of the vocabulary as a text, the probes above, and random runs of pieces; texts with special or added
    tokens are omitted, since sentencepiece does not know those (they become their ids here, as in InternLM's own
    code). Errors: InputError.
    """
    model = SentencePieceModel(folder / "tokenizer.model")
    apart = {token.content for token in tokenizer.added_tokens_decoder.values()}
    apart |= _renamed_whole(model, {i: token.content for i, token in tokenizer.added_tokens_decoder.items()})
    texts = [text for text in _probes(model) if not any(token in text for token in apart)]
    wanted = model.processor.encode(texts)
    had = tokenizer(texts, add_special_tokens=False)["input_ids"]
    wrong = [i for i in range(len(texts)) if had[i] != wanted[i]]
    if wrong:
        i = min(wrong, key=lambda i: len(texts[i]))
        raise InputError(
            f"{model.path}: the converted tokenizer differs on {len(wrong)} of {len(texts)} strings; {texts[i]!r} is "
            f"{wanted[i]} there and {had[i]} here. Nothing was written: a model must not be trained on other ids"
        )
    unknown = model.processor.unk_id()
    for text, ids in zip(texts, wanted, strict=True):
        here, there = tokenizer.decode(ids, clean_up_tokenization_spaces=False), model.processor.decode(ids)
        if unknown not in ids and here != there:
            raise InputError(f"{model.path}: {text!r} is decoded as {there!r} there and as {here!r} here")
    return len(texts)


def _probes(model: SentencePieceModel) -> list[str]:
    pieces = [piece.replace(SPACE, " ") for piece, _, kind in model.pieces if kind in (NORMAL, USER_DEFINED)]
    kept_whole = [piece.replace(SPACE, " ") for piece in model.of_type(USER_DEFINED)]
    draw = random.Random(0)
    runs = ["".join(draw.choices(pieces, k=draw.randint(2, 12))) for _ in range(RANDOM_PROBES)]
    around = [f"{left}{piece}{right}" for piece in kept_whole for left in ("", "a ", "\n") for right in ("", " b", "1")]
    return [*PROBES, *pieces, *runs, *around, *(f" {piece}" for piece in pieces[:2000])]


def _backend(model: SentencePieceModel, renamed: dict[int, str]):
    """The tokenizers.Tokenizer: vocabulary, merges by score, prefix, spaces, bytes. renamed: id -> added token."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    names = [renamed.get(i, piece) for i, (piece, _, _) in enumerate(model.pieces)]
    kept_whole = sorted({*model.of_type(USER_DEFINED)} - _renamed_whole(model, renamed), key=len, reverse=True)
    if kept_whole:
        for i in _never_made(model):
            names[i] = f"<never made {i}>"
    vocabulary = {name: i for i, name in enumerate(names)}
    if len(vocabulary) < len(names):
        raise InputError(f"{model.path}: {len(names) - len(vocabulary)} names stand for two ids each")
    backend = Tokenizer(
        BPE(
            vocabulary,
            _merges(model, names),
            unk_token=names[model.processor.unk_id()],
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
            # A user-defined piece is cut out below, and then taken as it is.
            ignore_merges=bool(kept_whole),
        )
    )
    prefix = [normalizers.Prepend(SPACE)] if model.dummy_prefix else []
    backend.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
    if kept_whole:
        pattern = Regex("|".join(re.escape(piece) for piece in kept_whole))
        backend.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    strip = [decoders.Strip(" ", 1, 0)] if model.dummy_prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend


def _renamed_whole(model: SentencePieceModel, added: dict[int, str]) -> set[str]:
    """User-defined pieces whose id an added token took over: their old text stands for no single token any more."""
    pieces = {i: piece for i, (piece, _, kind) in enumerate(model.pieces) if kind == USER_DEFINED}
    return {pieces[i] for i, content in added.items() if i in pieces and pieces[i] != content}


def _merges(model: SentencePieceModel, names: list[str]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, the best score first; for one piece, the pair that comes first in it."""
    score = {
        name: its
        for name, (piece, its, kind) in zip(names, model.pieces, strict=True)
        if kind == NORMAL and name == piece
    }
    merges = []
    for name, its in score.items():
        pairs = [(name[:cut], name[cut:]) for cut in range(1, len(name))]
        merges += [(-its, order, pair) for order, pair in enumerate(pairs) if pair[0] in score and pair[1] in score]
    return [pair for _, _, pair in sorted(merges)]


def _never_made(model: SentencePieceModel) -> list[int]:
    """Pieces that sentencepiece never makes, not even of their own text.

    `ignore_merges` would make them, so they lose their name. None is lost: a piece inside a longer text is built from
    the same merges as alone, because its neighbours took no part in them.
    """
    normal = [(i, piece) for i, (piece, _, kind) in enumerate(model.pieces) if kind == NORMAL]
    made = model.without_prefix.encode([piece for _, piece in normal])
    return [i for (i, _), ids in zip(normal, made, strict=True) if ids != [i]]


def _added_tokens(folder: Path, settings: dict, pieces: int) -> dict[int, dict]:
    """{id: fields} of the tokens that the published configuration adds or renames; sentencepiece's own omitted."""
    added = {int(token_id): fields for token_id, fields in (settings.get("added_tokens_decoder") or {}).items()}
    if (folder / "added_tokens.json").exists():
        for content, token_id in read_json(folder / "added_tokens.json").items():
            added.setdefault(int(token_id), {"content": content, "special": True})
    wrong = [token_id for token_id, fields in added.items() if not isinstance(fields.get("content"), str)]
    if wrong or (added and max(added) >= pieces + len(added)):
        raise InputError(f"{folder}: its added tokens (ids {wrong or sorted(added)}) do not fit {pieces} pieces")
    return added


def _content(token) -> str | None:
    return token.get("content") if isinstance(token, dict) else token
