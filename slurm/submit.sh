#!/usr/bin/env bash
# Submit a job with the site's settings (slurm/site.sh): bash slurm/submit.sh [options of sbatch] pretrain/run.sh [flags]
# It is sbatch, with what sbatch leaves unsaid: called from anywhere, it submits from the project's root, where it makes
# the folder of the logs (without it Slurm ends a job with no word); and it says where a refused setting comes from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# == 0)) || [[ $1 == -h || $1 == --help ]]; then
  sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p'
  exit 0
fi
if ! command -v sbatch > /dev/null; then
  echo "slurm/submit.sh: no sbatch here; submit on a cluster's login node, or run the script by bash instead" >&2
  exit 2
fi
if ! mkdir -p logs || [[ ! -w logs ]]; then
  echo "slurm/submit.sh: $PWD/logs cannot be written; the jobs' logs go there" >&2
  exit 2
fi
source slurm/read_site.sh submit
code=0
sbatch "${site_options[@]}" "$@" || code=$?
if ((code)); then
  echo "slurm/submit.sh: nothing was submitted; the site's settings (${SITE_FILE:-slurm/site.sh}) gave:" \
    "${site_options[*]:-no options}" >&2
fi
exit "$code"
