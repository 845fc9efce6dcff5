"""Export a checkpoint of a training run as a Hugging Face folder, at any time, without ranks or a GPU.

Reads   RUN_DIR/training: checkpoints/step-* (any number of ranks, any ZeRO stage) and model/ (configuration, tokenizer)
Writes  <out>: config.json, generation_config.json, tokenizer, safetensors (one tensor in memory at a time), README.md
        (the model card); made aside, checked, moved, run.json last
Example python pretrain/export_model.py checkpoints/pretrained --step 100 --out checkpoints/step100

The weights are the optimizer's fp32 originals, rounded to --dtype once. The folder is checked before it counts: loaded
with AutoModelForCausalLM, no weight missing or left over, and its logits on a probe equal to those of the checkpoint.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from checkpointing.checkpoint_reader import CheckpointReader, complete_checkpoints, damaged_files, step_folder
from checkpointing.tensor_files import write_model_weights
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
from training.lm_log import read_metrics

PROBE_TOKENS = 16
# Largest difference of a logit, as a share of the largest logit: what different kernels do to equal weights.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
SHARD_BYTES = 5_000_000_000
NOT_COPIED = ("run.json", "README.md")  # they speak of another model


def save_model_description(model, tokenizer, folder: Path) -> None:
    """What a checkpoint needs beside its tensors to become a model: configuration, generation defaults, tokenizer."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    save_own_code(model, folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_own_code(model, folder: Path) -> None:
    """The Python files of a model that came with its code (--trust-remote-code), so that the folder needs no other."""
    from transformers.dynamic_module_utils import get_relative_import_files

    modules = {type(part).__module__ for part in (model, model.config)}
    own = sorted(name for name in modules if name.startswith("transformers_modules."))
    for module in own:
        file = sys.modules[module].__file__
        for path in (file, *get_relative_import_files(file)):
            shutil.copyfile(path, folder / Path(path).name)
    names = getattr(model.config, "auto_map", None)
    if names:  # hub models name their repository too, "org/name--"; useless where the library's own code ran
        config = read_json(folder / "config.json")
        here = {"auto_map": {key: str(name).rpartition("--")[2] for key, name in names.items()}} if own else {}
        write_json(folder / "config.json", {k: v for k, v in config.items() if k != "auto_map"} | here)


def write_model_folder(source, description: Path, folder: Path, dtype: str, shard_bytes: int) -> dict:
    """Write a Hugging Face folder but for run.json; returns {weight file: {"bytes", "sha256"}}.

    source: has `shapes` {name: shape} and `weights(name)` -> tensor. description: folder of `save_model_description`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in description.iterdir():
        is_weights = path.suffix in (".safetensors", ".bin") or path.name.endswith(".index.json")
        if path.is_file() and not is_weights and path.name not in NOT_COPIED and path.name[0] != ".":
            shutil.copyfile(path, folder / path.name)
    config = read_json(folder / "config.json")
    config.pop("torch_dtype", None)
    (folder / "config.json").write_text(
        json.dumps(config | {"dtype": dtype, "use_cache": True}, indent=2) + "\n", encoding="utf-8"
    )
    return write_model_weights(folder, source.shapes, source.weights, dtype, shard_bytes)


def probe_ids(vocabulary: int):
    """int64 [1, PROBE_TOKENS]: token ids spread over the vocabulary, always the same."""
    import torch

    return torch.tensor([[(7919 * i + 13) % vocabulary for i in range(PROBE_TOKENS)]])


def logits_of(model, vocabulary: int):
    """float32 [PROBE_TOKENS, vocabulary] on the CPU; the model may be a DeepSpeed engine (then on all ranks)."""
    import torch

    training = model.training
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(input_ids=probe_ids(vocabulary).to(device), use_cache=False).logits[0].float().cpu()
    model.train(training)
    return logits


def source_logits(source, folder: Path, dtype: str, trust_remote_code: bool = False):
    """The logits of the source's own tensors, put into a model made from the configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    own = {"trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(folder, **own)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), **own)
    own = dict(model.named_parameters())
    if own.keys() != source.shapes.keys():
        raise InputError(f"{folder}/config.json makes other parameters than the checkpoint has")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(source.weights(name))
    return logits_of(model, config.vocab_size)


def check_by_reloading(folder: Path, dtype: str, reference, trust_remote_code: bool = False) -> float:
    """Load the folder as anyone would; returns the largest difference of a logit from `reference` (None: only load).

    Errors: InputError when weights are missing or left over, or the difference is above the tolerance.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=trust_remote_code,
    )
    wrong = {kind: sorted(found[kind])[:3] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        raise InputError(f"{folder} does not load as it was written: {wrong}")
    logits = logits_of(model, model.config.vocab_size)
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"{folder} gives logits that are not numbers")
    if reference is None:
        return 0.0
    difference, largest = float((logits - reference).abs().max()), float(reference.abs().max())
    if difference > TOLERANCE[dtype] * max(largest, 1.0):
        raise InputError(
            f"{folder}: a logit differs by {difference:.3g} after reloading, over {TOLERANCE[dtype]:g} of the largest "
            f"({largest:.3g}); the model is not published"
        )
    return difference


def refuse_other_models(out: Path) -> None:
    if (out / "config.json").exists() or (out / "training").exists():
        raise InputError(f"{out} holds another model; use another --out")


def quiet_bars() -> None:
    """No bars of the library where no person watches."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()


