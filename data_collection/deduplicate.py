"""Find near duplicates among the documents of finished folders, within each language.

Reads folders made by `filter.py`, `ocr.py`, `websites.py`, `existing_corpora.py` or `build_corpus.py`, in any number
and order. Writes a list, no texts:

    OUT/duplicates.parquet   documents to omit: id, kept_id, cluster, language, source, origin, similarity, reason
    OUT/manifest.json        counts and checksums; written last

`build_corpus.py --duplicates OUT` leaves them out. Documents whose Jaccard similarity, over sequences of five words
(Chinese and Japanese: characters), is at least --threshold are one cluster, of which one is kept. Exact duplicates are
counted here and removed by build_corpus.py.

Rerun the same command to resume an interrupted run. With --shard the same command runs as many jobs on one OUT: the
first array makes signatures, the same array again compares, and the last to end writes the list. Example:

    python data_collection/deduplicate.py data/filtered data/ocr --out data/duplicates
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from dedup.document_catalogue import Catalogue, make_catalogue
from dedup.duplicate_clusters import join_bands, pairs_file, removed_documents, write_duplicates
from dedup.minhash_signatures import bands_for, method, sign_unit
from executor.run_folder import one_at_a_time, refuse_nesting
from executor.sharded_run import Unfinished, add_run_flags, others_missing, require_at_least, run_sharded
from executor.workers import run_units
from readers.corpus_inputs import Unit, open_input, units_of
from run_record import (
    InputError,
    describe_files,
    parse_arguments,
    provenance,
    read_json,
    run_command,
    sha256_of_file,
    write_json,
)

STAGE = "data_collection/deduplicate.py"
FORMAT_VERSION = 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("inputs", type=Path, nargs="+", help="finished folders of documents")
    add("--out", type=Path, required=True, help="output folder (created if missing)")
    add(
        "--threshold",
        type=float,
        default=0.8,
        help="minimum Jaccard similarity of near duplicates, 0.5 to 1 (default: %(default)s)",
    )
    add_run_flags(add, unit_mb=256, shard_help="; start the array twice, for signatures and for comparison")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    manifests = check_inputs(args)
    units = units_of(manifests, args.unit_mb * 1_000_000)
    arguments = {"threshold": args.threshold}
    inputs = {sha256_of_file(folder / "manifest.json"): m["stage"] for folder, m in manifests.items()}
    print_plan(args, manifests, units)
    if args.dry_run:
        return 0
    return run_sharded(
        args.out,
        args.shard,
        arguments,
        inputs,
        lambda parts: prepare(args, manifests, units, parts),
        lambda parts: finish(args, arguments, inputs, parts, len(units), argv),
        report,
        resume_only=({}, {"unit_mb": args.unit_mb, "method": method(args.threshold)}),
    )


def check_inputs(args: argparse.Namespace) -> dict[Path, dict]:
    """{folder: manifest} of the inputs, finished and unaltered, in an order that the command line does not decide."""
    if not 0.5 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold}: a similarity from 0.5 to 1 is needed")
    require_at_least(args, unit_mb=1, workers=1)
    manifests: dict[Path, dict] = {}
    for folder in args.inputs:
        if folder.resolve() in [f.resolve() for f in manifests]:
            raise InputError(f"{folder} is given twice")
        manifests[folder] = open_input(folder)
        refuse_nesting(folder, args.out)
    return dict(sorted(manifests.items(), key=lambda item: sha256_of_file(item[0] / "manifest.json")))


def print_plan(args: argparse.Namespace, manifests: dict[Path, dict], units: list[Unit]) -> None:
    for name in ("out", "threshold", "unit_mb", "workers"):
        print(f"{name}: {getattr(args, name)}")
    for name, value in method(args.threshold).items():
        print(f"{name}: {value}")
    for folder, manifest in manifests.items():
        count = sum(unit.folder == folder for unit in units)
        print(f"input: {folder} ({manifest['stage']}), {count} units" + ("" if count else ": it contains no document"))
    if args.shard:
        own = sum(u % args.shard[1] == args.shard[0] for u in range(len(units)))
        print(f"shard {args.shard[0]}/{args.shard[1]}: {own} units")


def unit_folders(parts: Path, count: int) -> list[Path]:
    return [parts / f"unit-{u:05d}" for u in range(count)]


def prepare(args: argparse.Namespace, manifests: dict[Path, dict], units: list[Unit], parts: Path) -> Unfinished | None:
    """Sign this shard's units and, if all units are signed, compare its bands."""
    share, shares = args.shard or (0, 1)
    folders = unit_folders(parts, len(units))
    signing = [
        (unit, manifests[unit.folder], folder, args.threshold)
        for u, (unit, folder) in enumerate(zip(units, folders, strict=True))
        if u % shares == share and not (folder / "done.json").exists()
    ]
    run_tasks(sign_unit, signing, args.workers, "signatures of units")
    if missing := sum(not (folder / "done.json").exists() for folder in folders):
        return Unfinished(
            f"{len(units) - missing} of {len(units)} units have their signatures; the other shards do the rest. When "
            "they have ended, start all shards again to compare"
        )
    with one_at_a_time(args.out):
        if not (parts / "catalogue").exists():
            make_catalogue(folders, parts / "catalogue")
    pairs = parts / "pairs"
    pairs.mkdir(exist_ok=True)
    languages = languages_of(parts)
    bands = range(bands_for(args.threshold).bands)
    joining = []
    for language in languages:
        own = [b for b in bands if b % shares == share and not pairs_file(pairs, language, b).exists()]
        joining += [
            (parts, language, len(units), own[worker :: args.workers], args.threshold)
            for worker in range(min(args.workers, len(own)))
        ]
    run_tasks(join_bands_of, joining, args.workers, "languages' bands compared")
    done = sum(pairs_file(pairs, language, b).exists() for language in languages for b in bands)
    return others_missing(done, len(bands) * len(languages), "bands")


