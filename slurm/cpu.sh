#!/usr/bin/env bash
# Job of the small commands, which need no GPU: sbatch slurm/cpu.sh mmedbench/prepare.py DIR --out data/MMedBench
# Several commands, one after the other, are parted by the word then:
#   sbatch slurm/cpu.sh mmedbench/leaderboard.py add results/finetuned/result.json then mmedbench/leaderboard.py render
# The same file runs under plain bash. Submit from the project's root.
# A job whose time is up is queued again, MAX_RESTARTS times (default 1000): the commands go on from what is done.
#SBATCH --job-name=mmed-cpu
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -euo pipefail

# Slurm runs a copy of this file, so the project is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
if [[ ! -f slurm/cpu.sh ]]; then
  echo "slurm/cpu.sh: $PWD is not the project's root (no slurm/cpu.sh); submit the job from there" >&2
  exit 2
fi
if [[ ! ${MAX_RESTARTS:-0} =~ ^(0|[1-9][0-9]{0,8})$ ]]; then # told now, not when the time is up
  echo "slurm/cpu.sh: MAX_RESTARTS is $MAX_RESTARTS; it is a whole number, such as 12" >&2
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
    echo "slurm/cpu.sh: '$argument' is not a command; give one such as pretrain/tokenize_corpus.py, and 'then' between two" >&2
    exit 2
  fi
  command=$argument
  if [[ $argument == "then" ]]; then command=; fi
done
if [[ -z $command ]]; then
  echo "slurm/cpu.sh: no command is behind the last 'then'" >&2
  exit 2
fi

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart ${SLURM_RESTART_COUNT:-0}  host $(hostname)"
code=0 warned='' pid=''
trap 'warned=1; [[ -z $pid ]] || kill -TERM "$pid" 2> /dev/null || true' USR1
trap '[[ -z $pid ]] || kill -TERM "$pid" 2> /dev/null || true' TERM INT
while (($#)) && [[ $code == 0 && -z $warned ]]; do
  words=()
  while (($#)) && [[ $1 != "then" ]]; do
    words+=("$1")
    shift
  done
  if (($#)); then shift; fi
  echo "command: ${words[*]}"
  "${container[@]}" "$PYTHON" "${words[@]}" &
  pid=$!
  while :; do # a trap interrupts wait, so wait again until the command has ended
    wait "$pid" && code=0 || code=$?
    kill -0 "$pid" 2> /dev/null || break
  done
  if ((code == 3)); then
    echo "some inputs could not be read and are listed; the job continues, so that the jobs that depend on it start"
    code=0
  fi
done
if [[ -n $warned && -n ${SLURM_JOB_ID:-} && ($code != 0 || $# -gt 0) ]]; then
  if ((${SLURM_RESTART_COUNT:-0} < ${MAX_RESTARTS:-1000})); then
    echo "time is nearly up and what is done stays: asking Slurm to queue job $SLURM_JOB_ID again"
    echo "end $(date -u +%FT%TZ)  queued again"
    scontrol requeue "$SLURM_JOB_ID"
    sleep "${REQUEUE_SECONDS:-30}" # Slurm ends it here
    exit 1
  fi
  echo "time is nearly up; job $SLURM_JOB_ID is NOT queued again: it was ${SLURM_RESTART_COUNT:-0} times, and" \
    "MAX_RESTARTS is ${MAX_RESTARTS:-1000}; submit the same command to go on" >&2
  if ((code == 0)); then code=1; fi
fi
echo "end $(date -u +%FT%TZ)  exit code $code"
exit "$code"
