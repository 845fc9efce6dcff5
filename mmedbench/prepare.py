"""Build MMedBench from its source exams in the released layout; every rule is stated, every exclusion listed.

Reads   a folder, a zip or one file: exams in their raw formats (recognised by their files, see find_sources.py), any
        other exam as a table (generic_source.py), the released layout (Train/English.jsonl ...), the English
        benchmarks; or, with --hub, the released files from the Hugging Face hub.
Writes  --out: Train/ Dev/ Test/ with one file per language, English_benchmarks/ if asked for, README.md (a card that
        `datasets.load_dataset` reads), excluded.jsonl, duplicates.jsonl, left_out_contexts.jsonl,
        unmatched_rationales.jsonl, and manifest.json last. The record is described in FORMAT.md.

    python mmedbench/prepare.py data/sources --out data/MMedBench --english-benchmarks
    python mmedbench/prepare.py data/sources --out data/MMedBench --known-test data/released/Test --dry-run
    python mmedbench/prepare.py --hub Henrychur/MMedBench --out data/MMedBench

Exit 3: written, but damaged records were skipped (excluded.jsonl).
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES, content_key, question_id
from run_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
    write_text,
)
from sources import benchmark_report, generic_source, question_splits, source_exams
from sources.exam_rules import DAMAGED, REASONS, Entry, broken_text
from sources.find_sources import (
    BENCHMARK_FAMILIES,
    PUBMEDQA_TEST_IDS,
    SPLITS,
    SourceFile,
    find_sources,
    read_medmcqa,
    read_mmlu,
    read_pubmedqa,
)
from sources.opened_sources import Opened, opened_sources
from sources.raw_files import field, json_lines

FORMAT_VERSION = 1
READERS = {
    "medqa": source_exams.read_medqa,
    "igakuqa": source_exams.read_igakuqa,
    "frenchmedmcqa": source_exams.read_frenchmedmcqa,
    "rumeddanet": source_exams.read_rumeddanet,
    "headqa": source_exams.read_headqa,
    "layout": source_exams.read_layout,
    "medmcqa": read_medmcqa,
    "pubmedqa": read_pubmedqa,
    "mmlu": read_mmlu,
    "benchmark": source_exams.read_layout,
    "generic": generic_source.read_generic,
}


def read_entries(files: list[SourceFile]) -> list[Entry]:
    """Every question of the recognised files, in path order."""
    entries = []
    for file in files:
        layout = file.family == "layout"
        split_here = benchmark_report.languages_split_here(file.path.parent.parent) if layout else set()
        for entry in READERS[file.family](file.path):
            entry.source = entry.source or file.source
            entry.language, entry.split = entry.language or file.language, entry.split or file.split
            entry.released = entry.released and entry.language not in split_here
            if file.family in BENCHMARK_FAMILIES:
                entry.split = "English_benchmarks"
            if file.family == "benchmark" and entry.source.replace(" ", "_") != file.path.stem:
                entry.source = file.path.stem  # it names the file that is written
            entries.append(entry)
    return entries


def join_rationales(paths: list[Path], entries: list[Entry]) -> tuple[dict, list[dict]]:
    """Give the rationales of files {id, rationale, human_checked?, human_check_passed?} to their questions.

    Returns (counts, the lines whose id is not a question's). Errors: InputError when one id gets two rationales.
    """
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.record and entry.split in SPLITS:
            by_id.setdefault(question_id(entry.record), []).append(entry)
    given, unmatched = {}, []
    for path in paths:
        for number, (where, line) in enumerate(json_lines(path), start=1):
            key, text = field(line, "id", str, where), field(line, "rationale", str, where)
            if broken_text(text):
                raise InputError(f"{where}: rationale: contains a NUL character or an unpaired surrogate; repair it")
            if key in given and given[key] != text:
                raise InputError(f"{where}: a second rationale of the question {key}; leave one of them")
            given[key] = text
            if key not in by_id:
                unmatched.append({"file": path.name, "record": number, "id": key})
            for entry in by_id.get(key, []):
                marks = {name: bool(line.get(name)) for name in ("human_checked", "human_check_passed")}
                entry.origin = {"rationale": text, **marks}
    joined = sum(key in by_id for key in given)
    return {"given": len(given), "joined": joined, "unmatched": len(unmatched)}, unmatched


def written_record(entry: Entry) -> dict:
    """The record as it is written: FORMAT.md's fields in their order."""
    record = {
        "id": question_id(entry.record),
        "language": entry.language,
        "source": entry.source,
        **{name: entry.record[name] for name in ("question", "options", "answer_idx")},
        "rationale": entry.origin.get("rationale", ""),
        "human_checked": entry.origin.get("human_checked", False),
        "human_check_passed": entry.origin.get("human_check_passed", False),
    }
    if entry.record.get("context"):
        record["context"] = entry.record["context"]
    return record


def lay_out(entries: list[Entry]) -> dict[str, list[dict]]:
    """{"Train/English.jsonl": records, ...} in reading order."""
    files: dict[str, list[dict]] = {}
    for entry in entries:
        if not entry.record:
            continue
        record = written_record(entry)
        name = LANGUAGE_FILES[entry.language]
        if entry.split == "English_benchmarks":
            name = f"{entry.source.replace(' ', '_')}.jsonl"
        files.setdefault(f"{entry.split}/{name}", []).append(record)
    return dict(sorted(files.items()))


def add_medqa_benchmark(files: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Copy MedQA's US test questions from Test/English.jsonl to the benchmark MedQA."""
    medqa = [r for r in files.get("Test/English.jsonl", []) if r["source"] == "MedQA (US)"]
    return dict(sorted({**files, **({"English_benchmarks/MedQA.jsonl": medqa} if medqa else {})}.items()))


@dataclass
class Prepared:
    """A benchmark in memory: question files, other files, and the manifest without its last keys."""

    files: dict[str, list[dict]]
    texts: dict[str, str]
    manifest: dict


def build(
    options: argparse.Namespace, root: Path, sources: list[SourceFile], known: list[tuple[Path, list[dict]]]
) -> Prepared:
    """Read, split, clean and count; writes nothing. Errors: InputError from the readers."""
    entries = read_entries(sources)
    keys = {content_key(record) for _, records in known for record in records}
    moved = question_splits.assign_hashed_splits(entries, keys)
    taken_out = question_splits.take_out_known(entries, keys)
    groups = question_splits.find_copies(entries)
    copies, copy_counts = copy_rows(groups), question_splits.count_copies(groups)
    removed = question_splits.remove_copies(groups) if options.remove_duplicates else 0
    rationales, unmatched = join_rationales(options.rationales, entries)
    files = lay_out(entries)
    if options.english_benchmarks:
        files = add_medqa_benchmark(files)
        if not any(name.startswith("English_benchmarks/") for name in files):
            raise InputError(f"--english-benchmarks: {root} contains none of MedQA, MedMCQA, PubMedQA, MMLU")
    if not files:
        why = benchmark_report.why_none(entries)
        raise InputError(f"all questions of {root} were excluded, {why}; nothing to write")
    counts, released = benchmark_report.compare_counts(entries)
    strip = f"{root}/"
    excluded = [
        {
            "source": e.source,
            "language": e.language,
            "split": e.split,
            "where": e.where.removeprefix(strip),
            "reason": e.excluded,
            "detail": e.detail,
        }
        for e in entries
        if e.excluded
    ]
    for row in copies:
        for place in row["places"]:
            place["where"] = place["where"].removeprefix(strip)
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": "mmedbench/prepare.py",
        "counts": counts,
        "released_split": released,
        "sources": benchmark_report.source_counts(entries),
        "file_notes": benchmark_report.file_notes(root, [file.path for file in sources]),
        "excluded_reasons": {r: REASONS[r] for r in sorted({e.excluded for e in entries if e.excluded})},
        "duplicates": {"groups": copy_counts, "removed": removed},
        "known_test": {
            "questions": len(keys),
            "moved_to_test": moved,
            "taken_out": taken_out,
            "reproduced": benchmark_report.known_report(known, entries),
        },
        "rationales": rationales,
        "english_benchmarks": {name: len(r) for name, r in files.items() if name.startswith("English_benchmarks/")},
    }
    notes = [
        f"{row['language']} {row['split']}: {row['found']} questions, {row['published']} published ({row['note']})"
        for row in counts
        if row["published"] is not None
    ]
    languages = {entry.source: entry.language for entry in entries if entry.record}
    texts = {
        "README.md": benchmark_report.write_card(files, languages, notes),
        "excluded.jsonl": as_lines(excluded),
        "duplicates.jsonl": as_lines(copies),
        "left_out_contexts.jsonl": as_lines(left_out_contexts(entries)),
        "unmatched_rationales.jsonl": as_lines(unmatched),
    }
    return Prepared(files, texts, manifest)


def copy_rows(groups: list[list[Entry]]) -> list[dict]:
    """Lines of duplicates.jsonl, one per group: where its copies are and whether their answers agree."""
    return [
        {
            "language": group[0].language,
            "same_answer": len({question_splits.right_texts(e.record) for e in group}) == 1,
            "places": [
                {
                    "split": e.split,
                    "source": e.source,
                    "id": question_id(e.record),
                    "answer_idx": e.record["answer_idx"],
                    "where": e.where,
                }
                for e in group
            ],
        }
        for group in groups
    ]


def left_out_contexts(entries: list[Entry]) -> list[dict]:
    """The lines of left_out_contexts.jsonl: of each question that is kept, the context that its record omits."""
    return [
        {"id": question_id(e.record), "language": e.language, "split": e.split, "source": e.source, **e.left_out}
        for e in entries
        if e.record and e.left_out
    ]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument(
        "sources",
        type=Path,
        nargs="?",
        metavar="SOURCES",
        help="folder or zip of exams (raw formats, tables, the released layout), or one such file",
    )
    parser.add_argument(
        "--hub",
        metavar="NAME",
        help="a dataset of the Hugging Face hub in place of SOURCES, such as Henrychur/MMedBench, the released files",
    )
    parser.add_argument(
        "--revision",
        default="main",
        metavar="REV",
        help="branch, tag or commit of --hub; only a commit is reproducible (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/MMedBench"), help="folder to make (default: %(default)s)"
    )
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument(
        "--known-test",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of questions that must be in Test and not in Train (repeatable)",
    )
    parser.add_argument(
        "--rationales",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="JSONL of {id, rationale} to join (repeatable)",
    )
    parser.add_argument(
        "--english-benchmarks",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also write English_benchmarks/: MedQA, MedMCQA, PubMedQA, MMLU (default: no)",
    )
    parser.add_argument(
        "--remove-duplicates",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="keep one copy of each question, Test before Dev before Train (default: report only, "
        "which keeps the published counts)",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check everything, print, write nothing")
    return parser


def described_inputs(options: argparse.Namespace, opened: Opened, files: list[SourceFile]) -> dict:
    """Checksums of all that decides the output."""
    paths = [file.path for file in files]
    paths += [f.path.with_name(PUBMEDQA_TEST_IDS) for f in files if f.family == "pubmedqa"]
    for path in [*paths, *options.rationales]:
        if not path.is_file():
            raise InputError(f"{path} is missing")
    known = [describe_files(folder, sorted(folder.rglob("*.jsonl"))) for folder in options.known_test]
    rationales = [
        {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}} for path in options.rationales
    ]
    return {
        "sources": describe_files(opened.root, paths),
        "known_test": known,
        "rationales": rationales,
        **opened.origin,
    }


