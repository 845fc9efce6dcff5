"""Break a copy of the pipeline on purpose; the knowledge check must not pass.

Reads   the folder of a finished check, of which it takes a copy and makes again what the broken part makes
Writes  a table: the way it was broken, the verdict, the reason; with --out also as JSON. The project is not touched: a
        copy of it is broken.
Example python slurm/knowledge_breakage.py DIR         after bash slurm/knowledge_check.sh --out DIR --smoke
        python slurm/knowledge_breakage.py DIR --ways prompt

Exit codes: 0 every way was caught, 1 one was not, 2 bad input.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from synthetic_facts.knowledge_steps import ROOT
from synthetic_facts.knowledge_verdict import read

TOKENS, MODELS, ANSWERS = "tokens", "models", "answers"  # from where on things are made again


@dataclass(frozen=True)
class Way:
    """what: for a person; again: the first part that is made again; edits: (file, text that is there, new text);
    expected: a part of the reason that the check must give; full: shows only where questions are asked.
    """

    what: str
    again: str
    edits: list[tuple[str, str, str]]
    expected: str
    full: bool = False


OTHER_TOKENIZER = (
    "slurm/synthetic_facts/knowledge_steps.py",
    '            str(folder / "tokenizer"),\n            "--workers",',
    '            str(folder / ("tokenizer" if name == "base" else "other-tokenizer")),\n            "--workers",',
)
WAYS = {
    "labels": Way(
        "labels of pretraining shifted by one",
        MODELS,
        [
            (
                "pretrain/modelling/lm_loss.py",
                'torch.as_tensor(batch["labels"])',
                'torch.as_tensor(batch["labels"]).roll(1, -1)',
            )
        ],
        "the facts did not reach the model",
    ),
    "rate": Way(
        "learning rate of pretraining 0",
        MODELS,
        [("pretrain/modelling/lm_optimizer.py", "    warmup = max(1,", "    return 0.0\n    warmup = max(1,")],
        "the facts did not reach the model",
    ),
    "tokenizer": Way(
        "tokens of another tokenizer, its fingerprint not looked at",
        TOKENS,
        [
            OTHER_TOKENIZER,
            ("pretrain/modelling/lm_model.py", "if tokenizer_fingerprint(tokenizer) !=", "if None is"),
            ("pretrain/dataloading/lm_data.py", "if replay.fingerprint != store.fingerprint:", "if None is store:"),
        ],
        "the facts did not reach the model",
    ),
    "refused": Way(
        "tokens of another tokenizer, as the pipeline is",
        TOKENS,
        [OTHER_TOKENIZER],
        "made with another tokenizer",
    ),
    "shard": Way(
        "every second thousand of documents silently dropped on the way to the tokens",
        TOKENS,
        [
            (
                "pretrain/token_data/token_store.py",
                "        for batch in iterate_batches(shard):",
                "        for batch in list(iterate_batches(shard))[::2]:",
            )
        ],
        "were dropped between the corpus and the tokens",
    ),
    "attention": Way(
        "attention across documents in pretraining",
        MODELS,
        [
            (
                "pretrain/dataloading/packed_windows.py",
                "self.crosses_documents = cross_document_attention",
                "self.crosses_documents = True",
            )
        ],
        "the facts did not reach the model",
    ),
    "prompt": Way(
        "evaluation's prompt differs from training's, behind the proof of its worked examples",
        ANSWERS,
        [
            (
                "inference/prompt_folder.py",
                'ids = tokenizer(text)["input_ids"]',
                'ids = tokenizer(text.replace("Options:", "Choices:").replace("; ", "\\n"))["input_ids"]',
            ),
            ("slurm/knowledge_check.py", "RAISES = 2 ", "RAISES = 0 "),
        ],  # more fine-tuning, hours of it, changes nothing
        "the questions are not understood",
        full=True,
    ),
    "proof": Way(
        "evaluation's prompt differs from training's, as the pipeline is",
        ANSWERS,
        [
            (
                "inference/prompt_folder.py",
                "return self._fill(self._prompt, record, form)",
                'return self._fill(self._prompt, record, form).replace("Options:", "Choices:")',
            )
        ],
        "worked example 1 no longer renders to its prompt",
        full=True,
    ),
}


def copy_project(to: Path) -> None:
    """The project's files as a fresh clone has them: tracked or new, without what is ignored; links as links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name, follow_symlinks=False)


