"""A fine-tuning run: the signals that stop it, and its output folder (lock, checkpoints, files for evaluation)."""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from prompt_folder import FILES, Prompt
from run_record import InputError, describe_files, finished_record, read_json, sha256_of_file, write_json

HASHED_BYTES = 256 << 20
_stop_requested = False


def _request_stop(_signal, _frame) -> None:
    global _stop_requested
    _stop_requested = True


def catch_stop_signals() -> None:
    """From now on SIGUSR1 and SIGTERM set a flag, so that the run can checkpoint."""
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, _request_stop)
    if "RANK" in os.environ and sys.platform == "linux":
        # If torchrun is killed, its ranks get SIGTERM: they checkpoint and stop instead of running without it.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop_requested() -> bool:
    return _stop_requested


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
        print(f"{checkpoint} is skipped and removed: {wrong}", flush=True)
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


def lock_run(out: Path, patience_seconds: float = 1200):
    """Hold <out>/training/.lock: a second run would clear this one's unfinished checkpoint. Errors: InputError.

    A job that Slurm has queued again waits so long for its own earlier start, which may go on for a while, or to its
    end, on a node that was cut off.
    """
    (out / "training").mkdir(parents=True, exist_ok=True)
    file = open(out / "training" / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
    deadline = time.monotonic() + (patience_seconds if int(os.environ.get("SLURM_RESTART_COUNT") or 0) else 0)
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise InputError(
                    f"another run is writing to {out}; wait for it, stop it, or use another --out"
                ) from None
        if not told:
            print(f"another run is writing to {out}; this start of the job waits until it has ended", flush=True)
        told = True
        time.sleep(1)


def begin_run(out: Path, arguments: dict, inputs: dict):
    """Hold the folder, and note what it is going to be built from, so that no other run resumes from its checkpoints.

    A note without a checkpoint beside it is not binding: a run that failed at its start can be tried otherwise.
    Returns the lock. Errors: InputError.
    """
    lock = lock_run(out)
    making = out / "training/making.json"
    if not any(out.glob("training/checkpoint-*/complete.json")):
        making.unlink(missing_ok=True)
        for old in out.glob("training/best-*"):
            shutil.rmtree(old)
    if not finished_record(making, arguments, inputs):
        write_json(making, {"arguments": arguments, "inputs": inputs})
    return lock


def write_model(trainer, folder: Path) -> None:
    """The weights as safetensors: the adapter, or the whole model in its base's precision.

    All ranks call it together (under ZeRO 3 each contains a part); the first one writes.
    """
    state = gathered_weights(trainer)
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    adapter = hasattr(model, "peft_config")
    stored = None if adapter else getattr(model, "stored_dtype", None)
    if stored is not None:
        state = cast_weights(state if state is not None else model.state_dict(), stored)
    folder.mkdir(parents=True, exist_ok=True)
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=state)
    model.config.use_cache = False
    if stored is not None:
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", config | {"dtype": str(stored).removeprefix("torch.")})
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes them readable by the owner alone


def gathered_weights(trainer) -> dict | None:
    """The whole weights on the first rank where DeepSpeed holds them; None where the model has them itself."""
    if not trainer.is_deepspeed_enabled:
        return None
    engine = trainer.model_wrapped
    if engine.zero_optimization_stage() == 3 and hasattr(trainer.model, "peft_config"):
        # The library's public way would gather the frozen model too.
        return engine._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=True)
    return trainer.accelerator.get_state_dict(engine)


def cast_weights(state: dict, dtype) -> dict:
    """Floating-point weights in another precision, on the CPU; tensors that share memory still do."""
    done: dict[int, object] = {}
    return {
        name: done.setdefault(tensor.data_ptr(), tensor.to("cpu", dtype)) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def finish_model(trainer, tokenizer, prompt: Prompt, best: Path | None, out: Path) -> None:
    """The finished folder, but for run.json: the best weights or else the last, tokenizer, prompt. All ranks."""
    if best is None:
        write_model(trainer, out)
    if not trainer.is_world_process_zero():
        return
    if best is not None:
        for path in best.iterdir():
            if path.name != "validation.json":
                shutil.copyfile(path, out / path.name)
    tokenizer.save_pretrained(out)
    copy_prompt(prompt, out / "prompt")


def copy_prompt(prompt: Prompt, folder: Path) -> None:
    """The prompt folder as it was used: evaluation knows of nothing else."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(prompt.folder / name, folder / name)
    if prompt.chat_template != prompt.settings.get("chat_template", False):
        write_json(folder / "prompt.json", prompt.settings | {"chat_template": prompt.chat_template})


def finished_files(out: Path) -> dict[str, dict]:
    """What run.json says of the folder's files; the card is omitted, because scores are put into it later."""
    aside = (out / "training", out / "merged", out / "run.json", out / "README.md")
    files = [p for p in out.rglob("*") if p.is_file() and not any(p.is_relative_to(other) for other in aside)]
    return describe_files(out, files)
