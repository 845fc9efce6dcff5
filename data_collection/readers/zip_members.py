"""The files inside a zip, read without unpacking it; archives that mean harm are refused before anything is read.

Refused with a sentence: members whose path leaves the folder (absolute, `..`, a drive's letter, a backslash), links,
members of over 10 MB that say they are over 200 times their stored size, and members that share their bytes (both are
bombs). What a member says of its size and checksum is held against what is read. Example:

    python -c "import zip_members as z; from pathlib import Path; print(z.members_of(Path('MMedC.zip'))[:3])"
"""

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from run_record import InputError

MAX_RATIO = 200  # bytes read of one stored; text is packed to a third or a tenth, deflate can go up to 1032
RATIO_COUNTS_FROM = 10_000_000  # bytes: below this a member is harmless at any compression ratio


def members_of(path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive, by name. Errors: InputError for one that is damaged or means harm."""
    with open_zip(path) as archive:
        members = sorted((m for m in archive.infolist() if not m.is_dir()), key=lambda m: m.filename)
        compressed = sum(member.compress_size for member in members)
    seen: set[str] = set()
    for member in members:
        name = member.orig_filename  # zipfile's filename is cut at a zero byte
        if (
            name.startswith("/")
            or "\\" in name
            or ":" in name.split("/")[0]
            or "\x00" in name
            or any(part in ("..", "") for part in name.split("/"))
        ):
            raise InputError(
                f"{path}: its member {name!r} has a path that leaves the archive's folder; refused whole: "
                "look at where it came from"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path}: its member {name!r} is a link; refused whole: pack the files themselves")
        if name in seen:
            raise InputError(f"{path}: two members are called {name!r}; pack it again with one of them")
        seen.add(name)
        if member.file_size > max(RATIO_COUNTS_FROM, MAX_RATIO * member.compress_size):
            raise InputError(
                f"{path}: its member {name!r} says that {member.compress_size} bytes become "
                f"{member.file_size}: a zip bomb, or no text; refused whole"
            )
    if compressed > path.stat().st_size:
        raise InputError(
            f"{path}: its members share their bytes (they say {compressed} together, the file has "
            f"{path.stat().st_size}): a zip bomb; refused whole"
        )
    return members


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The open archive.

    Errors: InputError for a file that is not a whole zip, or a zip of a version that zipfile does not read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError(f"{path}: not a whole zip ({error}); download or pack it again") from None
    with archive:
        yield archive
