"""The model card of a fine-tuned model, written from its run record.

Reads   the record that becomes run.json
Writes  <folder>/README.md, in the place of the library's own empty card
"""

import argparse
import html
import re
from pathlib import Path

from run_record import read_json, write_text

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
    columns |= {f"examples per epoch: {kind}": rows for kind, rows in mixture.items()}
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
        "examples per epoch": record.get("examples"),
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
