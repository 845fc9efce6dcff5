"""The input of prepare.py (folder, zip, file, hub data set) as a folder; archives are checked before extraction."""

import errno
import lzma
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from run_record import InputError, sha256_of_file
from sources.find_sources import SPLITS, find_sources


def download(repository: str, revision: str) -> tuple[Path, str]:
    """(folder with the repository's data files, the commit they are of). Errors: InputError with what to do."""
    from huggingface_hub import errors, snapshot_download

    wanted = [f"*{suffix}" for suffix in (*DATA_SUFFIXES, ".zip")]
    try:
        folder = snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=wanted)
    except errors.GatedRepoError:
        raise InputError(f"--hub {repository} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"--revision {revision}: --hub {repository} has no such branch, tag or commit") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"--hub {repository}: the hub has no such dataset, or HF_TOKEN may not see it") from None
    except errors.HFValidationError as error:
        raise InputError(f"--hub {repository}: {error}") from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--hub {repository} cannot be downloaded ({reason}); check the network, or download it "
            "elsewhere and give the folder or zip"
        ) from None
    # The hub's cache names a snapshot's folder by its commit.
    return Path(folder), Path(folder).name


# errno of an entry with a name that is too long, or that is both a file and a folder.
BAD_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv")
MAX_BYTES = 4 << 30  # the released benchmark is some 100 MB; a bomb is larger


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the data files of a zip into `folder`; returns how many. Errors: InputError, before anything is written
    for a bad entry."""
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [entry for entry in file.infolist() if _is_wanted(archive, entry)]
            _check_whole(archive, entries)
            for entry in entries:
                target = folder.joinpath(*entry.filename.split("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(entry) as packed, open(target, "wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (*BAD_NAMES, None):
            raise
        raise InputError(f"{archive} cannot be unpacked ({error}); download it again") from None
    return len(entries)


def _is_wanted(archive: Path, entry: zipfile.ZipInfo) -> bool:
    """True for a data file. Errors: InputError for an unsafe entry of any kind."""
    # orig_filename: zipfile cuts `filename` at a NUL.
    name = entry.orig_filename.replace("\\", "/").removeprefix("./")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\x00" in name or ".." in name.split("/"):
        raise InputError(f"{archive}: the entry {name!r} would be unpacked outside the archive's folder; refused")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{archive}: the entry {name!r} is a link or a device, not a file; refused")
    if entry.flag_bits & 1:
        raise InputError(f"{archive}: the entry {name!r} is encrypted; unpack it yourself and give the folder")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    entry.filename = name
    return not entry.is_dir() and not hidden and name.lower().endswith(DATA_SUFFIXES)


def _check_whole(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Errors: InputError for an archive without data, with one name twice, or of too many bytes."""
    if not entries:
        raise InputError(f"{archive} contains no data file ({', '.join(DATA_SUFFIXES)})")
    names = [entry.filename for entry in entries]
    if twice := [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []:
        raise InputError(f"{archive}: the entry {twice[0]!r} occurs twice; refused")
    size = sum(entry.file_size for entry in entries)
    if size > MAX_BYTES:
        raise InputError(
            f"{archive} would unpack to {size} bytes, more than {MAX_BYTES}; unpack it yourself and give the folder"
        )


@dataclass
class Opened:
    """SOURCES as a folder: its root, the only file to read (None: all), and its origin for the manifest."""

    root: Path
    only: Path | None = None
    shown: dict[str, str] = field(default_factory=dict)  # {folder: the name of its archive for messages}
    origin: dict = field(default_factory=dict)


@contextmanager
def opened_sources(given: Path | None, hub: str | None, revision: str) -> Iterator[Opened]:
    """SOURCES, or else --hub, as a folder; archives are unpacked into a temporary folder.

    Errors: InputError, also of the body, with the archive's name in place of the folder it was unpacked in.
    """
    with tempfile.TemporaryDirectory(prefix="mmedbench-") as aside:
        sources = Opened(given) if given else None
        try:
            if not sources:
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
    """Unpack SOURCES if it is a zip, or a folder with zips and without exams."""
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
