"""Convert an InternLM or InternLM 2 checkpoint to the Llama layout, which needs no remote code, and back.

Reads   a folder as published (config.json, weights in safetensors or .bin, tokenizer.model), or a Llama folder
Writes  <out>: config.json, weights in safetensors, tokenizer.json, run.json; made aside and renamed when complete
Example python pretrain/convert_internlm.py DIR/internlm2-7b --out checkpoints/internlm2-7b-llama
        python pretrain/convert_internlm.py DIR/ChatDoctor --out checkpoints/chatdoctor
        python pretrain/convert_internlm.py checkpoints/pretrained --to internlm2 --published DIR/internlm2-7b \
            --out DIR/pretrained-internlm2

The numbers are kept bit by bit; only their names and places change (internlm_config.py). The rotary base and its
dynamic scaling are kept: Llama's class applies the same formula beyond `max_position_embeddings`, and within it none.
A Llama folder of the first years (pickles, tokenizer.model and no tokenizer.json) is rewritten likewise: the library
would load that tokenizer without the token that begins a text, and with other ids for leading spaces.
The tokenizer's ids are proved equal (internlm_tokenizer.py). Back: what is not a weight is copied from --published,
after its configuration was found to describe the same model and the tokenizer to give the same ids.
"""

import argparse
import fcntl
import shutil
from pathlib import Path

from checkpointing.tensor_files import TensorFolder, weight_files, write_tensors
from internlm.internlm_config import (
    DECISIVE_FIELDS,
    LAYOUTS,
    Step,
    dimensions,
    llama_config,
    llama_shapes,
    published_shapes,
    read_llama_config,
    steps_to_llama,
    steps_to_published,
)
from internlm.internlm_tokenizer import convert_tokenizer, prove_tokenizer
from run_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
)
from token_data.corpus_encoder import load_tokenizer


def check_tensors(source: TensorFolder, wanted: dict[str, tuple[int, ...]], config) -> None:
    """All tensors there, of the right shape, and none besides. Errors: InputError naming the tensor."""
    left = set(source.shapes) - set(wanted)
    for name in sorted(name for name in left if name.endswith("rotary_emb.inv_freq")):
        check_frequencies(source, name, config)
        left.remove(name)
    missing = [name for name in wanted if name not in source.shapes]
    if missing:
        raise InputError(
            f"{source.folder}: {len(missing)} tensors are missing, first {missing[0]}; download all shards"
        )
    if left:
        raise InputError(
            f"{source.folder}: {len(left)} tensors that the layout does not know, first {min(left)}; is this a base or "
            "chat model (no adapter, no reward model), and is its config.json the one it came with?"
        )
    for name, shape in wanted.items():
        if source.shapes[name] != shape:
            raise InputError(
                f"{source.folder}: {name} is {list(source.shapes[name])}, and by config.json it is {list(shape)}"
            )


def check_frequencies(source: TensorFolder, name: str, config) -> None:
    """InternLM stores its rotary frequencies; they are omitted if they are what the configuration says."""
    import torch

    size = config.hidden_size // config.num_attention_heads
    wanted = config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    had = source.read(name).double()
    # Stored in the model's type: bfloat16 keeps 8 bits.
    if had.shape != wanted.shape or not torch.allclose(had, wanted, rtol=1e-2, atol=0):
        raise InputError(f"{source.folder}: {name} is not what config.json's rotary base gives; the model would change")


