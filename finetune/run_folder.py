"""The output folder of a fine-tuning: held by one run at a time, and filled with what evaluation needs."""

import argparse
import fcntl
import shutil
from pathlib import Path

from finetune_record import InputError, describe_files, write_json
from prompt_file import FILES, Prompt


def lock_run(out: Path):
    """Hold <out>/training/.lock: a second run would clear this one's unfinished checkpoint. Errors: InputError."""
    (out / "training").mkdir(parents=True, exist_ok=True)
    file = open(out / "training" / ".lock", "w")  # noqa: SIM115 (held open for the run's life)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"another run is writing to {out}; wait for it, stop it, or give another --out") from None
    return file


def save(model, tokenizer, prompt: Prompt, args: argparse.Namespace) -> None:
    """The finished folder, but for run.json: weights in safetensors, tokenizer, prompt."""
    if not args.lora:
        model.config.use_cache = True
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    copy_prompt(prompt, args.out / "prompt")
    for path in args.out.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes them readable by the owner alone


def copy_prompt(prompt: Prompt, folder: Path) -> None:
    """The prompt folder as it was used: evaluation knows of nothing else."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(prompt.folder / name, folder / name)
    if prompt.chat_template != prompt.settings.get("chat_template", False):
        write_json(folder / "prompt.json", prompt.settings | {"chat_template": prompt.chat_template})


def finished_files(out: Path) -> dict[str, dict]:
    """What run.json says of the folder's files."""
    files = [p for p in out.rglob("*") if p.is_file() and "training" not in p.parts and p.name != "run.json"]
    return describe_files(out, files)
