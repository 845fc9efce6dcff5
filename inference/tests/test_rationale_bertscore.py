"""BERTScore: the definition in loops, the package itself where it can be installed, resuming, what is no encoder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import eval as evaluation
import html_report
import rationale
from metrics import rationale_bertscore, rationale_scores
from run_record import InputError, read_json

PAIRS = Path(__file__).parents[1] / "sample/rationale_pairs.jsonl"
ITEMS = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]
UNPLEASANT = [
    ("", "fever"),
    ("fever", ""),
    ("   ", "fever"),
    ("...", "。！"),
    ("💊🤒", "💊"),
    ("發熱 fever лихорадка", "حمى fièvre"),
    ("the same text", "the same text"),
    ("fever [SEP] cough", "[CLS] cough"),
    ("long fever " * 300, "cough " * 300),
]
TEXTS = [(item["rationale"], item["reference"]) for item in ITEMS] + UNPLEASANT


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A random two-layer BERT of 64 positions whose tokens are characters; wide weights, so that vectors differ."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    characters = sorted({c for pair in TEXTS for text in pair for c in text.lower() if not c.isspace()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *("##" + c for c in characters)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(3)
    BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
    ).save_pretrained(folder)
    return folder


def scores_of(encoder: Path, layer: int = 2, out: Path | None = None) -> list[list[float]]:
    facts = rationale_bertscore.describe_encoder(str(encoder), layer)
    return [row["scores"] for row in rationale_bertscore.bert_scores(TEXTS, str(encoder), facts, out)]


def test_scores_equal_the_definition_written_out_in_loops(encoder):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()

    def vectors(text: str) -> tuple[list[int], list[list[float]]]:
        ids = tokenizer(text, truncation=True, max_length=64)["input_ids"]
        with torch.no_grad():
            hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0].double()
        return ids, (hidden / hidden.norm(dim=1, keepdim=True)).tolist()

    def mean_of_best(ids: list[int], mine: list[list[float]], theirs: list[list[float]]) -> float:
        best = [
            max(sum(a * b for a, b in zip(one, other, strict=True)) for other in theirs)
            for number, one in zip(ids, mine, strict=True)
            if tokenizer.convert_ids_to_tokens(number) not in ("[CLS]", "[SEP]")
        ]
        return sum(best) / len(best) if best else 0.0

    checked = [*zip(TEXTS, scores_of(encoder), strict=True)]
    for (written, reference), got in [*checked[:33:4], *checked[-len(UNPLEASANT) :]]:
        (ids, y), (gold, x) = vectors(written), vectors(reference)
        wanted = [mean_of_best(ids, y, x), mean_of_best(gold, x, y)]
        if not written.strip() or not reference.strip():
            wanted = [0.0, 0.0]
        wanted.append(2 * wanted[0] * wanted[1] / (sum(wanted) or 1))
        assert got == pytest.approx(wanted, abs=3e-6), (written, reference)


@pytest.mark.slow
def test_scores_equal_the_package_bert_score(encoder, tmp_path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "package"]
    done = subprocess.run([*install, "bert-score==0.3.13"], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"bert-score 0.3.13 cannot be installed here: {done.stderr.strip()[-200:]}")
    # The package stops at an empty text with transformers 5 (it calls a method of its tokenizers that is gone).
    full = [number for number, pair in enumerate(TEXTS) if all(text.strip() for text in pair)]
    (tmp_path / "pairs.json").write_text(json.dumps([TEXTS[number] for number in full]))
    program = (
        "import json, sys; from bert_score import score\n"
        "written, reference = zip(*json.load(open(sys.argv[1])))\n"
        "scores = score(list(written), list(reference), model_type=sys.argv[2], num_layers=2, batch_size=7)\n"
        "json.dump([s.tolist() for s in scores], open(sys.argv[3], 'w'))"
    )
    command = [sys.executable, "-c", program, tmp_path / "pairs.json", encoder, tmp_path / "scores.json"]
    found = os.environ | {"PYTHONPATH": str(tmp_path / "package")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=found)
    assert done.returncode == 0, done.stderr
    package = list(zip(*json.loads((tmp_path / "scores.json").read_text()), strict=True))
    ours = scores_of(encoder)
    assert len(package) == len(full) >= 45
    for number, wanted in zip(full, package, strict=True):
        assert ours[number] == pytest.approx(wanted, abs=3e-6), TEXTS[number]


def test_scores_do_not_depend_on_the_batch_and_an_interrupted_run_goes_on(encoder, tmp_path, monkeypatch):
    whole = scores_of(encoder, out=tmp_path)
    [kept] = tmp_path.glob("bertscore-*.jsonl")
    lines = kept.read_bytes().splitlines(keepends=True)
    assert len(lines) == len({rationale_bertscore.pair_key(*pair) for pair in TEXTS})
    kept.write_bytes(b"".join(lines[:20]) + lines[20][:9])  # killed while it wrote
    asked = []
    score = rationale_bertscore.Encoder.score
    monkeypatch.setattr(
        rationale_bertscore.Encoder,
        "score",
        lambda self, written, reference: asked.append(len(written)) or score(self, written, reference),
    )
    monkeypatch.setattr(rationale_bertscore, "TOKENS_A_BATCH", 150)
    again = scores_of(encoder, out=tmp_path)
    assert [x for row in again for x in row] == pytest.approx([x for row in whole for x in row], abs=2e-6)
    assert sum(asked) == len(lines) - 20 and max(asked) > 1
    assert scores_of(encoder, 1) != whole
    monkeypatch.setattr(rationale_bertscore, "Encoder", None)  # would fail if anything were encoded
    assert scores_of(encoder, out=tmp_path) == again


def test_the_command_shows_bertscore_beside_the_other_metrics(encoder, tmp_path, capsys):
    out = tmp_path / "scores.json"
    command = [str(PAIRS), "--bert-score", str(encoder), "--bert-layer", "2", "--out", str(out)]
    assert rationale.main(command) == 0
    assert "BERTScore-F1" in capsys.readouterr().out
    record = read_json(out)
    assert record["bert_score"]["layer"] == 2 and len(record["bert_score"]["sha256"]) == 64
    english = record["scores"]["en"]
    assert english["n"] == 8 and 0 < english["BERTScore-F1"] < 100 and english["bertscore_shortened"] > 0
    assert rationale.main([*command, "--mode", "paper"]) == 0
    paper = read_json(out)["scores"]["en"]
    assert paper["n"] == 7 and paper["BERTScore-R"] == pytest.approx(english["BERTScore-R"] * 8 / 7, abs=1e-3)


def test_a_finished_run_gets_bertscore_on_its_human_checked_questions(encoder, checkpoint, tmp_path, capsys):
    data, out = tmp_path / "MMedBench/Test", tmp_path / "run"
    data.mkdir(parents=True)
    files = {"Arabic": ("أي فيتامين، {}؟", {"human_checked": True}), "English": ("Which, {}?", {})}
    for name, (question, marks) in files.items():
        rows = [
            {
                "question": question.format(n),
                "options": {"A": "1", "B": "2"},
                "answer_idx": "A",
                "rationale": "fever",
                **({"human_check_passed": n != 1} if marks else {}),
                **marks,
            }
            for n in range(4)
        ]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["--model", str(checkpoint), "--data", str(data), "--out", str(out), "--max-new-tokens", "8"]
    bert = ["--bert-score", str(encoder), "--bert-layer", "2"]
    with pytest.raises(InputError, match="use --form rationale"):
        evaluation.main([*command, *bert])
    command += ["--form", "rationale"]
    assert evaluation.main(command) == 0
    plain = read_json(out / "result.json")["rationales"]
    assert plain["bert_score"] is None and "BERTScore-F1" not in plain["macro"]
    capsys.readouterr()
    assert evaluation.main([*command, *bert]) == 0, "scores the same answers again"
    assert "BERTScore-F1" in capsys.readouterr().out
    result = read_json(out / "result.json")
    found = result["rationales"]
    assert result["scoring"]["bert_score"] == found["bert_score"]
    assert (found["scores"]["ar"]["on"], found["scores"]["ar"]["n"]) == ("human-checked", 3)
    assert (found["scores"]["en"]["on"], found["scores"]["en"]["n"]) == ("all", 4)
    f1 = [found["scores"][key]["BERTScore-F1"] for key in ("ar", "en")]
    assert found["macro"]["BERTScore-F1"] == pytest.approx(sum(f1) / 2, abs=1e-3) and min(f1) > 0
    assert [found["macro"][m] for m in rationale_scores.METRICS] == [
        plain["macro"][m] for m in rationale_scores.METRICS
    ]
    assert html_report.main([str(out), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "BERTScore with tiny-bert, layer 2" in page and f"{found['macro']['BERTScore-F1']:.2f}" in page


def test_what_is_no_encoder_is_refused_in_one_sentence(encoder, checkpoint, tmp_path):
    def refusal(model: Path | str, *flags: str) -> str:
        with pytest.raises(InputError) as error:
            rationale.main([str(PAIRS), "--bert-score", str(model), *flags])
        return str(error.value)

    assert "layers 1 to 3" in refusal(encoder, "--bert-layer", "9", "--dry-run"), "before anything is asked"
    assert "is not a BERT-like encoder" in refusal(checkpoint, "--bert-layer", "2")
    assert "has no config.json" in refusal(tmp_path)
    assert "neither a folder nor a model" in refusal(tmp_path / "missing")
    (tmp_path / "bertscore-1.jsonl").write_text('{"pair": "0"}\n')
    with pytest.raises(InputError, match=r"bertscore-1\.jsonl:1: no score"):
        rationale_bertscore.read_scored(tmp_path / "bertscore-1.jsonl")
