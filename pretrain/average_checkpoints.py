"""Average several checkpoints of a run, or several model folders, into one Hugging Face folder.

Reads   a run's folder (the last k checkpoints, or the steps given), or two or more model folders in safetensors
Writes  <out>: a Hugging Face folder as export_model.py writes it, model card too; run.json, last, names the parents
Example python pretrain/average_checkpoints.py checkpoints/pretrained --last 3 --out checkpoints/averaged

Averaging the last checkpoints of a run is in for letting the learning rate fall
(https://arxiv.org/abs/2306.03241, "Early Weight Averaging meets High Learning Rates"). The sum is in fp32, tensor by
tensor, so that no model has to fit into memory to be averaged; the check at the end loads the result once.
"""

import argparse
import json
import sys
from pathlib import Path

from checkpointing.checkpoint_reader import CheckpointReader, complete_checkpoints, damaged_files, step_folder
from checkpointing.tensor_files import TensorFolder
from export_model import (
    SHARD_BYTES,
    TOLERANCE,
    check_by_reloading,
    publish,
    quiet_bars,
    refuse_other_models,
    refuse_untrusted_code,
    write_model_folder,
)
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
    write_text,
)
from training.lm_card import add_card_flags, known_facts, pretrained_card

# Fields of the configuration that may differ between models of one architecture.
FREE_FIELDS = {"dtype", "torch_dtype", "transformers_version", "use_cache", "_name_or_path"}


class ModelFolder:
    """A Hugging Face folder's tensors, one at a time."""

    def __init__(self, folder: Path):
        tensors = TensorFolder(folder)
        self.description, self.name, self.shapes, self.weights = folder, str(folder), tensors.shapes, tensors.read
        self.dtype = str(tensors.dtype(tensors.shapes)).removeprefix("torch.")
        self.card = folder / "run.json"
        record = folder / ("run.json" if (folder / "run.json").exists() else "config.json")
        self.fingerprint = sha256_of_file(record)


class RunCheckpoint(CheckpointReader):
    """A checkpoint of a run, with the folder that describes its model."""

    def __init__(self, run: Path, step: int):
        checkpoint = step_folder(run / "training", step)
        if problems := damaged_files(checkpoint):
            raise InputError(f"the checkpoint at step {step} is damaged: {'; '.join(problems)}; leave it out")
        super().__init__(checkpoint)
        self.description, self.dtype, self.name = run / "training" / "model", self.record["dtype"], str(checkpoint)
        self.fingerprint = sha256_of_file(checkpoint / "complete.json")
        self.card = run / "training" / "card.json"


class Mean:
    """The mean of several sources of equal shapes, tensor by tensor."""

    def __init__(self, sources: list):
        self.sources, self.shapes = sources, sources[0].shapes

    def weights(self, name: str):
        total = self.sources[0].weights(name).float()
        for source in self.sources[1:]:
            total = total + source.weights(name).float()
        return total / len(self.sources)


def find_sources(args: argparse.Namespace) -> list:
    if args.last is None and args.steps is None:
        if len(args.sources) < 2:
            raise InputError("one folder has no mean: give --last or --steps with a run, or two or more model folders")
        return [ModelFolder(folder) for folder in args.sources]
    if len(args.sources) != 1 or (args.last is not None and args.steps is not None):
        raise InputError("--last or --steps, one of them, go with one run's folder")
    run = args.sources[0]
    there = complete_checkpoints(run / "training")
    steps = there[-args.last :] if args.last is not None else args.steps
    if missing := sorted({*steps} - {*there}):
        raise InputError(f"{run} has no complete checkpoint at step {missing[0]}; it has {there}")
    if len({*steps}) < 2 or len({*steps}) < (args.last or 0):
        raise InputError(f"{run} has {len(there)} complete checkpoints; a mean takes two or more, and as many as asked")
    return [RunCheckpoint(run, step) for step in sorted({*steps})]


def check_alike(sources: list) -> None:
    """InputError when the sources are not of one architecture and one vocabulary."""
    first = sources[0]
    configs = [read_json(source.description / "config.json") for source in sources]
    tokenizers = [source.description / "tokenizer.json" for source in sources]
    for source, config, tokenizer in zip(sources, configs, tokenizers, strict=True):
        fields = sorted(f for f in {*config, *configs[0]} - FREE_FIELDS if config.get(f) != configs[0].get(f))
        if fields or source.shapes != first.shapes:
            raise InputError(
                f"{source.name} is of another architecture than {first.name} ({', '.join(fields) or 'its tensors'})"
            )
        if tokenizer.exists() != tokenizers[0].exists() or (
            tokenizer.exists() and _vocabulary(tokenizer) != _vocabulary(tokenizers[0])
        ):
            raise InputError(f"{source.name} has another vocabulary than {first.name}")


def _vocabulary(path: Path) -> dict:
    """Token -> id, and the added tokens, of a tokenizers-library file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {"vocab": content.get("model", {}).get("vocab"), "added": content.get("added_tokens")}


def mean_facts(sources: list, args: argparse.Namespace) -> dict:
    """What the card says of data and base: the first source's, with the languages of all."""
    facts = [known_facts(source.card, args) for source in sources]
    languages = {code: row for one in facts for code, row in one["languages"].items()}
    return facts[0] | {"languages": dict(sorted(languages.items()))}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("sources", type=Path, nargs="+", help="one run's folder, or two or more model folders")
    parser.add_argument("--last", type=int, help="average the newest N checkpoints of the run")
    parser.add_argument("--steps", type=int, nargs="+", help="average the checkpoints of these steps of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--dtype", choices=sorted(TOLERANCE), help="precision of the weights (default: that of the first)"
    )
    parser.add_argument(
        "--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the models' own code"
    )
    add_card_flags(parser.add_argument)
    args = parse_arguments(parser, argv)
    sources = find_sources(args)
    check_alike(sources)
    dtype = args.dtype or sources[0].dtype
    arguments = {"dtype": dtype}
    inputs = {"models": [source.fingerprint for source in sources]}
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused")
        return 0
    refuse_other_models(args.out)
    quiet_bars()
    aside = args.out / ".export.tmp"
    weights = write_model_folder(Mean(sources), sources[0].description, aside, dtype, SHARD_BYTES)
    refuse_untrusted_code(aside, args.trust_remote_code)
    check_by_reloading(aside, dtype, None, args.trust_remote_code)
    files = weights | describe_files(aside, [p for p in aside.iterdir() if p.name not in weights])
    record = {
        "format_version": 1,
        "stage": "pretrain/average_checkpoints.py",
        "arguments": arguments,
        "inputs": inputs,
        "parents": [{"name": source.name, "sha256": source.fingerprint} for source in sources],
        "dtype": dtype,
        "card": mean_facts(sources, args),
        "files": dict(sorted(files.items())),
        "provenance": provenance(argv),
    }
    write_text(aside / "README.md", pretrained_card(args.out.resolve().name, record))
    publish(aside, args.out)
    write_json(args.out / "run.json", record)
    print(f"wrote {args.out}: the mean of {len(sources)} models, {dtype}, reloaded", flush=True)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
