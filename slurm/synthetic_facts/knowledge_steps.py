"""The commands of the knowledge check: every stage through its command line.

`prepare` makes a world, its corpora, a tokenizer, tokens and the model that all arms start from; `further` trains that
model on an arm's corpus and completes sentences with it; `examine` fine-tunes it and asks the test questions. Each is
a list of steps, and a step that is done is reused by the stage itself.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SLURM = Path(__file__).parents[1]
ROOT = SLURM.parent
SETTINGS = SLURM / "knowledge"
# Arm: the corpora it is trained on further. Every arm but "none" takes the same number of steps of the same size.
ARMS = {
    "none": [],
    "target": ["target"],
    "control": ["control"],
    "wrong": ["wrong"],
    "half": ["half"],
    "french": ["french"],
    "parallel": ["french", "taught"],
}
# What the tokenizer is trained on, whatever arms are asked for: every name and every word is in these.
WORDS = ("base", "target", "control", "french")


class StepFailed(Exception):
    """A stage's command that did not end well; the message is its own last line."""


@dataclass(frozen=True)
class Scale:
    """How much of everything: medicines asked about, documents of a corpus, optimizer steps, fine-tuning epochs."""

    medicines: int
    documents: int
    list_steps: int
    fact_steps: int
    further_steps: int
    epochs: float


@dataclass(frozen=True)
class Step:
    """name: what a person reads; arguments: of a Python script of the project, which stands first."""

    name: str
    arguments: list[str]


def prepare(folder: Path, seed: int, scale: Scale, arms: list[str]) -> list[Step]:
    """From nothing to the model that knows the medicines of `known` and, with list_steps, the letters."""
    world, corpora = folder / "world", dict.fromkeys([*WORDS, *(c for arm in arms for c in ARMS[arm])])
    steps = [
        Step(
            "world",
            [
                "slurm/knowledge_world.py",
                "--seed",
                str(seed),
                "--medicines",
                str(scale.medicines),
                "--documents",
                str(scale.documents),
                "--out",
                str(world),
            ],
        )
    ]
    for corpus in corpora:
        language = "fr" if corpus == "french" else "en"
        steps.append(
            Step(
                f"documents of {corpus}",
                [
                    "data_collection/existing_corpora.py",
                    str(world / f"documents/{corpus}.jsonl"),
                    "--language",
                    language,
                    "--workers",
                    "1",
                    "--out",
                    str(folder / "documents" / corpus),
                ],
            )
        )
    steps.append(_corpus(folder, "words", WORDS))
    steps.append(
        Step(
            "tokenizer",
            [
                "pretrain/train_tokenizer.py",
                str(folder / "corpora/words"),
                "--vocab-size",
                "4000",
                "--out",
                str(folder / "tokenizer"),
            ],
        )
    )
    for name, parts in {"base": ["base"], **{arm: ARMS[arm] for arm in arms if ARMS[arm]}}.items():
        steps += [_corpus(folder, name, parts), _tokens(folder, name)]
    new = ["--init-config", str(SETTINGS / "model.yaml"), "--seed", str(seed)]
    if scale.list_steps:
        steps.append(_pretraining(folder, "letters", "base", scale.list_steps, "lists.yaml", new))
        new = ["--model", str(folder / "models/letters"), "--seed", str(seed)]
    steps.append(_pretraining(folder, "base", "base", scale.fact_steps, "facts.yaml", new))
    steps.append(_cloze(folder, "base", folder / "models/base"))
    return steps


def further(folder: Path, arm: str, seed: int, scale: Scale) -> list[Step]:
    """Pretraining on the arm's corpus, three windows in ten being of `base`, and the sentences after it."""
    if not ARMS[arm]:
        return []
    model = ["--model", str(folder / "models/base"), "--seed", str(seed)]
    model += ["--replay", str(folder / "tokens/base"), "--replay-share", "0.3"]
    return [
        _pretraining(folder, arm, arm, scale.further_steps, None, model),
        _cloze(folder, arm, folder / f"models/{arm}"),
    ]


