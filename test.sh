#!/usr/bin/env bash
# The tests. bash test.sh: the quick set (about 5 minutes on 2 cores after set-up). bash test.sh --all: everything,
# the slow ones too, which is what CI runs. More arguments go to pytest: bash test.sh finetune -k prompt
#
# MMED_TEST_DATA  folder of real data for the tests that want it (default ../shared/data); without it they are skipped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

which=(-m "not slow")
if [[ ${1:-} == --all ]]; then
  which=()
  shift
fi
bash setup.sh --tests
.venv/bin/ruff check .
exec .venv/bin/python -m pytest --durations=15 "${which[@]}" "$@"
