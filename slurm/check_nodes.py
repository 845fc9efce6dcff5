"""Check every node of a job: GPUs visible, computing correctly, disk writable, other nodes reachable.

Reads   nothing; one process per node, started by the job scripts with srun
Writes  nothing that stays: <folder>/.node-check-JOB is there for a moment
Example srun --ntasks-per-node=1 python slurm/check_nodes.py --master node1:29500 --gpus 8 --folder checkpoints

Each node checks itself and tells the first one, which waits for them, prints a line per node and names those that
failed, did not answer in time, or could not be reached; then all multiply and sum up together. Exit code 2 when a node
failed: the job can be submitted again with --exclude=NODE.
"""

import argparse
import json
import os
import shutil
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

MATRIX = 2048  # rows and columns: of ones, so that every element of the product is exactly this number
SUMMED = 16 * 2**20  # float32 elements of the all-reduce: 64 MiB


class NodeError(Exception):
    """What is wrong with this node, as a sentence for the table."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--master", required=True, metavar="HOST:PORT", help="first node and a free port on it")
    add("--gpus", type=int, default=0, help="GPUs that every node must see")
    add(
        "--cpu-allowed",
        action="store_true",
        help="do not fail if no GPU is visible, for a run on CPUs",
    )
    add("--folder", type=Path, default=Path(), help="folder that all nodes must be able to see and write to")
    add("--patience", type=float, default=120.0, help="seconds to wait for the slowest node")
    args = parser.parse_args(argv)
    rank, nodes = int(os.environ.get("SLURM_PROCID", "0")), int(os.environ.get("SLURM_NTASKS", "1"))
    host = os.environ.get("SLURMD_NODENAME", socket.gethostname())

    import torch
    import torch.distributed as dist

    patience = timedelta(seconds=args.patience)
    address, _, port = args.master.rpartition(":")
    try:
        store = dist.TCPStore(address, int(port), is_master=rank == 0, timeout=patience, wait_for_workers=False)
    except (RuntimeError, OSError) as error:
        print(f"check_nodes.py: {host} does not reach {args.master}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    mark = args.folder / f".node-check-{os.environ.get('SLURM_JOB_ID', os.getpid())}"
    if rank == 0:
        store.set("mark", "" if (problem := _made(mark)) is None else problem)
    try:
        found = {"host": host, "facts": check_this_node(args, mark, store.get("mark").decode(), torch)}
    except (NodeError, OSError, RuntimeError) as error:
        found = {"host": host, "problem": str(error).splitlines()[0]}
    store.set(f"node-{rank}", json.dumps(found))
    if rank == 0:
        deadline = time.monotonic() + args.patience
        verdict = judge([_told(store, number, deadline) for number in range(nodes)], _hosts(nodes))
        mark.unlink(missing_ok=True)
        store.set("verdict", json.dumps(verdict))
    elif not _waited(store, "verdict", 2 * args.patience):
        return 2
    if rank != 0 and json.loads(store.get("verdict")):
        time.sleep(5)
        return 2
    if rank == 0 and verdict:
        # srun ends the step with the first task that fails; by then the messages above must have reached it.
        time.sleep(2)
        return 2
    return sum_up(args, store, rank, nodes, host, torch, dist, patience)


def check_this_node(args: argparse.Namespace, mark: Path, mark_problem: str, torch) -> dict:
    """GPUs seen, a matrix product on each (or on the CPU), the disk. Errors: NodeError."""
    gpus = torch.cuda.device_count()
    if gpus < args.gpus and not (gpus == 0 and args.cpu_allowed):
        raise NodeError(f"sees {gpus} of {args.gpus} GPUs (to run on the CPUs: sbatch --gres=none)")
    began = time.monotonic()
    for device in [f"cuda:{number}" for number in range(gpus)] or ["cpu"]:
        ones = torch.ones(MATRIX, MATRIX, device=device)
        wrong = int(((ones @ ones) != MATRIX).sum())
        if wrong:
            raise NodeError(f"{device} multiplies wrongly: {wrong} of {MATRIX}x{MATRIX} elements")
    seconds = time.monotonic() - began
    if mark_problem:
        raise NodeError(mark_problem)
    if not mark.exists():
        raise NodeError(f"does not see {args.folder.resolve()} as the first node does: not the same disk")
    if not os.access(args.folder, os.W_OK):
        raise NodeError(f"may not write to {args.folder.resolve()}")
    free = shutil.disk_usage(args.folder).free / 2**30
    name = torch.cuda.get_device_name(0) if gpus else "CPU"
    return {"gpus": gpus, "text": f"{gpus} GPUs ({name}), products right in {seconds:.2f} s, {free:,.0f} GiB free"}


def judge(found: list[dict | None], hosts: list[str]) -> list[str]:
    """Print a line per node; returns the nodes that failed. GPUs on some nodes only: the others have failed."""
    gpus = max((node["facts"]["gpus"] for node in found if node and "facts" in node), default=0)
    failed = []
    for host, node in zip(hosts, found, strict=True):
        if node is None:
            problem = "did not answer in time"
        elif "problem" in node:
            problem = node["problem"]
        elif node["facts"]["gpus"] < gpus:
            problem = f"sees {node['facts']['gpus']} GPUs where others see {gpus}"
        else:
            print(f"node {host}: {node['facts']['text']}", flush=True)
            continue
        failed.append(host)
        print(f"check_nodes.py: node {host} failed: {problem}", file=sys.stderr, flush=True)
    if failed:
        again = f"sbatch --exclude={','.join(failed)} ..."
        print(f"check_nodes.py: nothing was started; without the failed: {again}", file=sys.stderr, flush=True)
    return failed


def sum_up(args, store, rank: int, nodes: int, host: str, torch, dist, patience: timedelta) -> int:
    """The all-reduce over one device a node: right in every element, and its seconds."""
    gpu = torch.cuda.is_available()
    group = dist.PrefixStore("sum", store)
    try:
        dist.init_process_group("nccl" if gpu else "gloo", store=group, rank=rank, world_size=nodes, timeout=patience)
        values = torch.full((SUMMED,), float(rank + 1), device="cuda:0" if gpu else "cpu")
        dist.barrier()
        began = time.monotonic()
        dist.all_reduce(values)
        wrong = int((values != nodes * (nodes + 1) / 2).sum())
        seconds = time.monotonic() - began
        dist.barrier()
        dist.destroy_process_group()
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        print(f"check_nodes.py: node {host} failed in the all-reduce over {nodes} nodes: {text}", file=sys.stderr)
        return 2
    if wrong:
        print(f"check_nodes.py: node {host}: the all-reduce gave {wrong} wrong elements of {SUMMED}", file=sys.stderr)
        return 2
    if rank == 0:
        print(f"all-reduce of 64 MiB over {nodes} nodes: right, {seconds:.2f} s", flush=True)
    return 0


def _made(mark: Path) -> str | None:
    """Make the mark; returns what went wrong, or None."""
    try:
        mark.touch()
    except OSError as error:
        return f"cannot write to {mark.parent.resolve()}: {error.strerror}"
    return None


def _waited(store, key: str, seconds: float) -> bool:
    import torch.distributed as dist

    try:
        store.wait([key], timedelta(seconds=seconds))
    except (RuntimeError, dist.DistError):
        return False
    return True


def _told(store, rank: int, deadline: float) -> dict | None:
    left = max(0.1, deadline - time.monotonic())
    return json.loads(store.get(f"node-{rank}")) if _waited(store, f"node-{rank}", left) else None


def _hosts(nodes: int) -> list[str]:
    """The nodes' names, in the order of their ranks."""
    import subprocess

    listed = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST")
    if not listed:
        return [socket.gethostname()] * nodes
    done = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True)
    return done.stdout.split()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads abort now and then at the interpreter's own end