def examine(folder: Path, arm: str, seed: int, epochs: float) -> list[Step]:
    """Fine-tuning on Train with the arm's corpus replayed; the test questions generated; the sentences once more.

    The arm "none" is the base model itself, its own corpus replayed.
    """
    name = f"{arm}-{epochs:g}"
    start = replayed = arm if ARMS[arm] else "base"
    tuned = folder / "tuned" / name
    return [
        Step(
            "fine-tuning",
            [
                "finetune/train.py",
                "--recipe",
                str(SETTINGS / "finetune.yaml"),
                "--model",
                str(folder / "models" / start),
                "--data",
                str(folder / "world/benchmark/Train"),
                "--prompt",
                str(SETTINGS / "prompt"),
                "--replay",
                str(folder / "corpora" / replayed),
                "--epochs",
                f"{epochs:g}",
                "--seed",
                str(seed),
                "--out",
                str(tuned),
            ],
        ),
        Step(
            "questions",
            [
                "inference/eval.py",
                "--model",
                str(tuned),
                "--data",
                str(folder / "world/benchmark/Test"),
                "--form",
                "rationale",
                "--max-new-tokens",
                "24",
                "--name",
                arm,
                "--out",
                str(folder / "results" / name),
            ],
        ),
        _cloze(folder, f"{name}-tuned", tuned),
    ]


def comparison(folder: Path, arm: str, other: str, epochs: float) -> Step:
    """The paired test of two arms, question by question."""
    results = folder / "results"
    return Step(
        f"comparison of {other} and {arm}",
        [
            "inference/compare.py",
            str(results / f"{other}-{epochs:g}"),
            str(results / f"{arm}-{epochs:g}"),
            "--out",
            str(results / f"{other}-{arm}-{epochs:g}.json"),
        ],
    )


def _corpus(folder: Path, name: str, parts) -> Step:
    inputs = [str(folder / "documents" / part) for part in parts]
    return Step(
        f"corpus {name}",
        ["data_collection/build_corpus.py", *inputs, "--workers", "1", "--out", str(folder / "corpora" / name)],
    )


def _tokens(folder: Path, name: str) -> Step:
    return Step(
        f"tokens of {name}",
        [
            "pretrain/tokenize_corpus.py",
            str(folder / "corpora" / name),
            "--tokenizer",
            str(folder / "tokenizer"),
            "--workers",
            "1",
            "--out",
            str(folder / "tokens" / name),
        ],
    )


def _pretraining(folder: Path, name: str, store: str, steps: int, mix: str | None, more: list[str]) -> Step:
    mixture = ["--mix", str(SETTINGS / mix)] if mix else []
    return Step(
        f"pretraining, {name}",
        [
            "pretrain/train_lm.py",
            str(folder / "tokens" / store),
            "--recipe",
            str(SETTINGS / "pretrain.yaml"),
            "--steps",
            str(steps),
            *mixture,
            *more,
            "--out",
            str(folder / "models" / name),
        ],
    )


def _cloze(folder: Path, name: str, model: Path) -> Step:
    return Step(
        f"sentences to complete, {name}",
        [
            "inference/eval.py",
            "--model",
            str(model),
            "--data",
            str(folder / "world/cloze"),
            "--prompt",
            str(SETTINGS / "cloze"),
            "--mode",
            "option-logprob",
            "--out",
            str(folder / "cloze" / name),
        ],
    )


RECORDS = ("manifest.json", "run.json", "result.json", "world.json")  # what a stage writes last


def made_by(step: Step) -> dict:
    """What tells that a step is done: its command, and when the record in its --out was written (ns, or None)."""
    out = Path(step.arguments[step.arguments.index("--out") + 1])
    record = next((path for path in (out / name for name in RECORDS) if path.exists()), out)
    return {"arguments": step.arguments, "record": record.stat().st_mtime_ns if record.is_file() else None}


def run_step(step: Step, logs: Path) -> tuple[float, bool]:
    """Run a step with one thread, its output in a file of `logs`. Returns (seconds it took, whether that was before).

    Errors: StepFailed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{step.name.replace(' ', '-').replace(',', '')}.log"
    done = log.with_suffix(".done")
    # The stage would find its own work too, after seconds of imports.
    had = json.loads(done.read_text(encoding="utf-8")) if done.exists() else {}
    if had | made_by(step) == had:
        return had.get("seconds", 0.0), True
    start = time.monotonic()
    # Without a GPU a model so small gains nothing from a second thread; a second arm does.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with open(log, "w", encoding="utf-8") as out:
        command = [sys.executable, *step.arguments]
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode
    if code:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        said = lines[-1] if lines else "no output"
        raise StepFailed(f"{step.name}: {step.arguments[0]} ended with exit code {code}: {said} ({log})")
    seconds = time.monotonic() - start
    done.write_text(json.dumps(made_by(step) | {"seconds": seconds}), encoding="utf-8")
    return seconds, False
