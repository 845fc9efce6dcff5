"""By which of its files a model is known: what changes its answers changes these, or the run is another."""

from pathlib import Path

from local_model.local_model import find_base, model_fingerprint
from run_record import InputError, sha256_of_file

# What decides answers beside the weights: tokenizer, chat template, generation settings, code of the model's own.
SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt", "*.py")


def known_by(model: str) -> dict[str, str]:
    """{file: SHA-256} of a model folder, `{"hub": name}` of a hub name.

    A checkpoint of this project is known by its run.json, which holds the SHA-256 of every file; any other folder by
    its weights and settings, an adapter also by those of its base.
    Errors: InputError for a folder without weights in safetensors.
    """
    known = model_fingerprint(model)
    folder = Path(model)
    if "hub" in known or "run.json" in known:
        return known
    known |= settings_of(folder)
    if "adapter_config.json" in known:
        base = find_base(folder)
        known |= {f"base {name}": value for name, value in known_by(base).items()}
    return dict(sorted(known.items()))


def settings_of(folder: Path) -> dict[str, str]:
    """{file: SHA-256} of a model folder's settings without its weights; {} of what is not a folder."""
    paths = {path for pattern in SETTINGS for path in folder.glob(pattern)} if folder.is_dir() else set()
    return {path.name: sha256_of_file(path) for path in sorted(paths) if path.name != "run.json"}


def served_by(model: str) -> dict[str, str]:
    """The same of the folder that a server was started from; {} where the name is not a folder with a model in it."""
    try:
        return known_by(model) if Path(model).is_dir() else {}
    except InputError:
        return {}
