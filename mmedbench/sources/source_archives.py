"""Sources that come in a zip: looked through before a byte is written, then unpacked where nothing else lies.

An archive is refused, with a sentence that names the entry, when an entry would land outside (.., an absolute path, a
drive), is a link or a device, is encrypted, stands twice, or when the whole is larger than MOST_BYTES.
"""

import errno
import lzma
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from run_record import InputError

# What the system says of an entry whose name is too long, or is a file here and a folder there.
BAD_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv")
MOST_BYTES = 4 << 30  # the released benchmark is some 100 MB; a bomb is larger


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
    """True for a data file. Errors: InputError for an entry that no honest archive has, wanted or not."""
    # orig_filename: zipfile cuts `filename` at a NUL, and so would hide what follows.
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
        raise InputError(f"{archive} holds no data file ({', '.join(DATA_SUFFIXES)})")
    names = [entry.filename for entry in entries]
    if twice := [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []:
        raise InputError(f"{archive}: the entry {twice[0]!r} stands twice; refused")
    size = sum(entry.file_size for entry in entries)
    if size > MOST_BYTES:
        raise InputError(
            f"{archive} would unpack to {size} bytes, more than {MOST_BYTES}; unpack it yourself and give the folder"
        )
