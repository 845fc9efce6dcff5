"""Export the verdicts: a copy of the benchmark with human_checked and human_check_passed.

Reads   a review database and the folder in MMedBench's layout that it was drawn from.
Writes  --out: every file of that folder, with only the judged lines changed; human_check.jsonl (one line per judged
        rationale: {id, language, reviewer_1, reviewer_2, referee, verdict}); manifest.json last.

    export_verdicts(store, Path("data/MMedBench"), Path("data/MMedBench_checked"), notes=False)
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from mmedbench_questions import check_record, question_id, unique_keys
from review_desk.review_agreement import agreement, agreement_table, verdicts
from review_desk.review_sample import check_benchmark
from review_desk.review_store import Answer, ReviewStore, item_key
from run_record import (
    InputError,
    describe_files,
    finished_record,
    provenance,
    sha256_of_file,
    write_json,
    write_text,
)
from sources.find_sources import SPLITS

JUDGED_FILE = "human_check.jsonl"
CARD_TITLE = "\n## Human check of the rationales\n"
MARK = b"\xef\xbb\xbf"  # byte-order mark


@dataclass
class Export:
    """What would be written: changed files, judgement rows, the marks placed by key, and counts by language."""

    files: dict[str, bytes]
    rows: list[dict]
    placed: Counter
    settled: dict[str, bool]
    agreement: dict


def export_verdicts(store: ReviewStore, data: Path, out: Path, notes: bool, dry_run: bool, argv: list[str]) -> int:
    """Write `out` and print what was done. Returns 0, or 3 if a judged rationale is no longer in `data`."""
    manifest = check_benchmark(data)
    if data.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"--out {out} lies inside --data; choose another folder")
    paths = [
        path
        for path in sorted(data.rglob("*"))
        if path.is_file()
        and path.name != "manifest.json"
        and not any(part.startswith(".") for part in path.relative_to(data).parts)
    ]
    rows = judgement_rows(store, notes)
    inputs = {"data": describe_files(data, paths), "judgements": judgements_digest(rows, agreement(store))}
    if finished_record(out / "manifest.json", {"notes": notes}, inputs):
        check_benchmark(out)
        print(f"{out} is complete and made from the same judgements: reused")
        return 3 if read_missing(out) else 0
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder and has no manifest.json; use another --out")
    done = mark_records(store, data, paths, rows)
    if not done.placed.total() and done.settled:
        raise InputError(
            f"none of the {len(done.settled)} judged rationales is in {data}; is it the benchmark "
            f"that {store.path} was drawn from ({store.facts()['benchmark']})?"
        )
    missing = sorted(row["id"] for row in rows if not done.placed[row["key"]])
    print_counts(done, missing)
    if dry_run:
        print(f"dry run: would write {out}")
    else:
        record = {
            **(manifest or {"format_version": 1}),
            "stage": "mmedbench/review.py",
            "arguments": {"notes": notes},
            "inputs": inputs,
            "review": {"counts": done.agreement, "not_found": missing},
            "parent": sha256_of_file(data / "manifest.json") if manifest else None,
        }
        write_export(data, out, paths, done, missing, record, argv)
        print(f"wrote {out}")
    if missing:
        print(f"{len(missing)} judged rationales are no longer in {data} (edited since then?), see failures.jsonl")
    return 3 if missing else 0


def read_missing(out: Path) -> bool:
    return (out / "failures.jsonl").exists()


def judgement_rows(store: ReviewStore, notes: bool) -> list[dict]:
    """One row per settled rationale, in the sample's order, with the judgements by role, without names."""
    people = {f"reviewer_{number}": person for number, person in enumerate(store.reviewers, start=1)}
    people |= {"referee": store.referee} if store.referee else {}
    answers = {role: store.answers(person) for role, person in people.items()}
    found = verdicts(store)
    rows = []
    for item in (item for items in store.items.values() for item in items):
        if found[item.id].settled:
            said = {role: _shown(answers[role].get(item.id), notes) for role in people}
            if not found[item.id].conflicts:
                said.pop("referee", None)
            rows.append(
                {
                    "id": item.record["id"],
                    "language": item.language,
                    "key": item.key,
                    **said,
                    "verdict": {**found[item.id].values, "passed": found[item.id].passed},
                }
            )
    return rows


def _shown(answer: Answer | None, notes: bool) -> dict | None:
    if answer is None:
        return None
    shown = asdict(answer)
    if not notes:
        del shown["note"]
    return shown