class Conversion:
    """One conversion, checked: what is read, how each tensor is made, the configuration of the Llama side."""

    def __init__(self, args: argparse.Namespace):
        self.source, self.published = args.model, args.model
        kind = read_json(args.model / "config.json").get("model_type") if args.model.is_dir() else None
        if kind is None:
            raise InputError(f"{args.model} is not a model folder: config.json with a model_type is needed")
        if (args.model / "training").is_dir() and not (args.model / "run.json").exists():
            raise InputError(f"{args.model} is incomplete (no run.json); let pretrain/run.sh finish first")
        self.tensors = TensorFolder(args.model)
        if args.to == "llama":
            if kind not in (*LAYOUTS, "llama"):
                raise InputError(f"{args.model} is a {kind} model; this converts {' and '.join(LAYOUTS)} to llama")
            if kind == "llama" and (args.model / "tokenizer.json").exists():
                raise InputError(f"{args.model} is a llama model with a tokenizer.json: it needs no conversion")
            self.layout = kind
            biases = any(name.endswith(".bias") for name in self.tensors.shapes)
            self.config = read_llama_config(args.model) if kind == "llama" else llama_config(args.model, biases)
            size = dimensions(self.config)
            self.read, self.steps = published_shapes(kind, size), steps_to_llama(kind, size)
            self.written = llama_shapes(size)
        else:
            if kind != "llama":
                raise InputError(f"{args.model} is a {kind} model; --to {args.to} starts from a llama one")
            self.layout, self.published = args.to, args.published
            self.config = read_llama_config(args.model)
            self.check_published()
            size = dimensions(self.config)
            self.read, self.steps = llama_shapes(size), steps_to_published(args.to, size)
            self.written = published_shapes(args.to, size)
        if self.layout == "internlm" and size.key_value_heads != size.heads:
            raise InputError(f"{args.model}: internlm has as many key-value heads as heads; internlm2 is meant")
        check_tensors(self.tensors, self.read, self.config)
        self.dtype = self.tensors.dtype(self.read)
        self.config.dtype = self.dtype

    def check_published(self) -> None:
        """The Llama model is one that --published's own files describe. Errors: InputError naming the field."""
        folder = self.published
        if folder is None or not folder.is_dir():
            raise InputError(
                f"--to {self.layout} needs --published DIR, the published folder: its tokenizer and code are copied"
            )
        kind = read_json(folder / "config.json").get("model_type")
        if kind != self.layout:
            raise InputError(f"{folder} is a {kind} model, not {self.layout}")
        ours, theirs = self.config.to_dict(), llama_config(folder, self.config.attention_bias).to_dict()
        fields = [name for name in DECISIVE_FIELDS if ours.get(name) != theirs.get(name)]
        rope = [{k: v for k, v in side["rope_parameters"].items() if k != "type"} for side in (ours, theirs)]
        if rope[0] != rope[1]:
            fields.append("rope_parameters")
        if fields:
            raise InputError(f"{self.source} and {folder} are different models: {', '.join(fields)} differ")

    def tokenizer(self):
        """The tokenizer of the Llama side, proved against the published tokenizer.model. Errors: InputError."""
        back = self.source != self.published
        tokenizer = load_tokenizer(str(self.source)) if back else convert_tokenizer(self.published)
        if len(tokenizer) > self.config.vocab_size:
            raise InputError(f"{self.source}: {len(tokenizer)} tokens, but {self.config.vocab_size} embeddings")
        print(
            f"tokenizer: equal to tokenizer.model on {prove_tokenizer(tokenizer, self.published)} strings", flush=True
        )
        return tokenizer

    def make(self, name: str):
        step: Step = self.steps[name]
        return step.make(*(self.tensors.read(source) for source in step.sources))

    def sizes(self) -> dict[str, int]:
        """Bytes of each tensor to write."""
        import math

        return {name: math.prod(shape) * self.dtype.itemsize for name, shape in self.written.items()}

    def copied(self) -> list[Path]:
        """Files that go over as they are: all but weights on the way back; to Llama, how to generate."""
        if self.source == self.published:
            return [p for p in [self.source / "generation_config.json"] if p.exists()]
        keep = (".json", ".py", ".model", ".jinja", ".txt", ".md")
        return [
            path
            for path in sorted(self.published.iterdir())
            if path.suffix in keep and not path.name.endswith(".index.json") and path.name != "run.json"
        ]

    def write(self, folder: Path, tokenizer, shard_bytes: int) -> None:
        from transformers import AutoTokenizer

        write_tensors(folder, self.make, self.sizes(), shard_bytes)
        for path in self.copied():
            shutil.copyfile(path, folder / path.name)
        if self.source == self.published:
            self.config.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            prove_tokenizer(AutoTokenizer.from_pretrained(folder), self.published)  # as the other commands will load it
        else:
            fields = read_json(folder / "config.json") | {"torch_dtype": str(self.dtype).removeprefix("torch.")}
            write_json(folder / "config.json", fields | ({"dtype": fields["torch_dtype"]} if "dtype" in fields else {}))


