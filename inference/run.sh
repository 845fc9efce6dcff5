#!/usr/bin/env bash
# Evaluation job: sbatch inference/run.sh --model DIR [flags of eval.py], one node or many;
# the same file runs under plain bash on one machine: bash inference/run.sh --model checkpoints/finetuned
# Submit from the project's root. Every GPU gets a process of its own, which asks its share of the questions (eval.py
# --shard); the last to end scores all. RANKS_PER_NODE: processes a node (default: the GPUs, or 1 without a GPU).
# Their output: logs/NAME-shard-I.log. More GPUs: sbatch --gres=gpu:8 [--nodes=2] inference/run.sh ...
# A run that was stopped, by its time too, goes on where it was: answers are on the disk batch by batch. A job whose time
# is up is queued again, MAX_RESTARTS times (default 1000); then it says so and ends with exit code 1.
#SBATCH --job-name=mmed-eval
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -euo pipefail
# An array over models: %a in an argument is the number of the array's task, as in sbatch's --output.
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then set -- "${@//\%a/$SLURM_ARRAY_TASK_ID}"; fi
script=inference/run.sh entry=inference/eval.py

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

for argument in "$@"; do
  case $argument in # asked for a share, of a server, or for nothing that could be shared
    --api-base | --api-base=* | --vllm | --vllm=* | --shard | --shard=* | --score-only | --dry-run | --help | -h) ranks=1 nodes=1 ;;
  esac
done
shards=$((nodes * ranks))
log=logs/${SLURM_JOB_NAME:-mmed-eval}-${SLURM_JOB_ID:-$$}-shard
mkdir -p logs
export ranks nodes shards log
echo "command:$(printf " %q" "${python[@]}" "$entry" "$@")"

# This node's shares, one process each; returns the first exit code that is not 0, when all have ended.
# $1: the number of words that start Python, which come next; then the flags of eval.py.
ask_on_this_node() {
  local gpus=() pids=() code=0 rank shard python=("${@:2:$1}")
  shift $(($1 + 1))
  if [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
    IFS=, read -r -a gpus <<< "$CUDA_VISIBLE_DEVICES"
  else
    read -r -a gpus <<< "$("${python[@]}" -c 'import torch; print(*range(torch.cuda.device_count()))')"
  fi
  if [[ -z ${OMP_NUM_THREADS:-} ]]; then # processes that share a node's cores
    export OMP_NUM_THREADS=$((($(nproc) + ranks - 1) / ranks))
  fi
  for ((rank = 0; rank < ranks; rank++)); do
    shard=$((${SLURM_NODEID:-0} * ranks + rank))
    (
      if ((${#gpus[@]})); then export CUDA_VISIBLE_DEVICES=${gpus[rank % ${#gpus[@]}]}; fi
      exec "${python[@]}" inference/eval.py "$@" --shard "$shard/$shards"
    ) > "$log-$shard.log" 2>&1 &
    pids[rank]=$!
  done
  trap 'kill -TERM "${pids[@]}" 2> /dev/null || true' TERM INT USR1
  local left=$ranks one
  while ((left)); do
    wait -n "${pids[@]}" 2> /dev/null || true # until one has ended, or a signal has come
    for rank in "${!pids[@]}"; do
      if kill -0 "${pids[rank]}" 2> /dev/null; then continue; fi
      one=0
      wait "${pids[rank]}" || one=$?
      unset "pids[rank]"
      left=$((left - 1))
      if ((one == 0)); then continue; fi
      shard=$((${SLURM_NODEID:-0} * ranks + rank))
      echo "shard $shard of $shards ended with exit code $one: $(tail -n 1 "$log-$shard.log") ($log-$shard.log)" >&2
      if ((code == 0)); then code=$one; fi
    done
  done
  return "$code"
}
export -f ask_on_this_node

code=0
trap 'warned=1; [[ -z ${pid:-} ]] || kill -TERM "$pid"' USR1
trap '[[ -z ${pid:-} ]] || kill -TERM "$pid"' TERM INT
if ((shards == 1)); then
  "${python[@]}" "$entry" "$@" &
else
  # Bad input is told once, here, and the log of the job has the plan.
  "${python[@]}" "$entry" "$@" --dry-run || finish $?
  words=("${#python[@]}" "${python[@]}" "$@")
  if [[ -z ${SLURM_JOB_ID:-} ]]; then
    ask_on_this_node "${words[@]}" &
  else
    srun "${srun_options[@]}" --kill-on-bad-exit=0 bash -c 'ask_on_this_node "$@"' bash "${words[@]}" &
  fi
fi
pid=$!
if [[ -n $warned ]]; then kill -TERM "$pid"; fi

# A trap interrupts wait, so wait again until all have ended.
while :; do
  wait "$pid" && code=0 || code=$?
  kill -0 "$pid" 2> /dev/null || break
done
if ((code == 0 && shards > 1)); then
  "${python[@]}" "$entry" "$@" | sed -n '/ is complete and is reused$/,$p' # the scores, for this log
elif [[ $code != 0 && -n $warned && -n ${SLURM_JOB_ID:-} ]]; then
  queue_again "time is nearly up and the answers so far are saved"
elif ((code != 0 && code != 2)); then
  lost=
  if [[ -n ${SLURM_JOB_ID:-} ]]; then lost=$(lost_nodes); fi
  if [[ -n $lost ]]; then queue_again "the answers so far are saved; $lost is lost"; fi
  echo "inference/run.sh: stopped before all was asked; the answers so far are saved: the same command asks the rest" >&2
fi
finish "$code"
