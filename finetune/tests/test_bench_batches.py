import re

import pytest

import bench_batches
from run_record import InputError


@pytest.mark.slow
def test_the_measurement_runs_and_prints_both_sides(benchmark, capsys):
    command = ["--data", str(benchmark / "Train"), "--languages", "fr", "ru", "--batch-size", "4", "--quick"]
    assert bench_batches.main(command) == 0
    output = capsys.readouterr().out
    assert re.search(r"padding of an epoch in batches of 4: ours [\d.]+%, shuffled [\d.]+%", output)
    assert re.search(r"ours / default: [\d.]+ times the useful tokens/s", output)
    for side in ("ours", "default"):
        assert re.search(rf"{side} +\d+ useful tokens/s \(median; .* CPU seconds for [\d,]+ tokens", output)


def test_what_cannot_be_measured_is_said(benchmark, tmp_path):
    with pytest.raises(InputError, match="do not fill two batches"):
        bench_batches.main(["--data", str(benchmark / "Train"), "--languages", "fr", "--batch-size", "32"])
    with pytest.raises(InputError, match="not a folder"):
        bench_batches.main(["--data", str(tmp_path / "none")])
    with pytest.raises(InputError, match="no question in ja"):
        bench_batches.main(["--data", str(benchmark / "Train"), "--languages", "ja"])
