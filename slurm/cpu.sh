#!/usr/bin/env bash
# Job of the small commands, which need no GPU: sbatch slurm/cpu.sh mmedbench/prepare.py DIR --out data/MMedBench
# Several commands, one after the other, are parted by the word then:
#   sbatch slurm/cpu.sh mmedbench/leaderboard.py add results/finetuned/result.json then mmedbench/leaderboard.py render
# The same file runs under plain bash. Submit from the project's root.
#SBATCH --job-name=mmed-cpu
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -euo pipefail

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f slurm/cpu.sh ]]; then
  echo "slurm/cpu.sh: $PWD is not the project's root (no slurm/cpu.sh); submit the job from there" >&2
  exit 2
fi
container=()
if [[ -f slurm/read_site.sh ]]; then source slurm/read_site.sh job; fi # the site's settings, slurm/site.sh
PYTHON=${PYTHON:-.venv/bin/python}
if ! command -v "$PYTHON" > /dev/null; then
  echo "slurm/cpu.sh: no Python at $PYTHON; run bash setup.sh once, or set PYTHON" >&2
  exit 2
fi
for argument in "${1:-}" "${@:2}"; do
  if [[ -z ${command:-} && ($argument != */*.py || ! -f $argument) ]]; then
    echo "slurm/cpu.sh: '$argument' is no command; give one such as pretrain/tokenize_corpus.py, and 'then' between two" >&2
    exit 2
  fi
  command=$argument
  if [[ $argument == "then" ]]; then command=; fi
done
if [[ -z $command ]]; then
  echo "slurm/cpu.sh: no command stands behind the last 'then'" >&2
  exit 2
fi

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart ${SLURM_RESTART_COUNT:-0}  host $(hostname)"
code=0
while (($#)) && ((code == 0)); do
  words=()
  while (($#)) && [[ $1 != "then" ]]; do
    words+=("$1")
    shift
  done
  if (($#)); then shift; fi
  echo "command: ${words[*]}"
  "${container[@]}" "$PYTHON" "${words[@]}" || code=$?
  if ((code == 3)); then
    echo "some inputs could not be read and are listed; the job goes on, so that what waits for it starts"
    code=0
  fi
done
echo "end $(date -u +%FT%TZ)  exit code $code"
exit "$code"
