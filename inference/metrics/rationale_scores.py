"""Rationale metrics: BLEU-1 to 4 and ROUGE-1, -2, -L of written against reference rationales.

BLEU-n is NLTK's sentence_bleu with one reference, weights 1/n and smoothing method1, on words by language (WORDS).
ROUGE is the F measure of the package `rouge` 1.0.1 on distinct n-grams: of the raw text split at white space, in zh and
ja of the words joined by spaces. Ours gives the same numbers (a test compares them) without that package's table of
Python tuples: its ROUGE-L takes minutes for a test set and overflows Python's stack on long texts.
Source: Qiu et al., Nature Communications 15:8384, 2024, and the libraries of its public scoring code.
A language's score is the mean over its items times 100. Mode `default`: an empty rationale scores 0 and counts. Mode
`paper`: items with an empty rationale are skipped and counted separately. An item with an empty reference cannot be
scored and is counted as `no_reference`. BERTScore (rationale_bertscore.py) is computed if its model is given.
"""

import argparse
from functools import cache
from pathlib import Path

from metrics.rationale_bertscore import BERT_METRICS, PAPERS_LAYER, bert_scores

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L")
MODES = ("default", "paper")
# 2: if no question is marked as checked, all rationales count.
# 3: of several samples the rationale of one that answers as the majority does, not of the first.
RATIONALE_METRIC_VERSION = 3
# How a text becomes words, by language; every language not named here is split by NLTKWordTokenizer.
WORDS = {"zh": "jieba.cut", "ja": "janome surfaces"}
SPACED = "nltk NLTKWordTokenizer, no sentence splitting"


@cache
def _tokenizer(language: str):
    """A function text -> words of this language."""
    if language == "zh":
        import logging

        import jieba

        jieba.setLogLevel(logging.WARNING)  # its news of building a dictionary is not a result
        return jieba.lcut
    if language == "ja":
        from janome.tokenizer import Tokenizer

        tokenizer = Tokenizer()
        return lambda text: list(tokenizer.tokenize(text, wakati=True))
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize


def split_words(text: str, language: str) -> list[str]:
    """The words on which BLEU counts (WORDS names the tokenizer)."""
    return _tokenizer(language)(text)


