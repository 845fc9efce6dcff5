"""Find and open document files: parquet, JSON lines (plain, .gz, .zst) and text files, local or on the hub.

`read_batches` streams a whole parquet or JSON lines file with every column as it came. JSON lines are read twice: once
for the columns' types (a column of mixed or nested values becomes JSON text), once for the rows, so that memory stays
bounded. (`filter.py` reads only some columns: document_chunks.py.)

On the Hugging Face hub a configuration of a data set names its files; parts of them are requested as needed.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from run_record import InputError

TABLES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
SUFFIXES = (*TABLES, ".txt")
HUB_SUFFIXES = (*TABLES, ".json", ".json.gz", ".json.zst")  # of .json files on the hub each line is a document
BATCH_ROWS = 1000
# What this stage writes beside documents.
OWN_LISTS = ("failures.jsonl", "removed.jsonl", "left_out.jsonl", "cut.jsonl")
END_BYTES = 65_536


class InputFile(NamedTuple):
    """One file of documents."""

    name: str  # its path below the input folder
    place: str  # where to open it: a path, or an address on the hub (https://...)
    size: int  # bytes

    @property
    def on_hub(self) -> bool:
        return "://" in self.place


def list_document_files(source: Path, suffixes: tuple[str, ...] = TABLES) -> list[Path]:
    """The document files of a folder (or the one file given), sorted; InputError where there are none."""
    if source.is_file():
        if not source.name.endswith(suffixes):
            raise InputError(f"{source} is none of {', '.join(suffixes)}")
        return [source]
    if not source.is_dir():
        raise InputError(f"{source} does not exist; give a file or a folder of {', '.join(suffixes)}")
    found = sorted(p for p in files_below(source) if p.name.endswith(suffixes) and p.name not in OWN_LISTS)
    if not found:
        raise InputError(f"{source} contains no documents; expected files ending in {', '.join(suffixes)}")
    for path in found:
        if not path.is_file():
            raise InputError(f"{path} is a link to nothing, or no file; remove it")
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"{str(path)!a}: a name that is not UTF-8; rename the file or its folder") from None
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, those in linked folders too. Errors: InputError for a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); it, or what it links to, is in the way")

    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        for name in folders:
            link = Path(here, name)
            if link.is_symlink() and link.resolve() in (Path(here).resolve(), *Path(here).resolve().parents):
                raise InputError(f"{link} links to a folder that it lies in; remove it")
        yield from (Path(here, name) for name in names)


def input_files(source: Path) -> list[InputFile]:
    """The document files of a folder, or the one file given, text files too. Errors: see `list_document_files`."""
    root = source if source.is_dir() else source.parent
    return [
        InputFile(path.relative_to(root).as_posix(), str(path), path.stat().st_size)
        for path in list_document_files(source, SUFFIXES)
    ]


def is_json_lines(name: str) -> bool:
    return name.endswith(HUB_SUFFIXES) and not name.endswith(".parquet")


def document_stem(path: Path) -> str:
    """A document file's name without its (double) suffix: `en.jsonl.gz` -> `en`."""
    return next(
        (
            path.name[: -len(suffix)]
            for suffix in sorted({*SUFFIXES, *HUB_SUFFIXES}, key=len, reverse=True)
            if path.name.endswith(suffix)
        ),
        path.name,
    )


def fingerprint(file: InputFile) -> dict:
    """{bytes, sha256_of_ends}: what tells one input from another before it is read, in a moment whatever its size.

    The ends are the first and the last 64 KiB; a parquet file's end tells the place and size of all it holds.
    """
    digest = hashlib.sha256()
    try:
        with open(file.place, "rb") as content:
            digest.update(content.read(END_BYTES))
            content.seek(max(0, file.size - END_BYTES))
            digest.update(content.read(END_BYTES))
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read ({error.strerror}); make it readable or take it away") from None
    return {"bytes": file.size, "sha256_of_ends": digest.hexdigest()}


@contextlib.contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Errors of reading a file become an InputError that names it."""
    import pyarrow

    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pyarrow.ArrowException, _zstd_error()) as error:
        raise InputError(f"{name}: damaged or cut short ({' '.join(str(error).split())[:200]})") from None


def open_bytes(file: InputFile, glance: bool = False) -> io.BufferedIOBase:
    if file.on_hub:
        return io.BufferedReader(HubReader(file.place, file.size, glance), 1 << 18)
    return open(file.place, "rb")


def open_parquet(file: InputFile, buffer_bytes: int = 0):
    """A pyarrow ParquetFile; with buffer_bytes columns are read in such pieces, not a whole row group's at once.

    Without, of a file on the hub the footer alone is wanted.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        source = file.place
        if file.on_hub:
            source = pyarrow.PythonFile(HubReader(file.place, file.size, glance=not buffer_bytes), "r")
        return pyarrow.parquet.ParquetFile(source, buffer_size=buffer_bytes, pre_buffer=False)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{file.name}: not a whole parquet file ({' '.join(str(error).split())[:200]})") from None