def check_output(options: argparse.Namespace, arguments: dict, inputs: dict) -> bool:
    """True if --out already contains this benchmark. Errors: InputError if it contains anything else."""
    out = options.out
    if options.sources and options.sources.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"--out {out} lies inside SOURCES; the next run would read it as a source. Choose another")
    if out.is_file():
        raise InputError(f"--out {out} is a file; give a folder to make")
    record = finished_record(out / "manifest.json", arguments, inputs)
    if record is None:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} holds files but no manifest.json; use another --out, or empty that folder")
        return False
    for name, described in record.get("files", {}).items():
        path = out / name
        if not path.is_file() or sha256_of_file(path) != described["sha256"]:
            raise InputError(f"{path} is missing or was changed after it was made; delete {out} to make it again")
    return True


def write_benchmark(options: argparse.Namespace, files: dict, texts: dict[str, str], manifest: dict) -> None:
    """Write into <out>.partial, the manifest last, then rename the folder."""
    aside = options.out.with_name(options.out.name + ".partial")
    if aside.exists():
        shutil.rmtree(aside)
    for name, records in files.items():
        texts[name] = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    for name, text in sorted(texts.items()):
        write_text(aside / name, text)
    manifest["files"] = describe_files(aside, [aside / name for name in texts])
    manifest["provenance"] = provenance(options.command_line)
    write_json(aside / "manifest.json", manifest)
    aside.replace(options.out)


