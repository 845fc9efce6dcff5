"""Print the summary of a complete run: one line per stage, then the scores by language.

Reads   results/<name>/stages.jsonl (written by demo.sh) and the records that its lines name
Example python slurm/run_summary.py results/demo/stages.jsonl
"""

import argparse
import json
import sys
from pathlib import Path


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else {}


def describe(record: dict, path: Path) -> str:
    """What a stage made, in one phrase, from its own record."""
    counts = record.get("counts", {})
    match record.get("stage"):
        case "data_collection/ocr.py":
            pages = sum(record["pages"].values())
            return f"{record['documents']} documents, {pages} pages, {record['failures']} failures listed"
        case "data_collection/filter.py":
            read_, kept = (sum(row.get(key, 0) for row in counts.values()) for key in ("read", "kept"))
            return f"{kept:,} of {read_:,} documents kept as medical"
        case "data_collection/build_corpus.py":
            cells = [cell for row in counts.values() for cell in row.values()]
            documents, characters = (sum(cell[key] for cell in cells) for key in ("documents", "characters"))
            return f"{documents:,} documents, {characters:,} characters"
        case "pretrain/train_tokenizer.py":
            return f"{record['vocabulary']:,} entries"
        case "pretrain/tokenize_corpus.py":
            return f"{sum(row['tokens'] for row in counts.values()):,} tokens"
        case "pretrain/train_lm.py":
            before, after = (
                sum(row["bits_per_byte"] for row in record["validation"][when].values())
                / max(1, len(record["validation"][when]))
                for when in ("before", "after")
            )
            bits = f"bits per byte {before:.2f} -> {after:.2f}"
            return f"{record['parameters']:,} parameters, {record['steps']} steps, {bits}"
        case "mmedbench/prepare.py":
            of = {split: sum(row["found"] for row in counts if row["split"] == split) for split in ("Train", "Test")}
            return f"{of['Train']:,} train and {of['Test']:,} test questions"
        case "finetune/train.py":
            return f"{record['examples']:,} examples, {record['parameters_trained']:,} parameters trained"
        case "inference/eval.py":
            n, unparsed = record["micro"]["n"], sum(row["unparsed"] for row in record["scores"].values())
            return f"{n} questions, {100 * (n - unparsed) / n:.1f} % answered in the format"
    return f"{path.stat().st_size:,} bytes"


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("stages", type=Path, help="stages.jsonl of the run")
    parser.add_argument("--seconds", type=int, help="duration of the complete run in seconds, for the last line")
    args = parser.parse_args(argv)
    rows, result = [["stage", "read", "wrote", "count", "seconds"]], None
    for line in args.stages.read_text(encoding="utf-8").splitlines():
        stage = json.loads(line)
        path = Path(stage["record"])
        record = read(path)
        wrote = str(path if path.suffix == ".md" else path.parent)
        rows.append([stage["stage"], stage["reads"], wrote, describe(record, path), str(stage["seconds"])])
        if record.get("stage") == "inference/eval.py":
            result = record
    print(table(rows))
    if result:
        print(
            f"\naccuracy of {result['model']['name']}: exact set of letters, {result['mode']}, prompt "
            f"{result['prompt']['name']} {result['prompt']['version']} ({result['prompt']['form']})\n"
        )
        lines = [["language", "n", "right", "accuracy %", "95 % interval", "in the format %", "letters predicted"]]
        for name, score in result["scores"].items():
            total = sum(score["predicted_letters"].values()) or 1
            letters = " ".join(f"{k} {100 * v / total:.0f}%" for k, v in score["predicted_letters"].items())
            lines.append(
                [
                    name,
                    str(score["n"]),
                    str(score["right"]),
                    f"{score['accuracy']:.2f}",
                    f"{score['ci95'][0]:.2f} - {score['ci95'][1]:.2f}",
                    f"{100 * (1 - score['unparsed'] / score['n']):.1f}",
                    letters,
                ]
            )
        macro, micro = result["macro"], result["micro"]
        lines.append(
            [
                "mean",
                str(micro["n"]),
                str(micro["right"]),
                f"{macro['accuracy']:.2f}",
                f"{macro['ci95'][0]:.2f} - {macro['ci95'][1]:.2f}",
                "",
                "",
            ]
        )
        print(table(lines))
        print("\nA model this small guesses: this is a check of the machinery, not a claim about medicine.")
    if args.seconds is not None:
        print(f"the whole run: {args.seconds // 60} min {args.seconds % 60:02d} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
