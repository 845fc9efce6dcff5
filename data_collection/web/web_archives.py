"""Web archives (WARC): where records begin, and the pages of a part of an archive, in bounded memory.

A `.warc.gz` is a row of small gzip files, one per record; a part begins at the next of them. A single gzip file of many
records cannot be cut and is read from its beginning.
"""

import functools
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from run_record import InputError

SUFFIXES = (".warc", ".warc.gz")
GZIP_MAGIC = b"\x1f\x8b\x08"
LOOK_BYTES = 1 << 20
HEADER_BYTES = 1 << 16  # a record's header lines are shorter
ALL_OF_IT = -1  # as a part's end: the archive cannot be cut
PAGE_RECORDS = ("response", "resource")


class Record(NamedTuple):
    """One page of an archive as it was stored."""

    address: str
    encoding: str  # as the server declared, or ""
    content: bytes
    problem: str  # "" for a page; else why it is none: redirect, http_error, not_html, revisit, too_large, truncated
    offset: int


class Brotli:
    """Unpacks brotli as warcio asks for it: its own way fails with brotli 1.2, whose objects take no attributes.

    limit: bytes that one call gives at most, about; what is behind them is lost, so it is more than a page may have.
    """

    unused_data = b""

    def __init__(self, limit: int):
        import brotli

        self._unpacker, self._limit = brotli.Decompressor(), limit

    def decompress(self, data: bytes) -> bytes:
        return self._unpacker.process(data, output_buffer_limit=self._limit)


class Damage(NamedTuple):
    """A place of an archive that cannot be read."""

    offset: int
    sentence: str


def parts_of(path: Path, unit_bytes: int) -> list[tuple[int, int]]:
    """[first, last) bytes of parts of about unit_bytes that begin where a record begins. Errors: InputError."""
    size = path.stat().st_size
    if size <= unit_bytes:
        return [(0, size if _is_cut(path) else ALL_OF_IT)]
    if not _is_cut(path):
        return [(0, ALL_OF_IT)]
    starts = [0]
    if path.suffix == ".gz":
        while (start := next_start(path, starts[-1] + unit_bytes)) is not None:
            starts.append(start)
    else:
        for start in _plain_starts(path):
            if start - starts[-1] >= unit_bytes:
                starts.append(start)
    return list(zip(starts, [*starts[1:], size], strict=True))


def _is_cut(path: Path) -> bool:
    """Whether each record of an archive can be found by itself; a `.warc.gz` may be one gzip file of many records."""
    if path.suffix != ".gz":
        return True
    with open(path, "rb") as file:
        reader = zlib.decompressobj(31)
        try:
            head = reader.decompress(file.read(LOOK_BYTES), HEADER_BYTES)
            header, blank, _ = head.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", header)
            if not blank or length is None:
                return True
            ahead = int(length[1]) + 4 - (len(head) - len(header) - 4)  # 4: two empty lines behind the record
            if ahead < 0:
                return False
            while not reader.eof and ahead >= 0:
                piece = reader.decompress(reader.unconsumed_tail or file.read(LOOK_BYTES), HEADER_BYTES)
                if not piece and not reader.unconsumed_tail and not reader.eof:
                    return True  # cut short: reading it tells
                ahead -= len(piece)
        except zlib.error:
            return True
    return ahead >= 0


def next_start(path: Path, at: int) -> int | None:
    """Where the next record of a `.warc.gz` begins, from byte `at` on; None where none does."""
    with open(path, "rb") as file:
        file.seek(at)
        window = b""
        while piece := file.read(LOOK_BYTES):
            base = file.tell() - len(piece) - len(window)
            window += piece
            place = window.find(GZIP_MAGIC)
            while place >= 0:
                if _begins_record(path, base + place):
                    return base + place
                place = window.find(GZIP_MAGIC, place + 1)
            window = window[-(len(GZIP_MAGIC) - 1) :]
    return None