def column_names(path: Path) -> list[str]:
    """The file's columns, from the parquet footer or the first JSON line. Errors: InputError for an unreadable file."""
    if path.suffix == ".parquet":
        return _open_parquet(path).schema_arrow.names
    try:
        with _open_text(path) as lines:
            first = next((line for line in lines if line.strip()), "{}")
        row = json.loads(first)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError, _zstd_error()) as error:
        raise InputError(f"{path}:1: not readable as JSON lines ({error})") from None
    return list(row) if isinstance(row, dict) else []


def read_batches(path: Path, report: Callable[[str], None] = lambda reason: None) -> Iterator:
    """Yield pyarrow.RecordBatch of at most 1,000 rows.

    report: called with a sentence for every JSON line that is none (the line is omitted, the rest is read).
    Errors: InputError for a file that is truncated or damaged; batches before the damage have been yielded.
    """
    import pyarrow

    try:
        if path.suffix == ".parquet":
            yield from _open_parquet(path).iter_batches(batch_size=BATCH_ROWS)
        else:
            yield from _read_json_lines(path, report)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pyarrow.ArrowException, _zstd_error()) as error:
        raise InputError(f"{path}: damaged or cut short ({' '.join(str(error).split())[:200]})") from None


def _open_parquet(path: Path):
    return open_parquet(InputFile(str(path), str(path), 0))


def _zstd_error() -> type[Exception]:
    import zstandard

    return zstandard.ZstdError


def _open_text(path: Path) -> io.TextIOBase:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    if path.name.endswith(".zst"):
        import zstandard

        return zstandard.open(path, "rt", encoding="utf-8", newline="\n")
    return open(path, encoding="utf-8", newline="\n")


def _read_json_lines(path: Path, report: Callable[[str], None]) -> Iterator:
    import pyarrow

    types = JsonTypes()
    for row in _rows(path, report):
        types.add(row)
    schema = types.schema()
    waiting: list[dict] = []
    for row in _rows(path, lambda reason: None):
        waiting.append(types.fit(row))
        if len(waiting) == BATCH_ROWS:
            yield pyarrow.RecordBatch.from_pylist(waiting, schema=schema)
            waiting = []
    if waiting:
        yield pyarrow.RecordBatch.from_pylist(waiting, schema=schema)


def _rows(path: Path, report: Callable[[str], None]) -> Iterator[dict]:
    with _open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                report(f"{path.name}:{number}: not JSON ({error})")
                continue
            if isinstance(row, dict):
                yield row
            else:
                report(f"{path.name}:{number}: not a JSON object")


class JsonTypes:
    """Arrow types for JSON rows: a column of mixed or nested values, or of integers over 64 bits, is JSON text."""

    def __init__(self) -> None:
        self.found: dict[str, set] = {}

    def add(self, row: dict) -> None:
        for name, value in row.items():
            kinds = self.found.setdefault(name, set())
            if value is not None:
                kinds.add("large" if type(value) is int and not -(2**63) <= value < 2**63 else type(value))

    def schema(self):
        import pyarrow

        arrow = {
            frozenset({bool}): pyarrow.bool_(),
            frozenset({int}): pyarrow.int64(),
            frozenset({float}): pyarrow.float64(),
            frozenset({int, float}): pyarrow.float64(),
        }
        return pyarrow.schema(
            [(name, arrow.get(frozenset(kinds), pyarrow.string())) for name, kinds in self.found.items()]
        )

    def fit(self, row: dict) -> dict:
        """A row with every column, its values as the types want them."""
        return {name: self._fit(row.get(name), kinds) for name, kinds in self.found.items()}

    @staticmethod
    def _fit(value, kinds: set):
        if value is None or kinds in ({bool}, {int}, {float}, {int, float}):
            return value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        return text.encode("utf-8", "replace").decode("utf-8")  # JSON can hold halves of a character, Arrow cannot


# The Hugging Face hub

HUB_RETRIES = int(os.environ.get("HUB_RETRIES", "8"))  # waits of 1, 2, 4, 8, 8 ... seconds
BLOCK_BYTES = 8_000_000  # of one request
GLANCE_BYTES = 500_000  # where a file is only planned: of a data set of thousands every shard looks at every one
BLOCKS_KEPT = 4
BUSY = (429, 500, 502, 503, 504)  # HTTP answers after which to ask again


class HubUnreachable(Exception):
    """The hub did not answer, whatever was tried: no fault of the file, so the run stops and can go on later."""


class HubFiles(NamedTuple):
    commit: str
    files: list[InputFile]


