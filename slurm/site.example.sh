#!/usr/bin/env bash
# A site's settings, all of them in this one file: cp slurm/site.example.sh slurm/site.sh, then edit (git ignores site.sh).
# slurm/submit.sh gives the first part to sbatch; the job scripts apply the second on the nodes, and under plain bash too.
# Leave out what your site does not need. A name that is not listed here is refused, unless it is exported.
# shellcheck disable=SC2034  # slurm/read_site.sh reads them
set -euo pipefail

# For sbatch. What is on sbatch's command line wins.
partition=gpu
account=medicine
qos=normal
sbatch_options=(--constraint=a100 --mem=0) # anything else, such as --reservation=NAME or --exclude=node7

# On the nodes.
modules=(cuda/12.4 gcc/12)
container=(apptainer exec --nv --bind "$PWD" image.sif) # words before every Python command
python=.venv/bin/python
network_interface=ib0               # for gloo and NCCL, where the machine's own name leads to another one
export HF_HOME=/scratch/huggingface # environment of the jobs: any exported name
