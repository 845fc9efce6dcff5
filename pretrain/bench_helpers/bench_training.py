"""Benchmark of train_lm.py's steady-state speed against other loops, each a command of its own.

A side prints "step K/N" after each optimizer step; the times are taken as these lines come, so that starting,
compiling, validating and saving do not count.
"""

import math
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError
from token_data.token_store import TokenStore

HERE = Path(__file__).resolve().parents[1]
WARM_UP = 2  # steps that are not counted: the first ones allocate


@dataclass(frozen=True)
class Run:
    """One side in one round."""

    seconds: float  # wall, of the counted steps
    cpu_seconds: float  # of all its processes in that time; 0.0 where /proc does not tell
    steps: int  # the counted ones


def loop_command(store: Path, config: Path, out: Path, shape: dict[str, int], steps: int, ranks: int, *more: str):
    """train_lm.py on `ranks` processes, as a person would call it, without validation and checkpoints in between."""
    script = [str(HERE / "train_lm.py"), str(store), "--validation-documents", "0", "--validate-every", "0"]
    script += ["--save-every", str(10**9), "--learning-rate", "3e-4", "--no-bf16", *more]
    return [*launcher(ranks), *script, *common(config, out, shape, steps)]


def other_command(loop: str, store: Path, config: Path, out: Path, shape: dict[str, int], steps: int, ranks: int):
    return [*launcher(ranks), str(HERE / "bench_loops.py"), loop, str(store), *common(config, out, shape, steps)]


def common(config: Path, out: Path, shape: dict[str, int], steps: int) -> list[str]:
    values = {"init-config": config, "out": out, "steps": steps} | shape
    return [str(part) for name, value in values.items() for part in (f"--{name}", value)]


def launcher(ranks: int) -> list[str]:
    if ranks == 1:
        return [sys.executable]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]


def time_steps(command: list[str]) -> Run:
    """Run a command to its end. Errors: InputError with its last lines when it fails or makes too few steps."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # every side on the CPU
        "TORCH_EXTENSIONS_DIR": os.environ.get("TORCH_EXTENSIONS_DIR", str(HERE.parent / ".venv/torch_extensions")),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # DeepSpeed looks for ninja there
    }
    times, lines = [], []
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=HERE.parent
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if re.match(r"step \d+/\d+\b", line):
                times.append((time.perf_counter(), cpu_seconds_of_tree(process.pid)))
    counted = times[WARM_UP - 1 :]
    if process.returncode or len(counted) < 2:
        raise InputError(f"{' '.join(command)} failed with exit code {process.returncode}:\n{''.join(lines[-15:])}")
    return Run(counted[-1][0] - counted[0][0], counted[-1][1] - counted[0][1], len(counted) - 1)


def cpu_seconds_of_tree(root: int) -> float:
    """CPU seconds of a process and all below it, from /proc (Linux); 0.0 elsewhere."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        number = int(path.parent.name)
        parents[number], used[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {root}
    for _ in range(4):  # launcher, rank, and what a rank starts
        family |= {number for number, parent in parents.items() if parent in family}
    return sum(used.get(number, 0) for number in family) / os.sysconf("SC_CLK_TCK")


def useful_share(store_folder: Path, length: int, rows: str, windows: int, first: int) -> float:
    """Tokens predicted for the first time, padding omitted, of all places in windows [first, first + windows)."""
    import argparse

    from dataloading.packed_windows import make_windows
    from token_data.token_store import TokenStore

    store = TokenStore(store_folder)
    args = argparse.Namespace(rows=rows, sequence_length=length, seed=0, cross_document_attention=False)
    return make_windows(store, store.documents, args).useful_tokens(first, windows) / (windows * length)


def make_model(config: dict, store: TokenStore, attention: str = "sdpa"):
    """The model that train_lm.py makes from the same configuration file, in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    vocabulary = math.ceil(store.manifest["vocabulary"] / 64) * 64
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**{"vocab_size": vocabulary} | config), attn_implementation=attention
    )
    model.config.use_cache = False
    return model.train()
