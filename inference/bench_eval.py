"""Measure answering speed: eval.py's batches, one question at a time, and lm-evaluation-harness, in one run.

Reads   a model, a test set and a prompt, as inference/eval.py does; with --shape a Hugging Face config folder, whose
        shape is filled with random weights in the model's place (its tokenizer and prompt stay)
Writes  a table on the screen, and with --out the same as JSON; temporary files only beside that
Example python inference/bench_eval.py --model checkpoints/finetuned --limit 20 --rounds 3
        python inference/bench_eval.py --model DIR --shape DIR --harness-python DIR/bin/python --form rationale
        python inference/bench_eval.py --model checkpoints/pretrained --prompt finetune/prompts/mmedbench \\
            --form rationale --max-new-tokens 128 --limit 100

All sides answer the same questions with the same weights, greedily, in turn, --rounds times: eval.py; transformers'
generate() on one question after the other, "one by one"; on a CPU eval.py with --batch-size 1, which has a loop of its
own there; and the harness, in an environment of its own (README.md, "Other harnesses"), on the exported task with its
`hf` backend and the same batch size. Loading is not counted; rendering, tokenizing, generating and decoding are.
Questions per second are by wall time, with all threads; CPU seconds are beside it, which other work on the machine
disturbs less, and which count all threads together. Ratios are taken round by round.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import export_harness
from evaluation.eval_inputs import build_parser as build_eval_parser
from evaluation.eval_inputs import find_prompt, read_test
from evaluation.generate_answers import MemoryLimit, make_prompts, place_of, plan_batches
from prompt_folder import FORMS, end_token
from run_record import InputError, parse_arguments, provenance, run_command, write_json

# Runs under --harness-python: answers a round for every line on its input, with a line of JSON on its output.
HARNESS_SCRIPT = """
import json, sys, time
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager, get_task_dict
settings = json.loads(sys.argv[1])
out, sys.stdout = sys.stdout, sys.stderr
model = HFLM(batch_size=settings["batch_size"], **settings["model"])
manager = TaskManager(include_path=settings["tasks"], include_defaults=False)
print("ready", file=out, flush=True)
for _ in sys.stdin:
    tasks = get_task_dict(["mmedbench"], manager)
    cpu, wall = time.process_time(), time.perf_counter()
    samples = evaluate(model, tasks, log_samples=True, bootstrap_iters=0)["samples"]
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    answers = [
        [task.removeprefix("mmedbench_"), sample["doc"]["number"], sample["resps"][0][0]]
        for task in samples for sample in samples[task]
    ]
    print(json.dumps(times | {"answers": answers}), file=out, flush=True)
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--model", default="checkpoints/finetuned", help="folder, adapter or hub name (default %(default)s)")
    add("--shape", type=Path, help="folder with a config: use random weights of this shape instead of a model")
    add("--data", type=Path, default=Path("data/MMedBench/Test"), help="test split (default %(default)s)")
    add("--prompt", type=Path, help="prompt folder (default: the one in the checkpoint)")
    add("--form", choices=FORMS, default="answer", help="the letters alone, or a rationale first (default %(default)s)")
    add("--limit", type=int, default=20, help="use only the first N questions per file (default %(default)s)")
    add(
        "--max-new-tokens",
        type=int,
        help="maximum number of generated tokens (default 16 for the form answer, 512 for rationale)",
    )
    add(
        "--batch-size",
        type=int,
        default=128,
        help="batch size of eval.py and the harness (default %(default)s)",
    )
    add("--rounds", type=int, default=3, help="measurements per side (default %(default)s)")
    add("--threads", type=int, help="CPU threads per side (default: torch's choice)")
    add("--harness-python", type=Path, help="python of an environment with lm_eval (default: not compared)")
    add("--out", type=Path, help="JSON file to write (default: none)")
    add("--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence")
    return parser


