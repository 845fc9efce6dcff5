"""Write an HTML page of a finished evaluation: every question with options, answer and rationale.

Reads   a result folder of inference/eval.py, the test set and the prompt that it used
Writes  <out>: a page that needs nothing else, with filters by language, by wrong and by text; everything is escaped
Example python inference/html_report.py results/finetuned
"""

import argparse
from pathlib import Path

from evaluation.result_folder import FinishedRun, read_finished_run
from run_record import parse_arguments, run_command, write_text

NOTICE = "Research use. Answers of a language model to exam questions are not medical advice."


def describe_question(run: FinishedRun, row: dict) -> dict:
    """What the page shows of one prediction; all of it text, escaped by the template."""
    record, letters, gold = run.question(row), row["letters"], row["gold"]
    right = letters == gold
    options = []
    for letter, text in record["options"].items():
        is_right, chosen = letter in gold, letter in (letters or [])
        classes = " ".join(name for name, on in (("gold", is_right), ("chosen", chosen)) if on)
        said = ", ".join(word for word, on in (("right", is_right), ("answered", chosen)) if on)
        options.append({"letter": letter, "text": text, "classes": classes, "said": said})
    contaminated = row.get("contaminated")
    kinds = [
        ("right", right),
        ("wrong", not right),
        ("unparsed", letters is None),
        ("several", len(gold) > 1),
        ("contaminated", contaminated),
        ("clean", contaminated is False),
    ]
    table = row.get("letter_logprobs") or row.get("option_logprobs")
    shown = "\n".join(f"{letter}  {value:.3f}" for letter, value in (table or {}).items())
    if "variants" in row:
        shown = "\n\n".join(
            f"{number + 1}: {variant.get('output', variant)}" for number, variant in enumerate(row["variants"])
        )
    return {
        "key": row["key"],
        "number": row["number"],
        "id": row["id"],
        "classes": " ".join(name for name, on in kinds if on),
        "right": right,
        "gold": ",".join(gold),
        "answered": "nothing that could be read" if letters is None else ",".join(letters) or "none of them",
        "status": row.get("status", ""),
        "contaminated": contaminated,
        "context": record.get("context") or "",
        "question": record["question"],
        "options": options,
        "output": row.get("output", shown),
        "rationale": record.get("rationale") or "",
    }


def render_page(run: FinishedRun) -> str:
    """The whole page as HTML text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    result = run.result
    about = (
        f"{result['setting']}, mode {result['mode']}, prompt {result['prompt']['name']} {result['prompt']['version']} "
        f"(form {result['prompt']['form']}), metric version {result['metric_version']}, "
        f"n = {result['micro']['n']} questions, {result['provenance']['command']}"
    )
    return environment.get_template("report.html.jinja").render(
        title=f"{result['model']['name']}: answers to MMedBench",
        about=about,
        notice=NOTICE,
        scores=result["scores"],
        macro=result["macro"],
        clean=result.get("clean"),
        rationales=result.get("rationales"),
        questions=[describe_question(run, row) for row in run.rows],
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("results", type=Path, help="result folder of a finished run")
    parser.add_argument("--out", type=Path, help="HTML file (default: <results>/report.html)")
    parser.add_argument("--data", type=Path, help="test split (default: where the run found it)")
    parser.add_argument("--prompt", type=Path, help="prompt folder (default: where the run found it)")
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read everything, print how many questions, write nothing"
    )
    args = parse_arguments(parser, argv)
    run = read_finished_run(args.results, args.data, args.prompt)
    out = args.out or args.results / "report.html"
    print(f"{len(run.rows)} questions in {len(run.test)} languages or benchmarks")
    if not args.dry_run:
        write_text(out, render_page(run))
        print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    run_command(main)