def as_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(build_parser(), argv)
    options.command_line = sys.argv[1:] if argv is None else argv
    shown = {
        name: " ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name != "command_line"
    }
    print("arguments: " + ", ".join(f"{name}={value}" for name, value in shown.items()))
    if (options.sources is None) == (options.hub is None):
        raise InputError("give SOURCES (a folder, a zip or a file) or --hub NAME, one of the two")
    with opened_sources(options.sources, options.hub, options.revision) as opened:
        return prepare(options, opened)


def prepare(options: argparse.Namespace, opened: Opened) -> int:
    """Build the benchmark from the opened sources. Errors: InputError."""
    files, others = find_sources(opened.root, opened.only)
    if not options.english_benchmarks:
        files = [file for file in files if file.family not in BENCHMARK_FAMILIES]
    if not files:
        place = opened.only or opened.root
        raise InputError(f"no exam is recognised in {place}; see mmedbench/README.md for the formats")
    left_alone = sorted(path.relative_to(opened.root).as_posix() for path in others)
    named = f" (manifest.json names them): {', '.join(left_alone[:5])}{' ...' if others[5:] else ''}" if others else ""
    print(f"{len(files)} source files recognised, {len(others)} other data files left alone{named}")
    arguments = {"english_benchmarks": options.english_benchmarks, "remove_duplicates": options.remove_duplicates}
    known = [(folder, question_splits.read_known_test(folder)) for folder in options.known_test]
    inputs = described_inputs(options, opened, files)
    if check_output(options, arguments, inputs):
        print(f"{options.out} is complete and made from the same inputs: reused")
        return exit_code(read_json(options.out / "manifest.json"))
    prepared = build(options, opened.root, files, known)
    prepared.manifest.update(arguments=arguments, inputs=inputs, parent=None, left_alone=left_alone)
    if not options.dry_run:
        write_benchmark(options, prepared.files, prepared.texts, prepared.manifest)
    benchmark_report.print_report(prepared.manifest)
    if options.dry_run:
        print(f"dry run: would write {len(prepared.files)} files of questions to {options.out}")
    else:
        print(f"wrote {options.out}")
    return exit_code(prepared.manifest)


def exit_code(manifest: dict) -> int:
    """3 if damaged records were skipped, else 0."""
    damaged = sum(row["excluded"].get(reason, 0) for row in manifest["sources"].values() for reason in DAMAGED)
    if damaged:
        print(
            f"{damaged} damaged records were skipped; excluded.jsonl lists them with file and line",
            file=sys.stderr,
        )
    return 3 if damaged else 0


if __name__ == "__main__":
    run_command(main)
