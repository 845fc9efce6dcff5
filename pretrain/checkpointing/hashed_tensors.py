"""safetensors files written one tensor at a time, hashed on the way, so that no model has to fit into memory at once.

Layout (https://huggingface.co/docs/safetensors, "Format"): 8 bytes little-endian length of the header, a JSON header
{name: {"dtype", "shape", "data_offsets"}, "__metadata__": {str: str}}, then the tensors' bytes in the header's order.
The safetensors library writes a file only from tensors that are all in memory; files are read with that library.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}


class HashedFile:
    """A file being written whose SHA-256 is known when it is closed; flushed to the disk, so that it may be counted."""

    def __init__(self, path: Path):
        self.path, self._digest, self.bytes = path, hashlib.sha256(), 0
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by __exit__)

    def write(self, data) -> None:
        view = memoryview(data)
        self._digest.update(view)
        while len(view):
            done = self._file.write(view)  # an unbuffered write may be short
            view = view[done:]
            self.bytes += done

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, kind, *_rest) -> None:
        if kind is None:
            os.fsync(self._file.fileno())
        self._file.close()

    def facts(self) -> dict:
        return {"bytes": self.bytes, "sha256": self._digest.hexdigest()}


def write_hashed(
    path: Path, shapes: dict[str, tuple[str, tuple[int, ...]]], tensor: Callable, metadata: dict[str, str]
) -> dict:
    """Write a safetensors file and return its {"bytes", "sha256"}.

    shapes: {name: (dtype such as "float32", shape)}, in the order of the file.
    tensor: name -> torch tensor of that shape, on any device; asked for one at a time and let go after.
    """
    import torch

    header, offset = {"__metadata__": metadata}, 0
    for name, (dtype, shape) in shapes.items():
        size = torch.Size(shape).numel() * getattr(torch, dtype).itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data start at a multiple of 8, as the library writes them
    with HashedFile(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, (dtype, shape) in shapes.items():
            value = tensor(name).detach().to("cpu", getattr(torch, dtype)).contiguous()
            if tuple(value.shape) != tuple(shape):
                raise ValueError(f"{path}: {name} has the shape {tuple(value.shape)}, announced was {tuple(shape)}")
            if value.numel():
                file.write(value.reshape(-1).view(torch.uint8).numpy())
    return file.facts()


def write_model_weights(
    folder: Path, shapes: dict[str, tuple[int, ...]], tensor: Callable, dtype: str, shard_bytes: int
) -> dict:
    """Write a model's weights as Hugging Face does: model.safetensors, or numbered shards of about `shard_bytes` with
    their index. Returns {file name: {"bytes", "sha256"}} of the weight files."""
    import torch

    item, shards = getattr(torch, dtype).itemsize, [[]]
    room = shard_bytes
    for name, shape in shapes.items():
        size = torch.Size(shape).numel() * item
        if shards[-1] and size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    files, index = {}, {}
    for number, names in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        announced = {name: (dtype, tuple(shapes[name])) for name in names}
        files[file] = write_hashed(folder / file, announced, tensor, {"format": "pt"})
        index |= dict.fromkeys(names, file)
    if len(shards) > 1:
        total = sum(torch.Size(shape).numel() * item for shape in shapes.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return files