def bleu(words: list[str], reference: list[str]) -> list[float]:
    """[BLEU-1, BLEU-2, BLEU-3, BLEU-4], each 0 to 1, of one text against one reference, by NLTK with method1."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    if not words:
        return [0.0] * 4
    weights = [tuple([1 / n] * n) for n in range(1, 5)]
    return [float(s) for s in sentence_bleu([reference], words, weights, SmoothingFunction().method1)]


def rouge(text: str, reference: str) -> list[float]:
    """[ROUGE-1, ROUGE-2, ROUGE-L] F, each 0 to 1, as package `rouge` 1.0.1 counts; 0 where it would raise.

    Sentences end at "."; words are what is between blanks; n-grams and the words of the longest common subsequence
    are counted once each (the package's `exclusive`).
    """
    ours, theirs = _sentences(text), _sentences(reference)
    if not ours or not theirs:
        return [0.0] * 3
    scores = []
    for n in (1, 2):
        mine, gold = (_ngrams([w for s in sentences for w in s], n) for sentences in (ours, theirs))
        scores.append(_f_measure(len(mine & gold), len(mine), len(gold)))
    common = set().union(*(_common_words(gold, ours) for gold in theirs))
    scores.append(_f_measure(len(common), len({w for s in ours for w in s}), len({w for s in theirs for w in s})))
    return scores


def _sentences(text: str) -> list[list[str]]:
    # Two blanks in a row never are in a joined text, but a sentence of blanks alone is one empty word to the package.
    return [" ".join(piece.split()).split(" ") for piece in text.split(".") if piece]


def _ngrams(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def _f_measure(overlap: int, written: int, gold: int) -> float:
    precision, recall = overlap / written if written else 0.0, overlap / gold if gold else 0.0
    return 2 * (precision * recall) / (precision + recall + 1e-8)


def _common_words(x: list[str], sentences: list[list[str]]) -> set[str]:
    """The distinct words of the longest common subsequences of x with each sentence, those that package `rouge` finds.

    The tables of all sentences are filled together, row by row; a row's maximum from the left is a running maximum.
    """
    import numpy as np

    numbers: dict[str, int] = {}
    columns = np.full((len(sentences), max(map(len, sentences))), -1)
    for place, y in enumerate(sentences):
        columns[place, : len(y)] = [numbers.setdefault(word, len(numbers)) for word in y]
    table = np.zeros((len(x) + 1, len(sentences), columns.shape[1] + 1), np.int32)
    for i, word in enumerate(x, start=1):
        if word in numbers:
            diagonal = table[i - 1, :, :-1] + (columns == numbers[word])
            np.maximum.accumulate(np.maximum(diagonal, table[i - 1, :, 1:]), axis=1, out=table[i, :, 1:])
        else:
            table[i] = table[i - 1]
    common = set()
    for place, y in enumerate(sentences):
        i, j = len(x), len(y)
        rows = table[:, place].tolist() if table[i, place, j] else None
        while rows and i and j:
            if x[i - 1] == y[j - 1]:
                common.add(x[i - 1])
                i, j = i - 1, j - 1
            elif rows[i - 1][j] > rows[i][j - 1]:
                i -= 1
            else:
                j -= 1
    return common


def score_pair(text: str, reference: str, language: str) -> dict[str, float]:
    """{metric: 0 to 1} of one rationale; all 0 when it is empty."""
    if not text.strip():
        return dict.fromkeys(METRICS, 0.0)
    words, gold = split_words(text, language), split_words(reference, language)
    if language in WORDS:
        scores = bleu(words, gold) + rouge(" ".join(words), " ".join(gold))
    else:
        scores = bleu(words, gold) + rouge(text, reference)
    return dict(zip(METRICS, scores, strict=True))


def score_rationales(items: list[dict], mode: str = "default") -> dict:
    """Scores of one language: {"n", "empty", "no_reference", "tokenizer", and each metric in per cent, 8 decimals}.

    items: {"language", "rationale", "reference"}, and "bertscore" where that was measured (`add_bert_scores`). `n` is
    the number of scored items, `empty` those without a rationale (scored 0 in mode default, omitted in mode paper).
    Metrics are None where nothing can be scored. `bertscore_shortened` counts pairs cut to the encoder's positions.
    """
    language = items[0]["language"] if items else ""
    usable = [item for item in items if (item["reference"] or "").strip()]
    empty = [item for item in usable if not (item["rationale"] or "").strip()]
    scored = [item for item in usable if mode == "default" or (item["rationale"] or "").strip()]
    rows = [score_pair(item["rationale"] or "", item["reference"], language) for item in scored]
    measured, metrics = {}, METRICS
    if items and all("bertscore" in item for item in items):
        metrics = METRICS + BERT_METRICS
        measured = {"bertscore_shortened": sum(item["bertscore"]["shortened"] for item in scored)}
        rows = [
            row | dict(zip(BERT_METRICS, item["bertscore"]["scores"], strict=True))
            for row, item in zip(rows, scored, strict=True)
        ]
    return (
        {
            "n": len(scored),
            "empty": len(empty),
            "no_reference": len(items) - len(usable),
            "tokenizer": WORDS.get(language, SPACED) if items else None,
        }
        | measured
        | {m: round(100 * sum(row[m] for row in rows) / len(rows), 8) if rows else None for m in metrics}
    )


def add_bert_scores(items: list[dict], name: str, encoder: dict, out: Path | None = None) -> None:
    """Give every item its "bertscore"; an empty text scores 0 and is not asked of the encoder."""
    nothing = {"scores": [0.0] * 3, "shortened": False}
    full = [item for item in items if (item["rationale"] or "").strip() and (item["reference"] or "").strip()]
    found = bert_scores([(item["rationale"], item["reference"]) for item in full], name, encoder, out)
    for item in items:
        item["bertscore"] = nothing
    for item, scores in zip(full, found, strict=True):
        item["bertscore"] = scores


def metrics_of(scores: dict[str, dict]) -> tuple[str, ...]:
    """The metrics that were measured."""
    return METRICS + BERT_METRICS if any(m in s for s in scores.values() for m in BERT_METRICS) else METRICS


def mean_over_languages(scores: dict[str, dict]) -> dict[str, float | None]:
    """The plain mean of each metric over the languages that have one, as the paper averages."""
    averages = {}
    for metric in metrics_of(scores):
        values = [s[metric] for s in scores.values() if s.get(metric) is not None]
        averages[metric] = round(sum(values) / len(values), 8) if values else None
    return averages


def rationale_table(scores: dict[str, dict]) -> str:
    """The scores as aligned text lines, one per language."""
    metrics = metrics_of(scores)
    width = max(4, *map(len, scores))
    lines = [" " * width + "    n  empty  " + "  ".join(metrics)]
    for name, s in [*scores.items(), ("mean", mean_over_languages(scores))]:
        cells = "  ".join(f"{'-' if s.get(m) is None else format(s[m], '.2f'):>{len(m)}}" for m in metrics)
        lines.append(f"{name:{width}}{s.get('n', ''):>5}  {s.get('empty', ''):>5}  {cells}")
    return "\n".join(lines)


def add_bert_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of BERTScore, the same here and in eval.py."""
    parser.add_argument(
        "--bert-score",
        metavar="MODEL",
        help="measure BERTScore too, with this encoder: a folder or hub name of bert-base-multilingual-cased",
    )
    parser.add_argument(
        "--bert-layer",
        type=int,
        default=PAPERS_LAYER,
        help="the encoder's layer whose vectors are compared, from 1 (default %(default)s)",
    )
