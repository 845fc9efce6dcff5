"""A data set of the Hugging Face hub, read where it lies: which files a configuration names, and parts of these files.

`datasets` tells the files of a configuration and split, as `load_dataset(..., streaming=True)` would; each is then read
by ranges of bytes, so that nothing is stored, row groups can be shared out, and what is done is not fetched again.
HF_ENDPOINT and HF_TOKEN work as everywhere. Failing requests are repeated with growing waits (up to HUB_RETRIES times).
"""

import io
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from readers.document_files import HUB_SUFFIXES, InputFile
from run_record import InputError

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

    Small columns and row groups that stand together so come with one request. glance: smaller blocks, for a footer or
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
