#!/usr/bin/env bash
# Does what the corpus teaches reach the score? A check of the whole machinery in a small invented world, on a CPU:
#   bash slurm/knowledge_check.sh --out DIR            the arms target and control, three seeds
#   bash slurm/knowledge_check.sh --out DIR --smoke    only whether the corpus reaches the model
# --help has the rest. PYTHON: the Python of the project's environment (default .venv/bin/python).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-$root/.venv/bin/python}
if ! command -v "$PYTHON" > /dev/null; then
  echo "slurm/knowledge_check.sh: no Python at $PYTHON; run bash setup.sh once, or set PYTHON" >&2
  exit 2
fi
exec "$PYTHON" "$root/slurm/knowledge_check.py" "$@"
