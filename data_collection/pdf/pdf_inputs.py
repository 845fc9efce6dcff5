"""What `ocr.py` is given: PDFs, which of them a shard reads, languages, passwords.

A password file has a line per password, `relative/path.pdf<TAB>password`, or `*<TAB>password` for every PDF:

    anatomy/atlas.pdf	open sesame
    *	library2024
"""

import os
from pathlib import Path

from filtering.keyword_match import LANGUAGES
from readers.document_files import InputFile, fingerprint
from run_record import InputError

AUTO = "auto"


def choose_languages(given: list[str]) -> tuple[str, ...]:
    """Codes, each once and in a fixed order, or ("auto",). given: words of the command line, commas part them too."""
    codes = [code for word in given for code in word.split(",") if code]
    if unknown := [code for code in codes if code not in (AUTO, *LANGUAGES)]:
        raise InputError(
            f"--language {unknown[0]}: give auto, or some of {' '.join(LANGUAGES)} (and the PDFs before --language)"
        )
    return (AUTO,) if AUTO in codes or not codes else tuple(code for code in LANGUAGES if code in codes)


def find_pdfs(source: Path) -> tuple[Path, dict[str, Path]]:
    """(the folder that names are relative to, {name: path} in order of the names); a single PDF is taken as well.

    Errors: InputError where there is none.
    """
    if source.is_file():
        return source.parent, {printable(source.name): source}
    if not source.is_dir():
        raise InputError(f"{source} does not exist; give a PDF or a folder of PDFs")
    # A broken link counts as a PDF that cannot be read: nobody shall miss it unawares.
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() == ".pdf" and (p.is_file() or _is_broken_link(p)))
    if not paths:
        raise InputError(f"{source} holds no file ending in .pdf")
    found: dict[str, Path] = {}
    for path in paths:
        name = printable(path.relative_to(source).as_posix())
        while name in found:  # two names that are not UTF-8 may look alike
            name += "'"
        found[name] = path
    return source, found


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def printable(name: str) -> str:
    """A file's name as UTF-8 can hold it: file systems allow names in any bytes."""
    return os.fsencode(name).decode("utf-8", "replace")


def describe_pdfs(pdfs: dict[str, Path]) -> dict[str, dict]:
    """{name: size and checksum of both ends}: what tells one input from another, in a moment whatever the sizes."""
    described = {}
    for name, path in pdfs.items():
        try:
            described[name] = fingerprint(InputFile(name, str(path), path.stat().st_size))
        except OSError as error:
            described[name] = {"unreadable": error.strerror}
    return described


class Passwords:
    """The passwords of a file, which are told to nobody; `named` says for what there are some."""

    def __init__(self, path: Path | None):
        self._of: dict[str, list[str]] = {}
        for number, line in enumerate(_lines(path) if path else (), 1):
            name, tab, password = line.partition("\t")
            if not line.strip():
                continue
            if not (tab and name and password):
                raise InputError(f"{path}:{number}: expected a PDF's path (or *), a tab and a password")
            self._of.setdefault(name, []).append(password)
        self.named = sorted(self._of)

    def for_pdf(self, name: str) -> tuple[str, ...]:
        return (*self._of.get(name, ()), *self._of.get("*", ()))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the passwords in {path}: {error}") from None