def refuse_untrusted_code(folder: Path, trust_remote_code: bool) -> None:
    """Errors: InputError for a model that brings code of its own, which is not allowed to run."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except ValueError as error:
        if trust_remote_code or "trust_remote_code" not in str(error):
            raise
        raise InputError(
            "this model brings Python code of its own; read it, then allow it with --trust-remote-code"
        ) from None


def publish(aside: Path, out: Path) -> None:
    """Move the files of a checked folder into `out`, which may hold `training/` too; run.json is written after.

    config.json goes last: a move that is cut off leaves no folder that loads.
    """
    for path in sorted(aside.iterdir(), key=lambda path: (path.name == "config.json", path.name)):
        path.replace(out / path.name)
    aside.rmdir()


def export_checkpoint(
    run: Path,
    step: int,
    out: Path,
    dtype: str,
    record: dict,
    reference=None,
    shard_bytes: int = SHARD_BYTES,
    trust_remote_code: bool = False,
) -> float:
    """Write, check and publish <out> from the run's checkpoint, `record` completed as its run.json.

    reference: logits of the probe to compare with (float32 [tokens, vocabulary]); without it, those of the
    checkpoint's own tensors. Returns the largest difference.
    """
    reader = CheckpointReader(step_folder(run / "training", step))
    aside = out / ".export.tmp"
    if aside.exists():
        shutil.rmtree(aside)
    weights = write_model_folder(reader, run / "training" / "model", aside, dtype, shard_bytes)
    refuse_untrusted_code(aside, trust_remote_code)
    if reference is None:
        reference = source_logits(reader, aside, dtype, trust_remote_code)
    difference = check_by_reloading(aside, dtype, reference, trust_remote_code)
    others = describe_files(aside, [p for p in aside.iterdir() if p.name not in weights])
    record = (
        {"format_version": 1, "card": known_facts(run / "training" / "card.json")}
        | record
        | {
            "step": step,
            "dtype": dtype,
            "logits_largest_difference": difference,
            "files": dict(sorted((others | weights).items())),
        }
    )
    write_text(aside / "README.md", pretrained_card(out.resolve().name, record))
    publish(aside, out)
    write_json(out / "run.json", record)
    print(f"wrote {out}: step {step}, {dtype}, reloaded; largest difference of a logit {difference:.3g}", flush=True)
    return difference


def tokens_seen(metrics: Path, step: int) -> int | None:
    """Input tokens up to a step, from the run's metrics.jsonl; None where it has no such row."""
    return next((row["tokens"] for row in read_metrics(metrics, step) if row["step"] == step), None)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("run", type=Path, help="folder of a training run (train_lm.py --out)")
    parser.add_argument("--step", type=int, help="step of the checkpoint (default: the newest)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--dtype", choices=sorted(TOLERANCE), help="precision of the weights (default: as trained)")
    parser.add_argument(
        "--max-shard-gigabytes",
        type=float,
        default=SHARD_BYTES / 1e9,
        help="maximum size of a weight file in GB (default %(default)s)",
    )
    parser.add_argument(
        "--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the model's own code"
    )
    add_card_flags(parser.add_argument)
    args = parse_arguments(parser, argv)
    steps = complete_checkpoints(args.run / "training")
    step = args.step if args.step is not None else (steps[-1] if steps else None)
    if step not in steps:
        raise InputError(f"{args.run} has no complete checkpoint{f' at step {step}' if step else ''}; it has {steps}")
    checkpoint = step_folder(args.run / "training", step)
    dtype = args.dtype or read_json(checkpoint / "complete.json")["dtype"]
    arguments = {"step": step, "dtype": dtype, "max_shard_gigabytes": args.max_shard_gigabytes}
    inputs = {"checkpoint": sha256_of_file(checkpoint / "complete.json")}
    if finished_record(args.out / "run.json", arguments, inputs):
        print(f"{args.out} is complete and is reused")
        return 0
    refuse_other_models(args.out)
    quiet_bars()
    if problems := damaged_files(checkpoint):
        raise InputError(f"the checkpoint at step {step} is damaged: {'; '.join(problems)}; use another --step")
    record = {
        "stage": "pretrain/export_model.py",
        "arguments": arguments,
        "inputs": inputs,
        "parent": inputs["checkpoint"],
        "training": read_json(checkpoint / "complete.json")["identity"],
        "tokens_seen": tokens_seen(args.run / "training" / "metrics.jsonl", step),
        "card": known_facts(args.run / "training" / "card.json", args),
        "provenance": provenance(argv),
    }
    size = int(args.max_shard_gigabytes * 1e9)
    export_checkpoint(
        args.run, step, args.out, dtype, record, shard_bytes=size, trust_remote_code=args.trust_remote_code
    )
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
