"""Measure decontaminate.py on one core: speed with many questions loaded, planted questions found, false positives.

Reads labelled documents (<iso>.parquet with columns text and label) and benchmarks. Prints three tables:

    speed      MB of UTF-8 text per CPU second and language: the command with --questions questions loaded, minus the
               start-up, which is the same command on one document (reads the benchmark, builds the tables). Documents
               are recombined from halves of two with the same label, --medical-share of them medical. If there are
               fewer questions, more are recombined in the same way, so that the tables have their full size
    planted    questions of --planted-from written into a general or medical document in each way of
               planted_questions.KINDS: number found; "without options" counts only those that can be found by the stem
    general    documents labelled general that are flagged with the real questions alone, and the upper 95 % bound of
               their share (Clopper-Pearson)

Example:

    python data_collection/bench_decontaminate.py ../shared/data/filter_text --benchmark data/MMedBench/Test
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
from math import exp, lgamma, log, log1p
from pathlib import Path

from benchmark_helpers.duplicate_measurements import write_finished_folder
from benchmark_helpers.measurement import (
    add_bench_flags,
    first_half,
    recombined,
    require_languages,
    second_half,
    timed,
    use_one_core,
    write_results,
)
from benchmark_helpers.planted_questions import KINDS, planted
from decontamination.found_questions import Finder
from decontamination.question_index import build_index, read_benchmarks
from language_codes import LANGUAGES
from mmedbench_questions import question_id
from run_record import InputError, parse_arguments, run_command

COMMAND = Path(__file__).with_name("decontaminate.py")
SAMPLE = Path(__file__).with_name("sample") / "benchmark"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add_bench_flags(add, rounds=2)
    add("--benchmark", type=Path, nargs="+", required=True, metavar="DIR", help="benchmark folders, all loaded")
    add(
        "--planted-from",
        type=Path,
        nargs="+",
        default=[SAMPLE],
        metavar="DIR",
        help="benchmark folders with questions to plant, also loaded (default: the sample, in all eight languages)",
    )
    add(
        "--plant-at-most",
        type=int,
        default=100,
        help="maximum number of planted questions per language (default: %(default)s)",
    )
    add(
        "--questions",
        type=int,
        default=60_000,
        help="number of questions loaded when measuring speed (default: %(default)s)",
    )
    add(
        "--megabytes",
        type=float,
        default=20.0,
        help="text per language, in MB (10^6 bytes of UTF-8) (default: %(default)s)",
    )
    add(
        "--medical-share",
        type=float,
        default=0.05,
        help="share of medical documents in the text for measuring speed (default: %(default)s)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if min(args.rounds, args.megabytes, args.questions, args.plant_at_most) <= 0:
        raise InputError("--rounds, --megabytes, --questions and --plant-at-most must be above 0")
    if not 0 <= args.medical_share <= 1:
        raise InputError(f"--medical-share {args.medical_share}: must be a share from 0 to 1")
    require_languages(args)
    texts = read_texts(args.input)
    questions = read_benchmarks(args.benchmark).questions
    use_one_core(args.core)
    result = {"planted": measure_planted(args, questions, texts), "general": measure_general(questions, texts)}
    with tempfile.TemporaryDirectory(prefix="bench_decontaminate_") as folder:
        result["speed"] = measure_speed(args, questions, texts, Path(folder))
    report(args, result)
    write_results(args, argv, result)
    return 0


def read_texts(folder: Path) -> dict[str, dict[str, list[str]]]:
    """{language: {label: texts}} of a folder."""
    import pyarrow.parquet

    texts: dict[str, dict[str, list[str]]] = {}
    for language in LANGUAGES:
        if (folder / f"{language}.parquet").is_file():
            table = pyarrow.parquet.read_table(folder / f"{language}.parquet", columns=["text", "label"])
            for row in table.to_pylist():
                texts.setdefault(language, {}).setdefault(row["label"], []).append(row["text"])
    return texts


def measure_planted(args: argparse.Namespace, questions: list[dict], texts: dict) -> dict:
    """{language: {kind: [found, planted]}}; stem and options are planted, so contexts are not loaded."""
    questions, own = (
        [question | {"left_out_contexts": []} for question in given]
        for given in (questions, read_benchmarks(args.planted_from).questions)
    )
    ids = {question["id"] for question in questions}
    index = build_index(questions + [question for question in own if question["id"] not in ids])
    places, how = {question["id"]: q for q, question in enumerate(index.questions)}, index.searchable()
    finder, rng, found = Finder(index), random.Random(args.seed), {}
    for language in LANGUAGES:
        mine = [question for question in own if question["language"] == language]
        mine = rng.sample(mine, min(len(mine), args.plant_at_most))
        hosts = [text for of_label in texts.get(language, {"": [""]}).values() for text in of_label]
        for kind in KINDS:
            for question in mine:
                q = places[question["id"]]
                if how[q] == "never" or (kind == "without options" and how[q] != "alone"):
                    continue
                host = rng.choice(hosts)
                text = f"{first_half(host)}\n{planted(question, kind, rng)}\n{second_half(host)}"
                row = found.setdefault(language, {}).setdefault(kind, [0, 0])
                row[0] += any(one.question == q for one in finder.find(text))
                row[1] += 1
    return found


def measure_general(questions: list[dict], texts: dict) -> dict:
    """{language: [flagged, documents]} of documents labelled general."""
    finder = Finder(build_index(questions))
    return {
        language: [
            sum(bool(finder.find(text)) for text in of_label.get("general", [])),
            len(of_label.get("general", [])),
        ]
        for language, of_label in texts.items()
    }


def measure_speed(args: argparse.Namespace, questions: list[dict], texts: dict, folder: Path) -> dict:
    """{language: {"megabytes", "cpu_s": [...], "start_cpu_s": [...]}}"""
    rng = random.Random(args.seed)
    write_questions(folder / "questions", questions, args.questions, rng)
    result = {}
    for language in args.languages:
        every = [text for of_label in texts[language].values() for text in of_label]
        pools = [texts[language].get(label) or every for label in ("general", "medical")]
        size, documents = 0, []
        while size < args.megabytes * 1e6:
            pool = pools[rng.random() < args.medical_share]
            documents.append(recombined(pool, rng))
            size += len(documents[-1].encode("utf-8", "replace"))
        for name, chosen in (("all", documents), ("one", documents[:1])):
            rows = [{"text": text, "url": str(number)} for number, text in enumerate(chosen)]
            write_finished_folder(folder / language / name, {language: rows}, source="textbook")
        result[language] = {"megabytes": size / 1e6, "cpu_s": [], "start_cpu_s": []}
    run_once(folder / language / "one", folder / "questions", folder / "out")  # compiles, not measured
    for number in range(args.rounds):
        for language, row in result.items():
            for name, key in (("one", "start_cpu_s"), ("all", "cpu_s")):
                row[key].append(run_once(folder / language / name, folder / "questions", folder / "out"))
            print(
                f"round {number + 1} of {args.rounds}: {language} {row['cpu_s'][-1]:.2f} CPU s, start-up "
                f"{row['start_cpu_s'][-1]:.2f} CPU s",
                flush=True,
            )
    return result


def write_questions(folder: Path, questions: list[dict], wanted: int, rng: random.Random) -> None:
    """Write exactly `wanted` questions to one file; missing ones join halves of two of one language."""
    folder.mkdir()
    by_language: dict[str, list[dict]] = {}
    for question in questions:
        by_language.setdefault(question["language"], []).append(question)
    written, tries = {question["id"]: question for question in questions[:wanted]}, 0
    while len(written) < wanted:
        tries += 1
        if tries > 100 * wanted:
            raise InputError(
                f"--questions {wanted}: {len(questions)} questions do not give that many; use a smaller number"
            )
        one = rng.choice(questions)
        other = rng.choice(by_language[one["language"]])
        text = f"{first_half(one['question'])} {second_half(other['question'])}"
        options = dict(zip("AB", (*one["options"].values(), *other["options"].values()), strict=False))
        options |= {letter: text for letter, text in other["options"].items() if letter > "B"}
        made = {"question": text, "options": options, "answer_idx": "A", "language": one["language"]}
        if "".join(options) == "ABCDEFGHIJ"[: len(options)]:
            written[question_id(made)] = made
    fields = ("question", "options", "answer_idx", "language", "context")
    with open(folder / "all.jsonl", "w", encoding="utf-8") as file:
        for question in written.values():
            kept = {field: value for field, value in question.items() if field in fields}
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")


def run_once(documents: Path, questions: Path, out: Path) -> float:
    """CPU seconds of decontaminate.py with one worker."""
    shutil.rmtree(out, ignore_errors=True)
    return timed([sys.executable, COMMAND, documents, "--benchmark", questions, "--out", out, "--workers", "1"]).cpu_s


def upper_bound(flagged: int, documents: int) -> float:
    """The share at which at most `flagged` of `documents` are flagged with probability 2.5 % (Clopper-Pearson)."""

    def probability(p: float) -> float:
        return sum(
            exp(
                lgamma(documents + 1)
                - lgamma(k + 1)
                - lgamma(documents - k + 1)
                + k * log(p)
                + (documents - k) * log1p(-p)
            )
            for k in range(flagged + 1)
        )

    low, high = 1e-12, 1 - 1e-12
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) > 0.025 else (low, middle)
    return high


def report(args: argparse.Namespace, result: dict) -> None:
    print(f"\nMB of text per CPU second, {args.questions} questions loaded, medians of {args.rounds} rounds:\n")
    print("| language | MB/s | minimum to maximum | start-up, CPU s | with start-up, MB/s |")
    print("|---|---:|---:|---:|---:|")
    for language, row in result["speed"].items():
        start = statistics.median(row["start_cpu_s"])
        speeds = sorted(row["megabytes"] / max(cpu - start, 1e-3) for cpu in row["cpu_s"])
        print(
            f"| {language} | {statistics.median(speeds):.1f} | {speeds[0]:.1f} to {speeds[-1]:.1f} | {start:.1f} | "
            f"{row['megabytes'] / statistics.median(row['cpu_s']):.1f} |"
        )
    print("\nPlanted questions found:\n")
    print("| language | " + " | ".join(KINDS) + " |\n|---|" + "---:|" * len(KINDS))
    for language, kinds in result["planted"].items():
        print(
            f"| {language} | "
            + " | ".join(f"{kinds[k][0]} of {kinds[k][1]}" if k in kinds else "-" for k in KINDS)
            + " |"
        )
    flagged, documents = (sum(row[k] for row in result["general"].values()) for k in (0, 1))
    print("\nGeneral documents flagged: " + ", ".join(f"{iso} {a} of {b}" for iso, (a, b) in result["general"].items()))
    print(f"all: {flagged} of {documents}, upper 95 % bound {100 * upper_bound(flagged, documents):.3f} %")


if __name__ == "__main__":
    run_command(main)
