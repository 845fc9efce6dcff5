"""The model card of a fine-tuned model: README.md beside the adapter or the weights, from the run's own record.

Reads   the record that becomes run.json
Writes  <folder>/README.md, in the place of the library's own empty card
"""

import argparse
from pathlib import Path

from run_record import read_json, write_text
from sft_training.tuned_card_parts import (
    USE,
    assemble,
    base_facts,
    last_name,
    licence_fields,
    licences_section,
    limits_section,
    origin_section,
    scores_section,
    settings_table,
    shown,
)

WHAT = {"lora": "a LoRA adapter", "full": "a model tuned in full"}
# Told elsewhere, or of no interest to a reader.
NOT_SETTINGS = {"model", "trust_remote_code"}


def card_facts(args: argparse.Namespace, base: str, data: Path) -> dict:
    """What the card says of base, licence and data. base: folder or hub name; data: the train split's folder."""
    run = Path(base) / "run.json"
    return {
        **base_facts(base, read_json(run) if run.exists() else {}),
        "weights_licence": args.weights_licence,
        "data_names": args.data_names or [last_name(data.resolve().parent)],
    }


def card_of_merged(adapter: dict, args: argparse.Namespace, base: str) -> dict:
    """The adapter's facts, with the flags given now laid over them. adapter: its run.json."""
    run = Path(base) / "run.json"
    nothing = {"weights_licence": None, "data_names": None}
    facts = adapter.get("card") or base_facts(base, read_json(run) if run.exists() else {}) | nothing
    return facts | {name: getattr(args, name) or facts[name] for name in ("weights_licence", "data_names")}


def write_card(folder: Path, name: str, record: dict) -> None:
    """Write README.md of a fine-tuned folder that will be called `name`; record: what becomes its run.json."""
    facts, merged = record["card"], record.get("merged", False)
    adapter = record["training"] == "lora" and not merged
    languages = learned_languages(record)
    fields = {
        **licence_fields(facts["weights_licence"]),
        "language": languages,
        "base_model": facts["base_hub"],
        "datasets": facts["data_names"],
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": [
            "medical",
            "multiple-choice",
            *(["multilingual"] if len(languages) > 1 else []),
            *(["lora"] if record["training"] == "lora" else []),
        ],
    }
    kind = "a LoRA adapter added into its base" if merged else WHAT[record["training"]]
    base = shown(facts["base"])
    lead = f"A language model for multiple-choice questions of medical exams: {kind}, on {base}. For research only."
    prompt = record.get("prompt")  # an adapter may be merged that somebody else's tools described
    named = f"{shown(prompt['name'])} {shown(prompt['version'])}, in `prompt/`" if prompt else "in `prompt/`"
    asked = (
        f"It answers in the format of its own prompt ({named}), which `inference/eval.py` reads there; asked otherwise "
        "it does worse."
    )
    sections = [
        lead,
        USE,
        data_section(record, facts),
        training_section(record),
        scores_section(),
        limits_section(languages, [f"**Prompt.** {asked}"]),
        licences_section(facts["weights_licence"], facts["base"], facts["base_licence"]),
        origin_section(record),
    ]
    write_text(folder / "README.md", assemble(fields, name, sections))


def learned_languages(record: dict) -> list[str]:
    """Languages of the questions that were learned."""
    kinds = [rows for kind, rows in record.get("mixture", {}).items() if kind in ("answer", "rationale")]
    return sorted({code for rows in kinds or [record.get("counts", {}).get("questions", {})] for code in rows})


def data_section(record: dict, facts: dict) -> str:
    """Questions by language: there were, dropped, held out, and examples an epoch of each kind."""
    counts, mixture = record.get("counts", {}), record.get("mixture", {})
    columns = {what: rows for what, rows in counts.items() if what == "questions" or what.startswith(("drop", "held"))}
    columns |= {f"examples an epoch: {kind}": rows for kind, rows in mixture.items()}
    codes = sorted({code for rows in columns.values() for code in rows})
    names = ", ".join(map(shown, facts["data_names"] or ["a benchmark whose name is not recorded"]))
    if not codes:
        return f"## Data\n\nTrain questions of {names}; how many is not recorded."
    lines = ["## Data", "", f"Train questions of {names}:", ""]
    lines += ["| language | " + " | ".join(map(shown, columns)) + " |", "|---|" + "---:|" * len(columns)]
    for code in codes:
        lines.append(f"| {shown(code)} | " + " | ".join(f"{rows.get(code, 0):,}" for rows in columns.values()) + " |")
    return "\n".join(lines)


def training_section(record: dict) -> str:
    facts = {
        "parameters": record.get("parameters"),
        "parameters trained": record.get("parameters_trained"),
        "steps": record.get("steps"),
        "examples an epoch": record.get("examples"),
        "processes": record.get("processes"),
        "merged in": (record.get("arguments") or {}).get("dtype") if record.get("merged") else None,
    }
    lines = ["## Training", "", "| | |", "|---|---|"]
    lines += [
        f"| {name} | {format(value, ',') if isinstance(value, int) else shown(value)} |"
        for name, value in facts.items()
        if value is not None
    ]
    validation = record.get("validation") or {}
    if validation.get("last"):
        lines += ["", "Loss on examples of questions held out of the train set, in nats a token of the answer:", ""]
        lines += ["| | step | language | examples | loss |", "|---|---:|---|---:|---:|"]
        for when in ("before", "last", "best"):
            row = validation[when]
            lines += [
                f"| {when} | {row['step']:,} | {shown(code)} | {one['n']:,} | {one['loss']:.3f} |"
                for code, one in row["languages"].items()
            ]
    arguments = record.get("adapter_arguments") or record["arguments"]
    return "\n".join([*lines, "", settings_table({k: v for k, v in arguments.items() if k not in NOT_SETTINGS})])
