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

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f inference/eval.py ]]; then
  echo "inference/run.sh: $PWD is not the project's root (no inference/eval.py); submit the job from there" >&2
  exit 2
fi
PYTHON=${PYTHON:-.venv/bin/python}
if ! command -v "$PYTHON" > /dev/null; then
  echo "inference/run.sh: no Python at $PYTHON; run bash setup.sh once, or set PYTHON" >&2
  exit 2
fi

ranks=${RANKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-$("$PYTHON" -c 'import torch; print(max(1, torch.cuda.device_count()))')}}
nodes=${SLURM_JOB_NUM_NODES:-1}
if [[ ! $ranks =~ ^[1-9][0-9]*$ ]]; then
  echo "inference/run.sh: RANKS_PER_NODE is $ranks; it is the number of processes a node, 1 or more" >&2
  exit 2
fi
for argument in "$@"; do
  case $argument in # asked for a share, of a server, or for nothing that could be shared
    --api-base | --api-base=* | --vllm | --vllm=* | --shard | --shard=* | --score-only | --dry-run | --help | -h) ranks=1 nodes=1 ;;
  esac
done
shards=$((nodes * ranks))
log=logs/${SLURM_JOB_NAME:-mmed-eval}-${SLURM_JOB_ID:-$$}-shard
export PYTHON ranks nodes shards log TOKENIZERS_PARALLELISM=false

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart ${SLURM_RESTART_COUNT:-0}  nodes $nodes x $ranks ranks  host $(hostname)"
echo "command: eval.py $*"

# This node's shares, one process each; returns the first exit code that is not 0, when all have ended.
ask_on_this_node() {
  local gpus=() pids=() code=0 rank shard
  if [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
    IFS=, read -r -a gpus <<< "$CUDA_VISIBLE_DEVICES"
  else
    read -r -a gpus <<< "$("$PYTHON" -c 'import torch; print(*range(torch.cuda.device_count()))')"
  fi
  if [[ -z ${OMP_NUM_THREADS:-} ]]; then # processes that share a node's cores
    export OMP_NUM_THREADS=$((($(nproc) + ranks - 1) / ranks))
  fi
  for ((rank = 0; rank < ranks; rank++)); do
    shard=$((${SLURM_NODEID:-0} * ranks + rank))
    (
      if ((${#gpus[@]})); then export CUDA_VISIBLE_DEVICES=${gpus[rank % ${#gpus[@]}]}; fi
      exec "$PYTHON" inference/eval.py "$@" --shard "$shard/$shards"
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

code=0 warned=
trap 'warned=1; [[ -n ${pid:-} ]] && kill -TERM "$pid"' USR1
trap '[[ -n ${pid:-} ]] && kill -TERM "$pid"' TERM INT
if ((shards == 1)); then
  "$PYTHON" inference/eval.py "$@" &
else
  # Bad input is told once, here, and the log of the job has the plan.
  "$PYTHON" inference/eval.py "$@" --dry-run || { code=$?; echo "end $(date -u +%FT%TZ)  exit code $code"; exit "$code"; }
  if [[ -z ${SLURM_JOB_ID:-} ]]; then
    ask_on_this_node "$@" &
  else
    unset SLURM_EXPORT_ENV # with sbatch --export=NONE, srun would find no PATH
    srun --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=0 bash -c 'ask_on_this_node "$@"' bash "$@" &
  fi
fi
pid=$!

# A trap interrupts wait, so wait again until all have ended.
while :; do
  wait "$pid" && code=0 || code=$?
  kill -0 "$pid" 2> /dev/null || break
done
if ((code == 0 && shards > 1)); then
  "$PYTHON" inference/eval.py "$@" | sed -n '/ is complete and is reused$/,$p' # the scores, for this log
elif [[ $code != 0 && -n ${warned:-} && -n ${SLURM_JOB_ID:-} ]]; then
  if ((${SLURM_RESTART_COUNT:-0} >= ${MAX_RESTARTS:-1000})); then
    echo "time is nearly up; job $SLURM_JOB_ID is NOT queued again: it was ${SLURM_RESTART_COUNT:-0} times, and" \
      "MAX_RESTARTS is ${MAX_RESTARTS:-1000}; submit the same command to go on" >&2
    exit 1
  fi
  echo "time is nearly up and the answers so far are saved: asking Slurm to queue job $SLURM_JOB_ID again"
  scontrol requeue "$SLURM_JOB_ID"
  sleep "${REQUEUE_SECONDS:-30}"
  exit 1
elif ((code != 0 && code != 2)); then
  echo "inference/run.sh: stopped before all was asked; the answers so far are saved: the same command asks the rest" >&2
fi
echo "end $(date -u +%FT%TZ)  exit code $code"
exit "$code"
