#!/usr/bin/env bash
# The whole run on a cluster: from PDFs and web text to the leaderboard, each stage a job that waits for those it reads.
#   bash slurm/pipeline.sh --recipe slurm/recipes/tiny.yaml             submit what is missing; asked again too
#   bash slurm/pipeline.sh --recipe slurm/recipes/tiny.yaml --dry-run   check all, print the graph and the sbatch lines
#   bash slurm/pipeline.sh --recipe slurm/recipes/tiny.yaml --status    done, running, failed, waiting; logs; time left
# --from STAGE: what comes before that stage is there already. pipeline.py says more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source slurm/read_site.sh submit # a typo there is reported before anything is submitted
PYTHON=${PYTHON:-${python:-.venv/bin/python}}
if ! command -v "$PYTHON" > /dev/null; then
  echo "slurm/pipeline.sh: no Python at $PYTHON; run bash setup.sh once, or set PYTHON" >&2
  exit 2
fi
exec "$PYTHON" slurm/pipeline.py "$@"
