"""Add the scores of evaluations to the model card (README.md) of the evaluated checkpoint.

Reads   a model folder with a card of this project, finished runs of eval.py on it
Writes  <model>/README.md: its section of scores again, all else as it was; with --weights-licence or --data-names the
        header too
Example python inference/model_card.py --model checkpoints/finetuned results/finetuned results/letters

A score is never given without its n, its interval, the setting, the way of answering and the prompt. A run of
another checkpoint is refused.
"""

import argparse
import html
import re
import sys
from pathlib import Path

from local_model.local_model import known_by
from run_record import InputError, read_json, run_command, write_text

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


# From this share of one letter on, and from this many answers, the table warns; both are judgements.
COLLAPSED, ENOUGH = 0.9, 10


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("results", type=Path, nargs="*", help="folders of finished runs of eval.py on this model; all that shall stand")
    add("--model", type=Path, default=Path("checkpoints/finetuned"), help="model folder (default %(default)s)")
    add_card_flags(add)
    return parser


def read_result(folder: Path, model: Path) -> dict:
    """result.json of a run on this very model. Errors: InputError for another model's, or an unfinished run."""
    if not (folder / "result.json").exists():
        raise InputError(f"{folder} has no result.json; give the folder of a finished run of inference/eval.py")
    result = read_json(folder / "result.json")
    missing = [key for key in ("scores", "macro", "micro", "prompt", "setting", "inputs") if key not in result]
    if missing:
        raise InputError(f"{folder}/result.json has no {missing[0]}; score it again with eval.py --score-only")
    if result["inputs"].get("model") != known_by(str(model)):
        raise InputError(f"{folder} is a run of another model than {model}; evaluate this one, or give its own --model")
    return result


def result_section(result: dict) -> str:
    """One run: what was asked how, and its scores with n and intervals."""
    prompt, asked, data = result["prompt"], result["arguments"], Path(result["data"]["path"])
    facts = [
        f"setting {result['setting']}",
        f"mode {result['mode']}",
        f"form {prompt['form']}",
        f"prompt {prompt['name']} {prompt['version']} (SHA-256 {prompt['sha256'][:12]})",
        f"answers read by {result['scoring']['parse']}",
    ]
    facts += [f"{name.replace('_', ' ')} {asked[name]}" for name in ("few_shot", "limit") if asked.get(name)]
    if asked.get("samples", 1) > 1:
        facts.append(f"majority of {asked['samples']} samples at temperature {asked['temperature']}")
    test = "/".join(map(last_name, (data.absolute().parent, data)))
    lines = [f"### {shown(test)}: {result['micro']['n']:,} questions", "", shown("; ".join(facts)) + ".", ""]
    lines += ["| | n | right | accuracy % | 95 % interval | in the format |", "|---|---:|---:|---:|---|---:|"]
    for key, s in result["scores"].items():
        inside = f"{100 * (1 - s['unparsed'] / s['n']):.1f} %"
        lines.append(f"| {shown(key)} | {s['n']:,} | {s['right']:,} | {with_interval(s)} | {inside} |")
    macro, micro = result["macro"], result["micro"]
    lines += [
        f"| mean of {group['languages']} {shown(name)} subjects | | | {with_interval(group)} | |"
        for name, group in result.get("groups", {}).items()
    ]
    lines += [
        f"| mean of {macro['languages']} | | | {with_interval(macro)} | |",
        f"| all questions | {micro['n']:,} | {micro['right']:,} | {with_interval(micro)} | |",
    ]
    clean = (result.get("clean") or {}).get("micro")
    if clean:
        n = f"{clean['n']:,} | {clean['right']:,}"
        lines.append(f"| those not found in the training corpus | {n} | {with_interval(clean)} | |")
    lines += ["", *collapse_warnings(result["scores"]), *rationale_lines(result.get("rationales"))]
    facts = result.get("provenance", {})
    lines.append(f"Measured {shown(facts.get('finished_at'))} at commit {shown(facts.get('commit'))}.")
    return "\n".join(lines)


