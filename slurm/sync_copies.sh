#!/usr/bin/env bash
# Copy an edited shared module over its copies in the other stages.
#
#   bash slurm/sync_copies.sh finetune/run_record.py
#
# Stages import nothing from each other, so a module that several of them need is in each, under one name and
# byte-identical; slurm/tests/test_laws.py checks that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# != 1)) || [[ ! -f $1 || $1 != */*.py || $1 == */*/* ]]; then
  echo "usage: bash slurm/sync_copies.sh STAGE/MODULE.py (the copy that was edited)" >&2
  exit 2
fi
for copy in */"${1#*/}"; do
  if ! cmp -s "$1" "$copy"; then
    cp "$1" "$copy"
    echo "updated $copy"
  fi
done
