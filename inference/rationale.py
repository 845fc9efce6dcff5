"""Score written rationales against reference rationales: BLEU-1 to 4 and ROUGE-1, -2, -L by language.

Reads   JSON lines {"language": ISO code, "rationale": the written one, "reference": the gold rationale}
Writes  a table; with --out the same figures as JSON
Example python inference/rationale.py inference/sample/rationale_pairs.jsonl
        python inference/rationale.py inference/sample/rationale_pairs.jsonl --mode paper --bert-score DIR

The metrics are defined in metrics/rationale_scores.py.
"""

import argparse
import json
from pathlib import Path

from metrics.rationale_bertscore import describe_encoder
from metrics.rationale_scores import (
    MODES,
    RATIONALE_METRIC_VERSION,
    add_bert_flags,
    add_bert_scores,
    mean_over_languages,
    rationale_table,
    score_rationales,
)
from mmedbench_questions import LANGUAGE_FILES
from run_record import InputError, parse_arguments, provenance, run_command, sha256_of_file, write_json


def read_pairs(path: Path) -> dict[str, list[dict]]:
    """{language: items} of a file of pairs. Errors: InputError naming the line."""
    pairs: dict[str, list[dict]] = {}
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        try:
            item = json.loads(line)
            texts = [item[key] for key in ("language", "rationale", "reference")]
        except (ValueError, KeyError, TypeError):
            texts = []
        if len(texts) != 3 or not all(isinstance(t, str) for t in texts) or texts[0] not in LANGUAGE_FILES:
            raise InputError(
                f"{path}:{number}: expected an object of texts language (one of {', '.join(LANGUAGE_FILES)}), "
                "rationale, reference"
            )
        pairs.setdefault(item["language"], []).append(item)
    if not pairs:
        raise InputError(f"{path} contains no pair")
    return pairs


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("pairs", type=Path, help="JSON lines of language, rationale, reference")
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="default",
        help="default: an empty rationale scores 0; paper: it is omitted and counted (default %(default)s)",
    )
    add_bert_flags(parser)
    parser.add_argument("--out", type=Path, help="write the scores to this JSON file")
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="read the pairs, print how many, write nothing")
    args = parse_arguments(parser, argv)
    pairs = read_pairs(args.pairs)
    print(f"{args.pairs}: " + ", ".join(f"{language} {len(items)}" for language, items in pairs.items()))
    encoder = describe_encoder(args.bert_score, args.bert_layer) if args.bert_score else None
    if args.dry_run:
        return 0
    if encoder:
        add_bert_scores([item for items in pairs.values() for item in items], args.bert_score, encoder)
    scores = {language: score_rationales(items, args.mode) for language, items in pairs.items()}
    print(rationale_table(scores))
    if args.out:
        record = {
            "metric_version": RATIONALE_METRIC_VERSION,
            "mode": args.mode,
            "bert_score": encoder,
            "scores": scores,
            "macro": mean_over_languages(scores),
            "pairs": sha256_of_file(args.pairs),
            "provenance": provenance(argv),
        }
        write_json(args.out, record)
    return 0


if __name__ == "__main__":
    run_command(main)
