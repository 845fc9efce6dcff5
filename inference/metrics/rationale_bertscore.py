"""BERTScore of rationales: precision, recall and F1 of greedily matched token vectors of a BERT-like encoder.

Reads   an encoder (Hugging Face folder or hub name; the paper's is bert-base-multilingual-cased), pairs of texts
Writes  <out>/bertscore-<8 hex>.jsonl as the pairs are scored: {pair: 16 hex digits of its texts, scores: [P, R, F1],
        each 0 to 1, shortened}; an interrupted run resumes there, and scoring again reads it
Example python inference/rationale.py inference/sample/rationale_pairs.jsonl --bert-score DIR

Definition (Zhang et al., BERTScore, ICLR 2020, https://arxiv.org/abs/1904.09675, section 3): with unit vectors x of the
reference's tokens and y of the written text's tokens at one layer, R is the mean over the reference's tokens of the
greatest x.y, P the mean over the written text's tokens, F1 = 2PR/(P+R). As the package `bert_score` 0.3.13 does
without idf weights and rescaling: [CLS] and [SEP] may be matched but are not averaged over; a text longer than the
encoder's positions is cut; a text without tokens scores 0. Layer 9 is that package's choice for
bert-base-multilingual-cased (model2layers in its utils.py). A test compares with the package where it can be installed.
"""

import hashlib
import json
import os
from pathlib import Path

from run_record import InputError, read_json, sha256_of_file

BERT_METRICS = ("BERTScore-P", "BERTScore-R", "BERTScore-F1")
PAPERS_LAYER = 9
TOKENS_A_BATCH = 16384  # with padding; 32 texts of 512 tokens take about 1 GB in 32-bit floats
READ_FILES = ("*.json", "*.safetensors", "vocab.txt", "*.model")


def find_encoder(name: str) -> Path:
    """The folder of an encoder; a hub name is looked up in the cache, or fetched. Errors: InputError."""
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, allow_patterns=list(READ_FILES)))
        except (OSError, ValueError) as error:
            raise InputError(
                f"--bert-score {name}: neither a folder nor a model that the hub gives ({str(error).splitlines()[0]}); "
                "give the folder of bert-base-multilingual-cased"
            ) from None
    for pattern in ("config.json", "*.safetensors"):
        if not list(folder.glob(pattern)):
            raise InputError(f"--bert-score {folder} has no {pattern}; give the folder of an encoder in safetensors")
    return folder


def describe_encoder(name: str, layer: int) -> dict:
    """{"model", "layer", "sha256"}: the last is of all the encoder's files, names and contents.

    Errors: InputError, before anything is asked of a model, also for a layer that the encoder does not have.
    """
    folder = find_encoder(name)
    layers = read_json(folder / "config.json").get("num_hidden_layers")
    if isinstance(layers, int) and not 1 <= layer <= layers:
        raise InputError(f"--bert-layer {layer}: {folder} has layers 1 to {layers}")
    paths = sorted({path for pattern in READ_FILES for path in folder.glob(pattern)})
    digest = hashlib.sha256("".join(f"{path.name} {sha256_of_file(path)}\n" for path in paths).encode())
    return {"model": Path(name).name, "layer": layer, "sha256": digest.hexdigest()}