def fill_shape(shape: Path, model: str, prompt: Path | None, folder: Path) -> None:
    """A checkpoint with random weights of a shape, in bfloat16 on a GPU; tokenizer and prompt are the model's."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(shape)
    except (OSError, ValueError) as error:
        raise InputError(f"no config at --shape {shape}: {str(error).splitlines()[0]}") from None
    tokenizer = AutoTokenizer.from_pretrained(model)
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    with torch.device("cuda" if gpu else "cpu"):
        filled = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if gpu else torch.float32)
    filled.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copytree(prompt or Path(model) / "prompt", folder / "prompt")


class OurSide:
    """eval.py's way to ask, in batches of a size; each round renders, tokenizes, generates and decodes again.

    own_loop: whether decode_loop.py answers where it can; else transformers' generate().
    """

    def __init__(self, loaded, prompt, test: dict, args: argparse.Namespace, batch_size: int, own_loop: bool = True):
        self.loaded = dataclasses.replace(loaded, own_loop=own_loop)
        self.prompt, self.test, self.args, self.batch_size = prompt, test, args, batch_size

    def run(self) -> dict:
        """{"cpu", "wall": seconds, "answers": [[key, number, text], ...]}."""
        cpu, wall = time.process_time(), time.perf_counter()
        room = self.loaded.longest - self.args.max_new_tokens
        items = make_prompts(self.loaded.tokenizer, self.prompt, self.test, {}, self.args, room)
        memory = MemoryLimit(self.loaded.model.device.type, self.args.mode)
        rows = [
            row
            for batch in plan_batches(items, self.batch_size)
            for row in memory.answer(self.loaded, self.prompt, batch, self.args)
        ]
        times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        return times | {"answers": [[*place_of(row)[:2], row["output"]] for row in rows]}


class HarnessSide:
    """lm-evaluation-harness in a process of its own that waits for its turn."""

    def __init__(self, python: Path, settings: dict, threads: int | None):
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (kept open for the process)
        try:
            self.process = subprocess.Popen(
                [python, "-c", HARNESS_SCRIPT, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise InputError(f"--harness-python {python} cannot be run ({error.strerror})") from None
        self._read()

    def run(self) -> dict:
        """As `OurSide.run`. Errors: InputError with the harness's last line when it fails."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self._read())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()

    def _read(self) -> str:
        line = self.process.stdout.readline()
        if line:
            return line
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or ["no message"]
        raise InputError(
            f"lm-evaluation-harness stopped: {said[-1]}; see README.md, Other harnesses, for what it needs"
        )


