"""Checkpoints that are whole or not there, one writer a run, and the exported model.

<out>/training/checkpoints/step-00000100/   DeepSpeed's files of every rank
<out>/training/checkpoints/step-00000100/complete.json   written last: without it the folder counts for nothing

DeepSpeed writes its own `latest` before all ranks have finished [read in its source, and seen: a rank killed in its
save leaves `latest` on a broken checkpoint], so that file is not used here.
"""

import fcntl
import shutil
from pathlib import Path

from pretrain_record import InputError, read_json, write_json


def lock_run(out: Path, rank: int):
    """Hold <out>/training/.lock while this run lives; a second run on the same folder is refused.

    Returns the open file on rank 0 (the lock goes with the process, also when it is killed), None on the others.
    """
    if rank != 0:
        return None
    (out / "training").mkdir(parents=True, exist_ok=True)
    file = open(out / "training" / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"another run is writing to {out}; wait for it, stop it, or give another --out") from None
    return file


def complete_checkpoints(folder: Path) -> list[int]:
    """Steps of the complete checkpoints under <folder>/checkpoints, oldest first."""
    return sorted(
        int(path.parent.name.removeprefix("step-")) for path in folder.glob("checkpoints/step-*/complete.json")
    )


def current_checkpoint(folder: Path) -> int | None:
    """The step of the newest complete checkpoint, or None."""
    steps = complete_checkpoints(folder)
    return read_json(folder / "checkpoints" / f"step-{steps[-1]:08d}" / "complete.json")["step"] if steps else None


def save_checkpoint(engine, folder: Path, step: int, keep: int) -> None:
    """Save on all ranks; then rank 0 marks it complete and removes all but the `keep` newest.

    A folder of an earlier try without its mark is removed first, so that no file of it is left inside.
    """
    import torch.distributed as dist

    target = folder / "checkpoints" / f"step-{step:08d}"
    if dist.get_rank() == 0 and target.exists():
        shutil.rmtree(target)
    dist.barrier()
    engine.save_checkpoint(str(folder / "checkpoints"), tag=target.name, save_latest=False)
    dist.barrier()
    if dist.get_rank() != 0:
        return
    write_json(target / "complete.json", {"step": step, "world_size": dist.get_world_size()})
    complete = {f"step-{s:08d}" for s in complete_checkpoints(folder)[-keep:]}
    for path in (folder / "checkpoints").glob("step-*"):
        if path.name not in complete:
            # The mark goes first: a removal that is cut off must not leave a marked half.
            (path / "complete.json").unlink(missing_ok=True)
            shutil.rmtree(path)


def save_model(engine, tokenizer, out: Path) -> None:
    """Write the Hugging Face folder (safetensors, config, tokenizer). All ranks call it; rank 0 writes."""
    import torch.distributed as dist

    if engine.zero_optimization_stage() == 3:
        weights = engine._zero3_consolidated_16bit_state_dict()
    else:
        weights = engine.module.state_dict()
    if dist.get_rank() == 0:
        model = engine.module
        model.config.use_cache = True
        model.save_pretrained(out, state_dict=weights)
        model.config.use_cache = False
        tokenizer.save_pretrained(out)
        for path in out.glob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes them readable by the owner alone
    dist.barrier()