class Encoder:
    """The first `layer` layers of a BERT-like encoder with its tokenizer, on the GPU if there is one."""

    def __init__(self, name: str, layer: int):
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = find_encoder(name)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModel.from_pretrained(folder, use_safetensors=True).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"--bert-score {folder} cannot be loaded: {str(error).splitlines()[0]}") from None
        layers = getattr(getattr(model, "encoder", None), "layer", None)
        special = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id, self.tokenizer.pad_token_id
        if layers is None or None in special:
            raise InputError(f"--bert-score {folder} is not a BERT-like encoder with [CLS], [SEP] and [PAD]")
        if not 1 <= layer <= len(layers):
            raise InputError(f"--bert-layer {layer}: {folder} has layers 1 to {len(layers)}")
        model.encoder.layer = layers[:layer]
        # RoBERTa counts its positions from the pad token's number on.
        longest = model.config.max_position_embeddings
        longest -= special[2] + 1 if "roberta" in model.config.model_type else 0
        self.longest = min(longest, self.tokenizer.model_max_length)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)

    def tokens(self, text: str) -> tuple[list[int], bool]:
        """(token ids with [CLS] and [SEP], whether the text was cut to the encoder's positions)."""
        ids = self.tokenizer(text.strip(), add_special_tokens=False, verbose=False)["input_ids"]
        cut = ids[: self.longest - 2]
        return [self.tokenizer.cls_token_id, *cut, self.tokenizer.sep_token_id], len(cut) < len(ids)

    def vectors(self, texts: list[list[int]]):
        """(unit vectors [texts, longest, width], float mask of tokens, float mask of those averaged over)."""
        import torch

        pad = self.tokenizer.pad_token_id
        width = max(map(len, texts))
        ids = torch.tensor([text + [pad] * (width - len(text)) for text in texts], device=self.device)
        lengths = torch.tensor([len(text) for text in texts], device=self.device)
        place = torch.arange(width, device=self.device)[None]
        mask = place < lengths[:, None]
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        counted = mask & (ids != self.tokenizer.cls_token_id) & (ids != self.tokenizer.sep_token_id)
        return torch.nn.functional.normalize(hidden, dim=-1), mask, counted.float()

    def score(self, written: list[list[int]], reference: list[list[int]]) -> list[list[float]]:
        """[[P, R, F1]] of one batch of pairs of token ids."""
        import torch

        (y, y_mask, y_counted), (x, x_mask, x_counted) = self.vectors(written), self.vectors(reference)
        cosine = torch.bmm(y, x.transpose(1, 2)).masked_fill(~(y_mask[:, :, None] & x_mask[:, None]), -2)
        # A text without tokens averages over nothing: 0 of at least 1.
        precision = (cosine.amax(2) * y_counted).sum(1) / y_counted.sum(1).clamp(min=1)
        recall = (cosine.amax(1) * x_counted).sum(1) / x_counted.sum(1).clamp(min=1)
        both = (y_counted.sum(1) > 0) & (x_counted.sum(1) > 0)
        precision, recall = precision * both, recall * both
        f1 = torch.nan_to_num(2 * precision * recall / (precision + recall))
        return torch.stack([precision, recall, f1], 1).tolist()


def pair_key(written: str, reference: str) -> str:
    """16 hex digits of a pair of texts."""
    return hashlib.sha256(json.dumps([written, reference]).encode()).hexdigest()[:16]


def read_scored(path: Path) -> dict[str, dict]:
    """{pair: line} of scores on the disk; a last line that was cut off by a kill is dropped from the file."""
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with open(path, "r+b") as file:
            file.truncate(len(whole))
    scored = {}
    for number, line in enumerate(whole.decode("utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            scored[row["pair"]] = {"scores": [float(value) for value in row["scores"]], "shortened": row["shortened"]}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}:{number}: no score of a pair; delete the file to score again") from None
    return scored


def bert_scores(pairs: list[tuple[str, str]], name: str, encoder: dict, out: Path | None = None) -> list[dict]:
    """{"scores": [P, R, F1], "shortened"} of each pair (written, reference), in order.

    encoder: `describe_encoder` of name. out: folder where the scores are kept as they are made; pairs that are there
    are not scored again. The longest pairs come first, so that too little memory shows at once.
    """
    digest = hashlib.sha256(json.dumps([encoder["sha256"], encoder["layer"]]).encode()).hexdigest()[:8]
    path = out / f"bertscore-{digest}.jsonl" if out else None
    scored = read_scored(path) if path else {}
    missing = {pair_key(*pair): pair for pair in pairs}
    missing = {key: pair for key, pair in missing.items() if key not in scored}
    if missing:
        model = Encoder(name, encoder["layer"])
        rows = []
        for key, pair in missing.items():
            (written, cut), (reference, cut_too) = (model.tokens(text) for text in pair)
            rows.append((key, written, reference, cut or cut_too))
        rows.sort(key=lambda row: (-max(len(row[1]), len(row[2])), row[0]))
        with open(path or os.devnull, "a", encoding="utf-8") as file:
            _score_missing(model, rows, scored, file)
    return [scored[pair_key(*pair)] for pair in pairs]


def _score_missing(model: Encoder, rows: list[tuple], scored: dict[str, dict], file) -> None:
    """Fill `scored`, batch by batch; each batch is written down before the next is made."""
    from tqdm import tqdm

    start = 0
    with tqdm(total=len(rows), desc="BERTScore", unit="pair", disable=None) as bar:
        while start < len(rows):
            longest = max(len(rows[start][1]), len(rows[start][2]))
            batch = rows[start : start + max(1, TOKENS_A_BATCH // longest)]
            found = model.score([row[1] for row in batch], [row[2] for row in batch])
            lines = []
            for (key, _, _, cut), scores in zip(batch, found, strict=True):
                scored[key] = {"scores": [round(value, 6) for value in scores], "shortened": cut}
                lines.append(json.dumps({"pair": key} | scored[key]) + "\n")
            file.write("".join(lines))
            file.flush()
            start += len(batch)
            bar.update(len(batch))
