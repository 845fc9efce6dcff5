"""Validate a corpus against FORMAT.md and its manifest's checksums.

Reads a folder made by `build_corpus.py`; writes nothing. Every problem names the file, the row (from 0) or the line
(from 1), and the field.
Exit codes: 0 the corpus is whole, 2 it is not. Example:

    python data_collection/check_corpus.py data/mmedc
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from language_codes import LANGUAGES
from readers.corpus_format import COLUMNS, FORMAT_VERSION, SHARD_NAME, arrow_schema, problems_of
from readers.document_files import read_batches
from run_record import InputError, parse_arguments, read_json, run_command, sha256_of_file

SHOWN = 20
STAGE = "data_collection/build_corpus.py"
LISTS = {
    "removed.jsonl": {"id": str, "language": str, "source": str, "origin": str, "reason": str},
    "cut.jsonl": {
        "id": str,
        "id_before": str,
        "language": str,
        "source": str,
        "origin": str,
        "characters": int,
        "questions": list,
    },
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("corpus", type=Path, help="folder made by build_corpus.py")
    parser.add_argument("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    manifest = open_corpus(args.corpus)
    problems = check_files(args.corpus, manifest)
    counts: dict[str, dict] = {}
    seen: dict[int, str] = {}
    for name in sorted(n for n in manifest["files"] if SHARD_NAME.match(n)):
        if (args.corpus / name).exists():
            problems += check_shard(args.corpus, name, counts, seen)
    problems += check_lists(args.corpus, manifest)
    if not problems and counts != manifest["counts"]:
        problems.append(f"manifest.json: counts are {manifest['counts']}, the shards hold {counts}")
    if problems:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(
            f"{args.corpus}: {len(problems)} problems (the contract is data_collection/FORMAT.md)\n"
            + "\n".join(problems[:SHOWN])
            + more
        )
    for language, sources in counts.items():
        for source, row in sources.items():
            print(f"{language} {source}: {row['documents']} documents, {row['characters']} characters")
    print(f"{args.corpus}: whole, {sum(r['documents'] for s in counts.values() for r in s.values())} documents")
    return 0


def open_corpus(corpus: Path) -> dict:
    """The corpus's manifest. Errors: InputError where it is missing or another artefact's."""
    if not corpus.is_dir():
        raise InputError(f"{corpus} is not a folder; give a folder made by build_corpus.py")
    path = corpus / "manifest.json"
    if not path.exists():
        raise InputError(f"{corpus} has no manifest.json: not a corpus, or incomplete; run build_corpus.py")
    manifest = read_json(path)
    if manifest.get("stage") != STAGE or manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path}: stage {manifest.get('stage')!r}, format_version {manifest.get('format_version')!r}; "
            f"expected {STAGE!r}, {FORMAT_VERSION}"
        )
    for key in ("files", "counts"):
        if not isinstance(manifest.get(key), dict):
            raise InputError(f"{path}: {key} is missing")
    return manifest


def check_files(corpus: Path, manifest: dict) -> list[str]:
    """Files that are missing, altered or not in the manifest."""
    problems = []
    for name, facts in manifest["files"].items():
        path = corpus / name
        if not path.exists():
            problems.append(f"{name}: named in the manifest but missing")
        elif path.stat().st_size != facts["bytes"] or sha256_of_file(path) != facts["sha256"]:
            problems.append(f"{name}: not the file the manifest describes (checksum differs)")
    found = {p.relative_to(corpus).as_posix() for p in corpus.rglob("*.parquet")}
    return problems + [f"{name}: not in the manifest" for name in sorted(found - manifest["files"].keys())]


def check_shard(corpus: Path, name: str, counts: dict, seen: dict[int, str]) -> list[str]:
    """Problems of one shard's columns and rows; adds to counts and to the ids seen so far."""
    language, source, _ = SHARD_NAME.match(name).groups()
    problems = []
    row_number = 0
    last_id = ""
    tally: Counter = Counter(shards=1)
    try:
        for batch in read_batches(corpus / name):
            if row_number == 0 and (wrong := _wrong_columns(batch.schema)):
                return [f"{name}: {wrong}"]
            for record in batch.to_pylist():
                where = f"{name} row {row_number}"
                problems += [f"{where} field {field}: {what}" for field, what in problems_of(record)]
                for field, folder in (("language", language), ("source", source)):
                    if record[field] != folder:
                        problems.append(f"{where} field {field}: is {record[field]!r} in the folder {folder!r}")
                problems += _check_id(where, record["id"], last_id, seen)
                last_id = record["id"] or last_id
                tally.update(documents=1, characters=len(record["text"] or ""))
                row_number += 1
    except InputError as error:
        problems.append(str(error))
    if language not in LANGUAGES:
        problems.append(f"{name}: {language!r} is none of {', '.join(LANGUAGES)}")
    row = counts.setdefault(language, {}).setdefault(source, {"documents": 0, "characters": 0, "shards": 0})
    for key in row:
        row[key] += tally[key]
    return problems


def check_lists(corpus: Path, manifest: dict) -> list[str]:
    """Problems of removed.jsonl and cut.jsonl, and of the manifest's sums of them."""
    problems = []
    found: dict[str, Counter] = {name: Counter() for name in LISTS if name in manifest["files"]}
    for name, counter in found.items():
        if not (corpus / name).exists():
            continue  # named by check_files already
        with open(corpus / name, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    wrong = next((f for f, kind in LISTS[name].items() if not isinstance(row[f], kind)), None)
                except (json.JSONDecodeError, TypeError, KeyError) as error:
                    problems.append(f"{name}:{number}: no object with {', '.join(LISTS[name])} ({error})")
                    continue
                if wrong:
                    problems.append(f"{name}:{number} field {wrong}: is {row[wrong]!r}")
                elif name == "removed.jsonl":
                    counter[row["reason"]] += 1
                else:
                    counter.update(documents=1, characters=row["characters"])
    if not problems and found.get("removed.jsonl", Counter()) != Counter(manifest.get("removed", {})):
        problems.append(
            f"manifest.json: removed is {manifest.get('removed')}, removed.jsonl holds "
            f"{dict(found.get('removed.jsonl', {}))}"
        )
    if not problems and found.get("cut.jsonl", Counter()) != Counter(manifest.get("cut", {})):
        problems.append(f"manifest.json: cut is {manifest.get('cut')}, cut.jsonl holds {dict(found['cut.jsonl'])}")
    for language, sources in manifest.get("tokens", {}).items():
        problems += [
            f"manifest.json: tokens of {language} {source} are {tokens!r}, or there are no such documents"
            for source, tokens in sources.items()
            if type(tokens) is not int or source not in manifest["counts"].get(language, {})
        ]
    return problems


def _wrong_columns(schema) -> str:
    if any(schema.remove_metadata().equals(arrow_schema(spans)) for spans in (False, True)):
        return ""
    return (
        f"columns are {', '.join(f'{f.name} {f.type}' for f in schema)}; "
        f"expected {', '.join(f'{n} {t}' for n, t in COLUMNS.items())}"
    )


def _check_id(where: str, document: str | None, last: str, seen: dict[int, str]) -> list[str]:
    try:
        number = int(document or "", 16)
    except ValueError:
        return []  # named by problems_of already
    problems = []
    if document <= last:
        problems.append(f"{where} field id: {document} does not follow {last} in order")
    if number in seen and document != last:
        problems.append(f"{where} field id: {document} is also in {seen[number]}")
    seen[number] = where
    return problems


if __name__ == "__main__":
    run_command(main)
