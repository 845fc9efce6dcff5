"""The model card of a trained or exported language model: README.md beside its weights, from the run's own record.

Reads   what a training run has written down of its data (`training/card.json`) and the record that becomes run.json
Writes  nothing itself; `pretrained_card` gives the text
"""

import argparse
from pathlib import Path

from run_record import read_json
from training.lm_card_parts import (
    USE,
    assemble,
    base_facts,
    licence_fields,
    licences_section,
    limits_section,
    origin_section,
    scores_section,
    settings_table,
    shown,
)

NOTHING_KNOWN = {
    "languages": {},
    "replay": {},
    "base": None,
    "base_hub": None,
    "base_licence": None,
    "weights_licence": None,
    "data_names": None,
}
VERBS = {"pretrain/average_checkpoints.py": "the mean of several checkpoints"}


def store_counts(manifest: dict) -> dict[str, dict[str, int]]:
    """{language: {"documents", "tokens"}} of a token store."""
    counts: dict[str, dict[str, int]] = {}
    for facts in manifest["shards"].values():
        row = counts.setdefault(facts["language"], {"documents": 0, "tokens": 0})
        row["documents"] += facts["documents"]
        row["tokens"] += facts["tokens"]
    return dict(sorted(counts.items()))


def training_facts(args: argparse.Namespace) -> dict:
    """What the card will say of data, base and licence, from the flags of train_lm.py."""
    folder = Path(args.model) if args.model else None
    known = folder is not None and (folder / "run.json").exists()
    return {
        "languages": store_counts(read_json(args.data / "manifest.json")),
        "replay": store_counts(read_json(args.replay / "manifest.json")) if args.replay else {},
        **base_facts(args.model, read_json(folder / "run.json") if known else {}),
        "weights_licence": args.weights_licence,
        "data_names": args.data_names,
    }


def known_facts(path: Path, args: argparse.Namespace | None = None) -> dict:
    """The facts in `path` (a card.json, or a run.json that holds them), with the flags given now laid over them."""
    found = read_json(path) if path.exists() else {}
    found = NOTHING_KNOWN | (found.get("card", {}) if path.name == "run.json" else found)
    for name in ("weights_licence", "data_names"):
        found[name] = getattr(args, name, None) or found[name]
    return found


def pretrained_card(name: str, record: dict) -> str:
    """README.md of a model folder.

    name: the folder's; record: what becomes run.json, with `card` (of `training_facts`), `arguments` of the training
    under `training` or itself, `provenance`.
    """
    facts = record["card"]
    languages = list(facts["languages"])
    fields = {
        **licence_fields(facts["weights_licence"]),
        "language": languages,
        "base_model": facts["base_hub"],
        "datasets": facts["data_names"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["medical", *(["multilingual"] if len(languages) > 1 else [])],
    }
    start = f"{shown(facts['base'])}, trained further" if facts["base"] else "trained from random weights"
    if not languages and not facts["base"]:
        start = "of which no more is known than run.json says"
    what = VERBS.get(record["stage"], "a language model")
    lead = f"A causal language model on medical text ({what}; {start}). For research only."
    sections = [
        lead,
        USE,
        data_section(facts),
        training_section(record),
        scores_section(),
        limits_section(languages),
        licences_section(facts["weights_licence"], facts["base"], facts["base_licence"]),
        origin_section(record),
    ]
    return assemble(fields, name, sections)


def data_section(facts: dict) -> str:
    lines = ["## Data", ""]
    if not facts["languages"]:
        return "\n".join([*lines, "Its training data is not recorded in this folder."])
    names = f" ({', '.join(map(shown, facts['data_names']))})" if facts["data_names"] else ""
    lines += [f"A corpus of medical text{names}. Documents and tokens there are, before mixing or repeating:", ""]
    lines += ["| language | documents | tokens |", "|---|---:|---:|"]
    rows = facts["languages"]
    lines += [f"| {shown(code)} | {row['documents']:,} | {row['tokens']:,} |" for code, row in rows.items()]
    total = {key: sum(row[key] for row in rows.values()) for key in ("documents", "tokens")}
    lines.append(f"| all | {total['documents']:,} | {total['tokens']:,} |")
    if facts["replay"]:
        tokens, codes = sum(row["tokens"] for row in facts["replay"].values()), map(shown, facts["replay"])
        lines += ["", f"Mixed in: general text in {', '.join(codes)}, a store of {tokens:,} tokens."]
    return "\n".join(lines)


def training_section(record: dict) -> str:
    """Steps, tokens seen, losses and settings, as far as the record has them."""
    facts = {
        "parameters": record.get("parameters"),
        "step": record.get("step", record.get("steps")),
        "tokens seen": record.get("tokens_seen"),
        "parents averaged": len(record["parents"]) if "parents" in record else None,
        "precision of the weights": record.get("dtype"),
        "processes": record.get("world_size"),
        "steps left out at spikes": len(record["skipped_steps"]) if record.get("skipped_steps") else None,
    }
    lines = ["## Training", "", "| | |", "|---|---|"]
    lines += [
        f"| {name} | {format(value, ',') if isinstance(value, int) else shown(value)} |"
        for name, value in facts.items()
        if value is not None
    ]
    validation = record.get("validation") or {}
    if validation.get("after"):
        lines += ["", "Held-out text of the same sources, before and after (bits a UTF-8 byte):", ""]
        lines += ["| language | documents | tokens | before | after |", "|---|---:|---:|---:|---:|"]
        for code, after in validation["after"].items():
            before = (validation.get("before") or {}).get(code, {}).get("bits_per_byte", "-")
            n = f"{after['documents']:,} | {after['tokens']:,}"
            lines.append(f"| {shown(code)} | {n} | {before} | {after['bits_per_byte']} |")
        lines += [
            f"\nWarning: {shown(w['group'])} was {w['bits_per_byte']} at step {w['step']}, worse than its best "
            f"({w['best']} at step {w['best_step']})."
            for w in validation.get("warnings", [])
        ]
    arguments = {k: v for k, v in (record.get("training") or record["arguments"]).items() if k != "model"}
    return "\n".join([*lines, "", settings_table(arguments)])