def inputs_of(args: argparse.Namespace) -> dict:
    """What decides the output, by SHA-256: the model's weights and configuration, the published folder's tokenizer."""
    files = [args.model / "config.json", *weight_files(args.model)]
    files += [p for p in (args.model / "tokenizer.model", args.model / "tokenizer.json") if p.exists()]
    inputs = {"model": {path.name: sha256_of_file(path) for path in files}}
    if args.published:
        published = [p for p in sorted(args.published.glob("*")) if p.suffix in (".json", ".py", ".model")]
        inputs["published"] = {path.name: sha256_of_file(path) for path in published}
    return inputs


def lock_aside(out: Path) -> tuple[Path, object]:
    """(<out>.partial, emptied; its lock). Errors: InputError when another run writes there, or `out` is in use."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and contains something else (no run.json); use another --out")
    aside = out.with_name(out.name + ".partial")
    aside.mkdir(parents=True, exist_ok=True)
    lock = open(aside / ".lock", "w")  # noqa: SIM115 (held open while the folder is written)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(f"another run is writing to {aside}; wait for it, or use another --out") from None
    for path in aside.iterdir():
        if path.name != ".lock":
            path.unlink()
    return aside, lock


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", type=Path, help="folder of the model to convert")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--to", choices=("llama", *LAYOUTS), default="llama", help="target layout (default %(default)s)"
    )
    parser.add_argument(
        "--published",
        type=Path,
        help="with --to internlm or internlm2: the published folder, from which everything except the weights is taken",
    )
    parser.add_argument(
        "--shard-gigabytes", type=float, default=2.0, help="maximum size of a weight file in GB (default %(default)s)"
    )
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="validate everything, print the plan, write nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if args.shard_gigabytes <= 0:
        raise InputError("--shard-gigabytes must be above 0")
    if args.published and args.to == "llama":
        raise InputError(
            "--published goes with --to internlm or internlm2; to llama, the model is the published folder"
        )
    conversion = Conversion(args)
    arguments, inputs = {"to": args.to, "shard_gigabytes": args.shard_gigabytes}, inputs_of(args)
    sizes = conversion.sizes()
    print(
        f"{args.model} ({'llama' if args.published else conversion.layout}) to {args.to}: {len(sizes)} tensors of "
        f"{conversion.dtype}, {sum(sizes.values()) / 1e9:.2f} GB"
    )
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused")
        return 0
    tokenizer = conversion.tokenizer()
    if args.dry_run:
        return 0
    aside, lock = lock_aside(args.out)
    conversion.write(aside, tokenizer, int(args.shard_gigabytes * 1e9))
    parent = args.model / "run.json"
    write_json(
        aside / "run.json",
        {
            "format_version": 1,
            "stage": "pretrain/convert_internlm.py",
            "arguments": arguments,
            "inputs": inputs,
            "parent": sha256_of_file(parent if parent.exists() else args.model / "config.json"),
            "base": str(args.model),
            "layout": {"from": "llama" if args.published else conversion.layout, "to": args.to},
            "parameters": sum(sizes.values()) // conversion.dtype.itemsize,
            "files": describe_files(aside, [p for p in aside.iterdir() if p.name != ".lock"]),
            "provenance": provenance(argv),
        },
    )
    (aside / ".lock").unlink()
    aside.rename(args.out)
    lock.close()
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
