#!/usr/bin/env bash
# Evaluation job: sbatch inference/run.sh --model DIR [flags of eval.py], one node or many;
# the same file runs under plain bash on one machine: bash inference/run.sh --model checkpoints/finetuned
# Submit from the project's root. Every GPU gets a process of its own, which asks its share of the questions (eval.py
# --shard); the last to end scores all. RANKS_PER_NODE: processes per node (default: the GPUs, or 1 without a GPU).
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

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f $entry || ! -f slurm/job_setup.sh ]]; then
  echo "$script: $PWD is not the project's root (no $entry); submit the job from there" >&2
  exit 2
fi
source slurm/job_setup.sh "$@"

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
  # Bad input is reported once, here, and the log of the job has the plan.
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