def with_interval(score: dict) -> str:
    return f"{score['accuracy']:.2f} | {score['ci95'][0]:.2f} to {score['ci95'][1]:.2f}"


def collapse_warnings(scores: dict) -> list[str]:
    """A sentence where nearly all answers are one letter: its accuracy is then that letter's share in the key."""
    found = []
    for key, score in scores.items():
        letters = score["predicted_letters"]
        total = sum(letters.values())
        if total >= ENOUGH and max(letters.values()) >= COLLAPSED * total:
            top = max(letters, key=letters.get)
            found.append(f"{shown(key)} ({shown(top)}: {100 * letters[top] / total:.0f} % of {total:,} letters)")
    if not found:
        return []
    return [f"**Collapsed** onto one letter in {', '.join(found)}: these accuracies are no knowledge.", ""]


def rationale_lines(rationales: dict | None) -> list[str]:
    if not rationales:
        return []
    names = [name for name in ("BLEU-1", "ROUGE-1", "ROUGE-L") if name in rationales["metrics"]]
    lines = [f"Rationales against references (per cent, mode {shown(rationales['mode'])}):", ""]
    lines += ["| | n | on | " + " | ".join(names) + " |", "|---|---:|---|" + "---:|" * len(names)]
    for key, row in rationales["scores"].items():
        values = " | ".join("-" if row[name] is None else f"{row[name]:.2f}" for name in names)
        lines.append(f"| {shown(key)} | {row['n']:,} | {shown(row['on'])} | {values} |")
    return [*lines, ""]


def replace_scores(card: str, text: str, path: Path) -> str:
    """The card with `text` between the marks. Errors: InputError when it has no place for scores."""
    marks = re.findall(f"^(?:{SCORES_BEGIN}|{SCORES_END})$", card, re.MULTILINE)
    if marks != [SCORES_BEGIN, SCORES_END]:
        raise InputError(
            f"{path} has no place for scores: it needs one line {SCORES_BEGIN} and below it one line {SCORES_END}, as "
            "the cards of train.py, merge.py, export_model.py and train_lm.py have"
        )
    before, rest = card.split(SCORES_BEGIN)
    return f"{before}{SCORES_BEGIN}\n{text}\n{SCORES_END}{rest.split(SCORES_END)[1]}"


def replace_header(card: str, args: argparse.Namespace, path: Path) -> str:
    """The card with the licence and the data names that were given. Errors: InputError without a YAML header."""
    import yaml

    if not args.weights_licence and not args.data_names:
        return card
    parts = card.split("---\n", 2)
    try:
        fields = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    except yaml.YAMLError as error:
        raise InputError(f"{path}:1: its header is not YAML ({error})") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path}:1: it has no YAML header between two lines of ---")
    if args.weights_licence:
        fields = licence_fields(args.weights_licence) | {
            k: v for k, v in fields.items() if k not in ("license", "license_name")
        }
        line = f"{WEIGHTS_LINE}{shown(args.weights_licence)}."
        parts[2] = re.sub(f"^{re.escape(WEIGHTS_LINE)}.*$", lambda _: line, parts[2], flags=re.MULTILINE)
    if args.data_names:
        fields["datasets"] = args.data_names
    return header_text(fields) + parts[2]


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    path = args.model / "README.md"
    if not path.exists():
        raise InputError(f"{args.model} has no model card (README.md); the commands that write models write it")
    if not args.results and not args.weights_licence and not args.data_names:
        raise InputError("nothing to put into the card: give folders of finished runs, or --weights-licence")
    card = replace_header(path.read_text(encoding="utf-8"), args, path)
    if args.results:
        sections = [result_section(read_result(folder, args.model)) for folder in args.results]
        card = replace_scores(card, "\n\n".join(sections), path)
    write_text(path, card)
    print(f"wrote {path}: {len(args.results)} evaluations" if args.results else f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
