"""The weight files of a model folder, read tensor by tensor and written shard by shard, hashed while written.

Reads   model.safetensors, or shards with their index; pytorch_model.bin likewise, as data only (`weights_only=True`:
        a pickle that wants to run code is refused)
Writes  safetensors, one shard in memory at a time, so that a 7B model is converted in little more than `shard_bytes`
"""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

from run_record import InputError, read_json, write_json

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


class TensorFolder:
    """The tensors of a model folder: `shapes` by name, and `read(name)`. Errors: InputError naming file and tensor."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.paths = weight_files(folder)
        self._open = {path: _open(path) for path in self.paths}
        self._path_of, self.shapes, dtypes = {}, {}, {}
        for path, tensors in self._open.items():
            for name in tensors.keys():  # noqa: SIM118 (safetensors' handle is not a dict)
                if name in self._path_of:
                    raise InputError(f"{path}: the tensor {name} is in {self._path_of[name].name} too")
                self._path_of[name] = path
                self.shapes[name], dtypes[name] = _facts(tensors, name)
        self._dtypes = dtypes

    def read(self, name: str):
        """The tensor, as stored. shape: `shapes[name]`."""
        tensors = self._open[self._path_of[name]]
        return tensors[name] if isinstance(tensors, dict) else tensors.get_tensor(name)

    def dtype(self, names):
        """The one floating dtype of the named tensors. Errors: InputError for several, or for quantised ones."""
        found = {}
        for name in names:
            found.setdefault(self._dtypes[name], name)
        if len(found) > 1:
            raise InputError(
                f"{self.folder}: its tensors are of several types ({', '.join(f'{n} is {d}' for d, n in found.items())}"
                "); convert a checkpoint of one type"
            )
        (dtype,) = found
        if not dtype.is_floating_point or dtype.itemsize < 2:
            raise InputError(f"{self.folder}: {found[dtype]} is {dtype}; quantised checkpoints cannot be converted")
        return dtype


def weight_files(folder: Path) -> list[Path]:
    """The files that contain a folder's weights; safetensors where both kinds are there. Errors: InputError."""
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{suffix}.index.json"
        if index.exists():
            names = sorted(set(read_json(index).get("weight_map", {}).values()))
            missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
            if missing or not names:
                raise InputError(f"{index}: names {missing or 'no file'}, which {folder} does not hold; download it")
            return [folder / name for name in names]
        if (folder / f"{stem}.{suffix}").is_file():
            return [folder / f"{stem}.{suffix}"]
    raise InputError(f"{folder} contains no weights (model.safetensors, pytorch_model.bin or shards with their index)")


def _open(path: Path):
    """A handle on a weight file that reads nothing yet: {name: tensor} of a pickle, or safetensors' own."""
    import torch
    from safetensors import SafetensorError, safe_open

    if path.suffix == ".safetensors":
        try:
            return safe_open(path, framework="pt")
        except SafetensorError as error:
            raise InputError(f"{path}: no safetensors file, or a damaged one ({error})") from None
    try:
        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, because it contains more than tensors and reading it would run its code "
            f"({str(error).splitlines()[0]}); take the safetensors files"
        ) from None
    except (RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path}: no torch checkpoint, or a damaged or very old one ({error})") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise InputError(f"{path}: expected tensors by name")
    return tensors


def _facts(tensors, name: str) -> tuple:
    """(shape, dtype) of a tensor."""
    if isinstance(tensors, dict):
        return tuple(tensors[name].shape), tensors[name].dtype
    part = tensors.get_slice(name)
    shape = tuple(part.get_shape())
    # The handle names dtypes in words of its own; an empty slice has the tensor's.
    return shape, (part[:0] if shape else tensors.get_tensor(name)).dtype


def write_tensors(folder: Path, tensors, sizes: dict[str, int], shard_bytes: int) -> None:
    """Write safetensors shards of at most `shard_bytes` (a larger tensor alone), and their index when several.

    tensors: function name -> tensor. sizes: bytes of every tensor to write, in file order.
    """
    from safetensors.torch import save_file

    shards = [[]]
    for name, size in sizes.items():
        if shards[-1] and sum(sizes[other] for other in shards[-1]) + size > shard_bytes:
            shards.append([])
        shards[-1].append(name)
    weight_map = {}
    for number, names in enumerate(shards, start=1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: tensors(name) for name in names}, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)  # safetensors writes them readable by the owner alone
        weight_map |= dict.fromkeys(names, file)
        print(f"wrote {file}: {len(names)} tensors, {sum(sizes[n] for n in names) / 1e9:.2f} GB", flush=True)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", json.loads(json.dumps(index, sort_keys=True)))