def judgements_digest(rows: list[dict], agreed: dict) -> dict:
    """How many judgements and their SHA-256: what of the database decides the output."""
    text = json.dumps([rows, agreed], ensure_ascii=False, sort_keys=True)
    return {"settled": len(rows), "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def mark_records(store: ReviewStore, data: Path, paths: list[Path], rows: list[dict]) -> Export:
    """Find the judged records in every question file: each copy is marked. Errors: InputError with path:line."""
    settled = {row["key"]: row["verdict"]["passed"] for row in rows}
    placed: Counter = Counter()
    folders = {*SPLITS, "English_benchmarks"}
    files = {}
    for path in paths:
        name = path.relative_to(data)
        if path.suffix == ".jsonl" and len(name.parts) == 2 and name.parts[0] in folders:
            marked = mark_file(path, settled, placed)
            if marked is not None:
                files[name.as_posix()] = marked
    return Export(files, rows, placed, settled, agreement(store))


def mark_file(path: Path, settled: dict[str, bool], placed: Counter) -> bytes | None:
    """The file's bytes with only the judged lines changed; None if no line changes."""
    data = path.read_bytes()
    start = MARK if data.startswith(MARK) else b""
    lines = data.removeprefix(MARK).split(b"\n")
    changed = False
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            record = check_record(json.loads(raw.decode("utf-8"), object_pairs_hook=unique_keys))
        except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or a broken record
            raise InputError(f"{path}:{number}: {error}; `python mmedbench/check.py` lists all problems") from None
        key = item_key(record, question_id(record))
        if key in settled:
            placed[key] += 1
            record |= {"human_checked": True, "human_check_passed": settled[key]}
            end = b"\r" if raw.endswith(b"\r") else b""
            lines[number - 1] = json.dumps(record, ensure_ascii=False).encode("utf-8") + end
            changed = True
    return start + b"\n".join(lines) if changed else None


def print_counts(done: Export, missing: list[str]) -> None:
    """Counts per language, and how many lines were marked."""
    print(f"{'language':<9} {'sampled':>7} {'both judged':>11} {'open':>5} {'human_checked':>13} {'passed':>7}")
    for language, row in done.agreement.items():
        print(
            f"{language:<9} {row['items']:>7} {row['both']:>11} {row['open_conflicts']:>5} {row['settled']:>13} "
            f"{row['passed']:>7}"
        )
    print(f"{done.placed.total()} lines of {len(done.files)} files marked; {len(missing)} judged rationales not found")


def card_section(rows: dict[str, dict]) -> str:
    """The dataset card's section about the human check."""
    lines = [
        CARD_TITLE,
        "Two reviewers, blind to each other, judged whether a rationale supports the given answer and",
        "whether its statements are right and address the options; a referee settled disagreements.",
        "",
        "| language | judged | passed |",
        "|---|---|---|",
    ]
    lines += [f"| {language} | {row['settled']} | {row['passed']} |" for language, row in rows.items()]
    return "\n".join([*lines, "", "```", *agreement_table(rows), "```", ""])


def write_export(
    data: Path, out: Path, paths: list[Path], done: Export, missing: list[str], record: dict, argv: list[str]
) -> None:
    """Write into <out>.partial, the manifest last, then rename the folder."""
    aside = out.with_name(out.name + ".partial")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    for path in paths:
        name = path.relative_to(data).as_posix()
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        with open(aside / name, "wb") as file:
            file.write(done.files.get(name) or path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
    if (aside / "README.md").is_file():
        card = (aside / "README.md").read_text(encoding="utf-8").split(CARD_TITLE)[0]
        write_text(aside / "README.md", card + card_section(done.agreement))
    public = [{name: value for name, value in row.items() if name != "key"} for row in done.rows]
    write_text(aside / JUDGED_FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in public))
    (aside / "failures.jsonl").unlink(missing_ok=True)
    if missing:
        reason = "the judged question, answer and rationale are in no file of --data"
        write_text(aside / "failures.jsonl", "".join(json.dumps({"id": i, "reason": reason}) + "\n" for i in missing))
    written = [path for path in sorted(aside.rglob("*")) if path.is_file()]
    write_json(
        aside / "manifest.json", {**record, "files": describe_files(aside, written), "provenance": provenance(argv)}
    )
    if out.is_dir():
        out.rmdir()
    aside.replace(out)
