#!/usr/bin/env bash
# Job of the data stage. An array shares one output: each task does its share (--shard), the last to end finishes it:
#   sbatch --array=0-7 data_collection/run.sh filter.py DIR/web --out data/web [flags of filter.py]
# Without --array one job does all; the same file runs under plain bash: bash data_collection/run.sh filter.py ...
# Submit from the project's root. deduplicate.py takes its array twice, the second after the first:
#   first=$(sbatch --parsable --array=0-7 data_collection/run.sh deduplicate.py data/web --out data/duplicates)
#   sbatch --array=0-7 --dependency=afterok:$first data_collection/run.sh deduplicate.py data/web --out data/duplicates
# Tasks that were killed: the same array again does what is missing; some tasks alone: SHARDS=8 sbatch --array=2,5 ...
# A job whose time is up is queued again, MAX_RESTARTS times (default 1000); then it says so and ends with exit code 1.
#SBATCH --job-name=mmed-data
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
if [[ ! -f data_collection/filter.py ]]; then
  echo "data_collection/run.sh: $PWD is not the project's root (no data_collection/filter.py); submit the job from there" >&2
  exit 2
fi
if [[ ! ${MAX_RESTARTS:-0} =~ ^(0|[1-9][0-9]{0,8})$ ]]; then # told now, not when the time is up
  echo "data_collection/run.sh: MAX_RESTARTS is $MAX_RESTARTS; it is a whole number, such as 12" >&2
  exit 2
fi
container=()
if [[ -f slurm/read_site.sh ]]; then source slurm/read_site.sh job; fi # the site's settings, slurm/site.sh
PYTHON=${PYTHON:-.venv/bin/python}
if ! command -v "$PYTHON" > /dev/null; then
  echo "data_collection/run.sh: no Python at $PYTHON; run bash setup.sh once, or set PYTHON" >&2
  exit 2
fi
script=${1:-}
script=${script#data_collection/}
if [[ $script != *.py || $script == */* || ! -f data_collection/$script ]]; then
  echo "data_collection/run.sh: '$script' is not a command of data_collection/; the first argument is one, such as filter.py" >&2
  exit 2
fi
shift
# The commands that share an output import what reads --shard.
has_shards=$(grep -lE 'add_run_flags|collection_run' "data_collection/$script" || true)
more=()
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  shards=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}
  if [[ -z $has_shards ]]; then
    echo "data_collection/run.sh: $script has no --shard, an array would do the same work $shards times; omit --array" >&2
    exit 2
  fi
  # 0-7 has eight shares; of 2,5 the number is unknown.
  if [[ ! $shards =~ ^[1-9][0-9]*$ ]] || ((${SLURM_ARRAY_TASK_MAX:-0} >= shards)); then
    echo "data_collection/run.sh: task $SLURM_ARRAY_TASK_ID is not a share of $shards; give --array=0-$((SLURM_ARRAY_TASK_COUNT - 1))," \
      "or, for some of the shares alone, SHARDS=N (how many there are in all)" >&2
    exit 2
  fi
  more+=(--shard "$SLURM_ARRAY_TASK_ID/$shards")
fi
# By themselves the commands would take every core of the node, which other jobs may share.
if [[ -n ${SLURM_CPUS_ON_NODE:-} && -n $has_shards && " $* " != *" --workers"* ]]; then more+=(--workers "$SLURM_CPUS_ON_NODE"); fi

echo "start $(date -u +%FT%TZ)  job ${SLURM_JOB_ID:-none}  restart ${SLURM_RESTART_COUNT:-0}  host $(hostname)"
echo "command: $script $* ${more[*]}"

"${container[@]}" "$PYTHON" "data_collection/$script" "$@" "${more[@]}" &
pid=$!
warned=
trap 'warned=1; kill -TERM "$pid" 2> /dev/null || true' USR1
trap 'kill -TERM "$pid" 2> /dev/null || true' TERM INT
# A trap interrupts wait, so wait again until the command has ended.
code=0
while :; do
  wait "$pid" && code=0 || code=$?
  kill -0 "$pid" 2> /dev/null || break
done
if ((code == 3)); then
  echo "some inputs could not be read and are listed in failures.jsonl; the job ends well, so that what waits for it starts"
  code=0
elif [[ $code != 0 && -n $warned && -n ${SLURM_JOB_ID:-} ]]; then
  if ((${SLURM_RESTART_COUNT:-0} >= ${MAX_RESTARTS:-1000})); then
    echo "time is nearly up; job $SLURM_JOB_ID is NOT queued again: it was ${SLURM_RESTART_COUNT:-0} times, and" \
      "MAX_RESTARTS is ${MAX_RESTARTS:-1000}; submit the same command to go on" >&2
    exit 1
  fi
  echo "time is nearly up and what is done stays: asking Slurm to queue job $SLURM_JOB_ID again"
  echo "end $(date -u +%FT%TZ)  queued again"
  scontrol requeue "$SLURM_JOB_ID"
  sleep "${REQUEUE_SECONDS:-30}" # Slurm ends it here
  exit 1
fi
echo "end $(date -u +%FT%TZ)  exit code $code"
exit "$code"