def languages_of(parts: Path) -> list[str]:
    """Languages with a document to compare."""
    return sorted(path.stem for path in (parts / "catalogue").glob("*.npy"))


def join_bands_of(parts: Path, language: str, units: int, bands: list[int], threshold: float) -> None:
    join_bands(Catalogue(parts / "catalogue", language, unit_folders(parts, units)), bands, threshold, parts / "pairs")


def run_tasks(work: Callable, tasks: list[tuple], workers: int, what: str) -> None:
    run_units(work, dict(enumerate(tasks)), workers, lambda *_: what)


def finish(
    args: argparse.Namespace, arguments: dict, inputs: dict, parts: Path, units: int, argv: list[str] | None
) -> dict:
    """Choose what is kept, write the list and, last, the manifest, which is returned."""
    record = read_json(parts / "catalogue" / "counts.json")
    if not record["counts"]:
        shutil.rmtree(parts)
        raise InputError("the inputs contain no document in any of the eight languages: nothing to compare")
    columns = []
    for row in record["counts"].values():
        row |= {"near_duplicates": 0, "clusters": 0, "kept_apart": 0}
    for language in languages_of(parts):
        catalogue = Catalogue(parts / "catalogue", language, unit_folders(parts, units))
        of_one, counts = removed_documents(catalogue, parts / "pairs")
        columns.append(of_one)
        record["counts"][language] |= counts
    listing = args.out / "duplicates.parquet"
    write_duplicates(listing, columns)
    manifest = {
        "format_version": FORMAT_VERSION,
        "stage": STAGE,
        "arguments": arguments,
        "inputs": dict(sorted(inputs.items())),
        "method": method(args.threshold),
        **record,
        "files": describe_files(args.out, [listing]),
        "parent": sorted(inputs),
        "provenance": provenance(argv),
    }
    write_json(args.out / "manifest.json", manifest)
    return manifest


def report(manifest: dict) -> int:
    """Print what was found per language; returns the exit code."""
    for language, row in manifest["counts"].items():
        print(
            f"{language}: {row['documents']} documents, {row['exact_duplicates']} exact duplicates, "
            f"{row['near_duplicates']} near duplicates in {row['clusters']} clusters, "
            f"{row['without_words']} without words"
        )
    for reason, count in manifest["skipped"].items():
        print(f"not compared: {count} ({reason})")
    return 0


if __name__ == "__main__":
    run_command(main)
