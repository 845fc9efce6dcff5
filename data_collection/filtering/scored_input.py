"""An output of `filter.py` as the input of another run of it, which decides again from the scores."""

from pathlib import Path

from readers.document_files import InputFile
from run_record import InputError, read_json

STAGE = "data_collection/filter.py"
FORMAT_VERSION = 2


def scored_files(folder: Path, rule: str, thresholds: dict[str, tuple[int, float]]) -> list[InputFile]:
    """The files of a finished output that hold documents: kept, in another language, rejected.

    Errors: InputError where it is no finished output, was made by another rule, or may lack documents that these
    thresholds keep.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise InputError(f"--from-scores: {folder} has no manifest.json; give a finished output of filter.py")
    manifest = read_json(path)
    if manifest.get("stage") != STAGE or manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"--from-scores: {path} is of {manifest.get('stage')!r}, format_version "
            f"{manifest.get('format_version')!r}; give an output of this filter.py"
        )
    if manifest["arguments"]["rule"] != rule:
        raise InputError(
            f"--from-scores: {folder} was scored by the rule {manifest['arguments']['rule']!r}; "
            f"give --rule {manifest['arguments']['rule']}"
        )
    if not manifest["arguments"]["keep_rejected"]:
        for language in manifest["counts"]:
            before, now = manifest["inputs"]["thresholds"].get(language), thresholds.get(language)
            if now is not None and (now[0] < before[0] or now[1] < before[1]):
                raise InputError(
                    f"--from-scores: the thresholds of {language}, {now[0]} keywords and {now[1]}, are "
                    f"looser than those of {folder}, {before[0]} and {before[1]}, and what it rejected "
                    "is not there; filter the web text again, best with --keep-rejected"
                )
    names = [name for name in manifest["files"] if name.endswith(".parquet") and not name.startswith("scores/")]
    if not names:
        raise InputError(f"--from-scores: {folder} holds no documents")
    if missing := [name for name in names if not (folder / name).exists()]:
        raise InputError(f"--from-scores: {folder / missing[0]} is missing; make {folder} again")
    return [InputFile(name, str(folder / name), (folder / name).stat().st_size) for name in sorted(names)]
