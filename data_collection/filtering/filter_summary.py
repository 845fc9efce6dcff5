"""Add up what the units of a filter run counted, and show it."""

import hashlib
from pathlib import Path

from filtering.filter_document import REASONS
from readers.document_chunks import readable_strings


def add_counts(units: list[dict]) -> dict:
    """{language: {reason: documents, ..., read, kept_characters}} over all units."""
    total: dict[str, dict] = {}
    for unit in units:
        for language, counts in unit["counts"].items():
            row = total.setdefault(language, dict.fromkeys((*REASONS, "read", "kept_characters"), 0))
            for key, value in counts.items():
                row[key] += value
    return dict(sorted(total.items()))


def add_cleaning(units: list[dict]) -> dict:
    """{language: {cleaning step: {documents, changes}}} of the kept documents of all units."""
    total: dict[str, dict] = {}
    for unit in units:
        for language, steps in unit["cleaning"].items():
            for step, counts in steps.items():
                row = total.setdefault(language, {}).setdefault(step, {"documents": 0, "changes": 0})
                for key, value in counts.items():
                    row[key] += value
    return {language: dict(sorted(steps.items())) for language, steps in sorted(total.items())}


def count_repeated_ids(out: Path, files: dict[str, dict]) -> dict[str, int]:
    """{language: kept documents whose id an earlier kept one has}, languages with any only; 8 bytes of memory an id."""
    import numpy as np
    import pyarrow.parquet

    digests: dict[str, list] = {}
    for name in files:
        folder, _, rest = name.partition("/")
        if len(folder) != 2 or "/" in rest:
            continue
        for batch in pyarrow.parquet.ParquetFile(out / name).iter_batches(columns=["id"]):
            ids = readable_strings(batch.column(0)).to_pylist()
            numbers = [int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest()) for i in ids]
            digests.setdefault(folder, []).append(np.array(numbers, np.uint64))
    repeated = {}
    for language, pieces in digests.items():
        numbers = np.concatenate(pieces)
        if more := len(numbers) - len(np.unique(numbers)):
            repeated[language] = more
    return repeated


def report(manifest: dict) -> int:
    """Print documents per language and reason; returns the exit code."""
    reasons = [r for r in REASONS if r == "kept" or any(row.get(r) for row in manifest["counts"].values())]
    print("language       read " + " ".join(f"{reason:>16}" for reason in reasons))
    for language, row in manifest["counts"].items():
        print(f"{language:<8} {row['read']:>10} " + " ".join(f"{row[reason]:>16}" for reason in reasons))
    for language, steps in manifest["cleaning"].items():
        print(
            f"cleaned {language}: "
            + ", ".join(f"{step} {row['changes']} in {row['documents']} documents" for step, row in steps.items())
        )
    if manifest["relabelled"]:
        print(f"{manifest['relabelled']} documents count under another language than they were declared in")
    if not manifest["counts"]:
        print("note: the input holds no document at all")
    for language, count in manifest["repeated_ids"].items():
        print(f"note: {count} kept documents of {language} have an id that another one has, too")
    if manifest["failures"]:
        print(f"{manifest['failures']} inputs or lines could not be read; see failures.jsonl")
        return 3
    return 0
