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

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f pretrain/train_lm.py ]]; then
  echo "pretrain/run.sh: $PWD is not the project's root (no pretrain/train_lm.py); submit the job from there" >&2
  exit 2
fi
PYTHON=${PYTHON:-.venv/bin/python}
if ! command -v "$PYTHON" > /dev/null; then
  echo "pretrain/run.sh: no Python at $PYTHON; run bash setup.sh once, or set PYTHON" >&2
  exit 2
fi

ranks=${RANKS_PER_NODE:-${SLURM_GPUS_ON_NODE:-$("$PYTHON" -c 'import torch; print(max(1, torch.cuda.device_count()))')}}
nodes=${SLURM_JOB_NUM_NODES:-1}
# Compiled extensions stay beside the environment, so that they are built once.
export TORCH_EXTENSIONS_DIR=${TORCH_EXTENSIONS_DIR:-$PWD/.venv/torch_extensions}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TOKENIZERS_PARALLELISM=false
PATH=$(dirname "$(command -v "$PYTHON")"):$PATH # DeepSpeed looks for ninja there
export PATH PYTHON
# A torchrun that is told to stop kills its ranks after so many seconds: a step and a save may take longer than its 30.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-1800}

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart ${SLURM_RESTART_COUNT:-0}  nodes $nodes x $ranks ranks  host $(hostname)"
echo "command: train_lm.py $*"

if [[ -z ${SLURM_JOB_ID:-} ]]; then
  if [[ -n ${MASTER_PORT:-} ]]; then
    "$PYTHON" - "$MASTER_PORT" << 'PORT' || exit 2
import socket, sys
try:
    socket.create_server(("127.0.0.1", int(sys.argv[1]))).close()
except (OSError, ValueError, OverflowError) as error:
    sys.exit(f"pretrain/run.sh: port {sys.argv[1]} cannot be used ({error}); set MASTER_PORT to a free one, or unset it")
PORT
    where=(--nnodes=1 --node-rank=0 --master-addr=127.0.0.1 --master-port="$MASTER_PORT")
  else
    where=(--standalone) # torchrun finds a free port
  fi
  # An ignored signal is inherited: torchrun, which would die of USR1, survives it, and the ranks set their own handler.
  (trap "" USR1; exec "$PYTHON" -m torch.distributed.run "${where[@]}" --nproc-per-node="$ranks" pretrain/train_lm.py "$@") &
  pid=$!
  trap 'pkill -USR1 -P "$pid"' USR1
  # To the ranks, which save and end well; torchrun itself, told to stop, would end with 1.
  trap 'pkill -TERM -P "$pid" || kill -TERM "$pid"' TERM INT
else
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))} # jobs that share a node get ports apart
  export MASTER_ADDR MASTER_PORT ranks nodes
  unset SLURM_EXPORT_ENV # with sbatch --export=NONE, srun would find no PATH
  srun --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 --wait=60 bash -c '
    trap "" USR1
    exec "$PYTHON" -m torch.distributed.run --nnodes="$nodes" --node-rank="$SLURM_NODEID" --nproc-per-node="$ranks" \
      --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" pretrain/train_lm.py "$@"' bash "$@" &
  pid=$!
  warned=
  trap 'warned=1; scancel --signal=USR1 "$SLURM_JOB_ID"' USR1 # to every step on every node, not to this shell
fi

# A trap interrupts wait, so wait again until the ranks are gone.
code=0
while :; do
  wait "$pid" && code=0 || code=$?
  kill -0 "$pid" 2> /dev/null || break
done
if [[ -n ${warned:-} && $code == 0 ]]; then
  if ((${SLURM_RESTART_COUNT:-0} >= ${MAX_RESTARTS:-1000})); then
    echo "time is nearly up; job $SLURM_JOB_ID is NOT queued again: it was ${SLURM_RESTART_COUNT:-0} times, and" \
      "MAX_RESTARTS is ${MAX_RESTARTS:-1000}; submit the same command to go on" >&2
    exit 1
  fi
  echo "time is nearly up and the checkpoint is saved: asking Slurm to queue job $SLURM_JOB_ID again"
  scontrol requeue "$SLURM_JOB_ID"
  sleep 30
  exit 1
fi
echo "end $(date -u +%FT%TZ)  exit code $code"
exit "$code"
