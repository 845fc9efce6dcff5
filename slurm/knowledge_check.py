"""Check on a CPU that facts in the corpus reach the benchmark's score, through the stages' own commands.

Writes  OUT/report.md, knowledge.png/.svg, result.json (last); OUT/seed-N: worlds, corpora, models, results, logs
Example bash slurm/knowledge_check.sh --out DIR                        target and control, three seeds
        bash slurm/knowledge_check.sh --out DIR --smoke                the corpus into the model only
        bash slurm/knowledge_check.sh --out DIR --arms none half target

In a small invented world (knowledge_world.py) the facts about the medicines that Test asks are in one corpus alone.
A tiny model is trained further on that corpus (arm target) or on one without them (arm control), both are fine-tuned
alike on Train and asked alike. Rerun the same command to resume an interrupted check. Exit codes: 0 passed or reported,
1 failed, 2 bad input, 3 inconclusive.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from synthetic_facts.knowledge_steps import (
    ARMS,
    Scale,
    Step,
    StepFailed,
    comparison,
    examine,
    further,
    prepare,
    run_step,
)
from synthetic_facts.knowledge_verdict import MIN_KNOWN, conclude, draw, measure, percent, read, report

# About 800 fine-tuning steps of 64 examples to start with.
FULL = Scale(medicines=96, documents=15_000, list_steps=1500, fact_steps=600, further_steps=700, epochs=20.75)
# No letters, because no question is asked; as many medicines and steps as show whether facts arrive.
SMOKE = Scale(medicines=24, documents=3_000, list_steps=0, fact_steps=200, further_steps=300, epochs=0)
RAISES = 2  # times the fine-tuning is doubled where the known medicines' questions are not learned
Job = tuple[int, str, list[Step]]  # seed, arm, what is done one after the other
EXIT_CODES = {"passed": 0, "reported": 0, "failed": 1, "inconclusive": 3}


class Check:
    """One run: the steps of all seeds, some at a time, and a line on each as it ends."""

    def __init__(self, out: Path, seeds: list[int], arms: list[str], scale: Scale, workers: int):
        self.out, self.seeds, self.arms, self.scale = out, seeds, arms, scale
        self.pool, self.lock = ThreadPoolExecutor(workers), threading.Lock()
        self.start, self.done, self.planned, self.failed = time.monotonic(), 0, 0, False
        self.work = 0.0  # seconds of all steps, those of earlier runs too

    def folder(self, seed: int) -> Path:
        return self.out / f"seed-{seed}"

    def plan(self, jobs: list[Job]) -> None:
        self.planned += sum(len(steps) for _, _, steps in jobs)

    def run_steps(self, seed: int, arm: str, steps: list[Step]) -> None:
        """One after the other; nothing is begun once a step has failed anywhere. Errors: StepFailed."""
        for step in steps:
            if self.failed:
                return
            try:
                seconds, before = run_step(step, self.folder(seed) / "logs" / arm)
            except StepFailed as error:
                self.failed = True
                raise StepFailed(f"seed {seed}, {arm}: {error}") from None
            with self.lock:
                self.done += 1
                passed = int(time.monotonic() - self.start)
                self.work += seconds
                took = "done before" if before else f"{seconds:.0f} s"
                print(
                    f"[{passed // 60:3d}:{passed % 60:02d}] {self.done} of {self.planned} steps  seed {seed}  "
                    f"{arm:8} {step.name}, {took}",
                    flush=True,
                )

    def all_of(self, jobs: list[Job], then: Callable[[int], list[Job]] | None = None) -> None:
        """Run each job's steps, `workers` jobs at a time. then(seed): more jobs, when one of the first has ended.

        Errors: StepFailed, the first one, when what is under way has ended.
        """
        first = {self.pool.submit(self.run_steps, *job): job[0] for job in jobs}
        waiting: dict[Future, int] = dict(first)
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                seed = waiting.pop(future)
                if future.exception():
                    wait(waiting)
                future.result()
                if then and future in first:
                    waiting |= {self.pool.submit(self.run_steps, *job): seed for job in then(seed)}

    def arm_jobs(self, seed: int) -> list[Job]:
        jobs = []
        for arm in self.arms:
            steps = further(self.folder(seed), arm, seed, self.scale)
            if self.scale.epochs:
                steps += examine(self.folder(seed), arm, seed, self.scale.epochs)
            jobs.append((seed, arm, steps))
        return jobs

    def run(self) -> tuple[dict, dict]:
        """({seed: {arm: what was measured}}, {seed: control against target}). Errors: StepFailed."""
        first = [(seed, "base", prepare(self.folder(seed), seed, self.scale, self.arms)) for seed in self.seeds]
        self.plan([*first, *(job for seed in self.seeds for job in self.arm_jobs(seed))])
        self.all_of(first, self.arm_jobs)
        measured = {seed: self.measured(seed, self.scale.epochs or None) for seed in self.seeds}
        epochs = dict.fromkeys(self.seeds, self.scale.epochs)
        for _ in range(RAISES if self.scale.epochs else 0):
            short = [
                seed
                for seed in self.seeds
                if any(percent(found["known"]) < MIN_KNOWN for found in measured[seed].values())
            ]
            if not short:
                break
            for seed in short:
                epochs[seed] *= 2
                print(
                    f"seed {seed}: the known medicines' questions are not learned, so all its arms are fine-tuned "
                    f"again for {epochs[seed]:g} epochs",
                    flush=True,
                )
            both = [(seed, arm) for seed in short for arm in self.arms]
            again = [(seed, arm, examine(self.folder(seed), arm, seed, epochs[seed])) for seed, arm in both]
            self.plan(again)
            self.all_of(again)
            measured |= {seed: self.measured(seed, epochs[seed]) for seed in short}
        compared = {}
        if self.scale.epochs and {"target", "control"} <= set(self.arms):
            steps = {seed: comparison(self.folder(seed), "target", "control", epochs[seed]) for seed in self.seeds}
            pairs = [(seed, "both", [step]) for seed, step in steps.items()]
            self.plan(pairs)
            self.all_of(pairs)
            compared = {seed: read(Path(step.arguments[-1]))["languages"]["asked"] for seed, step in steps.items()}
        return measured, compared

    def measured(self, seed: int, epochs: float | None) -> dict[str, dict]:
        return {arm: measure(self.folder(seed), arm, epochs) for arm in self.arms}


def refuse_another_check(out: Path, settings: dict) -> None:
    """Worlds of two sizes in one folder would be mixed. Raises SystemExit(2) with a sentence."""
    path = out / "settings.json"
    if path.exists() and read(path) != settings:
        print(f"knowledge_check.sh: {path} is of a check of another size; use another --out", file=sys.stderr)
        raise SystemExit(2)
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings), encoding="utf-8")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="knowledge_check.sh", description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the check; arms and seeds may be added to it later")
    add(
        "--arms",
        nargs="+",
        choices=list(ARMS),
        help="training text of the model: none; target: the facts; control: as much text without them; wrong: "
        "other facts about the same medicines; half: the facts about every second medicine; french: the "
        "facts in French; parallel: french, and facts about other medicines in both languages (default: "
        "target control; with --smoke target)",
    )
    add(
        "--seeds",
        nargs="+",
        type=int,
        help="random seeds, each for invented facts, model and data order (default: 0 1 2; with --smoke 0)",
    )
    add("--smoke", action="store_true", help="only whether the facts reach the model: a smaller world, no fine-tuning")
    add("--workers", type=int, default=2, help="number of single-threaded processes (default %(default)s)")
    add("--dry-run", action="store_true", help="print the commands, run nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    scale = SMOKE if args.smoke else FULL
    seeds = sorted(set(args.seeds or ([0] if args.smoke else [0, 1, 2])))
    arms = list(dict.fromkeys(args.arms or (["target"] if args.smoke else ["target", "control"])))
    if args.workers < 1 or min(seeds) < 0:
        print("knowledge_check.sh: --workers is 1 or more, --seeds are 0 or more", file=sys.stderr)
        return 2
    check = Check(args.out.resolve(), seeds, arms, scale, args.workers)
    if args.dry_run:
        for seed in seeds:
            jobs = [(seed, "base", prepare(check.folder(seed), seed, scale, arms)), *check.arm_jobs(seed)]
            for step in (step for _, _, steps in jobs for step in steps):
                print("python", *step.arguments)
        return 0
    refuse_another_check(check.out, vars(scale))
    result = {"verdict": "failed", "reasons": [], "measured": {}, "compared": {}}
    try:
        result["measured"], result["compared"] = check.run()
        result["verdict"], result["reasons"] = conclude(result["measured"], result["compared"])
    except StepFailed as error:
        result["reasons"] = [str(error)]
    result |= {"step_seconds": check.work, "workers": args.workers}
    (check.out / "report.md").write_text(report(result), encoding="utf-8")
    if result["measured"]:
        draw(result, check.out)
    (check.out / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(report(result))
    print(f"{result['verdict']}: {'; '.join(result['reasons'])}")
    print(f"wrote {args.out}/report.md, knowledge.png, result.json")
    return EXIT_CODES[result["verdict"]]


if __name__ == "__main__":
    raise SystemExit(main())
