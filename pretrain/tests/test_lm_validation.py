import argparse
import json
import math

import numpy as np
import pytest

from training.lm_validation import Validation, figures, print_validation, roll_up, validation_batches, worsened


def test_validation_reads_each_document_once_and_counts_its_bytes(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [5, 30, 2]})
    batches = list(validation_batches(store, store.documents, length=8, rows=2))
    counts = [row for batch, _ in batches for row in (batch["labels"] != -100).sum(axis=1).tolist()]
    assert counts == [1, 4, 8], "short ones first, so that little is padded"
    assert sum(size for _, size in batches) == pytest.approx(15 * 4 / 5 + 90 * 8 / 30 + 6 * 1 / 2)


def test_validation_counts_marked_tokens_alone(make_store, tmp_path):
    store = make_store(tmp_path, {"en": [5, 4]}, masks={"en": [1, 0, 1, 1, 0, 1, 0, 0, 1]})
    (batch, size), *rest = validation_batches(store, store.documents, length=8, rows=2)
    assert rest == []
    # The tokens are 1 2 3 4 0 and 5 6 7 0; the shorter document comes first.
    assert batch["labels"].tolist() == [[-100, -100, 0, -100], [-100, 3, 4, -100]]
    assert size == pytest.approx(12 * 1 / 4 + 15 * 2 / 5)


def test_languages_are_the_sums_of_their_sources():
    sums = {"fr/web": (20.0, 10.0, 40.0, 2), "fr/textbook": (40.0, 10.0, 30.0, 3), "replay": (5.0, 5.0, 8.0, 1)}
    scores = roll_up(sums | {"zh/web": (0.0, 0.0, 0.0, 4)})
    assert list(scores) == ["fr", "fr/textbook", "fr/web", "replay"]
    assert scores["fr"] == figures(60.0, 20.0, 70.0, 5)
    assert scores["fr"]["loss"] == 3.0 and scores["fr"]["perplexity"] == round(math.exp(3), 3)
    assert scores["fr"]["bits_per_byte"] == round(60 / math.log(2) / 70, 4)


def rows(**values: list[float]) -> list[dict]:
    return [
        {"step": step * 10, "group": group, "bits_per_byte": value}
        for step in range(max(map(len, values.values())))
        for group, series in values.items()
        if step < len(series)
        for value in [series[step]]
    ]


def test_a_group_worse_than_its_best_by_more_than_the_threshold_is_named():
    found = worsened(rows(fr=[2.0, 1.0, 1.01, 1.05], replay=[1.0, 1.1], ru=[1.0, 0.9, 0.91]), 0.02)
    assert [(w["group"], w["step"], w["best"], w["best_step"]) for w in found] == [
        ("replay", 10, 1.0, 0),
        ("fr", 30, 1.0, 10),
    ]
    assert worsened([{"step": s, "group": "fr/web", "bits_per_byte": 1.0 + s} for s in (0, 10)], 0.02) == []


@pytest.fixture
def validation(make_store, tmp_path, monkeypatch):
    """A `Validation` on a group of one process whose figures are given, not computed."""
    import torch.distributed as dist

    from training import lm_validation

    store = make_store(tmp_path / "store", {"fr": [5] * 20})
    held_out = {"fr/web": (store, store.documents)}
    args = argparse.Namespace(out=tmp_path / "out", validate_every=10, validation_warning=0.02)
    asked = []

    def given(engine, held_out, args):
        asked.append(engine)
        return {name: figures(100.0 * engine["worse"], 50, 200, 3) for name in ("fr", "fr/web", "replay")}

    monkeypatch.setattr(lm_validation, "validate", given)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield lambda worse, start: (Validation({"worse": worse}, held_out, args, start), asked)
    dist.destroy_process_group()


def test_figures_are_written_once_and_a_resumed_run_makes_later_ones_anew(validation, tmp_path, capsys):
    path = tmp_path / "out/training/validation.jsonl"
    first, asked = validation(1.0, 0)
    for step in (0, 10, 20):
        first.at(step)
    assert len(asked) == 3 and len(path.read_text().splitlines()) == 9
    assert [first.due(step) for step in (0, 5, 10)] == [True, False, True]
    resumed, asked = validation(1.1, 10)
    resumed.at(10)
    assert len(asked) == 3, "what is on file is not computed again"
    assert capsys.readouterr().out.count("warning") == 0
    resumed.at(20)
    assert len(asked) == 4
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["group"]) for line in lines] == [
        (step, group) for step in (0, 10, 20) for group in ("fr", "fr/web", "replay")
    ]
    assert lines[-1].keys() == {"step", "group", "loss", "perplexity", "bits_per_byte", "documents", "tokens"}
    shown = capsys.readouterr().out
    assert "warning: held-out fr is 10.0 % worse than at its best" in shown and "fr/web" not in shown
    assert "+10.0 %" in shown
    record = resumed.record(20)
    assert record["before"].keys() == record["after"].keys() == {"fr"}
    assert record["groups"]["after"].keys() == {"fr/web", "replay"}
    assert [w["group"] for w in record["warnings"]] == ["fr", "replay"]


def test_the_line_before_and_after_names_languages_only(capsys):
    print_validation("before", roll_up({"fr/web": (20.0, 10.0, 40.0, 2), "fr/book": (40.0, 10.0, 30.0, 3)}))
    assert capsys.readouterr().out == "before: bits per byte on held-out documents: fr 1.237 (n 5)\n"
    print_validation("after", {})
    assert "none held out" in capsys.readouterr().out


def test_scores_of_a_uniform_model_are_the_logarithm_of_its_vocabulary(make_store, tmp_path):
    import torch
    import torch.distributed as dist
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.lm_validation import validate

    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=256, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    torch.nn.init.zeros_(model.lm_head.weight)
    store = make_store(tmp_path, {"en": [5, 9, 40], "fr": [7]})
    group_of = store.group_of(store.documents)
    held_out = {
        name: (store, store.documents.take(np.flatnonzero(group_of == number)))
        for number, name in enumerate(store.group_names)
    }
    args = argparse.Namespace(sequence_length=16, micro_batch_size=2)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        scores = validate(model, held_out, args)
    finally:
        dist.destroy_process_group()
    assert scores.keys() == {"en", "en/web", "fr", "fr/web"}
    assert {row["loss"] for row in scores.values()} == {round(math.log(256), 4)}
    assert {row["perplexity"] for row in scores.values()} == {256.0}
    assert scores["en"]["tokens"] == 4 + 8 + 16 and scores["fr"]["tokens"] == 6
    # 8 bits per token, and 3 bytes a token of text.
    assert scores["en"]["bits_per_byte"] == pytest.approx(8 / 3, abs=1e-3)
