"""The bench of checkpoints runs, leaves nothing, and shows both kinds."""

import re

import bench_saving


def test_the_bench_prints_both_kinds_and_leaves_no_file(tmp_path, capsys):
    assert bench_saving.main(["--parameters", "1e6", "--saves", "1", "--steps", "1", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    stalls = re.findall(r"(in the step|in the background) +stall +([\d.]+)", out)
    assert [name for name, _ in stalls] == ["in the step", "in the background"] and "12.0 MB" in out
    assert list(tmp_path.iterdir()) == []
