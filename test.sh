#!/usr/bin/env bash
# Run the tests. bash test.sh: the quick set. bash test.sh --all: the slow tests too, as in CI.
# Further arguments are passed to pytest: bash test.sh finetune -k prompt
#
# MMED_TEST_DATA  folder with real data (default ../shared/data); tests that need it are skipped without it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

selection=(-m "not slow")
if [[ ${1:-} == --all ]]; then
  selection=()
  shift
fi
bash setup.sh --tests
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# Two processes, each takes whole test files: many tests wait for other processes and servers.
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 "${selection[@]}" "$@"
