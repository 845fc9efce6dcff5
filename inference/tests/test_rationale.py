"""rationale.py: the paper's definitions, written out here with their own libraries, and its command line."""

import json
import os
import random
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rationale
from metrics import rationale_scores
from run_record import InputError

PAIRS = Path(__file__).parents[1] / "sample/rationale_pairs.jsonl"
ITEMS = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]
LONG = [
    {"language": "en", "rationale": "fever " * 700 + "cough " * 600, "reference": "cough fever " * 650},
    {"language": "zh", "rationale": "发热咳嗽" * 300, "reference": "咳嗽头痛" * 300},
]
# What models also write: marks alone, pictures, several scripts, line breaks, what no word splitter knows.
UNPLEASANT = [
    {"language": language, "rationale": text, "reference": reference}
    for language in ("en", "zh", "ja", "fr", "ru", "es")
    for text, reference in (
        ("...", "Fever."),
        ("。！？", "。！？"),
        (".", "."),
        ("💊 🤒", "💊 fever 🤒"),
        ("the same", "the same"),
        ("発熱 fever лихорадка fièvre 发热", "fever лихорадка 发热 fiebre 発熱"),
        ("a\nb\n\n- c.d", "a b\tc\u00a0d"),
        ("\u200b", "x"),
        ("x" * 300, "x"),
        ("O'Brien\u2019s 3.5 mg/dL (p<0.05).", "O\u2019Brien's 3,5 mg/dl; p < 0.05"),
    )
]


@cache
def janome():
    from janome.tokenizer import Tokenizer

    return Tokenizer()


def by_definition(text: str, reference: str, language: str) -> list[float]:
    """BLEU-1 to 4, ROUGE-1, -2, -L as ../shared facts state them: nltk's and rouge's own functions, nothing of ours."""
    import jieba
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from rouge import Rouge

    words = {
        "zh": lambda t: list(jieba.cut(t)),
        "ja": lambda t: [token.surface for token in janome().tokenize(t)],
    }.get(language, NLTKWordTokenizer().tokenize)
    mine, gold = words(text), words(reference)
    bleu = [sentence_bleu([gold], mine, [1 / n] * n, SmoothingFunction().method1) for n in (1, 2, 3, 4)]
    if language in ("zh", "ja"):
        text, reference = " ".join(mine), " ".join(gold)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        scores = Rouge().get_scores(text, reference)[0]
        return bleu + [scores[k]["f"] for k in ("rouge-1", "rouge-2", "rouge-l")]
    except ValueError:
        return [*bleu, 0, 0, 0]
    finally:
        sys.setrecursionlimit(limit)


def test_scores_equal_the_papers_definitions_on_every_vector():
    languages = {item["language"] for item in ITEMS}
    assert languages == {"en", "zh", "ja", "fr", "ru", "es", "de", "ar"} and len(ITEMS) >= 40
    for item in ITEMS + LONG + UNPLEASANT:
        if not item["rationale"]:
            continue
        got = rationale_scores.score_pair(item["rationale"], item["reference"], item["language"])
        wanted = by_definition(item["rationale"], item["reference"], item["language"])
        assert list(got.values()) == pytest.approx(wanted, abs=1e-9), item


@pytest.mark.slow
def test_scores_equal_the_papers_definitions_on_real_rationales():
    data = Path(os.environ.get("MMED_TEST_DATA", PAIRS.parents[3] / "shared" / "data")) / "mmedbench_sample/Test"
    if not data.is_dir():
        pytest.skip(f"no real rationales at {data} (set MMED_TEST_DATA)")
    draw = random.Random(0)
    for name, language in (
        ("English", "en"),
        ("Chinese", "zh"),
        ("Japanese", "ja"),
        ("French", "fr"),
        ("Russian", "ru"),
        ("Spanish", "es"),
    ):
        records = [json.loads(line) for line in (data / f"{name}.jsonl").read_text("utf-8").splitlines()]
        texts = draw.sample([record["rationale"] for record in records if record.get("rationale")], 12)
        items = [
            # Half of the reference's words and half of another's, as a model that knows something writes.
            {"language": language, "rationale": a[: len(a) // 2] + b[len(b) // 2 :], "reference": a}
            for a, b in zip(texts[:6], texts[6:], strict=True)
        ]
        wanted = [by_definition(item["rationale"], item["reference"], language) for item in items]
        got = rationale_scores.score_rationales(items, "paper")
        for place, metric in enumerate(rationale_scores.METRICS):
            mean = 100 * sum(row[place] for row in wanted) / len(items)
            assert got[metric] == pytest.approx(mean, abs=1e-6), (language, metric)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", ".", ". ", " ", "  ", "..", "\n", "d.e"]), max_size=25), st.integers(0, 99)
)
def test_rouge_equals_the_package_on_wild_sentences(pieces, seed):
    from rouge import Rouge

    text = "".join(pieces)
    reference = "".join(random.Random(seed).choices(pieces or ["x"], k=12))
    try:
        scores = Rouge().get_scores(text, reference)[0]
        wanted = [scores[k]["f"] for k in ("rouge-1", "rouge-2", "rouge-l")]
    except ValueError:
        wanted = [0, 0, 0]
    assert rationale_scores.rouge(text, reference) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("language", ["zh", "ja", "ru", "ar"])
def test_rouge_is_not_zero_where_words_are_not_latin(language):
    items = [item for item in ITEMS if item["language"] == language]
    scores = rationale_scores.score_rationales(items)
    assert all(scores[metric] > 5 for metric in ("ROUGE-1", "ROUGE-L", "BLEU-1")), scores


def test_an_empty_rationale_scores_zero_by_default_and_is_left_out_as_in_the_paper():
    items = [item for item in ITEMS if item["language"] == "en"]
    default, paper = (rationale_scores.score_rationales(items, mode) for mode in rationale_scores.MODES)
    assert (default["n"], default["empty"], paper["n"], paper["empty"]) == (8, 1, 7, 1)
    assert default["ROUGE-1"] == pytest.approx(paper["ROUGE-1"] * 7 / 8, abs=1e-3)
    assert rationale_scores.score_rationales(items[5:6], "paper")["BLEU-1"] is None
    assert rationale_scores.score_rationales([items[0] | {"reference": " "}])["no_reference"] == 1


def test_the_command_prints_and_writes_the_scores(tmp_path, capsys):
    assert rationale.main([str(PAIRS), "--mode", "paper", "--out", str(tmp_path / "scores.json")]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["mode"] == "paper" and record["scores"]["ja"]["tokenizer"] == "janome surfaces"
    mean = sum(s["BLEU-1"] for s in record["scores"].values()) / 8
    assert record["macro"]["BLEU-1"] == pytest.approx(mean, abs=1e-3)
    assert f"{record['macro']['BLEU-1']:.2f}" in printed


@pytest.mark.parametrize(
    "line", ["{", '{"language": "xx", "rationale": "", "reference": ""}', '["a"]', '{"language": "en"}']
)
def test_a_broken_line_is_named(tmp_path, line):
    good = json.dumps({"language": "en", "rationale": "a", "reference": "b"})
    (tmp_path / "pairs.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match=r"pairs\.jsonl:2: expected"):
        rationale.main([str(tmp_path / "pairs.jsonl")])
