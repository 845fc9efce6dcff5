import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import complete_checkpoints, current_checkpoint, lock_run
from pretrain_record import InputError, write_json

STAGE = Path(__file__).parents[1]


def make(folder: Path, step: int, complete: bool = True) -> None:
    target = folder / "checkpoints" / f"step-{step:08d}"
    target.mkdir(parents=True)
    (target / "weights.pt").write_bytes(b"x")
    if complete:
        write_json(target / "complete.json", {"step": step})


def test_a_checkpoint_without_its_mark_counts_for_nothing(tmp_path):
    assert current_checkpoint(tmp_path) is None
    make(tmp_path, 20)
    make(tmp_path, 100)
    make(tmp_path, 120, complete=False)
    assert complete_checkpoints(tmp_path) == [20, 100]
    assert current_checkpoint(tmp_path) == 100


def test_a_second_run_on_one_folder_is_refused_until_the_first_is_gone(tmp_path):
    program = f"""
import sys
from pathlib import Path
from checkpoints import lock_run
lock = lock_run(Path({str(tmp_path)!r}), 0)
print("held", flush=True)
sys.stdin.read()
"""
    # Started in the stage, whose folder `python -c` then finds its modules in.
    holder = subprocess.Popen(
        [sys.executable, "-c", program], cwd=STAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another run is writing"):
        lock_run(tmp_path, 0)
    assert lock_run(tmp_path, 1) is None, "only rank 0 holds the lock"
    holder.kill()
    holder.wait()
    lock_run(tmp_path, 0).close()
