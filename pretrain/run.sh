#!/usr/bin/env bash
# Pretraining job: sbatch pretrain/run.sh --recipe FILE [flags of train_lm.py], one node or many;
# the same file runs under plain bash on one machine: bash pretrain/run.sh --recipe pretrain/recipes/tiny.yaml
# Submit from the project's root. RANKS_PER_NODE: processes per node (default: the GPUs, or 1 without a GPU).
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

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f $entry || ! -f slurm/job_setup.sh ]]; then
  echo "$script: $PWD is not the project's root (no $entry); submit the job from there" >&2
  exit 2
fi
source slurm/job_setup.sh "$@"

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# A torchrun that is asked to stop kills its ranks after this many seconds: a step and a save may take longer than its 30.
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
