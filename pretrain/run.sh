#!/usr/bin/env bash
# Pretraining job: sbatch pretrain/run.sh --recipe FILE [flags of train_lm.py], one node or many;
# the same file runs under plain bash on one machine: bash pretrain/run.sh --recipe pretrain/recipes/tiny.yaml
# Submit from the project's root. RANKS_PER_NODE: processes a node (default: the GPUs, or 1 without a GPU).
# Slurm warns 900 s before the time is up; the checkpoint is saved after the step then under way. Steps that take longer
# (plan.py says how long one takes) need an earlier warning: sbatch --signal=B:USR1@3600 pretrain/run.sh ...
# A job whose time is up is queued again, MAX_RESTARTS times (default 1000); then it says so and ends with exit code 1.
#SBATCH --job-name=mmed-pretrain
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --requeue
#SBATCH --signal=B:USR1@900
set -euo pipefail
script=pretrain/run.sh entry=pretrain/train_lm.py

# What follows, to the next line of dashes, is the same in every job script that runs a model; a test compares them.
# ----------------------------------------------------------------------------------------------------------------------
fail() {
  echo "$script: $*" >&2
  exit 2
}

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
[[ -f $entry ]] || fail "$PWD is not the project's root (no $entry); submit the job from there"
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
[[ $ranks =~ ^[1-9][0-9]*$ ]] || fail "RANKS_PER_NODE is $ranks; it is the number of processes a node, 1 or more"

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart $restarts  nodes $nodes x $ranks ranks  host $(hostname)"
echo "nodes: ${SLURM_JOB_NODELIST:-$(hostname)}, ${SLURM_GPUS_ON_NODE:-no} GPUs a node asked of Slurm; $versions"

# What is written, here or in --out, needs room; checkpoints need far more, and say so when they don't fit.
folder=. previous=
for argument in "$@"; do
  if [[ $previous == --out ]]; then folder=$argument; fi
  if [[ $argument == --out=* ]]; then folder=${argument#--out=}; fi
  previous=$argument
done
while [[ ! -d $folder ]]; do folder=$(dirname -- "$folder"); done
[[ -w $folder ]] || fail "nothing can be written in $folder; give another --out"
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
    fail "a node failed the check, so nothing was started; leave out the one named above: sbatch --exclude=NODE ..."
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
# ----------------------------------------------------------------------------------------------------------------------

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# A torchrun that is told to stop kills its ranks after so many seconds: a step and a save may take longer than its 30.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-1800}
torchrun=("${python[@]}" -m torch.distributed.run --nnodes="$nodes" --nproc-per-node="$ranks")
if [[ -z ${SLURM_JOB_ID:-} ]]; then
  if [[ -n ${MASTER_PORT:-} ]]; then
    port=$(free_port "$MASTER_PORT")
    torchrun+=(--node-rank=0 --master-addr=127.0.0.1 --master-port="$port")
  else
    torchrun+=(--standalone) # it finds a free port
  fi
  torchrun+=("$entry" "$@")
  echo "command:$(printf " %q" "${torchrun[@]}")"
  # An ignored signal is inherited: torchrun, which would die of USR1, survives it, and the ranks set their own handler.
  (trap "" USR1; exec "${torchrun[@]}") &
  pid=$!
  trap 'pkill -USR1 -P "$pid"' USR1
  # To the ranks, which save and end well; torchrun itself, told to stop, would end with 1.
  trap 'pkill -TERM -P "$pid" || kill -TERM "$pid"' TERM INT
else
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  port=$(free_port "${MASTER_PORT:-}")
  torchrun+=(--master-addr="$MASTER_ADDR" --master-port="$port" "$entry" "$@")
  echo "command:$(printf " %q" "${torchrun[@]}")"
  # torchrun takes --node-rank from PET_NODE_RANK.
  srun "${srun_options[@]}" --kill-on-bad-exit=1 --wait=60 bash -c 'trap "" USR1; PET_NODE_RANK=$SLURM_NODEID exec "$@"' \
    bash "${torchrun[@]}" &
  pid=$!
  # To every step on every node, not to this shell; again and again, because a rank that is still starting ignores it.
  warn_ranks() {
    warned=1
    while kill -0 "$pid" 2> /dev/null; do
      scancel --signal=USR1 "$SLURM_JOB_ID" || true
      sleep 10
    done &
  }
  if [[ -n $warned ]]; then warn_ranks; fi
  trap '[[ -n $warned ]] || warn_ranks' USR1
fi

# A trap interrupts wait, so wait again until the ranks are gone.
code=0
while :; do
  wait "$pid" && code=0 || code=$?
  kill -0 "$pid" 2> /dev/null || break
done
if [[ -n $warned && $code == 0 ]]; then
  queue_again "time is nearly up and the checkpoint is saved"
elif [[ -n ${SLURM_JOB_ID:-} && $code != 0 && $code != 2 ]]; then
  lost=$(lost_nodes)
  if [[ -n $lost ]]; then queue_again "the ranks ended with exit code $code because $lost is lost"; fi
fi
if ((code != 0)); then
  echo "$script: the ranks ended with exit code $code, for the reason given above; job ${SLURM_JOB_ID:-none} is not queued" \
    "again; run the same command to resume from the last checkpoint" >&2
fi
finish "$code"
