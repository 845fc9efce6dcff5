#!/usr/bin/env bash
# Evaluation job: sbatch inference/run.sh --model DIR [flags of eval.py], one GPU;
# the same file runs under plain bash: bash inference/run.sh --model checkpoints/finetuned
# Submit from the project's root. Queued again after a lost node, it asks no question twice.
#SBATCH --job-name=mmed-eval
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:1
#SBATCH --requeue
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
echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart ${SLURM_RESTART_COUNT:-0}  host $(hostname)"
echo "command: eval.py $*"
code=0
TOKENIZERS_PARALLELISM=false "$PYTHON" inference/eval.py "$@" || code=$?
echo "end $(date -u +%FT%TZ)  exit code $code"
exit "$code"
