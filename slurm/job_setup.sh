#!/usr/bin/env bash
# Set-up of the job scripts that run a model (pretrain/run.sh, finetune/run.sh, inference/run.sh), sourced by them in the
# project's root with the flags of their command:
#   script=pretrain/run.sh entry=pretrain/train_lm.py
#   source slurm/job_setup.sh "$@"
# Reads the site's settings, checks Python, disk and nodes. Sets warned, restarts, nodes, ranks, python, srun_options and
# folder; defines fail, finish, free_port, queue_again and lost_nodes. Set-up errors exit with 2.
set -euo pipefail
: "${script:?is set by the job script that sources this file}"

fail() {
  echo "$script: $*" >&2
  exit 2
}

warned=
if [[ -n ${SLURM_JOB_ID:-} ]]; then trap 'warned=1' USR1; fi # until the ranks run, who get it then
restarts=${SLURM_RESTART_COUNT:-0} nodes=${SLURM_JOB_NUM_NODES:-1} max_restarts=${MAX_RESTARTS:-1000}
for setting in MAX_RESTARTS MIN_FREE_GIB MASTER_PORT; do
  [[ ${!setting:-0} =~ ^(0|[1-9][0-9]{0,8})$ ]] || fail "$setting is ${!setting}; it is a whole number, such as 12"
done
if ((restarts > max_restarts)); then
  echo "$script: job $SLURM_JOB_ID was queued again $restarts times, and MAX_RESTARTS is $max_restarts: look into what" \
    "ends it (sacct, its log), then submit the same command to go on" >&2
  exit 1
fi

# The site's modules, container, Python and network interface: slurm/site.sh, where there is one.
container=()
if [[ -f slurm/read_site.sh ]]; then source slurm/read_site.sh job; fi
PYTHON=${PYTHON:-.venv/bin/python}
python=("${container[@]}" "$PYTHON")
versions=$("${python[@]}" - 2>&1 << 'VERSIONS'
import importlib.metadata, importlib.util, platform, sys
if importlib.util.find_spec("torch") is None:
    sys.exit("it has no torch")
names = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
versions = [f"{name} {names[name]}" for name in ("torch", "transformers", "deepspeed", "peft") if name in names]
print(", ".join([f"Python {platform.python_version()}", *versions]))
VERSIONS
) || fail "no Python at ${python[*]} that has the project's packages (${versions##*$'\n'}); run bash setup.sh once, or set PYTHON"
if command -v "$PYTHON" > /dev/null; then PATH=$(dirname "$(command -v "$PYTHON")"):$PATH; fi # DeepSpeed looks for ninja there
# Compiled extensions stay beside the environment, so that they are built once.
export TORCH_EXTENSIONS_DIR=${TORCH_EXTENSIONS_DIR:-$PWD/.venv/torch_extensions}
export PATH PYTHON TOKENIZERS_PARALLELISM=false
ranks=${RANKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-$("${python[@]}" -c 'import torch; print(max(1, torch.cuda.device_count()))')}}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || fail "RANKS_PER_NODE is $ranks; it is the number of processes per node, 1 or more"

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart $restarts  nodes $nodes x $ranks ranks  host $(hostname)"
echo "nodes: ${SLURM_JOB_NODELIST:-$(hostname)}, ${SLURM_GPUS_ON_NODE:-no} GPUs per node asked of Slurm; $versions"

# What is written, here or in --out, needs room; checkpoints need far more, and say so when they don't fit.
folder=. previous=
for argument in "$@"; do
  if [[ $previous == --out ]]; then folder=$argument; fi
  if [[ $argument == --out=* ]]; then folder=${argument#--out=}; fi
  previous=$argument
done
while [[ ! -d $folder ]]; do folder=$(dirname -- "$folder"); done
[[ -w $folder ]] || fail "nothing can be written in $folder; use another --out"
room=$(df -Pk -- "$folder" | awk 'END { print int($4 / 1048576) }')
((room >= ${MIN_FREE_GIB:-1})) ||
  fail "$room GiB are free in $folder, and MIN_FREE_GIB is ${MIN_FREE_GIB:-1}; make room, or give --out on another disk"

srun_options=(--ntasks="$nodes" --ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"})
unset SLURM_EXPORT_ENV # with sbatch --export=NONE, srun would find no PATH

# A free port of this node, the first of a job: PORT, or one that jobs which share a node have apart. Linux gives those
# from 32768 on to whoever asks.
free_port() {
  "${python[@]}" - "$1" "${SLURM_JOB_ID:-0}" << 'PORT' || fail "port $1 cannot be used; set MASTER_PORT to a free one, or unset it"
import socket, sys
first = 20000 + int(sys.argv[2]) % 12000
for port in [int(sys.argv[1])] if sys.argv[1] else range(first, 32768):
    try:
        socket.create_server(("", port)).close()
    except (OSError, OverflowError) as error:
        if sys.argv[1]:
            sys.exit(f"port {port}: {error}")
    else:
        print(port)
        break
PORT
}

if [[ -n ${SLURM_JOB_ID:-} && ${NODE_CHECK:-1} != 0 && -f slurm/check_nodes.py ]]; then
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  check_port=$(free_port "")
  srun "${srun_options[@]}" --kill-on-bad-exit=1 "${python[@]}" slurm/check_nodes.py --master "$MASTER_ADDR:$check_port" \
    --gpus "${SLURM_GPUS_ON_NODE:-0}" ${RANKS_PER_NODE:+--cpu-allowed} --folder "$folder" ||
    fail "a node failed the check, so nothing was started; omit the one named above: sbatch --exclude=NODE ..."
fi

finish() {
  echo "end $(date -u +%FT%TZ)  exit code $1  seconds $SECONDS" \
    " GPU-hours $(awk "BEGIN { printf \"%.3f\", $SECONDS * $nodes * ${SLURM_GPUS_ON_NODE:-0} / 3600 }")"
  exit "$1"
}

# Ask Slurm to start this job again, for the reason $1; a bounded number of times.
queue_again() {
  local now
  now=$(scontrol show job -o "$SLURM_JOB_ID" | grep -o ' Restarts=[0-9]*' || true)
  if [[ ${now#*=} != "$restarts" ]]; then # this node was lost to Slurm, and the job already runs on others
    echo "$1; but start $restarts of job $SLURM_JOB_ID is over: Slurm has started it again (${now:- unknown job})" >&2
    finish 1
  fi
  if ((restarts >= max_restarts)); then
    echo "$1; job $SLURM_JOB_ID is NOT queued again: it was $restarts times, and MAX_RESTARTS is $max_restarts; submit" \
      "the same command to go on" >&2
    finish 1
  fi
  echo "$1: asking Slurm to queue job $SLURM_JOB_ID again"
  echo "end $(date -u +%FT%TZ)  queued again  seconds $SECONDS"
  scontrol requeue "$SLURM_JOB_ID"
  sleep "${REQUEUE_SECONDS:-30}" # Slurm ends it here
  exit 1
}

# The nodes of this job that don't answer Slurm: ranks that fail because another node is lost have no reason of their own.
lost_nodes() {
  sinfo -h -N -n "$SLURM_JOB_NODELIST" -o "%N %T" | awk '$2 ~ /[*]$|^down|^fail/ { print $1 }' | sort -u | paste -sd ,
}

if [[ -n $warned ]]; then
  echo "$script: the warning that time is nearly up came before the work began; give sbatch a longer --time, or a later" \
    "warning, such as --signal=B:USR1@60" >&2
  finish 1
fi
