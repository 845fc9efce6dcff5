import json

import pytest

import loss_picture
from run_record import InputError


def test_a_run_is_drawn_with_its_skips_and_languages(tmp_path):
    training = tmp_path / "training"
    training.mkdir()
    rows = [{"step": s, "loss": 9 / s, "learning_rate": 0.1} for s in range(1, 30)]
    rows[7] |= {"loss": None, "skipped": True}
    # The last line was cut off by a kill.
    (training / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 30, "lo')
    scores = [{"step": s, "group": g, "bits_per_byte": 1.5} for s in (0, 20) for g in ("fr", "fr/web", "zz-language")]
    (training / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    assert loss_picture.main([str(tmp_path), "--dry-run"]) == 0 and not (training / "loss.png").exists()
    assert loss_picture.main([str(tmp_path)]) == 0
    assert (training / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert loss_picture.read_validation(training / "validation.jsonl").keys() == {"fr", "zz-language"}
    assert not list(training.glob(".loss*"))


def test_the_smoothed_curve_has_no_lag_and_keeps_a_level():
    assert loss_picture.smooth([2.0] * 100) == pytest.approx([2.0] * 100)
    line = loss_picture.smooth([float(i) for i in range(201)])
    assert line[100] == pytest.approx(100.0)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no metrics\.jsonl"):
        loss_picture.main([str(tmp_path)])
