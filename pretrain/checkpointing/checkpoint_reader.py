"""Read checkpoints without DeepSpeed and without ranks.

Reads <out>/training/checkpoints/step-00000100/: rank-*.safetensors and complete.json, see pretrain/FORMAT.md.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run_record import InputError, read_json, sha256_of_file

FORMAT_VERSION = 1


def step_folder(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def complete_checkpoints(folder: Path) -> list[int]:
    """Steps of the complete checkpoints under <folder>/checkpoints, oldest first."""
    return sorted(
        int(path.parent.name.removeprefix("step-")) for path in folder.glob("checkpoints/step-*/complete.json")
    )


def fitting_micro_batch(folder: Path, global_batch: int, micro_batch: int, ranks: int) -> int:
    """The micro-batch of a resumed run, maybe on another number of ranks: the largest up to `micro_batch` that
    divides each rank's share of the global batch. Otherwise `micro_batch` as it is: in a new run a number that does not
    divide is an error of the command line."""
    share = global_batch // ranks
    if not complete_checkpoints(folder) or global_batch % ranks:
        return micro_batch
    return max(size for size in range(1, min(micro_batch, share) + 1) if share % size == 0)


def damaged_files(checkpoint: Path, share: int = 0, shares: int = 1) -> list[str]:
    """What is wrong with a checkpoint's files: missing, of another size, of another SHA-256. Empty: nothing.

    Every `shares`-th file from number `share` on is read, several at once: each rank looks at its own part.
    """
    try:
        files = read_json(checkpoint / "complete.json").get("files")
    except InputError as error:
        return [str(error)]
    if not isinstance(files, dict):
        return [f"{checkpoint}/complete.json names no files"]
    files = sorted(files.items())

    def look(item) -> str | None:
        name, facts = item
        path = checkpoint / name
        if not path.exists():
            return f"{path} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{path} has {path.stat().st_size:,} bytes instead of {facts['bytes']:,}"
        return None if sha256_of_file(path) == facts["sha256"] else f"{path} does not have its SHA-256 any more"

    with ThreadPoolExecutor(4) as pool:
        return [problem for problem in pool.map(look, files[share::shares]) if problem]


class CheckpointReader:
    """Elements of the saved state, by name and place, from whichever files hold them.

    first: the file to look into first (a resuming rank's own, which has all it needs when nothing changed).
    """

    def __init__(self, checkpoint: Path, first: str | None = None):
        self.checkpoint, self.record = checkpoint, read_json(checkpoint / "complete.json")
        if self.record.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{checkpoint}/complete.json: expected format_version {FORMAT_VERSION}; it was written by another "
                "version of this program, see pretrain/FORMAT.md"
            )
        self.shapes = {name: tuple(shape) for name, shape in self.record["shapes"].items()}
        self._unread = sorted(self.record["files"], key=lambda name: (name != first, name))
        self._open, self._pieces = {}, {}

    def _open_next(self) -> bool:
        """Add the next file's pieces to the index; False when there are no more files."""
        from safetensors import safe_open

        if not self._unread:
            return False
        name = self._unread.pop(0)
        file = self._open[name] = safe_open(self.checkpoint / name, framework="pt")
        for key, start in json.loads((file.metadata() or {}).get("starts", "{}")).items():
            count = file.get_slice(f"weights/{key}").get_shape()[0]
            self._pieces.setdefault(key, []).append((start, start + count, file))
        return True

    def read(self, kind: str, name: str, start: int, count: int):
        """float32 [count]: elements start.. of the flattened parameter; kind: "weights" or a moment such as "exp_avg".

        Errors: InputError when the files do not hold all of them.
        """
        import torch

        out, end = torch.empty(count, dtype=torch.float32), start + count
        while True:
            found = [(max(a, start), min(b, end), a, file) for a, b, file in self._pieces.get(name, [])]
            found = [piece for piece in found if piece[0] < piece[1]]
            if sum(high - low for low, high, _, _ in found) == count:
                break
            if not self._open_next():
                raise InputError(f"{self.checkpoint} does not hold elements {start} to {end} of {name}, each once")
        for low, high, first, file in found:
            out[low - start : high - start] = file.get_slice(f"{kind}/{name}")[low - first : high - first]
        return out

    def weights(self, name: str):
        """A whole parameter, float32, in its shape."""
        import torch

        shape = self.shapes[name]
        return self.read("weights", name, 0, torch.Size(shape).numel()).view(shape)

    def others(self, file: str, prefix: str) -> dict:
        """{name: tensor} of one file's tensors under `prefix`: "random/" of every rank, "buffers/" of rank 0."""
        from safetensors import safe_open

        with safe_open(self.checkpoint / file, framework="pt") as opened:
            return {k.removeprefix(prefix): opened.get_tensor(k) for k in opened.keys() if k.startswith(prefix)}  # noqa: SIM118
