"""A vLLM server in its own environment, started for one run and stopped after it.

vLLM pins other versions of torch and transformers than this project, so it is not imported: `--vllm PATH` names its
command, such as ~/vllm/bin/vllm, and the server is used like any endpoint. Its output goes to <out>/vllm.log.
Flags as in https://docs.vllm.ai/en/stable/cli/serve.html
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from run_record import InputError

LOADING_S = 3600.0  # for weights on a slow disk; a server that fails exits earlier
ENDING_S = 30.0
HERE = ("127.0.0.1", "localhost")


def check_vllm(args: argparse.Namespace) -> None:
    """Errors: InputError if --vllm is not a command, or the flags do not fit a server on this machine."""
    parts = urlsplit(args.api_base)
    if parts.hostname not in HERE or not parts.port or parts.scheme != "http":
        raise InputError("--vllm starts a server on this machine: give --api-base http://127.0.0.1:PORT/v1 with it")
    if shutil.which(args.vllm) is None:
        raise InputError(f"--vllm {args.vllm} is not a command; give the path of vllm in its own environment")
    if "--api-key" in (args.vllm_arguments or ""):
        raise InputError(
            "--vllm-arguments: omit --api-key; the local server needs none, and it would be written to the run record"
        )
    if (Path(args.model) / "adapter_config.json").exists():
        raise InputError(f"{args.model} is an adapter; merge it with finetune/merge.py and serve the merged model")


def answers(base: str) -> bool:
    """Whether a server at this address lists its models or asks for a key (VLLM_API_KEY)."""
    import httpx2

    try:
        return httpx2.get(f"{base}/models", timeout=5.0, trust_env=False).status_code in (200, 401)
    except httpx2.HTTPError:
        return False


def serve_command(args: argparse.Namespace) -> list[str]:
    """The command to start; --vllm-arguments come last and therefore take precedence."""
    parts = urlsplit(args.api_base)
    return [
        args.vllm,
        "serve",
        args.model,
        "--served-model-name",
        args.model,
        "--host",
        "127.0.0.1",
        "--port",
        str(parts.port),
        *shlex.split(args.vllm_arguments or ""),
    ]


@contextmanager
def vllm_server(args: argparse.Namespace) -> Iterator[None]:
    """Run the server while the block runs, from the moment it is ready. Errors: InputError if it does not start."""
    if answers(args.api_base):
        raise InputError(
            f"a server already runs at {args.api_base}; omit --vllm to use it, stop it, or give another port"
        )
    log = args.out / "vllm.log"
    command = serve_command(args)
    print(f"starting {shlex.join(command)} (log: {log})", flush=True)
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_until_ready(process, args.api_base, log)
        yield
    finally:
        end_group(process)


def wait_until_ready(process: subprocess.Popen, base: str, log: Path) -> None:
    """Errors: InputError with the last line of the log if the server exits or does not answer in time."""
    deadline = time.monotonic() + LOADING_S
    while not answers(base):
        if process.poll() is not None or time.monotonic() > deadline:
            lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
            happened = "did not answer in time" if process.poll() is None else f"exited with {process.returncode}"
            last = lines[-1][:300] if lines else "nothing"
            raise InputError(f"the vLLM server {happened}; the last line of {log}: {last}")
        time.sleep(0.2)


def end_group(process: subprocess.Popen) -> None:
    """Stop the server and the processes it started."""
    for kind, seconds in ((signal.SIGTERM, ENDING_S), (signal.SIGKILL, ENDING_S)):
        try:
            os.killpg(process.pid, kind)
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break
    process.wait()