def start_harness(args: argparse.Namespace, model: str, folder: Path) -> HarnessSide:
    """Export the task, start the process; the model is given as loaded by eval.py (an adapter over its base)."""
    import torch

    from local_model.local_model import find_base

    flags = ["--model", model, "--data", str(args.data), "--out", str(folder), "--form", args.form]
    flags += ["--limit", str(args.limit), "--max-new-tokens", str(args.max_new_tokens)]
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        export_harness.main([*flags, *(["--prompt", str(args.prompt)] if args.prompt else [])])
    named = {"pretrained": model}
    if (Path(model) / "adapter_config.json").exists():
        named = {"pretrained": find_base(Path(model)), "peft": model, "tokenizer": model}
    named["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    settings = {"model": named, "batch_size": args.batch_size, "tasks": str(folder)}
    return HarnessSide(args.harness_python, settings, args.threads)


def measure(sides: dict, rounds: int) -> dict[str, list[dict]]:
    """{side: a result a round}; the sides take turns, so that a slow spell of the machine meets all of them."""
    for name, side in sides.items():
        if name not in ("one by one", "batches of 1"):  # the first call pays for what later ones find ready
            side.run()
    results: dict[str, list[dict]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            results[name].append(side.run())
            print(f"round {number + 1}: {name} {results[name][-1]['wall']:.2f} s", flush=True)
    return results


def spread(values: list[float]) -> dict[str, float]:
    return {"median": sorted(values)[len(values) // 2], "lowest": min(values), "highest": max(values)}


def summarise(results: dict[str, list[dict]]) -> dict:
    """Per side seconds, questions/s, how many answers are eval.py's, and its time as a multiple of eval.py's."""
    ours = results["eval.py"]
    wanted = {(key, number): text for key, number, text in ours[0]["answers"]}
    sides = {}
    for name, mine in results.items():
        given = {(key, number): text for key, number, text in mine[0]["answers"]}
        seconds = {clock: spread([result[clock] for result in mine]) for clock in ("wall", "cpu")}
        sides[name] = {
            "wall_seconds": seconds["wall"],
            "cpu_seconds": seconds["cpu"],
            "questions_per_second": round(len(wanted) / seconds["wall"]["median"], 2),
            "equal_answers": sum(given.get(place) == text for place, text in wanted.items()),
            "times_eval": {
                clock: spread([m[clock] / o[clock] for m, o in zip(mine, ours, strict=True)])
                for clock in ("wall", "cpu")
            },
        }
    return {"questions": len(wanted), "sides": sides}


def table(summary: dict) -> str:
    lines = [
        f"{'side':<14} {'wall s':>8} {'CPU s':>8} {'questions/s':>12} {'equal':>9}  "
        f"{'wall, x eval.py':<24} CPU seconds, x eval.py"
    ]
    for name, side in summary["sides"].items():
        ratios = [
            f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"
            for ratio in (side["times_eval"]["wall"], side["times_eval"]["cpu"])
        ]
        equal = f"{side['equal_answers']}/{summary['questions']}"
        lines.append(
            f"{name:<14} {side['wall_seconds']['median']:8.2f} {side['cpu_seconds']['median']:8.2f} "
            f"{side['questions_per_second']:12.1f} {equal:>9}  {ratios[0]:<24} {ratios[1]}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    args.max_new_tokens = args.max_new_tokens or (16 if args.form == "answer" else 512)
    for flag in ("limit", "max_new_tokens", "batch_size", "rounds", "threads"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(args, flag)}: expected 1 or more")
    import torch

    from local_model.local_model import load_model

    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        model = args.model
        asked = build_eval_parser().parse_args(["--model", model, "--data", str(args.data), "--form", args.form])
        asked.prompt, asked.limit, asked.max_new_tokens = args.prompt, args.limit, args.max_new_tokens
        test = read_test(asked)
        prompt, _ = find_prompt(asked)
        if args.shape:
            model = str(Path(place) / "shape")
            fill_shape(args.shape, args.model, args.prompt, Path(model))
        loaded = load_model(model)
        if loaded.longest - args.max_new_tokens < 32:
            raise InputError(f"--max-new-tokens {args.max_new_tokens} leaves no room for a question in this model")
        sides = {
            "eval.py": OurSide(loaded, prompt, test, asked, args.batch_size),
            "one by one": OurSide(loaded, prompt, test, asked, 1, own_loop=False),
        }
        if loaded.model.device.type == "cpu":
            sides["batches of 1"] = OurSide(loaded, prompt, test, asked, 1)
        if args.harness_python:
            sides["lm_eval"] = start_harness(args, model, Path(place) / "tasks")
            stack.callback(sides["lm_eval"].close)
        end = end_token(loaded.tokenizer, prompt.chat_template)
        print(
            f"{sum(map(len, test.values()))} questions, {args.form}, up to {args.max_new_tokens} tokens, batches of "
            f"{args.batch_size}, {torch.get_num_threads()} threads, end token {end}"
        )
        results = measure(sides, args.rounds)
    summary = summarise(results)
    print(table(summary))
    if args.out:
        arguments = {key: str(value) for key, value in vars(args).items() if value is not None}
        write_json(args.out, summary | {"arguments": arguments, "provenance": provenance(argv)})
    return 0


if __name__ == "__main__":
    run_command(main)