def break_project(project: Path, way: Way) -> None:
    """Make the way's edits. Raises ValueError where a text no longer is in its file exactly once."""
    for name, old, new in way.edits:
        text = (project / name).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{name} holds {text.count(old)} times {old!r}; knowledge_breakage.py is out of date")
        (project / name).write_text(text.replace(old, new), encoding="utf-8")


def forget(seed: Path, arms: list[str], again: str) -> None:
    """Delete what the broken part makes, and what is built from it."""
    kinds = {
        TOKENS: ("tokens", "models", "cloze", "tuned", "results"),
        MODELS: ("models", "cloze", "tuned", "results"),
        ANSWERS: ("results",),
    }[again]
    for kind in kinds:
        for arm in arms:
            for path in seed.glob(f"{kind}/{arm}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (seed / "results").glob("*.json"):
        path.unlink()


def try_way(way: Way, check: Path, smoke: bool, work: Path) -> dict:
    """{"verdict", "reasons"} of the check on a copy of the project that is broken this way, with one seed."""
    project, out = work / "project", work / "check"
    copy_project(project)
    break_project(project, way)
    finished = read(check / "result.json")
    seed = min(finished["measured"], key=int)
    arms = list(finished["measured"][seed])
    shutil.copytree(check / f"seed-{seed}", out / f"seed-{seed}")
    shutil.copy(check / "settings.json", out / "settings.json")
    forget(out / f"seed-{seed}", arms, way.again)
    environment = os.environ | {"PYTHON": sys.executable}
    if way.again == TOKENS:
        folder = out / f"seed-{seed}"
        subprocess.run(
            [
                sys.executable,
                "pretrain/train_tokenizer.py",
                folder / "corpora/base",
                "--vocab-size",
                "700",
                "--out",
                folder / "other-tokenizer",
            ],
            cwd=project,
            check=True,
            capture_output=True,
        )
    command = ["bash", project / "slurm/knowledge_check.sh", "--out", out, "--seeds", seed, "--arms", *arms]
    done = subprocess.run([*command, *(["--smoke"] if smoke else [])], env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"the check itself ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    return read(out / "result.json")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("check", type=Path, help="folder of a finished check that passed")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=list(WAYS),
        help="ways to break the pipeline (default: all that can be detected in this check)",
    )
    parser.add_argument("--out", type=Path, help="write the table to this JSON file")
    args = parser.parse_args(argv)
    finished = args.check / "result.json"
    if not finished.exists() or read(finished)["verdict"] != "passed":
        print(
            f"knowledge_breakage.py: {args.check} is not a check that passed; see knowledge_check.sh", file=sys.stderr
        )
        return 2
    smoke = read(args.check / "settings.json")["epochs"] == 0
    if smoke and any(WAYS[name].full for name in args.ways or []):
        print("knowledge_breakage.py: in a check by --smoke no question is asked; give a full one", file=sys.stderr)
        return 2
    rows = []
    for name in args.ways or [name for name, way in WAYS.items() if not (smoke and way.full)]:
        with tempfile.TemporaryDirectory() as work:
            found = try_way(WAYS[name], args.check, smoke, Path(work))
        expected = any(WAYS[name].expected in why for why in found["reasons"])
        caught = found["verdict"] in ("failed", "inconclusive") and expected
        rows.append(
            {
                "way": name,
                "what": WAYS[name].what,
                "verdict": found["verdict"],
                "caught": caught,
                "reasons": found["reasons"],
            }
        )
        print(
            f"{name:10} {'caught' if caught else 'NOT caught'}: {WAYS[name].what}: {found['verdict']}: "
            f"{'; '.join(found['reasons'])}",
            flush=True,
        )
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0 if all(row["caught"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
