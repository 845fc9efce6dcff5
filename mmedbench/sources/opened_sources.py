"""What prepare.py is given (a folder, a zip, one file, a dataset of the hub), made into a folder that it can read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from run_record import InputError, sha256_of_file
from sources.find_sources import SPLITS, find_sources
from sources.source_archives import unpack


@dataclass
class Opened:
    """SOURCES as a folder: its root, the one file of it that was given (else None), where archives were unpacked from,
    and what the manifest says of all that."""

    root: Path
    only: Path | None = None
    shown: dict[str, str] = field(default_factory=dict)  # {folder: the archive that a reader knows it by}
    origin: dict = field(default_factory=dict)


@contextmanager
def opened_sources(given: Path | None, hub: str | None, revision: str) -> Iterator[Opened]:
    """SOURCES, or else --hub, as a folder; archives are unpacked aside and removed at the end.

    Errors: InputError, also of the body, with the archive's name in place of the folder it was unpacked in.
    """
    with tempfile.TemporaryDirectory(prefix="mmedbench-") as aside:
        sources = Opened(given) if given else None
        try:
            if not sources:
                from sources.hub_download import download

                folder, commit = download(hub, revision)
                print(f"--hub {hub}: commit {commit}")
                sources = Opened(folder, origin={"hub": hub, "commit": commit})
                sources.shown[str(folder)] = f"{hub}@{commit[:12]}"
            elif sources.root.is_file() and sources.root.suffix.lower() != ".zip":
                # One file: its folder is the root, or the folder above a Train/, Dev/ or Test/.
                up = sources.root.parent.parent if sources.root.parent.name in SPLITS else sources.root.parent
                sources = Opened(up, only=sources.root)
            unpack_archives(sources, Path(aside))
            yield sources
        except InputError as error:
            message = str(error)
            for folder, name in (sources.shown if sources else {}).items():
                message = message.replace(folder, name)
            raise InputError(message) from None


def unpack_archives(sources: Opened, aside: Path) -> None:
    """Turn to the unpacked copy where SOURCES is a zip, or a folder without any exam but with zips in it."""
    root = sources.root
    if root.is_file():
        archives = [root]
    elif sources.only or not root.is_dir() or find_sources(root)[0]:
        return
    else:
        archives = sorted(path for path in root.glob("*.zip") if path.is_file())
    for archive in archives:
        folder = aside / archive.stem if len(archives) > 1 else aside
        sources.shown[str(folder)] = str(archive)
        print(f"{archive}: {unpack(archive, folder)} data files")
        described = {archive.name: {"bytes": archive.stat().st_size, "sha256": sha256_of_file(archive)}}
        sources.origin.setdefault("archives", {}).update(described)
        sources.root = aside