def find_hub_files(repository: str, configuration: str | None, split: str, revision: str) -> HubFiles:
    """The files of one split. Errors: InputError naming what the hub says is there, and what to do."""
    from huggingface_hub import HfApi, errors, hf_hub_url

    api = HfApi()
    try:
        commit = _retried(lambda: api.dataset_info(repository, revision=revision).sha)
        addresses = _retried(lambda: _addresses(repository, configuration, split, commit))
        names = [address.split(f"@{commit}/", 1)[-1] for address in addresses]
        sizes = {
            entry.path: entry.size
            for start in range(0, len(names), 500)
            for entry in _retried(
                lambda some=names[start : start + 500]: api.get_paths_info(
                    repository, some, repo_type="dataset", revision=commit
                )
            )
        }
    except errors.GatedRepoError:
        raise InputError(f"--hub {repository} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"--revision {revision}: --hub {repository} has no such branch, tag or commit") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"--hub {repository}: the hub has no such data set, or HF_TOKEN may not see it") from None
    except errors.HFValidationError as error:
        raise InputError(f"--hub {repository}: {error}") from None
    except (errors.HfHubHTTPError, OSError, *_network_errors()) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--hub {repository} cannot be read ({reason}); look at the network and run the same "
            "command again, or download the files and give their folder"
        ) from None
    if wrong := [name for name in names if not name.endswith(HUB_SUFFIXES)]:
        raise InputError(f"--hub {repository}: {wrong[0]} is none of {', '.join(HUB_SUFFIXES)}; convert it first")
    files = [
        InputFile(name, hf_hub_url(repository, name, repo_type="dataset", revision=commit), sizes[name])
        for name in sorted(names)
    ]
    return HubFiles(commit, files)


def _addresses(repository: str, configuration: str | None, split: str, commit: str) -> list[str]:
    """hf:// addresses of a split's files, as `datasets` resolves them."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(repository, configuration, revision=commit)
    except (
        ValueError,
        RuntimeError,
        datasets.exceptions.DatasetNotFoundError,
        datasets.exceptions.DataFilesNotFoundError,
    ) as error:
        raise InputError(f"--hub {repository} --config {configuration}: {' '.join(str(error).split())[:300]}") from None
    found = builder.config.data_files or {}
    if split not in found:
        raise InputError(f"--split {split}: {repository} has {', '.join(map(str, found)) or 'no splits'}")
    return [str(address) for address in found[split]]


def _retried(ask: Callable):
    """What ask() gives; asked again after a growing wait while the hub is busy or the network is down."""
    from huggingface_hub.errors import HfHubHTTPError

    for tries in range(HUB_RETRIES + 1):
        try:
            return ask()
        except (HfHubHTTPError, *_network_errors()) as error:
            status = getattr(getattr(error, "response", None), "status_code", 503)
            if tries == HUB_RETRIES or status not in BUSY:
                raise
            time.sleep(min(8, 2**tries / 2))
    return None


def _network_errors() -> tuple:
    import httpx2

    return (httpx2.HTTPError,)


class HubReader(io.RawIOBase):
    """A file of the hub as a stream that can be sought in, read in blocks; the last few blocks are remembered.

    Small columns and row groups that are together so come with one request. glance: smaller blocks, for a footer or
    a first line.
    """

    def __init__(self, address: str, size: int, glance: bool = False):
        self.address, self.size, self.place = address, size, 0
        self.block_bytes = GLANCE_BYTES if glance else BLOCK_BYTES
        self.blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        return self.place

    def readinto(self, buffer) -> int:
        wanted = min(len(buffer), max(0, self.size - self.place))
        done = 0
        while done < wanted:
            number, offset = divmod(self.place, self.block_bytes)
            piece = self._block(number)[offset : offset + wanted - done]
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            self.place += len(piece)
        return done

    def _block(self, number: int) -> bytes:
        block = self.blocks.pop(number, None)
        if block is None:
            first = number * self.block_bytes
            block = fetch(self.address, first, min(self.size, first + self.block_bytes))
        self.blocks[number] = block  # the one used last stands last
        if len(self.blocks) > BLOCKS_KEPT:
            del self.blocks[next(iter(self.blocks))]
        return block


def fetch(address: str, first: int, last: int) -> bytes:
    """Bytes [first, last) of a file. Errors: HubUnreachable when the hub does not give them in HUB_RETRIES tries."""
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    headers = build_hf_headers() | {"Range": f"bytes={first}-{last - 1}", "Accept-Encoding": "identity"}
    try:
        answer = http_backoff(
            "GET", address, headers=headers, timeout=60, max_retries=HUB_RETRIES, retry_on_status_codes=BUSY
        )
        hf_raise_for_status(answer)
        if len(answer.content) != last - first:
            raise OSError(f"{len(answer.content)} bytes came in place of {last - first}")
        return answer.content
    except (OSError, *_network_errors()) as error:
        raise HubUnreachable(f"{address}: {' '.join(str(error).split())[:300]}") from None
