"""The model card of a trained or exported language model, written from its run record.

Reads   what a training run has written down of its data (`training/card.json`) and the record that becomes run.json
Writes  nothing itself; `pretrained_card` gives the text
"""

import argparse
import html
import re
from pathlib import Path

from run_record import read_json

# Licences that the hub knows by these names; others are written as "other" with their name beside it.
HUB_LICENCES = {
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0",
    "openrail",
    "bigscience-bloom-rail-1.0",
    "llama2",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llama3.3",
    "llama4",
    "gemma",
}
SCORES_BEGIN, SCORES_END = "<!-- scores: begin -->", "<!-- scores: end -->"
WEIGHTS_LINE = "- **These weights**: "
NO_SCORES = (
    "Not evaluated yet. `python inference/eval.py --model DIR`, then `python inference/model_card.py --model DIR\n"
    "RESULTS`, puts scores here."
)
USE = """## Intended use

Research on multilingual medical language models: measuring, comparing, training further.

**Not for clinical use.** Its output is not medical advice. Do not use it for diagnosis, treatment, triage, dosing or
any decision about a person's health, nor in a product that does so. It states false things in a confident tone."""
LIMITS = [
    "**No safety evaluation.** It has not been tested for harmful, biased or invented answers.",
    "**Exams are not care.** Its scores, where there are any, count letters of exam questions; they measure neither "
    "its reasons nor its use with patients.",
    "**Collapse.** A small or briefly trained model may answer one letter to almost everything, which can score above "
    "chance; the scores say so where it happens.",
    "**Source texts.** Public text and old exams hold errors and outdated advice, and what was in them may come back.",
]


def add_card_flags(add) -> None:
    """The flags of what a card cannot know by itself; `add` is a parser's add_argument."""
    add(
        "--weights-licence",
        type=one_line,
        metavar="NAME",
        help='licence of the weights in the model card, such as apache-2.0 or llama3 (default: "other", unknown)',
    )
    add("--data-names", type=one_line, nargs="+", metavar="NAME", help="hub names of the data sets in the model card")


def one_line(text: str) -> str:
    """An argparse type: a text of one line, 1 to 100 characters. Errors: ValueError."""
    if not 0 < len(text.strip()) <= 100 or not text.isprintable():
        raise ValueError
    return text.strip()


def shown(text: object) -> str:
    """Text from outside, made harmless in Markdown and its tables: one line, no HTML, no Markdown, no link."""
    flat = html.escape(" ".join(str(text).split())[:200], quote=False)
    return "".join("\\" + c if c in "\\|`*_[]#!~" else c for c in flat).replace("://", "&#58;//") or "-"


def last_name(path: object) -> str:
    """The last part of a path: a card says nothing of the machine that it was made on."""
    return re.split(r"[/\\]", str(path).rstrip("/\\"))[-1]


def header_text(fields: dict) -> str:
    """The YAML header between its lines of dashes; fields that are None or empty are omitted."""
    import yaml

    kept = {key: value for key, value in fields.items() if value not in (None, [], "")}
    return f"---\n{yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=1000)}---\n"


def licence_fields(name: str | None) -> dict:
    """`license` of the header, and `license_name` where the hub does not know it."""
    slug = re.sub(r"[^a-z0-9.]+", "-", (name or "unknown").lower()).strip("-") or "unknown"
    return {"license": slug} if slug in HUB_LICENCES else {"license": "other", "license_name": slug}


def licences_section(licence: str | None, base: str | None, base_licence: str | None) -> str:
    """Who allows what, in plain words. licence: of these weights, None if unknown."""
    weights = shown(licence) if licence else "unknown (`--weights-licence` was not given), so ask before any use"
    if base is None:
        start = "- **Base**: none, trained from random weights."
    else:
        terms = shown(base_licence) if base_licence else "see their owner"
        start = f"- **Base weights** ({shown(base)}): {terms}; those terms hold for what is made from them too."
    return "\n".join(
        [
            "## Licences",
            "",
            f"{WEIGHTS_LINE}{weights}.",
            start,
            "- **Code** that made them: Apache-2.0. That says nothing about weights or data.",
            "- **Data**: each source has its own licence and some forbid commercial use; see the cards of the corpus",
            "  and of the benchmark.",
        ]
    )


def scores_section(text: str = NO_SCORES) -> str:
    """The scores between their marks, so that they can be exchanged later."""
    return f"## Scores\n\n{SCORES_BEGIN}\n{text}\n{SCORES_END}"


def limits_section(languages: list[str], more: list[str] | None = None) -> str:
    known = f"**Languages.** Trained on {', '.join(map(shown, languages))}; any other is untested." if languages else ""
    return "\n".join(["## Limits", "", *(f"- {line}" for line in [known, *LIMITS, *(more or [])] if line)])


def settings_table(arguments: dict) -> str:
    """A run's arguments that are set, by name; a path is its last part."""
    rows = []
    for name, value in sorted(arguments.items()):
        if isinstance(value, dict) or value in (None, []):
            continue
        values = value if isinstance(value, list) else [value]
        said = ", ".join(last_name(v) if isinstance(v, str) else str(v) for v in values)
        rows.append(f"| {shown(name)} | {shown(said)} |")
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def origin_section(record: dict) -> str:
    """Commit, versions, time of a run record; its command is omitted, because it holds paths."""
    facts = record["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return "\n".join(
        [
            "## Origin",
            "",
            f"Made by `{record['stage']}` at commit {shown(facts['commit'])}, finished {shown(facts['finished_at'])},",
            f"on {shown(facts['machine'])}, with {shown(versions)}. `run.json` beside this file has all of it, and the",
            "SHA-256 of every file but this one.",
        ]
    )


def base_facts(model: str | None, record: dict | None) -> dict:
    """What a card says of the model that was trained further: its name, its name on the hub, its licence.

    model: folder or hub name; record: the folder's run.json, {} where it has none. A folder's hub name is that of the
    published model that it goes back to, if any.
    """
    if model is None:
        return {"base": None, "base_hub": None, "base_licence": None}
    if not Path(model).is_dir():
        return {"base": model, "base_hub": model, "base_licence": None}
    own = (record or {}).get("card", {})
    return {
        "base": last_name(Path(model).resolve()),
        "base_hub": own.get("base_hub"),
        "base_licence": own.get("weights_licence"),
    }


def assemble(fields: dict, name: str, sections: list[str]) -> str:
    """The card's text: header, title, sections with a line between."""
    return header_text(fields) + "\n" + "\n\n".join([f"# {shown(name)}", *(s.strip() for s in sections if s)]) + "\n"


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
        "steps omitted at spikes": len(record["skipped_steps"]) if record.get("skipped_steps") else None,
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
