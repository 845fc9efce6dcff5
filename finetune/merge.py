"""Merge a LoRA adapter into its base model: a folder that loads without peft and gives the adapter's answers.

Reads   an adapter folder of finetune/train.py, and its base model where its run.json says it is
Writes  <out> (default <adapter>/merged): the model in float32 (--dtype), tokenizer, prompt/, README.md (a model
        card), run.json last
Example python finetune/merge.py checkpoints/finetuned
        python finetune/merge.py checkpoints/finetuned --out checkpoints/finetuned-merged --dtype bfloat16

The sum is made in float32, whatever the base is stored in: an update below the 8 bits of bfloat16 (0.4 % of a weight)
would be lost. As `--merge` of finetune/train.py, which writes float32. A complete output folder is reused.
"""

import argparse
import shutil
import sys
from pathlib import Path

from run_record import (
    InputError,
    describe_files,
    finished_record,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
)
from sft_training.base_model import quiet_libraries, relative_base, settle_generation
from sft_training.tuned_card import add_card_flags, card_of_merged, write_card


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("adapter", type=Path, help="folder that `finetune/train.py --lora` wrote")
    add("--out", type=Path, help="model folder (default <adapter>/merged)")
    add(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="precision of the output; bfloat16 and float16 halve the size but lose updates smaller than 0.4 "
        "%% and 0.05 %% of a weight (default %(default)s)",
    )
    add("--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the model's own code")
    add("--dry-run", action="store_true", help="validate everything, print the plan, write nothing")
    add_card_flags(add)
    return parser


def find_base(adapter: Path) -> str:
    """The adapter's base model: where run.json sees it from the adapter's folder, or by the name it had.

    Errors: InputError for a folder that is not a complete adapter, or whose base is gone.
    """
    if not (adapter / "adapter_config.json").exists():
        raise InputError(f"{adapter} is not a LoRA adapter (no adapter_config.json); train one with train.py --lora")
    if not (adapter / "run.json").exists():
        raise InputError(f"{adapter} is incomplete (no run.json); let train.py --lora finish first")
    record = read_json(adapter / "run.json")
    beside = record.get("base_from_here")
    for place in ([adapter / beside] if beside else []) + [Path(record["base"])]:
        if (place / "config.json").exists():
            return str(place)
    if beside:
        raise InputError(f"the base model of {adapter} is not at {adapter / beside}; put it there")
    return record["base"]  # a hub name


def merge_adapter(
    adapter: Path, out: Path, args: argparse.Namespace, argv: list[str] | None, dtype: str = "float32"
) -> None:
    """Write the merged model aside and rename it to `out` when it is whole. Errors: InputError.

    args: trust_remote_code and the card's flags (by default as the adapter's). dtype: name of the torch type that is
    written; the sum itself is always float32.
    """
    base = find_base(adapter)
    record = read_json(adapter / "run.json")
    inputs = {"adapter": sha256_of_file(adapter / "run.json")}
    if finished_record(out / "run.json", {"dtype": dtype}, inputs):
        print(f"{out} is complete and is reused")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} contains something else; use another --out, or delete it")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, trust_remote_code=args.trust_remote_code, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        raise InputError(f"no base model at {base} ({str(error).splitlines()[0]})") from None
    model = PeftModel.from_pretrained(model, adapter).merge_and_unload().to(getattr(torch, dtype))
    settle_generation(model)
    aside = out.with_name(f".{out.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    model.save_pretrained(aside)
    weights = {"adapter_model.safetensors", "adapter_config.json", "run.json", "README.md"}
    for path in adapter.iterdir():  # tokenizer and whatever else evaluation reads
        if path.is_file() and path.name not in weights:
            shutil.copyfile(path, aside / path.name)
    shutil.copytree(adapter / "prompt", aside / "prompt")
    for path in aside.glob("*.safetensors"):
        path.chmod(0o644)
    keep = ("training", "parameters", "prompt", "counts", "examples", "mixture", "steps", "base", "validation")
    merged = {
        "format_version": 1,
        "stage": "finetune/merge.py",
        "arguments": {"dtype": dtype},
        "inputs": inputs,
        "parent": inputs["adapter"],
        "merged": True,
        **{key: record[key] for key in keep if key in record},
        "base_from_here": relative_base(base, out),
        "adapter_arguments": record["arguments"],
        "card": card_of_merged(record, args, base),
        "files": describe_files(aside, [p for p in aside.rglob("*") if p.is_file()]),
        "provenance": provenance(argv),
    }
    write_card(aside, out.resolve().name, merged)
    write_json(aside / "run.json", merged)
    if out.exists():
        out.rmdir()
    aside.rename(out)
    print(f"wrote {out}; next: python inference/eval.py --model {out}", flush=True)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    out = args.out or args.adapter / "merged"
    if out.resolve() == args.adapter.resolve():
        raise InputError("--out is the adapter's own folder; give another, its files would be written over")
    if args.dry_run:
        print(f"{find_base(args.adapter)} + {args.adapter} -> {out}")
        return 0
    merge_adapter(args.adapter, out, args, argv, args.dtype)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