def _begins_record(path: Path, at: int) -> bool:
    with open(path, "rb") as file:
        file.seek(at)
        try:
            return zlib.decompressobj(31).decompress(file.read(HEADER_BYTES), 5) == b"WARC/"
        except zlib.error:
            return False


def _plain_starts(path: Path) -> Iterator[int]:
    """Where the records of an uncompressed archive begin, hopping from header to header."""
    at, size = 0, path.stat().st_size
    with open(path, "rb") as file:
        while at < size:
            file.seek(at)
            header, blank, _ = file.read(HEADER_BYTES).partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", header)
            if not header.startswith(b"WARC/") or not blank or length is None:
                return  # damaged from here on, which reading it tells
            yield at
            at += len(header) + 4 + int(length[1]) + 4


def read_records(path: Path, first: int, last: int, most_bytes: int) -> Iterator[Record | Damage]:
    """The pages whose records begin in [first, last), those without a page with their problem, and damaged places.

    most_bytes: of a page's content, which is omitted if longer. Damaged `.gz` archives are read on at the next record.
    Records about the archive itself (warcinfo, request, metadata, ...) are skipped.
    """
    from warcio.exceptions import ArchiveLoadFailed

    at: int | None = first
    while at is not None:
        place = [at]
        try:
            yield from _records_from(path, at, last, most_bytes, place)
            return
        except (ArchiveLoadFailed, zlib.error, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from None
            yield Damage(place[0], f"damaged or no record of an archive ({' '.join(str(error).split())[:200]})")
        at = next_start(path, place[0] + 1) if path.suffix == ".gz" and last != ALL_OF_IT else None
        if at is not None and at >= last:
            return


def _records_from(path: Path, first: int, last: int, most_bytes: int, place: list[int]) -> Iterator[Record | Damage]:
    from warcio.archiveiterator import ArchiveIterator
    from warcio.bufferedreaders import BufferedReader

    BufferedReader.DECOMPRESSORS["br"] = functools.partial(Brotli, most_bytes + 1)
    whole = last == ALL_OF_IT
    with gzip.open(path) if whole else open(path, "rb") as file:
        if not whole:
            file.seek(first)
        records = ArchiveIterator(file)
        try:
            for record in records:
                place[0] = offset = records.offset
                if not whole and offset >= last:
                    return
                if record.rec_type == "revisit" or record.rec_type in PAGE_RECORDS:
                    yield _page_of(record, offset, most_bytes)
                    if (missing := record.raw_stream.limit) and not _rest_is_there(record):
                        yield Damage(offset, f"cut short: {missing} bytes of the record are missing")
        finally:
            place[0] = max(place[0], records.offset)  # what cannot be read may be the record behind the last one
        if records.err_count:
            yield Damage(place[0], "no empty line behind a record: its Content-Length is wrong")


def _rest_is_there(record) -> bool:
    while record.raw_stream.read(LOOK_BYTES):
        pass
    return record.raw_stream.limit == 0


def _page_of(record, offset: int, most_bytes: int) -> Record:
    header = record.rec_headers.get_header
    address = (header("WARC-Target-URI") or "").strip("<> ")
    http = record.http_headers
    status = (http.get_statuscode() or "") if http else ""
    kind = ((http.get_header("Content-Type") if http else header("Content-Type")) or "").lower()
    encoding = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", kind)
    problem = ""
    if record.rec_type == "revisit":
        problem = "revisit"
    elif header("WARC-Truncated"):
        problem = "truncated"
    elif status.startswith("3"):
        problem = "redirect"
    elif http and not status.startswith("2"):
        problem = "http_error"
    elif kind and not re.match(r"\s*(text/html|application/xhtml\+xml)", kind):
        problem = "not_html"
    if problem:
        return Record(address, "", b"", problem, offset)
    content, stream = bytearray(), record.content_stream()
    while len(content) <= most_bytes and (piece := stream.read(LOOK_BYTES)):
        content += piece
    problem = "too_large" if len(content) > most_bytes else "truncated" if record.raw_stream.limit else ""
    return Record(address, encoding[1] if encoding else "", b"" if problem else bytes(content), problem, offset)
