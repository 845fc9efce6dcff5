"""Checkpoints that are whole or count for nothing.

<out>/training/checkpoint-100/                 the Trainer's and DeepSpeed's files of every rank
<out>/training/checkpoint-100/complete.json    written last: the size of every file, and the SHA-256 of those up to
                                               256 MiB (hashing an optimizer of 100 GB would stop the GPUs for minutes)

The Trainer takes the newest folder there is, also one cut off in its save, and then stumbles over it.
"""

import json
import shutil
from pathlib import Path

from run_record import InputError, read_json, sha256_of_file, write_json

HASHED_BYTES = 256 << 20


def facts_of(path: Path) -> dict:
    size = path.stat().st_size
    return {"bytes": size} | ({"sha256": sha256_of_file(path)} if size <= HASHED_BYTES else {})


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def mark_complete(folder: Path, step: int, keep: int) -> None:
    """Called by one rank when all have written: mark the checkpoint, then remove all but the `keep` newest."""
    checkpoint = folder / f"checkpoint-{step}"
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != "complete.json")
    write_json(checkpoint / "complete.json", {p.relative_to(checkpoint).as_posix(): facts_of(p) for p in files})
    marked = sorted((path.parent for path in folder.glob("checkpoint-*/complete.json")), key=step_of)
    for old in marked[: -max(1, keep)]:
        shutil.rmtree(old)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None when it is whole."""
    try:
        files = read_json(checkpoint / "complete.json")
    except InputError:
        return "it was cut off in its save"
    for name, facts in files.items():
        path = checkpoint / name
        if not path.exists() or path.stat().st_size != facts["bytes"]:
            return f"{name} is missing or has another size"
        if "sha256" in facts and sha256_of_file(path) != facts["sha256"]:
            return f"{name} has other content than was written"
    return None


def newest_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; newer ones that are not whole are named and removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        wrong = damage(checkpoint)
        if wrong is None:
            return str(checkpoint)
        print(f"{checkpoint} is passed over and removed: {wrong}", flush=True)
        shutil.rmtree(checkpoint)
    return None


def forget_metrics_after(metrics: Path, step: int) -> None:
    """Drop the lines of steps that will be done again, and a last line cut off by a kill."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").split("\n")[:-1]:
        if json.loads(line)["step"] <= step:
            kept.append(line + "\n")
    aside = metrics.with_suffix(".tmp")
    aside.write_text("".join(kept), encoding="utf-8")
    aside.replace(metrics)
